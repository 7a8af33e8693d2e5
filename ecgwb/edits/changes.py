"""Changes: beats altered on purpose, to see what a stretch of the ECG does to a prediction.

Every change leaves the beat continuous and gives back a cohort. Only the beat's own waves change: what the window shows
of the beats before and after stays. Where the cohort holds recordings (``rhythm``), every beat of them is changed
alike, by its own landmarks. One that cannot be changed stays; a recording with fewer than half of its used beats
changed is NaN, as is one whose representative beat cannot be changed. ``cycles_edited`` (record,) is their share.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from numbers import Real

import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d

from ..cohorts.beats import EDITED, RHYTHM
from ..cohorts.cycles import (
    Change,
    blocks_of,
    has_cycles,
    in_every_cycle,
    mask_in_cycles,
    spans_in_cycles,
    with_beats_in_cycles,
)
from ..cohorts.guards import check, json_attribute, kind_of
from ..cohorts.lines import bridge, lines_between
from ..cohorts.measurements import STEP, TARGETS, TIME, UNITS, baseline, targets
from ..delineation.landmarks import WAVES, R
from .pacing import SHORTEST_MS, is_whole, paced

FILLS = ("linear", "flat", "mean")
INTERVALS = {"PR": ("P_on",), "QRS": ("QRS_on", "J"), "QT": ("T_off",)}  # what a beat needs to have each stretched
_KNOTS = ("P_on", "P_off", "QRS_on", "R", "J", "T_on", "T_off")  # between them a stretch is even
_MARGIN_MS = 10.0  # a sham span keeps this far from any wave; a flat span's ends fade over it
_WAVE_SHARES = np.linspace(0.0, 1.0, 101)  # of a wave's length, where the cohort's mean wave is taken
_LONGEST_STRETCH_MS = 500.0  # either way: a beat's window is 1,200 ms
_FADE_SAMPLES = 5.0  # standard deviation of the smooth step by which the mean beat is faded in


def blank(cohort: xr.Dataset, wave: str, fill: str = "linear", *, sham: bool = False) -> xr.Dataset:
    """The cohort with one wave removed from every beat, in every lead; landmarks and targets stay the intact beat's.

    Parameters
    ----------
    cohort : Dataset
    wave : {"P", "QRS", "T"}
        P_on to P_off, QRS_on to J, T_on to T_off.
    fill : {"linear", "flat", "mean"}
        "linear": a straight line between the wave's ends, as in Hicks et al. (2021). "flat": the level of the 10 ms
        before QRS_on, faded in and out over 10 ms. "mean": the cohort's mean wave, as long as this one and on the same
        line; what makes this beat differ from others is gone, and the beat stays one that a network could see.
    sham : bool
        Remove a span of the same length between T and the next P instead, or before P, and keep the wave. It shows what
        removing anything does.

    Returns
    -------
    Dataset
        ``beat`` changed, and ``rhythm``; a beat without the wave, or without room for the sham, is NaN. ``blanked``
        (record, edge) holds the span's ends in ms, ``cycle_blanked`` (record, cycle, edge) those of every beat of the
        recording from its start; the coordinate ``outside`` is "no P" where the wave is gone.

    Raises
    ------
    ValueError
        For an unknown wave or fill.
    """
    cohort = check(cohort, "hr") if sham else check(cohort)
    if wave not in WAVES or fill not in FILLS:
        raise ValueError(f"wave {wave!r} with fill {fill!r}; expected one of {', '.join(WAVES)} and {', '.join(FILLS)}")

    def span(beats: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
        start, stop = _marks(beats, *WAVES[wave])
        return sham_span(beats, stop - start) if sham else (start, stop)

    mean = _mean_wave(cohort, *span(cohort)) if fill == "mean" else None

    def change(beats: xr.Dataset, _rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _without(beats, *span(beats), fill, mean), beats["fiducial"].values

    out = edited(cohort, change)
    start, stop = span(cohort)
    out["blanked"] = (("record", "edge"), np.stack([start, stop], axis=1), {"units": "ms"})
    if has_cycles(cohort):
        out["cycle_blanked"] = (("record", "cycle", "edge"), spans_in_cycles(cohort, span), {"units": "ms"})
    is_gone = np.isfinite(out["beat"].values).all(axis=(1, 2)) & (not sham) & (fill != "mean")
    return out.assign_coords(outside=("record", np.where(is_gone, f"no {wave}", "")))


def _without(cohort: xr.Dataset, start: np.ndarray, stop: np.ndarray, fill: str, mean: np.ndarray | None) -> np.ndarray:
    """Beats (record, lead, time) with a span of each (record,) filled; NaN where it has none.

    Parameters
    ----------
    mean : array (lead, share) or None
        What `_mean_wave` gives, for ``fill="mean"``.
    """
    beats, lined, inside = lines_between(cohort, start, stop)
    if fill == "linear":
        changed = lined
    elif fill == "flat":
        (qrs_on,) = _marks(cohort, "QRS_on")
        level = np.stack([baseline(beat, on) for beat, on in zip(beats, qrs_on, strict=True)])  # (record, lead)
        from_edge = np.minimum(TIME - start[:, None], stop[:, None] - TIME) / _MARGIN_MS
        weight = np.where(inside, _half_cosine(from_edge), 0.0)[:, None]
        changed = beats * (1 - weight) + level[:, :, None] * weight
    elif mean is not None:
        changed = lined + np.where(inside[:, None], _drawn(mean, start, stop), 0.0)
    else:  # nobody has this wave
        changed = lined
    changed[~inside.any(axis=1)] = np.nan
    return changed


def erase(cohort: xr.Dataset, mask: np.ndarray, fill: str = "linear") -> xr.Dataset:
    """The cohort with chosen samples replaced, whatever wave they belong to; landmarks and targets stay.

    Parameters
    ----------
    cohort : Dataset
    mask : bool array (record, time) or (record, lead, time)
        True: replaced.
    fill : {"linear", "mean"}
        "linear": straight lines between the neighbours (at the beat's end, the level of the one neighbour; 0 µV where
        no sample is left). "mean": the cohort's mean beat, faded in and out over some 20 ms.

    Returns
    -------
    Dataset
        ``beat`` changed, and ``rhythm`` at the same moments of every beat, as far as they are its own: up to the middle
        between T and the next P.

    Raises
    ------
    ValueError
        For an unknown fill, or a mask of another kind or shape.
    """
    cohort = check(cohort)
    if fill not in ("linear", "mean"):
        raise ValueError(f"cannot fill with {fill!r}; expected 'linear' or 'mean'")
    beats, mask = _beats(cohort), np.asarray(mask)
    if mask.dtype != bool:
        raise ValueError(f"mask holds {mask.dtype}; expected bool, True where samples are to be erased")
    if mask.shape not in (beats.shape, (len(beats), beats.shape[2])):
        raise ValueError(f"mask is {mask.shape}; expected (record, time) or (record, lead, time) of {beats.shape}")
    mask = mask if mask.ndim == 3 else mask[:, None]
    complete = np.isfinite(beats).all(axis=(1, 2))
    mean = beats[complete].mean(axis=0) if complete.any() else np.full(beats.shape[1:], np.nan)
    out = _with_beats(cohort, _filled(beats, mask, mean if fill == "mean" else None))
    if has_cycles(cohort):
        rhythm = np.empty(cohort["rhythm"].shape, np.float32)
        for rows, some, cycles in blocks_of(cohort):
            other = with_beats_in_cycles(some, cycles, mean[None]) if fill == "mean" else None
            rhythm[rows] = _filled(some["rhythm"].values, mask_in_cycles(some, mask[rows]), other)
        out = _with_rhythm(out, cohort, rhythm, cohort["cycle_fiducial"].values)
    return out


def _filled(series: np.ndarray, mask: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    """Series (record, lead, sample) with straight lines, or with others faded in, where the mask says so."""
    if other is None:
        return bridge(series, mask)
    weight = gaussian_filter1d(mask.astype(float), _FADE_SAMPLES, axis=2, mode="nearest")
    return np.asarray(series * (1 - weight) + other * weight)


def stretch(cohort: xr.Dataset, interval: str, ms: float | np.ndarray) -> xr.Dataset:
    """The cohort with one interval of every beat longer or shorter by so many ms; waves keep their height.

    Parameters
    ----------
    cohort : Dataset
    interval : {"PR", "QRS", "QT", "RR"}
        "PR": P moves earlier as a whole and the PQ segment is drawn out. "QRS": QRS is drawn out evenly about time
        zero; P keeps its distance from QRS_on, ST and T theirs from J, so QT grows with it. "QT": the ST segment is
        drawn out and T moves later as a whole. The waves of the beats before and after stay where they are; the spans
        between them and this beat's waves give way. "RR": every TP segment of the recordings is drawn out, or shortened
        to no less than 8 ms, and all waves keep their shape; for cohorts with ``rhythm`` only, see `spread_rr`.
    ms : float, or array (record,)
        Below 0: shorter.

    Returns
    -------
    Dataset
        ``beat``, ``fiducial`` and the seven targets changed (not ``hr``, which "RR" alone changes); marks made by hand
        are left out. A beat that lacks the wave, or would be left with less than 8 ms of a span that gives way, is NaN.
        The coordinate ``outside`` names the targets that leave the 1st to 99th percentile of the unchanged cohort: a
        network has hardly seen such beats.

    Raises
    ------
    ValueError
        For an unknown interval, 500 ms or more, and where RR is to change in a cohort without recordings.
    """
    cohort = check(cohort, "hr")
    if interval not in (*INTERVALS, "RR"):
        raise ValueError(f"cannot stretch {interval!r}; expected one of {', '.join(INTERVALS)}, RR")
    ms = _amounts(ms, "ms", cohort)
    if interval != "RR" and np.abs(ms).max(initial=0.0) >= _LONGEST_STRETCH_MS:
        raise ValueError(
            f"ms is {ms[np.abs(ms).argmax()]:g}; expected milliseconds between -{_LONGEST_STRETCH_MS:g} and "
            f"{_LONGEST_STRETCH_MS:g}: no beat has room for more"
        )
    if interval == "RR":
        return _with_intervals(cohort, lambda rr, row: rr + ms[row], ms == 0)
    return _changed(cohort, lambda beats, rows: _stretched(beats, interval, ms[rows]))


def _stretched(cohort: xr.Dataset, interval: str, ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Beats (record, lead, time) with an interval drawn out, and their landmarks; NaN where that cannot be."""
    before, after = _gap_to_neighbours(cohort)
    first, last = np.full_like(before, TIME[0]), np.full_like(before, TIME[-1])
    old = np.stack([first, before, *_marks(cohort, *_KNOTS), after, last], axis=1)  # (record, knot)
    moves = _moves(cohort, interval, ms)
    new = old.copy()
    new[:, 2:-2] += moves
    beats, fiducial = _beats(cohort), cohort["fiducial"].values.astype(float)
    has_wave = np.isfinite(_marks(cohort, *INTERVALS[interval])).all(axis=0) & np.isfinite(moves).all(axis=1)
    changed = np.full_like(beats, np.nan)
    for i in np.flatnonzero(has_wave & np.isfinite(beats).all(axis=(1, 2))):
        known = np.isfinite(old[i])
        was, becomes = old[i, known], new[i, known]
        if _leaves_room(was, becomes):
            changed[i] = warp(beats[i], was, becomes)
            fiducial[i] = np.interp(fiducial[i], was, becomes)
    return changed, fiducial


