"""Statistics with intervals from resampling patients."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

RESAMPLES = 1000


def mean_interval(values: np.ndarray, patient: np.ndarray, ci: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of a mean over records, from 1,000 resamplings of patients."""
    who = pd.factorize(patient)[0]
    n = int(who.max()) + 1
    sums, counts = np.bincount(who, values, n), np.bincount(who, minlength=n)
    draws = patient_draws(n, seed)
    low, high = np.quantile((draws @ sums) / (draws @ counts), [(1 - ci) / 2, (1 + ci) / 2])
    return float(low), float(high)


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
    array (draw,); NaN where a draw has one outcome only. scikit-learn's `roc_auc_score` takes one draw at a time.
    """
    order = np.argsort(score, kind="stable")
    w = (np.ones((1, len(y))) if weights is None else weights)[:, order]
    first = np.flatnonzero(np.diff(score[order], prepend=-np.inf))  # of each run of equal scores
    ones, zeros = (np.add.reduceat(w * c, first, axis=1) for c in (y[order], 1 - y[order]))
    below = np.cumsum(zeros, axis=1) - zeros / 2
    pairs = ones.sum(axis=1) * zeros.sum(axis=1)
    right = (ones * below).sum(axis=1)
    return np.divide(right, pairs, out=np.full(len(w), np.nan), where=pairs > 0)


def auc_interval(
    score: np.ndarray, truth: np.ndarray, patient: np.ndarray, ci: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Area under the ROC curve, and its percentile interval from 1,000 resamplings of patients; NaN for one class."""
    if len(np.unique(truth)) < 2:
        return np.nan, np.nan, np.nan
    who = pd.factorize(patient)[0]
    drawn = auc(truth, score, patient_draws(int(who.max()) + 1, seed)[:, who])
    low, high = np.nanquantile(drawn, [(1 - ci) / 2, (1 + ci) / 2])
    return float(auc(truth, score)[0]), float(low), float(high)


def patient_draws(n_patients: int, seed: int = 0) -> np.ndarray:
    """How often each of 1,000 resamplings of patients, with replacement, draws each patient: array (draw, patient)."""
    return np.random.default_rng(seed).multinomial(n_patients, np.full(n_patients, 1 / n_patients), RESAMPLES)


def patient_weights(names: np.ndarray, seed: int = 0) -> np.ndarray:
    """How often each of 1,000 resamplings draws each record: (draw, record), the same for all records of a patient."""
    unique, inverse = np.unique(names, return_inverse=True)
    drawn = np.empty((len(unique), RESAMPLES))
    for i, name in enumerate(unique):
        key = int.from_bytes(name_hash(f"{seed} {name}"), "big")
        drawn[i] = np.random.Generator(np.random.Philox(key=key)).poisson(1.0, RESAMPLES)
    return drawn[inverse].T


def name_hash(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16).digest()
