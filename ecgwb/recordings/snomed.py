"""Names of the codes that ECG collections put in place of diagnoses: SNOMED CT's ("Dx: 426783006") and PTB-XL's of SCP.

The table has the codes of the PhysioNet/Computing in Cardiology Challenges of 2020 and 2021, with names in the words of
electrocardiography; a second one those of PTB-XL's scp_statements.csv, 1.0.3 (CC BY 4.0, Wagner et al.). Names serve
groups, searches and the eye better than codes; a code that is in neither stays one.
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


@cache
def scp_names() -> dict[str, str]:
    """The name of each of PTB-XL's codes, such as "AFIB"."""
    with Path(__file__).with_name("scp_codes.csv").open(encoding="utf-8", newline="") as file:
        return {row["code"]: row["name"] for row in csv.DictReader(file)}


def name_of(statement: str) -> str:
    """The name of a code; what is none stays as it is."""
    code = statement.strip()
    return names().get(code) or scp_names().get(code) or code


def statements(text: str) -> list[str]:
    """The diagnoses in a header's line: names of the codes that it lists, each once, or the text itself."""
    if not _CODES.fullmatch(text.strip()):
        return [text]
    return list(dict.fromkeys(names().get(code, code) for code in re.findall(r"\d+", text)))
