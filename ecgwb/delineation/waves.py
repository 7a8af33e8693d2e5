"""Waves: recordings in; the onset, peak and offset of every P wave, QRS complex and T wave, lead by lead, out.

The delineator trained on LUDB finds them; NeuroKit2's four methods give a second opinion in the same table.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..recordings.filters import fill_gaps, prepare
from ..recordings.record import FS, Record, RecordError, lasting
from .decoding import RATE, decode
from .landmarks import Wave
from .neurokit import NEUROKIT_METHODS, lacking, neurokit_waves

if TYPE_CHECKING:
    from .network import Delineator

COLUMNS = ("record", "lead", "wave", "onset_ms", "peak_ms", "offset_ms")
METHODS = ("ecgwb", *NEUROKIT_METHODS)
MIN_SECONDS, MIN_FS, MAX_FS = 2.0, 100.0, 2000.0
MIN_LEAD = 1.5  # seconds that a lead has to be there for waves to be looked for in it


def delineate(records: Record | Iterable[Record], method: str = "ecgwb") -> pd.DataFrame:
    """Waves in every lead of recordings.

    Parameters
    ----------
    records : Record or iterable of Record
        At 100 to 2000 Hz, two seconds or longer, any number of leads under any names.
    method : {"ecgwb", "dwt", "cwt", "peak", "prominence"}
        The trained delineator, which reads each lead with the record's other leads as context, or one of NeuroKit2's,
        which read each lead by itself; "peak" has no QRS boundaries, P offsets or T onsets.

    Returns
    -------
    DataFrame
        One row per wave: ``record``, ``lead``, ``wave`` ("P", "QRS" or "T"), ``onset_ms``, ``peak_ms``, ``offset_ms``
        from the record's start, NaN where unknown, as where the record cuts a wave off. In the order of the records, of
        their leads, and of time. An absent wave has no row; flat leads and gaps have none. Gaps of up to 20 ms are
        bridged; where a lead is missing for longer it does not count for the others.

    Raises
    ------
    ValueError
        For an unknown method, one that the installed NeuroKit2 lacks, or when two records share an id.
    RecordError
        When a record is too short or its sampling rate is out of range.

    Warns
    -----
    UserWarning
        Once per record, when a method failed on some of its leads; these leads have no waves.

    Notes
    -----
    The trained delineator has seen LUDB: for LUDB itself use `ludb_out_of_fold`.
    """
    if method not in METHODS:
        raise ValueError(f"unknown delineation method {method!r}; expected one of {', '.join(METHODS)}")
    if not isinstance(records, (Record, Iterable)):
        raise TypeError(f"records is a {type(records).__name__}; expected a Record or a list of them, see read_record")
    records = [records] if isinstance(records, Record) else list(records)
    _check(records)
    if method == "ecgwb":
        from .network import load_delineator

        return delineate_with(load_delineator(), records)
    if need := lacking(method):
        raise ValueError(f"delineation method {method!r} needs {need}")
    found = {}
    for i, record in enumerate(records):
        leads, signal, gaps = _prepared(record, FS)
        waves, failed = neurokit_waves(signal, method)
        found[i] = _named([w for w in waves if not _in_gap(w, gaps, FS)], record, leads)
        if failed:
            why = ", ".join(f"{record.leads[leads[k]]} ({error})" for k, error in failed.items())
            warnings.warn(
                f"record {record.record_id!r}: NeuroKit2's {method!r} failed on lead {why}; these leads have no waves",
                stacklevel=2,
            )
    return _in_order(found)


def delineate_with(model: Delineator, records: Sequence[Record]) -> pd.DataFrame:
    """`delineate` by a network of one's own.

    Parameters
    ----------
    model : Delineator
    records : sequence of Record

    Returns
    -------
    DataFrame
        As from `delineate`.
    """
    from .network import probabilities

    prepared = [_prepared(record, RATE) for record in records]
    # A record without a lead that is there has no waves.
    some = [i for i, (leads, _, _) in enumerate(prepared) if len(leads)]
    waves: dict[int, list[Wave]] = {}
    for k, p in probabilities(model, [prepared[i][1] for i in some], [prepared[i][2] for i in some]):
        _, signal, gaps = prepared[some[k]]
        hidden = gaps | _only_noise(signal)
        found = decode(p)
        waves[some[k]] = [w for w in found if not _in_gap(w, hidden, RATE)] if hidden.any() else found
    return _in_order({i: _named(found, records[i], prepared[i][0]) for i, found in waves.items()})


def wave_table(waves: Any) -> pd.DataFrame:
    """Rows, or columns by name, as a table of waves, with the same types even when it is empty."""
    types: dict[str, Any] = {name: float if name.endswith("_ms") else str for name in COLUMNS}
    return pd.DataFrame(waves, columns=list(COLUMNS)).astype(types)


def _named(waves: Iterable[Wave], record: Record, leads: np.ndarray) -> list[tuple]:
    """Rows of the table, lead by lead and by time; `leads` are the record's own numbers of the waves' leads."""
    names = [record.leads[k] for k in leads]
    ordered = sorted(waves, key=lambda w: (w.lead, w.peak))
    return [(record.record_id, names[w.lead], *w[1:]) for w in ordered]


def _in_order(found: dict[int, list[tuple]]) -> pd.DataFrame:
    return wave_table([row for i in sorted(found) for row in found[i]])


# ---------------------------------------------------------------- before and after a method


def _check(records: list[Record]) -> None:
    for record in records:
        if not isinstance(record, Record):
            raise ValueError(f"expected a Record or a list of them, got {type(record).__name__}; see read_record")
        need_rate(record)
        if record.duration_ms < 1000 * MIN_SECONDS:
            raise RecordError(
                f"record {record.record_id!r}: {record.duration_ms:.0f} ms long, expected {MIN_SECONDS:g} s or more; "
                "landmarks need at least one whole beat with its neighbours"
            )
    twice = sorted(k for k, n in Counter(record.record_id for record in records).items() if n > 1)
    if twice:
        raise ValueError(
            f"several records share the id {twice[0]!r}; give each a record_id of its own, to tell rows apart"
        )


def need_rate(record: Record) -> None:
    """Refuses a recording sampled too seldom or too often for landmarks, before it is resampled to any length."""
    if not isinstance(record, Record):
        raise TypeError(f"record is a {type(record).__name__}; expected a Record, see read_record")
    if not MIN_FS <= record.fs <= MAX_FS:
        raise RecordError(
            f"record {record.record_id!r}: sampling rate is {record.fs:g} Hz, expected {MIN_FS:g} to "
            f"{MAX_FS:g} Hz; resample it first, or correct the header's rate"
        )


def _prepared(record: Record, fs: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of the leads that hold a signal, their prepared signal (lead, sample), and where it was missing.

    Stretches that do not change for a second are taken as missing: a lead that is off has no waves.
    """
    prepared = prepare(replace(record, signal=np.where(long_flat(record), np.nan, record.signal)), fs)
    signal, gaps = fill_gaps(prepared.signal)
    leads = np.flatnonzero((~gaps).sum(axis=1) >= MIN_LEAD * fs)
    return leads, signal[leads], gaps[leads]


