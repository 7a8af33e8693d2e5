"""The networks of the zoo: all of deepecgkit's, those of torch_ecg, and small ones built as others are published.

None is trained: weights are drawn with a fixed seed, and a few forward passes in train mode give batch normalisation
its statistics. What is judged is whether a network is read right, which no training changes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

N_OUT = 2


class Architecture(NamedTuple):
    """A network, how to make it, and what its spec says beyond leads, rate and length."""

    name: str
    source: str
    make: Callable[[float, int, int], nn.Module]  # from rate in Hz, leads and samples
    spec: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    most: int = 10**6  # samples: beyond these a record takes seconds


# ---------------------------------------------------------------- deepecgkit


DEEPECGKIT = (
    "afmodel", "convnext-v2", "crnn", "deep-res-cnn", "dualnet", "fcn-wang", "gru", "inception-time", "kanres",
    "kanres-deep", "lstm", "mamba", "medformer", "mlp-wang", "resnet", "resnet-hannun", "resnet-wang", "rocket",
    "se-resnet", "simple-cnn", "spectrogram-cnn", "tcn", "transformer", "xresnet", "xresnet1d-benchmark",
    "xresnet1d101",
)  # fmt: skip
_TOKEN_A_SAMPLE = ("dualnet", "transformer")


def _deepecgkit(name: str) -> Architecture:
    def make(fs: float, n_leads: int, n_samples: int) -> nn.Module:
        from deepecgkit.models import build_model

        return build_model(name, n_leads, N_OUT, **({"recording_length": 10} if name == "afmodel" else {}))

    return Architecture(name, "deepecgkit", make, most=1000 if name in _TOKEN_A_SAMPLE else 10**6)


# ---------------------------------------------------------------- torch_ecg


CNNS = (
    "vgg16", "vgg16_mish", "vgg16_swish", "vgg16_leadwise", "resnet_18", "resnet_34", "resnet_50", "resnext_50_32x4d",
    "resnet_nature_comm", "resnet_nature_comm_se", "resnet_nature_comm_gc", "resnet_nature_comm_nl",
    "resnet_nature_comm_bottle_neck", "resnet_nature_comm_bottle_neck_se", "resnet_nature_comm_bottle_neck_gc",
    "resnet_nature_comm_bottle_neck_nl", "resnetN", "resnetNB", "resnetNS", "resnetNBS", "tresnetF", "tresnetP",
    "tresnetN", "tresnetS", "tresnetM", "resnet_leadwise", "resnet_stanford", "regnet_16_8", "regnet_27_24",
    "regnet_23_168", "regnet_S", "multi_scopic", "multi_scopic_leadwise", "mobilenet_v1", "mobilenet_v2",
    "mobilenet_v3", "xception_vanilla", "xception_leadwise", "densenet_vanilla", "densenet_leadwise",
)  # fmt: skip
_LARGE = ("xception_leadwise", "regnet_23_168")  # 100 to 200 million weights
_PARTS = (  # what lies behind the convolutions: recurrence, attention, pooling
    ("none", "none", "max"), ("none", "none", "avg"), ("none", "gc", "max"), ("none", "nl", "max"),
    ("none", "sa", "max"), ("none", "transformer", "max"), ("lstm", "none", "max"), ("linear", "se", "max"),
    ("lstm", "sa", "avg"), ("none", "none", "none"),
)  # fmt: skip
_OVER_TIME = {"output": lambda y: y.mean(dim=1)}  # of what has a value per class at every position


def _torch_ecg() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch_ecg.model_configs
        import torch_ecg.models
        import torch_ecg.utils.utils_nn
    return torch_ecg


def _crnn(cnn: str, rnn: str = "none", attn: str = "se", pool: str = "max") -> Architecture:
    def make(fs: float, n_leads: int, n_samples: int) -> nn.Module:
        lib = _torch_ecg()
        config = deepcopy(lib.model_configs.ECG_CRNN_CONFIG)
        config.cnn.name, config.rnn.name, config.attn.name, config.global_pool = cnn, rnn, attn, pool
        if fs != config.fs:
            config.cnn[cnn].fs = config.fs
            config.cnn[cnn] = lib.utils.utils_nn.adjust_cnn_filter_lengths(config.cnn[cnn], fs)
        return lib.models.ECG_CRNN(list("ab"), n_leads, config)

    name = cnn if (rnn, attn, pool) == ("none", "se", "max") else f"{cnn}, {rnn}, {attn}, {pool}"
    return Architecture(
        f"ECG_CRNN {name}", "torch_ecg", make, _OVER_TIME if pool == "none" else {}, 1000 if cnn in _LARGE else 10**6
    )


def _labelling(kind: str, config: str, cnn: str = "") -> Architecture:
    """A network that gives a value per class at every position, or at every sample."""

    def make(fs: float, n_leads: int, n_samples: int) -> nn.Module:
        lib = _torch_ecg()
        settings = deepcopy(getattr(lib.model_configs, config))
        if cnn:
            settings.cnn.name = cnn
        return getattr(lib.models, kind)(list("ab"), n_leads, settings)

    return Architecture(f"{kind} {cnn}".strip(), "torch_ecg", make, _OVER_TIME)


TORCH_ECG = (
    *map(_crnn, CNNS),
    *(_crnn("resnetNS", *parts) for parts in _PARTS),
    _labelling("ECG_SEQ_LAB_NET", "ECG_SEQ_LAB_NET_CONFIG", "multi_scopic"),
    _labelling("ECG_SEQ_LAB_NET", "ECG_SEQ_LAB_NET_CONFIG", "multi_scopic_leadwise"),
    _labelling("ECG_UNET", "ECG_UNET_VANILLA_CONFIG"),
    _labelling("ECG_SUBTRACT_UNET", "ECG_SUBTRACT_UNET_CONFIG"),
)  # RR_LSTM takes RR intervals, no ECG


# ---------------------------------------------------------------- as others are published


WIDTH = 32


def _convolutions(n_leads: int, *more: nn.Module, relu: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Three strided convolutions, each with batch normalisation and an activation of its own."""
    layers: list[nn.Module] = []
    for before in (n_leads, WIDTH, WIDTH):
        layers += [nn.Conv1d(before, WIDTH, 9, stride=2, padding=4), nn.BatchNorm1d(WIDTH), relu()]
    return nn.Sequential(*layers, *more)


