"""Models: how networks, the package's or anyone's, are described, stored and loaded.

Imports nothing of the package but its networks: one knows its input only by its `ModelSpec`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import torch
from torch import nn

from .networks import CompactNet, KanResWideX
from .running import unreadable, unwrapped, where_it_failed

_PRIVATE = "_ecgwb_spec"  # where a network that has a submodule or parameter called spec keeps its ModelSpec
_TAKEN = {"record", "patient", "lead", "time", "sample", "landmark", "target", "seen", "beat", "fiducial", "rhythm"}


class ModelError(ValueError):
    """A model that cannot be used; the message says what was seen, what was expected and the fix."""


@dataclass(frozen=True)
class ModelSpec:
    """What a network takes and gives: everything needed to run it on a cohort.

    Parameters
    ----------
    input : {"beat", "rhythm"}
        Representative beats, or 10 s recordings.
    leads : tuple of str
        In the network's order.
    fs : float
        Sampling rate of its input, Hz.
    n_samples : int
        Length of its input.
    targets : tuple of str
        One name per output.
    scale : float
        Input units per µV: 1 for µV, 0.001 for mV.
    layer : str
        Dotted name of the layer whose output, after its activation, ECGradCAM reads.
    link : {"identity", "logit"}
        "logit": outputs are log-odds.
    start_ms : float
        Time of the first sample (beats: from the QRS fiducial).
    units : tuple of str
        One per target.
    net : dict
        Name and arguments of a network of this package, so that weights alone suffice to load it.
    trained_on : dict
        Cohort name to the patients, or folds such as "ptbxl fold 3", whose data shaped the weights, early stopping
        included.
    out_of_fold : dict
        Patient or fold to the network of the same recipe, a name or a file for `load_model`, that did not learn from
        them; "" for people who only chose among this network's states, for whom it answers itself.
    """

    input: str = "beat"
    leads: tuple[str, ...] = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
    fs: float = 500.0
    n_samples: int = 600
    targets: tuple[str, ...] = ()
    scale: float = 1.0
    layer: str = ""
    link: str = "identity"
    start_ms: float = -500.0
    units: tuple[str, ...] = ()
    net: dict[str, Any] = field(default_factory=dict)
    trained_on: dict[str, list[str]] = field(default_factory=dict)
    out_of_fold: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("leads", "targets", "units"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        for name in ("leads", "targets"):
            given = getattr(self, name)
            if not all(isinstance(v, str) for v in given) or len(set(given)) < len(given):
                raise ModelError(f"spec.{name} is {given!r}; expected texts, each once")
        taken = sorted(set(self.targets) & _TAKEN)
        if taken:
            raise ModelError(
                f"spec.targets has {taken[0]!r}, which a cohort uses for something else; choose another name"
            )
        # A micro sign, a Greek mu and a u are one unit.
        units = tuple({"uV": "µV", "\u03bcV": "µV"}.get(str(u), str(u)) for u in self.units)
        object.__setattr__(self, "units", units)
        if self.input not in ("beat", "rhythm"):
            raise ModelError(f"spec.input is {self.input!r}; expected 'beat' or 'rhythm'")
        if self.link not in ("identity", "logit"):
            raise ModelError(f"spec.link is {self.link!r}; expected 'identity' or 'logit'")
        sizes = {"fs": self.fs, "n_samples": self.n_samples, "scale": self.scale}
        if not all(isinstance(v, Real) and 0 < v < math.inf for v in sizes.values()):
            raise ModelError(f"spec: {', '.join(f'{k} {v!r}' for k, v in sizes.items())}; expected positive numbers")
        if self.n_samples != int(self.n_samples):
            raise ModelError(f"spec.n_samples is {self.n_samples!r}; expected a whole number")
        if not isinstance(self.start_ms, Real) or not math.isfinite(self.start_ms):
            raise ModelError(f"spec.start_ms is {self.start_ms!r}; expected a number of ms, such as -500")
        for name, plain in (("fs", float), ("n_samples", int), ("scale", float), ("start_ms", float)):
            object.__setattr__(self, name, plain(getattr(self, name)))  # numpy's numbers cannot be stored as text
        if not isinstance(self.trained_on, dict) or any(isinstance(v, str) for v in self.trained_on.values()):
            raise ModelError("spec.trained_on is to hold a list of patients, or of folds, for each cohort")
        others = self.out_of_fold
        if not isinstance(others, dict) or not all(isinstance(v, str) for v in others.values()):
            raise ModelError(
                "spec.out_of_fold is to hold, for a patient or a fold, the name or file of a network that has not "
                "learnt from them, as text; predictions themselves, as version 0.1 kept, are no longer taken"
            )
        if self.units and len(self.units) != len(self.targets):
            raise ModelError(f"spec: {len(self.units)} units for {len(self.targets)} targets; one each is expected")

    def unit(self, target: str) -> str:
        """The unit of a target's output; "" where none was given."""
        if self.link == "logit":
            return "log-odds"
        return self.units[self.targets.index(target)] if self.units else ""


