"""Beats changed on purpose: what a stretch of the ECG does to a prediction is seen by changing that stretch."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .beats import TIME, need_records
from .landmarks import LANDMARKS

WAVES = {"P": ("P_on", "P_off"), "QRS": ("QRS_on", "J"), "T": ("T_on", "T_off")}
FILLS = ("linear", "flat")
_MARGIN_MS = 10.0  # a sham span keeps this far from any wave


def blank(cohort: xr.Dataset, wave: str, fill: str = "linear", *, sham: bool = False) -> xr.Dataset:
    """The cohort with one wave removed from every beat, in every lead.

    Parameters
    ----------
    cohort : Dataset
    wave : {"P", "QRS", "T"}
        P_on to P_off, QRS_on to J, T_on to T_off.
    fill : {"linear", "flat"}
        "linear": a straight line between the wave's ends, as in Hicks et al. (2021). "flat": the level of the 10 ms
        before QRS_on, with a step at the ends where they lie elsewhere.
    sham : bool
        Blank a span of the same length between T and the next P instead, or before P: the wave itself stays. It shows
        what blanking alone does.

    Returns
    -------
    Dataset
        ``beat`` changed; a beat without the wave, or without room for the sham, is NaN. ``blanked`` (record, edge)
        says which span, in ms.

    Raises
    ------
    ValueError
        For an unknown wave or fill.
    """
    if wave not in WAVES or fill not in FILLS:
        raise ValueError(f"wave {wave!r} with fill {fill!r}; expected one of {', '.join(WAVES)} and {', '.join(FILLS)}")
    need_records(cohort)
    marks = cohort["fiducial"]
    start, stop = (marks.sel(landmark=m).values for m in WAVES[wave])
    if sham:
        start, stop = _sham_span(cohort, stop - start)
    x = cohort["beat"].transpose("record", "lead", "time").values.copy()
    qrs_on = marks.sel(landmark="QRS_on").values
    for i, (a, b) in enumerate(zip(start, stop, strict=True)):
        # First and last sample of the span; both keep their value under the straight line.
        inside = np.flatnonzero((a <= TIME) & (b >= TIME))
        if inside.size < 3 or not np.isfinite(a + b):
            x[i] = np.nan
            continue
        first, last = inside[0], inside[-1]
        if fill == "linear":
            w = np.linspace(0.0, 1.0, last - first + 1)
            x[i, :, first : last + 1] = x[i, :, [first]].T * (1 - w) + x[i, :, [last]].T * w
        else:
            x[i, :, first : last + 1] = baseline(x[i], qrs_on[i])[:, None]
    out = cohort.copy()
    out["beat"] = (("record", "lead", "time"), x, cohort["beat"].attrs)
    out["blanked"] = (("record", "edge"), np.stack([start, stop], axis=1), {"units": "ms"})
    return out


def baseline(beat: np.ndarray, qrs_on: float) -> np.ndarray:
    """Level (lead,) of a beat (lead, time), µV: the mean of the 10 ms before QRS_on."""
    return beat[:, (qrs_on - 10 <= TIME) & (qrs_on > TIME)].mean(axis=1)


def _sham_span(cohort: xr.Dataset, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A span of that length free of waves: right after T_off if it ends before the next P, else right before P_on."""
    f = {m: cohort["fiducial"].sel(landmark=m).values for m in LANDMARKS}
    p_on = np.where(np.isfinite(f["P_on"]), f["P_on"], f["QRS_on"])
    rr = 60000.0 / cohort["hr"].values
    after = f["T_off"] + _MARGIN_MS
    fits = after + length <= np.fmin(TIME[-1], rr + p_on - _MARGIN_MS)
    before = p_on - _MARGIN_MS - length
    # The T wave before ends one RR earlier than this beat's.
    room = before >= np.fmax(TIME[0], f["T_off"] - rr + _MARGIN_MS)
    start = np.where(fits, after, np.where(room, before, np.nan))
    return start, start + length
