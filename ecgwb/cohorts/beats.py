"""The representative beat of a recording: the beats it is made of, its global landmarks with their doubt, its targets.

Time zero of a beat is the peak of the leads' root mean square within QRS, so rS and QS leads need no R of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from ..delineation.landmarks import LANDMARKS, doubt_of, global_marks, in_order, intervals, median_if_common
from ..delineation.waves import delineate, need_rate
from ..recordings.filters import fill_gaps, prepare
from ..recordings.record import FS, LEADS, Record, RecordError, lead_quality, limb_error, pick_leads
from .measurements import N_BEFORE, N_SAMPLES, TARGETS, TIME, UNITS, targets

RHYTHM = ("rhythm", "cycle_fiducial", "cycle_used")  # what a cohort holds of whole recordings
SIMILAR = 0.9  # correlation with the record's own median beat from which a beat counts as of the same kind
FAINT_UV, HUGE_UV = 30.0, 1e5  # no ECG is as small in all eight leads, or as large in half of them
_MAX_LAG = 15  # samples (30 ms) that cross-correlation may move a beat
_TOGETHER_MS = 100.0  # QRS marks of one beat lie within this of their neighbour lead's
_P_WITHIN_MS, _T_WITHIN_MS = 400.0, 700.0  # a P wave belongs to the QRS after it, a T wave to the QRS before it
_WAVES = {"P": (0, 1, 2), "QRS": (3, 4, 5), "T": (6, 7, 8)}

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
    "n_beats": ((), {}),
    "n_beats_found": ((), {}),
}


class Beats(NamedTuple):
    """Every beat found in a recording."""

    r_ms: np.ndarray  # (beat,) from the record's start
    marks_ms: np.ndarray  # (beat, lead, landmark), from the record's start; NaN where a lead has no such wave


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
) -> xr.Dataset:
    """The median of a recording's similar beats, with global landmarks, their doubt, and the targets.

    Beats are aligned by cross-correlation with their median; beats that correlate with it below 0.9 (ectopic, noisy)
    are left out, unless that leaves less than half of them: then the more similar half stays.

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

    Returns
    -------
    Dataset
        ``beat`` (lead, time) µV; ``fiducial``, ``doubt`` (landmark) ms from time zero, NaN = absent; ``neighbour``
        (side, landmark): the landmark by the next order statistic outwards and inwards; the seven targets;
        ``n_beats`` used of ``n_beats_found``; ``rhythm`` (lead, sample) µV and ``cycle_fiducial`` (cycle, landmark)
        in ms from the record's start, ``cycle_used`` (cycle); the leads' quality before filtering: ``lead_missing``,
        ``lead_flat``, ``lead_saturated`` (lead), shares of samples, ``lead_noise`` (lead) µV, see `lead_quality`, and
        ``limb_error``: by how much the limb leads disagree, relative to their size, NaN without a third one.

    Raises
    ------
    RecordError
        When a lead is missing, no QRS is found, or no complete beat lies within the recording.
    """
    found = beat_arrays(record, waves, annotations=annotations, method=method, second=second)
    out = xr.Dataset({k: (BEAT_VARIABLES[k][0], v, BEAT_VARIABLES[k][1]) for k, v in found.items()}, coords=BEAT_COORDS)
    return out.set_coords(["n_beats", "n_beats_found"])


def beat_arrays(
    record: Record,
    waves: pd.DataFrame | None = None,
    *,
    annotations: pd.DataFrame | None = None,
    method: str = "ecgwb",
    second: str | None = None,
) -> dict[str, Any]:
    """What `representative_beat` returns, as plain arrays by name; their dims are `BEAT_VARIABLES`."""
    rid = record.record_id
    need_rate(record)
    raw = pick_leads(record, LEADS)
    quality = lead_quality(raw)
    if not quality["usable"].all():
        dead = ", ".join(quality.index[~quality["usable"]])
        raise RecordError(f"record {rid!r}: lead {dead} is empty or flat for half of it or more; all eight are needed")
    eight = prepare(raw)
    sizes = np.nanmax(eight.signal, axis=1) - np.nanmin(eight.signal, axis=1)
    if sizes.max() < FAINT_UV or np.median(sizes) > HUGE_UV:
        fix = "in mV are to be multiplied by 1000" if sizes.max() < FAINT_UV else "in µV are not to be called mV"
        seen = f"the leads span {np.median(sizes):.2g} µV"
        raise RecordError(f"record {rid!r}: {seen}; expected hundreds to thousands. Signals {fix}")
    if waves is None:
        waves = delineate(record, method=method)
    beats = find_beats(waves, eight)
    r, marks = beats
    kept, shift = _similar_beats(eight, r, rid)
    r = r + shift * 1000.0 / FS
    beat = np.median(_cut(eight.signal, r[kept]), axis=0)  # (lead, time)

    per_beat = global_marks(marks)  # (side, beat, landmark)
    per_beat[:, :, 4] = r
    relative = per_beat[:, kept] - r[kept][None, :, None]
    fiducial = in_order(median_if_common(relative[0]))
    neighbour = np.stack([median_if_common(relative[k]) for k in (1, 2)])
    doubt = doubt_of(relative)
    if second is not None:
        opinion = delineate(record, method=second)
        other = global_marks(_marks_of(opinion, beats.r_ms, _lead_names(opinion)))[0][kept] - r[kept][:, None]
        gap = np.abs(median_if_common(other) - fiducial)
        gap[LANDMARKS.index("R")] = 0.0  # the fiducial is the same by either
        # Half the squared gap is the variance of two opinions; no opinion adds none.
        doubt = np.sqrt(doubt**2 + np.nan_to_num(gap) ** 2 / 2)
    out: dict[str, Any] = {
        "beat": beat.astype(np.float32),
        "fiducial": fiducial,
        "doubt": doubt,
        "neighbour": neighbour,
        "rhythm": eight.signal.astype(np.float32),
        "cycle_fiducial": per_beat[0],
        "cycle_used": kept.astype(np.float32),
    }
    hr = 60000.0 / np.median(np.diff(r)) if len(r) > 1 else np.nan
    out |= targets(out["beat"], fiducial, hr)
    if annotations is not None:
        by_hand = global_marks(_marks_of(annotations, beats.r_ms, _lead_names(waves)))[0]
        by_hand[:, 4] = r
        manual = in_order(median_if_common((by_hand - r[:, None])[kept], share=0.0))
        out["fiducial_manual"] = manual
        out |= {f"{name}_manual": value for name, value in intervals(manual).items()}
    columns = ("missing", "flat", "saturated", "noise_uv")
    out |= {f"lead_{k.removesuffix('_uv')}": quality[k].to_numpy(np.float32) for k in columns}
    out["limb_error"] = limb_error(record.signal, record.leads)
    return out | {"n_beats": int(kept.sum()), "n_beats_found": len(r)}


# ---------------------------------------------------------------- finding and choosing beats


def find_beats(waves: pd.DataFrame, record: Record) -> Beats:
    """Beats of a prepared record, from waves marked lead by lead: a QRS in a third of the leads is one.

    Of the leads that show any wave, that is: one that shows none may be dead, or not have been looked at.

    Raises
    ------
    RecordError
        When there is none.
    """
    leads = _lead_names(waves)
    times = np.sort(waves.loc[waves["wave"] == "QRS", "peak_ms"].dropna().to_numpy())
    groups = np.split(times, np.flatnonzero(np.diff(times) > _TOGETHER_MS) + 1) if len(times) else []
    centres = np.array([np.median(g) for g in groups if len(g) >= len(leads) / 3])
    if not len(centres):
        raise RecordError(
            f"record {record.record_id!r}: no QRS found in a third of its leads; expected an ECG with visible beats"
        )
    marks = _marks_of(waves, centres, leads)
    outline = global_marks(marks)[0]
    filled, _ = fill_gaps(record.signal)
    rms = np.sqrt(np.mean(filled**2, axis=0))
    r = np.empty(len(centres))
    for i, c in enumerate(centres):
        start, stop = outline[i, 3], outline[i, 5]
        start, stop = (start if np.isfinite(start) else c - 60), (stop if np.isfinite(stop) else c + 60)
        a = max(int(start * FS / 1000), 0)
        b = min(max(int(stop * FS / 1000), a + 1) + 1, rms.size)
        r[i] = (a + int(np.argmax(rms[a:b])) if a < b else int(c * FS / 1000)) * 1000.0 / FS
    return Beats(r, marks)


def _lead_names(waves: pd.DataFrame) -> list[str]:
    return sorted(waves["lead"].unique())


def _marks_of(waves: pd.DataFrame, r_ms: np.ndarray, leads: Sequence[str]) -> np.ndarray:
    """Waves sorted into (beat, lead, landmark): P to the beat after it, T to the beat before it, by time."""
    marks = np.full((len(r_ms), len(leads), len(LANDMARKS)), np.nan)
    row = {lead: i for i, lead in enumerate(leads)}
    kind = waves["wave"].to_numpy()
    lead_of = np.array([row.get(lead, -1) for lead in waves["lead"].to_numpy()], dtype=int)
    points_of = waves[["onset_ms", "peak_ms", "offset_ms"]].to_numpy(float)
    known = (lead_of >= 0) & ~np.isnan(points_of[:, 1])
    for wave, columns in _WAVES.items():
        chosen = np.flatnonzero((kind == wave) & known)
        chosen = chosen[np.argsort(points_of[chosen, 1], kind="stable")]
        points, lead = points_of[chosen], lead_of[chosen]
        peak = points[:, 1]
        after = np.searchsorted(r_ms, peak)  # index of the first beat after this wave
        if wave == "P":
            beat, near = after, _P_WITHIN_MS
        elif wave == "T":
            beat, near = after - 1, _T_WITHIN_MS
        else:
            left = np.clip(after - 1, 0, len(r_ms) - 1)
            right = np.clip(after, 0, len(r_ms) - 1)
            beat, near = np.where(np.abs(r_ms[left] - peak) <= np.abs(r_ms[right] - peak), left, right), _TOGETHER_MS
        ok = (beat >= 0) & (beat < len(r_ms))
        ok[ok] = np.abs(r_ms[beat[ok]] - peak[ok]) <= near
        # Where a lead has two candidates the last assignment wins: the latest P, hence the earliest T.
        order = np.flatnonzero(ok)[:: -1 if wave == "T" else 1]
        marks[beat[order][:, None], lead[order][:, None], np.array(columns)[None, :]] = points[order]
    return marks


def _cut(signal: np.ndarray, r_ms: np.ndarray) -> np.ndarray:
    """Windows (beat, lead, time) around each time; NaN beyond the recording."""
    at = np.round(r_ms * FS / 1000).astype(int)[:, None] + np.arange(N_SAMPLES) - N_BEFORE  # (beat, time)
    inside = (at >= 0) & (at < signal.shape[1])
    windows = signal[:, np.where(inside, at, 0)].transpose(1, 0, 2)
    return np.where(inside[:, None, :], windows, np.nan)


def _similar_beats(record: Record, r_ms: np.ndarray, rid: str) -> tuple[np.ndarray, np.ndarray]:
    """Which beats (bool, all of `r_ms`) make the representative beat, and every beat's shift in samples."""
    flat = (np.diff(record.signal, axis=1, prepend=np.nan) == 0).all(axis=0)  # padding, where all leads stand still
    signal = np.where(flat, np.nan, record.signal)
    windows = _cut(signal, r_ms)
    complete = np.isfinite(windows).all(axis=(1, 2))
    if not complete.any():
        raise RecordError(
            f"record {rid!r}: none of its {len(r_ms)} beats is complete from -500 to +698 ms without gaps; "
            "expected at least one"
        )
    shift = np.zeros(len(r_ms))
    kept = complete.copy()
    moved_windows, size = windows, _size_at_lags(windows[complete])
    for _ in range(3):
        template = np.median(moved_windows[kept], axis=0)
        lag, similar = _best_lag(windows[complete], size, template)
        shift[complete] = lag
        # A shift may have pushed an edge beat's window beyond the recording.
        moved_windows = _cut(signal, r_ms + shift * 1000.0 / FS)
        whole = np.isfinite(moved_windows).all(axis=(1, 2)) & complete
        score = np.full(len(r_ms), -np.inf)
        score[complete] = similar
        score[~whole] = -np.inf
        kept = score >= SIMILAR
        if kept.sum() < whole.sum() / 2:
            kept = score >= np.median(score[whole])
    # Zero stays the peak of the RMS within QRS, now of the representative beat.
    beat = np.median(moved_windows[kept], axis=0)
    rms = np.sqrt((beat**2).mean(axis=0))[N_BEFORE - _MAX_LAG : N_BEFORE + _MAX_LAG + 1]
    moved = shift + int(np.argmax(rms)) - _MAX_LAG
    whole = np.isfinite(_cut(signal, r_ms + moved * 1000.0 / FS)).all(axis=(1, 2))
    return (kept & whole, moved) if (kept & whole).any() else (kept, shift)


