"""Contrasts: whether two groups of people have different maps, and how maps differ with an outcome."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from ..cohorts.guards import check_values
from ..cohorts.people import column, patients_of
from ..stats import permutation_p

_AT_ONCE = 250  # permutations in memory together


def map_difference(
    aligned: xr.DataArray, by: str = "sex", *, centred: bool = False, permutations: int = 2000, seed: int = 0
) -> xr.Dataset:
    """The difference of two groups' mean maps, tested by permuting patients between the groups.

    Each patient counts once, with the mean of their records. The statistic at a phase is Welch's t; a phase is held
    against the permutations' largest |t| along the whole curve, so that one level holds for all of it (Westfall &
    Young 1993; in imaging Nichols & Holmes 2002).

    Parameters
    ----------
    aligned : DataArray (record, ..., phase)
        From `align`, all of it in memory.
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
    curves = _of_patients(aligned, by)  # (patient, ..., phase)
    labels = curves[by].values
    groups = sorted(set(labels.tolist()))
    if len(groups) != 2:
        raise ValueError(f"{by!r} has the values {groups}; a difference takes two")
    if permutations < 1:
        raise ValueError(f"permutations is {permutations}; expected at least 1")
    if centred:
        curves = curves - curves.mean("phase")
    data = curves.values.reshape(len(labels), -1, curves.sizes["phase"])  # (patient, curve, phase)
    first = labels == groups[0]
    rng = np.random.default_rng(seed)
    permuted = np.array([rng.permutation(first) for _ in range(permutations)])  # (permutation, patient)
    found = np.stack([_tested(data[:, k], first, permuted) for k in range(data.shape[1])], axis=1)
    dims, shape = curves.dims[1:], curves.shape[1:]
    out = xr.Dataset(
        {name: (dims, v.reshape(shape)) for name, v in zip(("difference", "t", "p"), found, strict=True)},
        coords={k: v for k, v in aligned.coords.items() if "record" not in v.dims},
        attrs=aligned.attrs | {"contrast": f"{by}: {groups[0]} minus {groups[1]}", "permutations": permutations},
    )
    out["p_curve"] = out["p"].min("phase")
    out["n"] = ("group", [int(first.sum()), int((~first).sum())])
    return out.assign_coords(group=groups)


def _of_patients(aligned: xr.DataArray, by: str) -> xr.DataArray:
    """The mean of each patient's records (patient, ..., phase), with the patient's value of `by`."""
    known = np.array([str(v) not in ("", "nan") for v in column(aligned, by)])
    aligned = aligned.isel(record=np.flatnonzero(known))
    patient, names = pd.factorize(patients_of(aligned))
    labels = pd.Series(aligned[by].values, dtype=object).groupby(patient)
    mixed = np.flatnonzero(labels.nunique() > 1)
    if len(mixed):
        one, other = labels.unique().iloc[mixed[0]][:2]
        raise ValueError(f"patient {str(names[mixed[0]])!r} has two values of {by!r}: {one!r} and {other!r}")
    seen = np.isfinite(aligned.values)
    total, count = (np.zeros((len(names), *aligned.shape[1:])) for _ in range(2))
    np.add.at(total, patient, np.where(seen, aligned.values, 0.0))
    np.add.at(count, patient, seen)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    coords = {"phase": aligned["phase"], by: ("patient", labels.first().to_numpy())}
    return xr.DataArray(mean, dims=("patient", *aligned.dims[1:]), coords=coords)


def _tested(curves: np.ndarray, first: np.ndarray, permuted: np.ndarray) -> np.ndarray:
    """Difference, t and p (3, phase) of curves (patient, phase) between the first group (patient,) and the others."""
    difference, t = (v[0] for v in _welch(first[None], curves))
    parts = np.array_split(permuted, max(len(permuted) // _AT_ONCE, 1))
    largest = [np.nanmax(np.abs(_welch(part, curves)[1]), axis=1, initial=0.0) for part in parts]
    return np.stack([difference, t, permutation_p(np.abs(t), np.concatenate(largest))])


def _welch(first: np.ndarray, curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Difference of means and Welch's t (split, phase) of `curves` (patient, phase) for each split (split, patient)."""
    seen = np.isfinite(curves)
    x = np.where(seen, curves, 0.0)
    # About the common mean, so that squares do not cancel.
    x = np.where(seen, x - x.sum(axis=0) / np.maximum(seen.sum(axis=0), 1), 0.0)
    moments = np.stack([x, x**2, seen])  # (3, patient, phase)
    of_first = first.astype(float) @ moments  # (3, split, phase)
    means, variances = [], []
    for total, square, n in (of_first, moments.sum(axis=1)[:, None] - of_first):
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
