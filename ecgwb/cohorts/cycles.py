"""Cycles: recordings taken apart into their beats, and put together again with every one of them changed.

A cohort with ``rhythm`` also has its beats' landmarks, ``cycle_fiducial``, in ms from the recording's start. Each beat
becomes a record of a cohort of its own: a window of -500 to 698 ms about its R, with its own landmarks. What changes
there is added to the recording at the beat's place, so that whatever lies beyond the change stays to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr

from ..delineation.landmarks import LANDMARKS, P_OFF, P_ON, QRS_ON, T_OFF, T_ON, J, R, in_order
from ..recordings.record import RecordError
from .beats import RHYTHM
from .measurements import N_BEFORE, N_SAMPLES, STEP, TIME

SHARE = 0.5  # of a recording's used cycles, that must be changed for the recording to count as changed
_AT_ONCE = 64  # recordings taken apart together
_FADE_MS = 20.0  # over which one cycle passes into the next, in the middle between T and P

Change = Callable[[xr.Dataset, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Changes beats. Takes a cohort of beats and, of each, the row of the record that it is of; gives the beats (record,
lead, time), NaN where one cannot be changed, and their landmarks (record, landmark)."""


def has_cycles(cohort: xr.Dataset) -> bool:
    """Whether a cohort holds recordings.

    Raises
    ------
    RecordError
        When it does, and their beats' landmarks are not there.
    """
    if "rhythm" not in cohort:
        return False
    lacking = [name for name in RHYTHM if name not in cohort]
    if lacking:
        raise RecordError(
            f"the cohort has 'rhythm' without {lacking[0]!r}, so that its beats cannot be found; expected "
            "open_cohort(..., rhythm=True), or none of the three: cohort.drop_vars('rhythm')"
        )
    return True


def cycles_of(cohort: xr.Dataset) -> xr.Dataset:
    """Every beat of every recording as a record of its own, by its landmarks.

    Parameters
    ----------
    cohort : Dataset
        With ``cycle_fiducial`` and ``cycle_used``.

    Returns
    -------
    Dataset
        - ``fiducial`` (record, landmark): ms from its own R. A wave that leaves the window is absent;
        - ``before``, ``after`` (record,): where the T wave before ends and the P wave (or QRS) after begins, ms from
          R; at the recording's ends as if the neighbouring interval came again, infinite where there is one beat;
        - ``row``, ``cycle`` (record,): the record and the cycle of the cohort that it is; ``used``: whether it is part
          of the representative beat; ``r_ms``: from the recording's start.
    """
    marks = cohort["cycle_fiducial"].transpose("record", "cycle", "landmark").values.astype(float)
    used = cohort["cycle_used"].transpose("record", "cycle").values == 1
    row, cycle = np.nonzero(np.isfinite(marks[:, :, R]))
    own = marks[row, cycle]
    order = np.lexsort((own[:, R], row))
    row, cycle, own = row[order], cycle[order], own[order]
    begin = np.fmin(np.fmin(own[:, P_ON], own[:, QRS_ON]), own[:, R])
    end = np.fmax(np.fmax(own[:, T_OFF], own[:, J]), own[:, R])
    together = np.diff(row) == 0
    rr = np.where(together, np.diff(own[:, R]), np.nan)
    before_rr, after_rr = np.r_[np.nan, rr], np.r_[rr, np.nan]
    before = np.where(np.isfinite(before_rr), np.r_[np.nan, end[:-1]], end - after_rr)
    after = np.where(np.isfinite(after_rr), np.r_[begin[1:], np.nan], begin + before_rr)
    before, after = np.nan_to_num(before, nan=-np.inf), np.nan_to_num(after, nan=np.inf)
    r = own[:, R]
    return xr.Dataset(
        {
            "fiducial": (("record", "landmark"), _within_window(own - r[:, None]), {"units": "ms"}),
            **{k: ("record", v, {"units": "ms"}) for k, v in (("before", before - r), ("after", after - r))},
            "r_ms": ("record", r, {"units": "ms"}),
            "row": ("record", row),
            "cycle": ("record", cycle),
            "used": ("record", used[row, cycle]),
        },
        coords={"landmark": list(LANDMARKS)},
    )


