"""Other attribution methods behind one signature, most of them Captum's: maps that resolve leads.

Every method answers its own question, and none says what a real change of the ECG would do: edits do (`ecgwb.edits`).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import nn

from ..cohorts.cycles import has_cycles, in_every_cycle, inside_spans, spans_in_cycles
from ..cohorts.guards import check
from ..cohorts.lines import lines_between
from ..delineation.landmarks import WAVES
from ..models.interface import EcgNetwork, ecg_network
from ..models.prediction import batches, by_parts, model_input, parts_of, pieces, predict, together
from ..models.progress import progress
from ..models.running import unreadable
from ..models.spec import ModelError, copy_of, differentiating, evaluating, spec_of
from .alignment import REFERENCES, reference_beats, reference_rhythms
from .gradcam import OF_TOKENS, VARIANTS, asked_of, ecgradcam, labelled, with_units

_CALLER = 3  # who calls `attribute`: a decorator of torch lies between
BASELINES = ("flat", "mean", *REFERENCES)


@torch.inference_mode(False)  # a caller's inference mode would forbid gradients
def attribute(
    model: nn.Module,
    cohort: xr.Dataset,
    method: str,
    targets: Sequence[str] | str | None = None,
    *,
    layer: str | None = None,
    baseline: str = "flat",
    among: xr.Dataset | None = None,
    steps: int = 64,
    noise_uv: float = 20.0,
    n_noises: int = 25,
    seed: int = 0,
) -> xr.DataArray:
    """Maps of every record for every target by one of several methods.

    Parameters
    ----------
    model : nn.Module
        With a spec; see `load_model` and `wrap_model`. It is left as it was.
    cohort : Dataset
        With beats, or rhythms, as the spec asks.
    method : str
        With f the prediction, x the ECG as the network takes it, b the baseline:

        - ``"ecgradcam"``, or a variant of it by name: `ecgradcam`, for comparison. Which positions of a layer
          contribute; adds up to the prediction where the head allows it. Resolves no leads, and no time finer than a
          receptive field.
        - ``"saliency"``: df/dx, signed (Simonyan et al. 2013). What a change too small to see would do, at one sample
          of one lead. Not what makes the prediction: a wave that matters may lie where f is flat. Noisy by nature.
        - ``"smoothgrad"``: the mean of df/dx over copies with white noise of `noise_uv` (Smilkov et al. 2017). Saliency
          without what changes from one tiny step to the next. The noise is no ECG, so it also says what f does there.
        - ``"input_x_gradient"``: x df/dx (Shrikumar et al. 2016). Contribution if f were linear from 0 µV to x. Need
          not add up to anything, and is 0 wherever the ECG crosses 0 µV, whatever f does there.
        - ``"integrated_gradients"``: (x - b) times df/dx averaged from b to x in `steps` (Sundararajan et al. 2017).
          Adds up to f(x) - f(b), the nearer the more steps. Depends on b, and the ECGs between b and x are nobody's.
        - ``"deeplift"``: (x - b) times the network's slopes from b to x, layer by layer, rescale rule (Shrikumar et al.
          2017). Adds up like the last, in one pass. Depends on b; needs one ``nn.ReLU`` (not a function) per use.
        - ``"guided_gradcam"``: guided backpropagation times ECGradCAM's positive part (Selvaraju et al. 2017), which
          here sits at receptive-field centres. Sharp pictures. It has no unit, and guided backpropagation hardly
          depends on the upper layers' weights (Adebayo et al. 2018): sharpness is no evidence. Needs ``nn.ReLU``.
        - ``"occlusion"``: f(x) less f without P, QRS or T in one lead (a straight line between its ends, as `blank`),
          at every sample of that wave: a step per lead and wave, not to be summed over time. Of recordings, that wave
          of all their beats is removed at once. The effect of a real,
          visible edit. Waves only, one at a time: 0 between them means not tried, and two leads that say the same may
          each be worth nothing, for the other stays. An ECG that lacks a wave in one lead is no usual one.
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    layer : str, optional
        For ``"ecgradcam"`` and ``"guided_gradcam"``; the spec's by default.
    baseline : {"flat", "mean", "common", "own time"}
        b of ``"integrated_gradients"`` and ``"deeplift"``: 0 µV throughout, the mean of the cohort's beats as they are,
        or the mean of its aligned beats, on the common beat or in each record's own time, see `reference_beats`. No
        network was taught what a flat line means; against a mean beat, maps say what sets this person apart. Of these
        four, the mean of the aligned beats comes nearest to what edits do. Of recordings it stands in place of each of
        their beats (`reference_rhythms`); "mean" is for beats alone.
    among : Dataset, optional
        The cohort whose beats are averaged for the baseline; by default `cohort`.
    steps : int
        Of ``"integrated_gradients"``.
    noise_uv, n_noises, seed : float, int, int
        Standard deviation in µV, number of noises and their seed, of ``"smoothgrad"``. All records share the noises, so
        a record's map does not depend on the others.

    Returns
    -------
    DataArray (record, target, lead, time); (record, target, time) for "ecgradcam"
        On the network's leads and time. Signed. ``unit`` per target: per µV for gradients, the target's for
        contributions and effects, none for guided Grad-CAM. ``attrs["adds_up"]``: ``"sum"`` (over leads and time) or
        ``"mean"`` (over time) plus ``bias``, which is f(b), is the prediction; ``""`` where neither is promised. In own
        time f(b) is each record's own, ``reference`` (record, target), and ``bias`` their mean. NaN
        where a record cannot be used; `excluded` lists those. Seven targets of 1,000 beats take 134 MB.

    Raises
    ------
    ModelError
        For an unknown method, target, layer or baseline, and where a method does not suit the network.

    Warns
    -----
    UserWarning
        When maps that should add up to f(x) - f(b) miss it, on average, by more than 5 % of its mean size.
    """
    spec, wanted, outputs = asked_of(model, targets)
    cohort = check(cohort, all_leads=False)
    if method in ("ecgradcam", *VARIANTS, OF_TOKENS):
        return ecgradcam(model, cohort, wanted, variant=None if method == "ecgradcam" else method, layer=layer)
    if method == "occlusion":
        return _occlusion(model, cohort, wanted, outputs)
    if method not in METHODS:
        known = ", ".join(["ecgradcam", *VARIANTS, OF_TOKENS, "occlusion", *METHODS])
        raise ModelError(f"unknown method {method!r}; expected one of {known}")
    if baseline not in BASELINES or (baseline == "mean" and spec.input != "beat"):
        raise ModelError(
            f"baseline is {baseline!r}; expected 'flat', {' or '.join(map(repr, REFERENCES))}, or, for a network that "
            "takes beats, 'mean': the beats of recordings lie at other moments in each, and have no mean as they are"
        )
    how = METHODS[method]
    cams = ecgradcam(model, cohort, wanted, layer=layer, relu=True) if method == "guided_gradcam" else None
    b, has_baseline = _baseline(model, cohort, baseline if how.complete else "flat", among)  # (1 or record, ...)
    shape = b.shape[1:]
    noise = torch.randn(n_noises, *shape, generator=torch.Generator().manual_seed(seed)) * noise_uv * spec.scale
    work = partial(_values, model, how=how, outputs=outputs, steps=steps, noise=noise)
    every = np.broadcast_to(b, (cohort.sizes["record"], *shape))
    out, usable = together(by_parts(work, model, cohort, method, every, slow=True), cohort)
    usable &= has_baseline
    if usable.any() and not out[usable].any() and _differ(predict(model, cohort), wanted):
        warnings.warn(
            f"{method}: all values are 0, though predictions differ: the network goes by comparisons and has no "
            "gradient with respect to the ECG. wb.edit_map needs none",
            stacklevel=_CALLER,
        )
    if how.per_uv:
        out *= np.float32(spec.scale)
    if cams is not None:
        out *= np.maximum(cams.values, 0)[:, :, None]
    bias = None
    if how.complete:
        bias = _outputs(model, b, outputs)  # (1 or record, target)
        _warn_unless_complete(out, model, cohort, wanted, bias, method)
    units = ["" if cams is not None or not u else f"{u}/µV" if how.per_uv else u for u in map(spec.unit, wanted)]
    about: dict[str, Any] = {"method": method}
    if how.complete:
        about["baseline"] = baseline
    if method == "smoothgrad":
        about |= {"noise_uv": noise_uv, "n_noises": n_noises, "seed": seed}
    if method == "integrated_gradients":
        about["steps"] = steps
    maps = labelled(out, model, cohort, usable, wanted).assign_attrs(about)
    if bias is None or len(bias) == 1:
        return with_units(maps, units, None if bias is None else bias[0], adds_up="sum" if how.complete else "")
    return with_units(maps, units, bias[usable].mean(axis=0)).assign_coords(reference=(("record", "target"), bias))


@torch.inference_mode(False)
def _values(
    model: nn.Module,
    cohort: xr.Dataset,
    b: np.ndarray,
    *,
    how: Method,
    outputs: Sequence[int],
    steps: int,
    noise: torch.Tensor,
) -> tuple[np.ndarray, np.ndarray]:
    """A method's values (record, target, lead, sample) against the baseline b of each record, and which are usable."""
    out = np.empty((len(b), len(outputs), *b.shape[1:]), dtype=np.float32)
    usable = np.zeros(len(out), dtype=bool)
    network = ecg_network(_hookable(model) if how.hooks else model)
    with evaluating(model), torch.enable_grad(), _quiet_hooks(), differentiating():
        for rows, x, ok in pieces(model, cohort):
            from_b = torch.tensor(b[rows]).to(x)
            for j, k in enumerate(outputs):
                out[rows, j] = _explained(network, how, x, from_b, steps, noise.to(x), k).cpu().numpy()
            usable[rows] = ok
    return out, usable


