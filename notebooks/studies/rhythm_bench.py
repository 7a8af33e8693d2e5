"""Discovery with a network on recordings: a rhythm planted with random labels, and nothing planted.

python -m studies.rhythm_bench [--runs 8] [--out FILE]

Of each recording of PTB-XL-500 and LUDB in sinus rhythm the RR intervals' spread is set to a value drawn anew; with
label 1 it is drawn half as large again (or, of nothing, not). Mean rate and every beat stay. The network measures that
spread in closed form, since some 350 discovery patients are too few to train one that does. `wb.discover` should say
that it tells more than age and rate, and that this lies in the rhythm, not in a lead's segment.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from statsmodels.stats.proportion import proportion_confint
from torch import nn
from tqdm.auto import tqdm

from ecgwb.cohorts.beats import RHYTHM as OF_RECORDINGS
from ecgwb.cohorts.cohort import open_cohort
from ecgwb.delineation.landmarks import R
from ecgwb.discovery.discover import discover
from ecgwb.discovery.readers import RHYTHM
from ecgwb.edits.changes import spread_rr
from ecgwb.models.spec import ModelSpec
from ecgwb.models.wrapping import wrap_model
from ecgwb.stats import auc

LABEL, ALPHA, TIMES = "planted", 0.05, 1.5
RESULTS = Path(__file__).parent / "results" / "rhythm-bench.csv"
_SPREAD_MS, _SD_OF_LOG = 30.0, 0.5  # of the spreads drawn
_MOST_MS = 120.0  # a larger spread is no sinus rhythm
_FEWEST_BEATS = 6


class SpreadOfRR(nn.Module):
    """The logarithm of the SD of RR (and 5 ms), from the moments at which all leads together are steepest."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.AvgPool1d(21, stride=1, padding=10)
        self.highest = nn.MaxPool1d(151, stride=1, padding=75)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steep = self.smooth(x.diff(dim=2).abs().sum(dim=1, keepdim=True))[:, 0]
        high = steep > 0.4 * steep.topk(75, dim=1).values[:, -1:]  # 150 ms of the 10 s are steeper
        is_beat = high & (steep == self.highest(steep[:, None])[:, 0])
        out = [torch.nonzero(row)[:, 0].to(x).diff().mul(2.0) for row in is_beat]  # ms
        return torch.stack([(rr.std() if len(rr) > 1 else rr.sum() * 0).add(5).log() for rr in out])[:, None]


def network() -> nn.Module:
    return wrap_model(SpreadOfRR().eval(), ModelSpec("rhythm", n_samples=5000, targets=(LABEL,), units=("log ms",)))


def sinus_people() -> xr.Dataset:
    """One recording of each person with a whole beat, an age, P, QRS and T, and intervals as of sinus rhythm."""
    parts = []
    for name in ("ptbxl500", "ludb"):
        cohort = open_cohort(name, rhythm=True)
        whole = np.isfinite(cohort["fiducial"].values).all(axis=1) & np.isfinite(cohort["age"].values)
        whole &= np.isfinite(cohort["rhythm"].values).all(axis=(1, 2))
        whole &= np.isfinite(cohort["beat"].values).all(axis=(1, 2))
        rr = np.diff(np.sort(cohort["cycle_fiducial"].values[:, :, R], axis=1), axis=1)
        count, sd = np.isfinite(rr).sum(axis=1), np.nanstd(rr, axis=1)
        some = cohort.isel(record=np.flatnonzero(whole & (count >= _FEWEST_BEATS - 1) & (sd > 1) & (sd < _MOST_MS)))
        _, first = np.unique(some["patient"].values.astype(str), return_index=True)
        some = some.isel(record=np.sort(first))
        names = [f"{name} {record}" for record in some["record"].values]
        kept = some[["beat", "fiducial", "hr", *OF_RECORDINGS]].reset_coords(drop=True)
        kept = kept.assign_coords(
            record=names, patient=("record", names), age=("record", some["age"].values), lead=some["lead"],
            time=some["time"], landmark=some["landmark"],
        ).pad(cycle=(0, 40 - some.sizes["cycle"]))  # fmt: skip
        parts.append(kept)
    return xr.concat(parts, "record", coords="minimal", compat="override").assign_attrs(source="sinus", fs=500)


