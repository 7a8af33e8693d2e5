"""Whether the limb leads look like those of interchanged electrodes: they follow from the chest leads, roughly.

Both see the heart's dipole, so the chest leads predict I and II in QRS and T (the idea is that of Kors & van Herpen,
J Electrocardiol 34 Suppl:69-74, 2001), and P points down and to the left. Of the six ways in which three electrodes lie
on three places, the likeliest is named. It is a likelihood, never a proof: dextrocardia looks the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy.optimize import minimize

from ..delineation.landmarks import P_OFF, P_ON, QRS_ON, T_OFF, J
from .measurements import TIME, levelled

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
    p = _p_wave(x, f)
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

    return minimize(loss, np.zeros(evidences.shape[2])).x


def _three(i_ii: np.ndarray) -> np.ndarray:
    """I, II and III (lead, time) from I and II."""
    return np.stack([i_ii[0], i_ii[1], i_ii[1] - i_ii[0]])


def _p_wave(x: np.ndarray, f: np.ndarray) -> np.ndarray:
    """Mean of P in I and II against the 10 ms before it, µV; zeros without a P."""
    wave, before = (f[P_ON] <= TIME) & (f[P_OFF] >= TIME), (f[P_ON] - 10 <= TIME) & (f[P_ON] > TIME)
    return x[:2, wave].mean(axis=1) - x[:2, before].mean(axis=1) if wave.any() and before.any() else np.zeros(2)
