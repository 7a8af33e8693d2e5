"""Figures of what edits do: dose and response beside the measurement's, maps against effects, and the sex table."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from .style import NAMES

_OWN = {
    "pr": "PR",
    "qrs": "QRS",
    "qt": "QT",
    "j_v5": "J",
    "r_v5": "R",
    "t_v5": "T",
}  # the edit each target is to follow


def plot_dose_response(table: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """The network's slopes beside those of the workbench's own measurement of the same beats, as two matrices.

    A row per target, a column per edit. A row has one scale of colours in both matrices, its largest slope, as units
    differ. A frame marks the edit that a target is to follow.

    Parameters
    ----------
    table : DataFrame, rows ``edit`` and ``target``
        From `dose_response`, of one network or of several with different targets.
    axes : two Axes, beside each other
    """
    targets, edits = (list(dict.fromkeys(table.index.get_level_values(k))) for k in ("target", "edit"))
    for ax, who, columns in (
        (axes[0], "network", ("slope", "low", "high")),
        (axes[1], "the workbench's measurement", ("measured_slope", "measured_low", "measured_high")),
    ):
        value, low, high = (
            table[c].unstack("edit").reindex(index=targets, columns=edits).to_numpy(float) for c in columns
        )
        both = table[["slope", "measured_slope"]].abs().max(axis=1).groupby("target").max()
        shade = value / both.reindex(targets).where(lambda v: v > 0, 1.0).to_numpy(float)[:, None]
        ax.imshow(np.ma.masked_invalid(shade), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        for (i, j), v in np.ndenumerate(value):
            if not np.isfinite(v):
                ax.text(j, i, "\N{EN DASH}", ha="center", va="center", color="0.5")
                continue
            digits = 3 if np.nanmax(np.abs(value[i])) < 0.1 else 2
            shown, a, b = (_short(float(x), digits) for x in (v, low[i, j], high[i, j]))
            colour = "white" if abs(shade[i, j]) > 0.6 else "black"
            ax.text(j, i, f"{shown}\n({a}, {b})", ha="center", va="center", fontsize=5, color=colour, linespacing=1.1)
        for i, t in enumerate(targets):
            if _OWN.get(t) in edits:
                corner = (edits.index(_OWN[t]) - 0.5, i - 0.5)
                ax.add_patch(plt.Rectangle(corner, 1, 1, fill=False, ec="black", lw=0.9))
        units = table["unit"].groupby("edit").first()
        names = [f"{e}, {units[e].rsplit(' per ', 1)[-1]}" for e in edits]
        ax.set(xticks=range(len(edits)), xticklabels=names, yticks=range(len(targets)))
        ax.set_yticklabels([f"{NAMES.get(t, t)}, {_unit(table, t)}" for t in targets] if ax is axes[0] else [])
        ax.set_title(who)
        ax.set_xlabel("per unit of this edit")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[0].set_ylabel("change of")
    return axes


def _short(value: float, digits: int) -> str:
    """A signed number without its leading zero, which a cell has no room for; plain 0 where it rounds to that."""
    digits = digits if abs(value) < 10 else 1 if abs(value) < 100 else 0
    text = f"{value:+.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:+.{digits}f}"
    return text if round(value, digits) else "0"


def _unit(table: pd.DataFrame, target: str) -> str:
    return str(table["unit"].xs(target, level="target").iloc[0]).rsplit(" per ", 1)[0]


def plot_map_against_effect(table: pd.DataFrame, axes: Sequence[Axes], needed: float = 0.5) -> Sequence[Axes]:
    """Correlation, over people, of what a map gives a wave with what blanking that wave does to the prediction.

    Parameters
    ----------
    table : DataFrame, rows ``method``, ``target`` and ``wave``
        From `faithfulness`, of one network or of several with different targets.
    axes : Axes, one per wave ("all", "P", "QRS", "T"), beside each other
    """
    methods, targets = (list(dict.fromkeys(table.index.get_level_values(k))) for k in ("method", "target"))
    for ax, wave in zip(axes, ("all", "P", "QRS", "T"), strict=True):
        for k, method in enumerate(methods):
            rows = table.xs((method, wave), level=("method", "wave")).reindex(targets)
            y = np.arange(len(targets)) + 0.22 * (k - (len(methods) - 1) / 2)
            marker = "os^Dv"[k % 5]
            ax.hlines(y, rows["r_low"], rows["r_high"], color=f"C{k}", lw=0.9)
            ax.plot(rows["r"], y, marker, ms=3, color=f"C{k}", label=method.replace("_", " "))
        ax.axvline(0, color="0.6", lw=0.6)
        ax.axvline(needed, color="0.5", lw=0.7, ls="--")
        names = [NAMES.get(t, t) for t in targets] if ax is axes[0] else []
        ax.set(yticks=range(len(targets)), yticklabels=names, xlim=(-1, 1), xlabel="correlation")
        ax.set_title("all three waves" if wave == "all" else f"{wave} blanked")
        ax.invert_yaxis()
    return axes


def plot_sex_table(table: pd.DataFrame, axes: tuple[Axes, Axes]) -> tuple[Axes, Axes]:
    """AUC of every row of the sex table, and what it adds to the classic measurements, with 95 % intervals.

    Parameters
    ----------
    table : DataFrame, rows ``model`` and ``people``
        From `sex_table`.
    axes : two Axes, beside each other
    """
    found = table[table["auc"].notna()]
    models, people = (list(dict.fromkeys(found.index.get_level_values(k))) for k in ("model", "people"))
    for k, who in enumerate(people):
        rows = found.xs(who, level="people").reindex(models)
        y = np.arange(len(models)) + 0.22 * (k - (len(people) - 1) / 2)
        face = "white" if who == "discovery" else f"C{k}"  # fitted on these people: counts for nothing
        marker, label = "os^"[k % 3], f"{who} (n = {int(rows['n'].iloc[0])})"
        for ax, (v, a, b) in zip(axes, (("auc", "low", "high"), ("beyond", "beyond_low", "beyond_high")), strict=True):
            ax.hlines(y, rows[a], rows[b], color=f"C{k}", lw=0.9)
            ax.plot(rows[v], y, marker, ms=4, color=f"C{k}", mfc=face, label=label)
    axes[0].axvline(0.5, color="0.6", lw=0.6)
    axes[1].axvline(0, color="0.6", lw=0.6)
    axes[0].set(yticks=range(len(models)), yticklabels=models, xlabel="AUC for sex")
    axes[1].set(yticks=range(len(models)), yticklabels=[], xlabel="change in AUC against\nthe classic measurements")
    for ax in axes:
        ax.invert_yaxis()
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(people), columnspacing=1)
    return axes


def plot_landmark_errors(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Per landmark, bias and spread against marks made by hand, beside the doubt the workbench gives.

    Parameters
    ----------
    table : DataFrame, rows landmarks
        ``bias``, ``sd`` and ``doubt`` (ms, median).
    """
    ax = ax or plt.gca()
    y = np.arange(len(table))
    ax.errorbar(table["bias"], y, xerr=table["sd"], fmt="o", ms=4, capsize=2, label="bias and SD")
    ax.barh(y, 2 * table["doubt"], left=-table["doubt"], height=0.6, color="0.85", zorder=0, label="doubt, median")
    ax.axvline(0, color="0.5", lw=0.6)
    ax.set(yticks=y, yticklabels=table.index, xlabel="found minus by hand (ms)")
    ax.invert_yaxis()
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax
