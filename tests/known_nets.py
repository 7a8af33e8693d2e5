"""Networks whose predictions are known, and two that take a shortcut."""

import numpy as np
import torch
from sklearn.linear_model import Lasso, Ridge
from torch import nn

import ecgwb as wb
from ecgwb.cohorts.measurements import TIME


class Linear(nn.Module):
    """y = sum over leads and times of weight (output, lead, time) times the ECG."""

    def __init__(self, weight):
        super().__init__()
        self.features = nn.Conv1d(8, 8, 1, bias=False)
        self.head = nn.Linear(8 * 600, len(weight), bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(8)[:, :, None])
            self.head.weight.copy_(torch.as_tensor(weight, dtype=torch.float32).flatten(1))

    def forward(self, x):
        return self.head(self.features(x).flatten(1))


class Ignores(nn.Module):
    """Predicts the same of every beat."""

    def __init__(self, n_outputs):
        super().__init__()
        self.features = nn.Conv1d(8, 4, 7, padding=3)
        self.head = nn.Linear(4, n_outputs)

    def forward(self, x):
        return self.head(0 * self.features(x).mean(dim=2))


class LooksAside(nn.Module):
    """Each position reads the ECG `aside` samples later than the centre of its receptive field."""

    def __init__(self, aside, n_outputs=1):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv1d(8, 8, 2 * aside + 1, stride=4, padding=aside, bias=False), nn.ReLU())
        self.head = nn.Linear(8, n_outputs)
        with torch.no_grad():
            weight = torch.zeros(8, 8, 2 * aside + 1)
            weight[:, :, 0], weight[:, :, -1] = 1e-6, torch.randn(8, 8)
            self.features[0].weight.copy_(weight)

    def forward(self, x):
        return self.head(self.features(x).mean(dim=2))


class Surroundings(nn.Module):
    """Sees only what lies outside `first` to `last` ms: where the neighbours' waves show the RR interval."""

    def __init__(self, first=-260.0, last=470.0):
        super().__init__()
        self.register_buffer("seen", torch.as_tensor((first > TIME) | (last < TIME), dtype=torch.float32))
        self.features = nn.AvgPool1d(10)
        self.head = nn.Linear(8 * 60, 1)

    def forward(self, x):
        return self.head(self.features((x * self.seen).abs()).flatten(1))


def wrapped(net, targets, units=None, layer="features"):
    return wb.wrap_model(net.eval(), wb.ModelSpec(targets=targets, units=units or ("ms",) * len(targets), layer=layer))


def reads(lead, ms, target="qt"):
    """One sample of one lead."""
    weight = np.zeros((1, 8, 600))
    weight[0, list(wb.LEADS).index(lead), ms == TIME] = 1.0
    return wrapped(Linear(weight), (target,))


def qt_from_rr(cohort):
    """Trained to predict QT; all it can see is the heart rate."""
    net = Surroundings()
    with torch.no_grad():
        x = net.features((torch.from_numpy(cohort["beat"].values) * net.seen).abs()).flatten(1).numpy()
    fitted = Ridge(3e4).fit(x, cohort["qt"].values)
    with torch.no_grad():
        net.head.weight.copy_(torch.from_numpy(fitted.coef_[None]))
        net.head.bias.fill_(fitted.intercept_)
    return wrapped(net, ("qt",))


def marked(cohort, lead="V3", at_ms=520.0):
    """The cohort with a mark in one lead of every man."""
    return wb.edits.plant(cohort, at_ms, 150.0, lead=lead, width_ms=20.0, where=cohort["male"].values == 1)


def sex_from_a_mark(cohort):
    """Trained on marked beats; the mark is the easiest thing to learn."""
    net = nn.Sequential()
    net.features, net.flat, net.head = nn.AvgPool1d(5), nn.Flatten(), nn.Linear(8 * 120, 1)
    with torch.no_grad():
        x = net.features(torch.from_numpy(marked(cohort)["beat"].values)).flatten(1).numpy()
    fitted = Lasso(5.0).fit(x, 8 * (cohort["male"].values - 0.5))
    with torch.no_grad():
        net.head.weight.copy_(torch.from_numpy(fitted.coef_[None]))
        net.head.bias.fill_(fitted.intercept_)
    return wb.wrap_model(net.eval(), wb.ModelSpec(targets=("male",), layer="features", link="logit"))


class Product(nn.Module):
    """The product of the ECG at one moment of one lead and at another moment of another lead, in mV²."""

    def __init__(self, one, other):
        super().__init__()
        self.features = nn.Conv1d(8, 8, 1, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.eye(8)[:, :, None] / 1000)
        self.places = [(list(wb.LEADS).index(lead), int(np.argmin(np.abs(ms - TIME)))) for lead, ms in (one, other)]

    def forward(self, x):
        seen = self.features(x)
        (a, s), (b, t) = self.places
        return seen[:, a, s, None] * seen[:, b, t, None]


class QtByConstruction(nn.Module):
    """QT by rule: from where the leads' root mean square leaves its level to where T's steepest fall meets its level.

    On LUDB it correlates 0.74 with QT as measured. Nothing in it is learnt.
    """

    def __init__(self):
        super().__init__()
        self.features = nn.AvgPool1d(9, stride=1, padding=4, count_include_pad=False)
        self.register_buffer("time", torch.as_tensor(TIME, dtype=torch.float32))

    def within(self, v, first, last, otherwise):
        first, last = (torch.as_tensor(w, dtype=v.dtype).reshape(-1, 1) for w in (first, last))
        return torch.where((self.time >= first) & (self.time <= last), v, torch.full_like(v, otherwise))

    def forward(self, x):
        x = x - x[:, :, (self.time >= -150) & (self.time < -100)].mean(dim=2, keepdim=True)
        v = self.features(x).pow(2).mean(dim=1).sqrt()
        top = self.within(v, -120, 0, -1.0).max(dim=1, keepdim=True).values
        low = self.within(v, -80, -40, 1e9).min(dim=1, keepdim=True).values
        before_r = (v > low + 0.1 * (top - low))[:, (self.time >= -120) & (self.time <= 0)]
        onset = -2.0 * torch.cumprod(before_r.flip(1).int(), dim=1).sum(dim=1)
        fall = nn.functional.pad(v[:, 10:] - v[:, :-10], (5, 5))  # over 20 ms
        peak = self.time[self.within(v, 160, 480, -1.0).argmax(dim=1)]
        steepest = self.within(fall, peak, peak + 140, 1e9).argmin(dim=1)[:, None]
        at = self.time[steepest[:, 0]]
        level = self.within(v, at, at + 160, 1e9).min(dim=1).values
        slope = (fall.gather(1, steepest)[:, 0] / 20).abs().clamp(min=1e-3)
        end = at + ((v.gather(1, steepest)[:, 0] - level) / slope).clamp(0, 150)
        return (end - onset)[:, None]
