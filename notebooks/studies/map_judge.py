"""What maps tell of joint edits: every shipped network of beats, on LUDB and on PTB-XL's fold 10.

python -m studies.map_judge [--people 200]   writes results/map-judge.csv; half an hour on one core
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from ecgwb.cohorts.cohort import open_cohort
from ecgwb.models.checkpoints import load_model
from ecgwb.trust import joint_edits

TABLE = Path(__file__).parent / "results" / "map-judge.csv"
NETWORKS = ("compact-measures", "compact-sex", "compact-sex-126ms", "compact-age", "compact-diagnoses")
PIECES = ("segments", "halves")
METHODS = ("edit map", "gradcam", "guided", "integrated_gradients", "input_x_gradient")
FEWER = {"compact-diagnoses": METHODS[:2]}  # gradients of 25 targets would take an hour
KEYS = ["people", "network", "pieces", "target", "method"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.map_judge", description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, default=200, help="of each cohort, the first so many")
    parser.add_argument("--out", type=Path, default=TABLE, help="goes on where an earlier run stopped")
    given = parser.parse_args(argv)
    table = pd.read_csv(given.out, index_col=KEYS) if given.out.exists() else pd.DataFrame()
    made = {row[:3] for row in table.index}
    steps = list(itertools.product(cohorts(given.people).items(), NETWORKS, PIECES))
    if len(made) == len(steps):  # a whole table is made anew
        table, made = pd.DataFrame(), set()
    for (people, cohort), name, pieces in steps:
        if (people, name, pieces) in made:
            continue
        found = joint_edits(load_model(name), cohort, FEWER.get(name, METHODS), pieces=pieces).table
        print(people, name, pieces, "\n", found.round(2).to_string(), flush=True)
        table = pd.concat([table, pd.concat({(people, name, pieces): found}, names=KEYS[:3])])
        table.to_csv(given.out, float_format="%.4g", lineterminator="\n")


def cohorts(n: int) -> dict[str, xr.Dataset]:
    """LUDB and fold 10: the first so many records whose beat is whole."""
    ptbxl = open_cohort("ptbxl")
    found = {"LUDB": open_cohort("ludb"), "fold 10": ptbxl.isel(record=ptbxl["fold"].values == 10)}
    return {name: whole(cohort).isel(record=slice(n)).load() for name, cohort in found.items()}


def whole(cohort: xr.Dataset) -> xr.Dataset:
    return cohort.isel(record=np.flatnonzero(np.isfinite(cohort["beat"].values).all(axis=(1, 2))))


if __name__ == "__main__":
    main()
