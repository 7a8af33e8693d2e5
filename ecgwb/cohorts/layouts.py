"""Data sets that are known by the layout of their folder: whose each recording is, and what their tables say of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..recordings.arrays import open_hdf5, own_member, rows_of
from ..recordings.channels import NOTHING_TOLD, Channels, Told, to_record
from ..recordings.people import OLDEST, sex_of
from ..recordings.reading import read_flagged
from ..recordings.record import LEADS12, Record, RecordError
from .guards import counted
from .items import Item, LeftOut, Notes, Source, hash_files, header_of, item_of, state_of
from .tables import id_text, read_table

CREDITS = {
    "ludb": "LUDB 1.0.1, Kalyakulina et al., IEEE Access 8:186181 (2020), doi 10.1109/ACCESS.2020.3029211; ODC-By 1.0",
    "ptbxl": "PTB-XL, Wagner et al., Scientific Data 7:154 (2020), doi 10.1038/s41597-020-0495-6; CC BY 4.0",
    "mimic": "MIMIC-IV-ECG, Gow et al., PhysioNet (2023), doi 10.13026/4nqg-sb35; ODbL 1.0",
    "code15": "CODE-15%, Ribeiro et al., Zenodo (2021), doi 10.5281/zenodo.4916206; CC BY 4.0",
    "chapman": "Chapman-Shaoxing-Ningbo, Zheng et al., Scientific Data 7:48 (2020), doi 10.1038/s41597-020-0386-x; "
    "CC BY 4.0",
    "cinc": "PhysioNet/Computing in Cardiology Challenge 2021, Reyna et al., doi 10.13026/34va-7q14; CC BY 4.0",
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


# ---------------------------------------------------------------- LUDB and PTB-XL


def of_ludb(folder: Path, sha256: str | None = None) -> Source:
    headers = sorted((folder / "data").glob("*.hea"), key=lambda p: (len(p.stem), p.stem))
    items = []
    for header in headers:
        base, name = header.with_suffix(""), header.stem
        people = {"patient": f"ludb-{name}", "fold": (int(name) if name.isdigit() else 0) % 5}
        items.append(item_of(name, base, people, annotated=base))
    return Source("ludb", items, sha256 or hash_files(headers), CREDITS["ludb"], out_of_fold=True)


def of_ptbxl(folder: Path, sha256: str | None = None, name: str = "ptbxl") -> Source:
    table = read_table(folder / "ptbxl_database.csv")
    needed = ("ecg_id", "patient_id", "age", "sex", "filename_hr")
    if lacking := [c for c in needed if c not in table]:
        raise RecordError(f"{folder / 'ptbxl_database.csv'} has no column {lacking[0]!r}; expected PTB-XL's table")
    table["age"] = pd.to_numeric(table["age"], errors="coerce")
    measured, classes = _measured_by_12sl(folder), _superclasses(folder)
    beats = _of_ptbxl_plus(folder, "median_beats/12sl")
    items = []
    for row in table.to_dict("records"):
        number = id_text(row["ecg_id"])
        if number not in WITHDRAWN:
            known = _ptbxl_metadata(row, classes) | measured.get(number, {})
            item = item_of(number, _ptbxl_file(folder, row), known)
            items.append(_with_beat(item, beats) if beats else item)
    return Source(name, items, sha256 or hash_files([folder / "ptbxl_database.csv"]), CREDITS["ptbxl"], "ptbxl")


def _ptbxl_file(folder: Path, row: Mapping[Any, Any]) -> Path:
    """The recording at 500 Hz, or at 100 Hz where only that was fetched."""
    high = _inside(folder, row["filename_hr"])
    if isinstance(row.get("filename_lr"), str) and not header_of(high).is_file():
        low = _inside(folder, row["filename_lr"])
        return low if header_of(low).is_file() else high
    return high


def _inside(folder: Path, name: Any) -> Path:
    if leads_out(folder, name):
        raise RecordError(f"ptbxl_database.csv names the file {name!r}, outside its own folder")
    return folder / str(name)


def leads_out(folder: Path, name: Any) -> bool:
    """Whether a table's path leads out of the table's folder."""
    path = folder / str(name)
    return not path.is_relative_to(folder) or ".." in path.relative_to(folder).parts


def _patient(data_set: str, number: Any) -> dict[str, str]:
    """Whose a recording is; nobody's where the cell is empty, since all such would be one person."""
    return {"patient": f"{data_set}-{id_text(number)}"} if id_text(number) else {}


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
        **_patient("ptbxl", row["patient_id"]),
        "diagnosis": "; ".join(codes),
        "superclass": "; ".join(c for c in SUPERCLASSES if c in {classes.get(code) for code in codes}),
        "device": " ".join(str(row.get("device", "")).split()),
        "site": "" if pd.isna(row.get("site")) else id_text(row["site"]),
    }
    fold = id_text(row.get("strat_fold"))
    if fold.isdecimal():
        known["fold"] = int(fold)
    # 300 stands for "over 89" in the full set.
    return known if pd.isna(row["age"]) else {"age": min(row["age"], OVER_89), **known}


