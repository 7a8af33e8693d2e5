"""Alignment: every beat warped by its landmarks onto a common beat, so that maps of many people can be averaged."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from ..cohorts.guards import check, check_values, json_attribute, kind_of
from ..cohorts.lines import bridge
from ..cohorts.people import same_people
from ..delineation.landmarks import LANDMARKS, WAVES

FEWEST = 10  # beats that make a common beat, or say how much people differ
REFERENCES = ("common", "own time")
PARTS = ("edit map", "integrated_gradients", "deeplift", "input_x_gradient")
"""Methods whose maps hold, moment by moment, parts of a prediction."""
_AT_ONCE = 256  # records warped together


def template_of(data: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """The common beat's landmarks: a cohort's medians, or those that maps were aligned to.

    Parameters
    ----------
    data : Dataset or DataArray
        A cohort, with ``fiducial`` (record, landmark) in ms; or what `align` gives, or is made of it.

    Returns
    -------
    DataArray (landmark,)
        ms from the QRS fiducial; NaN where no record has the landmark.

    Raises
    ------
    ValueError
        When there are neither landmarks nor a template.
    """
    if not isinstance(data, (xr.Dataset, xr.DataArray)):
        raise TypeError(f"data is {kind_of(data)}; expected a cohort, or an aligned map as from wb.align")
    if isinstance(data, xr.Dataset) and "fiducial" in data:
        fiducial = check(data)["fiducial"].values
        marks = np.full(fiducial.shape[1], np.nan)
        seen = np.isfinite(fiducial).any(axis=0)
        marks[seen] = np.nanmedian(fiducial[:, seen], axis=0)
    elif "template" in data.attrs:
        marks = np.array(json_attribute(data, "template", []), dtype=float)  # null becomes NaN
    else:
        raise ValueError("the map carries no template; expected what wb.align(maps, cohort) gives")
    return xr.DataArray(marks, dims="landmark", coords={"landmark": list(LANDMARKS)}, attrs={"units": "ms"})


def align(
    values: xr.DataArray, cohort: xr.Dataset, template: xr.DataArray | None = None, *, keep_sum: bool | None = None
) -> xr.DataArray:
    """Warp beats, or maps of them, onto a common beat: piecewise linear between landmarks.

    Before the first and after the last landmark time is shifted, not stretched. A wave that a record does not have
    (no P in atrial fibrillation), or one without one of its ends, is NaN there instead of being invented, and so is
    time beyond the beat's window.

    The common beat has no heart rate: what rate does to PR, QRS, ST and T is taken out with their lengths, and what is
    left after T_off is the record's own time, shifted. A next beat that lies within the window keeps its distance to
    this beat's T_off, so next beats of people with different rates do not fall onto each other, and an average there
    mixes TP segments with them.

    Parameters
    ----------
    values : DataArray (record, ..., time)
        For example ``cohort["beat"]`` or what `ecgradcam` gives.
    cohort : Dataset
        Holds ``fiducial`` of these records.
    template : DataArray (landmark,), optional
        The common beat's landmarks, ms; the cohort's medians by default. See `ecgwb.attention.template_of`.
    keep_sum : bool, optional
        Multiply by the warp's slope (its Jacobian), so that sums over stretched segments, and not heights, are kept. By
        default for maps that are parts of a prediction, and not for beats and other curves.

    Returns
    -------
    DataArray (record, ..., phase)
        ``phase`` is ms on the common beat; identical to `values` for a beat whose landmarks are the template's.

    Raises
    ------
    ValueError
        When records differ, the values are not on a beat's time (maps of rhythms are not), or the template's landmarks
        are unknown or out of order.
    """
    cohort = check(cohort, all_leads=False)
    values = check_values(values, "record", "time", name="values", source="wb.ecgradcam, or cohort['beat']")
    if float(values["time"][0]) >= 0:
        raise ValueError("align takes beats, whose time runs from before the QRS fiducial; these values start at 0 ms")
    unknown = set(values["record"].values.tolist()) - set(cohort["record"].values.tolist())
    if unknown:
        raise ValueError(f"no landmarks for record {min(map(str, unknown))!r}: give the cohort the values come from")
    same_people(values, cohort)
    fiducial = cohort["fiducial"].sel(record=values["record"]).values  # (record, landmark)
    if template is not None and (not isinstance(template, xr.DataArray) or template.shape != (len(LANDMARKS),)):
        raise TypeError("template is no DataArray of the nine landmarks; expected what wb.attention.template_of gives")
    common = (template_of(cohort) if template is None else template).values
    known = common[np.isfinite(common)]
    if not known.size or (np.diff(known) < 0).any():
        raise ValueError(f"the template's landmarks are {common.tolist()} ms; expected them in the order of time")
    time = values["time"].values
    sums = _is_of_parts(values) if keep_sum is None else keep_sum
    data = values.values
    series = data.reshape(len(data), -1, len(time))  # (record, series, time)
    out = np.empty(series.shape, dtype=np.result_type(data.dtype, np.float32))
    for first in range(0, len(data), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        source, slope, known = _warp(fiducial[some], common, time)
        at = np.clip(np.searchsorted(time, source) - 1, 0, len(time) - 2)
        part = ((source - time[at]) / (time[at + 1] - time[at]))[:, None]
        before, after = (np.take_along_axis(series[some], k[:, None], axis=2) for k in (at, at + 1))
        moved = before * (1 - part) + after * part
        out[some] = np.where(known[:, None], moved * slope[:, None] if sums else moved, np.nan)
    coords = {k: v for k, v in values.coords.items() if "time" not in v.dims}
    return xr.DataArray(
        out.reshape(data.shape),
        dims=(*values.dims[:-1], "phase"),
        coords=coords | {"phase": ("phase", time, {"units": "ms"})},
        name=values.name,
        attrs=values.attrs | {"template": json.dumps([None if np.isnan(v) else float(v) for v in common])},
    )


def _is_of_parts(values: xr.DataArray) -> bool:
    """Whether it is a map whose moments are parts of a prediction, so that its sums mean something."""
    return bool(values.attrs.get("adds_up")) or str(values.attrs.get("method", "")).startswith(PARTS)


def in_own_time(
    curve: xr.DataArray, cohort: xr.Dataset, template: xr.DataArray, *, bridged: bool = True
) -> xr.DataArray:
    """A curve of the common beat, such as the mean beat, in every record's own time: what `align` does, undone.

    Parameters
    ----------
    curve : DataArray (..., phase)
    cohort : Dataset
    template : DataArray (landmark,)
        The common beat's landmarks, ms.
    bridged : bool
        Whether a wave that a record does not have becomes a straight line, as in a beat, or stays the curve's.

    Returns
    -------
    DataArray (record, ..., time)
        A wave that a record does not have has no length of its own, and takes the template's.
    """
    common, own = template.values, check(cohort, all_leads=False)["fiducial"].values.astype(float)
    phase = curve["phase"].values
    values = curve.transpose(..., "phase").values.astype(float)
    used = np.flatnonzero(common >= np.fmax.accumulate(common))
    at, keep = _knots(own[:, used], common[used])
    out = np.full((len(own), *values.shape), np.nan)
    flat = values.reshape(1, -1, len(phase))
    for i in np.flatnonzero(keep.any(axis=1)):
        lacking = np.zeros(len(phase), bool)
        for first, last in WAVES.values():
            a, b = LANDMARKS.index(first), LANDMARKS.index(last)
            if bridged and np.isnan(own[i, a : b + 1]).any():
                lacking |= (phase > common[a]) & (phase < common[b])  # False for NaN
        source = np.interp(phase, at[i], common[used])
        before, after = common[used][0] - at[i, 0], common[used][-1] - at[i, -1]
        source = np.where(phase < at[i, 0], phase + before, np.where(phase > at[i, -1], phase + after, source))
        shown = bridge(flat, lacking)[0]
        out[i] = np.stack([np.interp(source, phase, v) for v in shown]).reshape(values.shape)
    records = {k: v for k, v in cohort.coords.items() if v.dims == ("record",)}
    rest = {k: v for k, v in curve.coords.items() if v.dims and "phase" not in v.dims}
    return xr.DataArray(
        out.astype(np.float32),
        dims=("record", *curve.transpose(..., "phase").dims[:-1], "time"),
        coords=records | rest | {"time": ("time", phase, {"units": "ms"})},
        attrs=curve.attrs,
    )


def reference_beats(
    cohort: xr.Dataset,
    reference: str = "common",
    template: xr.DataArray | None = None,
    *,
    among: xr.Dataset | None = None,
) -> xr.DataArray:
    """The beats that edits take their pieces from: the mean of all aligned beats.

    Parameters
    ----------
    cohort : Dataset
    reference : {"common", "own time"}
        "common": one beat for everyone, with the template's intervals. A piece of it brings its timing along, so that
        edits say what both the shape and the place of a wave do. "own time": the same beat warped onto each record's
        own landmarks, so that edits say what the shape does; intervals stay the record's own, and a record without P
        gets none.
    template : DataArray (landmark,), optional
        As in `align`.
    among : Dataset, optional
        The cohort whose beats are averaged; by default `cohort`. One beat is compared with those of others this way.

    Returns
    -------
    DataArray (record, lead, time), µV

    Raises
    ------
    ValueError
        For another reference, or when there are fewer than ten beats to average, or none somewhere in the beat.
    """
    if reference not in REFERENCES:
        raise ValueError(f"reference is {reference!r}; expected {' or '.join(map(repr, REFERENCES))}")
    cohort = check(cohort)
    people = cohort if among is None else check(among)
    template = template_of(people) if template is None else template
    beats = cohort["beat"].transpose("record", "lead", "time")
    aligned = align(people["beat"], people, template)
    n = int(np.isfinite(aligned.values).any(axis=(1, 2)).sum())
    if n < FEWEST:
        of = people.sizes["record"]
        raise ValueError(
            f"{n} {'records' if n == of else f'usable records of {of}'} make no common beat; give a cohort of at least "
            f"{FEWEST}: among=cohort"
        )
    mean = aligned.mean("record")  # (lead, phase)
    gaps = mean["phase"].values[np.isnan(mean.values).any(axis=0)]
    if len(gaps):
        raise ValueError(
            f"no record has both a beat and landmarks about {gaps[0]:+.0f} ms, so there is no common beat; give "
            "another cohort: among=cohort"
        )
    if reference == "own time":
        return in_own_time(mean, cohort, template)
    same = np.broadcast_to(mean.values.astype(np.float32), beats.shape)
    return beats.copy(data=same.copy())


def _warp(own: np.ndarray, common: np.ndarray, phase: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each record (record, landmark), at each phase: its own time, the warp's slope, and whether it has that part.

    All results are (record, phase).
    """
    highest = np.fmax.accumulate(common)
    used = np.flatnonzero(common >= highest)  # a landmark out of order adds nothing; False for NaN
    x = common[used]
    y, keep = _knots(own[:, used], x)
    usable = np.asarray(keep.any(axis=1))  # records with any landmark
    source = np.tile(phase.astype(float), (len(own), 1))
    slope = np.ones(source.shape)
    if len(x) and usable.any():
        # Knots that were passed over lie on the line between their neighbours, so that all records share the knots x.
        rise = np.divide(np.diff(y, axis=1), np.diff(x), out=np.ones((len(y), len(x) - 1)), where=np.diff(x) > 0)
        piece = np.searchsorted(x, phase, side="right") - 1  # (phase,); -1 before the first knot
        k = np.clip(piece, 0, len(x) - 1)
        inside = (piece >= 0) & (piece < len(x) - 1)
        slope = np.where(inside, rise[:, np.minimum(k, max(len(x) - 2, 0))] if len(x) > 1 else 1.0, 1.0)
        source = np.where(usable[:, None], y[:, k] + (phase - x[k]) * slope, source)
    known = (source >= phase[0]) & (source <= phase[-1]) & usable[:, None]
    for wave in WAVES.values():
        a, b = (LANDMARKS.index(mark) for mark in wave)
        if np.isfinite(common[[a, b]]).all():
            absent = np.isnan(own[:, a : b + 1]).any(axis=1)
            known &= ~(absent[:, None] & (phase >= common[a]) & (phase <= common[b]))
    return source, slope, known


