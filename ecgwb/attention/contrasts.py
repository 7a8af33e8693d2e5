"""Contrasts: whether two groups of people have different maps, and how maps differ with an outcome."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from ..cohorts.guards import check, check_values, kind_of
from ..cohorts.people import column, patients_of
from ..models.prediction import CHUNK
from ..stats import permutation_p
from .alignment import align, template_of
from .maps import summed


def map_difference(
    aligned: xr.DataArray, by: str = "sex", *, centred: bool = False, permutations: int = 2000, seed: int = 0
) -> xr.Dataset:
    """The difference of two groups' mean maps, tested by permuting patients between the groups.

    Each patient counts once, with the mean of their records. The statistic at a phase is Welch's t; a phase is held
    against the permutations' largest ``|t|`` along the whole curve, so that one level holds for all of it (Westfall &
    Young 1993; in imaging Nichols & Holmes 2002).

    Parameters
    ----------
    aligned : DataArray (record, ..., phase)
        From `align`, all of it in memory; for more, see `ecgwb.attention.difference_chunks`.
    by : str
        A coordinate of record with two values; records for which it is empty are left out.
    centred : bool
        Take each record's own mean along the curve off first: then only where a map lies is compared, not how high it
        is.
    permutations : int
        p-values are no smaller than 1 / (permutations + 1).
    seed : int
        Of the permutations.

    Returns
    -------
    Dataset
        ``difference`` (..., phase): the first group's mean minus the second's, in the order of `by`'s values;
        ``t``; ``p`` (..., phase), adjusted for the curve; ``p_curve`` (...): that the curves differ anywhere, the
        least of ``p``; ``n`` (group,): patients. NaN where a group has fewer than two patients.

    Raises
    ------
    ValueError
        When `by` is no coordinate of record or does not have two values, a patient has both, or maps are not aligned.

    Notes
    -----
    The test is exact where, without a difference, patients could be swapped between the groups. Where the groups differ
    in spread alone, Welch's t keeps the level only nearly, and better in large groups (Chung & Romano 2013). Curves of
    several targets are tested one by one; correct over them.

    A map of the very thing that `by` holds differs by construction: the mean of a sex map is the log-odds of "male"
    less a constant, so men's and women's mean maps are as far apart as their mean log-odds. Then it is no news that
    the curves differ, only where they do, and ``centred=True`` asks just that.
    """
    aligned = check_values(aligned, "record", "phase", name="aligned", source="wb.align(maps, cohort)")
    split = _split(aligned, by, permutations, seed)
    parts = ((aligned.isel(record=rows), patient, members) for rows, patient, members in split.parts())
    return _finished(_added(map(partial(_moments, centred=centred), parts)), split)


def difference_chunks(
    values: Callable[[xr.Dataset], xr.DataArray],
    cohort: xr.Dataset,
    by: str = "sex",
    *,
    template: xr.DataArray | None = None,
    centred: bool = False,
    permutations: int = 2000,
    client: Any = None,
    seed: int = 0,
) -> xr.Dataset:
    """The difference of two groups' maps of more records than memory holds: made, aligned and summed part by part.

    Parameters
    ----------
    values : function
        Makes values (record, ..., time) of a part of the cohort, as for `map_chunks`.
    cohort : Dataset
        One opened from its path is read part by part.
    by, centred, permutations, seed
        As in `map_difference`.
    template : DataArray (landmark,), optional
        The common beat's landmarks; the cohort's medians by default.
    client : dask.distributed.Client, optional
        Makes and adds up the parts on its workers; only the finished sums come back.

    Returns
    -------
    Dataset
        What `map_difference` returns, but for rounding, for ``align(values(cohort), cohort, template)``. Memory is 30
        MB a target and 0.3 kB a patient.

    Raises
    ------
    ValueError
        As `align` and `map_difference`.
    """
    cohort = check(cohort)
    if not callable(values):
        raise TypeError(f"values is {kind_of(values)}; it makes maps of a part of the cohort: expected a function")
    common = template_of(cohort) if template is None else template
    split = _split(cohort, by, permutations, seed)
    parts = [(cohort.isel(record=rows), patient, members) for rows, patient, members in split.parts()]
    work = partial(_made_moments, make=values, template=common, centred=centred)
    return _finished(summed(client, work, parts, _added), split)


class _Split(NamedTuple):
    """Patients in two groups, and in permutations of them."""

    by: str
    permutations: int
    groups: list[Any]
    n: list[int]  # (group,) patients
    rows: np.ndarray  # (record,) the records of known group, one patient's after another's
    patient: np.ndarray  # (record,) of each, from 0 on
    members: np.ndarray  # (patient, split / 8) bits: in the first group; in it in each permutation

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Some 1,024 records after others: rows, their patients from 0 on, and the bits of these; no patient is cut."""
        start = 0
        while start < len(self.rows):
            last = self.patient[min(start + CHUNK, len(self.rows)) - 1]
            stop = int(np.searchsorted(self.patient, last, side="left"))
            if stop <= start or start + CHUNK >= len(self.rows):  # a patient of many records, or the last ones
                stop = int(np.searchsorted(self.patient, last, side="right"))
            patient = self.patient[start:stop]
            yield self.rows[start:stop], patient - patient[0], self.members[patient[0] : patient[-1] + 1]
            start = stop


