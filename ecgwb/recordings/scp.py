"""SCP-ECG (EN 1064, ISO 11073-91064): sections of fields; samples as they are, as differences, or in Huffman code.

All integers are little-endian; a section is found by the table of pointers in section 0.
"""

from __future__ import annotations

import math
import struct
from binascii import crc_hqx
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .channels import NOTHING_TOLD, Channels, Told
from .identity import clinical, measured, person, years_between
from .pieces import Piece, beat_of, content, error, joined
from .record import RecordError

_HEAD = 16  # bytes that a section begins with
_DEFAULT_TABLE = 19999
_NOT_MEASURED = (0, 29999, 0xFFFF)
_YEARS = {1: 1.0, 2: 1 / 12, 3: 1 / 52.18, 4: 1 / 365.25, 5: 1 / 8766}
_MAKERS = ("", "Burdick", "Cambridge", "Compumed", "Datamed", "Fukuda", "Hewlett-Packard", "Marquette", "Mortara",
           "Nihon Kohden", "Okin", "Quinton", "Siemens", "Spacelabs", "Telemed", "Hellige", "ESA-OTE", "Schiller",
           "Picker-Schwarzer", "et medical devices", "Zwönitz")  # fmt: skip
_PRIVATE = (0, 1, 2, 3, 16, 17, 18, 19, 20, 21, 22, 23, 31)  # tags of names, numbers, places and staff
LEAD_CODES = {1: "I", 2: "II", **{k + 2: f"V{k}" for k in range(1, 8)}, 10: "V2R", 11: "V3R", 12: "V4R", 13: "V5R",
              14: "V6R", 15: "V7R", 16: "X", 17: "Y", 18: "Z", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF", 65: "-aVR",
              66: "V8", 67: "V9", 68: "V8R", 69: "V9R"}  # fmt: skip
"""Leads by the numbers of SCP-ECG, which ISO 11073 (MDC) and DICOM share."""


class _Lead(NamedTuple):
    start: int  # number of its first sample, from 1 on
    end: int
    name: str

    @property
    def samples(self) -> int:
        return self.end - self.start + 1


class _Code(NamedTuple):
    prefix: int  # bits
    total: int
    is_value: bool  # otherwise a switch to the table of that number
    value: int


_Table = dict[str, _Code]
"""Codes by their bits, the first bit first."""


class _File:
    """Sections of a file, and what is common to them."""

    def __init__(self, path: Path) -> None:
        self.path, self.data = path, content(path)
        self.flags: list[str] = []
        self.sections = self._pointers()

    def error(self, text: str) -> Exception:
        return error(self.path, f"{text}; it is damaged, or no SCP-ECG: fetch the file again")

    def number(self, body: bytes, at: int, kind: str = "H") -> int:
        try:
            return int(struct.unpack_from("<" + kind, body, at)[0])
        except struct.error:
            raise self.error("a section is cut short") from None

    def _pointers(self) -> dict[int, bytes]:
        """The sections' bodies by their numbers; those that the file is too short for are left out."""
        data, found = self.data, {}
        end = min(6 + self.number(data, 10, "I"), len(data))
        for at in range(6 + _HEAD, end - 9, 10):
            number, length, index = struct.unpack_from("<HII", data, at)
            if not length or not number or number in found:
                continue
            place = index - 1
            if not 6 <= place <= len(data) - length or length < _HEAD:
                if number in (2, 3, 5, 6):
                    raise self.error(f"its section {number} lies outside the file")
                self.flags.append(f"section {number} lies outside the file, and is left out")
                continue
            if self.number(data, place + 2) != number:
                continue
            found[number] = data[place + _HEAD : place + length]
            if crc_hqx(data[place + 2 : place + length], 0xFFFF) != self.number(data, place):
                self.flags.append(f"the checksum of section {number} is wrong")
        return found


def recognises(path: Path, head: bytes) -> bool:
    """Whether a file begins with section 0 of SCP-ECG, whose first pointer is to itself, at byte 7."""
    if len(head) < 32:
        return False
    number, length = struct.unpack_from("<HI", head, 8)
    return number == 0 and length >= 26 and struct.unpack_from("<H", head, 22)[0] == 0 and head[28:32] == b"\7\0\0\0"


