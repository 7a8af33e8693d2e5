"""Figures of tables: estimates with their intervals."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from .style import NAMES

_MARKERS = "os^Dv"  # of groups, so that they can be told apart in grey


def plot_intervals(
    table: pd.DataFrame,
    ax: Axes | None = None,
    *,
    columns: tuple[str, str, str] = ("value", "low", "high"),
    by: str | None = None,
    vertical: bool = False,
    hollow: Collection[str] = (),
    legend: bool = True,
) -> Axes:
    """Estimates as dots with their intervals; groups stand side by side in colours and markers of their own.

    Parameters
    ----------
    table : DataFrame
        A row per label, or per label and group. Rows are drawn in the table's order, from the top.
    columns : three str
        The columns of the table that hold the estimate and the ends of its interval.
    by : str, optional
        Level of the index whose values are the groups.
    vertical : bool
        Upright intervals at the numbers of the index, with the dots of a group joined by a line. By default the
        intervals lie, a row per label.
    hollow : collection of str
        Groups whose dots are drawn hollow, such as the people a model was fitted on.
    legend : bool
        Whether the groups are named above the Axes.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        When the table lacks a column or the level `by`.
    """
    ax = ax or plt.gca()
    lacking = [c for c in columns if c not in table] + [by] * (by is not None and by not in table.index.names)
    if lacking:
        have = ", ".join(map(str, [*table.index.names, *table.columns]))
        raise ValueError(f"the table has no {lacking[0]!r}; it has {have}; say which with columns= and by=")
    groups = {"": table} if by is None else {str(g): table.xs(g, level=by) for g in table.index.unique(by)}
    labels = list(dict.fromkeys(label for rows in groups.values() for label in rows.index))
    beside = min(0.22, 0.8 / len(groups))
    for k, (group, rows) in enumerate(groups.items()):
        value, low, high = (rows[c].reindex(labels).to_numpy(float) for c in columns)
        dots: dict[str, Any] = {"marker": _MARKERS[k % len(_MARKERS)], "ms": 4, "color": f"C{k}", "label": group}
        if group in hollow:
            dots["mfc"] = "white"
        if vertical:
            ax.vlines(labels, low, high, color=f"C{k}", lw=0.9)
            ax.plot(labels, value, **dots)
        else:
            at = np.arange(len(labels)) + beside * (k - (len(groups) - 1) / 2)
            ax.hlines(at, low, high, color=f"C{k}", lw=0.9)
            ax.plot(value, at, ls="none", **dots)
    if not vertical:
        # The limits are set rather than turned over, so that Axes which share their rows agree on them.
        ax.set(yticks=range(len(labels)), yticklabels=map(_label, labels), ylim=(len(labels) - 0.5, -0.5))
    if by is not None and legend:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(groups), columnspacing=1)
    return ax


def _label(key: object) -> str:
    """A row's label in words: the name of a target, or the parts of a row with several."""
    parts = key if isinstance(key, tuple) else (key,)
    return ", ".join(NAMES.get(str(p), str(p)) for p in parts)


def plot_forest(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Area under the ROC curve with its interval, a row per model, people side by side.

    Parameters
    ----------
    table : DataFrame, rows ``model`` and ``people``
        From `nested_models` or `sex_table`: ``auc``, ``low``, ``high`` and ``n``. The people "discovery", on whom the
        models were fitted, are drawn hollow.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    counted = {p: f"{p} (n = {rows['n'].iloc[0]:.0f})" for p, rows in table.groupby("people", sort=False)}
    ax = plot_intervals(
        table.rename(index=counted, level="people"), ax, columns=("auc", "low", "high"), by="people",
        hollow=[counted.get("discovery", "")],
    )  # fmt: skip
    ax.axvline(0.5, color="0.6", lw=0.6)
    ax.set_xlabel("AUC for sex, 95 % interval")
    return ax


def plot_sex_table(table: pd.DataFrame, axes: tuple[Axes, Axes]) -> tuple[Axes, Axes]:
    """Area under the ROC curve of every row of the sex table, and what it adds to the classic measurements.

    Parameters
    ----------
    table : DataFrame, rows ``model`` and ``people``
        From `sex_table`. Rows without an area are left out.
    axes : two Axes, beside each other

    Returns
    -------
    two Axes
    """
    found = table[table["auc"].notna()]
    plot_forest(found, axes[0])
    beyond = ("beyond", "beyond_low", "beyond_high")
    plot_intervals(found, axes[1], columns=beyond, by="people", hollow=["discovery"], legend=False)
    axes[1].axvline(0, color="0.6", lw=0.6)
    axes[1].set(yticklabels=[], xlabel="change in AUC against\nthe classic measurements")
    return axes


def plot_landmark_errors(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Bias and spread of each landmark against marks made by hand, beside the doubt that the workbench gives.

    Parameters
    ----------
    table : DataFrame, rows landmarks
        ``bias``, ``sd`` and ``doubt`` (median), all in ms.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ends = {"low": table["bias"] - table["sd"], "high": table["bias"] + table["sd"]}
    spread = pd.concat({"bias and SD": table.assign(**ends)}, names=["kind"])
    ax = plot_intervals(spread, ax, columns=("bias", "low", "high"), by="kind")
    rows = range(len(table))
    ax.barh(rows, 2 * table["doubt"], left=-table["doubt"], height=0.6, color="0.85", zorder=0, label="doubt, median")
    ax.axvline(0, color="0.5", lw=0.6)
    ax.set_xlabel("found minus by hand (ms)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax
