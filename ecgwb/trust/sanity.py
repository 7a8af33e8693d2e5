"""Checks of maps that edit nothing: do they depend on what the network learned, and would others say the same?"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import nn

from ..edits.effects import maps_of
from ..models.spec import ModelError
from .checks import AGREE, SAME, Check, between, correlation, dots, lines, map_size, matrix, mean_r, nothing, told

_HALF = 0.5**0.5  # correlation with which a map shares half of another's variance


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

    Every tensor of weights is shuffled in place, which keeps their sizes: the head's first, then also those of the last
    layers, and so on. A map that stays does not show what was learned.

    Returns
    -------
    Check
        Rows ``target`` and ``shuffled`` (share of the layers that have weights): ``r``, the mean over records and
        `seeds` of the absolute correlation over time with the true map. Passed where it is, with its interval, below
        0.9 with the head alone, and below 0.71, half the variance, with all layers.
    """
    true = maps_of(model, cohort, method, targets)
    layers = [n for n, m in model.named_modules() if any(True for _ in m.parameters(recurse=False))]
    if not layers:
        raise ModelError("the network has no weights to shuffle")
    counts = sorted({1, *(round(len(layers) * k / (stages - 1)) for k in range(1, stages))}) if stages > 1 else [1]
    found: dict[tuple[str, float], list[np.ndarray]] = {}
    for seed in range(seeds):
        for count in counts:
            maps = maps_of(_shuffled(model, layers[-count:], seed), cohort, method, targets)
            r = np.abs(correlation(true.values, maps.values))  # (record, target)
            for k, t in enumerate(true["target"].values):
                found.setdefault((str(t), count / len(layers)), []).append(r[:, k])
    rows = [
        {"target": t, "shuffled": share} | mean_r(np.mean(r, axis=0), cohort) for (t, share), r in sorted(found.items())
    ]
    table = pd.DataFrame(rows).set_index(["target", "shuffled"])
    names = list(dict.fromkeys(t for t, _ in found))
    r, high = (table[c].unstack("shuffled").loc[names] for c in ("r", "high"))
    low = ((high.iloc[:, 0] < SAME) & (high.iloc[:, -1] < _HALF)).to_numpy()
    verdict = (
        f"With its head shuffled, maps still correlate {between(r.iloc[:, 0])} with the true ones, with all layers "
        f"shuffled {between(r.iloc[:, -1])}: "
        + told(names, low, "they show what was learned", "they hardly depend on it")
    )
    return Check("weight randomisation", table, verdict, bool(low.all()), lambda ax: lines(ax, table, "shuffled", "r"))


