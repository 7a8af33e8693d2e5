"""Cohort maps of more records than memory holds: made, aligned and summed part by part, here or on workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import xarray as xr

from ..cohorts.beats import RHYTHM
from ..models.prediction import parts_of
from .alignment import align, template_of
from .maps import finish_map, map_sums, merge_maps


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
    """The cohort map of whatever can be made of beats, 1,024 records at a time.

    Parameters
    ----------
    values : function, or several
        Makes values (record, ..., time) of a part of the cohort: ``partial(wb.ecgradcam, model, targets="qt")``, or
        ``operator.itemgetter("beat")`` for the beats themselves. Several are taken for networks that differ by their
        training's seed alone.
    cohort : Dataset
        One opened from its path is read part by part.
    by, ci, seed
        As in `cohort_map`.
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
    makers = [values] if callable(values) else list(values)
    common = template_of(cohort) if template is None else template
    work = partial(_sums, makers=makers, template=common, by=by, seed=seed)
    parts = (part.drop_vars(RHYTHM, errors="ignore") for _, part in parts_of(cohort))
    if client is None:
        return finish_map(merge_maps(map(work, parts)), ci)
    sent = client.scatter(work, broadcast=True, hash=False)
    futures = [client.submit(_call, sent, part, pure=False) for part in parts]
    while len(futures) > 1:  # two by two, where they are: sums are large, and none of them is wanted here
        pairs = [futures[k : k + 2] for k in range(0, len(futures), 2)]
        futures = [client.submit(merge_maps, pair, pure=False) if len(pair) > 1 else pair[0] for pair in pairs]
    return finish_map(futures[0].result(), ci)


def _sums(
    part: xr.Dataset,
    makers: Sequence[Callable[[xr.Dataset], xr.DataArray]],
    template: xr.DataArray,
    by: str | None,
    seed: int,
) -> xr.Dataset:
    aligned = [align(make(part), part, template) for make in makers]
    return map_sums(aligned[0] if len(aligned) == 1 else xr.concat(aligned, "seed"), by, seed=seed)


def _call(work: Callable[[xr.Dataset], xr.Dataset], part: xr.Dataset) -> xr.Dataset:
    return work(part)
