"""Cohort maps: the mean of many people's maps with a band, made at once or part by part, and where people differ."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..cohorts.guards import check, check_values, kind_of
from ..cohorts.people import column, listed, names_in, patients_of
from ..delineation.landmarks import SEGMENTS
from ..models.prediction import parts_of
from ..stats import RESAMPLES, check_level, interval, name_hash, patient_weights, resampled_sums
from ..workers import callers_level, each
from .alignment import align, template_of

MEASURED_IN = {  # the segments that hold a target's landmarks, or its voltage
    "pr": ("P", "PQ", "QRS"),
    "qrs": ("QRS",),
    "qt": ("QRS", "T"),
    "j_v5": ("QRS", "ST"),
    "r_v5": ("QRS",),
    "t_v5": ("T",),
}
_MOST_GROUPS = 20
_AT_ONCE = 1024  # records summed together
_FEWEST_FOR_BAND = 4  # patients that a band needs more than
_MANY_FOR_BAND = 9  # where most have it, or more than so many, it may widen the band of all of the curve


# ---------------------------------------------------------------- the mean map and its band


def cohort_map(aligned: xr.DataArray, by: str | None = None, ci: float = 0.95, *, seed: int = 0) -> xr.Dataset:
    """Mean over records with a band that holds the whole curve with probability `ci`.

    Patients, not records, are resampled (1,000 times). The band is the mean plus and minus the same multiple of its
    standard error at every phase; the multiple is the `ci` quantile, over the resamplings, of the largest deviation
    along the curve in the resampling's own standard errors (a bootstrap sup-t band, Montiel Olea & Plagborg-Møller
    2019; studentised, so that it holds in small cohorts, Hall 1988). It is ``finish_map(map_sums(aligned))``: for more
    records than memory holds, see `ecgwb.attention.map_chunks`.

    Parameters
    ----------
    aligned : DataArray (record, ..., phase)
        From `align`; its ``patient`` coordinate says which records are one person's (each record is its own patient
        where there is none). A dimension ``seed`` holds the maps of networks that differ by their training's seed
        alone.
    by : str, optional
        A coordinate of record, such as ``"sex"``: one map per value, along a dimension of that name; none if empty.
    ci : float
        The band's level, 0 to 1.
    seed : int
        Of the resamplings.

    Returns
    -------
    Dataset
        ``mean``, ``low``, ``high`` (..., phase); ``sd``, between records; ``n``, records that show that phase;
        ``patients``. Bands need about five people, and ten or half of all where there are more; with fewer they are
        NaN, at single phases or throughout. With several seeds these are of the seeds' mean map, and ``seed_sd`` (...,
        phase) is the SD between the seeds' cohort means: the band says what other people would change, ``seed_sd`` what
        another training would.

    Raises
    ------
    ValueError
        When maps are not aligned, no record has a value, or `by` is no coordinate of record or has more than 20 values.
    """
    check_level(ci)
    return finish_map(map_sums(aligned, by, seed=seed), ci)


def map_sums(aligned: xr.DataArray, by: str | None = None, *, seed: int = 0) -> xr.Dataset:
    """What a cohort map is made of, as sums that add: those of two parts of a cohort make those of the whole.

    Resamplings are those of `ecgwb.stats.patient_weights`, the same in all parts of a cohort.

    Parameters
    ----------
    aligned : DataArray (record, ..., phase)
        As `by` and `seed`, see `cohort_map`.

    Returns
    -------
    Dataset
        ``total``, ``square``, ``count`` (..., phase); ``draw_total``, ``draw_square``, ``draw_count`` (draw, ...,
        phase); ``records`` (patient): how many each has, by a hash of the name; ``seed_total``, ``seed_count`` where
        there are seeds. See `merge_maps` and `finish_map`.

    Raises
    ------
    ValueError
        When `by` is no coordinate of record or has more than 20 values, or maps are not aligned.
    """
    aligned = check_values(aligned, "record", "phase", name="aligned", source="wb.align(maps, cohort)")
    _warn_infinite(aligned)
    if by is None:
        sums = _sums_of(aligned, seed)
    else:
        groups = _groups(aligned, by)
        # Labels of numpy's types: pandas 3 makes its own type of text, which xarray cannot join.
        labels = np.array(list(groups), dtype=str if by == "diagnosis" else aligned[by].values.dtype)
        if groups:
            parts = [_sums_of(aligned.isel(record=rows), seed) for rows in groups.values()]
            sums = xr.concat(parts, xr.Variable(by, labels), join="outer", fill_value=0)
        else:  # a part of a cohort may hold no group
            sums = _sums_of(aligned.isel(record=slice(0)), seed).expand_dims({by: labels})
    coords = {k: v for k, v in aligned.coords.items() if "record" not in v.dims and "seed" not in v.dims}
    return sums.assign_coords(coords).assign_attrs(aligned.attrs | {"draws_by_seed": seed})


def _warn_infinite(aligned: xr.DataArray) -> None:
    n = int(np.isinf(aligned.values).any(axis=tuple(range(1, aligned.ndim))).sum())
    if n:
        warnings.warn(
            f"{n} of {aligned.sizes['record']} maps have infinite values, which are left out of the mean as if absent; "
            "look at what the network gives for these records: wb.predict(model, cohort)",
            stacklevel=callers_level(),
        )


def _groups(aligned: xr.DataArray, by: str) -> dict[Any, np.ndarray]:
    """The records' rows of each group, by its sorted values; a record may have several diagnoses, which are named."""
    values = column(aligned, by)
    if by == "diagnosis":
        table = listed(map(names_in, values))
        rows = {name: np.flatnonzero(table[name]) for name in table}
    else:
        known = sorted(g for g in pd.unique(values) if str(g) not in ("", "nan"))
        rows = {g: np.flatnonzero(values == g) for g in known}
    if len(rows) > _MOST_GROUPS:
        raise ValueError(
            f"{by!r} has {len(rows)} values, at most {_MOST_GROUPS} groups are mapped; cut it into classes"
        )
    return rows


