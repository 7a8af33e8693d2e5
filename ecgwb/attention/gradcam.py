"""ECGradCAM: which positions of a network's last layer contribute to a prediction, signed and in the target's unit.

A map says which positions contribute; a position sees as much of the ECG as its receptive field covers. What a stretch
of the ECG does to the prediction is shown by edits (`ecgwb.edits`), not by a map.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import nn

from ..cohorts.guards import check, check_values
from ..cohorts.measurements import TIME
from ..models.activations import (
    Positions,
    Reading,
    activations_only,
    mixes,
    positions,
    reading,
    replaced,
    upsampling,
)
from ..models.interface import EcgNetwork, ecg_network
from ..models.prediction import by_parts, pieces, together, unusable, warn_saturated
from ..models.spec import ModelError, ModelSpec, differentiating, evaluating, spec_of
from ..models.wrapping import made_up
from ..workers import callers_level

VARIANTS = ("gradcam", "guided", "published")
OF_TOKENS = "hirescam"
_WIDE = "unknown which moment: each sees half of the input or more"
_EXACT = 1e-3  # of the predictions' spread: by how much a sum that adds up may miss


def ecgradcam(
    model: nn.Module,
    cohort: xr.Dataset,
    targets: Sequence[str] | str | None = None,
    *,
    variant: str | None = None,
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
    variant : {"gradcam", "guided", "published", "hirescam"}, optional
        "gradcam" by default, and "hirescam" for layers of tokens (record, position, channel) and networks with
        attention or recurrence, which do not treat positions alike.
        With activations A[c, k] of the layer (channel c, position k) and gradients g[c, k] of the target:

        - ``"gradcam"``: sum over c of w[c] A[c, k], w[c] the sum of g over positions. Signed. Captum's
          ``LayerGradCam`` times the number of positions (Selvaraju et al. 2017, without the final ReLU).
        - ``"guided"``: the same with w[c] the sum of max(g, 0) where A > 0, and max(A, 0) in place of A.
        - ``"published"``: the released code of Hicks et al. (2021): w is one number, the mean over channels and
          positions of max(g, 0) where A > 0, and the map is scaled to 0..1. The number cancels: the map is the
          scaled channel sum of A and cannot tell one target of a network from another.
        - ``"hirescam"``: the number of positions times the sum over c of g[c, k] A[c, k] (Draelos and Carin 2020;
          Captum's ``LayerGradientXActivation``, summed). The same as "gradcam" behind average pooling.
    layer : str, optional
        Dotted name; the spec's by default, or the default of `ecgwb.models.layers`.
    relu : bool
        Set negative contributions of ``"gradcam"`` to zero, as textbooks do; the map then has no unit.
    client : dask.distributed.Client, optional
        Makes them on its workers instead of here, 1,024 beats or 32 recordings at a time.

    Returns
    -------
    DataArray (record, target, time)
        Linear between receptive-field centres and mean-corrected, so the mean over time is the mean over positions.
        Where the head is average pooling and a linear layer, mean + ``bias`` (coordinate of target) is the
        prediction, and ``attrs["units"]`` names the unit (one for all, or target by target); elsewhere the map has no
        unit ("").
        NaN where a record cannot be used; `excluded` lists those. ``attrs["positions"]`` says how positions were placed
        in time, and where that says little.

    Raises
    ------
    ModelError
        For an unknown target, variant or layer, or a cohort the network cannot read.
    """
    spec, wanted, _ = asked_of(model, targets)
    cohort = check(cohort, all_leads=False)
    if variant not in (None, *VARIANTS, OF_TOKENS):
        raise ModelError(f"unknown variant {variant!r}; expected one of {', '.join((*VARIANTS, OF_TOKENS))}")
    read = reading(model, layer)
    variant = variant or suiting(model, read)
    work = partial(_maps, model, targets=wanted, variant=variant, layer=read.name, relu=relu)
    made = _Maps(*together(by_parts(work, model, cohort, "ecgradcam", client=client), cohort))
    where = positions(model, read.name)
    maps = labelled(made.values, model, cohort, made.usable, wanted).assign_attrs(
        method=f"ecgradcam, variant {variant}" + (", relu" if relu else ""),
        layer=read.name,
        positions=f"{where.how}; {_WIDE}" if where.field >= spec.n_samples / 2 else where.how,
        receptive_field_ms=where.field * 1000.0 / spec.fs,
    )
    answers, bias = made.answers[made.usable], made.bias[made.usable]
    warn_saturated(spec, answers)
    if made.lost.any() and variant in ("gradcam", OF_TOKENS):
        warnings.warn(
            f"layer {read.name!r} lies before a ReLU: the network sees none of its negative values, the map counts "
            "them, and so it has no unit and does not add up. Choose a layer behind that ReLU; where it is F.relu in "
            "forward(), make it a module, self.relu = nn.ReLU()",
            stacklevel=callers_level(),
        )
    if variant in ("gradcam", OF_TOKENS) and not relu and _add_up(made.means[made.usable], bias, answers):
        return with_units(maps, [spec.unit(t) for t in wanted], bias[0], adds_up="mean")
    return with_units(maps, [""] * len(wanted))


