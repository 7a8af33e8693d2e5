"""Cohort maps: the mean over people of what was aligned, with bands from resampling patients."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from ..cohorts.people import patients_of
from ..delineation.landmarks import LANDMARKS, SEGMENTS
from ..stats import RESAMPLES, interval, name_hash, patient_weights, resampled_sums
from .alignment import need_aligned

MEASURED_IN = {  # the segments that hold a target's landmarks, or its voltage
    "pr": ("P", "PQ", "QRS"),
    "qrs": ("QRS",),
    "qt": ("QRS", "T"),
    "j_v5": ("QRS", "ST"),
    "r_v5": ("QRS",),
    "t_v5": ("T",),
}
_MOST_GROUPS = 20
_AT_ONCE = 1000  # records summed together
_FEWEST = 4  # patients that a band needs


def cohort_map(aligned: xr.DataArray, by: str | None = None, ci: float = 0.95, *, seed: int = 0) -> xr.Dataset:
    """Mean over records with a band that holds the whole curve with probability `ci`.

    Patients, not records, are resampled (1,000 times). The band is the mean plus and minus the same multiple of its
    standard error at every phase; the multiple is the `ci` quantile, over the resamplings, of the largest deviation
    along the curve in standard errors (a bootstrap sup-t band, Montiel Olea & Plagborg-Møller 2019), widened from the
    normal to the t distribution for the number of patients. It is ``finish_map(map_sums(aligned))``: for more records
    than memory holds, make the sums of each part, and `merge_maps` them.

    Parameters
    ----------
    aligned : DataArray (record, ..., phase)
        From `align`; its ``patient`` coordinate says who is who (each record is its own patient where there is none).
        A dimension ``seed`` holds the maps of networks that differ by their training's seed alone.
    by : str, optional
        A coordinate of record, such as ``"sex"``: one map per value, along a dimension of that name; none if empty.
    ci, seed : float, int; the band's level, 0 to 1, and the resamplings' seed

    Returns
    -------
    Dataset
        ``mean``, ``low``, ``high`` (..., phase); ``sd``, between records; ``n``, records that show that phase;
        ``patients``. Bands need about five people; with fewer they are NaN, at single phases or throughout. With
        several seeds these are of the seeds' mean map, and ``seed_sd`` (..., phase) is the SD between the seeds' cohort
        means: the band says what other people would change, ``seed_sd`` what another training would.

    Raises
    ------
    ValueError, as `map_sums` and `finish_map`.
    """
    if "record" in aligned.dims and not aligned.sizes["record"]:
        raise ValueError("there is no record to average")
    return finish_map(map_sums(aligned, by, seed=seed), ci)


def map_sums(aligned: xr.DataArray, by: str | None = None, *, seed: int = 0) -> xr.Dataset:
    """What a cohort map is made of, as sums that add: those of two parts of a cohort make those of the whole.

    A resampling weighs every patient by a Poisson number of mean 1 that follows from the patient's name and `seed`
    alone (the Poisson bootstrap, Chamandy et al. 2012), so that all parts of a cohort draw the same patients.

    Parameters
    ----------
    aligned, by, seed : as in `cohort_map`

    Returns
    -------
    Dataset of ``total``, ``square``, ``count`` (..., phase); ``draw_total``, ``draw_count`` (draw, ..., phase);
        ``records`` (who): each patient's, by a hash of the name. See `merge_maps` and `finish_map`.

    Raises
    ------
    ValueError, when `by` is no coordinate of record or has more than 20 values, or maps are not aligned.
    """
    need_aligned(aligned)
    nets = aligned if "seed" in aligned.dims else None
    mean = aligned if nets is None else aligned.mean("seed", skipna=False, keep_attrs=True)
    mean = mean.transpose("record", ..., "phase")
    dims, shape = mean.dims[1:], mean.shape[1:]
    names = patients_of(aligned)
    who = np.array([int.from_bytes(name_hash(n)[:8], "big") for n in names], dtype=np.uint64)
    parts = []
    groups = _groups(aligned, by)
    for rows in groups.values() or [np.array([], dtype=int)]:
        total, square, count = (np.zeros(shape) for _ in range(3))
        draw_total, draw_count = (np.zeros((RESAMPLES, *shape)) for _ in range(2))
        for some in np.split(rows, range(_AT_ONCE, len(rows), _AT_ONCE)):
            if not len(some):
                continue
            x = mean.values[some].astype(np.float64)
            seen = np.isfinite(x)
            x[~seen] = 0.0
            weights = patient_weights(names[some], seed)
            total += x.sum(axis=0)
            square += (x**2).sum(axis=0)
            count += seen.sum(axis=0)
            draw_total += (weights @ x.reshape(len(x), -1)).reshape(draw_total.shape)
            # All targets of a beat mostly show the same phases: then one is counted for all.
            curves = seen.reshape(len(seen), -1, shape[-1])
            alike = bool((curves == curves[:, :1]).all())
            counted = curves[:, :1] if alike else curves
            drawn = (weights @ counted.reshape(len(x), -1)).reshape(RESAMPLES, -1, shape[-1])
            draw_count += np.broadcast_to(drawn, (RESAMPLES, *curves.shape[1:])).reshape(draw_count.shape)
        ids, records = np.unique(who[rows], return_counts=True)
        part = xr.Dataset(
            {
                **{k: (dims, v) for k, v in {"total": total, "square": square, "count": count}.items()},
                **{k: (("draw", *dims), v) for k, v in {"draw_total": draw_total, "draw_count": draw_count}.items()},
                "records": ("who", records),
            },
            coords={"who": ids},
        )
        if nets is not None:
            part["seed_total"], part["seed_count"] = (
                f(nets.isel(record=rows)).sum("record").drop_vars("record", errors="ignore")
                for f in (lambda m: m.fillna(0.0).astype(float), lambda m: m.notnull())
            )
        parts.append(part)
    coords = {k: v for k, v in mean.coords.items() if "record" not in v.dims}
    sums = parts[0]
    if by is not None:
        # Labels of numpy's types: pandas 3 makes its own type of text, which xarray cannot join.
        labels = np.array(list(groups), dtype=aligned[by].values.dtype)
        if groups:
            sums = xr.concat(parts, xr.DataArray(labels, dims=by, name=by), join="outer", fill_value=0)
        else:  # a part of a cohort may hold no group
            sums = sums.expand_dims({by: labels})
    return sums.assign_coords(coords).assign_attrs(aligned.attrs | {"draws_by_seed": seed})


def merge_maps(sums: Iterable[xr.Dataset]) -> xr.Dataset:
    """The sums of a whole cohort from those of its parts, whichever way it was cut.

    Parameters
    ----------
    sums : iterable of Dataset, from `map_sums`

    Returns
    -------
    Dataset, as from `map_sums`

    Raises
    ------
    ValueError, when the parts have different common beats or seeds, are no sums, or there is none.
    """
    whole: xr.Dataset | None = None
    for part in sums:
        lacking = [v for v in ("total", "count", "draw_total", "draw_count") if v not in part]
        if lacking:
            raise ValueError(f"a part has no {lacking[0]!r}; expected what map_sums gives, before finish_map")
        if whole is None:
            whole = part.copy(deep=True)
            del part  # sums are large: the next ones are made before this name would let go of these
            continue
        for name in ("template", "draws_by_seed"):
            if whole.attrs.get(name) != part.attrs.get(name):
                raise ValueError(f"maps with different {name!r} cannot be added; align all parts to one template, "
                                 "and give map_sums one seed")  # fmt: skip
        whole, other = xr.align(whole, part, join="outer", fill_value=0, copy=False)
        for key, variable in whole.data_vars.items():
            have = variable.values  # ours, so added to in place, unless the alignment filled it
            added = np.add(have, other[key].values, out=have if have.flags.writeable else None)
            whole[key] = variable.copy(data=added)
        del part, other
    if whole is None:
        raise ValueError("there is no map to add up")
    return whole


def finish_map(sums: xr.Dataset, ci: float = 0.95) -> xr.Dataset:
    """The cohort map from its sums.

    Parameters
    ----------
    sums, ci : Dataset, float; from `map_sums` or `merge_maps`, and the band's level

    Returns
    -------
    Dataset, as from `cohort_map`

    Raises
    ------
    ValueError, when no record has a value, or is in a group.
    """
    if not float(sums["count"].sum()):
        raise ValueError(
            "no record has a value to average, or is in a group; wb.excluded lists why records were left out"
        )
    count = sums["count"].where(sums["count"] > 0)
    mean = sums["total"] / count
    half = xr.apply_ufunc(
        partial(_half_width, ci=ci),
        sums["draw_total"], sums["draw_count"], mean, count,
        input_core_dims=[["draw", "phase"], ["draw", "phase"], ["phase"], ["phase"]],
        output_core_dims=[["phase"]],
        vectorize=True,  # a curve at a time keeps memory at resamplings x phases
    )  # fmt: skip
    spread = np.sqrt(np.maximum(sums["square"] / count - mean**2, 0.0))
    out = xr.Dataset(
        {"mean": mean, "low": mean - half, "high": mean + half, "sd": spread, "n": sums["count"].astype(int)}
    )
    out = out.transpose(*sums["total"].dims)
    out["patients"] = (sums["records"] > 0).sum("who")
    if "seed_total" in sums:
        out["seed_sd"] = (sums["seed_total"] / sums["seed_count"].where(sums["seed_count"] > 0)).std("seed", ddof=1)
    kept = {k: v for k, v in sums.attrs.items() if k != "draws_by_seed"}
    return out.assign_attrs(kept | {"ci": ci, "band": "simultaneous, patients resampled"})


def _half_width(total: np.ndarray, count: np.ndarray, mean: np.ndarray, n: np.ndarray, ci: float) -> np.ndarray:
    """Half the band's width (phase,) from resampled sums and counts (draw, phase); NaN where too few have it."""
    drawn = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    # The variance of a resampled count is the sum of squares of patients' counts: Kish's effective number of patients.
    people = n**2 / np.maximum(count.var(axis=0, ddof=1), 1e-12)
    enough = np.isfinite(mean) & (people > _FEWEST) & ((count > 0).mean(axis=0) > 0.95)
    out = np.full(mean.shape, np.nan)
    if not enough.any():
        return out
    away = np.where(count > 0, np.abs(drawn - mean), 0.0)[:, enough]
    se = np.nanstd(drawn[:, enough], axis=0, ddof=1)
    tiny = 1e-9 * (np.abs(mean[enough]) + se) + np.finfo(float).tiny  # below it people do not differ but by rounding
    varies = se > tiny
    width = np.zeros(varies.shape)
    if varies.any():
        c = np.quantile((away[:, varies] / se[varies]).max(axis=1), ci)
        width[varies] = se[varies] * stats.t.isf(stats.norm.sf(c), people[enough][varies] - 1)
    out[enough] = width
    return out


