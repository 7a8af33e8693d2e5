"""Recordings whose every sample is known, and networks that take recordings and whose predictions are."""

import numpy as np
import torch
import xarray as xr
from conftest import made_cohort
from torch import nn

import ecgwb as wb
from ecgwb.cohorts.measurements import TIME

MARKS = np.array([-190, -140, -90, -40, 0, 50, 150, 300, 400.0])  # each wave is 0 µV at its ends
HEIGHTS = {"P": 100.0, "QRS": 1000.0, "T": 300.0}
LEAD_GAINS = np.array([0.5, 0.9, -0.4, 0.3, 0.8, 1.1, 1.0, 0.7])
N, LENGTH = 5000, 10000.0
CLOCK = np.arange(N) * 2.0


def made_rhythms(r_ms, marks=MARKS, patient=None):
    """A cohort of recordings with a beat at each of these moments of each record, ms, on the even millisecond."""
    n, most = len(r_ms), max(map(len, r_ms))
    cycles, used = np.full((n, most, 9), np.nan), np.full((n, most), np.nan)
    rhythm, beat = np.zeros((n, 8, N)), np.zeros((n, 8, 600))
    for i, times in enumerate(r_ms):
        one = np.zeros(N)
        for k, r in enumerate(times):
            one += wave(CLOCK - r, marks)
            own = marks + r
            for a in (0, 3, 6):  # a wave that the recording cuts is not marked
                if not (own[a] >= 0 and own[a + 2] < LENGTH):
                    own[a : a + 3] = np.nan
            own[4] = r
            cycles[i, k], used[i, k] = own, r + TIME[0] >= 0 and r + TIME[-1] < LENGTH
        rhythm[i] = LEAD_GAINS[:, None] * one
        first = int(times[len(times) // 2] / 2) - 250
        beat[i] = rhythm[i][:, first : first + 600]
    cohort = made_cohort(np.tile(marks, (n, 1)), beat, patient)
    hr = np.array([60000 / np.median(np.diff(times)) for times in r_ms])
    return cohort.assign(
        hr=("record", hr, {"units": "bpm"}),
        rhythm=(("record", "lead", "sample"), rhythm.astype(np.float32), {"units": "µV"}),
        cycle_fiducial=(("record", "cycle", "landmark"), cycles, {"units": "ms"}),
        cycle_used=(("record", "cycle"), used.astype(np.float32)),
    )


def wave(t, marks=MARKS):
    """A beat at moments from its R, ms: three waves, each a squared sine from its onset to its offset."""
    out = np.zeros(t.shape)
    for (on, off), height in zip(((0, 2), (3, 5), (6, 8)), HEIGHTS.values(), strict=True):
        share = (t - marks[on]) / (marks[off] - marks[on])
        out += np.where((share > 0) & (share < 1), height * np.sin(np.pi * share) ** 2, 0.0)
    return out


def steady(rr_ms, starts=(300.0,)):
    """Moments of beats of recordings with these intervals, from these first beats on."""
    return [np.arange(start, LENGTH, rr) for rr, start in zip(rr_ms, starts, strict=True)]


def many(n=24, seed=0):
    """Recordings of steady rhythms of 60 to 85 bpm."""
    rng = np.random.default_rng(seed)
    rr = 2 * np.round(rng.uniform(350, 500, n))
    return made_rhythms(steady(rr, 2 * np.round(rng.uniform(50, 0.5 * rr))))


class LinearInTime(nn.Module):
    """y = sum over leads and samples of weight (output, lead, sample) times the recording."""

    def __init__(self, weight):
        super().__init__()
        self.features = nn.Conv1d(8, 8, 1, bias=False)
        self.head = nn.Linear(weight[0].size, len(weight), bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(8)[:, :, None])
            self.head.weight.copy_(torch.as_tensor(weight, dtype=torch.float32).flatten(1))

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


class MeanOfPower(nn.Module):
    """The mean over the recording of the square of V5, in mV², times a thousand."""

    def __init__(self):
        super().__init__()
        self.features = nn.AvgPool1d(1)

    def forward(self, x):
        return (self.features(x)[:, 6:7] / 1000).pow(2).mean(dim=2) * 1000


class CountsBeats(nn.Module):
    """Six times the number of upstrokes of V5 through 500 µV: beats a minute, whatever they look like."""

    def __init__(self):
        super().__init__()
        self.features = nn.AvgPool1d(1)

    def forward(self, x):
        high = torch.sigmoid((self.features(x)[:, 6:7] - 500) / 2)
        return 6 * torch.relu(high.diff(dim=2)).sum(dim=2)


def on_rhythms(net, targets=("hr",), units=None, layer="features"):
    spec = wb.ModelSpec("rhythm", n_samples=N, targets=targets, units=units or ("bpm",) * len(targets), layer=layer)
    return wb.wrap_model(net.eval(), spec)


def clocked(values, cohort):
    """Values (record, sample) along recordings, as maps are labelled."""
    return xr.DataArray(values, dims=("record", "time"), coords={"record": cohort["record"], "time": CLOCK})
