"""Reading WFDB files: a header is believed only as far as the files bear it out, and names and dates stay behind.

The header is read here, since wfdb's own reader stumbles over dates, letters beyond ASCII and other things that nobody
uses. Samples of 16 bits, nearly all, are read by NumPy, others by wfdb through a plain header, which is slow.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from .channels import NOTHING_TOLD, Channels, Told, uv_per
from .leads import is_lead, told_leads
from .people import age_of, sex_of
from .record import LIMB_TOLERANCE, RecordError, limb_error
from .snomed import statements
from .texts import decoded

# Bytes a sample takes in each WFDB format that is not compressed.
_BYTES = {"8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3}
_MISSING_16 = -32768  # stands for no sample in format 16
_FLAC = ("508", "516", "524")
_SOUNDFILE = "pip install soundfile"
_NONE = "0"  # the format of a signal that is not stored, as in a layout header
_MOST_COMPRESSED = 1000  # samples that a byte of a compressed file may stand for
_GAPS = 50_000_000  # samples that may be missing altogether, beyond a hundred times those that are stored
_LONGEST, _LONGEST_LINE = 16_000_000, 2_000  # bytes of a header, letters of a line
_DEFAULT_GAIN = 200.0  # WFDB's, per mV

_WORD = r"\S+?(?: \S+?)*?"  # names of files may have spaces
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
# After the length come time and date, in whatever form: they are not used.
_RECORD = re.compile(
    rf"(?P<name>{_WORD})(?:/(?P<segments>\d+))?\s+(?P<leads>\d+)(?:\s+(?P<fs>{_NUMBER})(?:[/(]\S*)?(?:\s+(?P<n>\d+)(?:\s.*)?)?)?"
)
_SIGNAL = re.compile(
    rf"(?P<file>{_WORD})\s+(?P<fmt>\d+)(?:x(?P<frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?"
    rf"(?:\s+(?P<gain>{_NUMBER})(?:\((?P<baseline>-?\d+)\))?(?:/(?P<unit>\S+))?"
    r"(?:\s+(?P<bits>\d+))?(?:\s+(?P<zero>-?\d+))?(?:\s+(?P<first>-?\d+))?(?:\s+-?\d+)?(?:\s+\d+)?(?:\s+(?P<lead>.*))?)?"
)
_SEGMENT = re.compile(r"(?P<name>\S+)\s+(?P<n>\d+)")
_CLINICAL = re.compile(
    "rhythm|axis|heart|block|conduct|systole|beat|hypertroph|overload|enlarge|pac(ing|emaker)|isch(a)?em|scar|infarct"
    "|stemi|repolari|arrhythm|tachy|brady|fibrill|flutter|st-t|wave|lead|voltage|syndrome",
    re.IGNORECASE,
)
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1b]")
_STATEMENTS = re.compile(r"(?=<\w+>)|\s(?=(?:sex|gender)\s*:)", re.IGNORECASE)
_ONE_AT_A_TIME = Lock()  # the filters of warnings belong to the process, and recordings are read by several threads
_DATE = re.compile(r"\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b|\b(19|20)\d\d\b")


@dataclass(frozen=True)
class _Signal:
    """A line of a header, of one channel."""

    file: str
    fmt: str
    frame: int  # samples in a frame
    skew: int  # frames
    offset: int  # bytes, in front of the samples
    gain: float  # per unit; NaN where there is none
    baseline: int
    unit: str
    zero: int
    first: int
    lead: str


@dataclass(frozen=True)
class _Header:
    path: Path
    fs: float  # frames a second; NaN where the header does not say it
    n: int  # frames; 0 where the header does not say it
    signals: tuple[_Signal, ...]
    segments: tuple[tuple[str, int], ...]  # names and frames; of a layout header 0
    comments: tuple[str, ...]


def is_header(path: Path, head: bytes) -> bool:
    """Whether a file is a WFDB header."""
    return path.suffix.lower() == ".hea"


def base_of(path: Path) -> Path:
    """A record's path without ``.hea``, ``.dat`` or ``.mat``."""
    return path.with_suffix("") if path.suffix.lower() in (".hea", ".dat", ".mat") else path


