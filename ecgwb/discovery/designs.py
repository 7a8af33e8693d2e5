"""Columns made ready for regression, and the regressions themselves: what cannot be estimated is said in words."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
import statsmodels.api as sm
from scipy.interpolate import BSpline
from sklearn.linear_model import LogisticRegression, Ridge
from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationError, PerfectSeparationWarning

PER_COLUMN = 5  # people below which a column's coefficient is not estimated
_STRAIGHT = 10  # a column with fewer different values than this gets no spline
_REDUNDANT = 0.999  # R2 of a column on those before it


@dataclass(frozen=True)
class Column:
    """How one measurement enters a regression: in SDs of the discovery patients, straight or as a cubic spline."""

    name: str
    centre: float
    spread: float
    knots: tuple[float, ...] = ()  # 5th, 50th and 95th percentile; none: straight

    def matrix(self, values: np.ndarray) -> np.ndarray:
        """(record, 1), or (record, 4) for a spline, which beyond its outer knots stays as it is there."""
        if not self.knots:
            return ((values - self.centre) / self.spread)[:, None]
        low, middle, high = self.knots
        t = np.r_[[low] * 4, middle, [high] * 4]
        # The first of the five columns is what the intercept already says.
        return BSpline.design_matrix(np.clip(values, low, high), t, 3).toarray()[:, 1:]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"knots": list(self.knots)}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Column:
        return cls(said["name"], said["centre"], said["spread"], tuple(said["knots"]))


class Fit(NamedTuple):
    """A regression."""

    params: np.ndarray  # intercept first; NaN where not estimable
    low: np.ndarray
    high: np.ndarray  # 95 % Wald intervals
    loglik: float
    note: str  # why something is NaN


def columns_of(table: pd.DataFrame, covariates: Sequence[str], features: Sequence[str]) -> list[Column]:
    """How to enter covariates (splines, where they have ten values or more) and features (straight).

    Raises
    ------
    ValueError
        When a column is constant, or follows from those before it.
    """
    out: list[Column] = []
    for name in [*covariates, *features]:
        v = table[name].to_numpy(float)
        if not np.std(v) > 1e-9 * max(1.0, float(np.abs(v).max())):
            raise ValueError(f"{name!r} is constant ({v[0]:g}) on the {len(v)} discovery patients; leave it out")
        curved = name in covariates and len(np.unique(v)) >= _STRAIGHT
        low, middle, high = np.quantile(v, [0.05, 0.5, 0.95])  # few people beyond would carry a column alone
        knots = (float(low), float(middle), float(high)) if curved and low < middle < high else ()
        out.append(Column(name, float(v.mean()), float(v.std(ddof=1)), knots))
    for k, column in enumerate(out):
        if k and column.name in features:
            _not_redundant(column, out[:k], table)
    return out


def _not_redundant(column: Column, before: Sequence[Column], table: pd.DataFrame) -> None:
    y, x = table[column.name].to_numpy(float), design(before, table)
    rest = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    r2 = 1 - rest.var() / y.var()
    if r2 > _REDUNDANT:
        raise ValueError(
            f"{column.name!r} follows from {', '.join(c.name for c in before)} (R2 {r2:.5f} on discovery patients), so "
            "its coefficient cannot be told from theirs; leave one out"
        )


def design(columns: Sequence[Column], table: pd.DataFrame) -> np.ndarray:
    """Intercept and columns: array (record, 1 + columns)."""
    parts = [c.matrix(table[c.name].to_numpy(float)) for c in columns]
    return np.concatenate([np.ones((len(table), 1)), *parts], axis=1)


def regress(y: np.ndarray, x: np.ndarray, binary: bool) -> Fit:
    """Logistic regression of a binary outcome, least squares of another; x (record, column) with its intercept."""
    nothing = np.full(x.shape[1], np.nan)
    if len(y) < PER_COLUMN * x.shape[1]:
        return Fit(nothing, nothing, nothing, np.nan, _few(len(y), x.shape[1]))
    if np.linalg.matrix_rank(x) < x.shape[1]:
        same = "a column is constant on these people, or follows from the others"
        return Fit(nothing, nothing, nothing, np.nan, f"not estimable: {same}")
    with warnings.catch_warnings():
        for kind in (ConvergenceWarning, PerfectSeparationWarning):
            warnings.simplefilter("error", kind)
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            fitted = (sm.Logit(y, x).fit(disp=0, maxiter=200)) if binary else sm.OLS(y, x).fit()
        except (PerfectSeparationError, PerfectSeparationWarning, ConvergenceWarning, np.linalg.LinAlgError):
            return Fit(nothing, nothing, nothing, np.nan, "not estimable: the columns separate the outcomes perfectly")
    low, high = np.asarray(fitted.conf_int()).T
    # A fit that "converged" on the way to infinity has standard errors to match.
    if binary and not (np.isfinite(high - low).all() and (high - low).max() < 200):
        return Fit(nothing, nothing, nothing, np.nan, "not estimable: the columns separate the outcomes perfectly")
    return Fit(np.asarray(fitted.params), low, high, float(fitted.llf), "")


def shrunk(y: np.ndarray, x: np.ndarray, binary: bool) -> np.ndarray:
    """Coefficients with a ridge of one per column in SDs: finite where the regression's own are not."""
    model = (
        LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-10, max_iter=1000) if binary else Ridge(alpha=1.0)
    )
    fitted = model.fit(x[:, 1:], y)
    return np.r_[np.ravel(fitted.intercept_), np.ravel(fitted.coef_)]


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


def _few(people: int, columns: int) -> str:
    return f"{people} people for {columns} columns, fewer than {PER_COLUMN} each"
