"""Decoding: the network's probabilities in, the waves of each lead out."""

from __future__ import annotations

from itertools import repeat

import numpy as np

from ..recordings.record import runs
from .landmarks import WAVES, Wave

RATE = 250
"""Sampling rate the network works at, Hz: nothing above 125 Hz shows where a wave begins."""
# A wave is reported where it is likelier than not at its surest sample.
PRESENT = 0.5
# P waves need more where most QRS complexes within ten seconds lack one, or where too few of them stand equally far
# before QRS. Chosen on LUDB's folds 0 and 3.
USUAL_P, SURE_P, NEARBY_MS = 0.7, 0.95, 10_000.0
STEADY_PR, SAME_PR_MS = 0.75, 40.0
# Share of an end's distribution left out on either side.
TAIL = 0.15
# Runs of a wave with a shorter break than this are one; shorter runs than these are none, ms.
BRIDGED_MS = 40.0
SHORTEST_MS = {"P": 24.0, "QRS": 24.0, "T": 40.0}
# How far from its surest sample a wave may reach, ms: longer than any human wave's longer part.
REACH_MS = {"P": 160.0, "QRS": 240.0, "T": 360.0}
_MS = 1000.0 / RATE  # of a sample


def decode(p: np.ndarray) -> list[Wave]:
    """Waves from probabilities.

    Parameters
    ----------
    p : array (lead, 7, sample)
        Of neither QRS nor T, P, QRS, T, and of the peaks of P, QRS, T, at 250 Hz, as from `probabilities`.

    Returns
    -------
    list of Wave
        All P waves lead by lead, then QRS complexes, then T waves.

    Notes
    -----
    With p(t) the probability that the wave lasts at t, seen outward from its surest sample, its expected end is that
    sample plus the integral of p: the mean of the end's distribution, which has the least squared error and is not
    bound to samples. The outermost `TAIL` of the distribution is left out, as it is often another wave's.
    """
    likeliest = np.where(p[:, 2:4].max(1) > p[:, 0], 2 + (p[:, 3] > p[:, 2]), 0)  # (lead, sample)
    waves: list[Wave] = []
    sureness: list[float] = []
    for k, kind in enumerate(WAVES, start=1):
        lead, start, stop = _spans(p[:, 1] > PRESENT if kind == "P" else likeliest == k, kind)
        if not len(lead):
            continue
        onset, offset, sure = _ends(p[:, k], lead, start, stop, int(REACH_MS[kind] / _MS))
        peak = _peaks(p[:, 3 + k], lead, start, stop).clip(onset, offset)
        onset[start == 0] = np.nan  # cut off by the record's ends
        offset[stop == p.shape[2]] = np.nan
        present = sure >= PRESENT
        points = _MS * np.stack([onset, peak, offset])
        found = zip(lead[present].tolist(), repeat(kind), *points[:, present].tolist(), strict=False)
        waves += map(Wave._make, found)
        sureness += sure[present].tolist()
    return _without_doubtful_p(waves, np.array(sureness))


def _without_doubtful_p(waves: list[Wave], sure: np.ndarray) -> list[Wave]:
    """The waves without P waves that are likely none.

    In fibrillation and flutter a few bumps look like P: where most QRS complexes nearby, over all leads, lack a P wave,
    or P waves stand at all distances from the QRS complexes after them, only those stay of which the network is sure.
    """
    kind = np.array([w.kind for w in waves])
    peak = np.array([w.peak for w in waves])

    def nearby(which: str) -> np.ndarray:
        times = np.sort(peak[kind == which])
        return np.searchsorted(times, peak + NEARBY_MS) - np.searchsorted(times, peak - NEARBY_MS)

    few = nearby("P") < USUAL_P * nearby("QRS")
    few[kind == "P"] |= _steadiness(peak[kind == "P"], np.sort(peak[kind == "QRS"])) < STEADY_PR
    doubtful = (kind == "P") & few & (sure < SURE_P)
    return [w for w, drop in zip(waves, doubtful, strict=True) if not drop]


def _steadiness(p: np.ndarray, qrs: np.ndarray) -> np.ndarray:
    """For each P wave, of those in the same ten seconds the share that is as far before QRS as the median one."""
    after = np.searchsorted(qrs, p)
    distance = np.append(qrs, np.inf)[after] - p
    part = (p // NEARBY_MS).astype(int)
    share = np.ones(len(p))
    for k in np.unique(part):
        known = (part == k) & np.isfinite(distance)
        if known.any():
            share[part == k] = (np.abs(distance[known] - np.median(distance[known])) < SAME_PR_MS).mean()
    return share


# ---------------------------------------------------------------- one kind of wave: arrays over its waves, in samples


def _spans(mask: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lead, start and stop of each wave where `mask` (lead, sample) says so: short breaks bridged, short runs left out.

    The first and the last sample of each, `stop` exclusive.
    """
    lead, start, stop = runs(mask)
    if len(lead):
        apart = (lead[1:] != lead[:-1]) | ((start[1:] - stop[:-1]) * _MS >= BRIDGED_MS)
        first, last = np.r_[True, apart], np.r_[apart, True]
        lead, start, stop = lead[first], start[first], stop[last]
    long = (stop - start) * _MS >= SHORTEST_MS[kind]
    return lead[long], start[long], stop[long]


def _window(q: np.ndarray, lead: np.ndarray, first: np.ndarray, step: int, length: int) -> np.ndarray:
    """(wave, length): q (lead, sample) from `first` on in steps of +1 or -1, zero beyond the record."""
    at = first[:, None] + step * np.arange(length)
    inside = (at >= 0) & (at < q.shape[1])
    return np.where(inside, q[lead[:, None], np.clip(at, 0, q.shape[1] - 1)], 0.0)


def _highest(q: np.ndarray, lead: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """The sample within each wave at which q (lead, sample) is highest."""
    length = int((stop - start).max())
    inside = np.arange(length) < (stop - start)[:, None]
    return start + np.where(inside, _window(q, lead, start, 1, length), -1.0).argmax(1)


def _ends(
    q: np.ndarray, lead: np.ndarray, start: np.ndarray, stop: np.ndarray, reach: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expected onset and offset, and the probability at the wave's surest sample."""
    centre = _highest(q, lead, start, stop)
    sure = q[lead, centre]

    def duration(step: int) -> np.ndarray:
        # Outward the probability may only fall: a rise belongs to another wave.
        lasts = np.minimum.accumulate(_window(q, lead, centre, step, reach), axis=1) / sure[:, None]
        return ((lasts - TAIL) / (1 - 2 * TAIL)).clip(0, 1).sum(1)

    # The centre's own sample spans half a sample to each side.
    onset, offset = centre + 0.5 - duration(-1), centre - 0.5 + duration(1)
    # Two waves of a kind do not overlap.
    between = np.where(lead[1:] == lead[:-1], (stop[:-1] + start[1:] - 1) / 2, np.nan)
    return np.fmax(onset, np.r_[np.nan, between]), np.fmin(offset, np.r_[between, np.nan]), sure


def _peaks(q: np.ndarray, lead: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Likeliest peak within each wave, refined by a parabola through its neighbours."""
    at = _highest(q, lead, start, stop)
    before, here, after = _window(q, lead, at - 1, 1, 3).T
    bend = before - 2 * here + after
    bent = bend < -1e-9
    shift = np.where(bent, 0.5 * (before - after) / np.where(bent, bend, 1.0), 0.0)
    return at + np.clip(shift, -0.5, 0.5)
