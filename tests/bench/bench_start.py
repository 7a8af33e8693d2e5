"""How long a fresh process takes until it is of use: ``python tests/bench/bench_start.py``.

The cache is empty for the first opening of each cohort, and full for the second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
from timing import spread

REPEATS = 3
STEPS = {
    "import ecgwb": ("import ecgwb", 1.5),
    "open_cohort('ludb')": ("import ecgwb; ecgwb.open_cohort('ludb')", 5.0),
    "open_cohort('ptbxl')": ("import ecgwb; ecgwb.open_cohort('ptbxl')", 10.0),
}
_TIMED = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def seconds(code: str, cache: str) -> float:
    """What some code takes in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", _TIMED.format(code)]
    env = os.environ | {"XDG_CACHE_HOME": cache}
    return float(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.split()[-1])


def compare() -> list[dict[str, Any]]:
    """Rows of the table of `make bench`."""
    rows = []
    for name, (code, limit) in STEPS.items():
        first, again = [], []
        for _ in range(REPEATS):
            with tempfile.TemporaryDirectory() as cache:
                first.append(seconds(code, cache))
                again.append(seconds(code, cache))
        what = f"{name}, first, s / {limit:g} s"
        rows.append({"what": what, **spread(np.array(first) / limit), "asked": "at most 1"})
        if "open" in name:
            rows.append({"what": f"{name}, from the cache, s", **spread(np.array(again))})
    return [{"step": "start", **row} for row in rows]


if __name__ == "__main__":
    for row in compare():
        print(row)
