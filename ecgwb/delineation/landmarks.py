"""Landmarks: their names and places, and the global ones of a beat, with their doubt, from the waves of its leads."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

LANDMARKS = ("P_on", "P_peak", "P_off", "QRS_on", "R", "J", "T_on", "T_peak", "T_off")
# Where each landmark stands in an array with an axis of landmarks.
P_ON, P_PEAK, P_OFF, QRS_ON, R, J, T_ON, T_PEAK, T_OFF = range(9)
ONSETS, PEAKS, OFFSETS = (P_ON, QRS_ON, T_ON), (P_PEAK, R, T_PEAK), (P_OFF, J, T_OFF)

WAVES = {"P": ("P_on", "P_off"), "QRS": ("QRS_on", "J"), "T": ("T_on", "T_off")}
"""First and last landmark of each wave."""
WAVE_POINTS = {"P": ("P_on", "P_peak", "P_off"), "QRS": ("QRS_on", "R", "J"), "T": ("T_on", "T_peak", "T_off")}
"""Onset, peak and offset of each wave."""
SEGMENTS = {
    "P": ("P_on", "P_off"),
    "PQ": ("P_off", "QRS_on"),
    "QRS": ("QRS_on", "J"),
    "ST": ("J", "T_on"),
    "T": ("T_on", "T_off"),
}
"""First and last landmark of each stretch of the beat from P_on to T_off."""
# A landmark's standard error is the root of the sum of squares of a floor (ms) and of its spread over leads and beats
# times a factor; fitted out of fold on LUDB by notebooks/studies/landmark_doubt.py, which a test holds them to.
STANDARD_ERROR = {
    "P_on": (3.14, 0.97), "P_peak": (1.62, 0.73), "P_off": (2.14, 1.05), "QRS_on": (2.94, 1.46), "R": (0.0, 0.0),
    "J": (3.52, 0.60), "T_on": (7.97, 0.68), "T_peak": (1.42, 0.72), "T_off": (3.71, 0.90),
}  # fmt: skip
FEW_BEATS = 3
RANK = 5 / 12  # of the leads that show a wave: which of them, from outside, gives the global onset and offset


class Wave(NamedTuple):
    """A wave found in one lead."""

    lead: int  # row of the signal
    kind: str  # "P", "QRS" or "T"
    onset: float  # ms from the signal's first sample, as all three; NaN where a boundary is unknown
    peak: float
    offset: float


def global_marks(marks: np.ndarray, rank: float = RANK, n_leads: np.ndarray | None = None) -> np.ndarray:
    """One mark per beat and landmark from those of the leads.

    Of the m leads that show a wave (at least a third of them must), the onset is the k-th earliest and the offset the
    k-th latest with k = ceil(5 m / 12): the fifth of twelve. Peaks are the median. Marks made by hand scatter more
    between leads than a network's, and the extremes of noisy leads lie further out, so the nearer a rule is to the
    extremes the more it measures the marker's noise; the second and third of the result show what the next ranks give.

    Parameters
    ----------
    marks : array (beat, lead, landmark), ms
    rank : float
        Of the leads that show a wave, the share to be counted from outside; 1/12 is the outermost lead.
    n_leads : array (beat,), optional
        How many leads are there at each beat; all, where it is missing.

    Returns
    -------
    array (3, beat, landmark), ms
        By the k-th lead, by the next one outwards, by the next one inwards.
    """
    m = np.isfinite(marks).sum(axis=1)  # (beat, landmark)
    place = np.ceil(rank * m).astype(int)
    # NaN last, and one in any case
    ordered = np.sort(np.pad(marks, ((0, 0), (0, 1), (0, 0)), constant_values=np.nan), axis=1)

    def nth(k: np.ndarray) -> np.ndarray:
        return np.take_along_axis(ordered, k[:, None], axis=1)[:, 0]

    out = np.empty((3, *m.shape))
    for side, step in zip(out, (0, -1, 1), strict=True):
        r = np.clip(place + step, 1, m)
        side[:, ONSETS] = nth(r - 1)[:, ONSETS]
        side[:, OFFSETS] = nth(m - r)[:, OFFSETS]
        side[:, PEAKS] = (nth((m - 1) // 2) + nth(m // 2))[:, PEAKS] / 2
    needed = np.ceil((np.array([marks.shape[1]]) if n_leads is None else n_leads) / 3)
    out[:, m < np.maximum(needed, 1)[:, None]] = np.nan
    return out


def median_if_common(values: np.ndarray, share: float = 0.5) -> np.ndarray:
    """Median over beats of values (..., beat, landmark), NaN where fewer than `share` of them show the landmark."""
    seen = ~np.isnan(values)
    common = seen.any(axis=-2) & (seen.mean(axis=-2) >= share)
    # NaN last: a row of nothing is NaN. np.nanmedian takes ten times as long.
    ordered, m = np.sort(values, axis=-2), seen.sum(axis=-2, keepdims=True)
    low, high = (np.take_along_axis(ordered, k, axis=-2)[..., 0, :] for k in (np.maximum(m - 1, 0) // 2, m // 2))
    return np.where(common, (low + high) / 2, np.nan)


def in_order(fiducial: np.ndarray) -> np.ndarray:
    """A beat's landmarks (ms, NaN where absent) with those that pass another wave's moved to its boundary.

    QRS_on is at or before time zero and J at or after it; P ends by QRS_on, T starts no earlier than J.
    """
    f = np.array(fiducial, dtype=float)
    if np.isfinite(f[QRS_ON]):
        f[QRS_ON] = min(f[QRS_ON], 0.0)
        f[P_ON : P_OFF + 1] = np.minimum(f[P_ON : P_OFF + 1], f[QRS_ON])  # an absent P stays NaN
    if np.isfinite(f[J]):
        f[J] = max(f[J], 0.0)
        f[T_ON : T_OFF + 1] = np.maximum(f[T_ON : T_OFF + 1], f[J])
    return f


class BeatLandmarks(NamedTuple):
    """Landmarks of a recording's representative beat, ms; NaN where absent."""

    fiducial: np.ndarray  # (landmark,) from the QRS fiducial, in order
    neighbour: np.ndarray  # (2, landmark): by the next order statistic outwards and inwards
    doubt: np.ndarray  # (landmark,)
    cycles: np.ndarray  # (beat, landmark) of every beat, from the recording's start


