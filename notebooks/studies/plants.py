"""Known changes planted in beats with random labels: what discovery should find, and how well it could be found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.stats import median_abs_deviation

from ecgwb.cohorts.cohort import open_cohort
from ecgwb.cohorts.measurements import TIME
from ecgwb.cohorts.people import one_record_each
from ecgwb.delineation.landmarks import P_ON, QRS_ON, T_OFF, T_ON, T_PEAK, J
from ecgwb.discovery.features import Feature, Point
from ecgwb.edits.changes import warp

LABEL = "planted"  # the cohort's variable that holds the random labels
_LEFT_MS = 8.0  # what is left of a stretch that gives way


@dataclass(frozen=True)
class Plant:
    """A quantity of a beat that can be set to any value by an edit.

    Parameters
    ----------
    measured : Feature
        The quantity.
    leads : sequence of str
        Those that carry it.
    span : pair of landmarks
        Where in the beat it is.
    put : callable (cohort, values) -> cohort
        The edit.
    """

    measured: Feature
    leads: tuple[str, ...]
    span: tuple[str, str]
    put: Callable[[xr.Dataset, np.ndarray], xr.Dataset]

    def overlaps(self, feature: Feature, template: xr.DataArray) -> bool:
        """Whether a feature reads the planted span in a lead that carries it; durations read all leads."""
        start, stop = feature.span(template)
        first, last = (float(template.sel(landmark=m)) for m in self.span)
        in_span = max(start, first) < min(stop, last) or first <= start == stop <= last
        return in_span and (not feature.leads() or bool(feature.leads() & set(self.leads)))


def _put_downslope(cohort: xr.Dataset, values: np.ndarray) -> xr.Dataset:
    """V2 with a smooth bump from R to J (sin2: no kink at either end), so high that the slope is as asked."""
    j = cohort["fiducial"].sel(landmark="J").values[:, None]
    phase = np.divide(TIME, j, out=np.zeros((len(j), len(TIME))), where=j > 0)
    shape = np.where((phase > 0) & (phase < 1), np.sin(np.pi * phase) ** 2, 0.0)  # (record, time)
    at = cohort["lead"].values.tolist().index("V2")
    bump = np.zeros(cohort["beat"].shape)
    bump[:, at] = shape
    gain = DOWNSLOPE.values(cohort.assign(beat=(cohort["beat"].dims, bump)))  # the feature is linear in the beat
    height = np.divide(values - DOWNSLOPE.values(cohort), gain, out=np.zeros(len(gain)), where=np.abs(gain) > 1e-6)
    return _with(cohort, cohort["beat"].values + bump * np.nan_to_num(height)[:, None, None], cohort["fiducial"].values)


def _put_t_peak(cohort: xr.Dataset, values: np.ndarray) -> xr.Dataset:
    """T moved as a whole, in all leads, its peak so many ms after J; ST and TP make room, as far as they can."""
    marks = cohort["fiducial"].values.astype(float).copy()
    next_beat = 60000.0 / cohort["hr"].values + np.where(np.isfinite(marks[:, P_ON]), marks[:, P_ON], marks[:, QRS_ON])
    end = np.fmin(TIME[-1], next_beat)
    beats = cohort["beat"].values.astype(float).copy()
    for i in np.flatnonzero(np.isfinite(marks[:, [J, T_ON, T_PEAK, T_OFF]]).all(axis=1)):
        j, t_on, t_peak, t_off = marks[i, [J, T_ON, T_PEAK, T_OFF]]
        least, most = j - t_on + _LEFT_MS, end[i] - t_off - _LEFT_MS
        if least > 0 or most < 0:
            continue  # no room to either side
        move = float(np.clip(values[i] - (t_peak - j), least, most))
        before = np.array([TIME[0], j, t_on, t_off, end[i], TIME[-1] + 2.0])
        after = before + np.array([0.0, 0.0, move, move, 0.0, 0.0])
        beats[i] = warp(beats[i], before, after)
        marks[i, [T_ON, T_PEAK, T_OFF]] += move
    return _with(cohort, beats, marks)


def _with(cohort: xr.Dataset, x: np.ndarray, marks: np.ndarray) -> xr.Dataset:
    beat = (cohort["beat"].dims, x.astype(np.float32), cohort["beat"].attrs)
    return cohort.assign(beat=beat, fiducial=(cohort["fiducial"].dims, marks, cohort["fiducial"].attrs))


DOWNSLOPE = Feature("slope", "V2", (Point("R", 0.0, "J"), Point("R", 0.6, "J")))
PEAK_OF_T = Feature("duration", "", (Point("R", 1.0, "J"), Point("T_peak", 0.0, "T_off")))
_ALL = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
PLANTS = {
    "V2 downslope": Plant(DOWNSLOPE, ("V2",), ("R", "J"), _put_downslope),
    "T peak": Plant(PEAK_OF_T, _ALL, ("J", "T_off"), _put_t_peak),
}


def planted_cohort(people: xr.Dataset, d: dict[str, float], seed: int) -> xr.Dataset:
    """These people with random labels, and every planted quantity drawn anew for each of them.

    Each quantity is set to (cohort's median) + (cohort's SD) x (z + d x label), z standard normal, whatever it was
    before. So beats of both halves are edited alike, the label reaches the beat through that one draw only, and nothing
    that looks at the beat can exceed the quantity's own area under the curve, Phi(d / sqrt 2). With d = 0 throughout
    there is nothing to be found, in a cohort that is otherwise the same.

    Parameters
    ----------
    people : Dataset
    d : mapping of plant to size
        In SDs between the halves; 0 for plants not named.
    seed : int

    Returns
    -------
    Dataset
        With the labels, 0 and 1 for half of the people each, as the variable ``planted``.
    """
    unknown = set(d) - set(PLANTS)
    if unknown:
        raise ValueError(f"no plant {sorted(unknown)[0]!r}; expected some of {', '.join(PLANTS)}")
    rng = np.random.default_rng(seed)
    n = people.sizes["record"]
    label = rng.permutation(np.arange(n) % 2).astype(float)
    out = people
    for name, plant in PLANTS.items():
        now = plant.measured.values(people)
        known = now[np.isfinite(now)]
        spread = median_abs_deviation(known, scale="normal")
        out = plant.put(out, np.median(known) + spread * (rng.standard_normal(n) + d.get(name, 0.0) * label))
    return out.assign({LABEL: ("record", label)})


def mixed_people(n: int, seed: int, names: Sequence[str] = ("ptbxl500", "synthetic:4000")) -> xr.Dataset:
    """n people with beats: all of the first cohort's that have QRS and T, then a random choice of the second's.

    Real beats bring the range of real people, synthetic ones the number. One record per patient; sex, age and the like
    are left out, since the labels are to be random.
    """
    parts: list[xr.Dataset] = []
    rng = np.random.default_rng(seed)
    for name in names:
        wanted = n - sum(p.sizes["record"] for p in parts)
        if not wanted:
            break
        cohort = one_record_each(open_cohort(name))
        marks = cohort["fiducial"].sel(landmark=["QRS_on", "J", "T_on", "T_peak", "T_off"])
        whole = np.isfinite(marks.values).all(axis=1) & np.isfinite(cohort["beat"].values).all(axis=(1, 2))
        rows = rng.permutation(np.flatnonzero(whole))[:wanted]
        some = cohort.isel(record=np.sort(rows))[["beat", "fiducial", "hr"]]
        label = [f"{name}:{r}" for r in some["record"].values]
        keep = some.reset_coords(drop=True).assign_coords(
            record=label, patient=("record", label), lead=some["lead"], time=some["time"], landmark=some["landmark"]
        )
        parts.append(keep)
    out = xr.concat(parts, dim="record", join="exact", combine_attrs="override")
    if out.sizes["record"] < n:
        raise ValueError(f"{' and '.join(names)} hold {out.sizes['record']} people with QRS and T, {n} are wanted")
    return out.transpose("record", ...).assign_attrs(source="+".join(names), fs=500)
