"""What edits do to predictions: the paper's Table 3, dose-response, the map's point spread, and map against effect.

An edit's effect needs no label, only a known change; intervals are of 1,000 resamplings of patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn

from ..attention.attribution import attribute
from ..attention.gradcam import VARIANTS, asked_of, ecgradcam
from ..cohorts.measurements import TARGETS, UNITS
from ..cohorts.people import patients_of
from ..delineation.landmarks import WAVES
from ..models.accuracy import accuracy_table
from ..models.prediction import model_input, predict
from ..models.spec import ModelError, spec_of
from ..stats import interval, ratio_interval, resampled_sums
from .changes import blank, lift, plant, scale, stretch
from .remeasurement import remeasure

Edit = Callable[[xr.Dataset, str, float], xr.Dataset]
DOSES: dict[str, tuple[Edit, tuple[float, ...], str]] = {  # how, by how much, and the target it changes
    "PR": (stretch, (-40.0, -20.0, 20.0, 40.0), "pr"),
    "QRS": (stretch, (-20.0, -10.0, 10.0, 20.0), "qrs"),
    "QT": (stretch, (-40.0, -20.0, 20.0, 40.0), "qt"),
    "J": (lift, (-100.0, -50.0, 50.0, 100.0), "j_v5"),
    "R": (scale, (0.7, 0.85, 1.15, 1.3), "r_v5"),
    "T": (scale, (0.7, 0.85, 1.15, 1.3), "t_v5"),
}
_PROBED_MS = tuple(range(-250, 451, 50))  # where the point spread is tried
_HELD = (0.05, 0.25, 0.5, 0.75, 0.95)  # shares of a map's change


def blanking_table(model: nn.Module, cohort: xr.Dataset, fill: str = "linear", *, ci: float = 0.95) -> pd.DataFrame:
    """The paper's Table 3: the error per target on intact beats and with P, QRS or T blanked, and with shams.

    The truth stays the intact beat's measurement. A sham blanks a span of the wave's length where there is no wave.

    Parameters
    ----------
    model, cohort : nn.Module, Dataset
        People the network has not seen.
    fill, ci : {"linear", "flat", "mean"}, float
        See `ecgwb.edits.blank`; level of the intervals.

    Returns
    -------
    DataFrame, a row per target
        ``metric`` (MAE in ``unit``, or accuracy as a share), then ``intact``, ``P``, ``QRS``, ``T``, ``sham_P``,
        ``sham_QRS``, ``sham_T``; then for each of these ``_low``, ``_high`` (patient bootstrap), ``_n``, the records
        that have the target and the wave (or room for the sham), and ``_same``, the score of intact beats on just
        these records, which is what to compare with.

    Raises
    ------
    ModelError, when the network takes rhythms, or the cohort has none of its targets.
    ValueError, for an unknown fill.
    """
    _need_beats(model)
    edited = {"intact": cohort} | {w: blank(cohort, w, fill) for w in WAVES}
    edited |= {f"sham_{w}": blank(cohort, w, fill, sham=True) for w in WAVES}
    tables, same = {}, {}
    intact = predict(model, cohort)
    for name, changed in edited.items():
        there = np.isfinite(changed["beat"].values).all(axis=(1, 2))
        if there.any():
            tables[name] = accuracy_table(predict(model, changed), cohort, ci=ci)
            rows = np.flatnonzero(there)
            same[name] = accuracy_table(intact.isel(record=rows), cohort.isel(record=rows), ci=ci)["score"]
    out = tables["intact"][["metric", "unit"]].copy()
    for name in edited:
        out[name] = tables[name]["score"] if name in tables else np.nan
    for name, table in tables.items():
        out[f"{name}_low"], out[f"{name}_high"], out[f"{name}_n"] = table["low"], table["high"], table["n"]
        out[f"{name}_same"] = same[name]
    return out


def dose_response(
    model: nn.Module, cohort: xr.Dataset, *, ci: float = 0.95, measured: bool = True, seen_only: bool = False
) -> pd.DataFrame:
    """How a prediction follows known changes of the beat, beside how the workbench's own measurement follows them.

    Every beat is edited by several doses: PR and QT by up to 40 ms, QRS by up to 20 ms, J by up to 100 µV, R and T by
    up to 30 %. The change in prediction is regressed on the change made, through the origin, as no edit is no change.

    Parameters
    ----------
    model, cohort, ci : nn.Module, Dataset, float
        Labels are not used; level of the intervals.
    measured : bool
        Also delineate the edited beats anew (`remeasure`), at the smallest and largest dose: 15 ms a beat and dose.
    seen_only : bool
        Leave out edited beats that leave the 1st to 99th percentile of the cohort (their ``outside`` is not empty).

    Returns
    -------
    DataFrame, rows ``edit`` and ``target``
        ``slope`` with ``low``, ``high``: change in prediction per unit of change made, which for J, R and T is the
        change in V5; ``unit``; ``n`` records; ``moved``: mean absolute change in prediction at the largest doses;
        ``outside``: the share of edited beats that leave what was seen; ``measured_slope``, ``measured_low``,
        ``measured_high``: the same of the workbench's own measurement, which is what a perfect network would give (a
        wider QRS is a longer QT); NaN for targets the workbench does not measure from the beat.

    Raises
    ------
    ModelError, when the network takes rhythms.
    """
    _need_beats(model)
    spec = spec_of(model)
    measured = measured and any(t in TARGETS for t in spec.targets)
    intact, said = plant(cohort, 0.0, 0.0), predict(model, cohort)
    anew = remeasure(cohort) if measured else cohort
    patient = patients_of(cohort)
    rows = []
    for name, (edit, doses, own) in DOSES.items():
        made, changes, ours, n_outside = [], [], [], []
        for dose in doses:
            edited = edit(cohort, name, dose)
            x = edited[own].values - intact[own].values
            x = np.where((edited["outside"].values == "") | (not seen_only), x, np.nan)
            made.append(x)
            n_outside.append((edited["outside"].values != "")[np.isfinite(edited[own].values)])
            y = predict(model, edited)
            changes.append({t: y[t].values - said[t].values for t in spec.targets})
            if measured and dose in (doses[0], doses[-1]):
                again = remeasure(edited)
                ours.append((x, {t: again[t].values - anew[t].values for t in TARGETS}))
        outside = float(np.concatenate(n_outside).mean()) if len(np.concatenate(n_outside)) else np.nan
        for t in spec.targets:
            row: dict[str, Any] = {"edit": name, "target": t, "unit": f"{spec.unit(t) or '1'} per {UNITS[own]}"}
            row |= _through_origin(made, [c[t] for c in changes], patient, ci)
            ends = np.abs([changes[0][t], changes[-1][t]])
            row["moved"] = float(ends[np.isfinite(ends)].mean()) if np.isfinite(ends).any() else np.nan
            row["outside"] = outside
            known = ours and t in TARGETS and t != "hr"
            theirs = _through_origin([x for x, _ in ours], [c[t] for _, c in ours], patient, ci) if known else {}
            row |= {f"measured_{k}": theirs.get(k, np.nan) for k in ("slope", "low", "high")}
            rows.append(row)
    return pd.DataFrame(rows).set_index(["edit", "target"])


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
    model, cohort, targets, ci : as in `faithfulness`
    method : str
        A variant of `ecgradcam`, or a method of `attribute`, whose leads are summed.
    at_ms, uv, width_ms : sequence of float, float, float
        A bump `uv` (µV) high, `width_ms` wide at half its height, is added to all leads at each of `at_ms` in turn.

    Returns
    -------
    DataFrame, rows ``target`` and ``at`` (ms)
        ``q05`` to ``q95``: within how many ms of the bump that share of the map's absolute change, averaged over
        records, lies (``q50``: its middle, 0 where maps sit where the ECG is read); ``width`` (ms): the middle half,
        ``q75`` - ``q25``, with ``low``, ``high``; ``width90``: ``q95`` - ``q05``; ``change``: mean absolute change of
        the map over time, 0 where it does not answer at all, in which case the widths are NaN.

    Raises
    ------
    ModelError, when the network takes rhythms, or for an unknown target or method.
    """
    _need_beats(model)
    before = maps_of(model, cohort, method, targets)
    time = before["time"].values
    patient = patients_of(cohort)
    rows = []
    for at in at_ms:
        after = maps_of(model, plant(cohort, at, uv, width_ms=width_ms), method, targets)
        moved = np.abs(after.values - before.values)  # (record, target, time)
        usable = np.isfinite(moved).all(axis=(1, 2))
        for k, t in enumerate(before["target"].values):
            profile = np.where(usable[:, None], moved[:, k], 0.0)  # (record, time)
            row: dict[str, Any] = {"target": str(t), "at": float(at), "change": float(moved[usable, k].mean())}
            if row["change"] > 0:
                q = _quantiles(profile.sum(axis=0)[None], time)[0]
                row |= {f"q{round(100 * h):02d}": v - at for h, v in zip(_HELD, q, strict=True)}
                row |= {"width": q[3] - q[1], "width90": q[4] - q[0]}
                drawn = _quantiles(resampled_sums(profile, patient), time)
                row["low"], row["high"] = interval(drawn[:, 3] - drawn[:, 1], ci)
            rows.append(row)
    columns = ["target", "at", *(f"q{round(100 * h):02d}" for h in _HELD), "width", "low", "high", "width90", "change"]
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
    """Per beat, what a map says a wave contributes against what blanking that wave takes from the prediction.

    A wave's contribution is the map's part of the prediction within the wave (its sum, or its sum over the beat's
    samples where the mean adds up); for gradients, which are per µV, the map times what blanking takes away; for
    occlusion, the waves' effects lead by lead, summed over leads.

    Parameters
    ----------
    model, cohort : nn.Module, Dataset; labels are not used
    methods : sequence of str, variants of `ecgradcam` and methods of `attribute`
    targets : str or sequence of str, some of ``model.spec.targets``; all by default
    fill, ci : str, float; see `blank`, and level of the intervals

    Returns
    -------
    DataFrame, rows ``method``, ``target`` and ``wave`` ("P", "QRS", "T", or "all" three together)
        ``slope`` of effect on contribution over beats, with ``low``, ``high``: 1 where the map says in the target's
        unit what the wave does; maps without a unit have a slope without a meaning. ``r``, their correlation, with
        ``r_low``, ``r_high``; 0 where the map gives every beat the same, or nothing has an effect. ``n`` beats.

    Raises
    ------
    ModelError, when the network takes rhythms, or for an unknown target or method.
    ValueError, for an unknown fill.
    """
    _need_beats(model)
    _, wanted, _ = asked_of(model, targets)
    said = predict(model, cohort)
    x, _ = model_input(model, cohort)
    spec, patient = spec_of(model), patients_of(cohort)
    time = spec.start_ms + np.arange(spec.n_samples) * 1000.0 / spec.fs
    blanked = {w: blank(cohort, w, fill) for w in WAVES}
    without = {w: predict(model, b) for w, b in blanked.items()}
    effects = {(t, w): said[t].values - without[w][t].values for t in wanted for w in WAVES}
    rows = []
    for method in [methods] if isinstance(methods, str) else methods:
        maps = maps_of(model, cohort, method, wanted, by_lead=True)
        values = maps.values if "lead" in maps.dims else maps.values[:, :, None]  # (record, target, lead, time)
        kind = str(maps.attrs["method"])
        parts: dict[str, np.ndarray] = {}
        for w, b in blanked.items():
            a, z = b["blanked"].values.T[:, :, None]
            inside = ((time >= a) & (time <= z)).astype(float)  # (record, time)
            if kind in ("saliency", "smoothgrad"):
                taken = (x - model_input(model, b)[0]) / spec.scale  # (record, lead, time)
                parts[w] = np.einsum("rklt,rlt,rt->rk", values, taken, inside)
            else:
                over = spec.n_samples if kind.startswith("ecgradcam") else 1.0
                over = np.maximum(inside.sum(axis=1), 1)[:, None] if kind == "occlusion" else over
                parts[w] = np.einsum("rklt,rt->rk", values, inside) / over
        for k, t in enumerate(wanted):
            for w in (*WAVES, "all"):
                names = list(WAVES) if w == "all" else [w]
                c, e = (np.concatenate(v) for v in ([parts[v][:, k] for v in names], [effects[t, v] for v in names]))
                row = _regression(c, e, np.tile(patient, len(names)), ci)
                rows.append({"method": method, "target": t, "wave": w} | row)
    return pd.DataFrame(rows).set_index(["method", "target", "wave"])


