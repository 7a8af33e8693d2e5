"""Alignment: every beat warped by its landmarks onto a common beat, so that maps of many people can be averaged.

What lies along a whole recording is folded: each of its cycles is warped by its own landmarks, and they are put
together.
"""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from ..cohorts.cycles import blocks_of, cycles_of, has_cycles, territories, with_beats_in_cycles
from ..cohorts.guards import check, check_values, json_attribute, kind_of
from ..cohorts.lines import bridge
from ..cohorts.measurements import STEP, TIME
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

    Of values along a recording each moment belongs to one cycle, from the middle between T and P before it to that
    after it, as far as the beat's window goes. Cycles are averaged, those alone that make the representative beat. Of
    parts of a prediction all cycles count: they are added up, so that sums along the recording are kept, or, where it
    is a map's mean that adds up (``attrs["adds_up"]``), its mean.

    Parameters
    ----------
    values : DataArray (record, ..., time)
        For example ``cohort["beat"]`` or what `ecgradcam` gives; of networks that take recordings, too, and
        ``cohort["rhythm"]``.
    cohort : Dataset
        Holds ``fiducial`` of these records, and their cycles' landmarks (``rhythm=True``) for values along recordings.
    template : DataArray (landmark,), optional
        The common beat's landmarks, ms; the cohort's medians by default. See `ecgwb.attention.template_of`.
    keep_sum : bool, optional
        Multiply by the warp's slope (its Jacobian), so that sums over stretched segments, and not heights, are kept. By
        default for maps that are parts of a prediction, and not for beats and other curves.

    Returns
    -------
    DataArray (record, ..., phase)
        ``phase`` is ms on the common beat; identical to `values` for a beat whose landmarks are the template's. Of
        recordings, it is the beats' -500 to 698 ms at the values' own rate.

    Raises
    ------
    ValueError
        When records differ, the values are neither on a beat's time nor on that of recordings whose cycles the cohort
        knows, or the template's landmarks are unknown or out of order.
    """
    cohort = check(cohort, all_leads=False)
    if isinstance(values, xr.DataArray) and "sample" in values.dims:  # the recordings themselves
        values = values.rename(sample="time").assign_coords(time=np.arange(values.sizes["sample"]) * STEP)
    values = check_values(values, "record", "time", name="values", source="wb.ecgradcam, or cohort['beat']")
    is_rhythm = float(values["time"][0]) == 0 and float(values["time"][-1]) > TIME[-1] and "cycle_fiducial" in cohort
    if float(values["time"][0]) >= 0 and not is_rhythm:
        raise ValueError(
            "align takes beats, whose time runs from before the QRS fiducial; these values start at "
            f"{float(values['time'][0]):g} ms. For values along recordings give open_cohort(..., rhythm=True)"
        )
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
    if is_rhythm:
        phase, marks = _beat_times(float(time[1] - time[0])), cohort[["cycle_fiducial", "cycle_used"]]
        out = _folded(series, cycles_of(marks.sel(record=values["record"])), common, time, phase, sums)
        if sums and values.attrs.get("adds_up") == "mean":
            out *= np.float32(len(phase) / len(time))
    else:
        phase, out = time, _aligned(series, fiducial, common, time, sums)
    coords = {k: v for k, v in values.coords.items() if "time" not in v.dims}
    return xr.DataArray(
        out.reshape(*data.shape[:-1], len(phase)),
        dims=(*values.dims[:-1], "phase"),
        coords=coords | {"phase": ("phase", phase, {"units": "ms"})},
        name=values.name,
        attrs=values.attrs | {"template": json.dumps([None if np.isnan(v) else float(v) for v in common])},
    )


def _aligned(series: np.ndarray, own: np.ndarray, common: np.ndarray, time: np.ndarray, sums: bool) -> np.ndarray:
    """Series (record, series, time) of beats with their landmarks (record, landmark), at each phase of the common beat.

    Parameters
    ----------
    sums : bool
        Whether sums are kept, or heights.
    """
    out = np.empty(series.shape, dtype=np.result_type(series.dtype, np.float32))
    for first in range(0, len(series), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        source, slope, known = _warp(own[some], common, time)
        at = np.clip(np.searchsorted(time, source) - 1, 0, len(time) - 2)
        part = ((source - time[at]) / (time[at + 1] - time[at]))[:, None]
        before, after = (np.take_along_axis(series[some], k[:, None], axis=2) for k in (at, at + 1))
        moved = before * (1 - part) + after * part
        out[some] = np.where(known[:, None], moved * slope[:, None] if sums else moved, np.nan)
    return out


def _folded(
    series: np.ndarray, cycles: xr.Dataset, common: np.ndarray, time: np.ndarray, phase: np.ndarray, sums: bool
) -> np.ndarray:
    """Series (record, series, time) along recordings as one beat each (record, series, phase) of the common landmarks.

    Parameters
    ----------
    sums : bool
        Whether cycles, all of them, are added up, or those of the representative beat averaged.
    """
    out = np.full((*series.shape[:2], len(phase)), np.nan, dtype=np.result_type(series.dtype, np.float32))
    step = time[1] - time[0]
    edges = territories(cycles, len(time) * step)
    row, taken = cycles["row"].values, cycles["used"].values | sums
    for i in range(len(series)):
        mine = np.flatnonzero((row == i) & taken)
        source, slope, known = _warp(cycles["fiducial"].values[mine], common, phase)  # (cycle, phase)
        source = source + cycles["r_ms"].values[mine, None]
        known &= (source >= edges[mine, :1]) & (source < edges[mine, 1:])
        at = np.clip(np.floor(source / step).astype(int), 0, len(time) - 2)
        part = np.clip(source / step - at, 0.0, 1.0)
        weight = np.where(known, slope if sums else 1.0, 0.0)
        count = known.sum(axis=0)  # (phase,)
        total = np.zeros(out.shape[1:])
        for k in range(len(mine)):
            total += (series[i][:, at[k]] * (1 - part[k]) + series[i][:, at[k] + 1] * part[k]) * weight[k]
        out[i] = np.where(count > 0, total if sums else total / np.maximum(count, 1), np.nan)
    return out


def _beat_times(step: float) -> np.ndarray:
    """The moments of a beat's window, at another rate than 500 Hz where the step (ms) is another."""
    return np.asarray(np.arange(np.ceil(TIME[0] / step), np.floor(TIME[-1] / step) + 1) * step)


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
    phase, own = curve["phase"].values, check(cohort, all_leads=False)["fiducial"].values.astype(float)
    curve = curve.transpose(..., "phase")
    out = _in_own_time(curve, own, template, bridged=bridged)
    records = {k: v for k, v in cohort.coords.items() if v.dims == ("record",)}
    rest = {k: v for k, v in curve.coords.items() if v.dims and "phase" not in v.dims}
    return xr.DataArray(
        out.astype(np.float32),
        dims=("record", *curve.dims[:-1], "time"),
        coords=records | rest | {"time": ("time", phase, {"units": "ms"})},
        attrs=curve.attrs,
    )


