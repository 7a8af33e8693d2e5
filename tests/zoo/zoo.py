"""The zoo: what the workbench makes of networks that no one here wrote, as the table in zoo.md.

    make zoo                                    # all of them, hours; killed, it goes on where it was
    make zoo ARGS="--only causal --inputs 'rhythm 100'"
    make zoo ARGS="--part 1/2"                  # half of them, another process takes --part 2/2

Every answer is judged by another way to it: the network's own output, autograd and Captum for values, pulses for
places.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import functools
import hashlib
import itertools
import json
import platform
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal
import torch
import xarray as xr
from architectures import ZOO, Architecture, made
from scipy.stats import spearmanr

import ecgwb as wb

HERE = Path(__file__).parent
TABLE, RESULTS = HERE / "zoo.md", HERE / "zoo.jsonl"
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
INPUTS = {
    "beat 500": ("beat", 500, 600),
    "beat 100": ("beat", 100, 120),
    "rhythm 500": ("rhythm", 500, 5000),
    "rhythm 100": ("rhythm", 100, 1000),
}  # what a network is given: its rate in Hz, and samples
RECORDS, FEW = 16, 4  # for maps of people, and for what is slow
MOMENTS = (0.10, 0.26, 0.42, 0.58, 0.74, 0.90)  # of the input, where pulses are put
PULSE_UV, PULSE_MS = 300.0, 40.0
WINDOWS = 16  # of occlusion
RIGHT, REFUSED, FAILED, WRONG, NONE = "right", "refused", "failed", "WRONG", ""
# Whose warnings are not ours; those of ours that point at their caller point at torch's decorators.
_PEERS = re.compile(r"[/\\](captum|torch_ecg|deepecgkit|torch(?![/\\]utils[/\\]_contextlib))[/\\]")
Cell = tuple[str, str]  # verdict, and what was seen


class Case:
    """A network at one rate and length, and what it says by itself."""

    def __init__(self, one: Architecture, kind: str, fs: float, n_samples: int, cohort: xr.Dataset) -> None:
        self.one, self.kind, self.fs, self.cohort = one, kind, fs, cohort
        about = {"targets": ("qt", "hr"), "units": ("ms", "bpm")} | one.spec
        self.spec = wb.ModelSpec(
            input=kind, leads=LEADS, fs=fs, n_samples=n_samples, scale=0.001, start_ms=float(cohort.time[0]), **about
        )
        self.x = self.signals(cohort)
        self.net = made(one, fs, len(LEADS), n_samples, self.entered(self.x[:8]))
        self.model = self.net
        self._seen: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def few(self, n: int = FEW) -> xr.Dataset:
        return self.cohort.isel(record=slice(n))

    def signals(self, cohort: xr.Dataset) -> torch.Tensor:
        """(record, lead, sample) in mV, at the network's rate."""
        v = {str(lead): cohort[self.kind].sel(lead=lead).values for lead in cohort.lead.values}
        v |= {"III": v["II"] - v["I"], "aVR": -(v["I"] + v["II"]) / 2}
        v |= {"aVL": v["I"] - v["II"] / 2, "aVF": v["II"] - v["I"] / 2}
        x = np.stack([v[lead] for lead in LEADS], axis=1).astype(np.float32)
        if self.fs != 500:
            x = scipy.signal.resample_poly(x, 1, round(500 / self.fs), axis=2, padtype="line").astype(np.float32)
        return torch.from_numpy(x[:, :, : self.spec.n_samples] * np.float32(0.001))

    def entered(self, x: torch.Tensor) -> torch.Tensor:
        """As the network's own code takes it."""
        how, by = self.spec.normalise, (1, 2) if self.spec.normalise.endswith("record") else (2,)
        if how.startswith("z-score"):
            x = (x - x.mean(by, keepdim=True)) / x.std(by, keepdim=True, correction=0)
        if how.startswith("min-max"):
            low, high = x.amin(by, keepdim=True), x.amax(by, keepdim=True)
            x = (x - low) / (high - low)
        if self.spec.layout == "record sample lead":
            return x.transpose(1, 2)
        return x[:, None] if self.spec.layout == "record 1 lead sample" else x

    def answers(self, x: torch.Tensor) -> torch.Tensor:
        """What the network says (record, target), in the unit that is explained."""
        given = next((p.dtype for p in self.net.parameters()), torch.float32)
        y = self.net(self.entered(x).to(given))
        y = self.one.spec["output"](y) if callable(self.spec.output) else y
        y = y if self.spec.output is None or callable(self.spec.output) else y[self.spec.output]
        y = y[:, None] if y.ndim == 1 else y
        if self.spec.link == "softmax":
            y = y.double().softmax(dim=1)
        y = y[:, list(self.spec.columns)] if self.spec.columns else y
        return torch.logit(y.double()) if self.spec.link in ("probability", "softmax") else y

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        with torch.no_grad():
            return np.concatenate([self.answers(x).double().numpy() for x in self.x.split(8)])

    def seen(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """How the first tensor of a layer's first call changes with a pulse at a fifth and at four fifths."""
        if name not in self._seen:
            self._seen |= _responses(self, [str(n) for n, _ in self.net.named_modules()])
        return self._seen[name]

    @functools.cached_property
    def maps(self) -> xr.DataArray:
        return wb.ecgradcam(self.model, self.cohort)

    @functools.cached_property
    def layer(self) -> Any:
        """The row of the layer that maps are read from."""
        table = wb.models.layers(self.model)
        return table[table["default"]].iloc[0]


# ---------------------------------------------------------------- what is asked of each network


def wrap(case: Case) -> Cell:
    case.model = wb.wrap_model(case.net, case.spec)
    return RIGHT, ""


def predict(case: Case) -> Cell:
    """The network itself on the same ECG."""
    said = wb.predict(case.model, case.cohort)
    got = np.stack([said[t].values for t in case.spec.targets], axis=1)
    off = np.abs(got - case.predicted).max() / (np.ptp(case.predicted, axis=0).max() + 1e-12)
    return (RIGHT, "") if off < 1e-3 else (WRONG, f"off by {off:.2g} of the spread")


def layers(case: Case) -> Cell:
    """One default among the layers that can be mapped; what is called position moves with a pulse, in all of them."""
    table = wb.models.layers(case.model)
    n = int(table["default"].sum()) if len(table) else 0
    if not n:
        return REFUSED, "no layer can be mapped"
    whole = table["receptive_field_ms"].isna()  # what sees all of the ECG, says the table; it is told of with a map
    moved = {name: _moved(*case.seen(name), table.loc[name, "axes"]) for name in table.index[~whole]}
    still = [name for name, by in moved.items() if by < 0.2]
    if n > 1 or still:
        return WRONG, f"{n} defaults; of {len(table)} layers {len(still)} do not follow a pulse, such as {still[:1]}"
    return RIGHT, str(table.index[table["default"]][0])


def _moved(early: torch.Tensor, late: torch.Tensor, axes: Sequence[str]) -> float:
    """By how much of its length what changes along the axis called position comes later with a later pulse."""
    others = [k for k, axis in enumerate(axes) if axis != "position"]
    at = torch.linspace(0, 1, early.shape[list(axes).index("position")], dtype=torch.float64)
    change = []
    for v in (early, late):
        size = v.abs().double().sum(dim=others)
        change.append((size - size.median()).clamp(min=0))  # less what changes everywhere
    first, last = ((at * c).sum() / c.sum().clamp(min=1e-30) for c in change)
    return float(last - first)


def places(case: Case) -> Cell:
    """A pulse added at t changes the map at t.

    The network has a head of fixed weights for it, at the layer that is read: behind its own, such as maximum pooling,
    a pulse changes Grad-CAM's weights, and these the map everywhere. What that does is told beside it.
    """
    few, intact = case.few(), wb.ecgradcam(case.model, case.few())
    how, table = str(intact.attrs.get("positions", "")), case.layer
    headed = _FixedHead(case.net, str(table.name), tuple(table["axes"]))
    targets = tuple(f"head {k}" for k in range(_HEADS))
    about = {"targets": targets, "units": ("",) * _HEADS, "output": None, "link": "identity", "columns": ()}
    about |= {"layer": f"net.{table.name}", "layer_axes": tuple(table["axes"])}
    alone = wb.wrap_model(headed, dataclasses.replace(case.spec, **about))
    found = _pulses_seen(case, alone, wb.ecgradcam(alone, few))
    if found is None:
        return NONE, f"the layer hardly reads more than two of {len(MOMENTS)} moments"
    (error, order), own = found, _pulses_seen(case, case.model, intact)
    span = 1000.0 * case.x.shape[2] / case.fs
    field = min(float(intact.attrs.get("receptive_field_ms", np.nan)) / span, 1.0)
    allowed = np.nanmax([0.06, min(field / 4, 0.12), 1 / max(int(table["positions"]), 1)])
    text = f"{100 * error:.0f} %, order {order:.2f}, "
    text += f"with its own head {100 * own[0]:.0f} %, " if own else ""
    text += f"occlusion {_occlusion_agrees(case, few, intact):.2f}"
    if error <= allowed and order > 0.8:
        return RIGHT, f"{text}, {how}"
    return (REFUSED if "even" in how or "unknown" in how else WRONG), f"positions {how}; {text}"


def _pulses_seen(case: Case, model: torch.nn.Module, intact: xr.DataArray) -> tuple[float, float] | None:
    """How far from a pulse a map changes, as a share of the input, and whether later pulses change it later."""
    few = case.few()
    at = np.linspace(0, 1, intact.sizes["time"])
    errors, found, sizes = [], [], []
    for t in MOMENTS:
        change = np.abs(wb.ecgradcam(model, _pulsed(few, case, t)).values - intact.values)
        size = change.max(axis=(0, 2), keepdims=True)
        sizes.append(float(size.max()))
        change = np.divide(change, size, out=np.zeros_like(change), where=size > 0).mean(axis=1)  # (record, time)
        above = np.maximum(change - change.max(axis=1, keepdims=True) / 2, 0)
        seen = (above * at).sum(axis=1) / np.maximum(above.sum(axis=1), 1e-30)
        errors.append(np.abs(seen - t))
        found.append(np.median(seen))
    read = np.array(sizes) >= 0.05 * max(sizes)  # not what an untrained LSTM has long forgotten
    if read.sum() < 3:
        return None
    order = float(spearmanr(np.array(MOMENTS)[read], np.array(found)[read]).statistic)
    return float(np.median(np.array(errors)[read])), order


_HEADS = 4


class _FixedHead(torch.nn.Module):
    """A network up to a layer, whose channels are weighed by fixed numbers, in four ways, and averaged."""

    def __init__(self, net: torch.nn.Module, layer: str, axes: tuple[str, ...]) -> None:
        super().__init__()
        self.net, self.layer, self.axes = net, layer, axes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept: list[Any] = []
        handle = self.net.get_submodule(self.layer).register_forward_hook(lambda _m, _i, y: kept.append(y))
        try:
            self.net(x)
        finally:
            handle.remove()
        a = kept[0]
        while isinstance(a, (tuple, list)):
            a = a[0]
        axes = [self.axes.index("record"), *(k for k, axis in enumerate(self.axes) if axis == "channel")]
        a = a.movedim(self.axes.index("position"), -1).permute(
            *[k - (k > self.axes.index("position")) for k in axes], -1
        )
        a = a.reshape(len(x), -1, a.shape[-1])  # leads may be records of their own
        return a.mean(dim=2) @ torch.randn(a.shape[1], _HEADS, generator=torch.Generator().manual_seed(0)).to(a)


def _pulsed(some: xr.Dataset, case: Case, t: float, width_ms: float = PULSE_MS) -> xr.Dataset:
    ecg = some[case.kind]
    n = ecg.shape[2]
    ms = (np.arange(n) - t * (n - 1)) * 1000 / 500
    return some.assign({case.kind: ecg + np.float32(PULSE_UV) * np.exp(-4 * np.log(2) * (ms / width_ms) ** 2)})


def _responses(case: Case, names: Sequence[str]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    given: dict[str, list[torch.Tensor]] = {}

    def keep(name: str, number: int, output: Any) -> None:
        while isinstance(output, (tuple, list)) and output:
            output = output[0]
        if isinstance(output, torch.Tensor) and len(given.setdefault(name, [])) == number:
            given[name].append(output.detach().clone())

    few = case.few(1)
    modules = dict(case.net.named_modules())
    width = 1000 * case.x.shape[2] / case.fs / 16  # a layer with strides may look at a moment in sixteen only
    for number, some in enumerate([few, _pulsed(few, case, 0.2, width), _pulsed(few, case, 0.8, width)]):
        hooks = [modules[n].register_forward_hook(lambda _m, _i, y, n=n, k=number: keep(n, k, y)) for n in names]
        with torch.no_grad():
            case.answers(case.signals(some))
        for hook in hooks:
            hook.remove()
    return {name: (v[1] - v[0], v[2] - v[0]) for name, v in given.items() if len(v) == 3}


def _occlusion_agrees(case: Case, few: xr.Dataset, maps: xr.DataArray) -> float:
    """Rank correlation of the map's size with what flattening each sixteenth of the input does, the mean of records."""
    x = case.signals(few)
    edges = np.linspace(0, x.shape[2], WINDOWS + 1).round().astype(int)
    with torch.no_grad():
        intact, effect = case.answers(x), []
        for a, b in itertools.pairwise(edges):
            flat = x.clone()
            flat[:, :, a:b] = flat.mean(dim=2, keepdim=True)
            effect.append((case.answers(flat) - intact).abs().double().numpy())
    size = np.stack([np.abs(maps.values[:, :, a:b]).mean(axis=2) for a, b in itertools.pairwise(edges)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is constant
        each = [spearmanr(e, s).statistic for e, s in zip(np.stack(effect).reshape(WINDOWS, -1).T,
                                                          size.reshape(WINDOWS, -1).T, strict=True)]  # fmt: skip
    return float(np.nan_to_num(np.nanmean(each))) if np.isfinite(each).any() else 0.0


def values(case: Case) -> Cell:
    """A map's mean over time is Captum's sum over positions: GradCAM's, or activation times gradient.

    Where 32 bits differ, 64 decide: sums of large activations of both signs lose digits in either.
    """
    verdict = _as_captum(case)
    if verdict[0] != WRONG or any(p.dtype != torch.float32 for p in case.net.parameters()):
        return verdict
    exact = copy.copy(case)
    exact.net = copy.deepcopy(case.net).double()
    exact.__dict__.pop("maps", None)
    wrap(exact)
    found = _as_captum(exact)
    return found[0], f"{found[1]} with weights of 64 bits; {verdict[1]} with 32"


def _as_captum(case: Case) -> Cell:
    from captum.attr import LayerGradCam, LayerGradientXActivation

    size = np.abs(case.maps.values[:FEW]).mean() + 1e-30  # sums vanish where a layer's channels are normalised
    maps = case.maps.values[:FEW].mean(axis=2)
    module, axes = dict(case.net.named_modules())[str(case.layer.name)], list(case.layer["axes"])
    x = case.x[:FEW].clone().requires_grad_()
    gaps = {}
    for name, peer in {"GradCAM": LayerGradCam, "activation": LayerGradientXActivation}.items():
        try:
            each = [peer(case.answers, module).attribute(x, target=k) for k in range(maps.shape[1])]
        except Exception as e:  # Captum's own limits are not judged here
            gaps["Captum: " + _first_line(e)] = np.inf
            continue
        found = [(v[0] if isinstance(v, tuple) else v).detach().double() for v in each]
        if name == "GradCAM" and axes[:2] != ["record", "channel"]:
            continue  # Captum takes the second axis for channels, and all others for positions
        place, record = axes.index("position"), axes.index("record")
        total = [v.movedim((record, place), (0, 1)).flatten(2).sum(dim=2) for v in found]
        total = [v.unflatten(0, (FEW, -1)).sum(dim=1) for v in total]  # (record, position): leads may be own records
        for part, first in {"": 0, ", less the first": 1}.items():  # a class token is at no moment
            expected = np.stack([v[:, first:].sum(dim=1).numpy() for v in total], axis=1)
            gaps[name + part] = np.abs(maps - expected).max() / max(np.abs(expected).max(), size)
    best = min(gaps, key=lambda k: gaps[k])
    if not np.isfinite(gaps[best]):
        return NONE, best
    return (RIGHT if gaps[best] < 3e-3 else WRONG), f"{best}, off by {gaps[best]:.1g}"


def adds_up(case: Case) -> Cell:
    """Mean and bias are the prediction, where that is claimed."""
    if case.maps.attrs.get("adds_up") != "mean":
        return RIGHT, "no"
    total = case.maps.values.mean(axis=2) + case.maps["bias"].values
    off = np.abs(total - case.predicted).max() / (case.predicted.std(axis=0).min() + 1e-30)
    return (RIGHT, "yes") if off < 1e-3 else (WRONG, f"claimed, off by {off:.2g} of the predictions' spread")


def saliency(case: Case) -> Cell:
    """Autograd on the same ECG."""
    x = case.x[:FEW].clone().requires_grad_()
    y = case.answers(x)
    grads = torch.stack([torch.autograd.grad(t.sum(), x, retain_graph=True)[0] for t in y.T], dim=1) if (
        y.requires_grad) else torch.zeros(FEW, len(case.spec.targets), *x.shape[1:])  # fmt: skip
    expected = 0.001 * grads.numpy()
    got = wb.attribute(case.model, case.few(), "saliency").values
    if not expected.any():
        return WRONG, "0 everywhere: the network has no slope, and nothing says so"
    off = np.abs(got - expected).max()
    off /= np.abs(expected).max() + 1e-30
    return (RIGHT if off < 1e-3 else WRONG), "" if off < 1e-3 else f"off by {off:.2g} of the largest"


def integrated_gradients(case: Case) -> Cell:
    return _complete(
        case, wb.attribute(case.model, case.few(2), "integrated_gradients", case.spec.targets[0], steps=32)
    )


def deeplift(case: Case) -> Cell:
    return _complete(case, wb.attribute(case.model, case.few(), "deeplift", case.spec.targets[0]))


def _complete(case: Case, maps: xr.DataArray) -> Cell:
    """The sum is f(x) - f(b), to a twentieth, where that is claimed."""
    if maps.attrs.get("adds_up") != "sum":
        return RIGHT, "not claimed"
    total, bias = maps.values.sum(axis=(2, 3)).ravel(), float(maps["bias"].values.ravel()[0])
    aim = case.predicted[: len(total), 0] - bias
    off = np.abs(total - aim).mean() / (np.abs(aim).mean() + 1e-30)
    return (RIGHT if off < 0.05 else WRONG), f"off by {off:.1g}"


def edit_map(case: Case) -> Cell:
    maps = wb.edit_map(case.model, case.few(), pieces="segments", n_edits=24, among=case.cohort)
    finite = bool(np.isfinite(maps["additivity"].values).all() and np.isfinite(maps.values).any())
    return (RIGHT if finite else FAILED), f"additivity {float(maps['additivity'].min()):.2f}"


def cohort_map(case: Case) -> Cell:
    aligned = wb.align(case.maps, case.cohort)
    mean = wb.cohort_map(aligned)["mean"]
    share = float(np.isfinite(mean).mean())
    return (RIGHT if share > 0.5 else FAILED), "" if share > 0.5 else f"finite at {100 * share:.0f} % of phases"


def tables(case: Case) -> Cell:
    """Blanked waves, and doses."""
    blanked = wb.blanking_table(case.model, case.few())
    doses = wb.dose_response(case.model, case.few(), measured=False)
    seen = np.isfinite(blanked[["intact", "P", "QRS", "T"]].values).all() and np.isfinite(doses["slope"]).any()
    return (RIGHT if seen else FAILED), "" if seen else "no numbers"


def stored(case: Case) -> Cell:
    """Saved, and loaded into a network of other weights."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.safetensors"
        wb.save_model(case.model, path)
        torch.manual_seed(1)
        fresh = case.one.make(case.fs, len(LEADS), case.spec.n_samples)
        fresh = fresh.to(next((p.dtype for p in case.net.parameters()), torch.float32))
        again = wb.predict(wb.load_model(path, fresh), case.few())
    got = np.stack([again[t].values for t in case.spec.targets], axis=1)
    off = np.abs(got - case.predicted[:FEW]).max() / (np.ptp(case.predicted, axis=0).max() + 1e-12)
    return (RIGHT, "") if off < 1e-3 else (WRONG, f"off by {off:.2g} of the spread")


def cost(case: Case) -> Cell:
    """Records through the network for maps of one record, and the time of maps beside that of predictions."""
    passed: list[int] = []
    handle = case.net.register_forward_pre_hook(lambda _m, given: passed.append(len(given[0])))
    try:
        began = time.perf_counter()
        wb.predict(case.model, case.cohort)
        middle = time.perf_counter()
        passed.clear()
        wb.ecgradcam(case.model, case.cohort)
    finally:
        handle.remove()
    ratio = (time.perf_counter() - middle) / (middle - began)
    passes = sum(passed) / case.cohort.sizes["record"]
    most = 3 * len(case.spec.targets) + 1
    return (
        RIGHT if passes <= most else FAILED
    ), f"{passes:.1f} passes of at most {most}, {ratio:.1f} predictions' time"


CAPABILITIES: dict[str, Callable[[Case], Cell]] = {
    "wrap": wrap, "predict": predict, "layers": layers, "places": places, "values": values, "adds up": adds_up,
    "saliency": saliency, "integrated gradients": integrated_gradients, "DeepLIFT": deeplift, "edit map": edit_map,
    "cohort map": cohort_map, "tables": tables, "stored": stored, "cost": cost,
}  # fmt: skip


# ---------------------------------------------------------------- one network


def judged(check: Callable[[Case], Cell], case: Case) -> Cell:
    """A cell: what an answer is worth, a refusal in words, or a failure. A wrong number with a warning is a refusal."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            verdict, note = check(case)
        except Exception as e:
            ours = isinstance(e, wb.ModelError) or (
                isinstance(e, (ValueError, TypeError)) and "ecgwb" in traceback.extract_tb(e.__traceback__)[-1].filename
            )
            return (REFUSED if ours else FAILED), f"{'' if ours else type(e).__name__ + ': '}{_first_line(e)}"
    said = [str(w.message) for w in heard if issubclass(w.category, UserWarning) and not _PEERS.search(w.filename)]
    if verdict == WRONG and said:
        return REFUSED, f"warned: {_short(said[0])} ({note})"
    return verdict, note


def _first_line(e: BaseException) -> str:
    return _short(next(iter(str(e).splitlines()), ""))


def _short(text: str) -> str:
    return text if len(text) <= 160 else text[:157] + "..."


def examined(one: Architecture, kind: str, fs: float, n_samples: int, cohort: xr.Dataset) -> dict[str, Cell]:
    """All cells of a network at one rate and length."""
    if n_samples > one.most:
        return {"wrap": (NONE, f"{n_samples} samples take it seconds a record; tried at 100 Hz")}
    try:
        case = Case(one, kind, fs, n_samples, cohort)
    except wb.ModelError as e:
        return {"wrap": (REFUSED, _first_line(e))}
    except Exception as e:
        return {"wrap": (NONE, f"the network's own code: {_first_line(e)}")}
    cells: dict[str, Cell] = {}
    for name, check in CAPABILITIES.items():
        began = time.perf_counter()
        cells[name] = judged(check, case)
        verdict, note = cells[name]
        print(f"  {name}: {verdict or 'not tried'} {note} ({time.perf_counter() - began:.1f} s)", flush=True)
        if name == "wrap" and verdict != RIGHT:
            break
    return cells


def _code() -> str:
    """Changes with anything that could change a cell."""
    files = sorted([*Path(wb.__file__).parent.rglob("*.py"), *HERE.glob("*.py")])
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]


def _read(code: str, any_code: bool) -> Iterator[dict[str, Any]]:
    for line in RESULTS.read_text().splitlines() if RESULTS.exists() else []:
        row = json.loads(line)
        if any_code or row["code"] == code:
            yield row


# ---------------------------------------------------------------- the table


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A row per network; in a cell one sign for each input: a tick, or the number of the reason below."""
    latest = {(r["source"], r["network"], r["input"]): r["cells"] for r in rows}
    reasons: dict[tuple[str, str], list[str]] = {}
    counts = dict.fromkeys((RIGHT, REFUSED, FAILED, WRONG), 0)
    lines = []
    for source, name in dict.fromkeys((s, n) for s, n, _ in latest):
        cells = []
        for capability in CAPABILITIES:
            signs = []
            for given in INPUTS:
                verdict, note = latest.get((source, name, given), {}).get(capability, (None, ""))
                if verdict in counts:
                    counts[verdict] += 1
                signs.append(_sign(verdict, note, f"{name}, {capability}, {given}", reasons))
            cells.append(" ".join(signs))
        lines.append(f"| {name} | {source} | " + " | ".join(cells) + " |")
    head = ["network", "from", *CAPABILITIES]
    told = [
        f"{k}. **{verdict}**: {note}. {len(where)} times, such as {where[0]}"
        for k, ((verdict, note), where) in enumerate(reasons.items(), 1)
    ]
    summary = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    return "\n".join([f"{summary}.", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines, "", *told, ""])


def _sign(verdict: str | None, note: str, where: str, reasons: dict[tuple[str, str], list[str]]) -> str:
    if verdict is None or (verdict == NONE and not note):
        return "·"
    if verdict == RIGHT:
        return "✓"
    key = (verdict or "not tried", _without_numbers(note))
    reasons.setdefault(key, []).append(where)
    number = list(reasons).index(key) + 1
    return f"**{number}**" if verdict in (FAILED, WRONG) else str(number)


def _without_numbers(note: str) -> str:
    """The reason alone where the rest is this network's figures."""
    note = re.sub(r"; \d+ %, order .*", "", note)
    if note.startswith("warned: "):
        return re.sub(r"for \w+, | by .*?; |\(off by .*\)", " ", note).replace("  ", " ").strip()
    return re.sub(r"^\d+ defaults; of \d+ layers \d+ (.*), such as .*|, off by [\d.e+-]+", r"some layers \1", note)


INTRODUCTION = """# Networks that no one here wrote

All of deepecgkit's, those of torch_ecg, and small ones built as others are published; random weights, 12 leads in mV,
{records} recordings of PTB-XL. In each cell a sign for {inputs}: a tick is right, a number the reason below, bold where
an answer failed or is wrong without a word; a dot was not tried.

- **places**: a pulse of {uv:.0f} µV at six moments changes the map there, to 6 % of the input, a position, or a
  quarter of a receptive field, at most 12 %, where the layer's channels have fixed weights; Grad-CAM's own change with
  the ECG behind heads such as maximum pooling, and then a pulse changes the map elsewhere, too; **values**: the map's
  mean is Captum's; **adds up**, **integrated gradients**, **DeepLIFT**: where completeness is claimed, it holds;
  **saliency**: autograd's; **predict**, **stored**: what the network itself says.
- **cost**: records that pass through the network for maps of one, at most three a target and one.

`make zoo`, Python {python}, torch {torch}.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="part of the networks' name or source")
    parser.add_argument("--inputs", nargs="+", default=list(INPUTS), choices=list(INPUTS))
    parser.add_argument("--part", default="1/1", help="such as 1/2: every second network")
    parser.add_argument("--any-code", action="store_true", help="keep what earlier versions of the code gave")
    parser.add_argument("--table", type=Path, default=TABLE)
    given = parser.parse_args()
    torch.set_num_threads(1)
    code = _code()
    part, parts = map(int, given.part.split("/"))
    cohort = wb.open_cohort("ptbxl500", rhythm=True).isel(record=slice(RECORDS))
    done = {(r["source"], r["network"], r["input"]) for r in _read(code, given.any_code)}
    chosen = [one for one in ZOO if given.only.lower() in f"{one.source} {one.name}".lower()][part - 1 :: parts]
    for name in given.inputs:
        for one in chosen:
            if (one.source, one.name, name) in done:
                continue
            print(f"{one.source} {one.name}, {name}", flush=True)
            began = time.perf_counter()
            cells = examined(one, *INPUTS[name], cohort)
            row = {"code": code, "source": one.source, "network": one.name, "input": name, "cells": cells}
            row["seconds"] = round(time.perf_counter() - began, 1)
            with RESULTS.open("a") as f:  # a line is written at once: others may write beside it
                f.write(json.dumps(row, ensure_ascii=False) + "\n")
    about = {"records": RECORDS, "inputs": ", ".join(INPUTS), "uv": PULSE_UV, "python": platform.python_version()}
    text = INTRODUCTION.format(**about, torch=torch.__version__.split("+")[0])
    given.table.write_text(text + table(list(_read(code, given.any_code))))


if __name__ == "__main__":
    sys.exit(main())
