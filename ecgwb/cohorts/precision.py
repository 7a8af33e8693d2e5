"""How precise the intervals of a cohort are, and what that does to a regression on them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from ..delineation.landmarks import interval_errors
from ..recordings.record import RecordError
from .guards import check
from .measurements import TARGETS

_INTERVALS = ("pr", "qrs", "qt")
LIMITS = 1.96  # standard deviations: 95 % of differences lie within, if they are Gaussian


def standard_errors(cohort: xr.Dataset) -> xr.Dataset:
    """The standard errors of PR, QRS and QT, from the doubt of the landmarks at their ends.

    Parameters
    ----------
    cohort : Dataset
        With ``doubt`` (record, landmark).

    Returns
    -------
    Dataset
        ``pr``, ``qrs``, ``qt`` (record,), ms; NaN where a landmark is absent, or was put in by hand. The errors of the
        two ends count as independent.
    """
    cohort = check(cohort, "doubt")
    return xr.Dataset(
        {k: ("record", v, {"units": "ms"}) for k, v in interval_errors(cohort["doubt"].values.T).items()},
        coords={"record": cohort["record"]},
    )


def reliability(cohort: xr.Dataset) -> pd.DataFrame:
    """How much of the variance between people is not error of landmarks, for PR, QRS and QT.

    A regression slope on a measurement is smaller than the true one by its reliability: divide the slope by it to
    correct for this attenuation (Carroll et al., Measurement Error in Nonlinear Models, 2006, chapter 3). That holds
    for one measurement in a linear regression; beside others that correlate with it the correction is another.

    Parameters
    ----------
    cohort : Dataset
        With ``doubt``, ``pr``, ``qrs`` and ``qt``.

    Returns
    -------
    DataFrame, a row per interval
        - ``n``: records with the interval and its standard error
        - ``sd``: standard deviation between them, ms
        - ``error``: root mean square of their standard errors, ms
        - ``reliability``: 1 - (error / sd)², not below 0
    """
    cohort = check(cohort, "doubt", *_INTERVALS)
    errors, rows = standard_errors(cohort), {}
    for name in _INTERVALS:
        value, error = cohort[name].values, errors[name].values
        known = np.isfinite(value) & np.isfinite(error)
        n = int(known.sum())
        sd = float(value[known].std(ddof=1)) if n > 1 else np.nan
        rms = float(np.sqrt(np.mean(error[known] ** 2))) if n else np.nan
        rows[name] = {"n": n, "sd": sd, "error": rms, "reliability": max(1 - (rms / sd) ** 2, 0.0) if sd else np.nan}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("interval")


def agreement(cohort: xr.Dataset, other: str = "file") -> pd.DataFrame:
    """How a cohort's measurements agree with others of the same recordings (Bland & Altman, Lancet 1:307-310, 1986).

    Parameters
    ----------
    cohort : Dataset
        With measurements and the others', such as ``qt`` and ``qt_file``.
    other : str
        Whose: "file" of the recordings' own, "12sl" of PTB-XL+, "manual" of LUDB's cardiologists.

    Returns
    -------
    DataFrame, a row per measurement that both have
        - ``n``: records with both
        - ``bias``: mean of ours minus theirs, in the measurement's unit, as the next three
        - ``sd``: standard deviation of the differences
        - ``lower``, ``upper``: limits of agreement, the bias less and plus 1.96 SD

    Raises
    ------
    RecordError
        When the cohort has none of the others' measurements.
    """
    cohort = check(cohort)
    names = [str(name).removesuffix(f"_{other}") for name in cohort.variables if str(name).endswith(f"_{other}")]
    rows = {}
    for name in (name for name in (*TARGETS, *names) if name in names and name in cohort and name not in rows):
        if cohort[name].dims != ("record",):
            continue
        d = cohort[name].values - cohort[f"{name}_{other}"].values
        d = d[np.isfinite(d)]
        bias, sd = float(d.mean()) if len(d) else np.nan, float(d.std(ddof=1)) if len(d) > 1 else np.nan
        limits = {"lower": bias - LIMITS * sd, "upper": bias + LIMITS * sd}
        rows[name] = {"n": len(d), "bias": bias, "sd": sd, **limits}
    if not rows:
        raise RecordError(f"the cohort has no measurement that ends in '_{other}'; expected some, such as 'qt_{other}'")
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("measurement")
