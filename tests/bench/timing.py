"""Contestants timed in turns, and ratios of what they took: for the files `bench*.py`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

REPEATS = 5


def in_turns(calls: Mapping[str, Callable[[], Any]], repeats: int = REPEATS, warm_up: int = 1) -> dict[str, np.ndarray]:
    """Seconds (repeat,) per call, the calls taking turns so that a busy spell falls on all."""
    out: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm_up + repeats):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if turn >= warm_up:
                out[name].append(time.perf_counter() - began)
    return {name: np.array(v) for name, v in out.items()}


def ratio(what: np.ndarray, peer: np.ndarray) -> dict[str, float]:
    """Median and range of what / peer, repeat by repeat, as columns of a table."""
    return spread(what / peer)


def spread(values: np.ndarray) -> dict[str, float]:
    """Median and range, as columns of a table."""
    return {"value": float(np.median(values)), "least": float(values.min()), "most": float(values.max())}


@contextlib.contextmanager
def beside(code: str, n: int = 1) -> Iterator[None]:
    """Beside `n` processes, of a thread each, that run some code until this one has no more need of them.

    Raises
    ------
    RuntimeError
        When one of them has ended: the load was not there for all of the time.
    """
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    others = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=one_thread) for _ in range(n)]
    try:
        yield
        if ended := [p.returncode for p in others if p.poll() is not None]:
            raise RuntimeError(f"{len(ended)} of {n} processes beside the bench have ended, with {ended}")
    finally:
        for process in others:
            process.kill()
            process.wait()
