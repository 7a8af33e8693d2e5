"""Stores: a cohort written part by part, so that nothing finished is lost and never more than a part is in memory.

While a cohort is built, ``NAME.building`` lies beside its place ``NAME``: a lock, and one file for every chunk of
records that is done. The finished cohort is put together there and moved to its place whole: it is complete or absent.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
LARGE = ("beat", "rhythm", "cycle_fiducial", "cycle_used")  # read and written chunk by chunk; the rest fits in memory
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
        who = owner.read_text() if owner.is_file() else "another process"
        raise RecordError(f"{out} is being built by {who}; wait for it, or choose another place") from None
    except OSError as e:
        if e.errno not in _NO_ROOM:
            raise
        done = len(list(place.glob("*.npz")))
        raise RecordError(
            f"no room to store {out} ({e.strerror}): {shutil.disk_usage(out.parent).free / 2**20:.0f} MB are free. "
            f"The {done} chunks that are done are kept in {place}; make room and run the same call again"
        ) from e
    finally:
        lock.release()


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


def remove(place: Path) -> None:
    """Take the folder of a build that is complete away."""
    shutil.rmtree(place, ignore_errors=True)


def is_whole(file: Path) -> bool:
    """Whether a part is there and can be opened."""
    try:
        with open(file, "rb") as f, np.load(f) as part:
            return "failures" in part
    except (OSError, ValueError, zipfile.BadZipFile):
        return False


def load_part(file: Path, names: Callable[[str], bool]) -> Part:
    """The variables of a stored part whose name is wanted."""
    try:
        with open(file, "rb") as f, np.load(f) as part:
            return {k: part[k] for k in part.files if names(k)}
    except (ValueError, zipfile.BadZipFile) as e:
        raise RecordError(f"{file} is damaged ({e}); delete it and run the same call again") from e


# ---------------------------------------------------------------- parts into a cohort


def put_together(
    parts: Iterable[Callable[[Callable[[str], bool]], Part]],
    form: Form,
    coords: Sequence[str],
    attrs: Callable[[list[dict[str, str]]], dict[str, Any]],
    store: Path | None = None,
) -> xr.Dataset:
    """One cohort of all parts: in memory, or at `store` as Zarr, then without its large variables.

    Parameters
    ----------
    parts : iterable of functions
        Each gives those variables of its part whose name is wanted.
    form : mapping
        Dims and attributes of every variable.
    attrs : function
        The cohort's attributes, from the list of records left out.
    """
    parts = list(parts)
    small = [part(lambda name: name not in LARGE) for part in parts]
    described = attrs([f for part in small for f in json.loads(str(part.pop("failures")))])
    cycles = max(int(part.pop("cycles")) for part in small)
    filled = [k for k, part in enumerate(small) if part]
    small = [small[k] for k in filled]
    n = sum(len(part["record"]) for part in small)
    names = dict.fromkeys(name for part in small for name in part)
    values = {name: np.concatenate([_or_unknown(part, name, small) for part in small]) for name in names}
    cohort = xr.Dataset(
        {k: (("record", *form[k][0]), v, form[k][1]) for k, v in values.items()}, coords=BEAT_COORDS, attrs=described
    ).set_coords(coords)
    shapes = {k: tuple(_length(d, cohort, cycles) for d in form[k][0]) for k in LARGE}
    if store is None:
        large: dict[str, Any] = {k: np.full((n, *shape), np.nan, _dtype(k)) for k, shape in shapes.items()}
    else:
        # Zarr format 2: format 3 has no settled text type yet.
        whole = {str(k): {"chunks": v.shape} for k, v in cohort.variables.items()}
        cohort = cohort.assign_attrs({_EVERY_CHUNK: True})
        cohort.to_zarr(store, mode="w", zarr_format=2, consolidated=False, encoding=whole, write_empty_chunks=True)
        group = zarr.open_group(store, mode="a", zarr_format=2, use_consolidated=False)
        large = {
            k: group.create_array(
                k,
                shape=(n, *shape),
                chunks=(min(CHUNK, n), *shape),
                dtype=_dtype(k),
                fill_value=np.nan,
                config={"write_empty_chunks": True},
                attributes={"_ARRAY_DIMENSIONS": ["record", *form[k][0]], **form[k][1]},
            )
            for k, shape in shapes.items()
        }
    for k in LARGE:
        blocks = (_padded(parts[i](k.__eq__)[k], shapes[k]) for i in filled)
        at = 0
        for block in _of_size(blocks, CHUNK):
            large[k][at : at + len(block)] = block
            at += len(block)
    if store is None:
        return cohort.assign({k: (("record", *form[k][0]), v, form[k][1]) for k, v in large.items()})
    zarr.consolidate_metadata(store, zarr_format=2)
    return cohort


def _length(dim: str, cohort: xr.Dataset, cycles: int) -> int:
    return {"cycle": cycles, "sample": RHYTHM_SAMPLES}[dim] if dim in ("cycle", "sample") else cohort.sizes[dim]


def _dtype(name: str) -> np.dtype:
    return np.dtype(np.float64 if name == "cycle_fiducial" else np.float32)


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
    """A finished cohort, its large variables still on the disk.

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
            if name not in LARGE:
                variable.load()
    except Exception as e:  # zarr's errors differ by what is broken; the reader needs the place and the fix
        raise RecordError(f"{store} is not a readable cohort ({type(e).__name__}: {e}); build it again") from e
    if "beat" not in cohort or "fiducial" not in cohort:
        raise RecordError(f"{store} holds no beats and landmarks; expected a store made by build_cohort")
    # Zarr reads a missing chunk as NaN, and leaves out chunks of nothing but NaN where it is not told otherwise.
    told = cohort.attrs.pop(_EVERY_CHUNK, False)
    for name, array in arrays.items():
        if (told or name in _NEVER_EMPTY) and array.nchunks_initialized < array.nchunks:
            raise RecordError(
                f"{store} lacks {array.nchunks - array.nchunks_initialized} of the {array.nchunks} chunks of {name!r}; "
                "fetch it again, or remove it and build it again"
            )
    return cohort.drop_encoding()  # so that a changed cohort can be stored again in any format