def segments_of(path: Path) -> frozenset[str]:
    """The names of the records, in the same folder, that a header says are its segments; none where it has no such."""
    try:
        return frozenset(name for name, _ in _parsed(path).segments if name != "~")
    except (RecordError, OSError):  # reading it will say why
        return frozenset()


def rate_and_leads(path: Path) -> tuple[float, tuple[str, ...]]:
    """The frames a second that a header says, NaN where it does not, and the names of its channels."""
    header = _parsed(path)
    return header.fs, tuple(s.lead for s in header.signals)


def read(path: Path, name: str = "", told: Told = NOTHING_TOLD) -> Channels:
    """The channels of a WFDB recording (.hea with .dat or .mat), by the path of any of its files.

    Several segments are put together, with gaps where there are none; channels of several samples a frame are read
    at the rate of the ECG leads.

    Raises
    ------
    RecordError
        When a file is missing, truncated or malformed, or lies outside the header's folder.

    Notes
    -----
    Some headers, all of LUDB's among them, state each lead's own range (max - min) as its gain, so that physical
    values would scale every lead to 1 mV. Where all gains are ranges and the stored integers obey II = I + III,
    the integers are read as µV. For LUDB that is exact for the ratios of the limb leads and an inference for the
    absolute scale and the chest leads: its amplitudes then match PTB-XL's.
    """
    base = base_of(path)
    file = path if path.suffix.lower() == ".hea" else base.with_name(base.name + ".hea") if base.name else base
    if "\0" in str(base) or not file.is_file():
        raise _error(base, f"no header at {file}; expected a WFDB record (.hea with .dat or .mat)")
    header = _parsed(file)
    parts = [_parsed(_segment_file(header, part)) for part, _ in header.segments if part != "~"]
    for part in parts or [header]:
        _check(part, segment=bool(parts))
    _check_size(header, parts or [header])
    frame = _samples_a_frame([s for part in parts or [header] for s in part.signals], told)
    found = _read_comments(next((h.comments for h in (header, *parts) if h.comments), ()))
    if not parts:
        signal, units, flags = _physical(header, frame, told)
        names = tuple(s.lead for s in header.signals)
    else:
        signal, names, units, flags = _joined(header, parts, frame, told)
    if signal.size == 0:
        raise _error(base, f"{file.name} lists no samples")
    rate = next((h.fs for h in (header, *parts) if not math.isnan(h.fs)), math.nan)
    return Channels(signal, rate * frame, names, units, found | {"flags": [*flags, *found["flags"]]})


@contextmanager
def quiet_wfdb() -> Iterator[None]:
    """Hides what pandas and numpy warn of how wfdb calls them: nobody who reads a recording can mend that."""
    with _ONE_AT_A_TIME, np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _error(base: Path, text: str) -> RecordError:
    return RecordError(f"record {base_of(base).name!r}: {text}")


# ---------------------------------------------------------------- what a header says


def _parsed(file: Path) -> _Header:
    """A header's lines, as they are; only what cannot be read at all is refused here."""
    if file.stat().st_size > _LONGEST:
        raise _error(file, f"the header {file.name} is malformed: more than {_LONGEST} bytes, expected a short text")
    text, lines, comments = decoded(file.read_bytes())[0], [], []
    if _NO_TEXT.search(text):
        raise _error(file, f"the header {file.name} is no text; fetch the file again")
    for line in text.splitlines():
        said, mark, comment = line.partition("#")
        lines += [said.strip()] if said.strip() else []
        comments += [comment.strip("# \t")] if mark else []
    if not lines:
        raise _error(file, f"the header {file.name} is empty; fetch the file again")
    try:
        first = _match(_RECORD, lines[0], file, "its first line is not name, number of leads, rate and length")
        kind, form = ("segments", _SEGMENT) if first["segments"] else ("leads", _SIGNAL)
        promised, listed = int(first["segments"] or first["leads"]), len(lines) - 1
        if listed < promised:
            what = f"it lists {listed} of {promised} {kind}"
            raise _error(file, f"the header {file.name} is cut short: {what}; fetch the file again")
        if listed > promised:
            raise ValueError(f"it promises {promised} {kind} and lists {listed}")
        found = [_match(form, line, file, f"line {k} is none of {kind}") for k, line in enumerate(lines[1:], 2)]
        segments = tuple((x["name"], int(x["n"])) for x in found) if form is _SEGMENT else ()
        signals = tuple(map(_signal, found)) if form is _SIGNAL else ()
        fs = float(first["fs"]) if first["fs"] else math.nan
        return _Header(file, fs, int(first["n"] or 0), signals, segments, tuple(comments))
    except RecordError:
        raise
    except ValueError as e:
        raise _error(file, f"the header {file.name} is malformed: {e}") from e


