"""Frozen features on people who took no part in finding them: what they add to what was known."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..cohorts.guards import check, kind_of
from ..stats import CORRECTIONS, adjusted_p, check_level
from .beyond import FEW, KNOWN
from .manifests import ALL, Manifest, earlier_tests, hashed, hashed_recordings, note_test
from .regression import (
    FEWEST_FOR_TEST,
    Column,
    bearable,
    calibration_slope,
    design,
    few_cases,
    likelihood_ratio,
    regress,
    score_row,
)


def compare_features(
    manifest: Manifest,
    cohort: xr.Dataset,
    outcome: str | None = None,
    baseline: Sequence[str] | None = None,
    *,
    correction: str = "holm",
    ci: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """What each frozen feature, and all together, add to the baseline on people who took no part in finding them.

    For the likelihood-ratio test and the effect, coefficients are refitted on these people: is it associated at all?
    For the area under the curve (R2, where the outcome has more than two values), its change and the calibration, the
    coefficients are those frozen on discovery patients: does the prediction hold? DeLong's test is not valid for nested
    models (Demler et al. 2012), so the change has a patient-bootstrap interval in its place. One record per patient,
    the first, is used. What the table cannot show: that a feature causes anything, or holds on other devices or people.

    Parameters
    ----------
    manifest : Manifest
        From `freeze` or `load_manifest`.
    cohort : Dataset
        People none of whom was among the discovery patients.
    outcome, baseline : str, sequence of str, optional
        Those frozen, and no others; may be given for the reader's sake.
    correction : {"holm", "bh"}
        Over the frozen features: the chance of one false finding (Holm), or the share of false ones among the findings
        (Benjamini-Hochberg).
    ci : float
        Level of the percentile intervals, from 1,000 resamplings of patients. Wald intervals, of effect and
        calibration slope, are of 95 %.
    seed : int
        Of the resamplings.

    Returns
    -------
    DataFrame, rows "baseline", each feature by name, "all features"
        - ``n``, ``n_missing``: patients with everything the row needs, and without
        - ``effect``, ``effect_low``, ``effect_high``: per SD of the discovery patients (log-odds, or the outcome's
          unit), with its Wald interval
        - ``lr_p``, ``p``: of the likelihood-ratio test, and corrected over the features. Of a manifest with known
          columns an effect against that of the discovery patients has a p of 1.
        - ``score``, ``low``, ``high``: AUC or R2
        - ``change``, ``change_low``, ``change_high``: of the score against the baseline's on the same people
        - ``slope``, ``slope_low``, ``slope_high``: of the calibration
        - ``note``: why a figure is missing

        ``attrs``: the score's name, the correction, what was tried, the manifest's hash, the cohort.

    Raises
    ------
    ValueError
        When discovery patients are among the people, a record has no patient, outcome or baseline are others than those
        frozen, there are fewer than 20 patients, they have one outcome only, or the correction is unknown.

    Warns
    -----
    UserWarning
        When the manifest was tested on some of these people before: a second look is no second chance.
    """
    if not isinstance(manifest, Manifest):
        raise TypeError(f"manifest is {kind_of(manifest)}; expected what wb.freeze gives")
    check_level(ci)
    if correction not in CORRECTIONS:
        raise ValueError(f"correction is {correction!r}; expected one of {', '.join(CORRECTIONS)}")
    _check_frozen("outcome", outcome, manifest.outcome)
    _check_frozen("baseline", None if baseline is None else list(baseline), list(manifest.baseline))
    cohort = check(cohort)
    patients = hashed(cohort)
    both = set(patients) & set(manifest.discovery)
    if both:
        raise ValueError(
            f"{len(both)} of {len(patients)} patients took part in discovery; test on others: "
            "wb.split_patients(cohort)[1]"
        )
    same = len(set(hashed_recordings(cohort)) & set(manifest.recordings))
    if same:
        raise ValueError(
            f"{same} recordings of this cohort are among those of discovery, under other names of patients; test on "
            "others, or leave these out"
        )
    people = manifest.table(cohort)
    _check_people(people, manifest)
    before = earlier_tests(manifest, patients)
    if before:
        warnings.warn(
            f"this manifest was tested on {before[-1]['again']} of these people before ({before[-1]['when']}, "
            f"{before[-1]['cohort']}); what is found now was not found on people seen for the first time",
            stacklevel=2,
        )
    rows = [_row(m, people, manifest, ci, seed) for m in manifest.models]
    table = pd.DataFrame(rows, index=pd.Index(manifest.models, name="model")).reindex(columns=_COLUMNS)
    names = [f.name for f in manifest.features]
    table.loc[names, "p"] = adjusted_p(table.loc[names, "lr_p"].to_numpy(float), correction)
    source = str(cohort.attrs.get("source", "cohort"))
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    note_test(manifest, {"when": when, "cohort": source, "n": len(patients), "people": patients})
    table.attrs = {
        "score": "AUC" if manifest.binary else "R2",
        "correction": correction,
        "tried": dict(manifest.tried),
        "manifest": manifest.sha256,
        "cohort": source,
    }
    return table


_COLUMNS = [
    "n", "n_missing", "effect", "effect_low", "effect_high", "lr_p", "p", "score", "low", "high", "change",
    "change_low", "change_high", "slope", "slope_low", "slope_high", "note",
]  # fmt: skip


def _check_frozen(what: str, given: Any, frozen: Any) -> None:
    if given is not None and given != frozen:
        raise ValueError(f"the manifest froze {what} {frozen!r}, not {given!r}; freeze another one for that")


def _check_people(people: pd.DataFrame, manifest: Manifest) -> None:
    """Refuses people among whom even the baseline cannot be tested."""
    complete = people[[manifest.outcome, *manifest.baseline]].dropna()
    if len(complete) < FEWEST_FOR_TEST:
        lacking = people.isna().sum()
        worst = f"; {lacking.max()} lack {lacking.idxmax()!r}" if lacking.max() else ""
        raise ValueError(
            f"{len(complete)} of {len(people)} patients have {manifest.outcome} and the baseline{worst}; a test needs "
            f"at least {FEWEST_FOR_TEST}"
        )
    if manifest.binary and complete[manifest.outcome].nunique() < 2:
        only = complete[manifest.outcome].iloc[0]
        raise ValueError(f"{manifest.outcome!r} is {only:g} for all {len(complete)} patients; both outcomes are needed")


def _row(model: str, people: pd.DataFrame, manifest: Manifest, ci: float, seed: int) -> dict[str, Any]:
    columns, covariates = manifest.columns_for(model), manifest.columns_for("baseline")
    complete = people[[manifest.outcome, *(c.name for c in columns)]].dropna()
    y, binary = complete[manifest.outcome].to_numpy(float), manifest.binary
    row: dict[str, Any] = {"n": len(y), "n_missing": len(people) - len(y)}
    notes = [manifest.notes.get(model, "")]
    if len(y) < FEWEST_FOR_TEST or (binary and len(np.unique(y)) < 2):
        return row | {"note": f"{len(y)} complete cases, at least {FEWEST_FOR_TEST} with both outcomes are needed"}
    if model != "baseline":
        still = [c.name for c in columns[len(covariates) :] if complete[c.name].nunique() < 2]
        notes += [f"{n!r} is constant on these people" for n in still]
    x, x0 = design(columns, complete), design(covariates, complete)
    predicted, by_baseline = x @ manifest.coefficients[model], x0 @ manifest.coefficients["baseline"]
    above = {} if model == "baseline" else {"change": by_baseline}
    row |= score_row(y, predicted, complete.index.to_numpy(), above, binary=binary, ci=ci, seed=seed)
    row["slope"], row["slope_low"], row["slope_high"], why = calibration_slope(y, predicted, binary)
    notes.append(why)
    if manifest.beyond is not None:
        x0, x, why = _tested(manifest, people.loc[complete.index], columns, covariates, y)
        notes.append(why)
    if model != "baseline":
        row["lr_p"], why = likelihood_ratio(y, x0, x, binary)
        notes.append(why)
        if model != ALL:
            fitted = regress(y, x, binary)
            row |= {"effect": fitted.params[-1], "effect_low": fitted.low[-1], "effect_high": fitted.high[-1]}
            if manifest.beyond is not None and fitted.params[-1] * manifest.coefficients[model][-1] < 0:
                row["lr_p"] = 1.0
                notes.append("the effect is against that in discovery")
    return row | {"note": "; ".join(filter(None, notes))}


def _tested(
    manifest: Manifest, people: pd.DataFrame, columns: list[Column], covariates: list[Column], y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str]:
    """Both designs of a test beyond what is known, and a note: as much is fitted on these people as they can bear."""
    assert manifest.beyond is not None
    own = [c for c in columns if c not in covariates]
    features = design(own, people)[:, 1:]
    score = [c for c in covariates if c.name == KNOWN]
    if score:  # without it nothing is known but the covariates
        whole = manifest.beyond.basis(people, design([c for c in covariates if c.name != KNOWN], people))
        if bearable(y, whole, manifest.binary):
            return whole, np.c_[whole, features], ""
    x0 = design(covariates, people)
    few = few_cases(y, x0.shape[1] - 1 + len(own), manifest.binary)
    if few and score:
        x0 = design(score, people)
    return x0, np.c_[x0, features], FEW if few else ""
