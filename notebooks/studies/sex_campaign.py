"""Features of sex from attention, on real people, and what the same pipeline finds where there is nothing.

python -m studies.sex_campaign [--permuted 20] [--epochs 100] [--out FOLDER]

Networks on PTB-XL-500's discovery patients, and again with their sex permuted, 20 times; features from their maps,
frozen and tested. A killed run goes on where it was. Its results are kept as ``sex-campaign.json``, the networks as
``sex-networks`` and the contrasts of permuted runs as ``sex-null.nc``, so that maps and proposals can be made again in
seconds.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from tqdm.auto import tqdm

from ecgwb.attention.contrasts import map_contrast
from ecgwb.cohorts.cache import cache_dir
from ecgwb.cohorts.cohort import open_cohort
from ecgwb.cohorts.people import one_record_each, split_patients
from ecgwb.discovery.comparisons import compare_features
from ecgwb.discovery.crossfit import Recipe, cross_fit, permuted
from ecgwb.discovery.manifests import freeze
from ecgwb.discovery.proposals import Proposals, propose_features, screen_features

OUTCOME, BASELINE = "male", ("age", "hr")
FOLDER = Path(__file__).parent / "results"
CAMPAIGN, NETWORKS, NULL = "sex-campaign.json", "sex-networks", "sex-null.nc"
DESIGNS = 3  # of networks tried on discovery patients: the one whose map was confirmed by edits was kept
# It sees 190 ms.
RECIPE = Recipe({"name": "compact", "width": 32, "dilations": [1, 2, 2]}, epochs=100)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.sex_campaign", description=__doc__.split("\n")[0])
    parser.add_argument("--permuted", type=int, default=20, help="runs with sex permuted, at least 20")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the results go")
    given = parser.parse_args(argv)
    campaign(given.out, given.permuted, Recipe(RECIPE.net, given.epochs, RECIPE.folds))


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


if __name__ == "__main__":
    main()
