"""Where a record's milliseconds go, from its file to a stored cohort: LUDB on one thread, step by step.

The workbench's own functions are timed while a cohort is built as `wb.build_cohort` builds it, 50 records in a chunk. A
function's time is its own: what it calls and is timed, too, is taken off.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

STEPS = {  # what is timed under each step: module and name, where it is called
    "read the file": ["cohorts.items.read_record"],
    "filter and resample": ["cohorts.beats.prepare", "delineation.waves.prepare"],
    "delineate: the network": ["delineation.network._logits"],
    "delineate: decode its probabilities": ["delineation.waves.decode"],
    "delineate: the rest": ["cohorts.building.delineate"],
    "representative beat and its landmarks": ["cohorts.building.beat_arrays"],
    "measure": ["cohorts.beats.targets"],
    "metadata, quality and doubts": ["cohorts.building._labelled"],
    "store": ["cohorts.stores.save_part", "cohorts.stores.put_together"],
}
REST = "everything else"


class Watch:
    """Seconds by step, each without those of the steps inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside: list[float] = []  # seconds of timed calls within each open one

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            took = time.perf_counter() - began
            self.seconds[name] += took - self._inside.pop()
            if self._inside:
                self._inside[-1] += took

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            with self.step(name):
                return function(*args, **named)

        return call


def profile(folder: Path, n: int) -> dict[str, float]:
    """Milliseconds a record by step, of a cohort of the first `n` of LUDB's recordings."""
    from ecgwb import read_record
    from ecgwb.cohorts import building, sources

    watch = Watch()
    files = sorted((sources.unpack("ludb") / "data").glob("*.hea"), key=lambda f: int(f.stem))[:n]
    source = sources.source_of([f.with_suffix("") for f in files])
    read_record(files[0])
    with ExitStack() as stack:
        for step, places in STEPS.items():
            for place in places:
                module, _, name = place.rpartition(".")
                owner = importlib.import_module(f"ecgwb.{module}")
                stack.enter_context(patch.object(owner, name, watch.timed(step, getattr(owner, name))))
        with watch.step(REST):
            building.build_at(folder / "cohort.zarr", source)
    return {step: 1000 * watch.seconds[step] / n for step in [*STEPS, REST]}