def _of_ptbxl_plus(folder: Path, name: str) -> Path | None:
    """What PTB-XL+ calls so, looked for in the PTB-XL folder, in a folder inside it and in a folder beside it."""
    places = [folder, *sorted(folder.iterdir()), *sorted(folder.resolve().parent.iterdir())]
    return next((p / name for p in places if (p / name).exists()), None)


def _with_beat(item: Item, beats: Path) -> Item:
    """The item with the median beat by the 12SL program, where PTB-XL+ has one: 00000/00001_medians of number 1."""
    if not item.record_id.isdecimal():
        return item
    number = int(item.record_id)
    beat = beats / f"{number // 1000 * 1000:05d}" / f"{number:05d}_medians"
    if not header_of(beat).is_file():
        return item
    read = partial(_and_beat, item.read, beat)
    return replace(item, read=read, fingerprint=f"{item.fingerprint} {state_of(beat)}")


def _and_beat(read: Callable[[], Record], beat: Path) -> Record:
    record = read()
    try:
        return replace(record, median=read_flagged(beat))
    except RecordError as e:
        record.metadata["flags"].append(f"the 12SL program's beat cannot be used: {str(e).partition(': ')[2]}")
        return record


def _measured_by_12sl(folder: Path) -> dict[str, dict[str, float]]:
    """The measurements that PTB-XL+ has of each recording by the 12SL program, where that data set is at hand."""
    file = _of_ptbxl_plus(folder, "features/12sl_features.csv")
    if file is None:
        return {}
    columns = {theirs: ours for ours, (theirs, _, _) in MEASURED_12SL.items()}
    table = pd.read_csv(file, usecols=lambda c: c == "ecg_id" or c in columns)
    if "ecg_id" not in table:
        raise RecordError(f"{file} has no column 'ecg_id'; expected the table of PTB-XL+ 1.0.1, or no such file")
    table = table.set_index("ecg_id").rename(columns=columns).astype(float)
    table = table.mul(pd.Series({ours: factor for ours, (_, _, factor) in MEASURED_12SL.items()})[table.columns])
    rows = table.to_dict("index").items()
    return {id_text(k): {str(n): v for n, v in row.items() if not pd.isna(v)} for k, row in rows}


# ---------------------------------------------------------------- MIMIC-IV-ECG

_OF_MIMIC = {"subject_id", "study_id", "path"}
# Positions that machine_measurements.csv gives, in ms from one start; it has 0 and 29999 where there is none.
_POSITIONS = ("rr_interval", "p_onset", "qrs_onset", "qrs_end", "t_end")
_NO_POSITION = (0, 29999)
_LONGEST_MS = {"pr": 1000.0, "qrs": 500.0, "qt": 1000.0}
_AT_ONCE = 1000  # rows of a table that are objects at a time
_AGAIN = "the list has it again; its first row is used"


def is_mimic(file: Path) -> bool:
    """Whether a CSV lists recordings as MIMIC-IV-ECG's ``record_list.csv`` does."""
    return _first_line(file) >= _OF_MIMIC


def _first_line(file: Path) -> set[str]:
    """What the columns of a CSV are called; nothing where it cannot be opened."""
    try:
        with file.open("rb") as start:
            columns = start.readline(4096).decode("utf-8-sig", "replace").strip().split(",")
    except OSError:
        return set()
    return {c.strip().strip('"') for c in columns}


