"""ECG paper: recordings and beats drawn to scale on the grid cardiologists read, with attention on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from .records import FS, LEADS12, complete_limb_leads

SPEED, GAIN = 25.0, 10.0  # mm/s and mm/mV
LAYOUTS: dict[str, tuple[tuple[str, ...], ...]] = {  # rows of leads that follow each other in time
    "3x4+1": (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",)),
    "3x4": (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6")),
    "6x2": (("I", "V1"), ("II", "V2"), ("III", "V3"), ("aVR", "V4"), ("aVL", "V5"), ("aVF", "V6")),
    "12x1": tuple((lead,) for lead in LEADS12),
}
_ROW_MM, _LEFT_MM, _MARGIN_MM = 25.0, 12.0, 5.0
_MM_PER_INCH = 25.4
_FINE, _COARSE = "#f6d5d5", "#e8a9a9"  # the pink of ECG paper, light enough for attention above it


def plot_ecg(
    rhythm: xr.DataArray,
    layout: str = "3x4+1",
    *,
    fs: float = FS,
    attention: xr.DataArray | None = None,
    seconds: float | None = None,
    title: str = "",
) -> Figure:
    """A recording on ECG paper, 25 mm/s and 10 mm/mV, true to size when printed at 100 %.

    Parameters
    ----------
    rhythm : DataArray (lead, sample), µV
        Of one record; limb leads that follow from two others are derived. A lead that cannot be had is left empty and
        named so.
    layout : {"3x4+1", "3x4", "6x2", "12x1"}
        Rows by columns; "+1" adds lead II throughout. Columns follow each other in time, as a recorder prints them.
    attention : DataArray (sample,) or (time,), optional
        A map on the same samples: a coloured background, red where it adds to the prediction, blue where it takes.
    seconds : float, optional
        How much of the recording; 10 s, or all of a shorter one.

    Returns
    -------
    Figure
        Its one Axes is in mm, so ``figure.savefig("page.pdf")`` is a page to scale.

    Raises
    ------
    ValueError
        For an unknown layout, or a recording without leads.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; expected one of {', '.join(LAYOUTS)}")
    if rhythm.dims[:1] != ("lead",) or rhythm.ndim != 2:
        raise ValueError(f"plot_ecg takes one record's (lead, sample); this has {rhythm.dims}; select a record first")
    leads = {str(k): v for k, v in zip(rhythm["lead"].values, rhythm.values, strict=True)}
    complete_limb_leads(leads)
    rows = LAYOUTS[layout]
    n = min(rhythm.shape[1], round((seconds or 10.0) * fs))
    width = n / fs * SPEED
    figure, ax = paper(_LEFT_MM + width + _MARGIN_MM, _ROW_MM * len(rows) + 2 * _MARGIN_MM)
    scale = _limit(attention) if attention is not None else 1.0
    for r, row in enumerate(rows):
        centre = _ROW_MM * (len(rows) - r - 0.5) + _MARGIN_MM
        _pulse(ax, centre)
        for c, lead in enumerate(row):
            a, b = (round(n * k / len(row)) for k in (c, c + 1))
            x = _LEFT_MM + np.arange(a, b) / fs * SPEED
            if attention is not None:
                _background(ax, x, attention.values[a:b], (centre - _ROW_MM / 2, centre + _ROW_MM / 2), scale)
            label = lead if lead in leads else f"{lead}: not recorded"
            if lead in leads:
                ax.plot(x, centre + leads[lead][a:b] * GAIN / 1000, color="black", lw=0.7)
            ax.text(x[0] + 1, centre + _ROW_MM / 2 - 2, label, va="top", fontsize=8)
            if c:
                ax.plot([x[0]] * 2, [centre - 3, centre + 3], color="black", lw=0.5)
    words = f"{SPEED:g} mm/s   {GAIN:g} mm/mV" + (f"   {title}" if title else "")
    ax.text(_LEFT_MM, _MARGIN_MM / 2, words, va="center", fontsize=7)
    return figure


