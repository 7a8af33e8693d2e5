"""Wrapping: a network gets its spec, after it has been tried on a few made-up ECGs."""

from __future__ import annotations

import contextlib
import difflib
import warnings

import torch
from torch import nn

from .interface import EcgNetwork
from .running import unreadable, unwrapped
from .spec import EXAMPLE, FAILS, ModelError, ModelSpec, NetworkError, device_of, evaluating, keep_spec

_SECONDS = {"beat": 1.2, "rhythm": 10.0}  # of what a cohort holds
_TRIED_UV = 250.0  # standard deviation of the made-up ECGs
_RECORDS = 3
_LOUD = 1e4  # times the input: no log-odds stay between 0 and 1
_SAME = 1e-3  # of the outputs' size: more is no rounding


def wrap_model(module: nn.Module, spec: ModelSpec) -> nn.Module:
    """Give a network its spec, after trying it on three made-up ECGs.

    Parameters
    ----------
    module : nn.Module
        Takes what the spec says, (record, lead, sample) by default, and gives one number per record and target.
    spec : ModelSpec
        What it takes and gives.

    Returns
    -------
    nn.Module
        The same module, out of ``torch.compile`` or ``nn.DataParallel``, with ``.spec``; its weights and mode are
        untouched. One that has something else called ``spec`` keeps it, and `ecgwb.models.spec_of` gives its ModelSpec.

    Raises
    ------
    ModelError
        When the network refuses the input the spec promises, gives another number of outputs, no probabilities where
        the spec says so, or lacks the layer.

    Warns
    -----
    UserWarning
        When its answers change from call to call, or with the other records of a batch; when it seems to give
        probabilities and the spec says log-odds or classes.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module is a {type(module).__name__}; expected a network, torch.nn.Module")
    if not isinstance(spec, ModelSpec):
        raise TypeError(f"spec is a {type(spec).__name__}; expected what the network takes and gives:\n{EXAMPLE}")
    module = unwrapped(module)
    if not spec.targets:
        raise ModelError(f"spec.targets is empty; name what the network predicts, as in\n{EXAMPLE}")
    if spec.layer:
        check_layer(module, spec.layer)
    _try(EcgNetwork(module, spec))
    keep_spec(module, spec)
    return module


def check_layer(model: nn.Module, name: str) -> None:
    """Refuses the name of a layer that the network does not have, with those most like it."""
    names = [n for n, _ in model.named_modules() if n]
    if why := unreadable(model, name):
        raise ModelError(why)
    if name in names:
        return
    like = difflib.get_close_matches(name, names, n=3, cutoff=0.0)
    raise ModelError(
        f"the network has no layer {name!r}; it has {', '.join(like)}"
        f"{', and others: see wb.models.layers(model)' if len(names) > len(like) else ''}"
    )


def made_up(network: EcgNetwork, n_records: int = _RECORDS, spread: float = _TRIED_UV) -> torch.Tensor:
    """Noise as large as an ECG, and as smooth (record, lead, sample), in the network's input units."""
    spec = network.about
    n = spec.n_ecg(max(round(_SECONDS[spec.input] * spec.fs), 0 if spec.pad or spec.windows else spec.n_samples))
    noise = torch.randn(n_records, len(spec.leads), n + 8, generator=torch.Generator().manual_seed(0))
    smooth = noise.unfold(2, 9, 1).mean(dim=3) * 3.0
    return (smooth * spread * spec.scale).to(device_of(network.model))


def _try(network: EcgNetwork) -> None:
    """Runs the network as it will be run, and compares what comes out with what the spec promises."""
    model, spec = network.model, network.about
    with evaluating(model), torch.no_grad():
        x = made_up(network)
        z = network.enter(x)
        try:
            y = network.raw(z)
        except NetworkError as e:
            given = tuple(network.laid_out(z).shape)
            raise NetworkError(
                f"the network refuses what its spec promises, ({spec.layout.replace(' ', ', ')}) of {given}: "
                f"{str(e).removeprefix(FAILS)}"
            ) from e
        _check_shape(y, len(z), spec)
        strong = y
        with contextlib.suppress(NetworkError):  # it may refuse signals that no heart makes
            strong = network.raw(_LOUD * z)
        _check_values(y, strong, spec)
        again, alone = network(x), network(x[:1])
        y = network(x)
    for other, what in ((again, "from call to call (dropout or noise that eval() does not switch off)"),
                        (torch.cat([alone, y[1:]]), "with the other records of a batch")):  # fmt: skip
        if (other - y).abs().max() > _SAME * y.abs().max():
            warnings.warn(
                f"the network's answer to a record changes {what}; its predictions and maps mean little",
                stacklevel=4,
            )
            break


def _check_shape(y: torch.Tensor, n: int, spec: ModelSpec) -> None:
    wanted, most = len(spec.targets), max(spec.columns, default=-1)
    if spec.link == "softmax" and y.ndim == 2 and y.shape[1] < 2:
        raise ModelError(
            "spec.link is 'softmax' and the network gives one number; a softmax takes two classes or more. For one "
            "number take link='logit', or 'probability' where it lies between 0 and 1"
        )
    if y.ndim != 2 or len(y) != n:
        advice = "say what the targets are of it with spec.output, such as output=lambda y: y.mean(dim=2)"
        raise ModelError(f"the network gives {tuple(y.shape)} for {n} inputs; expected ({n}, targets): {advice}")
    if (most >= y.shape[1] or min(spec.columns) < -y.shape[1]) if spec.columns else (y.shape[1] != wanted):
        raise ModelError(
            f"the network gives {(1, *y.shape[1:])}, its spec names {wanted} targets: {spec.targets}"
            + (f" in columns {spec.columns}" if spec.columns else "; name them all, or choose some with spec.columns")
        )


def _check_values(y: torch.Tensor, strong: torch.Tensor, spec: ModelSpec) -> None:
    """Whether outputs are what the link says, on usual and on very large signals."""
    y = torch.cat([y, strong])
    known = y[torch.isfinite(y).all(dim=1)]
    if not len(known):
        return
    low, high = float(known.min()), float(known.max())
    if spec.link == "probability" and (low < 0 or high > 1):
        raise ModelError(
            f"spec.link is 'probability' and the network gives {low:.3g} to {high:.3g}; expected 0 to 1. For log-odds "
            "take link='logit', for classes before a softmax link='softmax'"
        )
    if spec.link in ("logit", "softmax") and low >= 0 and high <= 1 and high > low:
        warnings.warn(
            f"spec.link is {spec.link!r} and all outputs lie between 0 and 1 ({low:.2g} to {high:.2g}), even for very "
            "large signals; where they are probabilities, say link='probability'",
            stacklevel=5,
        )