def of_mimic(file: Path, told: Told = NOTHING_TOLD) -> Source:
    """The recordings of a list such as ``record_list.csv``; ``subject_id`` is the patient.

    Beside it, ``machine_measurements.csv`` gives what the recorder measured and said, and ``patients.csv`` of MIMIC-IV
    sex and age, which the list itself may have, too. No time of a recording is kept.
    """
    folder, notes = file.parent, Notes()
    table = _columns(file, (*_OF_MIMIC, *_WHO, "ecg_time"))
    for beside in (folder / "patients.csv", folder / "patients.csv.gz"):
        if beside.is_file() and "gender" not in table:
            people = _columns(beside, ("subject_id", *_WHO))
            people = people[people["subject_id"] != ""].drop_duplicates("subject_id")
            table = table.merge(people, on="subject_id", how="left")
    table["age"], table["sex"] = _mimic_ages(table, notes), _sexes(table.get("gender"), len(table), notes)
    table = table[["subject_id", "study_id", "path", "age", "sex"]]
    files = [file, folder / "machine_measurements.csv"]
    if files[1].is_file():
        table = table.merge(_mimic_measured(files[1], table["study_id"]), on="study_id", how="left")
    left_out = LeftOut()
    digest = hashlib.sha256(b"".join(_digest(f) for f in files if f.is_file())).hexdigest()
    return Source(
        "mimic-iv-ecg",
        _mimic_items(table, folder, told, left_out),
        digest,
        CREDITS["mimic"],
        notes=notes,
        left_out=left_out,
    )


_WHO = ("gender", "anchor_age", "anchor_year")


def _columns(file: Path, wanted: Sequence[str]) -> pd.DataFrame:
    """Some columns of one of MIMIC's tables; studies and subjects as text, so that tables meet whatever else is there.

    Raises
    ------
    RecordError
        When it cannot be read.
    """
    try:
        table = pd.read_csv(file, usecols=lambda c: str(c).strip() in wanted, dtype=str, skipinitialspace=True)
    except (ValueError, OSError, EOFError) as e:  # pandas' parser errors are ValueErrors
        raise RecordError(f"{file} cannot be read as a CSV: {e}; expected a table as MIMIC-IV's") from e
    table.columns = table.columns.str.strip()
    for name in ("subject_id", "study_id"):
        if name in table:
            table[name] = table[name].map(id_text)
    return table


