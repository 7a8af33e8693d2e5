"""Where a record's milliseconds go, from its file to a stored cohort: LUDB on one thread, step by step.

The workbench's own functions are timed while a cohort is built as `wb.build_cohort` builds it, 50 records in a chunk. A
function's time is its own: what it calls and is timed, too, is taken off.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

STEPS = {  # what is timed under each step: module and name, where it is called
    "filter and resample": ["cohorts.beats.prepare", "delineation.waves.prepare"],
    "delineate: the network": ["delineation.network._logits"],
    "delineate: decode its probabilities": ["delineation.waves.decode"],
    "delineate: the rest": ["cohorts.building.delineate"],
    "representative beat and its landmarks": ["cohorts.building.beat_arrays"],
    "measure": ["cohorts.beats.targets"],
    "metadata, quality and doubts": ["cohorts.building._labelled"],
    "store": ["cohorts.stores.save_part", "cohorts.stores.put_together"],
}
READ, REST = "read the file", "everything else"


class Watch:
    """Seconds by step, each without those of the steps inside it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside: list[float] = []  # seconds of timed calls within each open one

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        self._inside.append(0.0)
        depth = len(self._inside)
        try:
            yield
        finally:
            took = time.perf_counter() - began
            if len(self._inside) != depth:
                raise RuntimeError(f"{name!r} ended beside another step; expected all steps one after the other")
            self.seconds[name] += took - self._inside.pop()
            if self._inside:
                self._inside[-1] += took

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            with self.step(name):
                return function(*args, **named)

        return call


def profile(n: int) -> dict[str, float]:
    """Milliseconds a record by step, of a cohort of the first `n` of LUDB's recordings."""
    from ecgwb.cohorts import building, sources

    watch = Watch()
    folder = sources.unpack("ludb") / "data"
    found = sources.list_source([folder / str(k) for k in range(1, n + 1)])
    items = [replace(item, read=watch.timed(READ, item.read)) for item in found.items]
    with ExitStack() as stack:
        for step, places in STEPS.items():
            for place in places:
                module, _, name = place.rpartition(".")
                owner = importlib.import_module(f"ecgwb.{module}")
                stack.enter_context(patch.object(owner, name, watch.timed(step, getattr(owner, name))))
        out = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(redirect_stderr(io.StringIO()))  # the bar
        with watch.step(REST):
            building.build_at(out / "cohort.zarr", replace(found, items=items))
    return {step: 1000 * watch.seconds[step] / n for step in [READ, *STEPS, REST]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--records", type=int, default=150, help="of LUDB's 200; from 300 on processes would share them"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--table", type=Path, help="also write the table there, as Markdown")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # or two threads would take chunks, and no step's time would be its own
    torch.set_num_threads(1)
    began = os.getloadavg()[0]
    profile(10)  # imports, weights
    runs = [profile(given.records) for _ in range(given.repeats)]
    best = min(runs, key=lambda run: sum(run.values()))
    whole = sum(best.values())
    lines = ["| step | ms a record | share |", "|---|---:|---:|"]
    lines += [f"| {step} | {ms:.2f} | {100 * ms / whole:.0f} % |" for step, ms in best.items()]
    lines.append(f"| all | {whole:.2f} | 100 % |")
    about = (
        f"`python tests/bench/bench_profile.py`. {given.records} recordings of LUDB, 12 leads of 10 s at 500 Hz, from "
        f"WFDB files to a stored cohort, on one thread; the fastest of {given.repeats} builds. {os.cpu_count()} cores, "
        f"torch {torch.__version__.split('+')[0]}, Python {platform.python_version()}, load {began:.1f} before."
    )
    text = f"{about}\n\n" + "\n".join(lines) + "\n"
    print(text)
    if given.table:
        given.table.write_text(text)


if __name__ == "__main__":
    main()
