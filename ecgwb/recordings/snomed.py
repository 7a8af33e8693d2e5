"""Names of the SNOMED CT codes that ECG collections put in their headers ("Dx: 426783006,164889003").

The table has the codes of the PhysioNet/Computing in Cardiology Challenges of 2020 and 2021, with names in the words of
electrocardiography. Names serve groups, searches and the eye better than numbers; a code that is not in it stays one.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path

_CODES = re.compile(r"\d{6,18}(?:\s*[,;]\s*\d{6,18})*\s*[,;]?")


@cache
def names() -> dict[str, str]:
    """The name of each code."""
    with Path(__file__).with_name("snomed.csv").open(encoding="utf-8", newline="") as file:
        return {row["code"]: row["name"] for row in csv.DictReader(file)}


def statements(text: str) -> list[str]:
    """The diagnoses in a header's line: names of the codes that it lists, each once, or the text itself."""
    if not _CODES.fullmatch(text.strip()):
        return [text]
    return list(dict.fromkeys(names().get(code, code) for code in re.findall(r"\d+", text)))
