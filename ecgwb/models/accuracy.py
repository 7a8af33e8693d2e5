"""How well predictions fit measurements, with intervals from resampling patients."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import ttest_ind

from ..cohorts.guards import check, kind_of
from ..cohorts.people import groups, patients_of, same_people
from ..stats import Estimate, auc, auc_interval, bootstrap, check_level, mean_interval, ratio_interval
from .prediction import is_of_absent
from .spec import ModelError


def accuracy_table(
    predictions: xr.Dataset,
    cohort: xr.Dataset,
    suffix: str = "",
    *,
    by: str | None = None,
    edges: Sequence[float] | None = None,
    against: xr.Dataset | None = None,
    ci: float = 0.95,
) -> pd.DataFrame:
    """How well predictions fit a cohort's measurements.

    Parameters
    ----------
    predictions : Dataset
        From `predict`.
    cohort : Dataset
        The same records, with the measurements.
    suffix : str
        ``"_manual"`` compares with the values from marks made by hand.
    by : str, optional
        A column of the cohort, such as ``"sex"``, ``"age"``, ``"diagnosis"`` or ``"hr"``: rows are then (group,
        target). Numbers are cut at `edges`, by default into thirds. A text that lists several things, parted by ";",
        counts in the group of each. Groups of fewer than ten patients are left out.
    edges : sequence of float, optional
        Where to cut a number; a group holds its lower edge.
    against : Dataset, optional
        Another network's predictions of these records, for a paired comparison.
    ci : float
        Level of the intervals, 0 to 1.

    Returns
    -------
    DataFrame, a row per target that the cohort has (and per group)
        Numbers: ``score`` the mean absolute error with its patient-bootstrap interval, ``bias`` and Bland-Altman limits
        (mean and mean ± 1.96 SD of prediction - measurement), ``slope`` of prediction on measurement, ``constant`` the
        error of always predicting the median, ``skill`` = 1 - score / constant with its patient-bootstrap interval,
        which is above 0 where the network knows more than the median. ``absent``: how many predictions rest on what
        the person does not have, such as PR without a P wave (`predict` marks them); ``n`` are compared, which most of
        those are not, as nothing was measured. Log-odds: ``score`` is accuracy,
        ``auc`` the area under the ROC curve with its patient-bootstrap interval. With `against`, ``change`` is the mean
        absolute error, or the AUC, less that of the other predictions, on the same people, with its interval; two
        intervals that overlap say nothing of it. With `by`, ``p`` is of Welch's test that a group's mean score is that
        of everybody else, a patient counting once; it is not corrected for the number of groups
        (`ecgwb.stats.adjusted_p` does that).

    Raises
    ------
    ModelError
        When a cohort is given for the predictions, when the cohort lacks a record or has nothing to compare with, or
        when predictions and measurements are in different units.
    RecordError
        When `by` is no column of records, or none of its groups has ten patients.
    ValueError
        When a record is another patient's in the cohort than in the predictions.

    Warns
    -----
    UserWarning
        When the network has seen some of these patients; when predictions are compared that rest on what a person does
        not have.
    """
    check_level(ci)
    cohort = _cohort_of(predictions, cohort)
    if against is not None:
        _cohort_of(against, cohort)
        lacking = set(predictions["record"].values.tolist()) - set(against["record"].values.tolist())
        if lacking:
            raise ModelError(
                f"the other predictions lack record {min(map(str, lacking))!r}; give both of the same cohort"
            )
        against = against.sel(record=predictions["record"].values)
        if not set(predictions.data_vars) & set(against.data_vars):
            raise ModelError(
                f"the predictions are of {', '.join(map(str, predictions.data_vars))}, the others of "
                f"{', '.join(map(str, against.data_vars))}; nothing can be compared"
            )
    for whose, given in (("the network", predictions), ("the other network", against)):
        n_seen = int(given["seen"].sum()) if given is not None and "seen" in given.coords else 0
        if n_seen:
            warnings.warn(
                f"{n_seen} of {predictions.sizes['record']} records are of patients whose data shaped {whose}: no "
                "measure of how it does on others. Leave them out with "
                "predictions.isel(record=~predictions.seen.values)",
                stacklevel=2,
            )
    if not suffix:  # who measured a PR by hand saw a P wave
        _warn_of_absent(predictions, cohort)
    if by is None:
        return _table(predictions, cohort, suffix, against, ci)
    parts = {}
    for group, rows in groups(cohort, by, edges).items():
        own, of = predictions.isel(record=rows), cohort.isel(record=rows)
        table = _table(own, of, suffix, None if against is None else against.isel(record=rows), ci)
        parts[group] = table.assign(p=[_unlike_others(predictions, cohort, t, suffix, rows) for t in table.index])
    return pd.concat(parts, names=[by])


def _cohort_of(predictions: Any, cohort: xr.Dataset) -> xr.Dataset:
    """The cohort's records that the predictions are of, paired by name, whatever the order."""
    if not isinstance(predictions, xr.Dataset) or "record" not in predictions.dims:
        raise TypeError(f"predictions is {kind_of(predictions)}; expected what wb.predict gives")
    if "beat" in predictions or "fiducial" in predictions:
        raise ModelError("the first argument is a cohort; accuracy_table takes predictions, then the cohort")
    cohort = check(cohort)
    records = predictions["record"].values
    unknown = set(records.tolist()) - set(cohort["record"].values.tolist())
    if unknown:
        raise ModelError(f"the cohort has no record {min(map(str, unknown))!r}; give the one predictions come from")
    same_people(predictions, cohort)
    return cohort.sel(record=records)


