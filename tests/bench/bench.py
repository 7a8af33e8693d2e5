"""`make bench`: one table of this machine, every step beside its peers, and what was asked.

Each part prints its own detail on the way, and can be run alone. Peers without a permissive licence (ecgdeli) and those
that are no dependency (torchcam) take part where they are installed. Machines are shared: read the ratios, each a
median over repeats taken in turns, with the least and the most. ``--busy 2`` does all of it beside two processes that
compute without a pause.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

import bench_attention
import bench_cohorts
import bench_explorer
import bench_landmarks
import bench_networks
import bench_start
import bench_trust
import pandas as pd
import torch
from timing import beside

_BUSY = "import numpy as np; x = np.random.rand(256, 256)\nwhile True: np.tanh(x @ x)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, help="also write the table there, as Markdown")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="beside so many processes that compute")
    given = parser.parse_args()
    began = os.getloadavg()[0]
    with beside(_BUSY, given.busy):
        rows = bench_start.compare() + bench_landmarks.compare() + bench_networks.compare() + bench_attention.compare()
        with tempfile.TemporaryDirectory() as folder:
            rows += bench_cohorts.compare(Path(folder))
        rows += bench_trust.compare() + bench_explorer.compare()
    table = pd.DataFrame(rows, columns=["step", "what", "value", "least", "most", "asked"])
    table = table.fillna({"asked": ""}).set_index(["step", "what"])
    about = (
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads of torch {torch.__version__.split('+')[0]}, Python "
        f"{platform.python_version()}, {torch.backends.cpu.get_cpu_capability()}, load {began:.1f} before"
        + (f", and beside {given.busy} processes that compute without a pause." if given.busy else ".")
    )
    print(f"\n{table.round(2).to_string(na_rep='')}\n{about}")
    if given.table:
        command = "make bench-busy" if given.busy else "make bench"
        given.table.write_text(f"`{command}`. {about}\n\n{_markdown(table)}\n")


def _markdown(table: pd.DataFrame) -> str:
    lines = ["| step | what | value | least | most | asked |", "|---|---|---:|---:|---:|---|"]
    for (step, what), row in table.iterrows():
        cells = ["" if pd.isna(v) else f"{v:.0f}" if abs(v) >= 100 else f"{v:.2f}" for v in row.iloc[:3]]
        lines.append(f"| {step} | {what} | " + " | ".join(cells) + f" | {row['asked']} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
