"""How far landmarks lie from the cardiologists' marks, as a standard error: fitted on LUDB, tested out of fold.

python -m studies.landmark_doubt   prints the constants of ecgwb.delineation.landmarks, and writes the table of coverage
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import minimize
from scipy.stats import spearmanr

from ecgwb.cohorts.cohort import open_cohort
from ecgwb.delineation.landmarks import LANDMARKS, STANDARD_ERROR, interval_errors

TABLE = Path(__file__).parent / "results" / "landmark-doubt.csv"
FOLDS = 5
# Of the factor, at least: LUDB has few recordings whose leads disagree much, but what they show is never certain.
LEAST = 0.5
FREEDOM = 4  # of Student's t, by which errors are distributed: a few marks lie far off


def main() -> None:
    people = open_cohort("ludb")
    for name, (floor, factor) in constants(people).items():
        print(f'    "{name}": ({floor:.2f}, {factor:.2f}),')
    table = coverage(people)
    table.to_csv(TABLE, float_format="%.4g", lineterminator="\n")
    print(table.round(2).to_string())


def constants(people: xr.Dataset) -> dict[str, tuple[float, float]]:
    """Floor and factor of each landmark, from all people."""
    error, spread = errors(people), spreads(people)
    return {name: fit(error[name], spread[name]) if name != "R" else (0.0, 0.0) for name in LANDMARKS}


def errors(people: xr.Dataset) -> pd.DataFrame:
    """Found less marked by hand (record, landmark), ms."""
    return pd.DataFrame((people["fiducial"] - people["fiducial_manual"]).to_pandas())


def spreads(people: xr.Dataset) -> pd.DataFrame:
    """The spread over leads and beats (record, landmark), ms, from which a landmark's doubt was made."""
    doubt = pd.DataFrame(people["doubt"].to_pandas())
    floor, factor = np.array([STANDARD_ERROR[name] for name in doubt.columns]).T
    return (doubt**2 - floor**2).clip(lower=0).pow(0.5) / np.where(factor > 0, factor, np.nan)


def fit(error: pd.Series, spread: pd.Series) -> tuple[float, float]:
    """Floor and factor by maximum likelihood, then scaled so that 68 % and 95 % are met as nearly as they can be."""
    known = error.notna() & spread.notna()
    e, s = error[known].to_numpy(), spread[known].to_numpy()

    def minus_log_likelihood(logs: np.ndarray) -> float:
        scale = np.hypot(np.exp(logs[0]), np.exp(logs[1]) * s)
        return float((np.log(scale) + (FREEDOM + 1) / 2 * np.log1p((e / scale) ** 2 / FREEDOM)).sum())

    bounds = [(None, None), (np.log(LEAST), None)]
    floor, factor = np.exp(minimize(minus_log_likelihood, [1.0, 0.0], method="Nelder-Mead", bounds=bounds).x)
    size = np.abs(e) / np.hypot(floor, factor * s)
    # The geometric mean of what once and twice the standard error ask for.
    scale = np.sqrt(np.quantile(size, 0.68) * np.quantile(size, 0.95) / 2)
    return float(floor * scale), float(factor * scale)


def coverage(people: xr.Dataset) -> pd.DataFrame:
    """Shares of marks within once and twice the standard error, each person's by constants from the other folds.

    Returns
    -------
    DataFrame, a row per landmark and interval, and group of people
        Groups: everyone; thirds of heart rate, QRS duration and noise. ``n``, ``within_1``, ``within_2``, ``rank`` (the
        Spearman correlation of the standard error with the error's size).
    """
    error, spread = errors(people), spreads(people)
    fold = np.array([int(r) % FOLDS for r in error.index])
    made = pd.DataFrame(np.nan, error.index, error.columns)
    for k in range(FOLDS):
        for name in LANDMARKS:
            if name != "R":
                floor, factor = fit(error.loc[fold != k, name], spread.loc[fold != k, name])
                made.loc[fold == k, name] = np.hypot(floor, factor * spread.loc[fold == k, name])
    intervals = interval_errors(made.to_numpy().T)
    for name in ("pr", "qrs", "qt"):
        error[name], made[name] = (people[name] - people[f"{name}_manual"]).values, intervals[name]
    kinds = {"hr": people["hr"], "qrs": people["qrs"], "noise": people["lead_noise"].mean("lead")}
    groups = {("all", ""): np.ones(len(error), bool)}
    for by, values in kinds.items():
        third = np.digitize(values, np.nanquantile(values, [1 / 3, 2 / 3]))
        groups |= {(by, f"third {k + 1}"): third == k for k in range(3)}
    rows = {}
    for name in error.columns.drop("R"):
        for group, members in groups.items():
            e, s = np.abs(error.loc[members, name]), made.loc[members, name]
            known = e.notna() & s.notna()
            e, s = e[known], s[known]
            rows[name, *group] = {
                "n": len(e), "within_1": (e <= s).mean(), "within_2": (e <= 2 * s).mean(), "rank": spearmanr(e, s)[0]
            }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["of", "by", "group"])


if __name__ == "__main__":
    main()
