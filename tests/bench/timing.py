"""Contestants timed in turns, and ratios of what they took: for the files `bench*.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
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
