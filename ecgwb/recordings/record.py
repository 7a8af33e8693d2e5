"""A recording: a 12-lead (or any-lead) ECG in µV at a known rate, checked on the way in; its quality and its leads.

The first step of the flow: everything later takes a `Record`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from .leads import LEADS, LEADS12, standard_lead, standard_leads

FS = 500
"""Sampling rate of cohorts and beats, Hz."""

# Each limb lead from I and II (Einthoven, Goldberger); the digital leads obey this exactly, up to rounding.
_FROM_I_II = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
LIMB_WEIGHTS = {"I": (1.0, 0.0), "II": (0.0, 1.0), **_FROM_I_II}
"""Of I and II in each limb lead."""
_IN_ANY_CASE = {name.lower(): name for name in LEADS12}
# Limb leads recorded in one system agree to rounding and filter ripple; a lead with a wrong gain is off by far more.
LIMB_TOLERANCE = 0.1
LOW_FS = 200.0  # Hz; below, the ECG itself bends from sample to sample as noise and pacing spikes do


class RecordError(ValueError):
    """A recording that cannot be used; the message says what was seen, what was expected and the fix."""


@dataclass(frozen=True)
class Record:
    """One recording.

    Parameters
    ----------
    signal : array (lead, sample), µV
        NaN marks missing samples; infinities are taken as missing.
    fs : float
        Sampling rate, Hz.
    leads : sequence of str
        One name per row. Names of leads are accepted in any spelling that is understood ("avr", "Lead V1", "DII");
        others are kept as they are.
    record_id : str
    metadata : dict
        For example age (years), sex ("male" or "female"), patient, diagnosis. ``flags`` lists what looked wrong;
        ``measured`` holds the pr, qrs, qt (ms) and hr (bpm) that came with the recording.
    median : Record, optional
        The representative beat that came with the recording; ``build_cohort(..., beats="file")`` uses it.

    Raises
    ------
    RecordError
        When shape, rate or lead names do not fit together.
    """

    signal: np.ndarray = field(repr=False)
    fs: float
    leads: tuple[str, ...]
    record_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    median: Record | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.leads, str) or not isinstance(self.leads, Iterable):
            raise TypeError(f"leads is {self.leads!r}; expected a list of names, such as ['I', 'II', 'V1']")
        given = tuple(str(x).strip() for x in self.leads)
        leads = standard_leads(given)
        if len(set(leads)) < len(set(given)):  # "II" and "ECG II": whoever made the record told them apart
            leads = tuple(_IN_ANY_CASE.get(name.lower(), name) for name in given)
        if self.median is not None and not isinstance(self.median, Record):
            raise TypeError(f"median is a {type(self.median).__name__}; expected a Record of one beat, or None")
        checked = {
            "signal": _checked_signal(self.signal, leads, str(self.record_id)),
            "fs": _checked_rate(self.fs, str(self.record_id)),
            "leads": leads,
            "record_id": str(self.record_id),
            "metadata": dict(self.metadata),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def duration_ms(self) -> float:
        return 1000.0 * self.signal.shape[1] / self.fs

    @property
    def time_ms(self) -> np.ndarray:
        return np.arange(self.signal.shape[1]) * (1000.0 / self.fs)

    @cached_property
    def quality(self) -> pd.DataFrame:
        """Per lead: shares of samples that are missing, flat, saturated; noise (µV); and whether the lead is usable."""
        return lead_quality(self)


def _checked_signal(signal: Any, leads: tuple[str, ...], rid: str) -> np.ndarray:
    """A copy in float64, infinities missing, once it fits the leads."""
    try:
        if np.iscomplexobj(signal):
            raise TypeError("complex numbers")
        x = np.asarray(np.ma.filled(np.ma.asarray(signal).astype(np.float64), np.nan))  # astype has copied it
    except (TypeError, ValueError) as e:
        raise RecordError(f"record {rid!r}: the signal is not a rectangular array of numbers ({e})") from None
    if x.ndim != 2 or x.shape[0] != len(leads) or x.shape[1] == 0:
        turned = x.ndim == 2 and x.shape[1] == len(leads)
        hint = "; it looks like (sample, lead): pass signal.T" if turned else ""
        raise RecordError(f"record {rid!r}: signal has shape {x.shape}, expected ({len(leads)} leads, samples){hint}")
    if not leads or len(set(leads)) != len(leads):
        twice = sorted({name for name in leads if leads.count(name) > 1})
        raise RecordError(f"record {rid!r}: every lead needs a name of its own, seen more than once: {twice}")
    x[~np.isfinite(x)] = np.nan
    return x


def _checked_rate(fs: Any, rid: str) -> float:
    try:
        rate = float(fs)
    except (TypeError, ValueError):
        rate = np.nan
    if not 0 < rate < np.inf:
        raise RecordError(f"record {rid!r}: sampling rate is {fs!r}, expected a positive number of Hz")
    return rate


# ---------------------------------------------------------------- quality


def limb_error(signal: np.ndarray, leads: Iterable[str], unknown: float = np.nan) -> float:
    """By how much III, aVR, aVL and aVF break their relations to I and II.

    Parameters
    ----------
    signal : array (lead, sample)
    leads : iterable of str
    unknown : float
        Returned where I, II and a third limb lead are not all there.

    Returns
    -------
    float
        Root mean square of the worst lead's deviation, relative to that of the larger of I and II.
    """
    limb = ("I", "II", *_FROM_I_II)
    named = zip(map(standard_lead, leads), signal, strict=True)
    found = {name: row for name, row in named if name in limb and not np.isnan(row).all()}
    known = ~np.isnan(list(found.values())).any(axis=0)
    if len(found) < 3 or "I" not in found or "II" not in found or not known.any():
        return unknown
    if not known.all():
        found = {name: row[known] for name, row in found.items()}
    # The mean is taken off because offsets differ by recorder; unlike a median it keeps the leads' linear relations.
    rows = {name: row - row.mean() for name, row in found.items()}
    # Compared with I and II, since aVL or III may be nearly isoelectric in a good recording.
    size = max(_rms(rows["I"]), _rms(rows["II"]))
    if size == 0:
        return 0.0
    return max(_rms(rows[x] - (a * rows["I"] + b * rows["II"])) for x, (a, b) in _FROM_I_II.items() if x in rows) / size


def _rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(x**2)))


def lead_quality(record: Record) -> pd.DataFrame:
    """Quality of each lead.

    Parameters
    ----------
    record : Record

    Returns
    -------
    DataFrame, one row per lead

        - ``missing``: share of its samples, 0..1, as the next two
        - ``flat``: without change over 200 ms, or missing
        - ``saturated``: held at the lead's own extreme for 3 samples or more
        - ``noise_uv``: robust SD of the second difference, scaled to white noise, µV; NaN below 200 Hz, where the ECG
          itself bends as much from sample to sample
        - ``usable``: at least half the samples are known and not flat
    """
    x = record.signal
    missing = np.isnan(x)
    still = np.diff(x, axis=1, prepend=np.nan) == 0
    standing = lasting(still, max(round(0.2 * record.fs), 2))
    whole = np.where(missing.all(axis=1, keepdims=True), 0.0, x)  # a lead without a sample has no extremes
    low, high = np.nanmin(whole, axis=1, keepdims=True), np.nanmax(whole, axis=1, keepdims=True)
    saturated = lasting(((x == high) | (x == low)) & still, 2) & ~standing
    flat = (standing | missing).mean(axis=1)
    bends = np.abs(np.diff(x, 2, axis=1)) if record.fs >= LOW_FS else np.empty((len(x), 0))
    steps = [row[np.isfinite(row)] for row in bends]
    columns = {
        "missing": missing.mean(axis=1),
        "flat": flat,
        "saturated": saturated.mean(axis=1),
        "noise_uv": [1.4826 * np.median(row) / np.sqrt(6.0) if len(row) else np.nan for row in steps],
        "usable": flat < 0.5,
    }
    return pd.DataFrame(columns, index=pd.Index(record.leads, name="lead"))


def runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, start and stop (exclusive) of each run of True in `mask` (row, sample), row by row."""
    n = mask.shape[1] + 1
    rows = np.zeros((len(mask), n), bool)  # one after the other, each with an end that is False
    rows[:, :-1] = mask
    edges = np.flatnonzero(np.diff(rows.ravel(), prepend=False))
    start, stop = edges[::2], edges[1::2]
    row = start // n
    return row, start - row * n, stop - row * n


