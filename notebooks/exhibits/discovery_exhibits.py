"""Exhibit of the benchmark of discovery: how often planted changes are found, and how often what is not there."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from exhibits.beat_exhibits import Shown
from studies.discovery_bench import NOTHING, RESULTS, summary

from ecgwb import figures

METHODS = ("attention", "screening")


def discovery_bench() -> Shown:
    """What ``make discovery-bench`` found.

    Raises
    ------
    FileNotFoundError
        When it has not been run.
    """
    if not RESULTS.is_file():
        raise FileNotFoundError(f"{RESULTS.name} is not there; make it with: make discovery-bench")
    return recovered(summary(pd.read_csv(RESULTS)))


def recovered(table: pd.DataFrame) -> Shown:
    """Share of runs in which a planted change was recovered, or anything found where nothing was; from `summary`."""
    cases = list(dict.fromkeys(k[:3] for k in table.index))
    cases.sort(key=lambda k: (k[0] == NOTHING, k[0], -k[1]))
    fig, ax = plt.subplots(figsize=(figures.ONE_COLUMN, 0.4 * len(cases) + 0.9))
    for k, method in enumerate(METHODS):
        rows = table.xs(method, level="method").loc[cases]
        away = [rows["share"] - rows["low"], rows["high"] - rows["share"]]
        at = np.arange(len(cases)) + 0.2 * (k - 0.5)
        ax.errorbar(rows["share"], at, xerr=away, fmt="o", ms=4, capsize=2, label=method)
    names = [p if p == NOTHING else f"{p}, d = {d:g}" for p, d, _ in cases]
    ax.set(yticks=range(len(cases)), yticklabels=names, xlim=(-0.02, 1.02))
    ax.set_xlabel("share of runs that found it")
    ax.invert_yaxis()
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    said = []
    for case, name in zip(cases, names, strict=True):
        each = [table.loc[(*case, m)] for m in METHODS]
        shares = " and ".join(f"{100 * r['share']:.0f} % ({100 * r['low']:.0f}-{100 * r['high']:.0f})" for r in each)
        said.append(f"{name}: {shares} of {each[0]['runs']} runs")
    return Shown(
        "Discovery put to the test",
        f"Beats of {cases[0][2]} people, random labels, a known change planted or none; features frozen on discovery "
        "patients, tested on others. By attention and by screening without a network, with 95 % intervals: "
        + "; ".join(said)
        + ".",
        fig,
        table,
    )
