"""Running: the network inside its wrappings, and where in a network an error arose."""

from __future__ import annotations

from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

_PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)
LONGEST = 600  # characters of a network's own message; TorchScript's fill screens


def unwrapped(model: Any) -> Any:
    """The network itself, out of ``torch.compile``, ``nn.DataParallel``, its distributed sister and ``AveragedModel``.

    Parameters
    ----------
    model : nn.Module
        Anything else comes back as it is.

    Returns
    -------
    nn.Module
        It shares its weights with what was given; hooks on its layers run, which a compiled network may skip.
    """
    while isinstance(model, nn.Module):
        inner = model.module if isinstance(model, _PARALLEL) else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            break
        model = inner
    return model


def unreadable(model: nn.Module, layer: str = "") -> str:
    """Why a layer's output cannot be read during a forward pass; "" where it can.

    Parameters
    ----------
    model : nn.Module
    layer : str, optional
        Dotted name; without one, whether any layer can be read.

    Returns
    -------
    str
        For an error; it says what works instead.
    """
    names = [".".join(layer.split(".")[:n]) for n in range(layer.count(".") + 2)] if layer else [""]
    inside = dict(model.named_modules())
    if not any(isinstance(inside.get(name), torch.jit.ScriptModule) for name in names):
        return ""
    return (
        "TorchScript runs a network as a whole, so its layers cannot be read. Take attention by edits (wb.edit_map) or "
        "wb.attribute with method 'saliency', 'smoothgrad', 'input_x_gradient', 'integrated_gradients' or 'occlusion', "
        "and a spec without layer; maps of layers need the network's class: wb.load_model(weights, module, spec)"
    )


def where_it_failed(model: nn.Module, x: torch.Tensor, error: BaseException) -> str:
    """What a network's own error was, in which of its layers it arose, and what that layer got.

    Parameters
    ----------
    model : nn.Module
        The network that ran.
    x : Tensor
        What it was given, for errors that arose outside all layers.
    error : exception
        As caught; its traceback is read, nothing runs again.

    Returns
    -------
    str
        ``"RuntimeError: ...; in layer 'features.0' (Conv1d), which got (1, 2, 600)"``.
    """
    names = {id(m): name for name, m in reversed(list(model.named_modules()))}
    layer, got = model, _shapes((x,))
    trace = error.__traceback__
    while trace is not None:  # from the caller inwards: the last layer met is the innermost
        called = _layer_called(trace.tb_frame)
        if called is not None and id(called[0]) in names:
            layer, got = called
        trace = trace.tb_next
    name, kind = names[id(layer)], type(layer).__name__
    where = f"in layer {name!r} ({kind})" if name else f"in the network itself ({kind})"
    text = " ".join(str(error).split())
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    return f"{type(error).__name__}: {text}; {where}, which got {got}"


def _layer_called(frame: FrameType) -> tuple[nn.Module, str] | None:
    """The layer that a frame of a traceback calls, and the shapes it was given."""
    if frame.f_code.co_name != "_call_impl":  # of nn.Module, in which arguments are still as they were given
        return None
    layer = frame.f_locals.get("self")
    given = (*frame.f_locals.get("args", ()), *frame.f_locals.get("kwargs", {}).values())
    return (layer, _shapes(given)) if isinstance(layer, nn.Module) else None


def _shapes(given: Any) -> str:
    """Tensors by their shapes, and by their dtype where it is unusual; other things by their type."""
    return ", ".join(_shape(v) for v in given) or "nothing"


def _shape(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        dtype = "" if value.dtype == torch.float32 else f" {str(value.dtype).removeprefix('torch.')}"
        return f"{tuple(value.shape)}{dtype}"
    if isinstance(value, (tuple, list)):
        return f"[{_shapes(value)}]"
    return repr(value) if isinstance(value, (bool, int, float, str, type(None))) else type(value).__name__
