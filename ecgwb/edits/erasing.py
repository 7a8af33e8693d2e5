"""Erasing: any samples of the beats replaced by lines or by the mean beat, whatever wave they belong to."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from ..cohorts.beats import RHYTHM, bridged, need_records

_FADE = 5.0  # samples, standard deviation of the step with which the mean beat is faded in


def erase(cohort: xr.Dataset, mask: np.ndarray, fill: str = "linear") -> xr.Dataset:
    """The cohort with chosen samples replaced; all else stays, its landmarks and targets too.

    Parameters
    ----------
    cohort : Dataset
    mask : bool array (record, time) or (record, lead, time)
        True: erased.
    fill : {"linear", "mean"}
        Straight lines between the neighbours (at the beat's end, the level of the one neighbour; 0 µV where no sample
        is left), or the cohort's mean beat, faded in and out over some 20 ms.

    Returns
    -------
    Dataset
        ``beat`` changed, and recordings (``rhythm`` and its cycles) left out: they are not edited.

    Raises
    ------
    ValueError
        For an unknown fill, or a mask of another shape.
    """
    need_records(cohort)
    if fill not in ("linear", "mean"):
        raise ValueError(f"cannot fill with {fill!r}; expected 'linear' or 'mean'")
    x, mask = cohort["beat"].transpose("record", "lead", "time").values.astype(float), np.asarray(mask)
    if mask.dtype != bool:
        raise ValueError(f"mask holds {mask.dtype}; expected bool, True where samples are to be erased")
    if mask.shape not in (x.shape, (len(x), x.shape[2])):
        raise ValueError(f"mask is {mask.shape}; expected (record, time) or (record, lead, time) of {x.shape}")
    mask = mask if mask.ndim == 3 else mask[:, None]
    if fill == "mean":
        w = gaussian_filter1d(mask.astype(float), _FADE, axis=2, mode="nearest")
        changed = x * (1 - w) + x[np.isfinite(x).all(axis=(1, 2))].mean(axis=0) * w
    else:
        changed = bridged(x, mask)
    out = cohort.drop_vars(RHYTHM, errors="ignore")
    out["beat"] = (("record", "lead", "time"), changed.astype(np.float32), cohort["beat"].attrs)
    return out
