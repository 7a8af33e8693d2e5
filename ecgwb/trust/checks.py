"""What a check gives, and what all checks share: correlations of maps, intervals, sentences and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d

from ..cohorts.people import patients_of
from ..stats import mean_interval, ratio_interval

SAME, AGREE = 0.9, 0.5  # correlations from which two maps are the same, and below which they are not alike
_BLUR_MS = 20.0  # standard deviation of the blur before maps of different sharpness are compared


_SAID = {True: "passed", False: "FAILED", None: "not judged"}


@dataclass(frozen=True, repr=False)
class Check:
    """One check's outcome.

    Attributes
    ----------
    name : str
    table : DataFrame
        What was found, with intervals.
    verdict : str
        The outcome in words, with numbers.
    passed : bool or None
        None: nothing to judge.
    draw : callable
        What `plot` calls.
    """

    name: str
    table: pd.DataFrame
    verdict: str
    passed: bool | None
    draw: Callable[[Axes], None]

    def __repr__(self) -> str:
        return f"{self.name}: {_SAID[self.passed]}. {self.verdict}"

    def plot(self, ax: Axes | None = None) -> Axes:
        """The table as a picture, with the outcome above it."""
        ax = ax or plt.gca()
        self.draw(ax)
        ax.set_title(f"{self.name}: {_SAID[self.passed]}", loc="left", color="C3" if self.passed is False else "black")
        return ax


@dataclass(frozen=True, repr=False)
class Panel:
    """All checks of one network.

    Attributes
    ----------
    checks : dict of Check, by name
    """

    checks: dict[str, Check]

    @property
    def table(self) -> pd.DataFrame:
        """A row per check: ``passed`` and ``verdict``."""
        rows = {name: {"passed": c.passed, "verdict": c.verdict} for name, c in self.checks.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("check")

    @property
    def verdict(self) -> str:
        """How many passed, and which did not."""
        judged = [c for c in self.checks.values() if c.passed is not None]
        failed = [c.name for c in judged if not c.passed]
        text = f"{len(judged) - len(failed)} of {len(judged)} checks passed"
        return text + (f"; failed: {', '.join(failed)}." if failed else ".")

    def plot(self, width: float = 7.2) -> Figure:
        """Every check's picture."""
        n = len(self.checks)
        figure, axes = plt.subplots((n + 1) // 2, 2, figsize=(width, 2.6 * ((n + 1) // 2)), layout="constrained")
        for ax, check in zip(axes.flat, self.checks.values(), strict=False):
            check.plot(ax)
        for ax in axes.flat[n:]:
            ax.axis("off")
        return figure

    def __repr__(self) -> str:
        lines = [f"{c.name}: {_SAID[c.passed]}" for c in self.checks.values()]
        return "\n".join([self.verdict, *lines, "In full: .table, .checks[name].table, .plot()"])

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return f"<p>{self.verdict}</p>{self.table.to_html()}"


def map_size(maps: xr.DataArray) -> xr.DataArray:
    """How far a map is from its own median over time, summed over leads and blurred: what it stresses."""
    away = maps.copy(data=np.abs(maps.values - maps.median("time").values[..., None]))
    away = away.sum("lead", skipna=False) if "lead" in away.dims else away
    step = float(maps["time"][1] - maps["time"][0])
    return away.copy(data=gaussian_filter1d(away.values, _BLUR_MS / step, axis=-1))


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation over the last axis; 0 where only `b` is flat; NaN where `a` is, which then says nothing."""
    a, b = (v.astype(float) - v.mean(axis=-1, keepdims=True, dtype=float) for v in (a, b))
    sa, sb = (np.sqrt((v**2).sum(axis=-1)) for v in (a, b))
    flat_a, flat_b = (s <= 1e-9 * np.nanmax(s, initial=1e-30) for s in (sa, sb))
    r = (a * b).sum(axis=-1) / np.where(flat_a | flat_b, 1.0, sa * sb)
    return np.where(flat_a, np.nan, np.where(flat_b, 0.0, r))


def mean_r(r: np.ndarray, cohort: xr.Dataset) -> dict[str, float]:
    """Mean over records with its interval; NaN, which passes nothing, where maps are flat."""
    mean = mean_interval(r, patients_of(cohort))
    return {"r": mean.value, "low": mean.low, "high": mean.high, "n": int(np.isfinite(r).sum())}


def ratio(top: np.ndarray, bottom: np.ndarray, cohort: xr.Dataset) -> tuple[float, float, float]:
    """Ratio of two sums over records and its interval from resampling patients; NaN, which passes nothing, of zeros."""
    return ratio_interval(top, bottom, patients_of(cohort))


def between(found: np.ndarray | pd.Series, digits: int = 2) -> str:
    """The range of what was found, in words."""
    values = np.asarray(found, float)
    values = values[np.isfinite(values)]
    if not len(values):
        return "with nothing (flat maps)"
    low, high = f"{values.min():.{digits}f}", f"{values.max():.{digits}f}"
    return low if low == high else f"{low} to {high}"


def told(names: Sequence[str], ok: np.ndarray, good: str, bad: str) -> str:
    """Which targets the good news holds for, and which the bad."""
    failing = [n for n, fine in zip(names, ok, strict=True) if not fine]
    if not failing:
        return f"{good}."
    if len(failing) == len(names):
        return f"{bad}."
    return f"{good}, but not for {', '.join(failing)}, where {bad}."


def label(key: object) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def dots(ax: Axes, values: pd.Series, needed: float) -> None:
    y = np.arange(len(values))
    ax.plot(values.to_numpy(), y, "o", ms=3)
    ax.axvline(needed, color="0.5", lw=0.8, ls="--")
    ax.set(yticks=y, yticklabels=[label(k) for k in values.index], xlabel=str(values.name))
    ax.invert_yaxis()


def nothing(ax: Axes) -> None:
    ax.text(0.5, 0.5, "nothing to judge", ha="center", va="center", transform=ax.transAxes)
    ax.axis("off")


def lines(ax: Axes, table: pd.DataFrame, x: str, y: str) -> None:
    for t, part in table.groupby("target", sort=False):
        ax.plot(part.index.get_level_values(x), part[y], "o-", ms=3, label=str(t))
    ax.set(xlabel=x, ylabel=y)
    below(ax, 4)


def below(ax: Axes, ncols: int) -> None:
    """The legend under the axis, where it hides nothing."""
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=ncols, columnspacing=1, handlelength=1.5)


def wide(values: pd.Series) -> pd.DataFrame:
    """A series of two index levels as a table, rows and columns in the order they came."""
    table = values.unstack()  # sort=False, as of pandas 2.3, puts values in wrong cells
    rows, columns = (list(dict.fromkeys(values.index.get_level_values(k))) for k in (0, 1))
    columns = rows if set(rows) == set(columns) else columns  # each with each: the same order both ways
    return table.loc[rows, columns]


def matrix(ax: Axes, values: pd.Series) -> None:
    table = wide(values)
    limit = float(np.nanmax(np.abs(table.to_numpy(float)), initial=0.0)) or 1.0
    ax.imshow(table.to_numpy(float), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    for (i, j), v in np.ndenumerate(table.to_numpy(float)):
        if np.isfinite(v):
            write(ax, i, j, f"{v:.2f}", float(v) / limit)
    ax.set(xticks=range(table.shape[1]), xticklabels=[label(k) for k in table.columns])
    ax.set(yticks=range(table.shape[0]), yticklabels=[label(k) for k in table.index])
    ax.tick_params(length=0)


def write(ax: Axes, row: int, column: int, text: str, shade: float) -> None:
    """Text in a cell, white where the cell is dark."""
    ax.text(column, row, text, ha="center", va="center", fontsize=6, color="white" if abs(shade) > 0.6 else "black")


def both(ax: Axes, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Several columns of a table, with their intervals, against 1."""
    for k, c in enumerate(columns):
        y = np.arange(len(table)) + 0.2 * (k - (len(columns) - 1) / 2)
        ax.hlines(y, table[f"{c}_low"], table[f"{c}_high"], color=f"C{k}", lw=1)
        ax.plot(table[c], y, "o", ms=3, color=f"C{k}", label=c)
    ax.axvline(1, color="0.5", lw=0.8, ls="--")
    ax.set(yticks=range(len(table)), yticklabels=[label(i) for i in table.index], xlabel="over that of other spans")
    ax.invert_yaxis()
    below(ax, 2)


def shares(ax: Axes, table: pd.DataFrame) -> None:
    y = np.arange(len(table))
    ax.hlines(y, 100 * table["low"], 100 * table["high"], color="C0", lw=1)
    ax.plot(100 * table["share"], y, "o", ms=3, label="of the maps' differences")
    ax.plot(100 * table["span"], y, "|", color="0.4", ms=9, label="of the beat's length")
    ax.set(yticks=y, yticklabels=table.index, xlabel="% in the target's own segments", xlim=(0, 100))
    ax.invert_yaxis()
    below(ax, 2)


def widths(ax: Axes, table: pd.DataFrame, needed: float) -> None:
    for t, part in table.groupby("target", sort=False):
        ax.plot(part.index.get_level_values("at"), part["width"], "o-", ms=3, label=str(t))
    ax.axhline(needed, color="0.5", lw=0.8, ls="--")
    ax.set(xlabel="bump at (ms)", ylabel="width of the map's change (ms)", ylim=(0, None))
    below(ax, 4)


def responses(ax: Axes, table: pd.DataFrame) -> None:
    """Slopes with the measured ones in brackets; each row has its own colour scale."""
    slopes, measured = (wide(table[c]).T for c in ("slope", "measured_slope"))  # (target, edit)
    shade = slopes.div(slopes.abs().max(axis=1).where(lambda v: v > 0, 1.0), axis=0).to_numpy()
    ax.imshow(shade, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for (i, j), v in np.ndenumerate(slopes.to_numpy()):
        m = measured.to_numpy()[i, j]
        write(ax, i, j, f"{v:.2f}" + (f"\n({m:.2f})" if np.isfinite(m) else ""), float(shade[i, j]))
    ax.set(xticks=range(slopes.shape[1]), xticklabels=slopes.columns, yticks=range(len(slopes)))
    ax.set(yticklabels=slopes.index, xlabel="change per unit of edit (in brackets: of the measurement)")
    ax.tick_params(length=0)
