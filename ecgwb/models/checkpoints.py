"""Checkpoints: weights as people save them, put into their network; and a network with its spec in one file."""

from __future__ import annotations

import copy
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from .opening import opened
from .running import unwrapped
from .spec import EXAMPLE, ModelError, ModelSpec, make_net, spec_of
from .wrapping import wrap_model

WEIGHTS = Path(__file__).parent / "weights"
SKILL = WEIGHTS / "skill.json"  # of the shipped networks, by name, on people who did not shape them

# Where files keep a network's weights, the likeliest first; any other name is found, too.
_USUAL = ("model_state_dict", "state_dict", "model_state", "model", "net", "network", "weights", "params")
_AVERAGED = re.compile(r"(^|[._])(s?w?ema\d*|swa|averaged?|averaging|shadow|teacher)($|[._])", re.IGNORECASE)
# Stored beside a network's weights in one dict, and none of them: losses and metrics; counts, left out in silence.
_NOT_WEIGHTS = re.compile(r"criteri|loss|metric|pos_weight|class_weight|accuracy|auroc", re.IGNORECASE)
_COUNTS = re.compile(
    r"(.*[./])?(n_averaged|total_ops|total_params|num_batches_tracked|_extra_state|seed_generator_state)"
)
# What torch.compile and those who run a network on several devices put between the names of layers.
_WRAPPINGS = re.compile(r"(?:(?<=^)|(?<=\.))(?:_orig_mod|module|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


def save_model(model: nn.Module, path: str | Path) -> None:
    """Store weights and spec in one safetensors file; `load_model` opens it.

    Parameters
    ----------
    model : nn.Module
        With a spec. Of a network in ``torch.compile`` or ``nn.DataParallel`` the network itself is stored; weights
        that two layers share are stored once.
    path : str or Path
        The file, whose folder is made; one that is there is replaced.

    Raises
    ------
    ModelError
        When the model has no spec (see `wrap_model`), the spec holds a function, or the path is a folder.
    """
    spec = _as_text(spec_of(model))
    if Path(path).is_dir():
        raise ModelError(f"{path} is a folder; expected a file, such as {Path(path) / 'mine.safetensors'}")
    network = unwrapped(model)
    tied = _tied(network)
    state = {k: v for k, v in network.state_dict().items() if k not in tied}
    unfit = [k for k, v in state.items() if not isinstance(v, torch.Tensor)]
    if unfit:
        raise ModelError(f"the network's state has {unfit[0]!r}, a {type(state[unfit[0]]).__name__}; expected tensors")
    clean = _clean_names(list(state) + list(tied))
    tensors = {clean[k]: v.detach().cpu().clone().contiguous() for k, v in state.items()}
    of = {clean[k]: clean[first] for k, first in tied.items()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata={"ecgwb_spec": spec} | ({"ecgwb_tied": json.dumps(of)} if of else {}))


def _as_text(spec: ModelSpec) -> str:
    """The spec as JSON; an error names the field that no file can hold."""
    fields = asdict(spec)
    for name, value in fields.items():
        try:
            json.dumps(value)
        except TypeError as e:
            raise ModelError(
                f"spec.{name} holds something that is no text, number or list of such, and cannot be stored ({e}). "
                "Say it by names or indices; or keep the spec in your code, store the weights alone with "
                "torch.save(model.state_dict(), file), and load_model(file, module, spec)"
            ) from e
    return json.dumps(fields, ensure_ascii=False)


def load_model(
    name: str | Path, module: nn.Module | None = None, spec: ModelSpec | None = None, *, key: str | None = None
) -> nn.Module:
    """A shipped model by name, or weights from a file, put into their network.

    No code in a file is ever run: of a checkpoint only tensors and plain values are read.

    Parameters
    ----------
    name : str or Path
        ``"compact-measures"`` or another of `shipped`; or a file: safetensors, as written by `save_model` or others,
        or a checkpoint of ``torch.save``: a state dict, alone or somewhere inside (``"model_state_dict"``, Lightning's
        ``"state_dict"``, any other name), whatever its names begin with (``module.``, ``model.``, ``_orig_mod.``).
    module : nn.Module, optional
        A network of your own to put the weights into; not needed for the networks of this package.
    spec : ModelSpec, optional
        What the network takes and gives, for a file that does not say.
    key : str, optional
        Which of several sets of weights in the file: ``"state_dict_ema"``, or what their names begin with, such as
        ``"ema_model"``. By default those as trained rather than their moving average.

    Returns
    -------
    nn.Module
        In eval mode, with ``.spec``; of a network in ``torch.compile`` or ``nn.DataParallel`` the network itself.

    Raises
    ------
    ModelError
        When there is no such model, the file needs code to be opened or is of another kind, there is no spec, or spec,
        weights and network disagree: a weight is missing, or of another shape.

    Warns
    -----
    UserWarning
        When tensors of the file are left out, and when it holds another set of weights that fit the network.
    """
    path = _file_of(name)
    held, metadata = opened(path)
    spec = spec or _described(path, metadata)
    if spec is not None and path.parent == WEIGHTS and not spec.skill:
        known = json.loads(SKILL.read_text(encoding="utf-8")).get(path.stem, {})
        spec = replace(spec, skill={t: found for t, found in known.items() if t in spec.targets})
    if spec is None:
        raise ModelError(
            f"{path} carries no ModelSpec; fill one in and give it, load_model(path, module, spec):\n{EXAMPLE}"
        )
    if module is None:
        if not spec.net:
            raise ModelError(f"{path} holds a network that is not part of ecgwb; pass it: load_model(path, module=...)")
        module = make_net(spec.net)
    if not isinstance(module, nn.Module):
        raise TypeError(f"module is {module!r}; expected a network, an instance of torch.nn.Module")
    try:
        for copied, first in json.loads(metadata.get("ecgwb_tied", "{}")).items():
            held[copied] = held[first]
    except (KeyError, AttributeError, json.JSONDecodeError) as e:
        raise ModelError(f"{path} says of weights that they are one, and cannot be read: {e!r}. Is it whole?") from e
    network = unwrapped(module)
    state, notes = _weights(path, held, network, key)
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    network.load_state_dict(state, strict=False)  # that nothing is missing was seen before
    return wrap_model(network.eval(), spec)


def shipped() -> list[str]:
    """Names of the models that come with the package.

    Returns
    -------
    list of str
        For `load_model`.
    """
    return sorted(p.stem for p in WEIGHTS.glob("*.safetensors"))


def _file_of(name: str | Path) -> Path:
    """The file of a shipped model or of one that is given by its path."""
    if not isinstance(name, (str, Path)):
        raise TypeError(f"name is a {type(name).__name__}; expected a shipped model's name or the file of a stored one")
    path = next((p for p in (Path(name), WEIGHTS / f"{name}.safetensors") if p.is_file()), None)
    if path is None and Path(name).is_dir():
        inside = sorted(p.name for p in Path(name).iterdir() if p.is_file())
        raise ModelError(f"{str(name)!r} is a folder; expected a file, such as {' or '.join(inside[:3]) or 'm.pt'}")
    if path is None:
        what = "file" if Path(name).suffix else "model"
        raise ModelError(f"no {what} {str(name)!r}; shipped are {', '.join(shipped())}, or give the file of one")
    return path


def _described(path: Path, metadata: dict[str, str]) -> ModelSpec | None:
    """The spec that a file of `save_model` carries."""
    if "ecgwb_spec" not in metadata:
        return None
    try:
        return ModelSpec(**json.loads(metadata["ecgwb_spec"]))
    except (TypeError, json.JSONDecodeError) as e:  # an unknown field, or text that is no JSON
        raise ModelError(f"{path}: its spec cannot be read, {e}; it may need a newer ecgwb") from e


# ---------------------------------------------------------------- names of weights


def _clean_names(names: list[str]) -> dict[str, str]:
    """Each name without what wraps layers; as they are where two would become one."""
    clean = {n: _WRAPPINGS.sub("", n) for n in names}
    return clean if len(set(clean.values())) == len(clean) else {n: n for n in names}


def _tied(network: nn.Module) -> dict[str, str]:
    """Names in the state of weights that have an earlier name, too, and that name."""
    first: dict[int, str] = {}
    known = [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]
    names = {id(v): first.setdefault(id(v), n) for n, v in known}
    return {n: names[id(v)] for n, v in known if names[id(v)] != n}


def _fits(given: torch.Tensor, own: torch.Tensor) -> bool:
    """Whether a tensor may be copied into the network's: of its shape and, whatever the precision, its kind."""
    if nn.parameter.is_lazy(own):  # the first run of the network settles its shape
        return True
    return given.shape == own.shape and _kind(given) == _kind(own)


def _kind(tensor: torch.Tensor) -> str:
    if tensor.is_quantized:
        return "quantized"
    if tensor.layout != torch.strided or tensor.is_meta:
        return "sparse or without values"
    return "complex" if tensor.is_complex() else "real" if tensor.is_floating_point() else "whole"


def _seen(name: str, state: dict[str, torch.Tensor]) -> str:
    """A tensor in an error's text."""
    if name not in state:
        return "not"
    tensor = state[name]
    if nn.parameter.is_lazy(tensor):
        return "of any shape"
    return f"{tuple(tensor.shape)}" + ("" if _kind(tensor) == "real" else f" {tensor.dtype}")


@dataclass
class _Found:
    """A set of weights in a file."""

    label: str  # where: "state_dict", or with what its names begin "state_dict.ema_model"; "" for the file itself
    prefix: str  # what its names begin with, cleaned
    inside: dict[str, torch.Tensor]  # by the network's own, cleaned names
    others: list[str]  # names in the same dict that do not begin so
    names: set[str]  # those of the network's weights, as they are

    def rank(self) -> tuple[bool, int, int]:
        """Those as trained before averages, usual names before others."""
        first = self.label.split(".")[0]
        usual = _USUAL.index(first) if first in _USUAL else len(_USUAL)
        return bool(_AVERAGED.search(self.label)), 0 if not self.label else 1 + usual, len(self.label)


def _weights(path: Path, held: Any, network: nn.Module, key: str | None) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The state that a file has for a network, by the network's own names, and what is to be said of it."""
    full = network.state_dict(keep_vars=True)
    clean = _clean_names([k for k, v in full.items() if isinstance(v, torch.Tensor)])
    own = {short: full[k] for k, short in clean.items()}
    tied = {clean[k]: clean[first] for k, first in _tied(network).items() if k in clean and first in clean}
    found = [f for label, some in _dicts(held) for f in _sets(label, some, own)]
    if not found:
        what = f"a dict of {', '.join(map(str, list(held)[:5]))}" if isinstance(held, dict) else type(held).__name__
        raise ModelError(f"{path} holds {what}; expected a state dict, tensors by name")
    all_fitting = [f for f in found if not _gaps(f, own, tied)]
    found = _asked(path, found, key)
    fitting = [f for f in all_fitting if f in found]
    if not fitting:
        closest = max(found, key=lambda f: (sum(k in own for k in f.inside), [-v for v in f.rank()]))
        return _converted(path, closest, network, own, tied), []
    fitting.sort(key=_Found.rank)
    best = fitting[0]
    state, notes = _complete(best, own, tied, path), []
    others = [f for f in fitting[1:] if not _same(f.inside, best.inside, own)]
    if others and others[0].rank()[:2] == best.rank()[:2]:
        labels = [f.label for f in fitting]
        raise ModelError(f"{path} holds {len(labels)} sets of weights that fit; say which: key={_either(labels)}")
    if others:
        labels = [f.label for f in others]
        notes.append(
            f"took {best.label or 'the weights without a key'!r}, and not {_either(labels)}, which fit, too; "
            f"for those, load_model(..., key={labels[0]!r})"
        )
    if left := _left_out(best, own, all_fitting):
        notes.append(f"left out what are no weights of this network: {_some(left)}")
    back = {short: k for k, short in clean.items()}
    return {back[k]: v for k, v in state.items()}, notes


def _either(labels: list[str]) -> str:
    return " or ".join(repr(v) for v in labels[:5])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _dicts(held: Any, label: str = "", depth: int = 5) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """All dicts in what a file holds that have tensors by name, and where they are."""
    items = held.items() if isinstance(held, dict) else enumerate(held) if isinstance(held, (tuple, list)) else ()
    if isinstance(held, dict):
        tensors = {k: v for k, v in held.items() if isinstance(k, str) and isinstance(v, torch.Tensor)}
        if tensors:
            yield label, tensors
    for k, v in items if depth else ():
        if isinstance(v, (dict, tuple, list)):
            yield from _dicts(v, f"{label}.{k}".lstrip("."), depth - 1)


def _sets(label: str, held: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> Iterator[_Found]:
    """What in a dict may be the network's weights: one set for each beginning that its own names are met behind."""
    clean = _clean_names(list(held))
    starts = {""}
    for k in clean.values():
        parts = k.split(".")
        starts |= {".".join(parts[:n]) + "." for n in range(1, len(parts)) if ".".join(parts[n:]) in own}
    for start in sorted(starts):
        inside = {short[len(start) :]: held[k] for k, short in clean.items() if short.startswith(start)}
        names = {k for k, short in clean.items() if short.startswith(start) and short[len(start) :] in own}
        if start == "" or names:
            others = [k for k, short in clean.items() if not short.startswith(start)]
            yield _Found(f"{label}.{start}".strip("."), start, inside, others, names)


def _asked(path: Path, found: list[_Found], key: str | None) -> list[_Found]:
    """The sets of that key, exactly or as a part of where they are; all without one."""
    if key is None:
        return found
    wanted = str(key).strip(".")  # of a list, 0 is its first
    named = [f for f in found if f.label == wanted or f.label.startswith(f"{wanted}.")]
    named = named or [f for f in found if f".{wanted}." in f".{f.label}."]
    if not named:
        labels = sorted({f.label for f in found if f.label})
        raise ModelError(f"{path} has no weights under key={key!r}; it has {_some(labels) or 'one set, without a key'}")
    return named


# ---------------------------------------------------------------- whether they fit


def _gaps(found: _Found, own: dict[str, torch.Tensor], tied: dict[str, str]) -> list[str]:
    """The network's weights that a set lacks or has in another shape, and weights it has that the network lacks."""
    gaps = []
    for k, v in own.items():
        given = found.inside.get(k, found.inside.get(_partner(k, tied, found.inside)))
        if given is None:
            if not _COUNTS.fullmatch(k):
                gaps.append(k)
        elif not _fits(given, v) and not _COUNTS.fullmatch(k):
            gaps.append(k)
    return gaps + [k for k in found.inside if k not in own and not _may_be_left(k, found, own)]


def _partner(name: str, tied: dict[str, str], inside: dict[str, torch.Tensor]) -> str:
    """Another name, in the file, of the tensor that the network has by this name; "" for none."""
    first = tied.get(name, name)
    return next((k for k in (first, *(k for k, f in tied.items() if f == first)) if k in inside), "")


def _may_be_left(name: str, found: _Found, own: dict[str, torch.Tensor]) -> bool:
    """Whether a name within a set is a loss's or a count, or belongs to another network beside this one."""
    top = name.split(".")[0]
    if _COUNTS.fullmatch(name) or _NOT_WEIGHTS.search(top):
        return True
    # Behind no beginning of their own, averages stand beside the weights: "ema_model.head.weight", "head.weight".
    return bool(_AVERAGED.search(top)) and top not in {k.split(".")[0] for k in own}


def _left_out(found: _Found, own: dict[str, torch.Tensor], fitting: list[_Found]) -> list[str]:
    """Names beside the network's weights that are worth a word: not counts, nor another set of the same weights."""
    known = set().union(*(f.names for f in fitting if f is not found))
    names = [*(k for k in found.inside if k not in own), *found.others]
    return [k for k in names if not _COUNTS.fullmatch(k) and k not in known]


def _complete(found: _Found, own: dict[str, torch.Tensor], tied: dict[str, str], path: Path) -> dict[str, torch.Tensor]:
    """The state by cleaned names: tied weights under both, counts that the file lacks as the network has them."""
    state = {k: v for k, v in found.inside.items() if k in own}
    for k, first in tied.items():
        pair = [state[n] for n in (k, first) if n in state]
        if len(pair) == 2 and not _equal(*pair):
            raise ModelError(
                f"{path}: {first} and {k} are one tensor in the network and two in the file, with other values; the "
                "network is not the one that was trained"
            )
    return state | {k: state[p] for k in own if k not in state and (p := _partner(k, tied, state))}


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and bool(torch.equal(a, b.to(a.dtype)))


def _same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> bool:
    """Whether two sets give the network the same weights."""
    return all(k in a and k in b and _equal(a[k], b[k]) for k in own if k in a or k in b)


def _converted(
    path: Path, found: _Found, network: nn.Module, own: dict[str, torch.Tensor], tied: dict[str, str]
) -> dict[str, torch.Tensor]:
    """The weights, where the network itself takes them under other names, as after a change of `weight_norm`."""
    try:
        if any(k in own and not _fits(v, own[k]) for k, v in found.inside.items()):
            raise ModelError("of another shape or kind")
        copy.deepcopy(network).load_state_dict(found.inside)
    except Exception as e:  # whatever a network's own loading does
        raise ModelError(f"{path}: {_misfit(found, own, tied)}") from e
    return found.inside


def _is_longer(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors differ in their first length alone, which counts outputs."""
    return a.ndim == b.ndim > 0 and len(a) != len(b) and a.shape[1:] == b.shape[1:] and _kind(a) == _kind(b)


def _misfit(found: _Found, own: dict[str, torch.Tensor], tied: dict[str, str]) -> str:
    """How the closest weights of a file differ from the network's."""
    gaps = _gaps(found, own, tied)
    place = f" (under {found.label!r})" if found.label else ""
    layers = {k.rpartition(".")[0] for k in gaps}
    both = [(found.inside[k], own[k]) for k in gaps if k in found.inside and k in own]
    if len(layers) == 1 and len(both) == len(gaps) and all(_is_longer(a, b) for a, b in both):
        (layer,) = layers
        there, here = (len(t) for t in both[0])
        return (
            f"all weights fit{place} but those of {layer!r}, which has {there} outputs in the file and {here} in the "
            f"network. Make the network with {there}; where it is the last layer, name as many in spec.targets"
        )
    wrong = [f"{k} is {_seen(k, found.inside)} in the file and {_seen(k, own)} in the network" for k in gaps]
    more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"weights do not fit the network{place}: {'; '.join(wrong[:3])}{more}"
