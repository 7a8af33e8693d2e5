"""Effects: what changes of the beat do to predictions, as the paper's Table 3 and as dose and response.

An effect needs no label, only a known change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn

from ..cohorts.beats import RHYTHM
from ..cohorts.cycles import has_cycles
from ..cohorts.guards import check
from ..cohorts.measurements import TARGETS, UNITS
from ..cohorts.people import patients_of
from ..delineation.landmarks import WAVES
from ..models.accuracy import accuracy_table
from ..models.prediction import predict
from ..models.progress import progress
from ..models.spec import ModelError, spec_of
from ..stats import ratio_interval
from ..workers import each
from .changes import blank, lift, plant, scale, stretch
from .remeasurement import remeasure


class Dose(NamedTuple):
    """A known change of the beat."""

    edit: Callable[[xr.Dataset, str, float | np.ndarray], xr.Dataset]
    amounts: tuple[float, ...]
    target: str  # the target that measures it


DOSES = {
    "PR": Dose(stretch, (-40.0, -20.0, 20.0, 40.0), "pr"),
    "QRS": Dose(stretch, (-20.0, -10.0, 10.0, 20.0), "qrs"),
    "QT": Dose(stretch, (-40.0, -20.0, 20.0, 40.0), "qt"),
    "J": Dose(lift, (-100.0, -50.0, 50.0, 100.0), "j_v5"),
    "R": Dose(scale, (0.7, 0.85, 1.15, 1.3), "r_v5"),
    "T": Dose(scale, (0.7, 0.85, 1.15, 1.3), "t_v5"),
}
OF_RHYTHMS = {"RR": Dose(stretch, (-100.0, -50.0, 50.0, 100.0), "hr")}  # of recordings alone; a beat has no rate
_MANY = 50  # people whose remeasuring takes so long that it is made in processes, side by side


def blanking_table(model: nn.Module, cohort: xr.Dataset, fill: str = "linear", *, ci: float = 0.95) -> pd.DataFrame:
    """The paper's Table 3: the error per target on intact beats and with P, QRS or T blanked, and with shams.

    The truth stays the intact beat's measurement. A sham blanks a span of the wave's length where there is no wave.

    Parameters
    ----------
    model : nn.Module
        With a spec. Of one that takes recordings the wave is blanked in every beat.
    cohort : Dataset
        People the network has not seen.
    fill : {"linear", "flat", "mean"}
        See `ecgwb.edits.blank`.
    ci : float
        Level of the intervals, 0 to 1.

    Returns
    -------
    DataFrame
        A row per target.

        - ``metric``: "MAE", in ``unit``, or "accuracy", as a share;
        - ``intact``, ``P``, ``QRS``, ``T``, ``sham_P``, ``sham_QRS``, ``sham_T``: the score;
        - for each of these, ``..._low`` and ``..._high``: its interval from resampling patients;
        - ``..._n``: the records that have the target and the wave (or room for the sham);
        - ``..._same``: the score of intact beats on just these records, which is what to compare with.

    Raises
    ------
    ModelError
        When the cohort lacks what the network takes, or has none of its targets.
    ValueError
        For an unknown fill.
    """
    cohort = for_network(model, check(cohort, "hr"))
    edited = {"intact": cohort} | {w: blank(cohort, w, fill) for w in WAVES}
    edited |= {f"sham_{w}": blank(cohort, w, fill, sham=True) for w in WAVES}
    predictions = predict(model, cohort)
    intact = accuracy_table(predictions, cohort, ci=ci)
    out = intact[["metric", "unit"]].assign(**dict.fromkeys(edited, np.nan))
    for name, changed in edited.items():
        complete = np.flatnonzero(np.isfinite(changed[spec_of(model).input].values).all(axis=(1, 2)))
        if not len(complete):  # nobody has this wave
            continue
        table = accuracy_table(predict(model, changed), cohort, ci=ci)
        same = accuracy_table(predictions.isel(record=complete), cohort.isel(record=complete), ci=ci)
        out[name] = table["score"]
        out[f"{name}_low"], out[f"{name}_high"], out[f"{name}_n"] = table["low"], table["high"], table["n"]
        out[f"{name}_same"] = same["score"]
    return out


def dose_response(
    model: nn.Module, cohort: xr.Dataset, *, ci: float = 0.95, measured: bool = True, seen_only: bool = False
) -> pd.DataFrame:
    """How a prediction follows known changes of the beat, beside how the workbench's own measurement follows them.

    Every beat is changed by several doses: PR and QT by up to 40 ms, QRS by up to 20 ms, J by up to 100 µV, R and T by
    up to 30 %. For networks that take recordings every beat of these is changed alike, and RR by up to 100 ms, too. The
    change in prediction is regressed on the change made, through the origin.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    cohort : Dataset
        Its labels are not used.
    ci : float
        Level of the intervals, 0 to 1.
    measured : bool
        Also delineate the changed beats anew (`remeasure`), at the smallest and largest dose: 15 ms a beat and dose.
    seen_only : bool
        Leave out changed beats that leave the 1st to 99th percentile of the cohort (their ``outside`` is not empty).

    Returns
    -------
    DataFrame
        Rows ``edit`` and ``target``.

        - ``slope``, ``low``, ``high``: change in prediction per unit of change made, which for J, R and T is the change
          in V5, with its interval; ``unit``;
        - ``n``: records;
        - ``moved``: mean absolute change in prediction at the smallest and the largest dose;
        - ``outside``: the share of changed beats that leave what was seen;
        - ``measured_slope``, ``measured_low``, ``measured_high``: the same of the workbench's own measurement of the
          edited beats. The slope of a target on its own edit is truly 1; where the measurement's is below, the
          delineator does not follow the edit whole. NaN for targets that the workbench does not measure from the beat,
          and for RR, which a beat does not show.

    Raises
    ------
    ModelError
        When the cohort lacks what the network takes.
    """
    cohort = for_network(model, check(cohort, "hr"))
    names, patient = list(spec_of(model).targets), patients_of(cohort)
    known = {t for t in names if t in TARGETS and t != "hr" and spec_of(model).unit(t) in ("", UNITS[t])}
    remeasurable = [t for t in names if measured and t in known]
    intact = plant(cohort, 0.0, 0.0)  # measured from its landmarks, as the changed beats are
    predictions = _columns(predict(model, cohort), names)
    doses = doses_of(model)
    parts: list[_Part] = [None, *((name, amount) for name, dose in doses.items() for amount in dose.amounts)]
    work = partial(_answers, model=model, cohort=cohort, remeasurable=remeasurable)
    long = bool(remeasurable) and cohort.sizes["record"] >= _MANY
    made_of = progress("doses", each(work, parts, long=long), total=len(parts), unit="dose")
    found = dict(zip(parts, made_of, strict=True))
    remeasured, rows = found[None].measured, []
    for name, dose in doses.items():
        made, responses, measurements, outside = [], [], [], []
        for amount in dose.amounts:
            answer = found[name, amount]
            change = answer.target - intact[dose.target].values
            outside.append(answer.outside[np.isfinite(change)])
            made.append(np.where(answer.outside & seen_only, np.nan, change))
            responses.append(answer.predicted - predictions)
            if answer.measured is not None:
                measurements.append(answer.measured - remeasured)
        for t in names:
            row: dict[str, Any] = {"edit": name, "target": t}
            row["unit"] = f"{spec_of(model).unit(t) or '1'} per {UNITS[dose.target]}"
            row |= _slope(made, [r[t] for r in responses], patient, ci)
            row["moved"] = _mean(np.abs([responses[0][t], responses[-1][t]]))
            row["outside"] = _mean(np.concatenate(outside))
            if t in remeasurable and name in DOSES:
                own = _slope([made[0], made[-1]], [m[t] for m in measurements], patient, ci)
                row |= {f"measured_{k}": own[k] for k in ("slope", "low", "high")}
            else:
                row |= dict.fromkeys(("measured_slope", "measured_low", "measured_high"), np.nan)
            rows.append(row)
    return pd.DataFrame(rows).set_index(["edit", "target"])


_Part = tuple[str, float] | None  # an edit and its amount; none for the beats as they are


class _Answer(NamedTuple):
    """What a change does to the beats of a cohort."""

    target: np.ndarray  # (record,) of the target that measures the change, by the beats' moved landmarks
    outside: np.ndarray  # (record,) whether a beat leaves what was seen
    predicted: pd.DataFrame  # (record, target)
    measured: pd.DataFrame | None  # (record, target) by delineating anew, at the smallest and largest dose


def _answers(part: _Part, model: nn.Module, cohort: xr.Dataset, remeasurable: list[str]) -> _Answer:
    if part is None:
        measured = _columns(remeasure(cohort), remeasurable) if remeasurable else None
        return _Answer(np.empty(0), np.empty(0, bool), pd.DataFrame(), measured)
    name, amount = part
    dose = doses_of(model)[name]
    edited = dose.edit(cohort, name, amount)
    predicted = _columns(predict(model, edited), list(spec_of(model).targets))
    at_end = name in DOSES and amount in (dose.amounts[0], dose.amounts[-1])
    measured = _columns(remeasure(edited), remeasurable) if remeasurable and at_end else None
    return _Answer(edited[dose.target].values, edited["outside"].values != "", predicted, measured)


def for_network(model: nn.Module, cohort: xr.Dataset) -> xr.Dataset:
    """The cohort as far as a network reads it: without recordings, which take time to edit, where it takes beats.

    Raises
    ------
    ModelError
        When the network takes recordings and the cohort has none.
    """
    if spec_of(model).input == "beat":
        return cohort.drop_vars(RHYTHM, errors="ignore")
    if not has_cycles(cohort):
        raise ModelError(
            "the network takes rhythms and the cohort has none; expected open_cohort(..., rhythm=True), or a cohort of "
            "build_cohort"
        )
    return cohort


def doses_of(model: nn.Module) -> dict[str, Dose]:
    """The known changes that a network can be asked about, by name."""
    return DOSES | (OF_RHYTHMS if spec_of(model).input == "rhythm" else {})


def _columns(data: xr.Dataset, names: Sequence[str]) -> pd.DataFrame:
    """Variables (record,) as columns."""
    return pd.DataFrame({name: data[name].values for name in names})


def _mean(values: np.ndarray) -> float:
    """Mean of the finite values; NaN where there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else np.nan


def _slope(
    made: Sequence[np.ndarray], responses: Sequence[pd.Series], patient: np.ndarray, ci: float
) -> dict[str, float]:
    """Slope of responses on changes made, through the origin, with its interval and the records it is of.

    Parameters
    ----------
    made, responses : one array (record,) per dose
    """
    x, y = np.stack(made), np.stack(responses)  # (dose, record)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(known, x, 0.0), np.where(known, y, 0.0)
    slope = ratio_interval((x * y).sum(axis=0), (x * x).sum(axis=0), patient, ci)
    n = int(known.any(axis=0).sum()) if np.isfinite(slope.value) else 0
    return {"slope": slope.value, "low": slope.low, "high": slope.high, "n": n}
