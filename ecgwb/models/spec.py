"""Models: how networks, the package's or anyone's, are described, stored and loaded.

Imports nothing of the package but its networks: one knows its input only by its `ModelSpec`.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import torch
import xarray as xr
from torch import nn

from .networks import CompactNet, KanResWideX
from .running import unwrapped, where_it_failed

FAILS = "the network fails: "
_PRIVATE = "_ecgwb_spec"  # where a network that has a submodule or parameter called spec keeps its ModelSpec
_NO_GRADIENT = ("does not require grad and does not have a grad_fn", "not have been used in the graph")
_SMALL = 1_000_000  # numbers in a buffer
NO_SKILL, SKILL_UNKNOWN = "NO SKILL SHOWN", "skill not known"  # how the words beside a map begin
_TAKEN = {"record", "patient", "lead", "time", "sample", "landmark", "target", "seen", "beat", "fiducial", "rhythm"}

_SKILL = {"metric", "constant", "value", "low", "high", "people", "on"}

LAYOUTS = ("record lead sample", "record sample lead", "record 1 lead sample")
AXES = ("record", "channel", "position")
_CHOICES = {
    "input": ("beat", "rhythm"),
    "link": ("identity", "logit", "probability", "softmax", "hazard"),
    "layout": LAYOUTS,
    "normalise": (
        "", "z-score by record", "z-score by lead", "min-max by record", "min-max by lead", "constants",
    ),
    "pad": ("", "centre", "start", "end"),
    "windows": ("", "first", "mean", "max"),
}  # fmt: skip
_KINDS = {Real: "numbers", Integral: "whole numbers", str: "texts"}


class ModelError(ValueError):
    """A model that cannot be used; the message says what was seen, what was expected and the fix."""


class NetworkError(ModelError, RuntimeError):
    """An error of the network's own; the message holds its type and text, the layer and what that layer got."""


