"""Waves that were marked before: by cardiologists beside a recording, and by the networks that had not seen LUDB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import wfdb

from ..recordings.record import LEADS12, RecordError, standard_lead
from ..recordings.wfdb_files import quiet_wfdb
from .landmarks import WAVES
from .network import WEIGHTS
from .waves import COLUMNS, wave_table

OUT_OF_FOLD = "delineator-ludb-oof.npz"
UNKNOWN = 65535  # a boundary that was not found, in that file
_SYMBOLS = {"p": "P", "N": "QRS", "t": "T"}


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
    files: dict[str, str] = {}
    for lead in header.sig_name or []:
        for extension in (lead.lower(), lead):
            if base.with_name(f"{base.name}.{extension}").is_file():
                files[lead] = extension
    if not files:
        raise RecordError(
            f"record {base.name!r}: no annotation file beside {base}.hea; expected one per lead, such as {base.name}.ii"
        )
    rows = []
    for lead, extension in files.items():
        with quiet_wfdb():
            marks = wfdb.rdann(str(base), extension)
        symbols = ["", *marks.symbol, ""]
        ms = np.r_[np.nan, marks.sample * (1000.0 / header.fs), np.nan]
        for i in (i for i, symbol in enumerate(symbols) if symbol in _SYMBOLS):
            onset = ms[i - 1] if symbols[i - 1] == "(" else np.nan
            offset = ms[i + 1] if symbols[i + 1] == ")" else np.nan
            rows.append((base.name, standard_lead(lead), _SYMBOLS[symbols[i]], onset, ms[i], offset))
    return wave_table(rows)


def ludb_out_of_fold() -> pd.DataFrame:
    """LUDB's waves, each by a network that has not seen the person: record number % 5 is the fold left out.

    Returns
    -------
    DataFrame
        As from `delineate`, for all 200 records.
    """
    with np.load(WEIGHTS / OUT_OF_FOLD) as file:
        peak = file["peak"] / 10.0  # stored in tenths of a ms, boundaries by their distance from the peak
        before, after = (np.where(file[k] == UNKNOWN, np.nan, file[k] / 10.0) for k in ("before", "after"))
        lead, wave = np.array(LEADS12)[file["lead"]], np.array(list(WAVES))[file["wave"]]
        columns = (file["record"].astype(str), lead, wave, peak - before, peak, peak + after)
    return wave_table(dict(zip(COLUMNS, columns, strict=True)))
