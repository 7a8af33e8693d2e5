"""`make bench`: speed and memory beside peers, in one run; every figure a ratio, with its spread over repeats.

The machine may be shared: compare ratios, not seconds.
"""

from __future__ import annotations

import resource
import time

import numpy as np
import pandas as pd
import torch
from captum.attr import LayerGradCam

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
    x = torch.from_numpy(model_input(model, cohort)[0])
    layer = dict(model.named_modules())[model.spec.layer]
    torch.manual_seed(0)
    kanres = KanResWideX().eval()

    def forward(net=model, n=None):
        with torch.inference_mode():
            for i in range(0, n or len(x), 128):
                net(x[i : i + 128])

    def captum():
        explain = LayerGradCam(model, layer)
        for k in range(len(model.spec.targets)):
            for i in range(0, len(x), 128):
                explain.attribute(x[i : i + 128], target=k)

    plain, maps, theirs = seconds(forward), seconds(lambda: wb.ecgradcam(model, cohort)), seconds(captum)
    small, large = seconds(lambda: forward(n=128)), seconds(lambda: forward(kanres, 128))
    records = [wb.Record(r, 500, wb.LEADS, str(i)) for i, r in enumerate(_rhythms(20))]
    ours, nk = seconds(lambda: wb.delineate(records)), seconds(lambda: wb.delineate(records, "prominence"))
    rows = [
        ratio("seven targets' maps of 500 beats / one forward pass", maps, plain),
        ratio("Captum LayerGradCam, the same maps / ours", theirs, maps),
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
