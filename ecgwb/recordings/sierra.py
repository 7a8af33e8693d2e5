"""Philips Sierra ECG XML (PageWriter, TraceMasterVue, IntelliSpace ECG), plain or in Philips's compression, XLI."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from .channels import NOTHING_TOLD, Channels, Told
from .identity import clinical, measured, number_in, person, years_between
from .pieces import Piece, beat_of, error, joined
from .record import LEADS12, standard_lead
from .xml_files import attribute, from_base64, from_digits, has_root, parse, raw_text, text_of, words_of

ROOT = "restingecgdata"
recognises = has_root(ROOT)

_SIGNAL = "dataacquisition/signalcharacteristics/"
_CLEAR, _CODE_BITS = 256, 10  # codes below stand for a byte
_MOST_EXPANDED, _ALWAYS_ALLOWED = 64, 2**20  # bytes that one byte of XLI may stand for, and those that a lead may have
_MOST_LEADS = 64


def read(path: Path, name: str = "", told: Told = NOTHING_TOLD) -> Channels:
    """The channels of a Sierra XML; its representative beats are their `median`.

    Raises
    ------
    RecordError
        When it is damaged, or its samples are coded in a way that is not known.
    """
    root = parse(path)
    flags: list[str] = []
    waves = root.find("waveforms/parsedwaveforms")
    waves = next(root.iter("parsedwaveforms"), None) if waves is None else waves
    if waves is None:
        raise error(path, "it holds no waveforms (parsedwaveforms)")
    fs = (
        number_in(attribute(waves, "samplespersecond")) or number_in(text_of(root, _SIGNAL + "samplingrate")) or told.fs
    )
    gain = _gain(root, waves)
    if not fs or not gain:
        what = "sampling rate" if not fs else "resolution"
        raise error(path, f"it says no {what}; expected samplingrate and resolution of signalcharacteristics")
    duration = number_in(attribute(waves, "durationperchannel"))
    rows = _rows(root, waves, path, round(duration * fs / 1000) if duration else None)
    zero = number_in(attribute(waves, "signaloffset") or text_of(root, _SIGNAL + "signaloffset")) or 0.0
    pieces = [Piece(lead, "uV", (row - zero) * gain, float(fs)) for lead, row in rows.items()]
    median = _beats(root.find("waveforms/repbeats"), float(fs), gain)
    metadata = _metadata(root, flags)
    channels = joined(pieces, path, flags)
    return Channels(*channels, metadata | {"flags": flags}, beat_of(median, path, flags))


def _gain(root: Element, waves: Element) -> float | None:
    """µV of one step."""
    said = [attribute(waves, "resolution"), *(text_of(root, _SIGNAL + x) for x in ("resolution", "signalresolution"))]
    return next((g for g in map(number_in, said) if g and g > 0), None)


def _leads(root: Element, waves: Element) -> list[str]:
    """The leads' names in the order of the samples."""
    names = [re.sub(r"[^\w-]", "", x)[:12] for x in attribute(waves, "leadlabels").split()]
    counts = [text_of(root, f"{_SIGNAL}numberchannels{x}") for x in ("allocated", "valid")]
    said = map(number_in, (attribute(waves, "numberofleads"), *counts))
    count = next((n for n in said if n and n >= 1), len(names))
    if names:
        return names[: int(count)]
    known = {text_of(root, _SIGNAL + x) for x in ("acquisitiontype", "leadset")} & {"STD-12", "10-WIRE"}
    return [LEADS12[k] if known and k < 12 else f"channel {k + 1}" for k in range(min(int(count), _MOST_LEADS))]


