"""What edits do to predictions: the paper's Table 3, with a sham span of the same length beside every wave."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn

from .edits import WAVES, blank
from .maps import patient_draws
from .models import ModelError, spec_of
from .prediction import predict


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


def blanking_table(model: nn.Module, cohort: xr.Dataset, fill: str = "linear", *, ci: float = 0.95) -> pd.DataFrame:
    """The paper's Table 3: the error per target on intact beats and with P, QRS or T blanked, and with shams.

    The truth stays the intact beat's measurement. A sham blanks a span of the wave's length where there is no wave.

    Parameters
    ----------
    model : nn.Module
    cohort : Dataset
        People the network has not seen.
    fill : {"linear", "flat"}
        See `ecgwb.edits.blank`.

    Returns
    -------
    DataFrame, a row per target
        ``metric`` (MAE in ``unit``, or accuracy as a share), then ``intact``, ``P``, ``QRS``, ``T``, ``sham_P``,
        ``sham_QRS``, ``sham_T``; then for each of these ``_low``, ``_high`` (patient bootstrap), ``_n``, the records
        that have the target and the wave (or room for the sham), and ``_same``, the score of intact beats on just
        these records, which is what to compare with.

    Raises
    ------
    ModelError
        When the network takes rhythms, or the cohort has none of its targets.
    """
    if spec_of(model).input != "beat":
        raise ModelError("blanking works on representative beats; this network takes rhythms")
    edited = {"intact": cohort} | {w: blank(cohort, w, fill) for w in WAVES}
    edited |= {f"sham_{w}": blank(cohort, w, fill, sham=True) for w in WAVES}
    tables, same = {}, {}
    intact = predict(model, cohort)
    for name, changed in edited.items():
        there = np.isfinite(changed["beat"].values).all(axis=(1, 2))
        if there.any():
            tables[name] = accuracy_table(predict(model, changed), cohort, ci=ci)
            rows = np.flatnonzero(there)
            same[name] = accuracy_table(intact.isel(record=rows), cohort.isel(record=rows), ci=ci)["score"]
    out = tables["intact"][["metric", "unit"]].copy()
    for name in edited:
        out[name] = tables[name]["score"] if name in tables else np.nan
    for name, table in tables.items():
        out[f"{name}_low"], out[f"{name}_high"], out[f"{name}_n"] = table["low"], table["high"], table["n"]
        out[f"{name}_same"] = same[name]
    return out
