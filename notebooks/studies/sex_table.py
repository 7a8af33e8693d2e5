"""The paper's case, sex, on real people as one table: what attention adds to what was known, and to screening.

python -m studies.sex_table [--permuted 20] [--epochs 100] [--out FOLDER] [--anew]

First, once: networks on PTB-XL-500's discovery patients, and again with their sex permuted, 20 times; features from
their maps; what the whole pipeline finds where there is nothing. A killed run goes on where it was. Its results are
kept as ``sex-campaign.json``, the networks as ``sex-networks`` and the contrasts of permuted runs as ``sex-null.nc``,
so that maps and proposals can be made again in seconds. Then the table, which takes seconds.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from tqdm.auto import tqdm

from ecgwb.attention.contrasts import map_contrast
from ecgwb.cohorts.cache import cache_dir
from ecgwb.cohorts.cohort import open_cohort
from ecgwb.cohorts.people import groups, one_record_each, split_patients
from ecgwb.discovery.classic import measure
from ecgwb.discovery.comparisons import compare_features
from ecgwb.discovery.crossfit import Recipe, cross_fit, permuted
from ecgwb.discovery.features import Feature, feature_table
from ecgwb.discovery.manifests import freeze
from ecgwb.discovery.proposals import Proposals, propose_features, screen_features
from ecgwb.discovery.regression import Column, calibration_slope, columns_of, design, score_row
from ecgwb.models.prediction import predict
from ecgwb.models.spec import load_model, spec_of
from ecgwb.stats import auc_interval

OUTCOME, BASELINE = "male", ("age", "hr")
FOLDER = Path(__file__).parent / "results"
CAMPAIGN, NETWORKS, NULL = "sex-campaign.json", "sex-networks", "sex-null.nc"
DESIGNS = 3  # of networks tried on discovery patients: the one whose map was confirmed by edits was kept
# It sees 190 ms.
RECIPE = Recipe({"name": "compact", "width": 32, "dilations": [1, 2, 2]}, epochs=100)
BASE, CLASSIC, NETWORK = "age + heart rate", "+ classic measurements", "network"
_SHAPE = ("r_uv", "s_uv", "r_time_ms", "s_time_ms")  # what the paper added to QRS duration
_WAVES = ("r_upslope", "r_downslope", "qrs_area_uvms", "j_uv", "t_uv", "t_area_uvms")
_WHOLE = ("qrs_ms", "jt_ms", "qtc_ms", "tpe_ms", "qrs_axis_deg", "t_axis_deg")  # all that need no P wave
_FEWEST_IN_ROW = 20  # people of a group that a row is worth


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.sex_table", description=__doc__.split("\n")[0])
    parser.add_argument("--permuted", type=int, default=20, help="runs with sex permuted, at least 20")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the campaign's results and the tables go")
    parser.add_argument("--anew", action="store_true", help="make the campaign anew, although its results are there")
    given = parser.parse_args(argv)
    file = given.out / CAMPAIGN
    if given.anew or not file.is_file():
        campaign(given.out, given.permuted, Recipe(RECIPE.net, given.epochs, RECIPE.folds))
    table, by = sex_table(json.loads(file.read_text()))
    table.to_csv(given.out / "sex-table.csv", float_format="%.4g", lineterminator="\n")
    by.to_csv(given.out / "sex-table-by-group.csv", float_format="%.4g", lineterminator="\n")
    print(table.drop(columns="note").round(3).to_string())


# ---------------------------------------------------------------- the campaign


def campaign(out: Path, runs: int = 20, recipe: Recipe = RECIPE, source: str = "ptbxl500") -> None:
    """Features from attention on real sex, and what the whole pipeline finds on permuted sex.

    Each permuted run permutes sex among discovery and among test patients, trains, proposes against the other permuted
    runs as its null, freezes and tests, as the real one does. All of them are the null of the real one.

    Parameters
    ----------
    out : Path
        The folder for ``sex-campaign.json``, ``sex-networks`` and ``sex-null.nc``.
    runs : int
        With permuted labels.
    recipe : Recipe
    source : str
        A cohort with ``rhythm``, whose networks then learn from richer copies.
    """
    if runs < 20:
        raise ValueError(f"{runs} permuted runs; expected at least 20, each with 19 others for its null")
    discovery, test = people_of(source, rhythm=True)
    folder = cache_dir() / "discovery" / f"sex-{source}-{recipe.key}"
    labelled = {"real": discovery} | {f"permuted{k}": permuted(discovery, OUTCOME, k) for k in range(runs)}
    networks, curves = {}, {}
    for seed, (name, some) in enumerate(tqdm(labelled.items(), "training, first on real sex, then on permuted")):
        networks[name] = cross_fit(some, OUTCOME, recipe, seed, folder / name)
        curves[name] = map_contrast(networks[name].maps(some, "ecgradcam"), some[OUTCOME].values)
    rows = {}
    for name, some in tqdm(labelled.items(), "proposing and testing", unit="run"):
        null = xr.concat([c for other, c in curves.items() if other not in ("real", name)], "run")
        found = {
            "attention": propose_features(
                networks[name].maps(some, "ecgradcam"),
                some,
                null,
                outcome=OUTCOME,
                baseline=BASELINE,
                by_lead=partial(networks[name].maps, some, "deeplift"),
                predict_outcome=networks[name].predict,
            ),
            "screening": screen_features(some, OUTCOME, BASELINE),
        }
        others = test if name == "real" else permuted(test, OUTCOME, 10**6 + int(name.removeprefix("permuted")))
        rows[name] = {how: _summary(features, some, others) for how, features in found.items()}
    about = {"source": source, "recipe": asdict(recipe), "runs": runs}
    about |= {"permuted": [rows[name] for name in rows if name != "real"], "real": rows["real"]}
    shutil.copytree(folder / "real", out / NETWORKS, dirs_exist_ok=True)
    xr.concat([c for name, c in curves.items() if name != "real"], "run").rename("t").to_netcdf(out / NULL)
    (out / CAMPAIGN).write_text(json.dumps(about, ensure_ascii=False, indent=1) + "\n")


def people_of(source: str = "ptbxl500", *, rhythm: bool = False) -> tuple[xr.Dataset, xr.Dataset]:
    """Discovery and test patients, one record each, of known sex and with a whole beat."""
    discovery, test = split_patients(open_cohort(source, rhythm=rhythm))
    return _whole(discovery), _whole(test)


def _whole(cohort: xr.Dataset) -> xr.Dataset:
    some = one_record_each(cohort)
    whole = np.isfinite(some["beat"].values).all(axis=(1, 2)) & np.isfinite(some[OUTCOME].values)
    return some.isel(record=np.flatnonzero(whole))


def _summary(found: Proposals, discovery: xr.Dataset, test: xr.Dataset) -> dict[str, Any]:
    """What was found, and how many of these features, frozen, pass on test patients."""
    passed = 0
    if found:
        table = compare_features(freeze(found, discovery, OUTCOME, BASELINE), test)
        passed = int((table["p"] <= 0.05).sum())
    return {"p": found.p, "tried": found.tried, "features": [f.to_json() for f in found], "passed": passed}


# ---------------------------------------------------------------- the table


def sex_table(
    stored: Mapping[str, Any] | None = None, network: str = "compact-sex"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every row of the table on discovery, test and LUDB patients, and the same by age, diagnosis and device.

    All rows are ridge logistic regressions fitted on discovery patients, the penalty chosen there by five-fold
    cross-validation, and then frozen; the network's is its own log-odds. All rows are judged on the same people: those
    with everything that any row needs.

    Parameters
    ----------
    stored : mapping, optional
        What ``sex-campaign.json`` holds. Without it there are no rows of attention and no count of what permuted sex
        gives.
    network : str
        A sex network, as `load_model` takes it.

    Returns
    -------
    table : DataFrame, rows ``model`` and ``people``
        - ``n``, ``n_missing``
        - ``auc``, ``low``, ``high``
        - ``change``, ``beyond``: in AUC, against age and heart rate, and against the classic measurements; with
          intervals
        - ``slope``: of the calibration, with its interval
        - ``tried``: candidates that these were chosen from
        - ``permuted``: share of runs on permuted sex in which the same way of choosing passed on test patients
        - ``note``
    by : DataFrame, rows ``people``, ``by``, ``group`` and ``model``
        ``n``, ``auc``, ``low``, ``high``.
    """
    discovery, test = people_of()
    cohorts = {"discovery": discovery, "test": test, "LUDB": _whole(open_cohort("ludb"))}
    screened = screen_features(discovery, OUTCOME, BASELINE)
    chosen: dict[str, list[Feature]] = {"screening": list(screened), "attention": []}
    candidates = {"screening": screened.tried["candidates"], "attention": 0}
    passed: dict[str, float] = {}
    if stored is not None:
        found = stored["real"]["attention"]
        chosen["attention"] = [Feature.from_json(f) for f in found["features"]]
        candidates["attention"] = found["tried"].get("candidates", 0)
        passed = {how: float(np.mean([run[how]["passed"] > 0 for run in stored["permuted"]])) for how in chosen}
    models = _models(chosen, [str(v) for v in discovery["lead"].values])
    tried = {model: len(columns) for model, columns in models.items()} | {NETWORK: 1}
    tried |= {_from(how): n for how, n in candidates.items()}
    tried["+ classic + attention"] = tried[CLASSIC] + candidates["attention"]
    share = {_from(how): v for how, v in passed.items()}

    tables = {k: _columns(c, [f for fs in chosen.values() for f in fs], network) for k, c in cohorts.items()}
    needed = list(dict.fromkeys([OUTCOME, *BASELINE, *(c for columns in models.values() for c in columns)]))
    complete = {k: t.dropna(subset=needed) for k, t in tables.items()}
    scores = _scores(models, complete)
    rows = [
        _row(model, k, scores[k], complete[k]) | {"n_missing": len(tables[k]) - len(complete[k])}
        for model in scores["test"]
        for k in complete
    ]
    why = {"screening": "no feature passed on discovery patients", "attention": "the map named none"}
    if stored is None:
        why["attention"] = "needs sex-campaign.json: make sex-table"
    rows += [{"model": _from(how), "people": "test", "note": why[how]} for how in chosen if not chosen[how]]
    rows = [r | {"tried": tried[r["model"]], "permuted": share.get(r["model"], np.nan)} for r in rows]
    by = [row for k in ("test", "LUDB") for row in _by_group(k, cohorts[k], complete[k], scores[k])]
    table = pd.DataFrame(rows).set_index(["model", "people"]).reindex(columns=_TABLE)
    return table, pd.DataFrame(by).set_index(["people", "by", "group", "model"])


