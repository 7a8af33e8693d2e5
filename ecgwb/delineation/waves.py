"""Landmarks: where each P wave, QRS complex and T wave begins, peaks and ends, lead by lead.

The second step of the flow. The delineator trained on LUDB finds them; NeuroKit2's four methods give a second opinion
in the same table, and `read_annotations` reads a cardiologist's marks into it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import wfdb
from safetensors import safe_open
from safetensors.torch import load_file

from ..recordings.filters import fill_gaps, prepare
from ..recordings.record import FS, LEADS12, Record, RecordError, standard_lead
from ..recordings.wfdb_files import quiet_wfdb
from .network import RATE, WAVES, Delineator, decode, fold_norms, predict
from .neurokit import NEUROKIT_METHODS, neurokit_waves

COLUMNS = ("record", "lead", "wave", "onset_ms", "peak_ms", "offset_ms")
METHODS = ("ecgwb", *NEUROKIT_METHODS)
WEIGHTS = Path(__file__).parent / "weights"
UNKNOWN = 65535
MIN_SECONDS, MIN_FS, MAX_FS = 2.0, 100.0, 2000.0

_SYMBOLS = {"p": "P", "N": "QRS", "t": "T"}


def delineate(records: Record | Iterable[Record], method: str = "ecgwb") -> pd.DataFrame:
    """Landmarks of every wave in every lead.

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
        their leads, and of time. A wave that is not there has no row; flat leads and gaps have none.

    Raises
    ------
    ValueError
        For an unknown method, or when two records share an id.
    RecordError
        When a record is too short or its sampling rate is out of range.

    Warns
    -----
    UserWarning
        Once per record, when a method failed on some of its leads; they yield no waves.

    Notes
    -----
    The trained delineator has seen LUDB: for LUDB itself use `ludb_out_of_fold`.
    """
    if method not in METHODS:
        raise ValueError(f"unknown delineation method {method!r}; expected one of {', '.join(METHODS)}")
    records = [records] if isinstance(records, Record) else list(records)
    _check(records)
    if method == "ecgwb":
        return delineate_with(load_delineator(), records)
    return _neurokit_table(records, method)


def read_annotations(path: str | Path) -> pd.DataFrame:
    """Manual marks of one recording, from WFDB annotation files named by lead (``1.ii``, ``1.v5``), as LUDB has them.

    Parameters
    ----------
    path : str or Path
        The record, with or without ``.hea``: its annotation files lie beside the header.

    Returns
    -------
    DataFrame
        As from `delineate`; a wave marked without a boundary has NaN there.

    Raises
    ------
    RecordError
        When the header or every annotation file is missing.
    """
    base = Path(path)
    base = base.with_suffix("") if base.suffix in (".hea", ".dat") else base
    if not base.with_name(base.name + ".hea").is_file():
        raise RecordError(f"record {base.name!r}: no header at {base}.hea; expected a WFDB record with annotations")
    with quiet_wfdb():
        header = wfdb.rdheader(str(base))
    rows: list[tuple] = []
    found = False
    for name in header.sig_name or []:
        extension = next((e for e in (name, name.lower()) if base.with_name(f"{base.name}.{e}").is_file()), None)
        if extension is None:
            continue
        found = True
        with quiet_wfdb():
            marks = wfdb.rdann(str(base), extension)
        ms = marks.sample * (1000.0 / header.fs)
        for i, symbol in enumerate(marks.symbol):
            if symbol in _SYMBOLS:
                onset = ms[i - 1] if i > 0 and marks.symbol[i - 1] == "(" else np.nan
                offset = ms[i + 1] if i + 1 < len(ms) and marks.symbol[i + 1] == ")" else np.nan
                rows.append((base.name, standard_lead(name), _SYMBOLS[symbol], onset, ms[i], offset))
    if not found:
        raise RecordError(
            f"record {base.name!r}: no annotation file beside {base}.hea; expected one per lead, such as {base.name}.ii"
        )
    return _table(rows)


def ludb_out_of_fold() -> pd.DataFrame:
    """LUDB's landmarks from networks that have not seen the person: record number % 5 is the fold left out.

    Returns
    -------
    DataFrame
        As from `delineate`, for all 200 records.
    """
    with np.load(WEIGHTS / "delineator-ludb-oof.npz") as file:
        peak = file["peak"] / 10.0  # stored in tenths of a ms, boundaries by their distance from the peak
        onset, offset = (np.where(file[k] == UNKNOWN, np.nan, file[k] / 10.0) for k in ("before", "after"))
        lead, wave = np.array(LEADS12, object)[file["lead"]], np.array(WAVES, object)[file["wave"]]
        columns = (file["record"].astype(str), lead, wave, peak - onset, peak, peak + offset)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True))).astype(dict.fromkeys(COLUMNS[:3], object))


def save_out_of_fold(table: pd.DataFrame, path: Path) -> None:
    """Store a table of LUDB's waves small enough to ship; `ludb_out_of_fold` reads it."""

    def tenths(x: pd.Series) -> np.ndarray:
        return (10 * x).round().fillna(UNKNOWN).to_numpy(np.uint16)

    np.savez_compressed(
        path,
        record=table["record"].astype(np.uint8),
        lead=table["lead"].map(LEADS12.index).astype(np.uint8),
        wave=table["wave"].map(WAVES.index).astype(np.uint8),
        peak=(10 * table["peak_ms"]).round().to_numpy(np.int32),
        before=tenths(table["peak_ms"] - table["onset_ms"]),
        after=tenths(table["offset_ms"] - table["peak_ms"]),
    )


