"""ECGradCAM: which positions of a network's last layer contribute to a prediction, signed and in the target's unit.

A map says which positions contribute; a position sees as much of the ECG as its receptive field covers. What a stretch
of the ECG does to the prediction is shown by edits (`ecgwb.edits`), not by a map.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import nn

from ..cohorts.guards import check, check_values
from ..models.prediction import on_workers, pieces, unusable
from ..models.spec import ModelError, ModelSpec, device_of, evaluating, spec_of
from .layers import activations_only, find_layer, hooked, positions, upsampling

VARIANTS = ("gradcam", "guided", "published")


def ecgradcam(
    model: nn.Module,
    cohort: xr.Dataset,
    targets: Sequence[str] | str | None = None,
    *,
    variant: str = "gradcam",
    layer: str | None = None,
    relu: bool = False,
    client: Any = None,
) -> xr.DataArray:
    """Maps of every record for every target, from one forward pass and at most one through the head per target.

    Where the head proves to be average pooling and a linear layer, record by record, its weights are the gradient and
    no backward pass is made.

    Parameters
    ----------
    model : nn.Module
        With a spec; see `load_model` and `wrap_model`.
    cohort : Dataset
        With beats, or rhythms, as the spec asks.
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    variant : {"gradcam", "guided", "published"}
        With activations A[c, k] of the layer (channel c, position k) and gradients g[c, k] of the target:

        - ``"gradcam"``: sum over c of w[c] A[c, k], w[c] the sum of g over positions. Signed. Captum's
          ``LayerGradCam`` times the number of positions (Selvaraju et al. 2017, without the final ReLU).
        - ``"guided"``: the same with w[c] the sum of max(g, 0) where A > 0, and max(A, 0) in place of A.
        - ``"published"``: the released code of Hicks et al. (2021): w is one number, the mean over channels and
          positions of max(g, 0) where A > 0, and the map is scaled to 0..1. The number cancels: the map is the
          scaled channel sum of A and cannot tell one target of a network from another.
    layer : str, optional
        Dotted name; the spec's by default.
    relu : bool
        Set negative contributions of ``"gradcam"`` to zero, as textbooks do; the map then has no unit.
    client : dask.distributed.Client, optional
        Runs 1,024 records at a time on its workers instead of here.

    Returns
    -------
    DataArray (record, target, time)
        Linear between receptive-field centres and mean-corrected, so the mean over time is the mean over positions.
        Where the head is average pooling and a linear layer, mean + ``bias`` (coordinate of target) is the
        prediction, and ``attrs["units"]`` names the unit (one for all, or target by target); elsewhere the map has no
        unit ("").
        NaN where a record cannot be used; `excluded` lists those.

    Raises
    ------
    ModelError
        For an unknown target, variant or layer, or a cohort the network cannot read.
    """
    spec, wanted, _ = asked_of(model, targets)
    cohort = check(cohort, all_leads=False)
    if variant not in VARIANTS:
        raise ModelError(f"unknown variant {variant!r}; expected one of {', '.join(VARIANTS)}")
    name = layer or spec.layer
    find_layer(model, name)
    work = partial(_maps, model, targets=wanted, variant=variant, layer=name, relu=relu)
    return on_workers(client, work, cohort, spec)


@torch.inference_mode(False)  # a caller's inference mode would forbid gradients
def _maps(
    model: nn.Module, cohort: xr.Dataset, *, targets: Sequence[str], variant: str, layer: str, relu: bool
) -> xr.DataArray:
    """The maps of `ecgradcam`, whose arguments are in order."""
    spec, wanted, outputs = asked_of(model, targets)
    module, where = find_layer(model, layer), positions(model, layer)
    out = np.empty((cohort.sizes["record"], len(wanted), spec.n_samples), dtype=np.float32)
    usable = np.zeros(len(out), dtype=bool)
    upsample: torch.Tensor | None = None
    error = 0.0  # the largest gap between mean + bias and the prediction, relative to the predictions' size
    with evaluating(model):
        head = _head(model, module, outputs)
        for rows, part, ok in pieces(model, cohort):
            with activations_only(module, layer) as seen, torch.no_grad():
                y = model(part)[:, outputs]
            a = seen[0]  # (B, channel, position)
            coarse = _pooled(a.detach(), y.detach(), head) if variant == "gradcam" else None
            if coarse is None:
                coarse = torch.stack([_map(a, y[:, k], variant) for k in range(len(wanted))], dim=1)
            gap = (coarse.mean(dim=2) + head.bias - y.detach()).abs() / (y.detach().abs() + 1)
            error = max(error, float(gap.nan_to_num(nan=float("inf")).max()))
            coarse = coarse.clamp(min=0) if relu and variant == "gradcam" else coarse
            if upsample is None:
                upsample = torch.from_numpy(upsampling(where, coarse.shape[2], spec.n_samples)).to(coarse)
            out[rows] = (coarse @ upsample).cpu().numpy()  # (B, target, position) @ (position, sample)
            usable[rows] = ok
    maps = labelled(out, model, cohort, usable, wanted).assign_attrs(
        method=f"ecgradcam, variant {variant}" + (", relu" if relu else ""),
        layer=layer,
        positions=where.how,
        receptive_field_ms=where.field * 1000.0 / spec.fs,
    )
    if variant == "gradcam" and not relu and error < 1e-4:
        return with_units(maps, [spec.unit(t) for t in wanted], head.bias.cpu().numpy(), adds_up="mean")
    return with_units(maps, [""] * len(wanted))


def departure(maps: xr.DataArray, cohort_maps: xr.DataArray | None = None) -> xr.DataArray:
    """Each record's map less the cohort's mean map: why is this QT longer than most?

    What all people's maps share says nothing about one person's value; the departure does. Where maps add up to
    predictions, a departure adds up, in the unit, to the record's prediction less the cohort's mean prediction.

    Parameters
    ----------
    maps : DataArray (record, ..., time) or (record, ..., phase)
        From `ecgradcam` or `attribute`, aligned or not. Aligned maps compare like with like, but no longer add up.
    cohort_maps : DataArray, optional
        Of the people to compare with, made in the same way; those of `maps` by default.

    Returns
    -------
    DataArray
        Of the shape of `maps`; ``bias`` is now the cohort's mean prediction, where the maps add up.

    Raises
    ------
    ValueError
        When the two were not made in the same way.
    """
    maps = check_values(maps, "record", name="maps", source="wb.ecgradcam")
    others = maps
    if cohort_maps is not None:
        others = check_values(cohort_maps, "record", name="cohort_maps", source="wb.ecgradcam")
    for name in ("method", "layer", "template", "baseline"):
        if maps.attrs.get(name) != others.attrs.get(name):
            raise ValueError(
                f"the maps differ in {name}: {maps.attrs.get(name)!r} and {others.attrs.get(name)!r}; make both alike"
            )
    mean = others.mean("record", dtype=np.float64)
    with xr.set_options(arithmetic_join="exact"):
        out = (maps - mean).transpose(*maps.dims).astype(maps.dtype).assign_attrs(maps.attrs)
    over = {"mean": ["time"], "sum": ["lead", "time"]}.get(maps.attrs.get("adds_up", ""), [])
    total = (mean.mean if len(over) == 1 else mean.sum)(over) if over and "time" in maps.dims else np.nan
    return out.assign_coords(bias=maps["bias"] + total)


def asked_of(model: nn.Module, targets: Sequence[str] | str | None) -> tuple[ModelSpec, list[str], list[int]]:
    """The network's spec, the targets asked for, and which of its outputs they are."""
    spec = spec_of(model)
    wanted = list(spec.targets) if targets is None else np.atleast_1d(targets).tolist()
    unknown = [t for t in wanted if t not in spec.targets]
    if unknown or not wanted:
        raise ModelError(f"the network has no target {unknown}; it predicts {', '.join(spec.targets)}")
    return spec, wanted, [spec.targets.index(t) for t in wanted]