def _digest(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def _mimic_ages(table: pd.DataFrame, notes: Notes) -> pd.Series:
    """Ages at the recording: MIMIC gives that in one year of its shifted calendar, and 91 for whoever is over 89."""
    if "anchor_age" not in table:
        return pd.Series(np.nan, table.index)
    age = pd.to_numeric(table["anchor_age"], errors="coerce")
    if {"anchor_year", "ecg_time"} <= set(table):
        years = pd.to_numeric(table["ecg_time"].str[:4], errors="coerce")
        years -= pd.to_numeric(table["anchor_year"], errors="coerce")
        age = age.where(age > 89, age + years.fillna(0))
    else:
        notes.add("ages are MIMIC-IV's anchor_age, of another year than the recording; add anchor_year and ecg_time")
    return age.where(age.between(0, OLDEST)).clip(upper=OVER_89)


def _sexes(cells: pd.Series | None, n: int, notes: Notes) -> pd.Series:
    if cells is None:
        return pd.Series([""] * n)
    known = {cell: sex_of(cell) for cell in cells.unique()}
    doubts = cells.map({cell: bool(doubt) for cell, (_, doubt) in known.items()}).sum()
    if doubts:
        notes.add(f"{counted(int(doubts), 'sex is', 'sexes are')} not understood, and left out")
    return cells.map({cell: sex for cell, (sex, _) in known.items()})


def _mimic_measured(file: Path, wanted: pd.Series) -> pd.DataFrame:
    """Per study: what the recorder measured (ms, bpm), NaN where it did not, and its report as one text."""
    parts = []
    columns = ("study_id", *_POSITIONS)
    with pd.read_csv(
        file, usecols=lambda c: c in columns or str(c).startswith("report_"), dtype=str, chunksize=50_000
    ) as chunks:
        for chunk in chunks:
            if "study_id" not in chunk:
                raise RecordError(f"{file} has no column 'study_id'; expected MIMIC-IV-ECG's table, or no such file")
            chunk["study_id"] = chunk["study_id"].map(id_text)
            parts.append(_intervals(chunk[chunk["study_id"].isin(wanted)]))
    return pd.concat(parts).drop_duplicates("study_id")


def _intervals(rows: pd.DataFrame) -> pd.DataFrame:
    at = {c: pd.to_numeric(rows[c], errors="coerce") if c in rows else np.nan for c in _POSITIONS}
    at = {c: x.mask(x.isin(_NO_POSITION)) if isinstance(x, pd.Series) else x for c, x in at.items()}
    out = pd.DataFrame({"study_id": rows["study_id"]})
    out["pr"] = at["qrs_onset"] - at["p_onset"]
    out["qrs"] = at["qrs_end"] - at["qrs_onset"]
    out["qt"] = at["t_end"] - at["qrs_onset"]
    for name, longest in _LONGEST_MS.items():
        out[name] = out[name].where(out[name].between(0, longest, inclusive="right"))
    hr = 60_000 / at["rr_interval"]
    out["hr"] = hr.where(hr.between(10, 400)) if isinstance(hr, pd.Series) else hr
    reports = sorted((c for c in map(str, rows) if re.fullmatch(r"report_\d+", c)), key=lambda c: int(c[7:]))
    cells = rows[reports].fillna("").to_numpy(dtype=str)
    out["diagnosis"] = ["; ".join(_statement(x) for x in row if x.strip()) for row in cells]
    return out


def _statement(text: str) -> str:
    """A line of a report on its own: "; " parts the statements of a diagnosis."""
    return " ".join(text.replace(";", ",").split()).rstrip(".")


def _mimic_items(table: pd.DataFrame, folder: Path, told: Told, left_out: LeftOut) -> Iterator[Item]:
    """One by one, so that of a list of 800,000 no file is looked at before its turn."""
    seen: set[str] = set()
    for start in range(0, len(table), _AT_ONCE):
        for k, row in enumerate(table.iloc[start : start + _AT_ONCE].to_dict("records"), 1):
            name, base = id_text(row["study_id"]), folder / str(row["path"])
            if not name:
                left_out.add(f"row {start + k}", "it has no study_id")
            elif leads_out(folder, row["path"]):
                left_out.add(name, "its path leads out of its folder")
            elif not header_of(base.with_suffix("")).is_file():
                left_out.add(name, "its files are not here")
            elif name in seen:
                left_out.add(name, _AGAIN)
            else:
                seen.add(name)
                measured = {k: float(row[k]) for k in ("pr", "qrs", "qt", "hr") if not pd.isna(row.get(k))}
                known = {
                    **_patient("mimic", row["subject_id"]),
                    **({} if pd.isna(row["age"]) else {"age": float(row["age"])}),
                    **({"sex": row["sex"]} if row["sex"] else {}),
                    **({"diagnosis": row["diagnosis"]} if isinstance(row.get("diagnosis"), str) else {}),
                    **({"measured": measured} if measured else {}),
                }
                yield item_of(name, base, known, told=told)


# ---------------------------------------------------------------- CODE-15%

CODE15_FS = 400.0
# The data set states no unit. Its authors write "at the scale 1e-4V" and, when asked, "make sure your ECG is scaled as
# millivolts" (github.com/antonior92/automatic-ecg-diagnosis, issue 3); so does the PhysioNet Challenge 2025. But others
# found it 1.4 to 2 times as large as recordings in mV (github.com/antonior92/ecg-age-prediction, issue 5).
CODE15_UNIT = "mV"
_UNIT_NOTE = (
    "CODE-15% states no unit: its amplitudes are read as mV, as the PhysioNet Challenge 2025 does, but others found "
    "them about twice those of other data sets. Do not compare amplitudes with theirs; unit= reads them otherwise"
)
CODE15_LABELS = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")


_OF_CODE15 = ("exam_id", "age", "is_male", "patient_id", "trace_file")


def is_code15(file: Path) -> bool:
    """Whether a CSV lists exams as CODE-15%'s ``exams.csv`` does."""
    return _first_line(file) >= set(_OF_CODE15)


def of_code15(file: Path, told: Told = NOTHING_TOLD) -> Source:
    """The exams of a list such as ``exams.csv``, of those of ``exams_part*.hdf5`` beside it that are here."""
    folder, left_out, notes = file.parent, LeftOut(), Notes()
    if told.unit is None:
        notes.add(_UNIT_NOTE)
    table = pd.read_csv(file, usecols=lambda c: c in (*_OF_CODE15, "normal_ecg", *CODE15_LABELS))
    parts = {str(p): _part_of(folder, str(p)) for p in table["trace_file"].unique()}
    states = " ".join(f"{p} {f.stat().st_size}" for p, f in sorted(parts.items()) if f)
    digest = hashlib.sha256(_digest(file) + states.encode()).hexdigest()
    items = _code15_items(table, parts, told, left_out)
    return Source("code15", items, digest, CREDITS["code15"], notes=notes, left_out=left_out)


def _part_of(folder: Path, name: str) -> Path | None:
    """A part in the folder, or in the folder it was unzipped to."""
    places = (folder / name, folder / Path(name).stem / name)
    return next((p for p in places if name == Path(name).name and p.is_file()), None)


def _code15_items(
    table: pd.DataFrame, parts: Mapping[str, Path | None], told: Told, left_out: LeftOut
) -> Iterator[Item]:
    seen: set[str] = set()
    for part, exams in table.groupby("trace_file", sort=True):
        file = parts[str(part)]
        try:
            if file is None:
                raise RecordError("the file is not here")
            row_of = _rows_of_part(file)
        except (RecordError, ImportError) as e:
            left_out.add(str(part), f"its {counted(len(exams), 'exam is', 'exams are')} left out: {e}", len(exams))
            continue
        state = f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns} {told}"
        for start in range(0, len(exams), _AT_ONCE):
            for exam in exams.iloc[start : start + _AT_ONCE].to_dict("records"):
                name = id_text(exam["exam_id"])
                row = row_of.get(name)
                if row is None:
                    left_out.add(name, f"it is not in {file.name}")
                elif name in seen:
                    left_out.add(name, _AGAIN)
                else:
                    seen.add(name)
                    read = partial(read_code15, file, row, name, told)
                    yield Item(name, read, _code15_metadata(exam), fingerprint=f"{state} {row}")