@dataclass(frozen=True)
class ModelSpec:
    """What a network takes and gives: everything needed to run it on a cohort.

    All fields have names; most networks need five or six of them. ``dtype`` is none of them: the input takes the
    weights' own.

    Parameters
    ----------
    input : {"beat", "rhythm"}
        Representative beats, or 10 s recordings.
    leads : tuple of str
        In the network's order: ``("II",)``, or ``("I", "II", "III", "aVR", "aVL", "aVF", "V1", ...)``.
    fs : float
        Sampling rate of its input, Hz: 500, 100 or 400.
    n_samples : int
        Length of its input: 5000 for 10 s at 500 Hz.
    targets : tuple of str
        One name per output: ``("qt",)``, ``("AF", "LBBB")``.
    scale : float
        Input units per µV: 1 for µV, 0.001 for mV.
    layer : str
        Dotted name of the layer whose output, after its activation, ECGradCAM reads: ``"layer4"``. Without one, the
        default of `ecgwb.models.layers` is taken.
    link : {"identity", "logit", "probability", "softmax", "hazard"}
        What the outputs are: values; log-odds; probabilities, after a sigmoid or softmax of the network's own; classes
        before a softmax; logarithms of a relative hazard (Cox). Log-odds, probabilities and classes are all predicted
        and explained as log-odds, beside their probability.
    start_ms : float
        Time of the first sample (beats: from the QRS fiducial).
    units : tuple of str
        One per target: ``("ms", "bpm")``.
    layout : {"record lead sample", "record sample lead", "record 1 lead sample"}
        The axes of its input. Keras takes the second, networks with 2-D convolutions the third.
    normalise : str
        What is done to each input before the network sees it: ``"z-score by record"``, ``"z-score by lead"``,
        ``"min-max by record"``, ``"min-max by lead"`` (to 0..1), or ``"constants"`` with `mean` and `sd`. "" where the
        network takes the ECG as it is, or does this itself.
    mean, sd : tuple of float
        Of "constants": one number, or one per lead, in input units (after `scale`): ``mean=(0.0,), sd=(0.21,)``.
    output : int, str, tuple of these, or function
        Which of the things the network returns: ``1`` of a tuple, ``"logits"`` of a dict, ``("head", 0)`` step by step,
        or a function, such as ``lambda y: y.mean(dim=2)`` for a segmentation (record, class, sample). A function cannot
        be stored.
    columns : tuple of int
        Which columns of the output the targets are, where there are more: ``(3, 7)``.
    pad : {"", "centre", "start", "end"}
        Where zeros are added, after normalising, to an ECG shorter than `n_samples`: "centre" puts 10 s at 400 Hz in
        the middle of 4,096 samples.
    windows : {"", "first", "mean", "max"}
        For a network that takes less than the whole recording: "first" gives it the first `n_samples`; "mean" and "max"
        give it all pieces of `n_samples`, one after the other, and aggregate its outputs (probabilities of classes,
        where it gives those).
    window_step : int
        Samples from one piece to the next: `n_samples` by default, half of it for pieces that overlap.
    layer_axes : tuple of str
        What the axes of the layer's output are: "record", "channel" (or several of them) and "position", as in
        ``("record", "position", "channel")`` for the tokens of a transformer. Found out where it is empty.
    layer_call : int
        Which of its calls, from 0, of a layer that runs several times in a forward pass.
    layer_tensor : int or str
        Which tensor of a layer that gives several; the first by default.
    net : dict
        Name and arguments of a network of this package, so that weights alone suffice to load it.
    trained_on : dict
        Cohort name to the patients, or folds such as "ptbxl fold 3", whose data shaped the weights, early stopping
        included.
    out_of_fold : dict
        Patient or fold to the network of the same recipe, a name or a file for `load_model`, that did not learn from
        them; "" for people who only chose among this network's states, for whom it answers itself.
    skill : dict
        Target to how much better than a constant it is predicted in people who did not train the network, from `fit`
        or `ecgwb.models.with_skill`: ``metric``, "1 - MAE/constant" of numbers or "AUC"; ``value``, with its 95 %
        interval by patient ``low`` to ``high``, None where too few people were there; ``constant``, what the constant
        has (0, or 0.5); ``people``, how many; and whom it was measured ``on``. Maps say so where none is shown.
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
    layout: str = LAYOUTS[0]
    normalise: str = ""
    mean: tuple[float, ...] = ()
    sd: tuple[float, ...] = ()
    output: Any = None
    columns: tuple[int, ...] = ()
    pad: str = ""
    windows: str = ""
    window_step: int | None = None
    layer_axes: tuple[str, ...] = ()
    layer_call: int | None = None
    layer_tensor: int | str | None = None
    net: dict[str, Any] = field(default_factory=dict)
    trained_on: dict[str, list[str]] = field(default_factory=dict)
    out_of_fold: dict[str, str] = field(default_factory=dict)
    skill: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("leads", "targets", "units"):
            self._as_tuple(name, str)
        for name in ("leads", "targets"):
            given = getattr(self, name)
            if not all(isinstance(v, str) and v for v in given) or len(set(given)) < len(given):
                raise ModelError(f"spec.{name} is {given!r}; expected texts, each once")
        if not self.leads:
            raise ModelError("spec.leads is empty; expected the network's leads in its order, such as ('I', 'II')")
        taken = sorted(set(self.targets) & _TAKEN)
        if taken:
            raise ModelError(
                f"spec.targets has {taken[0]!r}, which a cohort uses for something else; choose another name"
            )
        beside = [f"{t}_probability" for t in self.targets if self.log_odds and f"{t}_probability" in self.targets]
        if beside:
            raise ModelError(
                f"spec.targets has {beside[0]!r}, where predictions have a probability; choose another name"
            )
        # A micro sign, a Greek mu and a u are one unit.
        units = tuple({"uV": "µV", "\u03bcV": "µV"}.get(str(u), str(u)) for u in self.units)
        object.__setattr__(self, "units", units)
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                *others, last = (repr(v) for v in known)
                expected = f"{', '.join(others)} or {last}"
                raise ModelError(f"spec.{name} is {getattr(self, name)!r}; expected {expected}")
        self._check_more()
        sizes = {"fs": self.fs, "n_samples": self.n_samples, "scale": self.scale}
        if not all(isinstance(v, Real) and 0 < v < math.inf for v in sizes.values()):
            raise ModelError(f"spec: {', '.join(f'{k} {v!r}' for k, v in sizes.items())}; expected positive numbers")
        if self.fs < 1:
            raise ModelError(f"spec.fs is {self.fs!r}; expected Hz, such as 500")
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
        if not isinstance(self.skill, dict) or any(
            t not in self.targets or not isinstance(v, dict) or not _SKILL.issubset(v) for t, v in self.skill.items()
        ):
            raise ModelError(
                f"spec.skill is {self.skill!r}; expected, for targets of {', '.join(self.targets)}, what "
                "wb.models.with_skill(model, cohort) measures and keeps there"
            )
        if self.units and len(self.units) != len(self.targets):
            raise ModelError(f"spec: {len(self.units)} units for {len(self.targets)} targets; one each is expected")

    def _check_more(self) -> None:
        """Normalising, outputs, windows and axes; a number or a name stands for a tuple of one."""
        for name, kind in (("mean", Real), ("sd", Real), ("columns", Integral), ("layer_axes", str)):
            given = self._as_tuple(name, kind)
            if not all(isinstance(v, kind) and not isinstance(v, bool) for v in given):
                raise ModelError(f"spec.{name} is {getattr(self, name)!r}; expected a tuple of {_KINDS[kind]}")
            plain = {Real: float, Integral: int, str: str}[kind]
            object.__setattr__(self, name, tuple(plain(v) for v in given))
        if isinstance(self.output, list):  # of a file
            object.__setattr__(self, "output", tuple(self.output))
        for name in ("window_step", "layer_call", "layer_tensor"):  # numpy's numbers cannot be stored as text
            if isinstance(getattr(self, name), Integral):
                object.__setattr__(self, name, int(getattr(self, name)))
        constants = self.normalise == "constants"
        if constants != bool(self.mean or self.sd) or any(
            constants and len(v) not in (1, len(self.leads)) for v in (self.mean, self.sd)
        ):
            raise ModelError(
                f"spec.normalise is {self.normalise!r} with mean {self.mean!r} and sd {self.sd!r}; 'constants' takes "
                f"both, one number or one for each of {len(self.leads)} leads, and the others take none"
            )
        if not all(0 < v < math.inf for v in self.sd) or not all(math.isfinite(v) for v in self.mean):
            raise ModelError(f"spec.mean is {self.mean!r}, sd {self.sd!r}; expected numbers, sd above 0")
        if len(set(self.columns)) < len(self.columns):
            raise ModelError(f"spec.columns is {self.columns!r}; expected each column once")
        if not isinstance(self.layer, str) and self.layer is not None:
            raise ModelError(f"spec.layer is {self.layer!r}; expected a dotted name, such as 'layer4'")
        call = self.layer_call
        if call is not None and (not isinstance(call, int) or call < 0):
            raise ModelError(f"spec.layer_call is {call!r}; expected 0 for the first call, 1 for the second")
        if not isinstance(self.net, dict) and self.net is not None:
            raise ModelError(f"spec.net is {self.net!r}; expected name and arguments, as in {{'name': 'compact'}}")
        if self.columns and self.targets and len(self.columns) != len(self.targets):
            raise ModelError(f"spec: {len(self.columns)} columns for {len(self.targets)} targets; one each is expected")
        if self.windows and self.pad:
            raise ModelError("spec has both windows and pad; a recording is either longer than the input or shorter")
        if (self.windows and self.input == "beat") or (self.window_step is not None and self.windows in ("", "first")):
            raise ModelError(
                "spec.windows cuts recordings: it needs input='rhythm', and window_step windows 'mean' or 'max'"
            )
        if self.window_step is not None and (not isinstance(self.window_step, Integral) or self.window_step < 1):
            raise ModelError(f"spec.window_step is {self.window_step!r}; expected a whole number of samples above 0")
        axes = self.layer_axes
        if (axes and (axes.count("record"), axes.count("position")) != (1, 1)) or set(axes) - set(AXES):
            raise ModelError(
                f"spec.layer_axes is {axes!r}; expected 'record' and 'position' once, and 'channel' for every other "
                "axis, as in ('record', 'position', 'channel')"
            )

    def _as_tuple(self, name: str, kind: Any) -> tuple[Any, ...]:
        """A field as a tuple, of one where it is a single text or number."""
        given = getattr(self, name)
        if not isinstance(given, (kind, Iterable)) or isinstance(given, (set, frozenset)):  # a set has no order
            raise ModelError(f"spec.{name} is {given!r}; expected a tuple of {_KINDS[kind]}")
        whole = (given,) if isinstance(given, kind) else tuple(given)
        object.__setattr__(self, name, whole)
        return whole

    @property
    def log_odds(self) -> bool:
        """Whether the network is predicted and explained as log-odds."""
        return self.link in ("logit", "probability", "softmax")

    def n_ecg(self, available: int) -> int:
        """How many samples of an ECG of `available` samples, at the spec's rate, the network reads."""
        return available if self.windows in ("mean", "max") else min(self.n_samples, available)

    def unit(self, target: str) -> str:
        """The unit of a target's output; "" where none was given."""
        if self.log_odds:
            return "log-odds"
        if self.link == "hazard":
            return "log-hazard"
        return self.units[self.targets.index(target)] if self.units else ""

    def skill_note(self, target: str) -> str:
        """What is to be said beside a map of this target: "" where the network was shown to have skill."""
        found = self.skill.get(target)
        if not found:
            return SKILL_UNKNOWN
        value, low, high = found["value"], found["low"], found["high"]
        if low is not None and low > found["constant"]:
            return ""
        seen = f"{found['people']} people are too few" if low is None else f"{low:.2f} to {high:.2f}, "
        seen += "" if low is None else f"{found['people']} people"
        number = "not known" if value is None else f"{value:.2f}"
        return f"{NO_SKILL}: {found['metric']} {number} ({seen}; a constant has {found['constant']:g})"


