"""Recordings that are still to be read: what is known of each, and the files it lies in."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..recordings.channels import NOTHING_TOLD, Told
from ..recordings.people import is_unknown
from ..recordings.reading import read_flagged
from ..recordings.record import Record
from .guards import counted

METADATA = ("age", "sex", "patient", "diagnosis", "superclass", "rhythm_label", "device", "site", "fold")
"""The columns a cohort carries along `record`. Nothing else of a header or table is kept: no names, no dates."""


_WFDB = (".hea", ".dat", ".mat")
_HEAD = 4096  # bytes of a file of another format that tell it from others
_SHOWN = 3  # cells in a message
_WHOLE, _BEGINNING = 4, 2  # characters of a cell that are shown of a short one and of a longer one


class Notes:
    """What is to be said of a source when its cohort is built: sentences, and cells that were left out, counted."""

    def __init__(self) -> None:
        self._sentences: list[str] = []
        self._cells: dict[tuple[str, str], list[tuple[str, str]]] = {}

    def add(self, sentence: str) -> None:
        """Once, however often it is added."""
        if sentence not in self._sentences:
            self._sentences.append(sentence)

    def cell(self, column: str, cell: Any, record: str, why: str = "") -> None:
        """Counts a cell that is left out; `why` is "code" for a number that stands for a word."""
        self._cells.setdefault((column, why), []).append((_shown(cell), record))

    def lines(self) -> list[str]:
        """The warnings, one of each kind."""
        parts = []
        for (column, why), cells in self._cells.items():
            kinds = dict(cells)  # a record for each different cell
            shown = ", ".join(f"{cell!r} of record {record!r}" for cell, record in list(kinds.items())[:_SHOWN])
            fix = ""
            if why == "code":
                fix = "; codes are not guessed, write words: table[column].map({0: 'male', 1: 'female'})"
            parts.append(f"{column} of {len(cells)} (such as {shown}{fix})")
        cells_said = (
            [f"cells that say nothing, or are not understood, are left out: {'; '.join(parts)}"] if parts else []
        )
        return [*self._sentences, *cells_said]


def _shown(cell: Any) -> str:
    """A cell as a message may show it: whole where it is short or plainly unknown, else its beginning.

    A cell in the wrong column may be a name, a date or a hospital's number.
    """
    text = " ".join(str(cell).split())
    whole = len(text) <= _WHOLE or is_unknown(text)
    return text if whole else f"{text[:_BEGINNING]}…"


@dataclass(frozen=True)
class Item:
    """One recording still to be read."""

    record_id: str
    read: Callable[[], Record]
    metadata: dict[str, Any] = field(default_factory=dict)
    annotated: Path | None = None  # where this record's hand-made wave annotations are
    fingerprint: str = ""  # changes when the recording does
    stands_in: bool = False  # the patient in `metadata` is but the record's name


class LeftOut:
    """Recordings that a list names and that are not to be had: the first thousand by name, all of them by number."""

    NAMED = 1000

    def __init__(self) -> None:
        self.n = 0
        self._first: list[dict[str, str]] = []

    def add(self, record: str, reason: str, n: int = 1) -> None:
        """Counts `n` recordings under one name and reason."""
        self.n += n
        if len(self._first) < self.NAMED:
            self._first.append({"record": record, "step": "list", "reason": reason})
        elif len(self._first) == self.NAMED:
            self._first.append({"record": "", "step": "list", "reason": "and more, which are not named here"})

    def rows(self) -> list[dict[str, str]]:
        """As `excluded` shows them."""
        return list(self._first)

    def lines(self) -> list[str]:
        """The warning, if there is anything to warn of."""
        if not self.n:
            return []
        first = self._first[0]
        many = counted(self.n, "recording of the list is", "recordings of the list are")
        return [f"{many} left out, such as {first['record']!r}: {first['reason']}"]


@dataclass(frozen=True)
class Source:
    """A list of recordings and what is known of the whole."""

    name: str
    items: Iterable[Item]  # a list, or what yields them once
    sha256: str  # empty where only reading all of it would tell
    credit: str = ""
    folds: str = ""  # whose: those of a data set that part patients
    out_of_fold: bool = False  # LUDB itself: delineated by networks that had not seen the person
    rows: tuple[str, ...] = ()  # records that the metadata names
    used: dict[str, str] = field(default_factory=dict)  # of these, the recording that each row was joined to
    ignored: list[str] = field(default_factory=list)  # metadata columns that a cohort does not keep
    notes: Notes = field(default_factory=Notes)  # what is to be said of it
    passed_by: list[Path] = field(default_factory=list)  # files of no known format
    left_out: LeftOut = field(default_factory=LeftOut)  # complete once all items were asked for


# ---------------------------------------------------------------- files of recordings


def item_of(
    name: str, base: Path, metadata: dict[str, Any] | None = None, annotated: Path | None = None,
    told: Told = NOTHING_TOLD, inside: str = "",
) -> Item:  # fmt: skip
    """One recording in files, by their path with or without an ending, and its name inside a file of several."""
    read = partial(read_flagged, base, inside, told)
    words = "" if told == NOTHING_TOLD else repr(told)
    return Item(name, read, metadata or {}, annotated, f"{state_of(base)} {inside} {words}".strip())


def header_of(base: Path) -> Path:
    return base.with_name(base.name + ".hea")


def hash_files(files: Iterable[Path]) -> str:
    """Hash of names, beginnings and sizes: enough to tell two folders apart without reading gigabytes of signals."""
    digest = hashlib.sha256()
    for f in files:
        digest.update(f.name.encode("utf-8", "surrogateescape"))
        for part in dict.fromkeys((f, *_files_of(f))):
            with contextlib.suppress(OSError):  # not there, or not to be opened: reading says so
                digest.update(str(part.stat().st_size).encode())
                if part.suffix not in (".dat", ".mat"):
                    with part.open("rb") as file:
                        digest.update(file.read() if part.suffix == ".hea" else file.read(_HEAD))
    return digest.hexdigest()


def state_of(base: Path) -> str:
    """Sizes and times of a recording's files: what changes when it is fetched again."""
    states = []
    for file in _files_of(base):
        with contextlib.suppress(OSError):
            state = file.stat()
            states.append(f"{file.name} {state.st_size} {state.st_mtime_ns}")
    return " ".join(states)


def _files_of(base: Path) -> list[Path]:
    """The files of a recording: WFDB's by any of them or their common name, or the one file of another format."""
    if base.suffix and base.suffix not in _WFDB and base.is_file():
        return [base]
    base = base.with_suffix("") if base.suffix in _WFDB else base
    return [base.with_name(base.name + kind) for kind in _WFDB]
