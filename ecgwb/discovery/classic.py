"""Classic measurements of every beat: each column with a unit, a definition and a source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr
from scipy.integrate import cumulative_trapezoid, trapezoid
from scipy.signal import find_peaks

from ..cohorts.guards import check
from ..cohorts.measurements import TIME, fridericia, levelled

_AHA = "AHA/ACCF/HRS 2009, doi 10.1161/CIRCULATIONAHA.108.191095"
_AFTER_J_MS = {"j_uv": 0.0, "st20_uv": 20.0, "st40_uv": 40.0}
_LEAST_R_UV = 20.0  # the least wave of QRS in the CSE study (Eur Heart J 6:815, 1985)
_FAINT_T_UV = 20.0  # a T wave lower than this has no shape to measure
_PAPER = "Hicks et al. 2021, doi 10.1038/s41598-021-90285-5"
_PER_BEAT = {
    "p_ms": ("P_on to P_off", _AHA),
    "pr_ms": ("P_on to QRS_on", _AHA),
    "qrs_ms": ("QRS_on to J, by the fifth of twelve leads from outside; by the extreme ones it is longer", _AHA),
    "qt_ms": ("QRS_on to T_off", _AHA),
    "qtc_ms": ("QT / (RR in s) ** (1/3)", "Fridericia 1920"),
    "qtc_rr_ms": ("QT + slope (1000 - RR), RR in ms", "Sagie et al. 1992, doi 10.1016/0002-9149(92)90562-D"),
    "jt_ms": ("J to T_off", _AHA),
    "tpe_ms": ("T_peak to T_off", "Yan & Antzelevitch 1998"),
    "hr_bpm": ("60000 / median RR in ms", _AHA),
    "p_axis_deg": ("atan2 of the P areas in aVF (times 2/sqrt 3) and I", _AHA),
    "qrs_axis_deg": ("atan2 of the QRS areas in aVF (times 2/sqrt 3) and I", _AHA),
    "t_axis_deg": ("atan2 of the T areas in aVF (times 2/sqrt 3) and I", _AHA),
}
_PER_LEAD = {
    "p_uv": ("largest deflection from P_on to P_off, signed", _AHA),
    "q_uv": ("lowest point of QRS before the R peak; 0 if none is below the baseline, and in a QS complex", _AHA),
    "r_uv": (
        "highest point of QRS; where that is an end of QRS, its highest peak of 20 µV or more; 0 if there is none: QS",
        _AHA,
    ),
    "s_uv": ("lowest point of QRS after the R peak, or of a QS complex; 0 if none is below the baseline", _AHA),
    "j_uv": ("level at J", _AHA),
    "st20_uv": ("level 20 ms after J", _AHA),
    "st40_uv": ("level 40 ms after J", _AHA),
    "t_uv": ("largest deflection from T_on, or J where that is unknown, to T_off, signed", _AHA),
    "qrs_area_uvms": ("area of QRS", _AHA),
    "t_area_uvms": ("area from J to T_off", _AHA),
    "t_asymmetry": (
        "area of T before its peak / area after it, from the line that joins T's ends; 1: symmetric",
        "after di Bernardo & Murray, Nature 403:40, 2000",
    ),
    "r_time_ms": ("QRS_on to the R peak; absent in a QS complex", _PAPER),
    "s_time_ms": ("QRS_on to the lowest point of QRS after the R peak, or of a QS complex", _PAPER),
    "r_upslope": ("steepest rise before the R peak, µV/ms over 6 ms", _PAPER),
    "r_downslope": ("steepest fall after the R peak within QRS, µV/ms over 6 ms", _PAPER),
}

_MEASURED: dict[bytes, dict[str, np.ndarray]] = {}  # by beat and landmarks; 3 kB each
_MOST_KEPT = 30_000

QT_PER_RR = 0.154  # ms of QT per ms of RR in 5,018 people of Framingham (Sagie et al. 1992)


def measure(cohort: xr.Dataset, *, qt_per_rr: float = QT_PER_RR) -> pd.DataFrame:
    """The classic measurements of every record.

    Voltages are read as `ecgwb.cohorts.measurements.levelled` gives them, from the mean of the 10 ms before QRS_on.
    Leads are those of the cohort.

    Parameters
    ----------
    cohort : Dataset
    qt_per_rr : float
        Slope of QT on RR with which ``qtc_rr_ms`` takes QT to an RR of one second. Framingham's by default, so that
        a value does not depend on the rest of the cohort; `qt_slope` gives that of discovery patients of your own.

    Returns
    -------
    DataFrame, a row per record (index ``record``)
        Intervals and axes (``pr_ms``, ``qrs_axis_deg``, ...) and per lead amplitudes, areas, times and slopes
        (``r_uv_V5``, ``r_downslope_V2``, ...). NaN where a landmark it needs is absent. ``attrs["columns"]`` gives
        every column's unit, definition and source; ``pd.DataFrame(table.attrs["columns"]).T`` shows them.

    Raises
    ------
    RecordError
        When the cohort has no dimension ``record``.
    """
    cohort = check(cohort, "hr")
    marks = cohort["fiducial"].to_pandas()  # a row per record, a column per landmark
    qt, rr = marks["T_off"] - marks["QRS_on"], 60000.0 / cohort["hr"].values
    whole = {
        "p_ms": marks["P_off"] - marks["P_on"],
        "pr_ms": marks["QRS_on"] - marks["P_on"],
        "qrs_ms": marks["J"] - marks["QRS_on"],
        "qt_ms": qt,
        "qtc_ms": fridericia(qt, rr / 1000.0),
        "qtc_rr_ms": qt + qt_per_rr * (1000.0 - rr),
        "jt_ms": marks["T_off"] - marks["J"],
        "tpe_ms": marks["T_off"] - marks["T_peak"],
        "hr_bpm": cohort["hr"].values,
    }
    leads = [str(v) for v in cohort["lead"].values]
    per_lead = {name: np.full((len(marks), len(leads)), np.nan) for name in _PER_LEAD}
    p_area = np.full((len(marks), len(leads)), np.nan)
    for i, found in enumerate(_each_beat(cohort)):
        p_area[i] = found.pop("p_area_uvms", np.nan)
        for name, values in found.items():
            per_lead[name][i] = values
    areas = {"p": p_area, "qrs": per_lead["qrs_area_uvms"], "t": per_lead["t_area_uvms"]}
    if {"I", "II"} <= set(leads):
        for wave, area in areas.items():
            lead_i, lead_ii = (area[:, leads.index(lead)] for lead in ("I", "II"))
            whole[f"{wave}_axis_deg"] = np.degrees(np.arctan2((lead_ii - lead_i / 2) * 2 / np.sqrt(3), lead_i))
    columns = {f"{name}_{lead}": v[:, k] for name, v in per_lead.items() for k, lead in enumerate(leads)}
    table = pd.DataFrame(whole | columns, index=pd.Index(cohort["record"].values, name="record"))
    table.attrs["columns"] = _described(list(table.columns))
    return table


def _each_beat(cohort: xr.Dataset) -> Iterator[dict[str, np.ndarray]]:
    """`_one_beat` of every record, and the area of P; nothing of one with gaps or without QRS.

    What was measured is kept for the next cohort with the same beats, such as a part of this one.
    """
    beats, marks = np.ascontiguousarray(cohort["beat"].values, dtype=float), cohort["fiducial"].values
    names = [str(v) for v in cohort["landmark"].values]
    for beat, places in zip(beats, marks, strict=True):
        row = dict(zip(names, places.tolist(), strict=True))
        if not np.isfinite(row["QRS_on"] + row["J"]) or not np.isfinite(beat).all():
            yield {}
            continue
        key = hashlib.blake2b(beat.data, digest_size=16).digest() + places.tobytes()
        found = _MEASURED.get(key)
        if found is None:
            x = levelled(beat, row["QRS_on"])
            fine = np.isfinite(x).all()
            found = {"p_area_uvms": _area(x, row["P_on"], row["P_off"]), **_one_beat(x, row)} if fine else {}
            if len(_MEASURED) >= _MOST_KEPT:
                _MEASURED.clear()
            _MEASURED[key] = found
        yield dict(found)


def voltages(cohort: xr.Dataset) -> np.ndarray:
    """Beats as voltages are read from them (record, lead, time), µV; NaN for one with gaps or no QRS onset."""
    beats = cohort["beat"].values.astype(float)
    onset = cohort["fiducial"].sel(landmark="QRS_on").values
    out = np.full(beats.shape, np.nan)
    for i in np.flatnonzero(np.isfinite(onset) & np.isfinite(beats).all(axis=(1, 2))):
        out[i] = levelled(beats[i], onset[i])
    return out


def _one_beat(x: np.ndarray, marks: dict[str, float]) -> dict[str, np.ndarray]:
    """Amplitudes, times and slopes of one beat (lead, time), µV from its baseline; those that its landmarks allow."""
    on, j, t_off = marks["QRS_on"], marks["J"], marks["T_off"]
    inside = (on <= TIME) & (j >= TIME)
    if not inside.any():
        return {}
    qrs, t = x[:, inside], TIME[inside]  # (lead, sample)
    peak = np.array([_r_peak(row) for row in qrs])
    is_qs = peak < 0
    peak = np.where(is_qs, 0, peak)  # of a QS complex all that follows is S
    before = np.arange(len(t)) <= peak[:, None]
    lowest_after = np.where(before, np.inf, qrs).argmin(axis=1)
    out = {
        "q_uv": np.where(is_qs, 0.0, np.minimum(np.where(before, qrs, 0.0).min(axis=1), 0.0)),
        "r_uv": np.where(is_qs, 0.0, qrs[np.arange(len(qrs)), peak]),
        "s_uv": np.where(before, 0.0, qrs).min(axis=1),
        **{name: np.array([np.interp(j + ms, TIME, row) for row in x]) for name, ms in _AFTER_J_MS.items()},
        "qrs_area_uvms": _area(x, on, j),
        "r_time_ms": np.where(is_qs, np.nan, t[peak] - on),
        "s_time_ms": np.where(before.all(axis=1), j, t[lowest_after]) - on,
    }
    if len(t) > 3:  # a shorter QRS has no slope over 6 ms
        slope = (qrs[:, 3:] - qrs[:, :-3]) / 6.0  # three samples of 2 ms
        middle = np.arange(slope.shape[1]) + 1.5
        out["r_upslope"] = np.where(middle <= peak[:, None], slope, 0.0).max(axis=1)
        out["r_downslope"] = np.where(middle >= peak[:, None], slope, 0.0).min(axis=1)
    if np.isfinite(marks["P_on"] + marks["P_off"]):
        out["p_uv"] = _largest(x, marks["P_on"], marks["P_off"])
    if np.isfinite(t_off):
        out["t_uv"] = _largest(x, np.fmax(j, marks["T_on"]), t_off)
        out["t_area_uvms"] = _area(x, j, t_off)
        out["t_asymmetry"] = _asymmetry(x, marks["T_on"], t_off)
    return out


def _r_peak(qrs: np.ndarray) -> int:
    """Where the R of one lead's QRS (sample,) is; -1 where it has none: a QS complex.

    The highest sample, unless that is an end of QRS, as where ST lies above a small r: then the highest peak within.
    """
    highest = int(qrs.argmax())
    if qrs[highest] <= 0:
        return -1
    if 0 < highest < len(qrs) - 1:
        return highest
    peaks = find_peaks(qrs, height=_LEAST_R_UV, prominence=_LEAST_R_UV)[0]
    return int(peaks[qrs[peaks].argmax()]) if len(peaks) else -1


def _asymmetry(x: np.ndarray, t_on: float, t_off: float) -> np.ndarray:
    """Area of T up to its peak over the area beyond; NaN where a lead has no T to speak of, or its peak is an end."""
    out = np.full(len(x), np.nan)
    inside = (t_on <= TIME) & (t_off >= TIME)
    if inside.sum() < 5:
        return out
    t = x[:, inside]
    wave = t - np.linspace(t[:, 0], t[:, -1], t.shape[1], axis=1)
    at = np.abs(wave).argmax(axis=1)[:, None]
    area = cumulative_trapezoid(wave, axis=1, initial=0)
    height, before = (np.take_along_axis(v, at, 1)[:, 0] for v in (wave, area))
    after = area[:, -1] - before
    fine = (np.abs(height) > _FAINT_T_UV) & (before * height > 0) & (after * height > 0)
    out[fine] = before[fine] / after[fine]
    return out


def qt_slope(cohort: xr.Dataset) -> float:
    """Slope of QT on RR over a cohort's records, by least squares: what `measure` may correct QT with.

    Parameters
    ----------
    cohort : Dataset

    Returns
    -------
    float
        ms per ms.
    """
    cohort = check(cohort, "hr")
    qt = (cohort["fiducial"].sel(landmark="T_off") - cohort["fiducial"].sel(landmark="QRS_on")).values
    rr = 60000.0 / cohort["hr"].values
    ok = np.isfinite(qt + rr)
    if ok.sum() < 3 or np.ptp(rr[ok]) == 0:
        raise ValueError(f"{ok.sum()} records have QT and RR, or one RR alone; a slope needs three that differ")
    return float(np.polyfit(rr[ok], qt[ok], 1)[0])


def _largest(x: np.ndarray, start: float, stop: float) -> np.ndarray:
    """The largest deflection of each lead from start to stop, signed; NaN where no sample lies between."""
    part = x[:, (start <= TIME) & (stop >= TIME)]
    if not part.size:
        return np.full(len(x), np.nan)
    return np.take_along_axis(part, np.abs(part).argmax(axis=1)[:, None], 1)[:, 0]


def _area(x: np.ndarray, start: float, stop: float) -> np.ndarray:
    """µV ms of each lead from start to stop; NaN where either is absent."""
    if not np.isfinite(start + stop):
        return np.full(len(x), np.nan)
    inside = (start <= TIME) & (stop >= TIME)
    return trapezoid(x[:, inside], TIME[inside], axis=1)


def _described(columns: list[str]) -> dict[str, dict[str, str]]:
    """Unit, definition and source of each column."""
    units = {"ms": "ms", "bpm": "bpm", "deg": "degrees", "uv": "µV", "uvms": "µV ms"}
    rows = {}
    for column in columns:
        name, lead = (column, "") if column in _PER_BEAT else column.rsplit("_", 1)
        text, source = (_PER_BEAT | _PER_LEAD)[name]
        unit = units.get(name.rsplit("_", 1)[-1], "1" if name == "t_asymmetry" else "µV/ms")
        rows[column] = {"unit": unit, "definition": f"lead {lead}: {text}" if lead else text, "source": source}
    return rows
