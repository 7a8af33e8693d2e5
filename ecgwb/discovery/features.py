"""Features in a small grammar over landmarks: amplitude at, slope between, area of, duration between, ratio of.

A feature is words, a formula and a unit; it is computed for any cohort from beats and landmarks alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..cohorts.beats import need_records
from ..cohorts.measurements import TIME, levelled
from ..delineation.landmarks import LANDMARKS

UNITS = {"amplitude": "µV", "slope": "µV/ms", "area": "µV ms", "duration": "ms"}
_POINTS = {"amplitude": 1, "slope": 2, "area": 2, "duration": 2, "ratio": 0}
_LEAST = {"amplitude": 20.0, "slope": 0.5, "area": 200.0, "duration": 4.0}  # what a ratio may be divided by
_SAME_SPAN = 0.05  # shares of a stretch are written to this step

Point = tuple[str, float, str]


@dataclass(frozen=True)
class Feature:
    """One measurement of a beat.

    Parameters
    ----------
    kind : {"amplitude", "slope", "area", "duration", "ratio"}
        "amplitude" (µV) at one point; "slope" (µV/ms) of the straight line between two points, and "area" (µV ms)
        from one to the other; "duration" (ms) from one to the other, which needs no lead; "ratio" of two features.
        Voltages are read as `ecgwb.measurements.levelled` gives them, from the mean of the 10 ms before QRS_on.
    lead : str
        "" for durations and ratios.
    points : sequence of (landmark, share, landmark)
        ("R", 0.6, "J"): 60 % of the way from R to J; ("R", 0.0, "J"): R itself.
    of : sequence of Feature
        Of a ratio: what is divided, and by what. It is NaN where the divisor is smaller, in size, than 20 µV,
        0.5 µV/ms, 200 µV ms or 4 ms.
    origin : str
        Where it came from. Two features that differ in nothing else measure the same.

    Raises
    ------
    ValueError
        For an unknown kind or landmark, a share outside 0..1, or the wrong number of points.
    """

    kind: str
    lead: str = ""
    points: tuple[Point, ...] = ()
    of: tuple[Feature, ...] = ()
    origin: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple((str(a), round(float(s), 3), str(b)) for a, s, b in self.points))
        object.__setattr__(self, "of", tuple(self.of))
        if self.kind not in _POINTS:
            raise ValueError(f"unknown kind {self.kind!r}; expected one of {', '.join(_POINTS)}")
        if len(self.points) != _POINTS[self.kind] or len(self.of) != 2 * (self.kind == "ratio"):
            raise ValueError(
                f"a feature of kind {self.kind!r} has {_POINTS[self.kind]} points and {2 * (self.kind == 'ratio')} "
                f"parts; these are {len(self.points)} and {len(self.of)}"
            )
        for a, share, b in self.points:
            if not {a, b} <= set(LANDMARKS) or LANDMARKS.index(a) >= LANDMARKS.index(b) or not 0 <= share <= 1:
                raise ValueError(
                    f"point {(a, share, b)}: expected a landmark, a share from 0 to 1, and a later landmark; landmarks "
                    f"are, in order, {', '.join(LANDMARKS)}"
                )
        if bool(self.lead) != (self.kind in ("amplitude", "slope", "area")):
            raise ValueError(f"kind {self.kind!r} with lead {self.lead!r}: amplitudes, slopes and areas have a lead")
        if any(part.kind == "ratio" for part in self.of):
            raise ValueError("a ratio of ratios is no feature here; expected a ratio of two of the other kinds")

    @property
    def unit(self) -> str:
        if self.kind != "ratio":
            return UNITS[self.kind]
        top, bottom = (part.unit for part in self.of)
        return "1" if top == bottom else f"{top} per {bottom}"

    @property
    def name(self) -> str:
        """In plain English, unit at the end."""
        return f"{self._words()}, {self.unit}"

    def _words(self) -> str:
        if self.kind == "ratio":
            return " over ".join(part._words() for part in self.of)
        at = [_named(p) for p in self.points]
        if self.kind == "amplitude":
            return f"{self.lead}: amplitude at {at[0]}"
        between = f"{self.kind} from {at[0]} to {at[1]}"
        return f"{self.lead}: {between}" if self.lead else between

    @property
    def formula(self) -> str:
        if self.kind == "ratio":
            return f"({self.of[0].formula}) / ({self.of[1].formula})"
        t = [_moment(p) for p in self.points]
        if self.kind == "amplitude":
            return f"{self.lead}[{t[0]}] - baseline"
        if self.kind == "duration":
            return f"{_bracketed(t[1])} - {_bracketed(t[0])}"
        if self.kind == "area":
            return f"integral of ({self.lead} - baseline) from {t[0]} to {t[1]}"
        return f"({self.lead}[{t[1]}] - {self.lead}[{t[0]}]) / ({_bracketed(t[1])} - {_bracketed(t[0])})"

    def values(self, cohort: xr.Dataset) -> np.ndarray:
        """The feature of every record (record,); NaN where a wave that it needs is absent.

        Raises
        ------
        ValueError
            When the cohort lacks the lead.
        """
        need_records(cohort)
        return self._read(cohort, _levelled(cohort) if self.leads() else None)

    def _read(self, cohort: xr.Dataset, voltages: np.ndarray | None) -> np.ndarray:
        if self.kind == "ratio":
            top, bottom = (part._read(cohort, voltages) for part in self.of)
            fine = np.abs(bottom) >= _LEAST[self.of[1].kind]
            return np.divide(top, bottom, out=np.full(len(top), np.nan), where=fine)
        t = np.stack([times(p, cohort) for p in self.points])  # (point, record)
        if self.kind == "duration" or voltages is None:
            return t[1] - t[0]
        if self.lead not in cohort["lead"].values:
            raise ValueError(f"{self.name!r} needs lead {self.lead}; the cohort has {', '.join(cohort['lead'].values)}")
        x = voltages[:, cohort["lead"].values.tolist().index(self.lead)]
        if self.kind == "amplitude":
            return _at(x, t[0])
        if self.kind == "area":
            return _integral(x, t[1]) - _integral(x, t[0])
        apart = t[1] - t[0]
        rise = _at(x, t[1]) - _at(x, t[0])
        return np.divide(rise, apart, out=np.full(len(x), np.nan), where=np.abs(apart) >= 1.0)

    def span(self, landmarks: xr.DataArray) -> tuple[float, float]:
        """First and last moment of a beat with these landmarks (landmark,) that the feature reads, ms."""
        marks = {str(k): float(v) for k, v in zip(landmarks["landmark"].values, landmarks.values, strict=True)}
        points = [p for part in (self, *self.of) for p in part.points]
        t = [marks[a] + share * (marks[b] - marks[a]) for a, share, b in points]
        return min(t), max(t)

    def leads(self) -> set[str]:
        """The leads it reads; none for durations."""
        return {part.lead for part in (self, *self.of) if part.lead}

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads, with name, formula and unit for people."""
        out: dict[str, Any] = {"name": self.name, "formula": self.formula, "unit": self.unit, "kind": self.kind}
        out |= {"lead": self.lead, "points": [list(p) for p in self.points], "origin": self.origin}
        return out | {"of": [part.to_json() for part in self.of]}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> Feature:
        """The feature that `to_json` wrote.

        Raises
        ------
        ValueError
            When the name does not say what the points say: the file was changed by hand.
        """
        of = tuple(cls.from_json(part) for part in said["of"])
        out = cls(said["kind"], said["lead"], tuple((p[0], p[1], p[2]) for p in said["points"]), of, said["origin"])
        if out.name != said["name"]:
            raise ValueError(
                f"the file calls it {said['name']!r}, its points say {out.name!r}; one was changed by hand"
            )
        return out


