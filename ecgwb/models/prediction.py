"""Prediction: a cohort as a network wants it, and what the network says of every record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import scipy.signal
import torch
import xarray as xr
from torch import nn

from ..cohorts.beats import FAINT_UV, need_records
from ..recordings.record import complete_limb_leads
from .spec import ModelError, ModelSpec, device_of, evaluating, spec_of

CHUNK = 1024  # records of a cohort in memory at a time


def model_input(model: nn.Module, cohort: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The cohort as the network wants it: its leads, rate, window and scale.

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
    name = _need_input(spec, cohort)
    series = cohort[name].transpose("record", "lead", ...)
    have = {str(lead): series.values[:, k] for k, lead in enumerate(cohort["lead"].values)}
    complete_limb_leads(have)
    missing = [lead for lead in spec.leads if lead not in have]
    if missing:
        raise ModelError(f"the network needs lead {', '.join(missing)}; the cohort has {', '.join(cohort.lead.values)}")
    x = np.stack([have[lead] for lead in spec.leads], axis=1).astype(np.float32)  # (record, lead, time)
    fs = float(cohort.attrs.get("fs", 500))
    start = float(cohort["time"].values[0]) if name == "beat" else 0.0
    if fs != spec.fs:
        up, down = round(spec.fs * 100), round(fs * 100)
        x = scipy.signal.resample_poly(x, up, down, axis=2, padtype="line").astype(np.float32)
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


def _need_input(spec: ModelSpec, cohort: xr.Dataset) -> str:
    """The variable the network takes; an error where the cohort has none."""
    need_records(cohort)
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
    _need_input(spec_of(model), cohort)
    for whole, some in parts_of(cohort):
        x, usable = model_input(model, some)
        for rows, part in batches(model, x):
            first = whole.start + rows.start
            yield slice(first, first + len(part)), part, usable[rows]


def on_workers(client: Any, work: Callable[[xr.Dataset], Any], cohort: xr.Dataset, spec: ModelSpec) -> Any:
    """What `work` makes of a cohort for a network, made part by part on a client's workers and joined again.

    Of a cohort opened from a file only its place crosses the network, of one in memory the network's input; what
    `work` makes of it comes back.
    """
    parts = [part for _, part in parts_of(cohort[[_need_input(spec, cohort)]])]
    sent = client.scatter(work, broadcast=True, hash=False)  # the network once a worker, not once a part
    made = client.gather(client.map(_call, [sent] * len(parts), parts, pure=False))
    left_out = [row for part in made for row in json.loads(part.attrs["excluded"])]
    whole = xr.concat(made, "record", coords="minimal", compat="override", combine_attrs="override")
    return whole.assign_attrs(excluded=json.dumps(left_out))


def parts_of(cohort: xr.Dataset) -> Iterator[tuple[slice, xr.Dataset]]:
    """The cohort `CHUNK` records at a time; what is on the disk is read when it is used."""
    for start in range(0, max(cohort.sizes["record"], 1), CHUNK):
        rows = slice(start, start + CHUNK)
        yield rows, cohort.isel(record=rows)


def _call(work: Callable[[xr.Dataset], Any], part: xr.Dataset) -> Any:
    return work(part)


def predict(model: nn.Module, cohort: xr.Dataset, *, out_of_fold: bool = False, client: Any = None) -> xr.Dataset:
    """The network's outputs for every record of a cohort.

    Parameters
    ----------
    model : nn.Module
    cohort : Dataset
    out_of_fold : bool
        For patients the network has seen, give what networks of the same recipe say that had not seen them; sex
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
    """
    spec = spec_of(model)
    if client is not None:
        return on_workers(client, partial(predict, model, out_of_fold=out_of_fold), cohort, spec)
    _need_input(spec, cohort)
    out = np.full((cohort.sizes["record"], len(spec.targets)), np.nan)
    usable = np.zeros(len(out), dtype=bool)
    with evaluating(model), torch.inference_mode():
        for rows, part, ok in pieces(model, cohort):
            out[rows], usable[rows] = model(part).double().cpu().numpy(), ok
    seen = _seen(spec, cohort)
    if out_of_fold:
        others = spec.out_of_fold.get(str(cohort.attrs.get("source", "cohort")), {})
        lacking = [str(r) for r in cohort["record"].values[seen] if str(r) not in others]
        if lacking:
            raise ModelError(
                f"the network has seen the patient of record {lacking[0]!r} ({len(lacking)} such records) and carries "
                "no out-of-fold prediction for it; predict without out_of_fold, and leave those out: "
                "predictions.isel(record=~predictions.seen.values)"
            )
        for i in np.flatnonzero(seen):
            out[i] = others[str(cohort["record"].values[i])]
        seen = np.zeros_like(seen)
    out[~usable] = np.nan
    result = xr.Dataset(
        {t: ("record", out[:, i], {"units": spec.unit(t)}) for i, t in enumerate(spec.targets)},
        coords={k: v.variable for k, v in cohort.coords.items() if v.dims == ("record",) and k not in spec.targets},
    )
    if spec.link == "logit":
        for t in spec.targets:
            result[f"{t}_probability"] = 1 / (1 + np.exp(-result[t]))
    if "patient" in cohort.coords:
        result = result.assign_coords(seen=("record", seen))
    return result.assign_attrs(excluded=json.dumps(unusable(cohort, usable)))


def _seen(spec: ModelSpec, cohort: xr.Dataset) -> np.ndarray:
    """Whether each record's patient shaped the network, by name: PTB-XL's people are the same in any folder."""
    patients = sorted(set().union(*spec.trained_on.values()))
    if "patient" not in cohort.coords:
        return np.zeros(cohort.sizes["record"], dtype=bool)
    return np.isin(cohort["patient"].values.astype(str), patients)


def unusable(cohort: xr.Dataset, usable: np.ndarray) -> list[dict[str, str]]:
    """The records that a network was not asked about, in the form `excluded` reads."""
    reason = "missing samples, or no signal in any lead (in edited beats: no such wave, or no room for the sham)"
    return [{"record": str(r), "step": "predict", "reason": reason} for r in cohort["record"].values[~usable]]
