"""Is what a map or a network shows to be believed? Checks by edits, and the panel that lays all checks side by side.

A check that fails is a finding: about the map, if the network passes those that edit the ECG and ask the network alone
(`leads`, `response`), and about the network, if it does not. Passing is no proof.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn

from ..attention.alignment import align
from ..attention.gradcam import VARIANTS, asked_of
from ..attention.maps import MEASURED_IN, segments
from ..cohorts.measurements import TIME
from ..cohorts.people import patients_of
from ..delineation.landmarks import SEGMENTS
from ..edits.changes import erase
from ..edits.effects import DOSES, dose_response, faithfulness, maps_of, point_spread
from ..models.prediction import predict
from ..models.spec import ModelError
from .checks import AGREE, Check, Panel, between, both, map_size, matrix, ratio, responses, shares, told, widths
from .sanity import agreement, consistency, randomisation, specificity

_WINDOW = 20  # samples (40 ms) erased together
_SHARES = (0.1, 0.2, 0.4)  # of the beat, erased or kept
FEWEST = 10  # people of whom a verdict may be given
_QRS_MS = 100.0  # a map that cannot tell this apart cannot tell QRS from what follows


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
    the rest is. Beside them the same spans, as long and as scattered, moved along the beat by chance.

    Parameters
    ----------
    fill : {"mean", "linear"}
        By the cohort's mean beat, or by straight lines (see `erase`). With lines, a beat of which little is kept is
        like no ECG, and what insertion gives is the network's answer to that.

    Returns
    -------
    Check
        Rows ``target``: ``deletion``, the change in prediction over that by random spans, above 1 where the map's
        spans matter more; ``insertion``, what is still missing of the prediction with only the map's spans kept over
        that with random ones, below 1; with intervals. Passed where both lie on the right side of 1 with theirs.
    """
    maps = map_size(maps_of(model, cohort, method, targets, by_lead=True))
    if maps.sizes["time"] != len(TIME):  # a network of another rate or a shorter window
        maps = maps.interp(time=TIME)
    names = [str(t) for t in maps["target"].values]
    n, n_windows = cohort.sizes["record"], len(TIME) // _WINDOW
    told_by = maps.values[..., : n_windows * _WINDOW].reshape(n, len(names), n_windows, _WINDOW).mean(axis=3)
    rng = np.random.default_rng(seed)
    said = predict(model, cohort)
    rows = []
    for k, t in enumerate(names):
        rank = np.nan_to_num(told_by[:, k])  # (record, window)
        own = _changes(model, cohort, said[t].values, rank, t, fill)
        steps = np.arange(n_windows) + rng.integers(1, n_windows, (randoms, n, 1))
        moved = [np.take_along_axis(rank, step % n_windows, axis=1) for step in steps]
        chance = np.mean([_changes(model, cohort, said[t].values, m, t, fill) for m in moved], axis=0)
        row: dict[str, float | str] = {"target": t}
        for j, kind in enumerate(("deletion", "insertion")):
            row |= dict(zip((kind, f"{kind}_low", f"{kind}_high"), ratio(own[j], chance[j], cohort), strict=True))
        rows.append(row)
    table = pd.DataFrame(rows).set_index("target")
    ok = ((table["deletion_low"] > 1) & (table["insertion_high"] < 1)).to_numpy()
    verdict = (
        f"Replacing what the map stresses changes predictions {between(table['deletion'])} times as much as replacing "
        f"other spans; keeping only that leaves {between(table['insertion'])} times the error: "
        + told(names, ok, "the map stresses what matters", "it does no better than chance")
    )
    return Check(
        "deletion and insertion", table, verdict, bool(ok.all()), lambda ax: both(ax, table, ("deletion", "insertion"))
    )


