"""Opening: what a file of weights holds, without running anything that it names.

A checkpoint of torch is a pickle, which can name any function and have it called. Here torch's own reader for tensors
alone opens it (``weights_only=True``). Among what people store beside tensors are plain values of other classes:
numpy's numbers, paths, dates, the settings of a run. None is needed, so for each such class the reader gets a stand-in
that keeps nothing and does nothing: the class itself is neither imported nor called. What names anything else is
refused.
"""

from __future__ import annotations

import contextlib
import pickletools
import re
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open

from .spec import ModelError

# Classes whose objects are plain values, or settings of a run.
_PLAIN = re.compile(
    r"numpy\.(dtype|ndarray|bool_?|str_|(u?int|float|complex)\d+|dtypes\.\w+|random\.\w+\.\w+"
    r"|_?core\.multiarray\.(scalar|_reconstruct))"
    r"|builtins\.(set|frozenset|complex|bytearray|slice|range|list|dict|tuple|int|float|str|bool|bytes|object)"
    r"|collections\.(defaultdict|deque)|argparse\.Namespace|types\.SimpleNamespace|functools\.partial"
    r"|pathlib\.(_local\.)?\w*Path|datetime\.(datetime|date|time|timedelta|timezone)|decimal\.Decimal"
    r"|fractions\.Fraction|uuid\.(UUID|SafeUUID)|copyreg\._reconstructor|_codecs\.encode"
    r"|torch\.torch_version\.TorchVersion|torch\.optim\..+|torch\.nn\.modules\..+"
    r"|(pytorch_lightning|lightning|lightning_fabric|torchmetrics|omegaconf|ml_collections)\..+"
    r"|yacs\.config\.CfgNode|easydict\.EasyDict|addict\.addict\.Dict|munch\.Munch"
)
_DICTS = re.compile(r".*\.(defaultdict|AttributeDict|CfgNode|EasyDict|Dict|Munch)")
_LISTS = re.compile(r"collections\.deque")
# What torch's reader makes itself: named in every checkpoint, and no reason to refuse one.
_TENSORS = re.compile(
    r"torch\.(_utils|_tensor|storage|serialization|nn\.parameter)\..+|torch\.\w*(Storage|Tensor)|torch\.[a-z]+\d+\w*"
    r"|torch\.(Size|device|bool|per_\w+)|collections\.(OrderedDict|Counter)"
)

_KINDS = {  # by the file's ending or its first bytes
    "onnx": "a network of ONNX. Turn it into one of torch: module = onnx2torch.convert(path), "
    "then wb.wrap_model(module, spec)",
    "keras": "a network of Keras. Open it with torch beneath: set the environment variable KERAS_BACKEND=torch before "
    "Python starts, module = keras.saving.load_model(path), then wb.wrap_model(module, spec), whose input is (record, "
    "sample, lead) where it was so in Keras",
    "torchscript": "a network of TorchScript. Open it yourself, module = torch.jit.load(path), then "
    "wb.wrap_model(module, spec): predictions, gradients with respect to the input and attention by edits work, "
    "maps of its layers do not",
    "export": "a program of torch.export, which has no layers to look into. Open it yourself, program = "
    "torch.export.load(path).module(), let the forward of an nn.Module of your own call program(x), and wb.wrap_model "
    "that: predictions and attention by edits work, maps of its layers do not",
    "lfs": "a placeholder of Git LFS, not the weights themselves; fetch them with `git lfs pull`",
    "page": "a web page, not weights; the download went wrong, or it needs to be downloaded by hand",
}
_STARTS = {b"\x89HDF\r\n": "keras", b"version https://git-lfs": "lfs", b"<!DOCTYPE": "page", b"<html": "page"}
_ENDINGS = {".onnx": "onnx", ".keras": "keras", ".h5": "keras", ".hdf5": "keras", ".pt2": "export"}


def opened(path: Path) -> tuple[Any, dict[str, str]]:
    """What a file holds: of safetensors its tensors and metadata, of a checkpoint its tensors and plain values.

    Parameters
    ----------
    path : Path
        An existing file.

    Returns
    -------
    held : object
        As it was saved, mostly nested dicts; `Unread` stands for values of other classes.
    metadata : dict
        Of safetensors; empty for a checkpoint.

    Raises
    ------
    ModelError
        When the file is of another kind, is damaged, or names anything that only running code could make.
    """
    try:
        with safe_open(path, framework="pt") as f:
            return {k: f.get_tensor(k) for k in f.keys()}, dict(f.metadata() or {})  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError):
        kind = _kind(path)
    if kind:
        raise ModelError(f"{path} is {_KINDS[kind]}")
    names = _names(path)
    try:
        with _standing_in({n for n in names if _PLAIN.fullmatch(n)}), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other pickle protocols; they fail or not
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch's errors differ by what the pickle would do
        raise ModelError(_refusal(path, names, e)) from e
    if isinstance(held, Unread):
        raise ModelError(_refusal(path, {held.name}, None))
    return held, {}