def specificity(
    model: nn.Module, cohort: xr.Dataset, targets: Sequence[str] | str | None = None, *, method: str = "gradcam"
) -> Check:
    """Do the maps of one network tell its targets apart?

    Returns
    -------
    Check
        Rows ``target`` and ``other``: ``r``, the mean over records of the absolute correlation over time of their maps.
        A target passes where it is, with its interval, below 0.9 with all others; maps of variant "published" give 1.
    """
    maps = maps_of(model, cohort, method, targets)
    names = [str(t) for t in maps["target"].values]
    rows = []
    for a, b in combinations(range(len(names)), 2):
        row = mean_r(np.abs(correlation(maps.values[:, a], maps.values[:, b])), cohort)
        rows += [{"target": names[a], "other": names[b]} | row, {"target": names[b], "other": names[a]} | row]
    if not rows:
        table = pd.DataFrame(columns=["target", "other", "r", "low", "high", "n"]).set_index(["target", "other"])
        return Check("target specificity", table, f"{names[0]} is the only target.", None, nothing)
    table = pd.DataFrame(rows).set_index(["target", "other"])
    most = table["high"].groupby("target", sort=False).max().reindex(names)
    apart = (most < SAME).to_numpy()
    verdict = f"Maps of different targets correlate {between(table['r'].to_numpy())}: " + told(
        names, apart, "each target has its own", "another target's is the same"
    )
    return Check("target specificity", table, verdict, bool(apart.all()), lambda ax: matrix(ax, table["r"]))


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
    others : sequence of nn.Module
        With the same targets.

    Returns
    -------
    Check
        Rows ``target`` and ``pair``: ``r``, the mean over records of the correlation over time of their departures from
        the cohort's mean map, and ``r_map`` that of the maps as they are, which also agree on what all beats share.
        Passed where `r` is, with its interval, above 0.5 in every pair.
    """
    if not others:
        table = pd.DataFrame(columns=["target", "pair", "r", "low", "high", "n"]).set_index(["target", "pair"])
        return Check("seed consistency", table, "No other network was given to compare with.", None, nothing)
    maps = [maps_of(m, cohort, method, targets) for m in (model, *others)]
    names = [str(t) for t in maps[0]["target"].values]
    rows = []
    for a, b in combinations(range(len(maps)), 2):
        one, two = maps[a].values, maps[b].sel(target=names).values
        away = correlation(one - np.nanmean(one, axis=0), two - np.nanmean(two, axis=0))
        whole = correlation(one, two)
        for k, t in enumerate(names):
            rows.append({"target": t, "pair": f"{a}-{b}"} | mean_r(away[:, k], cohort))
            rows[-1]["r_map"] = mean_r(whole[:, k], cohort)["r"]
    table = pd.DataFrame(rows).set_index(["target", "pair"])
    least = table["low"].groupby("target", sort=False).min().reindex(names)
    alike = (least > AGREE).to_numpy()
    verdict = (
        f"What sets a person's map apart correlates {between(table['r'].to_numpy())} between {len(maps)} networks: "
        + told(names, alike, "they agree on the person", "another training would tell another story")
    )
    return Check("seed consistency", table, verdict, bool(alike.all()), lambda ax: dots(ax, table["r"], AGREE))


def agreement(
    model: nn.Module,
    cohort: xr.Dataset,
    methods: Sequence[str] = ("gradcam", "guided", "input_x_gradient", "saliency"),
    targets: Sequence[str] | str | None = None,
) -> Check:
    """Do other methods point to the same moments of the beat as the first?

    Compared are the maps' sizes, leads summed up, over time: their distance from their own median, as most of a beat is
    baseline, blurred by 20 ms, as methods differ in sharpness.

    Returns
    -------
    Check
        Rows ``target``, ``method`` and ``other``: ``r``, the mean correlation over time with its interval; ``r_mixed``
        that with another record's map, which shows how much any two beats would agree. A target passes where the
        lower ends of the intervals of the first method's `r` with the others are above 0.5 on average.
    """
    if len(methods) < 2:
        return Check("method agreement", pd.DataFrame(), f"{methods[0]} is the only method.", None, nothing)
    sizes = {m: map_size(maps_of(model, cohort, m, targets, by_lead=True)) for m in methods}
    names = [str(t) for t in sizes[methods[0]]["target"].values]
    rows = []
    for one, two in combinations(methods, 2):
        r = correlation(sizes[one].values, sizes[two].values)
        mixed = correlation(sizes[one].values, np.roll(sizes[two].values, 1, axis=0))
        for k, t in enumerate(names):
            rows.append({"target": t, "method": one, "other": two} | mean_r(r[:, k], cohort))
            rows[-1]["r_mixed"] = mean_r(mixed[:, k], cohort)["r"]
    table = pd.DataFrame(rows).set_index(["target", "method", "other"])
    first = table.xs(methods[0], level="method")[["r", "low"]].groupby("target", sort=False).mean().reindex(names)
    alike = (first["low"] > AGREE).to_numpy()
    verdict = (
        f"{methods[0]} correlates {between(first['r'].to_numpy())} over time with {', '.join(methods[1:])} on average: "
        + told(names, alike, "they point to the same moments", "they point elsewhere")
    )
    pairs = table["r"].xs(methods[0], level="method")
    return Check("method agreement", table, verdict, bool(alike.all()), lambda ax: matrix(ax, pairs))


def _shuffled(model: nn.Module, layers: Sequence[str], seed: int) -> nn.Module:
    copied = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    modules = dict(copied.named_modules())
    with torch.no_grad():
        for name in layers:
            for p in modules[name].parameters(recurse=False):
                order = torch.randperm(p.numel(), generator=generator).to(p.device)
                p.copy_(p.flatten()[order].reshape(p.shape))
    return copied
