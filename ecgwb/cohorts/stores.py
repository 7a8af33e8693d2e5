"""Stores: a cohort written part by part, so that nothing finished is lost and never more than a part is in memory.

While a cohort is built, ``NAME.building`` lies beside its place ``NAME``: a lock, and one file for every chunk of
records that is done. The finished cohort is put together there and moved to its place whole: it is complete or absent.

xarray's ``to_zarr(append_dim="record")`` would be shorter, but a kill within an append leaves arrays of different
lengths, texts are cut to the length of the first part's, and no part may bring a variable or more heart cycles.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import socket
import warnings
import zipfile
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import xarray as xr
import zarr

from ..recordings.record import FS, RecordError
from .beats import BEAT_COORDS

CHUNK = 50  # records built, and stored, together
RHYTHM_SAMPLES = 10 * FS
LARGE = {  # built, written and read chunk by chunk
    "beat": np.float32,
    "rhythm": np.float32,
    "cycle_fiducial": np.float64,
    "cycle_used": np.float32,
}
_MIDDLING = 50  # bytes a record: of more, such as texts and what each lead has, some records are read at a time
_AT_ONCE = 1024  # so many
_ALWAYS = ("record", "patient", "samples", "fiducial")  # every step takes them whole
_EVERY_CHUNK = "every_chunk_is_stored"
_NEVER_EMPTY = ("record", "beat", "fiducial")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Part = dict[str, np.ndarray]  # every variable of some records, the record first; ``failures`` holds JSON
Form = Mapping[str, tuple[tuple[str, ...], dict[str, str]]]  # each variable's further dims, and its attributes


@contextlib.contextmanager
def building(out: Path) -> Iterator[Path]:
    """The folder in which the cohort `out` is being built, held by one process at a time.

    The lock is the operating system's (``flock``): it goes with its owner, however that ends.

    Raises
    ------
    RecordError
        When another process holds it, or the disk is full.
    """
    place = out.with_name(out.name + ".building")
    lock = filelock.FileLock(place / "lock")
    owner = place / "owner.txt"
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield place
    except filelock.Timeout:
        holder = owner.read_text() if owner.is_file() else "another process"
        raise RecordError(f"{out} is being built by {holder}; wait for it, or choose another place") from None
    except OSError as e:
        if e.errno not in _NO_ROOM:
            raise
        free = shutil.disk_usage(out.parent).free / 2**20
        raise RecordError(
            f"no room to store {out} ({e.strerror}): {free:.0f} MB are free. Make room and run the same call again; it "
            f"goes on from the chunks that {place} holds"
        ) from e
    finally:
        lock.release()


def remove(place: Path) -> None:
    """Take the folder of a build that is complete away."""
    shutil.rmtree(place, ignore_errors=True)


# ---------------------------------------------------------------- parts


def part_file(place: Path, number: int, key: str) -> Path:
    """Where a chunk's part is kept: under what it was made from, so that a part of something else never fits."""
    return place / f"{number:06d}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"


def save_part(file: Path, part: Part) -> None:
    """Written beside its place, flushed to the disk and moved there: a part is whole or absent."""
    temporary = file.with_suffix(".tmp")
    with open(temporary, "wb") as f:
        np.savez(f, **part)  # type: ignore[arg-type]
        f.flush()
        os.fsync(f.fileno())
    temporary.replace(file)


def is_whole(file: Path) -> bool:
    """Whether a part is there and can be opened."""
    try:
        with open(file, "rb") as f, np.load(f) as part:
            return "failures" in part
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def load_part(file: Path, wanted: Callable[[str], bool]) -> Part:
    """The variables of a stored part whose name is wanted; no other is read."""
    try:
        with open(file, "rb") as f, np.load(f) as part:
            return {name: part[name] for name in part.files if wanted(name)}
    except (ValueError, zipfile.BadZipFile) as e:
        raise RecordError(f"{file} is damaged ({e}); delete it and run the same call again") from e


# ---------------------------------------------------------------- parts into a cohort


def failures(files: Sequence[Path]) -> list[dict[str, str]]:
    """The records that were left out of the parts."""
    return [failure for file in files for failure in json.loads(str(load_part(file, "failures".__eq__)["failures"]))]