def _groups(aligned: xr.DataArray, by: str | None) -> dict[Any, np.ndarray]:
    """The records' rows of each group, by its sorted values; all records where there is no `by`."""
    if by is None:
        return {None: np.arange(aligned.sizes["record"])}
    if by not in aligned.coords or aligned[by].dims != ("record",):
        have = ", ".join(str(k) for k, v in aligned.coords.items() if v.dims == ("record",))
        raise ValueError(f"cannot group by {by!r}; the records carry {have}")
    values = aligned[by].values
    groups = sorted(g for g in pd.unique(values) if str(g) not in ("", "nan"))
    if len(groups) > _MOST_GROUPS:
        raise ValueError(
            f"{by!r} has {len(groups)} values, at most {_MOST_GROUPS} groups are mapped; cut it into classes"
        )
    return {g: np.flatnonzero(values == g) for g in groups}


def segments(aligned: xr.DataArray | xr.Dataset) -> dict[str, np.ndarray]:
    """Masks over phase of P, PQ, QRS, ST, T on the common beat, and of the rest."""
    marks = json.loads(aligned.attrs["template"]) if "template" in aligned.attrs else None
    if marks is None:
        raise ValueError("the map carries no template; expected what wb.align(maps, cohort) gives")
    f = dict(zip(LANDMARKS, [np.nan if m is None else m for m in marks], strict=True))
    phase = aligned["phase"].values
    out = {s: (phase >= f[a]) & (phase < f[b]) for s, (a, b) in SEGMENTS.items()}
    return out | {"rest": ~np.any(list(out.values()), axis=0)}


