"""ECGradCAM: which positions of a network's last layer contribute to a prediction, signed and in the target's unit.

A map says which positions contribute; a position sees as much of the ECG as its receptive field covers. What a stretch
of the ECG does to the prediction is shown by edits (`effects.py`), not by a map.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import nn

from .models import ModelError, device_of, evaluating, spec_of
from .prediction import batches, model_input, unusable

VARIANTS = ("gradcam", "guided", "published")


class Positions(NamedTuple):
    """Where a layer's positions lie in the network's input."""

    sample: np.ndarray  # (position,) centre of each receptive field, in input samples
    field: float  # width of the receptive field, samples
    how: str  # "receptive-field centres" or "evenly spread"


def ecgradcam(
    model: nn.Module,
    cohort: xr.Dataset,
    targets: Sequence[str] | str | None = None,
    *,
    variant: str = "gradcam",
    layer: str | None = None,
    relu: bool = False,
) -> xr.DataArray:
    """Maps of every record for every target, from one forward pass and one pass through the head per target.

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
    spec = spec_of(model)
    wanted = [targets] if isinstance(targets, str) else list(spec.targets if targets is None else targets)
    unknown = [t for t in wanted if t not in spec.targets]
    if unknown or not wanted:
        raise ModelError(f"the network has no target {unknown}; it predicts {', '.join(spec.targets)}")
    if variant not in VARIANTS:
        raise ModelError(f"unknown variant {variant!r}; expected one of {', '.join(VARIANTS)}")
    name = layer or spec.layer
    module = find_layer(model, name)
    outputs = [spec.targets.index(t) for t in wanted]
    x, usable = model_input(model, cohort)
    where = positions(model, name)
    out = np.full((len(x), len(wanted), spec.n_samples), np.nan, dtype=np.float32)
    upsample: torch.Tensor | None = None
    bias = np.full(len(wanted), np.nan)
    error = 0.0  # the largest gap between mean + bias and the prediction, relative to the predictions' size
    with evaluating(model):
        bias[:] = _head_at_zero(model, module, x.shape[1:])[outputs]
        for rows, part in batches(model, x):
            with activations_only(module, name) as seen, torch.no_grad():
                y = model(part)
            a = seen[0]  # (B, channel, position)
            coarse = torch.stack([_map(a, y[:, k], variant) for k in outputs], dim=1)  # (B, target, position)
            if variant == "gradcam":
                gap = (coarse.mean(dim=2) + torch.tensor(bias, dtype=y.dtype, device=y.device) - y[:, outputs]).abs()
                error = max(error, float((gap / (y[:, outputs].abs() + 1)).max().detach()))
                coarse = coarse.clamp(min=0) if relu else coarse
            if upsample is None:
                upsample = torch.from_numpy(_upsampling(where, coarse.shape[2], spec.n_samples)).to(coarse)
            fine = coarse @ upsample
            fine = fine + (coarse.mean(dim=2, keepdim=True) - fine.mean(dim=2, keepdim=True))
            out[rows] = fine.detach().cpu().numpy()
    out[~usable] = np.nan
    in_units = variant == "gradcam" and not relu and error < 1e-4
    units = [spec.unit(t) if in_units else "" for t in wanted]
    start = 0.0 if spec.input == "rhythm" else spec.start_ms
    coords = {k: v for k, v in cohort.coords.items() if v.dims == ("record",)}
    return xr.DataArray(
        out,
        dims=("record", "target", "time"),
        coords={
            **coords,
            "target": wanted,
            "time": ("time", start + np.arange(spec.n_samples) * 1000.0 / spec.fs, {"units": "ms"}),
            "bias": ("target", bias if in_units else np.full(len(wanted), np.nan)),
            "unit": ("target", units),
        },
        name="attention",
        attrs={
            "units": units[0]
            if len(set(units)) == 1
            else ", ".join(f"{t}: {u}" for t, u in zip(wanted, units, strict=True)),
            "method": f"ecgradcam, variant {variant}" + (", relu" if relu else ""),
            "layer": name,
            "positions": where.how,
            "receptive_field_ms": where.field * 1000.0 / spec.fs,
            "excluded": json.dumps(unusable(cohort, usable)),
        },
    )


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