def columns(files: Sequence[Path], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Some variables (record,) of all parts."""
    parts = [load_part(file, lambda name: name in names) for file in files]
    return {name: np.concatenate([part[name] for part in parts if name in part]) for name in names}


def put_together(
    files: Sequence[Path], form: Form, coords: Sequence[str], attrs: Mapping[str, Any], store: Path
) -> None:
    """One cohort of all parts, as Zarr.

    Parameters
    ----------
    files : sequence of Path
        The parts, in the order of their records.
    form : mapping
        Further dims and attributes of every variable.
    coords : sequence of str
        Variables that are coordinates.
    attrs : mapping
        The cohort's attributes.
    store : Path
    """
    parts = [load_part(file, lambda name: name not in (*LARGE, "failures")) for file in files]
    cycles = max(int(part.pop("cycles")) for part in parts)
    files = [file for file, part in zip(files, parts, strict=True) if part]  # of some, no record could be used
    parts = [part for part in parts if part]
    names = dict.fromkeys(name for part in parts for name in part)
    values = {name: np.concatenate([_or_unknown(part, name, parts) for part in parts]) for name in names}
    cohort = xr.Dataset(
        {name: (("record", *form[name][0]), v, form[name][1]) for name, v in values.items()},
        coords=BEAT_COORDS,
        attrs=attrs,
    ).set_coords(coords)
    sizes = {**cohort.sizes, "cycle": cycles, "sample": RHYTHM_SAMPLES}

    def blocks(name: str) -> Iterator[np.ndarray]:
        shape = tuple(sizes[dim] for dim in form[name][0])
        return (_padded(load_part(file, name.__eq__)[name], shape) for file in files)

    write(cohort, {name: blocks(name) for name in LARGE}, form, store)


def write(cohort: xr.Dataset, blocks: Mapping[str, Iterable[np.ndarray]], form: Form, store: Path) -> None:
    """A cohort as Zarr.

    Parameters
    ----------
    cohort : Dataset
        All but its large variables.
    blocks : mapping of iterable of array (record, ...)
        The large variables, of some records after others.
    form : mapping
        As for `put_together`.
    store : Path
    """
    # Zarr format 2: format 3 has no settled text type yet.
    chunks = {
        str(name): {"chunks": (min(_AT_ONCE, len(v)), *v.shape[1:]) if _is_middling(name, v) else v.shape}
        for name, v in cohort.variables.items()
    }
    cohort = cohort.assign_attrs({_EVERY_CHUNK: True})
    cohort.to_zarr(store, mode="w", zarr_format=2, consolidated=False, encoding=chunks, write_empty_chunks=True)
    n = cohort.sizes["record"]
    for name, parts in blocks.items():
        array, start = None, 0
        for block in _of_size(parts, CHUNK):
            if array is None:
                array = zarr.open_group(store, mode="a", zarr_format=2, use_consolidated=False).create_array(
                    name,
                    shape=(n, *block.shape[1:]),
                    chunks=(min(CHUNK, n), *block.shape[1:]),
                    dtype=LARGE[name],
                    fill_value=np.nan,
                    config={"write_empty_chunks": True},
                    attributes={"_ARRAY_DIMENSIONS": ["record", *form[name][0]], **form[name][1]},
                )
            array[start : start + len(block)] = block
            start += len(block)
    zarr.consolidate_metadata(store, zarr_format=2)


def _is_middling(name: Hashable, variable: xr.Variable) -> bool:
    """Whether it may stay on the disk until it is used; of texts, each takes the room of the longest in memory."""
    of_records = variable.dims[:1] == ("record",) and name not in _ALWAYS
    return of_records and variable.dtype.itemsize * math.prod(variable.shape[1:]) > _MIDDLING


def _or_unknown(part: Part, name: str, others: list[Part]) -> np.ndarray:
    """A part's variable; unknown (NaN) where none of its records has it and others' do."""
    if name in part:
        return part[name]
    like = next(p[name] for p in others if name in p)
    return np.full((len(part["record"]), *like.shape[1:]), np.nan)


def _padded(block: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    missing = [(0, n - have) for n, have in zip(shape, block.shape[1:], strict=True)]
    return np.pad(block, [(0, 0), *missing], constant_values=np.nan)


def _of_size(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """The same rows in blocks of one size, so that a stored chunk is written once."""
    held: np.ndarray | None = None
    for block in blocks:
        held = block if held is None else np.concatenate([held, block])
        while len(held) >= size:
            yield held[:size]
            held = held[size:]
    if held is not None and len(held):
        yield held


# ---------------------------------------------------------------- finished stores


def open_store(store: Path) -> xr.Dataset:
    """A finished cohort, its large variables, and of many records the middling ones, still on the disk.

    Raises
    ------
    RecordError
        When there is no readable cohort.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what zarr has to say of a broken store, the error says
            cohort = xr.open_zarr(store, chunks=None)
            arrays = dict(zarr.open_group(store, mode="r").arrays())
        for name, variable in cohort.variables.items():
            stored = variable.encoding.get("chunks", variable.shape)
            if name not in LARGE and not (_is_middling(name, variable) and stored[0] < len(variable)):
                variable.load()
    except Exception as e:  # zarr's errors differ by what is broken; the reader needs the place and the fix
        raise RecordError(f"{store} is not a readable cohort ({type(e).__name__}: {e}); build it again") from e
    if "beat" not in cohort or "fiducial" not in cohort:
        raise RecordError(f"{store} holds no beats and landmarks; expected a store made by build_cohort")
    # Zarr reads a missing chunk as NaN, and leaves out chunks of nothing but NaN where it is not asked to keep them.
    complete = cohort.attrs.pop(_EVERY_CHUNK, False)
    for name, array in arrays.items():
        lacking = array.nchunks - array.nchunks_initialized if complete or name in _NEVER_EMPTY else 0
        if lacking:
            raise RecordError(
                f"{store} lacks {lacking} of the {array.nchunks} chunks of {name!r}; fetch it again, or remove it and "
                "build it again"
            )
    # So that a changed cohort can be stored again in any format; the method for it reads all in older xarray.
    cohort.encoding = {}
    for variable in cohort.variables.values():
        variable.encoding = {}
    return cohort
