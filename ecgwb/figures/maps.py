"""Figures of maps: a cohort's map on the common beat, maps that resolve leads, and words beside them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes

from ..attention.alignment import template_of
from ..attention.maps import MEASURED_IN, segments
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