def localisation(
    model: nn.Module, cohort: xr.Dataset, targets: Sequence[str] | str | None = None, *, method: str = "gradcam"
) -> Check:
    """Do people's maps differ where the target is measured?

    Returns
    -------
    Check
        Rows ``target``: ``share`` of the departures from the cohort's mean map that lies in the target's own segments
        (for targets without, such as sex: in P to T), with ``low``, ``high``, and ``span``, the segments' share of the
        beat's length, which an even map would give. Passed where `low` exceeds `span`. Heart rate is not judged: it may
        well be read from the neighbours.
    """
    aligned = align(maps_of(model, cohort, method, targets), cohort)
    masks = segments(aligned)
    rows = []
    for t in (str(v) for v in aligned["target"].values):
        own = np.any([masks[s] for s in MEASURED_IN.get(t, tuple(SEGMENTS))], axis=0)
        values = aligned.sel(target=t).transpose("record", "phase").values
        seen = np.isfinite(values)
        mean = np.divide(np.nansum(values, axis=0), seen.sum(axis=0), out=np.zeros(len(own)), where=seen.any(axis=0))
        away = np.where(seen, np.abs(values - mean), 0.0)
        # Flat maps differ by rounding only.
        away = away if away.max() > 1e-6 * np.nanmax(np.abs(values), initial=1e-30) else np.zeros_like(away)
        share, low, high = ratio(away[:, own].sum(axis=1), away.sum(axis=1), cohort)
        rows.append({"target": t, "share": share, "low": low, "high": high, "span": float(own.mean())})
    table = pd.DataFrame(rows).set_index("target")
    judged = table[table.index != "hr"]
    ok = (judged["low"] > judged["span"]).to_numpy()
    verdict = (
        f"{between(100 * judged['share'], 0)} % of what sets people's maps apart lies in the target's own segments, "
    )
    verdict += f"{between(100 * judged['span'], 0)} % of the beat's length: "
    verdict += told(list(judged.index), ok, "maps differ where the target is measured", "they differ elsewhere")
    return Check("localisation", table, verdict, bool(ok.all()) if len(ok) else None, lambda ax: shares(ax, table))


def leads(model: nn.Module, cohort: xr.Dataset, targets: Sequence[str] | str | None = None) -> Check:
    """In which leads and segments does erasing change the prediction? It asks the network alone, not a map.

    Returns
    -------
    Check
        Rows ``target``, ``lead``, ``segment`` (P, PQ, QRS, ST, T, or the rest): ``effect``, the mean absolute change in
        prediction when the segment is erased in the lead, and its ``share`` of the target's sum. A target of one lead
        (``..._v5``) passes where that lead has the largest share; another, where no lead has more than half, which is
        what a mark in one lead would have. All but heart rate must have more than half in P to T.
    """
    spec, wanted, _ = asked_of(model, targets)
    said = predict(model, cohort)
    names = [str(v) for v in cohort["lead"].values]
    inside = {s: _inside(cohort, a, b) for s, (a, b) in SEGMENTS.items()}
    inside["rest"] = ~np.any(list(inside.values()), axis=0)
    rows = []
    for k, lead in enumerate(names):
        for segment, mask in inside.items():
            both = np.zeros((len(mask), len(names), len(TIME)), bool)
            both[:, k] = mask
            erased = predict(model, erase(cohort, both))
            for t in wanted:
                change = np.abs(erased[t].values - said[t].values)[mask.any(axis=1)]
                change = change[np.isfinite(change)]
                size = float(change.mean()) if len(change) else 0.0  # no one has this wave
                rows.append({"target": t, "lead": lead, "segment": segment, "effect": size})
    table = pd.DataFrame(rows).set_index(["target", "lead", "segment"])
    total = table["effect"].groupby("target").transform("sum")
    table["share"] = (table["effect"] / total.where(total > 0)).fillna(0.0)
    by = table["share"].groupby(["target", "lead"], sort=False).sum()
    outside = table["share"].xs("rest", level="segment").groupby("target", sort=False).sum()
    ok, text = [], []
    for t in wanted:
        by_lead, rest = by.xs(t, level="target"), float(outside[t])
        top, most = str(by_lead.idxmax()), float(by_lead.max())
        own = t.rsplit("_", 1)[-1].upper() if t in MEASURED_IN and "_" in t else ""
        usual = top == own if own else most <= 0.5 or len(spec.leads) <= 2
        ok.append(most > 0 and usual and (rest < 0.5 or t == "hr"))
        text.append(f"{t} {top} {100 * most:.0f} %, outside P to T {100 * rest:.0f} %")
    good, bad = "the ECG is read where one would", "it is read in one lead, outside the waves, or nowhere"
    verdict = f"Most of what erasing does: {'; '.join(text)}: " + told(wanted, np.array(ok), good, bad)
    return Check("leads and segments", table, verdict, all(ok), lambda ax: matrix(ax, by))


