"""The representative beat of a recording: the beats it is made of, its global landmarks with their doubt, its targets.

Time zero of a beat is the peak of the leads' root mean square within QRS, so rS and QS leads need no R of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from ..delineation.landmarks import (
    FEW_BEATS,
    LANDMARKS,
    P_ON,
    QRS_ON,
    WAVES,
    J,
    beat_landmarks,
    global_marks,
    intervals,
)
from ..delineation.waves import MIN_LEAD, delineate, long_flat, need_rate
from ..recordings.filters import bridge_short_gaps, prepare
from ..recordings.record import (
    FS,
    LEADS,
    LIMB_WEIGHTS,
    Record,
    RecordError,
    lead_quality,
    limb_error,
    pick_leads,
)
from .measurements import N_BEFORE, N_SAMPLES, TARGETS, TIME, UNITS, targets

EDITED = "edited"  # attribute of a cohort whose beats are not as they were recorded
RHYTHM = ("rhythm", "cycle_fiducial", "cycle_used")  # what a cohort holds of whole recordings
SIMILAR = 0.9  # correlation with the record's own median beat from which on a beat is of the same kind
# Shares of the beats: a beat stands for too few; so many make a kind where the median of all is like none; a kind with
# fewer is not taken for the conducted one.
FEW_ALIKE, MANY, RARE = 0.6, 0.35, 0.2
FAINT_UV, HUGE_UV = 30.0, 1e5  # no ECG is as small in all eight leads, or as large in half of them
# What a recording came with and what is in it may differ by filters and by which beats were taken, not by more.
_QRS_MS, _LIKE, _GAIN = 100.0, 0.7, 1.4
_MAX_LAG = 15  # samples (30 ms) that cross-correlation may move a beat
_QRS_REACH_MS = 60.0  # of a QRS complex without boundaries, to either side
_TOGETHER_MS = 100.0  # QRS marks of one beat lie within this of their neighbour lead's
_SHORTEST_MEDIAN_MS, _USUAL_RR_MS = 500.0, 1000.0  # of a beat that a file holds; where no rate is known
_P_WITHIN_MS, _T_WITHIN_MS = 400.0, 700.0  # a P wave belongs to the QRS after it, a T wave to the QRS before it

BEAT_COORDS: dict[str, Any] = {
    "lead": list(LEADS),
    "time": ("time", TIME, {"units": "ms"}),
    "landmark": list(LANDMARKS),
    "side": ["outer", "inner"],
}
# What one recording yields: dims and attributes of each variable.
BEAT_VARIABLES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "beat": (("lead", "time"), {"units": "µV"}),
    "fiducial": (("landmark",), {"units": "ms"}),
    "doubt": (("landmark",), {"units": "ms"}),
    "neighbour": (("side", "landmark"), {"units": "ms"}),
    "rhythm": (("lead", "sample"), {"units": "µV"}),
    "cycle_fiducial": (("cycle", "landmark"), {"units": "ms"}),
    "cycle_used": (("cycle",), {"comment": "1: part of the representative beat"}),
    **{name: ((), {"units": UNITS[name]}) for name in TARGETS},
    "fiducial_manual": (("landmark",), {"units": "ms"}),
    **{f"{name}_manual": ((), {"units": "ms"}) for name in ("pr", "qrs", "qt")},
    "lead_missing": (("lead",), {"comment": "share of samples that are missing"}),
    "lead_flat": (("lead",), {"comment": "share of samples without change over 200 ms, or missing"}),
    "lead_saturated": (("lead",), {"comment": "share of samples held at the lead's own extreme"}),
    "lead_noise": (("lead",), {"units": "µV", "comment": "robust SD of the second difference, as of white noise"}),
    "limb_error": ((), {"comment": "largest break of III, aVR, aVL, aVF against I and II, relative to their size"}),
    "lead_bridged": (("lead",), {"comment": "share of samples in gaps of up to 20 ms, which are bridged"}),
    "lead_beats": (("lead",), {"comment": "beats that the lead's representative beat is made of"}),
    "n_beats": ((), {}),
    "n_beats_found": ((), {}),
    "share_alike": ((), {"comment": "share of the complete beats that are like the representative one"}),
    "n_kinds": ((), {"comment": "kinds of beats, of two or more beats each"}),
}


class Beats(NamedTuple):
    """Every beat found in a recording."""

    r_ms: np.ndarray  # (beat,) from the record's start
    marks_ms: np.ndarray  # (beat, lead, landmark) from the record's start; NaN where a lead has no such wave


def need_records(cohort: xr.Dataset) -> None:
    """Says how to keep the dimension `record` when one record was taken out of a cohort without it."""
    if "record" not in cohort.dims:
        one = str(cohort["record"].values) if "record" in cohort.coords else "2"
        raise RecordError(f"this is one record without the dimension 'record'; use cohort.sel(record=[{one!r}])")


def representative_beat(
    record: Record,
    waves: pd.DataFrame | None = None,
    *,
    annotations: pd.DataFrame | None = None,
    method: str = "ecgwb",
    second: str | None = None,
    kind: int = 1,
    rank: int = 5,
) -> xr.Dataset:
    """The median of a recording's similar beats, with global landmarks, their doubt, and the targets.

    Beats are aligned by cross-correlation with their median; beats that correlate with it below 0.9 (ectopic, noisy)
    are of another kind. Of two kinds the conducted one is chosen (a P wave before it, in time, a narrower QRS complex),
    as in bigeminy, where each has half of the beats. Where noise leaves no kind, the more similar half stays.

    Gaps of up to 20 ms are bridged. A longer one costs its lead a beat, and the other leads nothing, so that a printout
    (2.5 s of each lead, lead II whole) has a beat of few beats in most leads, with larger doubts.

    Parameters
    ----------
    record : Record
        Any rate; the eight independent leads, or enough limb leads to derive them. Other leads help the landmarks.
    waves : DataFrame, optional
        What `delineate` returned for this record; computed with `method` when missing.
    annotations : DataFrame, optional
        Waves marked by hand, in the same form; gives ``fiducial_manual`` and ``pr_manual``, ``qrs_manual``,
        ``qt_manual`` by the same rule over the same beats.
    method : str
        Of `delineate`, where `waves` is missing.
    second : str, optional
        A second method of `delineate`, such as "prominence": where it disagrees with the first, the doubt grows.
    kind : int
        2 for the other kind of beat, where two beats or more are alike and unlike the chosen ones.
    rank : int
        Which of twelve leads that show a wave, counted from outside, sets its onset and offset: 5 as in the cohorts,
        which noise moves little, or 1 for the earliest onset and the latest offset in any lead, as in the clinic
        (AHA/ACCF/HRS 2009), which is longer. The doubt is calibrated for 5.

    Returns
    -------
    Dataset
        ``beat`` (lead, time), µV; its landmarks and their doubt; the seven targets; the whole recording:

        - ``fiducial`` (landmark): ms from time zero, NaN = absent
        - ``doubt`` (landmark): ms, see `beat_landmarks`
        - ``neighbour`` (side, landmark): the landmark by the next order statistic outwards and inwards, ms
        - ``n_beats``, ``n_beats_found``: the beats it is made of, and all that were found; ``lead_beats`` (lead): of
          each lead. Where leads are missing at times these differ, and ``n_beats`` is the smallest
        - ``share_alike``: the share of the complete beats that are like it; ``n_kinds``: 2 where others are alike, too
        - ``rhythm`` (lead, sample): the filtered recording, µV
        - ``cycle_fiducial`` (cycle, landmark): landmarks of every beat, ms from the record's start
        - ``cycle_used`` (cycle): 1 where a beat is part of the representative beat
        - ``lead_missing``, ``lead_flat``, ``lead_saturated`` (lead): shares of samples before filtering, see
          `lead_quality`
        - ``lead_noise`` (lead): µV, from the same
        - ``lead_bridged`` (lead): the share of its samples that were missing for up to 20 ms and are bridged
        - ``limb_error``: by how much the limb leads disagree, relative to their size; NaN without a third one

    Raises
    ------
    RecordError
        When a lead is missing, no QRS is found, a lead has no complete beat, or the recording has no second kind.
    """
    arrays = beat_arrays(record, waves, annotations=annotations, method=method, second=second, kind=kind, rank=rank)
    variables = {name: (BEAT_VARIABLES[name][0], x, BEAT_VARIABLES[name][1]) for name, x in arrays.items()}
    return xr.Dataset(variables, coords=BEAT_COORDS).set_coords(["n_beats", "n_beats_found"])


def beat_arrays(
    record: Record,
    waves: pd.DataFrame | None = None,
    *,
    annotations: pd.DataFrame | None = None,
    method: str = "ecgwb",
    second: str | None = None,
    kind: int = 1,
    rank: int = 5,
) -> dict[str, Any]:
    """What `representative_beat` returns, as plain arrays by name; their dims are `BEAT_VARIABLES`."""
    need_rate(record)
    if rank not in range(1, 13):
        raise ValueError(f"rank is {rank!r}; expected 1, the outermost of twelve leads, to 12")
    eight, quality = _eight_leads(record)
    if waves is None:
        waves = delineate(record, method=method)
    there = _there(record, _lead_names(waves))
    found = find_beats(waves, eight, there)
    kinds = kinds_of_beats(eight, found)
    if kind not in range(1, len(kinds) + 1):
        alike = f"{len(kinds)} kind{'s' if len(kinds) > 1 else ''} of beats"
        raise RecordError(f"record {record.record_id!r} has {alike}, counted from 1; kind is {kind!r}")
    used, shift, share = kinds[kind - 1]
    r = found.r_ms + shift * 1000.0 / FS
    shown = None if there is None else _shown(there, r)
    own = beat_landmarks(found.marks_ms, r, used, rank=rank / 12, there=shown)
    beat, lead_beats = _median_beat(eight, r[used])
    cycles = _cycles_without_gaps(r, eight.signal)
    hr = 60000.0 / np.median(cycles) if len(cycles) else np.nan
    out: dict[str, Any] = {
        "beat": beat,
        "fiducial": own.fiducial,
        "doubt": own.doubt,
        "neighbour": own.neighbour,
        "rhythm": eight.signal.astype(np.float32),
        "cycle_fiducial": own.cycles,
        "cycle_used": used.astype(np.float32),
        **targets(beat, own.fiducial, hr),
        **quality,
        "limb_error": limb_error(record.signal, record.leads),
        "lead_beats": lead_beats,
        "n_beats": int(lead_beats.min()),
        "n_beats_found": len(r),
        "share_alike": share,
        "n_kinds": len(kinds),
    }
    if second is not None:
        opinion = delineate(record, method=second)
        leads = _lead_names(opinion)
        lead_there = _there(record, leads)
        shown = None if lead_there is None else _shown(lead_there, r)
        other = beat_landmarks(_marks_of(opinion, found.r_ms, leads), r, used, rank=rank / 12, there=shown)
        # Half the squared gap is the variance of two opinions; no opinion adds none.
        gap = np.nan_to_num(other.fiducial - own.fiducial)
        out["doubt"] = np.sqrt(own.doubt**2 + gap**2 / 2)
    if annotations is not None:
        marks = _marks_of(annotations, found.r_ms, _lead_names(waves))
        by_hand = beat_landmarks(marks, r, used, share=0.0, rank=rank / 12).fiducial
        out["fiducial_manual"] = by_hand
        out |= {f"{name}_manual": value for name, value in intervals(by_hand).items()}
    return out


def file_beat_arrays(
    record: Record, waves: pd.DataFrame | None = None, annotations: pd.DataFrame | None = None
) -> dict[str, Any]:
    """`beat_arrays` with the beat that came with the recording, and its landmarks and targets, in place of ours.

    It is repeated at the recording's rate for ten seconds, so that the filter, the delineation, time zero and the
    landmarks are those of any recording. Rhythm, quality and heart rate are the recording's. ``n_beats`` is 0, as
    nobody knows how many beats it is made of. Marks made by hand are of the recording's beats, and stay so.

    Raises
    ------
    RecordError
        When the recording has no such beat, or one of less than half a second; or for `beat_arrays`'s reasons.
    """
    rid = record.record_id
    if record.median is None:
        raise RecordError(f"record {rid!r} came without a representative beat; beats='ours' makes one")
    if record.median.duration_ms < _SHORTEST_MEDIAN_MS:
        raise RecordError(
            f"record {rid!r}: the beat it came with is {record.median.duration_ms:.0f} ms long; expected "
            f"{_SHORTEST_MEDIAN_MS:.0f} ms or more. beats='ours' makes one"
        )
    out = beat_arrays(record, waves, annotations=annotations)
    rr = 60000.0 / out["hr"] if np.isfinite(out["hr"]) else _USUAL_RR_MS
    try:
        own = beat_arrays(_repeated(record.median, rr, rid))
    except RecordError as e:
        raise RecordError(f"the beat that came with {e}") from None
    taken = ("beat", "fiducial", "neighbour", *(k for k in TARGETS if k != "hr"))
    doubt = np.fmax(own["doubt"], out["doubt"])  # one beat repeated does not show how much beats differ
    unknown = {"n_beats": 0, "lead_beats": np.zeros(len(LEADS), int)}
    unlike = {"unlike": _unlike(own["beat"], out["beat"])}
    return out | {k: own[k] for k in taken} | {"doubt": doubt} | unknown | unlike


def _unlike(theirs: np.ndarray, ours: np.ndarray) -> str:
    """In words, where the QRS of one beat (lead, time) is of another shape, sign or size than that of the other."""
    x = ours[:, np.abs(TIME) <= _QRS_MS]
    best, gain = -1.0, 1.0
    for lag in range(-_MAX_LAG, _MAX_LAG + 1):
        y = np.roll(theirs, lag, axis=1)[:, np.abs(TIME) <= _QRS_MS]
        product, size = float((x * y).sum()), float((x * x).sum())
        like = product / np.sqrt(size * float((y * y).sum()))
        if like > best:
            best, gain = like, product / size
    if best < _LIKE:
        return f"the beat that came with the recording is not like those in it (their QRS correlate by {best:.2f})"
    if not 1 / _GAIN < gain < _GAIN:
        return f"the beat that came with the recording is {gain:.2g} times as large as those in it"
    return ""


def _repeated(median: Record, rr_ms: float, rid: str) -> Record:
    """A beat repeated every `rr_ms` for ten seconds; its R lies at 0.4 of each cycle, or where it comes first."""
    known = bridge_short_gaps(median.signal, median.fs)
    level = known - np.nanmedian(known, axis=1, keepdims=True)
    r = int(np.argmax(np.nan_to_num(level**2).mean(axis=0)))
    n = round(rr_ms * median.fs / 1000)
    first = max(r - round(0.4 * n), 0)
    at = np.arange(first, first + n)
    held = min(n, known.shape[1] - first)
    # From where the beat ends, or over its last 40 ms, a straight line to where the next one begins.
    fade = min(held, known.shape[1] - first - round(0.04 * median.fs))
    x, y = np.r_[at[:fade], at[-1] + 1], np.c_[known[:, first : first + fade], known[:, first]]
    cycle = np.stack([np.interp(at, x, row) for row in y])
    seconds = max(10.0, 4 * rr_ms / 1000)
    cycles = np.tile(cycle, (1, int(np.ceil(seconds * median.fs / n))))
    return Record(cycles, median.fs, median.leads, rid)


def _eight_leads(record: Record) -> tuple[Record, dict[str, np.ndarray]]:
    """The eight leads, prepared, and each one's quality before that; refuses a record without an ECG in all of them."""
    rid = record.record_id
    raw = pick_leads(record, LEADS)
    quality = lead_quality(raw)
    still = np.isnan(bridge_short_gaps(raw.signal, raw.fs)).mean(axis=1)
    without_flat = _flat_is_missing(raw)
    left = quality if without_flat is raw else lead_quality(without_flat)
    raw = without_flat
    too_short = (left["missing"] > 0.5) & ((1 - left["missing"]) * raw.duration_ms < 1000 * MIN_LEAD)
    dead = too_short | (left["flat"] - left["missing"] >= 0.5 * (1 - left["missing"]))
    if dead.any():
        named = ", ".join(quality.index[dead])
        shares = ", ".join(f"{k} {row.missing:.0%} and {row.flat:.0%}" for k, row in quality[dead].iterrows())
        raise RecordError(
            f"record {rid!r}: lead {named} is empty or flat for half of it or more; all eight are needed, each for "
            f"{MIN_LEAD} s or longer. Missing, and missing or flat: {shares}"
        )
    eight = _limb_leads_completed(prepare(raw), record)
    sizes = np.nanmax(eight.signal, axis=1) - np.nanmin(eight.signal, axis=1)
    if sizes.max() < FAINT_UV or np.median(sizes) > HUGE_UV:
        fix = "in mV are to be multiplied by 1000" if sizes.max() < FAINT_UV else "in µV are not to be called mV"
        seen = f"the leads span {np.median(sizes):.2g} µV"
        raise RecordError(f"record {rid!r}: {seen}; expected hundreds to thousands. Signals {fix}")
    columns = ("missing", "flat", "saturated", "noise_uv")
    out = {f"lead_{k.removesuffix('_uv')}": quality[k].to_numpy(np.float32) for k in columns}
    return eight, out | {"lead_bridged": (quality["missing"].to_numpy() - still).astype(np.float32)}


