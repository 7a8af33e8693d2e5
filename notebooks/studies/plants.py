"""Known changes planted in beats with random labels: what discovery should find, and how well it could be found.

Every plant sets a quantity of each person's beat to a value drawn anew, whatever it was before: one continuous
distribution for all, so that there is nothing of an edit to be learnt. Only how it is drawn follows the label.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from scipy.stats import median_abs_deviation

from ecgwb.cohorts.measurements import TIME
from ecgwb.delineation.landmarks import P_ON, QRS_ON, T_OFF, T_ON, T_PEAK, J
from ecgwb.discovery.features import Feature, Point
from ecgwb.edits.changes import warp
from ecgwb.stats import auc

LABEL = "planted"  # the cohort's variable that holds the labels
NOTHING, TIED = "nothing", "label tied to age"
_LEFT_MS = 8.0  # what is left of a stretch that gives way
_MOST = 6.0  # SDs: a value drawn beyond is as rare as a fault
_R, _J, _PEAK = Point("R", 0.0, "J"), Point("J", 0.0, "T_on"), Point("T_peak", 0.0, "T_off")

Put = Callable[[xr.Dataset, np.ndarray], xr.Dataset]
Draw = Callable[[np.random.Generator, np.ndarray, xr.Dataset, float], list[np.ndarray]]


@dataclass(frozen=True)
class Quantity:
    """Something of a beat that can be set to any value by an edit.

    Parameters
    ----------
    measured : Feature
    span : pair of landmarks
        Where in the beat it is.
    put : callable (cohort, values) -> cohort
        The edit.
    leads : sequence of str
        Those that carry it; () for all.
    """

    measured: Feature
    span: tuple[str, str]
    put: Put
    leads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plant:
    """Quantities that are set, and how they are drawn.

    Parameters
    ----------
    quantities : sequence of Quantity
    draw : callable (rng, label, cohort, size) -> list of array
        For each quantity values (record,) of mean 0 and SD 1 where the label is 0.
    size : float
        Of the difference.
    possible : callable (values, cohort) -> array, optional
        What tells the label best, from the drawn values; by default the first quantity itself.
    """

    quantities: tuple[Quantity, ...]
    draw: Draw
    size: float
    possible: Callable[[list[np.ndarray], xr.Dataset], np.ndarray] = field(default=lambda drawn, _: drawn[0])

    def named(self, leads: set[str], spans: list[tuple[float, float]], template: xr.DataArray) -> bool:
        """Whether each stretch (ms) that is named lies over a planted one, and in a lead that carries it.

        A plant in one lead must have that lead, one in all leads may be named by any or by none; both parts of a pair
        must be named.
        """
        met = [self._met(span, template) for span in spans]
        if not spans or not all(met) or (len(self.quantities) > 1 and len(set().union(*met)) < len(self.quantities)):
            return False
        carrying = {lead for q in self.quantities for lead in q.leads}
        needed = [set(q.leads) for q in self.quantities if q.leads]
        return not carrying or (leads <= carrying and all(leads & some for some in needed))

    def touches(self, lead: str, span: tuple[float, float], template: xr.DataArray) -> bool:
        """Whether one lead's stretch lies over a planted one of that lead."""
        return any(not self.quantities[k].leads or lead in self.quantities[k].leads for k in self._met(span, template))

    def _met(self, span: tuple[float, float], template: xr.DataArray) -> set[int]:
        out = set()
        for k, q in enumerate(self.quantities):
            first, last = (float(template.sel(landmark=m)) for m in q.span)
            start, stop = span
            if max(start, first) < min(stop, last) or first <= start == stop <= last:
                out.add(k)
        return out

    def found_by(self, feature: Feature, template: xr.DataArray) -> bool:
        """Whether a feature reads the planted stretch in its lead; a duration counts where timing is planted."""
        parts = [f for f in (feature.of or (feature,)) if f.kind != "number"]
        timing = all(q.measured.kind == "duration" for q in self.quantities)
        if any(f.kind == "duration" for f in parts) and not timing:
            return False
        return self.named(feature.leads(), [f.span(template) for f in parts], template)


# ---------------------------------------------------------------- edits


def _added(measured: Feature, lead: str, shape: Callable[[xr.Dataset], np.ndarray]) -> Put:
    """A smooth shape (record, time) added to a lead, so high that a linear feature is as asked."""

    def put(cohort: xr.Dataset, values: np.ndarray) -> xr.Dataset:
        at = cohort["lead"].values.tolist().index(lead)
        bump = np.zeros(cohort["beat"].shape)
        bump[:, at] = shape(cohort)
        gain = measured.values(cohort.assign(beat=(cohort["beat"].dims, bump)))  # the feature is linear in the beat
        height = np.divide(values - measured.values(cohort), gain, out=np.zeros(len(gain)), where=np.abs(gain) > 1e-6)
        beats = cohort["beat"].values + bump * np.nan_to_num(height)[:, None, None]
        return _with(cohort, beats, cohort["fiducial"].values)

    return put