def lasting(mask: np.ndarray, length: int) -> np.ndarray:
    """True where `mask` (row, sample) is, for at least `length` samples in a row."""
    row, start, stop = runs(mask)
    out = np.zeros(mask.shape, bool)
    for k in np.flatnonzero(stop - start >= length):
        out[row[k], start[k] : stop[k]] = True
    return out


# ---------------------------------------------------------------- leads


def pick_leads(record: Record, leads: Iterable[str] = LEADS) -> Record:
    """The record with these leads, in this order; missing limb leads are computed from two others where possible.

    Parameters
    ----------
    record : Record
    leads : iterable of str

    Returns
    -------
    Record

    Raises
    ------
    RecordError
        When a lead is missing and does not follow from others.
    """
    have = dict(zip(record.leads, record.signal, strict=True))
    complete_limb_leads(have)
    wanted = [standard_lead(x) for x in leads]
    missing = [x for x in wanted if x not in have]
    if missing:
        raise RecordError(
            f"record {record.record_id!r}: lead {', '.join(missing)} is missing; it has {', '.join(record.leads)}. "
            "Expected the eight independent leads, or two limb leads to derive the others from"
        )
    return replace(record, signal=np.stack([have[x] for x in wanted]), leads=tuple(wanted))


def complete_limb_leads(have: dict[str, np.ndarray]) -> None:
    """Adds to `have`, arrays of one shape by lead, every limb lead that follows from two others.

    Each is a combination of I and II, so any two give I and II, and these the rest.
    """
    weights = LIMB_WEIGHTS
    two = [name for name in weights if name in have][:2]
    if len(two) < 2:
        return
    to_i_ii = np.linalg.inv(np.array([weights[name] for name in two]))
    pair = np.stack([have[name] for name in two])
    for name, row in weights.items():
        if name not in have:
            have[name] = np.tensordot(np.array(row) @ to_i_ii, pair, axes=1)
