"""Figures of tables: estimates with their intervals, errors as coloured numbers, and predictions one by one.

Each function draws on the Axes it is given, or on the current ones, and returns them.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from sklearn.metrics import roc_auc_score, roc_curve

from ..delineation.landmarks import SEGMENTS, WAVES
from ..models.prediction import is_of_absent
from ..stats import adjusted_p
from .style import NAMES, typeset

_KINDS = {"hr": "heart rate", "superclass": "diagnosis"}  # of groups, in words
_MARKERS = "os^Dv"  # of groups, so that they can be told apart in grey


# ---------------------------------------------------------------- intervals


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

    Raises
    ------
    ValueError
        When the table lacks a column or the level `by`.
    """
    ax = ax or plt.gca()
    _check_table(table, *columns, *([by] if by is not None else []))
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


def plot_forest(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Area under the ROC curve with its interval, a row per model, people side by side.

    Parameters
    ----------
    table : DataFrame, rows ``model`` and ``people``
        From `nested_models` or `sex_table`: ``auc``, ``low``, ``high`` and ``n``. The people "discovery", on whom the
        models were fitted, are drawn hollow.
    """
    _check_table(table, "model", "people", "auc", "low", "high", "n")
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
    """
    beyond = ("beyond", "beyond_low", "beyond_high")
    _check_table(table, "auc", *beyond)
    found = table[table["auc"].notna()]
    if not axes[0].get_shared_y_axes().joined(*axes):
        axes[1].sharey(axes[0])  # so that what stands beside a name is its own
    plot_forest(found, axes[0])
    plot_intervals(found, axes[1], columns=beyond, by="people", hollow=["discovery"], legend=False)
    axes[1].axvline(0, color="0.6", lw=0.6)
    axes[1].tick_params(labelleft=False)
    axes[1].set(xlabel="change in AUC against\nthe classic measurements")
    return axes


def plot_landmark_errors(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Bias and spread of each landmark against marks made by hand, beside the doubt that the workbench gives.

    Parameters
    ----------
    table : DataFrame, rows landmarks
        ``bias``, ``sd`` and ``doubt`` (median), all in ms.
    """
    _check_table(table, "bias", "sd", "doubt")
    ends = {"low": table["bias"] - table["sd"], "high": table["bias"] + table["sd"]}
    spread = pd.concat({"bias and SD": table.assign(**ends).rename(typeset)}, names=["kind"])
    ax = plot_intervals(spread, ax, columns=("bias", "low", "high"), by="kind")
    rows = range(len(table))
    ax.barh(rows, 2 * table["doubt"], left=-table["doubt"], height=0.6, color="0.85", zorder=0, label="doubt, median")
    ax.use_sticky_edges = False  # a bar that ends at the axis looks cut off
    ax.axvline(0, color="0.5", lw=0.6)
    ax.set_xlabel("found minus by hand (ms)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


# ---------------------------------------------------------------- coloured numbers


def plot_blanking(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The blanking table as the paper prints it, coloured by how many times the same people's error on intact beats.

    Parameters
    ----------
    table : DataFrame, rows targets
        From `blanking_table`, of one network or of several with different targets.
    """
    edits = [*WAVES, *(f"sham_{w}" for w in WAVES)]
    columns = ["intact", *edits]
    _check_table(table, "metric", "unit", *columns)
    accuracy = (table["metric"] == "accuracy").to_numpy()[:, None]
    score = table[columns].to_numpy(float)
    intact = table[["intact", *(f"{c}_same" for c in edits)]].to_numpy(float)  # of the same people
    with np.errstate(divide="ignore", invalid="ignore"):  # no errors at all
        # For accuracy the error is what it lacks of 1.
        ratio = np.where(accuracy, 1 - score, score) / np.where(accuracy, 1 - intact, intact)
    text = [[_score(table.loc[t], c) for c in columns] for t in table.index]
    rows = [
        f"{NAMES.get(t, t)}, {'% right' if metric == 'accuracy' else unit}"
        for t, metric, unit in zip(table.index, table["metric"], table["unit"], strict=True)
    ]
    heads = ["intact", *(f"{w} blanked" for w in WAVES), *(f"sham as\nlong as {w}" for w in WAVES)]
    ratios = pd.DataFrame(ratio, index=rows, columns=heads)
    ax = _error_ratios(ratios, np.array(text), ax, 3, "error, times the intact one")
    ax.xaxis.tick_top()
    return ax


def _score(row: pd.Series, column: str) -> str:
    """One cell of the blanking table: the score over its interval."""
    if not np.isfinite(row[column]):
        return "none"
    times, digits = 1, 1 if row["intact"] < 20 else 0
    if row["metric"] == "accuracy":
        times, digits = 100, 0
    score, low, high = (f"{times * row[c]:.{digits}f}" for c in (column, f"{column}_low", f"{column}_high"))
    return f"{score}\n({low}-{high})"


def plot_groups(table: pd.DataFrame, everyone: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Errors by group, as numbers, coloured by how many times everyone's error they are.

    Coloured are the cells whose group differs from everybody else after Holm's correction over all cells (p < 0.05).

    Parameters
    ----------
    table : DataFrame
        From ``accuracy_table(..., by=)``, or several of these under each other. The last level of the index is the
        target; a row of the figure is what the others say, such as ``sex`` and ``male``. Groups are sorted by size,
        but ranges of numbers, such as ages, stay in order.
    everyone : DataFrame, rows targets
        From `accuracy_table` of the same predictions. Targets judged by accuracy are left out.
    """
    for given in (table, everyone):
        _check_table(given, "metric", "score", "n")
    if not isinstance(table.index, pd.MultiIndex):
        raise ValueError("expected rows of a group and a target, as from wb.accuracy_table(..., by='sex')")
    whole = everyone.loc[everyone["metric"] != "accuracy", "score"]
    groups = _largest_first(table["n"].groupby(level=list(range(table.index.nlevels - 1)), sort=False).max())
    score, n = (table[c].unstack().reindex(index=groups, columns=whole.index) for c in ("score", "n"))
    text = score.map(lambda v: "" if not np.isfinite(v) else f"{v:.0f}" if v >= 10 else f"{v:.1f}")
    names = [
        ": ".join(_KINDS.get(str(part), str(part)) for part in (g if isinstance(g, tuple) else (g,))) for g in groups
    ]
    rows = [f"{name} (n = {people:.0f})" for name, people in zip(names, n.max(axis=1), strict=True)]
    if "p" in table:
        clear = table["p"].copy()
        of_numbers = table.index.get_level_values(-1).isin(whole.index)
        clear[of_numbers] = adjusted_p(clear[of_numbers].to_numpy(float))
        score = score.where(clear.unstack().reindex(index=groups, columns=whole.index) < 0.05, whole + 0 * score)
    ratios = (score / whole).set_axis(rows, axis=0).rename(columns=lambda t: _narrow(t, 6))
    return _error_ratios(ratios, text.to_numpy(), ax, 1.5, "error, times everyone's")


def _largest_first(n: pd.Series) -> pd.Index:
    """Groups by size within each kind, the largest first; ranges of numbers, such as ages, in their own order."""
    kinds = [g[:-1] if isinstance(g, tuple) else () for g in n.index]
    names = [str(g[-1] if isinstance(g, tuple) else g) for g in n.index]
    words = {k for k, name in zip(kinds, names, strict=True) if not re.search(r"\d", name)}
    ranges = set(kinds) - words  # all of whose groups are named by numbers
    order = sorted(range(len(n)), key=lambda i: (kinds.index(kinds[i]), 0 if kinds[i] in ranges else -n.iloc[i]))
    return n.index[order]


def _narrow(name: object, width: int) -> str:
    """A column's name, a target's in words, on lines of so many characters, so that neighbours do not touch."""
    return textwrap.fill(NAMES.get(str(name), str(name)), width, break_long_words=False)


def _error_ratios(ratios: pd.DataFrame, text: np.ndarray, ax: Axes | None, limit: float, label: str) -> Axes:
    """Text in cells coloured by a ratio of errors, from 2 ** -limit (blue) over 1 (white) to 2 ** limit (red)."""
    powers = np.arange(-int(limit), int(limit) + 1)
    bar = {"label": label, "ticks": powers, "aspect": 30, "pad": 0.02}
    with np.errstate(divide="ignore"):
        shade = np.log2(ratios)
    ax = sns.heatmap(
        shade, annot=text, fmt="", cmap="RdBu_r", center=0, vmin=-limit, vmax=limit, ax=ax, linewidths=1,
        annot_kws={"size": 6.5}, cbar_kws=bar,
    )  # fmt: skip
    colours = ax.collections[0].colorbar
    assert colours is not None
    colours.set_ticklabels([f"1/{2**-p}" if p < 0 else str(2**p) for p in powers])
    ax.tick_params(length=0, rotation=0)
    ax.set(xlabel="", ylabel="")
    return ax


def plot_matrix(
    values: pd.DataFrame, ax: Axes | None = None, *, text: np.ndarray | None = None, limit: float | None = None
) -> Axes:
    """Numbers in coloured cells: red above 0, blue below, empty where there is none.

    Parameters
    ----------
    values : DataFrame
    ax : Axes, optional
    text : array (row, column) of str, optional
        What the cells say; the numbers by default.
    limit : float, optional
        The value of the darkest red; the largest absolute value by default.

    Returns
    -------
    Axes
    """
    columns = {c: _narrow(str(c).replace("_", " ") if c not in NAMES else c, 9) for c in values.columns}
    named = values.rename(index=NAMES, columns=columns)
    limit = limit or float(np.nanmax(np.abs(values.to_numpy(float)), initial=0.0)) or 1.0
    ax = sns.heatmap(
        named, annot=True if text is None else text, fmt=".2f" if text is None else "", cmap="RdBu_r", vmin=-limit,
        vmax=limit, cbar=False, ax=ax, annot_kws={"size": 6},
    )  # fmt: skip
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, rotation=0)
    return ax


def plot_shares(shares: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Where people's maps differ: the share of the differences in each segment of the beat, a row per target.

    Parameters
    ----------
    shares : DataFrame, rows ``target`` and ``segment``
        From `segment_table`, of one network or of several with different targets. The last row of the figure is the
        segments' share of the beat's length.
    """
    _check_table(shares, "target", "segment", "share", "span")
    segments = [*SEGMENTS, "rest"]
    table = shares["share"].unstack().reindex(index=shares.index.unique("target"), columns=segments).rename(NAMES)
    table.loc["segment's length"] = shares["span"].groupby(level="segment").first()
    ax = sns.heatmap(
        100 * table, annot=True, fmt=".0f", cmap="Blues", vmin=0, vmax=60, ax=ax, linewidths=1,
        cbar_kws={"label": "% of the differences"},
    )  # fmt: skip
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, rotation=0)
    return ax


# ---------------------------------------------------------------- predictions one by one


def plot_agreement(
    predicted: np.ndarray | xr.DataArray, measured: np.ndarray, unit: str, ax: Axes | None = None
) -> Axes:
    """Prediction against measurement, a dot per record, with the line of equality.

    Parameters
    ----------
    predicted, measured : array (record,)
        NaN where unknown. Of `predict`, as ``predictions["pr"]``, predictions that rest on what a person does not have,
        such as PR without a P wave, are drawn as crosses, and those among them with no measurement are counted.
    unit : str
    """
    ax = ax or plt.gca()
    absent = np.zeros(np.shape(predicted), dtype=bool)
    if isinstance(predicted, xr.DataArray) and predicted.name is not None:
        absent = is_of_absent(predicted.to_dataset(), predicted.name)
    y, x = _both_known(np.asarray(predicted), measured)
    known = np.isfinite(np.asarray(predicted, float)) & np.isfinite(np.asarray(measured, float))
    marked = absent[known]
    ax.scatter(x[~marked], y[~marked], s=6, alpha=0.5, lw=0)
    ax.scatter(x[marked], y[marked], s=12, marker="x", color="C3", lw=0.8)
    n_unmeasured = int((absent & ~known & np.isfinite(np.asarray(predicted, float))).sum())
    if marked.any() or n_unmeasured:
        crosses = f"\n{marked.sum()} drawn as ×" if marked.any() else ""
        text = f"no P wave or AF:{crosses}\n{n_unmeasured} predicted,\nnot measured"
        ax.text(0.98, 0.03, text, transform=ax.transAxes, va="bottom", ha="right", fontsize=6, color="0.3")
    low, high = np.min([x, y]), np.max([x, y])
    room = 0.05 * (high - low) or 1.0
    limits = (low - room, high + room)
    ax.plot(limits, limits, color="0.5", lw=0.6, zorder=0)
    ax.set(xlabel=f"measured ({unit})", ylabel=f"predicted ({unit})", aspect="equal", xlim=limits, ylim=limits)
    return ax


def plot_bland_altman(found: np.ndarray, reference: np.ndarray, unit: str, ax: Axes | None = None) -> Axes:
    """Difference against mean of two measurements, with bias and 95 % limits of agreement (Bland & Altman 1986).

    Parameters
    ----------
    found, reference : array (record,)
        NaN where unknown. The difference is found minus reference.
    unit : str
    """
    ax = ax or plt.gca()
    a, b = _both_known(found, reference)
    difference, mean = a - b, (a + b) / 2
    ax.scatter(mean, difference, s=6, alpha=0.5, lw=0)
    bias = difference.mean()
    half = 1.96 * difference.std(ddof=1) if len(difference) > 1 else np.nan
    for level, line in ((bias, "-"), (bias - half, "--"), (bias + half, "--")):
        ax.axhline(level, color="C1", lw=0.9, ls=line)
        ax.annotate(
            f"{level:+.0f}", (1, level), xycoords=("axes fraction", "data"), va="bottom", ha="right", color="C1"
        )
    ax.set(xlabel=f"mean of the two ({unit})", ylabel=f"difference ({unit})")
    return ax


def plot_roc(scores: Mapping[str, np.ndarray], truth: np.ndarray, ax: Axes | None = None) -> Axes:
    """ROC curves of several scores for sex, with their areas.

    Parameters
    ----------
    scores : mapping of name to array (record,)
        Higher for men; NaN where unknown.
    truth : array (record,)
        1 for men, 0 for women; NaN where unknown.
    """
    ax = ax or plt.gca()
    for name, score in scores.items():
        known_score, known_truth = _both_known(score, truth)
        women, men, _ = roc_curve(known_truth, known_score)
        ax.plot(women, men, label=f"{name} (AUC {roc_auc_score(known_truth, known_score):.2f})")
    ax.plot([0, 1], [0, 1], color="0.7", lw=0.6)
    ax.set(xlabel="women called men (share)", ylabel="men called men (share)", aspect="equal", xlim=(0, 1), ylim=(0, 1))
    ax.legend(loc="lower right")
    return ax


# ---------------------------------------------------------------- what all of them need


def _check_table(table: pd.DataFrame, *needed: str) -> None:
    """Refuses a table without these columns or levels of the index."""
    if not isinstance(table, pd.DataFrame):
        raise TypeError(f"expected a DataFrame; this is a {type(table).__name__}")
    have = [*table.index.names, *table.columns]
    lacking = [name for name in needed if name not in have]
    if lacking:
        named = ", ".join(str(name) for name in have if name is not None)
        raise ValueError(f"the table has no {lacking[0]!r}; expected {', '.join(needed)}; it has {named}")


def _both_known(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of those records for which both are known."""
    first, second = np.asarray(a, float), np.asarray(b, float)
    if first.shape != second.shape:
        raise ValueError(f"expected two values a record; these are {len(first)} and {len(second)}")
    known = np.isfinite(first) & np.isfinite(second)
    if not known.any():
        raise ValueError("no record has both values, so there is nothing to draw")
    return first[known], second[known]


def _label(key: object) -> str:
    """A row's label in words: the name of a target, or the parts of a row with several."""
    parts = key if isinstance(key, tuple) else (key,)
    return ", ".join(NAMES.get(str(p), str(p)) for p in parts)
