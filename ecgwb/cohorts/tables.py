"""Tables of people: read from files whatever wrote them, their columns found, their cells in a cohort's conventions.

A cell that cannot be understood costs itself: it is left out, counted, and its record flagged.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import math
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..recordings.identity import PATIENT_WORDS
from ..recordings.people import SEX_CODE, age_of, sex_of
from ..recordings.record import RecordError
from ..recordings.texts import decoded
from .guards import kind_of
from .items import METADATA, Item, Notes, Source

USUAL = {  # what columns are called, by what they hold, in lower case without spaces, brackets, "_", "-" and "."
    "record": "record recordid recordname recordingid recording ecgid filename file studyid examid waveform id",
    "path": "path filepath ecgpath recordpath waveformpath",
    "patient": PATIENT_WORDS,
    "sex": "sex gender biologicalsex sexatbirth sexm/f",
    "age": "age ageyears ageyear agey ageyr ageyrs ageinyears ageatecg patientage anchorage",
    "diagnosis": "diagnosis diagnoses dx report diagnosiscodes scpcodes",
    "superclass": "superclass diagnosticsuperclass",
    "rhythm_label": "rhythmlabel rhythm",
    "device": "device",
    "site": "site centre center hospital",
    "fold": "fold stratfold",
}
_ROLE = {word: (role, k) for role, words in USUAL.items() for k, word in enumerate(words.split())}
_LIKE_A_PATIENT = re.compile(
    "patient|subject|person|participant|individual|mrn|medicalrecord|hospitalno|hospitalnumber|pid|patid|eid|ptid"
)
_NO_ONE = re.compile(r"|[-?.]+|nan|none|null|n/?a|<na>|nat|unknown|not known|missing", re.IGNORECASE)
_ENDING = re.compile(
    r"\.(hea|dat|mat|xml|ecg|dcm|dicom|scp|edf|bdf|npy|npz|csv|tsv|txt|parquet|h5|hdf5|json|zip|gz)$", re.IGNORECASE
)
_TEXTS = ("diagnosis", "superclass", "rhythm_label", "device", "site")
_WHOLE = re.compile(r"(-?\d+)\.0+")
_ABSENT = ["", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "null", "NULL", "None", "#N/A"]  # of columns without names
_MOST_BYTES = 2**28  # of a table of people, unpacked: millions of rows
_OF_PERSONS = ("age", "sex", "patient", "diagnosis")
_SEPARATORS = (",", ";", "\t", "|")
EXCEL = (".xlsx", ".xls")


# ---------------------------------------------------------------- files


def read_table(file: Any, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """A table of people or paths from a text file, whose encoding and separator are found out.

    Parameters
    ----------
    file : str or Path
        UTF-8, UTF-16 or Latin-1; cells parted by commas, semicolons, tabs or "|".
    columns : mapping of str, optional
        As of `build_cohort`.

    Returns
    -------
    DataFrame
        Columns that name records, paths or patients are texts as they stand: 001 and NA stay so.

    Raises
    ------
    RecordError
        When there is no such file, or it is no such table.

    Warns
    -----
    UserWarning
        When the encoding is but a guess.
    """
    if not isinstance(file, (str, Path)):
        raise RecordError(f"metadata is {kind_of(file)}; expected a DataFrame or the path of a CSV")
    file = Path(file).expanduser()
    if not file.is_file():
        raise RecordError(f"no file {file}; expected a CSV with a row a record, its columns named in the first line")
    text = _text_of(file)
    first, _, rest = text.partition("\n")
    named = re.fullmatch(r"\"?sep=(.)\"?\s*", first)  # as Excel writes it
    text = rest if named else text
    mark = named[1] if named else _separator(text)
    try:
        header = next(csv.reader(io.StringIO(text), delimiter=mark), [])
        texts = [h for h in header if h in (columns or {}).values() or _role(h)[0] in ("record", "path", "patient")]
        others = {h: _ABSENT for h in header if h not in texts}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the first line: cells would move
            table = pd.read_csv(
                io.StringIO(text), sep=mark, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=others,
                index_col=False, low_memory=False,
            )  # fmt: skip
    except pd.errors.ParserWarning:
        raise RecordError(
            f"{file} cannot be read as a CSV: its rows have more cells than its first line names; name every column"
        ) from None
    except (ValueError, csv.Error, OverflowError) as e:  # pandas' parser errors are ValueErrors
        raise RecordError(
            f"{file} cannot be read as a CSV: {e}. Give the table itself: metadata=pd.read_csv(file, sep=..., "
            "encoding=...)"
        ) from e
    return table.rename(columns=lambda c: str(c).strip())


def _text_of(file: Path) -> str:
    """The text of a file in whatever encoding."""
    try:
        with file.open("rb") as opened:
            packed = opened.read(2) == b"\x1f\x8b"
        with gzip.open(file) if packed else file.open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
    except (OSError, EOFError) as e:
        raise RecordError(f"{file} cannot be opened ({e})") from e
    if len(data) > _MOST_BYTES:
        raise RecordError(
            f"{file} has more than {_MOST_BYTES >> 20} MiB of text; give the table itself: pd.read_csv(file)"
        )
    for start, what, how in (
        (b"PK\x03\x04", "an Excel file", "read_excel"),
        (b"\xd0\xcf\x11\xe0", "an Excel file", "read_excel"),
        (b"PAR1", "a Parquet file", "read_parquet"),
    ):
        if data.startswith(start):
            raise RecordError(f"{file} is {what}; give the table itself: pd.{how}({str(file)!r})")
    text, name = decoded(data)
    if "\0" in text:
        raise RecordError(f"{file} is no text; expected a CSV with a row a record, its columns named in the first line")
    if name != "latin-1":
        return text
    with contextlib.suppress(UnicodeDecodeError):
        text, name = data.decode("cp1252"), "cp1252"
    warnings.warn(
        f"{file.name} is not UTF-8 and is read as {name} (Western European); where its letters are others, give the "
        "table itself: pd.read_csv(file, encoding=...)",
        stacklevel=2,
    )
    return text


def is_of_people(file: Path) -> bool:
    """Whether a file looks like a table of people: columns named after what one says of them, or any table of Excel's.

    It is looked for in folders of recordings, where nobody said so.
    """
    if not file.is_file():  # a pipe would be waited for
        return False
    if file.suffix.lower() in EXCEL:
        return True
    try:
        with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as opened:
            text = decoded(opened.read(4096), cut=True)[0]
        lines = text.strip().splitlines()[:2]  # Excel may say in the first what parts the cells
        rows = [next(csv.reader([line], delimiter=_separator(line)), []) for line in lines]
    except (OSError, EOFError, zlib.error, csv.Error):
        return False
    return any(len(row) > 1 and any(_role(cell)[0] in _OF_PERSONS for cell in row) for row in rows)


def _separator(text: str) -> str:
    """What parts the cells: the mark that the first line has most of, outside quotes."""
    line = re.sub(r'"[^"]*"', "", text.lstrip().partition("\n")[0])
    return max(_SEPARATORS, key=line.count)


# ---------------------------------------------------------------- columns


def _plain(name: Any) -> str:
    return re.sub(r"[\s_.\-()\[\]]+", "", str(name)).lower()


def _role(name: Any) -> tuple[str, int]:
    """What a column of that name usually holds, and how usual the name is for it, 0 the most."""
    return _ROLE.get(_plain(name), ("", 0))


def understood(
    table: pd.DataFrame,
    columns: Mapping[str, str] | None,
    notes: Notes,
    names: Sequence[str] = (),
    what: str = "metadata",
) -> tuple[pd.DataFrame, list[str]]:
    """A table whose columns have our names, and the columns that are left.

    Parameters
    ----------
    table : DataFrame
    columns : mapping of str, optional
        {ours: theirs}, of the caller. Other columns are found by their usual names.
    notes : Notes
        Grow by what was chosen among several columns, and by columns that look like patients and are not used.
    names : sequence of str
        Of the recordings, by which the column of records is told; a column "id" is taken only where it holds them.
    what : str
        What messages call the table.

    Returns
    -------
    DataFrame, list of str

    Raises
    ------
    RecordError
        When `columns` names what there is not, or the table is empty.
    """
    given = _checked(columns, table, what)
    if not len(table):
        raise RecordError(f"{what} has no rows; expected one a record")
    found = dict(given)
    for role in USUAL:
        usual = sorted(
            (_role(c)[1], str(c), c) for c in table.columns if _role(c)[0] == role and c not in given.values()
        )
        candidates = [c for _, _, c in usual]
        if role == "record":
            candidates = _that_name_records(table, candidates, names)
        if role in found or not candidates:
            continue
        found[role], *others = candidates
        others = [c for c in others if not _alike(table[c], table[found[role]])]
        if others and role != "record":
            notes.add(
                f"{what}: {role} is taken from the column {str(found[role])!r}, not from {_listed(others)}; to choose, "
                f"say columns={{{role!r}: {str(others[0])!r}}}"
            )
    left = [str(c) for c in table.columns if c not in found.values()]
    if "patient" not in found:
        likely = [c for c in left if _LIKE_A_PATIENT.search(_plain(c)) or _plain(c) == "pid"]
        if likely:
            notes.add(
                f"{what}: no column is taken for the patient, though {_listed(likely)} looks like one. Say columns="
                f"{{'patient': {likely[0]!r}}}, if its codes name nobody; without it two "
                "recordings of a person count as two people"
            )
    return pd.DataFrame({role: table[column] for role, column in found.items()}), left


def _checked(columns: Mapping[str, str] | None, table: pd.DataFrame, what: str) -> dict[str, Any]:
    if columns is None:
        return {}
    if not isinstance(columns, Mapping):
        raise RecordError(f"columns is {kind_of(columns)}; expected a mapping, such as {{'patient': 'subject_id'}}")
    for ours, theirs in columns.items():
        if ours not in ("record", "path", *METADATA):
            hint = f"; turned round? {{{theirs!r}: {ours!r}}}" if theirs in ("record", "path", *METADATA) else ""
            raise RecordError(f"columns has {ours!r}; expected record, path, {', '.join(METADATA)}{hint}")
        if theirs not in table:
            raise RecordError(f"{what} has no column {theirs!r}; it has {', '.join(map(str, table.columns))}")
    return dict(columns)


def _that_name_records(table: pd.DataFrame, candidates: list[Any], names: Sequence[str]) -> list[Any]:
    """Candidates for the column of records, best first: the more recordings it names, the better."""
    if not names:
        return [c for c in candidates if _plain(c) != "id"]
    ours = Counter(form for name in names for form in set(_forms(name)))
    fits = {c: sum(any(f in ours for f in _forms(id_text(v))) for v in table[c].unique()) for c in candidates}
    ranked = sorted(candidates, key=lambda c: -fits[c])  # stable: of equals the more usual name
    return [c for c in ranked if fits[c] or _plain(c) == "record"] or [c for c in candidates if _plain(c) != "id"]


def _alike(a: pd.Series, b: pd.Series) -> bool:
    return [id_text(x) for x in a] == [id_text(x) for x in b]


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(repr(str(n)) for n in names)


# ---------------------------------------------------------------- cells


def id_text(value: Any) -> str:
    """The name of a record or patient as text, whole where a gap in its column made it 5.0; 001 and NA stay so."""
    text = "" if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)) else str(value)
    text = text.strip()
    whole = _WHOLE.fullmatch(text)
    if whole:
        return whole[1]
    if isinstance(value, float) and value.is_integer():  # 1e+22
        return str(int(value))
    return text


def tidy(row: Mapping[Any, Any], notes: Notes | None = None) -> dict[str, Any]:
    """A metadata row with the columns a cohort keeps, in its conventions.

    Parameters
    ----------
    row : mapping
    notes : Notes, optional
        Grow by each cell that is left out.

    Returns
    -------
    dict
        ``flags`` lists the doubts about its cells, where there are some.
    """
    notes = Notes() if notes is None else notes
    record = str(row.get("record", ""))
    given = {k: row[k] for k in METADATA if k in row and not _absent(row[k])}
    out: dict[str, Any] = {}
    doubts = list(row.get("flags", ()))

    def left_out(column: str, why: str = "", doubt: str = "") -> None:
        notes.cell(column, given[column], record, why)
        if doubt:
            doubts.append(f"{doubt} (table)")

    if "sex" in given:
        sex, doubt = sex_of(given["sex"])
        if sex:
            out["sex"] = sex
        else:
            left_out("sex", "code" if doubt == SEX_CODE else "", doubt)
    if "age" in given:
        age, doubt = age_of(given["age"])
        if math.isfinite(age):
            out["age"] = age
            doubts += [f"{doubt} (table)"] if doubt else []
        else:
            left_out("age", "", doubt)
    if "fold" in given:
        number = id_text(given["fold"])
        if re.fullmatch(r"-?\d{1,9}", number):
            out["fold"] = int(number)
        else:
            left_out("fold", "", "a fold that is not a whole number is left out" if number else "")
    if "patient" in given:
        patient = id_text(given["patient"])
        if not _NO_ONE.fullmatch(patient):
            out["patient"] = patient
        else:
            left_out("patient")
    texts = {
        k: str(given[k]).strip() for k in ("diagnosis", "superclass", "rhythm_label", "device", "site") if k in given
    }
    out |= {k: text for k, text in texts.items() if text}  # an empty cell does not take away what the file says
    return out | ({"flags": doubts} if doubts else {})


def _absent(value: Any) -> bool:
    return value is None or bool(pd.api.types.is_scalar(value) and pd.isna(value))


# ---------------------------------------------------------------- rows and recordings


def _forms(name: str) -> tuple[str, str, str]:
    """A record's name as it is, without the ending of a file, and without folders, too."""
    bare = _ENDING.sub("", name.replace("\\", "/"))
    return name, bare, bare.rsplit("/", 1)[-1]


