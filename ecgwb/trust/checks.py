"""Checks: can what a map or a network shows be trusted?

A check is a function that returns a `Check`. It takes a network, a cohort whose labels it does not use, and the targets
to judge, all by default. Of networks that take recordings every beat is edited alike, and maps are averaged over the
beats before they are compared. `response` and `leads` look at the network's predictions
alone; the others look at its maps by a `method`: "edit map", a variant of `ecgradcam` or a method of `attribute`.
Nobody has validated a threshold for any of these figures, so none is applied: each stands with its interval, beside
what a map or a network that is perfect, and one that knows nothing, would get. `ecgwb.trust.panel` lists the checks
that `trust_panel` makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
import torch
import xarray as xr
from scipy.ndimage import gaussian_filter1d
from torch import nn

from ..attention.alignment import align
from ..attention.gradcam import VARIANTS, asked_of
from ..attention.maps import MEASURED_IN, segments
from ..cohorts import guards
from ..cohorts.cycles import cycles_of, territories
from ..cohorts.measurements import STEP, TARGETS, TIME, UNITS
from ..cohorts.people import patients_of
from ..delineation.landmarks import SEGMENTS
from ..edits.changes import erase
from ..edits.effects import dose_response, doses_of, for_network
from ..edits.maps import faithfulness, maps_by, on_beats, point_spread, time_maps
from ..models.accuracy import same_unit
from ..models.activations import default_layer
from ..models.prediction import predict
from ..models.running import unreadable
from ..models.spec import ModelError, copy_of, keep_spec, spec_of
from ..stats import mean_interval, ratio_interval

_BLUR_MS = 20.0  # standard deviation of the blur before maps of different sharpness are compared
_WINDOW = 20  # samples (40 ms) erased together
_SHARES = (0.1, 0.2, 0.4)  # of the beat, erased or kept


@dataclass(frozen=True, eq=False)
class Picture:
    """What the picture of a check shows; `ecgwb.figures.plot_check` draws it."""

    kind: str  # "matrix", "intervals" (a row per label), "curves" (over the numbers of the index) or "dose-response"
    values: pd.DataFrame  # the cells, or a row per dot
    columns: tuple[str, str, str] = ("value", "low", "high")  # that hold a dot and the ends of its interval
    by: str | None = None  # level of the index whose entries have colours of their own
    xlabel: str = ""
    ylabel: str = ""
    chance: float | None = None  # what chance gives: a dashed line
    limits: tuple[float | None, float | None] = (None, None)  # of the axis of values


@dataclass(frozen=True, eq=False, repr=False)
class Check:
    """The outcome of one check.

    Attributes
    ----------
    name : str
    table : DataFrame
        What was found, with intervals.
    finding : str
        The same in words.
    scale : str
        What would be perfect, and what would be chance.
    picture : Picture, optional
        What `ecgwb.figures.plot_check` draws.
    """

    name: str
    table: pd.DataFrame
    finding: str
    scale: str = ""
    picture: Picture | None = None

    @property
    def words(self) -> str:
        """The finding, and what it is to be compared with."""
        return ". ".join(part for part in (self.finding, self.scale) if part) + "."

    def __repr__(self) -> str:
        return f"{self.name}: {self.words}"


# ---------------------------------------------------------------- of the network: its predictions alone


def response(model: nn.Module, cohort: xr.Dataset, targets: Sequence[str] | str | None = None) -> Check:
    """Does the prediction follow known changes of what it is to measure?

    Returns
    -------
    Check
        The table of `dose_response`. The truth of an edit is a slope of 1 for the target that it changes; what the
        workbench's own delineator finds on the same edited beats stands beside it. Of a target without an edit of its
        own, such as sex, the finding names the edit that moves it most. No edit of a beat changes heart rate; for
        networks that take recordings, that of RR does.
    """
    cohort, names, _ = _asked(model, cohort, targets)
    for t in set(names) & set(TARGETS):
        same_unit(t, spec_of(model).unit(t), UNITS[t])
    table = dose_response(model, cohort)
    table = table[table.index.get_level_values("target").isin(names)]
    predictions = predict(model, cohort)
    own_edit = {dose.target: name for name, dose in doses_of(model).items()}
    found = []
    for t in names:
        of_target = pd.DataFrame(table.xs(t, level="target"))
        if t in own_edit:
            row = of_target.loc[own_edit[t]]
            measured = f"; {row['measured_slope']:.2f}" if np.isfinite(row["measured_slope"]) else ""
            found.append(f"{t} {row['slope']:.2f} ({row['low']:.2f} to {row['high']:.2f}{measured})")
        elif t != "hr":
            moved, spread = of_target["moved"], float(predictions[t].std())
            most = f"{moved.idxmax()}, by {moved.max():.2g}"
            found.append(f"{t} moves most with {most}, its SD between people {spread:.2g}")
    finding, scale = "; ".join(found), ""
    if set(names) & set(own_edit):
        finding = f"Slope on its own edit (interval; what the delineator finds): {finding}"
        scale = "A network that follows the ECG exactly has 1, one that does not follow it 0"
    return Check("dose-response", table, finding, scale, Picture("dose-response", table))


def leads(model: nn.Module, cohort: xr.Dataset, targets: Sequence[str] | str | None = None) -> Check:
    """In which leads and segments does erasing change the prediction?

    Returns
    -------
    Check
        Rows ``target``, ``lead``, ``segment`` (P, PQ, QRS, ST, T, or the rest): ``effect``, the mean absolute change in
        prediction when the segment is erased in the lead, and its ``share`` of the target's sum. A target of one lead
        (``..._v5``) is to be read there; a mark or an artefact in one lead would have nearly all.
    """
    cohort, names, _ = _asked(model, cohort, targets)
    predictions = predict(model, cohort)
    rows = []
    for k, lead in enumerate(cohort["lead"].values):
        for segment, mask in _segment_masks(cohort).items():
            in_lead = np.zeros(cohort["beat"].shape, bool)
            in_lead[:, k] = mask
            erased = predict(model, erase(cohort, in_lead))
            for t in names:
                change = np.abs(erased[t].values - predictions[t].values)[mask.any(axis=1)]
                change = change[np.isfinite(change)]
                effect = float(change.mean()) if len(change) else 0.0  # nobody has this wave
                rows.append({"target": t, "lead": str(lead), "segment": segment, "effect": effect})
    table = pd.DataFrame(rows).set_index(["target", "lead", "segment"])
    total = table["effect"].groupby("target").transform("sum")
    table["share"] = (table["effect"] / total.where(total > 0)).fillna(0.0)
    by_lead = _wide(table["share"].groupby(["target", "lead"], sort=False).sum())
    outside = table["share"].xs("rest", level="segment").groupby("target", sort=False).sum().to_dict()
    largest, largest_in = by_lead.max(axis=1).to_dict(), by_lead.idxmax(axis=1).to_dict()
    found = [f"{t} {largest_in[t]} {100 * largest[t]:.0f} %, outside P to T {100 * outside[t]:.0f} %" for t in names]
    finding = f"Most of what erasing does: {'; '.join(found)}"
    scale = f"An even spread is {100 / by_lead.shape[1]:.0f} % a lead"
    return Check("leads and segments", table, finding, scale, Picture("matrix", by_lead))


# ---------------------------------------------------------------- of its maps, as they are


def randomisation(
    model: nn.Module,
    cohort: xr.Dataset,
    targets: Sequence[str] | str | None = None,
    *,
    method: str = "gradcam",
    stages: int = 4,
    seeds: int = 3,
) -> Check:
    """Does the map change when the network forgets what it learned, from its head backwards (Adebayo et al. 2018)?

    Every tensor of weights is shuffled in itself, which keeps their sizes: the head's first, then also those of the
    last layers, and so on to all in `stages` steps, each `seeds` times. A map that stays does not show what was
    learned.

    Parameters
    ----------
    stages, seeds : int
        Steps from the head to all layers, and shuffles at each.

    Returns
    -------
    Check
        Rows ``target`` and ``shuffled`` (share of the layers that have weights): ``r``, the mean over records and seeds
        of the absolute correlation over time with the true map.
    """
    cohort, names, patient = _asked(model, cohort, targets)
    true = _compared(model, cohort, method, names)
    layers = [n for n, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))]
    if not layers:
        return Check("weight randomisation", pd.DataFrame(), "The network has no weights to shuffle")
    counts = sorted({1, *(round(len(layers) * k / (stages - 1)) for k in range(1, stages))}) if stages > 1 else [1]
    parts = {}
    for count in counts:
        shuffled = [_shuffled(model, layers[-count:], seed) for seed in range(seeds)]
        r = [np.abs(correlation(true, _compared(m, cohort, method, names))) for m in shuffled]
        parts[count / len(layers)] = _means(np.mean(r, axis=0), names, patient)
    head, every = parts[counts[0] / len(layers)], parts[counts[-1] / len(layers)]
    table = pd.concat(parts, names=["shuffled"]).swaplevel().loc[names]
    finding = (
        f"With its head shuffled, maps still correlate {in_words(head['r'])} with the true ones, with all layers "
        f"shuffled {in_words(every['r'])}"
    )
    scale = "A map that does not depend on what was learned has 1"
    labels = "share of the layers shuffled", "correlation with the true map"
    picture = Picture("curves", table, ("r", "low", "high"), "target", *labels)
    return Check("weight randomisation", table, finding, scale, picture)


def specificity(
    model: nn.Module, cohort: xr.Dataset, targets: Sequence[str] | str | None = None, *, method: str = "gradcam"
) -> Check:
    """Do the maps of one network tell its targets apart?

    Returns
    -------
    Check
        Rows ``target`` and ``other``: ``r``, the mean over records of the absolute correlation over time of their maps.
        Maps of variant "published" give 1.
    """
    cohort, names, patient = _asked(model, cohort, targets)
    if len(names) < 2:
        return Check("target specificity", pd.DataFrame(), f"{names[0]} is the only target")
    maps = _compared(model, cohort, method, names)
    r = np.full((len(maps), len(names), len(names)), np.nan)  # (record, target, other)
    for a, b in combinations(range(len(names)), 2):
        r[:, a, b] = r[:, b, a] = np.abs(correlation(maps[:, a], maps[:, b]))
    parts = {t: _means(r[:, k], names, patient).rename_axis("other").drop(t) for k, t in enumerate(names)}
    table = pd.concat(parts, names=["target"])
    finding = f"Maps of different targets correlate {in_words(table['r'])}"
    scale = "Maps that cannot tell the targets apart have 1"
    return Check("target specificity", table, finding, scale, Picture("matrix", _wide(table["r"])))


def consistency(
    model: nn.Module,
    others: Sequence[nn.Module],
    cohort: xr.Dataset,
    targets: Sequence[str] | str | None = None,
    *,
    method: str = "gradcam",
) -> Check:
    """Do networks trained alike, but for chance, explain the same person in the same way?

    Parameters
    ----------
    others : sequence of Module
        Networks of the same recipe and another seed.

    Returns
    -------
    Check
        Rows ``target`` and ``pair``: ``r``, the mean over records of the correlation over time of their departures from
        the cohort's mean map; ``r_map`` that of the maps as they are, which also agree on what all beats share; and
        ``r_other`` that of one person's departure with the next one's.
    """
    cohort, names, patient = _asked(model, cohort, targets)
    others = [others] if isinstance(others, nn.Module) else list(others)
    if not others:
        return Check("seed consistency", pd.DataFrame(), "No other network was given to compare with")
    maps = [_compared(m, cohort, method, names) for m in (model, *others)]
    away = [m - _mean_map(m) for m in maps]
    parts = {}
    for a, b in combinations(range(len(maps)), 2):
        r, r_map = (_means(correlation(m[a], m[b]), names, patient) for m in (away, maps))
        mixed = _means(correlation(away[a], np.roll(away[b], 1, axis=0)), names, patient)
        parts[f"{a}-{b}"] = r.assign(r_map=r_map["r"], r_other=mixed["r"])
    table = pd.concat(parts, names=["pair"]).swaplevel().loc[names]
    finding = f"What sets a person's map apart correlates {in_words(table['r'])} between {len(maps)} networks"
    scale = f"Another person's map has {in_words(table['r_other'])}, the same map 1"
    picture = Picture("intervals", table, ("r", "low", "high"), xlabel="correlation between networks", chance=0.0)
    return Check("seed consistency", table, finding, scale, picture)


def agreement(
    model: nn.Module,
    cohort: xr.Dataset,
    methods: Sequence[str] = ("gradcam", "guided", "input_x_gradient", "saliency"),
    targets: Sequence[str] | str | None = None,
) -> Check:
    """Do other methods point to the same moments of the beat as the first?

    Compared are the maps' sizes, leads summed up, over time: their distance from their own median, as most of a beat is
    baseline, blurred by 20 ms, as methods differ in sharpness.

    Parameters
    ----------
    methods : sequence of str
        The first is compared with the others.

    Returns
    -------
    Check
        Rows ``target``, ``method`` and ``other``: ``r``, the mean correlation over time with its interval; ``r_mixed``
        that with another record's map, which shows how much any two beats would agree.
    """
    cohort, names, patient = _asked(model, cohort, targets)
    if isinstance(methods, str):
        raise ModelError(f"methods is {methods!r}; expected several in a list. Targets go by name: targets='qt'")
    first, *others = methods
    if not others:
        return Check("method agreement", pd.DataFrame(), f"{first} is the only method")
    sizes = {m: map_size(on_beats(model, maps_by(model, cohort, m, names), cohort)).values for m in methods}
    parts = {}
    for one, other in combinations(methods, 2):
        r = _means(correlation(sizes[one], sizes[other]), names, patient)
        mixed = _means(correlation(sizes[one], np.roll(sizes[other], 1, axis=0)), names, patient)
        parts[one, other] = r.assign(r_mixed=mixed["r"])
    table = pd.concat(parts, names=["method", "other"]).reorder_levels(["target", "method", "other"])
    of_first = table.xs(first, level="method")
    mean = of_first[["r", "r_mixed"]].groupby("target", sort=False).mean()
    finding = f"{first} correlates {in_words(mean['r'])} over time with {', '.join(others)} on average"
    scale = f"Another person's maps have {in_words(mean['r_mixed'])}, the same map 1"
    return Check("method agreement", table, finding, scale, Picture("matrix", _wide(of_first["r"])))


def localisation(
    model: nn.Module, cohort: xr.Dataset, targets: Sequence[str] | str | None = None, *, method: str = "gradcam"
) -> Check:
    """Do people's maps differ where the target is measured?

    Returns
    -------
    Check
        Rows ``target``: ``share`` of the departures from the cohort's mean map that lies in the target's own segments
        (for targets without, such as sex: in P to T), with ``low``, ``high``, and ``span``, the segments' share of the
        beat's length, which an even map would give. Heart rate may well be read from the neighbours.
    """
    cohort, names, patient = _asked(model, cohort, targets)
    aligned = align(time_maps(model, cohort, method, names), cohort)
    masks = segments(aligned)
    rows = []
    for t in names:
        own = np.any([masks[s] for s in MEASURED_IN.get(t, tuple(SEGMENTS))], axis=0)
        away = _departures(aligned.sel(target=t).transpose("record", "phase").values)
        share = ratio_interval(away[:, own].sum(axis=1), away.sum(axis=1), patient)
        rows.append([*share, float(own.mean())])
    table = pd.DataFrame(rows, pd.Index(names, name="target"), ["share", "low", "high", "span"])
    judged = table[table.index != "hr"] if set(names) != {"hr"} else table
    where = "the target's own segments" if set(names) & set(MEASURED_IN) else "P to T"
    finding = f"{in_words(100 * judged['share'], 0)} % of what sets people's maps apart lies in {where}"
    if judged["share"].isna().all():
        finding = "Nothing sets these maps apart: they are flat, or of one person"
    scale = f"An even map has {in_words(100 * judged['span'], 0)} %, these segments' share of the beat"
    percent = 100 * table.rename(columns={"share": "value"})
    spans = percent[["span"]].rename(columns={"span": "value"})
    both = pd.concat({"of the maps' differences": percent, "of the beat's length": spans}, names=["kind"])
    label = f"% in {where}"
    picture = Picture("intervals", both, by="kind", xlabel=label, limits=(0, 100))
    return Check("localisation", table, finding, scale, picture)


# ---------------------------------------------------------------- of its maps, beside what edits do


def removal(
    model: nn.Module,
    cohort: xr.Dataset,
    targets: Sequence[str] | str | None = None,
    *,
    method: str = "gradcam",
    fill: str = "mean",
    randoms: int = 2,
    seed: int = 0,
) -> Check:
    """Do the moments a map stresses matter more than others: deletion and insertion, by beats a network could see?

    Spans of 40 ms, 10 to 40 % of the beat, are replaced in the order of the map's distance from its own median; or all
    the rest is. Beside them the same spans, as long and as scattered, moved along the beat by chance, `randoms` times.

    Parameters
    ----------
    fill : {"mean", "linear"}
        By the cohort's mean beat, or by straight lines (see `erase`). With lines, a beat of which little is kept is
        like no ECG, and what insertion gives is the network's prediction for that.
    randoms, seed : int
        How many random spans each of the map's is compared with, and the seed they are drawn by.

    Returns
    -------
    Check
        Rows ``target`` and ``kind``: ``ratio``, with ``low``, ``high``. "deletion": the change in prediction over that
        by random spans, above 1 where the map's spans matter more. "insertion": what is still missing of the prediction
        with only the map's spans kept over that with random ones, below 1.
    """
    cohort, names, patient = _asked(model, cohort, targets)
    maps = map_size(on_beats(model, maps_by(model, cohort, method, names), cohort))
    if maps.sizes["time"] != len(TIME):  # a network of another rate or a shorter window
        maps = maps.interp(time=TIME)
    n, n_windows = cohort.sizes["record"], len(TIME) // _WINDOW
    stressed = maps.values[..., : n_windows * _WINDOW].reshape(n, len(names), n_windows, _WINDOW).mean(axis=3)
    rng = np.random.default_rng(seed)
    predictions, has = predict(model, cohort), _own_windows(model, cohort, n_windows)
    rows = []
    for k, t in enumerate(names):
        rank = np.nan_to_num(stressed[:, k])  # (record, window)
        own = _changes(model, cohort, predictions[t], rank, fill, has)
        steps = rng.integers(1, n_windows, (randoms, n))
        moved = [_moved(rank, step, has) for step in steps]
        chance = np.mean([_changes(model, cohort, predictions[t], m, fill, has) for m in moved], axis=0)
        for j, kind in enumerate(("deletion", "insertion")):
            rows.append([t, kind, *ratio_interval(own[j], chance[j], patient)])
    table = pd.DataFrame(rows, columns=["target", "kind", "ratio", "low", "high"]).set_index(["target", "kind"])
    deletion, insertion = (table.xs(kind, level="kind") for kind in ("deletion", "insertion"))
    finding = (
        f"Replacing what the map stresses changes predictions {in_words(deletion['ratio'])} times as much as replacing "
        f"other spans; keeping only that leaves {in_words(insertion['ratio'])} times the error"
    )
    if table["ratio"].isna().all():
        finding = "No ratio can be formed: these maps are flat, or of one person"
    label = "over that of other spans"
    picture = Picture("intervals", table, ("ratio", "low", "high"), by="kind", xlabel=label, chance=1.0)
    return Check("deletion and insertion", table, finding, "A map drawn by chance has 1 in both", picture)


def resolution(
    model: nn.Module, cohort: xr.Dataset, targets: Sequence[str] | str | None = None, *, method: str = "gradcam"
) -> Check:
    """What can a map resolve in time?

    Returns
    -------
    Check
        The table of `point_spread`.
    """
    cohort, names, _ = _asked(model, cohort, targets)
    table = point_spread(model, cohort, names, method=method).loc[names]
    width = table["width"].groupby("target", sort=False).mean()
    off = table["q50"].abs().groupby("target", sort=False).median()
    finding = (
        f"Half of what a small change does to the map spreads over {in_words(width, 0)} ms, its middle "
        f"{in_words(off, 0)} ms off"
    )
    columns, labels = ("width", "low", "high"), ("bump at (ms)", "width of the\nmap's change (ms)")
    picture = Picture("curves", table, columns, "target", *labels, limits=(0, None))
    return Check("point spread", table, finding, "A QRS is about 100 ms long", picture)


def effect(
    model: nn.Module,
    cohort: xr.Dataset,
    methods: Sequence[str] = VARIANTS,
    targets: Sequence[str] | str | None = None,
) -> Check:
    """Does a map say what blanking a wave does?

    Parameters
    ----------
    methods : sequence of str
        The finding is of the first; the others stand beside it.

    Returns
    -------
    Check
        The table of `faithfulness`.
    """
    cohort, names, _ = _asked(model, cohort, targets)
    table = faithfulness(model, cohort, methods, names)
    rows = pd.DataFrame(table.xs("all", level="wave"))
    first = pd.DataFrame(rows.xs(methods[0], level="method"))
    others = "; ".join(f"{m} {in_words(rows['r'].xs(m, level='method'))}" for m in methods[1:])
    finding = (
        f"What {methods[0]} gives a wave correlates {in_words(first['r'])} with what blanking it does, slope "
        f"{in_words(first['slope'])}{f' ({others})' if others else ''}"
    )
    picture = Picture("matrix", _wide(rows["r"]).T)
    scale = "A perfect map has 1, one drawn by chance 0"
    if "edit map" in methods:
        scale += (
            ". An edit map answers another question: it compares with the common beat, not with a beat without the wave"
        )
    return Check("map against effect", table, finding, scale, picture)


# ---------------------------------------------------------------- comparing maps


def map_size(maps: xr.DataArray) -> xr.DataArray:
    """How far a map is from its own median over time, summed over leads and blurred: what it stresses."""
    away = maps.copy(data=np.abs(maps.values - maps.median("time").values[..., None]))
    away = away.sum("lead", skipna=False) if "lead" in away.dims else away
    step = float(maps["time"][1] - maps["time"][0])
    return away.copy(data=gaussian_filter1d(away.values, _BLUR_MS / step, axis=-1))


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation over the last axis; 0 where only `b` is flat; NaN where `a` is, which then says nothing."""
    a, b = (v.astype(float) - v.mean(axis=-1, keepdims=True, dtype=float) for v in (a, b))
    size_a, size_b = (np.sqrt((v**2).sum(axis=-1)) for v in (a, b))
    flat_a, flat_b = (s <= 1e-9 * np.nanmax(s, initial=1e-30) for s in (size_a, size_b))
    r = (a * b).sum(axis=-1) / np.where(flat_a | flat_b, 1.0, size_a * size_b)
    return np.where(flat_a, np.nan, np.where(flat_b, 0.0, r))


