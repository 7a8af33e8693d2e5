"""How long the explorer takes to answer what the browser asks: ``python tests/bench/bench_explorer.py``.

In this process, without a browser; `make bench-browser` has the times in chromium. The next record of a list is shown
from beats sent ahead; timed is the kernel's answer to it, without maps.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from timing import beside, spread

import ecgwb as wb
from ecgwb.explorer.payload import shown
from ecgwb.explorer.session import Session

LIMIT_MS, BESIDE_MS = 100.0, 200.0  # on an idle machine, and beside a training
TURNS = 15
START_S = 15.0  # until the training has begun
_TRAINING = """
import ecgwb as wb
cohort = wb.open_cohort("ptbxl")
learn, choose = (cohort.isel(record=cohort["fold"].values == fold) for fold in (1, 9))
while True: wb.fit(learn, "qt", validation=choose, progress=False)
"""


def compare() -> list[dict[str, Any]]:
    """Rows of the table of `make bench`."""
    session = Session(wb.open_cohort("ludb"), wb.load_model("compact-measures"))
    rows = _answers(session, LIMIT_MS, "")
    with beside(_TRAINING):
        time.sleep(START_S)
        return rows + _answers(session, BESIDE_MS, ", beside a training")


def _answers(session: Session, limit_ms: float, where: str) -> list[dict[str, Any]]:
    ids = session.of.cohort["record"].values.astype(str)
    rows = []
    for what, wanted in (
        ("next record", [{"record": record} for record in ids[1 : TURNS + 2]]),
        ("QT stretched", [{"stretched": [("QT", ms)]} for ms in range(2, 2 * TURNS + 4, 2)]),
    ):
        session.see(record=str(ids[0]), stretched=[])
        took = []
        for given in wanted:
            began = time.perf_counter()
            session.see(**given)
            shown(session)
            took.append(1000 * (time.perf_counter() - began))
        name = f"{what}{where}: ms to the kernel's answer / {limit_ms:.0f} ms"
        rows.append({"step": "explorer", "what": name, **spread(np.array(took[1:]) / limit_ms), "asked": "at most 1"})
    return rows


if __name__ == "__main__":
    for row in compare():
        print(row)
