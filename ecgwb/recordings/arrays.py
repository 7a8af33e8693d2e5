"""Recordings as arrays and tables of numbers: ``.npy``, ``.npz``, HDF5, and CSV and Parquet with a lead a column.

Such files seldom say all that a recording needs. What a file does not say (leads, sampling rate, unit), the caller
must; nothing is guessed. Sizes are looked at before anything is read, and no file but the one given is opened.
"""

from __future__ import annotations

import csv
import io
import math
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .channels import NOTHING_TOLD, UV_PER_UNIT, Channels, Told
from .identity import PATIENT_WORDS, pseudonym
from .people import age_of, sex_of
from .record import LEADS12, RecordError, standard_lead
from .texts import decoded

MOST_BYTES = 2**30
"""Of one recording in memory: a day of 12 leads at 250 Hz."""
_MOST_PACKED = 2**28  # bytes of a compressed array in .npz, of which no row can be read alone
_MOST_TEXT = 2**29  # bytes of a CSV
_MOST_WORDS = 2**26  # bytes of arrays beside the signal: names, rates, ids
_HDF5 = b"\x89HDF\r\n\x1a\n"
_OWN_FILTERS = {1, 2, 3, 4, 5, 6, 32000}  # of HDF5 itself, and h5py's lzf; others would load libraries from elsewhere

