"""`make bench`: maps beside a plain forward pass and beside peers, in one run; every figure a ratio, taken in turns.

The machine may be shared: compare ratios, not seconds. torchcam, no dependency, is measured where it is installed.
Peak memory is each contestant's own, in a process of its own, above what it held before it began (Linux alone tells).
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from captum.attr import LayerGradCam
from timing import in_turns, ratio

import ecgwb as wb
from ecgwb.attention.attribution import METHODS
from ecgwb.models.prediction import model_input

SIZE = 128
_SAID = {"captum": "Captum", "loop": "a loop over targets", "torchcam": "torchcam"}


class Contest:
    """All targets' maps of 1,000 beats, PTB-XL's 500 twice, by each contestant; peers get the prepared input."""

    def __init__(self, n=1000):
        cohort = wb.open_cohort("ptbxl500")
        some = cohort.isel(record=np.arange(n) % cohort.sizes["record"])
        self.cohort = some.assign_coords(record=np.arange(n).astype(str)).load()
        self.model = wb.load_model("compact-measures")
        self.x = torch.from_numpy(model_input(self.model, self.cohort)[0])
        self.layer = dict(self.model.named_modules())[self.model.spec.layer]
        self.outputs = range(len(self.model.spec.targets))

    def pieces(self):
        return self.x.split(SIZE)

    def forward(self):
        with torch.inference_mode():
            return torch.cat([self.model(p) for p in self.pieces()])

    def ours(self):
        return wb.ecgradcam(self.model, self.cohort)

    def captum(self):
        explain = LayerGradCam(self.model, self.layer)
        return [LayerGradCam.interpolate(explain.attribute(p, target=k).detach(), p.shape[2], "linear")
                for p in self.pieces() for k in self.outputs]  # fmt: skip

    def loop(self):
        """What one writes by hand: a hook, and a forward and a backward pass per target."""
        seen = []
        handle = self.layer.register_forward_hook(lambda _m, _i, out: seen.append(out))
        maps = []
        for p in self.pieces():
            for k in self.outputs:
                seen.clear()
                y = self.model(p)[:, k].sum()
                g = torch.autograd.grad(y, seen[0])[0]
                m = (g.sum(dim=2, keepdim=True) * seen[0]).sum(dim=1, keepdim=True).detach()
                maps.append(torch.nn.functional.interpolate(m, p.shape[2], mode="linear"))
        handle.remove()
        return maps

    def torchcam(self):
        from torchcam.methods import GradCAM

        maps = []
        with GradCAM(self.model, self.model.spec.layer) as cam:
            for p in self.pieces():
                for k in self.outputs:
                    maps.append(torch.nn.functional.interpolate(cam(k, self.model(p))[0][:, None], p.shape[2]))
        return maps


def peak_mib(name, n=1000):
    """What a contestant's maps of `n` beats take at most, beyond model and beats, MiB."""
    contest = Contest(n)
    contest.model(contest.x[:SIZE])  # what torch needs once
    gc.collect()
    if not Path("/proc/self/clear_refs").exists():
        return np.nan
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark falls to what is held now
    before = _high_mark()
    getattr(contest, name)()
    return _high_mark() - before


def _high_mark():
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**10


def compare():
    """Rows of the table of `make bench`; the detail is printed."""
    contest = Contest()
    names = ["forward", "ours", "captum", "loop"] + ["torchcam"] * (importlib.util.find_spec("torchcam") is not None)
    took = in_turns({n: getattr(contest, n) for n in names})
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        memory = dict(zip(names, pool.map(peak_mib, names), strict=True))
        many = pool.submit(peak_mib, "ours", 4000).result()
    rows = [
        {"": n, **ratio(took[n], took["forward"]), "times ours": np.median(took[n] / took["ours"]),
         "MiB on top": memory[n]}
        for n in names
    ]  # fmt: skip
    print("Seven targets' maps of 1,000 beats by compact-measures / one forward pass")
    print(pd.DataFrame(rows).set_index("").round(2).to_string())
    result = 7 * 600 * 4 * 1000 / 2**20
    print(f"{1000 * np.median(took['forward']):.0f} ms forward; {torch.get_num_threads()} threads; the maps are "
          f"{result:.0f} MiB of it; of 4,000 beats ours take {many:.0f} MiB, the maps {4 * result:.0f}\n")  # fmt: skip

    rows = [{"what": "maps of 7 targets / one forward pass", **ratio(took["ours"], took["forward"]),
             "asked": "at most 1.2"}]  # fmt: skip
    for n in names[2:]:
        asked = "5 or more" if n == "captum" else ""
        rows.append(
            {"what": f"the same maps, time of {_SAID[n]} / ours", **ratio(took[n], took["ours"]), "asked": asked}
        )
        rows.append({"what": f"the same maps, memory of {_SAID[n]} / ours", "value": memory[n] / memory["ours"]})
    return [{"step": "maps", **row} for row in rows]


def each_method():
    """Every method of `attribute` beside one forward pass."""
    few = Contest(100)
    calls = {m: (lambda m=m: wb.attribute(few.model, few.cohort, m)) for m in ("ecgradcam", "occlusion", *METHODS)}
    few.forward()
    took = in_turns({"forward": few.forward, **calls}, repeats=1, warm_up=0)
    print("Seven targets' maps of 100 beats by each method / one forward pass")
    rows = [{"": m, **ratio(took[m], took["forward"])} for m in calls]
    print(pd.DataFrame(rows).set_index("")[["value"]].round(1).to_string())


if __name__ == "__main__":
    compare()
    each_method()