def _match(form: re.Pattern[str], line: str, file: Path, fault: str) -> re.Match[str]:
    match = form.fullmatch(line) if len(line) <= _LONGEST_LINE else None
    if not match or match[1].count(" ") > file.stem.count(" "):  # names have spaces where the header's file has
        raise ValueError(fault)
    return match


def _signal(match: re.Match[str]) -> _Signal:
    zero, gain = int(match["zero"] or 0), float(match["gain"] or 0)
    return _Signal(
        file=match["file"],
        fmt=match["fmt"],
        frame=max(int(match["frame"] or 1), 1),
        skew=int(match["skew"] or 0),
        offset=int(match["offset"] or 0),
        gain=gain or math.nan,
        baseline=zero if match["baseline"] is None else int(match["baseline"]),
        unit=match["unit"] or "",
        zero=zero,
        first=int(match["first"] or 0),
        lead=(match["lead"] or "").strip(),
    )


def _segment_file(header: _Header, name: str) -> Path:
    _check_name(header.path, name)
    file = header.path.with_name(name + ".hea")
    if file == header.path or not file.is_file():
        raise _error(header.path, f"its segment {name!r} has no header of its own in the same folder")
    return file


def _check_name(header: Path, name: str) -> None:
    if "/" in name or "\\" in name or name in (".", ".."):
        raise _error(header, f"its header names the file {name!r}; expected files in the header's own folder")


def _check(header: _Header, segment: bool) -> None:
    """Holds what a header promises against the files it names, before any of it is read into memory.

    Raises
    ------
    RecordError
        When the header names files elsewhere, or a file is missing or too short.
    """
    if segment and header.segments:
        raise _error(header.path, "a segment that has segments of its own; expected leads")
    for signal in header.signals:
        _check_name(header.path, signal.file)
    for name, own in _by_file(header).items():
        formats = {header.signals[k].fmt for k in own}
        if len(formats) > 1 or not formats <= {*_BYTES, *_FLAC}:
            known = ", ".join((*_BYTES, *_FLAC))
            raise _error(header.path, f"{name} is of format {' and '.join(sorted(formats))}; expected one of {known}")
        _check_data(header, name, [header.signals[k] for k in own])


def _by_file(header: _Header) -> dict[str, list[int]]:
    """The numbers of the channels that are stored, by their file."""
    own: dict[str, list[int]] = {}
    for k, signal in enumerate(header.signals):
        if signal.fmt != _NONE and signal.file != "~":
            own.setdefault(signal.file, []).append(k)
    return own


def _data_file(header: _Header, name: str) -> Path:
    """A file that a header names, also where copying has changed the case of its letters."""
    file = header.path.with_name(name)
    if not file.is_file():
        alike = [p for p in header.path.parent.iterdir() if p.name.lower() == name.lower() and p.is_file()]
        if len(alike) != 1:
            own = [header.path.with_suffix(kind) for kind in (".dat", ".mat")]
            other = next((p.name for p in own if p.name != name and p.is_file()), None)
            hint = f". There is {other}: if that is it, correct the header" if other else ""
            raise _error(header.path, f"{name} is missing; the header names it{hint}")
        return alike[0]
    return file


def _check_data(header: _Header, name: str, own: Sequence[_Signal]) -> None:
    """Refuses a file that is missing or too short for its leads."""
    file = _data_file(header, name)
    if header.n and any(s.skew > header.n for s in own):
        raise _error(header.path, f"the header {header.path.name} shifts leads of {name} by more than their length")
    # Samples of a compressed file are not counted by its bytes, but there are limits to what these can hold.
    bytes_each = _BYTES.get(own[0].fmt, 1 / _MOST_COMPRESSED)
    begin = 0 if own[0].fmt in _FLAC else own[0].offset
    need = max(math.ceil(bytes_each * sum(s.frame for s in own) * header.n) + begin, begin + 1)
    size = file.stat().st_size
    if size < need:
        promised = f"{need} ({header.n or 'some'} samples of {len(own)} leads)"
        damage = f"{name} is truncated: {size} bytes, the header promises {promised}"
        raise _error(header.path, f"{damage}; fetch the file again")


def _check_size(header: _Header, parts: Sequence[_Header]) -> None:
    """Refuses gaps of a length that only a broken header has; they would fill memory with nothing."""
    stored = sum(_data_file(p, name).stat().st_size for p in parts for name in _by_file(p))
    frames = sum(n for _, n in header.segments) if header.segments else header.n
    widest = max((sum(s.frame for s in p.signals) for p in parts), default=0)
    if frames * widest > _GAPS + 100 * stored:
        raise _error(header.path, f"{header.path.name} promises {frames} samples, and its files hold {stored} bytes")


# ---------------------------------------------------------------- samples


def _samples_a_frame(signals: Sequence[_Signal], told: Told) -> int:
    """Samples a frame of the recording: those of its fastest ECG lead, or, where no name is that of one, of any."""
    names = [s.lead for s in signals]
    try:
        leads = told_leads(names, told.leads if isinstance(told.leads, Mapping) else None)
    except ValueError:  # said where leads are chosen
        leads = tuple(names)
    ecg = [s.frame for s, lead in zip(signals, leads, strict=True) if is_lead(lead)]
    return max(ecg or [s.frame for s in signals], default=1)


def _physical(header: _Header, frame: int, told: Told) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
    """Signals (lead, sample) in the header's units, those units, and doubts."""
    stored, flags = _stored(header, frame), []
    gain = np.array([s.gain for s in header.signals])
    # A header that says no unit means mV, unless the caller knows better.
    units = tuple(s.unit or ("mV" if told.unit is None else "") for s in header.signals)
    if _gains_are_ranges(stored, gain) and limb_error(stored, [s.lead for s in header.signals], 0.0) < LIMB_TOLERANCE:
        flag = "header gains are each lead's own range; stored integers read as µV"
        return stored, ("uV",) * len(units), [flag]
    unsaid = np.isnan(gain) & np.array([s.fmt != _NONE for s in header.signals], bool)
    if unsaid.any() and told.unit is None:
        which = ", ".join(s.lead or f"channel {k + 1}" for k, s in enumerate(header.signals) if unsaid[k])
        flags.append(f"no gain in the header of {which}: WFDB's default, 200 per mV, is assumed")
    if (gain < 0).any():
        flags.append("a negative gain in the header: such leads are turned over, as it says")
    gain[np.isnan(gain)] = _DEFAULT_GAIN if told.unit is None else 1.0
    with np.errstate(over="ignore"):
        stored -= np.array([s.baseline for s in header.signals], float)[:, None]
        stored /= gain[:, None]
    return stored, units, flags


