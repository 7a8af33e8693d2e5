"""Finding records of a cohort by words and by numbers: ``male age>60 error>20``."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import xarray as xr

from ..cohorts.measurements import TARGETS

ORDERS = ("record", "age", "error", "doubt")
_COMPARISON = re.compile(r"(\w+)(<=|>=|<|>|=)(-?\d+(?:\.\d+)?)")


def record_table(cohort: xr.Dataset, predictions: xr.DataArray) -> pd.DataFrame:
    """What records can be found and sorted by.

    Parameters
    ----------
    cohort : Dataset
    predictions : DataArray (record,)
        Of one target, from `predict`.

    Returns
    -------
    DataFrame, a row per record
        ``age`` (years), what is measured (``hr``, ``pr``, ``qrs``, ``qt``, ...), ``predicted``, ``error`` of the
        prediction in its unit (for sex 1 where it is wrong, else 0), ``doubt`` (ms, the largest of the record's
        landmarks), all NaN where unknown; ``words``: id, sex, diagnosis and rhythm.
    """
    unknown = np.full(cohort.sizes["record"], np.nan)
    measured = {t: cohort[t].values.astype(float) if t in cohort.variables else unknown for t in ("age", *TARGETS)}
    table = pd.DataFrame(measured)
    predicted = predictions.values.astype(float)
    if predictions.attrs["units"] == "log-odds":
        predicted = np.where(np.isfinite(predicted), predicted > 0, np.nan)
    target = str(predictions.name)
    table["predicted"] = predicted
    table["error"] = np.abs(predicted - cohort[target].values) if target in cohort.variables else np.nan
    table["doubt"] = cohort["doubt"].max("landmark").values if "doubt" in cohort else np.nan
    texts = [cohort[name].values.astype(str) for name in ("sex", "diagnosis", "rhythm_label") if name in cohort.coords]
    ids = cohort["record"].values.astype(str)
    table["words"] = [" ".join(words).lower() for words in zip(ids, *texts, strict=True)]
    return table.set_axis(pd.Index(ids, name="record"))


def find_records(table: pd.DataFrame, search: str = "", order: str = "record") -> list[str]:
    """Ids of the records that fit every word and every comparison searched for.

    Parameters
    ----------
    table : DataFrame
        From `record_table`.
    search : str
        Beginnings of words, and comparisons of any number of the table: ``age>60``, ``qt<=440``, ``error>20``. A record
        of which the number is not known fits no comparison.
    order : {"record", "age", "error", "doubt"}
        As in the cohort, youngest first, worst prediction first, or largest doubt first; unknown ones last.

    Returns
    -------
    list of str
    """
    numbers = set(table.select_dtypes("number").columns)
    for word in re.sub(r"\s*(<=|>=|<|>|=)\s*", r"\1", search.lower()).split():
        comparison = _COMPARISON.fullmatch(word)
        if comparison and comparison[1] in numbers:
            name, relation, number = comparison.groups()
            table = table.query(f"{name} {'==' if relation == '=' else relation} {number}")
        else:  # from a word's beginning, so that "male" does not find "female"
            table = table[(" " + table["words"]).str.contains(f" {word}", regex=False)]
    if order != "record":
        table = table.sort_values(order, ascending=order == "age", kind="stable")
    return [str(record) for record in table.index]
