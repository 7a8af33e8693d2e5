"""Reading WFDB files: a header is believed only as far as the files bear it out, and names and dates stay behind."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import wfdb

from .channels import NOTHING_TOLD, Channels, Told
from .people import age_of, sex_of
from .record import LIMB_TOLERANCE, RecordError, limb_error
from .snomed import statements

_MICRO = re.compile(rb"/(\xc2\xb5|\xce\xbc|\xb5)V", re.IGNORECASE)  # both Greek letters in UTF-8, and Latin-1's
# Bytes a sample takes in each WFDB format that is not compressed.
_BYTES = {"8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2, "212": 1.5, "310": 4 / 3, "311": 4 / 3}
_MOST_COMPRESSED = 1000  # samples that a byte of a compressed file may stand for
_CLINICAL = re.compile(
    "rhythm|axis|heart|block|conduct|systole|beat|hypertroph|overload|enlarge|pac(ing|emaker)|isch(a)?em|scar|infarct"
    "|stemi|repolari|arrhythm|tachy|brady|fibrill|flutter|st-t|wave|lead|voltage|syndrome",
    re.IGNORECASE,
)
_ONE_AT_A_TIME = Lock()  # the filters of warnings belong to the process, and recordings are read by several threads
_DATE = re.compile(r"\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b|\b(19|20)\d\d\b")


def is_header(path: Path, head: bytes) -> bool:
    """Whether a file is a WFDB header."""
    return path.suffix == ".hea"


def base_of(path: Path) -> Path:
    """A record's path without ``.hea``, ``.dat`` or ``.mat``."""
    return path.with_suffix("") if path.suffix in (".hea", ".dat", ".mat") else path


