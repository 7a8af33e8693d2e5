"""Data sets that are known by the layout of their folder: whose each recording is, and what their tables say of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..recordings.record import RecordError
from .items import Source, hash_files, header_of, item_of, whole
from .tables import read_table

CREDITS = {
    "ludb": "LUDB 1.0.1, Kalyakulina et al., IEEE Access 8:186181 (2020), doi 10.1109/ACCESS.2020.3029211; ODC-By 1.0",
    "ptbxl": "PTB-XL, Wagner et al., Scientific Data 7:154 (2020), doi 10.1038/s41597-020-0495-6; CC BY 4.0",
    "synthetic": "deepfake-ecg, Thambawita et al., Sci Rep 11:21896 (2021), doi 10.1038/s41598-021-01295-2; MIT",
}
SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
"""PTB-XL's: normal, myocardial infarction, ST/T change, conduction disturbance, hypertrophy."""
OVER_89 = 90.0  # how old whoever is older than 89 counts, in PTB-XL
# Recordings of PTB-XL 1.0.1 that 1.0.3 no longer holds.
WITHDRAWN = {"137", "139", "140", "141", "142", "143", "145", "456", "458", "459", "461", "462"}
MEASURED_12SL = {  # what PTB-XL+ calls them in features/12sl_features.csv, our unit, and our units per theirs
    "pr_12sl": ("PR_Int_Global", "ms", 1.0),
    "qrs_12sl": ("QRS_Dur_Global", "ms", 1.0),
    "qt_12sl": ("QT_Int_Global", "ms", 1.0),
    "hr_12sl": ("HR__Global", "bpm", 1.0),
    "r_v5_12sl": ("R_Amp_V5", "µV", 1000.0),
    "t_v5_12sl": ("T_Amp_V5", "µV", 1000.0),
}


def of_ludb(folder: Path, sha256: str | None = None) -> Source:
    headers = sorted((folder / "data").glob("*.hea"), key=lambda p: (len(p.stem), p.stem))
    items = []
    for header in headers:
        base, name = header.with_suffix(""), header.stem
        people = {"patient": f"ludb-{name}", "fold": (int(name) if name.isdigit() else 0) % 5}
        items.append(item_of(name, base, people, annotated=base))
    return Source("ludb", items, sha256 or hash_files(headers), CREDITS["ludb"])


def of_ptbxl(folder: Path, sha256: str | None = None, name: str = "ptbxl") -> Source:
    table = read_table(folder / "ptbxl_database.csv")
    needed = ("ecg_id", "patient_id", "age", "sex", "filename_hr")
    if lacking := [c for c in needed if c not in table]:
        raise RecordError(f"{folder / 'ptbxl_database.csv'} has no column {lacking[0]!r}; expected PTB-XL's table")
    table["age"] = pd.to_numeric(table["age"], errors="coerce")
    measured, classes = _measured_by_12sl(folder), _superclasses(folder)
    items = []
    for row in table.to_dict("records"):
        number = whole(row["ecg_id"])
        if number not in WITHDRAWN:
            known = _ptbxl_metadata(row, classes) | measured.get(number, {})
            items.append(item_of(number, _ptbxl_file(folder, row), known))
    return Source(name, items, sha256 or hash_files([folder / "ptbxl_database.csv"]), CREDITS["ptbxl"], "ptbxl")


def _ptbxl_file(folder: Path, row: Mapping[Any, Any]) -> Path:
    """The recording at 500 Hz, or at 100 Hz where only that was fetched."""
    high = folder / str(row["filename_hr"])
    if not high.is_relative_to(folder) or ".." in high.relative_to(folder).parts:
        raise RecordError(f"ptbxl_database.csv names the file {row['filename_hr']!r}, outside its own folder")
    if isinstance(row.get("filename_lr"), str) and not header_of(high).is_file():
        low = folder / row["filename_lr"]
        return low if header_of(low).is_file() else high
    return high


def _superclasses(folder: Path) -> dict[str, str]:
    """The diagnostic superclass of each statement that has one, where PTB-XL's list of statements is at hand."""
    file = folder / "scp_statements.csv"
    if not file.is_file():
        return {}
    table = pd.read_csv(file, index_col=0)
    return dict(table.loc[table["diagnostic"] == 1, "diagnostic_class"]) if "diagnostic_class" in table else {}


def _ptbxl_metadata(row: Mapping[Any, Any], classes: Mapping[str, str]) -> dict[str, Any]:
    codes = re.findall(r"'([^']+)'\s*:", str(row.get("scp_codes", "")))  # "{'NORM': 100.0, 'SR': 0.0}"
    known: dict[str, Any] = {
        "sex": {0: "male", 1: "female"}.get(row["sex"], ""),
        "patient": f"ptbxl-{whole(row['patient_id'])}",
        "diagnosis": "; ".join(codes),
        "superclass": "; ".join(c for c in SUPERCLASSES if c in {classes.get(code) for code in codes}),
        "device": " ".join(str(row.get("device", "")).split()),
        "site": "" if pd.isna(row.get("site")) else whole(row["site"]),
    }
    if not pd.isna(row.get("strat_fold")):
        known["fold"] = int(row["strat_fold"])
    # 300 stands for "over 89" in the full set.
    return known if pd.isna(row["age"]) else {"age": min(row["age"], OVER_89), **known}


def _measured_by_12sl(folder: Path) -> dict[str, dict[str, float]]:
    """The measurements that PTB-XL+ has of each recording by the 12SL program, where that data set is at hand.

    It is looked for in the PTB-XL folder, in a folder inside it and in a folder beside it.
    """
    places = [folder, *sorted(folder.iterdir()), *sorted(folder.resolve().parent.iterdir())]
    files = [p / "features" / "12sl_features.csv" for p in places]
    file = next((f for f in files if f.is_file()), None)
    if file is None:
        return {}
    columns = {theirs: ours for ours, (theirs, _, _) in MEASURED_12SL.items()}
    table = pd.read_csv(file, usecols=lambda c: c == "ecg_id" or c in columns)
    if "ecg_id" not in table:
        raise RecordError(f"{file} has no column 'ecg_id'; expected the table of PTB-XL+ 1.0.1, or no such file")
    table = table.set_index("ecg_id").rename(columns=columns).astype(float)
    table = table.mul(pd.Series({ours: factor for ours, (_, _, factor) in MEASURED_12SL.items()})[table.columns])
    rows = table.to_dict("index").items()
    return {whole(k): {str(n): v for n, v in row.items() if not pd.isna(v)} for k, row in rows}
