"""One chunk of recordings: read, delineated together, each made a representative beat with its metadata and quality."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ..delineation.annotations import read_annotations
from ..delineation.landmarks import QRS_ON, R
from ..delineation.waves import delineate
from ..recordings.record import FS, LEADS, LIMB_TOLERANCE, Record, RecordError
from .beats import BEAT_VARIABLES, beat_arrays
from .electrodes import LOG_ODDS, likeliest_swap
from .measurements import UNITS, pacing_spike
from .sources import MEASURED_12SL, Item
from .stores import RHYTHM_SAMPLES, Part

_TEXT = ("sex", "patient", "diagnosis", "rhythm_label", "device", "site")
COORDS = ("record", "age", "fold", "flags", *_TEXT, "n_beats", "n_beats_found")
# What a chunk yields: each variable's dims after the record, and its attributes.
FORM = BEAT_VARIABLES | {
    "male": ((), {"units": UNITS["male"]}),
    "age": ((), {"units": "years"}),
    **{name: ((), {"units": unit, "comment": "12SL, from PTB-XL+"}) for name, (_, unit, _) in MEASURED_12SL.items()},
    **{name: ((), {}) for name in ("record", "fold", "flags", *_TEXT)},
}
# Above these a lead's quality is said in words. About 5 % of LUDB's leads and 0.5 % of PTB-XL-500's are.
WORTH_A_LOOK = {
    "lead_missing": (0.01, "{} is missing for {:.0%} of it"),
    "lead_flat": (0.1, "{} is flat for {:.0%} of it"),
    "lead_saturated": (0.005, "{} is saturated for {:.1%} of it"),
    "lead_noise": (10.0, "{} is noisy ({:.0f} µV)"),
}
# Beyond what any of LUDB's and PTB-XL-500's people have: 975 to 7,520 µV, 71 ms, and 263 to 588 ms.
USUAL_SPAN_UV, USUAL_QRS_MS, USUAL_QT_MS = (700.0, 10_000.0), 68.0, (255.0, 600.0)


def build_chunk(items: Sequence[Item], waves: pd.DataFrame | None = None) -> Part:
    """Each item's representative beat and metadata, records first; those that failed, with step and reason, as JSON.

    Whatever a file holds, it costs its own record alone.
    """
    failures: list[dict[str, str]] = []
    records: list[tuple[Item, Record]] = []

    def failed(item: Item, step: str, e: Exception) -> None:
        told = str(e) if isinstance(e, RecordError | OSError) else f"{type(e).__name__}: {e}"
        failures.append({"record": item.record_id, "step": step, "reason": told})

    for item in items:
        try:
            records.append((item, item.read()))
        except Exception as e:
            failed(item, "read", e)
    if waves is None:
        waves = _delineate_together([replace(record, record_id=item.record_id) for item, record in records])
    by_record = dict(iter(waves.groupby("record")))
    rows: list[dict[str, Any]] = []
    for item, record in records:
        try:
            mine = by_record.get(item.record_id)  # None, where the whole chunk was refused: delineated alone
            by_hand = read_annotations(item.annotated) if item.annotated else None
            rows.append(_labelled(beat_arrays(record, mine, annotations=by_hand), item, record))
        except Exception as e:
            failed(item, "beat", e)
    cycles = max((len(row["cycle_used"]) for row in rows), default=0)
    part = {"failures": np.array(json.dumps(failures, ensure_ascii=False)), "cycles": np.array(cycles)}
    for row in rows:
        for name in ("cycle_fiducial", "cycle_used"):
            x = row[name]
            row[name] = np.pad(x, [(0, cycles - len(x))] + [(0, 0)] * (x.ndim - 1), constant_values=np.nan)
    for name in dict.fromkeys(name for row in rows for name in row):
        like = next(np.asarray(row[name]) for row in rows if name in row)
        part[name] = np.stack([np.asarray(row.get(name, np.full(like.shape, np.nan))) for row in rows])
    return part


def _delineate_together(records: list[Record]) -> pd.DataFrame:
    """Waves of all records in one batch; of those that can be delineated at all, should one be refused."""
    try:
        return delineate(records)
    except Exception:
        tables = []
        for r in records:
            with contextlib.suppress(Exception):  # fails again, with its reason, when its beat is made
                tables.append(delineate(r))
        return pd.concat(tables) if tables else delineate([])


def _labelled(beat: dict[str, Any], item: Item, record: Record) -> dict[str, Any]:
    """A beat's arrays with the record's metadata, its rhythm cut or filled to ten seconds."""
    meta = {"rhythm_label": record.metadata.get("rhythm", "")} | record.metadata | item.metadata
    rhythm = beat["rhythm"][:, :RHYTHM_SAMPLES]
    beat["rhythm"] = np.pad(rhythm, ((0, 0), (0, RHYTHM_SAMPLES - rhythm.shape[1])), constant_values=np.nan)
    inside = beat["cycle_fiducial"][:, R] < 1000.0 * RHYTHM_SAMPLES / FS
    beat["cycle_fiducial"], beat["cycle_used"] = beat["cycle_fiducial"][inside], beat["cycle_used"][inside]
    beat["male"] = {"male": 1.0, "female": 0.0}.get(str(meta.get("sex", "")), np.nan)
    text = {k: str(meta.get(k, "")) for k in _TEXT}
    text["patient"] = text["patient"] or item.record_id
    measured = {k: float(meta[k]) for k in MEASURED_12SL if k in meta}
    return {
        **beat,
        **measured,
        "record": item.record_id,
        "age": float(meta.get("age", np.nan)),
        "fold": int(meta.get("fold", -1)),
        "flags": "; ".join(_doubts(beat, record)),
        **text,
    }


def _doubts(beat: dict[str, Any], record: Record) -> list[str]:
    """What is worth a look, in words: none of it is certain, and no record is left out for it."""
    flags = list(record.metadata.get("flags", []))
    if beat["limb_error"] > LIMB_TOLERANCE and not any(f.startswith("limb leads disagree") for f in flags):
        flags.append(f"limb leads disagree: they break II = I + III by {100 * beat['limb_error']:.0f} % of their size")
    for name, (limit, words) in WORTH_A_LOOK.items():
        told = [words.format(lead, x) for lead, x in zip(LEADS, beat[name], strict=True) if x > limit]
        flags += told if len(told) < len(LEADS) else [words.format("every lead", beat[name].max())]
    for a, b in combinations(range(len(LEADS)), 2):
        if np.array_equal(beat["rhythm"][a], beat["rhythm"][b], equal_nan=True):
            flags.append(f"{LEADS[a]} and {LEADS[b]} hold the same signal")
    span = float(np.ptp(beat["beat"], axis=1).max())
    if not USUAL_SPAN_UV[0] <= span <= USUAL_SPAN_UV[1]:
        flags.append(f"the largest lead spans {span:.0f} µV: a rare ECG, or a wrong gain")
    if beat["qrs"] < USUAL_QRS_MS or not (np.isnan(beat["qt"]) or USUAL_QT_MS[0] <= beat["qt"] <= USUAL_QT_MS[1]):
        flags.append(f"QRS {beat['qrs']:.0f} ms, QT {beat['qt']:.0f} ms: a rare ECG, or a wrong sampling rate")
    qrs_on = beat["fiducial"][QRS_ON]
    spike = pacing_spike(beat["beat"], qrs_on) if np.isfinite(qrs_on) else None
    if spike is not None:
        side = "before" if spike[0] < qrs_on else "after"
        flags.append(f"a pacing spike {abs(spike[0] - qrs_on):.0f} ms {side} QRS_on; voltages are read without it")
    swap, log_odds = likeliest_swap(beat["beat"], beat["fiducial"])
    if log_odds > LOG_ODDS:
        flags.append(f"the limb leads look like those of interchanged electrodes ({swap}, perhaps)")
    return flags