def _levelled(cohort: xr.Dataset) -> np.ndarray:
    """Beats (record, lead, time) as voltages are read from them; NaN where that is not possible."""
    beats = cohort["beat"].transpose("record", "lead", "time").values.astype(float)
    onset = cohort["fiducial"].sel(landmark="QRS_on").values
    known = np.isfinite(onset) & np.isfinite(beats).all(axis=(1, 2))
    out = np.full(beats.shape, np.nan)
    for i in np.flatnonzero(known):
        out[i] = levelled(beats[i], onset[i])
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
    need_records(cohort)
    voltages = _levelled(cohort) if any(f.leads() for f in features) else None  # once for all of them
    columns = {f.name: f._read(cohort, voltages) for f in features}
    return pd.DataFrame(columns, index=pd.Index(cohort["record"].values, name="record"))


def point_at(phase: float, template: xr.DataArray) -> Point:
    """The point of the grammar nearest to a moment of the common beat, in steps of 5 % between its landmarks.

    A moment before the first or after the last landmark gives that landmark.
    """
    known = [
        (str(k), float(v)) for k, v in zip(template["landmark"].values, template.values, strict=True) if np.isfinite(v)
    ]
    if len(known) < 2:
        raise ValueError(f"the template has {len(known)} landmarks; a point needs two to lie between")
    for (a, x), (b, y) in pairwise(known):
        if phase < y and y > x:
            share = round(round(max(phase - x, 0.0) / (y - x) / _SAME_SPAN) * _SAME_SPAN, 3)
            return _normal((a, share, b))
    return _normal((known[-2][0], 1.0, known[-1][0]))


