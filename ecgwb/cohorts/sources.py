"""Where recordings come from: embedded data sets, folders, tables, the synthetic generator; each a list of items.

`list_source` finds out what a source is and joins a table of people to it. A new kind of source is one more function
that gives a `Source`.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..recordings.reading import read_flagged
from ..recordings.record import LEADS, Record, RecordError
from ..recordings.wfdb_files import OLDEST, SEXES
from .cache import cache_dir
from .guards import kind_of

METADATA = ("age", "sex", "patient", "diagnosis", "superclass", "rhythm_label", "device", "site", "fold")
"""The columns a cohort carries along `record`. Nothing else of a header or table is kept: no names, no dates."""

_DATA = Path(__file__).parent / "data"
_ARCHIVES = {  # name: (archive, folder in the cache, top folder inside the archive)
    "ludb": ("ludb-1.0.1.tar.xz", "ludb-1.0.1", "lobachevsky-university-electrocardiography-database-1.0.1"),
    "ptbxl500": ("ptbxl-first500-500hz.tar.xz", "ptbxl500", ""),
}
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


@dataclass(frozen=True)
class Item:
    """One recording still to be read."""

    record_id: str
    read: Callable[[], Record]
    metadata: dict[str, Any] = field(default_factory=dict)
    annotated: Path | None = None  # where this record's hand-made wave annotations are
    fingerprint: str = ""  # changes when the recording does


@dataclass(frozen=True)
class Source:
    """A list of recordings and what is known of the whole."""

    name: str
    items: Iterable[Item]  # a list, or what yields them once
    sha256: str  # empty where only reading all of it would tell
    credit: str = ""
    folds: str = ""  # whose: those of a data set that part patients
    rows: frozenset[str] = frozenset()  # records that the metadata names
    ignored: list[str] = field(default_factory=list)  # metadata columns that a cohort does not keep


def unpack(name: str) -> Path:
    """The folder of an embedded data set ("ludb" or "ptbxl500"), unpacked into the user's cache on first use."""
    archive, folder, top = _ARCHIVES[name]
    target = cache_dir() / folder
    if target.is_dir():
        return target
    cache_dir().mkdir(parents=True, exist_ok=True)
    # Unpacked beside its place and moved there whole, so a killed or second process never leaves half a data set.
    with tempfile.TemporaryDirectory(dir=cache_dir()) as tmp:
        with tarfile.open(_DATA / archive) as tar:
            tar.extractall(Path(tmp) / "whole", filter="data")
        try:
            (Path(tmp) / "whole" / top).rename(target)
        except OSError:
            if not target.is_dir():
                raise
    return target


def archive_sha256(name: str) -> str:
    return hashlib.sha256((_DATA / _ARCHIVES[name][0]).read_bytes()).hexdigest()


def list_source(source: Any, metadata: Any = None) -> Source:
    """The recordings of a source.

    Parameters
    ----------
    source : str, Path, DataFrame or iterable of Record
        "ludb", "ptbxl500", "synthetic:N"; a folder of LUDB, of PTB-XL, or of any WFDB records (searched through);
        a table with a ``path`` column, or the CSV file of one (its paths start from its folder); or records already
        in memory.
    metadata : DataFrame or path of a CSV, optional
        One row a record, joined on its ``record`` column (the record's name).

    Returns
    -------
    Source
        None of its recordings is read yet.

    Raises
    ------
    RecordError
        When there is no such source, or its table or the metadata's cannot be used.
    """
    found = _find(source)
    return found if metadata is None else _join(found, metadata)


