"""Tables of people: read from files, and put in a cohort's conventions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..recordings.record import RecordError
from ..recordings.people import OLDEST, SEXES
from .guards import kind_of
from .items import METADATA, whole


def read_table(file: Any) -> pd.DataFrame:
    """A table of people or paths from a CSV; names such as 001 stay text.

    Raises
    ------
    RecordError
        When there is no such file, or it is no CSV.
    """
    if not isinstance(file, (str, Path)):
        raise RecordError(f"metadata is {kind_of(file)}; expected a DataFrame or the path of a CSV")
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
    out: dict[str, Any] = {}
    for name in METADATA:
        value = row.get(name)
        if value is not None and not (pd.api.types.is_scalar(value) and pd.isna(value)):
            out[name] = value
    where = f"metadata of record {str(row['record'])!r}" if "record" in row else "metadata"
    if "sex" in out:
        word = str(out["sex"]).strip().lower()
        out["sex"] = SEXES.get(word, "")
        if not out["sex"] and word:
            raise RecordError(f"{where}: sex is {row['sex']!r}; expected 'male' or 'female' (or M, F)")
    for name, kind, what in (("age", float, "number of years"), ("fold", int, "whole number")):
        if name in out:
            try:
                out[name] = kind(out[name])
            except (TypeError, ValueError, OverflowError):
                raise RecordError(f"{where}: {name} is {row[name]!r}; expected a {what}") from None
    if "age" in out and not 0 <= out["age"] <= OLDEST:
        raise RecordError(f"{where}: age is {row['age']!r}; expected 0 to {OLDEST} years, or nothing")
    if "patient" in out:  # numbers with a gap among them are 7.0 and so on
        out["patient"] = whole(out["patient"]) if isinstance(out["patient"], float) else str(out["patient"]).strip()
    return out | {k: str(out[k]) for k in ("diagnosis", "superclass", "rhythm_label", "device", "site") if k in out}
