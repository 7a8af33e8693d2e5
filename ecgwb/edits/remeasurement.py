"""Remeasurement: changed beats delineated anew, as any recording is, and not by the landmarks the change gave them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import xarray as xr

from ..cohorts.beats import find_beats
from ..cohorts.guards import check
from ..cohorts.measurements import TIME
from ..delineation.landmarks import LANDMARKS, P_ON, QRS_ON, T_OFF, beat_landmarks
from ..delineation.waves import delineate
from ..recordings.record import FS, Record, RecordError
from ..workers import each
from .changes import measured

_SECONDS = 4.0  # of the rhythm made of each beat
_FADE_MS = 40.0  # over which one cycle passes into the next
_RATES_BPM = (20.0, 300.0)  # a rate beyond them is taken for unknown
_TOGETHER = 100  # beats that are delineated together
_USUAL_RR_MS = 1000.0  # where the rate is unknown


def remeasure(cohort: xr.Dataset) -> xr.Dataset:
    """Landmarks and targets of representative beats, found by the delineator in a rhythm that repeats each beat.

    A cycle of the beat, from the middle of the TP segment on and as long as its RR interval, is repeated for four
    seconds; its ends are faded into each other. The beats in its middle are delineated, and their landmarks put
    together as those of a recording are.

    Parameters
    ----------
    cohort : Dataset
        With beats, changed or not. Its landmarks only say where the TP segment is.

    Returns
    -------
    Dataset
        The cohort with ``fiducial`` and the seven targets measured anew (``hr`` is what the beats are repeated at); NaN
        where a beat is not complete or no QRS is found.

    Raises
    ------
    RecordError
        When it is no cohort.
    """
    cohort = check(cohort, "hr")
    beats, old = cohort["beat"].values.astype(float), cohort["fiducial"].values
    hr = cohort["hr"].values.astype(float)
    rr = 60000.0 / np.where((hr >= _RATES_BPM[0]) & (hr <= _RATES_BPM[1]), hr, 60000.0 / _USUAL_RR_MS)
    leads = tuple(str(v) for v in cohort["lead"].values)
    records = [
        Record(_rhythm(_cycle(beats[i], old[i], rr[i])), FS, leads, str(i))
        for i in np.flatnonzero(np.isfinite(beats).all(axis=(1, 2)))
    ]
    fiducial = np.full(old.shape, np.nan)
    parts = [records[k : k + _TOGETHER] for k in range(0, len(records), _TOGETHER)]
    for part, found in zip(parts, each(partial(_landmarks, rr=rr), parts), strict=True):
        fiducial[[int(record.record_id) for record in part]] = found
    return measured(cohort, beats, fiducial).drop_vars(["doubt", "manual"], errors="ignore")


def _landmarks(records: Sequence[Record], rr: np.ndarray) -> np.ndarray:
    """Landmarks (record, landmark) of the beats in the middle of rhythms, whose names are their rows in rr (ms)."""
    waves = dict(iter(delineate(records).groupby("record")))
    found = np.full((len(records), len(LANDMARKS)), np.nan)
    for k, record in enumerate(records):
        try:
            r, marks = find_beats(waves[record.record_id], record)
        except (KeyError, RecordError):  # nothing that looks like a QRS
            continue
        edge = rr[int(record.record_id)] / 2
        middle = (r > edge) & (r < record.duration_ms - edge - 200)
        if middle.any():
            found[k] = beat_landmarks(marks, r, middle).fiducial
    return found


def _rhythm(cycle: np.ndarray) -> np.ndarray:
    """A cycle (lead, sample) repeated for `_SECONDS`."""
    n = int(_SECONDS * FS)
    return np.tile(cycle, (1, n // cycle.shape[1] + 1))[:, :n]


def _cycle(beat: np.ndarray, fiducial: np.ndarray, rr: float) -> np.ndarray:
    """One cycle (lead, sample) of a beat, whose end leads into its beginning."""
    p_on = fiducial[P_ON] if np.isfinite(fiducial[P_ON]) else np.fmin(fiducial[QRS_ON], 0.0) - 100.0
    t_before = np.fmax(TIME[0], fiducial[T_OFF] - rr)  # where the T wave before ends
    first = round((max((t_before + p_on) / 2, TIME[0]) - TIME[0]) * FS / 1000)
    at = first + np.arange(round(rr * FS / 1000))
    inside = at < beat.shape[1]
    # Beyond the window, at slow rates: a straight line to where the next cycle begins.
    known, level = np.r_[at[inside], at[-1] + 1], np.c_[beat[:, at[inside]], beat[:, first]]
    cycle = np.stack([np.interp(at, known, row) for row in level])
    n = min(round(_FADE_MS * FS / 1000), first) if inside.all() else 0
    weight = np.arange(1, n + 1) / (n + 1)
    cycle[:, len(at) - n :] = cycle[:, len(at) - n :] * (1 - weight) + beat[:, first - n : first] * weight
    return cycle