def _rows(root: Element, waves: Element, path: Path, n: int | None) -> dict[str, np.ndarray]:
    """The leads in steps of the recorder."""
    names = _leads(root, waves)
    coding = attribute(waves, "dataencoding").lower()
    method = (attribute(waves, "compression") or attribute(waves, "compressmethod")).lower()
    packed = method not in ("", "none", "uncompressed") and attribute(waves, "compressflag").lower() not in (
        "false",
        "0",
    )
    if packed and method != "xli":
        raise error(path, "its samples are compressed in a way that is not known; expected XLI or none")
    if coding == "plain" and not packed:
        values = from_digits(raw_text(waves))
    else:
        data = from_base64(raw_text(waves))
        if packed and data:
            return _from_xli(names, unpack(data, path), path, n)
        signed = (attribute(waves, "signalsigned") or text_of(root, _SIGNAL + "signalsigned")).lower()
        kind = "<u2" if signed in ("false", "no", "0") else "<i2"
        values = None if data is None else np.frombuffer(data[: len(data) // 2 * 2], kind).astype(np.float64)
    if values is None or not names:
        raise error(path, "its samples are damaged or not Base64; fetch the file again")
    n = len(values) // len(names) if n is None else n
    if n < 1 or n * len(names) > len(values):
        raise error(path, f"it has {len(values)} samples, {n} of {len(names)} leads are promised; fetch the file again")
    return {lead: values[k * n : (k + 1) * n] for k, lead in enumerate(names)}


def _from_xli(names: list[str], rows: list[np.ndarray], path: Path, n: int | None) -> dict[str, np.ndarray]:
    """Leads of XLI, in which III, aVR, aVL and aVF are what I and II leave over."""
    n = min(map(len, rows)) if n is None and rows else n
    if len(rows) < len(names) or not n or min(map(len, rows[: len(names)])) < n:
        raise error(
            path, f"its compressed samples are cut short: {len(rows)} of {len(names)} leads; fetch the file again"
        )
    have = {standard_lead(lead): row[:n] for lead, row in zip(names, rows, strict=False)}
    if {"I", "II", "III", "aVR", "aVL", "aVF"} <= set(have):
        one, two = have["I"], have["II"]
        have["III"] = two - one - have["III"]
        have["aVR"] = -have["aVR"] - (one + two) // 2
        have["aVL"] = (one - have["III"]) // 2 - have["aVL"]
        have["aVF"] = (two + have["III"]) // 2 - have["aVF"]
    return have


def unpack(data: bytes, path: Path) -> list[np.ndarray]:
    """The rows of XLI: each has a head of 8 bytes (size, nothing, first value), and second differences in LZW."""
    rows: list[np.ndarray] = []
    at = 0
    while at < len(data) and len(rows) < _MOST_LEADS:
        size, first = int.from_bytes(data[at : at + 4], "little", signed=True), data[at + 6 : at + 8]
        at += 8
        if len(first) < 2 or not 0 < size <= len(data) - at:
            raise error(path, "its compressed samples are damaged; fetch the file again")
        coded = _lzw(data[at : at + size])
        if len(coded) < 4:
            raise error(path, "its compressed samples are damaged; fetch the file again")
        rows.append(_from_differences(coded, int.from_bytes(first, "little", signed=True)))
        at += size
    return rows


def _lzw(data: bytes) -> bytes:
    """LZW with codes of 10 bits, the first bit first; 1023 and above end it, and no string is longer than the limit."""
    table = [bytes([k]) for k in range(_CLEAR)]
    out, last, held, bits = bytearray(), b"", 0, 0
    for byte in data:
        held, bits = (held << 8 | byte) & 0xFFFFFF, bits + 8
        if bits < _CODE_BITS:
            continue
        bits -= _CODE_BITS
        code = held >> bits & (1 << _CODE_BITS) - 1
        if code > (1 << _CODE_BITS) - 2 or (code >= len(table) and not last):
            break
        found = table[code] if code < len(table) else last + last[:1]
        if last and len(table) <= (1 << _CODE_BITS) - 2:
            table.append(last + found[:1])
        out += found
        last = found
        if len(out) > max(_MOST_EXPANDED * len(data), _ALWAYS_ALLOWED):
            break
    return bytes(out)


def _from_differences(coded: bytes, last: int) -> np.ndarray:
    """Samples of second differences: high bytes in the first half, low bytes in the second, 64 added to each."""
    coded = coded + b"\0" * (len(coded) % 2)
    half = len(coded) // 2
    high, low = np.frombuffer(coded[:half], np.int8), np.frombuffer(coded[half:], np.uint8)
    d = (high.astype(np.int64) << 8) + low
    # x[k] = 2 x[k-1] - x[k-2] - e[k-1], of which e[1] stands in the head and the others follow the first two samples
    bends = -np.concatenate([[last], d[2:-1] - 64])
    slopes = np.cumsum(np.concatenate([[d[1] - d[0]], bends]))[: len(d) - 1]
    wide = d[0] + np.concatenate([[0], np.cumsum(slopes)])
    return wide.astype(np.int16).astype(np.int64)


def _beats(beats: Element | None, fs: float, gain: float) -> list[Piece]:
    """The representative beats; those that are compressed or damaged are passed by."""
    if beats is None or attribute(beats, "compression"):
        return []
    own = number_in(attribute(beats, "samplespersec")) or number_in(attribute(beats, "samplespersecond")) or fs
    scale = number_in(attribute(beats, "resolution")) or gain
    pieces = []
    for beat in beats.findall("repbeat"):
        holder = beat.find("waveform")
        text = raw_text(beat if holder is None else holder)
        if attribute(beats, "dataencoding").lower() == "plain":
            values = from_digits(text)
        else:
            data = from_base64(text)
            values = None if data is None else np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float64)
        if values is not None and len(values) and scale > 0:
            pieces.append(Piece(re.sub(r"[^\w-]", "", attribute(beat, "leadname"))[:12], "uV", values * scale, own))
    return pieces


def _metadata(root: Element, flags: list[str]) -> dict[str, Any]:
    who = root.find("patient/generalpatientdata")
    said = number_in(text_of(who, "age/years"))
    if said is None:
        born = text_of(who, "age/dateofbirth") or text_of(who, "dateofbirth")
        said = years_between(born, attribute(root, "date", "dataacquisition"))
    number = next((x for x in (text_of(who, p) for p in ("patientid", "mrn", "uniquepatientid")) if x.strip("- ")), "")
    sex = text_of(who, "sex").strip("- ")
    found = person(flags, said, sex, number)
    interpretation = root.find("interpretations/interpretation")
    numbers: dict[str, float | None] = {}
    places = [(interpretation, "globalmeasurements/"), (interpretation, "interpretationmeasurements/"),
              (root.find("internalmeasurements"), "crossleadmeasurements/"),
              (root.find("measurements"), "globalmeasurements/")]  # fmt: skip
    tags = {"hr": ("heartrate", "meanventrate"), "pr": ("print", "meanprint"), "qrs": ("qrsdur", "meanqrsdur"),
            "qt": ("qtint", "meanqtint")}  # fmt: skip
    for key, names in tags.items():
        values = (number_in(text_of(node, place + tag)) for node, place in places for tag in names)
        numbers[key] = next((v for v in values if v is not None), None)
    statements = [text_of(s, "leftstatement") for s in root.findall("interpretations/interpretation/statement")]
    private = words_of(who, root.find("orderinfo"), root.find("dataacquisition/acquirer"), but=("sex", "race"))
    model = text_of(root, "dataacquisition/machine")
    more = {
        "measured": measured(**numbers),
        "diagnosis": clinical(statements, private),
        "device": clinical([f"Philips {model}"], words_of(who)),
    }
    return found | {k: v for k, v in more.items() if v}