def _sums_of(aligned: xr.DataArray, seed: int) -> xr.Dataset:
    """The sums of one group's records."""
    maps = aligned.mean("seed", skipna=False) if "seed" in aligned.dims else aligned
    maps = maps.transpose("record", ..., "phase")
    dims, shape = maps.dims[1:], maps.shape[1:]
    values = maps.values.reshape(len(maps), math.prod(shape[:-1]), shape[-1])  # (record, curve, phase)
    names = patients_of(aligned)
    whole = {name: np.zeros(values.shape[1:]) for name in ("total", "square", "count")}
    draws = {name: np.zeros((RESAMPLES, *values.shape[1:])) for name in whole}
    mapped = np.zeros(len(names), dtype=bool)
    for first in range(0, len(names), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        weights = patient_weights(names[some], seed)
        seen, drawn = np.zeros(0, dtype=bool), np.zeros(0)
        for k in range(values.shape[1]):  # a curve at a time keeps memory at records x phases
            x = values[some, k].astype(np.float64)
            before, seen = seen, np.isfinite(x)
            mapped[some] |= seen.any(axis=1)
            if not np.array_equal(seen, before):  # all targets of a beat mostly show the same phases
                drawn = weights @ seen
            x[~seen] = 0.0
            for name, v, of_draws in (("count", seen, drawn), ("total", x, weights @ x)):
                whole[name][k] += v.sum(axis=0)
                draws[name][:, k] += of_draws
            x *= x
            whole["square"][k] += x.sum(axis=0)
            draws["square"][:, k] += weights @ x
    hashes = np.array([int.from_bytes(name_hash(n)[:8], "big") for n in names[mapped]], dtype=np.uint64)
    patient, records = np.unique(hashes, return_counts=True)
    sums = xr.Dataset(
        {
            **{name: (dims, v.reshape(shape)) for name, v in whole.items()},
            **{f"draw_{name}": (("draw", *dims), v.reshape(RESAMPLES, *shape)) for name, v in draws.items()},
            "records": ("patient", records),
        },
        coords={"patient": patient},
    )
    if "seed" in aligned.dims:
        sums["seed_total"] = aligned.drop_vars("record").fillna(0.0).astype(float).sum("record")
        sums["seed_count"] = aligned.drop_vars("record").notnull().sum("record")
    return sums


def merge_maps(sums: Iterable[xr.Dataset]) -> xr.Dataset:
    """The sums of a whole cohort from those of its parts, whichever way it was cut.

    Parameters
    ----------
    sums : iterable of Dataset
        From `map_sums`.

    Returns
    -------
    Dataset
        As from `map_sums`.

    Raises
    ------
    ValueError
        When the parts have different common beats or seeds, are no sums, or there is none.
    """
    whole: xr.Dataset | None = None
    ours = False  # whether it may be added to where it lies
    for part in sums:
        _check_sums(part)
        if whole is None:
            whole = part
            continue
        for name in ("template", "draws_by_seed"):
            if whole.attrs.get(name) != part.attrs.get(name):
                raise ValueError(
                    f"maps with different {name!r} cannot be added; align all parts to one template, and give map_sums "
                    "one seed"
                )
        whole, ours = whole if ours else whole.copy(deep=True), True
        whole, other = xr.align(whole, part, join="outer", fill_value=0, copy=False)
        for k in whole.data_vars:
            v = whole[k].variable
            a, b = v.values, other[k].variable.transpose(*v.dims).values
            in_place = a.flags.writeable and a.dtype == np.result_type(a, b)  # not, of a group that is new
            v.values = np.add(a, b, out=a if in_place else None)
        del part, other  # large, and else there while the next is made
    if whole is None:
        raise ValueError("there is no map to add up")
    return whole


def _check_sums(sums: Any) -> None:
    if not isinstance(sums, xr.Dataset):
        raise TypeError(f"sums is {kind_of(sums)}; expected what map_sums gives")
    lacking = [v for v in ("total", "count", "draw_total", "draw_square", "draw_count", "records") if v not in sums]
    if lacking:
        raise ValueError(f"the sums have no {lacking[0]!r}; expected what map_sums gives, before finish_map")


def finish_map(sums: xr.Dataset, ci: float = 0.95) -> xr.Dataset:
    """The cohort map from its sums.

    Parameters
    ----------
    sums : Dataset
        From `map_sums` or `merge_maps`.

    Returns
    -------
    Dataset
        As from `cohort_map`.

    Raises
    ------
    ValueError
        When no record has a value, or is in a group.
    """
    check_level(ci)
    _check_sums(sums)
    if not float(sums["count"].sum()):
        raise ValueError(
            "no record has a value to average, or is in a group; wb.excluded lists why records were left out"
        )
    count = sums["count"].where(sums["count"] > 0)
    mean = sums["total"] / count
    half = xr.apply_ufunc(
        partial(_half_width, ci=ci),
        sums["draw_total"], sums["draw_square"], sums["draw_count"], mean, sums["square"], count,
        input_core_dims=[["draw", "phase"]] * 3 + [["phase"]] * 3,
        output_core_dims=[["phase"]],
        vectorize=True,  # a curve at a time keeps memory at resamplings x phases
    )  # fmt: skip
    spread = np.sqrt(np.maximum(sums["square"] / count - mean**2, 0.0))
    out = xr.Dataset(
        {"mean": mean, "low": mean - half, "high": mean + half, "sd": spread, "n": sums["count"].astype(int)}
    )
    out = out.transpose(*sums["total"].dims)
    out["patients"] = (sums["records"] > 0).sum("patient")
    if "seed_total" in sums:
        out["seed_sd"] = (sums["seed_total"] / sums["seed_count"].where(sums["seed_count"] > 0)).std("seed", ddof=1)
    kept = {k: v for k, v in sums.attrs.items() if k != "draws_by_seed"}
    return out.assign_attrs(kept | {"ci": ci, "band": "simultaneous, patients resampled"})


def _half_width(
    total: np.ndarray,
    square: np.ndarray,
    count: np.ndarray,
    mean: np.ndarray,
    squares: np.ndarray,
    n: np.ndarray,
    ci: float,
) -> np.ndarray:
    """Half the band's width (phase,) from resampled sums (draw, phase) and the cohort's; NaN where too few have it."""
    drawn, of_squares = (
        np.divide(v, count, out=np.full(total.shape, np.nan), where=count > 0) for v in (total, square)
    )
    # The variance of a resampled count is the sum of squares of patients' counts: Kish's effective number of patients.
    people = n**2 / np.maximum(count.var(axis=0, ddof=1), 1e-12)
    many = people > min(_MANY_FOR_BAND, np.nanmax(people, initial=0.0, where=np.isfinite(people)) / 2)
    enough = np.isfinite(mean) & many & (people > _FEWEST_FOR_BAND) & ((count > 0).mean(axis=0) > 0.95)
    out = np.full(mean.shape, np.nan)
    if not enough.any():
        return out
    se = np.nanstd(drawn[:, enough], axis=0, ddof=1)
    spread = np.sqrt(np.maximum(squares[enough] / n[enough] - mean[enough] ** 2, 0.0))
    tiny = 1e-9 * (np.abs(mean[enough]) + se) + np.finfo(float).tiny  # below it people do not differ but by rounding
    varies = (se > tiny) & (spread > tiny)
    width = np.zeros(varies.shape)
    if varies.any():
        k = np.flatnonzero(enough)[varies]
        # A resampling's own standard error is the cohort's, times how much more or less its people differ.
        own = np.sqrt(np.maximum(of_squares[:, k] - drawn[:, k] ** 2, 0.0)) / spread[varies]
        own = se[varies] * own * np.sqrt(n[k] / np.maximum(count[:, k], 1))
        away = np.abs(drawn[:, k] - mean[k])
        t = np.divide(away, own, out=np.where(away > 0, np.inf, 0.0), where=own > tiny[varies])
        width[varies] = se[varies] * np.quantile(np.nan_to_num(t, nan=0.0, posinf=np.inf).max(axis=1), ci)
    out[enough] = width
    return out


def map_chunks(
    values: Callable[[xr.Dataset], xr.DataArray] | Sequence[Callable[[xr.Dataset], xr.DataArray]],
    cohort: xr.Dataset,
    by: str | None = None,
    ci: float = 0.95,
    *,
    template: xr.DataArray | None = None,
    client: Any = None,
    seed: int = 0,
) -> xr.Dataset:
    """The cohort map of more records than memory holds: made, aligned and summed 1,024 at a time.

    Parameters
    ----------
    values : function, or several
        Makes values (record, ..., time) of a part of the cohort: ``partial(wb.ecgradcam, model, targets="qt")``, or
        ``operator.itemgetter("beat")`` for the beats themselves. Edit maps need a common beat that is the same for all
        parts: ``partial(wb.edit_map, model, among=some)``. Several are taken for networks that differ by their
        training's seed alone.
    cohort : Dataset
        One opened from its path is read part by part. For `by`, `ci` and `seed` see `cohort_map`.
    template : DataArray (landmark,), optional
        The common beat's landmarks; the cohort's medians by default.
    client : dask.distributed.Client, optional
        Makes and adds up the parts on its workers; only the finished sums come back.

    Returns
    -------
    Dataset
        What `cohort_map` returns, but for rounding, for ``align(values(cohort), cohort, template)``. Memory grows with
        neither the records nor their number of parts; time grows with the records.

    Raises
    ------
    ValueError
        As `align` and `cohort_map`.
    """
    check_level(ci)
    cohort = check(cohort)
    makers = [values] if callable(values) else list(values)
    if not makers or not all(map(callable, makers)):
        raise TypeError("values makes maps of a part of the cohort; expected a function, or several")
    common = template_of(cohort) if template is None else template
    work = partial(_part_sums, makers=makers, template=common, by=by, seed=seed)
    return finish_map(summed(client, work, [part for _, part in parts_of(cohort)], merge_maps), ci)


def summed(client: Any, work: Callable[[Any], Any], parts: Sequence[Any], merge: Callable[[Iterable[Any]], Any]) -> Any:
    """What `merge` makes of the sums that `work` makes of parts: here, side by side, or on a client's workers."""
    if client is None:
        return merge(each(work, parts))
    sent = client.scatter(work, broadcast=True, hash=False)
    futures = [client.submit(operator.call, sent, part, pure=False) for part in parts]
    while len(futures) > 1:  # two by two, where they are: sums are large, and none of them is wanted here
        pairs = [futures[k : k + 2] for k in range(0, len(futures), 2)]
        futures = [client.submit(merge, pair, pure=False) if len(pair) > 1 else pair[0] for pair in pairs]
    return futures[0].result()


def _part_sums(
    part: xr.Dataset,
    makers: Sequence[Callable[[xr.Dataset], xr.DataArray]],
    template: xr.DataArray,
    by: str | None,
    seed: int,
) -> xr.Dataset:
    aligned = [align(make(part), part, template) for make in makers]
    return map_sums(aligned[0] if len(aligned) == 1 else xr.concat(aligned, "seed"), by, seed=seed)


# ---------------------------------------------------------------- where along the beat people differ


def segments(aligned: xr.DataArray | xr.Dataset) -> dict[str, np.ndarray]:
    """Masks over phase of P, PQ, QRS, ST, T on the common beat, and of the rest.

    Parameters
    ----------
    aligned : DataArray or Dataset
        From `align` or `cohort_map`.

    Returns
    -------
    dict of array (phase,) of bool
    """
    template, phase = template_of(aligned), aligned["phase"].values
    masks = {}
    for name, (first, end) in SEGMENTS.items():
        start, stop = template.sel(landmark=[first, end]).values
        masks[name] = (phase >= start) & (phase < stop)
    return masks | {"rest": ~np.any(list(masks.values()), axis=0)}


def segment_table(aligned: xr.DataArray, ci: float = 0.95, *, seed: int = 0) -> pd.DataFrame:
    """Where along the beat people's maps differ: share of ``|map - cohort mean|`` per wave.

    What all people's maps share says nothing about why one person's value is high or low; departures from the mean map
    do.

    Parameters
    ----------
    aligned : DataArray (record, [target,] phase)
        As in `cohort_map`.
    ci : float
        Level of the intervals, 0 to 1.
    seed : int
        Of the resamplings.

    Returns
    -------
    DataFrame, rows target and segment
        ``share`` (0..1) of the summed absolute departure, with a percentile interval ``low``, ``high`` from 1,000
        resamplings of patients; ``span``: the segment's share of time, what an even map would give; ``n`` records.

    Raises
    ------
    ValueError
        When there are fewer than two patients, all maps are the same, not aligned, or have more dimensions.
    """
    check_level(ci)
    aligned = check_values(aligned, "record", "phase", name="aligned", source="wb.align(maps, cohort)")
    extra = [str(d) for d in aligned.dims if d not in ("record", "target", "phase")]
    if extra:
        raise ValueError(f"the maps have a dimension {extra[0]!r}; select one, or sum them: maps.sum({extra[0]!r})")
    masks, patient = segments(aligned), patients_of(aligned)
    n_patients = len(np.unique(patient))
    if n_patients < 2:
        raise ValueError(f"of {n_patients} patients no table says how people's maps differ; expected two or more")
    if "target" not in aligned.dims:
        aligned = aligned.drop_vars("target", errors="ignore").expand_dims(target=[""])
    rows = []
    for target in aligned["target"].values.astype(str):
        values = aligned.sel(target=target).transpose("record", "phase").values
        seen = np.isfinite(values)
        mean = np.where(seen, values, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        away = np.where(seen, np.abs(values - mean), 0.0)
        if not away.any():
            raise ValueError(
                f"people's maps{f' of {target}' if target else ''} do not differ; there is nothing to share out"
            )
        part = np.stack([away[:, m].sum(axis=1) for m in masks.values()], axis=1)  # (record, segment)
        share = part.sum(axis=0) / part.sum()
        drawn = resampled_sums(part, patient, seed)
        drawn = drawn[drawn.sum(axis=1) > 0]  # a resampling may draw none but people whose maps are the mean's
        low, high = interval(drawn / drawn.sum(axis=1, keepdims=True), ci)
        n = int(seen.any(axis=1).sum())
        for k, (name, mask) in enumerate(masks.items()):
            rows.append(
                {"target": target, "segment": name, "share": share[k], "low": low[k], "high": high[k]}
                | {"span": float(mask.mean()), "n": n}
            )
    return pd.DataFrame(rows).set_index(["target", "segment"])