# What arrays, attributes and columns are called, in small letters and without what is no letter.
_ROLES = {
    "signal": "signal signals ecg ecgs data x val psignal tracing tracings waveform waveforms recording recordings",
    "fs": "fs samplingrate samplerate samplingfrequency samplefrequency sfreq freq frequency hz rate fshz",
    "leads": "leads lead leadnames leadname signame channels channelnames chnames leadorder",
    "unit": "unit units",
    "ids": "ids id recordids recordid record records examid studyid ecgid filename recordname recordnames",
    "age": "age ages",
    "sex": "sex gender",
    "patient": PATIENT_WORDS,
}
_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words.split()}
_TIME = re.compile(r"time|t|zeit|temps|tiempo|tempo|elapsed(?: time)?", re.IGNORECASE)
_PER_SECOND = {"s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0}
_PER_SECOND |= {"ms": 1e3, "msec": 1e3, "millisecond": 1e3, "milliseconds": 1e3, "us": 1e6, "ns": 1e9}
_BRACKET = re.compile(r"(?:\s*[\[(/]\s*|[\s_]+)([a-zµμ]+)\s*[\])]?\s*$", re.IGNORECASE)  # "I (mV)", "time_ms", "t [s]"
_COUNTER = re.compile(r"(?:|unnamed: \d+|index|samples?(?: ?number| ?no\.?)?|n|#)", re.IGNORECASE)
_OF_PEOPLE = re.compile(r"record|age|sex|gender|patient|path|file_?name|diagnosis|subject_?id|study_?id", re.IGNORECASE)


class _Facts(NamedTuple):
    """What a file says beside its numbers; None where it does not."""

    leads: Sequence[str] | None = None
    fs: float | None = None
    unit: str | Sequence[str] | None = None  # of all leads, or of each, "" where it is not said
    metadata: dict[str, Any] = {}  # noqa: RUF012 (never changed)


# ---------------------------------------------------------------- numbers and what is known of them


def _error(path: Path, text: str) -> RecordError:
    return RecordError(f"record {path.name!r}: {text}")


def _channels(path: Path, signal: np.ndarray, facts: _Facts, told: Told) -> Channels:
    """A recording of an array in either orientation and of what the file and the caller say.

    Raises
    ------
    RecordError
        When leads, rate or unit are said by neither, or the array does not tell leads from samples.
    """
    names = facts.leads
    if names is None:
        if told.leads is None or isinstance(told.leads, (str, Mapping)):
            raise _error(
                path,
                f"the file does not name its leads (shape {signal.shape}); say them in their order: "
                "leads=['I', 'II', 'V1', ...]",
            )
        names = ["" if lead is None else str(lead) for lead in told.leads]
    fs = told.fs if facts.fs is None else facts.fs  # where both say it, to_record flags a difference
    if fs is None:
        raise _error(path, "the file does not say its sampling rate; say it in Hz: fs=500")
    units = _units(path, facts.unit, told.unit, names)
    turned = _lead_by_sample(path, np.asarray(signal), len(names))
    return Channels(turned.astype(np.float64), float(fs), tuple(names), units, dict(facts.metadata))


def _units(path: Path, said: str | Sequence[str] | None, told: str | None, names: Sequence[str]) -> tuple[str, ...]:
    """The unit of each lead: the file's own word where it has one, else the caller's."""
    each = [said] * len(names) if said is None or isinstance(said, str) else said
    units = [u or told for u in each]  # where both say it, `to_record` flags a difference
    if len(each) != len(names):
        some = ", ".join(str(u) for u in each[:20])
        raise _error(path, f"it has {len(each)} units for {len(names)} leads: {some}; expected one, or one a lead")
    silent = [name for name, unit in zip(names, units, strict=True) if not unit]
    if silent and (not any(units) or any(standard_lead(name) in LEADS12 for name in silent)):
        raise _error(path, "the file does not say its unit; say it: unit='mV' (or 'uV', 'V')")
    return tuple(str(u or "") for u in units)


def _lead_by_sample(path: Path, signal: np.ndarray, n: int) -> np.ndarray:
    if signal.dtype.kind not in "iuf":
        raise _error(path, f"it holds {signal.dtype}; expected numbers")
    if signal.ndim == 1 and n == 1:
        return signal[None]
    fits = [k for k, size in enumerate(signal.shape) if size == n]
    if signal.ndim != 2 or not fits:
        raise _error(path, f"its array has shape {signal.shape}; expected ({n} leads, samples), or the reverse")
    if len(fits) == 2:
        raise _error(path, f"its array has shape {signal.shape}: with {n} leads, which way round is it? Cut or pad it")
    return signal if fits == [0] else signal.T


def _small(path: Path, n_bytes: float, what: str = "a recording") -> None:
    if n_bytes > MOST_BYTES:
        most = f"at most {MOST_BYTES / 2**30:.0f} GiB are read into memory"
        raise _error(path, f"{what} of {n_bytes / 2**30:.1f} GiB; {most}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", str(name).lower())


@lru_cache(maxsize=65536)
def _role(name: str) -> str | None:
    """What an array, attribute or column is by its name, without the groups that it lies in."""
    return _ROLE_OF.get(_plain(str(name).rpartition("/")[2]))


def _facts(path: Path, words: Mapping[str, Any], row: int | None = None) -> _Facts:
    """What named values say: rate, leads and unit; and, of recording `row` of many, its age, sex and patient."""
    flags: list[str] = []
    known: dict[str, Any] = {}
    said = {role: words[role] for role in words if words[role] is not None}
    if row is not None:
        many = ("age", "sex", "patient", "fs")
        said |= {r: np.asarray(said[r]).ravel()[row] for r in many if r in said and np.size(said[r]) > row}
    if "age" in said and np.size(said["age"]) == 1:
        years, doubt = age_of(_text(said["age"]))
        known |= {} if math.isnan(years) else {"age": years}
        flags += [doubt] if doubt else []
    if "sex" in said and np.size(said["sex"]) == 1:
        sex, doubt = sex_of(_text(said["sex"]))
        known |= {"sex": sex} if sex else {}
        flags += [doubt] if doubt else []
    if "patient" in said and np.size(said["patient"]) == 1:
        # A gap in an array of numbers has made them 15709.0.
        patient = pseudonym(re.sub(r"\.0+$", "", _text(said["patient"])))
        known |= {"patient": patient} if patient else {}
    fs = None
    if "fs" in said:
        rates = np.unique(np.asarray(said["fs"]).ravel())
        try:
            fs = float(rates[0]) if len(rates) == 1 else math.nan
        except (TypeError, ValueError):
            fs = math.nan
        if not 0 < fs < math.inf:
            raise _error(path, f"its sampling rate is {_text(said['fs'])[:40]!r}; expected a positive number of Hz")
    return _Facts(_words(said.get("leads")), fs, _unit(said.get("unit")), known | {"flags": flags})


def _words(value: Any) -> list[str] | None:
    """Lead names from an array of them, or from one text that lists them."""
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or np.ndim(value) == 0:
        return [w for w in re.split(r"[,;\s\[\]'\"]+", _text(value)) if w] or None
    return [_text(x).strip() for x in np.asarray(value).ravel()]


def _unit(value: Any) -> str | list[str] | None:
    """The unit, where there is one for all leads, or that of each."""
    said: Any = [] if value is None else np.atleast_1d(np.asarray(value, dtype=object)).ravel()
    units = [_text(x).strip() for x in said]
    return units if len(set(units)) > 1 else (units[0] or None) if units else None


def _text(value: Any) -> str:
    item = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)