def _warn_of_absent(predictions: xr.Dataset, cohort: xr.Dataset) -> None:
    """Warns of compared predictions that rest on a wave or a rhythm which the person does not have."""
    compared = {}
    for target in predictions.data_vars:
        if target in cohort:
            known = cohort[target].notnull().values & predictions[target].notnull().values
            compared[target] = int((is_of_absent(predictions, target) & known).sum())
    some = {target: n for target, n in compared.items() if n}
    if some:
        numbers = ", ".join(f"{n} of {target}" for target, n in some.items())
        warnings.warn(
            f"compared are predictions that rest on what a person does not have ({numbers}), such as PR without a P "
            "wave or QTc in atrial fibrillation. Leave them out with "
            "predictions.isel(record=predictions.rests_on_absent.values == '')",
            stacklevel=3,
        )


def _table(
    predictions: xr.Dataset, cohort: xr.Dataset, suffix: str, against: xr.Dataset | None, ci: float
) -> pd.DataFrame:
    rows, patient = {}, patients_of(cohort)
    for target, predicted in predictions.data_vars.items():
        name = f"{target}{suffix}"
        if name not in cohort:
            continue
        for of, values in (("the predictions", predicted), ("the cohort", cohort[name])):
            if values.dtype.kind not in "fiub":
                raise ModelError(f"{name!r} of {of} holds {values.dtype}; expected numbers to compare")
        ok = np.isfinite(predicted.values) & np.isfinite(cohort[name].values)
        if not ok.any():
            continue
        values, true = predicted.values[ok], cohort[name].values[ok]
        if predicted.attrs.get("units") == "log-odds":
            if not np.isin(true, (0, 1)).all():
                raise ModelError(f"{target!r} is predicted in log-odds; the cohort's {name!r} is not 0 or 1 throughout")
            rows[target] = _of_a_class(values, true, patient[ok], ci)
        else:
            unit = same_unit(target, predicted.attrs.get("units", ""), cohort[name].attrs.get("units", ""))
            n_absent = int((is_of_absent(predictions, target) & np.isfinite(predicted.values)).sum())
            rows[target] = _of_a_number(values, true, patient[ok], ci) | {"unit": unit, "absent": n_absent}
        if against is not None and target in against:
            other = against[target]
            if other.dtype.kind not in "fiub":
                raise ModelError(f"{str(target)!r} of the other predictions holds {other.dtype}; expected numbers")
            same_unit(target, other.attrs.get("units", ""), predicted.attrs.get("units", ""))
            rows[target] |= _change(values, against[target].values[ok], true, patient[ok], rows[target]["metric"], ci)
    if not rows:
        names = ", ".join(str(k) for k in predictions.data_vars if not str(k).endswith("_probability"))
        made = "; statements become variables by wb.cohorts.with_statements" if "diagnosis" in cohort.coords else ""
        raise ModelError(
            f"nothing to compare: no record has both a prediction and a value in the cohort of {names}{made}"
        )
    return pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), name="target"))