def read(path: Path, name: str = "", told: Told = NOTHING_TOLD) -> Channels:
    """The channels of an SCP-ECG file; its reference beat is their `median`.

    Raises
    ------
    RecordError
        When it is damaged, or its samples are coded in a way that is not read (bimodal compression, long-term rhythm).
    """
    file = _File(path)
    if 3 not in file.sections or 6 not in file.sections:
        if 12 in file.sections:
            raise error(path, "its rhythm is a long-term one (section 12), which is not read")
        raise file.error("it has no section 3 or 6, which name and hold the leads")
    leads = _leads(file)
    tables = _tables(file)
    beat = None
    try:
        beat = _beat(file, leads, tables)
    except RecordError:
        if file.number(file.sections[3], 1, "B") & 1:  # the samples are what the beat leaves over
            raise
        file.flags.append("its reference beat is damaged, and left out")
    unit, interval, rows = _rhythm(file, leads, tables, beat)
    fs, first = 1e6 / interval, min(lead.start for lead in leads)
    pieces = [
        Piece(lead.name, "uV", row * unit, fs, (lead.start - first) / fs) for lead, row in zip(leads, rows, strict=True)
    ]
    parts = [Piece(x.name, "uV", r * beat.unit, beat.fs) for x, r in zip(leads, beat.rows, strict=True)] if beat else []
    median = beat_of(parts, path, file.flags)
    metadata = _metadata(file)
    return Channels(*joined(pieces, path, file.flags), metadata | {"flags": file.flags}, median)


# ---------------------------------------------------------------- leads and samples


def _leads(file: _File) -> list[_Lead]:
    body = file.sections[3]
    leads = []
    for k in range(file.number(body, 0, "B")):
        start, end, code = file.number(body, 2 + 9 * k, "I"), file.number(body, 6 + 9 * k, "I"), 2 + 9 * k + 8
        lead = _Lead(start, end, LEAD_CODES.get(file.number(body, code, "B"), f"lead {file.number(body, code, 'B')}"))
        # In Huffman code a sample takes a bit at least.
        if not 1 <= start <= end or lead.samples > 8 * len(file.data):
            raise file.error(f"its section 3 says that {lead.name} is sample {start} to {end}")
        leads.append(lead)
    if not leads:
        raise file.error("its section 3 names no leads")
    return leads


class _Beat(NamedTuple):
    rows: list[np.ndarray]
    unit: float  # µV
    interval: int  # µs

    @property
    def fs(self) -> float:
        return 1e6 / self.interval


def _coded(file: _File, number: int, counts: list[int], tables: list[_Table]) -> tuple:
    """Unit (nV), interval (µs), the last byte of the head, and each lead's samples, of section 5 or 6."""
    body = file.sections[number]
    nanovolts, interval = file.number(body, 0), file.number(body, 2)
    order, last = file.number(body, 4, "B"), file.number(body, 5, "B")
    if not nanovolts or not interval or order > 2:
        raise file.error(f"its section {number} says {nanovolts} nV a step, {interval} µs a sample, coding {order}")
    at, rows = 6 + 2 * len(counts), []
    for k, count in enumerate(counts):
        size = file.number(body, 6 + 2 * k)
        part = body[at : at + size]
        at += size
        if tables:
            values = _huffman(file, part, count, tables)
        elif len(part) < 2 * count:
            raise file.error(f"its section {number} holds {len(part) // 2} of {count} samples of a lead")
        else:
            values = np.frombuffer(part, "<i2", count).astype(np.int64)
        rows.append(_summed(values, order))
    return nanovolts, interval, last, rows


def _summed(values: np.ndarray, order: int) -> np.ndarray:
    """Samples of first or second differences, in 16 bits as the recorder took them."""
    if order == 1:
        values = np.cumsum(values)
    elif order == 2 and len(values) > 2:
        slopes = np.cumsum(np.concatenate([[values[1] - values[0]], values[2:]]))
        values = values[0] + np.concatenate([[0], np.cumsum(slopes)])
    return values.astype(np.int16).astype(np.int64) if order else values