def labelled(
    values: np.ndarray, model: nn.Module, cohort: xr.Dataset, usable: np.ndarray, targets: Sequence[str]
) -> xr.DataArray:
    """Maps (record, target, time) or (record, target, lead, time), NaN where a record is not usable, with labels."""
    spec = spec_of(model)
    values[~usable] = np.nan
    leads = {"lead": list(spec.leads)} if values.ndim == 4 else {}
    start = 0.0 if spec.input == "rhythm" else spec.start_ms
    return xr.DataArray(
        values,
        dims=("record", "target", *leads, "time"),
        coords={
            **{k: v for k, v in cohort.coords.items() if v.dims == ("record",)},
            "target": list(targets),
            **leads,
            "time": ("time", start + np.arange(spec.n_samples) * 1000.0 / spec.fs, {"units": "ms"}),
        },
        name="attention",
        attrs={"excluded": json.dumps(unusable(cohort, usable))},
    )


def with_units(
    maps: xr.DataArray, units: Sequence[str], bias: np.ndarray | None = None, adds_up: str = ""
) -> xr.DataArray:
    """Maps with the unit of each target and, where they add up to the prediction, how, and less which bias."""
    targets = maps["target"].values
    text = units[0] if len(set(units)) == 1 else ", ".join(f"{t}: {u}" for t, u in zip(targets, units, strict=True))
    bias = np.full(len(targets), np.nan) if bias is None else bias
    coords = {"bias": ("target", bias), "unit": ("target", list(units))}
    return maps.assign_coords(coords).assign_attrs(units=text, adds_up=adds_up)


