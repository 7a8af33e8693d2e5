"""Where recordings come from: embedded data sets, folders, tables, the synthetic generator; each a list of items.

`list_source` finds out what a source is and joins a table of people to it. A new kind of source is one more function
that gives a `Source`.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..recordings.record import LEADS, Record, RecordError
from .cache import cache_dir
from .guards import kind_of
from .items import METADATA, Item, Source, hash_files, item_of
from .layouts import CREDITS, of_ludb, of_ptbxl
from .tables import read_table, tidy

_DATA = Path(__file__).parent / "data"
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
        return of_ludb(unpack("ludb"), archive_sha256("ludb"))
    if source == "ptbxl500":
        return of_ptbxl(unpack("ptbxl500"), archive_sha256("ptbxl500"), "ptbxl500")
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
        return of_ludb(place)
    if (place / "ptbxl_database.csv").is_file():
        return of_ptbxl(place)
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


# ---------------------------------------------------------------- each kind of source


def _of_folder(folder: Path) -> Source:
    headers = sorted(folder.rglob("*.hea"))
    # Records of one name in different subfolders are told apart by their path; otherwise the plain name is kept.
    names = [h.stem for h in headers]
    if len(set(names)) < len(names):
        names = [h.relative_to(folder).with_suffix("").as_posix() for h in headers]
    items = [item_of(n, h.with_suffix("")) for n, h in zip(names, headers, strict=True)]
    return Source(str(folder.name), items, hash_files(headers))


def _of_table(table: pd.DataFrame) -> Source:
    if "path" not in table:
        raise RecordError(f"the table has no column 'path'; it has {', '.join(map(str, table.columns))}")
    items = []
    for row in table.to_dict("records"):
        path = Path(str(row["path"]))
        items.append(item_of(str(row.get("record", path.stem)), path, tidy(row)))
    return Source("table", items, hash_files([Path(str(p)) for p in table["path"]]))


def _of_records(records: Iterable[Record]) -> Source:
    if not isinstance(records, Iterable):
        raise RecordError(f"the source is {kind_of(records)}; expected a folder, a table or records")

    def item(i: int, record: Record) -> Item:
        if not isinstance(record, Record):
            raise RecordError(f"item {i} of the source is {kind_of(record)}; expected an ecgwb.Record")
        content = hashlib.sha256(f"{record.fs} {record.leads}".encode() + record.signal.tobytes()).hexdigest()
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
