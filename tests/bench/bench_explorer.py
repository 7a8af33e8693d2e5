"""How long the explorer takes to answer what the browser asks: ``python tests/bench/bench_explorer.py``.

In this process, without a browser; `make browser` prints the times of a key, a frame and a round trip in chromium. The
next record of a list is shown from beats sent ahead; timed is the kernel's answer to it, without maps.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from timing import spread

import ecgwb as wb
from ecgwb.explorer.payload import shown
from ecgwb.explorer.session import Session

LIMIT_MS = 100.0  # on an idle machine; 200 beside a training
TURNS = 15


def compare() -> list[dict[str, Any]]:
    """Rows of the table of `make bench`."""
    session = Session(wb.open_cohort("ludb"), wb.load_model("compact-measures"))
    ids = session.of.cohort["record"].values.astype(str)
    rows = []
    for what, wanted in (
        ("next record", [{"record": record} for record in ids[1 : TURNS + 2]]),
        ("QT stretched", [{"stretched": [("QT", ms)]} for ms in range(2, 2 * TURNS + 4, 2)]),
    ):
        took = []
        for given in wanted:
            began = time.perf_counter()
            session.see(**given)
            shown(session)
            took.append(1000 * (time.perf_counter() - began))
        name = f"{what}: ms to the kernel's answer / {LIMIT_MS:.0f} ms"
        rows.append({"step": "explorer", "what": name, **spread(np.array(took[1:]) / LIMIT_MS), "asked": "at most 1"})
    return rows


if __name__ == "__main__":
    for row in compare():
        print(row)
