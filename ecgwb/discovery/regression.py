"""Regression: measurements made ready for it, the fits, and what a measurement adds to those before it.

Tables or arrays come in, tables or arrays go out. What cannot be estimated is NaN, with the reason in words.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
import statsmodels.api as sm
from scipy.interpolate import BSpline
from sklearn.linear_model import LogisticRegression, Ridge
from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationError, PerfectSeparationWarning

from ..cohorts.guards import kind_of
from ..stats import Estimate, auc, bootstrap

FEWEST_FOR_TEST = 20  # patients for any test, and any choice of features
PER_COLUMN = 5  # people for each column, below which no coefficient is estimated
_STRAIGHT = 10  # a column with fewer different values than this gets no spline
_REDUNDANT = 0.999  # R2 of a column on those before it
_WIDEST = 200.0  # of a 95 % interval of log-odds: a fit that "converged" on the way to infinity has a wider one
_NO_SOLUTION = (PerfectSeparationError, PerfectSeparationWarning, ConvergenceWarning, np.linalg.LinAlgError)
_SEPARATED = "not estimable: the columns separate the outcomes perfectly"


def detectable(
    people: int, columns: int = 0, tests: int = 1, cases: int | None = None, *, power: float = 0.8, alpha: float = 0.05
) -> dict[str, float]:
    """The smallest effects that a test on so many people finds, as often as `power` says.

    Parameters
    ----------
    people : int
        To be tested, one record each.
    columns : int
        Of the baseline and of what is known.
    tests : int
        Features tested; `alpha` is shared out among them (Bonferroni).
    cases : int, optional
        How many of the people have the outcome, where it is 0 or 1.
    power, alpha : float

    Returns
    -------
    dict
        ``people``; ``partial_r``, the partial correlation of feature and outcome (by Fisher's transformation; 1 where
        there are no more people than columns); with `cases`, ``difference_sd``: how far apart the means of the feature
        with and without the outcome are, in its SD (by the normal distribution, which is a little too hopeful of fewer
        than 20 of either).

    Examples
    --------
    >>> least = detectable(100, columns=2)
    >>> round(least["partial_r"], 2)
    0.28
    >>> round(detectable(100, columns=2, cases=50)["difference_sd"], 2)
    0.56

    Raises
    ------
    ValueError
        When a count is negative or `cases` are more than all people, or a level is not between 0 and 1.
    """
    counts = {"people": people, "columns": columns, "tests": tests, "cases": 0 if cases is None else cases}
    for name, value in (counts | {"power": power, "alpha": alpha}).items():
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise ValueError(f"{name} is {kind_of(value)}; expected a number")
    wrong = [f"{k} is {v!r}" for k, v in counts.items() if not float(v) >= (k == "tests") or v != np.floor(v)]
    wrong += [f"cases is {cases!r} of {people}"] * (cases is not None and cases > people)
    wrong += [f"{k} is {v!r}" for k, v in (("power", power), ("alpha", alpha)) if not 0 < v < 1]
    if wrong:
        raise ValueError(
            f"{wrong[0]}; expected counts of people, of columns and of at least one test, and levels of 0..1"
        )
    far = scipy.stats.norm.ppf(1 - alpha / tests / 2) + scipy.stats.norm.ppf(power)
    free = people - columns - 3
    out = {"people": float(people), "partial_r": float(np.tanh(far / np.sqrt(free))) if free > 0 else 1.0}
    if cases is not None:
        both = 0 < cases < people and free > 0
        out["difference_sd"] = float(far * np.sqrt(1 / cases + 1 / (people - cases))) if both else np.inf
    return out


# ---------------------------------------------------------------- columns


@dataclass(frozen=True)
class Column:
    """How one measurement enters a regression: in SDs of the discovery patients, straight or as a cubic spline.

    Parameters
    ----------
    name : str
    centre, spread : float
        Mean and SD in the discovery patients.
    knots : tuple of three floats
        5th, 50th and 95th percentile there; empty for a straight column.
    """

    name: str
    centre: float
    spread: float
    knots: tuple[float, ...] = ()

    @classmethod
    def of(cls, table: pd.DataFrame, name: str, *, spline: bool = False) -> Column:
        """The column of a table of discovery patients; a spline only where it has ten different values or more.

        Raises
        ------
        ValueError
            When it is constant.
        """
        v = table[name].to_numpy(float)
        if not np.std(v) > 1e-9 * max(1.0, float(np.abs(v).max())):
            raise ValueError(f"{name!r} is constant ({v[0]:g}) on the {len(v)} discovery patients; leave it out")
        low, middle, high = np.quantile(v, [0.05, 0.5, 0.95])  # few people beyond would carry a column alone
        curved = spline and len(np.unique(v)) >= _STRAIGHT and low < middle < high
        knots = (float(low), float(middle), float(high)) if curved else ()
        return cls(name, float(v.mean()), float(v.std(ddof=1)), knots)

    def matrix(self, values: np.ndarray) -> np.ndarray:
        """What enters for these values: array (record, 1), or (record, 4) for a spline, which is flat beyond its ends.

        scikit-learn's `SplineTransformer` spans the same curves by other columns, on which a ridge weighs differently:
        manifests frozen by earlier versions could not be read any more.
        """
        if not self.knots:
            return ((values - self.centre) / self.spread)[:, None]
        low, middle, high = self.knots
        t = np.r_[[low] * 4, middle, [high] * 4]
        # The five columns add up to one, which is the intercept; the first is left out.
        return BSpline.design_matrix(np.clip(values, low, high), t, 3).toarray()[:, 1:]


def columns_of(table: pd.DataFrame, covariates: Sequence[str], features: Sequence[str]) -> list[Column]:
    """How covariates (as splines) and features (straight) enter, from a table of discovery patients.

    Raises
    ------
    ValueError
        When a column is constant, or a feature follows from the columns before it.
    """
    columns = [Column.of(table, name, spline=True) for name in covariates]
    for name in features:
        column = Column.of(table, name)
        if columns:
            _refuse_redundant(column, columns, table)
        columns.append(column)
    return columns


def _refuse_redundant(column: Column, before: Sequence[Column], table: pd.DataFrame) -> None:
    y, x = table[column.name].to_numpy(float), design(before, table)
    rest = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    r2 = 1 - rest.var() / y.var()
    if r2 > _REDUNDANT:
        raise ValueError(
            f"{column.name!r} follows from {', '.join(c.name for c in before)} (R2 {r2:.5f} on discovery patients), so "
            "their coefficients cannot be separated; leave one out"
        )


def design(columns: Sequence[Column], table: pd.DataFrame) -> np.ndarray:
    """Intercept and columns of a table: array (record, 1 + columns)."""
    parts = [c.matrix(table[c.name].to_numpy(float)) for c in columns]
    return np.concatenate([np.ones((len(table), 1)), *parts], axis=1)


# ---------------------------------------------------------------- fits


class Fit(NamedTuple):
    """A regression: coefficients, the intercept first, with 95 % Wald intervals; NaN where not estimable."""

    params: np.ndarray
    low: np.ndarray
    high: np.ndarray
    loglik: float
    note: str  # why something is NaN


def regress(y: np.ndarray, x: np.ndarray, binary: bool) -> Fit:
    """Logistic regression of a binary outcome, least squares of another.

    Parameters
    ----------
    y : array (record,)
    x : array (record, 1 + columns)
        As `design` gives it, the intercept first.
    binary : bool
    """
    note = _not_estimable(x)
    if not note:
        with warnings.catch_warnings():
            for kind in (ConvergenceWarning, PerfectSeparationWarning):
                warnings.simplefilter("error", kind)
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                fitted = sm.Logit(y, x).fit(disp=0, maxiter=200) if binary else sm.OLS(y, x).fit()
                low, high = np.asarray(fitted.conf_int()).T
                if not binary or (np.isfinite(high - low).all() and (high - low).max() < _WIDEST):
                    return Fit(np.asarray(fitted.params), low, high, float(fitted.llf), "")
            except _NO_SOLUTION:
                pass
            note = _SEPARATED
    nothing = np.full(x.shape[1], np.nan)
    return Fit(nothing, nothing, nothing, np.nan, note)


def _not_estimable(x: np.ndarray) -> str:
    people, columns = len(x), x.shape[1] - 1
    if people < PER_COLUMN * columns:
        return f"{people} people for {columns} columns, fewer than {PER_COLUMN} each"
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return "not estimable: a column is constant on these people, or follows from the others"
    return ""


def few_cases(y: np.ndarray, columns: int, binary: bool) -> bool:
    """Whether there are fewer than five people a column, of the rarer outcome where it is 0 or 1.

    With fewer, a likelihood-ratio test no longer keeps its level (Vittinghoff and McCulloch 2007).
    """
    people = min(np.sum(y == 0), np.sum(y == 1)) if binary else len(y)
    return bool(people < PER_COLUMN * columns)


def bearable(y: np.ndarray, x: np.ndarray, binary: bool) -> bool:
    """Whether people are enough to fit these columns and one more on them, and no column separates them."""
    return not few_cases(y, x.shape[1], binary) and not regress(y, x, binary).note


def shrunk(y: np.ndarray, x: np.ndarray, binary: bool) -> np.ndarray:
    """Coefficients with a ridge of one per column in SDs: finite where the regression's own are not."""
    model = (
        LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-10, max_iter=1000) if binary else Ridge(alpha=1.0)
    )
    fitted = model.fit(x[:, 1:], y)
    return np.r_[np.ravel(fitted.intercept_), np.ravel(fitted.coef_)]


