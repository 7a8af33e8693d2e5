"""The explorer's picture of a view: a beat with its map, all leads, or the recording on ECG paper."""

from __future__ import annotations

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..figures.beats import mark_doubt, mark_waves, plot_beat
from ..figures.ecg_paper import plot_beats, plot_ecg
from ..figures.maps import colour_bar, map_limit, map_unit, paint_map, say_skill
from ..figures.style import NAMES
from .state import Exploration, View


def draw(of: Exploration, view: View, *, wait: bool = True) -> Figure:
    """The picture of a view.

    Parameters
    ----------
    of : Exploration
    view : View
    wait : bool
        Whether to wait for the cohort's map, which may take seconds; without waiting it is drawn where it is at hand.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When the record cannot be edited so, a landmark cannot be where the view puts it, or there is no rhythm.
    """
    edited = of.edited(view)
    if view.view == "rhythm":
        shown = of.record_map(view)[0] if of.of_rhythms else None
        return plot_ecg(of.recording(view), attention=shown, title="; ".join([f"record {view.record}", *view.edits]))
    if view.view == "12 leads":
        return plot_beats(edited["beat"].isel(record=0), of.record_map(view)[0])
    if view.view == "maps":
        return _compared(of, view, edited)
    # A fixed layout: finding the best one takes a third of the time a picture may take.
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(6.4, 4.4), sharex=True, height_ratios=(3, 2), layout="none",
        gridspec_kw={"left": 0.11, "right": 0.89, "top": 0.93, "bottom": 0.1, "hspace": 0.14},
    )  # fmt: skip
    shown, trouble = of.record_map(view)
    _beat(top, of, view, edited, shades=shown is None)  # else the map's colours fill the panel
    if shown is None:
        text = textwrap.fill(f"no map: {trouble}", 80)
        bottom.text(0.5, 0.5, text, transform=bottom.transAxes, ha="center", va="center", color="0.4", fontsize=7)
    else:
        limit = map_limit(shown)  # one scale for all leads
        curve = shown.sel(lead=view.lead) if "lead" in shown.dims else shown
        paint_map(top, curve["time"].values, curve.values, limit)
        colour_bar(figure, (0.905, 0.5, 0.013, 0.36), limit, shown)
        _curves(bottom, of, view, curve, wait)
    mark_waves(bottom, edited["fiducial"].isel(record=0), names=False)  # the names stand above the beat
    bottom.set(xlabel="ms from the QRS fiducial")
    return figure


def _beat(ax: Axes, of: Exploration, view: View, edited: xr.Dataset, shades: bool) -> None:
    """The beat with its landmarks and their doubt, over what it was before the edit or the move."""
    one = edited.isel(record=0)
    if view.edits:
        before = of.one(view.record)["beat"].isel(record=0).sel(lead=view.lead)
        ax.plot(before["time"], before, color="0.6", lw=0.8, ls="--", label="before the edit")
        ax.legend(loc="upper right")
    if view.moved:
        before_move = of.one(view.record)["fiducial"].sel(landmark=view.moved[0]).item()
        if np.isfinite(before_move):
            ax.axvline(before_move, color="0.25", lw=0.9, ls=":", zorder=-1, gid="before the move")
    plot_beat(one["beat"].sel(lead=view.lead), ax=ax)
    mark_waves(ax, one["fiducial"], shades=shades)
    mark_doubt(ax, one["fiducial"], one.get("doubt"), one.get("manual"))
    ax.set(xlabel="", ylabel=f"{view.lead}, µV")


def _curves(ax: Axes, of: Exploration, view: View, curve: xr.DataArray, wait: bool) -> None:
    """The record's map as a curve, beside the cohort's."""
    name = NAMES.get(view.target, view.target)
    ax.plot(curve["time"], curve, color="C1", label=f"map of {name}, record {view.record}")
    if wait or of.has_cohort_map(view):
        try:
            common = of.cohort_map_on(view)
        except ValueError as e:
            ax.text(0.5, 0.03, f"no cohort map: {e}", transform=ax.transAxes, ha="center", color="0.4", fontsize=7)
            common = None
        if common is not None:
            ax.fill_between(common["time"], common["low"], common["high"], color="C0", alpha=0.3, lw=0)
            people = f"{common.attrs['people']} people, warped onto this beat"
            ax.plot(common["time"], common["mean"], color="C0", label=people)
    ax.axhline(0, color="0.5", lw=0.5)
    ax.set_ylabel(f"{curve.attrs['long_name']}\n({map_unit(curve)})")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=2)  # beside nothing that is drawn


def _compared(of: Exploration, view: View, edited: xr.Dataset) -> Figure:
    """The beat, and under it its maps by several methods, each with its own scale."""
    found = of.compared_maps(view)
    ratios = (2, *(1 for _ in found))
    figure, axes = plt.subplots(1 + len(found), 1, figsize=(6.4, 6.0), sharex=True, height_ratios=ratios)
    _beat(axes[0], of, view, edited, shades=True)
    for ax, (name, curve, trouble) in zip(axes[1:], found, strict=True):
        if curve is None:
            ax.text(0.5, 0.5, textwrap.fill(trouble, 80), transform=ax.transAxes, ha="center", va="center", fontsize=7)
        else:
            one = curve.sel(lead=view.lead) if "lead" in curve.dims else curve
            ax.plot(one["time"], one, color="C1")
            ax.set_ylabel(f"{name}\n({map_unit(curve)})")
        ax.axhline(0, color="0.5", lw=0.5)
    axes[-1].set_xlabel("ms from the QRS fiducial")
    for curve in [curve for _, curve, _ in found if curve is not None][:1]:
        say_skill(axes[0], curve)
    return figure