def _within_window(marks: np.ndarray) -> np.ndarray:
    """Landmarks (cycle, landmark) from R, in order, without waves that leave the window or have no length."""
    out = np.array([in_order(own) for own in marks]).reshape(marks.shape)
    for on, off in ((P_ON, P_OFF), (QRS_ON, J), (T_ON, T_OFF)):
        wave = out[:, on : off + 1]
        lost = (wave[:, 0] < TIME[0]) | (wave[:, -1] > TIME[-1]) | (wave[:, -1] <= wave[:, 0])
        wave[lost, 0] = wave[lost, -1] = np.nan
        if on != QRS_ON:
            wave[lost] = np.nan
    return out


def territories(cycles: xr.Dataset, length_ms: float) -> np.ndarray:
    """The part of the recording that is each cycle's own (record, edge), ms from the recording's start.

    From the middle between the T wave before and its P wave to the middle between its T wave and the P wave after, as
    far as the window about R and the recording go.

    Parameters
    ----------
    cycles : Dataset
        From `cycles_of`.
    length_ms : float
        Of the recording.
    """
    marks, r = cycles["fiducial"].values, cycles["r_ms"].values
    begin = np.fmin(np.fmin(marks[:, P_ON], marks[:, QRS_ON]), 0.0)
    end = np.fmax(np.fmax(marks[:, T_OFF], marks[:, J]), 0.0)
    left = np.maximum((cycles["before"].values + begin) / 2, TIME[0])
    right = np.minimum((end + cycles["after"].values) / 2, TIME[-1])
    return np.clip(np.stack([r + left, r + right], axis=1), 0.0, length_ms)


def own_share(edges: np.ndarray, time: np.ndarray) -> np.ndarray:
    """How much every moment of a recording is each cycle's (cycle, sample): 0 to 1, in all at most 1.

    Parameters
    ----------
    edges : array (cycle, edge), ms
        From `territories`. One cycle passes into the next over 20 ms.
    time : array (sample,), ms
    """
    passed = np.clip((time - edges[:, :, None]) / _FADE_MS + 0.5, 0.0, 1.0)
    passed = 0.5 - 0.5 * np.cos(np.pi * passed)  # (cycle, edge, sample)
    passed[edges[:, 0] <= 0, 0] = 1.0  # the recording's own ends are no seams
    passed[edges[:, 1] >= time[-1], 1] = 0.0
    return np.asarray(passed[:, 0] - passed[:, 1])


