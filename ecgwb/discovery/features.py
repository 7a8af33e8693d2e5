"""Features in a small grammar over landmarks: amplitude, level, slope, bend, area, duration; and what is made of them.

A feature is words, a formula and a unit; it is computed for any cohort from beats and landmarks alone. A new kind of
feature is a line of `KINDS`, its words, its formula, and how it is read from a beat, all in this file. To be proposed
it must also be made: in `ecgwb.discovery.scan`, or in `candidates_at` of `ecgwb.discovery.proposals`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy.integrate import cumulative_trapezoid

from ..cohorts.guards import check
from ..cohorts.measurements import STEP, TIME
from ..cohorts.people import one_record_each, patients_of
from ..delineation.landmarks import LANDMARKS
from .classic import measure, voltages


class Kind(NamedTuple):
    """What a kind of feature is made of."""

    unit: str
    points: int
    has_lead: bool
    least: float = 0.0  # size below which a ratio is not divided by it
    parts: int = 0  # of other features


KINDS = {
    "amplitude": Kind("µV", 1, True, 20.0),
    "slope": Kind("µV/ms", 2, True, 0.5),
    "bend": Kind("µV", 3, True, 20.0),
    "area": Kind("µV ms", 2, True, 200.0),
    "level": Kind("µV", 2, True, 20.0),
    "duration": Kind("ms", 2, False, 4.0),
    "number": Kind("", 0, False),
    "ratio": Kind("", 0, False, parts=2),
    "distance": Kind("", 0, False, parts=1),
    "product": Kind("", 0, False, parts=2),
}
_NUMBER_UNITS = {"age": "years", "hr": "bpm"}
_STEP = 0.05  # `Point.nearest` writes shares of a stretch to this step
_SHORTEST_MS = 1.0  # a stretch shorter than this has no slope


class Point(NamedTuple):
    """A moment of the beat: ("R", 0.6, "J") is 60 % of the way from R to J, ("R", 0.0, "J", 40) is 40 ms after R."""

    first: str
    share: float
    last: str
    later: float = 0.0  # ms

    @classmethod
    def nearest(cls, ms: float, template: xr.DataArray, step: float = _STEP) -> Point:
        """The point nearest to a moment of the common beat, in steps of 5 % between its landmarks.

        Parameters
        ----------
        ms : float
            A moment before the first or after the last landmark gives that landmark.
        template : DataArray (landmark,)
            As from `template_of`.
        step : float
            Another step, as a share.
        """
        marks = zip(template["landmark"].values, template.values, strict=True)
        known = [(str(k), float(v)) for k, v in marks if np.isfinite(v)]
        if len(known) < 2:
            raise ValueError(f"the template has {len(known)} landmarks; a point needs two to lie between")
        for (a, x), (b, y) in pairwise(known):
            if ms < y and y > x:
                share = round(round(max(ms - x, 0.0) / (y - x) / step) * step, 3)
                return cls(a, share, b)._one_spelling()
        return cls(known[-2][0], 1.0, known[-1][0])._one_spelling()

    def _one_spelling(self) -> Point:
        """A landmark itself as share 0 of the stretch behind it, where there is one."""
        k = LANDMARKS.index(self.last)
        return Point(self.last, 0.0, LANDMARKS[k + 1]) if self.share >= 1 and k + 1 < len(LANDMARKS) else self

    def _plain(self) -> Point:
        """Itself in plain text and numbers."""
        return Point(str(self.first), round(float(self.share), 3), str(self.last), float(self.later))

    def ms(self, landmarks: xr.DataArray) -> np.ndarray:
        """When beats with these landmarks (..., landmark) are at the point: array (...). It needs no others' values."""
        first, last = (landmarks.sel(landmark=m).values.astype(float) for m in (self.first, self.last))
        if self.share in (0.0, 1.0):
            return (last if self.share else first) + self.later
        return first + self.share * (last - first) + self.later

    @property
    def words(self) -> str:
        at = self._landmark or f"{100 * self.share:g} % of {self.first}-{self.last}"
        return f"{abs(self.later):g} ms {'after' if self.later > 0 else 'before'} {at}" if self.later else at

    @property
    def formula(self) -> str:
        at = self._landmark or f"{self.first} + {self.share:g} ({self.last} - {self.first})"
        return f"{at} {'+' if self.later > 0 else '-'} {abs(self.later):g}" if self.later else at

    @property
    def _landmark(self) -> str:
        """The landmark that the point is, or nothing."""
        return {0.0: self.first, 1.0: self.last}.get(self.share, "")


