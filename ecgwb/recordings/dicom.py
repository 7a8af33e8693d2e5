"""DICOM waveforms: 12-lead and general ECG, by pydicom; rhythm, median beat, the recorder's measurements and texts."""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from .channels import NOTHING_TOLD, Channels, Told
from .identity import clinical, measured, number_in, person, years_between
from .people import age_of
from .pieces import Piece, beat_of, content, error, joined
from .record import RecordError
from .scp import LEAD_CODES
from .wfdb_files import quiet_wfdb

_WAVEFORM = "1.2.840.10008.5.1.4.1.1.9."
_READ = {"1.1": "12-lead ECG", "1.2": "general ECG", "1.4": "general 32-bit ECG"}
_REFUSED = {"1.3": "an ambulatory ECG (Holter)", "2.1": "a hemodynamic recording",
            "3.1": "an electrophysiology study", "4.1": "a voice recording", "4.2": "a sound recording",
            "5.1": "an arterial pulse", "6.1": "a respiration",
            "7.1": "an EEG", "7.2": "an EMG", "7.3": "an EOG", "7.4": "a sleep EEG"}  # fmt: skip
_DEFLATED = "1.2.840.10008.1.2.1.99"
_KINDS = {(8, "SB"): "i1", (8, "UB"): "u1", (16, "SS"): "i2", (16, "US"): "u2", (32, "SL"): "i4", (32, "UL"): "u4"}
_MEASURED = {"pr": ("pr interval", "pr interval global"), "qrs": ("qrs duration", "qrs duration global"),
             "qt": ("qt interval", "qt interval global"), "hr": ("ventricular heart rate", "heart rate"),
             "rr": ("rr interval", "mean rr interval", "rr interval global")}  # fmt: skip
_SCALE = {"s": 1000.0, "us": 1e-3, "hz": 60.0}  # others are ms and bpm
_NO_RATE = "a group of channels left out: it says no sampling rate"
_PLACES = ("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "AccessionNumber",
           "CurrentPatientLocation", "AdmissionID", "StudyID", "RequestingService")  # fmt: skip


def recognises(path: Path, head: bytes) -> bool:
    """Whether a file is a DICOM of a waveform, of any kind; images and others are not."""
    return class_of(head).startswith(_WAVEFORM)


def class_of(head: bytes) -> str:
    """The class (SOP class UID) of a DICOM file by its first bytes; "" where it is none, or does not say."""
    return _of_meta(head, b"\x02\x00\x02\x00UI")


def _of_meta(head: bytes, tag: bytes) -> str:
    at = head.find(tag, 132, 2048) if head[128:132] == b"DICM" else -1
    if at < 0 or at + 8 > len(head):
        return ""
    size = struct.unpack_from("<H", head, at + 6)[0]
    return head[at + 8 : at + 8 + min(size, 64)].decode("ascii", "replace").rstrip(" \0")


def read(path: Path, name: str = "", told: Told = NOTHING_TOLD) -> Channels:
    """The channels of a DICOM ECG; a multiplex group that is a median beat is their `median`.

    Raises
    ------
    RecordError
        When it is damaged, is no ECG at rest, or pydicom is not installed.
    """
    kind = class_of(content(path)[:4096]).removeprefix(_WAVEFORM)
    if kind not in _READ:
        what = next((v for k, v in _REFUSED.items() if k == kind), "another kind of waveform")
        raise error(path, f"it is a DICOM of {what}; of DICOM, 12-lead and general ECGs are read")
    flags: list[str] = []
    rhythm: list[Piece] = []
    beats: list[Piece] = []
    try:
        with quiet_wfdb():  # pydicom warns of values that break the standard
            data = _dataset(path)
            for group in data.get("WaveformSequence") or []:
                target = beats if _is_median(group) else rhythm
                doubts: list[str] = []
                try:
                    target += _pieces(group, bool(data.original_encoding[1]), doubts, told)
                except Exception:  # as below; the other groups are not the worse for it
                    doubts = ["a group of channels left out: it is damaged"]
                flags += doubts if target is rhythm else []
            metadata = _metadata(data, flags)
    except RecordError:
        raise
    except Exception as e:  # pydicom decodes each value when it is asked for, and raises whatever that meets
        raise error(path, f"not readable as DICOM ({type(e).__name__}); fetch the file again") from None
    if not rhythm and _NO_RATE in flags:
        raise error(path, "its channels say no sampling rate; give it: read_record(path, fs=500)")
    median = beat_of(beats, path, flags)
    return Channels(*joined(rhythm, path, flags), metadata | {"flags": flags}, median)


def _dataset(path: Path) -> Any:
    try:
        import pydicom
    except ImportError:
        raise error(path, 'DICOM is read by pydicom: pip install "ecgwb[formats]"') from None
    with path.open("rb") as file:
        if _of_meta(file.read(4096), b"\x02\x00\x10\x00UI") == _DEFLATED:
            raise error(path, "its DICOM is compressed as a whole (deflated); export it uncompressed")
    return pydicom.dcmread(path)


def _is_median(group: Any) -> bool:
    label = str(group.get("MultiplexGroupLabel") or "").upper()
    return any(x in label for x in ("MEDIAN", "AVERAGE", "REPRESENTATIVE", "TEMPLATE")) or (
        "RHYTHM" not in label and str(group.get("WaveformOriginality") or "").upper() == "DERIVED"
    )


