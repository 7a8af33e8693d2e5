"""Prediction: a cohort as a network takes it, and what the network predicts for every record."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import scipy.signal
import torch
import xarray as xr
from torch import nn

from ..cohorts.beats import FAINT_UV
from ..cohorts.guards import check
from ..cohorts.measurements import TIME
from ..cohorts.people import folds_of, patients_of
from ..recordings.record import FS, complete_limb_leads
from .spec import ModelError, ModelSpec, device_of, evaluating, spec_of

CHUNK = 1024  # records of a cohort in memory at a time


def predict(model: nn.Module, cohort: xr.Dataset, *, out_of_fold: bool = False, client: Any = None) -> xr.Dataset:
    """The network's outputs for every record of a cohort.

    Parameters
    ----------
    model : nn.Module
        With a spec; see `load_model` and `wrap_model`.
    cohort : Dataset
        With beats, or rhythms, as the spec asks.
    out_of_fold : bool
        For patients the network has seen, give what networks of the same recipe predict that had not seen them; sex
        networks carry those predictions with them.
    client : dask.distributed.Client, optional
        Runs 1,024 records at a time on its workers instead of here.

    Returns
    -------
    Dataset
        One variable (record,) per target, in the target's unit (ms, bpm, µV; log-odds for ``male``, with
        ``male_probability`` beside it). NaN where a record cannot be used; ``wb.excluded`` lists those. The coordinate
        ``seen`` is True for patients whose data shaped the network; the same name is taken as the same person.

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
    spec = spec_of(model)
    cohort = check(cohort, all_leads=False)
    outputs = on_workers(client, partial(_outputs, model), cohort, spec)
    values = outputs.values
    seen = _seen(spec, cohort)
    if out_of_fold:
        usable = np.isfinite(values).all(axis=1)
        values[seen] = _out_of_fold(spec, cohort.isel(record=seen))
        values[~usable] = np.nan
        seen = np.zeros_like(seen)
    result = xr.Dataset(
        {t: ("record", values[:, k], {"units": spec.unit(t)}) for k, t in enumerate(spec.targets)},
        coords={k: v.variable for k, v in cohort.coords.items() if v.dims == ("record",) and k not in spec.targets},
        attrs=outputs.attrs,
    )
    if spec.link == "logit":
        for t in spec.targets:
            result[f"{t}_probability"] = 1 / (1 + np.exp(-result[t]))
    return result.assign_coords(seen=("record", seen)) if "patient" in cohort.coords else result


def _outputs(model: nn.Module, cohort: xr.Dataset) -> xr.DataArray:
    """The outputs (record, target), NaN where a record cannot be used."""
    out = np.full((cohort.sizes["record"], len(spec_of(model).targets)), np.nan)
    usable = np.zeros(len(out), dtype=bool)
    with evaluating(model), torch.inference_mode():
        for rows, part, ok in pieces(model, cohort):
            out[rows], usable[rows] = model(part).double().cpu().numpy(), ok
    out[~usable] = np.nan
    wrong = usable & ~np.isfinite(out).all(axis=1)
    if wrong.any():
        first = cohort["record"].values[np.argmax(wrong)]
        warnings.warn(
            f"the network gives no finite number for {wrong.sum()} of {usable.sum()} records, such as {str(first)!r}; "
            "look at its weights and at what it does to its input",
            stacklevel=3,
        )
    return xr.DataArray(out, dims=("record", "target"), attrs={"excluded": json.dumps(unusable(cohort, usable))})


def _seen(spec: ModelSpec, cohort: xr.Dataset) -> np.ndarray:
    """Whether each record's patient shaped the network, by name or by PTB-XL's fold: the same in any folder."""
    if "patient" not in cohort.coords:
        return np.zeros(cohort.sizes["record"], dtype=bool)
    people = sorted(set().union(*spec.trained_on.values()))
    of_folds = f"{cohort.attrs.get('folds')}-"
    named = [p for p in people if p.startswith(of_folds)]
    if named and (cohort["patient"] == "").any():
        warnings.warn(
            f"the network has learnt from {len(named)} patients such as {named[0]!r}, and the cohort does not name its "
            "patients: whom it has seen is not known, and everybody counts as seen. Take another network, or the data "
            "set's own folder",
            stacklevel=3,
        )
        return np.ones(cohort.sizes["record"], dtype=bool)
    return np.isin(patients_of(cohort), people) | np.isin(folds_of(cohort), people)