def _normal(p: Point) -> Point:
    """One spelling per moment: a landmark itself is share 0 of the stretch behind it, where there is one."""
    _, share, b = p
    k = LANDMARKS.index(b)
    return (b, 0.0, LANDMARKS[k + 1]) if share >= 1.0 and k + 1 < len(LANDMARKS) else p


def _named(p: Point) -> str:
    a, share, b = p
    if share in (0.0, 1.0):
        return b if share else a
    return f"{100 * share:g} % of {a}-{b}"


def _moment(p: Point) -> str:
    a, share, b = p
    if share in (0.0, 1.0):
        return b if share else a
    return f"{a} + {share:g} ({b} - {a})"


def _bracketed(moment: str) -> str:
    return f"({moment})" if re.search(r"\s", moment) else moment


def times(p: Point, cohort: xr.Dataset) -> np.ndarray:
    """When each record's beat is at a point (record,), ms. A landmark itself needs no second one."""
    a, share, b = p
    first, last = (cohort["fiducial"].sel(landmark=m).values.astype(float) for m in (a, b))
    if share in (0.0, 1.0):
        return last if share else first
    return first + share * (last - first)


def _at(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """`x` (record, time) at one moment each, linear between samples; NaN beyond the beat."""
    step = TIME[1] - TIME[0]
    inside = (t >= TIME[0]) & (t <= TIME[-1])
    place = np.where(inside, (t - TIME[0]) / step, 0.0)
    k = np.minimum(place.astype(int), x.shape[1] - 2)
    rows = np.arange(len(x))
    value = x[rows, k] + (place - k) * (x[rows, k + 1] - x[rows, k])
    return np.where(inside, value, np.nan)


def _integral(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Integral of `x` (record, time) from the beat's start to one moment each, exact for lines between samples."""
    step = TIME[1] - TIME[0]
    total = np.concatenate([np.zeros((len(x), 1)), np.cumsum(x[:, 1:] + x[:, :-1], axis=1) * step / 2], axis=1)
    k = np.clip(np.nan_to_num((t - TIME[0]) / step).astype(int), 0, x.shape[1] - 2)
    rows = np.arange(len(x))
    return total[rows, k] + (t - TIME[k]) * (x[rows, k] + _at(x, t)) / 2