def response(model: nn.Module, cohort: xr.Dataset, targets: Sequence[str] | str | None = None) -> Check:
    """Does the prediction follow known changes of what it is to measure? It asks the network alone, not a map.

    Returns
    -------
    Check
        The table of `dose_response`. A target passes where its slope on its own edit is, with its interval, more than
        half the slope of the workbench's own measurement; one without an edit of its own (sex), where an edit moves it
        by at least a tenth of its standard deviation between people. Heart rate is not judged: no edit changes it.
    """
    _, wanted, _ = asked_of(model, targets)
    table = dose_response(model, cohort)
    table = table[table.index.get_level_values("target").isin(wanted)]
    said = predict(model, cohort)
    own = {target: name for name, (_, _, target) in DOSES.items()}
    names, ok, text = [], [], []
    for t in table.index.get_level_values("target").unique():
        if t == "hr":
            continue
        names.append(str(t))
        if t in own:
            row = table.loc[(own[t], t)]
            ok.append(bool(row["low"] > 0.5 * row["measured_slope"]))
            text.append(f"{t} {row['slope']:.2f} ({row['low']:.2f} to {row['high']:.2f}; {row['measured_slope']:.2f})")
        else:
            rows, spread = table.xs(t, level="target"), float(said[t].std())
            most = str(rows["moved"].idxmax())
            ok.append(bool(rows["moved"].max() > 0.1 * spread))
            text.append(f"{t} moves most with {most}, by {rows['moved'].max():.2g}, its SD between people {spread:.2g}")
    verdict = f"Slope on its own edit (interval; the workbench's measurement): {'; '.join(text)}: " + told(
        names, np.array(ok), "predictions follow the ECG", "the prediction does not follow the ECG"
    )
    return Check("dose-response", table, verdict, all(ok) if ok else None, lambda ax: responses(ax, table))


def resolution(
    model: nn.Module, cohort: xr.Dataset, targets: Sequence[str] | str | None = None, *, method: str = "gradcam"
) -> Check:
    """What can a map resolve in time?

    Returns
    -------
    Check
        The table of `point_spread`. Passed where the middle half of the map's change is on average narrower than
        100 ms, about a QRS, and its middle less than 50 ms from the bump.
    """
    table = point_spread(model, cohort, targets, method=method)
    names = [str(t) for t in table.index.get_level_values("target").unique()]
    mean = table["width"].groupby("target", sort=False).mean().reindex(names)
    off = table["q50"].abs().groupby("target", sort=False).median().reindex(names)
    ok = ((mean < _QRS_MS) & (off < _QRS_MS / 2)).to_numpy()
    verdict = (
        f"Half of what a small change does to the map spreads over {between(mean, 0)} ms, its middle "
        f"{between(off, 0)} ms off: "
        + told(names, ok, "fine enough to tell QRS from what follows", "too coarse, or in the wrong place")
    )
    return Check("point spread", table, verdict, bool(ok.all()), lambda ax: widths(ax, table, _QRS_MS))


