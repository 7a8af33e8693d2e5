"""From a source to a cohort, chunk by chunk: here or on a cluster's workers, and going on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cache, partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from tqdm.auto import tqdm

from ..delineation.annotations import ludb_out_of_fold
from ..recordings.filters import FILTERS
from ..recordings.record import FS, RecordError
from . import stores
from .chunks import COORDS, FORM, build_chunk
from .sources import Item, Source
from .stores import Part

THREADS = 2


def build_at(out: Path, found: Source, client: Any = None) -> None:
    """The finished cohort at `out`: built, gone on with, or found there complete."""
    with stores.building(out) as place:
        if out.exists():
            _same_or_refuse(out, found)
        else:
            build(found, client, place)
            (place / "store").rename(out)
    stores.remove(place)


def build(found: Source, client: Any = None, place: Path | None = None) -> xr.Dataset:
    """The cohort, in memory or as the Zarr store ``place/store``."""
    waves = ludb_out_of_fold() if found.name == "ludb" else None
    inputs = Inputs(found)
    total = len(found.items) if isinstance(found.items, list) else None
    parts: dict[int, Callable[[Callable[[str], bool]], Part]] = {}
    with tqdm(total=total, desc=found.name, unit="record") as bar:

        def to_do() -> Iterator[tuple[int, Path | None, list[Item]]]:
            for number, (chunk, key) in enumerate(inputs.chunks()):
                file = stores.part_file(place, number, key) if place is not None else None
                if file is not None and stores.is_whole(file):
                    parts[number] = partial(stores.load_part, file)
                    bar.update(len(chunk))
                else:
                    yield number, file, chunk

        for number, file, n, part in _results(to_do(), partial(build_chunk, waves=waves), client):
            if file is None:
                parts[number] = partial(_pick, part)
            else:
                stores.save_part(file, part)
                parts[number] = partial(stores.load_part, file)
            bar.update(n)
    unjoined = inputs.check()

    def attrs(left_out: list[dict[str, str]]) -> dict[str, Any]:
        if len(left_out) == inputs.n:
            first = left_out[0]
            raise RecordError(
                f"{found.name}: none of {inputs.n} recordings could be used; "
                f"record {first['record']!r} failed at step {first['step']!r}: {first['reason']}"
            )
        return {
            "source": found.name,
            "credit": found.credit,
            "sha256": inputs.sha256,
            "landmarks": "ecgwb" if waves is None else "out-of-fold",
            "filters": FILTERS,
            "fs": FS,
            "units": "time ms, voltage µV, rate bpm",
            "ecgwb": version("ecgwb"),
            "inputs": inputs.digest,
            "excluded": json.dumps(left_out, ensure_ascii=False),
            "metadata_without_record": json.dumps(unjoined),
        }

    in_order = [parts[k] for k in sorted(parts)]
    return stores.put_together(in_order, FORM, COORDS, attrs, None if place is None else place / "store")


class Inputs:
    """The recordings of a source chunk by chunk, and digests of what a cohort of them is made from."""

    def __init__(self, found: Source) -> None:
        self.found, self.n, self.names = found, 0, set[str]()
        self._all, self._content = hashlib.sha256(recipe().encode()), hashlib.sha256()

    def chunks(self) -> Iterator[tuple[list[Item], str]]:
        """Each chunk with a key of its own: the recipe, the recordings and their metadata."""
        items = iter(self.found.items)
        while chunk := list(islice(items, stores.CHUNK)):
            for item in chunk:
                if item.record_id in self.names:
                    raise RecordError(f"{self.found.name}: record {item.record_id!r} occurs twice; names must differ")
                self.names.add(item.record_id)
                self._all.update(json.dumps([item.record_id, item.metadata], sort_keys=True).encode())
                self._content.update(item.fingerprint.encode())
            self.n += len(chunk)
            told = [[i.record_id, i.fingerprint, i.metadata] for i in chunk]
            yield chunk, recipe() + json.dumps(told, sort_keys=True)

    def check(self) -> list[str]:
        """The metadata rows without a recording, once all chunks were asked for.

        Raises
        ------
        RecordError
            When there was no recording, or no metadata row fits one.
        """
        if not self.n:
            raise RecordError(f"{self.found.name}: no recordings found; expected WFDB records (.hea with .dat or .mat)")
        unjoined = sorted(self.found.rows - self.names)
        if unjoined and len(unjoined) == len(self.found.rows):
            raise RecordError(f"{self.found.name}: no metadata row fits a record; metadata names {unjoined[0]!r}")
        return unjoined

    @property
    def sha256(self) -> str:
        return self.found.sha256 or self._content.hexdigest()

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self._all.hexdigest()} {self.sha256} {self.found.name}".encode()).hexdigest()


def _same_or_refuse(out: Path, found: Source) -> None:
    """Nothing where `out` is the finished cohort of this very source, metadata and recipe.

    Raises
    ------
    RecordError
        When it is anything else.
    """
    try:
        made_from = xr.open_zarr(out, chunks=None).attrs.get("inputs")
    except Exception:  # whatever lies there, it is no cohort
        made_from = None
    inputs = Inputs(found)
    if made_from is not None:
        for _ in inputs.chunks():
            pass
    if made_from != inputs.digest:
        what = "another source, metadata or version of ecgwb made it" if made_from else "it is no finished cohort"
        raise RecordError(f"{out} exists already, and {what}; choose another place or remove it first")


def _results(
    to_do: Iterable[tuple[int, Path | None, list[Item]]], work: Callable[[list[Item]], Part], client: Any
) -> Iterator[tuple[int, Path | None, int, Part]]:
    """Each chunk's number, file, number of records and part, in the order they finish."""
    # Here, one thread's network runs while the other's beats are found; a client has workers of its own.
    executor = ThreadPoolExecutor(THREADS) if client is None else client.get_executor(pure=False)
    torch_threads = torch.get_num_threads()
    if client is None:
        torch.set_num_threads(1)  # threads of threads would wait for each other
    # Some work ahead for every thread, but never the whole source: chunks of records may hold signals.
    ahead = THREADS if client is None else 2 * max(sum(client.nthreads().values()), 1)
    waiting: dict[Future, tuple[int, Path | None, int]] = {}

    def finished() -> Iterator[tuple[int, Path | None, int, Part]]:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            yield *waiting.pop(future), future.result()

    try:
        for number, file, chunk in to_do:
            waiting[executor.submit(work, chunk)] = number, file, len(chunk)
            if len(waiting) >= ahead:
                yield from finished()
        while waiting:
            yield from finished()
    finally:
        for future in waiting:
            future.cancel()
        executor.shutdown(wait=True)
        torch.set_num_threads(torch_threads)


def _pick(part: Part, names: Callable[[str], bool]) -> Part:
    return {k: v for k, v in part.items() if names(k)}


@cache
def recipe() -> str:
    """Key of a cached cohort, and of a chunk: the code and weights that make it. A change to either builds it anew."""
    house = Path(__file__).parents[1]
    rooms = [house / room for room in ("recordings", "delineation", "cohorts")]
    files = [
        f for room in rooms for kind in ("*.py", "weights/*") for f in sorted(room.glob(kind)) if f.suffix != ".md"
    ]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]
