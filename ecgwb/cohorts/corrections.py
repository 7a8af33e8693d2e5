"""Landmarks moved by hand, one at a time: kept in the cohort and its store, marked as manual, and taken back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
import xarray as xr
import zarr

from ..delineation.landmarks import LANDMARKS
from ..recordings.record import RecordError
from .beats import RHYTHM
from .cohort import put_landmarks
from .measurements import TARGETS
from .sources import cache_dir
from .stores import open_store

_CHANGED = ("fiducial", "doubt", "manual", *TARGETS)  # what moving a landmark may change
_LOG = "landmarks_changed"


def move_landmark(
    cohort: xr.Dataset,
    record: str,
    landmark: str,
    ms: float,
    *,
    source: str = "by hand",
    doubt_ms: float = np.nan,
    store: str | Path | None = None,
) -> xr.Dataset:
    """A cohort with one landmark of one record put where a person says it is.

    Parameters
    ----------
    cohort : Dataset
    record, landmark : str
        ``landmark`` is one of ``wb.LANDMARKS`` but R, which is time zero by definition.
    ms : float
        From the QRS fiducial; NaN says that the wave's landmark is absent.
    source : str
        Who says so.
    doubt_ms : float
        How far they may be off; unknown by default, as a reader says where a wave ends, not how surely.
    store : path, optional
        The Zarr store the cohort was opened from: kept there too. Only this record's landmarks and measurements are
        written, under a lock, so that what others kept of other records stays.

    Returns
    -------
    Dataset
        ``fiducial`` and ``doubt`` of that landmark changed, ``manual`` (record, landmark) True there, and PR, QRS, QT
        and the voltages of that record measured anew. ``attrs["landmarks_changed"]`` lists what was moved, by whom,
        from where and to where. The cohort given is unchanged, and large variables are neither copied nor read.

    Raises
    ------
    RecordError
        For an unknown record or landmark, landmarks out of order or outside the beat, or a store that holds something
        else.
    """
    record = str(record)
    return _change(cohort, record, store, lambda c: _moved(c, record, landmark, ms, source, doubt_ms))


def undo_landmark(cohort: xr.Dataset, record: str, landmark: str, *, store: str | Path | None = None) -> xr.Dataset:
    """The cohort before the last `move_landmark` of that record's landmark.

    Parameters
    ----------
    cohort : Dataset
        As `move_landmark` returned it.
    record, landmark : str
        Which one.
    store : path, optional
        The Zarr store the cohort was opened from: taken back there too.

    Returns
    -------
    Dataset
        The landmark, its doubt and its mark as they were, the record measured anew, and the move struck from
        ``attrs["landmarks_changed"]``. The cohort given is unchanged.

    Raises
    ------
    RecordError
        When there is no such move to undo, the record's landmarks would then be out of order, or the store holds
        something else.
    """
    record = str(record)
    return _change(cohort, record, store, lambda c: _taken_back(c, record, landmark))


def _moved(cohort: xr.Dataset, record: str, landmark: str, ms: float, source: str, doubt_ms: float) -> xr.Dataset:
    if doubt_ms < 0:
        raise RecordError(f"doubt_ms is {doubt_ms}; expected 0 or more, or NaN")
    one = put_landmarks(_alone(cohort, record), pd.DataFrame({landmark: [float(ms)]}, index=[record]), source)
    k = LANDMARKS.index(landmark)
    one["doubt"].values[0, k] = doubt_ms
    i = _row(cohort, record)
    log = json.loads(one.attrs[_LOG])
    log[-1] |= {
        "from_ms": _or_none(cohort["fiducial"].values[i, k]),
        "to_ms": _or_none(ms),
        "from_doubt_ms": _or_none(cohort["doubt"].values[i, k]),
        "from_manual": bool(cohort["manual"].values[i, k]) if "manual" in cohort else False,
    }
    return _with_row(cohort, one, i, log)


def _taken_back(cohort: xr.Dataset, record: str, landmark: str) -> xr.Dataset:
    log = json.loads(cohort.attrs.get(_LOG, "[]"))
    mine = [k for k, e in enumerate(log) if "from_ms" in e and (e["records"], e["landmarks"]) == ([record], [landmark])]
    if not mine:
        raise RecordError(f"record {record!r}: {landmark} was not moved by move_landmark; there is nothing to undo")
    since = [e["source"] for e in log[mine[-1] + 1 :] if record in e["records"] and landmark in e["landmarks"]]
    if since:
        raise RecordError(f"record {record!r}: {since[-1]!r} put {landmark} in since it was moved; move it instead")
    last = log.pop(mine[-1])
    back = np.nan if last["from_ms"] is None else last["from_ms"]
    one = put_landmarks(_alone(cohort, record), pd.DataFrame({landmark: [back]}, index=[record]), last["source"])
    k = LANDMARKS.index(landmark)
    one["doubt"].values[0, k] = np.nan if last["from_doubt_ms"] is None else last["from_doubt_ms"]
    one["manual"].values[0, k] = last["from_manual"]
    return _with_row(cohort, one, _row(cohort, record), log)


# ---------------------------------------------------------------- one record of a cohort


def _row(cohort: xr.Dataset, record: str) -> int:
    at = np.flatnonzero(cohort["record"].values.astype(str) == record)
    if not len(at):
        raise RecordError(f"no record {record!r} in the cohort; cohort['record'] lists them")
    return int(at[0])


def _alone(cohort: xr.Dataset, record: str) -> xr.Dataset:
    return cohort.drop_vars(RHYTHM, errors="ignore").isel(record=[_row(cohort, record)])


def _with_row(cohort: xr.Dataset, one: xr.Dataset, i: int, log: list[dict[str, Any]]) -> xr.Dataset:
    """The cohort with row `i` of the changed variables from `one`; all else is shared with it."""
    out = cohort.copy()
    for name in _CHANGED:
        like = cohort[name] if name in cohort else xr.zeros_like(cohort["fiducial"], dtype=bool).drop_attrs()
        values = like.values.copy()
        values[i] = one[name].values[0]
        out[name] = like.copy(data=values)
    out.attrs = {k: v for k, v in cohort.attrs.items() if k != _LOG}
    return out.assign_attrs({_LOG: json.dumps(log, ensure_ascii=False)} if log else {})


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


# ---------------------------------------------------------------- the store


def _change(
    cohort: xr.Dataset, record: str, store: str | Path | None, how: Callable[[xr.Dataset], xr.Dataset]
) -> xr.Dataset:
    changed = how(cohort)
    if store is None:
        return changed
    place = Path(store).resolve()
    if place.is_relative_to(cache_dir().resolve()):
        raise RecordError(
            f"{store} is the cache of an embedded cohort, which every session opens; store a copy of your own with "
            "cohort.to_zarr('mine.zarr', zarr_format=2) and open that"
        )
    if not place.is_dir():
        raise RecordError(f"no store at {store}; expected the Zarr folder that the cohort was opened from")
    with filelock.FileLock(place.with_name(place.name + ".lock")):
        kept = open_store(place)
        i, here = _row(kept, record), _row(cohort, record)
        if not np.array_equal(kept["fiducial"].values[i], cohort["fiducial"].values[here], equal_nan=True):
            raise RecordError(
                f"record {record!r} has other landmarks in {store} than here: somebody moved them since it was opened. "
                "Open it again and look at them first"
            )
        _write(place, how(kept))
    return changed


def _write(store: Path, cohort: xr.Dataset) -> None:
    group = zarr.open_group(store, mode="r+", zarr_format=2, use_consolidated=False)
    # The log first: with it, a write that was cut short is made whole by the same call or taken back.
    group.attrs[_LOG] = cohort.attrs.get(_LOG, "[]")
    # A chunk of nothing but False or NaN is written too: a missing one means a broken store.
    with zarr.config.set({"array.write_empty_chunks": True}):
        for name in _CHANGED:
            values = cohort[name].values
            if name not in group:
                dims: Any = {"_ARRAY_DIMENSIONS": list(map(str, cohort[name].dims))}
                # Without a fill value, which would be read back as missing.
                group.create_array(
                    name, shape=values.shape, chunks=values.shape, dtype=values.dtype, attributes=dims, fill_value=None
                )
            array: Any = group[name]
            array[:] = values
    zarr.consolidate_metadata(store, zarr_format=2)