NETS = {"compact": CompactNet, "kanres": KanResWideX}


def make_net(net: dict[str, Any]) -> nn.Module:
    """A network of this package from its name and arguments, such as ``{"name": "compact", "n_outputs": 7}``."""
    arguments = dict(net)
    name = arguments.pop("name", None)
    if name not in NETS:
        raise ModelError(f"no network {name!r} here; expected {' or '.join(repr(n) for n in NETS)}")
    try:
        return NETS[name](**arguments)
    except TypeError as e:
        raise ModelError(f"the network {name!r} cannot be made: {e}; its description may need another ecgwb") from e


EXAMPLE = """\
    spec = wb.ModelSpec(input="beat", leads=("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"), fs=500, n_samples=600,
                        scale=1.0, targets=("qt",), units=("ms",), link="identity")
    model = wb.wrap_model(module, spec)"""


def keep_spec(module: nn.Module, spec: ModelSpec) -> None:
    """Give a network its spec: as ``.spec``, or under a private name where it has something else of that name."""
    taken = hasattr(module, "spec") and not isinstance(module.spec, ModelSpec)
    setattr(module, _PRIVATE if taken else "spec", spec)


def copy_of(model: nn.Module) -> nn.Module:
    """A copy of a network, with the same spec, which is shared: it may list thousands of patients.

    Networks of torch.fx (so those of ONNX), of Keras and of TorchScript lose what they were given when they are copied.
    """
    spec = spec_of(model)
    network = unwrapped(model)
    memo: dict[int, Any] = {id(spec): spec}
    for m in network.modules():  # activations that a network keeps belong to a pass, and torch copies none of them
        held = [v for v in (*vars(m).values(), *m._buffers.values()) if isinstance(v, torch.Tensor) and not v.is_leaf]
        memo |= {id(v): v.detach().clone() for v in held}
    copied = copy.deepcopy(network, memo)
    keep_spec(copied, spec)
    return copied


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
        if isinstance(model, (xr.Dataset, xr.DataArray)):
            raise ModelError(
                "where a network was expected there is a cohort, or what was made of one; help() of the function says "
                "which comes first: wb.predict(model, cohort), but wb.explore(cohort, model)"
            )
        raise ModelError(f"{type(model).__name__} has no ModelSpec; say what it takes and gives:\n{EXAMPLE}")
    return spec


