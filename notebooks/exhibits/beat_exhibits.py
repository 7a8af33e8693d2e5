"""Exhibits of beats: each gives its title, caption, figure and the numbers behind it.

Every exhibit is a function from what it shows to a `Shown`; `exhibit` keeps it. Those of networks are in
`network_exhibits.py`, of maps in `map_exhibits.py`; `exhibits.py` lists them all by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from ecgwb import figures
from ecgwb.attention.alignment import align, template_of
from ecgwb.cohorts.people import patients_of
from ecgwb.delineation.landmarks import LANDMARKS
from ecgwb.edits.changes import blank, lift, stretch
from ecgwb.figures import plot_landmark_errors
from ecgwb.models.accuracy import accuracy_table
from ecgwb.paper import keep

INTERVALS = ("pr", "qrs", "qt")


class Shown(NamedTuple):
    """One exhibit."""

    title: str
    caption: str
    figure: Figure
    table: pd.DataFrame


def exhibit(name: str, title: str, caption: str, figure: Figure, table: pd.DataFrame) -> Figure:
    """Keep it for the paper."""
    return keep(name, figure, table, f"{title}{'' if title.endswith('?') else '.'} {caption}")


def source_of(cohort: xr.Dataset) -> str:
    """A cohort's name as it stands in captions."""
    name = str(cohort.attrs.get("source", "this cohort"))
    return {"ludb": "LUDB", "ptbxl500": "PTB-XL-500"}.get(name, name)


def need(cohort: xr.Dataset, variable: str, what: str) -> None:
    if variable not in cohort:
        raise ValueError(f"{source_of(cohort)} has no {variable!r}; this exhibit needs {what}")


def about(cohort: xr.Dataset) -> str:
    people, records = len(np.unique(patients_of(cohort))), cohort.sizes["record"]
    return f"{source_of(cohort)}, {people} people{f' in {records} recordings' if records > people else ''}."


def errors(table: pd.DataFrame) -> str:
    return "; ".join(
        f"{figures.NAMES[str(t)]}: mean absolute error {r['score']:.1f} ms "
        f"({r['low']:.1f}-{r['high']:.1f}), n = {r['n']}"
        for t, r in table.iterrows()
    )


def bland_altman_figure(said: xr.Dataset, cohort: xr.Dataset) -> Figure:
    absent = [t for t in INTERVALS if t not in said]
    if absent:
        raise ValueError(f"this exhibit shows {', '.join(INTERVALS)}; the network does not predict {', '.join(absent)}")
    fig, axes = plt.subplots(1, 3, figsize=(figures.TWO_COLUMNS, 2.6))
    for t, ax in zip(INTERVALS, axes, strict=True):
        figures.plot_bland_altman(said[t].values, cohort[f"{t}_manual"].values, "ms", ax)
        ax.set_title(figures.NAMES[t])
    return fig


def beat(cohort: xr.Dataset, record: str = "2") -> Shown:
    """One person's leads with landmarks and their doubt; the table has every person's."""
    one = cohort.sel(record=record)
    manual = one.get("manual")
    fig, axes = plt.subplots(2, 4, figsize=(figures.TWO_COLUMNS, 3.6), sharex=True, sharey=True)
    for lead, ax in zip(one["lead"].values, axes.flat, strict=False):
        figures.plot_beat(one["beat"].sel(lead=lead), one["fiducial"], ax, doubt=one["doubt"], manual=manual)
        ax.set(title=lead, xlabel="", ylabel="")
        ax.title.set_y(1.08)
    fig.supxlabel("ms from the QRS fiducial", fontsize=8)
    fig.supylabel("µV", fontsize=8)
    return Shown(
        "A representative beat",
        f"{source_of(cohort)} record {record}: the median of {int(one['n_beats'])} of its {int(one['n_beats_found'])} "
        "beats, with P, QRS and T, and each landmark's doubt (one standard deviation) as a band. The table has every "
        "person's landmarks and their doubt, in ms from the QRS fiducial.",
        fig,
        pd.concat({"ms": _frame(cohort["fiducial"]), "doubt": _frame(cohort["doubt"])}, axis=1),
    )


def _frame(values: xr.DataArray) -> pd.DataFrame:
    rows, columns = (values[d].values for d in values.dims)
    return pd.DataFrame(values.values, index=pd.Index(rows, name=values.dims[0]), columns=columns)


def landmarks(cohort: xr.Dataset) -> Shown:
    """How far landmarks lie from those made by hand, and whether their doubt says so."""
    need(cohort, "fiducial_manual", "marks made by hand, as LUDB has")
    marks = [m for m in LANDMARKS if m != "R"]
    rows = []
    for m in marks:
        away = (cohort["fiducial"] - cohort["fiducial_manual"]).sel(landmark=m).values
        doubt = cohort["doubt"].sel(landmark=m).values
        off, d = (v[np.isfinite(away) & np.isfinite(doubt)] for v in (np.abs(away), doubt))
        rows.append(
            {
                "landmark": m, "n": len(off), "bias": np.nanmean(away), "sd": np.nanstd(away, ddof=1),
                "mae": np.nanmean(np.abs(away)), "doubt": np.median(d), "within_doubt": (off <= d).mean(),
                "within_2_doubt": (off <= 2 * d).mean(), "rank_correlation": spearmanr(off, d).statistic,
            }
        )  # fmt: skip
    table = pd.DataFrame(rows).set_index("landmark")
    fig, ax = plt.subplots(figsize=(figures.ONE_COLUMN, 2.6))
    plot_landmark_errors(table, ax)
    ends = table.loc[["P_on", "QRS_on", "J", "T_off"]]
    return Shown(
        "Landmarks against the cardiologists', and their doubt",
        f"{source_of(cohort)}, found minus by hand, mean and standard deviation over people; bars: plus and minus the "
        "median doubt. Within twice its own doubt of the mark made by hand lie "
        + ", ".join(f"{100 * r['within_2_doubt']:.0f} % of {m}" for m, r in ends.iterrows())
        + ": doubt is how leads and beats disagree, and what the two readers see differently comes on top.",
        fig,
        table,
    )


