"""How long the explorer takes from a changed control to its picture: ``python tests/bench_explorer.py``.

In this process, without a browser; `make browser` times it from key to picture in chromium.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from timing import spread

import ecgwb as wb

LIMIT_MS = 100.0  # on an idle machine; 200 beside a training
TURNS = 15


def compare() -> list[dict[str, Any]]:
    """Rows of the table of `make bench`."""
    explorer = wb.explore(wb.open_cohort("ludb"), wb.load_model("compact-measures"))
    rows = []
    for what, control, values in (
        ("next record", explorer.place, range(1, TURNS + 2)),
        ("QT stretched", explorer.stretched["QT"], range(2, 2 * TURNS + 4, 2)),
    ):
        took = []
        for value in values:
            control.value = value
            explorer.refresh()
            took.append(explorer.took_ms)
        name = f"{what}: ms to its picture / {LIMIT_MS:.0f} ms"
        rows.append({"step": "explorer", "what": name, **spread(np.array(took[1:]) / LIMIT_MS), "asked": "at most 1"})
    return rows


if __name__ == "__main__":
    for row in compare():
        print(row)
