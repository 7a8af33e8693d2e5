"""Exploration: one record, what a network says of it, where it looks, and what edits change; without widgets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from .. import figures
from ..attention.alignment import align, template_of
from ..attention.attribution import attribute
from ..attention.gradcam import VARIANTS, ecgradcam
from ..attention.layers import readable_layers
from ..attention.maps import cohort_map
from ..cohorts.beats import need_records
from ..cohorts.corrections import move_landmark, undo_landmark
from ..delineation.landmarks import LANDMARKS
from ..edits.changes import blank, scale, stretch
from ..figures.ecg_paper import plot_beats, plot_ecg
from ..figures.maps import colour_bar
from ..models.prediction import model_input, predict
from ..models.spec import ModelError, spec_of
from .search import find_records

VIEWS = ("beat", "12 leads", "rhythm")
STRETCHED = {"PR": (-40.0, 40.0), "QRS": (-20.0, 20.0), "QT": (-40.0, 40.0)}  # ms
SCALED = ("R", "T")
MOVABLE = tuple(m for m in LANDMARKS if m != "R")
# Ways to a map that answer within a slider's patience; SmoothGrad and integrated gradients take seconds.
WAYS = (*VARIANTS, "saliency", "input_x_gradient", "deeplift", "guided_gradcam", "occlusion")
_PEOPLE = 200  # of a larger cohort, spread through it, whose maps make the cohort's here


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
    layer: str | None = None  # the network's own where None
    moved: tuple[str, float] | None = None  # a landmark and where to, ms

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

    Attributes
    ----------
    cohort : Dataset
        With the landmarks that `keep` put in.
    trouble : str
        Why the network can say nothing of this cohort, such as a lead it lacks; beats and recordings are shown then
        without it. Empty where it can.

    Raises
    ------
    ValueError
        For a network that takes rhythms, or a cohort without records.
    """

    def __init__(self, cohort: xr.Dataset, model: nn.Module) -> None:
        self.spec = spec_of(model)
        if self.spec.input != "beat":
            raise ValueError("the explorer shows networks that take beats; this one takes rhythms")
        need_records(cohort)
        n = cohort.sizes["record"]
        if not n:
            raise ValueError("this cohort holds no records; wb.excluded(cohort) lists those left out, and why")
        self.cohort, self.model, self.trouble = cohort, model, ""
        try:
            self.said = predict(model, cohort)
        except ModelError as e:
            self.trouble = str(e)
            unknown = {t: ("record", np.full(n, np.nan), {"units": self.spec.unit(t)}) for t in self.spec.targets}
            self.said = xr.Dataset(unknown, coords={"record": cohort["record"]})
        self._some = np.unique(np.linspace(0, n - 1, min(n, _PEOPLE)).round().astype(int))
        self._raw: dict[tuple[str, ...], xr.DataArray] = {}
        self._maps: dict[tuple[str, ...], xr.Dataset] = {}
        self._last: tuple[View | None, xr.Dataset] = (None, cohort)

    def records(self, search: str = "", order: str = "record", target: str | None = None) -> list[str]:
        """Ids that fit the search, in the order asked for; see `find_records`."""
        return find_records(self.cohort, self.said[target or self.spec.targets[0]], search, order)

    def has_seen(self, record: str) -> bool:
        """Whether the network was trained on this person."""
        return "seen" in self.said.coords and bool(self.said["seen"].sel(record=record))

    # ------------------------------------------------------------ landmarks by hand

    def place(self, record: str, landmark: str) -> float:
        """Where a landmark is, or, where the record has none, where it is in most people (ms); 0 if nobody has it."""
        at = float(self.cohort["fiducial"].sel(record=record, landmark=landmark))
        usual = at if np.isfinite(at) else float(template_of(self.cohort).sel(landmark=landmark))
        return usual if np.isfinite(usual) else 0.0

    def keep(self, record: str, landmark: str, ms: float, source: str, store: Any = None) -> None:
        """Put the landmark there for good; see `move_landmark`."""
        self._now(move_landmark(self.cohort, record, landmark, ms, source=source, store=store))

    def take_back(self, record: str, landmark: str, store: Any = None) -> None:
        """Undo the last `keep` of this landmark; see `undo_landmark`."""
        self._now(undo_landmark(self.cohort, record, landmark, store=store))

    def _now(self, cohort: xr.Dataset) -> None:
        self.cohort = cohort
        self._maps.clear()  # they are aligned by landmarks; the maps before alignment stay
        self._last = (None, cohort)

    def by_hand(self, record: str) -> list[str]:
        """This record's landmarks that were put in by hand."""
        if "manual" not in self.cohort:
            return []
        manual = self.cohort["manual"].sel(record=record).values.astype(bool)
        return [m for m, hand in zip(LANDMARKS, manual, strict=True) if hand]

    # ------------------------------------------------------------ beats and maps

    def _intact(self, view: View) -> xr.Dataset:
        """The record before edits, its landmark moved."""
        c = self.cohort.sel(record=[view.record])
        return move_landmark(c, view.record, *view.moved) if view.moved else c

    def one(self, view: View) -> xr.Dataset:
        """The record as the view edits it; the last one is kept, as a picture and its numbers ask for the same."""
        if self._last[0] == view:
            return self._last[1]
        c = self._intact(view)
        for what, ms in view.stretched:
            c = stretch(c, what, ms) if ms else c
        for what, factor in view.scaled:
            c = scale(c, what, factor) if factor != 1 else c
        c = blank(c, view.blanked) if view.blanked != "none" else c
        self._last = (view, c)
        return c

    def layers(self) -> list[str]:
        """Layers whose maps can be asked for, the network's own first."""
        if self.trouble:
            return [self.spec.layer]
        x, _ = model_input(self.model, self.cohort.isel(record=[0]))
        return readable_layers(self.model, x)

    def maps(self, view: View, cohort: xr.Dataset, targets: Any = None) -> xr.DataArray:
        """Maps (record, target, time), or (record, target, lead, time) by methods that resolve leads."""
        if view.variant in VARIANTS:
            return ecgradcam(self.model, cohort, targets, variant=view.variant, layer=view.layer)
        # Of these, only guided Grad-CAM reads a layer.
        layer = view.layer if view.variant == "guided_gradcam" else None
        return attribute(self.model, cohort, view.variant, targets, layer=layer)

    def _key(self, view: View) -> tuple[str, ...]:
        cam = view.variant in VARIANTS  # all targets together, all leads as one
        return (view.variant, view.layer or "", "" if cam else view.target, "" if cam else view.lead)

    def has_cohort_map(self, view: View) -> bool:
        """Whether the cohort's map of this view is at hand."""
        return (*self._key(view), view.target) in self._maps

    def cohort_map(self, view: View) -> xr.Dataset:
        """The cohort's map of the view's target, in the view's lead where the method resolves leads; made once."""
        key, whole = self._key(view), (*self._key(view), view.target)
        if whole not in self._maps:
            some = self.cohort.isel(record=self._some)
            raw = (*key[:3], "")
            if raw not in self._raw:
                self._raw[raw] = self.maps(view, some, None if view.variant in VARIANTS else view.target)
            values = self._raw[raw].sel(target=[view.target])
            values = values.sel(lead=view.lead) if "lead" in values.dims else values
            self._maps[whole] = cohort_map(align(values, some)).sel(target=view.target)
        return self._maps[whole]

    def numbers(self, view: View) -> list[tuple[str, str, str, str]]:
        """Rows of target, measured, predicted and, where the beat was edited, predicted of the edited beat."""
        said = self.said.sel(record=view.record)
        intact = self._intact(view).isel(record=0)
        edited = predict(self.model, self.one(view)).isel(record=0) if view.edited and not self.trouble else None
        rows = []
        for t in self.spec.targets:
            unit = self.spec.unit(t)
            truth = intact.get(t, np.nan)
            name = f"{figures.NAMES.get(t, t)}{f' ({unit})' if unit and unit != 'log-odds' else ''}"
            measured = _number(truth, "") if unit != "log-odds" else {1.0: "yes", 0.0: "no"}.get(float(truth), "")
            rows.append(
                (name, measured, _number(said[t], unit), _number(edited[t], unit) if edited is not None else "")
            )
        return rows

    # ------------------------------------------------------------ the picture

    def draw(self, view: View, *, wait: bool = True) -> Figure:
        """The picture of a view; without waiting, without the cohort's map where that is not at hand yet."""
        if view.view == "rhythm":
            if "rhythm" not in self.cohort:
                raise ValueError("this cohort holds no rhythms; open it with open_cohort(..., rhythm=True)")
            rhythm = self.cohort["rhythm"].sel(record=view.record)
            return plot_ecg(rhythm, title=f"record {view.record}")
        c = self.one(view)
        if not np.isfinite(c["beat"].values).all():
            raise ValueError("this beat has no such wave, or no room for the edit; nothing is shown")
        shown = None if self.trouble else self._shown(view, c)
        if view.view == "12 leads":
            return plot_beats(c["beat"].isel(record=0), shown)
        return self._beat(view, c, shown, wait)

    def _shown(self, view: View, c: xr.Dataset) -> xr.DataArray:
        maps = self.maps(view, c, view.target).isel(record=0, target=0)
        if not np.isfinite(maps.values).all():
            raise ValueError("the network cannot use this record: samples are missing or all leads are flat")
        # Of contributions that add up over the whole beat, what matters is where they differ; gradients have a zero.
        centred = view.variant in VARIANTS
        shown = maps - maps.mean() if centred else maps
        shown.attrs["long_name"] = "map minus its mean" if centred else "map"
        if "lead" in shown.dims and view.view == "beat" and view.lead not in shown["lead"].values:
            raise ValueError(f"the network does not read {view.lead}; choose one of {', '.join(shown['lead'].values)}")
        return shown

    def _beat(self, view: View, c: xr.Dataset, shown: xr.DataArray | None, wait: bool) -> Figure:
        # A fixed layout: finding the best one takes a third of the time a picture may take.
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(6.4, 4.4), sharex=True, height_ratios=(3, 2), layout="none",
            gridspec_kw={"left": 0.11, "right": 0.89, "top": 0.93, "bottom": 0.1, "hspace": 0.14},
        )  # fmt: skip
        fiducial = c["fiducial"].isel(record=0)
        if view.edited:
            intact = self.cohort["beat"].sel(record=view.record, lead=view.lead)
            top.plot(intact["time"], intact, color="0.6", lw=0.8, ls="--", label="before the edit")
            top.legend(loc="upper right")
        if view.moved:
            before = float(self.cohort["fiducial"].sel(record=view.record, landmark=view.moved[0]))
            if np.isfinite(before):
                top.axvline(before, color="0.25", lw=0.9, ls=":", zorder=-1, gid="before the move")
        doubt, manual = (c[k].isel(record=0) if k in c else None for k in ("doubt", "manual"))
        figures.plot_beat(c["beat"].isel(record=0).sel(lead=view.lead), fiducial, top, doubt=doubt, manual=manual)
        top.set(xlabel="", ylabel=f"{view.lead}, µV")
        if shown is not None:
            self._map_on(figure, top, bottom, view, shown, fiducial.values, wait)
        else:
            bottom.text(0.5, 0.5, "no map: see below", transform=bottom.transAxes, ha="center", color="0.4")
        figures.mark_waves(bottom, fiducial)
        for name in [t for t in bottom.texts if t.get_text() in ("P", "QRS", "T")]:
            name.remove()  # they stand above the beat already
        bottom.set(xlabel="ms from the QRS fiducial")
        return figure

    def _map_on(
        self, figure: Figure, top: Axes, bottom: Axes, view: View, shown: xr.DataArray, own: np.ndarray, wait: bool
    ) -> None:
        """The map behind the beat, and as a curve beside the cohort's."""
        curve = shown.sel(lead=view.lead) if "lead" in shown.dims else shown
        time, limit = curve["time"].values, float(np.abs(shown).max()) or 1.0  # one scale for all leads
        for patch in top.patches:  # the map fills the panel; the waves' names above it and the doubts stay
            patch.set_visible(patch.get_gid() is not None)
        low, high = top.get_ylim()
        top.imshow(
            curve.values[None], aspect="auto", extent=(time[0], time[-1], low, high), cmap="RdBu_r", vmin=-limit,
            vmax=limit, alpha=0.75, zorder=-3, interpolation="nearest",
        )  # fmt: skip
        top.set_ylim(low, high)
        colour_bar(figure, (0.905, 0.5, 0.013, 0.36), limit, shown)
        bottom.plot(time, curve, color="C1", label=f"record {view.record}")
        here = self._on_this_beat(view, own) if wait or self.has_cohort_map(view) else None
        if here is not None:
            bottom.fill_between(time, here["low"], here["high"], color="C0", alpha=0.3, lw=0)
            bottom.plot(time, here["mean"], color="C0", label=f"{len(self._some)} people, warped onto this beat")
        bottom.axhline(0, color="0.5", lw=0.5)
        bottom.set_ylabel(f"{shown.attrs['long_name']}\n({str(shown['unit'].values) or 'no unit'})")
        bottom.legend(loc="upper left")

    def _on_this_beat(self, view: View, own: np.ndarray) -> xr.Dataset | None:
        """The cohort's map, as the record's is shown, on this beat's own time; None without landmarks."""
        if not np.isfinite(own[[3, 5]]).all():
            return None
        common = self.cohort_map(view)
        marks = template_of(common).values
        both = np.isfinite(own) & np.isfinite(marks)
        x, first = np.unique(own[both], return_index=True)
        y = marks[both][first]
        time = self.cohort["time"].values
        at = np.interp(time, x, y)
        at = np.where(time < x[0], y[0] + time - x[0], np.where(time > x[-1], y[-1] + time - x[-1], at))
        level = float(common["mean"].mean()) if view.variant in VARIANTS else 0.0
        curves = {k: ("time", np.interp(at, common["phase"], common[k] - level)) for k in ("mean", "low", "high")}
        return xr.Dataset(curves, coords={"time": time})

    def code(self, view: View) -> str:
        """The lines that make what is seen: its numbers, and the figure."""
        mine = [
            e
            for e in json.loads(self.cohort.attrs.get("landmarks_changed", "[]"))
            if e["records"] == [view.record] and "to_ms" in e
        ]
        lines = [f"# {e['landmarks'][0]} of this record was put at {e['to_ms']} ms: {e['source']}" for e in mine]
        lines.append(f'one = cohort.sel(record=["{view.record}"])')
        if view.moved:
            lines.append(f'one = wb.cohorts.move_landmark(one, "{view.record}", "{view.moved[0]}", {view.moved[1]!r})')
        lines += [f'one = wb.edits.stretch(one, "{k}", {v:g})' for k, v in view.stretched if v]
        lines += [f'one = wb.edits.scale(one, "{k}", {v:g})' for k, v in view.scaled if v != 1]
        lines += [f'one = wb.edits.blank(one, "{view.blanked}")'] if view.blanked != "none" else []
        layer = f', layer="{view.layer}"' if view.layer and view.variant in (*VARIANTS, "guided_gradcam") else ""
        if view.variant in VARIANTS:
            lines.append(f'maps = wb.ecgradcam(model, one, "{view.target}", variant="{view.variant}"{layer})')
        else:
            lines.append(f'maps = wb.attribute(model, one, "{view.variant}", "{view.target}"{layer})')
        lines.append("wb.predict(model, one)")
        lines += [
            "",
            "from ecgwb.exploration import Exploration, View",
            f"figure = Exploration(cohort, model).draw({view})",
        ]
        return "\n".join(lines)


def _number(value: Any, unit: str) -> str:
    v = float(value)
    if not np.isfinite(v):
        return ""
    return f"{100 / (1 + np.exp(-v)):.0f} %" if unit == "log-odds" else f"{v:.0f}"
