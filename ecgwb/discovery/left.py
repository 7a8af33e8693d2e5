"""What a reader knows beyond what is known, and where in the ECG it is: tests on people who took no part.

Whatever is tested is first freed of what is known, with coefficients from discovery patients (`Beyond`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import expit

from ..stats import permutation_p
from .beyond import FEW, Beyond
from .readers import Reader
from .regression import (
    Column,
    bearable,
    columns_of,
    design,
    few_cases,
    frozen_coefficients,
    likelihood_ratio,
    regress,
    score_row,
)

N_PAIRS = 8  # of places, whose interplay is tested
_STRATUM = 40  # people in a stratum of the expected outcome, of at most
_MOST_STRATA = 20


@dataclass(frozen=True)
class People:
    """People of one group with everything that tests need, one record each.

    Parameters
    ----------
    cohort : Dataset
    table : DataFrame
        Known columns and baseline, a row per record.
    y : array (record,)
    patient : array (record,) of str
    """

    cohort: xr.Dataset
    table: pd.DataFrame
    y: np.ndarray
    patient: np.ndarray


@dataclass(frozen=True)
class Known:
    """What is known of an outcome, fitted on discovery patients: covariates as splines, and all columns as one score.

    Parameters
    ----------
    beyond : Beyond
    columns : list of Column
        The covariates'.
    score : Column
    binary : bool
    """

    beyond: Beyond
    columns: list[Column]
    score: Column | None
    binary: bool

    @classmethod
    def of(cls, people: People, baseline: Sequence[str], names: Sequence[str], binary: bool) -> Known:
        beyond = Beyond.of(people.table, names, people.y, binary)
        columns = columns_of(people.table, list(baseline), [])
        scores = pd.DataFrame({"score": beyond.score(people.table)})
        # With nothing known but the baseline, its splines say it all.
        more = set(names) - set(baseline)
        return cls(beyond, columns, Column.of(scores, "score") if more else None, binary)

    def design(self, people: People) -> np.ndarray:
        """Intercept, covariates and score: array (record, columns)."""
        x = design(self.columns, people.table)
        return x if self.score is None else np.c_[x, self.score.matrix(self.beyond.score(people.table))]

    def tested(self, people: People) -> tuple[np.ndarray, str]:
        """What a test on these people is beside, and a note: as much is fitted on them as they can bear.

        All known columns, where there are five people (of the rarer outcome) for each and none separates them; or else
        covariates and score; or else the score alone, which holds the covariates.
        """
        x = self.design(people)
        if self.score is not None:
            whole = self.beyond.basis(people.table, design(self.columns, people.table))
            if bearable(people.y, whole, self.binary):
                return whole, ""
        if not few_cases(people.y, x.shape[1], self.binary):
            return x, ""
        return (x if self.score is None else x[:, [0, -1]]), FEW

    def expected(self, people: People) -> np.ndarray:
        """The outcome (record,) expected on these people: a regression on the design, fitted on them."""
        x, _ = self.tested(people)
        if not self.binary:
            return np.asarray(x @ np.linalg.lstsq(x, people.y, rcond=None)[0])
        fitted = regress(people.y, x, True)
        if fitted.note:  # too few people for it: as discovery patients had it
            return self.beyond.expected(people.table, True)
        return np.asarray(expit(x @ fitted.params))

    def residual(self, people: People) -> np.ndarray:
        """What known measurements leave of the outcome (record,) of discovery patients."""
        return people.y - self.beyond.expected(people.table, self.binary)


# ---------------------------------------------------------------- is anything left?


def left_over(
    found_on: tuple[People, np.ndarray], tested_on: tuple[People, np.ndarray], known: Known, seed: int = 0
) -> dict[str, float | str]:
    """Whether a reader's output tells an outcome beyond what is known, on people who took no part.

    Parameters
    ----------
    found_on, tested_on : (People, array (record,))
        Discovery patients with outputs by networks that have not seen them, and other people with theirs.
    known : Known
    seed : int
        Of the resamplings.

    Returns
    -------
    dict

        - ``n``
        - ``p``: of the likelihood-ratio test beside what is known, both refitted on these people; 1 where the effect is
          against that in discovery
        - ``effect``, ``effect_low``, ``effect_high``: per SD of what is left of the output; log-odds, or the outcome's
          unit
        - ``score``: AUC or R2 of both together, frozen on discovery patients; ``change``, ``change_low``,
          ``change_high``: against what is known alone
        - ``note``: why a figure is missing
    """
    people, output = found_on
    others, their_output = tested_on
    coefficients = known.beyond.fitted(people.table, output[:, None])
    rest = known.beyond.freed(people.table, output[:, None], coefficients)[:, 0]
    sd = rest.std() or 1.0
    x = [np.c_[known.design(people), rest / sd]]
    theirs = known.beyond.freed(others.table, their_output[:, None], coefficients)[:, 0]
    x.append(np.c_[known.design(others), theirs / sd])
    fine = [np.isfinite(rest), np.isfinite(theirs)]
    y, own = people.y[fine[0]], x[0][fine[0]]
    (without, _), (with_it, note) = (frozen_coefficients(y, v, known.binary) for v in (own[:, :-1], own))
    row: dict[str, float | str] = {"n": int(fine[1].sum())}
    y, own = others.y[fine[1]], x[1][fine[1]]
    small, few = known.tested(others)
    small = small[fine[1]]
    large = np.c_[small, own[:, -1]]
    row["p"], why = likelihood_ratio(y, small, large, known.binary)
    fitted = regress(y, large, known.binary)
    row |= {"effect": fitted.params[-1], "effect_low": fitted.low[-1], "effect_high": fitted.high[-1]}
    if fitted.params[-1] * with_it[-1] < 0:
        row["p"], why = 1.0, "the effect is against that in discovery"
    frozen = {"change": own[:, :-1] @ without}
    scored = score_row(y, own @ with_it, others.patient[fine[1]], frozen, binary=known.binary, seed=seed)
    row |= {k: scored[k] for k in ("score", "change", "change_low", "change_high")}
    return row | {"note": "; ".join(filter(None, [why, few, note]))}


# ---------------------------------------------------------------- where is it?


@dataclass
class Places:
    """Leads' segments, and pairs of them, with what a reader makes of each, freed of what is known.

    Parameters
    ----------
    table : DataFrame, a row per place and pair (index ``place``)
        ``r``: the correlation of its effect with the outcome on discovery patients, ``p``; and for every group of
        people tested on ``r_<group>`` and ``p_<group>``.
    rows : list of tuple of int
        The places (of ``reader.places``) of each row.
    """

    table: pd.DataFrame
    rows: list[tuple[int, ...]]
    reader: Reader
    known: Known
    coefficients: list[np.ndarray]
    sign: np.ndarray

    def test(self, name: str, people: People, permutations: int = 2000, seed: int = 0) -> None:
        """Adds the columns of people who took no part."""
        pairs = [(row[0], row[1]) for row in self.rows if len(row) == 2]
        effects = np.c_[self.reader.effects(people.cohort), self.reader.interplay(people.cohort, pairs)]
        freed = _freed(self.known, people, effects, self.rows, self.coefficients)
        r, null = _within(freed * self.sign, people, self.known, permutations, seed)
        self.table[f"r_{name}"], self.table[f"p_{name}"] = r, permutation_p(r, null)


def locate(
    reader: Reader, discovery: People, known: Known, permutations: int = 2000, seed: int = 0
) -> Places:  # fmt: skip
    """Where what a reader knows beyond what is known lies: leads' segments, pairs of them, and the rhythm.

    The effect of a place is the reader's output less that with the place replaced by the common beat's (of the rhythm:
    less that with the common rate, or with regular intervals, where the reader takes recordings), that of a pair
    what both do together beyond the sum, f(x) - f(a) - f(b) + f(ab); freed of what is known, a pair's also of both
    single effects. On each group of people it is correlated with the outcome within strata of the outcome expected from
    what is known. Its sign is that of discovery, so that an effect the other way round counts as none. The outcome is
    permuted within strata, and the largest correlation of all places and pairs taken anew each time: one level holds
    for all of them, exactly where people of a stratum have the same expected outcome.

    Parameters
    ----------
    reader : Reader
    discovery : People
        Some of the discovery patients, who choose pairs and signs. Networks that have not seen them answer for them.
    known : Known
    permutations, seed : int

    Returns
    -------
    Places
        Its ``p`` on discovery patients follows a choice among many pairs and is no evidence; `Places.test` adds that.
    """
    single = reader.effects(discovery.cohort, out_of_fold=True)
    pairs = _pairs(reader, discovery, single, known)
    rows: list[tuple[int, ...]] = [*((k,) for k in range(len(reader.places))), *pairs]
    effects = np.c_[single, reader.interplay(discovery.cohort, pairs, out_of_fold=True)]
    coefficients = [known.beyond.fitted(discovery.table, single)]
    for k, row in enumerate(pairs, start=len(coefficients[0].T)):
        coefficients.append(known.beyond.fitted(discovery.table, effects[:, [k]], single[:, list(row)]))
    freed = _freed(known, discovery, effects, rows, coefficients)
    sign = np.sign(_within(freed, discovery, known)[0])
    sign[sign == 0] = 1.0
    r, null = _within(freed * sign, discovery, known, permutations, seed)
    words = [" and ".join(reader.places[k].words for k in row) for row in rows]
    table = pd.DataFrame({"r": r, "p": permutation_p(r, null)}, index=pd.Index(words, name="place"))
    return Places(table, rows, reader, known, coefficients, sign)


def _pairs(reader: Reader, discovery: People, single: np.ndarray, known: Known) -> list[tuple[int, int]]:
    """The pairs of whole segments whose interplay tells most in discovery: of all, or of the eight best places.

    A network that has to be run for each pair has those of its eight best places looked at; for the pooled network all
    are known by its weights.
    """
    whole = [k for k, place in enumerate(reader.places) if place.lead and not place.half]
    if reader.name != "pooled network":
        r = np.abs(_within(single[:, whole], discovery, known)[0])
        whole = [whole[k] for k in np.argsort(-r)[:N_PAIRS]]
    every = list(itertools.combinations(sorted(whole), 2))
    r = _within(reader.interplay(discovery.cohort, every, out_of_fold=True), discovery, known)[0]
    return [every[k] for k in np.argsort(-r)[:N_PAIRS]]


def _freed(
    known: Known, people: People, effects: np.ndarray, rows: list[tuple[int, ...]], coefficients: list[np.ndarray]
) -> np.ndarray:
    """Effects freed of what is known: places at once, then pairs, each also of its two places."""
    n = coefficients[0].shape[1]
    out = [known.beyond.freed(people.table, effects[:, :n], coefficients[0])]
    for k, beta in enumerate(coefficients[1:], start=n):
        out.append(known.beyond.freed(people.table, effects[:, [k]], beta, effects[:, list(rows[k])]))
    return np.concatenate(out, axis=1)


def strata(expected: np.ndarray) -> np.ndarray:
    """People (record,) in strata of the expected outcome, of 40 or more each where there are so many."""
    n = int(np.clip(len(expected) // _STRATUM, 1, _MOST_STRATA))
    return np.argsort(np.argsort(expected, kind="stable"), kind="stable") * n // len(expected)


def _within(
    values: np.ndarray, people: People, known: Known, permutations: int = 0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Correlation (column,) of values with the outcome within strata, and its largest after permuting (run,)."""
    expected = known.expected(people)
    stratum = strata(expected)
    y = people.y if known.binary else people.y - expected
    share = pd.get_dummies(stratum).to_numpy(float)
    share = share / np.sqrt(share.sum(axis=0))  # an orthogonal basis of the strata's means
    values = np.nan_to_num(values)
    values = values - share @ (share.T @ values)
    size = np.linalg.norm(values, axis=0)
    values = np.divide(values, size, out=np.zeros_like(values), where=size > 1e-12)
    drawn = np.random.default_rng(seed)
    runs = np.empty((len(y), 1 + permutations))
    runs[:, 0] = y
    for k in range(1, 1 + permutations):
        # Sorted by stratum, then at random within it: where y of each stratum goes.
        order = np.lexsort((drawn.random(len(y)), stratum))
        runs[np.argsort(stratum, kind="stable"), k] = y[order]
    runs -= share @ (share.T @ runs)
    runs /= np.linalg.norm(runs[:, 0]) or 1.0
    r = values.T @ runs  # (column, run)
    return r[:, 0], r[:, 1:].max(axis=0, initial=-1.0)


