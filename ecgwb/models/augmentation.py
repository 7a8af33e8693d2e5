"""Augmentation: altered copies of beats and rhythms whose labels stay true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from ..cohorts.beats import RHYTHM
from ..cohorts.measurements import N_BEFORE, N_SAMPLES, TARGETS, TIME, targets
from ..delineation.landmarks import LANDMARKS, P_OFF, P_ON, QRS_ON, T_OFF, T_ON, J
from ..recordings.record import FS, LEADS

_STRETCH, _GAIN = 0.25, 0.4  # largest natural-log factor of time and of voltage of a whole copy
# Natural-log factors of one part of the beat, in copies that are warped part by part; AV blocks have a long PQ.
_PART = {"P": (-0.3, 0.3), "PQ": (-0.6, 1.0), "QRS": (-0.35, 0.35), "ST": (-0.5, 0.5), "T": (-0.3, 0.3)}
_EDGES = ("P_on", "P_off", "QRS_on", "R", "J", "T_on", "T_off")  # between them each part is warped by one factor
_BETWEEN = ("P", "PQ", "QRS", "QRS", "ST", "T")
_LEAD_GAIN = 0.4
_TWO_QRS, _PACED = 0.2, 0.08  # shares of copies: wide QRS and spikes are rare among patients, not impossible
_AS_IT_IS = 0.3  # share of copies that are not altered, so that what is usual is predicted without a bias
_SHARPER = 0.5  # share of copies with more of what is fast: how much of that a recording holds depends on its rate
_BEYOND_MS = 200.0  # what a beat may lack before and after it, once it is stretched
_BEYOND = round(_BEYOND_MS * FS / 1000)  # samples

# Powers of the time factor and of the voltage factor that a label follows, by its unit.
_POWERS = {"ms": (1, 0), "bpm": (-1, 0), "µV": (0, 1)}


class Copies:
    """Altered copies of the records of some cohorts.

    Every copy of a beat is the median of a random half or more of its record's cycles, where the cohort has its
    rhythm, shifted by up to 10 ms, with noise and baseline drift. What else is done to it depends on what is known of
    the labels:

    - all are among the seven measurements: three copies in ten are left as they are. The others are stretched and
      scaled as a whole, or P, PQ, QRS, ST and T are each warped by a factor of their own; leads, P, QRS and T waves are
      scaled, V5 may change places with another lead, T may turn over, J is lifted; the QRS of another record may follow
      within this one's, as in bundle branch block; what is fast may be made larger, as a higher sampling rate shows it.
      Labels are then measured anew: intervals from the landmarks, which are warped with the beat, voltages from the
      copy. The rate of a copy warped by parts is unknown. Last, some get a pacing spike, which no label reads.
    - all are in ms, bpm or µV: stretched and scaled as a whole, and the label with it.
    - otherwise: nothing else, unless `gain` is asked for.

    Copies of rhythms are stretched and scaled as a whole, where the labels' units allow.

    Parameters
    ----------
    cohorts : sequence of Dataset
    y : array (record, target)
        Labels of the records of all cohorts, one after the other.
    names : sequence of str
        The targets' names.
    units : sequence of str
    rhythm : bool
        Copies of rhythms in place of beats.
    gain : float
        Largest natural-log factor of voltage of a copy whose labels have no rule, and two thirds as much again of each
        of its leads, for labels that no such factor changes.
    """

    def __init__(
        self, cohorts: Sequence[xr.Dataset], y: np.ndarray, names: Sequence[str], units: Sequence[str], rhythm: bool,
        gain: float = 0.0,
    ) -> None:  # fmt: skip
        self.y, self.names, self.rhythm, self.gain = y, list(names), rhythm, gain
        self.measured = not rhythm and all(n in TARGETS for n in names)
        self.powers = np.array([_POWERS[u] for u in units]) if all(u in _POWERS for u in units) else None
        self.signals: list[np.ndarray] = []  # per record: the rhythm (lead, sample), or the beat where there is none
        self.cycles: list[np.ndarray] = []  # per record: samples of its usable QRS fiducials there
        self.landmarks: list[np.ndarray] = []
        self.beats: list[np.ndarray] = []  # whole ones with QRS landmarks, and those landmarks: QRS to lend
        self.qrs: list[np.ndarray] = []
        for cohort in cohorts:
            self._take(cohort)

    def _take(self, cohort: xr.Dataset) -> None:
        beats, landmarks = cohort["beat"].values, cohort["fiducial"].values.astype(float)
        qrs = landmarks[:, [QRS_ON, J]]
        whole = np.isfinite(beats).all(axis=(1, 2)) & np.isfinite(qrs).all(axis=1) & (qrs[:, 0] > TIME[0])
        self.beats += list(beats[whole])
        self.qrs += list(qrs[whole])
        self.landmarks += list(landmarks)
        rhythms = cohort["rhythm"].values if "rhythm" in cohort else np.empty(0)
        r_ms: list[np.ndarray] = [np.empty(0)] * len(beats)
        if all(name in cohort for name in RHYTHM):
            of_cycles = cohort["cycle_fiducial"].sel(landmark="R").values
            r_ms = [r[used == 1] for r, used in zip(of_cycles, cohort["cycle_used"].values, strict=True)]
        for i, beat in enumerate(beats):
            cycles = _whole_cycles(rhythms[i], r_ms[i]) if len(r_ms[i]) else np.empty(0, int)
            if self.rhythm:
                self.signals.append(np.nan_to_num(rhythms[i]))
            elif len(cycles):
                self.signals.append(rhythms[i])
            else:
                self.signals.append(np.pad(beat, ((0, 0), (_BEYOND, _BEYOND)), mode="edge"))
                cycles = np.array([N_BEFORE + _BEYOND])
            self.cycles.append(cycles)

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
        """One copy of each of these records: float32 (record, lead, sample) µV, and its labels (record, target)."""
        copies = [self._rhythm(i, rng) if self.rhythm else self._beat(i, rng) for i in rows]
        x = np.stack([c for c, _ in copies]).astype(np.float32)
        if self.gain and self.powers is None:
            factor = rng.uniform(-self.gain, self.gain, (len(x), 1, 1))
            factor = factor + rng.uniform(-self.gain, self.gain, (len(x), x.shape[1], 1)) * 2 / 3
            x *= np.exp(factor).astype(np.float32)
        return torch.from_numpy(_disturbed(x, rng)), np.stack([label for _, label in copies])

    def _whole(self, i: int, rng: np.random.Generator) -> tuple[float, float, np.ndarray]:
        """A factor of time and of voltage for a whole copy, and its labels."""
        label = self.y[i].copy()
        if self.powers is None:
            return 1.0, 1.0, label
        stretch, gain = (np.exp(rng.uniform(-w, w) * (rng.random() < 0.8)) for w in (_STRETCH, _GAIN))
        return stretch, gain, label * stretch ** self.powers[:, 0] * gain ** self.powers[:, 1]

    def _rhythm(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        stretch, gain, label = self._whole(i, rng)
        signal = self.signals[i]
        n = signal.shape[1]
        return _at(signal, (np.arange(n) - n / 2) / stretch + n / 2) * gain, label

    def _beat(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        signal, cycles = self.signals[i], self.cycles[i]
        some = rng.permutation(cycles)[: rng.integers((len(cycles) + 1) // 2, len(cycles) + 1)]
        stretch, gain, label = self._whole(i, rng)
        altered = not self.measured or rng.random() >= _AS_IT_IS
        if not altered:
            stretch, gain, label = 1.0, 1.0, self.y[i].copy()
        old = self.landmarks[i]
        by_parts = self.measured and altered and rng.random() < 0.6 and np.isfinite(old[[QRS_ON, J]]).all()
        new = _warped(old, stretch, rng) if by_parts else old * stretch
        shift = rng.uniform(-10, 10)  # ms
        if not altered:
            shift = round(shift * FS / 1000) * 1000 / FS  # between samples, peaks would be lower
        knots = np.isfinite(new)
        source = _piecewise(TIME + shift, new[knots], old[knots], 1 / stretch)
        edge = _BEYOND_MS - 2
        at = source.clip(TIME[0] - edge, TIME[-1] + edge) * FS / 1000
        beat = np.median([_at(signal, k + at) for k in some], axis=0) if len(some) > 1 else _at(signal, some[0] + at)
        beat, new = beat * gain, new - shift
        if not self.measured or not np.isfinite(new[[QRS_ON, J]]).all():
            return beat, label
        if altered:
            beat, new = self._altered(beat, new, rng)
        rate = np.nan  # of a copy warped by parts unknown
        if "hr" in self.names and not by_parts:
            rate = label[self.names.index("hr")]
        values = targets(beat, new, rate)
        if altered and rng.random() < _PACED:
            beat = _paced(beat, new[QRS_ON], rng)
        known = np.isfinite(self.y[i])  # what could not be measured on the record is not made up for a copy
        return beat, np.where(known, [values[n] for n in self.names], np.nan)

    def _altered(self, beat: np.ndarray, mark: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The beat with other waves, and its landmarks."""
        if self.beats and rng.random() < _TWO_QRS:
            lent = rng.integers(len(self.beats))
            beat, mark = _two_qrs(beat, mark, self.beats[lent], self.qrs[lent], rng)
        beat = _reshaped(beat, mark, rng)
        if rng.random() < _SHARPER:
            beat = beat + rng.uniform(0, 1) * (beat - gaussian_filter1d(beat, rng.uniform(2, 4), axis=1))
        return beat, mark


