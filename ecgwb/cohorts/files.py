"""Files of recordings: found in folders, lists and patterns, each looked at once, and given names that differ."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..recordings.channels import NOTHING_TOLD, Told
from ..recordings.reading import FORMATS, Format, format_of
from ..recordings.record import RecordError
from ..recordings.wfdb_files import segments_of
from .guards import counted
from .items import Notes

SIGNALS = (".dat", ".mat")  # of WFDB: their header is the recording
_ENDINGS = (".hea", *SIGNALS, ".xml", ".dcm", ".scp", ".ecg", ".edf", ".bdf", ".npy", ".npz", ".h5", ".hdf5")
_NO_FOLDERS = ("__MACOSX", "$RECYCLE.BIN", "System Volume Information")
KNOWN = ", ".join(f.name for f in FORMATS)
MAKE_RECORDS = "of arrays, make records: [wb.Record(signal, fs, leads, name), ...], signal (lead, sample) in µV"


class Recording(NamedTuple):
    """Where a recording lies, and what it is called in a cohort."""

    record_id: str
    path: Path
    inside: str  # its name in a file that holds several


def walk(folder: Path, notes: Notes) -> Iterator[Path]:
    """Every file in a folder and the folders in it, links followed, each folder once; nothing hidden."""
    seen: set[tuple[int, int] | str] = set()
    closed: list[OSError] = []
    for place, folders, files in os.walk(folder, followlinks=True, onerror=closed.append):
        state = os.stat(place)
        this = (state.st_dev, state.st_ino) if state.st_ino else os.path.realpath(place)
        if this in seen:  # a link back, or a second one to the same folder
            folders.clear()
            continue
        seen.add(this)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in _NO_FOLDERS)
        yield from (Path(place, f) for f in sorted(files) if not f.startswith("."))
    if closed:
        first, many = closed[0], counted(len(closed), "folder", "folders")
        notes.add(f"{many} cannot be opened, such as {first.filename!r} ({first.strerror})")


def within(paths: Iterable[Path], notes: Notes) -> dict[Path, bool]:
    """The files of a list of files and folders, each once, and whether the list names it itself.

    WFDB's signal files stand for their header.
    """
    files: dict[Path, bool] = {}
    for path in paths:
        for file in walk(path, notes) if path.is_dir() else [path]:
            header = file.with_name(_bare(file) + ".hea")
            is_ours = file.suffix in SIGNALS or not (file.suffix or file.is_file())
            found = header if is_ours and header.is_file() else file
            files[found] = files.get(found, False) or file is path
    return files


def recordings_in(
    files: Iterable[Path] | Mapping[Path, bool],
    base: Path | None = None,
    told: Told = NOTHING_TOLD,
    notes: Notes | None = None,
) -> tuple[list[Recording], list[Path]]:
    """The recordings in files of any format, and the files that were passed by.

    Parameters
    ----------
    files : iterable of Path, or mapping of bool
        Those that are True were named by the caller, and are not passed by: reading says what they are.
    base : Path, optional
        A folder in which they lie; recordings of one name are told apart by their path in it.
    told : Told
    notes : Notes, optional
        Grow by the files that have the ending of a recording and are none.

    Returns
    -------
    list of Recording, list of Path
    """
    named = {f for f, it_is in files.items() if it_is} if isinstance(files, Mapping) else set()
    files = list(files)
    with_headers = {f.parent for f in files if f.suffix == ".hea"}
    found: list[tuple[Path, list[str]]] = []
    parts: set[Path] = set()
    passed: list[Path] = []
    for file in files:
        if file.suffix in SIGNALS and file.parent in with_headers and file not in named:
            if file.suffix == ".mat" and not file.with_suffix(".hea").exists():
                passed.append(file)
            continue
        try:
            kind = format_of(file, told) if file.is_file() else None
            readable = (
                file in named or kind is not None or (not file.exists() and file.suffix in _ENDINGS)
            )  # a link to nowhere
        except OSError:
            kind, readable = None, True  # reading says why not
        if not readable:
            passed.append(file)
            continue
        found.append((file, _names(kind, file)))
        if file.suffix == ".hea" and file not in named:
            parts.update(file.parent / f"{name}.hea" for name in segments_of(file))  # a name may be of any kind
    whole = [(file, names) for file, names in found if file not in parts]
    stems = named_by_path([file for file, _ in whole], base)
    out = [
        Recording(f"{stem}/{name}" if name else stem, file, name)
        for stem, (file, names) in zip(stems, whole, strict=True)
        for name in names
    ]
    likely = [f for f in passed if f.suffix.lower() in _ENDINGS]
    if likely and notes:
        many = counted(
            len(likely), "file that is called like a recording is", "files that are called like recordings are"
        )
        notes.add(f"{many} passed by, such as {likely[0].name!r}: wb.read_record(path) says why")
    return out, passed


def _names(kind: Format | None, file: Path) -> list[str]:
    """What the recordings in a file are called."""
    try:
        return kind.names(file) if kind else [""]
    except (RecordError, OSError, ImportError):
        return [""]  # reading says why not


def named_by_path(files: Sequence[Path], base: Path | None = None) -> list[str]:
    """Names that differ: of the file where that does, or with the folders that tell them apart, or with the ending.

    Parameters
    ----------
    files : sequence of Path
    base : Path, optional
        By default the innermost folder that holds them all.

    Returns
    -------
    list of str
    """
    names = [_bare(f) for f in files]
    if len(set(names)) == len(names):
        return names
    if base is None:
        folders = {str(f.parent.absolute()) for f in files}
        base = Path(os.path.commonpath(folders))
        files = [f.absolute() for f in files]
    inside = [f.relative_to(base) for f in files]
    names = [f.with_name(_bare(f)).as_posix() for f in inside]
    often = Counter(names)
    return [n if often[n] == 1 else f.as_posix() for n, f in zip(names, inside, strict=True)]


def _bare(file: Path) -> str:
    """A file's name without the ending that a format gave it: "a.1" has none."""
    return file.stem if file.suffix.lower() in (*_ENDINGS, ".csv", ".tsv", ".txt", ".parquet", ".json") else file.name
