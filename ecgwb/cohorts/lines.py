"""Straight lines in place of spans of beats."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .measurements import TIME


def bridge(beats: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Beats with straight lines from neighbour to neighbour over the masked samples.

    Parameters
    ----------
    beats : array (record, lead, time)
    mask : bool array that broadcasts against `beats`
        True: replaced.

    Returns
    -------
    array (record, lead, time)
        At a beat's end, the level of the one neighbour; 0 where a lead has no sample left.
    """
    mask = np.broadcast_to(mask, beats.shape)
    n = beats.shape[2]
    at = np.arange(n)
    left = np.maximum.accumulate(np.where(mask, -1, at), axis=2)
    right = np.minimum.accumulate(np.where(mask, n, at)[..., ::-1], axis=2)[..., ::-1]
    left, right = np.where(left < 0, right, left), np.where(right >= n, left, right)
    empty = left >= n  # no sample of this lead is left
    left, right = np.where(empty, 0, left), np.where(empty, 0, right)
    share = np.clip((at - left) / np.maximum(right - left, 1), 0.0, 1.0)
    before, after = np.take_along_axis(beats, left, 2), np.take_along_axis(beats, right, 2)
    return np.where(empty, 0.0, np.where(mask, before * (1 - share) + after * share, beats))


def lines_between(cohort: xr.Dataset, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A cohort's beats, and the same with a straight line over one span of each.

    Parameters
    ----------
    cohort : Dataset
    start, stop : array (record,), ms
        The span's first and last sample keep their value, so that the line meets the beat. NaN: no span.

    Returns
    -------
    beats, lined : array (record, lead, time), µV
    inside : bool array (record, time)
        The samples that the line replaces.
    """
    span = (start[:, None] <= TIME) & (stop[:, None] >= TIME)
    inside = span & np.roll(span, 1, axis=1) & np.roll(span, -1, axis=1)
    beats = cohort["beat"].transpose("record", "lead", "time").values.astype(float)
    return beats, bridge(beats, inside[:, None]), inside