class _Head(NamedTuple):
    """What lies behind a layer."""

    bias: torch.Tensor  # (target,) the outputs when the layer gives zeros
    weights: torch.Tensor | None  # (target, channel) where it may be average pooling and a linear layer


def _head(model: nn.Module, module: nn.Module, outputs: list[int]) -> _Head:
    """The outputs when the layer gives zeros, and the slope if it is the same there, elsewhere and at all positions."""

    given: list[torch.Tensor] = []

    def give(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        some = torch.randn(output.shape[1:], generator=torch.Generator().manual_seed(0)).to(output)
        given.append(torch.stack([torch.zeros_like(some), some]).requires_grad_())
        return given[-1].clone()

    spec = spec_of(model)
    with hooked({module: give}), torch.enable_grad():
        y = model(torch.zeros(2, len(spec.leads), spec.n_samples, device=device_of(model)))[:, outputs]
        g = torch.stack([torch.autograd.grad(t.sum(), given[-1], retain_graph=True)[0] for t in y.T])
    slope = g.mean(dim=(1, 3))  # (target, record, channel, position) -> (target, channel)
    even = (g - slope[:, None, :, None]).abs().max() <= 1e-6 * g.abs().max()
    return _Head(y[0].detach(), slope * g.shape[3] if even else None)


def _pooled(a: torch.Tensor, y: torch.Tensor, head: _Head) -> torch.Tensor | None:
    """Maps (B, target, position) without a backward pass, if average pooling and these weights do give `y`."""
    if head.weights is None:
        return None
    coarse = head.weights @ a
    size = head.bias.abs() + a.mean(dim=2).abs() @ head.weights.abs().T
    return coarse if ((coarse.mean(dim=2) + head.bias - y).abs() <= 1e-5 * size).all() else None


def _map(a: torch.Tensor, y: torch.Tensor, variant: str) -> torch.Tensor:
    """One target's map (B, position) from activations `a` (B, channel, position) and its output `y` (B,)."""
    g = torch.autograd.grad(y.sum(), a, retain_graph=True)[0]
    act = a.detach()
    if variant == "gradcam":
        return (g.sum(dim=2, keepdim=True) * act).sum(dim=1)
    positive = g.clamp(min=0) * (act > 0)
    if variant == "guided":
        return (positive.sum(dim=2, keepdim=True) * act.clamp(min=0)).sum(dim=1)
    m = (positive.mean(dim=(1, 2), keepdim=True) * act).sum(dim=1)
    low, high = m.amin(dim=1, keepdim=True), m.amax(dim=1, keepdim=True)
    return (m - low) / (high - low).clamp(min=torch.finfo(m.dtype).tiny)