class Pooled(nn.Module):
    """Convolutions, average pooling and a linear layer: maps add up to the prediction."""

    def __init__(self, n_leads: int, *more: nn.Module, n_out: int = N_OUT) -> None:
        super().__init__()
        self.features = _convolutions(n_leads, *more)
        self.head = nn.Linear(WIDTH, n_out)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.features(x).mean(dim=2))


class CausalBlock(nn.Module):
    def __init__(self, before: int, dilation: int) -> None:
        super().__init__()
        self.past = 6 * dilation
        self.one = nn.Conv1d(before, WIDTH, 7, dilation=dilation)
        self.two = nn.Conv1d(WIDTH, WIDTH, 7, dilation=dilation)
        self.beside = nn.Conv1d(before, WIDTH, 1) if before != WIDTH else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.one(functional.pad(x, (self.past, 0))))
        return torch.relu(self.two(functional.pad(h, (self.past, 0))) + self.beside(x))


class CausalTcn(nn.Module):
    """Padded on the left alone (Bai et al. 2018); the mean over time is read."""

    def __init__(self, n_leads: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(CausalBlock(WIDTH if k else n_leads, 2**k) for k in range(blocks)))
        self.head = nn.Linear(WIDTH, N_OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x).mean(dim=2))


class Recurrent(nn.Module):
    """Convolutions, then an LSTM or GRU, record first or time first, of which the mean or the last step is read."""

    def __init__(self, n_leads: int, kind: type[nn.RNNBase], batch_first: bool, last: bool, both: bool) -> None:
        super().__init__()
        self.features = _convolutions(n_leads)
        self.rnn = kind(WIDTH, WIDTH, batch_first=batch_first, bidirectional=both)  # type: ignore[call-arg]
        self.head = nn.Linear(WIDTH * (2 if both else 1), N_OUT)
        self.batch_first, self.last = batch_first, last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.features(x)
        y, _ = self.rnn(h.transpose(1, 2) if self.batch_first else h.permute(2, 0, 1))
        time = 1 if self.batch_first else 0
        return self.head(y.select(time, -1) if self.last else y.mean(dim=time))