def maps_of(
    model: nn.Module,
    cohort: xr.Dataset,
    method: str,
    targets: Sequence[str] | str | None = None,
    *,
    by_lead: bool = False,
) -> xr.DataArray:
    """Maps (record, target, [lead,] time) by a variant of `ecgradcam` or a method of `attribute`."""
    if method in VARIANTS:
        return ecgradcam(model, cohort, targets, variant=method)
    maps = attribute(model, cohort, method, targets)
    return maps if by_lead or "lead" not in maps.dims else maps.sum("lead", skipna=False, keep_attrs=True)


def _need_beats(model: nn.Module) -> None:
    if spec_of(model).input != "beat":
        raise ModelError("edits work on representative beats; this network takes rhythms")


def _through_origin(
    made: list[np.ndarray], change: list[np.ndarray], patient: np.ndarray, ci: float
) -> dict[str, float]:
    """Slope with its interval, and the records it is of."""
    x, y = np.stack(made), np.stack(change)  # (dose, record)
    ok = np.isfinite(x) & np.isfinite(y)
    x, y = np.where(ok, x, 0.0), np.where(ok, y, 0.0)
    if not (x != 0).any():
        return {"slope": np.nan, "low": np.nan, "high": np.nan, "n": 0}
    slope = ratio_interval((x * y).sum(axis=0), (x * x).sum(axis=0), patient, ci)
    return {"slope": slope.value, "low": slope.low, "high": slope.high, "n": int(ok.any(axis=0).sum())}


