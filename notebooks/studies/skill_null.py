"""How often skill is "shown" of networks that know nothing: fits on labels that are dealt out to others at random.

python -m studies.skill_null [--runs 300] [--out FILE]

Of LUDB's people so many are drawn, their ages, or their sexes, are permuted, and a small network is fitted for five
epochs, half of the people set aside. Whatever skill `fit` then shows is chance. The share of runs that show one should
be 2.5 %, the lower end of a 95 % interval, and is to be 5 % at most.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from statsmodels.stats.proportion import proportion_confint
from tqdm.auto import tqdm

from ecgwb.cohorts.cohort import open_cohort
from ecgwb.models.spec import spec_of
from ecgwb.models.training import fit

SIZES = (30, 48, 100, 200)
LABELS = ("male", "age")
SMALL = {"name": "compact", "width": 8, "dilations": (1, 2)}
RESULTS = Path(__file__).parent / "results" / "skill-null.csv"


def shown(people: xr.Dataset, label: str, n: int, seed: int) -> bool:
    """Whether `fit` shows skill for a label that `n` people drawn by `seed` have from each other.

    Parameters
    ----------
    people : Dataset
        All of whom have the label.
    label : str
    n : int
    seed : int

    Returns
    -------
    bool
    """
    rng = np.random.default_rng([seed, n])
    some = people.isel(record=np.sort(rng.permutation(people.sizes["record"])[:n]))
    some = some.assign({label: some[label].copy(data=rng.permutation(some[label].values))})
    model = fit(some, label, SMALL, epochs=5, batch=16, validation=0.5, seed=seed, progress=False)
    return not spec_of(model).skill_note(label)


def rates(people: xr.Dataset, runs: int, sizes: Sequence[int] = SIZES, labels: Sequence[str] = LABELS) -> pd.DataFrame:
    """How often skill is shown, a row per label and cohort size.

    Parameters
    ----------
    people : Dataset
    runs : int
        Of each row.
    sizes : sequence of int
        People, half of whom are set aside.
    labels : sequence of str

    Returns
    -------
    DataFrame
        ``label``, ``people``, ``set_aside``, ``runs``, ``shown``, ``rate`` and its exact 95 % interval, ``low`` to
        ``high``.
    """
    rows = []
    for label in labels:
        known = people.isel(record=np.flatnonzero(np.isfinite(people[label].values)))
        for n in (min(n, known.sizes["record"]) for n in sizes):
            found = sum(shown(known, label, n, seed) for seed in tqdm(range(runs), f"{label}, {n} people"))
            low, high = proportion_confint(found, runs, method="beta")
            rows.append([label, n, n - n // 2, runs, found, found / runs, low, high])
    return pd.DataFrame(rows, columns=["label", "people", "set_aside", "runs", "shown", "rate", "low", "high"])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=300)
    arguments.add_argument("--out", type=Path, default=RESULTS)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    table = rates(open_cohort("ludb").load(), given.runs)
    table.round(4).to_csv(given.out, index=False)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
