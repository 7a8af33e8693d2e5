"""Finding records of a cohort by words, and by numbers known of them."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import xarray as xr

ORDERS = ("record", "age", "error", "doubt")
_TERM = re.compile(r"(age|error|doubt)(<=|>=|<|>|=)(-?\d+(?:\.\d+)?)")
_HOLDS: dict[str, Callable[..., np.ndarray]] = {
    "<": np.less, ">": np.greater, "<=": np.less_equal, ">=": np.greater_equal, "=": np.isclose,
}  # fmt: skip


def find_records(cohort: xr.Dataset, said: xr.DataArray, search: str = "", order: str = "record") -> list[str]:
    """Ids of the records that fit every word searched for.

    Parameters
    ----------
    said : DataArray (record,)
        What a network says of one target, from `predict`.
    search : str
        Beginnings of words of the id, sex, diagnosis or rhythm, and comparisons: ``age>60`` (years), ``error>=20`` (of
        the prediction, in its unit; for sex 1 where it is wrong, else 0), ``doubt>15`` (ms, the largest of the record's
        landmarks). A record of which the number is not known fits no comparison.
    order : {"record", "age", "error", "doubt"}
        As in the cohort, youngest first, worst prediction first, or largest doubt first; unknown ones last.
    """
    ids = [str(r) for r in cohort["record"].values]
    known = [cohort[k].values for k in ("sex", "diagnosis", "rhythm_label") if k in cohort.coords]
    text = [" ".join([r, *(str(k[i]) for k in known)]).lower() for i, r in enumerate(ids)]
    fits = np.ones(len(ids), bool)
    for word in search.lower().split():
        term = _TERM.fullmatch(word)
        if term:
            value = known_number(cohort, said, term[1])
            fits &= np.isfinite(value) & _HOLDS[term[2]](value, float(term[3]))
        else:  # from a word's beginning, so that "male" does not find "female"
            fits &= np.array([f" {word}" in f" {t}" for t in text], bool)
    hits = np.flatnonzero(fits)
    if order != "record":
        key = known_number(cohort, said, order) * (1 if order == "age" else -1)
        hits = hits[np.argsort(np.nan_to_num(key[hits], nan=np.inf), kind="stable")]
    return [ids[i] for i in hits]


def known_number(cohort: xr.Dataset, said: xr.DataArray, of: str) -> np.ndarray:
    """Age (years), error of the prediction, or largest doubt (ms) of every record; NaN where unknown."""
    target = str(said.name)
    if of == "age" and "age" in cohort.coords:
        return cohort["age"].values.astype(float)
    if of == "error" and target in cohort:
        truth, guess = cohort[target].values.astype(float), said.values.astype(float)
        if said.attrs["units"] == "log-odds":
            guess = np.where(np.isfinite(guess), (guess > 0).astype(float), np.nan)
        return np.abs(guess - truth)
    if of == "doubt" and "doubt" in cohort:
        return cohort["doubt"].max("landmark").values
    return np.full(cohort.sizes["record"], np.nan)