def _kind(path: Path) -> str:
    """Which other kind of file it is, a key of `_KINDS`; "" for what may be a checkpoint."""
    with path.open("rb") as f:
        start = f.read(64)
    kind = next((k for text, k in _STARTS.items() if start.startswith(text)), _ENDINGS.get(path.suffix.lower(), ""))
    if not kind and start.startswith(b"PK") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = {n.split("/", 1)[-1] for n in archive.namelist()}
        if "constants.pkl" in inside:
            return "torchscript"
        if "archive_format" in inside or "serialized_exported_program.json" in inside:
            return "export"
        if "model.weights.h5" in inside:
            return "keras"
    return kind


# ---------------------------------------------------------------- stand-ins


class Unread:
    """Stands for a value of a class that was not imported: it takes anything, keeps nothing and runs nothing."""

    name = ""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Any:
        return object.__new__(cls)

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


class _UnreadDict(Unread):
    def __new__(cls, *_args: Any, **_kwargs: Any) -> Any:
        return OrderedDict()  # torch's reader fills no other dicts; a network's weights may be in it


class _UnreadList(Unread):
    def __new__(cls, *_args: Any, **_kwargs: Any) -> Any:
        return []


def _stand_in(name: str) -> type:
    """A class that torch's reader takes for the one of that full name."""
    base = _UnreadDict if _DICTS.fullmatch(name) else _UnreadList if _LISTS.fullmatch(name) else Unread
    module, _, short = name.rpartition(".")
    return type(short, (base,), {"__module__": module, "name": name})


@contextlib.contextmanager
def _standing_in(names: set[str]) -> Iterator[None]:
    """Within, torch's reader makes stand-ins for these classes; afterwards its list is as it was."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()  # also of real classes: none is to be made here
    torch.serialization.add_safe_globals([_stand_in(n) for n in names])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


# ---------------------------------------------------------------- what a pickle names


def _names(path: Path) -> set[str]:
    """The functions and classes, by full name, that a checkpoint names; it is read as text and not unpickled."""
    names: set[str] = set()
    with contextlib.suppress(Exception):  # damaged, or no pickle: torch's reader says so
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for inside in archive.namelist():
                    if inside.endswith("data.pkl"):
                        with archive.open(inside) as f:
                            _add_names(f, names)  # type: ignore[arg-type]
        else:
            with path.open("rb") as f:
                for _ in range(5):  # the old format: magic number, version, machine, what was saved, keys
                    _add_names(f, names)
    return names


def _add_names(file: BinaryIO, names: set[str]) -> None:
    """Add those of one pickle, with Python 2's names in today's form."""
    texts: list[str] = []
    for code, value, _ in pickletools.genops(file):
        if code.name == "GLOBAL":
            module, name = str(value).split(" ", 1)
        elif code.name == "STACK_GLOBAL" and len(texts) > 1:  # of later protocols, from the two last texts
            module, name = texts[-2:]
        else:
            texts = [*texts[-1:], str(value)] if "UNICODE" in code.name else texts
            continue
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        names.add(f"{module}.{name}")


def _refusal(path: Path, names: set[str], error: Exception | None) -> str:
    """Why a checkpoint is not opened, and what to do."""
    needs = sorted(n for n in names if not _TENSORS.fullmatch(n) and (error is None or not _PLAIN.fullmatch(n)))
    network = any(n.startswith("torch.nn.modules.") and ".loss." not in n for n in names)
    needs = needs or sorted(n for n in names if network and n.startswith("torch.nn.modules."))
    if not needs:
        said = " ".join(str(error).split("WeightsUnpickler error:")[-1].split("Check the doc")[0].split())
        return (
            f"{path} cannot be read: neither safetensors nor a checkpoint of torch that holds tensors and plain values "
            f"({type(error).__name__}: {said[:200]}). Is it whole? If you can open it with "
            "torch.load, store its state dict anew: torch.save(state_dict, file)"
        )
    more = f" and {len(needs) - 5} more" if len(needs) > 5 else ""
    what = "a whole network was pickled, it seems; " if network else ""
    return (
        f"{path} is refused: {what}beside tensors and plain values it needs {', '.join(needs[:5])}{more}. Such a "
        "pickle runs code when opened. Where you trust it, open it yourself, where its classes can be imported, and "
        "store the weights alone: kept = torch.load(file, weights_only=False); torch.save(kept.state_dict(), new_file) "
        "or of its part that is the network; then load_model(new_file, module, spec)"
    )
