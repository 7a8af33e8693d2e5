"""Diagnoses whose place in the ECG is known: do a network's maps of them lie there?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn

from ..attention.gradcam import asked_of
from ..cohorts import guards
from ..cohorts.beats import need_records
from ..cohorts.people import FEWEST_IN_GROUP, patients_of, with_statements
from ..delineation.landmarks import LANDMARKS
from ..edits.effects import for_network
from ..edits.maps import on_beats, time_maps
from ..models.spec import ModelError
from ..stats import ratio_interval
from .checks import Check, Picture

PLACES = {
    "before QRS": ("P_on", "QRS_on"),
    "QRS": ("QRS_on", "J"),
    "ST and T": ("J", "T_off"),
    "T": ("T_on", "T_off"),
}
"""First and last landmark of each place. Where P is absent, what is before QRS begins `BEFORE_QRS_MS` before it."""
BEFORE_QRS_MS = 250.0
ANATOMY = {
    "complete right bundle branch block": "QRS",
    "incomplete right bundle branch block": "QRS",
    "left bundle branch block": "QRS",
    "left anterior fascicular block": "QRS",
    "nonspecific intraventricular conduction disorder": "QRS",
    "left axis deviation": "QRS",
    "right axis deviation": "QRS",
    "low QRS voltages": "QRS",
    "Q wave abnormal": "QRS",
    "first degree AV block": "before QRS",
    "prolonged PR": "before QRS",
    "atrial fibrillation": "before QRS",
    "pacing rhythm": "before QRS",
    "T wave inversion": "T",
    "T wave abnormal": "ST and T",
    "prolonged QT": "T",
    # The same by PTB-XL's own codes.
    "CRBBB": "QRS", "IRBBB": "QRS", "CLBBB": "QRS", "LAFB": "QRS", "IVCD": "QRS", "LVOLT": "QRS", "QWAVE": "QRS",
    "1AVB": "before QRS", "LPR": "before QRS", "AFIB": "before QRS", "PACE": "before QRS",
    "INVT": "T", "NDT": "ST and T", "LNGQT": "T",
}  # fmt: skip
"""Where each diagnosis is read, by its definition: conduction within the ventricles and their axis in QRS, conduction
to them in P and PQ, fibrillation in the missing P, repolarisation in T, pacing in the spike before QRS."""


def known_answers(
    model: nn.Module, cohort: xr.Dataset, targets: Sequence[str] | str | None = None, *, method: str = "gradcam"
) -> Check:
    """Do the maps of diagnoses lie where cardiology knows that a diagnosis is?

    Of each person with the diagnosis, the map less the mean map of people without it: what sets this person apart.

    Parameters
    ----------
    model : nn.Module
        That predicts statements of `ANATOMY`, by `fit` on a cohort of `ecgwb.cohorts.with_statements`.
    cohort : Dataset
        People it has not seen, with the statements in ``diagnosis``, or as variables.
    targets : str or sequence of str, optional
        Those of the network's that have a known place; all by default.
    method : str
        See `ecgwb.trust`.

    Returns
    -------
    Check
        Rows ``target``: ``place``; ``share`` of the departures (absolute, over time and people) in that place, with
        ``low`` and ``high`` from resampled patients; ``span``, the share of the beat's time that the place takes, which
        an even map would give; ``without``, the same share of the maps of people who do not have the diagnosis, as maps
        may be large in QRS whatever the diagnosis; ``times``, share / span; ``n`` people with the diagnosis.

    Raises
    ------
    ModelError
        When the network predicts no statement with a known place, or none has ten people with it and ten without.
    """
    cohort = for_network(model, guards.check(cohort))
    need_records(cohort)
    names = [t for t in asked_of(model, targets)[1] if t in ANATOMY]
    if not names:
        raise ModelError(f"the network predicts no diagnosis whose place is known; these are {', '.join(ANATOMY)}")
    labels = cohort if all(t in cohort for t in names) else with_statements(cohort)
    if not any(t in labels for t in names):
        have = sorted(set(map(str, labels.data_vars)) - set(map(str, cohort.data_vars)))
        raise ModelError(
            f"no record has the statement {names[0]!r}, or another that the network predicts; the cohort's are "
            f"{', '.join(have[:5]) or 'none'} and so on: the same words, or codes, are needed in both"
        )
    maps = on_beats(model, time_maps(model, cohort, method, names), cohort)
    patient, time, rows = patients_of(cohort), maps["time"].values, {}
    for t in names:
        has = labels[t].values if t in labels else np.zeros(cohort.sizes["record"])
        some = np.flatnonzero((has == 1) & np.isfinite(maps.sel(target=t).values).all(axis=-1))
        if len(np.unique(patient[some])) < FEWEST_IN_GROUP or (has == 0).sum() < FEWEST_IN_GROUP:
            continue
        values = maps.sel(target=t).transpose("record", "time").values
        away = np.abs(values - np.nanmean(values[has == 0], axis=0))
        inside, beat = _inside(cohort["fiducial"].values, ANATOMY[t], time)
        share = ratio_interval((away * inside)[some].sum(1), (away * beat)[some].sum(1), patient[some])
        span = float(inside[some].sum() / beat[some].sum())
        control = np.flatnonzero((has == 0) & np.isfinite(values).all(axis=1))
        rows[t] = {
            "place": ANATOMY[t], "share": share.value, "low": share.low, "high": share.high, "span": span,
            "without": float((away * inside)[control].sum() / (away * beat)[control].sum()),
            "times": share.value / span, "n": len(some),
        }  # fmt: skip
    if not rows:
        raise ModelError(f"no diagnosis has {FEWEST_IN_GROUP} people with it and {FEWEST_IN_GROUP} without")
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("target")
    return _check_of(table)


def _inside(fiducial: np.ndarray, place: str, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which moments (record, time) of each person's own beat are in a place, and which from P to T at all."""
    mark = {name: fiducial[:, k, None] for k, name in enumerate(LANDMARKS)}
    before = np.where(np.isfinite(mark["P_on"]), mark["P_on"], mark["QRS_on"] - BEFORE_QRS_MS)
    after = np.where(np.isfinite(mark["T_off"]), mark["T_off"], mark["J"] + 300.0)
    mark = mark | {"P_on": before, "T_off": after}
    first, last = PLACES[place]
    known = np.isfinite(mark["QRS_on"] + mark["J"])
    beat = known & (time >= before) & (time < after)
    return beat & (time >= mark[first]) & (time < mark[last]), beat


def _check_of(table: pd.DataFrame) -> Check:
    more, beyond = (int((table["low"] > table[c]).sum()) for c in ("span", "without"))
    finding = (
        f"{more} of {len(table)} diagnoses have, with their interval, more of their map in their known place than an "
        f"even map would (median {table['times'].median():.1f} times as much), and {beyond} more than the maps of "
        "people without the diagnosis"
    )
    percent = 100 * table[["share", "low", "high"]].rename(columns={"share": "value"})
    spans = 100 * table[["span"]].rename(columns={"span": "value"})
    control = 100 * table[["without"]].rename(columns={"without": "value"})
    kinds = {"of the map": percent, "of maps of people without it": control, "of the beat's length": spans}
    both = pd.concat(kinds, names=["kind"])
    picture = Picture("intervals", both, by="kind", xlabel="% in the known place", limits=(0, 100))
    return Check("known answers", table, finding, "An even map has once the place's share of the beat", picture)
