"""EDF, EDF+, BDF and BDF+: a header in fixed columns, then data records with each signal's samples in turn.

Read here, with NumPy alone, because what matters are the files that libraries refuse or pass over: units in Latin-1,
records cut short, gaps between the records of EDF+D.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .channels import NOTHING_TOLD, Channels, Told
from .identity import number_in, person, years_between
from .pieces import Piece, error, joined

_WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # label, transducer, unit, physical and digital range, filter, samples, -
_MOST_SIGNALS = 4096
_GAP = 1e-3  # s; clocks of one recording differ by less
_DAY = re.compile(r"(\d\d)-([A-Z]{3})-(\d{4})")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_EDF, _BDF = b"0       ", b"\xffBIOSEMI"


class _Signal(NamedTuple):
    label: str
    unit: str
    gain: float
    offset: float
    per_record: int


class _Head(NamedTuple):
    person: str
    recording: str
    kind: str  # EDF+C, EDF+D, or ""
    size: int
    records: int
    seconds: float
    signals: list[_Signal]
    width: int  # bytes a sample


def recognises(path: Path, head: bytes) -> bool:
    """Whether a file begins as EDF or BDF does, and has numbers where its header says lengths."""
    if not head.startswith((_EDF, _BDF)) or len(head) < 256:
        return False
    return None not in (number_in(head[184:192].decode("latin-1")), number_in(head[252:256].decode("latin-1")))


def read(path: Path, name: str = "", told: Told = NOTHING_TOLD) -> Channels:
    """The channels of an EDF or BDF file.

    Raises
    ------
    RecordError
        When its header is damaged or it holds no whole data record.
    """
    head, flags = _header(path), []
    per_record = sum(s.per_record for s in head.signals)
    size, record = path.stat().st_size - head.size, head.width * per_record
    whole = size // record if record else 0
    if whole < 1:
        raise error(path, f"it has {max(size, 0)} bytes of samples; a data record has {record}; fetch the file again")
    if head.records > 0 and whole < head.records:
        flags.append(f"cut short: {whole} of {head.records} data records")
    n = min(whole, head.records) if head.records > 0 else whole
    data = np.memmap(path, np.uint8, "r", head.size, (n, record))
    starts = _starts(head, data, flags)
    pieces, at = [], 0
    for signal in head.signals:
        part = slice(at * head.width, (at + signal.per_record) * head.width)
        at += signal.per_record
        if "Annotations" in signal.label or not signal.per_record:
            continue
        if not signal.gain:
            flags.append(f"left out: {signal.label} (its physical or digital range is empty)")
            continue
        values = _numbers(data[:, part], head.width) * signal.gain + signal.offset
        fs = signal.per_record / head.seconds
        lead = _lead(signal.label)
        pieces += [Piece(lead, signal.unit, values[a:z].reshape(-1), fs, t) for a, z, t in starts]
    return Channels(*joined(pieces, path, flags), _metadata(head, flags) | {"flags": flags})


def _header(path: Path) -> _Head:
    with path.open("rb") as file:
        fixed = file.read(256)
        numbers = [number_in(fixed[a:z].decode("latin-1")) for a, z in ((184, 192), (236, 244), (244, 252), (252, 256))]
        if None in numbers:
            raise error(path, "its header has no numbers where EDF has its lengths; fetch the file again")
        size, records, seconds, count = (float(x or 0) for x in numbers)
        if not (1 <= count <= _MOST_SIGNALS and size == 256 * (count + 1) and 0 < seconds < math.inf):
            said = f"{count:g} signals, records of {seconds:g} s, a header of {size:g} bytes"
            raise error(path, f"its header cannot be right ({said}); expected EDF or BDF with signals")
        n = int(count)
        rest = file.read(256 * n)
    if len(rest) < 256 * n:
        raise error(path, "its header is cut short; fetch the file again")
    columns, at = [], 0
    for width in _WIDTHS:
        columns.append([rest[at + k * width : at + (k + 1) * width].decode("latin-1").strip(" \0") for k in range(n)])
        at += width * n
    width = 3 if fixed.startswith(_BDF) else 2
    signals = [_signal(path, *(columns[c][k] for c in (0, 2, 3, 4, 5, 6, 8))) for k in range(n)]
    texts = [fixed[a:z].decode("latin-1").strip() for a, z in ((8, 88), (88, 168), (192, 236))]
    return _Head(texts[0], texts[1], texts[2][:5], int(size), int(records), seconds, signals, width)


def _signal(path: Path, label: str, unit: str, p_min: str, p_max: str, d_min: str, d_max: str, samples: str) -> _Signal:
    count = number_in(samples)
    if count is None or not 0 <= count < 2**31:
        raise error(path, f"its header says {samples!r} samples a data record; fetch the file again")
    physical, digital = [number_in(x) for x in (p_min, p_max)], [number_in(x) for x in (d_min, d_max)]
    if None in physical + digital or digital[0] == digital[1]:
        return _Signal(label, unit, 0.0, 0.0, int(count))
    (low, high), (first, last) = (float(x or 0) for x in physical), (float(x or 0) for x in digital)
    gain = (high - low) / (last - first)
    return _Signal(label, unit, gain, low - first * gain, int(count))


def _numbers(data: np.ndarray, width: int) -> np.ndarray:
    """Samples (record, sample) of bytes."""
    raw = np.ascontiguousarray(data)
    if width == 2:
        return raw.view("<i2")
    parts = raw.reshape(len(raw), -1, 3).astype(np.int32)
    return (parts[..., 0] | parts[..., 1] << 8 | parts[..., 2] << 16) << 8 >> 8


def _lead(label: str) -> str:
    """A label without the kind of signal that EDF+ puts before it: "ECG V2" is "V2"."""
    return re.sub(r"^(ECG|EKG)[\s_-]+(?=\S)", "", label, flags=re.IGNORECASE)


def _starts(head: _Head, data: np.ndarray, flags: list[str]) -> list[tuple[int, int, float]]:
    """First record, end and time (s) of each stretch without a gap."""
    n = len(data)
    if head.kind[:5] not in ("EDF+D", "BDF+D"):
        return [(0, n, 0.0)]
    at = 0
    for signal in head.signals:
        if "Annotations" in signal.label:
            raw = data[:, at * head.width : (at + signal.per_record) * head.width]
            # The first annotation of a record is its own time: "+12.5", then the byte 20.
            found = [re.match(rb"([+-]\d{1,12}(?:\.\d{1,9})?)\x14", row.tobytes()[:32]) for row in raw]
            times = [float(m[1]) if m else math.nan for m in found]
            if any(map(math.isnan, times)):
                break
            cut = [0, *(k for k in range(1, n) if abs(times[k] - times[k - 1] - head.seconds) > _GAP), n]
            if len(cut) > 2:
                flags.append(f"{len(cut) - 2} gaps between its parts, left empty")
            return [(a, z, times[a]) for a, z in pairwise(cut)]
        at += signal.per_record
    flags.append("it has gaps, and does not say where: parts are put one after the other")
    return [(0, n, 0.0)]


def _metadata(head: _Head, flags: list[str]) -> dict[str, Any]:
    """Where the patient field is as in EDF+, "code sex birthdate name"; free text of EDF is not looked at."""
    words = head.person.split()
    if len(words) < 3 or words[1] not in ("F", "M", "X") or not (words[2] == "X" or _DAY.fullmatch(words[2].upper())):
        return {}
    born, began = _DAY.match(words[2].upper()), _DAY.search(head.recording.upper())
    days = [f"{m[3]}{_MONTHS.index(m[2]) + 1:02d}{m[1]}" if m and m[2] in _MONTHS else ""
            for m in (born, began)]  # fmt: skip
    return person(flags, years_between(*days), words[1].strip("X"), words[0])
