"""Regression: whether a measurement says more than those before it, on people who took no part in finding it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
import statsmodels.api as sm
from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationError, PerfectSeparationWarning

from ..stats import auc_difference, auc_interval


def nested_models(
    models: Mapping[str, Sequence[str]],
    discovery: pd.DataFrame,
    tests: Mapping[str, pd.DataFrame],
    outcome: str = "male",
    *,
    ci: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Logistic regressions fitted on discovery patients, judged on others.

    Coefficients come from discovery patients alone and are frozen for the areas under the curve. The change in AUC is
    against the row above, as an interval: DeLong's test is not valid for nested models (Demler et al. 2012). The
    likelihood-ratio test asks whether the columns that a row adds to the row above are associated with the outcome at
    all: both models are refitted on the test people for it, with each one's first record.

    Parameters
    ----------
    models : mapping of name to columns
        In the order of the rows.
    discovery : DataFrame
        Columns, ``outcome`` (0, 1) and ``patient``.
    tests : mapping of name to DataFrame
        People who took no part in choosing or fitting anything; the same columns.
    outcome : str
        The column to tell, 0 or 1.
    ci, seed : float, int
        Level of the percentile intervals, and seed of their 1,000 resamplings of patients.

    Returns
    -------
    DataFrame
        A row per model and people ("discovery" first): ``features``, ``n`` complete cases, ``n_missing``, ``auc`` with
        ``low``, ``high``, ``accuracy`` (at probability 0.5), ``change`` in AUC with ``change_low``, ``change_high``,
        ``lr_p``, and ``note`` where something could not be done.

    Raises
    ------
    ValueError
        When a patient is on both sides, a column is missing or constant, or one outcome is absent.
    """
    lone = [m for m, cs in models.items() if isinstance(cs, str)]
    if lone:
        raise ValueError(f"model {lone[0]!r} is the text {models[lone[0]]!r}; expected a list of columns")
    columns = list(dict.fromkeys(c for cs in models.values() for c in cs))
    sets = {"discovery": discovery, **tests}
    for name, people in sets.items():
        absent = [c for c in [*columns, outcome, "patient"] if c not in people]
        if absent:
            raise ValueError(f"{name} has no column {', '.join(absent)}")
        text = [c for c in [*columns, outcome] if people[c].dtype.kind not in "fiub"]
        if text:
            raise ValueError(f"column {text[0]!r} of {name} holds {people[text[0]].dtype}; expected numbers")
    for name, people in tests.items():
        both = set(discovery["patient"]) & set(people["patient"])
        if both:
            raise ValueError(f"{len(both)} patients of {name!r} took part in discovery, {sorted(both)[0]!r} among them")
    # One set of complete cases for all rows, or the rows would be compared on different people.
    complete = {k: v[[*columns, outcome, "patient"]].dropna().reset_index(drop=True) for k, v in sets.items()}
    for name, people in complete.items():
        if people[outcome].nunique() < 2:
            raise ValueError(
                f"{name} has {len(people)} complete cases and only one kind of {outcome!r}; two are needed"
            )
    centre, spread = complete["discovery"][columns].mean(), complete["discovery"][columns].std()
    constant = [c for c in columns if not spread[c] > 0]
    if constant:
        raise ValueError(f"{constant[0]!r} is constant on the discovery patients; leave it out")
    rows = []
    before: dict[str, tuple[np.ndarray, Sequence[str]]] = {}
    for model, cols in models.items():
        cols = list(cols)
        fitted, note = _logit(complete["discovery"], cols, outcome, centre, spread)
        for name, people in complete.items():
            y = people[outcome].to_numpy(int)
            score = _design(people, cols, centre, spread) @ fitted
            patient = people["patient"].to_numpy()
            area = auc_interval(y, score, patient, ci, seed)
            row: dict[str, Any] = {"model": model, "people": name, "features": len(cols), "n": len(y)}
            row |= {"n_missing": len(sets[name]) - len(y), "auc": area.value, "low": area.low, "high": area.high}
            row |= {"accuracy": float(((score > 0) == y).mean()), "note": note}
            if name in before:
                old, old_cols = before[name]
                change = auc_difference(y, score, old, patient, ci, seed)
                row |= {"change": change.value, "change_low": change.low, "change_high": change.high}
                if name != "discovery" and set(old_cols) < set(cols):
                    one_each = people.drop_duplicates("patient")  # the test knows no clusters
                    row["lr_p"], why = _likelihood_ratio(one_each, list(old_cols), cols, outcome, centre, spread)
                    row["note"] = "; ".join(filter(None, [note, why]))
            before[name] = (score, cols)
            rows.append(row)
    order = ["model", "people", "features", "n", "n_missing", "auc", "low", "high", "accuracy"]
    order += ["change", "change_low", "change_high", "lr_p", "note"]
    return pd.DataFrame(rows).reindex(columns=order).set_index(["model", "people"])


def _design(people: pd.DataFrame, cols: list[str], centre: pd.Series, spread: pd.Series) -> np.ndarray:
    return sm.add_constant(((people[cols] - centre[cols]) / spread[cols]).to_numpy(float), has_constant="add")


def _logit(
    people: pd.DataFrame, cols: list[str], outcome: str, centre: pd.Series, spread: pd.Series
) -> tuple[np.ndarray, str]:
    x, y = _design(people, cols, centre, spread), people[outcome].to_numpy(float)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        warnings.simplefilter("error", PerfectSeparationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return np.asarray(sm.Logit(y, x).fit(disp=0, maxiter=200).params), ""
        except (PerfectSeparationError, PerfectSeparationWarning, ConvergenceWarning, np.linalg.LinAlgError):
            # Too many or too good columns for these people: an L1 penalty keeps the coefficients finite.
            fitted = sm.Logit(y, x).fit_regularized(alpha=np.r_[0.0, np.full(len(cols), 1.0)], disp=0, trim_mode="off")
            return np.asarray(fitted.params), "not estimable by maximum likelihood; L1 penalty of 1 per SD"


def _likelihood_ratio(
    people: pd.DataFrame, small: list[str], large: list[str], outcome: str, centre: pd.Series, spread: pd.Series
) -> tuple[float, str]:
    if len(people) < 5 * len(large):
        return np.nan, f"no likelihood-ratio test: {len(people)} people for {len(large)} columns, fewer than 5 each"
    y = people[outcome].to_numpy(float)
    fits = []
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        warnings.simplefilter("error", PerfectSeparationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            fits = [
                sm.Logit(y, _design(people, c, centre, spread)).fit(disp=0, maxiter=200).llf for c in (small, large)
            ]
        except (PerfectSeparationError, PerfectSeparationWarning, ConvergenceWarning, np.linalg.LinAlgError):
            return np.nan, "no likelihood-ratio test: the refit on these people has no finite solution"
    return float(scipy.stats.chi2.sf(2 * (fits[1] - fits[0]), len(large) - len(small))), ""
