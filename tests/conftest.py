"""Shared inputs: the real cohorts and shipped networks, opened once."""

import json
import shutil

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from studies.plants import whole_people
from torch import nn

import ecgwb as wb
from ecgwb import figures, workers
from ecgwb.cohorts.measurements import TIME
from ecgwb.cohorts.sources import unpack
from ecgwb.delineation.landmarks import LANDMARKS


@pytest.fixture(scope="session")
def ludb():
    return wb.open_cohort("ludb")


@pytest.fixture(scope="session")
def ludb_folder():
    return unpack("ludb")


@pytest.fixture
def few_of_ludb(ludb_folder, tmp_path):
    """Makes a folder of LUDB's first `n` recordings, of which the fourth is cut off."""

    def make(n):
        folder = tmp_path / "recordings"
        folder.mkdir()
        for i in range(1, n + 1):
            for kind in ("hea", "dat"):
                shutil.copy(ludb_folder / "data" / f"{i}.{kind}", folder / f"{i}.{kind}")
        (folder / "4.dat").write_bytes((folder / "4.dat").read_bytes()[:5000])
        return folder

    return make


@pytest.fixture
def one_thread():
    """As workers' processes have: sums in another order differ in the last digits."""
    with workers.one_thread():
        yield


@pytest.fixture(scope="session")
def ptbxl():
    return wb.open_cohort("ptbxl500", rhythm=True)


@pytest.fixture(scope="session")
def rhythms():
    """Recordings and beats of 14 people of LUDB."""
    return wb.open_cohort("ludb", rhythm=True).isel(record=slice(14))


@pytest.fixture(scope="session")
def rhythm_net():
    return wb.load_model("compact-rhythm")


@pytest.fixture(scope="session")
def measures():
    return wb.load_model("compact-measures")


@pytest.fixture(scope="session")
def sex_net():
    return wb.load_model("compact-sex")


@pytest.fixture(scope="session")
def people():
    """Some 880 people of PTB-XL with whole beats, without sex: changes are planted in them."""
    return whole_people(wb.open_cohort("ptbxl").isel(record=np.arange(1000)).load())


class TinyNet(nn.Module):
    """Two convolutions, average pooling and a linear head: small enough to work out by hand."""

    def __init__(self, n_outputs=2, stride=4):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv1d(8, 5, 7, stride=stride, padding=3), nn.ReLU(), nn.Conv1d(5, 6, 3, padding=1), nn.ReLU()
        )
        self.head = nn.Linear(6, n_outputs)

    def forward(self, x):
        return self.head(self.features(x / 500).mean(dim=2))


@pytest.fixture
def tiny():
    spec = wb.ModelSpec(targets=("a", "b"), units=("ms", "ms"), layer="features")
    return wb.wrap_model(TinyNet().eval(), spec)


def made_cohort(fiducial, beat=None, patient=None, hr=60.0):
    """A cohort of chosen landmarks (record, 9) and beats (record, 8, 600)."""
    fiducial = np.atleast_2d(np.asarray(fiducial, dtype=float))
    n = len(fiducial)
    beat = np.random.default_rng(0).normal(0, 100, (n, 8, 600)) if beat is None else beat
    return xr.Dataset(
        {
            "beat": (("record", "lead", "time"), np.asarray(beat, dtype=np.float32), {"units": "µV"}),
            "fiducial": (("record", "landmark"), fiducial, {"units": "ms"}),
            "hr": ("record", np.full(n, hr), {"units": "bpm"}),
        },
        coords={
            "record": [str(i) for i in range(n)],
            "lead": list(wb.LEADS),
            "time": TIME,
            "landmark": list(LANDMARKS),
            "patient": ("record", [f"p{i}" for i in range(n)] if patient is None else list(patient)),
        },
        attrs={"fs": 500},
    )


TYPICAL = [-200, -150, -100, -40, 0, 50, 150, 250, 350]


def wrapped(net, n=2, layer=None):
    """A network on beats, of n targets in ms."""
    spec = wb.ModelSpec(targets=tuple(f"t{i}" for i in range(n)), units=("ms",) * n, layer=layer or net.layer)
    return wb.wrap_model(net.eval(), spec)


def aligned(values, patient=None, **coords):
    """Maps (record, phase) on the common beat; every record is its own patient's unless they are given."""
    n = len(values)
    patient = [f"p{i}" for i in range(n)] if patient is None else patient
    return xr.DataArray(
        values, dims=("record", "phase"),
        coords={"record": np.arange(n), "phase": TIME[: values.shape[1]], "patient": ("record", patient)}
        | {k: ("record", v) for k, v in coords.items()},
        attrs={"template": json.dumps(TYPICAL)},
    )  # fmt: skip


@pytest.fixture
def paper_style():
    """Figures as the package draws them, closed afterwards."""
    with plt.style.context(figures.STYLE):
        yield
    plt.close("all")
