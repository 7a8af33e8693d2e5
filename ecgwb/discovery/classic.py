"""Classic measurements of every beat: each column with a unit, a definition and a source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from scipy.integrate import trapezoid

from ..cohorts.beats import need_records
from ..cohorts.measurements import TIME, levelled
from ..delineation.landmarks import LANDMARKS

_AHA = "AHA/ACCF/HRS 2009, doi 10.1161/CIRCULATIONAHA.108.191095"
_FAINT_T_UV = 20.0  # a T wave lower than this has no shape to measure
_PAPER = "Hicks et al. 2021, doi 10.1038/s41598-021-90285-5"
_WHOLE = {
    "p_ms": ("P_on to P_off", _AHA),
    "pr_ms": ("P_on to QRS_on", _AHA),
    "qrs_ms": ("QRS_on to J", _AHA),
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
_LEAD = {
    "p_uv": ("largest deflection from P_on to P_off, signed", _AHA),
    "q_uv": ("lowest point of QRS before the R peak; 0 if none is below the baseline", _AHA),
    "r_uv": ("highest point of QRS; 0 if none is above the baseline", _AHA),
    "s_uv": ("lowest point of QRS after the R peak; 0 if none is below the baseline", _AHA),
    "j_uv": ("level at J", _AHA),
    "t_uv": ("largest deflection from J to T_off, signed", _AHA),
    "qrs_area_uvms": ("area of QRS", _AHA),
    "t_area_uvms": ("area from J to T_off", _AHA),
    "t_asymmetry": (
        "area of T before its peak / area after it, from the line that joins T's ends; 1: symmetric",
        "after di Bernardo & Murray, Nature 403:40, 2000",
    ),
    "r_time_ms": ("QRS_on to the R peak", _PAPER),
    "s_time_ms": ("QRS_on to the lowest point of QRS after the R peak", _PAPER),
    "r_upslope": ("steepest rise before the R peak, µV/ms over 6 ms", _PAPER),
    "r_downslope": ("steepest fall after the R peak within QRS, µV/ms over 6 ms", _PAPER),
}


QT_PER_RR = 0.154  # ms of QT per ms of RR in 5,018 people of Framingham (Sagie et al. 1992)


def measure(cohort: xr.Dataset, *, qt_per_rr: float = QT_PER_RR) -> pd.DataFrame:
    """The classic measurements of every record.

    Voltages are read as `ecgwb.measurements.levelled` gives them, from the mean of the 10 ms before QRS_on. Leads are
    those of the cohort.

    Parameters
    ----------
    cohort : Dataset
    qt_per_rr : float
        Slope of QT on RR with which ``qtc_rr_ms`` takes QT to an RR of one second. Framingham's by default, so that
        a value depends on nobody else in the cohort; `qt_slope` gives that of discovery patients of your own.

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
    need_records(cohort)
    f = {m: cohort["fiducial"].sel(landmark=m).values for m in LANDMARKS}
    hr = cohort["hr"].values
    whole = pd.DataFrame(
        {
            "p_ms": f["P_off"] - f["P_on"],
            "pr_ms": f["QRS_on"] - f["P_on"],
            "qrs_ms": f["J"] - f["QRS_on"],
            "qt_ms": f["T_off"] - f["QRS_on"],
            "qtc_ms": (f["T_off"] - f["QRS_on"]) / np.cbrt(60.0 / hr),
            "qtc_rr_ms": f["T_off"] - f["QRS_on"] + qt_per_rr * (1000.0 - 60000.0 / hr),
            "jt_ms": f["T_off"] - f["J"],
            "tpe_ms": f["T_off"] - f["T_peak"],
            "hr_bpm": hr,
        }
    )
    beat = cohort["beat"].transpose("record", "lead", "time").values.astype(float)
    leads = [str(v) for v in cohort["lead"].values]
    per_lead = {name: np.full((len(beat), len(leads)), np.nan) for name in _LEAD}
    areas = np.full((len(beat), 3, len(leads)), np.nan)
    for i, x in enumerate(beat):
        marks = {m: f[m][i] for m in LANDMARKS}
        if not np.isfinite([marks["QRS_on"], marks["J"]]).all() or not np.isfinite(x).all():
            continue
        x = levelled(x, marks["QRS_on"])
        for name, values in _one_beat(x, marks).items():
            per_lead[name][i] = values
        for k, (a, b) in enumerate((("P_on", "P_off"), ("QRS_on", "J"), ("J", "T_off"))):
            areas[i, k] = _area(x, marks[a], marks[b])
    if {"I", "II"} <= set(leads):
        lead_i, lead_ii = areas[:, :, leads.index("I")], areas[:, :, leads.index("II")]
        axis = np.degrees(np.arctan2((lead_ii - lead_i / 2) * 2 / np.sqrt(3), lead_i))
        for k, wave in enumerate(("p", "qrs", "t")):
            whole[f"{wave}_axis_deg"] = axis[:, k]
    columns = {f"{n}_{lead}": v[:, j] for n, v in per_lead.items() for j, lead in enumerate(leads)}
    table = pd.concat([whole, pd.DataFrame(columns)], axis=1)
    table.index = pd.Index(cohort["record"].values, name="record")
    table.attrs["columns"] = _described(list(table.columns))
    return table


