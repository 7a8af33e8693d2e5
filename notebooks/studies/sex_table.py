"""The paper's case, sex, at the paper's scale: what tells sex from an ECG, and by how much, learnt from all of PTB-XL.

python -m studies.sex_table   writes results/sex-table.csv; minutes

Regressions are fitted on PTB-XL's folds 1 to 8 and judged on fold 10 and on LUDB, all on the same people: those with
everything that any row needs. The network's log-odds of folds 1 to 8 come from networks that have not learnt from them.
Two rows say what kind of knowledge it is: what of the network the classic measurements do not tell by addition, and a
linear regression on the whole aligned beat, without any network.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV

from ecgwb.attention.alignment import align, template_of
from ecgwb.cohorts.cohort import open_cohort
from ecgwb.cohorts.people import groups, patients_of
from ecgwb.discovery.classic import measure
from ecgwb.discovery.regression import Column, calibration_slope, columns_of, design, likelihood_ratio, score_row
from ecgwb.models.checkpoints import load_model
from ecgwb.models.prediction import predict
from ecgwb.stats import auc_interval

OUTCOME, BASELINE = "male", ("age", "hr")
TABLE = Path(__file__).parent / "results" / "sex-table.csv"
BASE, PAPER, CLASSIC, NETWORK = "age + heart rate", "+ QRS, R and S as in the paper", "+ classic", "network"
READER, RESIDUAL = "linear reader of the aligned beat", "network less what classic tells of it"
_READ_MS, _READ_STEP = (-300.0, 500.0), 5  # what of the common beat the reader sees, a mean of so many samples each
_SHAPE = ("r_uv", "s_uv", "r_time_ms", "s_time_ms")  # what the paper added to QRS duration
_WAVES = ("q_uv", "r_upslope", "r_downslope", "qrs_area_uvms", "j_uv", "t_uv", "t_area_uvms")
_WHOLE = ("qrs_ms", "jt_ms", "qtc_ms", "tpe_ms", "qrs_axis_deg", "t_axis_deg")  # all that need no P wave
_AGES = (50.0, 70.0)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.sex_table", description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="compact-sex", help="a name, or a file")
    parser.add_argument("--out", type=Path, default=TABLE)
    given = parser.parse_args(argv)
    table = sex_table(given.network)
    table.to_csv(given.out, float_format="%.4g", lineterminator="\n")
    print(table.round(3).to_string())


def people() -> dict[str, xr.Dataset]:
    """Discovery (PTB-XL's folds 1 to 8), test (fold 10) and replication (LUDB), of known sex and with a whole beat."""
    everyone = open_cohort("ptbxl")
    fold = everyone["fold"].values
    found = {"discovery": everyone.isel(record=(fold >= 1) & (fold <= 8)), "test": everyone.isel(record=fold == 10)}
    return {name: whole(cohort.load()) for name, cohort in (found | {"LUDB": open_cohort("ludb")}).items()}


def whole(cohort: xr.Dataset) -> xr.Dataset:
    """The records of known sex and with a whole beat."""
    known = np.isfinite(cohort["beat"].values).all(axis=(1, 2)) & np.isfinite(cohort[OUTCOME].values)
    return cohort.isel(record=np.flatnonzero(known))


def paper_of(cohort: xr.Dataset) -> list[str]:
    """The measurements that the paper used, of `wb.measure`."""
    return ["qrs_ms", *(f"{k}_{lead}" for k in _SHAPE for lead in cohort["lead"].values)]


def classic_of(cohort: xr.Dataset) -> list[str]:
    """All classic measurements that need no P wave, of `wb.measure`."""
    waves = [f"{k}_{lead}" for k in _WAVES for lead in cohort["lead"].values]
    return list(dict.fromkeys([*_WHOLE, *paper_of(cohort), *waves]))


def sex_table(network: str = "compact-sex") -> pd.DataFrame:
    """The table.

    Parameters
    ----------
    network : str
        A sex network, as `load_model` takes it.

    Returns
    -------
    DataFrame, rows ``model``, ``people`` (test, LUDB) and ``group`` (all, and ages)
        - ``n``
        - ``auc``, ``low``, ``high``
        - ``beyond``: its AUC less that of the classic measurements, with its interval; for all ages
        - ``p_adds``: of the likelihood-ratio test that its log-odds add to those of the classic measurements, both
          refitted on these people; for all ages
        - ``slope``: of the calibration, with its interval; for all ages
        - ``measurements``: how many columns beside age and heart rate
    """
    cohorts = people()
    model = load_model(network)
    tables = {}
    for name, cohort in cohorts.items():
        log_odds = predict(model, cohort, out_of_fold=name == "discovery")[OUTCOME].values
        own = {k: cohort[k].values for k in (OUTCOME, *BASELINE)}
        tables[name] = measure(cohort).assign(**own, **{NETWORK: log_odds})
    tables = with_times(tables)
    shape, classic = paper_of(cohorts["test"]), classic_of(cohorts["test"])
    models = {
        BASE: [], "+ QRS duration": ["qrs_ms"], PAPER: shape, CLASSIC: classic, NETWORK: [NETWORK],
        "+ classic + network": [*classic, NETWORK],
    }  # fmt: skip
    tables = {k: t.dropna(subset=[OUTCOME, *BASELINE, *classic, NETWORK]) for k, t in tables.items()}
    scores: dict[str, dict[str, np.ndarray]] = {k: {} for k in tables}
    for name, columns in models.items():
        for k, values in _fitted(columns, tables).items() if name != NETWORK else _as_it_is(tables).items():
            scores[k][name] = values
    cohorts = {k: cohorts[k].sel(record=t.index) for k, t in tables.items()}
    for name, found in {RESIDUAL: _residual(classic, tables), READER: _linear_reader(cohorts)}.items():
        for k, values in found.items():
            scores[k][name] = values
    rows = [row for k in ("test", "LUDB") for row in _rows(k, cohorts[k], tables[k], scores[k])]
    used = {name: len(columns) - (NETWORK in columns) for name, columns in models.items()} | {RESIDUAL: 0, READER: 0}
    table = pd.DataFrame(rows).set_index(["model", "people", "group"])
    return table.assign(measurements=table.index.get_level_values("model").map(used))


def with_times(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Tables in which R's time in a QS complex, which has no R, is the discovery people's median; its height is 0."""
    times = [c for c in tables["discovery"] if str(c).startswith("r_time_ms_")]
    usual = tables["discovery"][times].median()
    return {k: t.assign(**t[times].fillna(usual)) for k, t in tables.items()}


def _as_it_is(tables: dict[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """The network's own log-odds."""
    return {k: t[NETWORK].to_numpy(float) for k, t in tables.items()}


def _fitted(names: Sequence[str], tables: dict[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """Log-odds of a ridge regression on age, heart rate and some columns, fitted on discovery patients."""
    found = tables["discovery"]
    return _ridge({k: _design(names, found, t) for k, t in tables.items()}, found[OUTCOME].to_numpy())


def _design(names: Sequence[str], found: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """Age, heart rate and some columns, as discovery people scale them; scikit-learn puts the intercept in."""
    columns = columns_of(found, BASELINE, []) + [Column.of(found, name) for name in names]
    return design(columns, table)[:, 1:]


def _ridge(x: dict[str, np.ndarray], y: np.ndarray) -> dict[str, np.ndarray]:
    """Log-odds of a ridge regression fitted on discovery people, its penalty chosen by cross-validation among them."""
    ridge = LogisticRegression(solver="newton-cholesky", max_iter=1000)
    search = GridSearchCV(ridge, {"C": np.logspace(-4, 2, 7)}, cv=5, scoring="neg_log_loss")
    fitted = search.fit(x["discovery"], y)
    return {k: fitted.decision_function(v) for k, v in x.items()}


def _residual(names: Sequence[str], tables: dict[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """The network's log-odds less what a linear regression on age, heart rate and some columns tells of them."""
    found = tables["discovery"]
    x = {k: _design(names, found, t) for k, t in tables.items()}
    told = Ridge(1.0).fit(x["discovery"], found[NETWORK])
    return {k: t[NETWORK].to_numpy(float) - told.predict(x[k]) for k, t in tables.items()}


def _linear_reader(cohorts: dict[str, xr.Dataset]) -> dict[str, np.ndarray]:
    """Log-odds of a ridge regression on every lead of the beat, aligned to the discovery people's common beat."""
    template = template_of(cohorts["discovery"])
    x = {}
    for k, cohort in cohorts.items():
        beat = align(cohort["beat"], cohort, template).sel(phase=slice(*_READ_MS))
        steps = beat.coarsen(phase=_READ_STEP, boundary="trim").mean()
        x[k] = steps.values.reshape(cohort.sizes["record"], -1)  # NaN where a record has no such wave
    centre, spread = np.nanmean(x["discovery"], axis=0), np.nanstd(x["discovery"], axis=0)
    scaled = {k: np.nan_to_num((v - centre) / spread).astype(float) for k, v in x.items()}
    return _ridge(scaled, cohorts["discovery"][OUTCOME].values)


def _rows(people: str, cohort: xr.Dataset, table: pd.DataFrame, scores: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    y, patient = table[OUTCOME].to_numpy(float), patients_of(cohort)
    ages = groups(cohort, "age", _AGES)
    rows = []
    for name, score in scores.items():
        others = {} if name == CLASSIC else {"beyond": scores[CLASSIC]}
        row = score_row(y, score, patient, others)
        row = {"auc": row.pop("score"), **row}
        if name != CLASSIC:
            two = np.stack([np.ones(len(y)), scores[CLASSIC], score], axis=1)
            row["p_adds"] = likelihood_ratio(y, two[:, :2], two, True)[0]
        row["slope"], row["slope_low"], row["slope_high"], _ = calibration_slope(y, score, True)
        rows.append({"model": name, "people": people, "group": "all", "n": len(y), **row})
        for group, members in ages.items():
            area = auc_interval(y[members], score[members], patient[members])
            about = {"model": name, "people": people, "group": group, "n": len(members)}
            rows.append(about | dict(zip(("auc", "low", "high"), area, strict=True)))
    return rows


if __name__ == "__main__":
    main()
