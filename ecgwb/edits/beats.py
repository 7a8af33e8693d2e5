"""Beats changed on purpose: what a stretch of the ECG does to a prediction is seen by changing that stretch.

Every edit leaves the beat continuous and gives back a cohort whose landmarks and targets are those of the edited beats.
Only the beat's own waves change: what the window shows of its neighbours stays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline

from ..cohorts.beats import RHYTHM, need_records, on_line
from ..cohorts.measurements import TARGETS, TIME, UNITS, baseline, targets
from ..delineation.landmarks import LANDMARKS, WAVES

FILLS = ("linear", "flat", "mean")
INTERVALS = ("PR", "QRS", "QT")
_MARGIN_MS = 10.0  # a sham span keeps this far from any wave; a flat span's ends fade over it
_SHORTEST_MS = 8.0  # what an edit must leave of a stretch that it shortens
_PHASES = np.linspace(0.0, 1.0, 101)  # of a wave, for the cohort's mean


def blank(cohort: xr.Dataset, wave: str, fill: str = "linear", *, sham: bool = False) -> xr.Dataset:
    """The cohort with one wave removed from every beat, in every lead; landmarks and targets stay the intact beat's.

    Parameters
    ----------
    cohort : Dataset
    wave : {"P", "QRS", "T"}
        P_on to P_off, QRS_on to J, T_on to T_off.
    fill : {"linear", "flat", "mean"}
        "linear": a straight line between the wave's ends, as in Hicks et al. (2021). "flat": the level of the 10 ms
        before QRS_on, faded in and out over 10 ms. "mean": the cohort's mean wave, drawn as long as this one and on
        the same line: what makes this beat differ from others is gone, and the beat stays one a network could see.
    sham : bool
        Blank a span of the same length between T and the next P instead, or before P: the wave itself stays. It shows
        what blanking alone does.

    Returns
    -------
    Dataset
        ``beat`` changed; a beat without the wave, or without room for the sham, is NaN. ``blanked`` (record, edge)
        says which span, in ms; the coordinate ``outside`` says "no P" where the wave is gone.

    Raises
    ------
    ValueError
        For an unknown wave or fill.
    """
    if wave not in WAVES or fill not in FILLS:
        raise ValueError(f"wave {wave!r} with fill {fill!r}; expected one of {', '.join(WAVES)} and {', '.join(FILLS)}")
    need_records(cohort)
    marks = cohort["fiducial"]
    start, stop = (marks.sel(landmark=m).values for m in WAVES[wave])
    if sham:
        start, stop = _sham_span(cohort, stop - start)
    x, line, inner = on_line(cohort, start, stop)
    there = inner.any(axis=1)
    if fill == "linear":
        out = line
    elif fill == "flat":
        level = np.stack([baseline(a, b) for a, b in zip(x, marks.sel(landmark="QRS_on").values, strict=True)])
        edge = np.minimum(TIME - start[:, None], stop[:, None] - TIME) / _MARGIN_MS
        w = np.where(inner, _half_cosine(edge), 0.0)[:, None]
        out = x * (1 - w) + level[:, :, None] * w
    else:
        phase = (TIME - start[:, None]) / (stop - start)[:, None]  # (record, time), 0..1 within
        away = [
            [np.interp(_PHASES, phase[i], lead) for lead in x[i] - line[i]]
            for i in np.flatnonzero(there & np.isfinite(x).all(axis=(1, 2)))
        ]
        mean = np.mean(away, axis=0) if away else np.zeros((x.shape[1], len(_PHASES)))  # (lead, phase)
        drawn = np.stack([np.interp(phase, _PHASES, lead) for lead in mean], axis=1)  # (record, lead, time)
        out = line + np.where(inner[:, None], drawn, 0.0)
    out[~there] = np.nan
    result = cohort.drop_vars(RHYTHM, errors="ignore")  # recordings are not edited, and must not pass for it
    result["beat"] = (("record", "lead", "time"), out.astype(np.float32), cohort["beat"].attrs)
    result["blanked"] = (("record", "edge"), np.stack([start, stop], axis=1), {"units": "ms"})
    gone = np.where(there & (not sham) & (fill != "mean"), f"no {wave}", "")
    return result.assign_coords(outside=("record", gone))


def stretch(cohort: xr.Dataset, interval: str, ms: float) -> xr.Dataset:
    """The cohort with one interval of every beat longer (or, below 0, shorter) by so many ms; waves keep their height.

    Parameters
    ----------
    cohort : Dataset
    interval : {"PR", "QRS", "QT"}
        "PR": P moves earlier as a whole and the PQ segment is drawn out. "QRS": QRS is drawn out evenly about time
        zero; P keeps its distance from QRS_on, ST and T theirs from J, so QT grows with it. "QT": the ST segment is
        drawn out and T moves later as a whole. The neighbours' waves stay: the stretches between them and this beat's
        waves make room.
    ms : float

    Returns
    -------
    Dataset
        ``beat``, ``fiducial`` and the seven targets changed (not ``hr``); marks made by hand are dropped. A beat that
        lacks the wave, or would be left with less than 8 ms of a stretch that gives way, is NaN. The coordinate
        ``outside`` names the targets that leave the 1st to 99th percentile of the unedited cohort: there a network
        answers about beats it has hardly seen.

    Raises
    ------
    ValueError
        For an unknown interval.
    """
    if interval not in INTERVALS:
        raise ValueError(f"cannot stretch {interval!r}; expected one of {', '.join(INTERVALS)}")
    need_records(cohort)
    f = {m: cohort["fiducial"].sel(landmark=m).values for m in LANDMARKS}
    zero = np.zeros(cohort.sizes["record"])
    before, after = _neighbours(cohort)
    names = ("P_on", "P_off", "QRS_on", "R", "J", "T_on", "T_off")
    old = np.stack([zero + TIME[0], before, *(f[m] for m in names), after, zero + TIME[-1]], axis=1)  # (record, knot)
    if interval == "PR":
        p, on, j, t, needed = -ms, 0.0, 0.0, 0.0, f["P_on"]
    elif interval == "QRS":
        more = ms / (f["J"] - f["QRS_on"])
        on, j, needed = f["QRS_on"] * more, f["J"] * more, more
        p, t = on, j
    else:
        p, on, j, t, needed = 0.0, 0.0, 0.0, ms, f["T_off"]
    moved: Sequence[Any] = (0, 0, p, p, on, 0, j, t, t, 0, 0)
    new = old + np.stack([zero + m for m in moved], axis=1)
    x = _beats(cohort)
    out, marks = np.full_like(x, np.nan), cohort["fiducial"].values.astype(float).copy()
    for i in np.flatnonzero(np.isfinite(needed) & np.isfinite(x).all(axis=(1, 2))):
        known = np.isfinite(old[i])
        a, b = old[i, known], new[i, known]
        changes = np.abs(np.diff(b) - np.diff(a)) > 1e-9
        if (np.minimum(np.diff(a), np.diff(b))[changes] < _SHORTEST_MS).any() or (np.diff(a) < 0).any():
            continue
        # A spline, as straight lines between samples would flatten the peaks of what moves by part of a sample.
        out[i] = CubicSpline(TIME, x[i], axis=1)(np.interp(TIME, b, a))
        marks[i] = np.interp(marks[i], a, b)
    return _edited(cohort, out, marks)


def scale(cohort: xr.Dataset, wave: str, factor: float) -> xr.Dataset:
    """The cohort with R (all of QRS) or T higher by a factor in every lead, as seen from the line between its ends.

    Parameters
    ----------
    cohort : Dataset
    wave : {"R", "T"}
    factor : float
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
    if wave not in ("R", "T"):
        raise ValueError(f"cannot scale {wave!r}; expected 'R' or 'T'")
    need_records(cohort)
    start, stop = (cohort["fiducial"].sel(landmark=m).values for m in WAVES["QRS" if wave == "R" else "T"])
    x, line, inner = on_line(cohort, start, stop)
    out = line + factor * (x - line)
    out[~inner.any(axis=1)] = np.nan
    return _edited(cohort, out, cohort["fiducial"].values)


