"""GE MUSE XML (RestingECG): leads and the median beat in µV, with GE's own measurements and statements."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from .channels import NOTHING_TOLD, Channels, Told
from .identity import clinical, measured, number_in, person, years_between
from .people import in_years
from .pieces import Piece, beat_of, error, joined
from .xml_files import from_base64, has_root, parse, raw_text, text_of, words_of

ROOT = "restingecg"
recognises = has_root(ROOT)

_UNITS = {"microvolt": "uV", "millivolt": "mV", "nanovolt": "nV", "volt": "V"}
# What may stand in a diagnosis too, so that it does not mark a statement as one about the person.
_NOT_PRIVATE = ("gender", "ageunits", "race", "priority", "status", "datatype", "acquisitiondevice", "testtype")


def read(path: Path, name: str = "", told: Told = NOTHING_TOLD) -> Channels:
    """The channels of a MUSE XML; its median beat is their `median`.

    Raises
    ------
    RecordError
        When it is damaged or holds no rhythm waveform.
    """
    root = parse(path)
    flags: list[str] = []
    waves: dict[str, list[Piece]] = {"rhythm": [], "median": []}
    for wave in root.findall("waveform"):
        kind = text_of(wave, "waveformtype").lower() or "rhythm"
        fs = (number_in(text_of(wave, "samplebase")) or 0) * 10 ** (number_in(text_of(wave, "sampleexponent")) or 0)
        if kind in waves and not (fs > 0 or told.fs):
            raise error(path, "its waveform says no sampling rate (SampleBase); give it: read_record(path, fs=500)")
        have = {p.name for p in waves.get(kind, ())}
        for lead in wave.findall("leaddata"):
            piece = _lead(lead, fs if fs > 0 else float(told.fs or 0), told, flags if kind == "rhythm" else [])
            if piece and kind in waves and piece.name not in have:
                waves[kind].append(piece)
    metadata = _metadata(root, flags)
    median = beat_of(waves["median"], path, flags)
    return Channels(*joined(waves["rhythm"], path, flags), metadata | {"flags": flags}, median)


def _lead(lead: Element, fs: float, told: Told, flags: list[str]) -> Piece | None:
    """One lead; None, and a flag, where it cannot be read."""
    name = re.sub(r"[^\w-]", "", text_of(lead, "leadid"))[:12]
    data = from_base64(raw_text(lead, "waveformdata"))
    size = int(number_in(text_of(lead, "leadsamplesize")) or 2)
    gain = number_in(text_of(lead, "leadamplitudeunitsperbit"))
    unit = next((u for said, u in _UNITS.items() if text_of(lead, "leadamplitudeunits").lower().startswith(said)), None)
    if not name or not data or size not in (1, 2, 4) or not gain:
        flags.append(f"lead {name or '?'} left out: its samples or its gain are missing or damaged")
        return None
    if unit is None:
        flags.append(f"the unit of lead {name} is not said; read as {told.unit or 'µV'}")
    promised = number_in(text_of(lead, "leadsamplecounttotal"))
    samples = np.frombuffer(data[: len(data) // size * size], f"<i{size}").astype(np.float64)
    if promised is not None and promised != len(samples):
        flags.append(f"lead {name} has {len(samples)} samples, its header promises {promised:.0f}")
    crc = text_of(lead, "leaddatacrc32")
    if crc.isdigit() and int(crc) not in (0, zlib.crc32(data)):
        flags.append(f"the checksum of lead {name} is wrong")
    if text_of(lead, "leadoff").lower() == "true":
        flags.append(f"the recorder says that lead {name} was off")
    return Piece(name, unit or told.unit or "uV", samples * gain, fs)


def _metadata(root: Element, flags: list[str]) -> dict[str, Any]:
    who, test = root.find("patientdemographics"), root.find("testdemographics")
    years = in_years(number_in(text_of(who, "patientage")), text_of(who, "ageunits"))
    if years is None:
        years = years_between(text_of(who, "dateofbirth"), text_of(test, "acquisitiondate"))
    found = person(flags, years, text_of(who, "gender"), text_of(who, "patientid"))
    values = root.find("restingecgmeasurements")
    values = root.find("originalrestingecgmeasurements") if values is None else values
    names = {"pr": "printerval", "qrs": "qrsduration", "qt": "qtinterval", "hr": "ventricularrate"}
    numbers = measured(**{k: number_in(text_of(values, tag)) for k, tag in names.items()})
    private = words_of(who, test, root.find("order"), but=_NOT_PRIVATE)
    diagnosis = clinical(_statements(root), private)
    device = clinical([text_of(test, "acquisitiondevice")])
    said = {"measured": numbers, "diagnosis": diagnosis, "device": f"GE {device}" if device else "GE"}
    return found | {k: v for k, v in said.items() if v}


def _statements(root: Element) -> list[str]:
    """The lines of the diagnosis as it stands after review, or of the recorder's own where there is no other."""
    for place in ("diagnosis", "originaldiagnosis"):
        lines = [""]
        for part in root.findall(f"{place}/diagnosisstatement"):
            lines[-1] += " " + text_of(part, "stmttext")
            if any(text_of(flag).upper() == "ENDSLINE" for flag in part.findall("stmtflag")):
                lines.append("")
        if any(line.strip() for line in lines):
            return lines
    return []