def blocks_of(cohort: xr.Dataset) -> Iterator[tuple[slice, xr.Dataset, xr.Dataset]]:
    """Some recordings at a time: which, the cohort of these alone, and their cycles."""
    for start in range(0, cohort.sizes["record"], _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        some = cohort.isel(record=rows)
        yield rows, some, cycles_of(some)


def windows(rhythm: np.ndarray, cycles: xr.Dataset) -> np.ndarray:
    """The beats (cycle, lead, time) of recordings (record, lead, sample) at 500 Hz.

    Beyond the recording the level at its end is held.
    """
    at = np.clip(_first(cycles)[:, None] + np.arange(N_SAMPLES), 0, rhythm.shape[2] - 1)
    return np.asarray(rhythm[cycles["row"].values[:, None], :, at].transpose(0, 2, 1), float)


def _first(cycles: xr.Dataset) -> np.ndarray:
    """The sample of the recording that each cycle's window begins at; below 0 before the recording."""
    return np.round(cycles["r_ms"].values / STEP).astype(int) - N_BEFORE


def add_windows(rhythm: np.ndarray, cycles: xr.Dataset, change: np.ndarray) -> None:
    """Add a change of every cycle (cycle, lead, time) to recordings (record, lead, sample), in place."""
    n = rhythm.shape[2]
    for row, first, one in zip(cycles["row"].values, _first(cycles), change, strict=True):
        a, b = max(first, 0), min(first + N_SAMPLES, n)
        if a < b:
            rhythm[row, :, a:b] += one[:, a - first : b - first].astype(rhythm.dtype)


def in_every_cycle(cohort: xr.Dataset, change: Change) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Recordings with every cycle changed alike.

    Parameters
    ----------
    cohort : Dataset
        With recordings.
    change : function
        See `Change`. Cycles that it gives as NaN stay as they are.

    Returns
    -------
    rhythm : float32 array (record, lead, sample), µV
        NaN where fewer than half of a record's used cycles could be changed.
    marks : array (record, cycle, landmark), ms
    share : array (record,)
        Of the used cycles, those that were changed.
    """
    marks = cohort["cycle_fiducial"].transpose("record", "cycle", "landmark").values.astype(float)
    out = np.empty(cohort["rhythm"].transpose("record", "lead", "sample").shape, dtype=np.float32)
    share = np.zeros(len(out))
    for rows, some, cycles in blocks_of(cohort):
        rhythm = some["rhythm"].transpose("record", "lead", "sample").values.astype(np.float32)
        row, beats = cycles["row"].values, windows(rhythm, cycles)
        given = cycles.assign(beat=(("record", "lead", "time"), beats))
        changed, fiducial = change(given, rows.start + row)
        done = np.asarray(np.isfinite(changed).all(axis=(1, 2)))
        out[rows] = rhythm
        add_windows(out[rows], cycles.isel(record=done), (changed - beats)[done])
        moved = np.where(done[:, None], np.nan_to_num(fiducial - cycles["fiducial"].values), 0.0)
        marks[rows.start + row, cycles["cycle"].values] += moved
        used = cycles["used"].values
        n_used, n_done = (np.bincount(row[k], minlength=len(rhythm)) for k in (used, used & done))
        share[rows] = n_done / np.maximum(n_used, 1)
    out[share < SHARE] = np.nan
    return out, marks, share


def spans_in_cycles(cohort: xr.Dataset, span: Callable[[xr.Dataset], tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """A span of every cycle (record, cycle, edge), ms from the recording's start; NaN where it has none.

    Parameters
    ----------
    cohort : Dataset
    span : function
        Takes cycles as from `cycles_of`; gives where each span starts and stops, ms from R.
    """
    cycles = cycles_of(cohort)
    out = np.full((*cohort["cycle_used"].shape, 2), np.nan)
    edges = np.stack(span(cycles), axis=1) + cycles["r_ms"].values[:, None]
    out[cycles["row"].values, cycles["cycle"].values] = edges
    return out


def inside_spans(spans: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Which moments (record, sample) lie in any span (record, cycle, edge) of a record, its ends included."""
    inside = np.zeros((len(spans), len(time)), bool)
    for k in range(spans.shape[1]):
        first, last = spans[:, k, :1], spans[:, k, 1:]
        inside |= (time >= first) & (time <= last)  # False for NaN
    return inside


def mask_in_cycles(cohort: xr.Dataset, mask: np.ndarray) -> np.ndarray:
    """A mask of beats (record, lead or 1, time) in every cycle of their recordings (record, lead or 1, sample).

    Of what a window shows only the cycle's own part counts, see `territories`.
    """
    n = cohort.sizes["sample"]
    out = np.zeros((*mask.shape[:2], n), bool)
    cycles = cycles_of(cohort)
    edges = np.round(territories(cycles, n * STEP) / STEP).astype(int)
    for row, first, (a, b) in zip(cycles["row"].values, _first(cycles), edges, strict=True):
        a, b = max(a, first), min(b, first + N_SAMPLES)
        out[row, :, a:b] |= mask[row, :, a - first : b - first]
    return out


def with_beats_in_cycles(some: xr.Dataset, cycles: xr.Dataset, beats: np.ndarray) -> np.ndarray:
    """Recordings (record, lead, sample) with every cycle's own part replaced by a beat of the same lead.

    Parameters
    ----------
    some : Dataset
        The cohort of these recordings.
    cycles : Dataset
        Their cycles.
    beats : array (cycle or 1, lead, time), µV
    """
    rhythm = some["rhythm"].transpose("record", "lead", "sample").values.astype(np.float32)
    time = np.arange(rhythm.shape[2]) * STEP
    edges = territories(cycles, rhythm.shape[2] * STEP)
    out, row = rhythm.copy(), cycles["row"].values
    share = np.zeros((len(row), N_SAMPLES))
    for k in range(len(rhythm)):
        mine = np.flatnonzero(row == k)
        at = np.clip(_first(cycles)[mine, None] + np.arange(N_SAMPLES), 0, len(time) - 1)
        share[mine] = np.take_along_axis(own_share(edges[mine], time), at, axis=1)
    add_windows(out, cycles, (beats - windows(rhythm, cycles)) * share[:, None])
    return out