def lift(cohort: xr.Dataset, point: str, uv: float) -> xr.Dataset:
    """The cohort with J higher by so many µV in every lead: rising from time zero to J, gone again at T_on.

    Parameters
    ----------
    cohort : Dataset
    point : {"J"}
    uv : float
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
    if point != "J":
        raise ValueError(f"cannot lift {point!r}; expected 'J'")
    need_records(cohort)
    j, t_on = (cohort["fiducial"].sel(landmark=m).values[:, None] for m in ("J", "T_on"))
    with np.errstate(divide="ignore", invalid="ignore"):  # no time to J, or no ST segment: at once
        rise = _half_cosine(TIME / j)
        fall = np.where(t_on > j, _half_cosine((t_on - TIME) / (t_on - j)), (j >= TIME).astype(float))
    bump = np.where(TIME <= 0, 0.0, np.where(j >= TIME, rise, fall))  # (record, time)
    out = _beats(cohort) + uv * bump[:, None]
    out[~np.isfinite(j + t_on)[:, 0]] = np.nan
    return _edited(cohort, out, cohort["fiducial"].values)


def plant(
    cohort: xr.Dataset,
    at_ms: float,
    uv: float,
    *,
    lead: str | None = None,
    width_ms: float = 8.0,
    where: np.ndarray | None = None,
) -> xr.Dataset:
    """The cohort with a small smooth bump added to the beats: a mark, whose meaning is known because we put it there.

    Parameters
    ----------
    cohort : Dataset
    at_ms, uv : float
        Where its peak lies, from the QRS fiducial, and how high it is.
    lead : str, optional
        Every lead by default.
    width_ms : float
        At half its height; it is zero from `width_ms` on to either side.
    where : bool array (record,), optional
        Who gets it; everyone by default.

    Returns
    -------
    Dataset
        As from `stretch`.

    Raises
    ------
    ValueError
        For an unknown lead, or a width of 0 or less.
    """
    need_records(cohort)
    leads = [str(v) for v in cohort["lead"].values]
    if lead is not None and lead not in leads:
        raise ValueError(f"no lead {lead!r}; the cohort has {', '.join(leads)}")
    if not width_ms > 0:
        raise ValueError(f"width_ms is {width_ms}; expected more than 0")
    bump = uv * _half_cosine(1 - np.abs(TIME - at_ms) / width_ms)
    in_lead = np.array([lead in (None, name) for name in leads], float)
    who = np.ones(cohort.sizes["record"]) if where is None else np.asarray(where, float)
    out = _beats(cohort) + who[:, None, None] * in_lead[:, None] * bump
    return _edited(cohort, out, cohort["fiducial"].values)


# ---------------------------------------------------------------- shared


def _beats(cohort: xr.Dataset) -> np.ndarray:
    return cohort["beat"].transpose("record", "lead", "time").values.astype(float)


def _half_cosine(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, half a period of a cosine between: no kink at either end."""
    return (1 - np.cos(np.pi * np.clip(x, 0.0, 1.0))) / 2


