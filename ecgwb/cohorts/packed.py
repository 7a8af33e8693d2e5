"""Packed cohorts: one small file for thousands of recordings made at 100 Hz, opened as a store.

A beat of such recordings holds nothing above 50 Hz, so it is kept as the 100 Hz samples of a band-limited curve, in
whole µV. Landmarks and measurements are kept to a tenth of their unit.
"""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..recordings.record import RecordError
from .beats import BEAT_COORDS, RHYTHM, need_records
from .building import COORDS, FORM
from .measurements import TIME
from .stores import CHUNK, remove, write

PACKED = {"ptbxl": Path(__file__).parent / "data" / "ptbxl-1.0.3-100hz.xz"}
"""The embedded cohorts that are packed."""
STEP_MS, REACH = 10.0, 10  # of the samples kept, and how many of them to either side a moment's voltage follows from
_BEYOND = 2  # samples kept on either side of the beat
_RIDGE = 0.01  # keeps these few from growing
_STEPS = {"ms": 0.1, "µV": 0.1, "bpm": 0.01}  # in which numbers with a unit are kept; others: 1e-4
_UNKNOWN = np.iinfo(np.int32).min


def pack(cohort: xr.Dataset, file: Path) -> None:
    """Write a cohort's beats, landmarks, measurements and metadata into one small file; whole recordings are left out.

    Parameters
    ----------
    cohort : Dataset
        As from `build_cohort`, of recordings at 100 Hz: what is above 50 Hz is lost.
    file : Path
    """
    need_records(cohort)
    cohort = cohort.drop_vars([name for name in RHYTHM if name in cohort])
    arrays = {"beat": _planes(_differences(_kept(cohort["beat"].values)))}
    texts: dict[str, list[str]] = {}
    for name, v in cohort.variables.items():
        if name == "beat" or v.dims[:1] != ("record",):
            continue
        if v.dtype.kind in "UO":
            texts[str(name)] = [str(x) for x in v.values]
        else:
            arrays[str(name)] = _planes(_whole_steps(v.values.astype(float), _step(v.attrs)))
    whole = [name for name in arrays if cohort[name].dtype.kind == "i"]
    arrays["texts"] = np.frombuffer(json.dumps([texts, whole, cohort.attrs], ensure_ascii=False).encode(), "u1")
    plain = io.BytesIO()
    np.savez(plain, **arrays)  # type: ignore[arg-type]
    file.write_bytes(lzma.compress(plain.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def unpack(file: Path, store: Path) -> None:
    """Write a packed cohort as a store, whole or not at all; one process at a time.

    Parameters
    ----------
    file : Path
        As `pack` wrote it.
    store : Path

    Raises
    ------
    RecordError
        When the file is damaged.
    """
    try:
        with np.load(io.BytesIO(lzma.decompress(file.read_bytes()))) as packed:
            arrays = {name: packed[name] for name in packed.files}
    except (OSError, ValueError, lzma.LZMAError, EOFError) as e:
        raise RecordError(f"{file} is damaged ({e}); install ecgwb again") from e
    texts, whole, attrs = json.loads(arrays.pop("texts").tobytes())
    kept = np.cumsum(_joined(arrays.pop("beat"), "<i2"), axis=-1, dtype=np.int16)
    variables: dict[str, Any] = {}
    for name, planes in arrays.items():
        dims, given = FORM[name]
        x = _joined(planes, "<i4")
        values = np.where(x == _UNKNOWN, np.nan, x * _step(given))
        variables[name] = (("record", *dims), np.rint(values).astype(int) if name in whole else values, given)
    variables |= {name: (("record", *FORM[name][0]), np.array(v), FORM[name][1]) for name, v in texts.items()}
    cohort = xr.Dataset(variables, coords=BEAT_COORDS, attrs=attrs)
    cohort = cohort.set_coords([name for name in COORDS if name in cohort])
    store.parent.mkdir(parents=True, exist_ok=True)
    place = store.with_name(store.name + ".unpacking")
    remove(place)  # what a killed process left
    beats = (_at_500_hz(kept[i : i + CHUNK]) for i in range(0, len(kept), CHUNK))
    write(cohort, {"beat": beats}, FORM, place)
    place.rename(store)


# ---------------------------------------------------------------- beats


@cache
def _curve() -> np.ndarray:
    """(time, sample kept): what each kept sample adds to each moment; a sinc under a Kaiser window, cut at 50 Hz."""
    kept = np.arange(TIME[0] - _BEYOND * STEP_MS, TIME[-1] + (_BEYOND + 1) * STEP_MS, STEP_MS)
    away = (TIME[:, None] - kept) / STEP_MS
    window = np.i0(5.0 * np.sqrt(np.clip(1 - (away / REACH) ** 2, 0, None))) / np.i0(5.0)
    return np.where(np.abs(away) < REACH, np.sinc(away) * window, 0.0)


def _kept(beats: np.ndarray) -> np.ndarray:
    """The samples (record, lead, sample) whose curve is nearest to beats (record, lead, time), whole µV."""
    curve = _curve()
    solve = np.linalg.solve(curve.T @ curve + _RIDGE * np.eye(curve.shape[1]), curve.T)
    return np.rint(np.clip(beats.astype(float) @ solve.T, -32767, 32767)).astype(np.int16)


def _at_500_hz(kept: np.ndarray) -> np.ndarray:
    return (kept @ _curve().T).astype(np.float32)


# ---------------------------------------------------------------- numbers in few bytes


def _step(attrs: Mapping[str, Any]) -> float:
    return _STEPS.get(attrs.get("units", ""), 1e-4)


def _whole_steps(x: np.ndarray, step: float) -> np.ndarray:
    return np.where(np.isfinite(x), np.rint(np.nan_to_num(x) / step), _UNKNOWN).astype("<i4")


def _differences(x: np.ndarray) -> np.ndarray:
    """Along time, in 16 bits: what overflows comes back when they are summed in 16 bits."""
    return np.diff(x, axis=-1, prepend=np.zeros_like(x[..., :1])).astype("<i2")


def _planes(x: np.ndarray) -> np.ndarray:
    """(byte, ...): the lowest bytes of all first, the highest last, which compresses better."""
    return np.moveaxis(np.ascontiguousarray(x).view("u1").reshape(*x.shape, x.itemsize), -1, 0)


def _joined(planes: np.ndarray, kind: str) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view(kind)[..., 0]
