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
        From `nested_models`.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    counted = {p: f"{p} (n = {rows['n'].iloc[0]:.0f})" for p, rows in table.groupby("people", sort=False)}
    ax = plot_intervals(table.rename(index=counted, level="people"), ax, columns=("auc", "low", "high"), by="people")
    ax.axvline(0.5, color="0.6", lw=0.6)
    ax.set_xlabel("AUC for sex, 95 % interval")
    return ax
