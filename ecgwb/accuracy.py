"""How well predictions fit measurements, with intervals from resampling patients."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .maps import patient_draws
from .models import ModelError


def accuracy_table(predictions: xr.Dataset, cohort: xr.Dataset, suffix: str = "", *, ci: float = 0.95) -> pd.DataFrame:
    """How well predictions fit a cohort's measurements.

    Parameters
    ----------
    predictions : Dataset
        From `predict`.
    cohort : Dataset
        The same records, with the measurements.
    suffix : str
        ``"_manual"`` compares with the values from marks made by hand.

    Returns
    -------
    DataFrame, a row per target that the cohort has
        Numbers: ``score`` the mean absolute error with its patient-bootstrap interval, ``bias`` and Bland-Altman limits
        (mean and mean ± 1.96 SD of prediction - measurement), ``slope`` of prediction on measurement, ``constant`` the
        error of always saying the median, ``skill`` = 1 - score / constant. Log-odds: ``score`` is accuracy.

    Warns
    -----
    UserWarning
        When the network has seen some of these patients.
    """
    unknown = set(predictions["record"].values.tolist()) - set(cohort["record"].values.tolist())
    if unknown:
        raise ModelError(
            f"the cohort has no record {sorted(map(str, unknown))[0]!r}; give the one predictions come from"
        )
    n_seen = int(predictions["seen"].sum()) if "seen" in predictions.coords else 0
    if n_seen:
        warnings.warn(
            f"{n_seen} of {predictions.sizes['record']} records are of patients whose data shaped the network: no "
            "measure of how it does on others. Leave them out with predictions.isel(record=~predictions.seen.values)",
            stacklevel=2,
        )
    cohort = cohort.sel(record=predictions["record"].values)  # paired by name, whatever the order
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
        low, high = mean_interval(hit[ok], cohort["patient"].values[ok], ci)
        row: dict[str, Any] = {
            "target": t,
            "metric": "accuracy" if logit else "MAE",
            "unit": "" if logit else cohort[name].attrs.get("units", ""),
        }
        row |= {"n": int(ok.sum()), "score": hit[ok].mean(), "low": low, "high": high}
        if logit:
            row["constant"] = max(true[ok].mean(), 1 - true[ok].mean())
        else:
            d = said[ok] - true[ok]
            row["constant"] = np.abs(true[ok] - np.median(true[ok])).mean()
            row["skill"] = 1 - row["score"] / row["constant"] if row["constant"] > 0 else np.nan
            row["slope"] = np.polyfit(true[ok], said[ok], 1)[0] if ok.sum() > 2 and np.ptp(true[ok]) > 0 else np.nan
            row |= {"bias": d.mean(), "limit_low": d.mean() - 1.96 * d.std(), "limit_high": d.mean() + 1.96 * d.std()}
        rows.append(row)
    if not rows:
        raise ModelError(f"the cohort has none of {', '.join(map(str, predictions.data_vars))} to compare with")
    return pd.DataFrame(rows).set_index("target")


def mean_interval(values: np.ndarray, patient: np.ndarray, ci: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of a mean over records, from 1,000 resamplings of patients."""
    who = pd.factorize(patient)[0]
    n = int(who.max()) + 1
    sums, counts = np.bincount(who, values, n), np.bincount(who, minlength=n)
    draws = patient_draws(n, seed)
    low, high = np.quantile((draws @ sums) / (draws @ counts), [(1 - ci) / 2, (1 + ci) / 2])
    return float(low), float(high)
