"""Whether leads look as they ought to: interchanged, upside down, twins, or of another gain than the others.

The limb leads follow from the chest leads, roughly: both see the heart's dipole, so the chest leads predict I and II in
QRS and T (the idea is that of Kors & van Herpen, J Electrocardiol 34 Suppl:69-74, 2001), and P points down and to the
left. Of the six ways in which three electrodes lie on three places, the likeliest is named. All of this is likely,
never proved: dextrocardia looks like interchanged arms.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import scipy
import xarray as xr

from ..delineation.landmarks import P_OFF, P_ON, QRS_ON, T_OFF, J
from ..recordings.record import LEADS, LIMB_TOLERANCE, LIMB_WEIGHTS, Record, limb_error
from .measurements import TIME, levelled, pacing_spike

# Leads I and II as recorded, from I and II as they ought to be.
SWAPS: dict[str, np.ndarray] = {
    "none": np.eye(2),
    "left arm and right arm": np.array([[-1.0, 0.0], [-1.0, 1.0]]),
    "left arm and left leg": np.array([[0.0, 1.0], [1.0, 0.0]]),
    "right arm and left leg": np.array([[1.0, -1.0], [0.0, -1.0]]),
    "both arms and left leg, in turn": np.array([[0.0, -1.0], [1.0, -1.0]]),
    "both arms and left leg, in the other turn": np.array([[-1.0, 1.0], [-1.0, 0.0]]),
}
LOG_ODDS = 3.0  # from which on an interchange is named: 20 times as likely as none
# Of the 459 patients of PTB-XL-500, by `fit_chest` and `fit_weights`; tests/bench/bench_electrodes.py makes them, and
# shows how often they are right about others.
CHEST = np.array([[-0.61, 0.24, 0.10, -0.14, 0.06, 0.37], [0.00, -0.07, 0.10, 0.14, -0.02, 0.52]])
WEIGHTS = np.array([4.01, 2.15, 1.16, 1.79])
# Of the same people, by `fit_upright`: how each lead's QRS, ST-T and P speak for a recording that is not upside down.
UPRIGHT = np.array(
    [
        [1.7, -1.1, -0.1, -0.7, -0.4, -0.3, 0.4, 0.9],
        [0.3, 0.4, -0.8, 1.1, 0.5, -0.5, -0.4, 0.2],
        [1.4, 0.9, -0.3, 0.3, 0.4, 0.3, 0.6, 0.6],
    ]
)
UPSIDE_DOWN = 2.0  # log-odds from which on it is named: seven times as likely
# Of the same people: mean and covariance of the leads' spans, in powers of ten of a µV.
SPANS = np.array([2.93, 2.99, 3.03, 3.28, 3.26, 3.27, 3.2, 3.09])
SPANS_COV = np.array(
    [
        [0.031, -0.001, 0.008, 0.002, 0.004, 0.004, 0.007, 0.008],
        [-0.001, 0.032, 0.012, 0.008, 0.005, 0.011, 0.014, 0.016],
        [0.008, 0.012, 0.034, 0.016, 0.01, 0.008, 0.005, 0.007],
        [0.002, 0.008, 0.016, 0.031, 0.018, 0.011, 0.005, 0.005],
        [0.004, 0.005, 0.01, 0.018, 0.029, 0.019, 0.01, 0.007],
        [0.004, 0.011, 0.008, 0.011, 0.019, 0.026, 0.018, 0.013],
        [0.007, 0.014, 0.005, 0.005, 0.01, 0.018, 0.027, 0.023],
        [0.008, 0.016, 0.007, 0.005, 0.007, 0.013, 0.023, 0.028],
    ]
)
WRONG_GAIN = 5.0  # log-odds from which on a gain is doubted: 150 times as likely
GAINS = (10.0, 0.1, 1000.0, 0.001)  # mistaken units, and commas
TWINS = 0.999  # correlation of two leads' beats, and their difference in QRS beside that elsewhere, as twins have it
TWINS_IN_QRS = 1.5
_WITHIN = (TIME >= -250) & (TIME <= 450)
_USUAL = {QRS_ON: -50.0, J: 50.0, T_OFF: 400.0}  # ms, where a landmark is absent


def likeliest_swap(beat: np.ndarray, fiducial: np.ndarray) -> tuple[str, float]:
    """The likeliest interchange of limb electrodes, and its log-odds against none.

    Parameters
    ----------
    beat : array (8 leads, time), µV
    fiducial : array (landmark,), ms

    Returns
    -------
    name : str
        A key of `SWAPS`.
    log_odds : float
        Natural; 0 for "none".
    """
    z = evidence(beat, fiducial) @ WEIGHTS
    best = int(z.argmax())
    return list(SWAPS)[best], float(z[best] - z[0])


def evidence(beat: np.ndarray, fiducial: np.ndarray, chest: np.ndarray = CHEST) -> np.ndarray:
    """What speaks for each of `SWAPS`.

    Parameters
    ----------
    beat : array (8 leads, time), µV
    fiducial : array (landmark,), ms
    chest : array (2, 6)
        Weights of V1 to V6 that predict I and II.

    Returns
    -------
    array (swap, 4)
        With that interchange undone: the correlation of I, II and III with their prediction in QRS, and in ST-T (both
        -1 to 1); the share of P that points to the left, and that points down.
    """
    f = np.asarray(fiducial, dtype=float)
    on, j, t_off = (f[k] if np.isfinite(f[k]) else usual for k, usual in _USUAL.items())
    x = np.asarray(beat, dtype=float)
    x = levelled(x, on) if on > TIME[0] else x
    parts = ((on <= TIME) & (j >= TIME), (j < TIME) & (t_off >= TIME))  # QRS, ST-T
    predicted = _three(chest @ x[2:])
    p = _p_wave(x[:2], f)
    out = np.zeros((len(SWAPS), 4))
    for k, swap in enumerate(SWAPS.values()):
        undone = np.linalg.inv(swap)
        seen = _three(undone @ x[:2])
        for i, part in enumerate(parts):
            a, b = seen[:, part], predicted[:, part]
            size = np.sqrt((a**2).sum() * (b**2).sum())
            out[k, i] = (a * b).sum() / size if size > 0 else 0.0
        left, rest = undone @ p
        down = (2 * rest - left) / np.sqrt(3)  # Einthoven's triangle: I points to the left, II 60 degrees below
        out[k, 2:] = np.array([left, down]) / (np.hypot(left, down) + 5)  # µV: a P that hardly is one says little
    return out


def fit_chest(cohort: xr.Dataset) -> np.ndarray:
    """I and II from V1 to V6, least squares over a cohort's beats, each scaled to the same size: array (2, 6)."""
    x = cohort["beat"].values.astype(float)[:, :, _WITHIN]
    x = x / np.sqrt((x**2).mean(axis=(1, 2), keepdims=True))
    rows = x.transpose(1, 0, 2).reshape(8, -1)
    return np.linalg.lstsq(rows[2:].T, rows[:2].T, rcond=None)[0].T