def frozen_coefficients(y: np.ndarray, x: np.ndarray, binary: bool) -> tuple[np.ndarray, str]:
    """Coefficients for predictions of other people: the regression's own, or shrunk ones and a note that says why."""
    fitted = regress(y, x, binary)
    if not fitted.note:
        return fitted.params, ""
    return shrunk(y, x, binary), f"frozen coefficients have a ridge of one per SD ({fitted.note})"


def is_binary(y: np.ndarray, outcome: str) -> bool:
    """Whether an outcome has two values, which then are 0 and 1."""
    values = np.unique(y)
    if len(values) < 2:
        raise ValueError(f"{outcome!r} is {values[0]:g} for all {len(y)} patients; two values are needed")
    if len(values) == 2 and not np.array_equal(values, [0.0, 1.0]):
        raise ValueError(f"{outcome!r} has the values {values[0]:g} and {values[1]:g}; expected 0 and 1")
    return len(values) == 2


def likelihood_ratio(y: np.ndarray, small: np.ndarray, large: np.ndarray, binary: bool) -> tuple[float, str]:
    """p of what `large` has beyond `small`, both fitted on these people; NaN and why, where it cannot be tested."""
    fits = [regress(y, x, binary) for x in (small, large)]
    why = fits[1].note or fits[0].note
    if why:
        return np.nan, f"no likelihood-ratio test: {why}"
    return float(scipy.stats.chi2.sf(2 * (fits[1].loglik - fits[0].loglik), large.shape[1] - small.shape[1])), ""


