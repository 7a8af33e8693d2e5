"""Figures of what edits do: dose and response beside the measurement's, and maps against effects."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from .style import NAMES
from .tables import plot_intervals

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
    for ax, wave in zip(axes, ("all", "P", "QRS", "T"), strict=True):
        of_wave = pd.DataFrame(table.xs(wave, level="wave")).rename(lambda m: m.replace("_", " "), level="method")
        plot_intervals(of_wave, ax, columns=("r", "r_low", "r_high"), by="method", legend=False)
        ax.axvline(0, color="0.6", lw=0.6)
        ax.axvline(needed, color="0.5", lw=0.7, ls="--")
        ax.set(xlim=(-1, 1), xlabel="correlation")
        ax.set_title("all three waves" if wave == "all" else f"{wave} blanked")
        if ax is not axes[0]:
            ax.set_yticklabels([])
    return axes
