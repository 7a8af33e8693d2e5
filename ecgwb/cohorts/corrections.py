"""Landmarks made elsewhere or moved by hand: kept in the cohort and its store, marked as manual, and taken back."""

from __future__ import annotations

import json
import numbers
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
from .cache import cache_dir
from .guards import check, check_landmarks, json_attribute, kind_of
from .measurements import TARGETS, targets
from .stores import open_store

_CHANGED = ("fiducial", "doubt", "manual", *TARGETS)  # what moving a landmark may change
_LOG = "landmarks_changed"


def put_landmarks(cohort: xr.Dataset, landmarks: pd.DataFrame, source: str) -> xr.Dataset:
    """A cohort with landmarks made elsewhere, or corrected by hand; everything measured from them is measured anew.

    Parameters
    ----------
    cohort : Dataset
    landmarks : DataFrame
        Index: records of the cohort. Columns: some of ``wb.LANDMARKS``, ms from the QRS fiducial; NaN means absent.
        Other records and landmarks stay as they are.
    source : str
        Who or what made them, such as "JK by hand"; kept in ``attrs["landmarks_changed"]``.

    Returns
    -------
    Dataset
        ``fiducial`` and the targets changed, ``manual`` (record, landmark) True where a landmark was put in, and its
        ``doubt`` unknown (NaN). The beats are the same, and so is the cohort given.

    Raises
    ------
    TypeError
        When the landmarks are no DataFrame.
    RecordError
        For an unknown record or landmark, a record given twice, or landmarks out of order or outside the beat.
    """
    cohort = check(cohort, "doubt", *TARGETS)
    if not isinstance(landmarks, pd.DataFrame):
        raise TypeError(f"landmarks is {kind_of(landmarks)}; expected a DataFrame, a row a record, a column a landmark")
    names = [str(r) for r in landmarks.index]
    columns = [_number(c) for c in landmarks.columns]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise RecordError(f"record {twice!r} has two rows of landmarks; give one")
    if "R" in landmarks and (landmarks["R"] != 0).any():
        raise RecordError("R is the QRS fiducial, time zero by definition; leave the column out")
    try:
        values = landmarks.to_numpy(float)
    except (TypeError, ValueError) as e:
        raise RecordError(f"a landmark is no number ({e}); expected ms, NaN where a wave is absent") from None
    out = _with_own_landmarks(cohort)
    for name, row in zip(names, values, strict=True):
        _put(out, _row(out, name), columns, row)
    entry = {"source": source, "records": names, "landmarks": list(map(str, landmarks.columns))}
    return _logged(out, [*json_attribute(cohort, _LOG, []), entry])


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
        From the QRS fiducial; NaN means that the wave's landmark is absent.
    source : str
        Who moved it.
    doubt_ms : float
        How far they may be off; unknown by default, as a reader marks where a wave ends, not how surely.
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
    TypeError
        When `ms` or `doubt_ms` is no number.
    RecordError
        For an unknown record or landmark, landmarks out of order or outside the beat, or a store that holds something
        else.
    """
    cohort, record, k = check(cohort, "doubt", *TARGETS), str(record), _number(landmark)
    if landmark == "R":
        raise RecordError("R is the QRS fiducial, time zero by definition; it cannot be moved")
    for name, value in (("ms", ms), ("doubt_ms", doubt_ms)):
        if not isinstance(value, numbers.Real):
            raise TypeError(f"{name} is {kind_of(value)}; expected a number of ms, or NaN")
    if doubt_ms < 0:
        raise RecordError(f"doubt_ms is {doubt_ms}; expected 0 or more, or NaN")

    def moved(before: xr.Dataset) -> xr.Dataset:
        out = _with_own_landmarks(before)
        i = _row(out, record)
        entry = {
            "source": source,
            "records": [record],
            "landmarks": [landmark],
            "from_ms": _or_none(out["fiducial"].values[i, k]),
            "to_ms": _or_none(ms),
            "from_doubt_ms": _or_none(out["doubt"].values[i, k]),
            "from_manual": bool(out["manual"].values[i, k]),
        }
        _put(out, i, [k], [ms], doubt_ms)
        return _logged(out, [*json_attribute(before, _LOG, []), entry])

    return _change(cohort, record, store, moved)


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
    cohort, record, k = check(cohort, "doubt", *TARGETS), str(record), _number(landmark)

    def undone(after: xr.Dataset) -> xr.Dataset:
        log = json_attribute(after, _LOG, [])
        last = log.pop(_last_move(log, record, landmark))
        out = _with_own_landmarks(after)
        doubt = _or_nan(last["from_doubt_ms"])
        _put(out, _row(out, record), [k], [_or_nan(last["from_ms"])], doubt, last["from_manual"])
        return _logged(out, log)

    return _change(cohort, record, store, undone)


def _last_move(log: list[dict[str, Any]], record: str, landmark: str) -> int:
    """Where the log has the last move of a landmark, once nobody has put it elsewhere since."""
    moves = [
        n for n, e in enumerate(log) if "from_ms" in e and (e["records"], e["landmarks"]) == ([record], [landmark])
    ]
    if not moves:
        raise RecordError(f"record {record!r}: {landmark} was not moved by move_landmark; there is nothing to undo")
    since = [e["source"] for e in log[moves[-1] + 1 :] if record in e["records"] and landmark in e["landmarks"]]
    if since:
        raise RecordError(f"record {record!r}: {since[-1]!r} put {landmark} in since it was moved; move it instead")
    return moves[-1]


# ---------------------------------------------------------------- one record of a cohort


def _row(cohort: xr.Dataset, record: str) -> int:
    at = np.flatnonzero(cohort["record"].values.astype(str) == record)
    if not len(at):
        raise RecordError(f"no record {record!r} in the cohort; cohort['record'] lists them")
    return int(at[0])


def _number(landmark: Any) -> int:
    if landmark not in LANDMARKS:
        raise RecordError(f"no landmark {str(landmark)!r}; expected some of {', '.join(LANDMARKS)}")
    return LANDMARKS.index(landmark)


def _with_own_landmarks(cohort: xr.Dataset) -> xr.Dataset:
    """The cohort with copies of what landmarks change; all else, the beats among it, is shared and not read."""
    if "manual" not in cohort:
        cohort = cohort.assign(manual=xr.zeros_like(cohort["fiducial"], dtype=bool).drop_attrs())
    return cohort.assign({name: cohort[name].copy(deep=True) for name in _CHANGED})


def _put(
    cohort: xr.Dataset,
    i: int,
    which: list[int],
    ms: np.ndarray | list[float],
    doubt: float = np.nan,
    manual: bool = True,
) -> None:
    """Landmarks of the record in row `i` set, and what is measured from them measured again, in place."""
    marks = cohort["fiducial"].values[i]
    marks[which] = ms
    check_landmarks(marks[None], cohort["record"].values[[i]])
    cohort["doubt"].values[i, which] = doubt
    cohort["manual"].values[i, which] = manual
    for name, value in targets(cohort["beat"][i].values, marks, float(cohort["hr"][i])).items():
        cohort[name].values[i] = value


def _logged(cohort: xr.Dataset, log: list[dict[str, Any]]) -> xr.Dataset:
    others = {k: v for k, v in cohort.attrs.items() if k != _LOG}
    cohort.attrs = others | ({_LOG: json.dumps(log, ensure_ascii=False)} if log else {})
    return cohort


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


# ---------------------------------------------------------------- the store


def _change(
    cohort: xr.Dataset, record: str, store: str | Path | None, change: Callable[[xr.Dataset], xr.Dataset]
) -> xr.Dataset:
    """The changed cohort; the same change made in its store, unless somebody else changed that record there."""
    changed = change(cohort)
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
        stored = open_store(place)
        theirs, ours = (c["fiducial"].values[_row(c, record)] for c in (stored, cohort))
        if not np.array_equal(theirs, ours, equal_nan=True):
            raise RecordError(
                f"record {record!r} has other landmarks in {store} than here: somebody moved them since it was opened. "
                "Open it again and look at them first"
            )
        _write(place, change(stored))
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
