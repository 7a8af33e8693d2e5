"""The delineator's network, and how waves are read from what it says.

A one-dimensional U-Net that sees every lead by itself and, at each of its coarser levels, what the leads have in
common: it takes any number of leads in any order. For every sample it gives the probability of P wave, QRS complex,
T wave or neither, and of each wave's peak. This file imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

WAVES = ("P", "QRS", "T")
RATE = 250
"""Sampling rate the network works at, Hz: nothing above 125 Hz tells where a wave begins."""
N_OUTPUTS = 7  # neither, P, QRS, T, then the peaks of P, QRS, T
STRIDE = 16  # samples a step of the coarsest level covers

ROWS_AT_ONCE = 48  # leads of ten seconds in one pass
PIECE, MARGIN = 24 * RATE, 4 * RATE  # a long recording's pieces, and what of them only serves as context, samples

# A wave is reported where its class is likelier than not at its best sample.
PRESENT = 0.5
# P waves that most QRS complexes within ten seconds lack need more. Round numbers, set on an early, shorter training
# and not tuned since; out of fold, LUDB's fibrillation and flutter have P waves in 1.3 % of beats with this rule, 3.2 %
# without.
USUAL_P, SURE_P, NEARBY_MS = 0.7, 0.8, 10_000.0
# Share of an end's distribution left out on either side.
TAIL = 0.15
# Runs of a class with a shorter break than this are one wave; shorter runs than these are none, ms.
BRIDGED_MS = 40.0
SHORTEST_MS = {"P": 24.0, "QRS": 24.0, "T": 40.0}
# How far from its surest sample a wave may reach, ms: longer than any human wave's longer part.
REACH_MS = {"P": 160.0, "QRS": 240.0, "T": 360.0}


class Residual(nn.Module):
    """Two convolutions around a skip; the first may be dilated."""

    def __init__(self, width: int, kernel: int, dilation: int = 1, second: int | None = None):
        super().__init__()
        second = kernel if second is None else second
        self.conv1 = nn.Conv1d(width, width, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False)
        self.norm1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, second, padding=second // 2, bias=False)
        self.norm2 = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(x + self.norm2(self.conv2(y)))


class LeadExchange(nn.Module):
    """Adds to every lead what the mean and the maximum over the record's leads say: the same for any order."""

    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Conv1d(2 * width, width, 1, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, n_leads: int) -> Tensor:
        by_lead = x.unflatten(0, (-1, n_leads))  # (record, lead, channel, time)
        common = torch.cat([by_lead.mean(1), by_lead.amax(1)], dim=1)
        common = self.out(F.relu(self.norm(self.mix(common)), inplace=True))
        return x + common.repeat_interleave(n_leads, dim=0)


