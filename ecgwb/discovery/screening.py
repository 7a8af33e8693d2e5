"""Screening: every amplitude and slope against the outcome, without a network; and the ranking both ways share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ..stats import adjusted_p
from .designs import columns_of, design, likelihood_ratio
from .features import Feature, Point, feature_table
from .manifests import FEWEST, table_of

ALIKE = 0.8  # correlation, of one or several, from which a further feature says what those before it say


class Proposals(list[Feature]):
    """Features, the likeliest first, with what was tried on the way to them.

    ``tried``: counts, which `freeze` writes down. ``p``: of the map against its null, or of the best screened feature,
    corrected. ``places``: where the map led, a row each.
    """

    def __init__(
        self, features: Iterable[Feature], tried: Mapping[str, int], p: float, places: pd.DataFrame | None = None
    ) -> None:
        super().__init__(features)
        self.tried, self.p = dict(tried), p
        self.places = pd.DataFrame() if places is None else places


def screening_features(leads: Sequence[str]) -> list[Feature]:
    """Every amplitude and slope: at landmarks and half-way between, per lead, without any network."""
    points: list[Point] = [
        ("P_peak", 0.0, "P_off"), ("QRS_on", 0.5, "R"), ("R", 0.0, "J"), ("R", 0.5, "J"), ("J", 0.0, "T_on"),
        ("J", 0.5, "T_on"), ("T_on", 0.5, "T_peak"), ("T_peak", 0.0, "T_off"), ("T_peak", 0.5, "T_off"),
    ]  # fmt: skip
    first: Point = ("P_on", 0.0, "P_peak")
    ends: list[tuple[Point, Point]] = [
        (first, points[0]), (points[0], ("P_peak", 1.0, "P_off")), (("QRS_on", 0.0, "R"), points[1]),
        (points[1], points[2]), (points[2], points[3]), (points[3], points[4]), (points[4], points[5]),
        (points[5], ("T_on", 0.0, "T_peak")), (("T_on", 0.0, "T_peak"), points[6]), (points[6], points[7]),
        (points[7], points[8]), (points[8], ("T_peak", 1.0, "T_off")),
    ]  # fmt: skip
    out = [Feature("amplitude", lead, (p,), origin="screening") for lead in leads for p in points]
    return out + [Feature("slope", lead, two, origin="screening") for lead in leads for two in ends]


def screen_features(
    cohort: xr.Dataset,
    outcome: str = "male",
    baseline: Sequence[str] = ("age", "hr"),
    *,
    n: int = 3,
    alpha: float = 0.05,
) -> Proposals:
    """The same without a network: the best of every amplitude and slope that pass on discovery patients.

    Likelihood-ratio tests beside `baseline`, Holm-corrected over all of them; one that correlates by 0.8 or more with
    better ones, alone or together, is passed over.

    Parameters
    ----------
    cohort : Dataset
        Discovery patients: the first part of `split_patients`.
    outcome : str
        A variable of the cohort: two values (logistic regression) or more (least squares).
    baseline : sequence of str
        Covariates, as in `freeze`.
    n : int
        Most features to propose.
    alpha : float
        Largest corrected p of a feature that passes.

    Returns
    -------
    Proposals
        A list of up to `n` features, the likeliest first, which `freeze` takes; empty where none passes.

    Raises
    ------
    ValueError
        When the outcome is in the baseline, fewer than 20 people have it, or a column holds no numbers.
    """
    if outcome in baseline:
        raise ValueError(f"the outcome {outcome!r} is in the baseline {tuple(baseline)}; give another baseline")
    if outcome in cohort and cohort[outcome].dtype.kind in "fiub":
        known = int(np.isfinite(cohort[outcome].values.astype(float)).sum())
        if known < FEWEST:
            raise ValueError(f"{known} records have {outcome!r}; expected at least {FEWEST} to screen on")
    features = screening_features([str(v) for v in cohort["lead"].values])
    ranked = rank(features, cohort, outcome, baseline)
    p = np.array([v for _, v in ranked])
    adjusted = adjusted_p(p, "holm", tests=len(features))
    passed = [one for one, q in zip(ranked, adjusted, strict=True) if q <= alpha]
    tried = {"candidates": len(features)}
    return Proposals(unlike(passed, cohort, n), tried, float(adjusted.min(initial=1.0)))


def rank(
    features: Sequence[Feature], cohort: xr.Dataset, outcome: str, baseline: Sequence[str]
) -> list[tuple[Feature, float]]:
    """Features with the p of their likelihood-ratio test beside the baseline, smallest first; none that has no p."""
    people = table_of(cohort, outcome, baseline, features)
    out = []
    for f in features:
        table = people[[outcome, *baseline, f.name]].dropna()
        if len(table) < max(FEWEST, len(people) // 2):
            continue
        try:
            columns = columns_of(table, list(baseline), [f.name])
        except ValueError:  # constant, or the baseline by another name: nothing to rank
            continue
        y = table[outcome].to_numpy(float)
        binary = len(np.unique(y)) == 2
        p, _ = likelihood_ratio(y, design(columns[:-1], table), design(columns, table), binary)
        if np.isfinite(p):
            out.append((f, p))
    return sorted(out, key=lambda one: one[1])


def unlike(ranked: Sequence[tuple[Feature, float]], cohort: xr.Dataset, n: int) -> list[Feature]:
    """The first n of which none is said by those before it: R2 of its ranks on theirs below 0.8 squared."""
    values = feature_table([f for f, _ in ranked], cohort)
    out: list[Feature] = []
    for f, _ in ranked:
        if len(out) == n:
            break
        ranks = values[[*(g.name for g in out), f.name]].dropna().rank().to_numpy()
        before, y = np.c_[np.ones(len(ranks)), ranks[:, :-1]], ranks[:, -1]
        left = y - before @ np.linalg.lstsq(before, y, rcond=None)[0]
        if left.var() > (1 - ALIKE**2) * y.var():
            out.append(f)
    return out