def _find(source: Any) -> Source:
    if isinstance(source, pd.DataFrame):
        return _of_table(source)
    if not isinstance(source, (str, Path)):
        return _of_records([source] if isinstance(source, Record) else source)
    if source == "ludb":
        return _of_ludb(unpack("ludb"), archive_sha256("ludb"))
    if source == "ptbxl500":
        return _of_ptbxl(unpack("ptbxl500"), archive_sha256("ptbxl500"), "ptbxl500")
    if isinstance(source, str) and source.startswith("synthetic:"):
        return _of_generator(source)
    if source == "ptbxl" and not Path(source).is_dir():
        raise RecordError("'ptbxl' is built already: open_cohort('ptbxl'); to build it anew, give PTB-XL's folder")
    place = Path(source)
    if place.suffix.lower() == ".csv" and place.is_file():
        table = read_table(place)
        if "path" in table:
            table["path"] = [str(place.parent / str(p)) for p in table["path"]]
        return _of_table(table)
    if not place.is_dir():
        raise RecordError(
            f"no folder {place}; expected 'ludb', 'ptbxl500', 'synthetic:N', a folder of recordings, or a CSV "
            "table of their paths"
        )
    if (place / "ludb.csv").is_file():
        return _of_ludb(place)
    if (place / "ptbxl_database.csv").is_file():
        return _of_ptbxl(place)
    return _of_folder(place)


# ---------------------------------------------------------------- tables of people


def _join(source: Source, metadata: Any) -> Source:
    table = metadata if isinstance(metadata, pd.DataFrame) else read_table(metadata)
    if "record" not in table:
        raise RecordError(
            f"metadata has no column 'record'; it has {', '.join(map(str, table.columns))}. Call the one that holds "
            "the recordings' names so: table.rename(columns={'their name': 'record'})"
        )
    named = table["record"].astype(str)
    if named.duplicated().any():
        raise RecordError(f"metadata has two rows for record {named[named.duplicated()].iloc[0]!r}; give one")
    rows = dict(zip(named, table.to_dict("records"), strict=True))

    def joined(item: Item) -> Item:
        return replace(item, metadata=item.metadata | tidy(rows.get(item.record_id, {})))

    items = map(joined, source.items)
    ignored = [str(c) for c in table.columns if c not in ("record", *METADATA)]
    return replace(
        source,
        items=list(items) if isinstance(source.items, list) else items,
        rows=frozenset(rows),
        ignored=ignored,
    )


def read_table(file: Any) -> pd.DataFrame:
    """A table of people or paths from a CSV; names such as 001 stay text.

    Raises
    ------
    RecordError
        When there is no such file, or it is no CSV.
    """
    if not isinstance(file, (str, Path)):
        raise RecordError(f"metadata is {kind_of(file)}; expected a DataFrame or the path of a CSV")
    if not Path(file).is_file():
        raise RecordError(f"no file {file}; expected a CSV with a row a record, its columns named in the first line")
    try:
        table = pd.read_csv(file, dtype={"record": str, "patient": str, "path": str})
    except (ValueError, OSError) as e:  # pandas' parser errors are ValueErrors
        raise RecordError(f"{file} cannot be read as a CSV: {e}") from e
    only = str(table.columns[0])
    if len(table.columns) == 1 and (";" in only or "\t" in only):
        mark = ";" if ";" in only else "\t"
        raise RecordError(
            f"{file} is separated by {mark!r}; expected commas. Give the table itself: pd.read_csv(file, sep={mark!r})"
            ", and decimal=',' where numbers have commas"
        )
    return table


