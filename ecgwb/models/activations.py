"""Layers: which there are, reading one during a forward pass, and where its positions lie in the input."""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import nn

from .interface import EcgNetwork, described, ecg_network
from .spec import ModelError, copy_of, differentiating, evaluating, spec_of
from .wrapping import check_layer, made_up

_MOMENTS = 8  # at which an input is changed to see which axis of a layer follows
_CLEAR = 0.15  # of an axis's length: how far its response has to move with the moments
_FEW, _COARSE_MS = 8, 250.0  # fewer positions, or wider steps, say little about when
_SPREAD = 0.25  # of the positions, at least, whose gradient is not small: a class token's alone does not do
_INPUTS = 4  # made-up ECGs whose gradients say where a position looks
_LONGEST = 20_000  # samples: a longer input is not tried to see where fields end
_EVEN = 0.02  # of the input: positions that lie so near to an even spread are spread evenly
_ASKEW = 0.1  # of a receptive field: further from the input's middle lies no middle of all of them by rounding
_MIXES = re.compile(r"attn|attention|qkv|query|to_q|transformer|mamba|ssm|s4|lstm|gru|rnn|mixer", re.IGNORECASE)
_CONVOLVES = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.PReLU)


class Positions(NamedTuple):
    """Where a layer's positions lie in the network's input."""

    sample: np.ndarray  # (position,) centre of each receptive field, in input samples; NaN for what is nowhere
    field: float  # width of the receptive field, samples; NaN where it is unknown
    how: str  # "receptive-field centres" (and what else is seen), "gradient mass" or "evenly spread"