def _between(first: Point, last: Point) -> Callable[[xr.Dataset], np.ndarray]:
    """One arch of a squared sine from one point to another: no kink at either end."""

    def shape(cohort: xr.Dataset) -> np.ndarray:
        a, b = (p.ms(cohort["fiducial"])[:, None] for p in (first, last))
        phase = np.divide(TIME - a, b - a, out=np.zeros((len(a), len(TIME))), where=b > a)
        return np.where((phase > 0) & (phase < 1), np.sin(np.pi * phase) ** 2, 0.0)

    return shape


def _two(
    shape: Callable[[xr.Dataset], np.ndarray], other: Callable[[xr.Dataset], np.ndarray]
) -> Callable[[xr.Dataset], np.ndarray]:
    return lambda cohort: shape(cohort) + other(cohort)


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


# ---------------------------------------------------------------- quantities


def _quantity(
    kind: str, lead: str, points: tuple[Point, ...], span: tuple[str, str], shape: tuple[Point, Point]
) -> Quantity:
    measured = Feature(kind, lead, points)
    return Quantity(measured, span, _added(measured, lead, _between(*shape)), (lead,))


def _after(point: Point, ms: float) -> Point:
    return Point(point.first, point.share, point.last, ms)


_DOWNSLOPE = _quantity("slope", "V2", (_R, Point("R", 0.6, "J")), ("R", "J"), (_R, Point("R", 1.0, "J")))
_T_TIME = Quantity(Feature("duration", "", (_J, _PEAK)), ("J", "T_off"), _put_t_peak)
_NOTCH_AT = Point("R", 0.5, "J")
_NOTCH_ENDS = (_after(_NOTCH_AT, -12.0), _after(_NOTCH_AT, 12.0))
_NOTCH = _quantity("bend", "V4", (_NOTCH_ENDS[0], _NOTCH_AT, _NOTCH_ENDS[1]), ("QRS_on", "J"), _NOTCH_ENDS)
_HUMP_AT = Point("T_on", 0.5, "T_peak")
_HUMP_ENDS = (_after(_HUMP_AT, -30.0), _after(_HUMP_AT, 30.0))
_HUMP = _quantity("bend", "V3", (_HUMP_ENDS[0], _HUMP_AT, _HUMP_ENDS[1]), ("T_on", "T_off"), _HUMP_ENDS)
_BIFID_POINTS = (_after(_PEAK, -40.0), _PEAK, _after(_PEAK, 40.0))
_BIFID_FEATURE = Feature("bend", "V3", _BIFID_POINTS)
_BIFID = Quantity(
    _BIFID_FEATURE,
    ("T_on", "T_off"),
    _added(
        _BIFID_FEATURE,
        "V3",
        _two(_between(_after(_PEAK, -70.0), _after(_PEAK, -10.0)), _between(_after(_PEAK, 10.0), _after(_PEAK, 70.0))),
    ),
    ("V3",),
)
_QRS_V2 = _quantity("level", "V2", (_R, Point("R", 1.0, "J")), ("R", "J"), (_R, Point("R", 1.0, "J")))
_T_ENDS = (Point("T_on", 0.0, "T_peak"), Point("T_peak", 1.0, "T_off"))
_T_V2 = _quantity("level", "V2", _T_ENDS, ("T_on", "T_off"), _T_ENDS)
_T_V5 = _quantity("level", "V5", _T_ENDS, ("T_on", "T_off"), _T_ENDS)


# ---------------------------------------------------------------- draws


def _shift(rng: np.random.Generator, label: np.ndarray, cohort: xr.Dataset, size: float) -> list[np.ndarray]:
    return [rng.standard_normal(len(label)) + size * label]


def _third(rng: np.random.Generator, label: np.ndarray, cohort: xr.Dataset, size: float) -> list[np.ndarray]:
    carries = (rng.random(len(label)) < 1 / 3) & (label == 1)
    return [rng.standard_normal(len(label)) + size * carries]


def _either_way(rng: np.random.Generator, label: np.ndarray, cohort: xr.Dataset, size: float) -> list[np.ndarray]:
    """Up or down by chance; how far, follows the label."""
    far = np.abs(rng.standard_normal(len(label)) + 2.0 + size * label)
    return [rng.choice([-1.0, 1.0], len(label)) * far]


def _spread(rng: np.random.Generator, label: np.ndarray, cohort: xr.Dataset, size: float) -> list[np.ndarray]:
    return [rng.standard_normal(len(label)) * np.where(label == 1, size, 1.0)]


def _together(rng: np.random.Generator, label: np.ndarray, cohort: xr.Dataset, size: float) -> list[np.ndarray]:
    """Two quantities that rise together with one label and against each other with the other."""
    rho = size * (2 * label - 1)
    first, other = rng.standard_normal((2, len(label)))
    return [first, rho * first + np.sqrt(1 - size**2) * other]


