"""A benchmark of discovery itself: known changes planted in beats with random labels, and nothing planted.

python -m studies.discovery_bench [--n 2000] [--runs 30] [--plants NAME ...] [--part 1/2] [--out FILE]

Every run draws people from PTB-XL, labels, edits and a split of its own. It makes `wb.discover` twice, by the scan
alone and by the network alone, with heart rate and age as all that is known: features and places are chosen on
discovery patients, frozen, and tested on others. Of the scan any of at most three features counts that holds and reads
the planted stretch in its lead; of the network the best place that holds, or pair of places.

Rows are appended as they come, and a killed run goes on where it was; where all runs are in the file already, only
their summary is made. ``--part 1/2`` and ``2/2`` share the runs between two processes, each with a file of its own,
which ``--merge FILE ...`` puts together.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import kstest
from statsmodels.stats.proportion import proportion_confint
from studies.plants import LABEL, NOTHING, PLANTS, TIED, planted_cohort, some_people, whole_people
from tqdm.auto import tqdm

from ecgwb.attention.alignment import template_of
from ecgwb.cohorts.cohort import open_cohort
from ecgwb.delineation.landmarks import SEGMENTS
from ecgwb.discovery.discover import POOLED, Discovery, discover
from ecgwb.discovery.scan import FAMILIES

BASELINE = ("age", "hr")
ALPHA = 0.05
RESULTS = Path(__file__).parent / "results" / "discovery-bench.csv"
METHODS = ("scan", "network")


class Run(NamedTuple):
    """One repetition: what is planted, how large, among how many people, and its number."""

    plant: str
    size: float
    n: int
    number: int

    @property
    def seed(self) -> int:
        return int.from_bytes(hashlib.sha256(repr(tuple(self)).encode()).digest()[:4], "big")


COLUMNS = [*Run._fields, "method", "found", "right", "wrong", "named", "p_left", "possible_auc", "seconds"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.discovery_bench", description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=2000, help="people in a run, discovery and test together")
    parser.add_argument("--runs", type=int, default=30, help="of each plant")
    parser.add_argument("--plants", nargs="+", default=[*PLANTS, NOTHING, TIED], choices=[*PLANTS, NOTHING, TIED])
    parser.add_argument("--part", default="1/1", help="such as 1/2: every other run")
    parser.add_argument("--merge", nargs="+", type=Path, default=[], help="files to put together first")
    parser.add_argument("--out", type=Path, default=RESULTS, help="CSV that every finished run is appended to")
    given = parser.parse_args(argv)
    part, of = (int(v) for v in given.part.split("/"))
    for file in given.merge:
        rows = pd.read_csv(file)
        append(given.out, rows[[_run(row) not in done(given.out) for row in rows.to_dict("records")]])
    runs = [Run(p, PLANTS[p].size if p in PLANTS else 0.0, given.n, k) for k in range(given.runs) for p in given.plants]
    left = [run for run in runs[part - 1 :: of] if run not in done(given.out)]
    if left:
        everyone = whole_people(open_cohort("ptbxl")).load()
        for run in tqdm(left, "discovery", unit="run"):
            append(given.out, one_run(run, everyone))
    table = summary(pd.read_csv(given.out).query("n == @given.n"))
    table.to_csv(given.out.with_name(f"{given.out.stem}-summary.csv"), float_format="%.4g", lineterminator="\n")
    print(table.round(3).to_string())


def one_run(run: Run, everyone: xr.Dataset) -> list[dict[str, Any]]:
    """One repetition: a row for the scan and a row for the network."""
    people = some_people(everyone, run.n, run.seed)
    cohort, possible = planted_cohort(people, run.plant, run.size, run.seed)
    rows = []
    for method in METHODS:
        began = time.time()
        found = discover(
            cohort, LABEL, baseline=BASELINE, known=(), network=POOLED if method == "network" else False,
            families=FAMILIES if method == "scan" else (), alpha=ALPHA, seed=run.seed, progress=False,
        )  # fmt: skip
        judged = by_features(found, run.plant, cohort) if method == "scan" else by_places(found, run.plant, cohort)
        p_left = float(found.left["p"].to_numpy()[0]) if method == "network" else np.nan
        row = {**run._asdict(), "method": method, **judged, "p_left": float(f"{p_left:.4g}")}
        rows.append(row | {"possible_auc": round(possible, 4), "seconds": round(time.time() - began, 1)})
    return rows


def by_features(found: Discovery, plant: str, cohort: xr.Dataset) -> dict[str, Any]:
    """Of the scan: frozen features that hold on test patients, and those that read what was planted."""
    held = [f for f in found.features if found.holds.loc[f.name, "holds"] == "yes"]
    template = template_of(cohort)
    right = [f for f in held if plant in PLANTS and PLANTS[plant].found_by(f, template)]
    return _row(len(held), len(right), next((f.name for f in [*right, *held]), ""))


def by_places(found: Discovery, plant: str, cohort: xr.Dataset) -> dict[str, Any]:
    """Of the network: places and pairs that hold on test patients; the best one is what it names."""
    table = found.places
    if table.empty:
        return _row(0, 0, "")
    held = table[table["p_test"] <= ALPHA].sort_values("r", ascending=False)  # the best in discovery first
    pairs = held.index.str.contains(" and ")  # a pair that holds says more than its places: it is freed of them
    held = pd.concat([held[pairs], held[~pairs]])
    template = template_of(cohort)
    marks = {m: float(template.sel(landmark=m)) for m in template["landmark"].values}
    right, wrong = False, 0
    for k, place in enumerate(held.index):
        parts = [words.split() for words in place.split(" and ")]
        spans = [(marks[SEGMENTS[words[-1]][0]], marks[SEGMENTS[words[-1]][1]]) for words in parts]
        if plant in PLANTS and k == 0:  # the best one counts
            right = PLANTS[plant].named({words[0] for words in parts}, spans, template)
        touched = [
            plant in PLANTS and PLANTS[plant].touches(w[0], s, template) for w, s in zip(parts, spans, strict=True)
        ]
        wrong += not all(touched)
    return _row(len(held), int(right), str(held.index[0]) if len(held) else "", wrong)


def _row(found: int, right: int, named: str, wrong: int | None = None) -> dict[str, Any]:
    return {"found": found, "right": right, "wrong": found - right if wrong is None else wrong, "named": named}


# ---------------------------------------------------------------- the file and its summary


def summary(results: pd.DataFrame, ci: float = 0.95) -> pd.DataFrame:
    """Share of runs that named the plant (of nothing: anything), with Clopper-Pearson intervals."""
    rows = []
    for plant, method in itertools.product([*PLANTS, NOTHING, TIED], METHODS):
        some = results[(results["plant"] == plant) & (results["method"] == method)]
        if some.empty:
            continue
        planted = plant in PLANTS
        hit = (some["right"] if planted else some["found"]) > 0
        low, high = proportion_confint(int(hit.sum()), len(hit), 1 - ci, method="beta")
        row: dict[str, Any] = {
            "plant": plant,
            "method": method,
            "what": "in its place" if planted else "false",
            "runs": len(hit),
        }
        row |= {"share": hit.mean(), "low": low, "high": high, "found": (some["found"] > 0).mean()}
        row |= {"wrong_share": some["wrong"].sum() / max(some["found"].sum(), 1), "size": some["size"].iloc[0]}
        row |= {"n": some["n"].iloc[0], "left": (some["p_left"] <= ALPHA).mean() if method == "network" else np.nan}
        row |= {"possible_auc": some["possible_auc"].mean(), "seconds": some["seconds"].median()}
        if not planted:
            # An effect against that of discovery has p 1, so half of them do.
            p = some["p_left"].to_numpy()
            row["p_uniform"] = kstest(p[p < 1], "uniform").pvalue if (p < 1).any() else np.nan
        rows.append(row)
    return pd.DataFrame(rows).set_index(["plant", "method"])


def _run(row: Mapping[Any, Any]) -> Run:
    return Run(str(row["plant"]), float(row["size"]), int(row["n"]), int(row["number"]))


def done(file: Path) -> set[Run]:
    """The runs of which the CSV holds both rows."""
    return {_run(row) for row in pd.read_csv(file).to_dict("records")} if file.is_file() else set()


def append(file: Path, rows: list[dict[str, Any]] | pd.DataFrame) -> None:
    """Both rows of a run at once, so that a kill leaves whole runs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    before = file.read_text() if file.is_file() else ""
    more = pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, header=not before, lineterminator="\n")
    unfinished.write_text(before + more)
    unfinished.replace(file)


if __name__ == "__main__":
    main()
