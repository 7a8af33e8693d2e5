"""The delineator's network: leads of any number and order in, the probability of each wave at every sample out.

A one-dimensional U-Net that sees every lead by itself and, at each of its coarser levels, what the leads have in
common. For every sample it gives the probability of QRS complex, T wave or neither, of P wave, which may lie upon a T
wave, and of each wave's peak.
torch is slow to import: whoever needs this file imports it when a recording is to be delineated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from .decoding import RATE

N_OUTPUTS = 7  # neither QRS nor T, P, QRS, T, then the peaks of P, QRS, T
EXCLUSIVE, ALONE = [0, 2, 3], [1, 4, 5, 6]  # a sample is of one of the former; the latter are each for themselves
STRIDE = 16  # samples that a step of the coarsest level covers
ROWS_AT_ONCE = 24  # leads of ten seconds in one pass; of more, what a layer makes leaves the processor's cache
# A long recording is cut into pieces that overlap by twice the margin, which serves as context only, samples.
PIECE, MARGIN = 24 * RATE, 4 * RATE
WEIGHTS = Path(__file__).parent / "weights"


class Residual(nn.Module):
    """Two convolutions beside a connection that skips them; the first may be dilated."""

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
    """Adds to every lead a mixture of the mean and the maximum over the record's leads, the same for any order.

    At each moment over the leads that are there at it.
    """

    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Conv1d(2 * width, width, 1, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, n_leads: int, there: Tensor | None = None) -> Tensor:
        by_lead = x.mT.unflatten(0, (-1, n_leads))  # (record, lead, time, channel), as it lies in memory
        if there is None:
            common = torch.cat([by_lead.mean(1), by_lead.amax(1)], dim=-1)
        else:
            mask = at_rate_of(there, x.shape[-1])[..., None]  # (record, lead, time, 1)
            n = mask.sum(1).clamp_min(1)
            # Before it comes a ReLU: the maximum over no lead is 0.
            common = torch.cat([(by_lead * mask).sum(1) / n, (by_lead * mask).amax(1)], dim=-1)
        common = self.out(F.relu(self.norm(self.mix(common.mT)), inplace=True))
        return x + common.repeat_interleave(n_leads, dim=0)


class Down(nn.Module):
    """Half the sampling rate, then a residual block and an exchange between the leads."""

    def __init__(self, before: int, width: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv1d(before, width, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.block = Residual(width, kernel)
        self.exchange = LeadExchange(width)

    def forward(self, x: Tensor, n_leads: int, there: Tensor | None = None) -> Tensor:
        x = F.relu(self.norm(self.conv(x)), inplace=True)
        return _where_there(self.exchange(self.block(x), n_leads, there), there)


class Up(nn.Module):
    """Twice the sampling rate, joined with what was there before it was halved."""

    def __init__(self, below: int, width: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv1d(below + width, width, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        # Bilinear in a height of 1 is linear; only of this kind does torch have a fast way with channels last.
        x = F.interpolate(x[:, :, None], scale_factor=(1.0, 2.0), mode="bilinear").squeeze(2)
        return F.relu(self.norm(self.conv(torch.cat([x.mT, skip.mT], dim=-1).mT)), inplace=True)


class ChannelsLast(nn.Module):
    """A convolution for inference, with the channels of a moment side by side in memory.

    They take three quarters of the time so. torch has this layout for images alone: they have a height of 1 here.
    """

    def __init__(self, conv: nn.Conv1d):
        super().__init__()
        self.weight = conv.weight.detach()[:, :, None].contiguous(memory_format=torch.channels_last)
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.how = (1, *conv.stride), (0, *conv.padding), (1, *conv.dilation)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x[:, :, None], self.weight, self.bias, *self.how).squeeze(2)


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

    def forward(self, signal: Tensor, there: Tensor | None = None) -> Tensor:
        """Logits (record, lead, 7, sample) of a signal (record, lead, sample) in any unit, at 250 Hz.

        Where samples are missing, `there` (same shape) says at which there is one.
        """
        n_leads, n = signal.shape[1:]
        x = (normalise(signal) if there is None else normalise_present(signal, there)).flatten(0, 1)
        x = F.pad(x, (0, -n % STRIDE))
        # The second channel lifts small waves beside a large QRS.
        x = torch.stack([x, torch.asinh(10 * x) / 3], dim=1)
        x = _where_there(F.relu(self.norm(self.stem(x)), inplace=True), there)
        x0 = _where_there(self.block(x), there)
        x1 = self.down1(x0, n_leads, there)
        x2 = self.down2(x1, n_leads, there)
        x3 = self.down3(x2, n_leads, there)
        for block in self.context:
            x3 = _where_there(block(x3), there)
        x3 = _where_there(self.exchange(x3, n_leads, there), there)
        x2 = _where_there(self.up2(x3, x2), there)
        x = self.up0(_where_there(self.up1(x2, x1), there), x0)
        x = self.head(x)  # (record * lead, 2 * 7, step): each step holds two samples
        x = x.unflatten(1, (N_OUTPUTS, 2)).transpose(2, 3).flatten(2)[..., :n]
        return x.unflatten(0, (-1, n_leads))


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


def normalise_present(signal: Tensor, there: Tensor) -> Tensor:
    """`normalise` by the samples that are there alone; the others are zero."""
    n = signal.shape[-1]
    pieces = max(n // (2 * RATE), 1)
    size = n // pieces
    x, known = (y[..., : pieces * size].unflatten(-1, (pieces, size)) for y in (signal * there, there))
    largest = x.abs().amax(-1)  # (record, lead, piece)
    # A piece that is there for less than half may lack a QRS complex.
    enough = known.mean(-1) >= torch.minimum(known.mean(-1).amax(-1, keepdim=True), torch.tensor(0.5))
    scale = torch.where(enough, largest, torch.nan).nanmedian(-1, keepdim=True).values.nan_to_num()
    flat = scale <= 1e-6 * largest.amax(-1, keepdim=True).clamp_min(1e-30)
    return torch.where(flat, 0.0, signal * there / scale.masked_fill(flat, 1.0)).clamp(-8, 8)


def _where_there(x: Tensor, there: Tensor | None) -> Tensor:
    """Features (record * lead, channel, step), zero where a lead is missing, as they are beyond the recording."""
    return x if there is None else x * at_rate_of(there, x.shape[-1]).flatten(0, 1)[:, None]


def at_rate_of(there: Tensor, steps: int) -> Tensor:
    """Of each step (record, lead, step), whether a lead is there for half of it or more, by its samples."""
    size = 2 ** round(math.log2(there.shape[-1] / steps))
    there = F.pad(there, (0, steps * size - there.shape[-1]))
    return (there.unflatten(-1, (steps, size)).mean(-1) >= 0.5).to(there.dtype)


# ---------------------------------------------------------------- inference


@cache
def load_delineator() -> Delineator:
    """The shipped network, ready for use."""
    file = WEIGHTS / "delineator.safetensors"
    with safe_open(file, "pt") as opened:
        model = Delineator(**json.loads(opened.metadata()["net"]))
    model.load_state_dict({name: x.float() for name, x in load_file(file).items()})
    return for_inference(model)


def for_inference(model: Delineator) -> Delineator:
    """The same network, for inference only: each normalisation folded into its convolution, channels last."""
    for module in model.eval().modules():
        for conv, norm in (("conv", "norm"), ("conv1", "norm1"), ("conv2", "norm2"), ("stem", "norm"), ("mix", "norm")):
            if isinstance(getattr(module, norm, None), nn.BatchNorm1d) and hasattr(module, conv):
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv1d):
                setattr(module, name, ChannelsLast(child))
    return model


def probabilities(
    model: Delineator, signals: list[np.ndarray], gaps: list[np.ndarray] | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Probabilities of each signal; signals of one shape pass the network together.

    Parameters
    ----------
    model : Delineator
    signals : list of array (lead, sample)
        At 250 Hz, with any number where samples are missing. Long ones are cut into overlapping pieces, so that memory
        stays bounded.
    gaps : list of bool array (lead, sample), optional
        Where samples are missing: what is there, alone, sets a lead's scale and is shown to the other leads.

    Yields
    ------
    (int, array (lead, 7, sample))
        Index into `signals`, which are not taken in order, and the probabilities: of neither QRS nor T, P, QRS and T
        (all but P's sum to 1), then of each wave's peak.
    """
    groups: dict[tuple, list[int]] = {}
    for i, x in enumerate(signals):
        groups.setdefault((*x.shape, gaps is not None and bool(gaps[i].any())), []).append(i)
    for (n_leads, n, with_gaps), members in groups.items():
        at_once = max(ROWS_AT_ONCE * 10 * RATE // (n_leads * min(n, PIECE)), 1)
        for k in range(0, len(members), at_once):
            batch = members[k : k + at_once]
            together = torch.from_numpy(np.stack([signals[i] for i in batch]).astype(np.float32))
            there = None
            if gaps is not None and with_gaps:
                there = torch.from_numpy(np.stack([~gaps[i] for i in batch]).astype(np.float32))
            yield from zip(batch, _in_pieces(model, together, there).numpy(), strict=True)


@torch.inference_mode()
def _in_pieces(model: Delineator, x: Tensor, there: Tensor | None = None) -> Tensor:
    """Probabilities (record, lead, 7, sample) of signals (record, lead, sample)."""
    n = x.shape[-1]
    if n <= PIECE:
        return _to_probabilities(_logits(model, x, there))
    out = torch.empty(*x.shape[:2], N_OUTPUTS, n)
    for start in range(0, n - 2 * MARGIN, PIECE - 2 * MARGIN):
        start = min(start, n - PIECE)
        low = 0 if start == 0 else MARGIN
        high = PIECE if start + PIECE == n else PIECE - MARGIN
        inside = slice(start, start + PIECE)
        piece = _to_probabilities(_logits(model, x[..., inside], None if there is None else there[..., inside]))
        out[..., start + low : start + high] = piece[..., low:high]
    return out


def _logits(model: Delineator, x: Tensor, there: Tensor | None = None) -> Tensor:
    """In half the time where the processor computes in bfloat16; no landmark's SD on LUDB then grows by 0.5 %."""
    with torch.autocast("cpu", torch.bfloat16, enabled=_has_bfloat16()):
        return (model(x) if there is None else model(x, there)).float()


@cache
def _has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16; where torch is too old to say, it counts as one that does not."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def _to_probabilities(logits: Tensor) -> Tensor:
    p = logits.sigmoid()
    p[:, :, EXCLUSIVE] = logits[:, :, EXCLUSIVE].softmax(2)
    return p