_TABLE = [
    "n", "n_missing", "auc", "low", "high", "slope", "slope_low", "slope_high", "note", "tried", "permuted",
    "change", "change_low", "change_high", "beyond", "beyond_low", "beyond_high",
]  # fmt: skip


def _from(how: str) -> str:
    """The row of features found by attention, or by screening."""
    return f"+ features from {how}"


def _models(chosen: Mapping[str, Sequence[Feature]], leads: Sequence[str]) -> dict[str, list[str]]:
    """Each regression's columns beside the baseline."""
    shape = ["qrs_ms", *(f"{name}_{lead}" for name in _SHAPE for lead in leads)]
    waves = [f"{name}_{lead}" for name in _WAVES for lead in leads]
    classic = list(dict.fromkeys([*_WHOLE, *shape, *waves]))
    models = {BASE: [], "+ QRS duration": ["qrs_ms"], "+ QRS, R and S as in the paper": shape, CLASSIC: classic}
    models |= {_from(how): [f.name for f in features] for how, features in chosen.items() if features}
    if chosen["attention"]:
        models["+ classic + attention"] = [*classic, *(f.name for f in chosen["attention"])]
    return models


def _columns(cohort: xr.Dataset, features: Sequence[Feature], network: str) -> pd.DataFrame:
    """Everything that any row needs, a row per patient."""
    model = load_model(network)
    carried = str(cohort.attrs["source"]) in spec_of(model).out_of_fold
    predicted = predict(model, cohort, out_of_fold=carried)
    log_odds = np.where(predicted["seen"].values, np.nan, predicted[OUTCOME].values)  # it knows those too well
    own = {name: cohort[name].values for name in (OUTCOME, *BASELINE)}
    return pd.concat([measure(cohort), feature_table(features, cohort)], axis=1).assign(**own, **{NETWORK: log_odds})


