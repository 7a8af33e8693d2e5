"""A benchmark of discovery itself: known changes planted in beats with random labels, and nothing planted.

python -m studies.discovery_bench [--n 2000] [--runs 20] [--nothing 100] [--d 0.5 0.3] [--plants NAME ...] [--out FILE]

Every run draws labels, edits and a split of its own; it trains networks on discovery patients, proposes features from
their maps, freezes them and tests them on test patients, and does the same by screening without a network. The runs
with nothing planted are the null of all others, and of each other: each is the whole training repeated with labels that
mean nothing, on people edited in the same way. A killed run goes on where it was; where all runs are in the file
already, only their summary is made.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from statsmodels.stats.proportion import proportion_confint
from studies import plants
from studies.plants import LABEL, PLANTS, mixed_people, planted_cohort
from tqdm.auto import tqdm

from ecgwb.attention.alignment import template_of
from ecgwb.attention.contrasts import map_contrast
from ecgwb.cohorts.cache import cache_dir
from ecgwb.cohorts.people import split_patients
from ecgwb.discovery.comparisons import compare_features
from ecgwb.discovery.crossfit import Crossed, Recipe, cross_fit
from ecgwb.discovery.manifests import freeze
from ecgwb.discovery.proposals import Proposals, propose_features, screen_features
from ecgwb.stats import auc

NOTHING = "nothing"
BASELINE = ("hr",)  # synthetic beats have no age
ALPHA = 0.05
RESULTS = Path(__file__).parent / "results" / "discovery-bench.csv"


class Run(NamedTuple):
    """One repetition: what is planted, how large, among how many people, and its number."""

    plant: str
    d: float
    n: int
    number: int

    @property
    def seed(self) -> int:
        return int.from_bytes(hashlib.sha256(repr(tuple(self)).encode()).digest()[:4], "big")

    def people(self) -> tuple[xr.Dataset, xr.Dataset]:
        """Discovery and test patients."""
        d = {} if self.plant == NOTHING else {self.plant: self.d}
        return split_patients(planted_cohort(mixed_people(self.n, self.seed), d, self.seed), seed=self.seed)

    def folder(self, above: Path) -> Path:
        return above / f"{self.plant.replace(' ', '-')}-{self.d:g}-n{self.n}-{self.number}"


COLUMNS = [
    *Run._fields, "method", "p_discovery", "features", "passed", "recovered", "best", "best_p", "best_auc",
    "network_auc", "possible_auc", "recipe", "seconds",
]  # fmt: skip


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
    n: int, runs: int, nothing: int, sizes: Sequence[float], names: Sequence[str], recipe: Recipe, out: Path
) -> pd.DataFrame:
    """Train what is not trained, append what is not in the CSV, and summarise.

    Networks are kept in the user's cache, under the recipe and the code, so that nothing is trained twice.
    """
    if nothing < round(1 / ALPHA):
        raise ValueError(f"{nothing} runs of nothing; each needs {round(1 / ALPHA) - 1} others for its null")
    folder = cache_dir() / "discovery" / f"{recipe.key}-{_code_of_plants()}"
    empty = [Run(NOTHING, 0.0, n, k) for k in range(nothing)]
    planted = [Run(p, d, n, k) for d in sizes for p in names for k in range(runs)]
    done = {tuple(r) for r in results(out, recipe)[list(Run._fields)].itertuples(index=False)}
    left = [run for run in planted + empty if tuple(run) not in done]
    for_null = tqdm(empty if left else [], "training on labels that mean nothing", unit="run")
    curves = {run: kept_contrast(run, recipe, folder) for run in for_null}
    for run in tqdm(left, "discovery", unit="run"):
        null = xr.concat([curve for other, curve in curves.items() if other != run], "run")
        began = time.time()
        rows = [row | {"recipe": _words(recipe)} for row in one_run(run, null, recipe, folder)]
        append(out, [row | {"seconds": round(time.time() - began)} for row in rows])
    return summary(results(out, recipe).query("n == @n"))


# ---------------------------------------------------------------- one run


def one_run(run: Run, null: xr.DataArray, recipe: Recipe, folder: Path | None = None) -> list[dict[str, Any]]:
    """One repetition: a row for attention and a row for screening."""
    discovery, test = run.people()
    networks = train(run, recipe, folder, discovery)
    found = {
        "attention": propose_features(
            networks.maps(discovery, "ecgradcam"),
            discovery,
            null,
            outcome=LABEL,
            baseline=BASELINE,
            by_lead=partial(networks.maps, discovery, "deeplift"),
            predict_outcome=networks.predict,
        ),
        "screening": screen_features(discovery, LABEL, BASELINE, alpha=ALPHA),
    }
    about = {
        "network_auc": round(float(auc(discovery[LABEL].values, networks.predict(discovery))[0]), 4),
        "possible_auc": possible_auc(run, test),
    }
    return [
        {**run._asdict(), "method": method, "p_discovery": round(features.p, 5)}
        | judged(run, features, discovery, test)
        | about
        for method, features in found.items()
    ]


def train(run: Run, recipe: Recipe, folder: Path | None, discovery: xr.Dataset) -> Crossed:
    """The networks of a run, trained now or read."""
    return cross_fit(discovery, LABEL, recipe, run.seed, run.folder(folder) if folder else None)


def kept_contrast(run: Run, recipe: Recipe, folder: Path) -> xr.DataArray:
    """The contrast (phase,) of a run's maps, made now or read."""
    file = run.folder(folder) / "contrast.npz"
    if not file.is_file():
        discovery, _ = run.people()
        maps = train(run, recipe, folder, discovery).maps(discovery, "ecgradcam")
        curve = map_contrast(maps, discovery[LABEL].values)
        unfinished = file.with_suffix(".npz.tmp")
        with unfinished.open("wb") as f:
            np.savez(f, t=curve.values, phase=curve["phase"].values)
        unfinished.replace(file)
    with np.load(file) as kept:
        return xr.DataArray(kept["t"], dims="phase", coords={"phase": kept["phase"]})


