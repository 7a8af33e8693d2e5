"""The door of every later room: what is handed in as a cohort, or as maps of one, is examined once, before any work.

A public function that takes a cohort begins with ``cohort = check(cohort)``, one that takes maps or beats of its
records with ``values = check_values(values, ...)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..delineation.landmarks import LANDMARKS
from ..recordings.record import LEADS, RecordError
from .measurements import TIME

ORDER = ("record", "side", "cycle", "lead", "landmark", "time", "sample")  # of a cohort's dimensions
_DIMS = {"beat": ("record", "lead", "time"), "fiducial": ("record", "landmark"), "hr": ("record",)}


def check(cohort: Any, *needs: str) -> xr.Dataset:
    """The cohort with its dimensions in the usual order, once it is known to be one.

    Parameters
    ----------
    cohort : Dataset
        As from `open_cohort` or `build_cohort`.
    *needs : str
        Variables or coordinates that the caller uses, beside ``beat`` and ``fiducial``.

    Returns
    -------
    Dataset

    Raises
    ------
    TypeError
        When it is no Dataset.
    RecordError
        When a dimension, a variable or a label is not a cohort's, records repeat, or landmarks cannot be right.
    """
    source = "expected a cohort, as from wb.open_cohort or wb.build_cohort"
    if not isinstance(cohort, xr.Dataset):
        raise TypeError(f"cohort is {_kind(cohort)}; {source}")
    _check_records(cohort, "cohort", source)
    for name, labels in (("lead", LEADS), ("landmark", LANDMARKS)):
        if name in cohort.dims and tuple(cohort[name].values.tolist()) != labels:
            raise RecordError(f"the cohort has other {name}s than {', '.join(labels)}; {source}")
    if "time" in cohort.dims and not np.array_equal(cohort["time"].values, TIME):
        raise RecordError(
            f"the cohort has times other than {TIME[0]:.0f} to {TIME[-1]:.0f} ms in {len(TIME)} steps; {source}"
        )
    for name in dict.fromkeys(("beat", "fiducial", *needs)):
        if name not in cohort.variables:
            raise RecordError(f"the cohort has no variable {name!r}; {source}")
    for name, dims in _DIMS.items():
        if name in cohort.variables and set(cohort[name].dims) != set(dims):
            have = ", ".join(map(str, cohort[name].dims)) or "nothing"
            raise RecordError(f"the cohort has {name!r} over {have}; expected {', '.join(dims)}")
        if name in cohort.variables and cohort[name].dtype.kind not in "fiu":
            raise RecordError(f"the cohort has {name!r} as {cohort[name].dtype}; expected numbers")
    cohort = cohort.transpose(*ORDER, ..., missing_dims="ignore")
    _check_landmarks(cohort["fiducial"].values.astype(float))
    if "hr" in cohort and (cohort["hr"].values <= 0).any():
        raise RecordError("the cohort has heart rates of 0 bpm or less; expected more, or NaN where it is unknown")
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
        raise TypeError(f"{name} is {_kind(values)}; expected a DataArray, as from {source}")
    lacking = [d for d in dims if d not in values.dims]
    if lacking:
        have = ", ".join(map(str, values.dims)) or "nothing"
        raise ValueError(f"{name} is over {have}, without {lacking[0]!r}; expected what {source} gives")
    if "record" in dims:
        _check_records(values, name, f"expected what {source} gives")
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{name} holds {values.dtype}; expected numbers, as from {source}")
    first, last = [d for d in ("record",) if d in dims], [d for d in ("time", "phase") if d in dims]
    return values.transpose(*first, ..., *last)


def _check_records(data: xr.Dataset | xr.DataArray, what: str, source: str) -> None:
    if "record" not in data.dims:
        one = str(data["record"].values) if "record" in data.coords else ""
        fix = f"use cohort.sel(record=[{one!r}]) to keep it" if one else source
        raise RecordError(
            f"the {what} has no dimension 'record', but {', '.join(map(str, data.dims)) or 'none'}; {fix}"
        )
    names = pd.Index(data["record"].values)
    if not len(names):
        raise RecordError(f"the {what} holds no record; {source}")
    if names.has_duplicates:
        raise RecordError(f"the {what} has record {str(names[names.duplicated()][0])!r} twice; names must differ")


def _check_landmarks(marks: np.ndarray) -> None:
    """Refuses landmarks (record, landmark) in ms that no delineation gives."""
    if np.isinf(marks).any() or (marks < TIME[0]).any() or (marks > TIME[-1]).any():
        raise RecordError(
            f"the cohort has landmarks outside the beat; expected {TIME[0]:.0f} to {TIME[-1]:.0f} ms, NaN where a wave "
            "is absent"
        )
    last = np.fmax.accumulate(np.where(np.isnan(marks), -np.inf, marks), axis=1)
    if (marks < last).any():
        raise RecordError("the cohort has landmarks out of order; expected P, QRS and T one after the other")


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{name} {value!r}" if isinstance(value, (str, int, float, type(None))) else f"a {name}"
