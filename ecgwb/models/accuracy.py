"""How well predictions fit measurements, with intervals from resampling patients."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..cohorts.people import groups, patients_of, same_people
from ..stats import auc_interval, mean_interval
from .spec import ModelError


def accuracy_table(
    predictions: xr.Dataset,
    cohort: xr.Dataset,
    suffix: str = "",
    *,
    by: str | None = None,
    edges: Sequence[float] | None = None,
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
    ci : float
        Level of the intervals, 0 to 1.

    Returns
    -------
    DataFrame, a row per target that the cohort has (and per group)
        Numbers: ``score`` the mean absolute error with its patient-bootstrap interval, ``bias`` and Bland-Altman limits
        (mean and mean ± 1.96 SD of prediction - measurement), ``slope`` of prediction on measurement, ``constant`` the
        error of always saying the median, ``skill`` = 1 - score / constant. Log-odds: ``score`` is accuracy, ``auc``
        the area under the ROC curve with its patient-bootstrap interval.

    Raises
    ------
    ModelError
        When a cohort is given for the predictions, or the cohort lacks a record or has nothing to compare with.
    RecordError
        When `by` is no column of records, or none of its groups has ten patients.
    ValueError
        When a record is another patient's in the cohort than in the predictions.

    Warns
    -----
    UserWarning
        When the network has seen some of these patients.
    """
    if "beat" in predictions or "fiducial" in predictions:
        raise ModelError("the first argument is a cohort; accuracy_table takes predictions, then the cohort")
    unknown = set(predictions["record"].values.tolist()) - set(cohort["record"].values.tolist())
    if unknown:
        raise ModelError(
            f"the cohort has no record {sorted(map(str, unknown))[0]!r}; give the one predictions come from"
        )
    same_people(predictions, cohort)
    n_seen = int(predictions["seen"].sum()) if "seen" in predictions.coords else 0
    if n_seen:
        warnings.warn(
            f"{n_seen} of {predictions.sizes['record']} records are of patients whose data shaped the network: no "
            "measure of how it does on others. Leave them out with predictions.isel(record=~predictions.seen.values)",
            stacklevel=2,
        )
    cohort = cohort.sel(record=predictions["record"].values)  # paired by name, whatever the order
    if by is not None:
        with warnings.catch_warnings():  # said once, above
            warnings.filterwarnings("ignore", "[0-9]+ of [0-9]+ records are of patients", UserWarning)
            parts = {
                group: accuracy_table(predictions.isel(record=rows), cohort.isel(record=rows), suffix, ci=ci)
                for group, rows in groups(cohort, by, edges).items()
            }
        return pd.concat(parts, names=[by])
    rows = []
    for t in predictions.data_vars:
        name = f"{t}{suffix}"
        if name not in cohort:
            continue
        said, true = predictions[t].values, cohort[name].values
        ok = np.isfinite(said) & np.isfinite(true)
        if not ok.any():
            continue
        logit = predictions[t].attrs.get("units") == "log-odds"
        hit = ((said > 0) == (true > 0.5)).astype(float) if logit else np.abs(said - true)
        patient = patients_of(cohort)
        row: dict[str, Any] = {
            "target": t,
            "metric": "accuracy" if logit else "MAE",
            "unit": "" if logit else cohort[name].attrs.get("units", ""),
        }
        row["n"] = int(ok.sum())
        row |= dict(zip(("score", "low", "high"), mean_interval(hit[ok], patient[ok], ci), strict=True))
        if logit:
            row["constant"] = max(true[ok].mean(), 1 - true[ok].mean())
            row |= dict(
                zip(("auc", "auc_low", "auc_high"), auc_interval(true[ok], said[ok], patient[ok], ci), strict=True)
            )
        else:
            d = said[ok] - true[ok]
            spread = d.std(ddof=1) if len(d) > 1 else np.nan
            row["constant"] = np.abs(true[ok] - np.median(true[ok])).mean()
            row["skill"] = 1 - row["score"] / row["constant"] if row["constant"] > 0 else np.nan
            row["slope"] = np.polyfit(true[ok], said[ok], 1)[0] if ok.sum() > 2 and np.ptp(true[ok]) > 0 else np.nan
            row |= {"bias": d.mean(), "limit_low": d.mean() - 1.96 * spread, "limit_high": d.mean() + 1.96 * spread}
        rows.append(row)
    if not rows:
        raise ModelError(f"the cohort has none of {', '.join(map(str, predictions.data_vars))} to compare with")
    return pd.DataFrame(rows).set_index("target")
