"""Figures: each takes labelled arrays and Axes, and returns the Axes."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from sklearn.metrics import roc_auc_score, roc_curve

from ..attention.alignment import template_of
from ..attention.maps import MEASURED_IN, segments
from ..delineation.landmarks import SEGMENTS
from .beats import mark_waves, plot_beat
from .style import NAMES


def plot_cohort_map(
    cmap: xr.Dataset, beat: xr.DataArray, axes: tuple[Axes, Axes], aligned: xr.DataArray | None = None
) -> tuple[Axes, Axes]:
    """One target's cohort map: the common beat coloured by the map, and the map as a curve with its band.

    Parameters
    ----------
    cmap : Dataset (phase,) or (group, phase)
        From `cohort_map`, one target selected. With groups, from ``by=``, each has its curve and band, and the colours
        are the difference of two groups (the second minus the first), or the mean of more.
    beat : DataArray (phase,), µV
        One lead of the common beat.
    axes : two Axes, above each other
    aligned : DataArray (record, phase), optional
        The maps behind `cmap`: adds how much they differ between people (SD), which is what makes one person's value
        higher than another's.
    """
    top, bottom = axes
    phase, by = cmap["phase"].values, next((str(d) for d in cmap["mean"].dims if d != "phase"), None)
    groups: list[tuple[str, xr.Dataset]] = [("mean over people", cmap)]
    if by is not None:
        groups = [(str(g), cmap.sel({by: g})) for g in cmap[by].values]
    curves = [g["mean"].values for _, g in groups]
    shown, says = curves[0], "map minus its mean"
    if len(groups) == 2:
        shown, says = curves[1] - curves[0], f"{groups[1][0]} minus {groups[0][0]}"
    elif by is not None:
        shown, says = np.mean(curves, axis=0), "mean of the groups,\nminus its mean"
    away = shown if len(groups) == 2 else shown - np.nanmean(shown)
    limit = float(np.nanmax(np.abs(away))) or 1.0
    plot_beat(beat, ax=top)
    low, high = top.get_ylim()
    step = phase[1] - phase[0]
    image = top.imshow(
        away[None], aspect="auto", extent=(phase[0] - step / 2, phase[-1] + step / 2, low, high),
        cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.75, zorder=-3, interpolation="nearest",
    )  # fmt: skip
    top.set_ylim(low, high)
    unit = str(cmap.coords["unit"].values) if "unit" in cmap.coords else cmap.attrs.get("units", "")
    top.figure.colorbar(image, ax=top, label=f"{says}\n({unit or 'no unit'})", pad=0.01, aspect=12)
    for k, (name, group) in enumerate(groups):
        band = f"{100 * cmap.attrs['ci']:.0f} % band" if k == 0 else None
        colour = f"C{k if k == 0 else k + 1}"  # C1 is the spread's
        bottom.fill_between(phase, group["low"], group["high"], color=colour, alpha=0.3, lw=0, label=band)
        bottom.plot(phase, group["mean"], color=colour, label=name)
    if aligned is not None:
        spread = np.nanstd(aligned.transpose("record", "phase").values, axis=0)
        bottom.plot(phase, spread, color="C1", lw=1, ls="--", label="SD between people")
    bottom.axhline(0, color="0.5", lw=0.5)
    bottom.set(xlabel="ms on the common beat", ylabel=f"contribution ({unit or 'no unit'})", xlim=top.get_xlim())
    # Beside each other where the figure is wide enough for it.
    wide = bottom.get_figure(root=True).get_figwidth() > 5  # type: ignore[union-attr]
    bottom.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=3 if wide else 1)
    top.set_xlabel("")
    marks = template_of(cmap)
    for ax in axes:
        mark_waves(ax, marks)
    for patch in top.patches:  # the colours already fill the beat's panel; the names above it stay
        patch.set_visible(False)
    return top, bottom


def plot_lead_map(values: xr.DataArray, ax: Axes | None = None) -> Axes:
    """A map that resolves leads, a row per lead: red raises the prediction, blue lowers it.

    Colours end at the 99.5th percentile of the absolute values, as single samples may stand far out.

    Parameters
    ----------
    values : DataArray (lead, phase) or (lead, time)
        From `attribute`, aligned or not; one target, one record or a mean over records. Lines mark QRS_on, J and the
        ends of P and T where the map is aligned.
    """
    ax = ax or plt.gca()
    x = values[values.dims[1]].values
    limit = float(np.nanquantile(np.abs(values), 0.995)) or 1.0
    step = (x[1] - x[0]) / 2
    rows = np.arange(values.sizes["lead"])
    image = ax.imshow(
        values, aspect="auto", extent=(x[0] - step, x[-1] + step, len(rows) - 0.5, -0.5), cmap="RdBu_r", vmin=-limit,
        vmax=limit, interpolation="nearest",
    )  # fmt: skip
    aligned = "template" in values.attrs
    if aligned:
        for m in template_of(values).sel(landmark=["P_on", "P_off", "QRS_on", "J", "T_on", "T_off"]).dropna("landmark"):
            ax.axvline(float(m), color="0.4", lw=0.4)
    unit = str(values.coords["unit"].values) if "unit" in values.coords else values.attrs.get("units", "")
    ax.figure.colorbar(image, ax=ax, label=unit or "no unit", pad=0.01, aspect=12)
    ax.set(yticks=rows, yticklabels=values["lead"].values, xlabel="ms on the common beat" if aligned else "ms")
    return ax


def describe_map(shares: pd.DataFrame, cmap: xr.Dataset, target: str) -> str:
    """In words, where a target's map lies beside where the target is measured.

    Parameters
    ----------
    shares : DataFrame
        From `segment_table`.
    cmap : Dataset
        From `cohort_map`.
    """
    rows = pd.DataFrame(shares.xs(target, level="target")).sort_values("share", ascending=False)
    told = [
        f"{segment} {100 * r['share']:.0f} % ({100 * r['low']:.0f}-{100 * r['high']:.0f})"
        for segment, r in rows.iterrows()
        if r["low"] > 1.25 * r["span"] and segment != "rest"  # clearly more than an even map would give
    ]
    mean = cmap["mean"].sel(target=target)
    peak = float(mean["phase"][int(mean.argmax("phase"))])
    segment = next((k for k, m in segments(cmap).items() if m[mean["phase"].values == peak][0]), "rest")
    text = f"{NAMES.get(target, target)}: people's maps differ more than a segment's length explains in " + (
        ", ".join(told) or "no segment in particular"
    )
    if target in MEASURED_IN:
        own = rows.loc[list(MEASURED_IN[target])]
        share, span = (100 * v for v in (own["share"].sum(), own["span"].sum()))
        text += (
            f". It is measured in {', '.join(MEASURED_IN[target])}: {share:.0f} % of the differences lie there, "
            f"on {span:.0f} % of the beat's length"
        )
    rest = 100 * rows.loc["rest", ["share", "span"]]
    text += f"; {rest['share']:.0f} % lie outside P to T, on {rest['span']:.0f} % of its length"
    where = "outside P to T" if segment == "rest" else f"in {segment}"
    return text + f". The mean map is highest at {peak:+.0f} ms, {where}."


def plot_blanking(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The blanking table as the paper prints it, coloured by how many times the same people's error on intact beats."""
    ax = ax or plt.gca()
    columns = ["intact", "P", "QRS", "T", "sham_P", "sham_QRS", "sham_T"]
    accuracy = (table["metric"] == "accuracy").to_numpy()[:, None]
    score = table[columns].to_numpy(float)
    same = np.column_stack([table["intact"], *(table[f"{c}_same"] for c in columns[1:])]).astype(float)
    # Against the same people's intact beats; for accuracy the error is what it lacks.
    ratio = np.log2(np.where(accuracy, 1 - score, score) / np.where(accuracy, 1 - same, same))
    text = [[_cell(table, t, c) for c in columns] for t in table.index]
    labels = [
        f"{NAMES.get(t, t)}, " + ("% right" if m == "accuracy" else u)
        for t, m, u in zip(table.index, table["metric"], table["unit"], strict=True)
    ]
    heads = ["intact", *(f"{w} blanked" for w in ("P", "QRS", "T"))]
    heads += [f"sham as\nlong as {w}" for w in ("P", "QRS", "T")]
    sns.heatmap(
        ratio, annot=np.array(text), fmt="", cmap="RdBu_r", center=0, vmin=-3, vmax=3, ax=ax, linewidths=1,
        xticklabels=heads, yticklabels=labels, annot_kws={"size": 6.5},
        cbar_kws={"label": "error, times the intact one", "ticks": [-3, -2, -1, 0, 1, 2, 3], "aspect": 30, "pad": 0.02},
    )  # fmt: skip
    bar = ax.collections[0].colorbar
    assert bar is not None
    bar.set_ticklabels(["1/8", "1/4", "1/2", "1", "2", "4", "8"])
    ax.tick_params(length=0, rotation=0)
    ax.xaxis.tick_top()
    return ax