NETS = {"compact": CompactNet, "kanres": KanResWideX}


def make_net(net: dict[str, Any]) -> nn.Module:
    """A network of this package from its name and arguments, such as ``{"name": "compact", "n_outputs": 7}``."""
    arguments = dict(net)
    name = arguments.pop("name", None)
    if name not in NETS:
        raise ModelError(f"no network {name!r} here; expected {' or '.join(repr(n) for n in NETS)}")
    return NETS[name](**arguments)


# ---------------------------------------------------------------- wrapping


_EXAMPLE = """\
    spec = wb.ModelSpec(input="beat", leads=("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"), fs=500, n_samples=600,
                        scale=1.0, targets=("qt",), units=("ms",), layer="name.of.last.conv.layer", link="identity")
    model = wb.wrap_model(module, spec)"""


def wrap_model(module: nn.Module, spec: ModelSpec) -> nn.Module:
    """Give a network its spec, after trying it on one record of zeros.

    Parameters
    ----------
    module : nn.Module
        Takes (record, lead, sample) in the spec's input units, gives (record, target).
    spec : ModelSpec
        What it takes and gives.

    Returns
    -------
    nn.Module
        The same module, out of ``torch.compile`` or ``nn.DataParallel``, with ``.spec``; its weights and mode are
        untouched. One that has something else called ``spec`` keeps it, and `spec_of` gives its ModelSpec.

    Raises
    ------
    ModelError
        When the network refuses the input the spec promises, gives another number of outputs, or lacks the layer.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module is a {type(module).__name__}; expected a network, torch.nn.Module")
    if not isinstance(spec, ModelSpec):
        raise TypeError(f"spec is a {type(spec).__name__}; expected what the network takes and gives:\n{_EXAMPLE}")
    module = unwrapped(module)
    if not spec.targets:
        raise ModelError(f"spec.targets is empty; name what the network predicts, as in\n{_EXAMPLE}")
    if spec.layer and (why := unreadable(module, spec.layer)):
        raise ModelError(why)
    if spec.layer and spec.layer not in dict(module.named_modules()):
        raise ModelError(
            f"the network has no layer {spec.layer!r}; it has {', '.join(n for n, _ in module.named_modules() if n)}"
        )
    with evaluating(module), torch.inference_mode():
        zeros = torch.zeros(1, len(spec.leads), spec.n_samples, device=device_of(module))
        try:
            out = module(zeros)
        except Exception as e:
            raise ModelError(
                f"the network refuses what its spec promises, (record, {len(spec.leads)} leads, {spec.n_samples} "
                f"samples): {e}"
            ) from e
    if not isinstance(out, torch.Tensor) or tuple(out.shape) != (1, len(spec.targets)):
        seen = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ModelError(f"the network gives {seen}, its spec names {len(spec.targets)} targets: {spec.targets}")
    keep_spec(module, spec)
    return module


def keep_spec(module: nn.Module, spec: ModelSpec) -> None:
    """Give a network its spec: as ``.spec``, or under a private name where it has something else of that name."""
    taken = hasattr(module, "spec") and not isinstance(module.spec, ModelSpec)
    setattr(module, _PRIVATE if taken else "spec", spec)


def spec_of(model: nn.Module) -> ModelSpec:
    """What a network takes and gives.

    Parameters
    ----------
    model : Module
        From `load_model`, `wrap_model` or `fit`.

    Returns
    -------
    ModelSpec

    Raises
    ------
    ModelError
        When the network carries no spec.
    """
    if isinstance(model, str):
        raise ModelError(f"{model!r} is a name; load the network first with wb.load_model")
    network = unwrapped(model)
    own = (getattr(network, name, None) for name in ("spec", _PRIVATE))
    spec = next((v for v in own if isinstance(v, ModelSpec)), None)
    if spec is None:
        raise ModelError(f"{type(model).__name__} has no ModelSpec; say what it takes and gives:\n{_EXAMPLE}")
    return spec


def device_of(model: nn.Module) -> torch.device:
    """Where the network's weights lie."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def run(model: nn.Module, x: torch.Tensor) -> Any:
    """What a network makes of its input; an error of its own as one that says in which layer it arose.

    Raises
    ------
    ModelError
        With the type and text of the network's error, the innermost layer, and the shapes that layer got.
    """
    try:
        return model(x)
    except ModelError:  # of ours, from a hook on a layer
        raise
    except Exception as e:
        raise ModelError(f"the network fails: {where_it_failed(model, x, e)}") from e


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for the while; every submodule's own mode comes back, also after an exception."""
    modes = [(m, m.training) for m in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for m, mode in modes:
            m.training = mode
