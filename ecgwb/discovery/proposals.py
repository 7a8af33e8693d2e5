"""Candidate features: every amplitude and slope of a list (screening), or those at the places that a map names.

Both end alike: candidates are ranked by what they add to a baseline, and one that follows from better ones is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.ndimage import uniform_filter1d
from scipy.stats import norm

from ..attention.alignment import template_of
from ..attention.contrasts import map_contrast
from ..cohorts.guards import check, check_values
from ..cohorts.people import need_one_record_each, same_people
from ..delineation.landmarks import WAVE_POINTS
from ..edits.changes import erase
from ..stats import adjusted_p, permutation_p
from .features import Feature, Point, feature_table, people_table
from .regression import FEWEST_FOR_TEST, columns_of, design, is_binary, likelihood_ratio

ALIKE = 0.8  # correlation with better features, one or several, from which a feature adds nothing to them
PLACES = 12  # that one map may name at most: networks spread a contrast over positions whose loss they hardly notice
CONFIRMED = float(norm.isf(0.025 / PLACES))  # t of a place's contrast, and of its edit's effect: 5 % over all places
_SMOOTH_MS = 20.0  # over which a lead's map is averaged before its largest point is sought
_SIDE = 0.7  # of the largest value: how far a place reaches
_R = Point("R", 0.0, "J")


class Proposals(list[Feature]):
    """Features, the likeliest first, with what was tried on the way to them.

    Parameters
    ----------
    features : iterable of Feature
    tried : mapping of str to int
        Counts, which `freeze` writes down.
    p : float
        Of the map against its null, or of the best screened feature, corrected.
    places : DataFrame, optional
        Where the map led, as from `find_places`.
    """

    def __init__(
        self, features: Iterable[Feature], tried: Mapping[str, int], p: float, places: pd.DataFrame | None = None
    ) -> None:
        super().__init__(features)
        self.tried, self.p = dict(tried), p
        self.places = pd.DataFrame() if places is None else places


# ---------------------------------------------------------------- from a list


def screen_features(
    cohort: xr.Dataset,
    outcome: str = "male",
    baseline: Sequence[str] = ("age", "hr"),
    *,
    n: int = 3,
    alpha: float = 0.05,
) -> Proposals:
    """Features without a network: the best of every amplitude and slope that pass on discovery patients.

    Likelihood-ratio tests beside `baseline`, Holm-corrected over all of them; one that correlates by 0.8 or more with
    better ones, alone or together, is left out.

    Parameters
    ----------
    cohort : Dataset
        Discovery patients: the first part of `split_patients`.
    outcome : str
        A variable of the cohort: two values (logistic regression) or more (least squares).
    baseline : sequence of str
        Covariates, as in `freeze`.
    n : int
        Most features to propose.
    alpha : float
        Largest corrected p of a feature that passes.

    Returns
    -------
    Proposals
        A list of up to `n` features, the likeliest first, which `freeze` takes; empty where none passes.

    Raises
    ------
    ValueError
        When the outcome is in the baseline, fewer than 20 people have it, or a column holds no numbers.
    """
    cohort = check(cohort)
    if outcome in baseline:
        raise ValueError(f"the outcome {outcome!r} is in the baseline {tuple(baseline)}; give another baseline")
    if outcome in cohort and cohort[outcome].dtype.kind in "fiub":
        known = int(np.isfinite(cohort[outcome].values.astype(float)).sum())
        if known < FEWEST_FOR_TEST:
            raise ValueError(f"{known} records have {outcome!r}; expected at least {FEWEST_FOR_TEST} to screen on")
    candidates = screening_features([str(v) for v in cohort["lead"].values])
    ranked = rank_features(candidates, cohort, outcome, baseline)
    adjusted = adjusted_p(np.array([p for _, p in ranked]), "holm", tests=len(candidates))
    passed = [f for (f, _), p in zip(ranked, adjusted, strict=True) if p <= alpha]
    best = float(adjusted.min(initial=1.0))
    return Proposals(unlike(passed, cohort, n), {"candidates": len(candidates)}, best)


def screening_features(leads: Sequence[str]) -> list[Feature]:
    """Every amplitude and slope: at landmarks and half-way between, per lead, without any network."""
    path = [
        ("P_on", 0.0, "P_peak"), ("P_peak", 0.0, "P_off"), ("P_peak", 1.0, "P_off"), ("QRS_on", 0.0, "R"),
        ("QRS_on", 0.5, "R"), ("R", 0.0, "J"), ("R", 0.5, "J"), ("J", 0.0, "T_on"), ("J", 0.5, "T_on"),
        ("T_on", 0.0, "T_peak"), ("T_on", 0.5, "T_peak"), ("T_peak", 0.0, "T_off"), ("T_peak", 0.5, "T_off"),
        ("T_peak", 1.0, "T_off"),
    ]  # fmt: skip
    points = [Point(*p) for p in path]
    ends = [points[k] for k in (0, 2, 3, 9, 13)]  # where waves begin and end: no amplitudes
    steps = [two for two in pairwise(points) if two != (points[2], points[3])]  # not PQ
    made = [Feature("amplitude", lead, (p,), origin="screening") for lead in leads for p in points if p not in ends]
    return made + [Feature("slope", lead, two, origin="screening") for lead in leads for two in steps]


def rank_features(
    features: Sequence[Feature], cohort: xr.Dataset, outcome: str, baseline: Sequence[str]
) -> list[tuple[Feature, float]]:
    """Features ranked by their likelihood-ratio test beside the baseline.

    Parameters
    ----------
    features : sequence of Feature
    cohort : Dataset
        Discovery patients.
    outcome : str
    baseline : sequence of str
        Covariates, as in `freeze`.

    Returns
    -------
    list of (Feature, float)
        With the p of each, smallest first; features that have no p are left out.

    Raises
    ------
    ValueError
        When the outcome has one value, or two that are not 0 and 1.
    """
    people = people_table(cohort, outcome, baseline, features)
    binary = is_binary(people[outcome].dropna().to_numpy(float), outcome)
    ranked = []
    for f in features:
        table = people[[outcome, *baseline, f.name]].dropna()
        y = table[outcome].to_numpy(float)
        if len(table) < max(FEWEST_FOR_TEST, len(people) // 2) or len(np.unique(y)) < 2:
            continue
        try:
            columns = columns_of(table, list(baseline), [f.name])
        except ValueError:  # constant, or the baseline by another name: nothing to rank
            continue
        p, _ = likelihood_ratio(y, design(columns[:-1], table), design(columns, table), binary)
        if np.isfinite(p):
            ranked.append((f, p))
    return sorted(ranked, key=lambda one: one[1])


def unlike(ranked: Sequence[Feature], cohort: xr.Dataset, n: int) -> list[Feature]:
    """The first features none of which follows from those before it: R2 of its ranks on theirs below 0.8 squared.

    Parameters
    ----------
    ranked : sequence of Feature
        The best first.
    cohort : Dataset
        Whose beats they are measured on.
    n : int
        How many to keep.

    Returns
    -------
    list of Feature
    """
    values = feature_table(ranked, cohort)
    chosen: list[Feature] = []
    for f in ranked:
        if len(chosen) == n:
            break
        ranks = values[[*(g.name for g in chosen), f.name]].dropna().rank().to_numpy()
        before, y = np.c_[np.ones(len(ranks)), ranks[:, :-1]], ranks[:, -1]
        left = y - before @ np.linalg.lstsq(before, y, rcond=None)[0]
        if left.var() > (1 - ALIKE**2) * y.var():
            chosen.append(f)
    return chosen


# ---------------------------------------------------------------- from maps


def propose_features(
    map_: xr.DataArray,
    cohort: xr.Dataset,
    null: xr.DataArray,
    *,
    outcome: str = "male",
    by_lead: xr.DataArray | Callable[[], xr.DataArray] | None = None,
    predict_outcome: Callable[[xr.Dataset], np.ndarray] | None = None,
    baseline: Sequence[str] = ("age", "hr"),
    n: int = 3,
    alpha: float = 0.05,
) -> Proposals:
    """Features of what a network looks at, where that exceeds what training on permuted labels gives.

    1. When in the beat (`against_null`): the contrast of `map_` is compared with the largest value anywhere on each
       curve of `null` (max statistic), so that the chance that a null map proposes anything is `alpha`.
    2. In which lead (`find_places`): the largest contrasts of `by_lead`, within reach of the former, name up to twelve
       places of a t of 2.9 or more (two-sided 5 %, by Bonferroni over twelve).
    3. Confirmed by edits (`erase_places`): each place is erased in its lead, and kept if that takes separation away (by
       the same t) from the predictions. Where only erasing it in all leads does, the lead is not established, and
       durations alone are written.
    4. In words (`candidates_at`): features of the grammar there are ranked by their likelihood-ratio test beside
       `baseline`; one that correlates by 0.8 or more with better ones, alone or together, is left out.

    Parameters
    ----------
    map_ : DataArray (record, phase) or (record, lead, phase)
        Aligned maps of discovery patients, best by networks that had not seen the patient, for one target.
    cohort : Dataset
        Those patients, one record each.
    null : DataArray (run, phase) or (run, lead, phase)
        `map_contrast` of the same maps, the whole training repeated with permuted labels in every run.
    outcome : str
        What the maps' network predicts, a variable of the cohort.
    by_lead : DataArray (record, lead, phase), optional
        Aligned maps by a method that resolves leads (`attribute`), or a call that makes them, which is made only where
        `map_` exceeds its null; `map_` itself where it resolves leads.
    predict_outcome : callable (cohort) -> array (record,), optional
        The network's predictions, for step 3, which is left out without it.
    baseline : sequence of str
        Covariates that candidates are tested beside, as in `freeze`.
    n : int
        Most features to propose.
    alpha : float
        Needs at least 1/alpha - 1 runs of `null`.

    Returns
    -------
    Proposals
        A list of up to `n` features, which `freeze` takes; empty where the map does not exceed its null.

    Raises
    ------
    ValueError
        When the null has too few runs or another shape, no map resolves leads, `map_` was not aligned, maps and cohort
        are of different records, or a patient has two.

    Examples
    --------
    The null is the whole training again, 19 times or more, with the outcome permuted. (Two epochs keep this short; they
    are too few to learn anything, and `ecgwb.discovery.Recipe` has 20.)

    >>> import xarray as xr
    >>> import ecgwb as wb
    >>> from ecgwb.attention import map_contrast
    >>> from ecgwb.discovery import Recipe, cross_fit, permuted
    >>> people = wb.cohorts.one_record_each(wb.split_patients(wb.open_cohort("ptbxl500"))[0])
    >>> recipe = Recipe(epochs=2, folds=2)
    >>> nets = cross_fit(people, "male", recipe)
    >>> null = []
    >>> for k in range(19):
    ...     shuffled = permuted(people, "male", k)
    ...     maps = cross_fit(shuffled, "male", recipe, 1 + k).maps(shuffled, "ecgradcam")
    ...     null.append(map_contrast(maps, shuffled["male"]))
    >>> found = wb.propose_features(
    ...     nets.maps(people, "ecgradcam"), people, xr.concat(null, "run"),
    ...     by_lead=lambda: nets.maps(people, "deeplift"), predict_outcome=nets.predict,
    ... )
    >>> found.tried["null runs"]
    19
    """
    map_ = check_values(map_, "record", "phase", name="map_", source="wb.align")
    check_values(null, "run", "phase", name="null", source="wb.attention.map_contrast, run by run")
    lead_map = map_ if "lead" in map_.dims else by_lead
    if lead_map is None:
        raise ValueError("the map resolves no leads; give by_lead, such as align(attribute(...), cohort)")
    least = round(1 / alpha) - 1
    if null.sizes["run"] < least:
        raise ValueError(f"{null.sizes['run']} runs of the null cannot show p <= {alpha}; expected {least} or more")
    cohort = _same_records(map_, check(cohort, outcome))
    contrast = map_contrast(map_, cohort[outcome].values)
    p = against_null(contrast, null, template_of(map_))
    best = float(p.fillna(1.0).min())
    tried = {"curve points against the null": int(p.notnull().sum()), "null runs": null.sizes["run"]}
    if best > alpha:
        return Proposals([], tried, best)
    lead_map = check_values(
        lead_map() if callable(lead_map) else lead_map, "record", "lead", "phase", name="by_lead", source="wb.align"
    )
    _same_records(lead_map, cohort)
    lead_map = lead_map.sel(record=cohort["record"].values)
    reach = 0.0 if "lead" in map_.dims else float(map_.attrs.get("receptive_field_ms", 0.0))
    places = find_places(lead_map, cohort[outcome].values, p <= alpha, reach)
    tried |= {"leads": lead_map.sizes["lead"], "places": len(places)}
    if predict_outcome is not None:
        places = erase_places(places, cohort, outcome, predict_outcome, lead_map)
    candidates = candidates_at(places, template_of(map_), f"map p {best:.3f}")
    tried["candidates"] = len(candidates)
    ranked = rank_features(candidates, cohort, outcome, baseline)
    return Proposals(unlike([f for f, _ in ranked], cohort, n), tried, best, places)


def against_null(contrast: xr.DataArray, null: xr.DataArray, template: xr.DataArray) -> xr.DataArray:
    """p of each moment of a map's contrast, against the largest value anywhere in the beat of each curve of its null.

    Parameters
    ----------
    contrast : DataArray (phase) or (lead, phase)
        As from `map_contrast`.
    null : DataArray (run, phase) or (run, lead, phase)
        Likewise, of maps whose networks were trained on permuted labels.
    template : DataArray (landmark,)
        The common beat; only what lies between its first and last landmark counts.

    Returns
    -------
    DataArray, as `contrast`
        NaN outside the beat, and where the contrast is.
    """
    if set(null.dims) != {"run", *contrast.dims} or null.sizes["phase"] != contrast.sizes["phase"]:
        raise ValueError(f"the null is {dict(null.sizes)}, the contrast {dict(contrast.sizes)}; make both alike")
    phase = contrast["phase"]
    beat = (phase >= template.min()) & (phase <= template.max())
    null = null.assign_coords(phase=phase.values)
    largest = abs(null).where(beat, 0.0).max([d for d in null.dims if d != "run"])
    size = abs(contrast).where(beat)
    return size.copy(data=permutation_p(size.values, largest.fillna(0.0).values))


def find_places(
    lead_map: xr.DataArray, outcome: np.ndarray, exceeds: xr.DataArray, reach_ms: float = 0.0
) -> pd.DataFrame:
    """Where leads' contrasts are largest, within reach of the moments at which a map exceeds its null.

    Parameters
    ----------
    lead_map : DataArray (record, lead, phase)
        Aligned maps.
    outcome : array (record,)
    exceeds : DataArray (phase) or (lead, phase) of bool
        Where the map exceeds its null.
    reach_ms : float
        Receptive field of the network's layer: half of it, to either side, is within reach.

    Returns
    -------
    DataFrame, a row per place, the largest first; twelve at most
        - ``lead``
        - ``start``, ``at``, ``stop``: first, largest and last moment, ms of the common beat
        - ``t``: of the lead's map at ``at``
    """
    lead_map = lead_map.transpose("record", "lead", "phase")
    phase, template = lead_map["phase"].values, template_of(lead_map)
    moments = phase[exceeds.any([d for d in exceeds.dims if d != "phase"]).values]
    near = np.abs(phase[:, None] - moments).min(axis=1, initial=np.inf) <= np.nan_to_num(reach_ms) / 2
    near &= (phase >= template.min().item()) & (phase <= template.max().item())
    width = max(round(_SMOOTH_MS / (phase[1] - phase[0])), 1)
    smooth = lead_map.copy(data=uniform_filter1d(lead_map.fillna(0.0).values, width, axis=2))
    t = np.nan_to_num(map_contrast(smooth.where(lead_map.notnull()), outcome).values)  # (lead, phase)
    remaining = np.where(near, np.abs(t), 0.0)
    rows: list[list[Any]] = []
    while len(rows) < PLACES and remaining.max() >= CONFIRMED:
        lead, k = np.unravel_index(int(remaining.argmax()), t.shape)
        # The place ends where t falls below a share of its largest value, on either side.
        lower = np.flatnonzero(t[lead] * np.sign(t[lead, k]) < _SIDE * abs(t[lead, k]))
        start, stop = lower[lower < k].max(initial=-1) + 1, lower[lower > k].min(initial=len(phase)) - 1
        remaining[lead, start : stop + 1] = 0.0
        rows.append([str(lead_map["lead"].values[lead]), phase[start], phase[k], phase[stop], t[lead, k]])
    return pd.DataFrame(rows, columns=["lead", "start", "at", "stop", "t"])


def erase_places(
    places: pd.DataFrame,
    cohort: xr.Dataset,
    outcome: str,
    predict_outcome: Callable[[xr.Dataset], np.ndarray],
    lead_map: xr.DataArray,
) -> pd.DataFrame:
    """What erasing each place takes from the predictions' separation of the outcome.

    Parameters
    ----------
    places : DataFrame
        As from `find_places`.
    cohort : Dataset
        The records of `lead_map`, in its order.
    outcome : str
    predict_outcome : callable (cohort) -> array (record,)
    lead_map : DataArray (record, lead, phase)
        The maps that named the places; they carry the common beat, and which network a record belongs to.

    Returns
    -------
    DataFrame
        The places with ``edit_t``: t of the loss when the place is erased in its lead; ``all_t``: in all leads.
    """
    template, intact = template_of(lead_map), predict_outcome(cohort)
    network = {"network": lead_map["network"]} if "network" in lead_map.coords else {}
    time, leads = cohort["time"].values, cohort["lead"].values

    def t_of_loss(place: pd.Series, where: np.ndarray) -> float:
        first, last = (Point.nearest(place[k], template).ms(cohort["fiducial"])[:, None] for k in ("start", "stop"))
        inside = (time >= first) & (time <= last)  # (record, time); False where a landmark is absent
        edited = erase(cohort, inside[:, None] & where[:, None])
        lost = xr.DataArray(intact - predict_outcome(edited), dims="record", coords=network)
        # An edit that changes no prediction has no t: it takes nothing away.
        return float(np.nan_to_num(map_contrast(lost, cohort[outcome].values)))

    edit_t = [t_of_loss(place, leads == place["lead"]) for _, place in places.iterrows()]
    all_t = [t_of_loss(place, np.ones(len(leads), bool)) for _, place in places.iterrows()]
    return places.assign(edit_t=edit_t, all_t=all_t)


def candidates_at(places: pd.DataFrame, template: xr.DataArray, origin: str = "map") -> list[Feature]:
    """Features of the grammar at places of the common beat, each once.

    Parameters
    ----------
    places : DataFrame
        As from `erase_places`, or from `find_places`, where nothing was erased and every place counts.
    template : DataArray (landmark,)
        The common beat.
    origin : str
        Where the places came from; written into the features.

    Returns
    -------
    list of Feature
        Of a place that its lead's edit confirmed: all. Where erasing it in all leads alone did: durations. Of others:
        none.
    """
    candidates: dict[str, Feature] = {}
    rows: list[Any] = places.to_dict("records")
    for place in rows:
        edit = "no edit tried"
        made = _grammar_at(place, template)
        if "edit_t" in place:
            edit = f"edit t {place['edit_t']:.1f}, in all leads {place['all_t']:.1f}"
            if place["edit_t"] < CONFIRMED:
                made = [f for f in made if not f.leads() and place["all_t"] >= CONFIRMED]
        where = f"{place['lead']} {place['start']:.0f} to {place['stop']:.0f} ms, t {place['t']:.1f}"
        for f in made:
            candidates.setdefault(f.name, replace(f, origin=f"{origin}; {where}, {edit}"))
    return list(candidates.values())


def _grammar_at(place: Mapping[str, Any], template: xr.DataArray) -> list[Feature]:
    """Every feature at a place of the common beat: of its moments, of the landmarks around it, and of R."""
    start, peak, stop = (Point.nearest(place[k], template) for k in ("start", "at", "stop"))
    known = [float(v) for v in template.values if np.isfinite(v)]
    before = Point.nearest(max((v for v in known if v <= place["start"]), default=known[0]), template)
    after = Point.nearest(min((v for v in known if v >= place["stop"]), default=known[-1]), template)

    def in_order(*pairs: tuple[Point, Point]) -> list[tuple[Point, Point]]:
        return [(a, b) for a, b in dict.fromkeys(pairs) if a.ms(template) < b.ms(template)]

    slopes = in_order((start, stop), (before, peak), (peak, after), (before, after), (_R, peak), (_R, stop))
    areas = in_order((start, stop), (before, after))
    durations = in_order((before, after), (_R, peak), (_R, before), (_R, after), (before, _R), (peak, _R))
    made = [Feature("amplitude", place["lead"], (p,)) for p in dict.fromkeys((peak, start, stop))]
    made += [Feature("slope", place["lead"], two) for two in slopes]
    made += [Feature("area", place["lead"], two) for two in areas]
    made += [Feature("duration", points=two) for two in durations]
    if peak != _R:
        made.append(Feature("ratio", of=tuple(Feature("amplitude", place["lead"], (p,)) for p in (peak, _R))))
    for on, top, off in WAVE_POINTS.values():
        first, last = (template.sel(landmark=m).item() for m in (on, off))
        if place["start"] < last and place["stop"] > first:  # False where the wave is absent
            whole = Feature("duration", points=(Point(on, 0.0, top), Point(top, 1.0, off)))
            rise = Feature("duration", points=(Point(on, 0.0, top), Point(top, 0.0, off)))
            made.append(Feature("ratio", of=(rise, whole)))
    return made


def _same_records(maps: xr.DataArray, cohort: xr.Dataset) -> xr.Dataset:
    """The cohort in the order of the maps, once they are known to be of the same records, one per patient."""
    mine, theirs = (x["record"].values.astype(str).tolist() for x in (maps, cohort))
    if sorted(mine) != sorted(theirs):
        raise ValueError(f"the maps are of {len(mine)} records, the cohort has {len(theirs)}, or others; give the same")
    same_people(maps, cohort)
    need_one_record_each(cohort)
    return cohort.sel(record=maps["record"].values)
