"""Preparation of recordings: one rate and one filter, the same for networks and measurements."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import scipy  # its parts are imported when they are used: they are slow to import

from .record import FS, Record, runs

HIGHPASS_HZ = 0.5
BRIDGED_MS = 20.0
"""Gaps of a lead up to this long are bridged; longer ones stay missing."""
FILTERS = f"zero-phase Butterworth high-pass {HIGHPASS_HZ} Hz (2nd order, forward and backward); no low-pass"


def prepare(record: Record, fs: float = FS) -> Record:
    """Resample to `fs` and high-pass at 0.5 Hz, zero phase: what networks and measurements both see.

    Gaps of up to 20 ms are bridged, see `bridge_short_gaps`. Longer ones stay missing: a lead is filtered from gap to
    gap, each piece mirrored at its ends, as a level held through a gap would pull down what lies beside it.

    Parameters
    ----------
    record : Record
    fs : float
        Hz.

    Returns
    -------
    Record
    """
    signal, gaps = fill_gaps(bridge_short_gaps(record.signal, record.fs))
    if record.fs != fs:
        ratio = Fraction(float(fs)).limit_denominator(1000) / Fraction(record.fs).limit_denominator(1000)
        # padtype "line" keeps resample_poly's zero padding from bending the first and last samples
        signal = scipy.signal.resample_poly(signal, ratio.numerator, ratio.denominator, axis=1, padtype="line")
        at = np.minimum(np.arange(signal.shape[1]) * record.fs / fs, gaps.shape[1] - 1)
        gaps = gaps[:, np.floor(at).astype(int)] | gaps[:, np.ceil(at).astype(int)]
    sos = _highpass(fs)
    pad = min(int(2 * fs), signal.shape[1] - 1)
    out = scipy.signal.sosfiltfilt(sos, signal, axis=1, padlen=pad)
    for lead, start, stop in zip(*runs(~gaps), strict=True):
        if stop - start < gaps.shape[1]:
            piece, pad = signal[lead, start:stop], min(int(2 * fs), int(stop - start) - 1)
            out[lead, start:stop] = scipy.signal.sosfiltfilt(sos, piece, padtype="even", padlen=pad)
    out[gaps] = np.nan
    return replace(record, signal=out, fs=fs)


@cache
def _highpass(fs: float) -> np.ndarray:
    return scipy.signal.butter(2, HIGHPASS_HZ, "highpass", fs=fs, output="sos")


def bridge_short_gaps(signal: np.ndarray, fs: float) -> np.ndarray:
    """`signal` (lead, sample) with gaps of up to `BRIDGED_MS` bridged by Akima's curve through their surroundings.

    One missing sample is bridged whatever the rate. What is missing at the recording's ends stays so.
    """
    gaps = np.isnan(signal)
    if not gaps.any():
        return signal
    out, at = signal.copy(), np.arange(signal.shape[1])
    lead, start, stop = runs(gaps)
    short = (stop - start <= max(BRIDGED_MS * fs / 1000, 1)) & (start > 0) & (stop < len(at))
    for k in np.unique(lead[short]):
        known = np.flatnonzero(~gaps[k])
        curve = scipy.interpolate.Akima1DInterpolator(known, signal[k, known]) if len(known) > 4 else None
        for a, b in zip(start[short & (lead == k)], stop[short & (lead == k)], strict=True):
            out[k, a:b] = curve(at[a:b]) if curve else np.interp(at[a:b], known, signal[k, known])
    return out


def fill_gaps(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`signal` (lead, sample) with missing samples bridged linearly, and the mask of what was missing."""
    gaps = np.isnan(signal)
    filled = signal.copy()
    at = np.arange(signal.shape[1])
    for row, gap in zip(filled, gaps, strict=True):
        if gap.all():
            row[:] = 0.0
        elif gap.any():
            row[gap] = np.interp(at[gap], at[~gap], row[~gap])
    return filled, gaps