def _cell(table: pd.DataFrame, target: str, column: str) -> str:
    row = table.loc[target]
    if not np.isfinite(row[column]):
        return "none"
    k, digits = (100, 0) if row["metric"] == "accuracy" else (1, 1 if row["intact"] < 20 else 0)
    a, b = row[f"{column}_low"], row[f"{column}_high"]
    return f"{k * row[column]:.{digits}f}\n({k * a:.{digits}f}-{k * b:.{digits}f})"


def plot_agreement(said: np.ndarray, true: np.ndarray, unit: str, ax: Axes | None = None) -> Axes:
    """Prediction against measurement, with the line of equality."""
    ax = ax or plt.gca()
    ok = np.isfinite(said) & np.isfinite(true)
    ax.scatter(true[ok], said[ok], s=6, alpha=0.5, lw=0)
    both = np.concatenate([said[ok], true[ok]])
    room = 0.05 * float(np.ptp(both)) or 1.0
    limits = (float(both.min()) - room, float(both.max()) + room)
    ax.plot(limits, limits, color="0.5", lw=0.6, zorder=0)
    ax.set(xlabel=f"measured ({unit})", ylabel=f"predicted ({unit})", aspect="equal", xlim=limits, ylim=limits)
    return ax


def plot_bland_altman(said: np.ndarray, true: np.ndarray, unit: str, ax: Axes | None = None) -> Axes:
    """Difference against mean of two measurements, with bias and 95 % limits of agreement (Bland & Altman 1986)."""
    ax = ax or plt.gca()
    ok = np.isfinite(said) & np.isfinite(true)
    d, m = said[ok] - true[ok], (said[ok] + true[ok]) / 2
    ax.scatter(m, d, s=6, alpha=0.5, lw=0)
    spread = d.std(ddof=1) if len(d) > 1 else np.nan
    for level, style in ((d.mean(), "-"), (d.mean() - 1.96 * spread, "--"), (d.mean() + 1.96 * spread, "--")):
        ax.axhline(level, color="C1", lw=0.9, ls=style)
        ax.annotate(
            f"{level:+.0f}", (1, level), xycoords=("axes fraction", "data"), va="bottom", ha="right", color="C1"
        )
    ax.set(xlabel=f"mean of the two ({unit})", ylabel=f"difference ({unit})")
    return ax


