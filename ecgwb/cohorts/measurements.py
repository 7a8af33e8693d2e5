"""What is measured on a beat: its time axis, the level from which voltages are read, and the seven targets."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..delineation.landmarks import QRS_ON, T_OFF, T_ON, J, intervals
from ..recordings.record import FS, LEADS

TARGETS = ("pr", "qrs", "qt", "hr", "j_v5", "r_v5", "t_v5")
UNITS = {"pr": "ms", "qrs": "ms", "qt": "ms", "hr": "bpm", "j_v5": "µV", "r_v5": "µV", "t_v5": "µV", "male": ""}
N_BEFORE, N_SAMPLES = 250, 600
STEP = 1000.0 / FS  # ms
TIME = (np.arange(N_SAMPLES) - N_BEFORE) * STEP  # -500 .. +698 ms
# A pacing spike bends a lead by more than this within two samples, where a QRS only begins. In LUDB and PTB-XL-500
# 13 of the 15 paced recordings bend by 390 to 7,320 µV there, and no other one by more than 125.
SPIKE_UV = 250.0
_SPIKE_FROM, _SPIKE_TO = -80.0, 6.0  # where it is looked for, ms from QRS_on
_SPIKE_LONGEST = 12  # samples
_TAIL_UV, _TAIL_LONGEST = 60.0, 6  # by how much a spike still bends a lead while it fades, for so many samples
_TAIL_GAP = 3  # samples that may lie between two bends of one spike
_QRS = 75  # samples after the spike in which QRS shows how sharp it is itself


def targets(beat: np.ndarray, fiducial: np.ndarray, hr: float) -> dict[str, float]:
    """The seven measurements of a beat; NaN where a landmark they need is absent.

    Parameters
    ----------
    beat : array (8 leads, time), µV
    fiducial : array (landmark,), ms
    hr : float, bpm
        From the rhythm: a single beat rarely shows its RR.

    Returns
    -------
    dict

        - ``pr``, ``qrs``, ``qt``: ms
        - ``hr``: bpm
        - ``j_v5``: V5 at J, µV, as `levelled` gives it, like the next two
        - ``r_v5``: its maximum within QRS
        - ``t_v5``: its largest deflection between T_on, or J where that is unknown, and T_off, signed
    """
    out = intervals(fiducial) | {"hr": float(hr), "j_v5": np.nan, "r_v5": np.nan, "t_v5": np.nan}
    qrs_on, j, t_off = fiducial[QRS_ON], fiducial[J], fiducial[T_OFF]
    if np.isfinite(qrs_on) and np.isfinite(j):
        v5 = levelled(beat, qrs_on)[LEADS.index("V5")]
        out["j_v5"] = float(np.interp(j, TIME, v5))
        out["r_v5"] = float(v5[(qrs_on <= TIME) & (j >= TIME)].max())
        if np.isfinite(t_off):
            wave = v5[(np.fmax(j, fiducial[T_ON]) <= TIME) & (t_off >= TIME)]
            out["t_v5"] = float(wave[np.abs(wave).argmax()]) if wave.size else np.nan
    return out


def fridericia(qt: Any, rr: Any) -> Any:
    """QTc of QT, in its unit, and RR in seconds, numbers or arrays: QT / RR^(1/3) (Fridericia 1920)."""
    return qt / np.cbrt(rr)


def levelled(beat: np.ndarray, qrs_on: float) -> np.ndarray:
    """A beat as voltages are read from it: less its level before QRS, a pacing spike bridged by a straight line.

    Parameters
    ----------
    beat : array (lead, time), µV
    qrs_on : float, ms

    Returns
    -------
    array (lead, time), µV
    """
    spike = pacing_spike(beat, qrs_on)
    out = np.asarray(beat, dtype=float) - _level(beat, qrs_on, spike)[:, None]
    if spike is not None:
        a, b = (int(np.searchsorted(TIME, t)) for t in spike)
        out[:, a : b + 1] = np.linspace(out[:, a], out[:, b], b - a + 1, axis=1)
    return out


def baseline(beat: np.ndarray, qrs_on: float) -> np.ndarray:
    """The level before QRS: the mean of the 10 ms before QRS_on, or before a pacing spike there.

    Parameters
    ----------
    beat : array (lead, time), µV
    qrs_on : float, ms

    Returns
    -------
    array (lead,), µV
        NaN where the beat does not reach back so far, or has no QRS_on.
    """
    return _level(beat, qrs_on, pacing_spike(beat, qrs_on))


def _level(beat: np.ndarray, qrs_on: float, spike: tuple[float, float] | None) -> np.ndarray:
    end = qrs_on if spike is None else min(qrs_on, spike[0])
    before = (end - 10 <= TIME) & (end > TIME)
    return beat[:, before].mean(axis=1) if before.any() else np.full(len(beat), np.nan)


def pacing_spike(beat: np.ndarray, qrs_on: float) -> tuple[float, float] | None:
    """Where a pacing spike at the QRS onset lies.

    A spike is where, between 80 ms before QRS_on and 6 ms after it, the second difference of any lead exceeds
    `SPIKE_UV`, and all that QRS shows later. Weak spikes, as of bipolar leads, are not seen, nor the end of a long one
    within QRS, nor the recharge after it.

    Parameters
    ----------
    beat : array (lead, time), µV
    qrs_on : float, ms

    Returns
    -------
    (float, float) or None
        The last sample before it and the first one after it, ms; None without a spike.
    """
    first, last = (int(k) for k in np.searchsorted(TIME, (qrs_on + _SPIKE_FROM, qrs_on + _SPIKE_TO)))
    first = max(first, 1)
    # The largest second difference over leads, of each sample from `first` on
    bend = np.abs(np.diff(beat[:, first - 1 : last + _QRS + 1], n=2, axis=1)).max(axis=0, initial=0.0)
    within = max(last - first, 0)
    sharp = np.flatnonzero(bend[:within] > max(SPIKE_UV, bend[within + _SPIKE_LONGEST :].max(initial=0.0)))
    if not sharp.size:
        return None
    start = int(sharp[0])
    end = int(sharp[sharp <= start + _SPIKE_LONGEST][-1])  # a long spike is sharp at both its ends
    for k in range(end, min(start + _SPIKE_LONGEST, len(bend))):
        limit = _TAIL_UV if k - start < _TAIL_LONGEST else SPIKE_UV
        if bend[k] > limit and k - end <= _TAIL_GAP:
            end = k
    return float(TIME[first + start]), float(TIME[first + end])
