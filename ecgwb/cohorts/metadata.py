"""What is known of the people: tables of them, and the few columns that a cohort keeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..recordings.record import RecordError

_OLDEST = 130
METADATA = ("age", "sex", "patient", "diagnosis", "rhythm_label", "device", "site", "fold")
"""The columns a cohort carries along `record`. Nothing else of a header or table is kept: no names, no dates."""


def read_table(file: Any) -> pd.DataFrame:
    """A table of people or paths from a CSV; names such as 001 stay text.

    Raises
    ------
    RecordError
        When there is no such file, or it is no CSV.
    """
    if not isinstance(file, (str, Path)):
        raise RecordError(f"metadata is a {type(file).__name__}; expected a DataFrame or the path of a CSV")
    if not Path(file).is_file():
        raise RecordError(f"no file {file}; expected a CSV with a row a record, its columns named in the first line")
    try:
        table = pd.read_csv(file, dtype={"record": str, "patient": str, "path": str})
    except (ValueError, OSError) as e:  # pandas' parser errors are ValueErrors
        raise RecordError(f"{file} cannot be read as a CSV: {e}") from e
    only = str(table.columns[0])
    if len(table.columns) == 1 and (";" in only or "\t" in only):
        mark = ";" if ";" in only else "\t"
        raise RecordError(
            f"{file} is separated by {mark!r}; expected commas. Give the table itself: pd.read_csv(file, sep={mark!r})"
            ", and decimal=',' where numbers have commas"
        )
    return table


def tidy(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A metadata row with the columns a cohort keeps, in its conventions."""
    known = {k: v for k, v in row.items() if k in METADATA}
    out: dict[str, Any] = {k: v for k, v in known.items() if not (pd.api.types.is_scalar(v) and pd.isna(v))}
    whose = f" of record {str(row['record'])!r}" if "record" in row else ""
    if "sex" in out:
        word = str(out["sex"]).strip().lower()
        out["sex"] = {"m": "male", "male": "male", "f": "female", "female": "female"}.get(word, "")
        if not out["sex"] and word:
            raise RecordError(f"metadata{whose}: sex is {row['sex']!r}; expected 'male' or 'female' (or M, F)")
    for name, kind, what in (("age", float, "number of years"), ("fold", int, "whole number")):
        if name in out:
            try:
                out[name] = kind(out[name])
            except (TypeError, ValueError, OverflowError):
                raise RecordError(f"metadata{whose}: {name} is {row[name]!r}; expected a {what}") from None
    if "age" in out and not 0 <= out["age"] <= _OLDEST:
        raise RecordError(f"metadata{whose}: age is {row['age']!r}; expected 0 to {_OLDEST} years, or nothing")
    return out | {k: str(out[k]) for k in ("patient", "diagnosis", "rhythm_label", "device", "site") if k in out}
