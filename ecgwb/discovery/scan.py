"""The scan: every shape of every lead, every duration, spread and pair, without a network, in seconds.

What is looked at, is named in the grammar of `ecgwb.discovery.features`, so that whatever is found is a formula.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import spearmanr

from ..attention.alignment import align, template_of
from ..cohorts.beats import FAINT_UV
from ..cohorts.guards import check
from ..cohorts.measurements import STEP, TIME
from ..cohorts.people import one_record_each
from ..delineation.landmarks import LANDMARKS, SEGMENTS, WAVE_POINTS
from ..stats import adjusted_p, permutation_p
from .beyond import Beyond
from .classic import voltages
from .features import Feature, Point, feature_table, numbers_of
from .proposals import Proposals, unlike
from .regression import FEWEST_FOR_TEST, columns_of, design, is_binary

FAMILIES = ("shapes", "times", "spreads", "pairs")
SPANS_MS = (16.0, 32.0, 64.0, 128.0)  # over which slopes and bends are taken
_STEP_MS, _COARSE_MS = 8.0, 16.0  # from one moment to the next; of spreads and pairs
_BESIDE_MS = 20.0  # how far beyond P and T moments are looked at
_SHARE = 0.01  # steps in which a moment of the beat's own time is written
_FAR = 4.0  # SDs, beyond which a value counts as so many
_KEPT = 20  # candidates of a block that are looked at again
_FAITHFUL = 0.8  # least correlation of a formula with the curve it was read from
_ORIGIN = "scan"


class _Block(NamedTuple):
    """Columns (record, column) that are looked at together, what each is, and the parts it must add to."""

    x: np.ndarray
    feature: Callable[[int], Feature]
    parts: tuple[np.ndarray, ...] = ()


class _Candidate(NamedTuple):
    """A column of a block: its correlation with the outcome, itself freed and of length one, and where it is."""

    r: float
    x: np.ndarray
    block: _Block
    column: int

    def feature(self) -> Feature:
        return self.block.feature(self.column)


def scan(
    cohort: xr.Dataset,
    outcome: str = "male",
    baseline: Sequence[str] = ("age", "hr"),
    *,
    known: Sequence[str] = (),
    families: Sequence[str] = FAMILIES,
    n: int = 3,
    alpha: float = 0.05,
    permutations: int = 1000,
    seed: int = 0,
) -> Proposals:
    """Features that tell an outcome beyond what is known, among all of a long list, on discovery patients.

    "shapes": amplitudes, slopes and bends over 16 to 128 ms, every 8 ms of every lead, in ms from R and in the beat's
    own time (between landmarks). "times": from each landmark to each other. "spreads": distances of shapes from their
    median. "pairs": products of two leads at the same moment, of any two halves of P, PQ, QRS, ST and T in any leads,
    and of stretches with each number of the baseline.

    Outcome and columns are freed of baseline and known columns by least squares, products and distances also of their
    parts, and correlated. p of a column compares its correlation with the largest of its family after permuting what is
    left of the outcome (Freedman and Lane 1983; Westfall and Young 1993), and is corrected by Holm over the families.

    Parameters
    ----------
    cohort : Dataset
        Discovery patients; each one's first record is used.
    outcome : str
        A variable of the cohort or a column of `measure`: 0 and 1, or numbers.
    baseline : sequence of str
        Covariates, as in `freeze`.
    known : sequence of str
        More columns, as in `freeze`.
    families : sequence of str
        Some of "shapes", "times", "spreads", "pairs".
    n : int
        Most features to propose, none of which follows from the others.
    alpha : float
        Largest corrected p.
    permutations, seed : int

    Returns
    -------
    Proposals
        Up to `n` features, which `freeze` takes. ``places`` has a row for each family: how many columns it has, the
        best one in words with its correlation ``r``, ``p`` within the family and ``p_holm``.

    Raises
    ------
    ValueError
        For an unknown family, an outcome of one value, or fewer than 20 people with outcome and baseline.
    """
    unknown = [f for f in families if f not in FAMILIES]
    if unknown or isinstance(families, str) or not families:
        raise ValueError(f"families is {families!r}; expected some of {', '.join(FAMILIES)}")
    cohort, y, basis = _ready(one_record_each(check(cohort)), outcome, baseline, known)
    blocks = {family: _blocks(family, cohort, baseline) for family in families}
    return _searched(blocks, cohort, y, basis, n, alpha, permutations, seed)


def scan_at(
    cohort: xr.Dataset,
    places: Sequence[tuple[str, str]],
    outcome: str = "male",
    baseline: Sequence[str] = ("age", "hr"),
    *,
    known: Sequence[str] = (),
    n: int = 1,
    alpha: float = 0.05,
    permutations: int = 1000,
    seed: int = 0,
) -> Proposals:
    """The same, of one place only, a lead and a segment: its shapes and spreads; or of two: products of their halves.

    Parameters
    ----------
    cohort : Dataset
        Discovery patients.
    places : sequence of (lead, segment)
        One or two, such as ("V2", "QRS").
    outcome, baseline, known, n, alpha, permutations, seed
        As in `scan`.

    Returns
    -------
    Proposals
    """
    cohort, y, basis = _ready(one_record_each(check(cohort)), outcome, baseline, known)
    places = _check_places(places, cohort)
    if len(places) > 1:
        x, features = halves(cohort)
        a, b = ([k for k, f in enumerate(features) if _lies_in(f, place, cohort)] for place in places[:2])
        i, j = (np.ravel(k) for k in np.meshgrid(a, b, indexing="ij"))
        one, other = (_Block(x[:, k], lambda c, k=k: features[k[c]]) for k in (i, j))  # type: ignore[misc]
        blocks = {"pairs": iter([_products(one, other)])}
    else:
        block = _only(_Curves(cohort).shapes(places[0][0], True, _STEP_MS, SPANS_MS), places[0], cohort)
        blocks = {"shapes": iter([block]), "spreads": iter([_distances(block)])}
    return _searched(blocks, cohort, y, basis, n, alpha, permutations, seed)


def _check_places(places: Sequence[tuple[str, str]], cohort: xr.Dataset) -> list[tuple[str, str]]:
    leads = [str(v) for v in cohort["lead"].values]
    asked = list(places) if isinstance(places, (list, tuple)) else []
    fine = all(isinstance(p, tuple) and len(p) == 2 and p[0] in leads and p[1] in SEGMENTS for p in asked)
    if not fine or len(asked) not in (1, 2) or len(set(asked)) < len(asked):
        raise ValueError(
            f"places is {places!r}; expected one place or two different ones, each a lead ({', '.join(leads)}) and a "
            f"segment ({', '.join(SEGMENTS)}), such as [('V2', 'QRS')]"
        )
    return asked


def _lies_in(feature: Feature, place: tuple[str, str], cohort: xr.Dataset) -> bool:
    """Whether a feature reads nothing but a lead's segment."""
    template = template_of(cohort)
    first, last = (float(template.sel(landmark=m)) for m in SEGMENTS[place[1]])
    start, stop = feature.span(template)
    return feature.leads() == {place[0]} and first - 1e-6 <= start and stop <= last + 1e-6