def spread_rr(cohort: xr.Dataset, factor: float | np.ndarray) -> xr.Dataset:
    """The cohort with the RR intervals of every recording more, or less, alike; their mean and all waves stay.

    Parameters
    ----------
    cohort : Dataset
        With ``rhythm``.
    factor : float, or array (record,)
        How far each interval then is from the recording's mean, as a share of how far it was: 0 for a metronome, 2 for
        twice the spread.

    Returns
    -------
    Dataset
        ``rhythm``, its beats' landmarks and ``hr`` (of the median interval) changed; the representative beat stays. TP
        segments are drawn out, or shortened to no less than 8 ms. What is pushed beyond the recording's end is cut off;
        where it becomes too short, its cycles are repeated from the beginning. A recording in which fewer than half of
        the intervals can be had, or which has too few beats, is NaN.

    Raises
    ------
    ValueError
        When the cohort has no recordings, or a factor is below 0.
    """
    cohort = check(cohort, "hr")
    factors = _amounts(factor, "factor", cohort)
    if (factors < 0).any():
        raise ValueError(f"factor is {factors.min():g}; expected 0, for intervals that are all the same, or more")
    return _with_intervals(cohort, lambda rr, row: rr.mean() + factors[row] * (rr - rr.mean()), factors == 1)