def intervals(cohort: xr.Dataset) -> Shown:
    """Intervals beside those made by hand."""
    need(cohort, "qt_manual", "intervals made by hand, as LUDB has")
    table = accuracy_table(cohort[list(INTERVALS)], cohort, "_manual")
    return Shown(
        "Intervals against the cardiologists'",
        f"{source_of(cohort)}, the workbench's minus those from marks made by hand, by the same rule, with bias and "
        f"95 % limits of agreement. {errors(table)}",
        bland_altman_figure(cohort, cohort),
        table,
    )


def mean_beats(cohort: xr.Dataset) -> Shown:
    """The common beat of women and men."""
    aligned = align(cohort["beat"], cohort)
    groups = {s: aligned.isel(record=np.flatnonzero(cohort["sex"].values == s)) for s in ("female", "male")}
    fig, axes = plt.subplots(2, 4, figsize=(figures.TWO_COLUMNS, 3.6), sharex=True, sharey=True)
    rows = {}
    for k, (sex, g) in enumerate(groups.items()):
        g = g.groupby(xr.DataArray(patients_of(g), dims="record", name="who")).mean()  # a person counts once
        mean, n = g.mean("who"), g.notnull().sum("who")
        half = 1.96 * g.std("who") / np.sqrt(n)
        for lead, ax in zip(g["lead"].values, axes.flat, strict=False):
            m, h = mean.sel(lead=lead), half.sel(lead=lead)
            ax.fill_between(g["phase"], m - h, m + h, color=f"C{k}", alpha=0.3, lw=0)
            ax.plot(g["phase"], m, color=f"C{k}", lw=0.9, ls="-" if k == 0 else "--", label=sex)
            rows[sex, str(lead)] = m.to_series()
    for lead, ax in zip(aligned["lead"].values, axes.flat, strict=False):
        figures.mark_waves(ax, template_of(cohort))
        ax.set_title(lead, y=1.08)
    fig.supxlabel("ms on the common beat", fontsize=8)
    fig.supylabel("µV", fontsize=8)
    fig.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    counts = ", ".join(f"{len(np.unique(patients_of(g)))} {sex}" for sex, g in groups.items())
    return Shown(
        "Mean beats of women and men",
        f"{source_of(cohort)} ({counts}), each beat warped by its landmarks onto the cohort's median beat; bands: 95 % "
        "intervals of the mean, point by point. What rate and intervals do is taken out by the warping.",
        fig,
        pd.DataFrame(rows),
    )


def edited_beats(cohort: xr.Dataset, edits: Mapping[str, xr.Dataset], record: str = "2", lead: str = "II") -> Shown:
    """A beat beside what edits make of it; `edits` by name, each a cohort of that record."""
    curves = {"as recorded": cohort["beat"].sel(record=record, lead=lead)}
    curves |= {name: e["beat"].sel(record=record, lead=lead) for name, e in edits.items()}
    fig, axes = plt.subplots(1, len(edits), figsize=(figures.TWO_COLUMNS, 1.9), sharey=True)
    for ax, (name, e) in zip(axes, edits.items(), strict=True):
        if "blanked" in e:
            ax.axvspan(*e["blanked"].values[0], color="0.92", lw=0)
        figures.plot_beat(curves["as recorded"], ax=ax, color="C1")
        figures.plot_beat(curves[name], ax=ax)
        ax.set(title=name, xlabel="ms", ylabel="")
    axes[0].set_ylabel("µV")
    blanked = any("blanked" in e for e in edits.values())
    return Shown(
        "A beat with one wave blanked" if blanked else "A beat changed by known amounts",
        f"{source_of(cohort)} record {record}, lead {lead}; orange: as recorded"
        + ("; shaded: the span replaced by a straight line." if blanked else "."),
        fig,
        pd.DataFrame({name: c.to_series() for name, c in curves.items()}),
    )


def blanked_beats(cohort: xr.Dataset, record: str = "2") -> Shown:
    """P, QRS, T and a sham taken away."""
    one = cohort.sel(record=[record])
    edits = {f"{w} blanked": blank(one, w) for w in ("P", "QRS", "T")}
    return edited_beats(cohort, edits | {"sham as long as T": blank(one, "T", sham=True)}, record)


def changed_beats(cohort: xr.Dataset, record: str = "2") -> Shown:
    """Intervals stretched and J lifted by known amounts."""
    one = cohort.sel(record=[record])
    edits = {f"{k} + {ms} ms": stretch(one, k, ms) for k, ms in (("PR", 40), ("QRS", 20), ("QT", 40))}
    return edited_beats(cohort, edits | {"J + 100 µV": lift(one, "J", 100)}, record)
