"""Alignment: every beat warped by its landmarks onto a common beat, so that maps of many people can be averaged."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from .landmarks import LANDMARKS


def template_of(cohort: xr.Dataset) -> xr.DataArray:
    """The common beat's landmarks: the cohort's medians, ms; NaN where no record has the landmark."""
    values = cohort["fiducial"].values
    out = np.full(values.shape[1], np.nan)
    seen = np.isfinite(values).any(axis=0)
    out[seen] = np.nanmedian(values[:, seen], axis=0)
    return xr.DataArray(out, dims="landmark", coords={"landmark": list(LANDMARKS)}, attrs={"units": "ms"})


def align(
    values: xr.DataArray, cohort: xr.Dataset, template: xr.DataArray | None = None, *, keep_sum: bool = False
) -> xr.DataArray:
    """Warp beats, or maps of them, onto a common beat: piecewise linear between landmarks.

    Before the first and after the last landmark time is shifted, not stretched. A wave that a record does not have
    (no P in atrial fibrillation) is NaN there instead of being invented, and so is time beyond the beat's window.
    Heart rate is not part of the common beat: the TP segment, and with it the next beat, stays where T_off puts it.

    Parameters
    ----------
    values : DataArray (record, ..., time)
        For example ``cohort["beat"]`` or what `ecgradcam` gives.
    cohort : Dataset
        Holds ``fiducial`` of these records.
    template : DataArray (landmark,), optional
        The common beat's landmarks, ms; the cohort's medians by default.
    keep_sum : bool
        Multiply by the warp's slope (its Jacobian), so that sums over stretched segments, and not heights, are kept.

    Returns
    -------
    DataArray (record, ..., phase)
        ``phase`` is ms on the common beat; identical to `values` for a beat whose landmarks are the template's.

    Raises
    ------
    ValueError
        When records differ, or the values are not on a beat's time (maps of rhythms are not).
    """
    if "time" not in values.dims or "record" not in values.dims:
        raise ValueError(f"align takes values with dims record and time; these have {values.dims}")
    if float(values["time"][0]) >= 0:
        raise ValueError("align takes beats, whose time runs from before the QRS fiducial; these values start at 0 ms")
    unknown = set(values["record"].values.tolist()) - set(cohort["record"].values.tolist())
    if unknown:
        raise ValueError(
            f"no landmarks for record {sorted(map(str, unknown))[0]!r}: give the cohort the values come from"
        )
    fiducial = cohort["fiducial"].sel(record=values["record"]).values  # (record, landmark)
    common = (template_of(cohort) if template is None else template).values
    values = values.transpose("record", ..., "time")
    time = values["time"].values
    data = values.values
    flat = data.reshape(len(data), -1, len(time))  # (record, series, time)
    out = np.full(flat.shape, np.nan, dtype=np.result_type(data.dtype, np.float32))
    for i, own in enumerate(fiducial):
        source, slope, known = _warp(own, common, time)
        if not known.any():
            continue
        at = np.clip(np.searchsorted(time, source) - 1, 0, len(time) - 2)
        part = (source - time[at]) / (time[at + 1] - time[at])
        moved = flat[i][:, at] * (1 - part) + flat[i][:, at + 1] * part
        out[i] = np.where(known, moved * slope if keep_sum else moved, np.nan)
    coords = {k: v for k, v in values.coords.items() if "time" not in v.dims}
    result = xr.DataArray(
        out.reshape(data.shape),
        dims=(*values.dims[:-1], "phase"),
        coords=coords | {"phase": ("phase", time, {"units": "ms"})},
        name=values.name,
        attrs=values.attrs | {"template": json.dumps([None if np.isnan(v) else float(v) for v in common])},
    )
    return result


def _warp(own: np.ndarray, common: np.ndarray, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each phase the record's own time, the warp's slope there, and whether the record has that part at all."""
    both = np.isfinite(own) & np.isfinite(common)
    x, y = common[both], own[both]
    # Knots must rise on both sides; a landmark that does not (P_off on QRS_on, say) adds nothing and is passed over.
    keep = np.ones(len(x), bool)
    last = -1
    for i in range(len(x)):
        if last >= 0 and (x[i] <= x[last] or y[i] <= y[last]):
            keep[i] = False
        else:
            last = i
    x, y = x[keep], y[keep]
    if not len(x):
        return phase, np.ones_like(phase), np.zeros(phase.shape, bool)
    source = np.interp(phase, x, y)
    source = np.where(phase < x[0], phase - x[0] + y[0], np.where(phase > x[-1], phase - x[-1] + y[-1], source))
    slope = np.ones_like(phase)
    for k in range(len(x) - 1):
        slope[(phase >= x[k]) & (phase < x[k + 1])] = (y[k + 1] - y[k]) / (x[k + 1] - x[k])
    known = (source >= phase[0]) & (source <= phase[-1])
    for first, end in (("P_on", "P_off"), ("T_on", "T_off")):
        a, b = LANDMARKS.index(first), LANDMARKS.index(end)
        absent = np.isnan(own[a : b + 1]).any() and np.isfinite(common[[a, b]]).all()
        if absent:
            known &= ~((phase >= common[a]) & (phase <= common[b]))
    return source, slope, known