def _with_intervals(
    cohort: xr.Dataset, wanted: Callable[[np.ndarray, int], np.ndarray], same: np.ndarray
) -> xr.Dataset:
    """The cohort with other RR intervals in its recordings.

    Parameters
    ----------
    cohort : Dataset
    wanted : function
        Gives the intervals wanted from those of a recording (interval,), ms, and its row.
    same : bool array (record,)
        The recordings that stay as they are.
    """
    if not has_cycles(cohort):
        raise ValueError(
            "RR is changed in recordings, and this cohort has none: open_cohort(..., rhythm=True). What a beat alone "
            f"has is {', '.join(INTERVALS)}"
        )
    hr = cohort["hr"].values.astype(float)
    rhythm = np.full(cohort["rhythm"].shape, np.nan, dtype=np.float32)
    length = cohort.sizes["sample"] * STEP
    marks, used = [np.zeros((0, cohort.sizes["landmark"]))] * len(hr), [np.zeros(0)] * len(hr)
    for rows, some, cycles in blocks_of(cohort):
        for k, (signal, own, own_used) in enumerate(
            zip(some["rhythm"].values, some["cycle_fiducial"].values, some["cycle_used"].values, strict=True)
        ):
            order = cycles["cycle"].values[cycles["row"].values == k]  # in the order of time
            i, own, own_used = rows.start + k, own[order].astype(float), own_used[order]
            rr = np.diff(own[:, R])
            new = paced(signal, own, wanted(rr, i)) if len(rr) and not same[i] else None
            if same[i]:
                rhythm[i], marks[i], used[i] = signal, own, own_used
            elif new is None:
                hr[i] = np.nan
            else:
                rhythm[i], marks[i] = new.rhythm, new.marks
                used[i] = own_used[new.cycle] * is_whole(new.marks[:, R], length)
                hr[i] = 60000.0 / (60000.0 / hr[i] + np.median(new.rr) - np.median(rr))
    out = measured(cohort.assign(hr=("record", hr, cohort["hr"].attrs)), _beats(cohort), cohort["fiducial"].values)
    return _with_rhythm(_said_outside(out, cohort), cohort, rhythm, _padded(marks), _padded(used).astype(np.float32))