def _whole_cycles(signal: np.ndarray, r_ms: np.ndarray) -> np.ndarray:
    """Samples of the R waves in a rhythm (lead, sample) around which a copy can be cut, stretched or not."""
    r = np.round(r_ms * FS / 1000).astype(int)
    first, last = r - N_BEFORE - _BEYOND, r - N_BEFORE + N_SAMPLES + _BEYOND
    inside = (first >= 0) & (last <= signal.shape[1])
    cut = zip(r[inside], first[inside], last[inside], strict=True)
    return np.array([k for k, a, b in cut if np.isfinite(signal[:, a:b]).all()], int)


def _warped(old: np.ndarray, stretch: float, rng: np.random.Generator) -> np.ndarray:
    """Landmarks (ms, R at 0) after each part of the beat was stretched by a factor of its own."""
    factor = {part: stretch * np.exp(rng.uniform(low, high)) for part, (low, high) in _PART.items()}
    seen = [k for k, mark in enumerate(_EDGES) if np.isfinite(old[LANDMARKS.index(mark)])]
    edge = np.array([old[LANDMARKS.index(_EDGES[k])] for k in seen])
    length = np.diff(edge) * [factor[_BETWEEN[k]] for k in seen[:-1]]  # of the part from each edge to the next
    r = seen.index(_EDGES.index("R"))
    moved = np.r_[-np.cumsum(length[:r][::-1])[::-1], 0.0, np.cumsum(length[r:])]
    return _piecewise(old, edge, moved, stretch)