class Reading(NamedTuple):
    """Which output of which layer is read, and what its axes are."""

    name: str
    module: nn.Module
    call: int | None  # None: it must run once
    tensor: int | str | None
    axes: tuple[str, ...] = ()

    def taken(self, output: Any) -> torch.Tensor:
        """The tensor of a layer's output that is read: the first one, unless another is named."""
        if self.tensor is not None and not isinstance(output, torch.Tensor):
            output = output[self.tensor]
        while isinstance(output, (tuple, list)) and output:
            output = output[0]
        if isinstance(output, Mapping):
            output = next(iter(output.values()), None)
        if not isinstance(output, torch.Tensor):
            raise ModelError(f"layer {self.name!r} gives {described(output)}, and does not give a tensor to map")
        return output

    def put(self, output: Any, new: torch.Tensor) -> Any:
        """A layer's output with this tensor in its place."""
        if isinstance(output, torch.Tensor):
            return new
        key = self.tensor if self.tensor is not None else 0
        if isinstance(output, Mapping):
            key = self.tensor if self.tensor is not None else next(iter(output))
            return type(output)({**output, key: new})  # type: ignore[call-arg]
        parts = [self.put(part, new) if i == key % len(output) else part for i, part in enumerate(output)]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)

    def standard(self, a: torch.Tensor, rows: int) -> torch.Tensor:
        """An output as (record, channel, position), all channel axes as one."""
        order = [self.axes.index("record"), *self._channels(), self.axes.index("position")]
        moved = a.permute(order)
        if moved.shape[0] % rows:
            raise ModelError(f"layer {self.name!r} gives {moved.shape[0]} records for {rows}")
        return moved.reshape(rows, -1, moved.shape[-1])

    def back(self, a: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """What `standard` gave, in the layer's own shape."""
        order = [self.axes.index("record"), *self._channels(), self.axes.index("position")]
        return a.reshape([shape[k] for k in order]).permute(list(np.argsort(order)))

    def beside(self, shape: torch.Size) -> int:
        """How many places beside each other an output has: leads, or frequencies, of (record, channel, lead, position).

        Grad-CAM weighs a channel in all of its places alike.
        """
        return 1 if self.of_tokens else int(np.prod([shape[k] for k in self._channels()[1:]], dtype=int))

    @property
    def of_tokens(self) -> bool:
        """Whether channels come after positions."""
        return _of_tokens(self.axes)

    def _channels(self) -> list[int]:
        return [k for k, axis in enumerate(self.axes) if axis == "channel"]


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The layer of that dotted name."""
    if not name:
        raise ModelError("the network has no layer that a map can be read from; its spec names none")
    check_layer(model, name)
    return dict(model.named_modules())[name]


def reading(model: nn.Module, layer: str | None = None) -> Reading:
    """What is read of a layer by name, the spec's, or the default one, with its axes."""
    spec = spec_of(model)
    name = layer or spec.layer or default_layer(model)
    own = not layer or layer == spec.layer
    call, tensor = (spec.layer_call, spec.layer_tensor) if own else (None, None)
    if not name:
        raise ModelError(
            "no layer of the network has positions that can be mapped; see wb.models.layers(model). Use edit maps, "
            "wb.edit_map, or wb.attribute(model, cohort, 'integrated_gradients')"
        )
    plain = Reading(name, find_layer(model, name), call, tensor)
    axes = (spec.layer_axes if own else ()) or _kept(model, ("axes", name, call, tensor), partial(_axes, model, plain))
    return plain._replace(axes=axes)


_KEPT: weakref.WeakKeyDictionary[nn.Module, dict[Any, Any]] = weakref.WeakKeyDictionary()


def _kept(model: nn.Module, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
    """What does not depend on a network's weights, found once."""
    spec = spec_of(model)
    of_model = _KEPT.setdefault(model, {})
    key = (*key, spec.input, spec.leads, spec.fs, spec.n_samples, spec.layout, spec.pad, spec.windows)
    output = id(spec.output) if callable(spec.output) else spec.output  # which may hold the network, and so keep it
    key = (*key, output, spec.columns, spec.normalise, spec.scale)  # another output may have another way there
    if key not in of_model:
        of_model[key] = make()
    return of_model[key]


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
def activations_only(read: Reading, rows: int) -> Iterator[list[Any]]:
    """Within, a forward pass under `torch.no_grad` records gradients from this layer's output onwards only.

    Parameters
    ----------
    read : Reading
    rows : int
        Inputs of the pass: records, times windows.

    Yields
    ------
    list
        Filled by the pass: the activations (record, channel, position), and `Reading.beside`. The change of gradient
        mode is undone afterwards, whatever happens.
    """
    seen: list[Any] = []

    def take(output: torch.Tensor) -> torch.Tensor:
        seen[:] = [read.standard(output.detach(), rows).clone().requires_grad_(), read.beside(output.shape)]
        torch.set_grad_enabled(True)
        return read.back(seen[0], output.shape).clone()  # a copy: an in-place layer behind it leaves the recorded one

    before = torch.is_grad_enabled()
    try:
        with replaced(read, take):
            yield seen
        if not seen:
            raise ModelError(f"layer {read.name!r} did not run{_which(read.call)}")
    finally:
        torch.set_grad_enabled(before)


@contextlib.contextmanager
def replaced(read: Reading, make: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Within one forward pass, what is read of a layer is replaced by what `make` makes of it."""
    calls = 0

    def hook(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1 and read.call is None:
            raise ModelError(
                f"layer {read.name!r} runs more than once in a forward pass; say which call is meant with "
                "spec.layer_call, 0 for the first, or choose a layer that runs once"
            )
        return read.put(output, make(read.taken(output))) if calls - 1 == (read.call or 0) else output

    with hooked({read.module: hook}):
        yield


def _which(call: int | None) -> str:
    return "" if call is None else f" {call + 1} times"


class _Reached(Exception):
    """Ends a forward pass at the layer asked for: what lies behind may insist on one input length."""


def _run_to(network: EcgNetwork, read: Reading, z: torch.Tensor) -> torch.Tensor:
    """What is read of a layer, in its own shape, for pieces as from `EcgNetwork.enter`."""
    found: list[torch.Tensor] = []
    calls = 0

    def stop(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 1 + (read.call or 0):
            found.append(read.taken(output))
            raise _Reached

    with hooked({read.module: stop}), contextlib.suppress(_Reached):
        network.model(network.laid_out(z))
    if not found:
        raise ModelError(f"layer {read.name!r} did not run{_which(read.call)}")
    return found[0]


# ---------------------------------------------------------------- which axis is which


def _axes(model: nn.Module, read: Reading) -> tuple[str, ...]:
    """What the axes of a layer's output are, by what they follow: the number of inputs, or the moment of a change.

    Raises
    ------
    ModelError
        When no axis, or more than one, follows time.
    """
    network = ecg_network(model)
    with evaluating(model), torch.no_grad():
        z = _changed(network)
        a = _run_to(network, read, z)
        one = _run_to(network, read, z[:1])
    return _axes_of(read.name, a, tuple(one.shape))


def _changed(network: EcgNetwork) -> torch.Tensor:
    """A made-up input and copies of it, each with another span changed, later from copy to copy."""
    z = network.enter(made_up(network, 1))[:1]
    n = z.shape[2]
    width = max(n // 32, 4)
    out = z.repeat(1 + _MOMENTS, 1, 1)
    bump = torch.hann_window(width, periodic=False).to(z) * 3 * z.std()
    for k, centre in enumerate(np.linspace(n / 8, n * 7 / 8, _MOMENTS)):
        first = int(centre - width / 2)
        out[1 + k, :, first : first + width] += bump
    return out


def _axes_of(name: str, a: torch.Tensor, one: tuple[int, ...], sees: bool = False) -> tuple[str, ...]:
    """The axes of an output for an input and its changed copies, and of the shape `one` for the input alone.

    A layer that sees hardly any change is taken for (record, channel, position), unless it has to see them.
    """
    n = 1 + _MOMENTS
    records = [k for k, (many, single) in enumerate(zip(a.shape, one, strict=True)) if many == n * single]
    if a.ndim < 3 or len(records) != 1:
        raise ModelError(
            f"layer {name!r} gives {one} for one record and does not give (record, channel, position), in any order"
        )
    alone = sum(size > 1 for size in one) < 2  # a channel axis may follow by chance, and none is beside it
    followed = _followed(a, records[0], 3 * _CLEAR if sees and alone else _CLEAR)
    if followed is None and a.ndim == 3 and records[0] == 0 and a.shape[2] > 1 and not (sees or _responds(a)):
        followed = 2  # nearly blind, so that nothing speaks against what is usual
    if followed is None:
        raise ModelError(
            f"which axis of layer {name!r}, {one} for one record, follows time cannot be seen; behind pooling "
            "there is none. Say it with spec.layer_axes, such as ('record', 'position', 'channel'), or choose a layer "
            "of wb.models.layers(model)"
        )
    return tuple("record" if k == records[0] else "position" if k == followed else "channel" for k in range(a.ndim))


def _changes(a: torch.Tensor, record: int) -> torch.Tensor:
    """By how much an output differs for each changed input (moment, ...); the most of leads that are own records."""
    a = a.movedim(record, 0)
    of_input = a.unflatten(0, (1 + _MOMENTS, -1))
    return (of_input[1:] - of_input[:1]).abs().amax(dim=1)


def _responds(a: torch.Tensor) -> bool:
    """Whether an output responds to a change at most moments."""
    change = _changes(a, 0).flatten(1).amax(dim=1)
    return int((change > 0).sum()) >= _MOMENTS / 2


def _followed(a: torch.Tensor, record: int, clear: float) -> int | None:
    """The axis along which the response to a change moves with the moment of the change, by more than `clear`."""
    change = _changes(a, record).double() ** 2  # (moment, ...)
    others = [k for k in range(a.ndim) if k != record]
    moved = []
    for k in range(1, change.ndim):
        profile = change.sum(dim=[d for d in range(1, change.ndim) if d != k]).cpu().numpy()  # (moment, along)
        total = profile.sum(axis=1, keepdims=True)
        seen = total[:, 0] > 0  # a layer with a stride or a dead unit may miss a moment
        profile, total = profile[seen], total[seen]
        if profile.shape[1] < 2 or len(profile) < _MOMENTS / 2:
            moved.append(0.0)
            continue
        centre = (profile / total) @ np.arange(profile.shape[1]) / (profile.shape[1] - 1)
        r = spearmanr(centre, np.arange(len(centre))).statistic if np.ptp(centre) > 0 else 0.0
        moved.append(float(r * abs(r) * np.ptp(centre)))  # squared, as a channel's may follow by chance
    best = int(np.argmax(moved))
    rest = max((v for k, v in enumerate(moved) if k != best), default=0.0)
    return others[best] if moved[best] > clear and moved[best] > 2 * rest else None


# ---------------------------------------------------------------- which layers there are


def layers(model: nn.Module) -> pd.DataFrame:
    """The layers that a map can be read from.

    Parameters
    ----------
    model : nn.Module
        With a spec; see `wrap_model`.

    Returns
    -------
    DataFrame
        A row per layer, in the order in which they end:

        - ``shape``: of its output for one record; ``axes``: what they are;
        - ``positions``: how many; ``ms``: from one to the next;
        - ``receptive_field_ms``: how much of the ECG a position in the middle sees; NaN where that is all of it;
        - ``default``: True for the one that maps are read from where nothing else is said. It is the last one with at
          least eight positions, at most 250 ms apart, on many of which the prediction depends; in networks with
          attention or recurrence, the
          last one before these mix the moments, since a position behind them no longer stands for its moment.
    """
    return _table(model).copy()


def default_layer(model: nn.Module) -> str:
    """The layer that maps are read from where none is named; "" where there is none."""
    table = _table(model)
    return str(table.index[table["default"]][0]) if table["default"].any() else ""


def mixes(model: nn.Module) -> bool:
    """Whether a network mixes moments by attention, recurrence or a state space."""
    return bool(_mixers(model, _table(model)))


def _table(model: nn.Module) -> pd.DataFrame:
    return _kept(model, ("layers",), partial(_layers, model))


@torch.inference_mode(False)
@differentiating()
def _layers(model: nn.Module) -> pd.DataFrame:
    """What `layers` tells, but for receptive fields: of two forward passes over nine records and a backward one."""
    network = ecg_network(model)
    names = {m: n for n, m in model.named_modules() if n}
    first: dict[str, list[Any]] = {n: [] for n in names.values()}  # outputs of each call, for one record
    seen: dict[str, tuple[str, ...]] = {}  # axes; in the order of ends, of those that end together the outermost last
    ended: list[str] = []

    def note(module: nn.Module, _inputs: Any, output: Any) -> None:
        ended.append(names[module])
        with contextlib.suppress(ModelError):
            first[names[module]].append(Reading("", module, None, None).taken(output))

    def see(module: nn.Module, _inputs: Any, output: Any) -> None:
        name = names[module]
        with contextlib.suppress(ModelError, ValueError):
            a = Reading("", module, None, None).taken(output)
            seen[name] = _axes_of(name, a, tuple(first[name][0].shape), sees=True)

    with evaluating(model):
        z = _changed(network)
        x = z[:1].clone().requires_grad_()
        with torch.enable_grad(), hooked(dict.fromkeys(names, note)):
            y = network.raw(x)
        once = {n: calls[0] for n, calls in first.items() if len(calls) == 1}
        with torch.no_grad(), hooked({m: see for m, n in names.items() if n in once}):
            network.raw(z)
    wanted = [n for n in seen if once[n].requires_grad and y.requires_grad]
    outputs = [once[n] for n in wanted]
    slopes = torch.autograd.grad(y.sum(), outputs, retain_graph=True, allow_unused=True) if wanted else ()
    rows, n = [], network.about.n_samples if network.about.pad else z.shape[2]
    for name, g in zip(wanted, slopes, strict=True):
        k, one = seen[name].index("position"), tuple(once[name].shape)
        about = {"layer": name, "shape": one, "axes": seen[name], "positions": one[k]}
        about["ms"] = 1000.0 * n / one[k] / network.about.fs
        rows.append(about | {"matters": _matters(g, k)})
    columns = ["layer", "shape", "axes", "positions", "ms", "matters"]
    table = pd.DataFrame(rows, columns=columns).set_index("layer")
    table = table[table["positions"] > 1].astype({"matters": bool})
    begun = _before_mixing(model, table, ended)
    fields = [_field(once[n], seen[n].index("position"), x) if n in begun else np.nan for n in table.index]
    table.insert(4, "receptive_field_ms", np.array(fields, dtype=float) * 1000.0 / network.about.fs)
    chosen = _default(model, table, begun)
    return table.assign(default=[n == chosen for n in table.index]).drop(columns="matters")


def _field(a: torch.Tensor, position: int, x: torch.Tensor) -> float:
    """How many samples of the input a position in the middle sees; NaN where it reaches the input's ends, or is 0."""
    middle = a.movedim(position, 0)[a.shape[position] // 2]
    signs = torch.randn(middle.shape, generator=torch.Generator().manual_seed(0)).to(middle)
    g = torch.autograd.grad((middle * signs).sum(), x, retain_graph=True, allow_unused=True)[0]
    seen = np.zeros(0) if g is None else np.flatnonzero(g.abs().sum(dim=(0, 1)).cpu().numpy())
    return float(seen[-1] - seen[0] + 1) if len(seen) and seen[0] > 0 and seen[-1] < x.shape[2] - 1 else np.nan


def _before_mixing(model: nn.Module, table: pd.DataFrame, ended: list[str]) -> set[str]:
    """Of the layers in the order in which they end, those that end before attention, recurrence or the like begins."""
    mixers = _mixers(model, table)
    parts = (k for k, name in enumerate(ended) if any(name == m or name.startswith(f"{m}.") for m in mixers))
    return set(ended[: next(parts, len(ended))])


def _default(model: nn.Module, table: pd.DataFrame, begun: set[str]) -> str:
    """The layer to be read where none is named, of those in the order in which they end."""
    many = table[(table["positions"] >= _FEW) & table["matters"]]
    fine = many[many["ms"] <= _COARSE_MS]
    useful = fine if len(fine) else many
    if not len(useful) or not _mixers(model, table):
        return _last(model, list(useful.index))
    before = [name for name in useful.index if name in begun]
    own = [name for name in before or useful.index if not _of_tokens(useful["axes"][name]) or _has_parts(model, name)]
    # Of a transformer's first block the norm ends before attention begins, too: then the embedding is meant.
    return _last(model, own) or str(before[0] if before else useful.index[-1])


def _last(model: nn.Module, names: list[str]) -> str:
    """The last of these layers that is no part of a block whose like, before it, is one of these; "" for none."""
    plain = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    kinds = {type(model.get_submodule(name)) for name in names} - set(plain)

    def within(name: str) -> bool:
        steps = name.split(".")
        around = (".".join(steps[:k]) for k in range(1, len(steps)))
        return any(type(model.get_submodule(block)) in kinds for block in around if block not in names)

    return next((name for name in reversed(names) if not within(name)), names[-1] if names else "")


def _mixers(model: nn.Module, table: pd.DataFrame) -> list[str]:
    """Names of attention, recurrence and state spaces, which mix all moments.

    Those that are not torch's are told by their names, where there are tokens: squeeze and excitation goes by
    "attention", too.
    """
    tokens = bool(table["axes"].map(_of_tokens).any())
    found = []
    for name, m in model.named_modules():
        called = _MIXES.search(f"{name.rsplit('.', 1)[-1]} {type(m).__name__}")
        trained = name and any(True for _ in m.parameters())
        if trained and (isinstance(m, (nn.RNNBase, nn.MultiheadAttention)) or (tokens and called)):
            found.append(name)
    return found


def _matters(g: torch.Tensor | None, position: int) -> bool:
    """Whether the prediction depends on many of a layer's positions."""
    if g is None:
        return False
    size = g.detach().abs().movedim(position, 0).flatten(1).sum(dim=1)
    usual = size.topk(min(2, len(size))).values[-1]  # not the largest: a class token's may be many times the others'
    least = min(_FEW, _SPREAD * len(size))  # behind maximum pooling few positions matter at a time
    return bool((size > 0.05 * usual).sum() >= least and usual > 0)


def _of_tokens(axes: tuple[str, ...]) -> bool:
    return axes.index("position") < axes.index("channel")


def _has_parts(model: nn.Module, name: str) -> bool:
    return any(True for _ in model.get_submodule(name).children())


def readable_layers(model: nn.Module) -> list[str]:
    """Names of the layers that a map can be read from, the spec's or the default one first, then blocks of layers.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    """
    names = list(_table(model).index)
    modules = dict(model.named_modules())
    blocks = [n for n in names if any(modules[n].children())]
    first = spec_of(model).layer or default_layer(model)
    return [n for n in dict.fromkeys([first, *(blocks if len(blocks) > 1 else names)]) if n]


# ---------------------------------------------------------------- where its positions lie


@torch.inference_mode(False)  # a caller's inference mode would forbid gradients
@differentiating()
def positions(model: nn.Module, layer: str | None = None) -> Positions:
    """Where the layer's positions lie, in samples of the piece of ECG that the network is given.

    Of convolutions the centres of their receptive fields are measured by gradients. The input is made longer than the
    network's own where its ends would cut fields short. It is given to a copy whose weights are made positive and
    whose max pooling is averaging, so that nothing on the way is switched off or cancels; zero weights stay zero. Where
    padding is uneven, as of causal convolutions, positions lie where their gradient's squares are centred.

    Of other layers, which may see everything, the gradient of three positions is measured: where their squares' centres
    follow a line, positions lie on it; otherwise they are spread evenly.
    """
    network, read = ecg_network(model), reading(model, layer)
    with evaluating(model), torch.no_grad():
        z = network.enter(made_up(network, 1))[:1]
        n, n_samples = read.standard(_run_to(network, read, z), 1).shape[2], z.shape[2]
    before = network.before(n_samples)
    taken = n_samples if not network.about.pad else network.about.n_samples
    if _only_convolves(network, read, z):
        try:
            found = _by_fields(model, read.name, taken)
        except (RuntimeError, IndexError, TypeError):  # takes one length only, reads nothing, or cannot be copied
            found = None
        if found is not None:
            first, stride, field = found
            centre = first + stride * np.arange(n) - before
            askew = abs(centre.mean() - (n_samples - 1) / 2)  # with even padding, fields are about the middle
            if askew > max(_ASKEW * field, 2 * stride):
                return Positions(np.clip(_shifted(network, read, centre), 0, n_samples - 1), field, "gradient mass")
            if _sees_beyond(network, read, centre, field):
                return Positions(centre, float("nan"), "receptive-field centres, beside unknown paths from everywhere")
            return Positions(centre, field, "receptive-field centres")
    even = (np.arange(n) + 0.5) * taken / n - 0.5 - before
    line = _by_mass(network, read, n)
    if line is None or np.abs(line - even).max() <= max(0.4 * taken / n, _EVEN * taken):
        return Positions(even, float("nan"), "evenly spread")
    outside = (line < -0.25 * taken / n) | (line > n_samples - 1 + 0.25 * taken / n)
    nowhere = outside & (read.of_tokens and taken / n > 4)  # a class token
    return Positions(np.where(nowhere, np.nan, np.clip(line, 0, n_samples - 1)), float("nan"), "gradient mass")


def _only_convolves(network: EcgNetwork, read: Reading, z: torch.Tensor) -> bool:
    """Whether what runs before a layer's output has weights of convolutions only, so that long inputs cost little."""
    ran: list[nn.Module] = []
    leaves = [m for m in network.model.modules() if any(True for _ in m.parameters(recurse=False))]
    leaves = [m for m in leaves if not isinstance(m, nn.utils.parametrize.ParametrizationList)]  # of weight norms
    with evaluating(network.model), torch.no_grad(), hooked({m: lambda mod, *_: ran.append(mod) for m in leaves}):
        _run_to(network, read, z)
    return all(isinstance(m, _CONVOLVES) for m in ran)


def _by_fields(model: nn.Module, name: str, n_samples: int) -> tuple[float, float, float] | None:
    """Centre of the first field, step to the next, and width; None where the input's ends cut fields."""
    positive = _positive_copy(model)
    network, read = ecg_network(positive), reading(model, name)._replace(module=find_layer(positive, name))
    for long in (n_samples, 3 * n_samples, max(8 * n_samples, 4096)):
        found = _measured(network, read, long) if long <= _LONGEST else None
        if found is not None:
            return found
    return None


def _measured(network: EcgNetwork, read: Reading, n_samples: int) -> tuple[float, float, float] | None:
    with torch.enable_grad():
        x = torch.ones(1, len(network.about.leads), n_samples, dtype=torch.float64, requires_grad=True)
        a = read.standard(_run_to(network, read, x), 1)
        middle, step = a.shape[2] // 2, min(16, (a.shape[2] - 1) // 4)
        spans = []
        for k in (middle, middle + step):
            g = torch.autograd.grad(a[:, :, k].sum(), x, retain_graph=True)[0].abs().sum(dim=(0, 1)).numpy()
            reads = np.flatnonzero(g)
            spans.append((reads[0], reads[-1]))
    (a0, a1), (b0, b1) = spans
    if a0 == 0 or b1 == n_samples - 1 or b0 <= a0 or b1 - b0 != a1 - a0:
        return None
    stride = (b0 - a0) / step
    return (a0 + a1) / 2 - stride * middle, stride, float(a1 - a0 + 1)


def _by_mass(network: EcgNetwork, read: Reading, n: int) -> np.ndarray | None:
    """Places (position,) on a line through where the squared gradients of three of them peak; None where it is none."""
    at = np.unique(np.linspace(n / 8, n * 7 / 8 - 1, 3).round().astype(int))
    masses = _masses(network, read, at)
    if len(at) < 3 or masses is None:
        return None
    length = masses.shape[1]
    reach = max(int(np.ceil(length / n)), length // 64, 1)
    peaks = [_peak(mass, reach) for mass in masses]
    even, stride = length / n, (peaks[2] - peaks[0]) / (at[2] - at[0])
    bent = abs(peaks[1] - (peaks[0] + stride * (at[1] - at[0])))
    if not 0.8 * even < stride < 1.25 * even or bent > 0.05 * length:
        return None
    return peaks[0] + stride * (np.arange(n) - at[0])


def _shifted(network: EcgNetwork, read: Reading, centre: np.ndarray) -> np.ndarray:
    """Centres of fields, moved by as much as squared gradients, where above half of their most, lie off them."""
    n = len(centre)
    at = np.unique(np.linspace(n / 2, n - 1, 2 * _INPUTS).astype(int))
    masses = _masses(network, read, at)
    if masses is None:
        return centre
    core = np.maximum(masses - masses.max(axis=1, keepdims=True) / 2, 0)
    where = core @ np.arange(core.shape[1]) / core.sum(axis=1)
    return centre + np.median(where - centre[at])


def _sees_beyond(network: EcgNetwork, read: Reading, centre: np.ndarray, field: float) -> bool:
    """Whether a position sees more than its field: gates, as of squeeze and excitation, which a positive copy shuts."""
    k = len(centre) // 2
    masses = _masses(network, read, np.array([k]))
    if masses is None:
        return False
    far = np.abs(np.arange(masses.shape[1]) - centre[k]) > field / 2 + 1
    return bool((masses[0, far] > 0).any())


def _masses(network: EcgNetwork, read: Reading, at: np.ndarray) -> np.ndarray | None:
    """Squared gradients (position, sample) of these positions, leads and made-up ECGs added up; None where one is 0."""
    out = []
    with evaluating(network.model), torch.enable_grad():
        x = network.enter(made_up(network, _INPUTS)).detach().requires_grad_()
        a = read.standard(_run_to(network, read, x), len(x))
        signs = torch.randn(a.shape[:2], generator=torch.Generator().manual_seed(0)).to(a)
        for k in at:
            g = torch.autograd.grad((a[:, :, k] * signs).sum(), x, retain_graph=True, allow_unused=True)[0]
            mass = np.zeros(1) if g is None else (g.double() ** 2).sum(dim=(0, 1)).cpu().numpy()
            if not (mass.any() and np.isfinite(mass).all()):
                return None
            out.append(mass)
    return np.stack(out)


def _peak(mass: np.ndarray, reach: int) -> float:
    """Where a gradient's mass (sample,) lies within `reach` of its peak: attention spreads some over all the input."""
    near = np.convolve(mass, np.ones(2 * reach + 1), mode="same")
    first = max(int(near.argmax()) - reach, 0)
    part = mass[first : first + 2 * reach + 1]
    return float(first + part @ np.arange(len(part)) / part.sum())


def _positive_copy(model: nn.Module) -> nn.Module:
    copied = copy_of(model).double().cpu().eval()
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
    at, placed = np.arange(n_samples), np.isfinite(where.sample)
    out = np.zeros((n_positions, n_samples))
    linear = np.stack([np.interp(at, where.sample[placed], row) for row in np.eye(placed.sum())])
    out[placed] = linear + (1 / n_positions - linear.mean(axis=1, keepdims=True))
    return out
