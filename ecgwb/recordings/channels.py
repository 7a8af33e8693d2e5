"""What a file holds, as any format says it; and the one way from there to a `Record` in µV.

A reader of a format gives `Channels`; `to_record` chooses the ECG leads, brings them to µV and notes what was left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from .leads import TURNED_AVR, is_lead, told_leads
from .record import LIMB_TOLERANCE, Record, RecordError, limb_error

UV_PER_UNIT = {"nv": 1e-3, "uv": 1.0, "mv": 1e3, "v": 1e6}
"""Of units that are voltages, in lower case; micro is "u"."""
_VOLTAGE = re.compile(
    r"(\d+(?:[.,]\d+)?(?:e[-+]?\d+)?)?\s*(nano|micro|mikro|milli|[num])?\s*v(?:olts?)?(?:/(?:bit|lsb))?"
)
_PREFIX = {"nano": "n", "micro": "u", "mikro": "u", "milli": "m"}
_NO_UNIT = ("", "none", "nan", "n/a", "nu", "unknown", "adu", "au", "a.u.", "raw", "counts", "digital", "lsb", "bit")
USUAL_FS = (50.0, 20_000.0)  # Hz
_LARGEST = 1e12  # µV; squares of more would not be finite
_MANY = 6  # channels that are named in a flag; of more it says how many
# One lead spans up to 20 times another. What is further off is so by a unit, a thousand or a million times.
_BY_A_UNIT, _AT_MOST = (1e3, 1e6), 4.0
_LOOKED_AT = 100_000  # samples, enough to see a lead's size


class Told(NamedTuple):
    """What the caller says of files that do not say it themselves, or say it in other words.

    Parameters
    ----------
    leads : mapping or sequence of str, optional
        {name in the file: lead}, or, for files without names, the leads in their order. None for a channel that is no
        lead.
    fs : float, optional
        Hz, where the file does not say it.
    unit : str, optional
        Such as "mV", or "4.88 uV" of whole numbers, where the file does not say it.
    """

    leads: Mapping[str, str] | Sequence[str] | None = None
    fs: float | None = None
    unit: str | None = None


NOTHING_TOLD = Told()


@dataclass(frozen=True)
class Channels:
    """One recording as its file holds it.

    Parameters
    ----------
    signal : array (channel, sample)
        In `units`; NaN where a sample is missing.
    fs : float
        Hz; NaN where the file does not say it.
    names, units : sequence of str
        One a channel, as the file spells them; an empty unit where it says none.
    metadata : dict
        What a cohort keeps: age (years), sex ("male", "female"), patient (a pseudonym, never the file's own number),
        diagnosis, rhythm, device, site; ``measured``, the file's own pr, qrs, qt (ms) and hr (bpm); ``flags``, a list
        of doubts. No names, no dates.
    median : Channels, optional
        The representative beat that the recorder made, where the file has one.
    """

    signal: np.ndarray
    fs: float
    names: tuple[str, ...]
    units: tuple[str, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    median: Channels | None = None


def uv_per(unit: object) -> float:
    """µV in a unit, such as "mV", "µV", "millivolts" or "4.88 uV"; NaN where it is no voltage."""
    found = _VOLTAGE.fullmatch(_plain(unit))
    if not found:
        return np.nan
    return float((found[1] or "1").replace(",", ".")) * UV_PER_UNIT[_PREFIX.get(found[2], found[2] or "") + "v"]


def to_record(channels: Channels, record_id: str, told: Told = NOTHING_TOLD) -> Record:
    """The ECG leads of a recording, in µV.

    Channels of other names, in units that are no voltage, and the second of two of one lead are left out;
    ``metadata["left_out"]`` lists them.

    Raises
    ------
    RecordError
        When no channel is an ECG lead, or the sampling rate or all units are unknown. The message lists the channels.
    """
    flags = list(channels.metadata.get("flags", []))
    try:
        leads = told_leads(channels.names, told.leads)
        fs, doubts = _rate(channels.fs, told.fs)
        factors, more = _factors(channels.units, told.unit)
        used, left_out, twice = _chosen(channels, leads, factors)
    except ValueError as e:
        raise RecordError(f"record {record_id!r}: {e}") from None
    flags += doubts + more + twice
    with np.errstate(over="ignore", invalid="ignore"):
        signal = channels.signal[used] * factors[used, None]
        huge = np.isfinite(signal) & (np.abs(signal) > _LARGEST)
    if huge.any():
        signal[huge] = np.nan
        flags.append(f"samples of an impossible size are missing: {huge.sum()}")
    names = [leads[k] for k in used]
    if TURNED_AVR in names and "aVR" not in names:
        at = names.index(TURNED_AVR)
        names[at], signal[at] = "aVR", -signal[at]
        flags.append("aVR is the file's -aVR, turned over")
    record = Record(signal, fs, tuple(names), record_id, channels.metadata)
    if not USUAL_FS[0] <= record.fs <= USUAL_FS[1]:
        flags.append(f"a sampling rate of {record.fs:g} Hz, which no ECG has: its times may be in another unit")
    if left_out:
        record.metadata["left_out"] = left_out
        rest = f" and {len(left_out) - _MANY} more" if len(left_out) > _MANY else ""
        flags.append(f"left out: {', '.join(left_out[:_MANY])}{rest}")
    flags += _unlike_units(record)
    error = limb_error(record.signal, record.leads)
    if error > LIMB_TOLERANCE:
        flags.append(f"limb leads disagree: they break II = I + III by {100 * error:.0f} % of their size")
    record.metadata["flags"] = flags
    if channels.median is None:
        return record
    try:
        return replace(record, median=to_record(channels.median, record_id, told))
    except RecordError as e:
        flags.append(f"the file's own representative beat cannot be used: {str(e).partition(': ')[2] or e}")
        return record


def _plain(unit: object) -> str:
    text = "" if unit is None else unicodedata.normalize("NFKC", str(unit))
    return " ".join(text.replace("μ", "u").lower().split())


def _rate(fs: Any, told: float | None) -> tuple[float, list[str]]:
    """The file's rate, or, where it has none, what the caller says."""
    known = isinstance(fs, (int, float, np.number)) and 0 < fs < np.inf
    if not known and told is None:
        raise ValueError(f"the file gives no sampling rate (fs is {fs!r}); expected Hz. Give it: fs=500, if it is that")
    if not known:
        return told, []  # type: ignore[return-value]  # Record checks it
    return fs, [f"fs={told!r} is not used: the file says {fs:g} Hz"] if told is not None and told != fs else []


def _factors(units: Sequence[str], told: str | None) -> tuple[np.ndarray, list[str]]:
    """µV in each channel's unit, NaN where that is no voltage."""
    own = np.array([uv_per(u) for u in units])
    if told is None:
        return own, []
    given = uv_per(told)
    if not given > 0:
        raise ValueError(f"unit is {told!r}; expected a voltage, such as 'mV', 'uV' or '4.88 uV'")
    silent = np.array([_plain(u) in _NO_UNIT for u in units], bool)
    other = [u for u, factor in zip(units, own, strict=True) if np.isfinite(factor) and factor != given]
    doubts = [f"unit={told!r} is not used where the file says {other[0]}"] if other else []
    return np.where(silent, given, own), doubts


def _chosen(channels: Channels, leads: Sequence[str], factors: np.ndarray) -> tuple[list[int], list[str], list[str]]:
    """The channels that are used, in their order, what is left out, and doubts about leads that are there twice."""
    of_lead: dict[str, list[int]] = {}
    left_out, no_voltage = [], []
    for k, lead in enumerate(leads):
        label = _label(channels.names[k], k, "" if np.isfinite(factors[k]) else channels.units[k])
        if is_lead(lead) and np.isfinite(factors[k]):
            of_lead.setdefault(lead, []).append(k)
        else:
            left_out.append(label)
            no_voltage += [k] if is_lead(lead) else []
    if not of_lead:
        raise ValueError(_no_lead(channels, no_voltage))
    used, doubts = [], []
    for lead, found in of_lead.items():
        # The first, or, as of a printout's lead and its rhythm strip, the one with more samples.
        best = max(found, key=lambda k: np.count_nonzero(np.isfinite(channels.signal[k])))
        used.append(best)
        for k in found:
            if k != best:
                left_out.append(f"{_label(channels.names[k], k)} (a second {lead})")
                a, b = channels.signal[best] * factors[best], channels.signal[k] * factors[k]
                if not np.allclose(a, b, rtol=1e-3, atol=5.0, equal_nan=True):
                    which = "the first" if best < k else "the longer one"
                    doubts.append(f"lead {lead} is there twice and the two differ; {which} is used")
    return sorted(used), left_out, list(dict.fromkeys(doubts))


def _label(name: str, k: int, unit: str = "") -> str:
    return (str(name).strip() or f"channel {k + 1}") + (f" ({str(unit).strip()})" if unit else "")


def _no_lead(channels: Channels, no_voltage: Sequence[int]) -> str:
    """What to tell of a recording without a lead that can be used."""
    have = ", ".join(repr(_label(name, k)) for k, name in enumerate(channels.names))
    if no_voltage:
        unit = str(channels.units[no_voltage[0]] or "")
        fix = ". Give it: unit='mV', if it is that" if _plain(unit) in _NO_UNIT else ""
        said = f"unit {unit!r} is not a voltage (mV, uV or V)" if unit else "the file says no unit of its leads"
        return f"{said}{fix}"
    example = "['I', 'II', ...]" if not any(channels.names) else f"{{{str(channels.names[0])!r}: 'I'}}"
    return f"none of its channels has the name of an ECG lead: {have}. Say which is which, such as leads={example}"


def _unlike_units(record: Record) -> list[str]:
    """A doubt where one lead is a thousand or a million times larger or smaller than the others."""
    lag = max(round(0.02 * record.fs), 1)  # in 20 ms a QRS rises and noise of one digit does not
    part = record.signal[:, :_LOOKED_AT]
    if part.shape[1] <= 2 * lag:
        return []
    steps = part[:, lag:] - part[:, :-lag]
    known = np.isfinite(steps)
    if known.all():
        sizes = np.percentile(np.abs(steps), 99, axis=1)
    else:
        pairs = zip(steps, known, strict=True)
        sizes = np.array([np.percentile(np.abs(row[ok]), 99) if ok.any() else 0.0 for row, ok in pairs])
    if np.count_nonzero(sizes) < 3:
        return []
    middle = np.median(sizes[sizes > 0])
    found = []
    for lead, size, row in zip(record.leads, sizes, steps, strict=True):
        larger = size > middle
        ratio = max(size, middle) / min(size, middle) if size else 1.0
        by = next((f for f in _BY_A_UNIT if f / _AT_MOST < ratio < f * _AT_MOST), None)
        # A lead whose electrode is off is small, too, but goes its own way.
        if by and (larger or _follows(row, steps[sizes > 0])):
            found.append(f"{lead} is about {by:,.0f} times {'larger' if larger else 'smaller'}")
    return [f"units differ between leads, it seems: {', '.join(found)} than the others"] if found else []


def _follows(row: np.ndarray, others: np.ndarray) -> bool:
    """Whether a lead goes with one of the others."""
    for other in others:
        both = np.isfinite(row) & np.isfinite(other)
        apart = np.count_nonzero(both) > 2 and np.ptp(row[both]) and np.ptp(other[both])
        if apart and 0.5 < abs(np.corrcoef(row[both], other[both])[0, 1]) < 1.0 - 1e-12:  # 1 is the lead itself
            return True
    return False