# ---------------------------------------------------------------- the trained delineator


@cache
def load_delineator() -> Delineator:
    """The shipped network, ready for use."""
    file = WEIGHTS / "delineator.safetensors"
    with safe_open(file, "pt") as opened:
        model = Delineator(**json.loads(opened.metadata()["net"]))
    model.load_state_dict({name: x.float() for name, x in load_file(file).items()})
    return fold_norms(model)


def delineate_with(model: Delineator, records: list[Record]) -> pd.DataFrame:
    """`delineate` by a network of one's own."""
    records = [_blank_flat(record) for record in records]
    rows: list[tuple] = []
    signals, masks, kept = [], [], []
    for i, record in enumerate(records):
        # A lead without a sample would tell the others that nothing happens.
        there = ~np.isnan(record.signal).all(axis=1)
        if there.any():
            leads = tuple(np.array(record.leads)[there])
            prepared = prepare(replace(record, signal=record.signal[there], leads=leads), RATE)
            filled, gaps = fill_gaps(prepared.signal)
            signals.append(filled.astype(np.float32))
            masks.append(gaps | _only_noise(filled))
            kept.append((i, leads))
    for k, p in predict(model, signals):
        i, leads = kept[k]
        gappy = masks[k].any(axis=1)
        for lead, wave, *points in decode(p):
            if not (gappy[lead] and _in_gap(points, masks[k][lead], RATE)):
                rows.append((i, leads[lead], wave, *points))
    return _table([(records[i].record_id, *rest) for i, *rest in sorted(rows, key=lambda row: row[0])])


def _neurokit_table(records: list[Record], method: str) -> pd.DataFrame:
    rows = []
    for record in map(_blank_flat, records):
        filled, gaps = fill_gaps(prepare(record, FS).signal)
        there = np.flatnonzero(~gaps.all(axis=1))
        found, failed = neurokit_waves(filled[there], method)
        for lead, wave, *points in found:
            if not _in_gap(points, gaps[there[lead]], FS):
                rows.append((record.record_id, record.leads[there[lead]], wave, *points))
        if failed:
            why = ", ".join(f"{record.leads[there[i]]} ({error})" for i, error in failed.items())
            warnings.warn(
                f"record {record.record_id!r}: NeuroKit2's {method!r} failed on lead {why}; these leads have no waves",
                stacklevel=4,
            )
    return _table(rows)


# ---------------------------------------------------------------- shared


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
    ids = [record.record_id for record in records]
    twice = sorted({x for x in ids if ids.count(x) > 1}) if len(set(ids)) < len(ids) else []
    if twice:
        raise ValueError(
            f"several records share the id {twice[0]!r}; give each a record_id of its own, to tell rows apart"
        )


def need_rate(record: Record) -> None:
    """Says when a recording is sampled too seldom or too often for landmarks, before it is resampled to any length."""
    if not MIN_FS <= record.fs <= MAX_FS:
        raise RecordError(
            f"record {record.record_id!r}: sampling rate is {record.fs:g} Hz, expected {MIN_FS:g} to "
            f"{MAX_FS:g} Hz; resample it first, or correct the header's rate"
        )


def _blank_flat(record: Record) -> Record:
    """The record with stretches that do not change for a second marked as missing: a lead that is off has no waves."""
    length = max(round(record.fs), 2)
    still = np.diff(record.signal, axis=1) == 0
    signal = record.signal.copy()
    for row, same in zip(signal, still, strict=True):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], same.astype(np.int8), [0]]))).reshape(-1, 2)
        for start, stop in edges[edges[:, 1] - edges[:, 0] >= length - 1]:
            row[start : stop + 1] = np.nan
    return replace(record, signal=signal)


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
        peaks = np.median(
            [np.abs(y).max(1) for y in np.array_split(x, max(x.shape[1] // (2 * RATE), 1), axis=1)], axis=0
        )
        out[:, piece] = (fast & (peaks < 7 * np.median(np.abs(x), axis=1)))[:, None]
    return out


def _in_gap(points_ms: Iterable[float], gaps: np.ndarray, fs: float) -> bool:
    """Whether a wave's known points span a missing sample."""
    at = [x * fs / 1000.0 for x in points_ms if np.isfinite(x)]
    return bool(gaps[max(int(np.floor(min(at))), 0) : int(np.ceil(max(at))) + 1].any())


def _table(rows: list[tuple]) -> pd.DataFrame:
    """Rows as a table with the same types even when empty: records and leads keep their order, waves go by time."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in COLUMNS[:3]:
        table[name] = table[name].astype(object)
    for name in COLUMNS[3:]:
        table[name] = table[name].astype(np.float64)
    order = [pd.Series(pd.factorize(table[name])[0], index=table.index) for name in ("record", "lead")]
    return table.iloc[np.lexsort((table["peak_ms"], order[1], order[0]))].reset_index(drop=True)