def _only(block: _Block, place: tuple[str, str], cohort: xr.Dataset) -> _Block:
    kept = [k for k in range(block.x.shape[1]) if _lies_in(block.feature(k), place, cohort)]
    return _Block(block.x[:, kept], lambda k: block.feature(kept[k]))


def _searched(
    blocks: dict[str, Iterator[_Block]], cohort: xr.Dataset, y: np.ndarray, basis: np.ndarray, n: int, alpha: float,
    permutations: int, seed: int,
) -> Proposals:  # fmt: skip
    """The best features of some families of columns."""
    drawn = np.random.default_rng(seed)
    null_y = np.stack([drawn.permutation(y) for _ in range(permutations)], axis=1).astype(np.float32)  # (record, run)
    null_y -= basis @ (basis.T @ null_y)
    null_y /= np.linalg.norm(null_y, axis=0)
    y = (y / np.linalg.norm(y)).astype(np.float32)
    rows, found, tried = [], [], {}
    for family, some in blocks.items():
        candidates, largest, tried[family] = _looked_at(some, y, null_y, basis)
        candidates.sort(key=lambda c: -abs(c.r))
        p = permutation_p(np.array([abs(c.r) for c in candidates]), largest)
        best = candidates[0] if candidates else None
        row = {"family": family, "columns": tried[family], "best": best.feature().name if best else ""}
        rows.append(row | {"r": best.r if best else np.nan, "p": float(p[0]) if best else 1.0})
        found.append((candidates, p, largest))
    table = pd.DataFrame(rows).set_index("family")
    table["p_holm"] = adjusted_p(table["p"].to_numpy(), "holm")
    passed: list[tuple[float, float, Feature]] = []
    for (candidates, p, largest), holm, single in zip(found, table["p_holm"], table["p"], strict=True):
        times = max(1.0, holm / single)  # by which Holm multiplies this family's p
        few = [c for c, own in zip(candidates, p, strict=True) if own * times <= alpha]
        passed += [(own * times, -abs(c.r), f) for c, own, f in _forward(few, y, largest, alpha / times, n, cohort)]
    ranked = [f for _, _, f in sorted(passed, key=lambda one: one[:2])]
    return Proposals(unlike(ranked, cohort, n), tried, float(table["p_holm"].min()), table)