def _stamp(path: Path) -> tuple[str, int, int]:
    """What changes when a file does, for what is remembered of it."""
    state = path.stat()
    return str(path), state.st_size, state.st_mtime_ns


def _called(ids: Any, n: int, stem: str) -> list[str]:
    """A name for each of `n` recordings: the file's ids where each has one of its own, else numbers."""
    given = [] if ids is None else [_text(x).strip() for x in np.asarray(ids).ravel()]
    return given if len(given) == n == len(set(given)) and all(given) else [f"{stem}-{i}" for i in range(n)]


def _row_of(path: Path, rows: Mapping[str, int], name: str) -> int:
    if name in rows:
        return rows[name]
    if not name and len(rows) == 1:
        return next(iter(rows.values()))
    some = ", ".join(list(rows)[:5])
    raise _error(
        path,
        f"it holds {len(rows)} recordings, such as {some}" + (f", and none called {name!r}" if name else "")
        + ". Build a cohort of all: build_cohort(path)",
    )  # fmt: skip


# ---------------------------------------------------------------- NumPy


def is_npy(path: Path, head: bytes) -> bool:
    return head.startswith(b"\x93NUMPY")


def is_npz(path: Path, head: bytes) -> bool:
    """A zip whose first file is an array."""
    return head.startswith(b"PK\x03\x04") and head[30 : 30 + int.from_bytes(head[26:28], "little")].endswith(b".npy")


class _Lying(NamedTuple):
    """An array that lies in a file as it is: where and of which kind."""

    offset: int
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype


def _lying(path: Path, file: Any) -> _Lying:
    """What an array's header says, without its numbers; a header that would need pickle is refused."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as e:  # the header is Python text, and numpy raises whatever that gives
        raise _error(path, f"its array has no readable header ({type(e).__name__}); fetch the file again") from e
    if dtype.hasobject:
        raise _error(path, "it holds pickled Python objects, which are never loaded; save plain numbers")
    return _Lying(file.tell(), shape, fortran, dtype)


def _map(path: Path, at: _Lying) -> np.ndarray:
    """The array, of which only what is used is read."""
    if 0 in at.shape:
        raise _error(path, f"its array is empty: shape {at.shape}")
    try:
        return np.memmap(path, at.dtype, "r", at.offset, at.shape, "F" if at.fortran else "C")
    except (ValueError, OSError, OverflowError) as e:
        raise _error(path, f"it is shorter than its header promises {at.shape}; fetch the file again") from e


@lru_cache(maxsize=4)
def _packed(stamp: tuple[str, int, int], member: str) -> np.ndarray:
    """A compressed array whole. Its size was looked at, and zipfile reads no more than that."""
    with zipfile.ZipFile(stamp[0]) as archive, archive.open(member) as file:
        return np.lib.format.read_array(io.BytesIO(file.read()), allow_pickle=False)


def _of_npz(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name: signals mapped or, compressed, read whole where they are small enough."""
    out = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
            for info in archive.infolist():
                if not info.filename.endswith(".npy") or info.flag_bits & 1:
                    continue
                with archive.open(info) as file:
                    at = _lying(path, file)
                size = math.prod(at.shape) * at.dtype.itemsize
                if size > info.file_size:
                    raise _error(path, f"its array {info.filename!r} promises {size} bytes and has {info.file_size}")
                if info.compress_type == zipfile.ZIP_STORED:
                    raw.seek(info.header_offset + 26)
                    lengths = raw.read(4)
                    raw.seek(sum(np.frombuffer(lengths, "<u2").tolist()), io.SEEK_CUR)
                    out[info.filename[:-4]] = _map(path, _lying(path, raw)) if at.shape and size else np.empty(at.shape)
                    if not at.shape:
                        out[info.filename[:-4]] = _packed(_stamp(path), info.filename)
                elif size <= _MOST_PACKED:
                    out[info.filename[:-4]] = _packed(_stamp(path), info.filename)
                else:
                    raise _error(
                        path,
                        f"its compressed array {info.filename!r} has {size / 2**20:.0f} MiB, at most "
                        f"{_MOST_PACKED / 2**20:.0f} are unpacked; write it with numpy.savez, or as HDF5",
                    )
    except RecordError:
        raise
    except Exception as e:  # a damaged archive, as zipfile and numpy say it
        raise _error(path, f"not readable as .npz ({type(e).__name__}); fetch the file again") from e
    return out