def device_of(model: nn.Module) -> torch.device:
    """Where the network's weights lie."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def run(model: nn.Module, x: torch.Tensor) -> Any:
    """What a network makes of its input; an error of its own as one that says in which layer it arose.

    Raises
    ------
    NetworkError
        With the type and text of the network's error, the innermost layer, and the shapes that layer got.
    """
    try:
        return model(x)
    except ModelError:  # of ours, from a hook on a layer
        raise
    except Exception as e:
        raise NetworkError(f"{FAILS}{where_it_failed(model, x, e)}") from e


@contextlib.contextmanager
def differentiating() -> Iterator[None]:
    """Within, a network that changes in place what its own gradient needs, or has no gradient, is told so."""
    try:
        yield
    except RuntimeError as e:
        if not isinstance(e, ModelError) and any(text in str(e) for text in _NO_GRADIENT):
            raise ModelError(
                "no gradient leads from the network's output back to the ECG: on the way it rounds to whole numbers, "
                "leaves torch, or runs under torch.no_grad. wb.edit_map and occlusion take no gradient"
            ) from e
        if isinstance(e, ModelError) or "inplace operation" not in str(e):
            raise
        raise NetworkError(
            f"the network's gradient cannot be taken: {' '.join(str(e).split('Hint')[0].split())} Somewhere it changes "
            "a tensor in place that its gradient needs, such as x /= s; write x = x / s. wb.edit_map and occlusion "
            "take no gradient"
        ) from e


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for the while; every submodule's own mode comes back, also after an exception.

    So do buffers: a network that counts or averages what it sees is not to learn from being explained.
    """
    modes = [(m, m.training) for m in model.modules()]
    own = [(m._buffers, dict(m._buffers)) for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
    small = {id(v): v for _, buffers in own for v in buffers.values() if v is not None and _is_small(v)}
    stand_in = {k: v.detach().clone() for k, v in small.items()}
    try:
        for now, before in own:
            now.update({name: stand_in[id(v)] for name, v in before.items() if id(v) in stand_in})
        model.eval()
        yield
    finally:
        for m, mode in modes:
            m.training = mode
        for now, before in own:
            now.update({name: v for name, v in before.items() if v is None or id(v) in stand_in})


def _is_small(buffer: torch.Tensor) -> bool:
    """Whether a buffer may be kept twice: averages and counts, not a transformer's masks."""
    return not nn.parameter.is_lazy(buffer) and buffer.numel() <= _SMALL
