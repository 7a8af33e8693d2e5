"""From a map to features: where it exceeds its null, in which lead, confirmed by an edit, written in the grammar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy.ndimage import uniform_filter1d
from scipy.stats import norm

from ..attention.alignment import template_of
from ..attention.contrasts import map_contrast
from ..cohorts.people import patients_of, same_people
from ..delineation.landmarks import LANDMARKS, WAVE_POINTS
from ..edits.changes import erase
from ..stats import permutation_p
from .features import Feature, Point, point_at, times
from .screening import Proposals, rank, unlike

PLACES = 12  # that one map may name at most: networks spread a contrast over positions whose loss they hardly notice
_SMOOTH_MS = 20.0  # over which a lead's map is averaged before its largest point is sought
_SIDE = 0.7  # of the largest value: how far a place reaches
_CONFIRMED = float(norm.isf(0.025 / PLACES))  # t of a place's contrast, and of its edit's effect: 5 % over all places


class Place(NamedTuple):
    """Where a map led: moments in ms of the common beat."""

    lead: str
    start: float
    at: float
    stop: float
    t: float  # of the lead's map at `at`
    edit_t: float = np.nan  # of what erasing it in its lead takes from the network's answers
    all_t: float = np.nan  # the same, erased in all leads


def propose_features(
    map_: xr.DataArray,
    cohort: xr.Dataset,
    null: xr.DataArray,
    *,
    outcome: str = "male",
    by_lead: xr.DataArray | Callable[[], xr.DataArray] | None = None,
    said: Callable[[xr.Dataset], np.ndarray] | None = None,
    baseline: Sequence[str] = ("age", "hr"),
    n: int = 3,
    alpha: float = 0.05,
) -> Proposals:
    """Features of what a network looks at, where that exceeds what training on permuted labels gives.

    1. Where: `map_contrast` of `map_` is compared with the largest value anywhere on each curve of `null` (max
       statistic), so that the chance that a null map proposes anything is `alpha`.
    2. In which lead: the largest contrasts of `by_lead`, within reach of the former, name up to twelve places of a t of
       2.9 or more (two-sided 5 %, by Bonferroni over twelve).
    3. Each is erased in its lead, and kept if that takes separation away (by the same t) from what the network says.
       Where only erasing it in all leads does, the lead is not established, and durations alone are written.
    4. Candidates of the grammar there are ranked by their likelihood-ratio test beside `baseline`; one that correlates
       by 0.8 or more with better ones, alone or together, is passed over.

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
    said : callable (cohort) -> array (record,), optional
        The network's answers, for step 3, which is left out without it.
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
    The null is the whole training again, 19 times or more, with the outcome dealt out anew. (Two epochs
    keep this short; they are too few to learn anything, and `ecgwb.discovery.Recipe` has 20.)

    >>> import xarray as xr
    >>> import ecgwb as wb
    >>> from ecgwb.discovery import Recipe, contrast_of, cross_fit, one_record_each, permuted
    >>> people = one_record_each(wb.split_patients(wb.open_cohort("ptbxl500"))[0])
    >>> recipe = Recipe(epochs=2, folds=2)
    >>> nets = cross_fit(people, "male", recipe)
    >>> null = []
    >>> for k in range(19):
    ...     dealt = permuted(people, "male", k)
    ...     null.append(contrast_of(cross_fit(dealt, "male", recipe, 1 + k), dealt, "male"))
    >>> found = wb.propose_features(
    ...     nets.maps(people, "ecgradcam"), people, xr.concat(null, "run"),
    ...     by_lead=lambda: nets.maps(people, "deeplift"), said=nets.said,
    ... )
    >>> found.tried["null runs"]
    19
    """
    lead_map = map_ if "lead" in map_.dims else by_lead
    if lead_map is None:
        raise ValueError("the map resolves no leads; give by_lead, such as align(attribute(...), cohort)")
    runs = null.sizes.get("run", 0)
    if runs < round(1 / alpha) - 1:
        raise ValueError(f"{runs} runs of the null cannot show p <= {alpha}; expected {round(1 / alpha) - 1} or more")
    cohort = _same_records(map_, cohort)
    y = cohort[outcome].values.astype(float)
    contrast = map_contrast(map_, y)
    if set(null.dims) != {"run", *contrast.dims} or null.sizes["phase"] != contrast.sizes["phase"]:
        raise ValueError(f"the null is {dict(null.sizes)}, the contrast {dict(contrast.sizes)}; make both alike")
    template = template_of(map_)
    phase = map_["phase"].values
    beat = (phase >= template.min().item()) & (phase <= template.max().item())
    here = np.abs(contrast.transpose(..., "phase").values)[..., beat]
    largest = np.nan_to_num(np.abs(null.transpose("run", ..., "phase").values)[..., beat].reshape(runs, -1)).max(axis=1)
    p = permutation_p(np.nan_to_num(here).reshape(-1), largest)
    tried = {"curve points against the null": int(np.isfinite(here).sum()), "null runs": runs}
    best = float(p.min())
    if best > alpha:
        return Proposals([], tried, best)
    lead_map = lead_map() if callable(lead_map) else lead_map
    if "lead" not in lead_map.dims:
        raise ValueError(f"by_lead has {lead_map.dims}; expected record, lead and phase")
    _same_records(lead_map, cohort)
    lead_map = lead_map.sel(record=cohort["record"].values) if "record" in lead_map.coords else lead_map
    found = np.zeros(len(phase), bool)
    found[beat] = (p.reshape(here.shape) <= alpha).reshape(-1, beat.sum()).any(axis=0)
    reach = 0.0 if "lead" in map_.dims else np.nan_to_num(float(map_.attrs.get("receptive_field_ms", 0.0))) / 2
    found = beat & (np.abs(phase[:, None] - phase[found]).min(axis=1) <= reach)
    places = _places(lead_map, y, found)
    tried |= {"leads": lead_map.sizes["lead"], "places": len(places)}
    if said is not None:
        intact = said(cohort)
        for k, place in enumerate(places):
            lost = [intact - said(_without(cohort, place, template, everywhere=e)) for e in (False, True)]
            # An edit that changes no answer has no t: it takes nothing away.
            t = [float(np.nan_to_num(map_contrast(_per_record(v, lead_map), y))) for v in lost]
            places[k] = place._replace(edit_t=t[0], all_t=t[1])
    candidates: dict[str, Feature] = {}
    for place in places:
        made = _candidates(place, template, f"map p {best:.3f}; {_described(place)}")
        if said is not None and place.edit_t < _CONFIRMED:
            made = [f for f in made if not f.leads() and place.all_t >= _CONFIRMED]
        for f in made:
            candidates.setdefault(f.name, f)
    tried["candidates"] = len(candidates)
    ranked = rank(list(candidates.values()), cohort, outcome, baseline)
    return Proposals(unlike(ranked, cohort, n), tried, best, pd.DataFrame(places, columns=Place._fields))


def _same_records(maps: xr.DataArray, cohort: xr.Dataset) -> xr.Dataset:
    """The cohort in the order of the maps, which name their records."""
    ours, theirs = (x["record"].values.astype(str).tolist() for x in (maps, cohort))
    if sorted(ours) != sorted(theirs):
        raise ValueError(f"the maps are of {len(ours)} records, the cohort has {len(theirs)}, or others; give the same")
    same_people(maps, cohort)
    patients = pd.Series(patients_of(cohort))
    if patients.duplicated().any():
        twice = patients[patients.duplicated()].iloc[0]
        raise ValueError(f"patient {twice!r} has two records; give one each: ecgwb.discovery.one_record_each(cohort)")
    return cohort.sel(record=maps["record"].values)


def _places(lead_map: xr.DataArray, y: np.ndarray, allowed: np.ndarray) -> list[Place]:
    """Where leads' contrasts are largest, within the phases allowed."""
    values = lead_map.transpose("record", "lead", "phase")
    phase = values["phase"].values
    missing = np.isnan(values.values)
    width = max(round(_SMOOTH_MS / (phase[1] - phase[0])), 1)
    smooth = uniform_filter1d(np.where(missing, 0.0, values.values), width, axis=2)
    t = map_contrast(values.copy(data=np.where(missing, np.nan, smooth)), y).transpose("lead", "phase").values
    left = np.where(allowed, np.abs(np.nan_to_num(t)), 0.0)
    out: list[Place] = []
    while len(out) < PLACES and left.max() >= _CONFIRMED:
        lead, k = np.unravel_index(int(left.argmax()), left.shape)
        beyond = np.flatnonzero(np.nan_to_num(t[lead] * np.sign(t[lead, k])) < _SIDE * abs(t[lead, k]))
        start, stop = beyond[beyond < k].max(initial=-1) + 1, beyond[beyond > k].min(initial=len(phase)) - 1
        left[lead, start : stop + 1] = 0.0
        name = str(values["lead"].values[lead])
        out.append(Place(name, float(phase[start]), float(phase[k]), float(phase[stop]), float(t[lead, k])))
    return out