_CORE = slice(N_BEFORE - 150, N_BEFORE + 225)  # -300 .. +450 ms: P to T at common rates
_LAGS = np.arange(-_MAX_LAG, _MAX_LAG + 1)


def _size_at_lags(windows: np.ndarray) -> np.ndarray:
    """(beat, lag): summed square of each window (beat, lead, time) about its leads' means, with the core lagged."""
    n = _CORE.stop - _CORE.start
    first = _CORE.start + _LAGS

    def sums(x: np.ndarray) -> np.ndarray:  # (beat, lead, lag)
        total = np.cumsum(np.pad(x, ((0, 0), (0, 0), (1, 0))), axis=2)
        return total[:, :, first + n] - total[:, :, first]

    return (sums(windows**2) - sums(windows) ** 2 / n).sum(axis=1)


def _best_lag(windows: np.ndarray, size: np.ndarray, template: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each window (beat, lead, time) the lag (samples) that correlates best with the template, and how well."""
    t = template[:, _CORE] - template[:, _CORE].mean(axis=1, keepdims=True)
    reach = windows[:, :, _CORE.start - _MAX_LAG : _CORE.stop + _MAX_LAG]
    lagged = np.lib.stride_tricks.sliding_window_view(reach, t.shape[1], axis=2)  # (beat, lead, lag, time)
    found = np.einsum("bklt,kt->bl", lagged, t) / np.maximum(np.sqrt(size * (t**2).sum()), 1e-12)
    best = found.argmax(axis=1)
    return _LAGS[best], found.max(axis=1)