def _in_own_time(curve: xr.DataArray, own: np.ndarray, template: xr.DataArray, *, bridged: bool = True) -> np.ndarray:
    """A curve (..., phase) in the time of beats with these landmarks (record, landmark): (record, ..., time)."""
    common, phase, values = template.values, curve["phase"].values, curve.values.astype(float)
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
    return out


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
    mean = _common_beat([align(people["beat"], people, template)])
    beats = cohort["beat"].transpose("record", "lead", "time")
    if reference == "own time":
        return in_own_time(mean, cohort, template)
    same = np.broadcast_to(mean.values.astype(np.float32), beats.shape)
    return beats.copy(data=same.copy())


def reference_rhythms(
    cohort: xr.Dataset,
    reference: str = "common",
    template: xr.DataArray | None = None,
    *,
    among: xr.Dataset | None = None,
) -> xr.DataArray:
    """The recordings that edits take their pieces from: each cycle's own part replaced by the reference beat.

    The common beat is here the mean of all folded recordings (see `align`), which shows nothing of neighbouring beats.

    Parameters
    ----------
    cohort : Dataset
        With ``rhythm``.
    reference : {"common", "own time"}
        As in `reference_beats`; in own time each cycle has its own landmarks.
    template : DataArray (landmark,), optional
        As in `align`.
    among : Dataset, optional
        The cohort whose recordings are averaged; by default `cohort`.

    Returns
    -------
    DataArray (record, lead, sample), µV
        What lies in no cycle, as of the pause after a slow beat, is the record's own.

    Raises
    ------
    ValueError
        As `reference_beats`, and when the cohort holds no recordings.
    """
    if reference not in REFERENCES:
        raise ValueError(f"reference is {reference!r}; expected {' or '.join(map(repr, REFERENCES))}")
    cohort = check(cohort)
    people = cohort if among is None else check(among)
    if not (has_cycles(cohort) and has_cycles(people)):
        raise ValueError("the cohort has no recordings; expected open_cohort(..., rhythm=True)")
    template = template_of(people) if template is None else template
    mean = _common_beat([align(some["rhythm"], some, template) for _, some, _ in blocks_of(people)], held=True)
    out = np.empty(cohort["rhythm"].shape, dtype=np.float32)
    for rows, some, cycles in blocks_of(cohort):
        beats = mean.values[None]
        if reference == "own time":
            beats = _in_own_time(mean, cycles["fiducial"].values, template)
        out[rows] = with_beats_in_cycles(some, cycles, beats)
    return cohort["rhythm"].copy(data=out)


def _common_beat(parts: list[xr.DataArray], *, held: bool = False) -> xr.DataArray:
    """The mean (lead, phase) of aligned beats (record, lead, phase) of some people after others.

    Parameters
    ----------
    held : bool
        Whether the mean's first and last value stand where nobody has any before or after.
    """
    aligned = parts[0] if len(parts) == 1 else xr.concat(parts, "record")
    n, of = int(np.isfinite(aligned.values).any(axis=(1, 2)).sum()), aligned.sizes["record"]
    if n < FEWEST:
        raise ValueError(
            f"{n} {'records' if n == of else f'usable records of {of}'} make no common beat; give a cohort of at least "
            f"{FEWEST}: among=cohort"
        )
    mean = aligned.mean("record")  # (lead, phase)
    if held:
        known = np.flatnonzero(np.isfinite(mean.values).all(axis=0))
        ends = np.clip(np.arange(mean.sizes["phase"]), known[0], known[-1])
        mean = mean.copy(data=mean.values[:, ends])
    gaps = mean["phase"].values[np.isnan(mean.values).any(axis=0)]
    if len(gaps):
        raise ValueError(
            f"no record has both a beat and landmarks about {gaps[0]:+.0f} ms, so there is no common beat; give "
            "another cohort: among=cohort"
        )
    return mean


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