def _pieces(group: Any, little_endian: bool, flags: list[str], told: Told = NOTHING_TOLD) -> list[Piece]:
    """The channels of a multiplex group; one that cannot be understood is left out."""
    kind = _KINDS.get((int(group.WaveformBitsAllocated), str(group.WaveformSampleInterpretation).upper()))
    channels, promised = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    definitions = list(group.get("ChannelDefinitionSequence") or [])
    fs, start = float(group.get("SamplingFrequency") or 0.0), float(group.get("MultiplexGroupTimeOffset") or 0.0) / 1000
    fs = fs if fs > 0 else float(told.fs or 0.0)
    if kind is None or channels < 1 or len(definitions) != channels:
        flags.append("a group of channels left out: its coding is not known, or its channels are not described")
        return []
    if not fs > 0:
        flags.append(_NO_RATE)
        return []
    raw = np.frombuffer(_bytes(group.WaveformData), ("<" if little_endian else ">") + kind)
    n = min(len(raw) // channels, promised)
    if n < promised:
        flags.append(f"cut short: {n} of {promised} samples")
    values = raw[: n * channels].reshape(n, channels).T.astype(np.float64)
    padding = group.get("WaveformPaddingValue")
    if padding is not None:
        of_kind = _bytes(padding) if isinstance(padding, bytes) else np.array([int(padding)], raw.dtype).tobytes()
        values[:, :][np.frombuffer(of_kind, raw.dtype)[0] == raw[: n * channels].reshape(n, channels).T] = np.nan
    pieces: list[Piece] = []
    unsaid: list[str] = []
    for row, channel in zip(values, definitions, strict=True):
        name, unit = _lead(channel), _code(channel, "ChannelSensitivityUnitsSequence")[0]
        gain = number_in(str(channel.get("ChannelSensitivity") or ""))
        if not gain or not name:
            flags.append(f"channel {name or '?'} left out: it has no name or no sensitivity, so no size")
            continue
        factor = number_in(str(channel.get("ChannelSensitivityCorrectionFactor") or "")) or 1.0
        baseline = number_in(str(channel.get("ChannelBaseline") or "")) or 0.0
        if not unit:
            unsaid.append(name)
        pieces.append(
            Piece(name, unit.replace("µ", "u") or told.unit or "uV", row * gain * factor + baseline, fs, start)
        )
    if unsaid:
        what = "every channel" if len(unsaid) == channels else ", ".join(unsaid)
        flags.append(f"the unit of {what} is not said; read as {told.unit or 'µV'}")
    return pieces


def _bytes(value: Any) -> bytes:
    return bytes(value) if isinstance(value, bytes | bytearray) else b""


def _code(item: Any, sequence: str) -> tuple[str, str, str]:
    """Value, scheme and meaning of a code."""
    codes = item.get(sequence) or []
    keys = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
    a, b, c = (str(codes[0].get(key) or "").strip() if codes else "" for key in keys)
    return a, b, c


def _lead(channel: Any) -> str:
    """A lead's name, by its code in SCP-ECG's or ISO 11073's numbers, else by the code's meaning, else by its label."""
    value, scheme, meaning = _code(channel, "ChannelSourceSequence")
    number = re.fullmatch({"SCPECG": r"5\.6\.3-9-(\d+)", "MDC": r"2:(\d+)"}.get(scheme.upper(), "(?!)"), value)
    if number and int(number[1]) in LEAD_CODES:
        return LEAD_CODES[int(number[1])]
    text = meaning or str(channel.get("ChannelLabel") or "")
    return re.sub(r"\(.*?\)|^\s*lead\b", "", text, flags=re.IGNORECASE).strip()[:16]


def _metadata(data: Any, flags: list[str]) -> dict[str, Any]:
    years: float | None = age_of(data.get("PatientAge"))[0]
    if years is None or math.isnan(years):
        dates = (str(data.get(k) or "") for k in ("AcquisitionDateTime", "ContentDate", "StudyDate"))
        years = years_between(str(data.get("PatientBirthDate") or ""), next(filter(None, dates), ""))
    found = person(flags, years, str(data.get("PatientSex") or ""), str(data.get("PatientID") or ""))
    numbers: dict[str, float] = {}
    statements = []
    for item in data.get("WaveformAnnotationSequence") or []:
        statements.append(str(item.get("UnformattedTextValue") or ""))
        meaning = " ".join(re.sub(r"[^a-z ]", " ", _code(item, "ConceptNameCodeSequence")[2].lower()).split())
        key = next((k for k, v in _MEASURED.items() if meaning in v), None)
        value = number_in(str(item.get("NumericValue") if item.get("NumericValue") is not None else ""))
        if key and value is not None:
            unit = _code(item, "MeasurementUnitsCodeSequence")[0].lower()
            numbers.setdefault(key, value * _SCALE.get(unit, 1.0))
    rr = numbers.pop("rr", 0.0)
    if rr > 0:
        numbers.setdefault("hr", 60000 / rr)
    private = [str(x.value) for x in data if x.VR == "PN" or x.tag.group == 0x0010 or x.keyword in _PLACES]
    more = {
        "measured": measured(**numbers),
        "diagnosis": clinical(statements, private),
        "device": clinical([f"{data.get('Manufacturer') or ''} {data.get('ManufacturerModelName') or ''}"]),
    }
    return found | {k: v for k, v in more.items() if v}
