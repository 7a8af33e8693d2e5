"""Waves that were marked before: by cardiologists beside a recording, and by the networks that had not seen LUDB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..recordings.record import LEADS12, RecordError, standard_lead
from ..recordings.wfdb_files import rate_and_leads
from .landmarks import WAVES
from .waves import COLUMNS, wave_table

OUT_OF_FOLD = Path(__file__).parent / "weights" / "delineator-ludb-oof.npz"
_DEFAULT_FS = 250.0  # WFDB's
UNKNOWN = 65535  # a boundary that was not found, in that file
# What the six upper bits of a word of an annotation file say; the ten lower ones are samples since the mark before.
_CODES = {1: "QRS", 24: "P", 27: "T", 39: "(", 40: ")"}
_SKIP, _NO_TIME, _TEXT = 59, (60, 61, 62), 63  # samples in the next two words; a number; the length of a text


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
    fs, leads = rate_and_leads(base.with_name(base.name + ".hea"))
    step = 1000.0 / (_DEFAULT_FS if np.isnan(fs) else fs)
    files: dict[str, str] = {}
    for lead in leads:
        for extension in (lead.lower(), lead):
            if base.with_name(f"{base.name}.{extension}").is_file():
                files[lead] = extension
    if not files:
        raise RecordError(
            f"record {base.name!r}: no annotation file beside {base}.hea; expected one per lead, such as {base.name}.ii"
        )
    rows = []
    for lead, extension in files.items():
        marks = [("", np.nan), *_marks(base.with_name(f"{base.name}.{extension}"), step), ("", np.nan)]
        for (before, onset), (wave, peak), (after, offset) in zip(marks, marks[1:], marks[2:], strict=False):
            if wave in WAVES:
                onset, offset = onset if before == "(" else np.nan, offset if after == ")" else np.nan
                rows.append((base.name, standard_lead(lead), wave, onset, peak, offset))
    return wave_table(rows)


def _marks(file: Path, step: float) -> list[tuple[str, float]]:
    """What an annotation file marks, and when, ms: `step` is a sample's. wfdb reads the header again with each file."""
    words = iter(np.frombuffer(file.read_bytes()[: file.stat().st_size // 2 * 2], "<u2").tolist())
    sample, marks = 0, []
    for word in words:
        code, number = word >> 10, word & 1023
        if word == 0:
            break
        if code == _SKIP:
            high, low = next(words, 0), next(words, 0)
            sample += (high << 16 | low) - (high >> 15 << 32)  # a signed number
        elif code == _TEXT:
            for _ in range((number + 1) // 2):
                next(words, 0)
        elif code not in _NO_TIME:
            sample += number
            marks.append((_CODES.get(code, ""), sample * step))
    return marks


def ludb_out_of_fold() -> pd.DataFrame:
    """LUDB's waves, each by a network that has not seen the person: record number % 5 is the fold left out.

    Returns
    -------
    DataFrame
        As from `delineate`, for all 200 records.
    """
    with np.load(OUT_OF_FOLD) as file:
        peak = file["peak"] / 10.0  # stored in tenths of a ms, boundaries by their distance from the peak
        before, after = (np.where(file[k] == UNKNOWN, np.nan, file[k] / 10.0) for k in ("before", "after"))
        lead, wave = np.array(LEADS12)[file["lead"]], np.array(list(WAVES))[file["wave"]]
        columns = (file["record"].astype(str), lead, wave, peak - before, peak, peak + after)
    return wave_table(dict(zip(COLUMNS, columns, strict=True)))