def _flat_is_missing(record: Record) -> Record:
    """The record with what does not change for a second missing, in leads that are flat for half or more of it.

    So are the leads of some digitised printouts, where they were not drawn.
    """
    flat = long_flat(record)
    flat[flat.mean(axis=1) < 0.5] = False
    return replace(record, signal=np.where(flat, np.nan, record.signal)) if flat.any() else record


def _limb_leads_completed(eight: Record, record: Record) -> Record:
    """Prepared leads, where I or II is missing computed from two other limb leads that are there at that time."""
    limb = [name for name in LIMB_WEIGHTS if name in record.leads]
    if np.isfinite(eight.signal[:2]).all() or len(limb) < 3:
        return eight
    others = prepare(pick_leads(_flat_is_missing(record), limb)).signal
    signal = eight.signal.copy()
    for a, b in combinations(range(len(limb)), 2):
        to_i_ii = np.linalg.inv(np.array([LIMB_WEIGHTS[limb[a]], LIMB_WEIGHTS[limb[b]]]))
        signal[:2] = np.where(np.isnan(signal[:2]), to_i_ii @ others[[a, b]], signal[:2])
    return replace(eight, signal=signal)


def _there(record: Record, leads: Sequence[str]) -> np.ndarray | None:
    """At which samples of 500 Hz (lead, sample) these leads are there; None where no lead lacks anything."""
    record = _flat_is_missing(record)
    missing = np.isnan(bridge_short_gaps(record.signal, record.fs))
    if not missing.any():
        return None
    rows = dict(zip(record.leads, ~missing, strict=True))
    at = np.arange(0, missing.shape[1], record.fs / FS).astype(int)
    return np.stack([rows.get(lead, np.ones(missing.shape[1], bool))[at] for lead in leads])


