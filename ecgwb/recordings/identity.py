"""What of a person a recording keeps: age, sex, a pseudonym; and what it must not: names, dates, hospital numbers.

Two recordings of one person meet by the pseudonym, which nobody can compute back without the key of this machine.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import math
import os
import re
import secrets
import warnings
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

from .people import age_of, sex_of

PATIENT_WORDS = (
    "patient patientid patientno patientnumber patientcode subject subjectid subjectno person personid participant "
    "participantid"
)
"""What a column or array of patients is usually called, in lower case without spaces, "_", "-" and "."."""
_NOBODY = re.compile(
    r"[\W_0]*|x+|nan|none|null|unk(nown)?|not known|n/?a|na|test|patient|anon(ymous|ymi[sz]ed)?|de-?identified|removed"
)
# Three parts of a date in figures, a month by its name beside a figure, a year, a time of day.
_WHEN = re.compile(
    r"\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b|\b\d{1,2}[-. /]?[a-zäéû]{3,9}\.?[-. /,]{1,2}\d{2,4}\b|\b(19|20)\d\d\b"
    r"|\b(19|20)\d{6,12}\b|\b\d{1,2}:\d\d\b",
    re.IGNORECASE,
)
_WHO = re.compile(
    r"\b(dr|md|m\.d|prof|nurse|physician|doctor|cardiologist|name|signed|confirmed|reviewed|referred|tech(nician)?"
    r"|operator|patient|mrn|phone|hospital|clinic)\b"
    r"|\b(read|edit|verif|interpret|approv|record|perform|acquir|request|order|seen|report)\w*\s+by\b|^by\b",
    re.IGNORECASE,
)
# Of the words of an ECG room's or a person's name, these name nobody.
_COMMON = frozenset({
    *("abnormal", "acute", "and", "anterior", "atrial", "axis", "block", "borderline", "cardiac", "chest"),
    *("ecg", "ekg", "emergency", "for", "heart", "inferior", "lateral", "lead", "left", "normal", "not", "old"),
    *("pain", "rate", "resting", "rhythm", "right", "sinus", "test", "the", "unknown", "ventricular", "wave", "with"),
})  # fmt: skip
_PSEUDONYM = re.compile(r"(p[0-9a-f]{16})(?:-[0-9a-f]{4})?")
_OLDEST_BY_DATE = 105
_LIMITS = {"pr": 2000.0, "qrs": 2000.0, "qt": 2000.0, "hr": 500.0}  # ms and bpm; beyond lie codes for "none"


@dataclass(frozen=True)
class Key:
    """The key of this user and machine, to be sent along with work that other processes do; it is not printed."""

    value: bytes = field(repr=False)


_sent: ContextVar[Key | None] = ContextVar("the key that came with the work", default=None)


def own_key() -> Key:
    """The key that pseudonyms are made with here."""
    return _sent.get() or Key(_key(_key_file()))


@contextlib.contextmanager
def pseudonyms_by(key: Key) -> Iterator[None]:
    """Within, pseudonyms are made with another process's key: one person is the same person on all workers."""
    before = _sent.set(key)
    try:
        yield
    finally:
        _sent.reset(before)


def pseudonym(number: str | None) -> str | None:
    """A person's pseudonym for a number that a file gives; None where the number is that of nobody ("", "ANON").

    It is a keyed hash (HMAC-SHA-256), with a key that is made once for this user and machine, so that two recordings of
    one person have the same, here, and nobody else can find the number by trying all. A number in another spelling has
    a second part, so that 00012345 and 12345 are told apart, and known to be alike.

    Parameters
    ----------
    number : str or None

    Returns
    -------
    str or None
        "p" and 16 hexadecimal digits; of a number that is not in its shortest spelling, "-" and four more.
    """
    text = " ".join(str(number if number is not None else "").split()).casefold()
    if _NOBODY.fullmatch(text):
        return None
    short = spelling(text)
    return f"p{_keyed(short)[:16]}" + (f"-{_keyed(text)[:4]}" if text != short else "")