def _scores(models: Mapping[str, Sequence[str]], tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, Any]]:
    """Log-odds of every model for all people, by people and model; fitted on discovery patients."""
    found = tables["discovery"]
    scores: dict[str, dict[str, Any]] = {k: {} for k in tables}
    for model, names in models.items():
        columns = columns_of(found, BASELINE, []) + [Column.of(found, name) for name in names]
        x = {k: design(columns, t)[:, 1:] for k, t in tables.items()}  # scikit-learn puts the intercept in
        ridge = LogisticRegression(solver="newton-cholesky", max_iter=1000)
        search = GridSearchCV(ridge, {"C": np.logspace(-4, 2, 7)}, cv=5, scoring="neg_log_loss")
        fitted = search.fit(x["discovery"], found[OUTCOME])
        for k in tables:
            scores[k][model] = fitted.decision_function(x[k])
    for k, t in tables.items():
        scores[k][NETWORK] = t[NETWORK].to_numpy(float)
    return scores


def _row(model: str, people: str, scores: Mapping[str, np.ndarray], table: pd.DataFrame) -> dict[str, Any]:
    y, score = table[OUTCOME].to_numpy(float), scores[model]
    row: dict[str, Any] = {"model": model, "people": people, "n": len(y)}
    if not np.isfinite(score).all():
        note = "the network was trained on these people and carries no out-of-fold predictions of them"
        return row | {"note": note}
    others = {name: scores[other] for name, other in (("change", BASE), ("beyond", CLASSIC))}
    others = {name: other for name, other in others.items() if other is not score and model != BASE}
    row |= score_row(y, score, table.index.to_numpy(), others)
    row["auc"] = row.pop("score")
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
            if len(members) < _FEWEST_IN_ROW or len(np.unique(y[members])) < 2:
                continue
            about: dict[str, Any] = {"people": people, "by": by, "group": group, "n": len(members)}
            for model, score in scores.items():
                area = auc_interval(y[members], score[members], table.index.to_numpy()[members])
                rows.append(about | {"model": model} | dict(zip(("auc", "low", "high"), area, strict=True)))
    return rows


if __name__ == "__main__":
    main()
