"""Maps beside effects: where a map changes when the ECG does, and whether it says what taking a wave away does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn

from ..attention.alignment import align
from ..attention.attribution import METHODS, attribute
from ..attention.gradcam import VARIANTS, asked_of
from ..cohorts.cycles import inside_spans
from ..cohorts.guards import check
from ..cohorts.people import patients_of
from ..delineation.landmarks import LANDMARKS, WAVES, R
from ..models.prediction import model_input, predict
from ..models.spec import ModelError, spec_of
from ..stats import interval, resampled_sums
from .changes import blank, plant
from .edit_maps import edit_map
from .effects import for_network

_PROBED_MS = tuple(range(-250, 451, 50))  # where the point spread is tried
_QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}  # of a map's change over time


def check_method(method: str) -> None:
    """Refuses what is neither a method of `attribute` nor "edit map"."""
    known = ("edit map", "ecgradcam", *VARIANTS, "occlusion", *METHODS)
    if method not in known:
        raise ModelError(f"unknown method {method!r}; expected one of {', '.join(known)}")


def maps_by(
    model: nn.Module,
    cohort: xr.Dataset,
    method: str,
    targets: Sequence[str] | str | None = None,
    *,
    among: xr.Dataset | None = None,
) -> xr.DataArray:
    """Maps (record, target, [lead,] time) by any method of `attribute`, or "edit map", against `among`."""
    check_method(method)
    if method == "edit map":
        return edit_map(model, cohort, targets, among=among)
    return attribute(model, cohort, method, targets)


def time_maps(
    model: nn.Module,
    cohort: xr.Dataset,
    method: str,
    targets: Sequence[str] | str | None = None,
    *,
    among: xr.Dataset | None = None,
) -> xr.DataArray:
    """Those of `maps_by`, summed over leads (record, target, time)."""
    maps = maps_by(model, cohort, method, targets, among=among)
    return maps.sum("lead", skipna=False, keep_attrs=True) if "lead" in maps.dims else maps


def on_beats(model: nn.Module, maps: xr.DataArray, cohort: xr.Dataset) -> xr.DataArray:
    """Maps of recordings as each record's mean over its cycles, in the time of a beat; those of beats as they are.

    Cycles are put together by their R alone: nothing is warped. Beyond a cycle's own part, which ends in the middle
    between T and P, the map's median stands, so that it stresses nothing there.

    Parameters
    ----------
    model : nn.Module
        Whose maps they are.
    maps : DataArray (record, ..., time)
    cohort : Dataset
    """
    if spec_of(model).input == "beat":
        return maps
    out = by_r(maps, cohort, keep_sum=False)
    return out.fillna(out.median("time")).transpose(*maps.dims).assign_attrs(maps.attrs)


def by_r(maps: xr.DataArray, cohort: xr.Dataset, *, keep_sum: bool | None = None) -> xr.DataArray:
    """Maps of recordings as one beat each (record, ..., time), cycles put together by their R alone.

    Parameters
    ----------
    maps : DataArray (record, ..., time)
    cohort : Dataset
    keep_sum : bool, optional
        Whether cycles are added up, or averaged; by default as in `align`.

    Returns
    -------
    DataArray (record, ..., time)
        ms from R; NaN where no cycle's own part reaches.
    """
    only_r = np.where(np.arange(len(LANDMARKS)) == R, 0.0, np.nan)
    template = xr.DataArray(only_r, dims="landmark", coords={"landmark": list(LANDMARKS)})
    return align(maps, cohort, template, keep_sum=keep_sum).rename(phase="time")


def point_spread(
    model: nn.Module,
    cohort: xr.Dataset,
    targets: Sequence[str] | str | None = None,
    *,
    method: str = "gradcam",
    at_ms: Sequence[float] = _PROBED_MS,
    uv: float = 50.0,
    width_ms: float = 8.0,
    ci: float = 0.95,
) -> pd.DataFrame:
    """Where a map changes when the ECG changes at one moment: what a map can resolve in time.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    cohort : Dataset
        Its labels are not used.
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    method : str
        "edit map", a variant of `ecgradcam`, or a method of `attribute`, whose leads are summed.
    at_ms : sequence of float
        A bump is added to all leads at each of these moments in turn, in recordings to every beat; their maps' changes
        are averaged over beats.
    uv : float
        How high it is.
    width_ms : float
        How wide it is at half its height.
    ci : float
        Level of the intervals, 0 to 1.

    Returns
    -------
    DataFrame
        Rows ``target`` and ``at`` (ms).

        - ``q05``, ``q25``, ``q50``, ``q75``, ``q95``: within how many ms of the bump that share of the map's absolute
          change, averaged over records, lies; ``q50`` is its middle, 0 where maps sit where the ECG is read;
        - ``width``: the middle half, ``q75`` - ``q25`` (ms), with ``low`` and ``high``;
        - ``width90``: ``q95`` - ``q05``;
        - ``change``: mean absolute change of the map over time. Where it is 0, the map does not change at all, and the
          columns above are NaN.

    Raises
    ------
    ModelError
        For an unknown target or method, or a cohort without what the network takes.
    """
    cohort = for_network(model, check(cohort, "hr"))
    before, patient, rows = time_maps(model, cohort, method, targets), patients_of(cohort), []
    for at in at_ms:
        after = time_maps(model, plant(cohort, at, uv, width_ms=width_ms), method, targets, among=cohort)
        change, time = np.abs(after.values - before.values), before["time"].values  # (record, target, time)
        if spec_of(model).input == "rhythm":
            folded = by_r(before.copy(data=change), cohort, keep_sum=False)
            change, time = _zero_beyond(folded.values), folded["time"].values
        usable = np.isfinite(change).all(axis=(1, 2))
        for k, t in enumerate(before["target"].values):
            profile = np.where(usable[:, None], change[:, k], 0.0).astype(float)  # (record, time)
            mean = float(change[usable, k].mean()) if usable.any() else np.nan
            row: dict[str, Any] = {"target": str(t), "at": float(at), "change": mean}
            if mean > 0:
                when = _quantiles(profile.sum(axis=0)[None], time)[0]
                row |= dict(zip(_QUANTILES, when - at, strict=True))
                row |= {"width": when[3] - when[1], "width90": when[4] - when[0]}
                drawn = _quantiles(resampled_sums(profile, patient), time)
                row["low"], row["high"] = interval(drawn[:, 3] - drawn[:, 1], ci)
            rows.append(row)
    columns = ["target", "at", *_QUANTILES, "width", "low", "high", "width90", "change"]
    return pd.DataFrame(rows, columns=columns).set_index(["target", "at"]).sort_index()


def faithfulness(
    model: nn.Module,
    cohort: xr.Dataset,
    methods: Sequence[str] = VARIANTS,
    targets: Sequence[str] | str | None = None,
    *,
    fill: str = "linear",
    ci: float = 0.95,
) -> pd.DataFrame:
    """Per record, what a map says a wave contributes against what blanking that wave takes from the prediction.

    A wave's contribution is the map's part of the prediction within the wave: its sum, or its sum over the beat's
    samples where the mean adds up. For gradients, which are per µV, it is the map times what blanking takes away; for
    occlusion, the waves' effects lead by lead, summed over leads.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    cohort : Dataset
        Its labels are not used.
    methods : sequence of str
        "edit map", variants of `ecgradcam` and methods of `attribute`.
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    fill : {"linear", "flat", "mean"}
        See `blank`.
    ci : float
        Level of the intervals, 0 to 1.

    Returns
    -------
    DataFrame
        Rows ``method``, ``target`` and ``wave`` ("P", "QRS", "T", or "all" three together).

        - ``slope`` of effect on contribution over beats, with ``low`` and ``high``: 1 where the map says in the
          target's unit what the wave does. Maps without a unit have a slope without a meaning;
        - ``r``, their correlation, with ``r_low`` and ``r_high``; 0 where the map gives every beat the same, or nothing
          has an effect;
        - ``n``: beats.

    Raises
    ------
    ModelError
        For an unknown target or method, or a cohort without what the network takes.
    ValueError
        For an unknown fill.
    """
    cohort = for_network(model, check(cohort))
    spec, names, _ = asked_of(model, targets)
    patient = patients_of(cohort)
    blanked = {w: blank(cohort, w, fill) for w in WAVES}
    predictions, x = predict(model, cohort), model_input(model, cohort)[0]
    without = {w: predict(model, b) for w, b in blanked.items()}
    taken = {w: (x - model_input(model, b)[0]) / spec.scale for w, b in blanked.items()}  # (record, lead, time), µV
    rows = []
    for method in [methods] if isinstance(methods, str) else methods:
        maps = maps_by(model, cohort, method, names)
        given = {w: _contribution(maps, _spans(blanked[w]), taken[w]) for w in WAVES}  # (record, target)
        for k, t in enumerate(names):
            effect = {w: predictions[t].values - without[w][t].values for w in WAVES}
            for wave in (*WAVES, "all"):
                waves = list(WAVES) if wave == "all" else [wave]
                contributions = np.concatenate([given[w][:, k] for w in waves])
                effects = np.concatenate([effect[w] for w in waves])
                row = _regression(contributions, effects, np.tile(patient, len(waves)), ci)
                rows.append({"method": method, "target": t, "wave": wave} | row)
    return pd.DataFrame(rows).set_index(["method", "target", "wave"])


def _spans(blanked: xr.Dataset) -> np.ndarray:
    """Where a wave was blanked (record, wave, edge), ms: in the beat, or in each of a recording."""
    return blanked["cycle_blanked"].values if "cycle_blanked" in blanked else blanked["blanked"].values[:, None]


def _zero_beyond(folded: np.ndarray) -> np.ndarray:
    """Folded maps (record, ..., time) with 0 where no cycle reaches; NaN for records without a map."""
    known = np.isfinite(folded).any(axis=-1, keepdims=True)
    return np.where(known, np.nan_to_num(folded), np.nan)


def _contribution(maps: xr.DataArray, spans: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """What maps give to one wave: (record, target).

    Parameters
    ----------
    maps : DataArray (record, target, time) or (record, target, lead, time)
    spans : array (record, wave, edge), ms
        Where the wave lies, or in recordings each of its kind.
    taken : array (record, lead, time), µV
        What blanking the wave takes away.
    """
    values = maps.values if "lead" in maps.dims else maps.values[:, :, None]
    time, method = maps["time"].values, str(maps.attrs["method"])
    inside = inside_spans(spans, time).astype(float)  # (record, time)
    if method in ("saliency", "smoothgrad"):
        return np.einsum("rklt,rlt,rt->rk", values, taken, inside)
    total = np.einsum("rklt,rt->rk", values, inside)
    if method.startswith("ecgradcam"):  # whose mean over time, not sum, is the prediction
        return total / len(time)
    if method == "occlusion":  # which gives the wave's whole effect at each of its samples
        return total / np.maximum(inside.sum(axis=1), 1)[:, None]
    return total


def _regression(x: np.ndarray, y: np.ndarray, patient: np.ndarray, ci: float) -> dict[str, float]:
    """Slope of y on x and their correlation, with intervals."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = (np.where(known, v - v[known].mean(), 0.0) if known.any() else np.zeros_like(v) for v in (x, y))
    sums = np.stack([known.astype(float), x, y, x * x, x * y, y * y], axis=1)  # (record, 6)
    (slope,), (r,) = _slope_and_r(sums.sum(axis=0)[None])
    slopes, rs = _slope_and_r(resampled_sums(sums, patient))
    (low, high), (r_low, r_high) = interval(slopes, ci), interval(rs, ci)
    return {"slope": slope, "low": low, "high": high, "r": r, "r_low": r_low, "r_high": r_high, "n": int(known.sum())}


def _slope_and_r(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and correlation from sums (draw, 6) of 1, x, y, xx, xy and yy; 0 where x or y does not vary."""
    n, sx, sy, sxx, sxy, syy = sums.T
    var_x, var_y, cov = n * sxx - sx**2, n * syy - sy**2, n * sxy - sx * sy
    varies = (var_x > 1e-12 * n * sxx.max()) & (var_y > 1e-12 * n * syy.max())
    slope = np.divide(cov, var_x, out=np.zeros_like(cov), where=varies)
    r = np.divide(cov, np.sqrt(np.where(varies, var_x * var_y, 1.0)), out=np.zeros_like(cov), where=varies)
    return slope, r


def _quantiles(profiles: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Times (profile, quantile) by which the shares `_QUANTILES` of each profile (profile, time) have passed."""
    passed = np.cumsum(profiles, axis=1) / profiles.sum(axis=1, keepdims=True)
    half_step = (time[1] - time[0]) / 2
    return np.stack([np.interp(list(_QUANTILES.values()), row, time + half_step) for row in passed])
