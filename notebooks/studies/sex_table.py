"""The paper's case, sex, on real people as one table: what attention adds to what was known, and to screening.

python -m studies.sex_table [--permuted 20] [--epochs 60] [--out FOLDER]

First, once: networks on PTB-XL-500's discovery patients, and again with their sex dealt out anew, 20 times; features
from their maps; what the whole pipeline finds where there is nothing. A killed run goes on where it was; the result is
kept as ``sex-campaign.json``. Then the table, which takes seconds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from tqdm.auto import tqdm

from ecgwb.cohorts.cohort import open_cohort
from ecgwb.cohorts.people import split_patients
from ecgwb.cohorts.sources import cache_dir
from ecgwb.discovery.classic import measure
from ecgwb.discovery.comparisons import compare_features
from ecgwb.discovery.crossfit import Recipe, contrast_of, cross_fit, discover, one_record_each, permuted, recipe_key
from ecgwb.discovery.designs import calibration_slope, columns_of, design
from ecgwb.discovery.features import Feature, feature_table
from ecgwb.discovery.manifests import freeze
from ecgwb.discovery.screening import Proposals, screen_features
from ecgwb.models.accuracy import groups
from ecgwb.models.prediction import predict
from ecgwb.models.spec import load_model, spec_of
from ecgwb.stats import auc_difference, auc_interval

OUTCOME, BASELINE = "male", ("age", "hr")
FOLDER = Path(__file__).parent / "results"
# From discovery patients alone: of three tried, the one whose map was confirmed by edits. It sees 190 ms.
RECIPE = Recipe({"name": "compact", "width": 32, "dilations": [1, 2, 2]}, epochs=100)
_SHAPE = ("r_uv", "s_uv", "r_time_ms", "s_time_ms")  # what the paper added to QRS duration
_WAVES = ("r_upslope", "r_downslope", "qrs_area_uvms", "j_uv", "t_uv", "t_area_uvms")
_WHOLE = ("qrs_ms", "jt_ms", "qtc_ms", "tpe_ms", "qrs_axis_deg", "t_axis_deg")  # all that need no P wave
_FEWEST = 20  # people of a group that a row is worth
BASE, CLASSIC, NETWORK = "age + heart rate", "+ classic measurements", "network"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.sex_table", description=__doc__.split("\n")[0])
    parser.add_argument("--permuted", type=int, default=20, help="runs with sex dealt out anew, at least 20")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where sex-campaign.json and the tables go")
    given = parser.parse_args(argv)
    file = given.out / "sex-campaign.json"
    if not file.is_file():
        said = campaign(given.permuted, Recipe(RECIPE.net, given.epochs, RECIPE.folds))
        given.out.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n")
    table, by = sex_table(json.loads(file.read_text()))
    table.to_csv(given.out / "sex-table.csv", float_format="%.4g", lineterminator="\n")
    by.to_csv(given.out / "sex-table-by-group.csv", float_format="%.4g", lineterminator="\n")
    print(table.drop(columns="note").round(3).to_string())


# ---------------------------------------------------------------- the campaign


def campaign(runs: int, recipe: Recipe = RECIPE, source: str = "ptbxl500") -> dict[str, Any]:
    """Features from attention on real sex, and what the whole pipeline finds on permuted sex.

    Each permuted run deals sex out anew among discovery and among test patients, trains, proposes against the other
    permuted runs as its null, freezes and tests, as the real one does. All of them are the null of the real one.
    """
    if runs < 20:
        raise ValueError(f"{runs} permuted runs; expected at least 20, each with 19 others for its null")
    discovery, test = (_known(c) for c in split_patients(open_cohort(source, rhythm=True)))  # richer copies
    folder = cache_dir() / "discovery" / f"sex-{source}-{recipe_key(recipe)}"
    labelled = {k: discovery if k < 0 else permuted(discovery, OUTCOME, k) for k in range(-1, runs)}
    nets, curves = {}, {}
    for k, some in tqdm(labelled.items(), "training, first on real sex, then on permuted", unit="run"):
        nets[k] = cross_fit(some, OUTCOME, recipe, k + 1, folder / f"run{k}")
        curves[k] = contrast_of(nets[k], some, OUTCOME)
    out: dict[str, Any] = {"source": source, "recipe": asdict(recipe), "runs": runs, "permuted": []}
    for k, some in tqdm(labelled.items(), "proposing and testing", unit="run"):
        null = [c for other, c in curves.items() if other >= 0 and other != k]
        found = {"attention": discover(nets[k], some, OUTCOME, null, BASELINE), "screening": _screened(some)}
        people = test if k < 0 else permuted(test, OUTCOME, 10**6 + k)
        row: dict[str, Any] = {}
        for how, features in found.items():
            row[how] = {"p": features.p, "tried": features.tried, "features": [f.to_json() for f in features]}
            row[how]["passed"] = _passed(features, some, people)
        if k < 0:
            out["real"] = row
        else:
            out["permuted"].append(row)
    return out


def _known(cohort: xr.Dataset) -> xr.Dataset:
    some = one_record_each(cohort)
    whole = np.isfinite(some["beat"].values).all(axis=(1, 2)) & np.isfinite(some[OUTCOME].values)
    return some.isel(record=np.flatnonzero(whole))


def _screened(discovery: xr.Dataset) -> Proposals:
    return screen_features(discovery, OUTCOME, BASELINE)


def _passed(features: Proposals, discovery: xr.Dataset, test: xr.Dataset) -> int:
    """How many of these features, frozen, pass on test patients."""
    if not features:
        return 0
    table = compare_features(freeze(features, discovery, OUTCOME, BASELINE), test)
    return int((table["p"] <= 0.05).sum())


# ---------------------------------------------------------------- the table


def sex_table(said: Mapping[str, Any] | None = None, network: str = "compact-sex") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every row of the table on discovery, test and LUDB patients, and the same by age, diagnosis and device.

    All rows are ridge logistic regressions fitted on discovery patients, the penalty chosen there by five-fold
    cross-validation, and then frozen; the network's is its own log-odds. All rows are judged on the same people: those
    with everything that any row needs.

    Parameters
    ----------
    said : mapping, optional
        What `campaign` gave. Without it there are no rows of attention and no count of what permuted sex gives.

    Returns
    -------
    table : DataFrame, rows ``model`` and ``people``
        ``n``, ``n_missing``; ``auc`` with ``low``, ``high``; ``change`` in AUC against age and heart rate, ``beyond``
        against the classic measurements, with intervals; ``slope``: calibration slope, with its interval; ``tried``:
        candidates that these were chosen from; ``permuted``: share of runs on permuted sex in which the same way of
        choosing passed on test patients; ``note``.
    by : DataFrame, rows ``people``, ``by``, ``group`` and ``model``
        ``n``, ``auc``, ``low``, ``high``.
    """
    discovery, test = split_patients(open_cohort("ptbxl500"))
    cohorts = {"discovery": _known(discovery), "test": _known(test), "LUDB": _known(open_cohort("ludb"))}
    chosen: dict[str, list[Feature]] = {"screening": list(screened := _screened(cohorts["discovery"]))}
    tried = {"+ features from screening": screened.tried["candidates"]}
    share: dict[str, float] = {}
    if said is not None:
        chosen["attention"] = [Feature.from_json(f) for f in said["real"]["attention"]["features"]]
        tried["+ features from attention"] = said["real"]["attention"]["tried"].get("candidates", 0)
        share = {
            f"+ features from {how}": float(np.mean([r[how]["passed"] > 0 for r in said["permuted"]])) for how in chosen
        }
    tables = {k: _columns(c, [f for fs in chosen.values() for f in fs], network) for k, c in cohorts.items()}
    shape = ["qrs_ms", *(f"{m}_{lead}" for m in _SHAPE for lead in discovery["lead"].values)]
    classic = list(dict.fromkeys([*_WHOLE, *shape, *(f"{m}_{v}" for m in _WAVES for v in discovery["lead"].values)]))
    rows = {BASE: [], "+ QRS duration": ["qrs_ms"], "+ QRS, R and S as in the paper": shape, CLASSIC: classic}
    rows |= {f"+ features from {how}": [f.name for f in fs] for how, fs in chosen.items()}
    if chosen.get("attention"):
        rows["+ classic + attention"] = [*classic, *(f.name for f in chosen["attention"])]
        tried["+ classic + attention"] = len(classic) + tried["+ features from attention"]
    tried |= {"+ QRS, R and S as in the paper": len(shape), CLASSIC: len(classic), "+ QRS duration": 1, NETWORK: 1}
    everything = list(dict.fromkeys([*BASELINE, *(c for cs in rows.values() for c in cs)]))
    complete = {k: t.dropna(subset=[OUTCOME, *everything]) for k, t in tables.items()}
    scores: dict[str, dict[str, np.ndarray]] = {k: {} for k in complete}
    for model, columns in rows.items():
        if model != BASE and not columns:
            continue  # nothing was found
        recipes = columns_of(complete["discovery"], BASELINE, [])
        recipes += [_straight(complete["discovery"], c) for c in columns]
        x = {k: design(recipes, t)[:, 1:] for k, t in complete.items()}
        fitted = _ridge().fit(x["discovery"], complete["discovery"][OUTCOME])
        for k in complete:
            scores[k][model] = fitted.decision_function(x[k])
    for k, t in complete.items():
        scores[k][NETWORK] = t[NETWORK].to_numpy(float)
    out = [
        _judged(model, k, scores[k], complete[k], len(tables[k]))
        | {"tried": tried.get(model, 0), "permuted": share.get(model, np.nan)}
        for model in scores["test"]
        for k in complete
    ]
    for how, none in (("screening", "no feature passed on discovery patients"), ("attention", "the map named none")):
        model = f"+ features from {how}"
        if model not in scores["test"]:
            why = none if how in chosen else "needs sex-campaign.json: make sex-table"
            row = {"model": model, "people": "test", "tried": tried.get(model, 0), "permuted": share.get(model, np.nan)}
            out.append(row | {"note": why})
    by = [row for k in ("test", "LUDB") for row in _by_group(k, cohorts[k], complete[k], scores[k])]
    return pd.DataFrame(out).set_index(["model", "people"]), pd.DataFrame(by).set_index(
        ["people", "by", "group", "model"]
    )