def fit_weights(evidences: np.ndarray) -> np.ndarray:
    """Weights of evidence (record, swap, 4) that make "none" likeliest: a conditional logit with a slight ridge."""

    def loss(w: np.ndarray) -> Any:
        z = evidences @ w
        return (np.log(np.exp(z - z[:, :1]).sum(axis=1))).mean() + 1e-3 * (w**2).sum()

    return scipy.optimize.minimize(loss, np.zeros(evidences.shape[2])).x


def _three(i_ii: np.ndarray) -> np.ndarray:
    """I, II and III (lead, time) from I and II."""
    return np.stack([i_ii[0], i_ii[1], i_ii[1] - i_ii[0]])


def _p_wave(x: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Mean of P in each lead against the 10 ms before it, µV; zeros without a P."""
    wave, before = (f[P_ON] <= TIME) & (f[P_OFF] >= TIME), (f[P_ON] - 10 <= TIME) & (f[P_ON] > TIME)
    return x[:, wave].mean(axis=1) - x[:, before].mean(axis=1) if wave.any() and before.any() else np.zeros(len(x))


# ---------------------------------------------------------------- upside down


def upright_odds(beat: np.ndarray, fiducial: np.ndarray) -> float:
    """Log-odds (natural) of a beat (8 leads, time) to be as it ought to against all of it being upside down."""
    return float((polarity(beat, fiducial) * UPRIGHT).sum())


def polarity(beat: np.ndarray, fiducial: np.ndarray) -> np.ndarray:
    """Which way the waves point, (QRS, ST-T and P; lead): areas, relative to the mean size over the leads.

    All change their sign with the recording's.
    """
    f = np.asarray(fiducial, dtype=float)
    on, j, t_off = (f[k] if np.isfinite(f[k]) else usual for k, usual in _USUAL.items())
    x = np.asarray(beat, dtype=float)
    x = levelled(x, on) if on > TIME[0] else x
    out = np.zeros((3, len(x)))
    for row, part in zip(out, ((on <= TIME) & (j >= TIME), (j < TIME) & (t_off >= TIME)), strict=False):
        size = np.abs(x[:, part]).sum(axis=1).mean()
        row[:] = x[:, part].sum(axis=1) / size if size > 0 else 0.0
    p = _p_wave(x, f)
    out[2] = p / (np.abs(p).mean() + 5)  # µV: a P that hardly is one says little
    return out


def fit_upright(polarities: np.ndarray) -> np.ndarray:
    """Weights (3, lead) that tell polarities (record, 3, lead) from their mirror images: a logit with a ridge."""
    x = polarities.reshape(len(polarities), -1)

    def loss(w: np.ndarray) -> Any:
        return 2 * np.log1p(np.exp(-x @ w)).sum() + (w**2).sum() / 2

    return scipy.optimize.minimize(loss, np.zeros(x.shape[1])).x.reshape(polarities.shape[1:])


# ---------------------------------------------------------------- twins


def near_twins(beat: np.ndarray, fiducial: np.ndarray) -> list[tuple[str, str, float]]:
    """Pairs of leads that hold one signal but for a gain and noise, as of electrodes that touch or a copied channel.

    Neighbours on the chest may be as alike; but where they differ, they do so in QRS. What noise adds lies anywhere.
    Leads that are equal to the last digit are none of these.

    Parameters
    ----------
    beat : array (8 leads, time), µV
    fiducial : array (landmark,), ms

    Returns
    -------
    list of (str, str, float)
        Two leads, and the second one's size in units of the first.
    """
    f = np.asarray(fiducial, dtype=float)
    on, j = (f[k] if np.isfinite(f[k]) else _USUAL[k] for k in (QRS_ON, J))
    qrs = (on - 20 <= TIME) & (j + 20 >= TIME)
    x = np.asarray(beat, dtype=float)
    x = x - x.mean(axis=1, keepdims=True)
    size = np.sqrt((x**2).sum(axis=1))
    found = []
    for a, b in combinations(range(len(x)), 2):
        if min(size[a], size[b]) == 0 or abs(x[a] @ x[b]) < TWINS * size[a] * size[b]:
            continue
        gain = float(np.sign(x[a] @ x[b]) * size[b] / size[a])
        rest = (x[b] - gain * x[a]) ** 2
        if rest.any() and rest[qrs].mean() <= TWINS_IN_QRS**2 * rest[~qrs].mean():
            found.append((LEADS[a], LEADS[b], gain))
    return found


# ---------------------------------------------------------------- gains


def wrong_gains(beat: np.ndarray, fiducial: np.ndarray, record: Record) -> dict[str, float]:
    """Leads that look as if recorded or read with another gain than the others, and by which factor.

    Limb leads by their relations, where there are three or more; the others by their span beside those of all leads.

    Parameters
    ----------
    beat : array (8 leads, time), µV
    fiducial : array (landmark,), ms
    record : Record
        The recording, with whatever limb leads it has.

    Returns
    -------
    dict
        A factor of `GAINS` by lead.
    """
    found: dict[str, float] = {}
    error = limb_error(record.signal, record.leads)
    if error > LIMB_TOLERANCE:
        found |= _wrong_limb_gain(record)
    if np.isfinite(fiducial[QRS_ON]) and pacing_spike(beat, fiducial[QRS_ON]) is not None:
        return found  # a paced heart's leads are of any size
    spans = np.log10(np.maximum(np.ptp(np.asarray(beat, dtype=float), axis=1), 1.0))
    for k in range(2):
        spans[k] -= np.log10(found.get(LEADS[k], 1.0))
    precision = np.linalg.inv(SPANS_COV)
    may_be = list(range(0 if np.isnan(error) else 2, len(LEADS)))

    def unlikely(x: np.ndarray) -> float:
        return float((x - SPANS) @ precision @ (x - SPANS)) / 2

    for _ in range(3):  # at most so many leads: of more, nobody knows which are right
        tried = {}
        for lead in may_be:
            for gain in GAINS:
                undone = spans.copy()
                undone[lead] -= np.log10(gain)
                tried[lead, gain] = unlikely(spans) - unlikely(undone)
        lead, gain = max(tried, key=lambda key: tried[key])
        if tried[lead, gain] <= WRONG_GAIN:
            break
        found[LEADS[lead]] = gain
        spans[lead] -= np.log10(gain)
        may_be.remove(lead)
    return found


def _wrong_limb_gain(record: Record) -> dict[str, float]:
    """The one limb lead and factor that, undone, brings the limb leads into agreement; empty where none does."""
    tried = {}
    for k, lead in enumerate(record.leads):
        if lead in LIMB_WEIGHTS:
            for gain in GAINS:
                signal = record.signal.copy()
                signal[k] /= gain
                tried[lead, gain] = limb_error(signal, record.leads)
    lead, gain = min(tried, key=lambda key: tried[key])
    return {lead: gain} if tried[lead, gain] <= LIMB_TOLERANCE else {}