def long_flat(record: Record) -> np.ndarray:
    """Where (lead, sample) a recording does not change for a second or longer."""
    same = lasting(np.diff(record.signal, axis=1) == 0, max(round(record.fs), 2) - 1)  # as the sample before
    return np.pad(same, ((0, 0), (1, 0))) | np.pad(same, ((0, 0), (0, 1)))


def _only_noise(signal: np.ndarray) -> np.ndarray:
    """Where (lead, sample), in pieces of about ten seconds at 250 Hz, a lead holds noise or mains and no ECG.

    Most of its power lies above 40 Hz (in none of LUDB's and PTB-XL-500's leads does more than 31 %), and it has no
    peaks, as a lead full of pacing spikes would: its typical excursion in two seconds (there 20 times the median
    size) is below 7 times.
    """
    out = np.zeros(signal.shape, bool)
    for piece in np.array_split(np.arange(signal.shape[1]), max(signal.shape[1] // (10 * RATE), 1)):
        x = signal[:, piece]
        power = np.abs(np.fft.rfft(x, axis=1)) ** 2
        fast = power[:, np.fft.rfftfreq(x.shape[1], 1 / RATE) > 40].sum(1) > 0.5 * power.sum(1)
        two_seconds = np.array_split(np.abs(x), max(x.shape[1] // (2 * RATE), 1), axis=1)
        excursion = np.median([y.max(1) for y in two_seconds], axis=0)
        out[:, piece] = (fast & (excursion < 7 * np.median(np.abs(x), axis=1)))[:, None]
    return out


def _in_gap(wave: Wave, gaps: np.ndarray, fs: float) -> bool:
    """Whether a wave's known points span a missing sample of `gaps` (lead, sample)."""
    at = [ms * fs / 1000.0 for ms in (wave.onset, wave.peak, wave.offset) if np.isfinite(ms)]
    return bool(gaps[wave.lead, max(int(np.floor(min(at))), 0) : int(np.ceil(max(at))) + 1].any())
