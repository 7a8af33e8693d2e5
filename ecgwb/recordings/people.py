"""A person's age and sex as headers and tables write them: one owner of the words, and of what is a doubt.

A doubt is a short phrase without the text itself, since a cell in the wrong place may hold a name.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

OLDEST = 130  # years
_TOP = 85  # from this age on, "90+" stands for the oldest, whose age is hidden; "18+" for any adult
_NUMBER = r"(\d{1,6}(?:[.,]\d+)?)"
_YEARS = r"\s*(?:y|yo|yrs?|years?|jahre?|ans|años|anos|anni)?\.?(?: old)?"
_AGE = re.compile(_NUMBER + _YEARS)
_OVER = re.compile(rf"(?:(>|over|above)\s*|(?:>=|≥)\s*){_NUMBER}{_YEARS}")
_OR_OVER = re.compile(rf"{_NUMBER}\s*(?:\+|or (?:older|over|more)){_YEARS}")
_DICOM = re.compile(r"(\d{3})([dwmy])")  # the standard's age string
_PER_YEAR = {"h": 8766.0, "d": 365.25, "w": 365.25 / 7, "m": 12.0, "y": 1.0, "a": 1.0}  # by the unit's first letter
_CODE = re.compile(r"\d+(?:\.0+)?")

_UNKNOWN = re.compile(
    r"[-?.]*|unknown|unk?|u|undefined|unspecified|not (known|specified|stated|available|recorded)|nan|nat|<na>|n/a|na"
    r"|n\.a\.|none|null|other|o|x|unbekannt|inconnu|desconocido|desconhecido|sconosciuto|divers"
)
_MEN = "m,male,man,boy,mann,männlich,maennlich,homme,masculin,masculino,maschio,uomo,varón,varon,manlig,男,男性"
_WOMEN = "f,w,female,woman,girl,frau,weiblich,femme,féminin,feminin,femenino,feminino,femmina,donna,kvinnlig,女,女性"
SEXES = dict.fromkeys(_MEN.split(","), "male") | dict.fromkeys(_WOMEN.split(","), "female")

SEX_CODE = "a sex given as a number is left out: data sets number men and women differently"
_SEX = "a sex that is not understood is left out"
_AGE_DOUBT = "an age that is not understood is left out"
_AGE_RANGE = f"an age that is not from 0 to {OLDEST} years is left out"
_AGE_ZERO = "an age of 0 is kept; it may stand for an unknown one"


def age_of(value: Any) -> tuple[float, str]:
    """An age in years.

    Parameters
    ----------
    value : any
        A number or a text, such as 50, "50.5", "50,5", "50 years", DICOM's "050Y" or "006M", ">89", "90+".

    Returns
    -------
    years : float
        NaN where it is unknown or not understood. "90+" and ">89" count as 90.
    doubt : str
        A phrase for a flag; empty where there is nothing to doubt, as where the age is plainly unknown.
    """
    text = _plain(value)
    if _UNKNOWN.fullmatch(text):
        return math.nan, ""
    if dicom := _DICOM.fullmatch(text):
        years = float(dicom[1]) / _PER_YEAR[dicom[2]]
        return (years, "") if years <= OLDEST else (math.nan, _AGE_RANGE)
    if number := _AGE.fullmatch(text):
        years = _float(number[1])
        if years > OLDEST:
            return math.nan, _AGE_RANGE
        return years, "" if years else _AGE_ZERO
    over, or_over = _OVER.fullmatch(text), _OR_OVER.fullmatch(text)
    least = _float(over[2]) + bool(over[1]) if over else _float(or_over[1]) if or_over else math.nan
    if _TOP <= least <= OLDEST:
        return least, f"an age given as {least:g} or more is taken as {least:g}"
    return math.nan, _AGE_RANGE if re.fullmatch(r"-\s*" + _NUMBER + _YEARS, text) else _AGE_DOUBT


def in_years(age: float | None, unit: str) -> float | None:
    """An age in a unit such as "YEARS", "a", "mo", "weeks" or "d", in years; None where either is not known.

    Parameters
    ----------
    age : float, optional
    unit : str
        Without one, the age is in years.

    Returns
    -------
    float or None
    """
    word = unit.strip().lower()
    per = None if word.startswith("mi") else _PER_YEAR.get(word[:1] or "y")  # minutes are no months
    return None if age is None or per is None else age / per


def sex_of(value: Any) -> tuple[str, str]:
    """A sex.

    Parameters
    ----------
    value : any
        A word, such as "M", "female", "weiblich", "homme", "feminino".

    Returns
    -------
    sex : str
        "male", "female", or empty where it is unknown or not understood.
    doubt : str
        A phrase for a flag, empty where there is nothing to doubt; `SEX_CODE` for a number: 0, 1 and 2 mean different
        things in different data sets.
    """
    text = _plain(value)
    if _UNKNOWN.fullmatch(text):
        return "", ""
    if text in SEXES:
        return SEXES[text], ""
    return "", SEX_CODE if _CODE.fullmatch(text) else _SEX


def is_unknown(value: Any) -> bool:
    """Whether a cell says plainly that nothing is known, such as "", "Unknown" or "n/a"."""
    return bool(_UNKNOWN.fullmatch(_plain(value)))


def _plain(value: Any) -> str:
    """A cell as lower-case text in one spelling of accents, without the space and quotes around it."""
    text = "" if value is None else unicodedata.normalize("NFKC", str(value))
    return " ".join(text.split()).strip("\"' ").lower()


def _float(text: str) -> float:
    return float(text.replace(",", "."))