def calibration_slope(y: np.ndarray, predictor: np.ndarray, binary: bool) -> tuple[float, float, float, str]:
    """Slope of the outcome (its log-odds) on a frozen linear predictor, its interval, and why it is NaN.

    1: as steep as was promised; below 1: the predictor was too sure of itself.
    """
    fitted = regress(y, np.stack([np.ones(len(y)), predictor], axis=1), binary)
    why = fitted.note and f"no calibration slope: {fitted.note}"
    return float(fitted.params[1]), float(fitted.low[1]), float(fitted.high[1]), why


def r_squared(y: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """1 - squared error over variance, for many sets of weights (draw, record); below 0: worse than the mean."""
    w = np.ones((1, len(y))) if weights is None else weights
    n = w.sum(axis=1)
    variance = w @ y**2 - (w @ y) ** 2 / n
    return 1 - np.divide(w @ (y - predicted) ** 2, variance, out=np.full(len(w), np.nan), where=variance > 0)


def score_row(
    y: np.ndarray,
    predictor: np.ndarray,
    patient: np.ndarray,
    beyond: Mapping[str, np.ndarray],
    *,
    binary: bool = True,
    ci: float = 0.95,
    seed: int = 0,
) -> dict[str, float]:
    """How well a frozen predictor does, and how much better than others, on the same resamplings of patients.

    Parameters
    ----------
    y, predictor, patient : array (record,)
    beyond : mapping of name to array (record,)
        Other predictors.
    binary : bool
        Scored by the AUC, or else by R2.
    ci : float
        Level of the percentile intervals.
    seed : int

    Returns
    -------
    dict
        ``score``, ``low``, ``high``; and of the difference to each other predictor its name, with ``_low``, ``_high``.
    """
    measure = auc if binary else r_squared

    def score(weights: np.ndarray) -> np.ndarray:
        return measure(y, predictor, weights)

    def gain(other: np.ndarray) -> Estimate:
        return bootstrap(lambda weights: score(weights) - measure(y, other, weights), patient, ci, seed)

    row: dict[str, float] = {}
    row["score"], row["low"], row["high"] = bootstrap(score, patient, ci, seed)
    for name, other in beyond.items():
        row[name], row[f"{name}_low"], row[f"{name}_high"] = gain(other)
    return row


# ---------------------------------------------------------------- nested models


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
        The column to predict, 0 or 1.
    ci : float
        Level of the percentile intervals, from 1,000 resamplings of patients.
    seed : int
        Of the resamplings.

    Returns
    -------
    DataFrame, rows ``model`` and ``people`` ("discovery" first)
        - ``features``: how many columns the model has
        - ``n``, ``n_missing``: records with every column of all models, and without
        - ``auc``, ``low``, ``high``
        - ``accuracy``: share in the right half, at probability 0.5
        - ``change``, ``change_low``, ``change_high``: in AUC, against the row above
        - ``lr_p``: of the likelihood-ratio test
        - ``note``: where something could not be done

    Raises
    ------
    ValueError
        When a patient is on both sides, a column is missing or constant, or one outcome is absent.
    """
    tables = {"discovery": discovery, **tests}
    columns = _check_tables(models, tables, outcome)
    # One set of complete cases for all rows, or the rows would be compared on different people.
    complete = {k: t[[*columns, outcome, "patient"]].dropna().reset_index(drop=True) for k, t in tables.items()}
    for name, table in complete.items():
        if table[outcome].nunique() < 2:
            raise ValueError(f"{name} has {len(table)} complete cases and only one kind of {outcome!r}; two are needed")
    made = {c: Column.of(complete["discovery"], c) for c in columns}
    rows: list[dict[str, Any]] = []
    before: list[Column] = []
    scores: dict[str, np.ndarray] = {}  # of the row above, by people
    for model, names in models.items():
        mine = [made[c] for c in names]
        x = {k: design(mine, t) for k, t in complete.items()}
        y = {k: t[outcome].to_numpy(int) for k, t in complete.items()}
        beta, note = frozen_coefficients(y["discovery"], x["discovery"], True)
        for people, table in complete.items():
            score = x[people] @ beta
            row: dict[str, Any] = {
                "model": model,
                "people": people,
                "features": len(mine),
                "n": len(table),
                "n_missing": len(tables[people]) - len(table),
                "accuracy": float(((score > 0) == y[people]).mean()),
                "note": note,
            }
            above = {"change": scores[people]} if people in scores else {}
            row |= score_row(y[people], score, table["patient"].to_numpy(), above, ci=ci, seed=seed)
            if above and people != "discovery" and set(before) < set(mine):
                first = ~table["patient"].duplicated().to_numpy()  # the test takes records as independent
                small = design(before, table)[first]
                row["lr_p"], why = likelihood_ratio(y[people][first], small, x[people][first], True)
                row["note"] = "; ".join(filter(None, [note, why]))
            rows.append(row)
            scores[people] = score
        before = mine
    order = ["model", "people", "features", "n", "n_missing", "auc", "low", "high", "accuracy"]
    order += ["change", "change_low", "change_high", "lr_p", "note"]
    return pd.DataFrame(rows).rename(columns={"score": "auc"}).reindex(columns=order).set_index(["model", "people"])


def _check_tables(models: Mapping[str, Sequence[str]], tables: Mapping[str, pd.DataFrame], outcome: str) -> list[str]:
    """All columns of the models, once the tables are known to hold them, and no patient on both sides."""
    lone = [m for m, names in models.items() if isinstance(names, str)]
    if lone:
        raise ValueError(f"model {lone[0]!r} is the text {models[lone[0]]!r}; expected a list of columns")
    columns = list(dict.fromkeys(c for names in models.values() for c in names))
    for name, table in tables.items():
        if not isinstance(table, pd.DataFrame):
            raise TypeError(f"{name} is {kind_of(table)}; expected a DataFrame, a row per record")
        absent = [c for c in [*columns, outcome, "patient"] if c not in table]
        if absent:
            raise ValueError(f"{name} has no column {', '.join(absent)}")
        text = [c for c in [*columns, outcome] if table[c].dtype.kind not in "fiub"]
        if text:
            raise ValueError(f"column {text[0]!r} of {name} holds {table[text[0]].dtype}; expected numbers")
        both = set(tables["discovery"]["patient"]) & set(table["patient"])
        if both and name != "discovery":
            raise ValueError(f"{len(both)} patients of {name!r} took part in discovery, {sorted(both)[0]!r} among them")
    return columns