def _keyed(text: str) -> str:
    return hmac.new(own_key().value, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def spelling(patient: str) -> str:
    """What names of one patient that differ only in case, spaces, leading zeros or ".0" share; of pseudonyms, too."""
    if pseudonymous := _PSEUDONYM.fullmatch(patient):
        return pseudonymous[1]
    text = re.sub(r"\.0+$", "", re.sub(r"\s+", "", patient).casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)


def _key_file() -> Path:
    return Path(platformdirs.user_data_dir("ecgwb")) / "pseudonyms.key"


@cache
def _key(file: Path) -> bytes:
    """The key in a file, which is made where there is none, readable by its owner alone."""
    fresh = secrets.token_bytes(32)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Written beside and linked to its name, so that of two processes one key wins and none is read half.
        part = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(fresh)
        try:
            os.link(part, file)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not file.exists():
                part.replace(file)
        part.unlink(missing_ok=True)
    except OSError:
        pass
    try:
        key = file.read_bytes()
    except OSError:
        key = b""
    if len(key) >= 32:
        return key
    warnings.warn(
        "the key of patients' pseudonyms cannot be kept in the user's data folder; they hold for this session only",
        stacklevel=2,
    )
    return fresh


def person(flags: list[str], age: float | None = None, sex: str = "", number: str | None = None) -> dict[str, Any]:
    """Age (years), sex and pseudonym, as far as they are known; `flags` grow by what is not understood."""
    found: dict[str, Any] = {}
    years, doubt = age_of(age)
    if not math.isnan(years):
        found["age"] = float(math.floor(years)) if years >= 1 else years
    said, more = sex_of(sex)
    flags += [x for x in (doubt, more) if x]
    return found | {k: v for k, v in (("sex", said), ("patient", pseudonym(number))) if v}


def years_between(born: str, on: str) -> float | None:
    """Whole years from one date to another; None where either is not understood, or only fills a field (1-1-1900)."""
    a, b = _date(born), _date(on)
    if a is None or b is None:
        return None
    years = b.year - a.year - ((b.month, b.day) < (a.month, a.day))
    return float(years) if 0 <= years <= _OLDEST_BY_DATE else None


def _date(text: str) -> datetime.date | None:
    """The date in 19840229, 1984-02-29..., or, as MUSE writes it, 02-29-1984."""
    found = re.match(r"\s*(?:(\d{4})[-/.]?(\d\d)[-/.]?(\d\d)|(\d\d?)[-/.](\d\d?)[-/.](\d{4}))", text)
    if not found:
        return None
    year, month, day = (
        int(x) for x in ((found[1], found[2], found[3]) if found[1] else (found[6], found[4], found[5]))
    )
    if month > 12:
        month, day = day, month
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


def clinical(statements: Iterable[str], private: Iterable[str] = ()) -> str:
    """Statements about an ECG, joined by "; ", without those that hold a date, a person, or a word of `private`.

    Parameters
    ----------
    statements : iterable of str
    private : iterable of str
        What the file says of the person, the place and the staff.

    Returns
    -------
    str
    """
    words = {w for text in private for w in re.findall(r"[\w-]{3,}", text.casefold())} - _COMMON
    kept: list[str] = []
    for statement in statements:
        text = " ".join(statement.split()).strip(" .,;*-")
        if not text or len(text) > 300 or _WHEN.search(text) or _WHO.search(text) or text in kept:
            continue
        if not words.intersection(re.findall(r"[\w-]{3,}", text.casefold())):
            kept.append(text)
    return "; ".join(kept)


def measured(**values: float | None) -> dict[str, float]:
    """The recorder's own pr, qrs, qt (ms) and hr (bpm), without those that stand for "none"."""
    return {k: float(v) for k, v in values.items() if v is not None and 0 < v < _LIMITS[k]}


def number_in(text: str | None) -> float | None:
    """A number as a file writes it; None where it is none."""
    try:
        value = float((text or "").strip().replace(",", "."))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