def _stored(header: _Header, frame: int) -> np.ndarray:
    """The stored numbers (lead, sample), `frame` samples a frame, NaN where they are missing."""
    read: dict[int, np.ndarray] = {}
    for name, own in _by_file(header).items():
        signals = _decoded(header, _data_file(header, name), [header.signals[k] for k in own])
        read |= dict(zip(own, signals, strict=True))
    n = min((len(x) // header.signals[k].frame for k, x in read.items()), default=0)
    out = np.full((len(header.signals), n * frame), np.nan)
    for k, x in read.items():
        each = header.signals[k].frame
        if each == frame:
            out[k] = x[: n * each]
        else:  # read at the moments of the ECG's samples
            out[k] = np.interp(np.arange(n * frame) / frame, np.arange(n * each) / each, x[: n * each])
    return out


def _decoded(header: _Header, file: Path, own: Sequence[_Signal]) -> list[np.ndarray]:
    """The numbers of one file, an array a channel."""
    n = header.n or _length(header, file, own)
    if all(s.fmt == "16" and s.frame == 1 and s.skew == 0 for s in own):
        words = np.fromfile(file, "<i2", n * len(own), offset=own[0].offset).reshape(n, len(own)).T
        return list(np.where(words == _MISSING_16, np.nan, words))
    return _by_wfdb(header, file, own, n)


def _by_wfdb(header: _Header, file: Path, own: Sequence[_Signal], n: int) -> list[np.ndarray]:
    """The same, `n` frames, by wfdb: it is given a header that says only what it needs."""
    import wfdb  # slow to import

    lines = [
        f"x.dat {s.fmt}x{s.frame}:{s.skew}+{s.offset} 1(0)/mV 16 {s.zero} {s.first} 0 0 c{k}" for k, s in enumerate(own)
    ]
    with tempfile.TemporaryDirectory(prefix="ecgwb-") as tmp:
        (Path(tmp) / "x.hea").write_text("\n".join([f"x {len(own)} 250 {n}", *lines]) + "\n")
        try:
            os.symlink(file.resolve(), Path(tmp) / "x.dat")
        except (OSError, NotImplementedError):  # Windows, without the right to make links
            shutil.copyfile(file, Path(tmp) / "x.dat")
        try:
            with quiet_wfdb():
                wf = wfdb.rdrecord(str(Path(tmp) / "x"), physical=True, smooth_frames=False)
        except OSError:  # of the disk or network: it may read the next time
            raise
        except ImportError as e:
            raise _error(header.path, f"{file.name} is compressed; it needs the package soundfile: {_SOUNDFILE}") from e
        except Exception as e:  # wfdb raises whatever its decoder met; the reader needs the file and the reason
            reason = f"{type(e).__name__}: {e}".replace(tmp, "").splitlines()[0]
            damaged = "; fetch the file again" if own[0].fmt in _FLAC else ""
            raise _error(header.path, f"{file.name} is not readable as WFDB ({reason}){damaged}") from e
    return [np.asarray(x, float) for x in wf.e_p_signal]


def _length(header: _Header, file: Path, own: Sequence[_Signal]) -> int:
    """Frames in a file whose header does not say them."""
    a_frame = sum(s.frame for s in own)
    if own[0].fmt in _FLAC:
        try:
            import soundfile
        except ImportError as e:
            raise _error(header.path, f"{file.name} is compressed; it needs the package soundfile: {_SOUNDFILE}") from e
        try:
            return int(soundfile.info(file).frames) // own[0].frame
        except soundfile.LibsndfileError as e:
            raise _error(header.path, f"{file.name} is not readable as FLAC ({e}); fetch the file again") from e
    n = int((file.stat().st_size - own[0].offset) / (_BYTES[own[0].fmt] * a_frame))
    if n < 1:
        raise _error(header.path, f"{file.name} holds not one sample of its {len(own)} leads; fetch the file again")
    return n


def _gains_are_ranges(stored: np.ndarray, gain: np.ndarray) -> bool:
    if stored.shape[0] < 2 or stored.shape[1] == 0 or np.isnan(stored).all(axis=1).any():
        return False
    span = np.nanmax(stored, axis=1) - np.nanmin(stored, axis=1)
    return bool(np.all(np.abs(gain - span) <= 1) and np.ptp(span) > 0)


# ---------------------------------------------------------------- segments


def _joined(
    header: _Header, parts: Sequence[_Header], frame: int, told: Told
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...], list[str]]:
    """The segments of a recording one after the other, channels by their names, NaN where there is none."""
    rates = {h.fs for h in (header, *parts) if not math.isnan(h.fs)}
    if len(rates) > 1:
        raise _error(header.path, f"its segments have different rates: {', '.join(f'{r:g} Hz' for r in sorted(rates))}")
    keys = list(dict.fromkeys(key for part in parts for key in _keys(part)))  # a layout comes first
    units = dict.fromkeys(keys, "")
    total = sum(n for _, n in header.segments)
    signal, flags, start = np.full((len(keys), total * frame), np.nan), [], 0
    if header.n and header.n != total:
        flags.append(f"the header promises {header.n} samples, its segments {total}")
    left = iter(parts)
    for name, n in header.segments:
        part = None if name == "~" else next(left)
        if part is not None and n:
            rows, own, doubts = _physical(part, frame, told)
            flags += doubts
            if rows.shape[1] != n * frame:
                flags.append("a segment is shorter or longer than the header promises")
            rows = rows[:, : n * frame]
            for key, row, unit in zip(_keys(part), rows, own, strict=True):
                units[key] = units[key] or unit
                if units[key] != unit:
                    row = row * (uv_per(unit) / uv_per(units[key]))
                at = start * frame
                signal[keys.index(key), at : at + len(row)] = row
        start += n
    names = tuple(name for name, _ in keys)
    return signal, names, tuple(units.values()), list(dict.fromkeys(flags))


def _keys(header: _Header) -> list[tuple[str, int]]:
    """The names of a header's channels, and, of channels of one name, which it is."""
    names = [s.lead for s in header.signals]
    return [(name, names[:k].count(name)) for k, name in enumerate(names)]


# ---------------------------------------------------------------- comments


def _read_comments(comments: Iterable[str]) -> dict[str, Any]:
    """Age, sex, rhythm and diagnoses from WFDB comments. Anything else, such as a name or a date, is left behind.

    Of the lines after "diagnoses:", those of the form "key: value" are kept where the key is clinical, and none that
    holds a date.
    """
    found: dict[str, Any] = {}
    diagnoses, in_list, doubts = [], False, []
    for text in _parted(comments):
        label, colon, value = text.partition(":")
        key, value = label.strip(" <>").lower(), value.strip().rstrip(".")
        if key == "age":
            years, doubt = age_of(value)
            found |= {} if math.isnan(years) else {"age": years}
            doubts += [f"{doubt} (header)"] if doubt else []
        elif key in ("sex", "gender"):
            sex, doubt = sex_of(value)
            found |= {"sex": sex} if sex else {}
            doubts += [f"{doubt} (header)"] if doubt else []
        elif _DATE.search(text):
            continue
        elif key == "rhythm":
            found["rhythm"] = value
        elif key in ("diagnoses", "diagnosis", "dx"):
            in_list = True
            diagnoses += statements(value) if value.lower() not in ("", "unknown", "nan") else []
        elif in_list and text and (not colon or _CLINICAL.search(key)):
            diagnoses.append(text.rstrip("."))
    if diagnoses:
        found["diagnosis"] = "; ".join(diagnoses)
    return found | {"flags": doubts}


def _parted(comments: Iterable[str]) -> Iterator[str]:
    """Comments, one statement each: "<age>: 65 <sex>: F <diagnoses> ..." and "Age: 62  Sex: M" are several."""
    for line in comments:
        if old := re.match(r"(\d{1,3}) ([MF]) \d+ \d+ x\d", line.strip()):  # MIT-BIH's: age, sex, tape
            yield from (f"age: {old[1]}", f"sex: {old[2]}")
            continue
        for part in _STATEMENTS.split(line.strip().lstrip("#").strip()):
            text = re.sub(r"^<(\w+)>:?\s*", r"\1: ", part.strip())
            if text and not re.fullmatch(r"(?:patient|subject)\s*\d+", text, re.IGNORECASE):
                yield text
