"""Cohort maps: the mean over people of what was aligned, with bands from resampling patients."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import xarray as xr

from .landmarks import LANDMARKS

SEGMENTS = {
    "P": ("P_on", "P_off"),
    "PQ": ("P_off", "QRS_on"),
    "QRS": ("QRS_on", "J"),
    "ST": ("J", "T_on"),
    "T": ("T_on", "T_off"),
}
MEASURED_IN = {  # the segments that hold a target's landmarks, or its voltage
    "pr": ("P", "PQ", "QRS"),
    "qrs": ("QRS",),
    "qt": ("QRS", "T"),
    "j_v5": ("QRS", "ST"),
    "r_v5": ("QRS",),
    "t_v5": ("T",),
}
_RESAMPLES = 1000
_MOST_GROUPS = 20


def patient_draws(n_patients: int, seed: int = 0) -> np.ndarray:
    """How often each of 1,000 resamplings of patients, with replacement, draws each patient: array (draw, patient)."""
    return np.random.default_rng(seed).multinomial(n_patients, np.full(n_patients, 1 / n_patients), _RESAMPLES)


def cohort_map(aligned: xr.DataArray, by: str | None = None, ci: float = 0.95, *, seed: int = 0) -> xr.Dataset:
    """Mean over records with a band that holds the whole curve with probability `ci`.

    Patients, not records, are drawn with replacement (1,000 times). The band is the mean plus and minus the same
    multiple of its standard error at every phase; the multiple is the `ci` quantile, over the draws, of the largest
    studentised deviation along the curve (a bootstrap sup-t band, e.g. Montiel Olea & Plagborg-Møller 2019).

    Parameters
    ----------
    aligned : DataArray (record, ..., phase)
        From `align`; its ``patient`` coordinate says who is who (each record is its own patient where there is none).
    by : str, optional
        A coordinate of record, such as ``"sex"``: one map per group, along a dimension of that name. Records for
        which it is empty are in no group.
    ci : float
        Level of the band, 0 to 1.

    Returns
    -------
    Dataset
        ``mean``, ``low``, ``high`` (..., phase), ``n``: records that show that phase. Bands need about
        five people; with fewer they are NaN, at single phases or throughout.

    Raises
    ------
    ValueError
        When `by` is no coordinate of record, or no record has a value.
    """
    if not 0 < ci < 1:
        raise ValueError(f"ci is {ci}; expected a level between 0 and 1, such as 0.95")
    if by is not None:
        if by not in aligned.coords or aligned[by].dims != ("record",):
            have = ", ".join(str(k) for k, v in aligned.coords.items() if v.dims == ("record",))
            raise ValueError(f"cannot group by {by!r}; the records carry {have}")
        groups = [g for g in pd.unique(aligned[by].values) if str(g) not in ("", "nan")]
        if len(groups) > _MOST_GROUPS:
            raise ValueError(
                f"{by!r} has {len(groups)} values, at most {_MOST_GROUPS} groups are mapped; cut it into classes"
            )
        parts = [cohort_map(aligned[(aligned[by] == g).values], ci=ci, seed=seed) for g in sorted(groups)]
        if not parts:
            raise ValueError(f"no record has a value of {by!r}")
        return xr.concat(parts, dim=pd.Index(sorted(groups), name=by), combine_attrs="override")
    if not aligned.sizes["record"]:
        raise ValueError("there is no record to average")
    data = aligned.transpose("record", ...).values.astype(np.float64)
    rest = data.shape[1:]
    flat = data.reshape(len(data), -1)
    seen = np.isfinite(flat)
    if not seen.any():
        raise ValueError("no record has a value to average; wb.excluded lists why records were left out")
    patient = pd.factorize(aligned["patient"].values if "patient" in aligned.coords else np.arange(len(data)))[0]
    member = np.equal.outer(np.arange(patient.max() + 1), patient).astype(float)  # (patient, record)
    sums, counts = member @ np.where(seen, flat, 0.0), member @ seen
    n = counts.sum(axis=0)
    mean = np.divide(sums.sum(axis=0), n, out=np.full(n.shape, np.nan), where=n > 0)
    draws = patient_draws(len(member), seed)
    low, high = np.full(n.shape, np.nan), np.full(n.shape, np.nan)
    if len(member) > 1:
        series = np.arange(flat.shape[1]).reshape(-1, rest[-1])  # one curve per row
        for columns in series:  # a curve at a time keeps memory at resamples x phases
            half = _half_width(sums[:, columns], counts[:, columns], draws, ci)
            low[columns], high[columns] = mean[columns] - half, mean[columns] + half
    dims = aligned.transpose("record", ...).dims[1:]
    coords = {k: v for k, v in aligned.coords.items() if "record" not in v.dims}
    return xr.Dataset(
        {k: (dims, v.reshape(rest)) for k, v in {"mean": mean, "low": low, "high": high, "n": n.astype(int)}.items()},
        coords=coords,
        attrs=aligned.attrs | {"ci": ci, "patients": len(member), "band": "simultaneous, patients resampled"},
    )


def _half_width(sums: np.ndarray, counts: np.ndarray, draws: np.ndarray, ci: float) -> np.ndarray:
    """Half the band's width (phase,) from patients' sums and counts (patient, phase); NaN where too few have it."""

    def mean_and_se(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # (draw, patient) -> (draw, phase) each
        n = weights @ counts
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = weights @ sums / n
            # The variance of a ratio of sums: sum of w (s - mean c)^2 over patients, over n^2.
            square = weights @ sums**2 - 2 * mean * (weights @ (sums * counts)) + mean**2 * (weights @ counts**2)
            return mean, np.sqrt(np.maximum(square, 0.0)) / n

    (mean,), (se,) = mean_and_se(np.ones((1, len(sums))))
    drawn, drawn_se = mean_and_se(draws)
    tiny = 1e-9 * (np.abs(mean) + se) + np.finfo(float).tiny  # below it people do not differ but by rounding
    fine = drawn_se > tiny  # a draw may hold one person alone where few have this phase
    ok = (se > tiny) & (fine.mean(axis=0) > 0.95)
    out = np.where(np.isfinite(mean) & (se <= tiny), 0.0, np.nan)
    if ok.any():
        away = np.abs(np.divide(drawn - mean, drawn_se, out=np.zeros_like(drawn), where=fine))
        c = np.quantile(away[:, ok].max(axis=1), ci)
        out[ok] = c * se[ok]
    return out


def segments(aligned: xr.DataArray | xr.Dataset) -> dict[str, np.ndarray]:
    """Masks over phase of P, PQ, QRS, ST, T on the common beat, and of the rest."""
    marks = json.loads(aligned.attrs["template"]) if "template" in aligned.attrs else None
    if marks is None:
        raise ValueError("the map carries no template; expected what align gives")
    f = dict(zip(LANDMARKS, [np.nan if m is None else m for m in marks], strict=True))
    phase = aligned["phase"].values
    out = {s: (phase >= f[a]) & (phase < f[b]) for s, (a, b) in SEGMENTS.items()}
    return out | {"rest": ~np.any(list(out.values()), axis=0)}


def segment_table(aligned: xr.DataArray, ci: float = 0.95, *, seed: int = 0) -> pd.DataFrame:
    """Where along the beat people's maps differ: share of |map - cohort mean| per wave.

    The part of a signed map that all people share says nothing about whose value is high or low; a record's departure
    from the cohort's mean map does.

    Returns
    -------
    DataFrame
        Rows target and segment: ``share`` (0..1) of the summed absolute departure, with a percentile interval
        ``low``, ``high`` from 1,000 resamplings of patients; ``span``: the segment's share of the beat's length, which
        is what an even map would give; ``n`` records.
    """
    masks = segments(aligned)
    patient = pd.factorize(
        aligned["patient"].values if "patient" in aligned.coords else np.arange(aligned.sizes["record"])
    )[0]
    n_patients = int(patient.max()) + 1
    draws = patient_draws(n_patients, seed)
    rows = []
    names = aligned["target"].values if "target" in aligned.dims else [""]
    for t in names:
        values = (aligned.sel(target=t) if "target" in aligned.dims else aligned).transpose("record", "phase").values
        away = np.abs(values - np.nanmean(values, axis=0, where=np.isfinite(values)))
        part = np.stack([np.nansum(away[:, m], axis=1) for m in masks.values()], axis=1)  # (record, segment)
        per_patient = np.zeros((n_patients, len(masks)))
        np.add.at(per_patient, patient, part)
        boot = draws @ per_patient
        boot = boot / boot.sum(axis=1, keepdims=True)
        share = per_patient.sum(axis=0) / per_patient.sum()
        low, high = np.quantile(boot, [(1 - ci) / 2, (1 + ci) / 2], axis=0)
        n = int(np.isfinite(values).any(axis=1).sum())
        for i, (s, m) in enumerate(masks.items()):
            rows.append((str(t), s, share[i], low[i], high[i], float(m.mean()), n))
    return pd.DataFrame(rows, columns=["target", "segment", "share", "low", "high", "span", "n"]).set_index(
        ["target", "segment"]
    )
