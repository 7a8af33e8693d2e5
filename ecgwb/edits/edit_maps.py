"""Edit maps: what each stretch of the beat does to a prediction, found by putting that of a common beat in its place.

A map of a network's layer says which positions contribute; a position is not a moment of the ECG. Here the ECG itself
is changed, so that the answer is about the ECG, whatever the network is made of. Of a network that takes recordings
every beat is changed alike: the same piece of all of them, each as far as it is its own.
"""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import nn

from ..attention.alignment import reference_beats, reference_rhythms
from ..attention.gradcam import asked_of, labelled, with_units
from ..cohorts.cycles import cycles_of, own_share, territories
from ..cohorts.guards import check
from ..cohorts.measurements import STEP, TIME
from ..delineation.landmarks import SEGMENTS, WAVE_POINTS
from ..models.interface import ecg_network
from ..models.prediction import SLOW_PART, beats_at_once, model_input, parts_of
from ..models.progress import progress, quiet
from ..models.spec import device_of, evaluating, spec_of
from ..workers import each
from .effects import for_network

METHODS = ("joint", "shapley", "alone")
_PEAK_OF = {(points[0], points[2]): points[1] for points in WAVE_POINTS.values()}
_FADE_MS = 8.0  # a piece is faded into the next over so long, so that no edit makes a step
_MOST_EXACT = 8  # pieces, of which all coalitions are tried
_RHYTHMS_AT_ONCE = 16  # recordings in one pass
_REPLACED = 0.3  # probability of a piece in "joint"
_RIDGE = 1e-3  # edits' worth of weight towards no effect, for pieces that were always replaced together
_EDITS_A_PIECE = 3  # at least, of "joint"


def piece_effects(
    model: nn.Module,
    cohort: xr.Dataset,
    targets: Sequence[str] | str | None = None,
    *,
    pieces: str = "halves",
    by_lead: bool = False,
    method: str = "joint",
    reference: str = "common",
    among: xr.Dataset | None = None,
    n_edits: int = 64,
    seed: int = 0,
) -> xr.DataArray:
    """What each piece of every beat does to its prediction, against a reference beat.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    cohort : Dataset
        Its labels are not used.
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    pieces : {"segments", "halves"}
        "segments": what is before P, then P, PQ, QRS, ST, T, and what follows. "halves": each of these five cut in
        two, waves at their peaks and the others in the middle.
    by_lead : bool
        Whether each lead is a piece of its own.
    method : {"joint", "shapley", "alone"}
        "joint": the numbers whose sums come nearest to the effects of `n_edits` random edits, each of which replaces
        some three pieces of ten (the weighted Banzhaf value: Marichal and Mathonet 2011). They tell best what other
        edits do, as long as most of the beat stays, but need not add up to the prediction. "shapley": a piece's effect
        averaged over all orders in which the pieces of the reference beat may be exchanged for the record's own
        (Shapley 1953; Strumbelj and Kononenko 2014); they add up to the prediction less that of the reference beat, and
        so also count beats that are mostly another's. All orders are covered exactly where there are at most eight
        pieces; otherwise as many are drawn as `n_edits` edits allow, at least one and its reverse. "alone": the
        prediction less what it is with this one piece replaced.
    reference : {"common", "own time"}
    among : Dataset, optional
        Whose mean beat is put in place of the record's own, and whether in its own time: see
        `ecgwb.attention.reference_beats`. At least ten records; `cohort` by default.
    n_edits, seed : int
        How many edits of each beat are drawn, for "joint" at least three a piece; and their seed.

    Returns
    -------
    DataArray (record, target, [lead,] piece)
        In the target's unit; NaN for a piece that a record does not have, and where a record cannot be used, which
        `excluded` lists. The coordinate ``reference`` (record, target) is the prediction of the reference beat (of the
        recording with all its beats replaced by it: `ecgwb.attention.reference_rhythms`), and
        ``additivity`` (target,) how well sums of pieces tell the effects of the joint edits that were made for it: 1
        less the mean squared error as a share of the variance. NaN for "alone".

    Raises
    ------
    ModelError
        For an unknown target, or a cohort without what the network takes.
    ValueError
        For unknown pieces, method or reference, and when there are fewer than ten beats to average.
    """
    spec, wanted, outputs = asked_of(model, targets)
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; expected {' or '.join(map(repr, METHODS))}")
    cohort, names = for_network(model, check(cohort)), piece_names(pieces)
    n_leads = len(spec.leads) if by_lead else 1
    n = len(names) * n_leads
    walk: Callable[[_Edit], _Effects] = _alone
    if method != "alone":
        walk = (_Joint if method == "joint" else _Shapley)(n, n_edits, seed)
    found = np.full((cohort.sizes["record"], len(wanted), n_leads, len(names)), np.nan)
    base = np.full(found.shape[:2], np.nan)
    fit, asked = _Fit(len(wanted)), np.zeros(len(found), bool)
    for rows, has, (effect, none, told) in _edited(walk, model, cohort, outputs, pieces, by_lead, reference, among):
        base[rows] = np.where(np.isfinite(effect).all(axis=2), none, np.nan)
        found[rows] = np.where(has[:, None, None], effect.reshape(len(rows), -1, n_leads, len(names)), np.nan)
        asked[rows] = True
        fit.add(told)
    found[np.isnan(base)] = np.nan
    values = found if by_lead else found[:, :, 0]
    leads = {"lead": list(spec.leads)} if by_lead else {}
    about = {"method": method, "reference": reference, "pieces": pieces}
    about["excluded"] = left_out(cohort, asked, np.asarray(np.isfinite(base).all(axis=1)))
    return xr.DataArray(
        values,
        dims=("record", "target", *leads, "piece"),
        coords={k: v for k, v in cohort.coords.items() if v.dims == ("record",)}
        | {"target": wanted, **leads, "piece": list(names), "unit": ("target", [spec.unit(t) for t in wanted])}
        | {"reference": (("record", "target"), base), "additivity": ("target", fit.r2())},
        name="effect",
        attrs=about,
    )