def read(path: Path, name: str = "", told: Told = NOTHING_TOLD) -> Channels:
    """The channels of a WFDB recording (.hea with .dat or .mat), by the path of any of its files.

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
    header = base.with_name(base.name + ".hea") if base.name else base
    if "\0" in str(base) or not header.is_file():
        raise _error(base, f"no header at {header}; expected a WFDB record (.hea with .dat or .mat)")
    _check_files(base)
    try:
        with quiet_wfdb():
            wf = wfdb.rdrecord(str(base), physical=False)
            stored = np.asarray(wf.d_signal, dtype=np.float64).T  # (lead, sample)
            physical = np.asarray(wf.dac(), dtype=np.float64).T
    except Exception as e:  # wfdb raises whatever its parser met; the reader needs the file and the reason
        raise _error(base, f"not readable as WFDB ({type(e).__name__}: {e})") from e
    if stored.ndim != 2 or stored.size == 0:
        raise _error(base, f"{header.name} lists no samples")
    names, units = tuple(map(str, wf.sig_name)), _units(header, wf.units)
    found = _read_comments(wf.comments)
    stored[np.isnan(physical)] = np.nan
    if _gains_are_ranges(stored, np.asarray(wf.adc_gain)) and limb_error(stored, names, 0.0) < LIMB_TOLERANCE:
        flag = "header gains are each lead's own range; stored integers read as µV"
        found["flags"] = [flag, *found["flags"]]
        return Channels(stored, wf.fs, names, ("uV",) * len(names), found)
    return Channels(physical, wf.fs, names, tuple(units), found)


@contextmanager
def quiet_wfdb() -> Iterator[None]:
    """Hides what pandas and numpy warn of how wfdb calls them: nobody who reads a recording can mend that."""
    with _ONE_AT_A_TIME, np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _error(base: Path, text: str) -> RecordError:
    return RecordError(f"record {base.name!r}: {text}")


# ---------------------------------------------------------------- what a header promises


def _check_files(base: Path, segment: bool = False) -> None:
    """Holds what a header promises against the files it names, before any of it is read into memory.

    Raises
    ------
    RecordError
        When the header is malformed or cut short, or a file is missing, too short, or not in the header's folder.
    """
    header = base.with_name(base.name + ".hea")
    for line in _lines(header):
        name = line.split()[0].decode("ascii", "ignore")
        if "/" in name or "\\" in name or name in (".", ".."):
            raise _error(base, f"its header names the file {name!r}; expected files in the header's own folder")
    try:
        with quiet_wfdb():
            head = wfdb.rdheader(str(base))
    except Exception as e:  # as above
        what = "empty" if not header.stat().st_size else f"malformed ({type(e).__name__}: {e})"
        raise _error(base, f"the header {header.name} is {what}; fetch the file again") from e
    if isinstance(head, wfdb.MultiRecord):
        if segment:
            raise _error(base, "a segment that has segments of its own; expected leads")
        for name in sorted({str(n) for n in head.seg_name or [] if n != "~"}):
            if name == base.name or not base.with_name(name + ".hea").is_file():
                raise _error(base, f"its segment {name!r} has no header of its own in the same folder")
            _check_files(base.with_name(name), segment=True)
        return
    names = [str(n) for n in head.file_name or []]
    if len(names) != (head.n_sig or 0):
        listed = f"it lists {len(names)} of {head.n_sig} leads"
        raise _error(base, f"the header {header.name} is cut short: {listed}; fetch the file again")
    if head.sig_len is not None and head.sig_len <= 0:
        raise _error(base, f"the header {header.name} promises {head.sig_len} samples; expected some")
    for name in sorted(set(names) - {"~"}):
        _check_data(base, head, name, [k for k, n in enumerate(names) if n == name])


def _check_data(base: Path, head: wfdb.Record, name: str, own: list[int]) -> None:
    """Refuses a file that is missing or too short for its leads, of which `own` are the numbers in the header."""
    file, n_samples = base.with_name(name), head.sig_len or 0
    if not file.is_file():
        raise _error(base, f"{name} is missing; the header names it")
    if any(abs(int(head.skew[k] or 0)) > n_samples for k in own):
        raise _error(base, f"the header {base.name}.hea shifts leads of {name} by more than their length")
    # Samples of a compressed file are not counted by its bytes, but there are limits to what these can hold.
    bytes_each = _BYTES.get(str(head.fmt[own[0]]), 1 / _MOST_COMPRESSED)
    per_frame = sum(max(int(head.samps_per_frame[k] or 1), 1) for k in own)
    begin = int(head.byte_offset[own[0]] or 0)
    need = max(math.ceil(bytes_each * per_frame * n_samples) + begin, begin + 1)
    size = file.stat().st_size
    if begin < 0 or size < need:
        promised = f"{need} ({head.sig_len or 'some'} samples of {len(own)} leads)"
        raise _error(base, f"{name} is truncated: {size} bytes, the header promises {promised}; fetch the file again")


def _lines(header: Path) -> list[bytes]:
    """A header's lines after the first, without comments: one a lead, or a segment."""
    return [x for x in header.read_bytes().splitlines() if x.strip() and not x.lstrip().startswith(b"#")][1:]


def _units(header: Path, parsed: Iterable[str]) -> list[str]:
    """The leads' units; "µV" is "uv", although wfdb, which reads ASCII, sees "V"."""
    lines = _lines(header)
    units = list(map(str, parsed))
    return ["uv" if len(lines) == len(units) and _MICRO.search(lines[k]) else u for k, u in enumerate(units)]


def _gains_are_ranges(stored: np.ndarray, gain: np.ndarray) -> bool:
    if stored.shape[0] < 2 or np.isnan(stored).all(axis=1).any():
        return False
    span = np.nanmax(stored, axis=1) - np.nanmin(stored, axis=1)
    return bool(np.all(np.abs(gain - span) <= 1) and np.ptp(span) > 0)


def _read_comments(comments: Iterable[str]) -> dict[str, Any]:
    """Age, sex, rhythm and diagnoses from WFDB comments. Anything else, such as a name or a date, is left behind.

    Of the lines after "diagnoses:", those of the form "key: value" are kept where the key is clinical, and none that
    holds a date.
    """
    found: dict[str, Any] = {}
    diagnoses, in_list, doubts = [], False, []
    for line in comments:
        text = line.strip().lstrip("#").strip()
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