def _explained(
    network: EcgNetwork, how: Method, x: torch.Tensor, b: torch.Tensor, steps: int, noise: torch.Tensor, k: int
) -> torch.Tensor:
    """A method's values (record, lead, sample) for one output.

    Half an ECG is the same as the whole to a network whose input is normalised by record, so that on the way from a
    baseline to the ECG nothing would change: there, the way is from the normalised baseline to the normalised ECG.
    """
    if not (how.complete and network.by_record):
        return how.explain(network, _Given(x.detach().requires_grad_(), b, steps, noise), k).detach()
    z, from_b = network.enter(x).detach().requires_grad_(), network.enter(b.expand(len(x), -1, -1))
    windows = len(z) // len(x)
    core = _Core(network, windows)
    given = _Given(_by_record(z, windows).detach().requires_grad_(), _by_record(from_b, windows), steps, noise)
    of_pieces = how.explain(core, given, k).detach()
    return network.leave(core.pieces(of_pieces), x.shape[2])


class _Core(nn.Module):
    """A network behind its normalising; a record's windows lie one behind the other (record, window x lead, sample)."""

    def __init__(self, network: EcgNetwork, windows: int) -> None:
        super().__init__()
        self.network, self.windows = network, windows

    def pieces(self, z: torch.Tensor) -> torch.Tensor:
        return z.unflatten(1, (self.windows, -1)).flatten(0, 1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.network.answer(self.pieces(z), len(z))


def _by_record(z: torch.Tensor, windows: int) -> torch.Tensor:
    """Pieces (record x window, lead, sample) as (record, window x lead, sample)."""
    return z.unflatten(0, (-1, windows)).flatten(1, 2)


# ---------------------------------------------------------------- the methods, each giving (B, lead, sample)


class _Given(NamedTuple):
    """What a method may use."""

    x: torch.Tensor  # (B, lead, sample), requires grad
    baseline: torch.Tensor  # (1 or B, lead, sample)
    steps: int
    noise: torch.Tensor  # (noise, lead, sample)


def _captum(name: str, model: nn.Module) -> Any:
    """A method of Captum, which takes a second to import."""
    import captum.attr

    return getattr(captum.attr, name)(model)


def _saliency(model: nn.Module, given: _Given, k: int) -> torch.Tensor:
    return _captum("Saliency", model).attribute(given.x, target=k, abs=False)


def _smoothgrad(model: nn.Module, given: _Given, k: int) -> torch.Tensor:
    # Not Captum's NoiseTunnel: its noise differs from record to record and with the batch.
    noisy = [given._replace(x=(given.x + n).detach().requires_grad_()) for n in given.noise]
    return torch.stack([_saliency(model, one, k) for one in noisy]).mean(dim=0)


def _input_x_gradient(model: nn.Module, given: _Given, k: int) -> torch.Tensor:
    return _captum("InputXGradient", model).attribute(given.x, target=k)


def _integrated_gradients(model: nn.Module, given: _Given, k: int) -> torch.Tensor:
    return _captum("IntegratedGradients", model).attribute(
        given.x, given.baseline, target=k, n_steps=given.steps, internal_batch_size=len(given.x)
    )


def _deeplift(model: nn.Module, given: _Given, k: int) -> torch.Tensor:
    try:
        return _captum("DeepLift", model).attribute(given.x, given.baseline, target=k)
    except RuntimeError as e:
        if "more than once" not in str(e):
            raise
        raise ModelError("DeepLIFT needs one activation module per use; give every ReLU its own nn.ReLU()") from e


def _guided(model: nn.Module, given: _Given, k: int) -> torch.Tensor:
    if not any(isinstance(m, nn.ReLU) for m in model.modules()):
        raise ModelError("guided backpropagation changes nn.ReLU modules and the network has none; use 'saliency'")
    return _captum("GuidedBackprop", model).attribute(given.x, target=k)


class Method(NamedTuple):
    """A method, and what its values are."""

    explain: Callable[[nn.Module, _Given, int], torch.Tensor]
    per_uv: bool = False  # per µV
    complete: bool = False  # they add up to f(x) - f(b)
    hooks: bool = False  # Captum sets hooks for it


METHODS = {
    "saliency": Method(_saliency, per_uv=True),
    "smoothgrad": Method(_smoothgrad, per_uv=True),
    "input_x_gradient": Method(_input_x_gradient),
    "integrated_gradients": Method(_integrated_gradients, complete=True),
    "deeplift": Method(_deeplift, complete=True, hooks=True),
    "guided_gradcam": Method(_guided, hooks=True),
}


def _occlusion(model: nn.Module, cohort: xr.Dataset, wanted: list[str], outputs: list[int]) -> xr.DataArray:
    """The effect of blanking one wave in one lead, at every sample of that wave; of recordings, in all their beats."""
    spec = spec_of(model)
    if spec.input == "rhythm" and not has_cycles(cohort):
        raise ModelError("occlusion blanks waves of recordings, and the cohort has none: open_cohort(..., rhythm=True)")
    found: list[np.ndarray] = []
    usable = np.zeros(cohort.sizes["record"], dtype=bool)
    for rows, some in parts_of(cohort):
        x, usable[rows] = model_input(model, some)
        time = np.arange(x.shape[2]) * 1000.0 / spec.fs + (spec.start_ms if spec.input == "beat" else 0.0)
        intact = _outputs(model, x, outputs)
        out = np.zeros((len(x), len(wanted), *x.shape[1:]), dtype=np.float32)
        for wave in WAVES:
            lined, spans = _without_wave(some, wave, spec.input)
            without, has = model_input(model, some.assign({spec.input: (some[spec.input].dims, lined)}))
            inside = has[:, None] & inside_spans(spans, time)  # (record, sample)
            for lead in progress(f"occlusion of {wave}", range(len(spec.leads)), unit="lead"):
                changed = x.copy()
                changed[has, lead] = without[has, lead]
                effect = intact - _outputs(model, changed, outputs)  # (record, target)
                of_lead = out[:, :, lead]  # (record, target, sample), a view
                np.copyto(of_lead, effect[:, :, None].astype(np.float32), where=inside[:, None])
        found.append(out)
    maps = labelled(np.concatenate(found), model, cohort, usable, wanted).assign_attrs(method="occlusion")
    return with_units(maps, [spec.unit(t) for t in wanted])


def _without_wave(cohort: xr.Dataset, wave: str, given: str) -> tuple[np.ndarray, np.ndarray]:
    """Beats, or recordings, with straight lines over one wave, NaN where there is none; and where it lies.

    Returns
    -------
    array (record, lead, time) or (record, lead, sample), µV
    array (record, wave, edge), ms
    """

    def span(beats: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
        first, last = (beats["fiducial"].sel(landmark=m).values for m in WAVES[wave])
        return first, last

    def change(beats: xr.Dataset, _rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _, lined, replaced = lines_between(beats, *span(beats))
        lined[~replaced.any(axis=1)] = np.nan  # no such wave
        return lined, beats["fiducial"].values

    if given == "rhythm":
        return in_every_cycle(cohort, change)[0], spans_in_cycles(cohort, span)
    return change(cohort, np.arange(0))[0].astype(np.float32), np.stack(span(cohort), axis=1)[:, None]


# ---------------------------------------------------------------- around them


def _outputs(model: nn.Module, x: np.ndarray, outputs: list[int]) -> np.ndarray:
    """Predictions (record, target) from prepared input (record, lead, sample)."""
    network = ecg_network(model)
    with evaluating(model), torch.no_grad():
        parts = [network(part)[:, outputs].double().cpu().numpy() for _, part in batches(model, x)]
    return np.concatenate(parts)


def _baseline(
    model: nn.Module, cohort: xr.Dataset, name: str, among: xr.Dataset | None
) -> tuple[np.ndarray, np.ndarray]:
    """The baseline, one for all or of each record (1 or record, lead, sample), as the network takes it; and which are.

    A record without landmarks has none in its own time.
    """
    spec = spec_of(model)
    if name == "flat":
        n = model_input(model, cohort.isel(record=slice(1)))[0].shape[2]
        return np.zeros((1, len(spec.leads), n), dtype=np.float32), np.ones(1, bool)
    if name == "mean":
        return _mean_beat(model, cohort if among is None else check(among)), np.ones(1, bool)
    if spec.input == "rhythm":  # everyone's beats at their own moments
        return model_input(model, cohort.assign(rhythm=reference_rhythms(cohort, name, among=among)))
    beats = reference_beats(cohort, name, among=among)
    if name == "common":
        cohort, beats = cohort.isel(record=slice(1)), beats.isel(record=slice(1))
    return model_input(model, cohort.assign(beat=beats))


def _mean_beat(model: nn.Module, cohort: xr.Dataset) -> np.ndarray:
    """The mean (1, lead, sample) of the usable records, as the network takes them."""
    total, n = np.zeros(1), 0
    for _, x, ok in pieces(model, cohort):
        total = total + x.cpu().numpy()[ok].sum(axis=0, dtype=float)
        n += int(ok.sum())
    if not n:
        raise ModelError("no record can be used, so there is no mean beat; use baseline='flat'")
    return (total / n).astype(np.float32)[None]


def _hookable(model: nn.Module) -> nn.Module:
    """A copy for Captum to hook, so that the network is left alone; hooks forbid in-place activations."""
    if why := unreadable(model):
        raise ModelError(why)
    copied = copy_of(model).eval()
    for m in copied.modules():
        if getattr(m, "inplace", False):
            m.inplace = False  # type: ignore[assignment]
    return copied


def _warn_unless_complete(
    maps: np.ndarray, model: nn.Module, cohort: xr.Dataset, targets: list[str], bias: np.ndarray, method: str
) -> None:
    """Warn where a method that promises f(x) - f(b) does not keep it."""
    predicted = predict(model, cohort)
    rise = np.stack([predicted[t].values for t in targets], axis=1) - bias  # (record, target)
    ok = np.isfinite(rise).all(axis=1)
    if not np.isfinite(bias).all():
        warnings.warn(
            f"{method}: the network gives no finite number for the baseline, so that maps cannot be held against "
            "f(x) - f(baseline) and may mean nothing; take baseline='common'",
            stacklevel=_CALLER + 1,
        )
    gap = np.abs(maps[ok].sum(axis=(2, 3), dtype=float) - rise[ok]).mean(axis=0) if ok.any() else np.zeros(len(targets))
    size = np.abs(rise[ok]).mean(axis=0) if ok.any() else gap
    if not (gap <= 0.05 * size).all():
        fix = "take more steps" if method == "integrated_gradients" else "use nn.ReLU modules, one per use"
        if _same_of_half(model, cohort):
            fix = (
                "the network gives half an ECG the same answer, so it normalises its input itself, and on the way from "
                "a flat line nothing changes: take baseline='common', or leave normalising to spec.normalise"
            )
        k = int(np.argmax(gap / size))
        warnings.warn(
            f"{method}: for {targets[k]}, maps miss f(x) - f(baseline) by {gap[k]:.3g} on average, its mean size being "
            f"{size[k]:.3g}; {fix}",
            stacklevel=_CALLER + 1,
        )


def _differ(predictions: xr.Dataset, targets: list[str]) -> bool:
    """Whether people's predictions differ."""
    return any(np.nanmax(predictions[t].values) > np.nanmin(predictions[t].values) for t in targets)


def _same_of_half(model: nn.Module, cohort: xr.Dataset) -> bool:
    """Whether a network does not see how large an ECG is."""
    x = model_input(model, cohort.isel(record=slice(8)))[0]
    every = list(range(len(spec_of(model).targets)))
    whole, half, flat = (_outputs(model, x * share, every) for share in (np.float32(1), np.float32(0.5), np.float32(0)))
    return bool(np.abs(whole - half).mean() <= 0.01 * np.abs(whole - flat).mean())


@contextlib.contextmanager
def _quiet_hooks() -> Iterator[None]:
    """Without Captum's notes that it sets hooks, on a copy, and removes them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"(?s)Setting (forward, )?backward hooks")
        yield
