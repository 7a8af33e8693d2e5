"""What the browser gets: plain numbers, texts and bytes of all that a session shows.

Arrays travel as bytes of float32, beats that are sent ahead as int16 (µV; -32768 where a sample is missing).
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import xarray as xr

from ..cohorts.measurements import STEP
from ..delineation.landmarks import LANDMARKS, WAVES
from ..figures.maps import map_limit, map_unit
from ..figures.style import NAMES
from ..workers import one_thread
from .session import VERDICTS, Session
from .state import COMPARED, MOVABLE, OF_A_LAYER, VIEWS, WAYS, WHY_THEY_DIFFER, Exploration, View
from .table import record_table

_MISSING = -32768
_TEXTS = ("sex", "diagnosis", "rhythm")


def constants(session: Session) -> dict[str, Any]:
    """What stays as it is: names, choices and limits."""
    of = session.of
    return {
        "targets": [[t, NAMES.get(t, t), of.spec.unit(t)] for t in of.spec.targets],
        "leads": [str(v) for v in of.cohort["lead"].values],
        "views": VIEWS,
        "ways": WAYS,
        "of_a_layer": OF_A_LAYER,
        "layers": of.layers(),
        "layer": of.spec.layer,
        "landmarks": LANDMARKS,
        "movable": MOVABLE,
        "waves": list(WAVES),
        "stretched": {what: list(ends) for what, ends in of.stretched.items()},
        "scaled": {what: list(ends) for what, ends in of.scaled.items()},
        "verdicts": VERDICTS,
        "compared": COMPARED,
        "why": WHY_THEY_DIFFER,
        "time": _clock(of.cohort["time"]),
        "n": of.cohort.sizes["record"],
        "rhythms": "rhythm" in of.cohort,
    }


def records(of: Exploration) -> dict[str, Any]:
    """The table of all records, and their landmarks with doubt."""
    table = record_table(of.cohort, of.predictions)
    marks = of.cohort["fiducial"]
    doubt = of.cohort["doubt"] if "doubt" in of.cohort else xr.full_like(marks, np.nan)
    manual = of.cohort["manual"] if "manual" in of.cohort else xr.zeros_like(marks, dtype=bool)
    return {
        "ids": [str(i) for i in table.index],
        "texts": {name: table[name].tolist() for name in _TEXTS},
        "numbers": {name: _bytes(table[name]) for name in table.columns if name not in _TEXTS},
        "marks": _bytes(marks),
        "doubt": _bytes(doubt),
        "manual": _bytes(manual),
    }


def beats(of: Exploration, rows: list[int]) -> bytes:
    """Beats of some records (record, lead, time) as int16."""
    values = of.cohort["beat"].isel(record=rows).transpose("record", "lead", "time").values
    with np.errstate(invalid="ignore"):
        whole = np.where(np.isfinite(values), np.clip(np.rint(values), _MISSING + 1, 32767), _MISSING)
    return whole.astype("<i2").tobytes()


@one_thread()  # of one record two threads are no faster, and beside other work they wait for each other
def shown(session: Session) -> dict[str, Any]:
    """The session's view: its beat, landmarks and numbers, all of one record and one revision; `maps` is added."""
    of, view = session.of, session.view
    edited, recorded = of.edited(view).isel(record=0), of.recorded(view).isel(record=0)
    original = of.one(view.record).isel(record=0)
    before = dict(zip(LANDMARKS, _numbers(original["fiducial"]), strict=True))
    verdict, note = session.marks.get(view.record, ("", ""))
    return {
        "revision": session.revision,
        "record": view.record,
        "view": asdict(view),
        "edits": view.edits,
        "message": session.message,
        "refused": session.refused,
        "notes": of.notes(view),
        "skill": of.skill_note(view),
        "about": _about(of, view),
        "undo": session.can_undo,
        "redo": session.can_redo,
        "review": {"verdict": verdict, "note": note, "done": {r: v[0] for r, v in session.marks.items()}},
        "beat": _bytes(edited["beat"]),
        "before": _bytes(original["beat"]) if view.edits else None,
        "marks": _numbers(edited["fiducial"]),
        "marks_before": list(before.values()),
        "doubt": _numbers(recorded["doubt"]) if "doubt" in recorded else [None] * len(LANDMARKS),
        "manual": recorded["manual"].values.tolist() if "manual" in recorded else [False] * len(LANDMARKS),
        "place": {m: of.place(view.record, m) if before[m] is None else before[m] for m in MOVABLE},
        "numbers": of.measurements(view),
        "common": None if (common := of.common_beat()) is None else _bytes(common),
        "rhythm": _rhythm(of, view) if view.view == "rhythm" else None,
        "waiting": not of.trouble,  # for maps
    }


