"""Where recordings come from: embedded data sets, folders, tables, the synthetic generator; each a list of items.

`list_source` finds out what a source is and joins a table of people to it. A new kind of source is one more function
that gives a `Source`.
"""

from __future__ import annotations

import glob
import hashlib
import tarfile
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..recordings.channels import NOTHING_TOLD, Told
from ..recordings.reading import format_of
from ..recordings.record import LEADS, Record, RecordError
from ..recordings.wfdb_files import base_of
from .cache import cache_dir, make_cache_dir
from .files import KNOWN, MAKE_RECORDS, SIGNALS, named_by_path, recordings_in, walk, within
from .guards import counted, kind_of
from .items import METADATA, Item, Notes, Source, hash_files, item_of
from .layouts import CREDITS, is_code15, is_mimic, named_by_headers, of_code15, of_ludb, of_mimic, of_ptbxl
from .tables import EXCEL, id_text, is_of_people, join, read_table, tidy, understood

_DATA = Path(__file__).parent / "data"
_TABLES = (".csv", ".tsv", ".txt", ".gz", *EXCEL)
_ARCHIVES = {  # name: (archive, folder in the cache, top folder inside the archive)
    "ludb": ("ludb-1.0.1.tar.xz", "ludb-1.0.1", "lobachevsky-university-electrocardiography-database-1.0.1"),
    "ptbxl500": ("ptbxl-first500-500hz.tar.xz", "ptbxl500", ""),
}


def unpack(name: str) -> Path:
    """The folder of an embedded data set ("ludb" or "ptbxl500"), unpacked into the user's cache on first use."""
    archive, folder, top = _ARCHIVES[name]
    target = cache_dir() / folder
    if target.is_dir():
        return target
    make_cache_dir()
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


def list_source(
    source: Any, metadata: Any = None, columns: Mapping[str, str] | None = None, told: Told = NOTHING_TOLD
) -> Source:
    """The recordings of a source.

    Parameters
    ----------
    source : str, Path, DataFrame, or iterable of Record, str or Path
        "ludb", "ptbxl500", "synthetic:N"; a folder of LUDB, PTB-XL, MIMIC-IV-ECG, CODE-15%, Chapman-Shaoxing-Ningbo,
        or of recordings of any known format (searched through, links followed); a file, a pattern such as
        "data/*.hea", or a list of these; a table with a ``path`` column, or the CSV file of one (its paths start from
        its folder); or records already in memory.
    metadata : DataFrame or path of a CSV, optional
        One row a record, joined on the column that holds the recordings' names.
    columns : mapping of str, optional
        What the table's columns hold, {"patient": "subject_id"}, where their names do not say it.
    told : Told
        What the files do not say.

    Returns
    -------
    Source
        None of its recordings is read yet.

    Raises
    ------
    RecordError
        When there is no such source, or its table or the metadata's cannot be used.
    """
    if columns and metadata is None and not _is_table(source):
        raise RecordError("columns= says what columns of a table hold, and there is none; give it as metadata=")
    found = _find(source, None if metadata is not None else columns, told)
    if told != NOTHING_TOLD and found.sha256:  # a cohort of files read otherwise is another
        found = replace(found, sha256=hashlib.sha256(f"{found.sha256} {told}".encode()).hexdigest())
    if metadata is not None:
        return join(found, metadata, columns)
    if tables := [f for f in found.passed_by if is_of_people(f)]:
        found.notes.add(_unused(tables))
    return found


def _unused(tables: Sequence[Path]) -> str:
    """A sentence on tables of people that lie among the recordings."""
    first = str(tables[0])
    others = f", nor {counted(len(tables) - 1, 'other', 'others')} like it" if len(tables) > 1 else ""
    given = f"pd.read_excel({first!r})" if tables[0].suffix.lower() in EXCEL else repr(first)
    return (
        f"{tables[0].name} beside the recordings is not used{others}; if it tells of the people, say metadata={given}"
    )


def _is_table(source: Any) -> bool:
    return isinstance(source, pd.DataFrame) or (
        isinstance(source, (str, Path)) and Path(source).expanduser().suffix.lower() in _TABLES
    )


def _find(source: Any, columns: Mapping[str, str] | None, told: Told) -> Source:
    if isinstance(source, pd.DataFrame):
        return _of_table(source, columns, told)
    if isinstance(source, np.ndarray):
        raise RecordError(f"the source is {kind_of(source)}; {MAKE_RECORDS}")
    if not isinstance(source, (str, Path)):
        return _of_iterable([source] if isinstance(source, Record) else source, told)
    if source == "ludb":
        return of_ludb(unpack("ludb"), archive_sha256("ludb"))
    if source == "ptbxl500":
        return of_ptbxl(unpack("ptbxl500"), archive_sha256("ptbxl500"), "ptbxl500")
    if isinstance(source, str) and source.startswith("synthetic:"):
        return _of_generator(source)
    place = Path(source).expanduser()
    if source == "ptbxl" and not place.is_dir():
        raise RecordError("'ptbxl' is built already: open_cohort('ptbxl'); to build it anew, give PTB-XL's folder")
    if place.is_dir():
        known = _of_known(place, told) or _of_known(_only_folder(place), told)
        return known or named_by_headers(_of_folder(place, told), place)
    if place.is_file() or place.with_name(f"{place.name}.hea").is_file():
        return _of_file(place, columns, told)
    files = sorted(map(Path, glob.glob(str(place), recursive=True))) if glob.has_magic(str(place)) else []
    if not files:
        what = "file fits" if glob.has_magic(str(place)) else "folder"
        raise RecordError(
            f"no {what} {place}; expected 'ludb', 'ptbxl500', 'synthetic:N', a folder of recordings, a pattern such as "
            "'data/*.hea', or a CSV table of their paths"
        )
    notes = Notes()
    return _of_files("files", dict.fromkeys(within(files, notes), False), told, notes)


