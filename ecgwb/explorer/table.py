"""The table of records that the browser lists, sorts and filters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from ..cohorts.measurements import TARGETS, fridericia


def record_table(cohort: xr.Dataset, predictions: xr.Dataset) -> pd.DataFrame:
    """What records can be found and sorted by.

    Parameters
    ----------
    cohort : Dataset
    predictions : Dataset (record,)
        From `predict`.

    Returns
    -------
    DataFrame, a row per record
        ``sex``, ``diagnosis``, ``rhythm``: texts, empty where unknown; ``age`` (years), what is measured (``hr``,
        ``pr``, ``qrs``, ``qt``, ``qtc`` by Fridericia, ...), ``predicted_qt`` and so on in the target's unit,
        ``error_qt`` and so on (absolute; for sex 1 where it is wrong, else 0), ``doubt`` (ms, the largest of the
        record's landmarks), all NaN where unknown.
    """
    n = cohort.sizes["record"]
    unknown = np.full(n, np.nan)
    table: dict[str, np.ndarray] = {
        name: cohort[label].values.astype(str) if label in cohort.coords else np.full(n, "")
        for name, label in (("sex", "sex"), ("diagnosis", "diagnosis"), ("rhythm", "rhythm_label"))
    }
    targets = map(str, predictions.data_vars)
    for name in dict.fromkeys(("age", *TARGETS, *targets)):
        if name not in table:  # a target may be called sex, of which the text is listed
            table[name] = numbers_of(cohort, name)
    table["qtc"] = fridericia(table["qt"], 60.0 / table["hr"])
    table["doubt"] = cohort["doubt"].max("landmark").values if "doubt" in cohort else unknown
    for name in map(str, predictions.data_vars):
        predicted = predictions[name].values.astype(float)
        table[f"predicted_{name}"] = predicted
        if predictions[name].attrs["units"] == "log-odds":
            predicted = np.where(np.isfinite(predicted), predicted > 0, np.nan)
        table[f"error_{name}"] = np.abs(predicted - numbers_of(cohort, name))
    return pd.DataFrame(table, index=pd.Index(cohort["record"].values.astype(str), name="record"))


def numbers_of(cohort: xr.Dataset, name: str) -> np.ndarray:
    """The cohort's numbers (record,) of a name; NaN where it has none, or words."""
    if name not in cohort.variables or cohort[name].dtype.kind not in "fiub":
        return np.full(cohort.sizes["record"], np.nan)
    return cohort[name].values.astype(float)
