"""Pacing: a recording whose beats come sooner or later, with every wave as it was."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline

from ..cohorts.cycles import SHARE
from ..cohorts.measurements import STEP, TIME
from ..delineation.landmarks import P_ON, QRS_ON, T_OFF, J, R

SHORTEST_MS = 8.0  # what must be left of a part of the beat, or between two, that is shortened
_FADE_MS = 40.0  # over which the recording's end passes into its repeated beginning


class Paced(NamedTuple):
    """A recording of other intervals, as long as it was."""

    rhythm: np.ndarray  # (lead, sample), µV
    marks: np.ndarray  # (cycle, landmark), ms from its start
    cycle: np.ndarray  # (cycle,) which of the former cycles each is
    rr: np.ndarray  # (interval,) ms, of the former cycles, as they are now


def paced(rhythm: np.ndarray, marks: np.ndarray, rr: np.ndarray) -> Paced | None:
    """A recording with the time between T and the next P drawn out, or shortened, so that other RR intervals result.

    What then lies beyond the recording's end is cut off. Where it becomes too short, its cycles are repeated from the
    beginning, joined in the middle between T and P, where the one fades into the other over 40 ms.

    Parameters
    ----------
    rhythm : array (lead, sample), µV
    marks : array (cycle, landmark), ms from the recording's start
        Of every beat, in the order of time.
    rr : array (cycle - 1,), ms
        The intervals wanted. One is not shortened by more than leaves 8 ms between T and P.

    Returns
    -------
    Paced or None
        None where fewer than half of the intervals can be had, fewer than three beats are there to be repeated, or
        samples are missing.
    """
    begin = np.fmin(np.fmin(marks[:, P_ON], marks[:, QRS_ON]), marks[:, R])
    end = np.fmax(np.fmax(marks[:, T_OFF], marks[:, J]), marks[:, R])
    gap, wanted = begin[1:] - end[:-1], rr - np.diff(marks[:, R])
    move = np.where(gap > 0, np.maximum(wanted, np.minimum(SHORTEST_MS - gap, 0.0)), 0.0)
    if not np.isfinite(rhythm).all() or not len(gap) or np.isclose(move, wanted).mean() < SHARE:
        return None
    time = np.arange(rhythm.shape[1]) * STEP
    length = rhythm.shape[1] * STEP
    some = np.flatnonzero(gap > 0)
    was = np.r_[0.0, np.stack([end[some], begin[some + 1]], axis=1).ravel(), length]
    later = np.cumsum(move[some])
    becomes = was + np.r_[0.0, np.stack([later - move[some], later], axis=1).ravel(), later[-1:].sum()]
    moved = np.interp(marks, was, becomes)  # NaN stays
    spline = CubicSpline(time, rhythm, axis=1)

    def at(t: np.ndarray) -> np.ndarray:
        return np.asarray(spline(np.interp(t, becomes, was)))

    if becomes[-1] >= length:
        out, source, shift = at(time), np.arange(len(marks)), np.zeros(len(marks))
    else:
        first, last = (becomes[[2 * k + 1, 2 * k + 2]].mean() for k in (0, len(some) - 1))
        period = last - first
        if period <= 0:
            return None
        now = np.where(time < last, time, first + (time - last) % period)
        fade = min(_FADE_MS, *(np.diff(becomes[[2 * k + 1, 2 * k + 2]])[0] / 2 for k in (0, len(some) - 1)))
        weight = 0.5 - 0.5 * np.cos(np.pi * np.clip((now - last + fade) / fade, 0.0, 1.0))
        out = at(now) * (1 - weight) + at(np.maximum(now - period, 0.0)) * weight
        copies = int(np.ceil((length - last) / period)) + 1
        again = np.flatnonzero((moved[:, R] >= first) & (moved[:, R] < last))
        source = np.r_[np.flatnonzero(moved[:, R] < last), np.tile(again, copies)]
        shift = np.repeat(np.arange(1, copies + 1) * period, len(again))
        shift = np.r_[np.zeros(len(source) - len(shift)), shift]
    marks = moved[source] + shift[:, None]
    inside = marks[:, R] < length
    marks[marks >= length] = np.nan
    return Paced(out.astype(np.float32), marks[inside], source[inside], np.diff(moved[:, R]))


def is_whole(r_ms: np.ndarray, length_ms: float) -> np.ndarray:
    """Which beats (cycle,) lie in the recording with all of their window."""
    return np.asarray((r_ms + TIME[0] >= 0) & (r_ms + TIME[-1] < length_ms))