class Patches(nn.Module):
    """A transformer over patches of 50 ms to 200 ms, with learnt places: class token or mean, record or time first."""

    def __init__(self, n_leads: int, n_samples: int, patch: int, class_token: bool, batch_first: bool = True) -> None:
        super().__init__()
        self.embed = nn.Conv1d(n_leads, WIDTH, patch, stride=patch)
        n = n_samples // patch + class_token
        self.place = nn.Parameter(0.02 * torch.randn(1, n, WIDTH))
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, WIDTH)) if class_token else None
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, 0.1, batch_first=batch_first, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, N_OUT)
        self.batch_first = batch_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x).transpose(1, 2)
        if self.token is not None:
            h = torch.cat([self.token.expand(len(h), -1, -1), h], dim=1)
        h = h + self.place
        if not self.batch_first:
            return self.head(self.norm(self.encoder(h.transpose(0, 1))).mean(dim=0))
        h = self.norm(self.encoder(h))
        return self.head(h[:, 0] if self.token is not None else h.mean(dim=1))


class PatchTst(nn.Module):
    """Every lead by itself, patches as tokens (Nie et al. 2023); records and leads are one axis inside."""

    def __init__(self, n_leads: int, n_samples: int, patch: int) -> None:
        super().__init__()
        self.patch, n = patch, (n_samples - patch) // (patch // 2) + 1
        self.embed, self.place = nn.Linear(patch, WIDTH), nn.Parameter(0.02 * torch.randn(1, n, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, 0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(n_leads * WIDTH, N_OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pieces = x.unfold(2, self.patch, self.patch // 2).flatten(0, 1)  # (record x lead, token, sample)
        h = self.encoder(self.embed(pieces) + self.place)
        return self.head(h.mean(dim=1).unflatten(0, x.shape[:2]).flatten(1))


class Diagonal(nn.Module):
    """A diagonal state-space layer (S4D, Gu et al. 2022): a convolution as long as the input, by FFT."""

    def __init__(self, states: int = 16) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.log(0.5 * torch.ones(WIDTH, states)))
        self.turn = nn.Parameter(math.pi * torch.arange(states).repeat(WIDTH, 1))
        self.step = nn.Parameter(torch.empty(WIDTH, 1).uniform_(math.log(0.01), math.log(0.2)))
        self.read = nn.Parameter(torch.randn(WIDTH, states, 2))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, h: torch.Tensor) -> torch.Tensor:  # (record, position, channel)
        n, step = h.shape[1], self.step.exp()
        pole = torch.complex(-self.decay.exp() * step, self.turn * step)
        powers = torch.exp(pole[..., None] * torch.arange(n))
        kernel = 2 * (torch.view_as_complex(self.read)[..., None] * step[..., None] * powers).sum(dim=1).real
        u = h.transpose(1, 2)
        y = torch.fft.irfft(torch.fft.rfft(kernel, 2 * n) * torch.fft.rfft(u, 2 * n), 2 * n)[..., :n]
        return self.norm(h + functional.gelu(y).transpose(1, 2))


class StateSpace(nn.Module):
    def __init__(self, n_leads: int, stride: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(n_leads, WIDTH, stride, stride=stride)
        self.layers = nn.Sequential(Diagonal(), Diagonal())
        self.head = nn.Linear(WIDTH, N_OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.embed(x).transpose(1, 2)).mean(dim=1))


class TwoD(nn.Module):
    """2-D convolutions over (1, lead, sample), as published for 12 leads by 10 s."""

    def __init__(self, n_leads: int) -> None:
        super().__init__()
        self.along = nn.Sequential(
            nn.Conv2d(1, 16, (1, 9), stride=(1, 2), padding=(0, 4)), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, WIDTH, (1, 9), stride=(1, 2), padding=(0, 4)), nn.BatchNorm2d(WIDTH), nn.ReLU(),
        )  # fmt: skip
        self.across = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, (n_leads, 1)), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.head = nn.Linear(WIDTH, N_OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.across(self.along(x)).mean(dim=(2, 3)))