def _signal_of(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Which of several arrays is the signal: the one called so, or the only one that can be."""
    called = [name for name in shapes if _role(name) == "signal"]
    could = called or [name for name, shape in shapes.items() if len(shape) > 1 and math.prod(shape) >= 200]
    if len(could) != 1:
        what = f"{len(could)} of its arrays may be the signal: {', '.join(could)}" if could else "no array is a signal"
        raise _error(path, f"{what}; it has {', '.join(map(str, shapes)) or 'none'}. Call the signal 'signal'")
    return could[0]


def _arrays(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The signal of .npy or .npz, and the other arrays by their roles."""
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            return _map(path, _lying(path, file)), {}
    found = _of_npz(path)
    signal = _signal_of(path, {k: v.shape for k, v in found.items()})
    words = {_role(k) or k: v for k, v in found.items() if k != signal and v.nbytes <= _MOST_WORDS}
    return found[signal], words


@lru_cache(maxsize=16)
def _rows_of_arrays(stamp: tuple[str, int, int]) -> dict[str, int]:
    path = Path(stamp[0])
    signal, words = _arrays(path)
    if signal.ndim != 3:
        return {"": 0}
    return {name: i for i, name in enumerate(_called(words.get("ids"), len(signal), path.stem))}


def names_of_arrays(path: Path) -> list[str]:
    """What the recordings of .npy or .npz are called: "" for one of (lead, sample), ids for (record, lead, sample)."""
    return list(_rows_of_arrays(_stamp(path)))


def read_arrays(path: Path, name: str = "", told: Told = NOTHING_TOLD) -> Channels:
    """The channels of a recording in .npy or .npz.

    Raises
    ------
    RecordError
        When the file is damaged, holds Python objects, or neither it nor the caller says leads, rate or unit.
    """
    signal, words = _arrays(path)
    row = None
    if signal.ndim == 3:
        row = _row_of(path, _rows_of_arrays(_stamp(path)), name)
        signal = signal[row]
    _small(path, signal.size * 8)
    return _channels(path, np.array(signal), _facts(path, words, row), told)


# ---------------------------------------------------------------- HDF5


def is_hdf5(path: Path, head: bytes) -> bool:
    return any(head[at : at + 8] == _HDF5 for at in (0, 512, 1024, 2048))


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file, whose errors name it.

    Raises
    ------
    RecordError
        When it cannot be read.
    ImportError
        Without h5py.
    """
    try:
        import h5py
    except ImportError:
        raise ImportError('HDF5 files need the package h5py: pip install "ecgwb[formats]"') from None
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            yield file
    except RecordError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as e:  # as h5py raises what HDF5 finds
        raise _error(path, f"not readable as HDF5 ({type(e).__name__}); fetch the file again") from e


def datasets_of(file: Any) -> dict[str, Any]:
    """Every dataset of numbers or text that lies in the file itself, by its path.

    Links to elsewhere are not followed, and datasets whose numbers lie in other files are left out.
    """
    import h5py

    out: dict[str, Any] = {}
    seen: set[int] = set()
    groups = [("", file)]
    while groups:
        prefix, group = groups.pop()
        for key in group:
            if (thing := own_member(group, key)) is None:
                continue
            address = h5py.h5o.get_info(thing.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(thing, h5py.Group):
                groups.append((f"{prefix}{key}/", thing))
            elif isinstance(thing, h5py.Dataset) and thing.shape is not None:
                out[f"{prefix}{key}"] = thing
    return dict(sorted(out.items()))


def rows_of(path: Path, dataset: Any, which: Any = ...) -> np.ndarray:
    """Part of a dataset, once it is known to be packed by HDF5 itself and small enough.

    Raises
    ------
    RecordError
        When it is not.
    """
    plan = dataset.id.get_create_plist()
    filters = {plan.get_filter(k)[0] for k in range(plan.get_nfilters())}
    if filters - _OWN_FILTERS:
        raise _error(path, f"its dataset {dataset.name!r} is packed by a filter that is not of HDF5 itself; repack it")
    row = dataset.shape[1:] if which is not ... and isinstance(which, (int, np.integer)) else dataset.shape
    item = 8 if dataset.dtype.kind in "iuf" else max(dataset.dtype.itemsize, 1)
    _small(path, math.prod(row) * item)
    _small(path, math.prod(dataset.chunks or (1,)) * item, "a chunk")
    return dataset[which]


def _words_beside(path: Path, file: Any, name: str) -> dict[str, Any]:
    """What attributes of a dataset and its groups, and small datasets beside it, say; what is nearest wins."""
    words: dict[str, Any] = {}
    parts = name.split("/")[:-1]
    for group in (file["/" + "/".join(parts[:k])] for k in range(len(parts) + 1)):
        for key in group:
            role = _role(key)
            dataset: Any = own_member(group, key) if role not in (None, "signal") else None
            if getattr(dataset, "shape", None) is not None and dataset.dtype.itemsize * dataset.size <= _MOST_WORDS:
                words[str(role)] = rows_of(path, dataset)
        words |= _attributes(group)
    return words | _attributes(file[name])


def own_member(group: Any, key: str) -> Any:
    """The group or dataset under a key; None where its numbers lie in another file, which is not opened."""
    import h5py

    if not isinstance(group.get(key, getlink=True), h5py.HardLink):
        return None
    member = group[key]
    return None if isinstance(member, h5py.Dataset) and (member.is_virtual or member.external) else member


def _attributes(thing: Any) -> dict[str, Any]:
    roles = {key: _role(key) for key in thing.attrs}
    return {str(role): thing.attrs[key] for key, role in roles.items() if role not in (None, "signal")}


class _Place(NamedTuple):
    """Where a recording lies: a dataset and, of many in one, its row; or a group with a dataset a lead."""

    dataset: str
    row: int | None = None
    leads: tuple[str, ...] = ()


@lru_cache(maxsize=64)
def _places(stamp: tuple[str, int, int]) -> dict[str, _Place]:
    """Each recording of a file by name."""
    path = Path(stamp[0])
    out: dict[str, _Place] = {}
    with open_hdf5(path) as file:
        found = datasets_of(file)
        groups: dict[str, dict[str, Any]] = {}
        for key, dataset in found.items():
            groups.setdefault(key.rpartition("/")[0], {})[key] = dataset
        for group, inside in groups.items():
            out |= _places_in(path, group, inside)
    if not out:
        have = ", ".join(list(found)[:20]) or "none of its own; what leads to other files is not opened"
        raise _error(path, f"no dataset of it is a signal; it has {have}")
    return out


def _places_in(path: Path, group: str, inside: Mapping[str, Any]) -> dict[str, _Place]:
    """The recordings in one group: in a dataset each, in rows of one, or in a dataset a lead."""
    numbers = {k: d for k, d in inside.items() if d.dtype.kind in "iuf"}
    large = {k: d for k, d in numbers.items() if d.ndim in (2, 3) and _role(k) in (None, "signal")}
    chosen = [k for k in large if _role(k) == "signal"] or list(large)
    leads = [k for k, d in numbers.items() if d.ndim == 1 and standard_lead(k.rpartition("/")[2]) in LEADS12]
    out: dict[str, _Place] = {}
    if len(leads) > 1 and not large:
        out[group] = _Place(leads[0], None, tuple(leads))
    for key in chosen:
        if large[key].ndim == 2:
            out[group if len(chosen) == 1 else key] = _Place(key)
            continue
        ids = next((d for k, d in inside.items() if _role(k) == "ids"), None)
        given = None if ids is None or ids.size * ids.dtype.itemsize > _MOST_WORDS else rows_of(path, ids)
        out |= {n: _Place(key, i) for i, n in enumerate(_called(given, len(large[key]), group or path.stem))}
    return out


def names_of_hdf5(path: Path) -> list[str]:
    """What the recordings of an HDF5 file are called: its ids, or its groups or datasets; "" for a single one."""
    return list(_places(_stamp(path)))


def read_hdf5(path: Path, name: str = "", told: Told = NOTHING_TOLD) -> Channels:
    """The channels of a recording in HDF5: a dataset of its own, a row of one of many, or a dataset a lead.

    Attributes of the dataset, its groups and the file say rate, leads and unit, as do datasets of these names.

    Raises
    ------
    RecordError
        As of `read_arrays`; and when the numbers lie in other files, which are not opened.
    """
    places = _places(_stamp(path))
    number = _row_of(path, {n: i for i, n in enumerate(places)}, name) if name not in places else None
    place = places[name] if number is None else list(places.values())[number]
    with open_hdf5(path) as file:
        facts = _facts(path, _words_beside(path, file, place.dataset), place.row)
        if place.leads:
            lengths = sorted({file[k].shape[0] for k in place.leads})
            if len(lengths) > 1:
                raise _error(path, f"its leads differ in length: {', '.join(map(str, lengths))} samples")
            signal = np.stack([rows_of(path, file[k]) for k in place.leads])
            of_each = [_facts(path, {"fs": facts.fs, "unit": facts.unit} | _attributes(file[k])) for k in place.leads]
            if len(rates := {f.fs for f in of_each}) > 1:
                raise _error(
                    path, f"its leads differ in sampling rate: {', '.join(map(str, sorted(rates, key=str)))} Hz"
                )
            units = _unit(["" if f.unit is None else f.unit for f in of_each])
            facts = facts._replace(leads=[k.rpartition("/")[2] for k in place.leads], fs=of_each[0].fs, unit=units)
        else:
            signal = rows_of(path, file[place.dataset], ... if place.row is None else place.row)
    return _channels(path, signal, facts, told)


# ---------------------------------------------------------------- tables with a lead a column


class _Manner(NamedTuple):
    """How a text table is written."""

    encoding: str
    separator: str
    decimal: str
    header: bool


def _manner(head: bytes) -> tuple[_Manner, list[list[str]]] | None:
    """How a text table is written, and its first rows; None where it is none of several columns, or nearly all text."""
    if b"\0" in head and not head.startswith((b"\xff\xfe", b"\xfe\xff")) and head[:4].count(b"\0") != 2:
        return None
    text, encoding = decoded(head, cut=True)
    lines = [line for line in text.splitlines()[: -1 if len(head) >= 4096 else None] if line.strip()][:20]
    if len(lines) < 2 or sum(not c.isprintable() and c not in "\t\r\n" for c in text) > 0:
        return None
    for separator in (";", "\t", ",", "|"):
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]
        if len(rows[-1]) > 1 and len({len(row) for row in rows}) == 1:
            cells = [cell for row in rows[1:] for cell in row]
            commas = any(re.fullmatch(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?", cell) for cell in cells)
            manner = _Manner(encoding, separator, "," if commas else ".", not all(_number(c, commas) for c in rows[0]))
            return manner, rows
    return None


def _number(cell: str, commas: bool) -> bool:
    try:
        float((cell.replace(",", ".") if commas else cell) or "nan")
    except ValueError:
        return False
    return True


def is_table(path: Path, head: bytes) -> bool:
    """Whether a text is a table with a lead a column: one that names a lead, or eight columns and more of numbers."""
    found = _manner(head)
    if found is None:
        return False
    manner, rows = found
    if not manner.header:
        return len(rows[0]) >= 8
    if any(_OF_PEOPLE.fullmatch(cell) for cell in rows[0]):
        return False
    leads = [cell for cell in rows[0] if _split(cell)[0] in LEADS12]
    numbers = [all(_number(cell, manner.decimal == ",") for cell in column) for column in zip(*rows[1:], strict=True)]
    return bool(leads) and sum(numbers) >= len(leads)


def could_be_table(head: bytes) -> bool:
    """Whether a text is a table of columns, but none of people: a recording where the caller names the leads."""
    found = _manner(head)
    return found is not None and not any(_OF_PEOPLE.fullmatch(cell) for cell in found[1][0])


def first_column(head: bytes) -> str:
    """The name of a table's first column of numbers, times aside; empty where there is none."""
    found = _manner(head)
    if found is None or not found[0].header:
        return ""
    columns = zip(*found[1], strict=True)
    numbers = (c[0] for c in columns if all(_number(x, found[0].decimal == ",") for x in c[1:]))
    return next((name for name in numbers if not _plain(name).startswith("time")), "")


def read_table(path: Path, name: str = "", told: Told = NOTHING_TOLD) -> Channels:
    """The channels of a text table with a lead a column, with or without a column of time.

    Separators ``,``, ``;``, tab and ``|``; decimal points or commas; UTF-8, UTF-16 or Latin-1. Units may stand with the
    names: "I (mV)", "time_ms".

    Raises
    ------
    RecordError
        When neither the table nor the caller says leads, rate or unit, or its times are uneven.
    """
    size = path.stat().st_size
    if size > _MOST_TEXT:
        raise _error(path, f"a table of {size / 2**20:.0f} MiB; at most {_MOST_TEXT / 2**20:.0f} are read")
    with path.open("rb") as file:
        found = _manner(file.read(4096))
    if found is None:
        raise _error(path, "it is no table of columns of one length")
    manner = found[0]
    try:
        frame = pd.read_csv(
            path,
            sep=manner.separator,
            decimal=manner.decimal,
            encoding=manner.encoding,
            header=0 if manner.header else None,
            skipinitialspace=True,
            index_col=False,
            low_memory=False,
        )
    except (ValueError, OSError, MemoryError) as e:  # pandas' parser errors are ValueErrors
        raise _error(path, f"it cannot be read as a table ({type(e).__name__})") from e
    return _of_frame(path, frame, manner.header, {}, told, manner.decimal)


def is_parquet(path: Path, head: bytes) -> bool:
    return head.startswith(b"PAR1")


def read_parquet(path: Path, name: str = "", told: Told = NOTHING_TOLD) -> Channels:
    """The channels of a Parquet table with a lead a column, as `read_table`; ``fs`` and ``unit`` of its metadata count.

    Raises
    ------
    RecordError
        As `read_table`.
    ImportError
        Without pyarrow.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise ImportError('Parquet files need the package pyarrow: pip install "ecgwb[formats]" pyarrow') from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _small(path, 8.0 * file.metadata.num_rows * file.metadata.num_columns)
            said = {k.decode("utf-8", "replace"): v for k, v in (file.schema_arrow.metadata or {}).items()}
            frame = file.read().to_pandas()
    except RecordError:
        raise
    except Exception as e:  # whatever Arrow says of a damaged file
        raise _error(path, f"not readable as Parquet ({type(e).__name__}); fetch the file again") from e
    words = {str(_role(k)): v for k, v in said.items() if _role(k) in ("fs", "unit", "age", "sex")}
    return _of_frame(path, frame, True, words, told, ".")


def _of_frame(
    path: Path, frame: pd.DataFrame, named: bool, words: Mapping[str, Any], told: Told, decimal: str
) -> Channels:
    """The channels of a table. Columns of text are left out: they may say who it is."""
    _small(path, 8.0 * frame.size)
    flags: list[str] = []
    columns: dict[str, np.ndarray] = {}
    n_text = 0
    for k, label in enumerate(frame.columns):
        column = frame.iloc[:, k]
        if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
            column = column.astype(str).str.replace(",", ".") if decimal == "," else column
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        bad = int((np.isnan(numbers) & frame.iloc[:, k].notna().to_numpy()).sum())
        if bad == len(numbers) or (bad and np.isnan(numbers).mean() > 0.5):
            n_text += 1
        elif not (named and _COUNTER.fullmatch(str(label).strip()) and np.all(np.diff(numbers) == 1)):
            columns[str(label) if named else str(k)] = numbers
            flags += [f"{bad} cells of {label} are no numbers, and missing"] if bad else []
    flags += [f"{n_text} columns without numbers are left out"] if n_text else []
    facts = _facts(path, words)
    time = next((c for c in columns if named and _TIME.fullmatch(_split(c)[0])), None)
    fs, at = facts.fs, None
    if time is not None:
        fs_of_time, at = _rate(path, columns.pop(time), _split(time)[1], told.fs)
        fs = fs or fs_of_time
    if not columns:
        raise _error(path, f"no column of it holds numbers; it has {', '.join(map(str, frame.columns[:20]))}")
    signal = np.stack(list(columns.values()))
    if at is not None:
        spread = np.full((len(signal), at[-1] + 1), np.nan)
        spread[:, at] = signal
        flags += [f"{spread.shape[1] - len(at)} samples that its times leave out are missing"]
        signal = spread
    split = {c: _split(c) for c in columns}
    said = [split[c][1] for c in columns]
    of_leads = {u for c, u in zip(columns, said, strict=True) if split[c][0] in LEADS12}
    if len(of_leads) == 1:  # what is no lead of the twelve, and says nothing, is taken to be as these
        said = [u or min(of_leads) for u in said]
    unit: Any = _unit(said)
    if isinstance(facts.unit, str) and not isinstance(unit, str):
        unit = [u or facts.unit for u in said]
    unit = unit or facts.unit
    names = [split[c][0] if split[c][1] else c for c in columns] if named else None
    if signal.shape[1] == len(signal) and named:  # as many samples as leads: the columns say which is which
        raise _error(path, f"it has {signal.shape[1]} rows, too few samples for a recording")
    known = facts.metadata | {"flags": [*facts.metadata["flags"], *flags]}
    return _channels(path, signal, _Facts(names, fs, unit, known), told)


def _split(column: str) -> tuple[str, str]:
    """A column's name in standard spelling and the unit that stands with it, or ""."""
    text = str(column).strip()
    if text.lower() in _PER_SECOND:
        return "time", text.lower()
    found = _BRACKET.search(text)
    if found and (found[1].lower().replace("µ", "u").replace("μ", "u") in (*UV_PER_UNIT, *_PER_SECOND)):
        return standard_lead(text[: found.start()]), found[1].lower().replace("µ", "u").replace("μ", "u")
    return standard_lead(text), ""


def _rate(path: Path, time: np.ndarray, unit: str, told: float | None) -> tuple[float | None, np.ndarray | None]:
    """The sampling rate that a column of times gives, and, where it leaves samples out, which are there.

    Raises
    ------
    RecordError
        When times do not rise evenly, or do not tell seconds from milliseconds.
    """
    steps = np.diff(time)
    if len(steps) < 2 or not np.all(steps > 0):
        raise _error(path, "its times do not rise from row to row; leave the column out and say fs=")
    step = float(np.median(steps))
    # Times are rounded: a whole run of them tells the step better than one does.
    whole = steps[steps < 1.9 * step]
    step = float(whole.mean())
    at = np.rint((time - time[0]) / step).astype(int)
    if np.any(np.diff(at) < 1) or np.abs((time - time[0]) / step - at).max() > 0.4 or at[-1] > 4 * len(time):
        raise _error(path, "its times are uneven; leave the column out and say fs=")
    if unit:
        fs = _PER_SECOND.get(unit, math.nan) / step
    elif 0.0004 <= step <= 0.02:
        fs = 1 / step  # as milliseconds it would be 50 kHz and more
    elif 1.5 <= step <= 20:
        fs = 1000 / step  # as seconds it would be less than 1 Hz
    elif told is not None:
        fs = told
    else:
        raise _error(
            path, f"its times rise by {step:g}, of an unknown unit; call the column 'time_s' or 'time_ms', or say fs="
        )
    nearest = round(fs)
    fs = float(nearest) if abs(fs - nearest) < 0.002 * fs else fs
    return fs, at if at[-1] + 1 > len(time) else None
