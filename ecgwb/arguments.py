"""The door of the package: an argument of the wrong kind is named where it comes in, before any work is done.

`ecgwb/__init__.py` leads every public function through here; inside the package nothing is checked twice.
"""

from __future__ import annotations

import inspect
import json
import numbers
import re
import sysconfig
import traceback
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .cohorts.measurements import TARGETS, TIME
from .delineation.landmarks import LANDMARKS
from .recordings.record import LEADS, RecordError

_FROM = {  # by parameter: where such a thing comes from
    "cohort": "wb.open_cohort or wb.build_cohort",
    "predictions": "wb.predict",
    "values": "wb.ecgradcam, or cohort['beat']",
    "maps": "wb.ecgradcam or wb.attribute",
    "aligned": "wb.align",
    "map_": "wb.map_contrast",
    "null": "wb.map_contrast",
    "sums": "wb.map_sums",
    "record": "wb.read_record, or wb.Record(signal, fs, leads)",
    "records": "wb.read_record, or wb.Record(signal, fs, leads)",
    "spec": "wb.ModelSpec(...)",
    "module": "torch",
    "manifest": "wb.freeze or wb.load_manifest",
    "landmarks": "pandas, a row a record",
}
_COHORTS = ("cohort", "discovery")
_ORDER = ("record", "side", "cycle", "lead", "landmark", "time", "sample")
_HERE = Path(__file__).parent
_LIBRARIES = tuple(sysconfig.get_path(p) for p in ("stdlib", "purelib", "platlib"))
_ABSURD = 1e9  # µV or ms
_FEW = 10


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, behind a check of its arguments against its signature.

    Called wrongly it raises a TypeError, for an argument that is missing, unknown or of another kind than the signature
    names, or a RecordError, where the work failed on data that lack, or hold, what they should not.
    """
    signature = inspect.signature(function)
    name = f"wb.{function.__name__}"
    hints = cache(lambda: typing.get_type_hints(function))  # resolved when first called: annotations are text

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as e:
            raise TypeError(f"{name}: {e}; it takes {_short(signature)}") from None
        given = bound.arguments
        for key, value in given.items():
            hint = hints().get(key, Any)
            # A model is asked for its spec, which says more.
            if key != "model" and not fits(value, hint):
                source = f", as from {_FROM[key]}" if key in _FROM and hint is not str else ""
                raise TypeError(f"{name}: {key} is {_kind(value)}; expected {_said(hint)}{source}")
            if key == "ci" and not 0 < value < 1:
                raise ValueError(f"{name}: ci is {value}; expected a level between 0 and 1, such as 0.95")
            if isinstance(value, xr.Dataset):
                given[key] = _record_first(value)
        try:
            return function(*bound.args, **bound.kwargs)
        except Warning:  # made an error by the caller
            raise
        except Exception as e:
            # Only where something went wrong is it asked what: what is odd and works is nobody's business.
            told = None if in_words(e) or _of_the_caller(e) else _what_is_wrong(given, e)
            if told is None:
                raise
            raise RecordError(f"{name}: {told} ({type(e).__name__}: {e})") from e

    call.__module__ = "ecgwb"  # where pickle finds it
    return call


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind a type hint names; of what a container holds nothing is asked."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    kind = origin or hint
    if kind is type(None):
        return value is None
    if hint is Any or not isinstance(kind, type):
        return True
    if kind is bool:
        return isinstance(value, (bool, np.bool_))
    if kind in (int, float):
        number = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, (bool, np.bool_))
    if kind is np.ndarray:
        return isinstance(value, (np.ndarray, xr.DataArray, pd.Series, list, tuple))
    if kind is Sequence:
        return isinstance(value, (Sequence, np.ndarray, pd.Index, pd.Series)) and not isinstance(value, (str, bytes))
    return isinstance(value, kind)


def _record_first(data: xr.Dataset) -> xr.Dataset:
    """A cohort with its dimensions in the order that a cohort has, whatever was done to it."""
    order = {d: k for k, d in enumerate(_ORDER)}
    for v in data.variables.values():
        places = [order[d] for d in v.dims if d in order]
        if places != sorted(places):
            return data.transpose(*_ORDER, ..., missing_dims="ignore")
    return data


def in_words(error: BaseException) -> bool:
    """Whether the package itself raised an error, and so says what was seen, expected and to be done."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return _HERE in Path(last.filename).parents and (last.line or "").startswith("raise ")


def _of_the_caller(error: BaseException) -> bool:
    """Whether an error comes from a network or function that was handed in: those speak for themselves."""
    files = {f.filename for f in traceback.extract_tb(error.__traceback__)}
    return any(not f.startswith(("<", str(_HERE), *_LIBRARIES)) for f in files)


