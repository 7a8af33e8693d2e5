"""Waves: recordings in; the onset, peak and offset of every P wave, QRS complex and T wave, lead by lead, out.

The delineator trained on LUDB finds them; NeuroKit2's four methods give a second opinion in the same table.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..recordings.filters import fill_gaps, prepare
from ..recordings.record import FS, Record, RecordError, lasting, runs
from .decoding import decode
from .landmarks import Wave
from .network import RATE, Delineator, load_delineator, probabilities
from .neurokit import NEUROKIT_METHODS, lacking, neurokit_waves

COLUMNS = ("record", "lead", "wave", "onset_ms", "peak_ms", "offset_ms")
METHODS = ("ecgwb", *NEUROKIT_METHODS)
MIN_SECONDS, MIN_FS, MAX_FS = 2.0, 100.0, 2000.0
MIN_PIECE = round(1.5 * RATE)  # samples of a lead that is mostly gap in which waves are looked for


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
        their leads, and of time. An absent wave has no row; flat leads and gaps have none.

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
    prepared = [_prepared(record, RATE) for record in records]
    # A lead without a sample would show the others that nothing happens, and a record without leads has no waves.
    pieces = [(i, piece) for i, (_, _, gaps) in enumerate(prepared) for piece in _pieces(gaps)]
    waves: dict[int, list[Wave]] = {i: [] for i, _ in pieces}
    for k, p in probabilities(model, [prepared[i][1][x.rows, x.start : x.stop] for i, x in pieces]):
        i, piece = pieces[k]
        _, signal, gaps = prepared[i]
        inside = slice(piece.start, piece.stop)
        hidden = gaps[piece.rows, inside] | _only_noise(signal[piece.rows, inside])
        ms = piece.start * 1000.0 / RATE
        waves[i] += [
            Wave(int(piece.rows[w.lead]), w.kind, w.onset + ms, w.peak + ms, w.offset + ms)
            for w in decode(p)
            if w.lead < piece.n_own and not _in_gap(w, hidden, RATE)
        ]
    return _in_order({i: _named(found, records[i], prepared[i][0]) for i, found in waves.items()})


class _Piece(NamedTuple):
    """A stretch of some leads that pass the network together."""

    rows: np.ndarray  # of the signal
    n_own: int  # how many of them, the first, are asked for; the others are context
    start: int
    stop: int


def _pieces(gaps: np.ndarray) -> Iterator[_Piece]:
    """The leads that are there for half of the time or more, together; the others where they are, as in a printout.

    A lead that is mostly gap would show the others that nothing happens. Those that are there at the same time go
    together, with the whole leads as context.
    """
    missing = gaps.mean(axis=1)
    whole = np.flatnonzero(missing <= 0.5)
    if len(whole):
        yield _Piece(whole, len(whole), 0, gaps.shape[1])
    together: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for lead in np.flatnonzero(missing > 0.5):
        _, begin, end = runs(~gaps[lead : lead + 1])
        longest = int((end - begin).argmax())
        start, stop = int(begin[longest]), int(end[longest])
        together.setdefault((round(10 * start / RATE), round(10 * stop / RATE)), []).append((int(lead), start, stop))
    for members in together.values():
        own, starts, stops = zip(*members, strict=True)
        if min(stops) - max(starts) >= MIN_PIECE:
            yield _Piece(np.r_[list(own), whole].astype(int), len(own), max(starts), min(stops))


def wave_table(waves: Any) -> pd.DataFrame:
    """Rows, or columns by name, as a table of waves, with the same types even when it is empty."""
    types: dict[str, Any] = {name: float if name.endswith("_ms") else str for name in COLUMNS}
    return pd.DataFrame(waves, columns=list(COLUMNS)).astype(types)


def _named(waves: Iterable[Wave], record: Record, leads: np.ndarray) -> list[tuple]:
    """Rows of the table, lead by lead and by time; `leads` are the record's own numbers of the waves' leads."""
    ordered = sorted(waves, key=lambda w: (w.lead, w.peak))
    return [(record.record_id, record.leads[leads[w.lead]], *w[1:]) for w in ordered]


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
    same = lasting(np.diff(record.signal, axis=1) == 0, max(round(record.fs), 2) - 1)  # as the sample before
    flat = np.pad(same, ((0, 0), (1, 0))) | np.pad(same, ((0, 0), (0, 1)))
    prepared = prepare(replace(record, signal=np.where(flat, np.nan, record.signal)), fs)
    signal, gaps = fill_gaps(prepared.signal)
    leads = np.flatnonzero(~gaps.all(axis=1))
    return leads, signal[leads], gaps[leads]


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