def _ready(
    cohort: xr.Dataset, outcome: str, baseline: Sequence[str], known: Sequence[str]
) -> tuple[xr.Dataset, np.ndarray, np.ndarray]:
    """The people with outcome, baseline and a beat; the outcome freed; and an orthogonal basis of what is known."""
    if outcome in baseline:
        raise ValueError(f"the outcome {outcome!r} is in the baseline {tuple(baseline)}; give another baseline")
    table = numbers_of(cohort, list(dict.fromkeys([outcome, *baseline, *known])))
    marks = cohort["fiducial"].sel(landmark=["QRS_on", "J"]).values
    whole = np.isfinite(cohort["beat"].values).all(axis=(1, 2)) & np.isfinite(marks).all(axis=1)
    rows = np.flatnonzero(whole & table[[outcome, *baseline]].notna().all(axis=1).to_numpy())
    if len(rows) < FEWEST_FOR_TEST:
        raise ValueError(
            f"{len(rows)} of {len(table)} people have {outcome}, {', '.join(baseline) or 'no baseline'} and a beat "
            f"with QRS; expected at least {FEWEST_FOR_TEST}"
        )
    cohort, table = cohort.isel(record=rows), table.iloc[rows]
    span = float(np.median(np.ptp(cohort["beat"].values, axis=2).max(axis=1)))
    if span < FAINT_UV:
        raise ValueError(
            f"in half the people no lead spans more than {span:.2g} µV; expected hundreds. Beats in mV are to be "
            "multiplied by 1000"
        )
    y = table[outcome].to_numpy(float)
    binary = is_binary(y, outcome)
    x = design(columns_of(table, list(baseline), []), table)
    if known:
        x = np.c_[x, Beyond.of(table, list(known), y, binary).matrix(table)[:, 1:]]
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    basis = u[:, s > 1e-9 * s[0]].astype(np.float32)
    if len(rows) < 2 * basis.shape[1]:
        raise ValueError(
            f"{len(rows)} people for {basis.shape[1]} columns of what is known; give at least two a column, or say "
            "less: known=()"
        )
    return cohort, y - basis.astype(float) @ (basis.T.astype(float) @ y), basis


# ---------------------------------------------------------------- looking


def _looked_at(
    blocks: Iterator[_Block], y: np.ndarray, null_y: np.ndarray, basis: np.ndarray
) -> tuple[list[_Candidate], np.ndarray, int]:
    """The best candidates of a family, the largest |r| of each permutation (run,), and how many columns it has."""
    best: list[_Candidate] = []
    largest, count = np.zeros(null_y.shape[1]), 0
    for block in blocks:
        x = _freed(block.x, basis)
        for part in _orthogonal([_freed(p, basis) for p in block.parts]):
            x -= part * (x * part).sum(axis=0)
        size = np.linalg.norm(x, axis=0)
        usable = size > 1e-3 * np.sqrt(len(x))  # columns are in SDs
        x = np.divide(x, size, out=np.zeros_like(x), where=usable)
        r = y @ x
        largest = np.maximum(largest, np.abs(null_y.T @ x).max(axis=1, initial=0.0))
        count += int(usable.sum())
        top = np.argsort(-np.abs(r))[:_KEPT]
        best += [_Candidate(float(r[k]), x[:, k].copy(), block, int(k)) for k in top if usable[k]]
    return best, largest, count


