"""Exploration: one record, what a network predicts for it, where it looks, and what edits change; without widgets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from ..attention.alignment import FEWEST, align, in_own_time, reference_beats, template_of
from ..attention.attribution import attribute
from ..attention.gradcam import OF_TOKENS, VARIANTS, ecgradcam, suiting
from ..attention.maps import cohort_map
from ..cohorts.beats import RHYTHM, need_records
from ..cohorts.corrections import move_landmark, undo_landmark
from ..cohorts.measurements import TARGETS, UNITS, fridericia
from ..cohorts.people import statement_names
from ..delineation.landmarks import LANDMARKS
from ..edits.changes import blank, scale, spread_rr, stretch
from ..edits.edit_maps import edit_map
from ..edits.effects import for_network
from ..edits.maps import by_r
from ..figures.maps import per_10_ms
from ..figures.style import NAMES
from ..models.activations import readable_layers, reading
from ..models.prediction import fibrillates, predict
from ..models.spec import NO_SKILL, ModelError, spec_of
from .table import numbers_of

VIEWS = ("beat", "12 leads", "rhythm", "maps")
STRETCHED = {"PR": (-40, 40), "QRS": (-20, 20), "QT": (-40, 40)}  # ms
STRETCHED_IN_RHYTHMS = STRETCHED | {"RR": (-200, 200)}
SCALED = {"R": (50, 150), "T": (50, 150)}  # %
SPREAD = "RR spread"
SCALED_IN_RHYTHMS = SCALED | {SPREAD: (0, 300)}
MOVABLE = tuple(m for m in LANDMARKS if m != "R")
# Ways to a map that answer within a slider's patience; SmoothGrad and integrated gradients take seconds.
_CAMS = (*VARIANTS, OF_TOKENS)
WAYS = (*_CAMS, "edit map", "saliency", "input_x_gradient", "deeplift", "guided_gradcam", "occlusion")
OF_A_LAYER = (*_CAMS, "guided_gradcam")
COMPARED = ("ECGradCAM", "edit map", "Shapley")
WHY_THEY_DIFFER = (
    "ECGradCAM says where the network's last layer adds the prediction up; an edit map says what a stretch of the ECG "
    "does to it, most of the beat kept; Shapley values share the whole difference from the common beat among stretches."
)
_AT_A_TIME = {"edit map": 4}  # records whose maps a kernel makes before it looks for what a user does; else:
_AT_A_TIME_ELSE = 50
_NAMES, _UNITS = {"qtc": "QTc"}, UNITS | {"qtc": "ms"}
# How many of a larger cohort, spread through it, make the cohort's map: by most ways, and by edit maps, which take some
# 60 ms of a core for a beat and 300 for a recording.
_PEOPLE = {"beat": (200, 50), "rhythm": (50, 12)}


@dataclass(frozen=True)
class View:
    """Everything that decides the picture.

    Attributes
    ----------
    record, target : str
    variant : str
        One of `WAYS` to a map.
    view : {"beat", "12 leads", "rhythm", "maps"}
    lead : str
        The lead that the beat is shown in.
    blanked : str
        A wave, or "none".
    stretched : tuple of (str, float)
        Intervals, and by how many ms each is stretched.
    scaled : tuple of (str, float)
        Waves, and how many times as high each is made; or "RR spread", and how many times as large.
    layer : str, optional
        The layer that the map is read from; the network's own by default.
    moved : (str, float), optional
        A landmark, and where it is put, in ms.
    """

    record: str
    target: str
    variant: str = "gradcam"
    view: str = "beat"
    lead: str = "V5"
    blanked: str = "none"
    stretched: tuple[tuple[str, float], ...] = ()
    scaled: tuple[tuple[str, float], ...] = ()
    layer: str | None = None
    moved: tuple[str, float] | None = None

    @property
    def edits(self) -> list[str]:
        """What is done to the beat, or to all of a recording, in words."""
        blanked = [] if self.blanked == "none" else [f"{self.blanked} blanked"]
        stretched = [f"{what} {ms:+.0f} ms" for what, ms in self.stretched]
        return [*stretched, *(f"{what} {100 * factor:.0f} %" for what, factor in self.scaled), *blanked]


class Exploration:
    """What the explorer knows: a `View` in; beats, maps and numbers out.

    Parameters
    ----------
    cohort : Dataset
        With ``rhythm=True`` its recordings can be seen too, which networks that take rhythms need.
    model : nn.Module
        With a spec.

    Attributes
    ----------
    cohort : Dataset
        With the landmarks that `keep` put in.
    predictions : Dataset
        Of all records; NaN where the network cannot predict.
    trouble : str
        Why the network cannot predict anything for this cohort, such as a lead it lacks; beats and recordings are shown
        then without it. Empty where it can.

    Raises
    ------
    ModelError
        When the network takes rhythms and the cohort holds none.
    ValueError
        When the cohort holds no records.
    """

    def __init__(self, cohort: xr.Dataset, model: nn.Module) -> None:
        self.spec = spec_of(model)
        need_records(cohort)
        for_network(model, cohort)  # one that takes rhythms needs them
        n = cohort.sizes["record"]
        if not n:
            raise ValueError("this cohort holds no records; wb.excluded(cohort) lists those left out, and why")
        self.cohort, self.model, self.trouble = statement_names(cohort) if "diagnosis" in cohort else cohort, model, ""
        try:
            self.predictions = predict(model, cohort)
        except ModelError as e:
            self.trouble = str(e)
            unknown = {t: ("record", np.full(n, np.nan), {"units": self.spec.unit(t)}) for t in self.spec.targets}
            self.predictions = xr.Dataset(unknown, coords={"record": cohort["record"]})
        self.of_rhythms = self.spec.input == "rhythm"
        self.stretched = STRETCHED_IN_RHYTHMS if self.of_rhythms else STRETCHED
        self.scaled = SCALED_IN_RHYTHMS if self.of_rhythms else SCALED
        self._sample = spread(n, _PEOPLE[self.spec.input][0])
        self._raw_maps: dict[tuple[str, ...], xr.DataArray] = {}
        self._forget()

    def _forget(self) -> None:
        """Forget what was made with the landmarks as they were; maps before they are aligned stay, but for edits'."""
        self._raw_maps = {k: v for k, v in self._raw_maps.items() if k[0] != "edit map"}
        self._common: xr.DataArray | None = None
        self._cohort_maps: dict[tuple[str, ...], xr.Dataset] = {}
        self._last_one: tuple[str, xr.Dataset] | None = None
        self._last_beat: tuple[View, xr.Dataset] | None = None
        self._last_map: tuple[View, xr.DataArray | None, str] | None = None

    def sample(self, view: View) -> np.ndarray:
        """Positions of the records whose maps make the cohort's."""
        fewer = spread(len(self._sample), _PEOPLE[self.spec.input][1])
        return self._sample[fewer] if view.variant == "edit map" else self._sample

    def has_seen(self, record: str) -> bool:
        """Whether the network was trained on this person."""
        return "seen" in self.predictions.coords and bool(self.predictions["seen"].sel(record=record))

    def skill_note(self, view: View) -> str:
        """What the picture of a map of the view's target has to say of the network's skill; else ""."""
        return "" if self.trouble else self.spec.skill_note(view.target)

    def notes(self, view: View) -> list[str]:
        """What a reader of this view has to know: a skill that was not shown, or why there is no map."""
        skill = self.skill_note(view)
        return [note for note in (skill if skill.startswith(NO_SKILL) else "", self.trouble) if note]

    # ------------------------------------------------------------ landmarks by hand

    def place(self, record: str, landmark: str) -> float:
        """Where a landmark is, or, where the record has none, where it is in most people (ms); 0 if nobody has it."""
        own = self.one(record)["fiducial"].sel(landmark=landmark).item()
        usual = own if np.isfinite(own) else float(template_of(self.cohort).sel(landmark=landmark))
        return usual if np.isfinite(usual) else 0.0

    def keep(self, record: str, landmark: str, ms: float, source: str, store: Any = None) -> None:
        """Put the landmark there for good; see `move_landmark`."""
        self.cohort = move_landmark(self.cohort, record, landmark, ms, source=source, store=store)
        self._forget()

    def take_back(self, record: str, landmark: str, store: Any = None) -> None:
        """Undo the last `keep` of this landmark; see `undo_landmark`."""
        self.cohort = undo_landmark(self.cohort, record, landmark, store=store)
        self._forget()

    def by_hand(self, record: str) -> list[str]:
        """This record's landmarks that were put in by hand."""
        if "manual" not in self.cohort:
            return []
        manual = self.one(record)["manual"].values[0].astype(bool)
        return [landmark for landmark, hand in zip(LANDMARKS, manual, strict=True) if hand]

    # ------------------------------------------------------------ beats and maps

    def one(self, record: str) -> xr.Dataset:
        """A record by itself, as a cohort; kept, since to select from a whole cohort takes milliseconds."""
        if self._last_one is None or self._last_one[0] != record:
            self._last_one = (record, self.cohort.sel(record=[record]))
        return self._last_one[1]

    def recorded(self, view: View) -> xr.Dataset:
        """The view's record before edits, its landmark moved.

        Raises
        ------
        ValueError
            When the landmark cannot be where the view puts it.
        """
        one = self.one(view.record)
        return move_landmark(one, view.record, *view.moved) if view.moved else one

    def edited(self, view: View) -> xr.Dataset:
        """The view's record as the view edits it: its beat, and where it has a recording every beat of that alike.

        Raises
        ------
        ValueError
            When the record cannot be edited so, or the landmark cannot be where the view puts it.
        """
        if self._last_beat and self._last_beat[0] == view:  # a picture and its numbers ask for the same
            return self._last_beat[1]
        one = self.recorded(view)
        if not self.of_rhythms and view.view != "rhythm":  # nobody sees the recording: it need not be edited, too
            one = one.drop_vars(RHYTHM, errors="ignore")
        given = ("beat", self.spec.input if view.view != "rhythm" else "rhythm")
        complete = [name for name in given if name in one and np.isfinite(one[name].values).all()]
        for what, ms in view.stretched:
            one = stretch(one, what, ms)
        for what, factor in view.scaled:
            one = spread_rr(one, factor) if what == SPREAD else scale(one, what, factor)
        if view.blanked != "none":
            one = blank(one, view.blanked)
        for name in complete:
            if not np.isfinite(one[name].values).all():
                of = "this beat has" if name == "beat" else "half of the recording's beats or more have"
                raise ValueError(f"{', '.join(view.edits)}: {of} no such wave, or no room for the edit")
        self._last_beat = (view, one)
        return one

    def recording(self, view: View) -> xr.DataArray:
        """The view's recording (lead, sample), as the view edits it.

        Raises
        ------
        ValueError
            When the cohort holds none, or as `edited`.
        """
        if "rhythm" not in self.cohort:
            raise ValueError("this cohort holds no rhythms; open it with open_cohort(..., rhythm=True)")
        return self.edited(view)["rhythm"].isel(record=0)

    def layers(self) -> list[str]:
        """Layers whose maps can be asked for, the network's own first."""
        if self.trouble:
            return [self.spec.layer]
        return readable_layers(self.model)

    def way(self) -> str:
        """The way to a map that suits the network: of its layer, or by edits where none can be read."""
        try:
            return suiting(self.model, reading(self.model))
        except ModelError:
            return "edit map"

    def maps(self, view: View, cohort: xr.Dataset, targets: Any = None) -> xr.DataArray:
        """Maps (record, target, time), or (record, target, lead, time) by methods that resolve leads."""
        layer = view.layer if view.variant in OF_A_LAYER else None
        if view.variant == "edit map":
            if len(self._sample) < FEWEST:
                raise ValueError(
                    f"an edit map compares with the others' mean beat; explore a cohort of {FEWEST} or more"
                )
            return edit_map(self.model, cohort, targets, among=self.cohort.isel(record=self._sample))
        if view.variant in _CAMS:
            return ecgradcam(self.model, cohort, targets, variant=view.variant, layer=layer)
        return attribute(self.model, cohort, view.variant, targets, layer=layer)

    def record_map(self, view: View) -> tuple[xr.DataArray | None, str]:
        """The map of the view's record, as it is shown; or none, and why.

        Of a network that takes rhythms it lies along the recording where that is shown, and else on the beat: all
        cycles put together by their R.
        """
        if not self._last_map or self._last_map[0] != view:
            shown, trouble = None, self.trouble
            if not trouble:
                try:
                    shown = self._record_map(view)
                except ValueError as e:  # the package's own errors are ValueErrors and say what to do
                    trouble = str(e)
            self._last_map = (view, shown, trouble)
        return self._last_map[1:]

    def _record_map(self, view: View) -> xr.DataArray:
        one = self.edited(view)
        shown = _centred(view, self.maps(view, one, view.target))
        if not np.isfinite(shown.values).all():
            raise ValueError("the network cannot use this record: samples are missing or all leads are flat")
        if self.of_rhythms and view.view != "rhythm":
            shown = by_r(shown, one)
        shown = per_10_ms(shown.isel(record=0, target=0))
        if "lead" in shown.dims and view.view == "beat" and view.lead not in shown["lead"].values:
            raise ValueError(f"the network does not read {view.lead}; choose one of {', '.join(shown['lead'].values)}")
        return shown

    def map_key(self, view: View) -> tuple[str, ...]:
        """What a cohort's maps depend on: edit maps and ECGradCAM's are of all targets, and the same in all leads."""
        by_lead = ("", "") if view.variant in ("edit map", *_CAMS) else (view.target, view.lead)
        return (view.variant, view.layer or "", *by_lead)

    def has_cohort_map(self, view: View) -> bool:
        """Whether the cohort's map of this view is at hand."""
        return (*self.map_key(view), view.target) in self._cohort_maps

    def cohort_map_steps(self, view: View) -> Iterator[float]:
        """Make the cohort's map of a view a few records at a time; yields the share that is done."""
        variant, layer, target, _ = self.map_key(view)
        if (variant, layer, target) in self._raw_maps:
            return
        rows, step = self.sample(view), _AT_A_TIME.get(variant, _AT_A_TIME_ELSE)
        cohort, done = self.cohort, []
        for start in range(0, len(rows), step):
            done.append(self.maps(view, cohort.isel(record=rows[start : start + step]), target or None))
            yield min(1.0, (start + step) / len(rows))
        if cohort is self.cohort or variant != "edit map":  # else a landmark was kept meanwhile
            self._raw_maps[variant, layer, target] = xr.concat(done, "record", coords="different", compat="equals")

    def cohort_map(self, view: View) -> xr.Dataset:
        """The cohort's map of the view's target, in the view's lead where the method resolves leads; made once."""
        variant, layer, target, lead = key = self.map_key(view)
        if (*key, view.target) not in self._cohort_maps:
            for _ in self.cohort_map_steps(view):
                pass
            some = self.cohort.isel(record=self.sample(view))
            values = self._raw_maps[variant, layer, target].sel(target=[view.target])
            values = _centred(view, values.sel(lead=lead) if lead else values)
            self._cohort_maps[*key, view.target] = cohort_map(align(values, some)).sel(target=view.target)
        return self._cohort_maps[*key, view.target]

    def cohort_map_on(self, view: View) -> xr.Dataset | None:
        """The cohort's map on the time of the view's own beat; None where the beat has no QRS to warp it onto."""
        one = self.edited(view)
        if not np.isfinite(one["fiducial"].sel(landmark=["QRS_on", "J"])).all():
            return None
        common = per_10_ms(self.cohort_map(view))
        template = template_of(common)
        curves = {k: in_own_time(common[k], one, template, bridged=False) for k in ("mean", "low", "high")}
        return xr.Dataset(curves).isel(record=0, drop=True).assign_attrs(people=int(common["patients"]))

    def compared_maps(self, view: View) -> list[tuple[str, xr.DataArray | None, str]]:
        """The view's map by each of `COMPARED`, on the beat: its name, its curve or none, and why none."""
        ways: dict[str, Callable[[], xr.DataArray]] = {
            COMPARED[0]: lambda: self._record_map(replace(view, variant=self._cam(), view="beat")),
            COMPARED[1]: lambda: self._record_map(replace(view, variant="edit map", view="beat")),
            COMPARED[2]: lambda: self._shapley(view),
        }
        found: list[tuple[str, xr.DataArray | None, str]] = []
        for name, way in ways.items():
            try:
                if self.trouble:
                    raise ModelError(self.trouble)
                found.append((name, way(), ""))
            except ValueError as e:
                found.append((name, None, str(e)))
        return found

    def _cam(self) -> str:
        way = self.way()
        return way if way in _CAMS else "gradcam"

    def _shapley(self, view: View) -> xr.DataArray:
        among = self.cohort.isel(record=self._sample)
        one = self.edited(replace(view, view="beat"))
        maps = edit_map(self.model, one, view.target, method="shapley", pieces="segments", among=among)
        maps = by_r(maps, one) if self.of_rhythms else maps
        return per_10_ms(maps.assign_attrs(maps.attrs | {"long_name": "map"}).isel(record=0, target=0))

    def common_beat(self) -> xr.DataArray | None:
        """The cohort's common beat (lead, time), µV; None where there are too few."""
        if self._common is None:
            try:
                some = self.cohort.isel(record=self._sample)
                self._common = reference_beats(some.isel(record=[0]), among=some).isel(record=0, drop=True)
            except ValueError:
                return None
        return self._common

    # ------------------------------------------------------------ numbers and code

    def measured(self, one: xr.Dataset) -> dict[str, float]:
        """What is measured on the only record of a cohort: `TARGETS` with their units, and QTc by Fridericia (ms)."""
        values = {t: float(one[t].values[0]) for t in TARGETS if t in one}
        if {"qt", "hr"} <= set(values):
            values["qtc"] = fridericia(values["qt"], 60.0 / values["hr"])
        return values

    def measurements(self, view: View) -> list[dict[str, Any]]:
        """Rows of the table of all measurements and predictions, before and after the view's edits and move.

        Returns
        -------
        list of dict
            ``target``, ``name``, ``unit``; ``measured``, ``measured_after``, ``predicted``, ``predicted_after``:
            numbers in the unit (log-odds for sex), None where not known; ``caution``: why a reader should not trust
            a number, else "".
        """
        recorded = self.one(view.record)
        before = self.measured(recorded)
        after = self.measured(self.edited(view))
        predicted = self.predictions.sel(record=view.record)
        changed = bool(view.edits) and not self.trouble
        again = predict(self.model, self.edited(view)).isel(record=0) if changed else predicted
        rows = []
        for t in dict.fromkeys([*self.spec.targets, *before]):
            known = t in self.spec.targets
            label = float(numbers_of(recorded, t)[0])
            numbers = {
                "measured": before.get(t, label),
                "measured_after": after.get(t, label),
                "predicted": float(predicted[t]) if known else np.nan,
                "predicted_after": float(again[t]) if known else np.nan,
            }
            unit = self.spec.unit(t) if known else _UNITS[t]
            texts = {"target": t, "name": NAMES.get(t, _NAMES.get(t, t)), "unit": unit}
            rows.append(texts | {"caution": self._caution(view, t, numbers)} | _or_none(numbers))
        return rows

    def _caution(self, view: View, target: str, numbers: dict[str, float]) -> str:
        """Why a number of the table should not be trusted; else ""."""
        if target == "qtc":
            af = fibrillates(self.one(view.record)).item()
            return "QTc of an irregular rhythm is unsure" if af else ""
        if target not in TARGETS or np.isfinite(numbers["measured_after"]) or not np.isfinite(numbers["predicted"]):
            return ""
        name = NAMES.get(target, target)
        return f"{name} cannot be measured here: a wave it needs is absent, and the prediction rests on others"

    def code(self, view: View) -> str:
        """The lines that make what is seen: its numbers, and the figure."""
        changes = json.loads(self.cohort.attrs.get("landmarks_changed", "[]"))
        lines = [
            f"# {change['landmarks'][0]} of this record was put at {change['to_ms']} ms: {change['source']}"
            for change in changes
            if change["records"] == [view.record] and "to_ms" in change
        ]
        lines.append(f"one = cohort.sel(record=[{view.record!r}])")
        if view.moved:
            lines.append(f'one = wb.cohorts.move_landmark(one, {view.record!r}, "{view.moved[0]}", {view.moved[1]!r})')
        lines += [f'one = wb.edits.stretch(one, "{what}", {ms:g})' for what, ms in view.stretched]
        lines += [
            f"one = wb.edits.spread_rr(one, {factor:g})"
            if what == SPREAD
            else f'one = wb.edits.scale(one, "{what}", {factor:g})'
            for what, factor in view.scaled
        ]
        lines += [f'one = wb.edits.blank(one, "{view.blanked}")'] if view.blanked != "none" else []
        layer = f', layer="{view.layer}"' if view.layer and view.variant in OF_A_LAYER else ""
        if view.variant == "edit map":
            some = "cohort"
            if len(self._sample) < self.cohort.sizes["record"]:
                lines.append(
                    f"some = cohort.isel(record={self._sample.tolist()})  # whose mean beat it is compared with"
                )
                some = "some"
            lines.append(f'maps = wb.edit_map(model, one, "{view.target}", among={some})')
        elif view.variant in _CAMS:
            lines.append(f'maps = wb.ecgradcam(model, one, "{view.target}", variant="{view.variant}"{layer})')
        else:
            lines.append(f'maps = wb.attribute(model, one, "{view.variant}", "{view.target}"{layer})')
        lines += [
            "wb.predict(model, one)",
            "",
            "from ecgwb.explorer import Exploration, View, draw",
            f"figure = draw(Exploration(cohort, model), {_as_code(view)})",
        ]
        return "\n".join(lines)


def _as_code(view: View) -> str:
    """A view as it is written, its defaults left out."""
    given = {f.name: getattr(view, f.name) for f in fields(view)}
    said = (f"{f.name}={given[f.name]!r}" for f in fields(view) if given[f.name] != f.default)
    return f"View({', '.join(said)})"


def spread(n: int, most: int) -> np.ndarray:
    """Positions of at most so many of `n` records, spread through them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _centred(view: View, maps: xr.DataArray) -> xr.DataArray:
    """Maps as they are shown: of contributions that add up over the ECG, what matters is where they differ."""
    if view.variant not in _CAMS:  # gradients have a zero
        return maps.assign_attrs(long_name="map")
    return (maps - maps.mean("time")).assign_attrs(maps.attrs | {"long_name": "map minus its mean"})


def _or_none(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: float(value) if np.isfinite(value) else None for name, value in numbers.items()}