def _neighbours(cohort: xr.Dataset, margin: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Where the T wave before ends and the P wave after begins, ms, or the window's ends where they lie beyond."""
    f = {m: cohort["fiducial"].sel(landmark=m).values for m in ("P_on", "QRS_on", "T_off")}
    rr = 60000.0 / cohort["hr"].values
    p_on = np.where(np.isfinite(f["P_on"]), f["P_on"], f["QRS_on"])
    return np.fmax(TIME[0], f["T_off"] - rr + margin), np.fmin(TIME[-1], rr + p_on - margin)


def _edited(cohort: xr.Dataset, x: np.ndarray, fiducial: np.ndarray) -> xr.Dataset:
    """The cohort with these beats and landmarks, and what is measured from them."""
    stale = [v for v in cohort.data_vars if str(v).endswith("_manual") or v in ("neighbour", *RHYTHM)]
    out = cohort.drop_vars(stale)
    out["beat"] = (("record", "lead", "time"), x.astype(np.float32), cohort["beat"].attrs)
    out["fiducial"] = (("record", "landmark"), fiducial, cohort["fiducial"].attrs)
    whole = np.isfinite(x).all(axis=(1, 2))
    rows = [
        targets(beat, marks, hr) if ok else dict.fromkeys(TARGETS, np.nan)
        for beat, marks, hr, ok in zip(x, fiducial, cohort["hr"].values, whole, strict=True)
    ]
    for t in TARGETS:
        out[t] = ("record", np.array([row[t] for row in rows]), {"units": UNITS[t]})
    seen = json.loads(cohort.attrs["seen_range"]) if "seen_range" in cohort.attrs else _seen_range(cohort)
    left = [", ".join(t for t, (low, high) in seen.items() if row[t] < low or row[t] > high) for row in rows]
    out = out.assign_coords(outside=("record", np.array(left, dtype=str)))
    return out.assign_attrs(seen_range=json.dumps(seen))


def _seen_range(cohort: xr.Dataset) -> dict[str, list[float]]:
    known = [t for t in TARGETS if t in cohort and np.isfinite(cohort[t].values).any()]
    return {t: [float(v) for v in np.nanpercentile(cohort[t].values, (1, 99))] for t in known}


def _sham_span(cohort: xr.Dataset, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A span of that length free of waves: right after T_off if it ends before the next P, else right before P_on."""
    before, after = _neighbours(cohort, _MARGIN_MS)
    p_on, qrs_on, t_off = (cohort["fiducial"].sel(landmark=m).values for m in ("P_on", "QRS_on", "T_off"))
    late = t_off + _MARGIN_MS
    early = np.where(np.isfinite(p_on), p_on, qrs_on) - _MARGIN_MS - length
    start = np.where(late + length <= after, late, np.where(early >= before, early, np.nan))
    return start, start + length