def _freed(x: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Columns (record, column) in SDs, freed of what is known; far values drawn in, those that are lacking the mean."""
    known = np.isfinite(x)
    n = np.maximum(known.sum(axis=0), 1)
    x = np.where(known, x, 0.0).astype(np.float32)
    x = np.where(known, x - x.sum(axis=0) / n, np.float32(0))
    for _ in range(2):
        sd = np.sqrt((x**2).sum(axis=0) / n) + np.float32(1e-12)
        x = np.clip(x, -_FAR * sd, _FAR * sd)
    x /= np.sqrt((x**2).sum(axis=0) / n) + np.float32(1e-6)
    return x - basis @ (basis.T @ x)


def _orthogonal(parts: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Column by column, parts freed of those before them, of length one."""
    done: list[np.ndarray] = []
    for part in parts:
        for before in done:
            part = part - before * (part * before).sum(axis=0)
        part = part / (np.linalg.norm(part, axis=0) + np.float32(1e-9))
        done.append(part)
        yield part


def _forward(
    candidates: list[_Candidate], y: np.ndarray, largest: np.ndarray, alpha: float, n: int, cohort: xr.Dataset
) -> list[tuple[_Candidate, float, Feature]]:
    """Up to n candidates, each of which still passes once those before it are taken out of outcome and candidate."""
    chosen: list[tuple[_Candidate, float, Feature]] = []
    left = y.astype(float)
    basis: list[np.ndarray] = []
    while candidates and len(chosen) < n:
        x = np.stack([c.x for c in candidates], axis=1).astype(float)
        for b in basis:
            x -= np.outer(b, b @ x)
        size = np.linalg.norm(x, axis=0)
        r = np.where(size > 0.5, np.abs(left @ x) / np.maximum(size, 1e-9), 0.0) / np.linalg.norm(left)
        k = int(r.argmax())
        p = float(permutation_p(r[[k]], largest)[0])
        if p > alpha:
            break
        candidate = candidates.pop(k)
        feature = candidate.feature()
        if _faithful(feature, candidate, cohort):
            chosen.append((candidate, p, feature))
            b = x[:, k] / size[k]
            basis.append(b)
            left = left - b * (b @ left)
    return chosen


def _faithful(feature: Feature, candidate: _Candidate, cohort: xr.Dataset) -> bool:
    """Whether the formula gives the column: a point in words is rounded to 5 % of its stretch."""
    values = feature_table([feature], cohort)[feature.name].to_numpy()
    read = candidate.block.x[:, candidate.column]
    both = np.isfinite(values) & np.isfinite(read)
    if both.sum() < FEWEST_FOR_TEST or np.ptp(values[both]) == 0:
        return False
    return float(spearmanr(values[both], read[both])[0]) >= _FAITHFUL


# ---------------------------------------------------------------- what is looked at


def _blocks(family: str, cohort: xr.Dataset, baseline: Sequence[str]) -> Iterator[_Block]:
    if family == "times":
        yield _times(cohort)
        return
    curves = _Curves(cohort)
    if family == "shapes":
        for lead, own in itertools.product(curves.leads, (False, True)):
            yield curves.shapes(lead, own, _STEP_MS, SPANS_MS)
    elif family == "spreads":
        for lead in curves.leads:
            yield _distances(curves.shapes(lead, True, _COARSE_MS, SPANS_MS))
    else:
        yield from _pairs(curves, cohort, baseline)


def _times(cohort: xr.Dataset) -> _Block:
    points = [landmark_point(name) for name in LANDMARKS]
    features = [Feature("duration", "", two, origin=_ORIGIN) for two in itertools.combinations(points, 2)]
    return _Block(feature_table(features, cohort).to_numpy(), features.__getitem__)


def landmark_point(name: str) -> Point:
    """A landmark as a point."""
    k = LANDMARKS.index(name)
    return Point(name, 0.0, LANDMARKS[k + 1]) if k + 1 < len(LANDMARKS) else Point(LANDMARKS[k - 1], 1.0, name)


class _Curves:
    """Levelled beats, in ms from R and in their own time."""

    def __init__(self, cohort: xr.Dataset) -> None:
        self.leads = [str(v) for v in cohort["lead"].values]
        self.template = template_of(cohort)
        beats = cohort["beat"].transpose("record", "lead", "time")
        beats = beats.copy(data=voltages(cohort).astype(np.float32))
        self.by_ms = beats.values
        self.own = align(beats, cohort, self.template).values
        known = self.template.values[np.isfinite(self.template.values)]
        self.first, self.last = known[0] - _BESIDE_MS, known[-1] + _BESIDE_MS

    def of(self, lead: str, own: bool) -> np.ndarray:
        """One lead's curves (record, sample)."""
        return np.asarray((self.own if own else self.by_ms)[:, self.leads.index(lead)])

    def shapes(self, lead: str, own: bool, step_ms: float, spans: Sequence[float], *, bends: bool = True) -> _Block:
        """Amplitudes, and slopes and bends over each span, every so many ms."""
        x = self.of(lead, own)
        parts, made = [], []
        kinds = [("amplitude", 0.0), *(("slope", s) for s in spans), *(("bend", s) for s in spans if bends)]
        for kind, span in kinds:
            half = span / 2
            start, stop = max(self.first, TIME[0] + half), min(self.last, TIME[-1] - half)
            moments = np.arange(np.ceil(start / step_ms), np.floor(stop / step_ms) + 1) * step_ms
            at = np.searchsorted(TIME, moments - 1e-6)
            h = round(half / STEP)
            if kind == "amplitude":
                parts.append(x[:, at])
            elif kind == "slope":
                parts.append((x[:, at + h] - x[:, at - h]) / np.float32(span))
            else:
                parts.append(x[:, at] - (x[:, at - h] + x[:, at + h]) / 2)
            offsets = {"amplitude": (0.0,), "slope": (-half, half), "bend": (-half, 0.0, half)}[kind]
            made += [(kind, tuple(m + o for o in offsets)) for m in moments]

        def feature(k: int) -> Feature:
            kind, moments = made[k]
            points = tuple(self.point(m, own) for m in moments)
            return Feature(kind, lead, points, origin=_ORIGIN)

        return _Block(np.concatenate(parts, axis=1), feature)

    def point(self, ms: float, own: bool) -> Point:
        """A moment of the common beat, or so many ms from R."""
        if own:
            return Point.nearest(ms, self.template, _SHARE)
        return Point("R", 0.0, "J", float(ms))


def halves(cohort: xr.Dataset) -> tuple[np.ndarray, list[Feature]]:
    """The mean level of both halves of P, PQ, QRS, ST and T in every lead, each in the beat's own time.

    Waves are cut at their peaks, the others in the middle.

    Parameters
    ----------
    cohort : Dataset

    Returns
    -------
    array (record, level), list of Feature
        NaN where a record lacks the wave.
    """
    peak_of = {(a, c): b for a, b, c in WAVE_POINTS.values()}
    spans = []
    for first, last in SEGMENTS.values():
        cut = (first, last) in peak_of
        middle = landmark_point(peak_of[first, last]) if cut else Point(first, 0.5, last)
        spans += [(landmark_point(first), middle), (middle, landmark_point(last))]
    leads = [str(v) for v in cohort["lead"].values]
    features = [Feature("level", lead, span, origin=_ORIGIN) for lead in leads for span in spans]
    return feature_table(features, cohort).to_numpy(np.float32), features


def _medians(x: np.ndarray) -> np.ndarray:
    """The median of each column; 0 for one without any value, which is left out later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(np.nanmedian(x, axis=0))


def _distances(block: _Block) -> _Block:
    centre = _medians(block.x)

    def feature(k: int) -> Feature:
        return Feature("distance", of=(block.feature(k),), centre=(float(f"{centre[k]:.4g}"),), origin=_ORIGIN)

    return _Block(np.abs(block.x - centre), feature, (block.x,))


def _pairs(curves: _Curves, cohort: xr.Dataset, baseline: Sequence[str]) -> Iterator[_Block]:
    blocks = [curves.shapes(lead, True, _COARSE_MS, (32.0,)) for lead in curves.leads]
    for one, other in itertools.combinations(blocks, 2):
        yield _products(one, other)
    x, features = halves(cohort)
    levels = _Block(x, features.__getitem__)
    for k in range(1, x.shape[1]):  # each with all before it
        yield _products(
            _Block(x[:, :k], features.__getitem__),
            _Block(np.repeat(x[:, [k]], k, axis=1), lambda _, k=k: features[k]),  # type: ignore[misc]
        )
    numbers = numbers_of(cohort, baseline)
    for name in baseline:
        v = numbers[name].to_numpy(np.float32)[:, None]
        number = Feature("number", column=name, origin=_ORIGIN)
        for block in (levels, *blocks):
            repeated = _Block(np.repeat(v, block.x.shape[1], axis=1), lambda _, number=number: number)  # type: ignore[misc]
            yield _products(block, repeated)


def _products(one: _Block, other: _Block) -> _Block:
    """Column by column, both less their medians."""
    a, b = (_medians(block.x) for block in (one, other))

    def feature(k: int) -> Feature:
        centre = tuple(float(f"{v:.4g}") for v in (a[k], b[k]))
        return Feature("product", of=(one.feature(k), other.feature(k)), centre=centre, origin=_ORIGIN)

    return _Block((one.x - a) * (other.x - b), feature, (one.x, other.x))