def same_unit(target: Hashable, predicted: str, measured: str) -> str:
    """The unit of both; an error where each has its own, as for a network that gives QT in s."""
    if predicted and measured and predicted != measured:
        raise ModelError(
            f"{target!r} is predicted in {predicted}, as the network's spec says, and measured in {measured}; convert "
            f"the predictions first: predictions[{target!r}] = (factor * predictions[{target!r}]).assign_attrs("
            f"units={measured!r})"
        )
    return measured or predicted


def _unlike_others(predictions: xr.Dataset, cohort: xr.Dataset, target: str, suffix: str, rows: np.ndarray) -> float:
    """p that the records of a group have the mean score of all others; NaN where one side has fewer than two."""
    values, true = predictions[target].values, cohort[f"{target}{suffix}"].values
    if predictions[target].attrs.get("units") == "log-odds":
        score = np.where(np.isfinite(values + true), (values > 0) == (true > 0.5), np.nan)
    else:
        score = np.abs(values - true)
    inside = np.isin(np.arange(len(score)), rows)
    table = pd.DataFrame({"patient": patients_of(cohort), "inside": inside, "score": score}).dropna()
    means = table.groupby(["inside", "patient"])["score"].mean()
    one, other = (means[means.index.get_level_values("inside") == k].to_numpy(float) for k in (True, False))
    if min(len(one), len(other)) < 2 or np.ptp(np.concatenate([one, other])) == 0:
        return np.nan
    return float(ttest_ind(one, other, equal_var=False).pvalue)


def _change(
    values: np.ndarray, other: np.ndarray, true: np.ndarray, patient: np.ndarray, metric: str, ci: float
) -> dict[str, float]:
    """How much larger the error, or the AUC, is than that of other predictions, on the people whom both predict."""
    both = np.isfinite(other)
    values, other, true, patient = values[both], other[both], true[both], patient[both]
    if metric == "MAE":
        found = mean_interval(np.abs(values - true) - np.abs(other - true), patient, ci)
    else:
        found = bootstrap(lambda w: auc(true, values, w) - auc(true, other, w), patient, ci)
    return {"change": found.value, "change_low": found.low, "change_high": found.high}


def _of_a_class(log_odds: np.ndarray, true: np.ndarray, patient: np.ndarray, ci: float) -> dict[str, Any]:
    hit = mean_interval(((log_odds > 0) == (true > 0.5)).astype(float), patient, ci)
    area = auc_interval(true, log_odds, patient, ci)
    return {
        "metric": "accuracy", "unit": "", "n": len(true), "score": hit.value, "low": hit.low, "high": hit.high,
        "constant": max(true.mean(), 1 - true.mean()), "auc": area.value, "auc_low": area.low, "auc_high": area.high,
    }  # fmt: skip


def _of_a_number(predicted: np.ndarray, true: np.ndarray, patient: np.ndarray, ci: float) -> dict[str, Any]:
    error = mean_interval(np.abs(predicted - true), patient, ci)
    constant = np.abs(true - np.median(true)).mean()
    skill = skill_interval(predicted, true, patient, ci)
    away = predicted - true
    spread = away.std(ddof=1) if len(away) > 1 else np.nan
    return {
        "metric": "MAE", "unit": "", "n": len(true), "score": error.value, "low": error.low, "high": error.high,
        "constant": constant, "skill": skill.value, "skill_low": skill.low, "skill_high": skill.high,
        "slope": np.polyfit(true, predicted, 1)[0] if len(true) > 2 and np.ptp(true) > 0 else np.nan,
        "bias": away.mean(), "limit_low": away.mean() - 1.96 * spread, "limit_high": away.mean() + 1.96 * spread,
    }  # fmt: skip


def skill_interval(predicted: np.ndarray, true: np.ndarray, patient: np.ndarray, ci: float = 0.95) -> Estimate:
    """1 - MAE / MAE of always giving the median, with its patient-bootstrap interval; NaN where all are the same.

    Parameters
    ----------
    predicted, true : array (record,)
        Finite.
    patient : array (record,)
    """
    of_median = np.abs(true - np.median(true))
    found = ratio_interval(np.abs(predicted - true), of_median, patient, ci)
    return Estimate(1 - found.value, 1 - found.high, 1 - found.low)
