"""ECG paper: recordings and beats drawn to scale on the grid cardiologists read, with attention on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from ..recordings.record import FS, LEADS12, complete_limb_leads
from .beats import mark_doubt, mark_waves
from .maps import colour_bar, map_limit, paint_map, per_10_ms

SPEED, GAIN = 25.0, 10.0  # mm/s and mm/mV
LAYOUTS: dict[str, tuple[tuple[str, ...], ...]] = {  # rows of leads that follow each other in time
    "3x4+1": (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",)),
    "3x4": (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6")),
    "6x2": (("I", "V1"), ("II", "V2"), ("III", "V3"), ("aVR", "V4"), ("aVL", "V5"), ("aVF", "V6")),
    "12x1": tuple((lead,) for lead in LEADS12),
}
_ROW_MM, _LEFT_MM, _MARGIN_MM = 25.0, 12.0, 5.0
_MM_PER_INCH = 25.4
_ALPHA = 0.6  # of a map on the grid
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
    rhythm : DataArray (lead, sample)
        One record in µV; limb leads that follow from two others are derived. A lead that cannot be had is left empty
        and named so.
    layout : {"3x4+1", "3x4", "6x2", "12x1"}
        Rows by columns; "+1" adds lead II throughout. Columns follow each other in time, as a recorder prints them.
    fs : float
        Sampling rate in Hz.
    attention : DataArray (sample,), (time,) or (lead, time), optional
        A map, on the same samples where it has no time in ms: a coloured background, red where it adds to the
        prediction, blue where it takes. Of one that resolves leads each lead has its own.
    seconds : float, optional
        How much of the recording; 10 s, or all of a shorter one.
    title : str
        Written in the lower margin.

    Returns
    -------
    Figure
        Its one Axes is in mm, so ``figure.savefig("page.pdf")`` is a page to scale.

    Raises
    ------
    ValueError
        For an unknown layout, or a recording that is not (lead, sample).
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; expected one of {', '.join(LAYOUTS)}")
    leads = _leads_of(rhythm, "sample")
    rows = LAYOUTS[layout]
    n = min(rhythm.shape[1], round((seconds or 10.0) * fs))
    width = n / fs * SPEED
    figure, ax = paper(_LEFT_MM + width + _MARGIN_MM, _ROW_MM * len(rows) + 2 * _MARGIN_MM)
    limit, attention = map_limit(attention), _on_samples(attention, n, fs)
    for r, row in enumerate(rows):
        centre = _ROW_MM * (len(rows) - r - 0.5) + _MARGIN_MM
        low, high = centre - _ROW_MM / 2, centre + _ROW_MM / 2
        _pulse(ax, centre)
        for column, lead in enumerate(row):
            start, stop = (round(n * k / len(row)) for k in (column, column + 1))
            x = _LEFT_MM + np.arange(start, stop) / fs * SPEED
            values = _map_in(attention, lead)
            if values is not None:
                paint_map(ax, x, values[start:stop], limit, (low, high), alpha=_ALPHA)
            if lead in leads:
                ax.plot(x, centre + leads[lead][start:stop] * GAIN / 1000, color="black", lw=0.7)
            ax.text(x[0] + 1, high - 2, lead if lead in leads else f"{lead}: not recorded", va="top", fontsize=8)
            if column:
                ax.plot([x[0]] * 2, [centre - 3, centre + 3], color="black", lw=0.5)
    _legend(figure, SPEED, GAIN, title, attention, _LEFT_MM + width)
    return figure


def plot_paper_beat(
    beat: xr.DataArray,
    fiducial: xr.DataArray | None = None,
    *,
    doubt: xr.DataArray | None = None,
    manual: xr.DataArray | None = None,
    attention: xr.DataArray | None = None,
    leads: Sequence[str] = ("II", "V2", "V5"),
    speed: float = 100.0,
    gain: float = GAIN,
    title: str = "",
) -> Figure:
    """A representative beat on ECG paper, true to size, fast enough for its landmarks' doubt to be seen.

    Parameters
    ----------
    beat : DataArray (lead, time)
        One record in µV; time in ms.
    fiducial, doubt, manual : DataArray (landmark,), optional
        Landmarks with bands of once and twice their doubt (ms), those put in by hand dashed under a flag.
    attention : DataArray (time,) or (lead, time), optional
        A coloured background, red where it adds to the prediction, blue where it takes, with a bar in its unit.
    leads : sequence of str
        Those that cannot be had are left out.
    speed, gain : float
        mm/s and mm/mV. At the usual 25 mm/s a doubt of 8 ms is a line's width.
    title : str
        Written in the lower margin.

    Returns
    -------
    Figure
        A page to scale: the first Axes is the sheet in mm, then one Axes per lead in ms and µV.

    Raises
    ------
    ValueError
        Where none of the leads can be had, or the beat is not (lead, time).
    """
    attention = None if attention is None else per_10_ms(attention)
    have = _leads_of(beat, "time")
    shown = _some_of(leads, have)
    time = beat["time"].values
    rows = [_row(have[lead], gain) for lead in shown]
    width, height = (time[-1] - time[0]) / 1000 * speed, sum(mm for mm, _, _ in rows)
    figure, sheet = paper(_LEFT_MM + width + 2 * _MARGIN_MM, height + 3 * _MARGIN_MM)
    across, up = figure.get_size_inches() * _MM_PER_INCH
    limit = map_limit(attention)
    bottom = up - _MARGIN_MM
    for lead, (mm, low, high) in zip(shown, rows, strict=True):
        bottom -= mm
        place = (_LEFT_MM / across, bottom / up, width / across, mm / up)
        ax = figure.add_axes(place, xlim=(time[0], time[-1]), ylim=(low, high), label=lead)
        ax.axis("off")
        ax.patch.set_visible(False)
        values = _map_in(attention, lead)
        if values is not None:
            paint_map(ax, time, values, limit, alpha=_ALPHA)
        if fiducial is not None:
            mark_doubt(ax, fiducial, doubt, manual)
            if lead == shown[0]:
                mark_waves(ax, fiducial, shades=False)  # the names of the waves suffice on a grid
        ax.plot(time, have[lead], color="black", lw=0.9)
        ax.text(0.01, 0.97, lead, transform=ax.transAxes, va="top", fontsize=8, fontweight="bold")
    _pulse(sheet, bottom + rows[-1][0] / 2 - gain / 2, gain)
    _legend(figure, speed, gain, title, attention, _LEFT_MM + width)
    return figure


def _row(trace: np.ndarray, gain: float) -> tuple[float, float, float]:
    """Height of a lead's row, in whole squares of 5 mm that its trace needs, and the voltages at its ends (µV)."""
    low, high = np.nanmin([*trace, 0.0]), np.nanmax([*trace, 0.0])
    mm = 5 * np.ceil((high - low) / 1000 * gain / 5 + 1)
    room = (mm * 1000 / gain - (high - low)) / 2
    return mm, low - room, high + room


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
    beat : DataArray (lead, time)
        One record in µV; time in ms.
    attention : DataArray (time,) or (lead, time), optional
        One map for all leads, or a method's that resolves them; one colour scale for all, centred on zero.
    leads : sequence of str
        Those that cannot be had are left out.
    columns : int
        The leads run down the columns, as on paper.
    figure : Figure, optional
        To draw into; one as wide as a page by default.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        Where none of the leads can be had, or the beat is not (lead, time).
    """
    attention = None if attention is None else per_10_ms(attention)
    have = _leads_of(beat, "time")
    shown = _some_of(leads, have)
    rows = -(-len(shown) // columns)
    figure = figure or plt.figure(figsize=(7.2, 1.3 * rows + 0.5), layout="none")
    right = 0.99 if attention is None else 0.88
    figure.subplots_adjust(left=0.09, right=right, top=0.98, bottom=0.12, hspace=0.12, wspace=0.08)
    grid: Any = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for row, column in np.ndindex(grid.shape):  # ticks are most of what drawing costs: on the outer sides only
        grid[row, column].xaxis.set_visible(row == rows - 1)
        grid[row, column].yaxis.set_visible(column == 0)
    axes = grid.T.ravel()
    time, limit = beat["time"].values, map_limit(attention)
    for ax, lead in zip(axes, shown, strict=False):
        plot_trace(ax, time, have[lead], _map_in(attention, lead), limit)
        ax.text(0.02, 0.97, lead, transform=ax.transAxes, va="top", fontweight="bold")
    span = np.concatenate([have[lead] for lead in shown])
    axes[0].set(xlim=(time[0], time[-1]), ylim=(np.nanmin(span) * 1.05, np.nanmax(span) * 1.05))  # shared
    for ax in axes[len(shown) :]:
        ax.axis("off")
    figure.supxlabel("ms from the QRS fiducial", fontsize=8)
    figure.supylabel("µV", fontsize=8)
    if attention is not None:
        colour_bar(figure, (0.895, 0.25, 0.012, 0.5), limit, attention)
    return figure


def plot_trace(ax: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray | None = None, limit: float = 1.0) -> Axes:
    """A trace in the colours of a map; large values are also drawn thicker, so that it can be read in grey.

    Parameters
    ----------
    x, y : array (sample,)
    values : array (sample,), optional
        The map. Without one the trace is black.
    limit : float
        The colours reach from -limit (blue) over 0 (grey) to limit (red).
    """
    if values is None:
        ax.plot(x, y, color="black", lw=0.9)
        return ax
    points = np.stack([x, y], axis=1)
    middle = np.clip((values[1:] + values[:-1]) / 2 / limit, -1, 1)
    steps = np.round(middle * 32)  # pieces of the same of 65 shades are one line: a tenth of the drawing
    starts = np.r_[0, np.flatnonzero(np.diff(steps)) + 1]
    pieces = [points[a : b + 1] for a, b in zip(starts, np.r_[starts[1:], len(steps)], strict=True)]
    shade = steps[starts] / 32
    colours = plt.get_cmap("RdBu_r")(0.5 + shade / 2)
    colours[:, :3] *= 0.85  # white would be lost on paper
    ax.add_collection(LineCollection(pieces, colors=colours, linewidths=0.8 + 1.8 * np.abs(shade), capstyle="round"))
    ax.autoscale_view()
    return ax


def _leads_of(values: xr.DataArray, along: str) -> dict[str, np.ndarray]:
    """The leads of one record, those that follow from two limb leads among them."""
    if values.dims != ("lead", along):
        have = ", ".join(map(str, values.dims))
        raise ValueError(f"expected one record's (lead, {along}); this has ({have}); select a record first")
    leads: dict[str, np.ndarray] = {str(k): v for k, v in zip(values["lead"].values, values.values, strict=True)}
    complete_limb_leads(leads)
    return leads


def _some_of(leads: Sequence[str], have: Mapping[str, np.ndarray]) -> list[str]:
    """Those of the leads that can be had."""
    shown = [lead for lead in leads if lead in have]
    if not shown:
        raise ValueError(f"this beat has leads {', '.join(have)}; expected one of {', '.join(leads)}")
    return shown


def _map_in(attention: xr.DataArray | None, lead: str) -> np.ndarray | None:
    """What a map says of a lead: the same of all, unless the method resolves leads; None where it says nothing."""
    if attention is None or "lead" not in attention.dims:
        return None if attention is None else attention.values
    return attention.sel(lead=lead).values if lead in attention["lead"].values else None


def _on_samples(attention: xr.DataArray | None, n: int, fs: float) -> xr.DataArray | None:
    """A map at a recording's samples; NaN beyond what the network has read."""
    if attention is None or "time" not in attention.coords:
        return attention
    own, time = np.arange(n) * 1000.0 / fs, attention["time"].values
    read = xr.DataArray(own < 2 * time[-1] - time[-2], dims="time")
    return attention.interp(time=np.minimum(own, time[-1])).where(read)


