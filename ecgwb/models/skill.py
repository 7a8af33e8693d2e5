"""Skill: how much better than a constant a network predicts people from whom it has not learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from ..cohorts.guards import check
from ..cohorts.people import patients_of
from ..stats import auc_interval
from .accuracy import same_unit, skill_interval
from .prediction import predict
from .spec import ModelError, keep_spec, spec_of

# People, and people of either class, below which the interval of a bootstrap is too narrow to show anything.
_FEWEST, _FEWEST_OF_A_CLASS = 10, 5


def with_skill(model: nn.Module, cohort: xr.Dataset) -> nn.Module:
    """Measure a network's skill on people it has not learnt from, and keep it in its spec.

    Maps of a network, and their pictures, say where its skill is not known, or was measured and not shown. `fit` keeps
    a skill by itself; this is for networks from elsewhere, and for another cohort than the one it was validated on.

    Parameters
    ----------
    model : nn.Module
        With a spec; see `load_model` and `wrap_model`.
    cohort : Dataset
        With the measurements of what the network predicts, under the names of its targets. People it has learnt from
        are left out, as far as the spec's ``trained_on`` names them: of a network from elsewhere take others yourself.

    Returns
    -------
    nn.Module
        The same network. ``spec.skill`` holds, for each target that the cohort has, what `ModelSpec` describes; the
        skill of other targets stays as it was.

    Raises
    ------
    ModelError
        When the cohort has none of the targets, the network has learnt from all of its people, predictions and
        measurements are in different units, or the network predicts hazards, which cannot be compared with a number.
    """
    spec, cohort = spec_of(model), check(cohort, all_leads=False)
    if spec.link == "hazard":
        raise ModelError("the network predicts hazards, which a column of the cohort cannot be compared with")
    predicted = predict(model, cohort)
    if "seen" in predicted.coords:
        unseen = np.flatnonzero(~predicted["seen"].values)
        predicted, cohort = predicted.isel(record=unseen), cohort.isel(record=unseen)
    if not cohort.sizes["record"]:
        raise ModelError("the network has learnt from everybody in this cohort; its skill is shown on other people")
    of = [t for t in spec.targets if t in cohort and cohort[t].dims == ("record",) and cohort[t].dtype.kind in "fiub"]
    if not of:
        raise ModelError(
            f"the cohort has no numbers called {', '.join(spec.targets)} to compare with; add them, or name the "
            "targets as the cohort names what they predict"
        )
    on = str(cohort.attrs.get("source", "")) or "a cohort"
    found = {}
    for t in of:
        if spec.log_odds and not set(np.unique(cohort[t].values[np.isfinite(cohort[t].values)])) <= {0, 1}:
            raise ModelError(f"{t!r} is predicted in log-odds; the cohort's {t!r} is not 0 or 1 throughout")
        if not spec.log_odds:
            same_unit(t, spec.unit(t), str(cohort[t].attrs.get("units", "")))
        found[t] = skill_of(predicted[t].values, cohort[t].values, patients_of(cohort), spec.log_odds, on)
    keep_spec(model, replace(spec, skill=spec.skill | found))
    return model


def skill_of(
    predicted: np.ndarray, true: np.ndarray, patient: np.ndarray, log_odds: bool, on: str
) -> dict[str, float | int | str | None]:
    """The skill of one target, as a ModelSpec keeps it.

    Parameters
    ----------
    predicted, true : array (record,)
        NaN where unknown; `true` is 0 or 1 where `log_odds`.
    patient : array (record,)
    log_odds : bool
        Whether it is a class's.
    on : str
        Whom it was measured on.

    Returns
    -------
    dict
        ``value``, ``low`` and ``high`` (95 % by patient) are None where they cannot be given: too few people.
    """
    ok = np.isfinite(predicted) & np.isfinite(true)
    predicted, true, patient = (np.asarray(v)[ok] for v in (predicted, true, patient))
    people = len(np.unique(patient))
    found: Any = (np.nan, np.nan, np.nan)
    if ok.any():
        found = auc_interval(true, predicted, patient) if log_odds else skill_interval(predicted, true, patient)
    classes = [len(np.unique(patient[true == k])) for k in (0, 1)] if log_odds else [people]
    enough = people >= _FEWEST and min(classes) >= _FEWEST_OF_A_CLASS
    value, low, high = (round(float(v), 4) if np.isfinite(v) else None for v in found)
    return {
        "metric": "AUC" if log_odds else "1 - MAE/constant", "constant": 0.5 if log_odds else 0.0, "value": value,
        "low": low if enough else None, "high": high if enough else None, "people": people, "on": on,
    }  # fmt: skip
