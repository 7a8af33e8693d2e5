"""Recordings: a 12-lead (or any-lead) ECG in µV at a known rate, checked on the way in.

The first step of the flow. Everything later takes a `Record`; whatever is wrong with a file is said here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
"""The eight independent leads, in the order every cohort and network uses."""
LEADS12 = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
FS = 500
"""Sampling rate of cohorts and beats, Hz."""

# Each limb lead from I and II (Einthoven, Goldberger); the digital leads obey this exactly, up to rounding.
_FROM_I_II = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}
_SPELLING = {name.lower(): name for name in LEADS12}
# Limb leads recorded in one system agree to rounding and filter ripple; a lead with a wrong gain is off by far more.
LIMB_TOLERANCE = 0.1


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
        One name per row. Standard names are accepted in any case ("avr", "AVR", "v1"); others are kept as they are.
    record_id : str
    metadata : dict
        For example age (years), sex ("male" or "female"), patient, diagnosis. ``flags`` lists what looked wrong.

    Raises
    ------
    RecordError
        When shape, rate or lead names do not fit together.
    """

    signal: np.ndarray
    fs: float
    leads: tuple[str, ...]
    record_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rid = str(self.record_id)
        leads = tuple(standard_lead(x) for x in self.leads)
        try:
            signal = np.array(self.signal, dtype=np.float64)
        except (TypeError, ValueError) as e:
            raise RecordError(f"record {rid!r}: the signal is not a rectangular array of numbers ({e})") from None
        if signal.ndim != 2 or signal.shape[0] != len(leads) or signal.shape[1] == 0:
            hint = (
                "; it looks like (sample, lead): pass signal.T"
                if signal.ndim == 2 and signal.shape[1] == len(leads)
                else ""
            )
            raise RecordError(
                f"record {rid!r}: signal has shape {signal.shape}, expected ({len(leads)} leads, samples){hint}"
            )
        if not leads or len(set(leads)) != len(leads):
            twice = sorted({x for x in leads if leads.count(x) > 1})
            raise RecordError(f"record {rid!r}: every lead needs a name of its own, seen more than once: {twice}")
        try:
            fs = float(self.fs)
        except (TypeError, ValueError):
            fs = float("nan")
        if not (np.isfinite(fs) and fs > 0):
            raise RecordError(f"record {rid!r}: sampling rate is {self.fs!r}, expected a positive number of Hz")
        signal[~np.isfinite(signal)] = np.nan
        object.__setattr__(self, "signal", signal)
        object.__setattr__(self, "fs", fs)
        object.__setattr__(self, "leads", leads)
        object.__setattr__(self, "record_id", rid)
        object.__setattr__(self, "metadata", dict(self.metadata))

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


def standard_lead(name: str) -> str:
    """The standard spelling of a lead ("AVR" and "avr" are "aVR"); an unknown name stays as it is."""
    return _SPELLING.get(str(name).strip().lower(), str(name).strip())


# ---------------------------------------------------------------- quality and lead algebra


def limb_error(signal: np.ndarray, leads: Iterable[str], unknown: float = np.nan) -> float:
    """Largest relative break of III, aVR, aVL, aVF against I and II; `unknown` where there are no three of them."""
    names = [standard_lead(n) for n in leads]
    limb = [n in ("I", "II", *_FROM_I_II) and not np.isnan(r).all() for n, r in zip(names, signal, strict=True)]
    names, signal = [n for n, keep in zip(names, limb, strict=True) if keep], signal[limb]
    signal = signal[:, ~np.isnan(signal).any(axis=0)]
    if "I" not in names or "II" not in names or signal.size == 0:
        return unknown
    # The mean is taken off because offsets differ by recorder; unlike a median it keeps the leads' linear relations.
    rows = {n: r - r.mean() for n, r in zip(names, signal, strict=True)}
    if len(rows) < 3:
        return unknown
    worst = 0.0
    # The size to compare with: the larger of I and II, since aVL or III may be nearly isoelectric in a good recording.
    size = max(float(np.sqrt(np.mean(rows[n] ** 2))) for n in ("I", "II"))
    for lead, (a, b) in _FROM_I_II.items():
        if lead in rows and size > 0:
            off = rows[lead] - (a * rows["I"] + b * rows["II"])
            worst = max(worst, float(np.sqrt(np.mean(off**2))) / size)
    return worst


def lead_quality(record: Record) -> pd.DataFrame:
    """Quality of each lead.

    Returns
    -------
    DataFrame, one row per lead
        ``missing``, ``flat``, ``saturated``: shares of samples (0..1); flat means no change over 200 ms, saturated
        means held at the lead's own extreme for 3 samples or more. ``noise_uv``: robust SD of the second difference,
        scaled to white noise (µV). ``usable``: at least half the samples are there and move.
    """
    x = record.signal
    hold = max(round(0.2 * record.fs), 2)
    nan = np.isnan(x)
    whole = np.where(nan.all(axis=1, keepdims=True), 0.0, x)  # a lead without a sample has no extremes
    low, high = np.nanmin(whole, axis=1, keepdims=True), np.nanmax(whole, axis=1, keepdims=True)
    still = np.diff(x, axis=1, prepend=np.nan) == 0
    standing = lasting(still, hold)
    saturated = lasting(((x == high) | (x == low)) & still, 2) & ~standing
    steps = np.abs(np.diff(x, 2, axis=1))
    noise = np.full(len(x), np.nan)
    for i, row in enumerate(steps):
        row = row[np.isfinite(row)] if nan[i].any() else row
        noise[i] = 1.4826 * np.median(row) / np.sqrt(6.0) if len(row) else np.nan
    flat = (standing | nan).mean(axis=1)
    columns = {"missing": nan.mean(axis=1), "flat": flat, "saturated": saturated.mean(axis=1), "noise_uv": noise}
    return pd.DataFrame(columns | {"usable": flat < 0.5}, index=pd.Index(record.leads, name="lead"))


def runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, start and stop (exclusive) of each run of True in `mask` (row, sample), row by row."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, start = np.nonzero(edges == 1)
    _, stop = np.nonzero(edges == -1)
    return row, start, stop


def lasting(mask: np.ndarray, length: int) -> np.ndarray:
    """True where `mask` (row, sample) is, for at least `length` samples in a row."""
    row, start, stop = runs(mask)
    out = np.zeros(mask.shape, bool)
    for k in np.flatnonzero(stop - start >= length):
        out[row[k], start[k] : stop[k]] = True
    return out


def pick_leads(record: Record, leads: Iterable[str] = LEADS) -> Record:
    """The record with these leads, in this order; missing limb leads are computed from two others where possible.

    Raises
    ------
    RecordError
        When a lead is neither there nor derivable.
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
    """Adds every limb lead that follows from two others, arrays of one shape: each is a combination of I and II."""
    span = {"I": (1.0, 0.0), "II": (0.0, 1.0), **_FROM_I_II}
    known = [n for n in span if n in have]
    if len(known) < 2:
        return
    two = known[:2]
    to_i_ii = np.linalg.inv(np.array([span[n] for n in two]))
    pair = np.stack([have[n] for n in two])
    for name, row in span.items():
        if name not in have:
            have[name] = np.tensordot(np.array(row) @ to_i_ii, pair, axes=1)
