"""NeuroKit2's delineators as a second opinion: their points put together into waves by time.

NeuroKit2 returns one list for each kind of point, and the lists do not hold the same beats: `cwt` leaves waves out, so
that the i-th P and the i-th R may belong to different beats.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from ..recordings.record import FS
from .landmarks import Wave

NEUROKIT_METHODS = ("dwt", "cwt", "peak", "prominence")

# NeuroKit2's names of each wave's points, and how far (ms) a boundary may lie from its peak: longer than any human
# P wave, QRS complex or T wave, so that only another beat's point is refused.
_POINTS = {
    "P": ("ECG_P_Onsets", "ECG_P_Peaks", "ECG_P_Offsets", 200.0),
    "QRS": ("ECG_R_Onsets", "ECG_R_Peaks", "ECG_R_Offsets", 200.0),
    "T": ("ECG_T_Onsets", "ECG_T_Peaks", "ECG_T_Offsets", 400.0),
}


def lacking(method: str) -> str:
    """What has to be installed for one of the methods; "" where nothing has."""
    import neurokit2 as nk

    if method == "cwt" and find_spec("pywt") is None:
        return "PyWavelets, which is not installed: pip install PyWavelets"
    if method == "prominence" and "prominence" not in str(nk.ecg_delineate.__doc__):
        return f"a newer NeuroKit2 than {nk.__version__}: pip install --upgrade neurokit2"
    return ""


def neurokit_waves(signal: np.ndarray, method: str) -> tuple[list[Wave], dict[int, str]]:
    """Waves by one of NeuroKit2's methods, each lead by itself.

    Parameters
    ----------
    signal : array (lead, sample)
        At 500 Hz, without missing samples.
    method : {"dwt", "cwt", "peak", "prominence"}

    Returns
    -------
    waves : list of Wave
    failed : dict
        The leads it raised an error on, and that error's text; they have no waves.
    """
    waves, failed = [], {}
    for lead, x in enumerate(signal):
        try:
            points = _points(x, method)
        except Exception as e:  # it raises many kinds, IndexError and ValueError among them
            failed[lead] = f"{type(e).__name__}: {e}"
            continue
        for kind, (on, peak, off, reach) in _POINTS.items():
            waves += [Wave(lead, kind, *w) for w in match_boundaries(points[on], points[peak], points[off], reach)]
    return waves, failed


def _points(signal: np.ndarray, method: str) -> dict[str, np.ndarray]:
    """NeuroKit2's points by its own names, each sorted, in ms."""
    import neurokit2 as nk  # slow to import, and needed for the second opinion alone

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        cleaned = nk.ecg_clean(signal, sampling_rate=FS)
        _, found = nk.ecg_peaks(cleaned, sampling_rate=FS)
        peaks = found["ECG_R_Peaks"]
        _, waves = nk.ecg_delineate(cleaned, peaks, sampling_rate=FS, method=method)
    lists = {name: np.asarray(waves.get(name, []), dtype=float) for *names, _ in _POINTS.values() for name in names}
    lists["ECG_R_Peaks"] = np.asarray(peaks, dtype=float)
    return {name: np.unique(x[np.isfinite(x)]) * (1000.0 / FS) for name, x in lists.items()}


def match_boundaries(
    onsets: Sequence[float] | np.ndarray,
    peaks: Sequence[float] | np.ndarray,
    offsets: Sequence[float] | np.ndarray,
    reach: float,
) -> list[tuple[float, float, float]]:
    """Onset, peak and offset of each wave, from three sorted lists that need not hold the same beats.

    A peak takes the last onset at or before it and the first offset at or after it, no further than `reach` and not
    beyond the neighbouring peak; where there is none, NaN. All in one unit of time.
    """
    onsets, peaks, offsets = (np.asarray(x, dtype=float) for x in (onsets, peaks, offsets))
    waves = []
    for k, peak in enumerate(peaks):
        low = max(peak - reach, peaks[k - 1] if k else -np.inf)
        high = min(peak + reach, peaks[k + 1] if k + 1 < len(peaks) else np.inf)
        before = onsets[(onsets > low) & (onsets <= peak)]
        after = offsets[(offsets >= peak) & (offsets < high)]
        waves.append((before[-1] if len(before) else np.nan, float(peak), after[0] if len(after) else np.nan))
    return waves