def paper(width_mm: float, height_mm: float) -> tuple[Figure, Axes]:
    """A sheet of ECG paper: an Axes in mm that fills a figure of that size, with 1 and 5 mm lines."""
    figure = plt.figure(figsize=(width_mm / _MM_PER_INCH, height_mm / _MM_PER_INCH), layout="none")
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width_mm), ylim=(0, height_mm))
    ax.axis("off")
    for step, colour, line in ((1, _FINE, 0.25), (5, _COARSE, 0.5)):
        across = [[(0, y), (width_mm, y)] for y in np.arange(0, height_mm + 0.01, step)]
        down = [[(x, 0), (x, height_mm)] for x in np.arange(0, width_mm + 0.01, step)]
        ax.add_collection(LineCollection(across + down, colors=colour, linewidths=line, zorder=-5), autolim=False)
    return figure, ax


def plot_beats(
    beat: xr.DataArray,
    attention: xr.DataArray | None = None,
    *,
    leads: Sequence[str] = LEADS12,
    columns: int = 4,
    figure: Figure | None = None,
) -> Figure:
    """A representative beat in many leads, each a trace coloured by attention.

    Parameters
    ----------
    beat : DataArray (lead, time), µV
    attention : DataArray (time,) or (lead, time), optional
        One map for all leads, or a method's that resolves them; one colour scale for all, centred on zero.

    Returns
    -------
    Figure
    """
    have: dict[str, np.ndarray] = {str(k): v for k, v in zip(beat["lead"].values, beat.values, strict=True)}
    complete_limb_leads(have)
    shown = [lead for lead in leads if lead in have]
    rows = -(-len(shown) // columns)
    figure = figure or plt.figure(figsize=(7.2, 1.3 * rows + 0.5), layout="none")
    figure.subplots_adjust(left=0.09, right=0.99, top=0.98, bottom=0.12, hspace=0.12, wspace=0.08)
    axes = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).T.ravel()
    time = beat["time"].values
    span = np.concatenate([have[lead] for lead in shown])
    resolved = attention is not None and "lead" in attention.dims
    scale = _limit(attention) if attention is not None else 1.0
    for ax, lead in zip(axes, shown, strict=False):
        values = None
        if attention is not None and not (resolved and lead not in attention["lead"].values):
            values = (attention.sel(lead=lead) if resolved else attention).values
        plot_trace(ax, time, have[lead], values, scale)
        ax.text(0.02, 0.97, lead, transform=ax.transAxes, va="top", fontweight="bold")
        ax.set(xlim=(time[0], time[-1]), ylim=(np.nanmin(span) * 1.05, np.nanmax(span) * 1.05))
    for ax in axes[len(shown) :]:
        ax.axis("off")
    figure.supxlabel("ms from the QRS fiducial", fontsize=8)
    figure.supylabel("µV", fontsize=8)
    return figure


def plot_trace(ax: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray | None, scale: float, **line: Any) -> Axes:
    """A trace in the colours of `values`, from -scale (blue) over 0 (grey) to scale (red); black without values.

    Large values are also drawn thicker, so that the picture can be read in grey.
    """
    if values is None:
        style: dict[str, Any] = {"color": "black", "lw": 0.9} | line
        ax.plot(x, y, **style)
        return ax
    points = np.stack([x, y], axis=1)
    v = np.clip((values[1:] + values[:-1]) / 2 / scale, -1, 1)
    colours = plt.get_cmap("RdBu_r")(0.5 + v / 2)
    colours[:, :3] *= 0.85  # white would be lost on paper
    pieces = np.stack([points[:-1], points[1:]], axis=1)
    ax.add_collection(LineCollection(list(pieces), colors=colours, linewidths=0.8 + 1.8 * np.abs(v), capstyle="round"))
    ax.autoscale_view()
    return ax


def _pulse(ax: Axes, centre: float) -> None:
    """The calibration pulse: 1 mV for 200 ms."""
    end = 1.0 + 0.2 * SPEED
    x = _MARGIN_MM / 2 + np.array([0.0, 1.0, 1.0, end, end, end + 1.0])
    y = centre + np.array([0, 0, GAIN, GAIN, 0, 0])
    ax.plot(x, y, color="black", lw=0.7)


def _background(ax: Axes, x: np.ndarray, values: np.ndarray, between: tuple[float, float], scale: float) -> None:
    ax.imshow(
        values[None], aspect="auto", extent=(x[0], x[-1], *between), cmap="RdBu_r", vmin=-scale, vmax=scale, alpha=0.6,
        zorder=-3, interpolation="nearest",
    )  # fmt: skip


def _limit(values: xr.DataArray) -> float:
    return float(np.nanmax(np.abs(values.values))) or 1.0
