"""Recordings that are still to be read: what is known of each, and the files it lies in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..recordings.reading import read_flagged
from ..recordings.record import Record

METADATA = ("age", "sex", "patient", "diagnosis", "superclass", "rhythm_label", "device", "site", "fold")
"""The columns a cohort carries along `record`. Nothing else of a header or table is kept: no names, no dates."""


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


# ---------------------------------------------------------------- files of recordings


def item_of(name: str, base: Path, metadata: dict[str, Any] | None = None, annotated: Path | None = None) -> Item:
    """One recording in files, by their path with or without an ending."""
    return Item(name, partial(read_flagged, base), metadata or {}, annotated, state_of(base))


def whole(number: Any) -> str:
    """A number of a table, whole even where a gap in its column made it 5.0, as text."""
    return str(number).removesuffix(".0")


def header_of(base: Path) -> Path:
    return base.with_name(base.name + ".hea")


def hash_files(files: Iterable[Path]) -> str:
    """Hash of names, headers and sizes: enough to tell two folders apart without reading gigabytes of signals."""
    digest = hashlib.sha256()
    for f in files:
        digest.update(f.name.encode())
        for part in (f, f.with_suffix(".dat"), f.with_suffix(".mat")):
            if part.is_file():
                digest.update(str(part.stat().st_size).encode())
                digest.update(part.read_bytes() if part.suffix == ".hea" else b"")
    return digest.hexdigest()


def state_of(base: Path) -> str:
    """Sizes and times of a recording's files: what changes when it is fetched again."""
    base = base.with_suffix("") if base.suffix in (".hea", ".dat", ".mat") else base
    files = [base.with_name(base.name + kind) for kind in (".hea", ".dat", ".mat")]
    states = [(f.name, f.stat()) for f in files if f.is_file()]
    return " ".join(f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in states)