def join(source: Source, metadata: Any, columns: Mapping[str, str] | None = None) -> Source:
    """The source with what a table says of its recordings.

    Parameters
    ----------
    source : Source
    metadata : DataFrame or path
    columns : mapping of str, optional
        As of `build_cohort`.

    Returns
    -------
    Source

    Raises
    ------
    RecordError
        When the table has no column of records, or two rows for one that differ.
    """
    table = metadata if isinstance(metadata, pd.DataFrame) else read_table(metadata, columns)
    listed = isinstance(source.items, list)
    names = [item.record_id for item in source.items] if listed else []
    have = ", ".join(map(str, table.columns))
    table, ignored = understood(table.reset_index(drop=True), columns, source.notes, names)
    if "record" not in table:
        raise RecordError(
            f"metadata has no column 'record' that names the recordings; it has {have}. Say which does: "
            "columns={'record': 'its name'}"
        )
    rows = _rows(table)
    row_of = _matcher(list(rows), names)
    used: dict[str, str] = {}

    def joined(item: Item) -> Item:
        name = row_of(item.record_id)
        if name is None:
            return item
        used[name] = item.record_id
        flags = [*item.metadata.get("flags", ()), *(row := tidy(rows[name], source.notes)).pop("flags", ())]
        return replace(item, metadata=item.metadata | row | ({"flags": flags} if flags else {}))

    items = map(joined, source.items)
    return replace(
        source, items=list(items) if listed else items, rows=tuple(rows), used=used, ignored=[*source.ignored, *ignored]
    )


