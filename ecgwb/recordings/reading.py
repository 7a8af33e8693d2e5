"""From a file to a `Record`, whatever its format: which one it is, is told by its content, not by its name's ending.

A format is a row of `FORMATS`; its module gives `Channels`.
"""

from __future__ import annotations

import errno
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from . import aecg, arrays, dicom, edf, muse, scp, sierra, wfdb_files, xml_files
from .channels import NOTHING_TOLD, Channels, Told, to_record
from .record import Record, RecordError

T = TypeVar("T")
# What stays wrong however often one asks; other errors may be a network's.
_FOR_GOOD = ("ENOENT", "EACCES", "EPERM", "ENOTDIR", "EISDIR", "ELOOP", "ENAMETOOLONG")
_DOUBTS = {  # flags that a single record's reader is warned of, by how they begin, and what may be wrong
    "limb leads disagree": "; gains or lead names in its header cannot be right",
    "units differ between leads": "; their units, or gains, cannot be right",
    "a sampling rate of": "; expected 50 to 20,000 Hz",
    "no gain in the header": "; its voltages are a guess. Say what one count is: unit='4.88 uV', if it is that",
}
_TRIES, _PAUSE_S = 3, 0.2
_ENDINGS = (".xml", ".dcm", ".scp", ".ecg", ".edf", ".bdf", ".npy", ".npz", ".h5", ".hdf5", ".csv", ".tsv", ".parquet")
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


_TABLE = Format("CSV", arrays.is_table, arrays.read_table)
FORMATS: tuple[Format, ...] = (
    Format("WFDB", wfdb_files.is_header, wfdb_files.read),
    Format("GE MUSE XML", muse.recognises, muse.read),
    Format("HL7 aECG", aecg.recognises, aecg.read),
    Format("Philips Sierra XML", sierra.recognises, sierra.read),
    Format("DICOM ECG", dicom.recognises, dicom.read),
    Format("SCP-ECG", scp.recognises, scp.read),
    Format("EDF or BDF", edf.recognises, edf.read),
    Format("NumPy .npy", arrays.is_npy, arrays.read_arrays, arrays.names_of_arrays),
    Format("NumPy .npz", arrays.is_npz, arrays.read_arrays, arrays.names_of_arrays),
    Format("HDF5", arrays.is_hdf5, arrays.read_hdf5, arrays.names_of_hdf5),
    Format("Parquet", arrays.is_parquet, arrays.read_parquet),
    _TABLE,
)


def format_of(path: Path, told: Told = NOTHING_TOLD) -> Format | None:
    """The format of a file; None where it is none that is read.

    Where the caller names the leads, any table of columns is taken for a recording.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    found = next((f for f in FORMATS if f.recognises(path, head)), None)
    return _TABLE if found is None and told.leads and arrays.could_be_table(head) else found


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
        another: gains cannot be right; when the rate is none that an ECG has; and when the header says no gain.
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

    told = _checked(told)

    def once() -> Channels:
        return _reader(place, told)(place, name, told)

    title = name or wfdb_files.base_of(place).name
    try:
        channels = again(once)
    except OSError as e:
        raise RecordError(f"record {title!r}: {place.name} cannot be read: {e.strerror or e}") from e
    return to_record(channels, title, told)


def _checked(told: Told) -> Told:
    """What the caller says, its rate a number: readers reckon with it before a record is made."""
    if told.fs is None:
        return told
    try:
        fs = math.nan if isinstance(told.fs, bool) else float(told.fs)
    except (TypeError, ValueError):
        fs = math.nan
    if not 0 < fs < math.inf:
        raise RecordError(f"fs is {told.fs!r}; expected a positive number of Hz, such as 500")
    return told._replace(fs=fs) if isinstance(told.fs, str) else told


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


def _reader(place: Path, told: Told) -> Callable[[Path, str, Told], Channels]:
    """The reader of what lies at a place; WFDB's where nothing lies there, since its records have no ending."""
    if "\0" in str(place):
        return wfdb_files.read
    if not place.is_file() and not place.with_name(place.name + ".hea").is_file():
        if place.is_dir():
            raise RecordError(
                f"record {place.name!r}: it is a folder; wb.build_cohort reads all recordings in a folder"
            )
        if place.suffix.lower() in _ENDINGS:
            raise RecordError(f"record {place.name!r}: there is no file {place}")
    if not place.is_file():
        return wfdb_files.read
    found = format_of(place, told)
    base = wfdb_files.base_of(place)
    if found or (place.suffix in (".dat", ".mat") and base.with_name(base.name + ".hea").is_file()):
        return found.read if found else wfdb_files.read
    with place.open("rb") as file:
        head = file.read(_HEAD)
    root = xml_files.root_of(head) if b"<" in head[:64] else ""
    kind = f"an XML of {root!r}, not an ECG that is read" if root else "of a format that is not read"
    kind = "a DICOM, but of no ECG" if head[128:132] == b"DICM" else kind if head else "empty"
    if column := arrays.first_column(head):
        kind = f"a table none of whose columns is named after a lead; say which are, as leads={{{column!r}: 'II'}}"
    if place.suffix in (".dat", ".mat"):
        kind += f", or WFDB's signals without their header {base.name}.hea"
    names = ", ".join(f.name for f in FORMATS)
    way = "make wb.Record(signal, fs, leads) of any other, with the signal (lead, sample) in µV"
    raise RecordError(f"record {place.name!r}: the file is {kind}. Read are {names}; {way}")