def tidy(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A metadata row with the columns a cohort keeps, in its conventions."""
    out: dict[str, Any] = {}
    for name in METADATA:
        value = row.get(name)
        if value is not None and not (pd.api.types.is_scalar(value) and pd.isna(value)):
            out[name] = value
    where = f"metadata of record {str(row['record'])!r}" if "record" in row else "metadata"
    if "sex" in out:
        word = str(out["sex"]).strip().lower()
        out["sex"] = SEXES.get(word, "")
        if not out["sex"] and word:
            raise RecordError(f"{where}: sex is {row['sex']!r}; expected 'male' or 'female' (or M, F)")
    for name, kind, what in (("age", float, "number of years"), ("fold", int, "whole number")):
        if name in out:
            try:
                out[name] = kind(out[name])
            except (TypeError, ValueError, OverflowError):
                raise RecordError(f"{where}: {name} is {row[name]!r}; expected a {what}") from None
    if "age" in out and not 0 <= out["age"] <= OLDEST:
        raise RecordError(f"{where}: age is {row['age']!r}; expected 0 to {OLDEST} years, or nothing")
    if "patient" in out:  # numbers with a gap among them are 7.0 and so on
        out["patient"] = _whole(out["patient"]) if isinstance(out["patient"], float) else str(out["patient"]).strip()
    return out | {k: str(out[k]) for k in ("diagnosis", "superclass", "rhythm_label", "device", "site") if k in out}


# ---------------------------------------------------------------- each kind of source


def _of_ludb(folder: Path, sha256: str | None = None) -> Source:
    headers = sorted((folder / "data").glob("*.hea"), key=lambda p: (len(p.stem), p.stem))
    items = []
    for header in headers:
        base, name = header.with_suffix(""), header.stem
        people = {"patient": f"ludb-{name}", "fold": (int(name) if name.isdigit() else 0) % 5}
        items.append(_item(name, base, people, annotated=base))
    return Source("ludb", items, sha256 or _hash_files(headers), CREDITS["ludb"])


def _of_ptbxl(folder: Path, sha256: str | None = None, name: str = "ptbxl") -> Source:
    table = read_table(folder / "ptbxl_database.csv")
    needed = ("ecg_id", "patient_id", "age", "sex", "filename_hr")
    if lacking := [c for c in needed if c not in table]:
        raise RecordError(f"{folder / 'ptbxl_database.csv'} has no column {lacking[0]!r}; expected PTB-XL's table")
    table["age"] = pd.to_numeric(table["age"], errors="coerce")
    measured, classes = _measured_by_12sl(folder), _superclasses(folder)
    items = []
    for row in table.to_dict("records"):
        number = _whole(row["ecg_id"])
        if number not in WITHDRAWN:
            known = _ptbxl_metadata(row, classes) | measured.get(number, {})
            items.append(_item(number, _ptbxl_file(folder, row), known))
    return Source(name, items, sha256 or _hash_files([folder / "ptbxl_database.csv"]), CREDITS["ptbxl"], "ptbxl")


def _ptbxl_file(folder: Path, row: Mapping[Any, Any]) -> Path:
    """The recording at 500 Hz, or at 100 Hz where only that was fetched."""
    high = folder / str(row["filename_hr"])
    if not high.is_relative_to(folder) or ".." in high.relative_to(folder).parts:
        raise RecordError(f"ptbxl_database.csv names the file {row['filename_hr']!r}, outside its own folder")
    if isinstance(row.get("filename_lr"), str) and not _header_of(high).is_file():
        low = folder / row["filename_lr"]
        return low if _header_of(low).is_file() else high
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
        "patient": f"ptbxl-{_whole(row['patient_id'])}",
        "diagnosis": "; ".join(codes),
        "superclass": "; ".join(c for c in SUPERCLASSES if c in {classes.get(code) for code in codes}),
        "device": " ".join(str(row.get("device", "")).split()),
        "site": "" if pd.isna(row.get("site")) else _whole(row["site"]),
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
    return {_whole(k): {str(n): v for n, v in row.items() if not pd.isna(v)} for k, row in rows}


def _of_folder(folder: Path) -> Source:
    headers = sorted(folder.rglob("*.hea"))
    # Records of one name in different subfolders are told apart by their path; otherwise the plain name is kept.
    names = [h.stem for h in headers]
    if len(set(names)) < len(names):
        names = [h.relative_to(folder).with_suffix("").as_posix() for h in headers]
    items = [_item(n, h.with_suffix("")) for n, h in zip(names, headers, strict=True)]
    return Source(str(folder.name), items, _hash_files(headers))


def _of_table(table: pd.DataFrame) -> Source:
    if "path" not in table:
        raise RecordError(f"the table has no column 'path'; it has {', '.join(map(str, table.columns))}")
    items = []
    for row in table.to_dict("records"):
        path = Path(str(row["path"]))
        items.append(_item(str(row.get("record", path.stem)), path, tidy(row)))
    return Source("table", items, _hash_files([Path(str(p)) for p in table["path"]]))


def _of_records(records: Iterable[Record]) -> Source:
    if not isinstance(records, Iterable):
        raise RecordError(f"the source is {kind_of(records)}; expected a folder, a table or records")

    def item(i: int, record: Record) -> Item:
        if not isinstance(record, Record):
            raise RecordError(f"item {i} of the source is {kind_of(record)}; expected an ecgwb.Record")
        parts = [record] if record.median is None else [record, record.median]
        content = hashlib.sha256(b"".join(f"{x.fs} {x.leads}".encode() + x.signal.tobytes() for x in parts)).hexdigest()
        read = partial(_itself, record)
        return Item(record.record_id or str(i), read, tidy(record.metadata), fingerprint=content)

    items = starmap(item, enumerate(records))
    return Source("records", list(items) if isinstance(records, Sequence) else items, "")


def _itself(record: Record) -> Record:
    return record


def _of_generator(source: str) -> Source:
    number = source.partition(":")[2]
    if not (number.isascii() and number.isdigit()) or int(number) < 1:
        raise RecordError(
            f"{source!r}: expected 'synthetic:N' with a whole number N of recordings, such as 'synthetic:200'"
        )
    signals = generate(int(number))
    names = [f"synthetic-{i}" for i in range(len(signals))]
    items = [
        Item(name, partial(Record, signal, 500.0, LEADS, name), {"patient": name}, fingerprint=source)
        for name, signal in zip(names, signals, strict=True)
    ]
    return Source(source, items, hashlib.sha256(signals.tobytes()).hexdigest(), CREDITS["synthetic"])


def generate(n: int, batch: int = 32) -> np.ndarray:
    """Synthetic recordings by deepfake-ecg, a generator of the paper's group: an extra, about 50 MB.

    Returns
    -------
    array (record, lead, sample), µV
        Record i is the same whatever `n`. The ends (100 ms) are cut: the generator rings there.

    Raises
    ------
    ImportError
        When the extra is not installed.
    """
    try:
        import deepfakeecg
    except ImportError:
        raise ImportError(
            "synthetic cohorts need the package deepfake-ecg: install the extra with  pip install 'ecgwb[synthetic]'"
        ) from None
    # Its layers use a spelling that torch has since renamed, and draw initial weights from the caller's stream.
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", FutureWarning)
        net = deepfakeecg.Generator()
    checkpoint = Path(deepfakeecg.__file__).parent / "checkpoints" / "g_stat.pt"
    net.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["stat_dict"])
    net.eval()
    noise = torch.Generator().manual_seed(0)
    out = []
    with torch.inference_mode():
        for start in range(0, n, batch):
            z = torch.empty(batch, 8, 5000).uniform_(-1, 1, generator=noise)  # the paper's latent: 8 leads of noise
            out.append((net(z) * 6000).round().numpy()[: n - start, :, 50:-50])
    return np.concatenate(out).astype(np.float32)


# ---------------------------------------------------------------- files of recordings


def _item(name: str, base: Path, metadata: dict[str, Any] | None = None, annotated: Path | None = None) -> Item:
    """One recording in files, by their path with or without an ending."""
    return Item(name, partial(read_flagged, base), metadata or {}, annotated, _state(base))


def _whole(number: Any) -> str:
    """A number of a table, whole even where a gap in its column made it 5.0, as text."""
    return str(number).removesuffix(".0")


def _header_of(base: Path) -> Path:
    return base.with_name(base.name + ".hea")


def _hash_files(files: Iterable[Path]) -> str:
    """Hash of names, headers and sizes: enough to tell two folders apart without reading gigabytes of signals."""
    digest = hashlib.sha256()
    for f in files:
        digest.update(f.name.encode())
        for part in (f, f.with_suffix(".dat"), f.with_suffix(".mat")):
            if part.is_file():
                digest.update(str(part.stat().st_size).encode())
                digest.update(part.read_bytes() if part.suffix == ".hea" else b"")
    return digest.hexdigest()


def _state(base: Path) -> str:
    """Sizes and times of a recording's files: what changes when it is fetched again."""
    base = base.with_suffix("") if base.suffix in (".hea", ".dat", ".mat") else base
    files = [base.with_name(base.name + kind) for kind in (".hea", ".dat", ".mat")]
    states = [(f.name, f.stat()) for f in files if f.is_file()]
    return " ".join(f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in states)
