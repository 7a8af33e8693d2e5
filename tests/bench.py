"""`make bench`: speed and memory beside peers, in one run; every figure a ratio, with its spread over repeats.

The machine may be shared: compare ratios, not seconds.
"""

from __future__ import annotations

import resource
import time

import numpy as np
import pandas as pd
import torch

import ecgwb as wb
from ecgwb.models import KanResWideX
from ecgwb.prediction import model_input

REPEATS = 5


def seconds(call):
    call()
    out = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        out.append(time.perf_counter() - began)
    return np.array(out)


def ratio(name, what, peer):
    """Median and range of what / peer, run by run."""
    r = what / peer
    return {"": name, "ratio": np.median(r), "least": r.min(), "most": r.max()}


def main():
    cohort = wb.open_cohort("ptbxl500")
    model = wb.load_model("compact-measures")
    x = torch.from_numpy(model_input(model, cohort)[0][:128])
    torch.manual_seed(0)
    kanres = KanResWideX().eval()

    def forward(net):
        with torch.inference_mode():
            net(x)

    small, large = seconds(lambda: forward(model)), seconds(lambda: forward(kanres))
    records = [wb.Record(r, 500, wb.LEADS, str(i)) for i, r in enumerate(_rhythms(20))]
    ours, nk = seconds(lambda: wb.delineate(records)), seconds(lambda: wb.delineate(records, "prominence"))
    rows = [
        ratio("KanResWideX / compact net, forward", large, small),
        ratio("NeuroKit2 prominence / ecgwb, 8 leads of 10 s", nk, ours),
    ]
    print(pd.DataFrame(rows).set_index("").round(2).to_string())
    print(f"{1000 * np.median(ours) / len(records):.0f} ms a record to delineate; "
          f"{1000 * np.median(small) / 128:.2f} ms a beat forward; {torch.get_num_threads()} threads; "
          f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")  # fmt: skip


def _rhythms(n):
    return wb.open_cohort("ptbxl500", rhythm=True)["rhythm"].values[:n]


if __name__ == "__main__":
    main()
