"""Edited beats measured as any recording is: delineated anew, not by the landmarks the edit gave them."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..cohorts.beats import RHYTHM, find_beats, need_records
from ..cohorts.measurements import TARGETS, TIME, UNITS, targets
from ..delineation.landmarks import P_ON, QRS_ON, T_OFF, beat_landmarks
from ..delineation.waves import delineate
from ..recordings.record import FS, Record, RecordError

_SECONDS = 4.0  # of the rhythm made of each beat
_FADE_MS = 40.0  # over which one cycle passes into the next
_USUAL_RR_MS = 1000.0  # where a cohort does not know its heart rate


def remeasure(cohort: xr.Dataset) -> xr.Dataset:
    """Landmarks and targets of representative beats, found by the delineator in a rhythm that repeats each beat.

    A cycle of the beat, from the middle of the TP segment on and as long as its RR interval, is repeated for four
    seconds; its ends are faded into each other. The beats in its middle are delineated, and their landmarks put
    together as those of a recording are.

    Parameters
    ----------
    cohort : Dataset
        With beats, edited or not. Its landmarks only say where the TP segment is.

    Returns
    -------
    Dataset
        The cohort with ``fiducial`` and the seven targets measured anew (``hr`` is what the beats are repeated at); NaN
        where a beat is not complete or no QRS is found.

    Raises
    ------
    RecordError
        When the cohort has no dimension ``record``.
    """
    need_records(cohort)
    beats = cohort["beat"].transpose("record", "lead", "time").values.astype(float)
    leads = tuple(str(v) for v in cohort["lead"].values)
    old = cohort["fiducial"].values
    hr = cohort["hr"].values.astype(float)
    rr = np.where(np.isfinite(hr), 60000.0 / hr, _USUAL_RR_MS)
    records = [
        Record(np.tile(cycle, (1, int(np.ceil(_SECONDS * FS / cycle.shape[1])) + 1)), FS, leads, str(i))
        for i, cycle in ((i, _cycle(beats[i], old[i], rr[i])) for i in range(len(beats)) if np.isfinite(beats[i]).all())
    ]
    records = [Record(r.signal[:, : int(_SECONDS * FS)], FS, leads, r.record_id) for r in records]
    waves = dict(iter(delineate(records).groupby("record"))) if records else {}
    fiducial = np.full(old.shape, np.nan)
    values = {t: np.full(len(beats), np.nan) for t in TARGETS}
    for record in records:
        i = int(record.record_id)
        try:
            r, marks = find_beats(waves[record.record_id], record)
        except (KeyError, RecordError):  # nothing there that looks like a QRS
            continue
        middle = (r > rr[i] / 2) & (r < record.duration_ms - rr[i] / 2 - 200)
        if not middle.any():
            continue
        fiducial[i] = beat_landmarks(marks, r, middle).fiducial
        for t, v in targets(beats[i], fiducial[i], hr[i]).items():
            values[t][i] = v
    out = cohort.copy()
    out["fiducial"] = (("record", "landmark"), fiducial, cohort["fiducial"].attrs)
    stale = [v for v in out.data_vars if str(v).endswith("_manual") or v in ("doubt", "neighbour", "manual", *RHYTHM)]
    return out.drop_vars(stale).assign({t: ("record", v, {"units": UNITS[t]}) for t, v in values.items()})


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
    w = np.arange(1, n + 1) / (n + 1)
    cycle[:, len(at) - n :] = cycle[:, len(at) - n :] * (1 - w) + beat[:, first - n : first] * w
    return cycle
