"""A benchmark of discovery itself: known changes planted in beats with random labels, and nothing planted.

python -m studies.discovery_bench [--n 2000] [--runs 20] [--nothing 100] [--d 0.5 0.3] [--plants NAME ...] [--out FILE]

Every run draws labels, edits and a split of its own; it trains networks on discovery patients, proposes features from
their maps, freezes them and tests them on test patients, and does the same by screening without a network. The runs
with nothing planted are the null of all others, and of each other: each is the whole training repeated with labels that
mean nothing, on people edited in the same way. A killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from statsmodels.stats.proportion import proportion_confint
from studies.plants import LABEL, PLANTS, mixed_people, planted_cohort
from tqdm.auto import tqdm

from ecgwb.attention.alignment import template_of
from ecgwb.cohorts.people import split_patients
from ecgwb.cohorts.sources import cache_dir
from ecgwb.discovery.comparisons import compare_features
from ecgwb.discovery.crossfit import Crossed, Recipe, contrast_of, cross_fit, discover
from ecgwb.discovery.manifests import freeze
from ecgwb.discovery.proposals import Proposals, screen_features
from ecgwb.stats import auc

NOTHING = "nothing"
BASELINE = ("hr",)  # synthetic beats have no age
ALPHA = 0.05
RESULTS = Path(__file__).parent / "results" / "discovery-bench.csv"


class Run(NamedTuple):
    """One repetition."""

    plant: str
    d: float
    n: int
    number: int

    @property
    def seed(self) -> int:
        return int.from_bytes(hashlib.sha256(repr(tuple(self)).encode()).digest()[:4], "big")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.discovery_bench", description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=2000, help="people in a run, discovery and test together")
    parser.add_argument("--runs", type=int, default=20, help="per plant and size")
    parser.add_argument("--nothing", type=int, default=100, help="runs with nothing planted, at least 20")
    parser.add_argument("--d", type=float, nargs="+", default=[0.5, 0.3], help="sizes, in SDs between the halves")
    parser.add_argument("--plants", nargs="+", default=list(PLANTS), choices=list(PLANTS))
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--folds", type=int, default=Recipe.folds, help="networks per set of labels")
    parser.add_argument("--out", type=Path, default=RESULTS, help="CSV that every finished run is appended to")
    given = parser.parse_args(argv)
    recipe = Recipe(epochs=given.epochs, folds=given.folds)
    table = run_all(given.n, given.runs, given.nothing, given.d, given.plants, recipe, given.out)
    table.to_csv(given.out.with_name(f"{given.out.stem}-summary.csv"), float_format="%.4g", lineterminator="\n")
    print(table.round(3).to_string())


def run_all(
    n: int, runs: int, nothing: int, sizes: Sequence[float], plants: Sequence[str], recipe: Recipe, out: Path
) -> pd.DataFrame:
    """Train what is not trained, append what is not in the CSV, and summarise.

    Networks are kept in the user's cache, under the recipe, so that nothing is trained twice.
    """
    if nothing < round(1 / ALPHA):
        raise ValueError(f"{nothing} runs of nothing; each needs {round(1 / ALPHA) - 1} others for its null")
    folder = cache_dir() / "discovery" / recipe.key
    empty = [Run(NOTHING, 0.0, n, k) for k in range(nothing)]
    planted = [Run(p, d, n, k) for d in sizes for p in plants for k in range(runs)]
    done = {tuple(r) for r in _results(out, recipe)[list(Run._fields)].itertuples(index=False)}
    curves = {
        run: _contrast(run, recipe, folder)
        for run in tqdm(empty, "training on labels that mean nothing", unit="run")
        if set(empty) - done or set(planted) - done
    }
    left = [run for run in planted + empty if tuple(run) not in done]
    for run in tqdm(left, "discovery", unit="run"):
        null = [curve for other, curve in curves.items() if other != run]
        began = time.time()
        rows = one_run(run, null, recipe, folder)
        for row in rows:
            row |= {"seconds": round(time.time() - began), "recipe": _named(recipe)}
        _append(out, rows)
    return summary(_results(out, recipe).query("n == @n"))


def one_run(run: Run, null: Sequence[xr.DataArray], recipe: Recipe, folder: Path | None = None) -> list[dict[str, Any]]:
    """One repetition: a row for attention and a row for screening."""
    discovery, test = _people(run)
    crossed = _networks(run, recipe, folder, discovery)
    y = discovery[LABEL].values
    network_auc = float(auc(y, crossed.predict(discovery))[0])
    found = {
        "attention": discover(crossed, discovery, LABEL, xr.concat(list(null), "run"), BASELINE),
        "screening": screen_features(discovery, LABEL, BASELINE, alpha=ALPHA),
    }
    rows = []
    for method, features in found.items():
        row: dict[str, Any] = {**run._asdict(), "method": method, "p_discovery": round(features.p, 5)}
        row |= judged(run, features, discovery, test)
        rows.append(row | {"network_auc": round(network_auc, 4), "possible_auc": _possible(run, test)})
    return rows


def judged(run: Run, found: Proposals, discovery: xr.Dataset, test: xr.Dataset) -> dict[str, Any]:
    """Whether a frozen feature passes on test patients, and whether it is where the change was planted."""
    if not found:
        return {"features": 0, "passed": 0, "recovered": 0, "best": "", "best_p": np.nan, "best_auc": np.nan}
    manifest = freeze(found, discovery, LABEL, BASELINE)
    table = compare_features(manifest, test)
    p, score = (table[k].astype(float).to_dict() for k in ("p", "score"))
    passed = [f for f in found if p[f.name] <= ALPHA]
    template = template_of(discovery)
    recovered = [f for f in passed if run.plant in PLANTS and PLANTS[run.plant].overlaps(f, template)]
    best = (recovered or passed or list(found))[0]
    return {
        "features": len(found),
        "passed": len(passed),
        "recovered": int(bool(recovered)),
        "best": best.name,
        "best_p": float(f"{p[best.name]:.3g}"),
        "best_auc": round(score[best.name], 4),
    }


def summary(results: pd.DataFrame, ci: float = 0.95) -> pd.DataFrame:
    """Share of runs that recovered the plant (of nothing: that found anything), with Clopper-Pearson intervals."""
    rows = []
    for keys, some in results.groupby(["plant", "d", "n", "method"], sort=False):
        hit = some["passed"] > 0 if keys[0] == NOTHING else some["recovered"] > 0
        low, high = proportion_confint(int(hit.sum()), len(hit), 1 - ci, method="beta")
        row = dict(zip(("plant", "d", "n", "method"), keys, strict=True))
        row |= {"what": "false discovery" if keys[0] == NOTHING else "recovered", "runs": len(hit)}
        row |= {"share": hit.mean(), "low": low, "high": high, "proposed": (some["features"] > 0).mean()}
        row |= {k: some[k].mean() for k in ("network_auc", "possible_auc", "best_auc")}
        rows.append(row)
    return pd.DataFrame(rows).set_index(["plant", "d", "n", "method"])


# ---------------------------------------------------------------- what is kept between kills


def _people(run: Run) -> tuple[xr.Dataset, xr.Dataset]:
    d = {} if run.plant == NOTHING else {run.plant: run.d}
    discovery, test = split_patients(planted_cohort(mixed_people(run.n, run.seed), d, run.seed), seed=run.seed)
    return discovery, test


def _place(run: Run, folder: Path) -> Path:
    return folder / f"{run.plant.replace(' ', '-')}-{run.d:g}-n{run.n}-{run.number}"


def _networks(run: Run, recipe: Recipe, folder: Path | None, discovery: xr.Dataset) -> Crossed:
    return cross_fit(discovery, LABEL, recipe, run.seed, _place(run, folder) if folder else None)


def _contrast(run: Run, recipe: Recipe, folder: Path) -> xr.DataArray:
    """The curve of a run's maps, trained now or read."""
    file = _place(run, folder) / "contrast.npz"
    if not file.is_file():
        discovery, _ = _people(run)
        curve = contrast_of(_networks(run, recipe, folder, discovery), discovery, LABEL)
        tmp = file.with_suffix(".npz.tmp")
        with tmp.open("wb") as f:
            np.savez(f, t=curve.values, phase=curve["phase"].values)
        tmp.replace(file)
    with np.load(file) as kept:
        return xr.DataArray(kept["t"], dims="phase", coords={"phase": kept["phase"]})


