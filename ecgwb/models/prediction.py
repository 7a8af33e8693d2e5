"""Prediction: a cohort as a network takes it, and what the network predicts for every record."""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import scipy.signal
import torch
import xarray as xr
from scipy.special import expit
from torch import nn

from ..cohorts.beats import EDITED, FAINT_UV
from ..cohorts.guards import check, kind_of
from ..cohorts.measurements import TIME
from ..cohorts.people import folds_of, names_patients, own_names, sources_of
from ..recordings.record import FS, complete_limb_leads
from ..workers import callers_level, each
from .checkpoints import load_model
from .interface import SATURATED, ecg_network
from .progress import progress, quiet
from .spec import ModelError, ModelSpec, copy_of, device_of, evaluating, spec_of

CHUNK = 1024  # records of a cohort in memory at a time
# Records that a network is given in one process, and fewer of them for what takes many passes.
PART, SLOW_PART = {"beat": CHUNK, "rhythm": 32}, {"beat": 256, "rhythm": 32}
_SHORT, _SAMPLES = 1250, 40_000  # longer ECGs are given to a network so many samples at a time
_FEWEST = 10  # records that tell what a network usually sees
# Targets that need a P wave, and those that need one rate; and what tells that there is neither.
_OF_P = re.compile(r"pr|pq|p[ _]?(wave|duration)|(pr|pq)[ _]?(interval|duration|ms)", re.IGNORECASE)
_OF_RATE = re.compile(r"qtc.*|qt[ _]?corrected", re.IGNORECASE)
_FIBRILLATION = re.compile(
    r"(^|; ?)(?!no\b)[^;]*(?<!\bno )(?<!\bwithout )\batrial (fibrillation|flutter)\b"
    r"|(^|; ?)(AFIB|AFLT|AF|164889003|164890007)( ?;|$)",
    re.IGNORECASE,
)
_SETTLED = 100  # steps of training after which a batch normalisation's averages are its data's
_ODD = 5.0  # times more or less variance than in training that a network's first layer may see


def predict(model: nn.Module, cohort: xr.Dataset, *, out_of_fold: bool = False, client: Any = None) -> xr.Dataset:
    """The network's outputs for every record of a cohort.

    Parameters
    ----------
    model : nn.Module
        With a spec; see `load_model` and `wrap_model`.
    cohort : Dataset
        With beats, or rhythms, as the spec asks.
    out_of_fold : bool
        For patients the network has learnt from, predict by networks of the same recipe that have not; see `unseen`.
        ``seen`` stays True for those who only chose its epoch, for whom it answers itself.
    client : dask.distributed.Client, optional
        Makes them on its workers instead of here, 1,024 beats or 32 recordings at a time.

    Returns
    -------
    Dataset
        One variable (record,) per target, in the target's unit (ms, bpm, µV; log-odds for ``male``, with
        ``male_probability`` beside it). NaN where a record cannot be used; ``wb.excluded`` lists those. The coordinate
        ``seen`` is True for patients whose data shaped the network; the same name is taken as the same person. Where
        PR or QTc is predicted, ``rests_on_absent`` says of which records it rests on what they do not have: PR where no
        P wave was found, PR and QTc in atrial fibrillation or flutter. A network gives a number there, too.

    Raises
    ------
    ModelError
        When the model has no spec, the cohort lacks what the spec names, or there are no out-of-fold predictions.

    Warns
    -----
    UserWarning
        When the network's output is NaN or infinite; when it has learnt from patients of a data set, by name, whose
        cohort does not name them.
    """
    if out_of_fold:
        return unseen(partial(predict, client=client), model, cohort)
    spec = spec_of(model)
    cohort = check(cohort, all_leads=False)
    values, usable = together(by_parts(partial(_outputs, model), model, cohort, "predict", client=client), cohort)
    warn_saturated(spec, values[usable])
    _warn_not_finite(cohort, values, usable)
    seen = _seen(spec, cohort)
    result = xr.Dataset(
        {t: ("record", values[:, k], {"units": spec.unit(t)}) for k, t in enumerate(spec.targets)},
        coords={k: v.variable for k, v in cohort.coords.items() if v.dims == ("record",) and k not in spec.targets},
        attrs={"excluded": json.dumps(unusable(cohort, usable))},
    )
    if spec.log_odds:
        for t in spec.targets:
            result[f"{t}_probability"] = ("record", expit(result[t].values), {"units": "1"})
    absent = rests_on_absent(spec.targets, cohort)
    if absent is not None:
        result = result.assign_coords(rests_on_absent=("record", absent))
    known = "patient" in cohort.coords or (folds_of(cohort) != "").any()
    return result.assign_coords(seen=("record", seen)) if known else result