def _beat(file: _File, leads: list[_Lead], tables: list[_Table]) -> _Beat | None:
    """The reference beat of section 5, of the length that section 4 gives in ms."""
    if 5 not in file.sections or 4 not in file.sections:
        return None
    interval = file.number(file.sections[5], 2)
    count = round(file.number(file.sections[4], 0) * 1000 / interval) if interval else 0
    if count < 1:
        return None
    nanovolts, interval, _, rows = _coded(file, 5, [count] * len(leads), tables)
    return _Beat(rows, nanovolts / 1000, interval)


def _rhythm(
    file: _File, leads: list[_Lead], tables: list[_Table], beat: _Beat | None
) -> tuple[float, int, list[np.ndarray]]:
    """Unit (µV), interval (µs) and samples; the reference beat is added again where it was subtracted."""
    nanovolts, interval, bimodal, rows = _coded(file, 6, [lead.samples for lead in leads], tables)
    subtracted = file.number(file.sections[3], 1, "B") & 1
    if bimodal:
        raise error(file.path, "its samples are in bimodal compression, which loses some and is not read")
    if not subtracted:
        return nanovolts / 1000, interval, rows
    if beat is None or beat.interval != interval:
        raise file.error("a reference beat was subtracted from its samples, and is not there at their rate")
    body = file.sections[4]
    fiducial, n = file.number(body, 2), file.number(body, 4)
    step = math.gcd(nanovolts, round(1000 * beat.unit))
    rows = [row * (nanovolts // step) for row in rows]
    times = round(1000 * beat.unit) // step
    for k in range(n):
        kind, at = file.number(body, 6 + 14 * k), 8 + 14 * k
        begin, peak, end = (file.number(body, at + 4 * j, "I") for j in range(3))
        if kind != 0:
            continue
        for lead, row, own in zip(leads, rows, beat.rows, strict=True):
            # Sample j of the recording (from 1 on) is sample j - peak + fiducial of the beat.
            a = max(begin, lead.start, peak - fiducial + 1)
            z = min(end, lead.end, peak - fiducial + len(own))
            if a <= z:
                row[a - lead.start : z - lead.start + 1] += times * own[a - 1 - peak + fiducial : z - peak + fiducial]
    return step / 1000, interval, rows


# ---------------------------------------------------------------- Huffman code


def _tables(file: _File) -> list[_Table]:
    """The tables of section 2; none where samples are not in Huffman code."""
    if 2 not in file.sections:
        return []
    body = file.sections[2]
    count, at, tables = file.number(body, 0), 2, []
    if count == _DEFAULT_TABLE:
        return [_default_table()]
    for _ in range(count):
        table: _Table = {}
        n = file.number(body, at)
        at += 2
        for _ in range(n):
            prefix, total, mode = (file.number(body, at + j, "B") for j in range(3))
            value, stored = file.number(body, at + 3, "h"), file.number(body, at + 5, "I")
            if not 1 <= prefix <= 32 or not prefix <= total <= prefix + 32:
                raise file.error(f"its section 2 has a code of {prefix} bits in {total}")
            # The first bit of a code is the lowest of the number.
            table[f"{stored & (1 << prefix) - 1:0{prefix}b}"[::-1]] = _Code(prefix, total, mode == 1, value)
            at += 9
        tables.append(table)
    return tables


def _default_table() -> _Table:
    """0 is "0"; ±k up to 8 is k ones, 0, and the sign; ten bits go before 8 or 16 bits of a value of its own."""
    table = {"0": _Code(1, 1, True, 0)}
    for k in range(1, 9):
        for sign in (0, 1):
            table[f"{'1' * k}0{sign}"] = _Code(k + 2, k + 2, True, -k if sign else k)
    table["1111111110"] = _Code(10, 18, True, 0)
    table["1111111111"] = _Code(10, 26, True, 0)
    return table


def _huffman(file: _File, data: bytes, count: int, tables: list[_Table]) -> np.ndarray:
    """`count` values of a stream of codes, the first bit first."""
    bits = "".join(f"{byte:08b}" for byte in data)
    out, at, table = np.zeros(min(count, len(bits)), np.int64), 0, tables[0]
    longest = max((len(code) for t in tables for code in t), default=0)
    n = 0
    while n < count:
        found = next((c for k in range(1, longest + 1) if (c := table.get(bits[at : at + k]))), None)
        if found is None or at + found.total > len(bits):
            raise file.error(f"its Huffman code ends after {n} of {count} samples")
        at += found.prefix
        if not found.is_value:
            if not 1 <= found.value <= len(tables):
                raise file.error(f"its Huffman code asks for table {found.value} of {len(tables)}")
            table = tables[found.value - 1]
            continue
        extra = found.total - found.prefix
        value = found.value
        if extra:
            raw = int(bits[at : at + extra], 2)
            value += raw - (1 << extra) if raw >> (extra - 1) else raw
            at += extra
        if n == len(out):
            raise file.error(f"its Huffman code ends after {n} of {count} samples")
        out[n] = value
        n += 1
    return out


# ---------------------------------------------------------------- person, measurements, statements


def _metadata(file: _File) -> dict[str, Any]:
    tags: dict[int, bytes] = {}
    body, at = file.sections.get(1, b""), 0
    private: list[str] = []
    while at + 3 <= len(body) and body[at] != 255:
        tag, size = body[at], file.number(body, at + 1)
        value = body[at + 3 : at + 3 + size]
        tags.setdefault(tag, value)
        private += [_text(value)] if tag in _PRIVATE else []
        at += 3 + size
    age = tags.get(4, b"")
    years = None
    if len(age) >= 3 and (value := struct.unpack_from("<H", age)[0]) and age[2] in _YEARS:
        years = value * _YEARS[age[2]]
    if years is None:
        years = years_between(_day(tags.get(5, b"")), _day(tags.get(25, b"")))
    sex = {1: "male", 2: "female"}.get(tags.get(8, b"\0")[:1][0] if tags.get(8) else 0, "")
    found = person(file.flags, years, sex, _text(tags.get(2, b"")))
    made = tags.get(14, b"")
    maker = _MAKERS[made[7]] if len(made) >= 14 and made[7] < len(_MAKERS) else ""
    more = {
        "measured": _measured(file),
        "diagnosis": clinical(_statements(file), private),
        "device": clinical([f"{maker} {_text(made[8:14])}"], private),
    }
    return found | {k: v for k, v in more.items() if v}


def _text(value: bytes) -> str:
    """A text that ends with a zero; printable characters of Latin-1 or UTF-8."""
    raw = value.split(b"\0", 1)[0]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return "".join(c for c in text if c.isprintable()).strip()


def _day(value: bytes) -> str:
    return f"{struct.unpack_from('<H', value)[0]:04d}{value[2]:02d}{value[3]:02d}" if len(value) >= 4 else ""


def _measured(file: _File) -> dict[str, float]:
    """Intervals between the onsets and offsets of the first reference beat in section 7, and the rate of mean RR."""
    body = file.sections.get(7, b"")
    if len(body) < 6:
        return {}
    rr = struct.unpack_from("<H", body, 2)[0]
    numbers = {"hr": 60000 / rr if rr not in _NOT_MEASURED else None}
    if body[0] and len(body) >= 22:
        p_on, _, q_on, q_off, t_off = (
            None if x in _NOT_MEASURED[1:] else x for x in struct.unpack_from("<5H", body, 6)
        )
        for key, a, z in (("pr", p_on, q_on), ("qrs", q_on, q_off), ("qt", q_on, t_off)):
            numbers[key] = z - a if a is not None and z is not None else None
    return measured(**numbers)


def _statements(file: _File) -> list[str]:
    """Texts of section 8, or of section 11 where there is none."""
    for number in (8, 11):
        body, found, at = file.sections.get(number, b""), [], 9
        for _ in range(body[8] if len(body) > 8 else 0):
            if at + 3 > len(body):
                break
            size = struct.unpack_from("<H", body, at + 1)[0]
            value = body[at + 3 : at + 3 + size]
            found += [_text(part) for part in value[number == 11 :].split(b"\0")]
            at += 3 + size
        if any(found):
            return found
    return []