def _of_known(place: Path, told: Told) -> Source | None:
    """The data set whose folder this is, by its tables."""
    if (place / "ludb.csv").is_file():
        return of_ludb(place)
    if (place / "ptbxl_database.csv").is_file():
        return of_ptbxl(place)
    if is_mimic(place / "record_list.csv"):
        return of_mimic(place / "record_list.csv", told)
    return of_code15(place / "exams.csv", told) if is_code15(place / "exams.csv") else None


def _only_folder(place: Path) -> Path:
    """The one folder in a folder that holds nothing else, as "mimic-iv-ecg" holds "1.0"; otherwise the folder."""
    try:
        inside = [p for p in place.iterdir() if not p.name.startswith(".")]
    except OSError:  # walking it says why
        return place
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else place


# ---------------------------------------------------------------- each kind of source


def _of_folder(folder: Path, told: Told) -> Source:
    notes = Notes()
    return _of_files(folder.resolve().name, walk(folder, notes), told, notes, folder)


def _of_files(
    name: str, files: Iterable[Path] | Mapping[Path, bool], told: Told, notes: Notes, base: Path | None = None
) -> Source:
    found, passed = recordings_in(files, base, told, notes)
    items = [item_of(r.record_id, r.path, told=told, inside=r.inside) for r in found]
    return Source(name, items, hash_files(dict.fromkeys(r.path for r in found)), notes=notes, passed_by=passed)


def _of_file(file: Path, columns: Mapping[str, str] | None, told: Told) -> Source:
    """A recording, or a table of paths."""
    if columns is None and is_mimic(file):
        return of_mimic(file, told)
    if columns is None and is_code15(file):
        return of_code15(file, told)
    if file.suffix in SIGNALS or not file.is_file() or format_of(file, told) is not None:
        notes = Notes()
        return _of_files(file.stem, within([file], notes), told, notes)
    if file.suffix.lower() in _TABLES:
        table = read_table(file, columns)
        return _of_table(table, columns, told, file)
    raise RecordError(f"{file} is of no known format: {KNOWN}; {MAKE_RECORDS}")


def _of_table(table: pd.DataFrame, columns: Mapping[str, str] | None, told: Told, file: Path | None = None) -> Source:
    notes, what = Notes(), file.name if file else "the table"
    have = ", ".join(map(str, table.columns))
    table, ignored = understood(table.reset_index(drop=True), columns, notes, what=what)
    if "path" not in table:
        raise RecordError(
            f"{what} has no column 'path' of recordings; it has {have}. Say which: columns={{'path': 'its name'}}, "
            "or give the recordings' folder, and this table as metadata="
        )
    base = file.parent if file else Path()
    nowhere = [k for k, p in enumerate(table["path"]) if not id_text(p)]
    if nowhere:
        notes.add(f"{what}: {counted(len(nowhere), 'row has no path and is', 'rows have no path and are')} passed over")
        table = table.drop(index=nowhere)
    paths = [base / Path(str(p)).expanduser() for p in table["path"]]
    named = [id_text(x) for x in table["record"]] if "record" in table else []
    names = named if named and all(named) and len(set(named)) == len(named) else named_by_path(paths)
    rows = [
        {str(k): v for k, v in row.items()} | {"record": n}
        for row, n in zip(table.to_dict("records"), names, strict=True)
    ]
    items = [item_of(row["record"], path, tidy(row, notes), told=told) for row, path in zip(rows, paths, strict=True)]
    return Source("table", items, hash_files(paths), ignored=ignored, notes=notes)


def _of_iterable(given: Iterable[Record | str | Path], told: Told) -> Source:
    if not isinstance(given, Iterable):
        raise RecordError(f"the source is {kind_of(given)}; expected a folder, a table or records")
    notes = Notes()
    if isinstance(given, Sequence) and given and all(isinstance(x, (str, Path)) for x in given):
        return _of_files("files", within([Path(x).expanduser() for x in given], notes), told, notes)

    def item(i: int, record: Record | str | Path) -> Item:
        if isinstance(record, (str, Path)):
            path = Path(record).expanduser()
            return item_of(base_of(path).stem if path.suffix in SIGNALS else path.stem, path, told=told)
        if not isinstance(record, Record):
            raise RecordError(f"item {i} of the source is {kind_of(record)}; expected an ecgwb.Record: {MAKE_RECORDS}")
        parts = [record] if record.median is None else [record, record.median]
        content = hashlib.sha256(b"".join(f"{x.fs} {x.leads}".encode() + x.signal.tobytes() for x in parts)).hexdigest()
        name = record.record_id or str(i)
        known = tidy({**{k: v for k, v in record.metadata.items() if k != "flags"}, "record": name}, notes)
        # A cell that is left out must not come back from the record.
        own = {k: v for k, v in record.metadata.items() if k not in METADATA}
        own |= {k: v for k, v in known.items() if k in METADATA}
        return Item(name, partial(_itself, replace(record, metadata=own)), known, fingerprint=content)

    items = starmap(item, enumerate(given))
    return Source("records", list(items) if isinstance(given, Sequence) else items, "", notes=notes)


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
    import torch  # slow to import, and needed for the generator alone

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