def effect(
    model: nn.Module,
    cohort: xr.Dataset,
    methods: Sequence[str] = VARIANTS,
    targets: Sequence[str] | str | None = None,
) -> Check:
    """Does a map say what blanking a wave does? Judged is the first of the methods; the others stand beside it.

    Returns
    -------
    Check
        The table of `faithfulness`. Passed where the correlation over beats and waves is, with its interval, above 0.5.
    """
    table = faithfulness(model, cohort, methods, targets)
    rows = table.xs("all", level="wave")
    first = pd.DataFrame(rows.xs(methods[0], level="method"))
    ok = (first["r_low"] > AGREE).to_numpy()
    others = "; ".join(f"{m} {between(rows['r'].xs(m, level='method'))}" for m in methods[1:])
    verdict = (
        f"What {methods[0]} gives a wave correlates {between(first['r'])} with what blanking it does, slope "
        f"{between(first['slope'])}{f' ({others})' if others else ''}: "
        + told([str(t) for t in first.index], ok, "the map says what waves do", "it does not say what waves do")
    )
    return Check("map against effect", table, verdict, bool(ok.all()), lambda ax: matrix(ax, rows["r"].swaplevel()))


def trust_panel(
    model: nn.Module,
    cohort: xr.Dataset,
    others: Sequence[nn.Module] = (),
    targets: Sequence[str] | str | None = None,
    *,
    method: str = "gradcam",
) -> Panel:
    """Every check of a network and its maps.

    Parameters
    ----------
    model : nn.Module
        That takes representative beats.
    cohort : Dataset
        Some 200 people it has not seen, and no fewer than 10; their labels are not used.
    others : sequence of nn.Module
        Networks trained alike but for chance, for `consistency`.
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    method : str
        The maps that are judged: a variant of `ecgradcam` or a method of `attribute`.

    Returns
    -------
    Panel
        ``checks``, ``table``, ``verdict``, ``plot()``.

    Raises
    ------
    ModelError
        When the cohort has fewer than 10 people, the network takes rhythms, or target or method is unknown.
    """
    asked_of(model, targets)  # what is wrong is said before minutes of work
    people = len(np.unique(patients_of(cohort)))
    if people < FEWEST:
        raise ModelError(
            f"the cohort has {people} people; verdicts need {FEWEST} or more, and some 200 to be of use. The single "
            "checks of ecgwb.trust ask for no number"
        )
    others = [others] if isinstance(others, nn.Module) else list(others)
    maps_of(model, cohort.isel(record=slice(1)), method, targets)
    beside = [m for m in ("gradcam", "guided", "input_x_gradient", "saliency") if m != method]
    found = [
        response(model, cohort, targets),
        leads(model, cohort, targets),
        randomisation(model, cohort, targets, method=method),
        specificity(model, cohort, targets, method=method),
        consistency(model, others, cohort, targets, method=method),
        agreement(model, cohort, (method, *beside), targets),
        removal(model, cohort, targets, method=method),
        localisation(model, cohort, targets, method=method),
        resolution(model, cohort, targets, method=method),
        effect(model, cohort, (method, *(v for v in VARIANTS if v != method)), targets),
    ]
    return Panel({c.name: c for c in found})


# ---------------------------------------------------------------- their parts


def _inside(cohort: xr.Dataset, first: str, last: str) -> np.ndarray:
    a, b = (cohort["fiducial"].sel(landmark=m).values[:, None] for m in (first, last))
    return (a <= TIME) & (b > TIME)


def _changes(
    model: nn.Module, cohort: xr.Dataset, said: np.ndarray, rank: np.ndarray, target: str, fill: str
) -> np.ndarray:
    """Mean absolute change in prediction (2, record) with the highest-ranked spans erased, and with only them kept."""
    order = np.argsort(np.argsort(-rank, axis=1), axis=1)
    out = np.zeros((2, len(rank)))
    for share in _SHARES:
        chosen = np.repeat(order < round(share * rank.shape[1]), _WINDOW, axis=1)
        for j, mask in enumerate((chosen, ~chosen)):
            out[j] += np.abs(predict(model, erase(cohort, mask, fill))[target].values - said) / len(_SHARES)
    return out