def edit_map(
    model: nn.Module,
    cohort: xr.Dataset,
    targets: Sequence[str] | str | None = None,
    *,
    pieces: str = "halves",
    by_lead: bool = False,
    method: str = "joint",
    reference: str = "common",
    among: xr.Dataset | None = None,
    n_edits: int = 64,
    seed: int = 0,
) -> xr.DataArray:
    """What each stretch of every beat does to its prediction, as a map over time.

    The effects of `piece_effects`, each spread evenly over its piece. They are against the common beat, so that what a
    network reads shows in how much people differ: of a stretch that is read as it is, some people's map is above 0 and
    others' below. A mean of people well above or below 0 says that pieces act together, as for QT: a beat with some of
    its pieces exchanged is nobody's whole beat. The common beat is itself a mean of few or many people, which intervals
    over people do not take into account.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    cohort : Dataset
        Its labels are not used.
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    pieces, by_lead, method, reference, among, n_edits, seed
        As in `piece_effects`.

    Returns
    -------
    DataArray (record, target, [lead,] time)
        In the target's unit a sample: the sum over a piece is its effect, for recordings over that piece of all beats.
        Of "shapley" with the common reference, the sum over all (and leads) and ``bias``, the prediction of the
        reference beat, are the prediction; of recordings, whose reference keeps each record's own rate, that and
        ``reference``.

    Raises
    ------
    ModelError
        For an unknown target, or a cohort without what the network takes.
    ValueError
        For unknown pieces, method or reference, and when there are fewer than ten beats to average.
    """
    effects = piece_effects(
        model, cohort, targets, pieces=pieces, by_lead=by_lead, method=method, reference=reference, among=among,
        n_edits=n_edits, seed=seed,
    )  # fmt: skip
    spec, cohort = spec_of(model), for_network(model, check(cohort))
    values = np.nan_to_num(effects.values)
    n_samples = spec.n_samples if spec.input == "beat" else samples_of(model, cohort)
    maps = np.empty((*values.shape[:-1], n_samples), dtype=np.float32)
    for rows, weights in weights_of(model, cohort, pieces):  # (record, piece, sample)
        length = weights.sum(axis=2, keepdims=True)
        even = np.divide(weights, length, out=np.zeros_like(weights), where=length > 0)
        maps[rows] = np.einsum("nt...p,nps->nt...s", values[rows], even)
    base = effects["reference"].values
    out = labelled(maps, model, cohort, np.isfinite(base).all(axis=1), effects["target"].values.tolist())
    out = out.assign_attrs(effects.attrs | {"method": f"edit map, {method}"})
    with np.errstate(all="ignore"):
        bias = np.nanmean(base, axis=0) if np.isfinite(base).any() else np.full(base.shape[1], np.nan)
    adds_up = "sum" if method == "shapley" and reference == "common" and spec.input == "beat" else ""
    out = with_units(out, [spec.unit(t) for t in effects["target"].values], bias, adds_up)
    return out.assign_coords({k: effects[k].variable for k in ("reference", "additivity")})