def _one_beat(x: np.ndarray, marks: dict[str, float]) -> dict[str, np.ndarray]:
    """Amplitudes, times and slopes of one beat (lead, time), µV from its baseline."""
    on, j, t_off = marks["QRS_on"], marks["J"], marks["T_off"]
    inside = (on <= TIME) & (j >= TIME)
    qrs, t = x[:, inside], TIME[inside]
    peak = qrs.argmax(axis=1)
    before = np.arange(len(t)) <= peak[:, None]
    q = np.where(before, qrs, np.inf).min(axis=1)
    after = np.where(before, np.inf, qrs)
    has_s = np.isfinite(after).any(axis=1)
    s = np.where(has_s, np.where(np.isfinite(after), after, 0).min(axis=1), 0.0)
    slope = (qrs[:, 3:] - qrs[:, :-3]) / 6.0  # three samples of 2 ms
    unknown = np.full(len(qrs), np.nan)  # of a QRS too short to have a slope
    middle = np.arange(slope.shape[1]) + 1.5
    rising, falling = middle <= peak[:, None], middle >= peak[:, None]
    out = {
        "q_uv": np.minimum(q, 0.0),
        "r_uv": np.maximum(qrs.max(axis=1), 0.0),
        "s_uv": np.minimum(s, 0.0),
        "j_uv": np.array([np.interp(j, TIME, row) for row in x]),
        "qrs_area_uvms": _area(x, on, j),
        "r_time_ms": t[peak] - on,
        "s_time_ms": np.where(has_s, t[np.where(np.isfinite(after), after, np.inf).argmin(axis=1)] - on, j - on),
        "r_upslope": np.where(rising, slope, 0.0).max(axis=1) if slope.size else unknown,
        "r_downslope": np.where(falling, slope, 0.0).min(axis=1) if slope.size else unknown,
    }
    if np.isfinite(marks["P_on"] + marks["P_off"]):
        out["p_uv"] = _largest(x, marks["P_on"], marks["P_off"])
    if np.isfinite(t_off):
        out["t_uv"] = _largest(x, j, t_off)
        out["t_area_uvms"] = _area(x, j, t_off)
        out["t_asymmetry"] = _asymmetry(x, marks["T_on"], t_off)
    return out


def _asymmetry(x: np.ndarray, t_on: float, t_off: float) -> np.ndarray:
    """Area of T up to its peak over the area beyond; NaN where a lead has no T to speak of, or its peak is an end."""
    out = np.full(len(x), np.nan)
    inside = (t_on <= TIME) & (t_off >= TIME)
    if inside.sum() < 5:
        return out
    t = x[:, inside]
    wave = t - t[:, :1] - (t[:, -1:] - t[:, :1]) * np.linspace(0.0, 1.0, t.shape[1])
    at = np.abs(wave).argmax(axis=1)
    area = np.concatenate([np.zeros((len(t), 1)), np.cumsum(wave[:, 1:] + wave[:, :-1], axis=1)], axis=1)
    before = np.take_along_axis(area, at[:, None], 1)[:, 0]
    after = area[:, -1] - before
    height = np.take_along_axis(wave, at[:, None], 1)[:, 0]
    fine = (np.abs(height) > _FAINT_T_UV) & (before * height > 0) & (after * height > 0)
    out[fine] = before[fine] / after[fine]
    return out


def qt_slope(cohort: xr.Dataset) -> float:
    """Slope of QT on RR over a cohort's records, ms per ms, by least squares: what `measure` may correct QT with."""
    qt = (cohort["fiducial"].sel(landmark="T_off") - cohort["fiducial"].sel(landmark="QRS_on")).values
    rr = 60000.0 / cohort["hr"].values
    ok = np.isfinite(qt + rr)
    if ok.sum() < 3 or np.ptp(rr[ok]) == 0:
        raise ValueError(f"{ok.sum()} records have QT and RR, or one RR alone; a slope needs three that differ")
    return float(np.polyfit(rr[ok], qt[ok], 1)[0])


def _largest(x: np.ndarray, start: float, stop: float) -> np.ndarray:
    part = x[:, (start <= TIME) & (stop >= TIME)]
    if not part.size:
        return np.full(len(x), np.nan)
    return np.take_along_axis(part, np.abs(part).argmax(axis=1)[:, None], 1)[:, 0]


def _area(x: np.ndarray, start: float, stop: float) -> np.ndarray:
    """µV ms from start to stop; NaN where either is absent."""
    if not np.isfinite(start + stop):
        return np.full(len(x), np.nan)
    inside = (start <= TIME) & (stop >= TIME)
    return trapezoid(x[:, inside], TIME[inside], axis=1)


def _described(columns: list[str]) -> dict[str, dict[str, str]]:
    units = {"ms": "ms", "bpm": "bpm", "deg": "degrees", "uv": "µV", "uvms": "µV ms"}
    rows = {}
    for c in columns:
        name, lead = (c, "") if c in _WHOLE else c.rsplit("_", 1)
        text, source = (_WHOLE | _LEAD)[name]
        unit = units.get(name.rsplit("_", 1)[-1], "1" if name == "t_asymmetry" else "µV/ms")
        rows[c] = {"unit": unit, "definition": f"lead {lead}: {text}" if lead else text, "source": source}
    return rows
