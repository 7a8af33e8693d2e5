"""Figures of what edits do: dose and response beside the measurement's, and maps against effects."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..edits.effects import DOSES, OF_RHYTHMS
from .style import NAMES, method_in_words, typeset
from .tables import plot_intervals, plot_matrix

_OWN_EDIT = {dose.target: edit for edit, dose in (DOSES | OF_RHYTHMS).items()}  # the edit that each target is to follow
_NETWORK = ("slope", "low", "high")
_MEASUREMENT = ("measured_slope", "measured_low", "measured_high")


def plot_dose_response(table: pd.DataFrame, axes: Axes | Sequence[Axes]) -> Axes | Sequence[Axes]:
    """Slopes of a network beside those of the workbench's own measurement of the same beats.

    A row per target, a column per edit. As units differ, a row has a scale of colours of its own, its largest slope.

    Parameters
    ----------
    table : DataFrame, rows ``edit`` and ``target``
        From `dose_response`, of one network or of several with different targets.
    axes : Axes, or two beside each other
        In two: the network's slopes and the measurement's with their intervals, on the same colours; a frame marks the
        edit that a target is to follow. In one: the network's slopes, with the measurement's in brackets.

    Returns
    -------
    Axes, or two
    """
    if isinstance(axes, Axes):
        return _plot_slopes(table, axes)
    colours = table[["slope", "measured_slope"]].abs().max(axis=1)
    _plot_slopes_with_intervals(table, axes[0], _NETWORK, colours)
    _plot_slopes_with_intervals(table, axes[1], _MEASUREMENT, colours)
    axes[0].set(title="network", ylabel="change of")
    axes[1].set(title="the workbench's measurement", yticklabels=[])
    return axes


def _plot_slopes(table: pd.DataFrame, ax: Axes) -> Axes:
    slope, measured = (_by_edit(table[c]) for c in ("slope", "measured_slope"))
    slope, measured = slope.round(2) + 0.0, measured.round(2) + 0.0  # no -0.00
    text = slope.map("{:.2f}".format) + measured.map(lambda v: f"\n({v:.2f})" if np.isfinite(v) else "")
    text = text.map(typeset)
    plot_matrix(_in_row_colours(slope, table["slope"].abs()), ax, text=text.to_numpy(), limit=1.0)
    ax.set_xlabel("change per unit of edit (of the measurement)")
    return ax


def _plot_slopes_with_intervals(table: pd.DataFrame, ax: Axes, columns: Sequence[str], colours: pd.Series) -> None:
    slope, low, high = (_by_edit(table[c]) for c in columns)
    targets, edits = list(slope.index), list(slope.columns)
    text = np.full(slope.shape, "\N{EN DASH}", dtype=object)
    for i, j in np.argwhere(np.isfinite(slope.to_numpy())):
        digits = 3 if slope.iloc[i].abs().max() < 0.1 else 2
        value, a, b = (_short(float(part.iloc[i, j]), digits) for part in (slope, low, high))
        ends = f"({a}, {b})".replace("+", "")
        if len(ends) > 10:  # a cell is no wider
            ends = ends.replace(" ", "\n")
        text[i, j] = typeset(f"{value}\n{ends}")
    plot_matrix(_in_row_colours(slope, colours).fillna(0.0), ax, text=text, limit=1.0)
    for i, target in enumerate(targets):
        if _OWN_EDIT.get(target) in edits:
            corner = (edits.index(_OWN_EDIT[target]), i)
            ax.add_patch(plt.Rectangle(corner, 1, 1, fill=False, ec="black", lw=0.9, clip_on=False))
    units = {key: str(unit).rsplit(" per ", 1) for key, unit in table["unit"].items()}  # of the target, of the edit
    ax.set_xticklabels([f"{edit}, {units[edit, targets[0]][1]}" for edit in edits])
    ax.set_yticklabels([f"{NAMES.get(t, t)}, {units[edits[0], t][0]}" for t in targets])
    ax.set_xlabel("per unit of this edit")
    ax.spines[:].set_visible(False)


def _by_edit(values: pd.Series) -> pd.DataFrame:
    """One column of the table as targets x edits, in the order they came."""
    index = values.index
    return values.unstack("edit").reindex(index=index.unique("target"), columns=index.unique("edit")).astype(float)


def _in_row_colours(slopes: pd.DataFrame, sizes: pd.Series) -> pd.DataFrame:
    """Slopes relative to the largest size of their target."""
    largest = sizes.groupby("target").max().reindex(slopes.index)
    return slopes.div(largest.where(largest > 0, 1.0), axis=0)


def _short(value: float, digits: int) -> str:
    """A signed number without its leading zero, which a cell has no room for; plain 0 where it rounds to that."""
    digits = digits if abs(value) < 10 else 1 if abs(value) < 100 else 0
    text = f"{value:+.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:+.{digits}f}"
    return text if round(value, digits) else "0"


def plot_map_against_effect(table: pd.DataFrame, axes: Sequence[Axes]) -> Sequence[Axes]:
    """Correlation, over people, of what a map gives a wave with what blanking that wave does to the prediction.

    Parameters
    ----------
    table : DataFrame, rows ``method``, ``target`` and ``wave``
        From `faithfulness`, of one network or of several with different targets.
    axes : four Axes, beside each other
        For all three waves together, P, QRS and T.

    Returns
    -------
    four Axes
    """
    for ax, wave in zip(axes, ("all", "P", "QRS", "T"), strict=True):
        of_wave = pd.DataFrame(table.xs(wave, level="wave")).rename(method_in_words, level="method")
        plot_intervals(of_wave, ax, columns=("r", "r_low", "r_high"), by="method", legend=False)
        ax.axvline(0, color="0.6", lw=0.6)
        ax.set(xlim=(-1, 1), xlabel="correlation")
        ax.set_title("all three waves" if wave == "all" else f"{wave} blanked")
        if ax is not axes[0]:
            ax.set_yticklabels([])
    return axes