def edit_profile(
    model: nn.Module,
    cohort: xr.Dataset,
    targets: Sequence[str] | str | None = None,
    *,
    ms: float = 40.0,
    step_ms: float = 8.0,
    reference: str = "common",
    among: xr.Dataset | None = None,
) -> xr.DataArray:
    """What a short stretch of every beat does to its prediction, wherever it lies.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    cohort : Dataset
        Its labels are not used.
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    ms : float
        How long the stretch is.
    step_ms : float
        By how much it is moved on.
    reference : {"common", "own time"}
    among : Dataset, optional
        Whose mean beat is put in place of the record's own, and whether in its own time: see
        `ecgwb.attention.reference_beats`. At least ten records; `cohort` by default.

    Returns
    -------
    DataArray (record, target, time)
        In the target's unit: the prediction less what it is with the stretch about this moment replaced, in all leads;
        linear between the moments tried. Of recordings, with that stretch of every beat replaced, and shown in each of
        them; 0 where no beat is. Not to be summed.

    Raises
    ------
    ModelError
        For an unknown target, or a cohort without what the network takes.
    """
    spec, wanted, outputs = asked_of(model, targets)
    cohort = for_network(model, check(cohort))
    time = time_of(model) if spec.input == "beat" else TIME
    if not 0 < step_ms <= ms or not _FADE_MS <= ms <= time[-1] - time[0]:
        raise ValueError(
            f"step_ms is {step_ms} and ms {ms}; expected a step above 0 and no longer than the stretch, which is at "
            f"least {_FADE_MS:g} ms, over which it is faded in, and at most {time[-1] - time[0]:g} ms"
        )
    centres = np.arange(time[0] + ms / 2, time[-1] - ms / 2 + 1e-6, step_ms)
    spans = np.stack([centres - ms / 2, centres + ms / 2], axis=1)
    asked = np.zeros(cohort.sizes["record"], bool)
    found = np.full((len(asked), len(wanted), len(centres)), np.nan)
    for rows, _, lost in _edited(_profile, model, cohort, outputs, spans, False, reference, among):
        found[rows], asked[rows] = lost, True
    out = _drawn_out(found, centres, model, cohort)
    usable = np.asarray(np.isfinite(out).all(axis=(1, 2)))
    about = {"method": f"edit profile, {ms:g} ms", "reference": reference}
    about["excluded"] = left_out(cohort, asked, usable)
    return with_units(labelled(out, model, cohort, usable, wanted).assign_attrs(about), [spec.unit(t) for t in wanted])


def joint_effects(
    model: nn.Module,
    cohort: xr.Dataset,
    kept: np.ndarray,
    targets: Sequence[str] | str | None = None,
    *,
    pieces: str = "segments",
    by_lead: bool = False,
    reference: str = "common",
    among: xr.Dataset | None = None,
) -> np.ndarray:
    """What replacing several pieces at once takes from the prediction.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    cohort : Dataset
    kept : bool array (edit, piece)
        The pieces that stay the record's own in each edit; by lead, all pieces of the network's first lead come first.
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    pieces, by_lead, reference, among
        As in `piece_effects`.

    Returns
    -------
    array (record, target, edit)
        The prediction less that of the edited beat; NaN where a record cannot be used.
    """
    _, wanted, outputs = asked_of(model, targets)
    cohort, kept = for_network(model, check(cohort)), np.asarray(kept)
    n = len(piece_names(pieces)) * (len(spec_of(model).leads) if by_lead else 1)
    if kept.dtype != bool or kept.ndim != 2 or kept.shape[1] != n or not len(kept):
        raise ValueError(
            f"kept is {kept.dtype} {kept.shape}; expected bool (edit, {n}), True for the pieces that stay: "
            f"{', '.join(piece_names(pieces))}{', lead by lead' if by_lead else ''}"
        )
    found = np.full((cohort.sizes["record"], len(wanted), len(kept)), np.nan)
    work = partial(_lost, kept=kept)
    for rows, _, lost in _edited(work, model, cohort, outputs, pieces, by_lead, reference, among):
        found[rows] = lost
    return found


def interplay(
    model: nn.Module,
    cohort: xr.Dataset,
    targets: Sequence[str] | str | None = None,
    *,
    reference: str = "common",
    among: xr.Dataset | None = None,
) -> xr.DataArray:
    """Which two segments do more, or less, together than the sum of both.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    cohort : Dataset
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    reference : {"common", "own time"}
    among : Dataset, optional
        Whose mean beat is put in place of the record's own, and whether in its own time: see
        `ecgwb.attention.reference_beats`. At least ten records; `cohort` by default.

    Returns
    -------
    DataArray (record, target, piece, other)
        The Shapley interaction index (Grabisch and Roubens 1999): f with both less f with either plus f with none,
        averaged over what else is the record's own. 0 for a network that adds pieces up. NaN on the diagonal.
    """
    spec, wanted, outputs = asked_of(model, targets)
    cohort, names = for_network(model, check(cohort)), piece_names("segments")
    k = len(names)
    kept = np.array(list(itertools.product((False, True), repeat=k)))
    row_of = {tuple(row): i for i, row in enumerate(kept.tolist())}
    found = np.full((cohort.sizes["record"], len(wanted), k, k), np.nan)
    asked, usable = (np.zeros(len(found), bool) for _ in range(2))
    work = partial(_told, kept=kept)
    for rows, has, f in _edited(work, model, cohort, outputs, "segments", False, reference, among):
        asked[rows], usable[rows] = True, np.isfinite(f).all(axis=(0, 2))
        for a, b in itertools.combinations(range(k), 2):
            total = np.zeros(f.shape[1:])
            for row in kept[~kept[:, a] & ~kept[:, b]]:
                size = int(row.sum())
                share = math.factorial(size) * math.factorial(k - size - 2) / math.factorial(k - 1)
                corner = [row.copy() for _ in range(3)]
                corner[0][[a, b]], corner[1][a], corner[2][b] = True, True, True
                both, first, second = (f[row_of[tuple(c.tolist())]] for c in corner)
                total += share * (both - first - second + f[row_of[tuple(row.tolist())]])
            total[~(has[:, a] & has[:, b])] = np.nan
            found[rows, :, a, b] = found[rows, :, b, a] = total
    return xr.DataArray(
        found,
        dims=("record", "target", "piece", "other"),
        coords={key: v for key, v in cohort.coords.items() if v.dims == ("record",)}
        | {"target": wanted, "piece": list(names), "other": list(names)}
        | {"unit": ("target", [spec.unit(t) for t in wanted])},
        name="interplay",
        attrs={"reference": reference, "excluded": left_out(cohort, asked, usable)},
    )


# ---------------------------------------------------------------- pieces of the beat


def piece_names(pieces: str = "segments") -> tuple[str, ...]:
    """The names of the pieces, in the order of time."""
    if pieces == "segments":
        return ("before", *SEGMENTS, "after")
    if pieces == "halves":
        return ("before", *(f"{name} {half}" for name in SEGMENTS for half in ("first", "second")), "after")
    raise ValueError(f"pieces is {pieces!r}; expected 'segments' or 'halves'")


