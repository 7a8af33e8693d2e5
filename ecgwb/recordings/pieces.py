"""Channels out of the pieces that files hold: leads in turn, at different rates, of different lengths."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .channels import Channels
from .record import LEADS12, RecordError, standard_lead

MOST_BYTES = 200 * 2**20
"""A longer file of one ECG is none that is read whole."""
_MOST_EMPTY = 32  # times as many places as there are samples; twelve leads recorded in turn have 12
_LARGEST = 1e12  # in whatever unit; squares of more would not be finite
_MANY = 8  # names in a flag
_SAME = 1e-3  # rates that differ by less are one


class Piece(NamedTuple):
    """Samples of one channel at one rate, from `start` (s) on."""

    name: str
    unit: str
    samples: np.ndarray
    fs: float
    start: float = 0.0


_Row = tuple[str, str, list[int]]  # name, unit, and which pieces


class Joined(NamedTuple):
    """The parts of `Channels` that come of pieces: ``Channels(*joined, metadata)``."""

    signal: np.ndarray
    fs: float
    names: tuple[str, ...]
    units: tuple[str, ...]


def joined(pieces: Sequence[Piece], path: Path, flags: list[str]) -> Joined:
    """The pieces at the rate that the ECG leads have, each at its time; NaN where there is none.

    Parameters
    ----------
    pieces : sequence of Piece
    path : Path
        Named in an error.
    flags : list of str
        Grows by what is left out.

    Raises
    ------
    RecordError
        When there is no piece, or they lie too far apart.
    """
    pieces = [p for p in pieces if len(p.samples) and 0 < p.fs < math.inf and math.isfinite(p.start)]
    if not pieces:
        raise error(path, "it holds no ECG samples")
    _leave_out(pieces, lambda p: np.abs(np.nan_to_num(p.samples)).max() > _LARGEST, "impossible size", flags)
    if not pieces:
        raise error(path, "its samples are of an impossible size; its gains cannot be right")
    fs = _rate(pieces)
    _leave_out(pieces, lambda p: not _same(p.fs, fs), f"another sampling rate than {fs:g} Hz", flags)
    first = min(p.start for p in pieces)
    at = [round((p.start - first) * fs) for p in pieces]
    length = max(a + len(p.samples) for a, p in zip(at, pieces, strict=True))
    rows: list[_Row] = []
    for k, piece in enumerate(pieces):
        row = next((r for r in rows if _continues(r, piece, at[k], pieces, at)), None)
        if row:
            row[2].append(k)
        else:
            rows.append((piece.name, piece.unit, [k]))
    if len(rows) * length > _MOST_EMPTY * sum(len(p.samples) for p in pieces):
        raise error(path, f"its pieces lie {length / fs:.0f} s apart with little in between; expected one recording")
    signal = np.full((len(rows), length), np.nan)
    for values, (_, _, which) in zip(signal, rows, strict=True):
        for k in which:
            values[at[k] : at[k] + len(pieces[k].samples)] = pieces[k].samples
    ends = {at[r[2][-1]] + len(pieces[r[2][-1]].samples) for r in rows}
    if len({at[r[2][0]] for r in rows}) == 1 and len(ends) > 1:
        flags.append("leads are of unequal length; what is missing is left empty")
    return Joined(signal, fs, tuple(r[0] for r in rows), tuple(r[1] for r in rows))


def beat_of(pieces: Sequence[Piece], path: Path, flags: list[str]) -> Channels | None:
    """The recorder's own beat, of pieces; None where there is none, and a flag where it is not to be understood."""
    try:
        return Channels(*joined(pieces, path, [])) if pieces else None
    except RecordError:
        flags.append("its median beat is damaged, and left out")
        return None


def _leave_out(pieces: list[Piece], unfit: Callable[[Piece], bool], why: str, flags: list[str]) -> None:
    gone = [p for p in pieces if unfit(p)]
    if gone:
        names = list(dict.fromkeys(p.name for p in gone))
        flags.append(f"left out for {why}: {', '.join(names[:_MANY])}{' and others' if len(names) > _MANY else ''}")
        pieces[:] = [p for p in pieces if not unfit(p)]


def _continues(row: _Row, piece: Piece, start: int, pieces: Sequence[Piece], at: list[int]) -> bool:
    last = row[2][-1]
    return row[:2] == (piece.name, piece.unit) and start >= at[last] + len(pieces[last].samples)


def _rate(pieces: Sequence[Piece]) -> float:
    """The rate at which most ECG leads are, then most channels; of equals the highest."""
    votes: dict[float, list[int]] = defaultdict(lambda: [0, 0])
    for piece in pieces:
        rate = next((r for r in votes if _same(r, piece.fs)), piece.fs)
        votes[rate][0] += standard_lead(piece.name) in LEADS12
        votes[rate][1] += 1
    return max(votes, key=lambda r: (*votes[r], r))


def _same(a: float, b: float) -> bool:
    return abs(a - b) <= _SAME * b


def error(path: Path, text: str) -> RecordError:
    return RecordError(f"record {path.name!r}: {text}")


def content(path: Path) -> bytes:
    """A file's bytes, where it is of a size that one ECG can have.

    Raises
    ------
    RecordError
        When it is larger, or cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise error(
                path, f"it has {size / 2**20:.0f} MB; one ECG of this format has less than {MOST_BYTES >> 20} MB"
            )
        return path.read_bytes()
    except OSError as e:
        raise error(path, f"it cannot be read ({type(e).__name__}: {e.strerror})") from e
