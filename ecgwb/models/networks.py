"""Networks: the paper's and a compact one, with average pooling and a linear head. Imports nothing of the package."""

from __future__ import annotations

from collections.abc import Sequence

import scipy.fft
import torch
from torch import nn


class LongConv1d(nn.Conv1d):
    """A convolution with a long kernel, by Fourier transform while a CPU trains it: same values but for rounding, and
    a step of KanResWideX takes a third of the time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, in, T) -> (B, out, T - k + 1)
        if not self.training or x.device.type != "cpu" or self.bias is None:
            return super().forward(x)
        n = scipy.fft.next_fast_len(x.shape[2], real=True)
        spectrum = torch.einsum("bif,oif->bof", torch.fft.rfft(x, n), torch.fft.rfft(self.weight, n).conj())
        valid = x.shape[2] - self.weight.shape[2] + 1
        return torch.fft.irfft(spectrum, n)[..., :valid] + self.bias[:, None]


class KanResModule(nn.Module):
    """[Conv 32->64 k50, BN, ReLU, Conv 64->32 k50, BN, ReLU, add input]: one of the paper's eight modules."""

    def __init__(self) -> None:
        super().__init__()
        # What padding="same" does with an even kernel, without its copy and its warning.
        self.pad = nn.ConstantPad1d((24, 25), 0.0)
        self.conv1, self.bn1, self.relu1 = LongConv1d(32, 64, 50), nn.BatchNorm1d(64), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = LongConv1d(64, 32, 50), nn.BatchNorm1d(32), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, 32, T)
        y = self.relu1(self.bn1(self.conv1(self.pad(x))))
        return x + self.relu2(self.bn2(self.conv2(self.pad(y))))


class KanResWideX(nn.Module):
    """The paper's network (Hicks et al. 2021, released code): 1,651,496 parameters with 8 leads and 8 outputs.

    Takes (record, lead, sample) in µV, of any length; last layer every 2 samples.
    """

    layer = "blocks"

    def __init__(self, n_leads: int = 8, n_outputs: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(n_leads, 64, 8), nn.BatchNorm1d(64), nn.ReLU(),
            nn.Conv1d(64, 32, 3), nn.BatchNorm1d(32), nn.ReLU(),
            nn.AvgPool1d(2),
        )  # fmt: skip
        self.blocks = nn.Sequential(*(KanResModule() for _ in range(8)))
        self.head = nn.Linear(32, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, lead, sample) -> (B, output)
        return self.head(self.blocks(self.stem(x)).mean(dim=2))


class ResidualBlock(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()

        def conv() -> nn.Conv1d:
            return nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation, bias=False)

        self.conv1, self.bn1, self.relu1 = conv(), nn.BatchNorm1d(width), nn.ReLU()
        self.conv2, self.bn2, self.relu2 = conv(), nn.BatchNorm1d(width), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, width, T)
        return self.relu2(x + self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))


class CompactNet(nn.Module):
    """A residual net that looks locally: last layer every 8 ms, each position seeing 30 + 32 * sum(dilations) ms.

    Every kernel is odd and centred, so position k of the last layer is centred on sample 4k exactly. Average pooling
    and a linear head make the prediction the bias plus the mean over positions of a signed map. Takes µV.
    """

    layer = "blocks"
    _UV = 500.0  # puts usual voltages near 1 for the first layer

    def __init__(
        self, n_leads: int = 8, n_outputs: int = 7, width: int = 64, dilations: Sequence[int] = (1, 1, 2, 2, 3, 3)
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(n_leads, width // 2, 7, stride=2, padding=3, bias=False), nn.BatchNorm1d(width // 2), nn.ReLU(),
            nn.Conv1d(width // 2, width, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
        )  # fmt: skip
        self.blocks = nn.Sequential(*(ResidualBlock(width, d) for d in dilations))
        self.head = nn.Linear(width, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, lead, sample) -> (B, output)
        return self.head(self.blocks(self.stem(x / self._UV)).mean(dim=2))