@one_thread()
def maps(session: Session) -> dict[str, Any]:
    """The maps of what is shown, which take longer: the record's, those compared with it, and the cohort's if at hand.

    On a recording a network of beats has its beat's map laid on every cycle.
    """
    of, view = session.of, session.view
    folded = view.view == "rhythm" and not of.of_rhythms
    curve, trouble = None, ""
    if view.view != "maps":
        curve, trouble = of.record_map(replace(view, view="beat") if folded else view)
    return {
        "map": _curve(curve),
        "folded": folded,
        "trouble": "" if trouble == of.trouble else trouble,
        "cohort": cohort_curve(of, view),
        "maps": _compared(of, view) if view.view == "maps" else None,
        "waiting": False,
    }


def cohort_curve(of: Exploration, view: View) -> dict[str, Any] | None:
    """The cohort's map on the view's beat, or why there is none; None where it is not at hand or not asked for."""
    if view.view != "beat" or of.trouble or not of.has_cohort_map(view):
        return None
    try:
        common = of.cohort_map_on(view)
    except ValueError as e:
        return {"trouble": f"no cohort map: {e}"}
    if common is None:
        return {"trouble": "this beat has no QRS to lay the cohort's map on"}
    curves = {name: _bytes(common[name]) for name in ("mean", "low", "high")}
    return curves | {"people": common.attrs["people"], "time": _clock(common["time"])}


def _about(of: Exploration, view: View) -> list[str]:
    """Who is shown, in words."""
    one = of.one(view.record).isel(record=0)
    about = [f"{float(one['age']):.0f} years"] if np.isfinite(one.get("age", np.nan)) else []
    words = {k: str(one[k].values) for k in ("sex", "rhythm_label", "diagnosis") if k in one and str(one[k].values)}
    about += [words[k] for k in ("sex", "rhythm_label") if k in words]
    if of.has_seen(view.record):
        about.append("the network was trained on this person")
    if "rests_on_absent" in of.predictions.coords:
        mark = str(of.predictions["rests_on_absent"].sel(record=view.record).values)
        about += [f"predicted, though not there: {mark}"] if mark else []
    by_hand = of.by_hand(view.record)
    about += [f"by hand: {', '.join(by_hand)}"] if by_hand else []
    if not np.isfinite(one["fiducial"].values).any():
        about.append("this record has no landmarks: nothing is measured, and no wave can be edited")
    return [*about, *([words["diagnosis"]] if "diagnosis" in words else [])]  # the longest comes last


def _curve(curve: xr.DataArray | None) -> dict[str, Any] | None:
    if curve is None:
        return None
    return {
        "values": _bytes(curve),
        "leads": [str(v) for v in curve["lead"].values] if "lead" in curve.dims else None,
        "time": _clock(curve["time"]),
        "limit": map_limit(curve),
        "unit": map_unit(curve),
        "label": str(curve.attrs.get("long_name", "map")),
    }


def _compared(of: Exploration, view: View) -> list[dict[str, Any]]:
    return [{"name": name, "map": _curve(curve), "trouble": why} for name, curve, why in of.compared_maps(view)]


def _rhythm(of: Exploration, view: View) -> dict[str, Any]:
    """The recording with the landmarks of its cycles (ms from its start)."""
    values, one = of.recording(view), of.edited(view).isel(record=0)
    cycles = one["cycle_fiducial"].values if "cycle_fiducial" in one else np.empty((0, len(LANDMARKS)))
    return {"values": _bytes(values), "n": values.sizes["sample"], "step": STEP, "cycles": _bytes(cycles)}


def _clock(time: xr.DataArray) -> dict[str, float]:
    at = time.values
    return {"start": float(at[0]), "step": float(at[1] - at[0]), "n": len(at)}


def _bytes(values: Any) -> bytes:
    return np.ascontiguousarray(values, dtype="<f4").tobytes()


def _numbers(values: xr.DataArray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values.values]