def suiting(model: nn.Module, read: Reading) -> str:
    """The variant that suits a layer: "hirescam" where positions are not treated alike."""
    return OF_TOKENS if read.of_tokens or mixes(model) else "gradcam"


class _Maps(NamedTuple):
    """Maps of a cohort, or of a part of it."""

    values: np.ndarray  # (record, target, time)
    usable: np.ndarray  # (record,)
    answers: np.ndarray  # (record, target): the predictions
    means: np.ndarray  # (record, target) of the maps
    bias: np.ndarray  # (record, target): what the network answers when the layer gives zeros, the same for all
    lost: np.ndarray  # (record,): whether the layer has values below zero, there, that the network does not see


@torch.inference_mode(False)  # a caller's inference mode would forbid gradients
@differentiating()
def _maps(
    model: nn.Module, cohort: xr.Dataset, *, targets: Sequence[str], variant: str, layer: str, relu: bool
) -> _Maps:
    """The maps of `ecgradcam`, whose arguments are in order."""
    spec, wanted, outputs = asked_of(model, targets)
    network, read, where = ecg_network(model), reading(model, layer), positions(model, layer)
    out = np.empty((0, len(wanted), spec.n_samples), dtype=np.float32)
    usable = np.zeros(cohort.sizes["record"], dtype=bool)
    answers, means = (np.full((len(usable), len(wanted)), np.nan) for _ in range(2))
    lost = np.zeros(len(usable), dtype=bool)
    with evaluating(model):
        head = _head(network, read, outputs)
        for rows, part, ok in pieces(model, cohort):
            z = network.enter(part)
            with activations_only(read, len(z)) as seen, torch.no_grad():
                y = network.answer(z, len(part))[:, outputs]
            lost[rows] = head.rectifies and bool((seen[0].detach() < 0).any())
            coarse = _coarse(seen[0], seen[1], y, head, variant)
            coarse = coarse.to(torch.promote_types(coarse.dtype, torch.float32))  # NumPy has no bfloat16
            coarse = coarse.clamp(min=0) if relu and variant == "gradcam" else coarse
            if not len(out):
                along = _along(network, where, coarse.shape[2], part.shape[2]).to(coarse)
                out = np.empty((len(usable), len(wanted), part.shape[2]), dtype=np.float32)
            out[rows] = (_by_record(coarse, len(part)) @ along).cpu().numpy()
            usable[rows], answers[rows] = ok, y.detach().double().cpu().numpy()
            means[rows] = out[rows].mean(axis=2, dtype=float)
    bias = np.broadcast_to(head.bias.cpu().numpy(), means.shape)
    return _Maps(out, usable, answers, means, bias, lost)


def _coarse(a: torch.Tensor, beside: int, y: torch.Tensor, head: _Head, variant: str) -> torch.Tensor:
    """Maps (record x window, target, position) from activations and answers (record, target)."""
    if variant in ("gradcam", OF_TOKENS):
        coarse = _pooled(a.detach(), y.detach(), head)
        if coarse is not None:
            return coarse
    return torch.stack([_map(a, beside, y[:, k], variant) for k in range(y.shape[1])], dim=1)


def _by_record(coarse: torch.Tensor, n_records: int) -> torch.Tensor:
    """Maps of pieces (record x window, target, position) as (record, target, window x position)."""
    return coarse.unflatten(0, (n_records, -1)).transpose(1, 2).flatten(2)


def _along(network: EcgNetwork, where: Positions, n_positions: int, n: int) -> torch.Tensor:
    """Matrix (window x position, sample) from all pieces' positions to an ECG of `n` samples, keeping the mean."""
    starts, taken = network.starts(n), min(network.about.n_samples, n)
    of_piece = upsampling(where, n_positions, taken)
    out = np.zeros((len(starts), n_positions, n))
    for w, start in enumerate(starts):
        out[w, :, start : start + taken] = of_piece * (n / taken)
    shown = np.isfinite(where.sample)
    out[:, shown] += 1 / n_positions - out[:, shown].mean(axis=2, keepdims=True)
    return torch.from_numpy(out.reshape(-1, n))