def _means(r: np.ndarray, names: Sequence[str], patient: np.ndarray) -> pd.DataFrame:
    """Means of correlations (record, target) over records, with intervals; NaN for flat maps."""
    rows = [[*mean_interval(column, patient), np.isfinite(column).sum()] for column in r.T]
    return pd.DataFrame(rows, index=pd.Index(names, name="target"), columns=["r", "low", "high", "n"])


def _compared(model: nn.Module, cohort: xr.Dataset, method: str, names: list[str]) -> np.ndarray:
    """Maps (record, target, time) that can be compared between records, leads summed."""
    return on_beats(model, time_maps(model, cohort, method, names), cohort).values


def _mean_map(maps: np.ndarray) -> np.ndarray:
    """The mean of maps (record, ...) over the records that have a value; 0 where none has."""
    count = np.isfinite(maps).sum(axis=0)
    return np.divide(np.nansum(maps, axis=0), count, out=np.zeros(count.shape), where=count > 0)


def _departures(maps: np.ndarray) -> np.ndarray:
    """Absolute departures of maps (record, phase) from their mean; 0 where a record has no value, or maps are flat."""
    away = np.where(np.isfinite(maps), np.abs(maps - _mean_map(maps)), 0.0)
    rounding = 1e-6 * np.nanmax(np.abs(maps), initial=1e-30)
    return away if away.max() > rounding else np.zeros_like(away)