class Squeeze(nn.Module):
    """Squeeze and excitation (Hu et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, WIDTH), nn.Sigmoid())

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return h * self.gate(h.mean(dim=2))[:, :, None]


class UNet(nn.Module):
    """A value per class at every sample: (record, class, sample)."""

    def __init__(self, n_leads: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(n_leads, 16, 9, padding=4), nn.BatchNorm1d(16), nn.ReLU())
        self.down = nn.Sequential(nn.MaxPool1d(4), nn.Conv1d(16, WIDTH, 9, padding=4), nn.ReLU())
        self.up = nn.ConvTranspose1d(WIDTH, 16, 4, stride=4)
        self.last = nn.Sequential(nn.Conv1d(32, 16, 9, padding=4), nn.ReLU())
        self.out = nn.Conv1d(16, N_OUT, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return self.out(self.last(torch.cat([h, self.up(self.down(h))], dim=1)))


class NextBlock(nn.Module):
    """ConvNeXt (Liu et al. 2022): depthwise convolution, then channels last through LayerNorm and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(WIDTH, WIDTH, 7, padding=3, groups=WIDTH)
        self.norm, self.wide, self.narrow = (
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 4 * WIDTH),
            nn.Linear(4 * WIDTH, WIDTH),
        )

    def forward(self, h: torch.Tensor) -> torch.Tensor:  # (record, position, channel)
        inner = self.norm(self.depthwise(h.transpose(1, 2)).transpose(1, 2))
        return h + self.narrow(functional.gelu(self.wide(inner)))


class ConvNext(nn.Module):
    def __init__(self, n_leads: int) -> None:
        super().__init__()
        self.stem = nn.Conv1d(n_leads, WIDTH, 8, stride=8)
        self.blocks = nn.Sequential(NextBlock(), NextBlock())
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, N_OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.stem(x).transpose(1, 2))).mean(dim=1))


class NormalisesInside(Pooled):
    """Takes z-scores of each lead itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(dim=2, keepdim=True)
        return super().forward(centred / (centred.std(dim=2, keepdim=True) + 1e-5))


class Functional(nn.Module):
    """No module for any activation, and what is computed is overwritten in place."""

    def __init__(self, n_leads: int) -> None:
        super().__init__()
        self.one = nn.Conv1d(n_leads, WIDTH, 9, stride=2, padding=4)
        self.two, self.three = (nn.Conv1d(WIDTH, WIDTH, 9, stride=2, padding=4) for _ in range(2))
        self.norm = nn.BatchNorm1d(WIDTH)
        self.head = nn.Linear(WIDTH, N_OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = functional.relu(self.one(x), inplace=True)
        h = functional.relu_(self.norm(self.two(h)))
        h = self.three(h)
        h += 0.1
        return self.head(functional.relu_(h).mean(dim=2))


class SharedLayer(nn.Module):
    """One layer, and one ReLU, that run twice."""

    def __init__(self, n_leads: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(n_leads, WIDTH, 9, stride=4, padding=4)
        self.again, self.relu = nn.Conv1d(WIDTH, WIDTH, 9, padding=4), nn.ReLU()
        self.head = nn.Linear(WIDTH, N_OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.relu(self.first(x))
        for _ in range(2):
            h = self.relu(self.again(h))
        return self.head(h.mean(dim=2))


class Returns(Pooled):
    """Returns something else than (record, target)."""

    def __init__(self, n_leads: int, what: Callable[[torch.Tensor], Any], n_out: int = N_OUT) -> None:
        super().__init__(n_leads, n_out=n_out)
        self.what = what

    def forward(self, x: torch.Tensor) -> Any:
        return self.what(super().forward(x))


class LeadByLead(nn.Module):
    """The same convolutions for every lead: records and leads are one axis inside."""

    def __init__(self, n_leads: int) -> None:
        super().__init__()
        self.features = _convolutions(1)
        self.head = nn.Linear(n_leads * WIDTH, N_OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.features(x.flatten(0, 1)[:, None]).mean(dim=2)
        return self.head(h.unflatten(0, x.shape[:2]).flatten(1))


class Keras(Pooled):
    """Takes (record, sample, lead)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.transpose(1, 2))