def _padded(values: list[np.ndarray]) -> np.ndarray:
    """Arrays (cycle, ...) of some records as one (record, cycle, ...), NaN where a record has fewer cycles."""
    out = np.full((len(values), max(map(len, values)), *values[0].shape[1:]), np.nan)
    for row, one in zip(out, values, strict=True):
        row[: len(one)] = one
    return out


def warp(beat: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """A beat whose moments are moved, evenly between them.

    A spline is drawn through the samples, since straight lines would flatten the peak of a wave that moves by part of a
    sample.

    Parameters
    ----------
    beat : array (lead, time)
    before, after : array (moment,), ms
        Where each moment lies and where it is to lie, both rising. Beyond the first and the last, the beat's value
        there is held.

    Returns
    -------
    array (lead, time)
    """
    return np.asarray(CubicSpline(TIME, beat, axis=1)(np.interp(TIME, after, before)))


def scale(cohort: xr.Dataset, wave: str, factor: float | np.ndarray) -> xr.Dataset:
    """The cohort with R (all of QRS) or T higher by a factor in every lead, as seen from the line between its ends.

    Parameters
    ----------
    cohort : Dataset
    wave : {"R", "T"}
    factor : float, or array (record,)
        0.7: 30 % lower.

    Returns
    -------
    Dataset
        As from `stretch`; a beat without the wave is NaN.

    Raises
    ------
    ValueError
        For an unknown wave.
    """
    cohort = check(cohort, "hr")
    if wave not in ("R", "T"):
        raise ValueError(f"cannot scale {wave!r}; expected 'R' or 'T'")
    factors = _amounts(factor, "factor", cohort)[:, None, None]

    def change(some: xr.Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        beats, lined, inside = lines_between(some, *_marks(some, *WAVES["QRS" if wave == "R" else "T"]))
        changed = lined + factors[rows] * (beats - lined)
        changed[~inside.any(axis=1)] = np.nan
        return changed, some["fiducial"].values

    return _changed(cohort, change)


def lift(cohort: xr.Dataset, point: str, uv: float | np.ndarray) -> xr.Dataset:
    """The cohort with J higher by so many µV in every lead: rising from time zero to J, gone again at T_on.

    Parameters
    ----------
    cohort : Dataset
    point : {"J"}
    uv : float, or array (record,)
        Below 0: lower.

    Returns
    -------
    Dataset
        As from `stretch`; a beat without J or T_on is NaN.

    Raises
    ------
    ValueError
        For an unknown point.
    """
    cohort = check(cohort, "hr")
    if point != "J":
        raise ValueError(f"cannot lift {point!r}; expected 'J'")
    heights = _amounts(uv, "uv", cohort)[:, None, None]

    def change(some: xr.Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        j, t_on = (m[:, None] for m in _marks(some, "J", "T_on"))
        with np.errstate(divide="ignore", invalid="ignore"):  # J at time zero, or no ST segment: a step
            rise = _half_cosine(TIME / j)
            fall = np.where(t_on > j, _half_cosine((t_on - TIME) / (t_on - j)), (j >= TIME).astype(float))
        shape = np.where(TIME <= 0, 0.0, np.where(j >= TIME, rise, fall))  # (record, time)
        changed = _beats(some) + heights[rows] * shape[:, None]
        changed[~np.isfinite(j + t_on)[:, 0]] = np.nan
        return changed, some["fiducial"].values

    return _changed(cohort, change)


def plant(
    cohort: xr.Dataset,
    at_ms: float,
    uv: float,
    *,
    lead: str | None = None,
    width_ms: float = 8.0,
    where: np.ndarray | None = None,
) -> xr.Dataset:
    """The cohort with a small smooth bump added to the beats: a mark whose meaning is known, because we put it there.

    Parameters
    ----------
    cohort : Dataset
    at_ms : float
        Where its peak lies, from the QRS fiducial.
    uv : float
        How high it is.
    lead : str, optional
        Every lead by default.
    width_ms : float
        At half its height; it is zero from `width_ms` on to either side.
    where : bool array (record,), optional
        The records that get it; all by default.

    Returns
    -------
    Dataset
        As from `stretch`.

    Raises
    ------
    ValueError
        For an unknown lead, a width of 0 or less, or another number of records in `where`.
    """
    cohort = check(cohort, "hr")
    leads = [str(v) for v in cohort["lead"].values]
    if lead is not None and lead not in leads:
        raise ValueError(f"no lead {lead!r}; the cohort has {', '.join(leads)}")
    for value, name in ((at_ms, "at_ms"), (uv, "uv"), (width_ms, "width_ms")):
        _check_number(value, name)
    if not width_ms > 0:
        raise ValueError(f"width_ms is {width_ms}; expected more than 0")
    chosen = np.ones(cohort.sizes["record"]) if where is None else np.asarray(where, float)
    if chosen.shape != (cohort.sizes["record"],):
        raise ValueError(f"where is {chosen.shape}; expected one value for each of {cohort.sizes['record']} records")
    bump = uv * _half_cosine(1 - np.abs(TIME - at_ms) / width_ms)
    in_lead = np.array([lead in (None, name) for name in leads], float)
    added = chosen[:, None, None] * in_lead[:, None] * bump
    return _changed(cohort, lambda beats, rows: (_beats(beats) + added[rows], beats["fiducial"].values))


# ---------------------------------------------------------------- shared


def _amounts(value: object, name: str, cohort: xr.Dataset) -> np.ndarray:
    """An amount of each record (record,)."""
    n = cohort.sizes["record"]
    if isinstance(value, np.ndarray):
        if value.shape != (n,) or value.dtype.kind not in "fiu" or not np.isfinite(value).all():
            raise TypeError(f"{name} is {kind_of(value)}; expected a finite number, or one for each of {n} records")
        return value.astype(float)
    _check_number(value, name)
    return np.full(n, float(value))  # type: ignore[arg-type]


def _check_number(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
        raise TypeError(f"{name} is {kind_of(value)}; expected a finite number")


def _beats(cohort: xr.Dataset) -> np.ndarray:
    return cohort["beat"].values.astype(float)


def _marks(cohort: xr.Dataset, *names: str) -> np.ndarray:
    """Landmarks (name, record), ms."""
    return cohort["fiducial"].sel(landmark=list(names)).values.astype(float).T


def _half_cosine(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, half a period of a cosine between: no kink at either end."""
    return (1 - np.cos(np.pi * np.clip(x, 0.0, 1.0))) / 2


def _mean_wave(cohort: xr.Dataset, start: np.ndarray, stop: np.ndarray) -> np.ndarray | None:
    """The mean (lead, share) of a cohort's waves, each from its start to its stop; None where nobody has one."""
    beats, lined, inside = lines_between(cohort, start, stop)
    waves, share = beats - lined, _share_of(start, stop)
    complete = np.flatnonzero(inside.any(axis=1) & np.isfinite(waves).all(axis=(1, 2)))
    if not len(complete):
        return None
    return np.mean([[np.interp(_WAVE_SHARES, share[i], lead) for lead in waves[i]] for i in complete], axis=0)


def _drawn(mean: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """A mean wave (lead, share) drawn to the length of each record's own (record, lead, time)."""
    share = _share_of(start, stop)
    return np.stack([np.interp(share, _WAVE_SHARES, lead) for lead in mean], axis=1)


def _share_of(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """How far through its wave each moment of a record is (record, time): 0 to 1 within it."""
    length = (stop - start)[:, None]
    return np.asarray((TIME - start[:, None]) / np.where(length > 0, length, np.nan))


def _gap_to_neighbours(cohort: xr.Dataset, margin: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Where the T wave before ends and the P wave after begins, ms, or the window's ends where they lie beyond."""
    if "before" in cohort:  # a recording's cycles, whose neighbours are known
        return np.fmax(TIME[0], cohort["before"].values + margin), np.fmin(TIME[-1], cohort["after"].values - margin)
    p_on, qrs_on, t_off = _marks(cohort, "P_on", "QRS_on", "T_off")
    rr = 60000.0 / cohort["hr"].values
    begins = np.where(np.isfinite(p_on), p_on, qrs_on)
    return np.fmax(TIME[0], t_off - rr + margin), np.fmin(TIME[-1], rr + begins - margin)


def sham_span(cohort: xr.Dataset, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A span of each beat free of waves: right after T_off if it ends before the next P, else right before P_on.

    Parameters
    ----------
    cohort : Dataset
    length : array (record,), ms

    Returns
    -------
    start, stop : array (record,), ms
        NaN where there is no room.
    """
    before, after = _gap_to_neighbours(cohort, _MARGIN_MS)
    p_on, qrs_on, t_off = _marks(cohort, "P_on", "QRS_on", "T_off")
    late = t_off + _MARGIN_MS
    early = np.where(np.isfinite(p_on), p_on, qrs_on) - _MARGIN_MS - length
    start = np.where(late + length <= after, late, np.where(early >= before, early, np.nan))
    return start, start + length


def _moves(cohort: xr.Dataset, interval: str, ms: np.ndarray) -> np.ndarray:
    """By how many ms a stretch moves each of `_KNOTS`: (record, knot)."""
    qrs_on, j = _marks(cohort, "QRS_on", "J")
    if interval == "PR":
        move = {"P_on": -ms, "P_off": -ms}
    elif interval == "QT":
        move = {"T_on": ms, "T_off": ms}
    else:
        growth = ms / np.where(j > qrs_on, j - qrs_on, np.nan)  # about time zero
        move = dict.fromkeys(("P_on", "P_off", "QRS_on"), growth * qrs_on)
        move |= dict.fromkeys(("J", "T_on", "T_off"), growth * j)
    return np.stack([np.broadcast_to(move.get(knot, 0.0), len(j)) for knot in _KNOTS], axis=1)


def _leaves_room(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether moments (ms) rise, and the parts between them whose length changes keep `SHORTEST_MS`."""
    was, becomes = np.diff(before), np.diff(after)
    changed = np.abs(becomes - was) > 1e-9
    return bool((was >= 0).all() and (np.minimum(was, becomes)[changed] >= SHORTEST_MS).all())


def edited(cohort: xr.Dataset, change: Change) -> xr.Dataset:
    """The cohort with its beats, and those of its recordings, changed alike; landmarks and targets stay.

    Parameters
    ----------
    cohort : Dataset
    change : function
        Takes a cohort of beats, and the row (beat,) of the record that each is of; gives the changed beats (beat, lead,
        time), NaN where one cannot be changed, and their landmarks (beat, landmark).

    Returns
    -------
    Dataset
    """
    return _in_rhythm(_with_beats(cohort, change(cohort, np.arange(cohort.sizes["record"]))[0]), cohort, change)


def _in_rhythm(out: xr.Dataset, cohort: xr.Dataset, change: Change) -> xr.Dataset:
    """A cohort whose beats have been changed, with the recordings that it was made from changed alike."""
    if not has_cycles(cohort):
        return out
    rhythm, marks, share = in_every_cycle(cohort, change)
    rhythm[~np.isfinite(out["beat"].values).all(axis=(1, 2))] = np.nan
    return _with_rhythm(out, cohort, rhythm, marks).assign_coords(cycles_edited=("record", share))


def _with_rhythm(
    out: xr.Dataset, cohort: xr.Dataset, rhythm: np.ndarray, marks: np.ndarray, used: np.ndarray | None = None
) -> xr.Dataset:
    """A cohort with these recordings, their beats' landmarks, and which of them are used: as they were by default."""
    values = rhythm, marks, cohort["cycle_used"].values if used is None else used
    return out.assign({k: (cohort[k].dims, v, cohort[k].attrs) for k, v in zip(RHYTHM, values, strict=True)})


def _with_beats(cohort: xr.Dataset, beats: np.ndarray) -> xr.Dataset:
    """The cohort with these beats, and without recordings, which must not pass for changed ones."""
    out = cohort.drop_vars(RHYTHM, errors="ignore")
    out["beat"] = (("record", "lead", "time"), beats.astype(np.float32), cohort["beat"].attrs)
    return out.assign_attrs({EDITED: 1})


def measured(cohort: xr.Dataset, beats: np.ndarray, fiducial: np.ndarray) -> xr.Dataset:
    """The cohort with these beats and landmarks and the targets measured from them, without what no longer holds.

    Parameters
    ----------
    cohort : Dataset
    beats : array (record, lead, time), µV
    fiducial : array (record, landmark), ms

    Returns
    -------
    Dataset
        Targets are NaN where a beat is not complete, or has no landmark.
    """
    out = _with_beats(cohort, beats)
    out = out.drop_vars([v for v in out.data_vars if str(v).endswith("_manual") or v == "neighbour"])
    out["fiducial"] = (("record", "landmark"), fiducial, cohort["fiducial"].attrs)
    measurable = np.isfinite(beats).all(axis=(1, 2)) & np.isfinite(fiducial).any(axis=1)
    rows = [
        targets(beat, marks, hr) if ok else dict.fromkeys(TARGETS, np.nan)
        for beat, marks, hr, ok in zip(beats, fiducial, cohort["hr"].values, measurable, strict=True)
    ]
    return out.assign({t: ("record", np.array([row[t] for row in rows]), {"units": UNITS[t]}) for t in TARGETS})


def _changed(cohort: xr.Dataset, change: Change) -> xr.Dataset:
    """The cohort with its beats changed and measured, and where they leave what was seen before any change."""
    beats, fiducial = change(cohort, np.arange(cohort.sizes["record"]))
    return _in_rhythm(_said_outside(measured(cohort, beats, fiducial), cohort), cohort, change)


def _said_outside(out: xr.Dataset, cohort: xr.Dataset) -> xr.Dataset:
    """A changed cohort with the targets that leave what was seen in the unchanged one named."""
    seen = json_attribute(cohort, "seen_range", None) or _seen_range(cohort)
    leaves = {t: (out[t].values < low) | (out[t].values > high) for t, (low, high) in seen.items()}
    outside = [", ".join(t for t in leaves if leaves[t][i]) for i in range(out.sizes["record"])]
    out = out.assign_coords(outside=("record", np.array(outside, dtype=str)))
    return out.assign_attrs(seen_range=json.dumps(seen))


def _seen_range(cohort: xr.Dataset) -> dict[str, list[float]]:
    """The 1st and 99th percentile of each target in the unchanged cohort."""
    known = [t for t in TARGETS if t in cohort and np.isfinite(cohort[t].values).any()]
    return {t: [float(v) for v in np.nanpercentile(cohort[t].values, (1, 99))] for t in known}