def _rows_of_part(file: Path) -> dict[str, int]:
    """Which row of a part is each exam's; an id of 0 fills up."""
    with open_hdf5(file) as opened:
        ids = own_member(opened, "exam_id") if "exam_id" in opened else None
        if ids is None or ids.dtype.kind not in "iu":
            raise RecordError(f"{file.name} has no dataset 'exam_id' of whole numbers")
        return {str(x): k for k, x in enumerate(rows_of(file, ids).ravel()) if x}


def _code15_metadata(exam: Mapping[Any, Any]) -> dict[str, Any]:
    def true(column: str) -> bool:
        return str(exam.get(column)).strip().lower() in ("true", "1", "1.0")

    labels = [label for label in CODE15_LABELS if true(label)] + (["normal ECG"] if true("normal_ecg") else [])
    male = str(exam["is_male"]).strip().lower()
    known: dict[str, Any] = _patient("code15", exam["patient_id"]) | {"diagnosis": "; ".join(labels)}
    if male in ("true", "false", "1", "0", "1.0", "0.0"):
        known["sex"] = "male" if true("is_male") else "female"
    age = pd.to_numeric(exam["age"], errors="coerce")
    return known | ({"age": float(age)} if 0 <= age <= OLDEST else {})


def read_code15(file: Path, row: int, name: str, told: Told = NOTHING_TOLD) -> Record:
    """An exam of CODE-15% without the zeros that fill it up on both sides.

    Raises
    ------
    RecordError
        When its row holds nothing but zeros, or the file is damaged.
    """
    with open_hdf5(file) as opened:
        tracings = own_member(opened, "tracings") if "tracings" in opened else None
        if tracings is None or tracings.ndim != 3 or tracings.shape[2] != len(LEADS12):
            raise RecordError(f"record {name!r}: {file.name} has no dataset 'tracings' of (exam, sample, 12 leads)")
        signal = rows_of(file, tracings, row).astype(float).T
    there = np.flatnonzero(np.any(signal != 0, axis=0))
    if not len(there):
        raise RecordError(f"record {name!r}: it holds nothing but zeros")
    signal = signal[:, there[0] : there[-1] + 1]
    unit = told.unit or CODE15_UNIT
    channels = Channels(signal, told.fs or CODE15_FS, LEADS12, (unit,) * len(LEADS12))
    return to_record(channels, name, Told(leads=told.leads))


# ---------------------------------------------------------------- collections known by their headers

_DX = re.compile(rb"^#\s*Dx:\s*\d{6,}", re.MULTILINE)
_LOOKED_AT = 20  # headers, since one may say "Unknown"


def _beginning(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(65536)
    except OSError:  # reading it will say why
        return b""


def named_by_headers(source: Source, folder: Path) -> Source:
    """A folder of recordings with the credit of the collection that it is part of, and what that says of people.

    In Chapman-Shaoxing-Ningbo each recording is a person's only one. The headers of the Challenges of 2020 and 2021
    do not say whose a recording is, as a cohort of them says itself.
    """
    if (folder / "ConditionNames_SNOMED-CT.csv").is_file() or "WFDBRecords" in folder.resolve().parts:
        items = [replace(i, metadata={"patient": f"chapman-{i.record_id}"} | i.metadata) for i in source.items]
        return replace(source, items=items, credit=CREDITS["chapman"])
    headers = islice((h for h in folder.rglob("*.hea") if h.is_file()), _LOOKED_AT)  # not links to nowhere
    of_challenge = any(_DX.search(_beginning(h)) for h in headers)
    return replace(source, credit=CREDITS["cinc"]) if of_challenge else source
