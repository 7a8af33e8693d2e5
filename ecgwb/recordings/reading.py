"""From a file to a `Record`, whatever its format: which one it is, is told by its content, not by its name's ending.

A format is a row of `FORMATS`; its module gives `Channels`.
"""

from __future__ import annotations

import errno
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from . import wfdb_files
from .channels import NOTHING_TOLD, Channels, Told, to_record
from .record import Record, RecordError

T = TypeVar("T")
# What stays wrong however often one asks; other errors may be a network's.
_FOR_GOOD = ("ENOENT", "EACCES", "EPERM", "ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG")
_DOUBTS = {  # flags that a single record's reader is warned of, by how they begin, and what may be wrong
    "limb leads disagree": "; gains or lead names in its header cannot be right",
    "units differ between leads": "; their units, or gains, cannot be right",
    "no gain in the header": "; its voltages are a guess. Say what one count is: unit='4.88 uV', if it is that",
}
_TRIES, _PAUSE_S = 3, 0.2
_HEAD = 4096  # bytes, by which a format is told


class Format(NamedTuple):
    """How recordings of one kind are found and read.

    Parameters
    ----------
    name : str
    recognises : callable
        Whether a file, by its path and first 4,096 bytes, is of this format. It opens nothing else.
    read : callable
        The channels of the recording called so in the file at a path. Raises `RecordError`.
    names : callable
        What the recordings in a file are called; by default it holds one, "".
    """

    name: str
    recognises: Callable[[Path, bytes], bool]
    read: Callable[[Path, str, Told], Channels]
    names: Callable[[Path], list[str]] = lambda path: [""]


FORMATS: tuple[Format, ...] = (Format("WFDB", wfdb_files.is_header, wfdb_files.read),)


def format_of(path: Path) -> Format | None:
    """The format of a file; None where it is none that is read."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    return next((f for f in FORMATS if f.recognises(path, head)), None)


def read_record(
    path: str | Path,
    leads: Mapping[str, str] | Sequence[str] | None = None,
    fs: float | None = None,
    unit: str | None = None,
) -> Record:
    """Read a recording of any format in `FORMATS`, in µV whatever the file's unit.

    Parameters
    ----------
    path : str or Path
        The file. Of WFDB (.hea with .dat or .mat) any of its files, or their common name without an ending.
    leads : mapping or sequence of str, optional
        {name in the file: lead}, for names that are not understood; or, for files without names, the leads in their
        order. None for a channel that is no lead.
    fs : float, optional
        Hz, of files that do not say it.
    unit : str, optional
        Such as "mV", or "4.88 uV" of whole numbers, of files that do not say it.

    Returns
    -------
    Record
        ``metadata`` has age, sex and diagnosis where the file gives them; names and dates are not kept.
        ``metadata["flags"]`` lists doubts about the voltages, ``metadata["left_out"]`` the channels that are no ECG
        leads or the second of one.

    Raises
    ------
    RecordError
        When a file is missing, truncated or malformed, of no known format, without a sampling rate, or has no ECG
        lead.

    Warns
    -----
    UserWarning
        When the limb leads break II = I + III (or aVR, aVL, aVF) by more than 10 %, or a lead is a thousand times
        another: gains cannot be right; and when the header says no gain.
    """
    record = read_flagged(path, told=Told(leads, fs, unit))
    doubts = [f for f in record.metadata["flags"] if f.startswith(tuple(_DOUBTS))]
    for doubt in doubts:
        why = next(text for start, text in _DOUBTS.items() if doubt.startswith(start))
        warnings.warn(f"record {record.record_id!r}: {doubt}{why}", stacklevel=2)
    return record


def read_flagged(path: str | Path, name: str = "", told: Told = NOTHING_TOLD) -> Record:
    """`read_record` without its warning, of the recording called so in a file; flags say the doubt all the same."""
    try:
        place = Path(path)
    except TypeError:
        raise RecordError(f"a record is read from a path; this is a {type(path).__name__}") from None

    def once() -> Channels:
        found = None if "\0" in str(place) or not place.is_file() else format_of(place)
        return (found.read if found else wfdb_files.read)(place, name, told)

    title = name or wfdb_files.base_of(place).name
    try:
        channels = again(once)
    except OSError as e:
        raise RecordError(f"record {title!r}: {place.name} cannot be read: {e.strerror or e}") from e
    return to_record(channels, title, told)


def again(call: Callable[[], T]) -> T:
    """What `call` returns; where the disk or network fails it is called three times before that counts.

    Raises
    ------
    OSError
        At once where a file is not there or may not be read, which trying again does not mend.
    """
    for k in range(_TRIES):
        try:
            return call()
        except OSError as e:
            if k == _TRIES - 1 or errno.errorcode.get(e.errno or 0) in _FOR_GOOD:
                raise
            time.sleep(_PAUSE_S * (k + 1))
    raise AssertionError