def planted_rhythm(people: xr.Dataset, times: float, seed: int) -> tuple[xr.Dataset, float]:
    """These people with labels and a spread of RR drawn anew for each, and the AUC that is possible.

    Parameters
    ----------
    people : Dataset
    times : float
        By how much the spread is larger with label 1; 1: nothing is planted.
    seed : int

    Returns
    -------
    Dataset, float
        Without those whose beats leave no room for it.
    """
    rng = np.random.default_rng(seed)
    n = people.sizes["record"]
    label = rng.permutation(np.arange(n) % 2).astype(float)
    drawn = np.log(_SPREAD_MS) + _SD_OF_LOG * np.clip(rng.standard_normal(n), -3, 3) + np.log(times) * label
    rr = np.diff(np.sort(people["cycle_fiducial"].values[:, :, R], axis=1), axis=1)
    cohort = spread_rr(people, np.exp(drawn) / np.nanstd(rr, axis=1)).assign({LABEL: ("record", label)})
    done = np.isfinite(cohort["rhythm"].values).all(axis=(1, 2))
    kept = cohort.reset_coords("outside", drop=True).isel(record=np.flatnonzero(done))
    return kept, float(auc(label[done], drawn[done])[0])


def one_run(people: xr.Dataset, times: float, seed: int) -> dict[str, Any]:
    """What is found in one repetition."""
    began = time.time()
    cohort, possible = planted_rhythm(people, times, seed)
    found = discover(
        cohort, LABEL, baseline=("age", "hr"), known=(), network=network(), families=(), alpha=ALPHA, seed=seed,
        progress=False,
    )  # fmt: skip
    table = found.places
    held = table if table.empty else table[table["p_test"] <= ALPHA].sort_values("r", ascending=False)
    named = [str(place) for place in held.index.tolist()]
    return {
        "times": times, "number": seed, "n": cohort.sizes["record"], "p_left": float(found.left["p"].to_numpy()[0]),
        "found": len(named), "named": named[0] if named else "", "wrong": sum(p not in RHYTHM for p in named),
        "possible_auc": round(possible, 4), "seconds": round(time.time() - began, 1),
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.rhythm_bench", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=8, help="with a rhythm planted, and as many with nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="CSV of all runs")
    given = parser.parse_args(argv)
    people = sinus_people()
    runs = [(times, seed) for seed in range(given.runs) for times in (TIMES, 1.0)]
    table = pd.DataFrame([one_run(people, *run) for run in tqdm(runs, "discovery", unit="run")])
    given.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out, index=False, float_format="%.4g", lineterminator="\n")
    print(summary(table).round(3).to_string())


def summary(runs: pd.DataFrame, ci: float = 0.95) -> pd.DataFrame:
    """Share of runs whose best place is the rhythm, or of nothing any is, with Clopper-Pearson intervals."""
    rows = []
    for times, some in runs.groupby("times"):
        hit = some["named"].isin(RHYTHM) if times != 1 else some["found"] > 0
        low, high = proportion_confint(int(hit.sum()), len(hit), 1 - ci, method="beta")
        row = {"times": times, "what": "in its place" if times != 1 else "false", "runs": len(hit)}
        row |= {"share": hit.mean(), "low": low, "high": high, "left": (some["p_left"] <= ALPHA).mean()}
        rows.append(row | {"wrong": some["wrong"].sum(), "possible_auc": some["possible_auc"].mean()})
    return pd.DataFrame(rows).set_index("times")


if __name__ == "__main__":
    main()