def _possible(run: Run, test: xr.Dataset) -> float:
    """AUC on test patients of the planted quantity itself."""
    plant = PLANTS.get(run.plant)
    if plant is None:
        return np.nan
    values = plant.measured.values(test)
    known = np.isfinite(values)
    return round(float(auc(test[LABEL].values[known], values[known])[0]), 4)


_COLUMNS = [
    *Run._fields, "method", "p_discovery", "features", "passed", "recovered", "best", "best_p", "best_auc",
    "network_auc", "possible_auc", "recipe", "seconds",
]  # fmt: skip


def _named(recipe: Recipe) -> str:
    net = " ".join(str(v) for v in recipe.net.values())
    return f"{net}, {recipe.epochs} epochs, {recipe.folds} folds"


def _results(file: Path, recipe: Recipe | None = None) -> pd.DataFrame:
    """What the CSV holds; of one recipe, where it is given."""
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=_COLUMNS)
    return table if recipe is None else table[table["recipe"] == _named(recipe)]


def _append(file: Path, rows: list[dict[str, Any]]) -> None:
    """Both rows of a run at once, so that a kill leaves whole runs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tmp = file.with_suffix(".tmp")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The behavior of DataFrame concatenation", FutureWarning)  # of empty tables
        pd.concat([_results(file), pd.DataFrame(rows, columns=_COLUMNS)]).to_csv(tmp, index=False, lineterminator="\n")
    tmp.replace(file)


if __name__ == "__main__":
    main()