def rests_on_absent(targets: Sequence[str], cohort: xr.Dataset) -> np.ndarray | None:
    """Of which targets (record,) a number would rest on a wave or a rhythm that a record does not have, and why.

    Returns
    -------
    array of str (record,) or None
        Such as "pr: no P wave", "" where nothing is absent; None where no target is PR, of the P wave or QTc.
    """
    of_p = [t for t in targets if _OF_P.fullmatch(t)]
    of_rate = [t for t in targets if _OF_RATE.fullmatch(t)]
    if not of_p + of_rate:
        return None
    af = fibrillates(cohort)
    no_p = np.isnan(cohort["fiducial"].sel(landmark="P_on").values) if "fiducial" in cohort else np.zeros_like(af)
    out = []
    for p_absent, irregular in zip(no_p, af, strict=True):
        why = ["no P wave"] * bool(p_absent) + ["atrial fibrillation or flutter"] * bool(irregular)
        parts = [f"{t}: {' and '.join(why)}" for t in of_p if why] + [f"{t}: {why[-1]}" for t in of_rate if irregular]
        out.append("; ".join(parts))
    return np.array(out, dtype=str)


def fibrillates(cohort: xr.Dataset) -> np.ndarray:
    """Which records (record,) are said to be in atrial fibrillation or flutter, by rhythm or diagnosis."""
    found = np.zeros(cohort.sizes["record"], dtype=bool)
    for name in ("rhythm_label", "diagnosis"):
        if name in cohort.variables:
            found |= [bool(_FIBRILLATION.search(text)) for text in cohort[name].values.astype(str)]
    return found


def is_of_absent(predictions: xr.Dataset, target: Hashable) -> np.ndarray:
    """Which predictions (record,) of a target are marked by `rests_on_absent`."""
    if "rests_on_absent" not in predictions.coords:
        return np.zeros(predictions.sizes["record"], dtype=bool)
    marks = predictions["rests_on_absent"].values.astype(str)
    return np.array([any(part.startswith(f"{target}: ") for part in text.split("; ")) for text in marks], dtype=bool)