def _piecewise(x: np.ndarray, before: np.ndarray, after: np.ndarray, beyond: float) -> np.ndarray:
    """The map that takes `before` to `after`, linear between, with slope `beyond` outside; NaN stays."""
    if not len(before):  # no landmark: all of it is stretched about the R wave
        return x * beyond
    before, first = np.unique(before, return_index=True)  # two landmarks may coincide
    after = after[first]
    y = np.interp(x, before, after)
    y = np.where(x < before[0], after[0] + (x - before[0]) * beyond, y)
    return np.where(x > before[-1], after[-1] + (x - before[-1]) * beyond, y)


def _at(signal: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """A signal (lead, sample) at fractions of samples, its ends held."""
    sample = sample.clip(0, signal.shape[1] - 1.001)
    low = sample.astype(int)
    part = (sample - low).astype(np.float32)
    return signal[:, low] * (1 - part) + signal[:, low + 1] * part


def _ramp(t: np.ndarray, start: float, stop: float) -> np.ndarray:
    """0 before `start`, 1 after `stop`, half a cosine between."""
    return 0.5 - 0.5 * np.cos(np.pi * ((t - start) / max(stop - start, 1e-9)).clip(0, 1))


def _factors(rng: np.random.Generator, low: float, high: float, each: float, n_leads: int) -> np.ndarray:
    """Factors of voltage (lead, 1): one for all leads times one of each, by their natural logarithms."""
    return np.exp(rng.uniform(low, high)) * np.exp(rng.uniform(-each, each, (n_leads, 1)))


def _scaled(beat: np.ndarray, start: float, stop: float, factor: np.ndarray) -> np.ndarray:
    """With the wave from `start` to `stop` (ms) scaled lead by lead, without a step at its ends."""
    a, b = np.searchsorted(TIME, [start, stop])
    if b - a < 3:
        return beat
    beat = beat.copy()
    line = np.linspace(beat[:, a], beat[:, b - 1], b - a, axis=1)  # what joins its ends is no part of the wave
    beat[:, a:b] = line + (beat[:, a:b] - line) * factor
    return beat


def _reshaped(beat: np.ndarray, mark: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leads scaled and exchanged, waves scaled, T turned over, J lifted: landmarks stay, and nothing steps."""
    p_on, p_off, qrs_on, j, t_on, t_off = mark[[P_ON, P_OFF, QRS_ON, J, T_ON, T_OFF]]
    n = len(beat)
    beat = beat * np.exp(rng.uniform(-_LEAD_GAIN, _LEAD_GAIN, (n, 1)) * (rng.random() < 0.7)).astype(np.float32)
    if rng.random() < 0.3:  # V5 as another lead looks: an rS, a QS or an inverted T there is rare, not impossible
        order = np.arange(n)
        one, other = LEADS.index("V5"), int(rng.integers(n))
        order[[one, other]] = order[[other, one]]
        beat = beat[order]
    if rng.random() < 0.1:
        beat = np.where(rng.random((n, 1)) < 0.3, -beat, beat)  # a lead upside down: Q and S for R, T inverted
    if np.isfinite(p_on) and rng.random() < 0.4:
        beat = _scaled(beat, p_on, p_off, _factors(rng, -0.7, 0.7, 0.3, n))
    if rng.random() < 0.4:
        beat = _scaled(beat, qrs_on, j, _factors(rng, -0.7, 0.5, 0.3, n))
    if np.isfinite(t_off) and rng.random() < 0.5:
        factor = _factors(rng, -0.8, 0.6, 0.4, n)
        turned = rng.random((n, 1)) < (0.5 if rng.random() < 0.3 else 0.0)
        beat = _scaled(beat, j, t_off, np.where(turned, -factor, factor))
    if np.isfinite(t_off) and rng.random() < 0.4:
        # ST lifted or lowered: up within QRS, down along T.
        height = rng.normal(0, 60, (n, 1)) * np.exp(rng.uniform(-1, 1))
        end = t_on if np.isfinite(t_on) else (j + t_off) / 2
        lift = _ramp(TIME, qrs_on, j) * (1 - _ramp(TIME, max(end, j + 20), t_off))
        beat = beat + height * lift
    return beat.astype(np.float32)


def _two_qrs(
    beat: np.ndarray, mark: np.ndarray, other: np.ndarray, its: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The beat with a second QRS from within its own, as where one ventricle follows the other, and its landmarks.

    J is where the later QRS ends. Nothing is changed where little would be left of ST and T.
    """
    on, j, t_off = mark[[QRS_ON, J, T_OFF]]
    width = (its[1] - its[0]) * np.exp(rng.uniform(-0.3, 0.3))
    start = on + rng.uniform(5, 70)
    stop = start + width
    if not stop <= min(t_off - 80, on + 240):  # NaN: no T
        return beat, mark
    size = np.exp(rng.uniform(-0.4, 0.4, (len(beat), 1)) + rng.uniform(-0.7, 0.3))
    if rng.random() < 0.5:
        size = size * rng.choice([-1, 1], (len(beat), 1))
    share = ((TIME - start) / width).clip(0, 1)
    second = _at(other, (its[0] + share * (its[1] - its[0]) - TIME[0]) * FS / 1000)
    ends = second[:, :1] + (second[:, -1:] - second[:, :1]) * share  # zero outside, and no step at its ends
    mark = mark.copy()
    mark[J] = max(j, stop)
    mark[T_ON] = np.maximum(mark[T_ON], mark[J])
    return beat + size * (second - ends), mark


def _paced(beat: np.ndarray, qrs_on: float, rng: np.random.Generator) -> np.ndarray:
    """With a pacing spike at the QRS onset, of 1 to 6 ms or 20 to 30, and a recharge of either sign that fades."""
    leads = (beat.shape[0], 1)
    t = TIME - (qrs_on + rng.uniform(-35, 4))
    long = rng.random() < 0.2
    width = rng.uniform(20, 30) if long else rng.uniform(1, 6)
    size = rng.standard_normal(leads) * np.exp(rng.normal(6.0 if long else 6.6, 0.8))  # µV: 400 or 700 is usual
    recharge = rng.uniform(-0.05, 0.15) * np.exp(-(t - width).clip(0) / rng.uniform(4, 30))
    return (beat + size * np.where(t < width, t >= 0, -recharge)).astype(np.float32)


def _disturbed(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With white noise and slow drift, a level of each per record."""
    n = (len(x), 1, 1)
    x = x + rng.gamma(1.0, 4.0, n).astype(np.float32) * rng.standard_normal(x.shape, dtype=np.float32)
    phase = rng.uniform(0, 2 * np.pi, (len(x), x.shape[1], 1)).astype(np.float32)
    t = (np.arange(x.shape[2]) / FS * 2 * np.pi).astype(np.float32)
    drift = np.sin(t * rng.uniform(0.1, 0.6, n).astype(np.float32) + phase)
    return x + rng.gamma(1.0, 8.0, n).astype(np.float32) * drift