def _shuffled(model: nn.Module, layers: Sequence[str], seed: int) -> nn.Module:
    """A copy of the network with the weights of these layers shuffled, each tensor in itself."""
    copied, spec = copy_of(model), spec_of(model)
    if not (spec.layer or unreadable(model)):  # the copy's default might be another layer
        keep_spec(copied, replace(spec, layer=default_layer(model)))
    generator = torch.Generator().manual_seed(seed)
    modules = dict(copied.named_modules())
    with torch.no_grad():
        for name in layers:
            for p in modules[name].parameters(recurse=False):
                order = torch.randperm(p.numel(), generator=generator).to(p.device)
                p.copy_(p.flatten()[order].reshape(p.shape))
    return copied


# ---------------------------------------------------------------- erasing parts of beats


def _segment_masks(cohort: xr.Dataset) -> dict[str, np.ndarray]:
    """Masks (record, time) of P, PQ, QRS, ST and T of each beat, and of the rest."""
    masks = {}
    for segment, ends in SEGMENTS.items():
        start, stop = (cohort["fiducial"].sel(landmark=m).values[:, None] for m in ends)
        masks[segment] = (start <= TIME) & (stop > TIME)
    return masks | {"rest": ~np.any(list(masks.values()), axis=0)}


def _own_windows(model: nn.Module, cohort: xr.Dataset, n_windows: int) -> np.ndarray:
    """The spans (record, window) that can be erased: all of a beat; of recordings, what is the middle cycle's own."""
    has = np.ones((cohort.sizes["record"], n_windows), bool)
    if spec_of(model).input == "rhythm":
        cycles = cycles_of(cohort)
        used = np.flatnonzero(cycles["used"].values)
        edges = (territories(cycles, cohort.sizes["sample"] * STEP) - cycles["r_ms"].values[:, None])[used]
        middle = TIME[: n_windows * _WINDOW].reshape(n_windows, _WINDOW).mean(axis=1)
        for i in range(len(has)):
            mine = edges[cycles["row"].values[used] == i]
            low, high = np.median(mine, axis=0) if len(mine) else (TIME[0], TIME[-1])
            has[i] = (middle >= low) & (middle < high)
    return has