# ---------------------------------------------------------------- layers and positions


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The layer of that dotted name."""
    layers = dict(model.named_modules())
    if not name or name not in layers:
        raise ModelError(f"the network has no layer {name!r}; it has {', '.join(n for n in layers if n)}")
    return layers[name]


@contextlib.contextmanager
def activations_only(module: nn.Module, name: str) -> Iterator[list[torch.Tensor]]:
    """Within, a forward pass under `torch.no_grad` records gradients from this layer's output onwards only.

    The list holds the output; the hook is gone afterwards, whatever happens, and so is the change of gradient mode.
    """
    seen: list[torch.Tensor] = []

    def hook(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        if seen:
            raise ModelError(f"layer {name!r} runs more than once in a forward pass; choose one that runs once")
        if not isinstance(output, torch.Tensor) or output.ndim != 3:
            shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise ModelError(f"layer {name!r} gives {shape}; expected (record, channel, position)")
        seen.append(output.detach().requires_grad_())
        torch.set_grad_enabled(True)
        return seen[0].clone()  # a copy, so that an in-place layer behind it leaves the recorded one alone

    before = torch.is_grad_enabled()
    handle = module.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()
        torch.set_grad_enabled(before)


def _head_at_zero(model: nn.Module, module: nn.Module, shape: tuple[int, ...]) -> np.ndarray:
    """The outputs when the layer gives zeros: the bias that maps leave over."""
    handle = module.register_forward_hook(lambda _m, _i, output: torch.zeros_like(output))
    try:
        with torch.no_grad():
            return model(torch.zeros(1, *shape, device=device_of(model)))[0].double().cpu().numpy()
    finally:
        handle.remove()


def positions(model: nn.Module, layer: str | None = None) -> Positions:
    """Where the layer's positions lie: the centres of their receptive fields, measured by gradients.

    The input is longer than the network's own, so that its ends do not cut fields short. It is given to a copy whose
    weights are made positive, so that nothing on the way is switched off or cancels; zero weights stay zero. A network
    whose layer takes one length only, or sees everything at once, has its positions spread evenly.
    """
    spec = spec_of(model)
    name = layer or spec.layer
    module = find_layer(model, name)
    with evaluating(model):
        n = _run_to(model, module, torch.zeros(1, len(spec.leads), spec.n_samples, device=device_of(model))).shape[2]
        even = Positions((np.arange(n) + 0.5) * spec.n_samples / n - 0.5, float("nan"), "evenly spread")
        long = max(8 * spec.n_samples, 4096)
        try:
            positive = _positive_copy(model)
            with torch.enable_grad():
                x = torch.ones(1, len(spec.leads), long, dtype=torch.float64, requires_grad=True)
                a = _run_to(positive, find_layer(positive, name), x)
                k = a.shape[2] // 2
                spans = []
                for j in (k, k + 16):
                    g = torch.autograd.grad(a[:, :, j].sum(), x, retain_graph=True)[0]
                    reads = np.flatnonzero((g != 0).any(dim=0).any(dim=0).cpu().numpy())
                    spans.append((reads[0], reads[-1]))
        except (RuntimeError, IndexError, TypeError):  # takes one length only, reads nothing, or cannot be copied
            return even
    (a0, a1), (b0, b1) = spans
    stride = ((b0 - a0) + (b1 - a1)) / 32
    if stride <= 0 or a0 == 0 or b1 == long - 1:
        return even
    return Positions((a0 + a1) / 2 + stride * (np.arange(n) - k), float(a1 - a0 + 1), "receptive-field centres")


def _positive_copy(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model).double().cpu().eval()
    with torch.no_grad():
        for p in copied.parameters():
            p.abs_()
        for m in copied.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None:
                m.reset_running_stats()
    return copied


class _Reached(Exception):
    """Ends a forward pass at the layer asked for: what lies behind may insist on one input length."""


def _run_to(model: nn.Module, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    found: list[torch.Tensor] = []

    def hook(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(output, torch.Tensor):
            found.append(output)
        raise _Reached

    handle = module.register_forward_hook(hook)
    try:
        model(x)
    except _Reached:
        pass
    finally:
        handle.remove()
    if not found or found[0].ndim != 3:
        raise ModelError("the layer did not run, or does not give (record, channel, position)")
    return found[0]


def _upsampling(where: Positions, n_positions: int, n_samples: int) -> np.ndarray:
    """Matrix (position, sample) of linear interpolation between the centres; the ends are held."""
    unit = np.eye(n_positions)
    at = np.arange(n_samples)
    return np.stack([np.interp(at, where.sample, row) for row in unit])