def _here(name: str, make: Callable[[float, int, int], nn.Module], **spec: Any) -> Architecture:
    return Architecture(name, "here", make, spec)


def _log_odds(**more: Any) -> dict[str, Any]:
    return {"targets": ("male",), "units": (), **more}


HERE = (
    _here("average pooling, linear", lambda fs, n, t: Pooled(n)),
    _here("causal TCN", lambda fs, n, t: CausalTcn(n, 6 if t > 300 else 4)),
    _here("LSTM, last step", lambda fs, n, t: Recurrent(n, nn.LSTM, True, True, False)),
    _here("GRU, both ways", lambda fs, n, t: Recurrent(n, nn.GRU, True, False, True)),
    _here("GRU, both ways, time first", lambda fs, n, t: Recurrent(n, nn.GRU, False, False, True)),
    _here("ViT, class token", lambda fs, n, t: Patches(n, t, round(fs / 20), True)),
    _here("transformer, mean", lambda fs, n, t: Patches(n, t, round(fs / 20), False)),
    _here("transformer, time first", lambda fs, n, t: Patches(n, t, round(fs / 20), False, batch_first=False)),
    _here("PatchTST", lambda fs, n, t: PatchTst(n, t, round(fs / 10))),
    _here("S4D by FFT", lambda fs, n, t: StateSpace(n, max(round(fs / 50), 2))),
    _here("2-D CNN", lambda fs, n, t: TwoD(n), layout="record 1 lead sample"),
    _here("squeeze and excitation", lambda fs, n, t: Pooled(n, Squeeze())),
    _here("U-Net", lambda fs, n, t: UNet(n), output=lambda y: y.mean(dim=2)),
    _here("ConvNeXt, channels last", lambda fs, n, t: ConvNext(n)),
    _here("normalises inside", lambda fs, n, t: NormalisesInside(n)),
    _here("takes z-scores by lead", lambda fs, n, t: Pooled(n), normalise="z-score by lead"),
    _here("takes min-max by record", lambda fs, n, t: Pooled(n), normalise="min-max by record"),
    _here("functional, in place", lambda fs, n, t: Functional(n)),
    _here("a layer used twice", lambda fs, n, t: SharedLayer(n)),
    _here("a tuple", lambda fs, n, t: Returns(n, lambda y: (y.exp(), y)), output=1),
    _here("a dict", lambda fs, n, t: Returns(n, lambda y: {"values": y, "loss": None}), output="values"),
    _here("(record,)", lambda fs, n, t: Returns(n, lambda y: y[:, 0], 1), targets=("qt",), units=("ms",)),
    _here("log-odds", lambda fs, n, t: Returns(n, lambda y: y, 1), **_log_odds(link="logit")),
    _here("probability", lambda fs, n, t: Returns(n, torch.sigmoid, 1), **_log_odds(link="probability")),
    _here("softmax", lambda fs, n, t: Returns(n, lambda y: y, 5), **_log_odds(link="softmax", columns=(3,))),
    _here("lead by lead", lambda fs, n, t: LeadByLead(n)),
    _here("record, sample, lead", lambda fs, n, t: Keras(n), layout="record sample lead"),
    _here("64-bit weights", lambda fs, n, t: Pooled(n).double()),
)

ZOO = (*HERE, *map(_deepecgkit, DEEPECGKIT), *TORCH_ECG)


def made(one: Architecture, fs: float, n_leads: int, n_samples: int, x: torch.Tensor) -> nn.Module:
    """The network in eval mode, its batch normalisations used to `x`, which is as its own code takes it."""
    torch.manual_seed(0)
    net = one.make(fs, n_leads, n_samples)
    norms = [m for m in net.train().modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.momentum = None  # a mean over all passes
    with torch.no_grad():
        for _ in range(3):
            net(x.to(next((p.dtype for p in net.parameters()), x.dtype)))
    for m, momentum in zip(norms, momenta, strict=True):
        m.momentum = momentum
    return net.eval()
