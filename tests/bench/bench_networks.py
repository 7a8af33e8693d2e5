"""The compact network beside the paper's, forward: ``python tests/bench_networks.py``."""

from __future__ import annotations

from typing import Any

import torch
from timing import in_turns, ratio, spread
from torch.utils.flop_counter import FlopCounterMode

import ecgwb as wb
from ecgwb.models.prediction import model_input
from ecgwb.models.spec import KanResWideX

BEATS = 128


def compare() -> list[dict[str, Any]]:
    """Rows of the table of `make bench`."""
    model = wb.load_model("compact-measures")
    x = torch.from_numpy(model_input(model, wb.open_cohort("ptbxl500"))[0][:BEATS])
    large = KanResWideX().eval()

    def forward(net: torch.nn.Module) -> torch.Tensor:
        with torch.inference_mode():
            return net(x)

    def counted(net: torch.nn.Module) -> int:
        with FlopCounterMode(display=False) as work:
            forward(net)
        return int(work.get_total_flops())

    calls = {"compact": lambda: forward(model), "kanres": lambda: forward(large)}
    took = in_turns(calls)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = in_turns(calls)
    torch.set_num_threads(threads)
    work = {"what": "forward, operations of KanResWideX / compact's", "asked": "20 or more"}
    times = {"what": "forward, time of KanResWideX / compact's", "asked": "20 or more"}
    beat = {"what": "compact net forward, ms a beat", "asked": "at most 0.5"}
    return [
        {"step": "network"} | work | {"value": counted(large) / counted(model)},
        {"step": "network"} | times | ratio(took["kanres"], took["compact"]),
        {"step": "network"} | times | {"what": "the same on one thread"} | ratio(alone["kanres"], alone["compact"]),
        {"step": "network"} | beat | spread(1000 * took["compact"] / BEATS),
    ]


if __name__ == "__main__":
    for row in compare():
        print(row)