def _what_is_wrong(given: Mapping[str, Any], error: Exception) -> str | None:
    """The first fault found in the data of a call that failed, in words; None where they have none."""
    cohort = given.get("cohort")
    for key, value in given.items():
        if (
            isinstance(value, np.ndarray)
            and isinstance(cohort, xr.Dataset)
            and len(value) != cohort.sizes.get("record")
        ):
            return f"{key} has {len(value)} rows; expected one for each of the cohort's records"
    for key, value in given.items():
        if key in _FROM and isinstance(value, (list, tuple)) and not value:
            return f"{key} is empty; expected what {_FROM[key]} gives"
        for one in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(one, xr.DataArray) or (isinstance(one, xr.Dataset) and key in _COHORTS):
                fault = fault_of(one)
                if fault:
                    return f"{key} {fault}" + (f"; expected what {_FROM[key]} gives" if key in _FROM else "")
    lacking = re.search(r"No variable named '?([^'.]+)'?\.", str(error))
    return f"the data have no variable {lacking.group(1)!r}; expected {_FROM['cohort']}" if lacking else None


def fault_of(data: xr.Dataset | xr.DataArray) -> str | None:
    """What keeps a cohort, or what was made of one, from being used, in words; None where nothing does."""
    for name in ("excluded", "landmarks_changed", "template"):
        try:
            json.loads(data.attrs.get(name, "[]"))
        except (TypeError, ValueError):
            return f"has an attribute {name!r} that is no JSON"
    if "record" not in data.dims:
        one = f"; use cohort.sel(record=[{str(data['record'].values)!r}])" if "record" in data.coords else ""
        return f"has no dimension 'record', but {', '.join(map(str, data.dims)) or 'none'}{one}"
    names = data["record"].values
    if not len(names):
        return "holds no record"
    if len(set(names.tolist())) < len(names):
        return f"has record {str(pd.Series(names)[pd.Series(names).duplicated()].iloc[0])!r} twice"
    for name, labels in (("lead", LEADS), ("landmark", LANDMARKS)):
        if name in data.dims and tuple(data[name].values.tolist()) != labels:
            return f"has other {name}s than {', '.join(labels)}"
    if "time" in data.dims and not np.array_equal(data["time"].values, TIME):
        return f"has times other than {TIME[0]:.0f} to {TIME[-1]:.0f} ms in {len(TIME)} steps"
    if isinstance(data, xr.Dataset):
        for name, dims in {"beat": {"record", "lead", "time"}, "fiducial": {"record", "landmark"}}.items():
            if name not in data:
                return f"has no variable {name!r}"
            if set(data[name].dims) != dims:
                return f"has {name!r} over {', '.join(map(str, data[name].dims))} in place of {', '.join(sorted(dims))}"
        if lacking := [c for c in ("lead", "time", "landmark", "patient") if c not in data.coords]:
            return f"has no coordinate {lacking[0]!r}"
        fs = data.attrs.get("fs", 500)
        if not isinstance(fs, (int, float, np.number)) or not fs > 0:
            return f"has the sampling rate {fs!r}; a positive number of Hz is needed"
        columns = {n: data[n] for n in ("beat", "fiducial", *TARGETS, "male", "age") if n in data}
    else:
        columns = {"values": data}
    for name, column in columns.items():
        if column.dtype.kind not in "fiub":
            return f"has {name!r} as {column.dtype} in place of numbers"
        if not np.isfinite(column.values).any():
            return f"has {name!r} missing in every record"
        if np.isinf(column.values).any() or np.abs(np.nan_to_num(column.values.astype(float))).max() > _ABSURD:
            return f"has {name!r} with infinite or absurdly large values"
    if "hr" in columns and (columns["hr"].values <= 0).any():
        return "has heart rates of 0 bpm or less"
    for name, column in columns.items():
        if np.nanmin(column.values) == np.nanmax(column.values):
            return f"has {name!r} the same in every record"
    marks = data["fiducial"].values if "fiducial" in data and isinstance(data, xr.Dataset) else np.zeros((1, 0))
    rising = all((np.diff(row[np.isfinite(row)]) >= 0).all() for row in marks)
    if not rising or (marks < TIME[0]).any() or (marks > TIME[-1]).any():
        return "has landmarks out of order, or outside the beat"
    if marks.size and (marks[:, [2, 5, 8]] <= marks[:, [0, 3, 6]]).any():
        return "has waves that end where they begin"
    if marks.size and np.isnan(marks).all(axis=1).any():
        return "has records without a single landmark"
    return f"has {len(names)} records; this may be too few" if len(names) < _FEW else None


def _kind(value: Any) -> str:
    told = type(value).__name__
    return f"{told} {value!r}" if isinstance(value, (str, numbers.Number, Path, type(None))) else f"a {told}"


def _said(hint: Any) -> str:
    """A type hint in words: "str or None", "Dataset"."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_said, parts)))
    if hint is type(None):
        return "None"
    return getattr(origin or hint, "__name__", str(hint))


def _short(signature: inspect.Signature) -> str:
    return f"({', '.join(map(str, (p.name for p in signature.parameters.values())))})"
