"""HL7 annotated ECG (aECG), as regulators take it: sequences of digits with origin and scale, by MDC lead codes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from .channels import NOTHING_TOLD, Channels, Told, uv_per
from .identity import clinical, measured, number_in, person, years_between
from .people import in_years
from .pieces import Piece, beat_of, error, joined
from .xml_files import attribute, from_digits, has_root, parse, raw_text, text_of, words_of

ROOT = "annotatedecg"
recognises = has_root(ROOT)

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_MEASURED = {"pr": "MDC_ECG_TIME_PD_PR", "qrs": "MDC_ECG_TIME_PD_QRS", "qt": "MDC_ECG_TIME_PD_QT"}
_SUBJECT = "componentof/timepointevent/componentof/subjectassignment/subject/trialsubject"


def read(path: Path, name: str = "", told: Told = NOTHING_TOLD) -> Channels:
    """The channels of an aECG's rhythm series; its representative beat is their `median`.

    Raises
    ------
    RecordError
        When it is damaged or holds no rhythm series with samples.
    """
    root = parse(path)
    flags: list[str] = []
    rhythm = [s for s in root.findall("component/series") if not _is_beat(s)]
    beats = [s for s in root.findall("component/series") if _is_beat(s)]
    beats += [d for s in rhythm for d in s.findall("derivation/derivedseries") if _is_beat(d)]
    if not rhythm:
        raise error(path, "it holds no rhythm series")
    if len(rhythm) > 1:
        flags.append(f"{len(rhythm)} rhythm series in the file; the first is read")
    channels = joined(list(_pieces(rhythm[0], told, flags, path)), path, flags)
    median = list(_pieces(beats[0], told, [], path)) if beats else []
    metadata = _metadata(root, rhythm[0], beats, flags)
    return Channels(*channels, metadata | {"flags": flags}, beat_of(median, path, flags))


def _is_beat(series: Element) -> bool:
    return attribute(series, "code", "code").upper() == "REPRESENTATIVE_BEAT"


def _pieces(series: Element, told: Told, flags: list[str], path: Path) -> Iterator[Piece]:
    """Each lead of each set of sequences; a set has its own time."""
    for group in series.findall("component/sequenceset"):
        sequences = group.findall("component/sequence")
        times = [s for s in sequences if attribute(s, "code", "code").upper().startswith("TIME_")]
        fs, start = _time(times[0], told) if times else (float(told.fs or 0), 0.0)
        if not fs > 0:
            raise error(path, "a set of its leads says no time step; give the rate: read_record(path, fs=500)")
        for sequence in sequences:
            code = attribute(sequence, "code", "code")
            lead = re.fullmatch(r"\w*_ECG_LEAD_(\w{1,12})", code, re.IGNORECASE)
            if sequence in times or not code:
                continue
            if not lead:
                flags += [x for x in ("a sequence that is no ECG lead left out",) if x not in flags]
                continue
            digits = from_digits(raw_text(sequence, "value/digits"))
            scale = number_in(attribute(sequence, "value", "value/scale"))
            unit = attribute(sequence, "unit", "value/scale") or told.unit or ""
            if digits is None or not len(digits) or not scale or math.isnan(uv_per(unit)):
                flags.append(f"lead {lead[1]} left out: its digits, scale or unit are missing or damaged")
                continue
            origin = number_in(attribute(sequence, "value", "value/origin")) or 0.0
            own = uv_per(attribute(sequence, "unit", "value/origin") or unit)
            origin *= 1.0 if math.isnan(own) else own / uv_per(unit)
            yield Piece(lead[1], unit, origin + scale * digits, fs, start)


def _time(sequence: Element, told: Told) -> tuple[float, float]:
    """Rate (Hz) and start (s) of a set."""
    step = number_in(attribute(sequence, "value", "value/increment"))
    unit = _SECONDS.get(attribute(sequence, "unit", "value/increment"), 0.0)
    fs = 1 / (step * unit) if step and step * unit > 0 else float(told.fs or 0)
    head = attribute(sequence, "value", "value/head")
    if attribute(sequence, "code", "code").upper() == "TIME_RELATIVE":
        return fs, (number_in(head) or 0.0) * _SECONDS.get(attribute(sequence, "unit", "value/head"), 1.0)
    clock = re.match(r"(\d{14})(\.\d+)?", head)  # YYYYMMDDHHMMSS.SSS
    try:
        start = datetime.strptime(clock[1], "%Y%m%d%H%M%S") - datetime(1900, 1, 1) if clock else None
    except ValueError:
        start = None
    return fs, start.total_seconds() + float(clock[2] or 0) if clock and start is not None else 0.0


def _metadata(root: Element, series: Element, beats: list[Element], flags: list[str]) -> dict[str, Any]:
    subject = root.find(_SUBJECT)
    age = None
    for observed in root.findall("controlvariable/relatedobservation"):
        if attribute(observed, "code", "code") == "21612-7":  # LOINC: age that was reported
            years = in_years(number_in(attribute(observed, "value", "value")), attribute(observed, "unit", "value"))
            age = age if years is None else years
    demographic = "subjectdemographicperson/"
    if age is None:
        low = [attribute(x, "value", f"effectivetime/{w}") for x in (series, root) for w in ("low", "center")]
        age = years_between(attribute(subject, "value", demographic + "birthtime"), next(filter(None, low), ""))
    number = attribute(subject, "extension", "id") or attribute(subject, "root", "id")
    found = person(flags, age, attribute(subject, "code", demographic + "administrativegendercode"), number)
    numbers: dict[str, float] = {}
    statements: list[str] = []
    for source in (series, *beats):
        for annotation in source.findall("subjectof/annotationset/component/annotation"):
            _annotation(annotation, numbers, statements)
    private = words_of(root.find("componentof"), root.find("location"), *series.findall("secondaryperformer"),
                       *series.findall("performer"), *root.findall(".//assignedentity"))  # fmt: skip
    author = "author/seriesauthor/"
    maker = text_of(series, author + "manufacturerorganization/name")
    model = text_of(series, author + "manufacturedseriesdevice/manufacturermodelname")
    said = {
        "measured": measured(**numbers),
        "diagnosis": clinical(statements, private),
        "device": clinical([f"{maker} {model}"]),
    }
    return found | {k: v for k, v in said.items() if v}


def _annotation(annotation: Element, numbers: dict[str, float], statements: list[str], depth: int = 0) -> None:
    """Takes global measurements and statements; those of one beat or one lead are passed by."""
    code = attribute(annotation, "code", "code")
    one_lead = any("_ECG_LEAD_" in attribute(b, "code", "code").upper()
                   for b in annotation.findall("support/supportingroi/component/boundary"))  # fmt: skip
    if code.upper() == "MDC_ECG_BEAT" or one_lead or depth > 8:
        return
    value, unit = number_in(attribute(annotation, "value", "value")), attribute(annotation, "unit", "value")
    target = next((k for k, v in _MEASURED.items() if code in (v, v + "_GL", v + "_GLOBAL")), None)
    if target and value is not None:
        numbers.setdefault(target, value * 1e3 * _SECONDS.get(unit, 1e-3))
    elif code == "MDC_ECG_HEART_RATE" and value is not None:
        numbers.setdefault("hr", value * 60 if unit in ("Hz", "/s", "1/s") else value)
    elif code.startswith("MDC_ECG_INTERPRETATION") and "COMMENT" not in code:
        words = text_of(annotation, "value") or attribute(annotation, "displayname", "value")
        statements += [words] if words else []
    for part in annotation.findall("component/annotation"):
        _annotation(part, numbers, statements, depth + 1)