@dataclass(frozen=True)
class Feature:
    """One measurement of a beat.

    Parameters
    ----------
    kind : {"amplitude", "level", "slope", "bend", "area", "duration", "number", "ratio", "distance", "product"}
        "amplitude" (µV) at one point; "slope" (µV/ms) of the straight line between two points, "area" (µV ms) from one
        to the other, and "level" (µV), the mean between them; "bend" (µV): by how much the second of three points lies
        above the mean of the others; "duration" (ms) from one point to another, which needs no lead; "number", a column
        of the cohort, such as ``hr``, or of `measure`; "ratio" of two features; "distance" of a feature from `centre`,
        without its sign; "product" of two, each less its `centre`. Voltages are read as
        `ecgwb.cohorts.measurements.levelled` gives them, from the mean of the 10 ms before QRS_on.
    lead : str
        "" where the feature is of no lead itself.
    points : sequence of (landmark, share, landmark[, ms])
        ("R", 0.6, "J"): 60 % of the way from R to J; ("R", 0.0, "J"): R itself; ("R", 0.0, "J", 40): 40 ms later.
    of : sequence of Feature
        Of a ratio: what is divided, and by what. It is NaN where the divisor is smaller, in size, than 20 µV,
        0.5 µV/ms, 200 µV ms or 4 ms. Of a distance or a product: the feature, or both.
    origin : str
        Where it came from. Two features that differ in nothing else measure the same.
    centre : sequence of float
        Of a distance or a product: one for each part, such as its median in discovery patients.
    column : str
        Of a number.

    Raises
    ------
    ValueError
        For an unknown kind or landmark, a share outside 0..1, or the wrong number of points.

    Examples
    --------
    One of each kind; ``feature.values(cohort)`` measures it in every record.

    >>> R, J, half = ("R", 0, "J"), ("J", 0, "T_on"), ("R", 0.5, "J")
    >>> r_v5 = Feature("amplitude", "V5", [R])
    >>> s_v1 = Feature("amplitude", "V1", [half])
    >>> st = Feature("slope", "V2", [J, ("J", 0, "T_on", 60)])
    >>> features = [
    ...     r_v5,
    ...     Feature("level", "V2", [J, ("J", 0.5, "T_on")]),
    ...     st,
    ...     Feature("bend", "V5", [R, half, J]),
    ...     Feature("area", "V5", [("T_on", 0, "T_peak"), ("T_peak", 1, "T_off")]),
    ...     Feature("duration", points=[("QRS_on", 0, "R"), R]),
    ...     Feature("number", column="hr"),
    ...     Feature("ratio", of=[r_v5, s_v1]),
    ...     Feature("distance", of=[st], centre=[0.5]),
    ...     Feature("product", of=[r_v5, Feature("number", column="hr")], centre=[1200, 70]),
    ... ]
    >>> for feature in features:
    ...     print(feature.name)
    V5: amplitude at R, µV
    V2: level from J to 50 % of J-T_on, µV
    V2: slope from J to 60 ms after J, µV/ms
    V5: bend at 50 % of R-J, seen from R and J, µV
    V5: area from T_on to T_off, µV ms
    duration from QRS_on to R, ms
    hr, bpm
    V5: amplitude at R over V1: amplitude at 50 % of R-J, 1
    distance of V2: slope from J to 60 ms after J from 0.5, µV/ms
    (V5: amplitude at R less 1200) times (hr less 70), µV x bpm
    """

    kind: str
    lead: str = ""
    points: tuple[Point, ...] = ()
    of: tuple[Feature, ...] = ()
    origin: str = ""
    centre: tuple[float, ...] = ()
    column: str = ""

    def __post_init__(self) -> None:
        points = tuple(Point(*p)._plain() for p in self.points)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "of", tuple(self.of))
        object.__setattr__(self, "centre", tuple(float(c) for c in self.centre))
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}; expected one of {', '.join(KINDS)}")
        expected, parts = KINDS[self.kind].points, KINDS[self.kind].parts
        if len(self.points) != expected or len(self.of) != parts:
            raise ValueError(
                f"a feature of kind {self.kind!r} has {expected} points and {parts} parts; these are "
                f"{len(self.points)} and {len(self.of)}"
            )
        centres = parts if self.kind in ("distance", "product") else 0
        if len(self.centre) != centres or not np.isfinite(self.centre).all():
            raise ValueError(f"a feature of kind {self.kind!r} has {centres} finite centres; these are {self.centre}")
        if bool(self.column) != (self.kind == "number"):
            raise ValueError(f"kind {self.kind!r} with column {self.column!r}: numbers have a column, and they alone")
        for a, share, b, _ in self.points:
            if not {a, b} <= set(LANDMARKS) or LANDMARKS.index(a) >= LANDMARKS.index(b) or not 0 <= share <= 1:
                raise ValueError(
                    f"point {(a, share, b)}: expected a landmark, a share from 0 to 1, and a later landmark; landmarks "
                    f"are, in order, {', '.join(LANDMARKS)}"
                )
        if bool(self.lead) != KINDS[self.kind].has_lead:
            raise ValueError(
                f"kind {self.kind!r} with lead {self.lead!r}: amplitudes, levels, slopes, bends and areas have a lead"
            )
        if any(part.of for part in self.of):
            raise ValueError(f"a {self.kind} of {self.of[0].kind}s is no feature here; its parts must have none")

    @property
    def unit(self) -> str:
        units = [part.unit for part in self.of]
        if self.kind == "number":
            return _NUMBER_UNITS.get(self.column, "1")
        if self.kind == "ratio":
            return "1" if units[0] == units[1] else f"{units[0]} per {units[1]}"
        return " x ".join(units) or KINDS[self.kind].unit

    @property
    def name(self) -> str:
        """In plain English, unit at the end."""
        return f"{self._words}, {self.unit}"

    @property
    def _words(self) -> str:
        if self.kind == "ratio":
            return " over ".join(part._words for part in self.of)
        if self.kind == "distance":
            return f"distance of {self.of[0]._words} from {self.centre[0]:.4g}"
        if self.kind == "product":
            return " times ".join(f"({f._words} less {c:.4g})" for f, c in zip(self.of, self.centre, strict=True))
        if self.kind == "number":
            return self.column
        at = [p.words for p in self.points]
        where = f"at {at[0]}" if len(at) == 1 else f"from {at[0]} to {at[-1]}"
        if self.kind == "bend":
            where = f"at {at[1]}, seen from {at[0]} and {at[2]}"
        return f"{self.lead}: {self.kind} {where}" if self.lead else f"{self.kind} {where}"

    @property
    def formula(self) -> str:
        if self.kind == "ratio":
            return f"({self.of[0].formula}) / ({self.of[1].formula})"
        if self.kind == "distance":
            return f"|{self.of[0].formula} {_less(self.centre[0])}|"
        if self.kind == "product":
            return " ".join(f"({f.formula} {_less(c)})" for f, c in zip(self.of, self.centre, strict=True))
        if self.kind == "number":
            return self.column
        t = [p.formula for p in self.points]
        if self.kind == "amplitude":
            return f"{self.lead}[{t[0]}] - baseline"
        if self.kind == "area":
            return f"integral of ({self.lead} - baseline) from {t[0]} to {t[1]}"
        if self.kind == "level":
            return f"mean of ({self.lead} - baseline) from {t[0]} to {t[1]}"
        if self.kind == "bend":
            return f"{self.lead}[{t[1]}] - ({self.lead}[{t[0]}] + {self.lead}[{t[2]}]) / 2"
        apart = " - ".join(f"({m})" if re.search(r"\s", m) else m for m in reversed(t))
        return apart if self.kind == "duration" else f"({self.lead}[{t[1]}] - {self.lead}[{t[0]}]) / ({apart})"

    def values(self, cohort: xr.Dataset) -> np.ndarray:
        """The feature of every record (record,); NaN where a wave that it needs is absent.

        Raises
        ------
        ValueError
            When the cohort lacks the lead.
        """
        return feature_table([self], cohort)[self.name].to_numpy()

    def _read(
        self, fiducial: xr.DataArray, voltages: dict[str, np.ndarray], numbers: dict[str, np.ndarray]
    ) -> np.ndarray:
        """Values (record,) from landmarks (record, landmark), levelled beats (record, time) by lead, and columns."""
        if self.kind == "number":
            return numbers[self.column]
        parts = [part._read(fiducial, voltages, numbers) for part in self.of]
        if self.kind == "ratio":
            return _divided(parts[0], parts[1], KINDS[self.of[1].kind].least)
        if self.kind == "distance":
            return np.abs(parts[0] - self.centre[0])
        if self.kind == "product":
            return (parts[0] - self.centre[0]) * (parts[1] - self.centre[1])
        t = [p.ms(fiducial) for p in self.points]
        if self.kind == "duration":
            return t[1] - t[0]
        if self.lead not in voltages:
            raise ValueError(f"{self.name!r} needs lead {self.lead}; the cohort has {', '.join(voltages)}")
        x = voltages[self.lead]
        if self.kind == "amplitude":
            return _at(x, t[0])
        if self.kind == "bend":
            return _at(x, t[1]) - (_at(x, t[0]) + _at(x, t[2])) / 2
        if self.kind in ("area", "level"):
            area = _integral(x, t[1]) - _integral(x, t[0])
            return area if self.kind == "area" else _divided(area, t[1] - t[0], _SHORTEST_MS)
        return _divided(_at(x, t[1]) - _at(x, t[0]), t[1] - t[0], _SHORTEST_MS)

    def span(self, template: xr.DataArray) -> tuple[float, float]:
        """First and last moment of a beat with these landmarks (landmark,) that the feature reads, ms."""
        t = [float(p.ms(template)) for part in (self, *self.of) for p in part.points]
        return min(t), max(t)

    def leads(self) -> set[str]:
        """The leads it reads; none for durations."""
        return {part.lead for part in (self, *self.of) if part.lead}

    def numbers(self) -> set[str]:
        """The columns it reads."""
        return {part.column for part in (self, *self.of) if part.column}

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads, with name, formula and unit for people."""
        out: dict[str, Any] = {"name": self.name, "formula": self.formula, "unit": self.unit, "kind": self.kind}
        points = [list(p) if p.later else list(p[:3]) for p in self.points]
        out |= {"lead": self.lead, "points": points, "origin": self.origin, "of": [part.to_json() for part in self.of]}
        # Only where there are any, so that manifests of features without them keep their hash.
        return out | {k: v for k, v in (("centre", list(self.centre)), ("column", self.column)) if v}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Feature:
        """The feature that `to_json` wrote.

        Raises
        ------
        ValueError
            When the name does not say what the points say: the file was changed by hand.
        """
        of = tuple(cls.from_json(part) for part in stored["of"])
        points = tuple(Point(*p) for p in stored["points"])
        centre, column = tuple(stored.get("centre", ())), stored.get("column", "")
        out = cls(stored["kind"], stored["lead"], points, of, stored["origin"], centre, column)
        if out.name != stored["name"]:
            raise ValueError(
                f"the file calls it {stored['name']!r}, its points say {out.name!r}; one was changed by hand"
            )
        return out


def feature_table(features: Sequence[Feature], cohort: xr.Dataset) -> pd.DataFrame:
    """Features of every record, in the units their names end in.

    Parameters
    ----------
    features : sequence of Feature
    cohort : Dataset

    Returns
    -------
    DataFrame, a row per record (index ``record``)
        A column per feature, by its name; NaN where a wave that it needs is absent.

    Raises
    ------
    ValueError
        When the cohort lacks a lead that a feature reads.
    """
    cohort = check(cohort)
    by_lead: dict[str, np.ndarray] = {}
    if any(f.leads() for f in features):
        by_lead = dict(zip(cohort["lead"].values.tolist(), voltages(cohort).swapaxes(0, 1), strict=True))
    numbers = numbers_of(cohort, sorted(set().union(*(f.numbers() for f in features))))
    by_name = {str(k): v.to_numpy() for k, v in numbers.items()}
    columns = {f.name: f._read(cohort["fiducial"], by_lead, by_name) for f in features}
    return pd.DataFrame(columns, index=pd.Index(cohort["record"].values, name="record"))


def numbers_of(cohort: xr.Dataset, names: Sequence[str]) -> pd.DataFrame:
    """Columns of every record: numbers of the cohort, or classic measurements.

    Parameters
    ----------
    cohort : Dataset
    names : sequence of str
        Variables of the cohort, such as ``age``, or columns of `measure`.

    Returns
    -------
    DataFrame, a row per record
        NaN where a number is not finite.

    Raises
    ------
    ValueError
        When a column is neither, or holds text.
    """
    classic: pd.DataFrame | None = None
    columns: dict[str, np.ndarray] = {}
    for name in names:
        if name in cohort.variables and cohort[name].dims == ("record",):
            if cohort[name].dtype.kind not in "fiub":
                hint = "; for sex take 'male' (1, 0)" if name == "sex" else ""
                raise ValueError(f"{name!r} holds text; expected numbers{hint}")
            values = cohort[name].values.astype(float)
            columns[name] = np.where(np.isfinite(values), values, np.nan)
            continue
        classic = measure(cohort) if classic is None else classic
        if name not in classic:
            raise ValueError(f"{name!r} is neither a number per record of the cohort nor a column of wb.measure")
        columns[name] = classic[name].to_numpy(float)
    return pd.DataFrame(columns, index=pd.Index(cohort["record"].values, name="record"))


def people_table(
    cohort: xr.Dataset, outcome: str, covariates: Sequence[str], features: Sequence[Feature]
) -> pd.DataFrame:
    """Outcome, covariates and features: a row per patient, from each one's first record.

    Parameters
    ----------
    cohort : Dataset
    outcome : str
        A number per record of the cohort, or a column of `measure`.
    covariates : sequence of str
        Likewise.
    features : sequence of Feature

    Returns
    -------
    DataFrame, a row per patient (index ``patient``)

    Raises
    ------
    ValueError
        When a column is neither a number of the cohort nor a classic measurement.
    """
    people = one_record_each(cohort)
    table = numbers_of(people, (outcome, *covariates)).set_axis(pd.Index(patients_of(people), name="patient"))
    values = feature_table(features, people).set_axis(table.index)
    twice = set(values.columns) & set(table.columns)
    if twice:
        raise ValueError(f"{sorted(twice)[0]!r} is a covariate and a feature; give it once")
    return pd.concat([table, values], axis=1)


def _less(value: float) -> str:
    """What a formula subtracts."""
    return f"- {value:.4g}" if value >= 0 else f"+ {-value:.4g}"


def _divided(top: np.ndarray, bottom: np.ndarray, least: float) -> np.ndarray:
    """`top` over `bottom`; NaN where that is smaller in size than `least`."""
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=np.abs(bottom) >= least)


def _at(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """`x` (record, time) at one moment each, linear between samples; NaN beyond the beat."""
    inside = (t >= TIME[0]) & (t <= TIME[-1])
    place = np.where(inside, (t - TIME[0]) / STEP, 0.0)
    k = np.minimum(place.astype(int), x.shape[1] - 2)
    rows = np.arange(len(x))
    value = x[rows, k] + (place - k) * (x[rows, k + 1] - x[rows, k])
    return np.where(inside, value, np.nan)


def _integral(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Integral of `x` (record, time) from the beat's start to one moment each, exact for lines between samples."""
    total = cumulative_trapezoid(x, dx=STEP, axis=1, initial=0)
    k = np.clip(np.nan_to_num((t - TIME[0]) / STEP).astype(int), 0, x.shape[1] - 2)
    rows = np.arange(len(x))
    return total[rows, k] + (t - TIME[k]) * (x[rows, k] + _at(x, t)) / 2