def leans_on(output: np.ndarray, people: People, beyond: Beyond, n: int = 8) -> pd.DataFrame:
    """Which known columns a reader's output follows: a concept check.

    Parameters
    ----------
    output : array (record,)
        Of discovery patients, by networks that have not seen them.
    people : People
        The same.
    beyond : Beyond
        Whose columns are asked about.
    n : int
        How many rows.

    Returns
    -------
    DataFrame, a row per column
        ``r``: its correlation with the output; ``alone``: how much of the output's variance only this column tells, of
        all of them. ``attrs["r2"]``: how much all of them tell together.
    """
    x = beyond.matrix(people.table)
    fine = np.isfinite(output)
    x, output = x[fine], (output[fine] - output[fine].mean()) / (output[fine].std() or 1.0)
    inverse = np.linalg.pinv(x.T @ x)
    beta = inverse @ (x.T @ output)
    r2 = 1 - float(((output - x @ beta) ** 2).mean())
    names = [*beyond.names, *(f"no {name}" for name in beyond.lacking)]
    with np.errstate(invalid="ignore", divide="ignore"):
        alone = beta**2 / np.diag(inverse) / len(output)
    r = np.array([np.corrcoef(x[:, k], output)[0, 1] if x[:, k].std() > 0 else 0.0 for k in range(1, x.shape[1])])
    table = pd.DataFrame({"r": r, "alone": alone[1:]}, index=pd.Index(names, name="known"))
    table = table.sort_values("alone", ascending=False).head(n)
    table.attrs["r2"] = r2
    return table