def _outputs(model: nn.Module, cohort: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The outputs (record, target), NaN where a record cannot be used, and where it can."""
    out = np.full((cohort.sizes["record"], len(spec_of(model).targets)), np.nan)
    usable = np.zeros(len(out), dtype=bool)
    network, odd = ecg_network(model), Oddness(model)
    with evaluating(model), torch.no_grad():
        for rows, part, ok in pieces(model, cohort):
            with odd.watching(len(part) if ok.mean() > 0.9 and EDITED not in cohort.attrs else 0):
                out[rows] = network(part).double().cpu().numpy()
            usable[rows] = ok
    odd.warn()
    out[~usable] = np.nan
    return out, usable


def _warn_not_finite(cohort: xr.Dataset, values: np.ndarray, usable: np.ndarray) -> None:
    wrong = usable & ~np.isfinite(values).all(axis=1)
    if wrong.any():
        first = cohort["record"].values[np.argmax(wrong)]
        warnings.warn(
            f"the network gives no finite number for {wrong.sum()} of {usable.sum()} records, such as {str(first)!r}; "
            "look at its weights and at what it does to its input",
            stacklevel=callers_level(),
        )


def warn_saturated(spec: ModelSpec, values: np.ndarray) -> None:
    """Warns of probabilities that are 1 or 0 to the last digit, of which log-odds are but a bound."""
    full = (np.abs(values) >= SATURATED) & ((values > 0) | (values < -80))
    if spec.link == "probability" and full.any():
        warnings.warn(
            f"{int(full.any(axis=1).sum())} of {len(values)} records have a probability of 0 or 1 to the last digit: "
            "their log-odds are only a bound, and maps by gradients are 0 there. Take the network's output before its "
            "sigmoid, with link='logit' or 'softmax'",
            stacklevel=callers_level(),
        )


class Oddness:
    """Whether signals inside a network are as in its training: told by its first batch normalisation.

    A network that wants z-scores and gets mV answers as readily as with the right input, and wrongly. Its first batch
    normalisation keeps the variances of its training, which those it sees now should be near.
    """

    def __init__(self, model: nn.Module) -> None:
        norms = (m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
        self.first = next((m for m in norms if _has_settled(m)), None)
        self.ratio: float | None = None  # of a channel's variance to that of training, the channels' median

    @contextlib.contextmanager
    def watching(self, n_records: int) -> Iterator[None]:
        """Within, the first forward pass over ten records or more is compared."""
        if self.first is None or self.ratio is not None or n_records < _FEWEST:
            yield
            return
        handle = self.first.register_forward_pre_hook(self._compare, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def _compare(self, norm: nn.Module, inputs: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]) -> None:
        x = (*inputs, *named.values())[0].detach().float().transpose(0, 1).flatten(1)
        mean, var = (torch.as_tensor(b).float() for b in (norm.running_mean, norm.running_var))
        known = var > 1e-6 * var.max()
        if self.ratio is None and bool(known.any()):
            now = (x.var(dim=1, correction=0) + (x.mean(dim=1) - mean) ** 2)[known] / var[known]
            self.ratio = float(now.median())

    def warn(self) -> None:
        """Warns where they are not."""
        if self.ratio is not None and not 1 / _ODD <= self.ratio <= _ODD:
            warnings.warn(
                f"the network's first batch normalisation sees {self.ratio:.2g} times the variance of its training; "
                "predictions may be wrong. Compare spec.scale (0.001: mV), spec.normalise, spec.fs and the order of "
                "spec.leads with how it was trained",
                stacklevel=4,
            )


def _has_settled(norm: nn.modules.batchnorm._BatchNorm) -> bool:
    """Whether a batch normalisation's variances are those of its training: after a few steps they are not yet."""
    if norm.running_var is None or bool((norm.running_var == 1).all()):
        return False
    steps = norm.num_batches_tracked
    return steps is None or int(steps) == 0 or int(steps) >= _SETTLED  # 0: the checkpoint did not say


def _seen(spec: ModelSpec, cohort: xr.Dataset) -> np.ndarray:
    """Whether each record's patient shaped the network, by name or by PTB-XL's fold: the same in any folder."""
    people = sorted(set().union(*spec.trained_on.values()))
    folds = folds_of(cohort)
    seen = np.isin(own_names(cohort), people) | np.isin(folds, people)
    for source, name, rows in sources_of(cohort):
        part = cohort.coords.to_dataset().isel(record=rows)
        named = [p for p in people if p.startswith(f"{name}-")] if name else []
        lacking = ""
        if named and not names_patients(part):
            lacking = f"{len(named)} patients such as {named[0]!r}, and the cohort does not name its patients"
        of_source = [p for p in people if " fold " in p and source.startswith(p.split(" fold ")[0])]
        if of_source and (folds[rows] == "").all():
            lacking = (
                f"{len(of_source)} folds such as {of_source[0]!r}, and the cohort has lost its attribute or column of "
                "folds"
            )
        if lacking:
            warnings.warn(
                f"the network has learnt from {lacking}: whom it has seen is not known, and everybody counts as seen. "
                "Take another network, or the cohort as it was opened",
                stacklevel=3,
            )
            seen[rows] = True
    return seen


def unseen(make: Callable[[nn.Module, xr.Dataset], Any], model: nn.Module, cohort: xr.Dataset) -> Any:
    """What a function makes of a cohort, of each record with a network that has not learnt from its patient.

    Parameters
    ----------
    make : callable
        Takes a network and a cohort, gives a Dataset or DataArray along record, such as `predict` or
        ``lambda network, some: wb.ecgradcam(network, some, "male")``.
    model : nn.Module
        Its spec's ``out_of_fold`` names the other networks of its recipe. It answers itself for whom it has not seen.
    cohort : Dataset

    Returns
    -------
    Dataset or DataArray
        In the cohort's order. ``seen`` is True only for people who chose among the network's own states, and for whom
        it answers itself. Maps of several networks have ``bias`` and ``additivity`` (target, record).

    Raises
    ------
    ModelError
        When the model has seen a patient, and its spec names no network that has not, or one that predicts something
        else.
    TypeError
        When it is no function, or does not give a value of each record.
    """
    if not callable(make):
        raise TypeError(f"the first argument is {kind_of(make)}; expected a function, such as wb.ecgradcam itself")
    spec, cohort = spec_of(model), check(cohort, all_leads=False)
    seen = _seen(spec, cohort)
    _warn_of_strangers(spec, cohort, seen)
    by = _network_of_each(spec, cohort, seen)
    parts = [_made(make, model, name, cohort.isel(record=np.flatnonzero(by == name))) for name in np.unique(by)]
    for name in ("bias", "additivity"):  # of several networks they are of each record's own
        if len(parts) > 1 and all(name in part.coords and part[name].dims == ("target",) for part in parts):
            parts = [p.assign_coords({name: p[name] + xr.zeros_like(p["record"], dtype=float)}) for p in parts]
    left_out = [row for part in parts for row in json.loads(part.attrs.get("excluded", "[]"))]
    whole = xr.concat(parts, "record", coords="minimal", compat="override", combine_attrs="override")
    whole = whole.sel(record=cohort["record"].values).assign_attrs(excluded=json.dumps(left_out))
    return whole.assign_coords(seen=("record", seen & (by == ""))) if "seen" in whole.coords else whole


def _made(make: Callable[[nn.Module, xr.Dataset], Any], model: nn.Module, name: str, some: xr.Dataset) -> Any:
    """What a function makes of some records with the network of that name, which must be alike and not know them."""
    spec, network = spec_of(model), model
    if name:
        own = None if spec.net else copy_of(model)  # weights alone make no network of another package
        network = load_model(name, own)
        other = spec_of(network)
        if (other.targets, other.link, other.units) != (spec.targets, spec.link, spec.units):
            raise ModelError(
                f"{name!r} is to answer for people whom the network has seen, and predicts {', '.join(other.targets)} "
                f"({other.link}) where the network predicts {', '.join(spec.targets)} ({spec.link})"
            )
        if _seen(other, some).any():
            raise ModelError(
                f"{name!r} is to answer for people whom the network has seen, and has learnt from some, too"
            )
    part = make(network, some)
    if not isinstance(part, (xr.Dataset, xr.DataArray)) or part.sizes.get("record") != some.sizes["record"]:
        raise TypeError(
            f"the function gave {kind_of(part)}; expected a Dataset or DataArray with a value of each record"
        )
    return part


def _warn_of_strangers(spec: ModelSpec, cohort: xr.Dataset, seen: np.ndarray) -> None:
    """Warns where nobody of a cohort that no data set's layout names is known to a network by name or fold."""
    known_apart = ("ludb", "synthetic")  # cohorts that come with the package, and that no network of it learnt from
    elsewhere = [source for source, name, _ in sources_of(cohort) if not name and not source.startswith(known_apart)]
    if spec.out_of_fold and elsewhere and not seen.any():
        learnt = sorted(set().union(*spec.trained_on.values()))
        warnings.warn(
            f"nobody of {elsewhere[0]!r} is known to the network by patient or fold, so it answers for everybody "
            "itself. Recordings copied from a data set that it has learnt from are known only by that data set's "
            f"patients and folds, such as {learnt[0]!r}: build the cohort from the data set's own folder",
            stacklevel=4,
        )


def _network_of_each(spec: ModelSpec, cohort: xr.Dataset, seen: np.ndarray) -> np.ndarray:
    """The name of the network (record,) that has not seen each record's patient; "" for the one whose spec this is."""
    name = np.full(len(seen), "", dtype=object)
    for k, people in enumerate(zip(own_names(cohort), folds_of(cohort), strict=True)):
        if seen[k]:
            known = [spec.out_of_fold[who] for who in people if who in spec.out_of_fold]
            if not known:
                lacking = int(seen[k:].sum())
                raise ModelError(
                    f"the network has seen the patient of record {str(cohort['record'].values[k])!r} ({lacking} such "
                    "records) and its spec names no network that has not; predict without out_of_fold, and leave those "
                    "out: predictions.isel(record=~predictions.seen.values)"
                )
            name[k] = known[0]
    return name.astype(str)


# ---------------------------------------------------------------- a cohort as a network takes it


def model_input(model: nn.Module, cohort: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The cohort as the network takes it: its leads, rate, window and scale.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    cohort : Dataset
        All of it is read.

    Returns
    -------
    x : float32 array (record, lead, sample)
        Zeros where a record cannot be used.
    usable : bool array (record,)
        False where a record has a missing sample, or no signal at all.

    Raises
    ------
    ModelError
        When the cohort lacks what the network needs, for every record.
    """
    spec = spec_of(model)
    name = _input_of(spec, cohort)
    series = cohort[name].transpose("record", "lead", ...)
    have = {str(lead): series.values[:, k] for k, lead in enumerate(cohort["lead"].values)}
    complete_limb_leads(have)
    missing = [lead for lead in spec.leads if lead not in have]
    if missing:
        raise ModelError(f"the network needs lead {', '.join(missing)}; the cohort has {', '.join(cohort.lead.values)}")
    x = np.stack([have[lead] for lead in spec.leads], axis=1).astype(np.float32)  # (record, lead, time)
    if spec.fs != FS:
        x = scipy.signal.resample_poly(x, round(spec.fs * 100), FS * 100, axis=2, padtype="line").astype(np.float32)
    x = _window(x, spec, name) * np.float32(spec.scale)
    span = np.ptp(x, axis=2).max(axis=1)  # (record,)
    usable = np.isfinite(x).all(axis=(1, 2)) & (span > 0)
    if usable.any() and np.median(span[usable]) < FAINT_UV * spec.scale:
        raise ModelError(
            f"half the records' leads span {np.median(span[usable]) / spec.scale:.2g} µV or less; expected hundreds. "
            "Signals in mV are to be multiplied by 1000"
        )
    return np.where(usable[:, None, None], x, np.float32(0)), usable


def _window(x: np.ndarray, spec: ModelSpec, name: str) -> np.ndarray:
    """What the network reads of beats or recordings (record, lead, sample) at its rate, before windows and padding."""
    start = float(TIME[0]) if name == "beat" else 0.0
    first = round((max(spec.start_ms, start) - start) * spec.fs / 1000) if name == "beat" else 0
    held, n = x.shape[2] - first, spec.n_samples
    about = f"the network takes {n} samples at {spec.fs:g} Hz"
    if name == "beat" and spec.start_ms < start:
        raise ModelError(f"{about} from {spec.start_ms} ms; the cohort's beats start at {start} ms")
    if held < n and not spec.pad:
        raise ModelError(
            f"{about} from {spec.start_ms if name == 'beat' else start} ms; the cohort's {name}s hold {x.shape[2]} "
            f"samples from {start} ms at that rate. Where it was trained with zeros around, say so: pad='centre'"
        )
    if name == "rhythm" and held > 1.02 * n and not spec.windows:
        raise ModelError(
            f"{about}, {n / spec.fs:g} s, and recordings hold {held}; say what is done with the rest: windows='mean' "
            "or 'max' for all pieces of that length, or 'first' for the first one alone"
        )
    return x[:, :, first : first + spec.n_ecg(held)]


def _input_of(spec: ModelSpec, cohort: xr.Dataset) -> str:
    """The variable the network takes; an error where the cohort has none."""
    if spec.input not in cohort:
        fix = "open_cohort(..., rhythm=True)" if spec.input == "rhythm" else "a cohort of open_cohort or build_cohort"
        if spec.input == "rhythm" and cohort.attrs.get("source") == "ptbxl":
            fix = "a cohort with rhythms, such as open_cohort('ptbxl500', rhythm=True); 'ptbxl' holds beats alone"
        raise ModelError(f"the network takes {spec.input}s and the cohort has none; expected {fix}")
    return spec.input


def beats_at_once(model: nn.Module) -> int:
    """How many beats pass a network together: on a CPU so few that what a layer makes of them stays in its cache."""
    return 24 if device_of(model).type == "cpu" else 128


def batches(model: nn.Module, x: np.ndarray) -> Iterator[tuple[slice, torch.Tensor]]:
    """The input in pieces, on the network's device: `beats_at_once`, or eight recordings of 5,000 samples.

    A network that attends from each sample to each takes 0.8 GB for such a recording.
    """
    size = beats_at_once(model) if x.shape[2] <= _SHORT else max(1, _SAMPLES // x.shape[2])
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        yield rows, torch.from_numpy(np.ascontiguousarray(x[rows])).to(device_of(model))


def pieces(model: nn.Module, cohort: xr.Dataset) -> Iterator[tuple[slice, torch.Tensor, np.ndarray]]:
    """The cohort's records in batches: which, as input on the network's device, and whether each is usable.

    A cohort opened from a file is read 1,024 records at a time, so memory does not grow with it.
    """
    for whole, some in parts_of(cohort):
        x, usable = model_input(model, some)
        for rows, part in batches(model, x):
            first = whole.start + rows.start
            yield slice(first, first + len(part)), part, usable[rows]


def parts_of(cohort: xr.Dataset, size: int | None = None) -> Iterator[tuple[slice, xr.Dataset]]:
    """The cohort `size` records at a time, or `CHUNK`; what is on the disk is read when it is used."""
    size = size or CHUNK
    for start in range(0, cohort.sizes["record"], size):
        rows = slice(start, start + size)
        yield rows, cohort.isel(record=rows)


def by_parts(
    work: Callable[..., Any],
    model: nn.Module,
    cohort: xr.Dataset,
    what: str,
    *others: np.ndarray,
    client: Any = None,
    slow: bool = False,
) -> Iterator[tuple[slice, Any]]:
    """What `work` makes of a cohort's input for a network, part by part: here, side by side, or on a client's workers.

    Of a cohort opened from a file only its place is sent to them, of one in memory the network's input; what `work`
    makes of it comes back.

    Parameters
    ----------
    work : callable
        Takes a part of the cohort, and of each of `others`.
    model : nn.Module
    cohort : Dataset
    what : str
        Progress is shown as that of it.
    *others : array (record, ...)
    client : dask.distributed.Client, optional
    slow : bool
        Whether `work` takes many passes a record.

    Yields
    ------
    (slice, Any)
        The records of each part, in order, and what is made of it; of a cohort without records, of one such part.
    """
    spec = spec_of(model)
    name = _input_of(spec, cohort)
    taken, n, size = cohort[[name]], cohort.sizes["record"], (SLOW_PART if slow else PART)[name]
    rows = [slice(k, k + size) for k in range(0, max(n, 1), size)]
    parts = [(taken.isel(record=some), *(x[some] for x in others)) for some in rows]
    with progress(what, total=n) as line, quiet():
        for some, made in zip(rows, each(partial(_apart, work), parts, client=client), strict=True):
            yield some, made
            line.update(min(some.stop, n) - some.start)


def together(parts: Iterator[tuple[slice, Sequence[np.ndarray]]], cohort: xr.Dataset) -> list[np.ndarray]:
    """Arrays (record, ...) from those of parts, of which no two are in memory beside the whole."""
    whole: list[np.ndarray] = []
    for rows, arrays in parts:
        if not whole:
            whole = [np.empty((cohort.sizes["record"], *x.shape[1:]), x.dtype) for x in arrays]
        for into, x in zip(whole, arrays, strict=True):
            into[rows] = x
    return whole


def _apart(work: Callable[..., Any], part: tuple[Any, ...]) -> Any:
    return work(*part)


def unusable(cohort: xr.Dataset, usable: np.ndarray) -> list[dict[str, str]]:
    """The records that a network was not asked about, in the form `excluded` reads."""
    reason = (
        "missing samples, as of a printout, or no signal in any lead; networks on whole recordings need every sample, "
        "networks on beats do not (in edited beats: no such wave, or no room for the sham)"
    )
    return [{"record": str(r), "step": "predict", "reason": reason} for r in cohort["record"].values[~usable]]