def _moved(rank: np.ndarray, steps: np.ndarray, has: np.ndarray) -> np.ndarray:
    """Ranks (record, window) moved along the beat by steps (record,), among the windows that can be erased."""
    out = rank.copy()
    for i, step in enumerate(steps):
        out[i, has[i]] = np.roll(rank[i, has[i]], -step)
    return out


def _changes(
    model: nn.Module, cohort: xr.Dataset, predictions: xr.DataArray, rank: np.ndarray, fill: str, has: np.ndarray
) -> np.ndarray:
    """Mean absolute change in prediction with the highest-ranked spans erased, and with only them kept: (2, record)."""
    order = np.argsort(np.argsort(-np.where(has, rank, -np.inf), axis=1), axis=1)
    out = np.zeros((2, len(rank)))
    for share in _SHARES:
        chosen = np.repeat(order < np.round(share * has.sum(axis=1, keepdims=True)), _WINDOW, axis=1)
        for j, mask in enumerate((chosen, ~chosen)):
            changed = predict(model, erase(cohort, mask, fill))[predictions.name]
            out[j] += np.abs(changed.values - predictions.values) / len(_SHARES)
    return out


# ---------------------------------------------------------------- tables and words


def _asked(
    model: nn.Module, cohort: xr.Dataset, targets: Sequence[str] | str | None
) -> tuple[xr.Dataset, list[str], np.ndarray]:
    """The cohort, known to be one; the targets asked for; and the patient of each record."""
    cohort = for_network(model, guards.check(cohort, "hr"))
    return cohort, asked_of(model, targets)[1], patients_of(cohort)


def _wide(values: pd.Series) -> pd.DataFrame:
    """A series of two index levels as a table, rows and columns in the order they came."""
    table = values.unstack()  # sort=False, as of pandas 2.3, puts values in wrong cells
    rows, columns = (list(values.index.unique(k)) for k in (0, 1))
    columns = rows if set(rows) == set(columns) else columns  # each with each: the same order both ways
    return table.loc[rows, columns]


def in_words(found: pd.Series, digits: int = 2) -> str:
    """The smallest and the largest of what was found, in words."""
    values = found.to_numpy(float)
    values = values[np.isfinite(values)]
    if not len(values):
        return "with nothing (flat maps)"
    low, high = f"{values.min():.{digits}f}", f"{values.max():.{digits}f}"
    return low if low == high else f"{low} to {high}"