class Down(nn.Module):
    def __init__(self, before: int, width: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv1d(before, width, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.block = Residual(width, kernel)
        self.exchange = LeadExchange(width)

    def forward(self, x: Tensor, n_leads: int) -> Tensor:
        x = F.relu(self.norm(self.conv(x)), inplace=True)
        return self.exchange(self.block(x), n_leads)


class Up(nn.Module):
    def __init__(self, below: int, width: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv1d(below + width, width, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2, mode="linear")
        return F.relu(self.norm(self.conv(torch.cat([x, skip], dim=1))), inplace=True)


class Delineator(nn.Module):
    """The network.

    Parameters
    ----------
    widths : four int
        Channels at 125, 62.5, 31 and 16 Hz.
    dilations : sequence of int
        Of the blocks at 16 Hz; with (1, 2, 4, 8) the network sees some 4 s to each side.
    """

    def __init__(
        self,
        widths: tuple[int, int, int, int] = (32, 48, 64, 96),
        dilations: tuple[int, ...] = (1, 2, 4, 8),
    ):
        super().__init__()
        a, b, c, d = widths
        self.stem = nn.Conv1d(2, a, 12, stride=2, padding=5, bias=False)
        self.norm = nn.BatchNorm1d(a)
        self.block = Residual(a, 7)
        self.down1, self.down2 = Down(a, b, 7), Down(b, c, 5)
        self.down3 = Down(c, d, 5)
        self.context = nn.ModuleList([Residual(d, 5, k, second=1) for k in dilations])
        self.exchange = LeadExchange(d)
        self.up2, self.up1, self.up0 = Up(d, c, 5), Up(c, b, 5), Up(b, a, 7)
        self.head = nn.Conv1d(a, 2 * N_OUTPUTS, 5, padding=2)

    def forward(self, signal: Tensor) -> Tensor:
        """Logits (record, lead, 7, sample) of a signal (record, lead, sample) in any unit, at 250 Hz."""
        n_leads, n = signal.shape[1:]
        x = normalise(signal).flatten(0, 1)  # (record * lead, sample)
        x = F.pad(x, (0, -n % STRIDE))
        # The second channel lifts small waves beside a large QRS.
        x = torch.stack([x, torch.asinh(10 * x) / 3], dim=1)
        x0 = self.block(F.relu(self.norm(self.stem(x)), inplace=True))
        x1 = self.down1(x0, n_leads)
        x2 = self.down2(x1, n_leads)
        x3 = self.down3(x2, n_leads)
        for block in self.context:
            x3 = block(x3)
        x3 = self.exchange(x3, n_leads)
        x = self.up0(self.up1(self.up2(x3, x2), x1), x0)
        x = self.head(x)  # (record * lead, 2 * 7, step): each step holds two samples
        x = x.unflatten(1, (N_OUTPUTS, 2)).transpose(2, 3).flatten(2)[..., :n]
        return x.unflatten(0, (-1, n_leads))


def fold_norms(model: Delineator) -> Delineator:
    """The same network, for inference only, with each normalisation folded into its convolution."""
    for module in model.eval().modules():
        for conv, norm in (("conv", "norm"), ("conv1", "norm1"), ("conv2", "norm2"), ("stem", "norm"), ("mix", "norm")):
            if isinstance(getattr(module, norm, None), nn.BatchNorm1d) and hasattr(module, conv):
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
    return model


def normalise(signal: Tensor) -> Tensor:
    """Each lead over its typical excursion: the median, over pieces of about two seconds, of the largest |value|.

    A maximum over all would let one artefact shrink the ECG; no unit or gain is left. A flat lead stays zero.
    """
    n = signal.shape[-1]
    pieces = max(n // (2 * RATE), 1)  # two seconds hold a QRS complex down to 30 beats a minute
    size = n // pieces
    largest = signal[..., : pieces * size].unflatten(-1, (pieces, size)).abs().amax(-1)  # (record, lead, piece)
    scale = largest.median(-1, keepdim=True).values
    flat = scale <= 1e-6 * largest.amax(-1, keepdim=True).clamp_min(1e-30)
    return torch.where(flat, 0.0, signal / scale.masked_fill(flat, 1.0)).clamp(-8, 8)


# ---------------------------------------------------------------- from probabilities to waves


def probabilities(logits: Tensor) -> Tensor:
    """(record, lead, 7, sample): the four classes sum to 1; the peaks stand by themselves."""
    return torch.cat([logits[:, :, :4].softmax(2), logits[:, :, 4:].sigmoid()], dim=2)


def predict(model: Delineator, signals: list[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """Probabilities of each signal, those of one shape together.

    Parameters
    ----------
    signals : list of array (lead, sample)
        At 250 Hz, without missing samples.

    Yields
    ------
    (index, array (lead, 7, sample))
        Not in the order of `signals`. Long ones are cut into overlapping pieces, so that memory stays bounded.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, x in enumerate(signals):
        groups.setdefault(x.shape, []).append(i)
    for (n_leads, n), members in groups.items():
        at_once = max(ROWS_AT_ONCE * 10 * RATE // (n_leads * min(n, PIECE)), 1)
        for k in range(0, len(members), at_once):
            some = members[k : k + at_once]
            batch = torch.from_numpy(np.stack([signals[i] for i in some]).astype(np.float32))
            yield from zip(some, _in_pieces(model, batch).numpy(), strict=True)


def _in_pieces(model: Delineator, x: Tensor) -> Tensor:
    n = x.shape[-1]
    with torch.inference_mode():
        if n <= PIECE:
            return probabilities(model(x))
        out = torch.empty(*x.shape[:2], N_OUTPUTS, n)
        for start in range(0, n - 2 * MARGIN, PIECE - 2 * MARGIN):
            start = min(start, n - PIECE)
            low, high = (0 if start == 0 else MARGIN), (PIECE if start + PIECE == n else PIECE - MARGIN)
            piece = probabilities(model(x[..., start : start + PIECE]))
            out[..., start + low : start + high] = piece[..., low:high]
    return out


def decode(p: np.ndarray) -> list[tuple[int, str, float, float, float]]:
    """Waves from probabilities.

    Parameters
    ----------
    p : array (lead, 7, sample)
        From `probabilities`.

    Returns
    -------
    list of (lead index, wave, onset, peak, offset)
        In ms from the first sample, lead by lead and wave by wave.

    Notes
    -----
    With p(t) the probability that the wave lasts at t, seen outward from its surest sample, its expected end is that
    sample plus the integral of p: the mean of the end's distribution, which has the least squared error and is not
    bound to samples. The outermost `TAIL` of the distribution is left out, as it is often another wave's.
    """
    ms = 1000.0 / RATE
    found: list[tuple[int, str, float, float, float]] = []
    sure_of: list[float] = []
    for k, wave in enumerate(WAVES):
        q = p[:, 1 + k]  # (lead, sample)
        lead, start, stop = _runs(p[:, :4].argmax(1) == 1 + k)
        if not len(lead):
            continue
        broken = (lead[1:] == lead[:-1]) & ((start[1:] - stop[:-1]) * ms < BRIDGED_MS)
        lead, start, stop = lead[np.r_[True, ~broken]], start[np.r_[True, ~broken]], stop[np.r_[~broken, True]]
        keep = (stop - start) * ms >= SHORTEST_MS[wave]
        lead, start, stop = lead[keep], start[keep], stop[keep]
        if not len(lead):
            continue
        onset, offset, sure = _ends(q, lead, start, stop, int(REACH_MS[wave] / ms))
        peak = np.clip(_peaks(p[:, 4 + k], lead, start, stop), onset, offset)
        onset[start == 0] = np.nan  # cut off by the record's ends
        offset[stop == q.shape[1]] = np.nan
        for row in np.flatnonzero(sure >= PRESENT):
            found.append((int(lead[row]), wave, onset[row] * ms, peak[row] * ms, offset[row] * ms))
            sure_of.append(sure[row])
    return _without_doubtful_p(found, np.array(sure_of))


def _without_doubtful_p(found: list[tuple[int, str, float, float, float]], sure: np.ndarray) -> list:
    """P waves are the rule or the exception. In fibrillation and flutter a few bumps look like one: where most QRS
    complexes nearby, over all leads, lack a P wave, only sure ones stay."""
    wave = np.array([row[1] for row in found])
    at = np.array([row[3] for row in found])

    def count(which: str) -> np.ndarray:
        times = np.sort(at[wave == which])
        return np.searchsorted(times, at + NEARBY_MS) - np.searchsorted(times, at - NEARBY_MS)

    doubtful = (wave == "P") & (count("P") < USUAL_P * count("QRS")) & (sure < SURE_P)
    return [row for row, drop in zip(found, doubtful, strict=True) if not drop]


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, start and stop (exclusive) of each run of True in `mask` (row, sample)."""
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, start = np.nonzero(edges == 1)
    _, stop = np.nonzero(edges == -1)
    return row, start, stop


def _window(q: np.ndarray, lead: np.ndarray, first: np.ndarray, step: int, length: int) -> np.ndarray:
    """(wave, length): q from `first` on in steps of +1 or -1, zero beyond the record."""
    at = first[:, None] + step * np.arange(length)
    inside = (at >= 0) & (at < q.shape[1])
    return np.where(inside, q[lead[:, None], np.clip(at, 0, q.shape[1] - 1)], 0.0)


def _ends(
    q: np.ndarray, lead: np.ndarray, start: np.ndarray, stop: np.ndarray, reach: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected onset and offset (samples), and the probability at the wave's surest sample."""
    length = int((stop - start).max())
    inside = np.arange(length) < (stop - start)[:, None]
    centre = start + np.where(inside, _window(q, lead, start, 1, length), -1.0).argmax(1)
    sure = q[lead, centre]

    def duration(step: int) -> np.ndarray:
        # Outward the probability may only fall: a rise belongs to another wave.
        lasts = np.minimum.accumulate(_window(q, lead, centre, step, reach), axis=1) / sure[:, None]
        return ((lasts - TAIL) / (1 - 2 * TAIL)).clip(0, 1).sum(1)

    # The centre's own sample spans half a sample to each side.
    onset, offset = centre + 0.5 - duration(-1), centre - 0.5 + duration(1)
    # Two waves of a kind do not overlap.
    between = np.where(lead[1:] == lead[:-1], (stop[:-1] + start[1:] - 1) / 2, np.nan)
    return np.fmax(onset, np.r_[np.nan, between]), np.fmin(offset, np.r_[between, np.nan]), sure


def _peaks(q: np.ndarray, lead: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Likeliest peak within each wave, refined by a parabola through its neighbours (samples)."""
    length = int((stop - start).max())
    inside = np.arange(length) < (stop - start)[:, None]
    at = start + np.where(inside, _window(q, lead, start, 1, length), -1.0).argmax(1)
    near = _window(q, lead, at - 1, 1, 3)
    bend = near[:, 0] - 2 * near[:, 1] + near[:, 2]
    shift = np.where(bend < -1e-9, 0.5 * (near[:, 0] - near[:, 2]) / np.where(bend < -1e-9, bend, 1.0), 0.0)
    return at + np.clip(shift, -0.5, 0.5)