def _knots(own: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The records' times (record, knot) of the common beat's landmarks `x`, and which of them are their own.

    Knots must rise on both sides; one that does not (P_off on QRS_on, say) adds nothing and is passed over, as is an
    absent one. It takes the place that the line between its neighbours gives it; beyond them the slope is 1.
    """
    keep = np.zeros(own.shape, bool)
    last_x, last_y = np.full(len(own), -np.inf), np.full(len(own), -np.inf)
    for i in range(len(x)):
        keep[:, i] = (x[i] > last_x) & (own[:, i] > last_y)  # False for NaN
        last_x, last_y = np.where(keep[:, i], x[i], last_x), np.where(keep[:, i], own[:, i], last_y)
    number, end = np.arange(len(x)), max(len(x) - 1, 0)
    before = np.maximum.accumulate(np.where(keep, number, -1), axis=1)
    after = np.minimum.accumulate(np.where(keep, number, len(x))[:, ::-1], axis=1)[:, ::-1]
    low = np.where(before >= 0, before, after).clip(0, end)
    high = np.where(after < len(x), after, before).clip(0, end)
    y_low, y_high = (np.take_along_axis(own, k, axis=1) for k in (low, high))
    slope = np.divide(y_high - y_low, x[high] - x[low], out=np.ones(own.shape), where=high > low)
    return np.where(keep, own, y_low + (x - x[low]) * slope), keep