def _with_rate(rng: np.random.Generator, label: np.ndarray, cohort: xr.Dataset, size: float) -> list[np.ndarray]:
    """One quantity that rises with heart rate with one label and falls with the other."""
    return [size * (2 * label - 1) * _rate(cohort) + np.sqrt(1 - size**2) * rng.standard_normal(len(label))]


def _rate(cohort: xr.Dataset) -> np.ndarray:
    hr = cohort["hr"].values
    return np.clip((hr - np.median(hr)) / median_abs_deviation(hr, scale="normal"), -3, 3)


def _size(drawn: list[np.ndarray], cohort: xr.Dataset) -> np.ndarray:
    return np.abs(drawn[0])


def _product(drawn: list[np.ndarray], cohort: xr.Dataset) -> np.ndarray:
    return drawn[0] * drawn[1]


PLANTS = {
    "V2 downslope": Plant((_DOWNSLOPE,), _shift, 0.3),
    "T peak": Plant((_T_TIME,), _shift, 0.5),
    "notch in V4": Plant((_NOTCH,), _shift, 0.5),
    "hump on T of V3": Plant((_HUMP,), _shift, 0.5),
    "bifid T of V3": Plant((_BIFID,), _shift, 0.5),
    "fragmented QRS of V4": Plant((_NOTCH,), _either_way, 0.5, _size),
    "a third of cases, V2 downslope": Plant((_DOWNSLOPE,), _third, 1.0),
    "spread of V2": Plant((_QRS_V2,), _spread, 1.5, _size),
    "V2 x V5": Plant((_T_V2, _T_V5), _together, 0.5, _product),
    "QRS x T": Plant((_QRS_V2, _T_V5), _together, 0.5, _product),
    "slope on rate": Plant((_T_V5,), _with_rate, 0.5, lambda drawn, cohort: drawn[0] * _rate(cohort)),
}


def planted_cohort(people: xr.Dataset, plant: str, size: float, seed: int) -> tuple[xr.Dataset, float]:
    """These people with labels, one plant's quantities drawn anew for each of them, and the AUC that is possible.

    Each quantity is set to (cohort's median) + (cohort's SD) x (what is drawn), whatever it was before. So beats of
    both halves are edited alike, and the label reaches the beat through that draw only.

    Parameters
    ----------
    people : Dataset
    plant : str
        One of `PLANTS`; "nothing": the same edits, by draws that do not know the label; "label tied to age": as
        nothing, with a label that older people have more often.
    size : float
    seed : int

    Returns
    -------
    Dataset, float
        With the labels, 0 and 1, as the variable ``planted``.
    """
    rng = np.random.default_rng(seed)
    n = people.sizes["record"]
    label = rng.permutation(np.arange(n) % 2).astype(float)
    if plant in PLANTS:
        made = PLANTS[plant]
        drawn = made.draw(rng, label, people, size)
        possible = float(auc(label, made.possible(drawn, people))[0])
    elif plant in (NOTHING, TIED):
        made = PLANTS[list(PLANTS)[seed % len(PLANTS)]]
        drawn, possible = made.draw(rng, rng.permutation(label), people, made.size), 0.5
        if plant == TIED:
            age = people["age"].values
            z = (age - age.mean()) / age.std()
            label = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    else:
        raise ValueError(f"no plant {plant!r}; expected one of {', '.join([*PLANTS, NOTHING, TIED])}")
    out = people
    for quantity, z in zip(made.quantities, drawn, strict=True):
        now = quantity.measured.values(people)
        known = now[np.isfinite(now)]
        spread = median_abs_deviation(known, scale="normal")
        out = quantity.put(out, np.median(known) + spread * np.clip(z, -_MOST, _MOST))
    return out.assign({LABEL: ("record", label)}), possible


def some_people(everyone: xr.Dataset, n: int, seed: int) -> xr.Dataset:
    """n of the people, other ones with each seed, each a patient of their own; with age, and without sex and diagnoses.

    Parameters
    ----------
    everyone : Dataset
        As from `whole_people`.
    """
    rows = np.sort(np.random.default_rng(seed).permutation(everyone.sizes["record"])[:n])
    return everyone.isel(record=rows)


def whole_people(cohort: xr.Dataset) -> xr.Dataset:
    """Those who have a whole beat, an age, P, QRS and T; what else is known of them is left out."""
    marks = np.isfinite(cohort["fiducial"].values).all(axis=1)
    whole = marks & np.isfinite(cohort["beat"].values).all(axis=(1, 2)) & np.isfinite(cohort["age"].values)
    some = cohort.isel(record=np.flatnonzero(whole))
    kept = some[["beat", "fiducial", "hr"]].reset_coords(drop=True)
    names = [f"{r}" for r in some["record"].values]
    return kept.assign_coords(
        record=names, patient=("record", names), age=("record", some["age"].values), lead=some["lead"],
        time=some["time"], landmark=some["landmark"],
    ).assign_attrs(source=str(cohort.attrs.get("source", "")), fs=500)  # fmt: skip