def _legend(
    figure: Figure, speed: float, gain: float, title: str, attention: xr.DataArray | None, right_mm: float
) -> None:
    """Paper speed, gain and title in the sheet's lower margin, with a bar of the map's colours 30 mm long."""
    sheet = figure.axes[0]
    text = f"{speed:g} mm/s   {gain:g} mm/mV" + (f"   {title}" if title else "")
    sheet.text(_LEFT_MM, _MARGIN_MM / 2, text, va="center", fontsize=7)
    if attention is None:
        return
    across, up = figure.get_size_inches() * _MM_PER_INCH
    # On white, so that the grid does not show through.
    sheet.fill_between([right_mm - 34, right_mm], 0, 2 * _MARGIN_MM - 1, color="white", zorder=-4)
    colour_bar(figure, ((right_mm - 32) / across, 3.2 / up, 30 / across, 1.6 / up), map_limit(attention), attention)


def _pulse(ax: Axes, centre: float, gain: float = GAIN) -> None:
    """The calibration pulse: 1 mV for 5 mm, which at 25 mm/s is 200 ms."""
    end = 1.0 + 0.2 * SPEED
    x = _MARGIN_MM / 2 + np.array([0.0, 1.0, 1.0, end, end, end + 1.0])
    y = centre + np.array([0, 0, gain, gain, 0, 0])
    ax.plot(x, y, color="black", lw=0.7)