def _add_up(means: np.ndarray, bias: np.ndarray, answers: np.ndarray) -> bool:
    """Whether maps' means and biases are the predictions, but for a small share of how much these differ."""
    if not len(means):
        return False
    gap = np.abs(means + bias - answers).max(axis=0)  # (target,)
    own = np.abs(answers - bias).max(axis=0)
    spread = answers.std(axis=0)
    return bool((gap <= _EXACT * np.where(spread > 1e-3 * own, spread, own)).all())


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
    """Maps (record, target, time) or (record, target, lead, time), NaN where a record is not usable, with labels.

    ``skill``, a coordinate of target, says where the network's skill is not known, or was not shown; else it is "".
    """
    spec = spec_of(model)
    values[~usable] = np.nan
    leads = {"lead": list(spec.leads)} if values.ndim == 4 else {}
    start = 0.0 if spec.input == "rhythm" else first_ms(spec)
    return xr.DataArray(
        values,
        dims=("record", "target", *leads, "time"),
        coords={
            **{k: v for k, v in cohort.coords.items() if v.dims == ("record",)},
            "target": list(targets),
            "skill": ("target", [spec.skill_note(t) for t in targets]),
            **leads,
            "time": ("time", start + np.arange(values.shape[-1]) * 1000.0 / spec.fs, {"units": "ms"}),
        },
        name="attention",
        attrs={"excluded": json.dumps(unusable(cohort, usable))},
    )


def first_ms(spec: ModelSpec) -> float:
    """When the first sample that a network of beats reads was taken: the one nearest to the spec's ``start_ms``."""
    return float(TIME[0]) + round((spec.start_ms - TIME[0]) * spec.fs / 1000) * 1000 / spec.fs


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
    rectifies: bool  # whether it begins with a ReLU: negative activations do what zeros do


def _head(network: EcgNetwork, read: Reading, outputs: list[int]) -> _Head:
    """The outputs when the layer gives zeros, and the slope if it is the same there, elsewhere and at all positions.

    And whether values below zero do what zeros do.
    """
    given: list[torch.Tensor] = []

    def give(output: torch.Tensor) -> torch.Tensor:
        standard = read.standard(output, len(z))
        some = torch.randn(standard.shape[1:], generator=torch.Generator().manual_seed(0)).to(standard)
        each = len(z) // 3  # the windows of each of three records
        kinds = torch.stack([torch.zeros_like(some), some, -some.abs()])
        given.append(kinds.repeat_interleave(each, dim=0).requires_grad_())
        return read.back(given[0], output.shape).clone()

    x = torch.zeros_like(made_up(network, 3))
    with torch.enable_grad():
        z = network.enter(x)
        with replaced(read, give):
            y = network.answer(z, 3)[:, outputs]
        g = torch.stack([_slopes(t, given[0]) for t in y.T])[:, : 2 * len(z) // 3]
    rectifies = bool(torch.equal(y[0], y[2]) and not torch.equal(y[0], y[1]))
    slope = g.mean(dim=(1, 3))  # (target, piece, channel, position) -> (target, channel)
    even = (g - slope[:, None, :, None]).abs().max() <= 1e-6 * g.abs().max()
    return _Head(y[0].detach(), slope * g.shape[3] if even else None, rectifies)


def _slopes(y: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """The gradient of one target's outputs (record,) with respect to a layer's activations."""
    g = torch.autograd.grad(y.sum(), a, retain_graph=True, allow_unused=True)[0] if y.requires_grad else None
    if g is None:
        raise ModelError(
            "the prediction has no gradient at this layer: the network does not use what is read of it (of an LSTM, "
            "perhaps its last state only), or goes by comparisons. Choose a layer of wb.models.layers(model), or "
            "wb.edit_map"
        )
    return g


def _pooled(a: torch.Tensor, y: torch.Tensor, head: _Head) -> torch.Tensor | None:
    """Maps (piece, target, position) without a backward pass, if average pooling and these weights do give `y`."""
    if head.weights is None:
        return None
    coarse = head.weights @ a
    mean, size = coarse.mean(dim=2), a.mean(dim=2).abs() @ head.weights.abs().T
    mean, size = (v.unflatten(0, (len(y), -1)).sum(dim=1) for v in (mean, size))
    return coarse if ((mean + head.bias - y).abs() <= 1e-5 * (size + head.bias.abs())).all() else None


def _weights(g: torch.Tensor, beside: int) -> torch.Tensor:
    """Weights (B, channel, 1): the gradient over all positions, the mean of a channel's places beside each other."""
    w = g.sum(dim=2, keepdim=True)
    return w.unflatten(1, (-1, beside)).mean(dim=2, keepdim=True).expand(-1, -1, beside, -1).flatten(1, 2)


def _map(a: torch.Tensor, beside: int, y: torch.Tensor, variant: str) -> torch.Tensor:
    """One target's map (B, position) from activations `a` (B, channel, position) and its output `y` (B,)."""
    g = _slopes(y, a)
    act = a.detach()
    if variant == "gradcam":
        return (_weights(g, beside) * act).sum(dim=1)
    if variant == OF_TOKENS:
        return (g * act).sum(dim=1) * g.shape[2]
    positive = g.clamp(min=0) * (act > 0)
    if variant == "guided":
        return (_weights(positive, beside) * act.clamp(min=0)).sum(dim=1)
    m = (positive.mean(dim=(1, 2), keepdim=True) * act).sum(dim=1)
    low, high = m.amin(dim=1, keepdim=True), m.amax(dim=1, keepdim=True)
    return (m - low) / (high - low).clamp(min=torch.finfo(m.dtype).tiny)
