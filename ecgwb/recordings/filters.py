"""Preparation of recordings: one rate and one filter, the same for networks and measurements."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import scipy.signal

from .record import FS, Record

HIGHPASS_HZ = 0.5
FILTERS = f"zero-phase Butterworth high-pass {HIGHPASS_HZ} Hz (2nd order, forward and backward); no low-pass"


def prepare(record: Record, fs: float = FS) -> Record:
    """Resample to `fs` and high-pass at 0.5 Hz, zero phase: what networks and measurements both see.

    Missing samples are bridged linearly for the filters and are missing again afterwards; a lead with no sample at
    all stays missing.

    Parameters
    ----------
    record : Record
    fs : float
        Hz.

    Returns
    -------
    Record
    """
    signal, gaps = fill_gaps(record.signal)
    if record.fs != fs:
        ratio = Fraction(float(fs)).limit_denominator(1000) / Fraction(record.fs).limit_denominator(1000)
        # padtype "line" keeps resample_poly's zero padding from bending the first and last samples
        signal = scipy.signal.resample_poly(signal, ratio.numerator, ratio.denominator, axis=1, padtype="line")
        at = np.minimum(np.arange(signal.shape[1]) * record.fs / fs, gaps.shape[1] - 1)
        gaps = gaps[:, np.floor(at).astype(int)] | gaps[:, np.ceil(at).astype(int)]
    sos = _highpass(fs)
    pad = min(int(2 * fs), signal.shape[1] - 1)
    signal = scipy.signal.sosfiltfilt(sos, signal, axis=1, padlen=pad)
    signal[gaps] = np.nan
    return replace(record, signal=signal, fs=fs)


@cache
def _highpass(fs: float) -> np.ndarray:
    return scipy.signal.butter(2, HIGHPASS_HZ, "highpass", fs=fs, output="sos")


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