def piece_edges(cohort: xr.Dataset, pieces: str = "segments") -> np.ndarray:
    """Where each piece ends and the next begins (record, edge), ms; NaN throughout for a record without QRS.

    Of a record without P what is before it goes on to QRS, and without T what is after begins at J: the pieces between
    have no length.
    """
    piece_names(pieces)
    at = {m: cohort["fiducial"].sel(landmark=m).values.astype(float) for m in cohort["landmark"].values}
    no_p, no_t = (np.isnan(at[a] + at[b]) for a, b in (("P_on", "P_off"), ("T_on", "T_off")))
    for mark in ("P_on", "P_peak", "P_off"):
        at[mark] = np.where(no_p, at["QRS_on"], at[mark])
    for mark in ("T_on", "T_peak", "T_off"):
        at[mark] = np.where(no_t, at["J"], at[mark])
    for on, peak, off in WAVE_POINTS.values():
        at[peak] = np.where(np.isnan(at[peak]), (at[on] + at[off]) / 2, at[peak])
    edges: list[np.ndarray] = []
    for start, stop in SEGMENTS.values():
        middle = at[_PEAK_OF[start, stop]] if (start, stop) in _PEAK_OF else (at[start] + at[stop]) / 2
        edges += [at[start], middle] if pieces == "halves" else [at[start]]
    edges.append(at["T_off"])
    out = np.maximum.accumulate(np.stack(edges, axis=1), axis=1)
    out[~np.isfinite(out).all(axis=1)] = np.nan
    return out


def drawn_edits(n: int, n_edits: int = 64, seed: int = 0) -> np.ndarray:
    """Which of `n` pieces each edit of "joint" replaces (edit, piece): at least three edits a piece."""
    gone = np.random.default_rng(seed).random((max(n_edits, _EDITS_A_PIECE * n), n)) < _REPLACED
    return gone[gone.any(axis=1)]


def piece_weights(edges: np.ndarray, time: np.ndarray) -> np.ndarray:
    """How much of each piece every sample is (record, piece, sample): 0 to 1, in all 1, faded at the edges."""
    share = np.clip((time - edges[:, :, None]) / _FADE_MS + 0.5, 0, 1)
    passed = 0.5 - 0.5 * np.cos(np.pi * share)  # (record, edge, sample)
    ends = np.ones((len(edges), 1, len(time)))
    return (np.concatenate([ends, passed], axis=1) - np.concatenate([passed, 0 * ends], axis=1)).astype(np.float32)


def time_of(model: nn.Module, n_samples: int | None = None) -> np.ndarray:
    """The moments of the network's samples (sample,), ms; for recordings, how many there are is to be said."""
    spec = spec_of(model)
    if spec.input == "rhythm":
        return np.asarray(np.arange(n_samples or spec.n_samples) * 1000.0 / spec.fs)
    return np.asarray(spec.start_ms + np.arange(spec.n_samples) * 1000.0 / spec.fs)


def samples_of(model: nn.Module, cohort: xr.Dataset) -> int:
    """How many samples of each recording the network reads."""
    one = cohort.isel(record=slice(1))
    steps = np.resize(np.array([0.0, 1000.0], dtype=np.float32), one["rhythm"].shape)  # whatever the record is like
    return int(model_input(model, one.assign(rhythm=one["rhythm"].copy(data=steps)))[0].shape[2])