def _out_of_fold(spec: ModelSpec, cohort: xr.Dataset) -> np.ndarray:
    """Outputs (record, target) for patients the network has seen, by networks that had not seen them."""
    others = spec.out_of_fold.get(str(cohort.attrs.get("source", "cohort")), {})
    records = cohort["record"].values.astype(str).tolist()
    lacking = [r for r in records if r not in others]
    if lacking:
        raise ModelError(
            f"the network has seen the patient of record {lacking[0]!r} ({len(lacking)} such records) and carries "
            "no out-of-fold prediction for it; predict without out_of_fold, and leave those out: "
            "predictions.isel(record=~predictions.seen.values)"
        )
    return np.array([others[r] for r in records]).reshape(len(records), len(spec.targets))


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
    start = float(TIME[0]) if name == "beat" else 0.0
    first = round((max(spec.start_ms, start) - start) * spec.fs / 1000) if name == "beat" else 0
    if x.shape[2] - first < spec.n_samples or (name == "beat" and spec.start_ms < start):
        raise ModelError(
            f"the network takes {spec.n_samples} samples from {spec.start_ms} ms at {spec.fs} Hz; the cohort's {name}s "
            f"hold {x.shape[2]} samples from {start} ms at that rate"
        )
    x = x[:, :, first : first + spec.n_samples] * np.float32(spec.scale)
    span = np.ptp(x, axis=2).max(axis=1)  # (record,)
    usable = np.isfinite(x).all(axis=(1, 2)) & (span > 0)
    if usable.any() and np.median(span[usable]) < FAINT_UV * spec.scale:
        raise ModelError(
            f"half the records' leads span {np.median(span[usable]) / spec.scale:.2g} µV or less; expected hundreds. "
            "Signals in mV are to be multiplied by 1000"
        )
    return np.where(usable[:, None, None], x, np.float32(0)), usable


def _input_of(spec: ModelSpec, cohort: xr.Dataset) -> str:
    """The variable the network takes; an error where the cohort has none."""
    if spec.input not in cohort:
        fix = "open_cohort(..., rhythm=True)" if spec.input == "rhythm" else "a cohort of open_cohort or build_cohort"
        raise ModelError(f"the network takes {spec.input}s and the cohort has none; expected {fix}")
    return spec.input


def batches(model: nn.Module, x: np.ndarray, size: int = 128) -> Iterator[tuple[slice, torch.Tensor]]:
    """The input in pieces, on the network's device."""
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


def parts_of(cohort: xr.Dataset) -> Iterator[tuple[slice, xr.Dataset]]:
    """The cohort `CHUNK` records at a time; what is on the disk is read when it is used."""
    for start in range(0, cohort.sizes["record"], CHUNK):
        rows = slice(start, start + CHUNK)
        yield rows, cohort.isel(record=rows)


def on_workers(
    client: Any, work: Callable[[xr.Dataset], xr.DataArray], cohort: xr.Dataset, spec: ModelSpec
) -> xr.DataArray:
    """What `work` makes of a cohort's input for a network: here, or part by part on a client's workers.

    Of a cohort opened from a file only its place crosses the network, of one in memory the network's input; what
    `work` makes of it comes back.
    """
    taken = cohort[[_input_of(spec, cohort)]]
    if client is None:
        return work(taken)
    parts = [part for _, part in parts_of(taken)]
    sent = client.scatter(work, broadcast=True, hash=False)  # the network once a worker, not once a part
    made = client.gather(client.map(call, [sent] * len(parts), parts, pure=False))
    left_out = [row for part in made for row in json.loads(part.attrs["excluded"])]
    whole = xr.concat(made, "record", coords="minimal", compat="override", combine_attrs="override")
    return whole.assign_attrs(excluded=json.dumps(left_out))


def call(work: Callable[[xr.Dataset], Any], part: xr.Dataset) -> Any:
    """What a worker runs, with `work` sent to it once."""
    return work(part)


def unusable(cohort: xr.Dataset, usable: np.ndarray) -> list[dict[str, str]]:
    """The records that a network was not asked about, in the form `excluded` reads."""
    reason = "missing samples, or no signal in any lead (in edited beats: no such wave, or no room for the sham)"
    return [{"record": str(r), "step": "predict", "reason": reason} for r in cohort["record"].values[~usable]]