def _regression(x: np.ndarray, y: np.ndarray, patient: np.ndarray, ci: float) -> dict[str, float]:
    """Slope of y on x and their correlation, with intervals."""
    ok = np.isfinite(x) & np.isfinite(y)
    x, y = (np.where(ok, v - v[ok].mean(), 0.0) if ok.any() else np.zeros_like(v) for v in (x, y))
    sums = np.stack([ok.astype(float), x, y, x * x, x * y, y * y], axis=1)  # (record, 6)

    def fit(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n, sx, sy, sxx, sxy, syy = s.T
        vx, vy, cov = n * sxx - sx**2, n * syy - sy**2, n * sxy - sx * sy
        fine = (vx > 1e-12 * n * sxx.max()) & (vy > 1e-12 * n * syy.max())
        return (
            np.divide(cov, vx, out=np.zeros_like(cov), where=fine),
            np.divide(cov, np.sqrt(np.where(fine, vx * vy, 1.0)), out=np.zeros_like(cov), where=fine),
        )

    (slope,), (r,) = fit(sums.sum(axis=0)[None])
    slopes, rs = fit(resampled_sums(sums, patient))
    (low, high), (r_low, r_high) = interval(slopes, ci), interval(rs, ci)
    return {"slope": slope, "low": low, "high": high, "r": r, "r_low": r_low, "r_high": r_high, "n": int(ok.sum())}


def _quantiles(profiles: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Times (profile, share) by which the shares `_HELD` of each profile (profile, time) have passed."""
    total = profiles.sum(axis=1, keepdims=True)
    passed = np.cumsum(profiles, axis=1) / total
    half = (time[1] - time[0]) / 2
    return np.stack([np.interp(_HELD, row, time + half) for row in passed])
