"""What notebook 06 shows of edited beats, and how exhibits of 05 and 06 are kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from ecgwb import figures
from ecgwb.cohorts.people import patients_of
from ecgwb.edits.changes import lift, stretch
from ecgwb.paper import keep


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


def about(cohort: xr.Dataset) -> str:
    people, records = len(np.unique(patients_of(cohort))), cohort.sizes["record"]
    return f"{source_of(cohort)}, {people} people{f' in {records} recordings' if records > people else ''}."


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


def changed_beats(cohort: xr.Dataset, record: str = "2") -> Shown:
    """Intervals stretched and J lifted by known amounts."""
    one = cohort.sel(record=[record])
    edits = {f"{k} + {ms} ms": stretch(one, k, ms) for k, ms in (("PR", 40), ("QRS", 20), ("QT", 40))}
    return edited_beats(cohort, edits | {"J + 100 µV": lift(one, "J", 100)}, record)