def _shown(there: np.ndarray, r_ms: np.ndarray, start: float = -300.0, stop: float = 450.0) -> np.ndarray:
    """(beat, lead): whether a lead (lead, sample) is there from P to T of each beat, as far as the recording goes."""
    gone = np.pad(np.cumsum(~there, axis=1), ((0, 0), (1, 0)))
    first, last = (np.clip(np.round((r_ms + t) * FS / 1000).astype(int), 0, there.shape[1]) for t in (start, stop))
    return (gone[:, last] - gone[:, first] == 0).T


def _cycles_without_gaps(r_ms: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """Lengths (ms) of the cycles that have no gap, which may hide a beat.

    A gap is where more than half of the leads (lead, sample) that usually are there at a time are missing.
    """
    there = np.isfinite(signal).sum(axis=0)
    missing = np.r_[0, np.cumsum(there < np.median(there) / 2)]
    at = np.clip(np.round(r_ms * FS / 1000).astype(int), 0, len(missing) - 1)
    return np.diff(r_ms)[np.diff(missing[at]) == 0]


# ---------------------------------------------------------------- finding and choosing beats


def find_beats(waves: pd.DataFrame, record: Record, there: np.ndarray | None = None) -> Beats:
    """Beats of a prepared record, from waves marked lead by lead: a QRS in a third of the leads is one.

    Of the leads that show any wave, that is: one that shows none may be dead, or nobody looked at it.

    Parameters
    ----------
    waves : DataFrame
        As from `delineate`, of this record alone; its other leads count too.
    record : Record
        Within QRS, the peak of its leads' root mean square is the beat's time: of those that are whole, where others
        are not. Without a whole lead it is the middle of QRS, which differs less between leads.
    there : bool array (lead, sample), optional
        Where leads are missing at times: when each lead of `waves`, by name, is there, at 500 Hz. Others do not count.

    Returns
    -------
    Beats

    Raises
    ------
    RecordError
        When there is none.
    """
    leads = _lead_names(waves)
    peak = waves["peak_ms"].to_numpy(float)
    qrs = (waves["wave"].to_numpy() == "QRS") & ~np.isnan(peak)
    times = np.sort(peak[qrs])
    groups = [g for g in np.split(times, np.flatnonzero(np.diff(times) > _TOGETHER_MS) + 1) if len(g)]
    middles = np.array([np.median(g) for g in groups])
    votes, n_there = np.array([len(g) for g in groups]), _count_there(there, middles, len(leads))
    if there is not None and there.all(axis=1).any():  # leads that are whole decide: a lead's begin may look like a QRS
        deciding = np.array(leads)[there.all(axis=1)]
        own = peak[qrs & waves["lead"].isin(deciding).to_numpy()]
        votes = np.array([((own >= g[0]) & (own <= g[-1])).sum() for g in groups])
        n_there = np.full(len(groups), len(deciding))
    centres = middles[votes >= np.maximum(n_there / 3, 1)]
    if not len(centres):
        raise RecordError(
            f"record {record.record_id!r}: no QRS found in a third of its leads; expected an ECG with visible beats"
        )
    marks = _marks_of(waves, centres, leads)
    whole = np.isfinite(record.signal).all(axis=1)
    rms = np.sqrt(np.mean(record.signal[whole] ** 2, axis=0)) if whole.any() else None
    bounds = global_marks(marks, n_leads=_count_there(there, centres, len(leads)))[0][:, [QRS_ON, J]]
    r = centres.copy()
    for i, (start, stop) in enumerate(bounds):
        start = start if np.isfinite(start) else centres[i] - _QRS_REACH_MS
        stop = stop if np.isfinite(stop) else centres[i] + _QRS_REACH_MS
        if rms is None:
            r[i] = round((start + stop) / 2 * FS / 1000) * 1000.0 / FS
            continue
        a = max(int(start * FS / 1000), 0)
        b = max(int(stop * FS / 1000), a + 1) + 1
        at = a + int(np.argmax(rms[a:b])) if a < rms.size else int(centres[i] * FS / 1000)
        r[i] = at * 1000.0 / FS
    return Beats(r, marks)


def _count_there(there: np.ndarray | None, times: np.ndarray, n: int) -> np.ndarray:
    """(time,): how many of n leads (lead, sample) are there throughout a QRS complex at each time (ms)."""
    if there is None:
        return np.full(len(times), n)
    return _shown(there, times, -_QRS_REACH_MS, _QRS_REACH_MS).sum(axis=1)


def _lead_names(waves: pd.DataFrame) -> list[str]:
    return sorted(waves["lead"].unique())


def _marks_of(waves: pd.DataFrame, r_ms: np.ndarray, leads: Sequence[str]) -> np.ndarray:
    """Waves sorted into (beat, lead, landmark), each into the beat that it belongs to by time."""
    marks = np.full((len(r_ms), len(leads), len(WAVES), 3), np.nan)  # onset, peak and offset of each wave
    row = {lead: i for i, lead in enumerate(leads)}
    kinds = waves["wave"].to_numpy()
    lead = np.array([row.get(name, -1) for name in waves["lead"].to_numpy()], dtype=int)
    points = np.stack([waves[f"{point}_ms"].to_numpy(float) for point in ("onset", "peak", "offset")], axis=1)
    known = (lead >= 0) & ~np.isnan(points[:, 1])
    for k, kind in enumerate(WAVES):
        some = np.flatnonzero((kinds == kind) & known)
        some = some[np.argsort(points[some, 1], kind="stable")]
        # Where a lead has two candidates the last assignment wins: the latest P, and the earliest T.
        some = some[::-1] if kind == "T" else some
        beat = _beat_of(kind, points[some, 1], r_ms)
        some, beat = some[beat >= 0], beat[beat >= 0]
        marks[beat, lead[some], k] = points[some]
    return marks.reshape(len(r_ms), len(leads), len(LANDMARKS))


def _beat_of(kind: str, peak: np.ndarray, r_ms: np.ndarray) -> np.ndarray:
    """The beat of each wave of a kind: P goes to the beat after it, T to the beat before it; -1 where none is near."""
    after = np.searchsorted(r_ms, peak)  # index of the first beat after this wave
    left, right = np.clip(after - 1, 0, len(r_ms) - 1), np.clip(after, 0, len(r_ms) - 1)
    if kind == "P":
        beat, within = after, _P_WITHIN_MS
    elif kind == "T":
        beat, within = after - 1, _T_WITHIN_MS
    else:
        beat = np.where(np.abs(r_ms[left] - peak) <= np.abs(r_ms[right] - peak), left, right)
        within = _TOGETHER_MS
    inside = (beat >= 0) & (beat < len(r_ms))
    near = np.abs(r_ms[np.where(inside, beat, 0)] - peak) <= within
    return np.where(inside & near, beat, -1)


def _cut(signal: np.ndarray, r_ms: np.ndarray) -> np.ndarray:
    """Windows (beat, lead, time) around each time; NaN beyond the recording."""
    start = np.round(r_ms * FS / 1000).astype(int) - N_BEFORE
    windows = np.full((len(start), len(signal), N_SAMPLES), np.nan)
    for window, a in zip(windows, start.tolist(), strict=True):
        first, last = max(a, 0), min(a + N_SAMPLES, signal.shape[1])
        if first < last:
            window[:, first - a : last - a] = signal[:, first:last]
    return windows


def _has(windows: np.ndarray, core: bool = False) -> np.ndarray:
    """(beat, lead): windows (beat, lead, time) without a missing sample; or with none from P to T and 30 ms beyond."""
    part = windows[:, :, _CORE.start - _MAX_LAG : _CORE.stop + _MAX_LAG] if core else windows
    return np.isfinite(part).all(axis=2)


def _leads_of_beats(windows: np.ndarray) -> np.ndarray:
    """(beat, lead): where windows are whole; of leads with few of these that others have, where P to T is."""
    has = _has(windows)
    n = has.sum(axis=0)
    few = n < min(FEW_BEATS, n.max())
    return np.where(few, _has(windows, core=True), has) if few.any() else has


def _medians(windows: np.ndarray, has: np.ndarray) -> np.ndarray:
    """(lead, time): each lead's median over the beats that it has; NaN where it has none."""
    if has.all():  # np.median takes four times as long along the first axis
        ordered, n = np.sort(windows, axis=0), len(windows)
        middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
        return np.where(np.isnan(ordered[-1]), np.nan, middle)
    out = np.full(windows.shape[1:], np.nan)
    for lead in np.flatnonzero(has.any(axis=0)):
        some = windows[has[:, lead], lead]
        known = np.isfinite(some).any(axis=0)
        out[lead, known] = np.nanmedian(some[:, known], axis=0)
    return out


def _median_beat(eight: Record, r_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The median (lead, time) of the beats at these times, and how many each lead has (lead,).

    Raises
    ------
    RecordError
        When a lead has none.
    """
    windows = _cut(eight.signal, r_ms)
    has = _leads_of_beats(windows)
    if not has.any(axis=0).all():
        missing = np.isnan(eight.signal).mean(axis=1)
        lacking = ", ".join(f"{LEADS[k]} (missing for {missing[k]:.0%})" for k in np.flatnonzero(~has.any(axis=0)))
        raise RecordError(
            f"record {eight.record_id!r}: none of its {len(r_ms)} beats of one kind is there from P to T (-330 to "
            f"+480 ms) in lead {lacking}; expected one in each lead"
        )
    beat = _medians(windows, has)
    for x in beat:  # beyond P to T, of a lead whose beats are all cut there, its last value
        known = np.isfinite(x)
        x[~known] = np.interp(np.flatnonzero(~known), np.flatnonzero(known), x[known])
    return beat.astype(np.float32), has.sum(axis=0)


class Kind(NamedTuple):
    """Beats of one kind."""

    used: np.ndarray  # bool (beat,): they make the representative beat
    shift: np.ndarray  # (beat,): samples that bring each beat onto it
    share: float  # of the recording's complete beats that are like it


def kinds_of_beats(record: Record, found: Beats) -> list[Kind]:
    """The kinds of beats in a prepared recording, the conducted one first: one, or two where two beats are otherwise.

    Conducted beats have a P wave before them, come in time, and have the narrower QRS complex. A kind that has more of
    these three than the more frequent one, and a fifth of the beats at least, stands before it.

    Raises
    ------
    RecordError
        When no beat is complete.
    """
    padding = (np.diff(record.signal, axis=1, prepend=np.nan) == 0).all(axis=0)  # where all leads stand still
    signal = np.where(padding, np.nan, record.signal)
    windows = _cut(signal, found.r_ms)
    has = _leads_of_beats(windows)
    complete = np.asarray(has.any(axis=1))
    if not complete.any():
        raise RecordError(
            f"record {record.record_id!r}: none of its {len(found.r_ms)} beats is complete from -500 to +698 ms "
            "without gaps; expected at least one"
        )
    first, alike = _similar_beats(signal, windows, found.r_ms, complete, complete)
    if alike.sum() < FEW_ALIKE * complete.sum():  # of two kinds, or of noise, the median of all may be like no beat
        other, more = _similar_beats(signal, windows, found.r_ms, complete, _like_most(windows, has, complete))
        first, alike = (other, more) if more.sum() > max(alike.sum(), MANY * complete.sum()) else (first, alike)
    kinds, rest = [first], complete & ~alike
    if rest.sum() > 1:
        second, alike = _similar_beats(signal, windows, found.r_ms, rest, _like_most(windows, has, rest))
        if alike.sum() > 1:
            kinds.append(second._replace(share=float(alike.sum() / complete.sum())))
    if len(kinds) == 2 and kinds[1].share >= RARE and _conducted(kinds[1], kinds[0], found):
        kinds.reverse()
    return kinds


def _conducted(kind: Kind, other: Kind, found: Beats) -> bool:
    """Whether a kind has more marks of conduction than another one."""
    cycles = global_marks(found.marks_ms)[0]
    before = np.diff(found.r_ms, prepend=np.nan) / np.median(np.diff(found.r_ms))  # cycle before each beat

    def signs(k: Kind, than: Kind) -> int:
        has_p = np.isfinite(cycles[k.used, P_ON]).mean() >= 0.5
        in_time = np.nanmedian(np.r_[before[k.used], np.nan, 1.0]) > 0.85
        width, others = (np.nanmedian(np.r_[(cycles[:, J] - cycles[:, QRS_ON])[x.used], 1e3]) for x in (k, than))
        return int(has_p) + int(in_time) + int(width < others - 20)

    return signs(kind, other) > signs(other, kind)


def _like_most(windows: np.ndarray, has: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(beat,): the one beat that most others of these are like; at most 60 of them are compared."""
    some = np.flatnonzero(among)
    some = some[np.linspace(0, len(some) - 1, min(len(some), 60)).round().astype(int)]
    x = windows[some][:, :, _CORE]
    if has[some].all():
        x = (x - x.mean(axis=2, keepdims=True)).reshape(len(some), -1)
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        alike = x @ x.T
    else:  # two beats by the leads that both have
        x = np.where(has[some][:, :, None], x - x.mean(axis=2, keepdims=True), 0.0)
        size = (x**2).sum(axis=2) @ has[some].T
        alike = np.einsum("ilt,jlt->ij", x, x) / np.maximum(np.sqrt(size * size.T), 1e-12)
    return np.arange(len(among)) == some[np.lexsort((alike.sum(1), (alike >= SIMILAR).sum(1)))[-1]]


def _similar_beats(
    signal: np.ndarray, windows: np.ndarray, r_ms: np.ndarray, among: np.ndarray, start: np.ndarray
) -> tuple[Kind, np.ndarray]:
    """The beats of one kind: those of `among` that are like each other, from the median of the beats `start` on.

    Beats are compared in the leads that they have. The second of the result says which are as like it as `SIMILAR`
    asks.
    """
    shift, used = np.zeros(len(r_ms)), start
    shifted, has = windows, _leads_of_beats(windows)
    leads = has[among]
    given = np.where(leads[:, :, None], np.nan_to_num(windows[among]), 0.0)
    size = _size_at_lags(given)
    for _ in range(3):
        before = shift.copy(), used
        similar = np.full(len(r_ms), -np.inf)
        lag, similar[among] = _best_lag(given, size, leads, _medians(shifted[used], has[used]))
        shift[among] = lag
        # A shift may have pushed an edge beat's window beyond the recording.
        shifted = _cut(signal, r_ms + shift * 1000.0 / FS)
        has = _leads_of_beats(shifted)
        whole = has.any(axis=1) & among
        similar[~whole] = -np.inf
        alike = used = similar >= SIMILAR
        if used.sum() < whole.sum() / 2 and start.sum() > 1:
            used = similar >= np.median(similar[whole])
        if np.array_equal(shift, before[0]) and np.array_equal(used, before[1]):
            break  # once more would change nothing
    # Zero stays the peak of the RMS within QRS, now of the representative beat.
    middle = _medians(shifted[used], has[used])
    rms = np.sqrt((middle[has[used].any(axis=0)] ** 2).mean(axis=0))
    to_peak = int(np.argmax(rms[N_BEFORE - _MAX_LAG : N_BEFORE + _MAX_LAG + 1])) - _MAX_LAG
    centred = used & _leads_of_beats(_cut(signal, r_ms + (shift + to_peak) * 1000.0 / FS)).any(axis=1)
    share = float(alike.sum() / among.sum())
    return (Kind(centred, shift + to_peak, share) if centred.any() else Kind(used, shift, share)), alike


_CORE = slice(N_BEFORE - 150, N_BEFORE + 225)  # -300 .. +450 ms: P to T at common rates
_LAGS = np.arange(-_MAX_LAG, _MAX_LAG + 1)


def _size_at_lags(windows: np.ndarray) -> np.ndarray:
    """(beat, lead, lag): summed square of each window (beat, lead, time) about its mean, with the core lagged."""
    n = _CORE.stop - _CORE.start
    first = _CORE.start + _LAGS

    def sums(x: np.ndarray) -> np.ndarray:  # (beat, lead, lag)
        total = np.cumsum(np.pad(x, ((0, 0), (0, 0), (1, 0))), axis=2)
        return total[:, :, first + n] - total[:, :, first]

    return sums(windows**2) - sums(windows) ** 2 / n


def _best_lag(
    windows: np.ndarray, size: np.ndarray, has: np.ndarray, template: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each window (beat, lead, time) the lag (samples) that correlates best with the template, and how well.

    By the leads that both have; a window is zero in the others.
    """
    known = np.isfinite(template[:, _CORE]).all(axis=1)
    t = np.where(known[:, None], template[:, _CORE], 0.0)
    t = t - t.mean(axis=1, keepdims=True)
    reach = windows[:, :, _CORE.start - _MAX_LAG : _CORE.stop + _MAX_LAG]
    lagged = np.lib.stride_tricks.sliding_window_view(reach, t.shape[1], axis=2)  # (beat, lead, lag, time)
    both = has & known
    if both.all():
        squares = size.sum(axis=1) * (t**2).sum()
    else:
        squares = (size * both[:, :, None]).sum(axis=1) * (both @ (t**2).sum(axis=1))[:, None]
    found = np.einsum("bklt,kt->bl", lagged, t) / np.maximum(np.sqrt(squares), 1e-12)
    best = found.argmax(axis=1)
    return _LAGS[best], found.max(axis=1)
