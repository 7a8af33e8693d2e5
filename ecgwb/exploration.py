"""Exploration: one record, what a network says of it, where it looks, and what edits change; without widgets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from torch import nn

from . import figures
from .alignment import align
from .attention import ecgradcam
from .ecg_paper import plot_beats, plot_ecg
from .edits import blank, scale, stretch
from .maps import cohort_map
from .models import spec_of
from .prediction import predict

VIEWS = ("beat", "12 leads", "rhythm")
STRETCHED = {"PR": (-40.0, 40.0), "QRS": (-20.0, 20.0), "QT": (-40.0, 40.0)}  # ms
SCALED = ("R", "T")


@dataclass(frozen=True)
class View:
    """Everything that decides the picture."""

    record: str
    target: str
    variant: str = "gradcam"
    view: str = "beat"
    lead: str = "V5"
    blanked: str = "none"
    stretched: tuple[tuple[str, float], ...] = ()
    scaled: tuple[tuple[str, float], ...] = ()

    @property
    def edited(self) -> bool:
        return self.blanked != "none" or any(v for _, v in self.stretched) or any(v != 1 for _, v in self.scaled)


class Exploration:
    """What the explorer shows, without its widgets: a `View` in, a figure and a table out.

    Parameters
    ----------
    cohort : Dataset
        With ``rhythm=True`` its recordings can be seen too.
    model : nn.Module
        One that takes beats.

    Raises
    ------
    ModelError, ValueError
        When the cohort lacks what the network needs.
    """

    def __init__(self, cohort: xr.Dataset, model: nn.Module) -> None:
        self.spec = spec_of(model)
        if self.spec.input != "beat":
            raise ValueError("the explorer shows networks that take beats; this one takes rhythms")
        self.cohort, self.model = cohort, model
        self.said = predict(model, cohort)
        self._maps: dict[str, xr.Dataset] = {}
        self._last: tuple[View | None, xr.Dataset] = (None, cohort)

    def records(self, search: str = "", order: str = "record", target: str | None = None) -> list[str]:
        """Ids whose id, sex, diagnosis or rhythm holds the words searched for, in the order asked for."""
        c = self.cohort
        ids = [str(r) for r in c["record"].values]
        text = [
            " ".join([r, *(str(c[k].values[i]) for k in ("sex", "diagnosis", "rhythm_label") if k in c.coords)]).lower()
            for i, r in enumerate(ids)
        ]
        # Whole words, so that "male" does not find "female".
        hits = [i for i, t in enumerate(text) if all(f" {q}" in f" {t}" for q in search.lower().split())]
        key = self._order(order, target or self.spec.targets[0])
        return [ids[i] for i in (sorted(hits, key=lambda i: key[i]) if key is not None else hits)]

    def _order(self, order: str, target: str) -> np.ndarray | None:
        if order == "age" and "age" in self.cohort.coords:
            return np.nan_to_num(self.cohort["age"].values, nan=np.inf)
        if order == "error" and target in self.cohort:
            truth, said = self.cohort[target].values, self.said[target].values
            gap = np.abs((said > 0) - truth) if self.said[target].attrs["units"] == "log-odds" else np.abs(said - truth)
            return -np.nan_to_num(gap, nan=-1)
        if order == "doubt" and "doubt" in self.cohort:
            return -np.nan_to_num(self.cohort["doubt"].max("landmark").values, nan=-1)
        return None

    def one(self, view: View) -> xr.Dataset:
        """The record as the view edits it; the last one is kept, as a picture and its numbers ask for the same."""
        if self._last[0] == view:
            return self._last[1]
        c = self.cohort.sel(record=[view.record])
        for what, ms in view.stretched:
            c = stretch(c, what, ms) if ms else c
        for what, factor in view.scaled:
            c = scale(c, what, factor) if factor != 1 else c
        c = blank(c, view.blanked) if view.blanked != "none" else c
        self._last = (view, c)
        return c

    def has_seen(self, record: str) -> bool:
        """Whether the network was trained on this person."""
        return "seen" in self.said.coords and bool(self.said["seen"].sel(record=record))

    def cohort_map(self, variant: str) -> xr.Dataset:
        """The cohort's maps of all targets; made once per variant."""
        if variant not in self._maps:
            self._maps[variant] = cohort_map(align(ecgradcam(self.model, self.cohort, variant=variant), self.cohort))
        return self._maps[variant]

    def numbers(self, view: View) -> list[tuple[str, str, str, str]]:
        """Rows of target, measured, predicted and, where the beat was edited, predicted of the edited beat."""
        said = self.said.sel(record=view.record)
        edited = predict(self.model, self.one(view)).isel(record=0) if view.edited else None
        rows = []
        for t in self.spec.targets:
            unit = self.spec.unit(t)
            truth = self.cohort[t].sel(record=view.record) if t in self.cohort else np.nan
            name = f"{figures.NAMES.get(t, t)}{f' ({unit})' if unit and unit != 'log-odds' else ''}"
            measured = _number(truth, "") if unit != "log-odds" else {1.0: "yes", 0.0: "no"}.get(float(truth), "")
            rows.append(
                (name, measured, _number(said[t], unit), _number(edited[t], unit) if edited is not None else "")
            )
        return rows

    def draw(self, view: View) -> Figure:
        """The picture of a view."""
        if view.view == "rhythm":
            if "rhythm" not in self.cohort:
                raise ValueError("this cohort holds no rhythms; open it with open_cohort(..., rhythm=True)")
            rhythm = self.cohort["rhythm"].sel(record=view.record)
            return plot_ecg(rhythm, title=f"record {view.record}")
        c = self.one(view)
        if not np.isfinite(c["beat"].values).all():
            raise ValueError("this beat has no such wave, or no room for the edit; nothing is shown")
        maps = ecgradcam(self.model, c, view.target, variant=view.variant).isel(record=0, target=0)
        if not np.isfinite(maps.values).all():
            raise ValueError("the network cannot use this record: samples are missing or all leads are flat")
        away = maps - maps.mean()
        if view.view == "12 leads":
            return plot_beats(c["beat"].isel(record=0), away)
        return self._beat(view, c, away)

    def _beat(self, view: View, c: xr.Dataset, away: xr.DataArray) -> Figure:
        # A fixed layout: finding the best one takes a third of the time a picture may take.
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(7.2, 4.6), sharex=True, height_ratios=(3, 2), layout="none",
            gridspec_kw={"left": 0.11, "right": 0.99, "top": 0.94, "bottom": 0.1, "hspace": 0.14},
        )  # fmt: skip
        beat = c["beat"].isel(record=0).sel(lead=view.lead)
        limit = float(np.abs(away).max()) or 1.0
        if view.edited:
            intact = self.cohort["beat"].sel(record=view.record, lead=view.lead)
            top.plot(intact["time"], intact, color="0.6", lw=0.8, ls="--", label="before the edit")
            top.legend(loc="upper right")
        figures.plot_beat(beat, c["fiducial"].isel(record=0), ax=top)
        for patch in top.patches:  # the map fills the panel; the waves' names above it stay
            patch.set_visible(False)
        low, high = top.get_ylim()
        top.imshow(
            away.values[None], aspect="auto", extent=(float(away["time"][0]), float(away["time"][-1]), low, high),
            cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=0.75, zorder=-3, interpolation="nearest",
        )  # fmt: skip
        top.set(ylim=(low, high), xlabel="", ylabel=f"{view.lead}, µV")
        unit = str(away["unit"].values) or "no unit"
        bottom.plot(away["time"], away, color="C1", label=f"record {view.record}")
        here = self._on_this_beat(view, c)
        if here is not None:
            bottom.fill_between(away["time"], here["low"], here["high"], color="C0", alpha=0.3, lw=0)
            bottom.plot(away["time"], here["mean"], color="C0", label="cohort, warped onto this beat")
        bottom.axhline(0, color="0.5", lw=0.5)
        figures.mark_waves(bottom, c["fiducial"].isel(record=0))
        bottom.set(xlabel="ms from the QRS fiducial", ylabel=f"map minus its mean\n({unit})")
        bottom.legend(loc="upper right")
        return figure

    def _on_this_beat(self, view: View, c: xr.Dataset) -> xr.Dataset | None:
        """The cohort's map, less its mean, on this beat's own time; None without landmarks."""
        own = c["fiducial"].values[0]
        if not np.isfinite(own[[3, 5]]).all():
            return None
        common = self.cohort_map(view.variant).sel(target=view.target)
        marks = np.array([np.nan if m is None else m for m in json.loads(common.attrs["template"])])
        both = np.isfinite(own) & np.isfinite(marks)
        x, first = np.unique(own[both], return_index=True)
        y = marks[both][first]
        time = self.cohort["time"].values
        at = np.interp(time, x, y)
        at = np.where(time < x[0], y[0] + time - x[0], np.where(time > x[-1], y[-1] + time - x[-1], at))
        level = float(common["mean"].mean())
        curves = {k: ("time", np.interp(at, common["phase"], common[k] - level)) for k in ("mean", "low", "high")}
        return xr.Dataset(curves, coords={"time": time})

    def code(self, view: View) -> str:
        """The lines that make what is seen."""
        lines = [f'one = cohort.sel(record=["{view.record}"])']
        lines += [f'one = wb.stretch(one, "{k}", {v:g})' for k, v in view.stretched if v]
        lines += [f'one = wb.scale(one, "{k}", {v:g})' for k, v in view.scaled if v != 1]
        lines += [f'one = wb.blank(one, "{view.blanked}")'] if view.blanked != "none" else []
        lines.append(f'maps = wb.ecgradcam(model, one, "{view.target}", variant="{view.variant}")')
        lines.append("wb.predict(model, one)")
        return "\n".join(lines)


def _number(value: Any, unit: str) -> str:
    v = float(value)
    if not np.isfinite(v):
        return ""
    return f"{100 / (1 + np.exp(-v)):.0f} %" if unit == "log-odds" else f"{v:.0f}"
