"""Figures of the checks of a network and its maps."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from ..trust.checks import Check, Picture
from ..trust.panel import Panel
from .effects import plot_dose_response
from .style import NAMES, TWO_COLUMNS, method_in_words, styled
from .tables import plot_intervals, plot_matrix


@styled()
def plot_panel(panel: Panel, width: float = TWO_COLUMNS, *, checks: Sequence[str] = ()) -> Figure:
    """The checks' pictures, two beside each other.

    Parameters
    ----------
    panel : Panel
        From `trust_panel`.
    width : float, inches
    checks : sequence of str, optional
        Some of the checks, by name; all by default. A page holds six or so.

    Returns
    -------
    Figure
    """
    unknown = [name for name in checks if name not in panel.checks]
    if unknown:
        raise ValueError(f"the panel has no check {unknown[0]!r}; expected some of {', '.join(panel.checks)}")
    shown = [panel.checks[name] for name in checks or panel.checks]
    n_rows = (len(shown) + 1) // 2
    matrices = [c.picture.values for c in shown if c.picture is not None and c.picture.kind == "matrix"]
    height = 2.0 if all(len(values) == 1 for values in matrices) else 2.6  # one target needs little room
    figure, axes = plt.subplots(n_rows, 2, figsize=(width, height * n_rows), layout="constrained")
    for ax, check in zip(axes.flat, shown, strict=False):
        plot_check(check, ax)
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    figure.draw_without_rendering()  # ticks, too, are made in this style
    return figure


def plot_check(check: Check, ax: Axes | None = None) -> Axes:
    """What a check found, as its `Picture` says, under its name.

    Parameters
    ----------
    check : Check
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = ax or plt.gca()
    picture = check.picture
    if picture is None:
        ax.text(0.5, 0.5, "nothing to compare", ha="center", va="center", transform=ax.transAxes)
        ax.axis("off")
    elif picture.kind == "matrix":
        plot_matrix(picture.values, ax)
    elif picture.kind == "dose-response":
        plot_dose_response(picture.values, ax)
    else:
        _plot_dots(picture, ax)
    ax.set_title(check.name, loc="left")
    return ax


def _plot_dots(picture: Picture, ax: Axes) -> None:
    """Dots with their intervals, a row per label, or as curves over numbers; the legend under the axis."""
    curves = picture.kind == "curves"
    plot_intervals(picture.values, ax, columns=picture.columns, by=picture.by, vertical=curves, legend=False)
    if picture.chance is not None:
        (ax.axhline if curves else ax.axvline)(picture.chance, color="0.5", lw=0.8, ls="--")
    (ax.set_ylim if curves else ax.set_xlim)(*picture.limits)
    ax.set(xlabel=picture.xlabel, ylabel=picture.ylabel)
    dots, names = ax.get_legend_handles_labels()
    if picture.by is not None and len(names) > 1:
        under = ax.transAxes + ScaledTranslation(0, -26 / 72, ax.figure.dpi_scale_trans)  # 26 pt, below the label
        names = [NAMES.get(name, method_in_words(name)) for name in names]
        ax.legend(
            dots, names, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=under, ncols=min(len(names), 4)
        )