def plot_shares(shares: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of the differences between people's maps per target and segment, from `segment_table`."""
    ax = ax or plt.gca()
    table = shares["share"].unstack()[[*SEGMENTS, "rest"]]
    table = table.loc[list(dict.fromkeys(shares.index.get_level_values("target")))]
    table.index = pd.Index([NAMES.get(t, t) for t in table.index])
    table.loc["segment's length"] = shares["span"].groupby(level="segment").first()
    sns.heatmap(
        100 * table, annot=True, fmt=".0f", cmap="Blues", vmin=0, vmax=60, ax=ax, linewidths=1,
        cbar_kws={"label": "% of the differences"},
    )  # fmt: skip
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, rotation=0)
    return ax


def plot_groups(ratio: pd.DataFrame, score: pd.DataFrame, n: pd.Series, ax: Axes | None = None) -> Axes:
    """Errors by group, as numbers, coloured by how many times everyone's error they are.

    Parameters
    ----------
    ratio, score : DataFrame, a row per kind and name of group, a column per target
    n : Series
        People in each group.
    """
    ax = ax or plt.gca()
    rows = [f"{kind}: {name} (n = {n[kind, name]:.0f})" for kind, name in ratio.index]
    text = score.map(lambda v: "" if not np.isfinite(v) else f"{v:.0f}" if v >= 10 else f"{v:.1f}")
    sns.heatmap(
        np.log2(ratio), annot=text.to_numpy(), fmt="", cmap="RdBu_r", center=0, vmin=-1.5, vmax=1.5, ax=ax,
        linewidths=1, xticklabels=[NAMES.get(t, t) for t in ratio.columns], yticklabels=rows, annot_kws={"size": 6.5},
        cbar_kws={"label": "error, times everyone's", "ticks": [-1, 0, 1], "aspect": 40, "pad": 0.02},
    )  # fmt: skip
    bar = ax.collections[0].colorbar
    assert bar is not None
    bar.set_ticklabels(["1/2", "1", "2"])
    ax.tick_params(length=0, rotation=0)
    ax.set(xlabel="", ylabel="")
    return ax


def plot_roc(scores: Mapping[str, np.ndarray], truth: np.ndarray, ax: Axes | None = None) -> Axes:
    """ROC curves of several scores for one outcome (0, 1), with their areas."""
    ax = ax or plt.gca()
    for name, score in scores.items():
        ok = np.isfinite(score) & np.isfinite(truth)
        fpr, tpr, _ = roc_curve(truth[ok], score[ok])
        ax.plot(fpr, tpr, label=f"{name} (AUC {roc_auc_score(truth[ok], score[ok]):.2f})")
    ax.plot([0, 1], [0, 1], color="0.7", lw=0.6)
    ax.set(xlabel="women called men (share)", ylabel="men called men (share)", aspect="equal", xlim=(0, 1), ylim=(0, 1))
    ax.legend(loc="lower right")
    return ax
