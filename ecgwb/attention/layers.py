"""Layers: finding one by name, reading it during a forward pass, and where its positions lie in the input."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..models.running import unreadable
from ..models.spec import ModelError, device_of, evaluating, spec_of


class Positions(NamedTuple):
    """Where a layer's positions lie in the network's input."""

    sample: np.ndarray  # (position,) centre of each receptive field, in input samples
    field: float  # width of the receptive field, samples
    how: str  # "receptive-field centres" or "evenly spread"


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The layer of that dotted name."""
    layers = dict(model.named_modules())
    if not name or name not in layers:
        raise ModelError(f"the network has no layer {name!r}; it has {', '.join(n for n in layers if n)}")
    if why := unreadable(model, name):
        raise ModelError(why)
    return layers[name]


# ---------------------------------------------------------------- reading a layer


@contextlib.contextmanager
def hooked(hooks: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Within, each module calls its function after its forward pass; afterwards no hook is left, whatever happens.

    Parameters
    ----------
    hooks : mapping of nn.Module to function
        From (module, inputs, output) to what takes the output's place; None leaves it.
    """
    with contextlib.ExitStack() as stack:
        for module, hook in hooks.items():
            stack.enter_context(module.register_forward_hook(hook))
        yield


@contextlib.contextmanager
def activations_only(module: nn.Module, name: str) -> Iterator[list[torch.Tensor]]:
    """Within, a forward pass under `torch.no_grad` records gradients from this layer's output onwards only.

    The list holds the output; the change of gradient mode is undone afterwards, whatever happens.
    """
    seen: list[torch.Tensor] = []

    def read(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        if seen:
            raise ModelError(f"layer {name!r} runs more than once in a forward pass; choose one that runs once")
        if not isinstance(output, torch.Tensor) or output.ndim != 3:
            shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise ModelError(f"layer {name!r} gives {shape}; expected (record, channel, position)")
        seen.append(output.detach().requires_grad_())
        torch.set_grad_enabled(True)
        return seen[0].clone()  # a copy, so that an in-place layer behind it leaves the recorded one alone

    before = torch.is_grad_enabled()
    try:
        with hooked({module: read}):
            yield seen
    finally:
        torch.set_grad_enabled(before)


def readable_layers(model: nn.Module, x: np.ndarray) -> list[str]:
    """Layers that a map can be read from: those giving (record, channel, position) once in a forward pass.

    The spec's own comes first, then blocks of layers in their order, or, where there are hardly any, its layers.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    x : array (record, lead, sample)
        As `model_input` gives.
    """
    modules = {name: m for name, m in model.named_modules() if name}
    calls = dict.fromkeys(modules, 0)

    def count(name: str, _module: nn.Module, _inputs: tuple[torch.Tensor, ...], y: Any) -> None:
        calls[name] += 1 if isinstance(y, torch.Tensor) and y.ndim == 3 and y.shape[2] > 1 else 2

    with evaluating(model), torch.no_grad(), hooked({m: partial(count, name) for name, m in modules.items()}):
        model(torch.as_tensor(x, dtype=torch.float32, device=device_of(model)))
    once = [name for name, n in calls.items() if n == 1]
    blocks = [name for name in once if any(modules[name].children())]
    return list(dict.fromkeys([spec_of(model).layer, *(blocks if len(blocks) > 1 else once)]))


class _Reached(Exception):
    """Ends a forward pass at the layer asked for: what lies behind may insist on one input length."""


def _run_to(model: nn.Module, module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    found: list[torch.Tensor] = []

    def stop(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(output, torch.Tensor):
            found.append(output)
        raise _Reached

    with hooked({module: stop}), contextlib.suppress(_Reached):
        model(x)
    if not found or found[0].ndim != 3:
        raise ModelError("the layer did not run, or does not give (record, channel, position)")
    return found[0]


# ---------------------------------------------------------------- where its positions lie


@torch.inference_mode(False)  # a caller's inference mode would forbid gradients
def positions(model: nn.Module, layer: str | None = None) -> Positions:
    """Where the layer's positions lie: the centres of their receptive fields, measured by gradients.

    The input is made longer than the network's own where its ends would cut fields short. It is given to a copy whose
    weights are made positive and whose max pooling is averaging, so that nothing on the way is switched off or cancels;
    zero weights stay zero. A network whose layer takes one length only, or sees everything at once, has its positions
    spread evenly.
    """
    spec = spec_of(model)
    name = layer or spec.layer
    module = find_layer(model, name)
    n_leads, n_samples = len(spec.leads), spec.n_samples
    with evaluating(model):
        n = _run_to(model, module, torch.zeros(1, n_leads, n_samples, device=device_of(model))).shape[2]
    try:
        positive = _positive_copy(model)
        for long in (n_samples, 3 * n_samples, max(8 * n_samples, 4096)):
            found = _measured(positive, find_layer(positive, name), n_leads, long)
            if found is not None:
                first, stride, field = found
                return Positions(first + stride * np.arange(n), field, "receptive-field centres")
    except (RuntimeError, IndexError, TypeError):  # takes one length only, reads nothing, or cannot be copied
        pass
    return Positions((np.arange(n) + 0.5) * n_samples / n - 0.5, float("nan"), "evenly spread")


def _measured(model: nn.Module, module: nn.Module, n_leads: int, n_samples: int) -> tuple[float, float, float] | None:
    """Centre of the first position, step to the next, width of a field; None where the input's ends cut fields."""
    with torch.enable_grad():
        x = torch.ones(1, n_leads, n_samples, dtype=torch.float64, requires_grad=True)
        a = _run_to(model, module, x)
        middle, step = a.shape[2] // 2, min(16, (a.shape[2] - 1) // 4)
        spans = []
        for k in (middle, middle + step):
            g = torch.autograd.grad(a[:, :, k].sum(), x, retain_graph=True)[0]
            reads = np.flatnonzero((g != 0).any(dim=0).any(dim=0).numpy())
            spans.append((reads[0], reads[-1]))
    (a0, a1), (b0, b1) = spans
    if a0 == 0 or b1 == n_samples - 1 or b0 <= a0 or b1 - b0 != a1 - a0:
        return None
    stride = (b0 - a0) / step
    return (a0 + a1) / 2 - stride * middle, stride, float(a1 - a0 + 1)


def _positive_copy(model: nn.Module) -> nn.Module:
    spec = spec_of(model)  # shared, not copied: it may list thousands of patients
    copied = copy.deepcopy(model, {id(spec): spec}).double().cpu().eval()
    with torch.no_grad():
        for p in copied.parameters():
            p.abs_()
    for m in list(copied.modules()):
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None:
            m.reset_running_stats()
        for name, child in m.named_children():
            if isinstance(child, nn.MaxPool1d) and child.dilation == 1:  # a maximum reads one of its inputs at a time
                setattr(m, name, nn.AvgPool1d(child.kernel_size, child.stride, child.padding, child.ceil_mode))
    return copied


def upsampling(where: Positions, n_positions: int, n_samples: int) -> np.ndarray:
    """Matrix (position, sample): linear between the centres, ends held, then shifted to keep each map's mean."""
    at = np.arange(n_samples)
    linear = np.stack([np.interp(at, where.sample, row) for row in np.eye(n_positions)])
    return linear + (1 / n_positions - linear.mean(axis=1, keepdims=True))
