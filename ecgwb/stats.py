"""Statistics: estimates with intervals from resampling patients, the area under the ROC curve, permutation tests.

Patients are resampled, not records: two records of one person are not two observations.

Parameters
----------
patient : array (record,)
    The patient of each record. Draws depend on which records share a patient, not on the names.
ci : float
    Level of percentile intervals, 0 to 1.
seed : int
    Of the 1,000 resamplings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

RESAMPLES = 1000
_FEW = 2000  # patients whose draws (16 MB) are kept: a panel asks hundreds of times for the same
CORRECTIONS = {"holm": "holm", "bh": "fdr_bh"}  # ours, and statsmodels' names of them
_ROUNDING = 1e-9  # relative difference below which two statistics are the same


class Estimate(NamedTuple):
    """A statistic with its interval."""

    value: float
    low: float
    high: float


def patient_draws(patient: np.ndarray, seed: int = 0) -> np.ndarray:
    """How often each of 1,000 resamplings of patients, with replacement, draws each record.

    Returns
    -------
    array (draw, record)
        Weights; the same for all records of a patient.
    """
    index = pd.factorize(np.asarray(patient))[0]
    return _draws(index.max() + 1, seed)[:, index]


def resampled_sums(values: np.ndarray, patient: np.ndarray, seed: int = 0) -> np.ndarray:
    """Sums over records in each resampling of `patient_draws`, added up by patient first, which is faster.

    Parameters
    ----------
    values : array (record, ...)
        Finite.

    Returns
    -------
    array (draw, ...)
    """
    index = pd.factorize(np.asarray(patient))[0]
    per_patient = np.zeros((index.max() + 1, *values.shape[1:]))
    np.add.at(per_patient, index, values)
    return np.tensordot(_draws(len(per_patient), seed), per_patient, axes=1)


def _draws(n: int, seed: int) -> np.ndarray:
    return _kept_draws(n, seed) if n <= _FEW else _drawn(n, seed)


@lru_cache(maxsize=4)
def _kept_draws(n: int, seed: int) -> np.ndarray:
    draws = _drawn(n, seed)
    draws.flags.writeable = False
    return draws


def _drawn(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES)


def check_level(ci: float) -> None:
    """Refuses a level of intervals that is not between 0 and 1."""
    if not isinstance(ci, (int, float)) or not 0 < ci < 1:
        raise ValueError(f"ci is {ci!r}; expected a level between 0 and 1, such as 0.95")


def interval(drawn: np.ndarray, ci: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of a statistic, from its values in resamplings.

    Parameters
    ----------
    drawn : array (draw, ...)
        NaN where a resampling has no value; these are left out.

    Returns
    -------
    low, high : array (...)
        NaN where no resampling has a value.
    """
    check_level(ci)
    known = ~np.isnan(drawn).all(axis=0)
    drawn = np.where(known, drawn, 0.0)
    low, high = np.nanquantile(drawn, [(1 - ci) / 2, (1 + ci) / 2], axis=0)
    return np.where(known, low, np.nan)[()], np.where(known, high, np.nan)[()]


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], patient: np.ndarray, ci: float = 0.95, seed: int = 0
) -> Estimate:
    """Any statistic of weighted records, with its percentile interval from 1,000 resamplings of patients.

    Parameters
    ----------
    statistic : callable
        From weights (draw, record) to values (draw,). A difference of two scores is paired when one statistic holds
        both: ``lambda w: auc(y, new, w) - auc(y, old, w)``.

    Returns
    -------
    Estimate
    """
    value = float(statistic(np.ones((1, len(patient))))[0])
    low, high = interval(statistic(patient_draws(patient, seed)), ci)
    return Estimate(value, float(low), float(high))


def ratio_interval(
    top: np.ndarray, bottom: np.ndarray, patient: np.ndarray, ci: float = 0.95, seed: int = 0
) -> Estimate:
    """Ratio of two sums over records, with its percentile interval from 1,000 resamplings of patients.

    Parameters
    ----------
    top, bottom : array (record,)
        A record that lacks either adds nothing to both.

    Returns
    -------
    Estimate
        NaN where `bottom` adds up to nothing.
    """
    both = np.stack([top, bottom]).astype(float)  # (2, record)
    both[:, ~np.isfinite(both).all(axis=0)] = 0.0
    whole = both.sum(axis=1)
    if not whole[1] > 0:
        return Estimate(np.nan, np.nan, np.nan)
    tops, bottoms = resampled_sums(both.T, patient, seed).T
    drawn = np.divide(tops, bottoms, out=np.full(RESAMPLES, np.nan), where=bottoms > 0)
    low, high = interval(drawn, ci)
    return Estimate(float(whole[0] / whole[1]), float(low), float(high))


