"""Where recordings come from: embedded data sets, folders, tables, the synthetic generator; each a list of items."""

from __future__ import annotations

import hashlib
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

import pandas as pd
import platformdirs

from ..recordings.record import LEADS, Record, RecordError
from ..recordings.wfdb_files import read_flagged
from .metadata import METADATA, read_table, tidy
from .synthetic import generate

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
    rows: frozenset[str] = frozenset()  # records that the metadata names
    ignored: list[str] = field(default_factory=list)  # metadata columns that a cohort does not keep


def cache_dir() -> Path:
    """The user's cache: ``~/.cache/ecgwb`` on Linux (platformdirs)."""
    return Path(platformdirs.user_cache_dir("ecgwb"))


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

    Raises
    ------
    RecordError
        When the source holds no recording, names repeat, or no metadata row fits any record.
    """
    if isinstance(source, str) and source in _ARCHIVES:
        sha = archive_sha256(source)
        found = _ludb(unpack("ludb"), sha) if source == "ludb" else _ptbxl(unpack("ptbxl500"), sha, "ptbxl500")
    elif isinstance(source, str) and source.startswith("synthetic:"):
        found = _synthetic(source)
    elif isinstance(source, (str, Path)):
        folder = Path(source)
        if folder.suffix.lower() == ".csv" and folder.is_file():
            table = read_table(folder)
            if "path" in table:
                table["path"] = [str(folder.parent / str(p)) for p in table["path"]]
            found = _table(table)
        elif not folder.is_dir():
            raise RecordError(
                f"no folder {folder}; expected 'ludb', 'ptbxl500', 'synthetic:N', a folder of recordings, or a CSV "
                "table of their paths"
            )
        elif (folder / "ludb.csv").is_file():
            found = _ludb(folder)
        elif (folder / "ptbxl_database.csv").is_file():
            found = _ptbxl(folder)
        else:
            found = _wfdb_folder(folder)
    elif isinstance(source, pd.DataFrame):
        found = _table(source)
    else:
        found = _in_memory([source] if isinstance(source, Record) else source)
    if not isinstance(found.items, list):
        return _join(found, metadata) if metadata is not None else found
    if not found.items:
        raise RecordError(f"{found.name}: no recordings found; expected WFDB records (.hea with .dat or .mat)")
    names = pd.Series([i.record_id for i in found.items])
    if names.duplicated().any():
        raise RecordError(f"{found.name}: record {names[names.duplicated()].iloc[0]!r} occurs twice; names must differ")
    return _join(found, metadata) if metadata is not None else found


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

    items: Iterable[Item] = map(joined, source.items)
    if isinstance(source.items, list):
        items = list(items)
        if rows and not any(i.record_id in rows for i in items):
            raise RecordError(
                f"{source.name}: no metadata row fits a record; metadata names {next(iter(rows))!r}, "
                f"the recordings are called like {items[0].record_id!r}"
            )
    ignored = [str(c) for c in table.columns if c not in ("record", *METADATA)]
    return replace(source, items=items, rows=frozenset(rows), ignored=ignored)


# ---------------------------------------------------------------- each kind of source


def _ludb(folder: Path, sha256: str | None = None) -> Source:
    headers = sorted((folder / "data").glob("*.hea"), key=lambda p: (len(p.stem), p.stem))
    items = []
    for h in headers:
        base = h.with_suffix("")
        items.append(Item(base.name, partial(read_flagged, base), _of_ludb(base.name), base, _state(base)))
    return Source("ludb", items, sha256 or _hash_files(headers), CREDITS["ludb"])


def _of_ludb(name: str) -> dict[str, Any]:
    return {"patient": f"ludb-{name}", "fold": (int(name) if name.isdigit() else 0) % 5}


def _ptbxl(folder: Path, sha256: str | None = None, name: str = "ptbxl") -> Source:
    table = read_table(folder / "ptbxl_database.csv")
    measured = _of_12sl(folder)
    items = []
    needed = ("ecg_id", "patient_id", "age", "sex", "filename_hr")
    if lacking := [c for c in needed if c not in table]:
        raise RecordError(f"{folder / 'ptbxl_database.csv'} has no column {lacking[0]!r}; expected PTB-XL's table")
    table["age"] = pd.to_numeric(table["age"], errors="coerce")
    for row in table.to_dict("records"):
        base = folder / str(row["filename_hr"])
        if not base.is_relative_to(folder) or ".." in base.relative_to(folder).parts:
            raise RecordError(f"ptbxl_database.csv names the file {row['filename_hr']!r}, outside its own folder")
        if not base.with_name(base.name + ".hea").is_file() and isinstance(row.get("filename_lr"), str):
            low = folder / row["filename_lr"]
            base = low if low.with_name(low.name + ".hea").is_file() else base
        codes = re.findall(r"'([^']+)'\s*:", str(row.get("scp_codes", "")))  # "{'NORM': 100.0, 'SR': 0.0}"
        meta = {
            "age": min(row["age"], 90.0),  # 300 stands for "over 89" in the full set
            "sex": {0: "male", 1: "female"}.get(row["sex"], ""),
            "patient": f"ptbxl-{_whole(row['patient_id'])}",
            "diagnosis": "; ".join(codes),
            "device": " ".join(str(row.get("device", "")).split()),
            "site": "" if pd.isna(row.get("site")) else _whole(row["site"]),
        }
        if pd.isna(meta["age"]):
            del meta["age"]
        meta |= measured.get(_whole(row["ecg_id"]), {})
        items.append(Item(_whole(row["ecg_id"]), partial(read_flagged, base), meta, fingerprint=_state(base)))
    return Source(name, items, sha256 or _hash_files([folder / "ptbxl_database.csv"]), CREDITS["ptbxl"])


def _whole(number: Any) -> str:
    """A number of a table, whole even where a gap in its column made it 5.0, as text."""
    return str(number).removesuffix(".0")


def _of_12sl(folder: Path) -> dict[str, dict[str, float]]:
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


def _wfdb_folder(folder: Path) -> Source:
    headers = sorted(folder.rglob("*.hea"))
    # Records of one name in different subfolders are told apart by their path; otherwise the plain name is kept.
    plain = pd.Series([h.stem for h in headers], dtype=object)
    names = [h.relative_to(folder).with_suffix("").as_posix() for h in headers] if plain.duplicated().any() else plain
    items = [
        Item(str(n), partial(read_flagged, h.with_suffix("")), fingerprint=_state(h))
        for n, h in zip(names, headers, strict=True)
    ]
    return Source(str(folder.name), items, _hash_files(headers))


def _table(table: pd.DataFrame) -> Source:
    if "path" not in table:
        raise RecordError(f"the table has no column 'path'; it has {', '.join(map(str, table.columns))}")
    items = []
    for row in table.to_dict("records"):
        path = Path(str(row["path"]))
        name = str(row.get("record", path.stem))
        items.append(Item(name, partial(read_flagged, path), tidy(row), fingerprint=_state(path)))
    return Source("table", items, _hash_files([Path(str(p)) for p in table["path"]]))


def _in_memory(records: Iterable[Record]) -> Source:
    if not isinstance(records, Iterable):
        raise RecordError(f"the source is a {type(records).__name__}; expected a folder, a table or records")

    def item(i: int, r: Record) -> Item:
        if not isinstance(r, Record):
            raise RecordError(f"item {i} of the source is a {type(r).__name__}; expected an ecgwb.Record")
        told = hashlib.sha256(f"{r.fs} {r.leads}".encode() + r.signal.tobytes()).hexdigest()
        return Item(r.record_id or str(i), partial(_same, r), tidy(r.metadata), fingerprint=told)

    items = starmap(item, enumerate(records))
    return Source("records", list(items) if isinstance(records, Sequence) else items, "")


def _same(record: Record) -> Record:
    return record


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


def _synthetic(source: str) -> Source:
    number = source.partition(":")[2]
    if not (number.isascii() and number.isdigit()) or int(number) < 1:
        raise RecordError(
            f"{source!r}: expected 'synthetic:N' with a whole number N of recordings, such as 'synthetic:200'"
        )
    signals = generate(int(number))
    name = [f"synthetic-{i}" for i in range(len(signals))]
    items = [
        Item(n, partial(Record, x, 500.0, LEADS, n), {"patient": n}, fingerprint=source)
        for n, x in zip(name, signals, strict=True)
    ]
    return Source(source, items, hashlib.sha256(signals.tobytes()).hexdigest(), CREDITS["synthetic"])