def judged(run: Run, found: Proposals, discovery: xr.Dataset, test: xr.Dataset) -> dict[str, Any]:
    """Whether a frozen feature passes on test patients, and whether it is where the change was planted."""
    if not found:
        return {"features": 0, "passed": 0, "recovered": 0, "best": "", "best_p": np.nan, "best_auc": np.nan}
    table = compare_features(freeze(found, discovery, LABEL, BASELINE), test)
    p, score = (table[k].astype(float).to_dict() for k in ("p", "score"))
    passed = [f for f in found if p[f.name] <= ALPHA]
    template = template_of(discovery)
    recovered = [f for f in passed if run.plant in PLANTS and PLANTS[run.plant].overlaps(f, template)]
    best = (recovered or passed or list(found))[0].name
    return {
        "features": len(found),
        "passed": len(passed),
        "recovered": int(bool(recovered)),
        "best": best,
        "best_p": float(f"{p[best]:.3g}"),
        "best_auc": round(score[best], 4),
    }


def possible_auc(run: Run, test: xr.Dataset) -> float:
    """AUC on test patients of the planted quantity itself."""
    if run.plant not in PLANTS:
        return np.nan
    values = PLANTS[run.plant].measured.values(test)
    known = np.isfinite(values)
    return round(float(auc(test[LABEL].values[known], values[known])[0]), 4)


# ---------------------------------------------------------------- the file and its summary


def summary(results: pd.DataFrame, ci: float = 0.95) -> pd.DataFrame:
    """Share of runs that recovered the plant (of nothing: that found anything), with Clopper-Pearson intervals."""
    rows = []
    for (plant, d, n, method), some in results.groupby(["plant", "d", "n", "method"], sort=False):
        what, column = ("false discovery", "passed") if plant == NOTHING else ("recovered", "recovered")
        hit = some[column] > 0
        low, high = proportion_confint(int(hit.sum()), len(hit), 1 - ci, method="beta")
        row = {"plant": plant, "d": d, "n": n, "method": method, "what": what, "runs": len(hit), "share": hit.mean()}
        row |= {"low": low, "high": high, "proposed": (some["features"] > 0).mean()}
        rows.append(row | {k: some[k].mean() for k in ("network_auc", "possible_auc", "best_auc")})
    return pd.DataFrame(rows).set_index(["plant", "d", "n", "method"])


def results(file: Path, recipe: Recipe) -> pd.DataFrame:
    """What the CSV holds of one recipe."""
    table = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=COLUMNS)
    return table[table["recipe"] == _words(recipe)]


def append(file: Path, rows: list[dict[str, Any]]) -> None:
    """Both rows of a run at once, so that a kill leaves whole runs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    before = file.read_text() if file.is_file() else ""
    more = pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, header=not before, lineterminator="\n")
    unfinished.write_text(before + more)
    unfinished.replace(file)


def _words(recipe: Recipe) -> str:
    net = " ".join(str(v) for v in recipe.net.values())
    return f"{net}, {recipe.epochs} epochs, {recipe.folds} folds"


def _code_of_plants() -> str:
    return hashlib.sha256(Path(plants.__file__).read_bytes()).hexdigest()[:8]


if __name__ == "__main__":
    main()
