"""Prediction: a cohort as a network wants it, and what the network says of every record."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import scipy.signal
import torch
import xarray as xr
from torch import nn

from .beats import need_records
from .models import ModelError, ModelSpec, device_of, evaluating, spec_of
from .records import complete_limb_leads


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
    need_records(cohort)
    name = spec.input
    if name not in cohort:
        fix = "open_cohort(..., rhythm=True)" if name == "rhythm" else "a cohort of open_cohort or build_cohort"
        raise ModelError(f"the network takes {name}s and the cohort has none; expected {fix}")
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
    usable = np.isfinite(x).all(axis=(1, 2)) & (np.ptp(x, axis=2) > 0).any(axis=1)
    return np.where(usable[:, None, None], x, np.float32(0)), usable


def batches(model: nn.Module, x: np.ndarray, size: int = 128) -> Iterator[tuple[slice, torch.Tensor]]:
    """The input in pieces, on the network's device."""
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        yield rows, torch.from_numpy(np.ascontiguousarray(x[rows])).to(device_of(model))


def predict(model: nn.Module, cohort: xr.Dataset, *, out_of_fold: bool = False) -> xr.Dataset:
    """The network's outputs for every record of a cohort.

    Parameters
    ----------
    model : nn.Module
    cohort : Dataset
    out_of_fold : bool
        For patients the network has seen, give what networks of the same recipe say that had not seen them; sex
        networks carry those predictions with them.

    Returns
    -------
    Dataset
        One variable (record,) per target, in the target's unit (ms, bpm, µV; log-odds for ``male``, with
        ``male_probability`` beside it). NaN where a record cannot be used; ``wb.excluded`` lists those. The coordinate
        ``seen`` is True for patients whose data shaped the network.

    Raises
    ------
    ModelError
        When the model has no spec, the cohort lacks what the spec names, or there are no out-of-fold predictions.
    """
    spec = spec_of(model)
    x, usable = model_input(model, cohort)
    out = np.full((len(x), len(spec.targets)), np.nan)
    with evaluating(model), torch.inference_mode():
        for rows, part in batches(model, x):
            out[rows] = model(part).double().cpu().numpy()
    seen = _seen(spec, cohort)
    if out_of_fold:
        others = spec.out_of_fold.get(str(cohort.attrs.get("source", "cohort")), {})
        lacking = [str(r) for r in cohort["record"].values[seen] if str(r) not in others]
        if lacking:
            raise ModelError(
                f"the network has seen the patient of record {lacking[0]!r} ({len(lacking)} such records) and carries "
                "no out-of-fold prediction for it; leave those out: predictions.isel(record=~predictions.seen.values)"
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
    """Whether each record's patient shaped the network."""
    patients = spec.trained_on.get(str(cohort.attrs.get("source", "cohort")), [])
    if "patient" not in cohort.coords:
        return np.zeros(cohort.sizes["record"], dtype=bool)
    return np.isin(cohort["patient"].values.astype(str), patients)


def unusable(cohort: xr.Dataset, usable: np.ndarray) -> list[dict[str, str]]:
    """The records that a network was not asked about, in the form `excluded` reads."""
    reason = "missing samples, or no signal in any lead (in edited beats: no such wave, or no room for the sham)"
    return [{"record": str(r), "step": "predict", "reason": reason} for r in cohort["record"].values[~usable]]