def weights_of(model: nn.Module, cohort: xr.Dataset, pieces: str | np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """How much of each piece every sample is, some records at a time: which, and their weights (record, piece, sample).

    Parameters
    ----------
    model : nn.Module
    cohort : Dataset
        From `for_network`.
    pieces : str or array (piece, edge), ms
        As in `piece_names`; or where each piece starts and stops, the same for every beat.
    """
    if spec_of(model).input == "beat":
        time = time_of(model)
        if isinstance(pieces, str):
            edges = piece_edges(cohort, pieces)
            yield from ((rows, piece_weights(edges[rows], time)) for rows, _ in parts_of(cohort))
        else:
            one = piece_weights(pieces, time)[None, :, 1]  # (1, piece, sample)
            for rows, some in parts_of(cohort):
                yield rows, np.broadcast_to(one, (some.sizes["record"], *one.shape[1:]))
        return
    time = time_of(model, samples_of(model, cohort))
    for start in range(0, cohort.sizes["record"], _RHYTHMS_AT_ONCE):
        rows = slice(start, start + _RHYTHMS_AT_ONCE)
        yield rows, _weights_in_cycles(cohort.isel(record=rows), pieces, time)


def _weights_in_cycles(cohort: xr.Dataset, pieces: str | np.ndarray, time: np.ndarray) -> np.ndarray:
    """Weights (record, piece, sample) of the same piece in every cycle of recordings."""
    cycles = cycles_of(cohort)
    r, own = cycles["r_ms"].values, territories(cycles, cohort.sizes["sample"] * STEP)
    n = len(piece_names(pieces)) if isinstance(pieces, str) else len(pieces)
    edges = piece_edges(cycles, pieces) if isinstance(pieces, str) else None
    out = np.zeros((cohort.sizes["record"], n, len(time)), np.float32)
    for i in range(len(out)):
        mine = np.flatnonzero(cycles["row"].values == i)
        for k, share in zip(mine, own_share(own[mine], time), strict=True):
            at = np.flatnonzero(share)
            if edges is None:
                weights = piece_weights(np.asarray(pieces), time[at] - r[k])[:, 1]
            elif np.isfinite(edges[k]).all():
                weights = piece_weights(edges[k : k + 1], time[at] - r[k])[0]
            else:  # a cycle without QRS stays as it is
                continue
            out[i][:, at] += weights * share[at].astype(np.float32)
    return out


def _drawn_out(found: np.ndarray, centres: np.ndarray, model: nn.Module, cohort: xr.Dataset) -> np.ndarray:
    """A profile (record, target, centre) at every sample of what the network reads (record, target, sample)."""
    if spec_of(model).input == "beat":
        at = np.broadcast_to(time_of(model), (len(found), spec_of(model).n_samples))
    else:
        time = time_of(model, samples_of(model, cohort))
        cycles, at = cycles_of(cohort), np.full((len(found), len(time)), np.nan)
        own = territories(cycles, cohort.sizes["sample"] * STEP)
        for row, r, (a, b) in zip(cycles["row"].values, cycles["r_ms"].values, own, strict=True):
            mine = (time >= a) & (time < b)
            at[row, mine] = time[mine] - r
    out = np.stack([[np.interp(t, centres, v) for v in one] for t, one in zip(at, found, strict=True)])
    lost = np.isnan(found).any(axis=2)[:, :, None]
    return np.where(lost, np.nan, np.where(np.isnan(at)[:, None], 0.0, out)).astype(np.float32)


# ---------------------------------------------------------------- edits of a few beats


class _Edit:
    """A few beats, of which some pieces are the record's own and the others the reference beat's."""

    def __init__(
        self, model: nn.Module, x: np.ndarray, other: np.ndarray, weights: np.ndarray, by_lead: bool, outputs: list[int]
    ) -> None:
        device = device_of(model)
        self.network, self.outputs = ecg_network(model), outputs
        self.n_leads = x.shape[1] if by_lead else 1
        self.x = torch.from_numpy(x).to(device)
        self.away = self.x - torch.from_numpy(other).to(device)
        self.weights = torch.from_numpy(weights).to(device)  # (record, piece, sample)
        self.has = np.asarray(weights.any(axis=2))  # (record, piece)
        self.n = self.n_leads * weights.shape[1]

    def __call__(self, own: np.ndarray) -> np.ndarray:
        """Predictions (record, target) with these pieces, a bool each, the record's own."""
        gone = torch.from_numpy(~own.reshape(self.n_leads, -1)).to(self.weights)  # (lead or 1, piece)
        return self.without(torch.einsum("lp,nps->nls", gone, self.weights))

    def without(self, gone: torch.Tensor) -> np.ndarray:
        """Predictions (record, target) with this share (record, lead, sample) the reference beat's."""
        y = self.network(self.x - gone * self.away)
        return np.asarray(y[:, self.outputs].double().cpu().numpy())


def _told(edit: _Edit, kept: np.ndarray) -> np.ndarray:
    """Predictions (edit, record, target) with the pieces of each row (edit, piece) kept."""
    return np.stack([edit(row) for row in kept])


def _lost(edit: _Edit, kept: np.ndarray) -> np.ndarray:
    """What edits take from the prediction (record, target, edit)."""
    intact = edit(np.ones(edit.n, bool))
    return np.stack([intact - edit(row) for row in kept], axis=2)


def _profile(edit: _Edit) -> np.ndarray:
    """What each piece, replaced in all leads, takes from the prediction (record, target, piece)."""
    intact = edit(np.ones(edit.n, bool))
    return np.stack([intact - edit.without(edit.weights[:, k, None]) for k in range(edit.n)], axis=-1)


def _edited(
    work: Callable[[_Edit], Any],
    model: nn.Module,
    cohort: xr.Dataset,
    outputs: list[int],
    pieces: str | np.ndarray,
    by_lead: bool,
    reference: str,
    among: xr.Dataset | None,
) -> Iterator[tuple[np.ndarray, np.ndarray, Any]]:
    """The records that can be edited, some at a time: which, the pieces (record, piece) they have, and their work."""
    given = spec_of(model).input
    others = (reference_beats if given == "beat" else reference_rhythms)(cohort, reference, among=among)
    has_qrs = np.isfinite(piece_edges(cohort)).all(axis=1)
    of_part = partial(_part_edited, model=model, work=work, outputs=outputs, pieces=pieces, by_lead=by_lead)
    parts = [(part, others.isel(record=rows), has_qrs[rows]) for rows, part in parts_of(cohort, SLOW_PART[given])]
    with progress("edits", total=len(has_qrs)) as line, quiet():
        first = 0
        for (_, _, of_these), made in zip(parts, each(of_part, parts), strict=True):
            yield from ((first + rows, has, result) for rows, has, result in made)
            first += len(of_these)
            line.update(len(of_these))


def _part_edited(
    part: tuple[xr.Dataset, xr.DataArray, np.ndarray],
    *,
    model: nn.Module,
    work: Callable[[_Edit], Any],
    outputs: list[int],
    pieces: str | np.ndarray,
    by_lead: bool,
) -> list[tuple[np.ndarray, np.ndarray, Any]]:
    """The same of a part of the cohort, given its reference beats and who has a QRS complex."""
    cohort, others, has_qrs = part
    given, made = spec_of(model).input, []
    at_once = beats_at_once(model) if given == "beat" else _RHYTHMS_AT_ONCE
    with evaluating(model), torch.no_grad():
        for rows, weights in weights_of(model, cohort, pieces):
            some = cohort.isel(record=rows)
            x, usable = model_input(model, some)
            other, known = model_input(model, some.assign({given: others.isel(record=rows)}))
            good = np.flatnonzero(usable & known & has_qrs[rows])
            for k in range(0, len(good), at_once):
                few = good[k : k + at_once]
                edit = _Edit(model, x[few], other[few], weights[few], by_lead, outputs)
                made.append((rows.start + few, edit.has, work(edit)))
    return made


def left_out(cohort: xr.Dataset, asked: np.ndarray, usable: np.ndarray) -> str:
    """The records without effects, in the form `excluded` reads; a warning where the network is the cause."""
    rows = []
    qrs = np.isfinite(cohort["fiducial"].sel(landmark=["QRS_on", "J"]).values).all(axis=1)
    for i in np.flatnonzero(~usable):
        reason = "missing samples, or no signal in any lead"
        if asked[i]:
            reason = "the network gives no finite number, for the beat or an edited one"
        elif not qrs[i]:
            reason = "no onset or no end of QRS"
        rows.append({"record": str(cohort["record"].values[i]), "step": "edit", "reason": reason})
    if (asked & ~usable).any():
        warnings.warn(
            f"the network gives no finite number for {(asked & ~usable).sum()} of {asked.sum()} records, or for edits "
            "of them; they are left out, see wb.excluded",
            stacklevel=3,
        )
    return json.dumps(rows)


class _Fit:
    """How well sums of pieces tell the effects of joint edits, gathered over records."""

    def __init__(self, n_targets: int) -> None:
        self.n = 0
        self.sums = np.zeros((3, n_targets))  # of squared errors, of effects, of squared effects

    @classmethod
    def of(cls, effects: np.ndarray, told: np.ndarray) -> _Fit:
        """Of effects of joint edits (edit, record, target), and the sums of pieces; of records with finite numbers."""
        finite = np.isfinite(effects).all(axis=(0, 2))
        effects, told = effects[:, finite], told[:, finite]
        fit = cls(effects.shape[2])
        fit.n = effects.shape[0] * effects.shape[1]
        fit.sums = np.stack([v.sum(axis=(0, 1)) for v in ((effects - told) ** 2, effects, effects**2)])
        return fit

    def add(self, other: _Fit | None) -> None:
        """Adds that of other records."""
        if other is not None:
            self.n += other.n
            self.sums += other.sums

    def r2(self) -> np.ndarray:
        """1 less the mean squared error as a share of the variance (target,)."""
        error, total, squares = self.sums
        spread = squares - total**2 / max(self.n, 1)
        return np.divide(spread - error, spread, out=np.full(len(error), np.nan), where=spread > 0)


class _Effects(NamedTuple):
    """What pieces do, of a few beats."""

    effect: np.ndarray  # (record, target, piece)
    none: np.ndarray  # (record, target): the prediction when no piece is the record's own
    fit: _Fit | None


def _alone(edit: _Edit) -> _Effects:
    """Effects of exchanging one piece."""
    intact = edit(np.ones(edit.n, bool))
    without = [edit(np.arange(edit.n) != k) for k in range(edit.n)]
    return _Effects(intact[:, :, None] - np.stack(without, axis=2), edit(np.zeros(edit.n, bool)), None)


class _Joint:
    """The numbers whose sums come nearest to the effects of random joint edits."""

    def __init__(self, n: int, n_edits: int, seed: int) -> None:
        self.gone = drawn_edits(n, n_edits, seed)
        x = self.gone.astype(float)
        self.solve = np.linalg.solve(x.T @ x + _RIDGE * np.eye(n), x.T)  # (piece, edit)

    def __call__(self, edit: _Edit) -> _Effects:
        intact = edit(np.ones(edit.n, bool))
        taken = np.stack([intact - edit(~row) for row in self.gone])  # (edit, record, target)
        effect = np.einsum("pe,ent->ntp", self.solve, taken)
        fit = _Fit.of(taken, np.einsum("ep,ntp->ent", self.gone, effect))
        return _Effects(effect, edit(np.zeros(edit.n, bool)), fit)


class _Shapley:
    """Effects averaged over orders of exchange: all of them, or those drawn and their reverses."""

    def __init__(self, n: int, n_edits: int, seed: int) -> None:
        self.n, self.exact = n, n <= _MOST_EXACT
        drawn = np.random.default_rng(seed)
        self.orders = [] if self.exact else [drawn.permutation(n) for _ in range(max(1, n_edits // (2 * n)))]

    def __call__(self, edit: _Edit) -> _Effects:
        return self._all(edit) if self.exact else self._drawn(edit)

    def _all(self, edit: _Edit) -> _Effects:
        kept = np.array(list(itertools.product((False, True), repeat=self.n)))
        f = np.stack([edit(row) for row in kept])  # (coalition, record, target); the first keeps nothing
        size = kept.sum(axis=1)
        place = 2 ** np.arange(self.n)[::-1]
        effect = np.zeros((*f.shape[1:], self.n))
        for k in range(self.n):
            without = np.flatnonzero(~kept[:, k])
            share = np.array([1 / (self.n * math.comb(self.n - 1, int(s))) for s in size[without]])
            effect[:, :, k] = np.einsum("c,cnt->nt", share, f[without + place[k]] - f[without])
        return _Effects(effect, f[0], _Fit.of(f - f[0], np.einsum("ck,ntk->cnt", kept, effect)))

    def _drawn(self, edit: _Edit) -> _Effects:
        base, whole = edit(np.zeros(self.n, bool)), edit(np.ones(self.n, bool))
        effect = np.zeros((*base.shape, self.n))
        seen: list[tuple[np.ndarray, np.ndarray]] = []
        for order in [o for drawn in self.orders for o in (drawn, drawn[::-1])]:
            own, last = np.zeros(self.n, bool), base
            for k in order:
                own[k] = True
                now = whole if own.all() else edit(own)
                effect[:, :, k] += now - last
                last = now
                seen.append((own.copy(), now))
        effect /= 2 * len(self.orders)
        kept = np.array([own for own, _ in seen])
        fit = _Fit.of(np.stack([f for _, f in seen]) - base, np.einsum("ck,ntk->cnt", kept, effect))
        return _Effects(effect, base, fit)