def _split(data: xr.DataArray | xr.Dataset, by: str, permutations: int, seed: int) -> _Split:
    """The two groups of patients by a coordinate of record, which for each patient has one value."""
    values = column(data, by)
    rows = np.flatnonzero([str(v) not in ("", "nan") for v in values])
    patient, names = pd.factorize(patients_of(data)[rows])
    order = np.argsort(patient, kind="stable")
    rows, patient = rows[order], patient[order]
    of_record = np.asarray(values)[rows]
    of_patient = of_record[np.searchsorted(patient, np.arange(len(names)))]
    mixed = np.flatnonzero(of_record != of_patient[patient])
    if len(mixed):
        k = patient[mixed[0]]
        one, other = of_patient[k], of_record[mixed[0]]
        raise ValueError(f"patient {str(names[k])!r} has two values of {by!r}: {str(one)!r} and {str(other)!r}")
    groups = sorted(set(of_patient.tolist()))
    if len(groups) != 2:
        raise ValueError(f"{by!r} has the values {groups}; a difference takes two")
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; expected at least 1")
    first = of_patient == groups[0]
    rng = np.random.default_rng(seed)
    splits = itertools.chain([first], (rng.permutation(first) for _ in range(permutations)))
    eights = iter(lambda: list(itertools.islice(splits, 8)), [])
    members = np.concatenate([np.packbits(some, axis=0) for some in eights]).T
    return _Split(
        by, permutations, groups, [int(first.sum()), int((~first).sum())], rows, patient, np.ascontiguousarray(members)
    )


class _Moments(NamedTuple):
    """Sums over patients of a part, of their curves less `shift`, which keeps squares from cancelling."""

    like: xr.DataArray  # (..., phase) labels and attributes
    shift: np.ndarray  # (curve, phase)
    sums: np.ndarray  # (3, split, curve, phase) how many in the first group, their sum and that of their squares
    everyone: np.ndarray  # (3, curve, phase)


def _made_moments(
    some: tuple[xr.Dataset, np.ndarray, np.ndarray],
    make: Callable[[xr.Dataset], xr.DataArray],
    template: xr.DataArray,
    centred: bool,
) -> _Moments:
    part, patient, members = some
    return _moments((align(make(part), part, template), patient, members), centred)


def _moments(some: tuple[xr.DataArray, np.ndarray, np.ndarray], centred: bool) -> _Moments:
    """Sums of a part's patients, each counted once with the mean of their records."""
    aligned, patient, members = some
    of_records = [name for name, c in aligned.coords.items() if "record" in c.dims]
    like = aligned.drop_vars(of_records).isel(record=0).copy(deep=True)
    splits = np.unpackbits(members, axis=1).T.astype(float)  # (split, patient)
    values = aligned.values.reshape(len(aligned), -1, like.sizes["phase"])  # (record, curve, phase)
    shift, everyone = np.zeros(values.shape[1:]), np.zeros((3, *values.shape[1:]))
    sums = np.zeros((3, len(splits), *values.shape[1:]))
    for k in range(values.shape[1]):
        x, seen = _of_patients(values[:, k], patient)
        if centred:
            x = np.where(seen, x - x.sum(axis=1, keepdims=True) / np.maximum(seen.sum(axis=1, keepdims=True), 1), 0.0)
        shift[k] = x.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        x = np.where(seen, x - shift[k], 0.0)
        for m, v in enumerate((seen.astype(float), x, x * x)):
            sums[m, :, k], everyone[m, k] = splits @ v, v.sum(axis=0)
    return _Moments(like, shift, sums, everyone)


