"""Figures of one beat: its waves named, its landmarks with their doubt.

Each function draws on the Axes it is given and returns them. `plot_feature` shows where in the beat a feature is read.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from ..attention.alignment import align, template_of
from ..cohorts.guards import check
from ..cohorts.people import column
from ..delineation.landmarks import LANDMARKS, WAVES
from ..discovery.classic import voltages
from ..discovery.features import Feature

BY_HAND = "#882255"  # wine: dark in grey, and far from a map's red and blue for colour-blind eyes


def plot_beat(
    beat: xr.DataArray,
    fiducial: xr.DataArray | None = None,
    ax: Axes | None = None,
    *,
    doubt: xr.DataArray | None = None,
    manual: xr.DataArray | None = None,
    **line: Any,
) -> Axes:
    """One lead of a beat in µV over ms, with P, QRS and T as shades and its landmarks as ticks or bands of doubt.

    Parameters
    ----------
    beat : DataArray (time,) or (phase,)
        µV.
    fiducial : DataArray (landmark,), optional
        Landmarks in ms.
    doubt, manual : DataArray (landmark,), optional
        See `mark_doubt`.
    **line
        Colour, width and so on of the trace, as matplotlib's ``plot`` takes them.

    Raises
    ------
    ValueError
        When the beat has more than one dimension.
    """
    if beat.ndim != 1:
        raise ValueError(f"plot_beat takes one lead of one beat; this has {', '.join(map(str, beat.dims))}; select one")
    ax = ax or plt.gca()
    x = beat[beat.dims[0]].values
    style: dict[str, Any] = {"color": "black", "lw": 1.0} | line
    ax.plot(x, beat.values, **style)
    if fiducial is not None:
        mark_waves(ax, fiducial)
        if doubt is not None or manual is not None:
            mark_doubt(ax, fiducial, doubt, manual)
    ax.set(xlabel="ms from the QRS fiducial", ylabel="µV", xlim=(x[0], x[-1]))
    return ax


def mark_waves(ax: Axes, fiducial: xr.DataArray, *, shades: bool = True, names: bool = True) -> Axes:
    """Mark P, QRS and T by shades and by their names on top, and their peaks by thin lines.

    Parameters
    ----------
    fiducial : DataArray (landmark,)
        Landmarks in ms; a wave that is absent (NaN) is not marked.
    shades, names : bool
        Whether to draw them.
    """
    at = dict(zip(LANDMARKS, np.asarray(fiducial, dtype=float), strict=True))
    for wave, (first, last) in WAVES.items():
        onset, offset = at[first], at[last]
        if not np.isfinite(onset + offset):
            continue
        if shades:
            ax.axvspan(onset, offset, color="0.93", lw=0, zorder=-2)
        if names:
            place = ((onset + offset) / 2, 1)
            ax.annotate(wave, place, xycoords=("data", "axes fraction"), va="bottom", ha="center", color="0.4")
    for peak in ("P_peak", "R", "T_peak"):
        if np.isfinite(at[peak]):
            ax.axvline(at[peak], color="0.8", lw=0.6, zorder=-1)
    return ax


def mark_doubt(
    ax: Axes, fiducial: xr.DataArray, doubt: xr.DataArray | None = None, manual: xr.DataArray | None = None
) -> Axes:
    """Mark each landmark by a line with a band of once and, paler, twice its doubt; one put in by hand dashed, flagged.

    About 68 % of the marks of cardiologists lie in the inner band, and 95 % in the outer.

    Parameters
    ----------
    fiducial : DataArray (landmark,)
        Landmarks in ms. R, which is time zero by definition and in no doubt, is not marked.
    doubt : DataArray (landmark,), optional
        A standard error, in ms; where it is unknown (NaN), as by hand, there is no band.
    manual : DataArray (landmark,) of bool, optional
    """
    at = np.asarray(fiducial, dtype=float)
    doubts = np.full(len(at), np.nan) if doubt is None else np.asarray(doubt, dtype=float)
    by_hand = np.zeros(len(at), bool) if manual is None else np.asarray(manual, dtype=bool)
    for name, x, half, hand in zip(LANDMARKS, at, doubts, by_hand, strict=True):
        if name == "R" or not np.isfinite(x):
            continue
        colour = BY_HAND if hand else "0.25"
        if half > 0:
            for times in (2, 1):
                place = (x - times * half, x + times * half)
                ax.axvspan(*place, color=colour, alpha=0.12, lw=0, zorder=-1.5, gid=f"{times} doubt {name}")
        ax.axvline(x, color=colour, lw=1.1 if hand else 0.5, ls="--" if hand else "-", zorder=-1, gid=f"mark {name}")
        if hand:
            ax.plot(
                x, 1, marker="v", ms=7, color=BY_HAND, transform=ax.get_xaxis_transform(), clip_on=False, ls="none",
                zorder=5, gid=f"by hand {name}",
            )  # fmt: skip
    return ax


def plot_feature(
    feature: Feature, cohort: xr.Dataset, by: str, ax: Axes | None = None, lead: str | None = None
) -> Axes:
    """Where in the beat a feature is read: the mean aligned beats of two groups, and the feature's points on them.

    Parameters
    ----------
    feature : Feature
    cohort : Dataset
    by : str
        A column of the records: 0 and 1, or numbers, of which the lowest and the highest third are shown.
    lead : str, optional
        The feature's own by default; the first of its leads by the alphabet, or II where it has none.
    """
    ax = ax or plt.gca()
    cohort = check(cohort, by)
    lead = lead or min(feature.leads(), default="II")
    template = template_of(cohort)
    beats = cohort["beat"].transpose("record", "lead", "time").copy(data=voltages(cohort).astype(np.float32))
    aligned = align(beats.sel(lead=[lead]), cohort, template).sel(lead=lead)
    values = column(cohort, by).astype(float)
    low, high = (0.0, 1.0) if set(values[np.isfinite(values)]) == {0.0, 1.0} else np.nanquantile(values, [1 / 3, 2 / 3])
    phase = aligned["phase"].values
    curves = {}
    below, above = ("female", "male") if by == "male" else (f"{by} {low:g}", f"{by} {high:g}")
    for k, (words, rows) in enumerate({below: values <= low, above: values >= high}.items()):
        curves[words] = np.nanmean(aligned.values[rows], axis=0)
        ax.plot(phase, curves[words], color=f"C{k}", lw=1.2, label=words)
    mark_waves(ax, template)
    own = [f for f in (feature.of or (feature,)) if f.lead in ("", lead)]
    at = sorted({float(point.ms(template)) for f in own for point in f.points})
    for x in at:
        ax.plot([x] * 2, [np.interp(x, phase, y) for y in curves.values()], "k.", ms=5, gid="point")
    if len(at) > 1:
        ax.axvspan(at[0], at[-1], color="C3", alpha=0.12, lw=0)
    known = template.values[np.isfinite(template.values)]
    ax.set(xlim=(known[0] - 40, known[-1] + 60), xlabel="ms on the common beat", ylabel=f"{lead}, µV")
    return ax