def _rows(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The rows by the record they name; one that names none is passed over."""
    rows: dict[str, dict[str, Any]] = {}
    for cells in table.to_dict("records"):
        name = id_text(cells["record"])
        row = {str(k): v for k, v in cells.items()} | {"record": name}
        if name and name in rows and not _same(rows[name], row):
            raise RecordError(f"metadata has two rows for record {name!r}; give one")
        if name:
            rows[name] = row
    if not rows:
        raise RecordError("metadata names no record: its column of records is empty")
    return rows


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return all((_absent(a[k]) and _absent(b[k])) or a[k] == b[k] for k in a)


def _matcher(rows: Sequence[str], names: Sequence[str]) -> Callable[[str], str | None]:
    """Gives the row of a recording: of its very name, or the only one that differs from it by ending or folder."""
    exact = set(rows)
    by_form: list[dict[str, str | None]] = [{}, {}]  # None: of several
    for level in (1, 2):
        for name in rows:
            form = _forms(name)[level]
            by_form[level - 1][form] = None if form in by_form[level - 1] else name
    ours = [Counter(_forms(name)[level] for name in names) for level in (1, 2)]
    taken = exact & set(names)

    def row_of(name: str) -> str | None:
        if name in exact:
            return name
        for level in (1, 2):
            form = _forms(name)[level]
            row = by_form[level - 1].get(form)
            if row is not None and row not in taken and ours[level - 1][form] <= 1:
                return row
        return None

    return row_of