def _described(place: Place) -> str:
    edit = f"edit t {place.edit_t:.1f}, in all leads {place.all_t:.1f}"
    edit = "no edit tried" if np.isnan(place.edit_t) else edit
    return f"{place.lead} {place.start:.0f} to {place.stop:.0f} ms, t {place.t:.1f}, {edit}"


def _without(cohort: xr.Dataset, place: Place, template: xr.DataArray, *, everywhere: bool) -> xr.Dataset:
    """The cohort with a place erased in its lead, or everywhere, in every beat where that beat has it."""
    first, last = (times(point_at(v, template), cohort)[:, None] for v in (place.start, place.stop))
    time = cohort["time"].values
    inside = (time >= first) & (time <= last)  # False where a landmark is absent
    return erase(cohort, inside[:, None] & (everywhere | (cohort["lead"].values == place.lead))[:, None])


def _per_record(values: np.ndarray, like: xr.DataArray) -> xr.DataArray:
    coords = {"network": like["network"]} if "network" in like.coords else {}
    return xr.DataArray(values, dims="record", coords=coords)


def _candidates(place: Place, template: xr.DataArray, origin: str) -> list[Feature]:
    """Features of the grammar at a place of the common beat."""
    lead, start, at, stop = place[:4]
    a, k, b = (point_at(v, template) for v in (start, at, stop))
    marks = [(m, float(v)) for m, v in zip(LANDMARKS, template.values, strict=True) if np.isfinite(v)]
    lo = point_at(max([v for _, v in marks if v <= start], default=marks[0][1]), template)
    hi = point_at(min([v for _, v in marks if v >= stop], default=marks[-1][1]), template)
    r: Point = ("R", 0.0, "J")
    made: list[Feature] = [Feature("amplitude", lead, (p,), origin=origin) for p in dict.fromkeys((k, a, b))]
    for one, two in dict.fromkeys([(a, b), (lo, k), (k, hi), (lo, hi), (r, k), (r, b)]):
        if _moment(one, template) < _moment(two, template):
            made.append(Feature("slope", lead, (one, two), origin=origin))
    for one, two in dict.fromkeys([(a, b), (lo, hi)]):
        if _moment(one, template) < _moment(two, template):
            made.append(Feature("area", lead, (one, two), origin=origin))
    for one, two in dict.fromkeys([(lo, hi), (r, k), (r, lo), (r, hi), (lo, r), (k, r)]):  # from time zero, too
        if _moment(one, template) < _moment(two, template):
            made.append(Feature("duration", "", (one, two), origin=origin))
    if k != r:
        parts = tuple(Feature("amplitude", lead, (p,)) for p in (k, r))
        made.append(Feature("ratio", of=parts, origin=origin))
    for on, peak, off in WAVE_POINTS.values():
        first, last = (template.sel(landmark=m).item() for m in (on, off))
        if np.isfinite(first + last) and start < last and stop > first:
            whole = Feature("duration", "", ((on, 0.0, peak), (peak, 1.0, off)))
            rise = Feature("duration", "", ((on, 0.0, peak), (peak, 0.0, off)))
            made.append(Feature("ratio", of=(rise, whole), origin=origin))
    return made


def _moment(p: Point, template: xr.DataArray) -> float:
    a, share, b = p
    first, last = (float(template.sel(landmark=m)) for m in (a, b))
    return (last if share else first) if share in (0.0, 1.0) else first + share * (last - first)