def _of_patients(values: np.ndarray, patient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean of each patient's records (patient, phase), 0 where none shows the phase, and where one does."""
    seen = np.isfinite(values)
    total, count = (np.zeros((patient[-1] + 1, values.shape[1])) for _ in range(2))
    np.add.at(total, patient, np.where(seen, values, 0.0))
    np.add.at(count, patient, seen)
    return total / np.maximum(count, 1), count > 0


def _added(parts: Iterable[_Moments]) -> _Moments:
    """The sums of all parts, about the first one's shift."""
    whole: _Moments | None = None
    for part in parts:
        if whole is None:
            whole = part._replace(sums=part.sums.copy(), everyone=part.everyone.copy())
            continue
        by = part.shift - whole.shift
        for into, (n, total, square) in ((whole.sums, part.sums), (whole.everyone, part.everyone)):
            into[2] += square + 2 * by * total + by**2 * n
            into[1] += total + by * n
            into[0] += n
        del part  # large, and else there while the next is made
    if whole is None:
        raise ValueError("there is no map to compare")
    return whole


def _finished(moments: _Moments, split: _Split) -> xr.Dataset:
    """The difference and its test from the sums of all patients."""
    like, n_splits = moments.like, 1 + split.permutations
    found = [_tested(moments.sums[:, :n_splits, k], whole) for k, whole in enumerate(moments.everyone.swapaxes(0, 1))]
    shown = np.stack(found, axis=1).reshape(3, *like.shape)
    out = xr.Dataset(
        {name: (like.dims, v) for name, v in zip(("difference", "t", "p"), shown, strict=True)},
        coords=like.coords,
        attrs=like.attrs
        | {"contrast": f"{split.by}: {split.groups[0]} minus {split.groups[1]}", "permutations": split.permutations},
    )
    out["p_curve"] = out["p"].min("phase")
    out["n"] = ("group", split.n)
    return out.assign_coords(group=split.groups)


def _tested(of_first: np.ndarray, everyone: np.ndarray) -> np.ndarray:
    """Difference, t and p (3, phase) of a curve from the sums (3, split, phase) of first groups, and everyone's."""
    difference, t = _welch(of_first, everyone)
    largest = np.nanmax(np.abs(t[1:]), axis=1, initial=0.0)
    return np.stack([difference[0], t[0], permutation_p(np.abs(t[0]), largest)])


def _welch(of_first: np.ndarray, everyone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Difference of means and Welch's t (split, phase) from numbers, sums and squares (3, split, phase)."""
    means, variances = [], []
    for n, total, square in (of_first, everyone[:, None] - of_first):
        n = np.where(n > 1, n, np.nan)
        means.append(total / n)
        variances.append(np.maximum(square / n - (total / n) ** 2, 0.0) / (n - 1))
    difference, se = means[0] - means[1], np.sqrt(variances[0] + variances[1])
    return difference, np.divide(difference, se, out=np.full(se.shape, np.nan), where=se > 0)


def map_contrast(aligned: xr.DataArray, outcome: np.ndarray) -> xr.DataArray:
    """How maps differ with an outcome, phase by phase: Student's t of the map's regression on it.

    For two groups, the difference of their means over its standard error (Student's, equal variances). Records whose
    coordinate ``network`` differs are compared with their like only, as each network has a scale of its own.

    Parameters
    ----------
    aligned : DataArray (record, ...)
        One record per patient.
    outcome : array (record,)
        NaN where it is unknown.

    Returns
    -------
    DataArray (...)
        NaN where fewer than ten records show the phase.

    Raises
    ------
    ValueError
        When there is not one outcome for each record.
    """
    aligned = check_values(aligned, "record", name="aligned", source="wb.align(maps, cohort)")
    outcome = np.asarray(outcome, dtype=float)
    if outcome.shape != (aligned.sizes["record"],):
        raise ValueError(f"outcome is {outcome.shape}; expected one number for each of {aligned.sizes['record']} maps")
    flat = aligned.values.reshape(len(aligned), -1).astype(float)
    strata = pd.factorize(aligned["network"].values)[0] if "network" in aligned.coords else np.zeros(len(flat), int)
    sums = np.zeros((4, flat.shape[1]))
    for k in np.unique(strata):
        rows = (strata == k) & np.isfinite(outcome)
        seen = np.isfinite(flat[rows])
        n = np.maximum(seen.sum(axis=0), 1)
        v, y = np.where(seen, flat[rows], 0.0), np.where(seen, outcome[rows, None], 0.0)
        v, y = (np.where(seen, x - x.sum(axis=0) / n, 0.0) for x in (v, y))  # about the means of the stratum
        sums += [x.sum(axis=0) for x in (seen, y * y, v * v, y * v)]
    n, yy, vv, yv = sums
    fine = (n >= 10) & (yy > 0) & (vv > 0)
    r = np.divide(yv, np.sqrt(yy * vv), out=np.zeros_like(yv), where=fine)
    freedom = np.maximum(n - 1 - len(np.unique(strata)), 1)
    t = np.where(fine, r * np.sqrt(freedom / np.maximum(1 - r**2, 1e-12)), np.nan)
    coords = {k: c for k, c in aligned.coords.items() if "record" not in c.dims}
    return xr.DataArray(t.reshape(aligned.shape[1:]), dims=aligned.dims[1:], coords=coords, name="t")