def _columns(cohort: xr.Dataset, features: Sequence[Feature], network: str) -> pd.DataFrame:
    """Everything that any row needs, a row per patient."""
    table = pd.concat(
        [measure(cohort), feature_table(features, cohort).loc[:, lambda t: ~t.columns.duplicated()]], axis=1
    )
    model = load_model(network)
    carried = str(cohort.attrs["source"]) in spec_of(model).out_of_fold
    said = predict(model, cohort, out_of_fold=carried)
    heard = np.where(said["seen"].values, np.nan, said[OUTCOME].values)  # it knows those too well
    return table.assign(
        age=cohort["age"].values, hr=cohort["hr"].values, **{OUTCOME: cohort[OUTCOME].values, NETWORK: heard}
    )


def _straight(discovery: pd.DataFrame, name: str) -> Any:
    return columns_of(discovery, [], [name])[0]


def _ridge() -> GridSearchCV:
    penalties = {"C": np.logspace(-4, 2, 7)}
    return GridSearchCV(
        LogisticRegression(solver="newton-cholesky", max_iter=1000), penalties, cv=5, scoring="neg_log_loss"
    )


def _judged(model: str, people: str, scores: Mapping[str, np.ndarray], table: pd.DataFrame, n: int) -> dict[str, Any]:
    y = table[OUTCOME].to_numpy(float)
    score = scores[model]
    row: dict[str, Any] = {"model": model, "people": people, "n": len(y), "n_missing": n - len(y)}
    if not np.isfinite(score).all():
        note = "the network was trained on these people and carries no out-of-fold predictions of them"
        return row | {"note": note}
    patient = np.arange(len(y))  # one record each
    row["auc"], row["low"], row["high"] = auc_interval(y, score, patient)
    for name, other in (("change", BASE), ("beyond", CLASSIC)):
        if model not in (BASE, other):
            gap = auc_difference(y, score, scores[other], patient)
            row |= {name: gap.value, f"{name}_low": gap.low, f"{name}_high": gap.high}
    row["slope"], row["slope_low"], row["slope_high"], why = calibration_slope(y, score, True)
    in_sample = "fitted on these people" if people == "discovery" and model != NETWORK else ""
    return row | {"note": "; ".join(filter(None, [in_sample, why]))}


def _by_group(
    people: str, cohort: xr.Dataset, table: pd.DataFrame, scores: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    rows = []
    some = cohort.sel(record=table.index.values)
    y = table[OUTCOME].to_numpy(float)
    for by in ("age", "diagnosis", "device"):
        if not any(str(v) not in ("", "nan") for v in some[by].values):
            continue  # LUDB does not say which device
        for group, members in groups(some, by).items():
            if len(members) < _FEWEST or len(np.unique(y[members])) < 2:
                continue
            about: dict[str, Any] = {"people": people, "by": by, "group": group, "n": len(members)}
            for model, score in scores.items():
                area = auc_interval(y[members], score[members], some["patient"].values[members])
                rows.append(about | {"model": model} | dict(zip(("auc", "low", "high"), area, strict=True)))
    return rows


if __name__ == "__main__":
    main()