def mean_interval(values: np.ndarray, patient: np.ndarray, ci: float = 0.95, seed: int = 0) -> Estimate:
    """Mean over records, with its percentile interval from 1,000 resamplings of patients.

    Parameters
    ----------
    values : array (record,)
        Records without a finite value are left out, and so are patients who have no other.

    Returns
    -------
    Estimate
        NaN where no record has a value.
    """
    known = np.isfinite(values)
    return ratio_interval(values[known], np.ones(known.sum()), patient[known], ci, seed)


def auc(y: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve for many sets of weights at once: the share of pairs in the right order, ties half.

    Parameters
    ----------
    y : array (record,) of 0 and 1
    score : array (record,)
    weights : array (draw, record), optional
        How often each draw has each record; once each by default.

    Returns
    -------
    array (draw,)
        NaN where a draw has one outcome only. scikit-learn's `roc_auc_score` takes one draw at a time.
    """
    order = np.argsort(score, kind="stable")
    w = (np.ones((1, len(y))) if weights is None else weights)[:, order]
    first = np.flatnonzero(np.diff(score[order], prepend=-np.inf))  # of each run of equal scores
    ones, zeros = (np.add.reduceat(w * c, first, axis=1) for c in (y[order], 1 - y[order]))
    below = np.cumsum(zeros, axis=1) - zeros / 2
    pairs = ones.sum(axis=1) * zeros.sum(axis=1)
    right = (ones * below).sum(axis=1)
    return np.divide(right, pairs, out=np.full(len(w), np.nan), where=pairs > 0)


def auc_interval(y: np.ndarray, score: np.ndarray, patient: np.ndarray, ci: float = 0.95, seed: int = 0) -> Estimate:
    """Area under the ROC curve, with its interval from resampling patients; NaN for one outcome. See `bootstrap`."""
    return bootstrap(lambda w: auc(y, score, w), patient, ci, seed)


def permutation_p(observed: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """p-values of statistics against those of permutations: (1 + how many are as large) / (1 + how many there are).

    With the largest statistic of a whole curve in `permuted`, one level holds for the curve (Westfall & Young 1993).
    The 1 counts the data themselves among the permutations (Phipson & Smyth 2010).

    Parameters
    ----------
    observed : array (...)
    permuted : array (permutation,)

    Returns
    -------
    array (...)
        NaN where `observed` is.
    """
    # Rounding must not tell a permutation that gives the same groups from the groups themselves.
    least = observed - _ROUNDING * np.abs(observed)
    as_large = len(permuted) - np.searchsorted(np.sort(permuted), least, side="left")
    return np.where(np.isnan(observed), np.nan, (1 + as_large) / (1 + len(permuted)))


def adjusted_p(p: np.ndarray, correction: str = "holm", tests: int | None = None) -> np.ndarray:
    """p-values corrected for how many tests were made.

    Parameters
    ----------
    p : array (test,)
        NaN for a test that could not be made: it counts as made and nothing found.
    correction : {"holm", "bh"}
        Holm's, which bounds the chance of any false finding; or Benjamini and Hochberg's, which bounds the share of
        false ones among the findings.
    tests : int, optional
        How many tests were made, where that is more than `p` holds.

    Returns
    -------
    array (test,)
        NaN where `p` is.
    """
    p = np.asarray(p, dtype=float)
    others = np.ones(max((tests or 0) - len(p), 0))
    every = np.concatenate([np.nan_to_num(p, nan=1.0), others])
    if not len(every):
        return every
    adjusted = multipletests(every, method=CORRECTIONS[correction])[1][: len(p)]
    return np.where(np.isnan(p), np.nan, adjusted)


def patient_weights(names: np.ndarray, seed: int = 0) -> np.ndarray:
    """How often each of 1,000 resamplings draws each record, when not all patients are known at once.

    Each patient's numbers are Poisson of mean 1 and follow from the name and the seed alone (the Poisson bootstrap,
    Chamandy et al. 2012), so that all parts of a cohort draw the same patients.

    Parameters
    ----------
    names : array (record,) of str
        The patients' names.

    Returns
    -------
    array (draw, record)
        The same for all records of a patient.
    """
    unique, inverse = np.unique(names, return_inverse=True)
    drawn = np.empty((len(unique), RESAMPLES))
    for i, name in enumerate(unique):
        key = int.from_bytes(name_hash(f"{seed} {name}"), "big")
        drawn[i] = np.random.Generator(np.random.Philox(key=key)).poisson(1.0, RESAMPLES)
    return drawn[inverse].T


def name_hash(name: str) -> bytes:
    """Sixteen bytes that follow from a patient's name alone, on every machine."""
    return hashlib.blake2b(name.encode(), digest_size=16).digest()
