"""`make bench`: how long edit maps and a network's checks take on 200 people. On a busy machine, look at the seconds of
a core."""

from __future__ import annotations

import time

import pandas as pd

import ecgwb as wb
from ecgwb import trust
from ecgwb.workers import cores

LIMIT_S = 20.0
MAP_LIMIT_S = 30.0


def compare():
    """Row of the table of `make bench`; the detail is printed."""
    cohort, model = wb.open_cohort("ludb"), wb.load_model("compact-measures")
    rows = []
    for check in (
        trust.joint_edits, trust.response, trust.leads, trust.randomisation, trust.specificity, trust.agreement,
        trust.removal, trust.localisation, trust.resolution, trust.effect,
    ):  # fmt: skip
        began, worked = time.perf_counter(), time.process_time()
        outcome = check(model, cohort)
        took = {"s": time.perf_counter() - began, "of a core": time.process_time() - worked}
        rows.append({"": outcome.name} | took)
    table = pd.DataFrame(rows).set_index("")
    print(table.round(1).to_string())
    began = time.perf_counter()
    panel = wb.trust_panel(model, cohort)
    took = time.perf_counter() - began
    n = cohort.sizes["record"]
    print(f"the whole panel on {n} beats, {cores()} checks at a time: {took:.0f} s; the bar is {LIMIT_S:.0f} s on two "
          f"cores. {panel.checks['joint edits'].words}")  # fmt: skip
    began = time.perf_counter()
    wb.edit_map(model, cohort)
    of_maps = (time.perf_counter() - began) / MAP_LIMIT_S
    targets = len(model.spec.targets)
    what = f"the whole panel on {n} beats, s / {LIMIT_S:.0f} s"
    return [
        {"step": "maps", "what": f"edit maps, {n} beats x {targets} targets, s / {MAP_LIMIT_S:.0f} s", "value": of_maps,
         "asked": "at most 1"},
        {"step": "trust", "what": what, "value": took / LIMIT_S, "asked": "at most 1"},
    ]  # fmt: skip


if __name__ == "__main__":
    compare()
