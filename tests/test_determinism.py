"""The same seed gives the same bytes in another process; with other threads, the same numbers to rounding."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = """
import sys
import numpy as np
import torch
import ecgwb as wb
from ecgwb.cohorts.sources import unpack

torch.set_num_threads(int(sys.argv[2]))
folder = unpack("ludb") / "data"
cohort = wb.build_cohort([wb.read_record(folder / str(i)) for i in range(1, 13)])
model = wb.load_model("compact-measures")
maps = wb.ecgradcam(model, cohort)
band = wb.cohort_map(wb.align(maps, cohort))
net = wb.fit(cohort, ["qt", "hr"], epochs=2, epoch=16, batch=8, progress=False)
out = {f"cohort {k}": v.values for k, v in cohort.variables.items() if v.dtype.kind == "f"}
out |= {f"predict {k}": v.values for k, v in wb.predict(model, cohort).data_vars.items()}
out |= {"maps": maps.values} | {f"band {k}": band[k].values for k in ("mean", "low", "high")}
out |= {f"fit {k}": v.numpy() for k, v in net.state_dict().items()}
np.savez(sys.argv[1], **out)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Everything made by seed, in three processes: with one thread, one thread and other hashes, two threads."""
    out = {}
    for name, threads, hashes in (("one", 1, "0"), ("again", 1, "1"), ("two", 2, "0")):
        file = tmp_path_factory.mktemp("runs") / f"{name}.npz"
        env = os.environ | {"PYTHONHASHSEED": hashes, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run([sys.executable, "-c", SCRIPT, str(file), str(threads)], cwd=ROOT, env=env, text=True,
                              capture_output=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        with np.load(file) as found:
            out[name] = dict(found)
    return out


def test_another_process_gives_the_same_bytes(runs):
    assert len(runs["one"]) > 30
    for name, values in runs["one"].items():
        assert values.tobytes() == runs["again"][name].tobytes(), name


def rounded(runs, names, atol):
    for name in names:
        values, other = runs["one"][name], runs["two"][name]
        assert values.shape == other.shape
        np.testing.assert_array_equal(np.isnan(values), np.isnan(other), err_msg=name)
        size = np.nanmax(np.abs(values), initial=1e-6)
        np.testing.assert_allclose(other / size, values / size, atol=atol, err_msg=name)


def test_other_threads_change_no_more_than_rounding(runs):
    rounded(runs, [name for name in runs["one"] if not name.startswith("fit")], 1e-5)


@pytest.mark.xfail(
    strict=False,
    reason="training feeds rounding back into itself, and NAdam's first steps divide by the size of a gradient, "
    "however small: on an AMD EPYC 7 of the 32 biases of stem.1 differ, by up to 2.5e-3; elsewhere all are within 1e-3",
)
def test_other_threads_change_trained_weights_little(runs):
    rounded(runs, [name for name in runs["one"] if name.startswith("fit")], 1e-3)