def segment_table(aligned: xr.DataArray, ci: float = 0.95, *, seed: int = 0) -> pd.DataFrame:
    """Where along the beat people's maps differ: share of |map - cohort mean| per wave.

    What all people's maps share says nothing about whose value is high or low; departures from the mean map do.

    Parameters
    ----------
    aligned, ci, seed : DataArray (record, [target,] phase), float, int; see `cohort_map`

    Returns
    -------
    DataFrame, rows target and segment
        ``share`` (0..1) of the summed absolute departure, with a percentile interval ``low``, ``high`` from 1,000
        resamplings of patients; ``span``: the segment's share of time, what an even map would give; ``n`` records.

    Raises
    ------
    ValueError, when there are fewer than two patients, all maps are the same, not aligned, or have more dimensions.
    """
    need_aligned(aligned)
    extra = [str(d) for d in aligned.dims if d not in ("record", "target", "phase")]
    if extra:
        raise ValueError(f"the maps have a dimension {extra[0]!r}; select one, or sum them: maps.sum({extra[0]!r})")
    masks = segments(aligned)
    patient = patients_of(aligned)
    n_patients = len(np.unique(patient))
    if n_patients < 2:
        raise ValueError(f"of {n_patients} patients no table says how people's maps differ; expected two or more")
    rows = []
    names = aligned["target"].values if "target" in aligned.dims else [""]
    for t in names:
        values = (aligned.sel(target=t) if "target" in aligned.dims else aligned).transpose("record", "phase").values
        seen = np.isfinite(values)
        mean = np.where(seen, values, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        away = np.where(seen, np.abs(values - mean), 0.0)
        if not away.any():
            raise ValueError(
                f"people's maps{f' of {t}' if str(t) else ''} do not differ; there is nothing to share out"
            )
        part = np.stack([away[:, m].sum(axis=1) for m in masks.values()], axis=1)  # (record, segment)
        drawn = resampled_sums(part, patient, seed)
        drawn = drawn[drawn.sum(axis=1) > 0]  # a resampling may draw none but people whose maps are the mean's
        low, high = interval(drawn / drawn.sum(axis=1, keepdims=True), ci)
        share = part.sum(axis=0) / part.sum()
        n = int(np.isfinite(values).any(axis=1).sum())
        for i, (s, m) in enumerate(masks.items()):
            rows.append((str(t), s, share[i], low[i], high[i], float(m.mean()), n))
    return pd.DataFrame(rows, columns=["target", "segment", "share", "low", "high", "span", "n"]).set_index(
        ["target", "segment"]
    )