def beat_landmarks(
    marks: np.ndarray,
    r: np.ndarray,
    used: np.ndarray,
    share: float = 0.5,
    rank: float = RANK,
    there: np.ndarray | None = None,
) -> BeatLandmarks:
    """The landmarks of a representative beat: the medians, over the beats it is made of, of their global landmarks.

    Their spread over leads and over beats is one standard deviation each, summed in squares. Over leads: half the gap
    between the neighbouring order statistics. Over beats: 1.4826 times the median absolute deviation, and of one or two
    beats at least twice the spread over leads. Their doubt is the standard error that follows from it, see
    `standard_error`.

    Parameters
    ----------
    marks : array (beat, lead, landmark), ms
    r : array (beat,), ms
        The QRS fiducial of each beat.
    used : bool array (beat,)
        The beats that make the representative beat.
    share : float
        A landmark that fewer of these beats show is absent.
    rank : float
        See `global_marks`. The doubt is calibrated for the fifth of twelve leads.
    there : bool array (beat, lead), optional
        Where leads are missing at some beats, as in a printout: which are there. Then each lead's marks are medians
        over its own beats, and the global ones are taken of these.

    Returns
    -------
    BeatLandmarks
    """
    cycles = global_marks(marks, rank, None if there is None else there.sum(axis=1))  # (side, beat, landmark)
    cycles[:, :, R] = r
    relative = cycles[:, used] - r[used][:, None]
    n = int(used.sum())
    if there is None:
        middle, outer, inner = median_if_common(relative, share)
    else:
        own = np.full(marks.shape[1:], np.nan)  # (lead, landmark)
        for lead in np.flatnonzero(there[used].any(axis=0)):
            mine = used & there[:, lead]
            own[lead] = median_if_common(marks[mine, lead] - r[mine, None], share)
        own[:, R] = 0.0
        middle, outer, inner = global_marks(own[None], rank)[:, 0]
        n = int(np.median(there[used].sum(axis=0)))
    over_leads = np.abs(outer - inner) / 2
    over_beats = 1.4826 * median_if_common(np.abs(relative[0] - middle), share)
    if n < FEW_BEATS:  # too few to show how much they differ
        over_beats = np.fmax(over_beats, 2 * over_leads)
    doubt = standard_error(np.hypot(over_leads, over_beats))
    return BeatLandmarks(in_order(middle), np.stack([outer, inner]), doubt, cycles[0])


def standard_error(spread: np.ndarray) -> np.ndarray:
    """The standard error (..., landmark), ms, of landmarks of which leads and beats differ by a spread.

    Against the marks of LUDB's cardiologists, about 68 % of errors are within once and 95 % within twice of it.
    """
    floor, factor = np.array([STANDARD_ERROR[name] for name in LANDMARKS]).T
    return np.hypot(floor, factor * spread)


def interval_errors(doubt: np.ndarray) -> dict[str, float]:
    """The standard errors (ms) of PR, QRS and QT from those of the landmarks, whose errors count as independent."""
    p_on, qrs_on, j, t_off = (doubt[k] for k in (P_ON, QRS_ON, J, T_OFF))
    return {"pr": np.hypot(p_on, qrs_on), "qrs": np.hypot(qrs_on, j), "qt": np.hypot(qrs_on, t_off)}


def intervals(fiducial: np.ndarray) -> dict[str, float]:
    """PR, QRS and QT (ms) from the nine landmarks."""
    p_on, qrs_on, j, t_off = (fiducial[k] for k in (P_ON, QRS_ON, J, T_OFF))
    return {"pr": qrs_on - p_on, "qrs": j - qrs_on, "qt": t_off - qrs_on}
