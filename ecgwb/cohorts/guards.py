"""The door of every later room: what is handed in as a cohort, or as maps of one, is examined once, before any work.

A public function that takes a cohort begins with ``cohort = check(cohort)``, one that takes maps or beats of its
records with ``values = check_values(values, ...)``. Beats and rhythms may lie on the disk, and are not read here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..delineation.landmarks import LANDMARKS, OFFSETS, ONSETS
from ..recordings.record import FS, LEADS, RecordError
from .measurements import TARGETS, TIME

ORDER = ("record", "side", "cycle", "lead", "landmark", "time", "sample")  # of a cohort's dimensions
_DIMS: dict[str, tuple[str, ...]] = {  # of the variables that hold numbers
    "beat": ("record", "lead", "time"),
    "fiducial": ("record", "landmark"),
    **dict.fromkeys((*TARGETS, "male", "age"), ("record",)),
}
_A_COHORT = "expected a cohort, as from wb.open_cohort or wb.build_cohort"


def check(cohort: Any, *needs: str, all_leads: bool = True) -> xr.Dataset:
    """The cohort with its dimensions in the usual order, once it is known to be one.

    Parameters
    ----------
    cohort : Dataset
        As from `open_cohort` or `build_cohort`.
    *needs : str
        Variables or coordinates that the caller uses, beside ``beat`` and ``fiducial``.
    all_leads : bool
        Whether the caller needs the eight leads in their usual order. One that chooses leads by name does not.

    Returns
    -------
    Dataset

    Raises
    ------
    TypeError
        When it is no Dataset.
    RecordError
        When a dimension, a variable or a label is not a cohort's, records repeat, or landmarks, heart rates or the
        sampling rate cannot be right.
    """
    if not isinstance(cohort, xr.Dataset):
        fix = f": wb.open_cohort({str(cohort)!r})" if isinstance(cohort, (str, Path)) else ""
        raise TypeError(f"cohort is {kind_of(cohort)}; {_A_COHORT}{fix}")
    _check_records(cohort, "the cohort", _A_COHORT)
    for name in dict.fromkeys(("beat", "fiducial", *needs)):
        if name not in cohort.variables:
            raise RecordError(f"the cohort has no variable {name!r}; {_A_COHORT}")
    for name, dims in _DIMS.items():
        if name not in cohort.variables:
            continue
        if set(cohort[name].dims) != set(dims):
            have = ", ".join(map(str, cohort[name].dims)) or "nothing"
            raise RecordError(f"the cohort has {name!r} over {have}; expected {', '.join(dims)}")
        if cohort[name].dtype.kind not in "fiub":
            raise RecordError(f"the cohort has {name!r} as {cohort[name].dtype}; expected numbers")
    for name, labels in {"landmark": LANDMARKS, **({"lead": LEADS} if all_leads else {})}.items():
        if tuple(cohort[name].values.tolist()) != labels:
            raise RecordError(f"the cohort has other {name}s than {', '.join(labels)}; {_A_COHORT}")
    if not np.array_equal(cohort["time"].values, TIME):
        steps = f"{TIME[0]:.0f} to {TIME[-1]:.0f} ms in {len(TIME)} steps"
        raise RecordError(f"the cohort has times other than {steps}; {_A_COHORT}")
    if "hr" in cohort and (cohort["hr"].values <= 0).any():
        raise RecordError("the cohort has heart rates of 0 bpm or less; expected more, or NaN where it is unknown")
    if "doubt" in cohort and (cohort["doubt"].values < 0).any():
        raise RecordError("the cohort has a doubt below 0 ms; expected 0 or more, or NaN where there is no landmark")
    fs = cohort.attrs.get("fs", FS)
    if fs != FS:
        raise RecordError(f"the cohort has the sampling rate {fs!r}; its beats are sampled at {FS} Hz")
    built = cohort.attrs.get("n_records")
    if isinstance(built, int) and cohort.sizes["record"] > built and (n := _recordings(cohort)) > built:
        raise RecordError(
            f"the cohort holds {n} records and was built of {built}: it was joined by hand, so "
            "that its source, folds and left-out records are those of the first part alone; join by "
            "wb.cohorts.concat([a, b])"
        )
    cohort = cohort.transpose(*ORDER, ..., missing_dims="ignore")
    check_landmarks(cohort["fiducial"].values, cohort["record"].values)
    return cohort


def check_values(values: Any, *dims: str, name: str = "maps", source: str = "wb.ecgradcam") -> xr.DataArray:
    """Maps or beats of a cohort's records, ``record`` first and the curve last, once they are known to be such.

    Parameters
    ----------
    values : DataArray
    *dims : str
        That it needs, ``record`` among them.
    name, source : str
        What the caller calls it, and which function gives such a thing.

    Returns
    -------
    DataArray

    Raises
    ------
    TypeError
        When it is no DataArray.
    ValueError
        When a dimension is missing, there is no record or one twice, or it does not hold numbers.
    """
    if not isinstance(values, xr.DataArray):
        raise TypeError(f"{name} is {kind_of(values)}; expected a DataArray, as from {source}")
    if "record" in dims:
        _check_records(values, name, f"expected what {source} gives")
    lacking = [d for d in dims if d not in values.dims]
    if lacking:
        have = ", ".join(map(str, values.dims)) or "nothing"
        raise ValueError(f"{name} is over {have}, without {lacking[0]!r}; expected what {source} gives")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {values.dtype}; expected numbers, as from {source}")
    first, last = [d for d in ("record",) if d in dims], [d for d in ("time", "phase") if d in dims]
    return values.transpose(*first, ..., *last)


def check_landmarks(marks: np.ndarray, records: np.ndarray) -> None:
    """Refuses landmarks (record, landmark) in ms that no delineation gives; NaN, where a wave is absent, is one.

    Raises
    ------
    RecordError
        When a record's landmarks are outside the beat or out of order, or a wave ends where it begins.
    """
    outside = (marks < TIME[0]) | (marks > TIME[-1])
    latest = np.fmax.accumulate(np.where(np.isnan(marks), -np.inf, marks), axis=1)
    for wrong, what in (
        (outside, f"landmarks are outside the beat ({TIME[0]:.0f} to {TIME[-1]:.0f} ms)"),
        (marks < latest, "landmarks are out of order"),
        (marks[:, list(OFFSETS)] <= marks[:, list(ONSETS)], "a wave ends where it begins"),
    ):
        rows = np.flatnonzero(wrong.any(axis=1))
        if len(rows):
            seen = ", ".join(f"{k} {v:.0f}" for k, v in zip(LANDMARKS, marks[rows[0]], strict=True))
            raise RecordError(f"record {str(records[rows[0]])!r}: {what}: {seen}")


def counted(n: int, one: str, several: str) -> str:
    """A number before the words that go with it: "1 recording is", "2 recordings are"."""
    return f"{n} {one if n == 1 else several}"


def json_attribute(data: xr.Dataset | xr.DataArray, name: str, default: Any) -> Any:
    """What an attribute holds that the package stores as JSON, such as ``excluded``; the default where there is none.

    Raises
    ------
    RecordError
        When it is no JSON.
    """
    if name not in data.attrs:
        return default
    try:
        return json.loads(data.attrs[name])
    except (TypeError, ValueError):
        raise RecordError(
            f"the attribute {name!r} is {kind_of(data.attrs[name])}; expected the JSON that ecgwb wrote there. "
            f"Remove it: del data.attrs[{name!r}]"
        ) from None


def kind_of(value: Any) -> str:
    """A value in an error's words: "str 'ludb'", "a DataFrame"."""
    name = type(value).__name__
    return f"{name} {value!r}" if isinstance(value, (str, int, float, Path, type(None))) else f"a {name}"


def _recordings(cohort: xr.Dataset) -> int:
    """How many recordings there are: of one that is there again and again, to be edited in many ways, one."""
    if "samples" not in cohort.coords or "patient" not in cohort.coords:
        return cohort.sizes["record"]
    each = zip(cohort["samples"].values.tolist(), cohort["patient"].values.tolist(), strict=True)
    return len(set(each))  # the same samples under two patients were two records


def _check_records(data: xr.Dataset | xr.DataArray, what: str, source: str) -> None:
    if "record" not in data.dims:
        have = ", ".join(map(str, data.dims)) or "none"
        fix = source
        if "record" in data.coords:  # one record, taken out of its cohort
            fix = f"use cohort.sel(record=[{str(data['record'].values)!r}]) to keep it"
        raise RecordError(f"{what} has no dimension 'record', but {have}; {fix}")
    names = pd.Index(data["record"].values)
    if not len(names):
        raise RecordError(f"{what} holds no record; {source}")
    if names.has_duplicates:
        raise RecordError(
            f"{what} has record {str(names[names.duplicated()][0])!r} twice; names must differ"
            "; cohorts are joined by wb.cohorts.concat([a, b])"
        )
