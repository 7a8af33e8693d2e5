"""What the delineator learns from: annotated recordings, labels that keep fractions of a sample, altered copies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ecgwb.delineation.annotations import read_annotations
from ecgwb.delineation.landmarks import WAVES
from ecgwb.delineation.network import RATE
from ecgwb.recordings.filters import prepare
from ecgwb.recordings.reading import read_record
from ecgwb.recordings.record import FS

KNOWN = 3  # beside the kinds 0, 1, 2 of waves: where a lead was marked at all
PEAK_SD = 3.0  # width of a peak's target, samples at 250 Hz
# Leads a training example shows: any number must do, and many recorders have one or two.
N_LEADS = {1: 0.12, 2: 0.25, 3: 0.13, 6: 0.2, 12: 0.3}
LENGTHS = (768, 1280, 2496)  # samples: short pieces and whole recordings
LEADS_PER_STEP = 48  # at 1280 samples
OFF_WEIGHT = 0.3  # of a lead that is off: it must be learned, but is easy
# Shares of copies whose rhythm or waves are changed: LUDB has four people with PR above 220 ms, none above 115 a minute
# in sinus rhythm, and few whose T wave is flat, inverted or absent.
FAST, LONG_PR, OTHER_P, OTHER_T, NO_T, NO_P = 0.3, 0.25, 0.3, 0.25, 0.05, 0.14


@dataclass(frozen=True)
class Person:
    """One annotated recording."""

    number: int
    signal: np.ndarray  # (lead, sample) at 500 Hz, prepared
    waves: list[np.ndarray]  # per lead (wave, 4): number of its kind, onset, peak, offset in ms, NaN where unmarked
    spans: list[np.ndarray]  # per kind (wave, 2): from the earliest onset to the latest offset of all leads, ms


def load_people(folder: Path) -> list[Person]:
    """All annotated recordings of `folder`, in order of their numbers."""
    return [load_person(path) for path in sorted(folder.glob("*.hea"), key=lambda p: int(p.stem))]


def load_person(path: Path) -> Person:
    """An annotated recording from its header."""
    record = prepare(read_record(path), FS)
    table = read_annotations(path)
    table["kind"] = table["wave"].map({w: k for k, w in enumerate(WAVES)})
    waves = [
        table.loc[table["lead"] == lead, ["kind", "onset_ms", "peak_ms", "offset_ms"]].to_numpy(float)
        for lead in record.leads
    ]
    return Person(int(path.stem), record.signal.astype(np.float32), waves, [spans_of(waves, k) for k in range(3)])


def spans_of(waves: list[np.ndarray], kind: int) -> np.ndarray:
    """Where any lead shows a wave of a kind: (wave, 2), onset and offset, in the marks' unit."""
    marks = np.concatenate([w[w[:, 0] == kind, 1:] for w in waves])
    marks = np.stack([np.nanmin(marks, 1), np.nanmax(marks, 1)], axis=1)[np.argsort(np.nanmin(marks, 1))]
    new = np.r_[True, marks[1:, 0] > np.maximum.accumulate(marks[:, 1])[:-1]] if len(marks) else np.zeros(0, bool)
    first = np.flatnonzero(new)
    return np.stack([marks[first, 0], np.maximum.reduceat(marks[:, 1], first)], axis=1) if len(first) else marks


# ---------------------------------------------------------------- labels


def targets(waves: list[np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of rows of waves given in samples.

    Parameters
    ----------
    waves : list of array (wave, 4)
        Per row: number of its kind, onset, peak, offset in samples at 250 Hz, from the piece's start.
    n : int
        Samples in the piece.

    Returns
    -------
    target : array (row, 7, n)
        Share of each sample's span that is neither QRS nor T, P, QRS, T (so that a boundary between samples is kept),
        then the peaks' bumps. A P wave may lie upon a T wave.
    weight : array (row, n)
        0 where nothing is known: before the first and after the last mark, and beside waves without a boundary.
    """
    row = np.repeat(np.arange(len(waves)), [len(w) for w in waves])
    kind, onset, peak, offset = np.concatenate(waves).T
    kind = kind.astype(int)
    steps = np.zeros((len(waves), 4, n + 2), np.float32)  # P, QRS, T, and what is known
    _cover(steps, row, kind, np.fmin(onset, peak), np.fmax(offset, peak))
    marked = [k for k, w in enumerate(waves) if len(w)]
    first, last = (np.array([end(waves[k][:, 1:]) for k in marked]) for end in (np.nanmin, np.nanmax))
    _cover(steps, np.array(marked, int), KNOWN, first, last)
    for missing, start, stop in ((np.isnan(onset), peak - 30, peak), (np.isnan(offset), peak, peak + 50)):
        _cover(steps, row[missing], KNOWN, start[missing], stop[missing], -1.0)
    area = steps.cumsum(-1)[..., :n].clip(0, 1)
    neither = (1 - area[:, 1:KNOWN].sum(1, keepdims=True)).clip(0, 1)
    peaks = np.zeros((len(waves), 3, n), np.float32)
    near = np.round(peak).astype(int)[:, None] + np.arange(-9, 10)
    bump = np.exp(-0.5 * ((near - peak[:, None]) / PEAK_SD) ** 2)
    i, j = np.nonzero((near >= 0) & (near < n))
    np.maximum.at(peaks, (row[i], kind[i], near[i, j]), bump[i, j])
    return np.concatenate([neither, area[:, :KNOWN], peaks], axis=1), area[:, KNOWN]


def _cover(steps: np.ndarray, row, kind, start: np.ndarray, stop: np.ndarray, sign: float = 1.0) -> None:
    """Adds spans from start to stop to `steps` (row, kind, sample), the derivative of how much of a sample is covered.

    A sample reaches half a sample to either side; a span's end within it is shared between it and the next.
    """
    n = steps.shape[-1] - 2
    for edge, s in ((start, sign), (stop, -sign)):
        edge = np.clip(edge, -0.5, n + 0.49)
        first = np.ceil(edge - 0.5).astype(int).clip(0, n)
        part = first + 0.5 - edge
        np.add.at(steps, (row, kind, first), s * part)
        np.add.at(steps, (row, kind, first + 1), s * (1 - part))


# ---------------------------------------------------------------- examples


def examples(people: list[Person], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """One step's signal (record, lead, sample), target (record, lead, 7, sample) and weight (record, lead, sample)."""
    n = int(rng.choice(LENGTHS))
    n_leads = int(rng.choice(list(N_LEADS), p=list(N_LEADS.values())))
    n_records = max(round(LEADS_PER_STEP * 1280 / n / n_leads), 1)
    signals, waves = [], []
    for person in rng.choice(np.arange(len(people)), n_records, replace=n_records > len(people)):
        signal, marks = _piece(people[person], n, n_leads, rng)
        signals.append(signal)
        waves += marks
    target, weight = targets(waves, n)
    x, off = _augment(np.stack(signals), waves, rng)
    target[off.ravel()] = np.eye(7, dtype=np.float32)[0, :, None]  # neither wave, and no peak
    weight[off.ravel()] = OFF_WEIGHT
    shape = (n_records, n_leads)
    return (
        torch.from_numpy(x),
        torch.from_numpy(target).unflatten(0, shape),
        torch.from_numpy(weight).unflatten(0, shape),
    )


def _piece(person: Person, n: int, n_leads: int, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """A stretch of some leads at 250 Hz, slower or faster than recorded, with its waves in samples."""
    leads = rng.permutation(len(person.signal))[:n_leads]
    step = FS / RATE * math.exp(rng.uniform(-0.25, 0.25))  # recorded samples a sample
    recorded = np.arange(person.signal.shape[1])
    played = recorded.astype(float)  # when each recorded sample is heard, in recorded samples
    if rng.random() < FAST:
        played = _shorter_pauses(person, rng)
    length = played[-1] + 1
    span = n * step
    # Marks begin a beat late and end a beat early; pieces keep to them where they fit.
    low, high = 0.08 * length, 0.92 * length - span
    start = rng.uniform(low, high) if high > low else rng.uniform(min(0, length - span), max(0, length - span))
    moment = start + step * np.arange(n)
    at = np.interp(moment, played, recorded)
    whole = np.floor(at).astype(int).clip(0, len(recorded) - 2)
    part = np.clip(at - whole, 0, 1).astype(np.float32)
    signal = person.signal[leads]
    piece = signal[:, whole] * (1 - part) + signal[:, whole + 1] * part
    piece[:, (moment < 0) | (moment > length - 1)] = 0

    def place(ms: np.ndarray) -> np.ndarray:
        return (np.interp(ms * (FS / 1000.0), recorded, played) - start) / step

    waves = [np.column_stack([w[:, 0], place(w[:, 1:])]) for w in (person.waves[lead] for lead in leads)]
    spans = [place(s) for s in person.spans]
    waves = _other_t(piece, waves, spans, rng)
    if rng.random() < NO_P:
        return piece, _fibrillate(piece, waves, rng)
    _other_p(piece, waves, spans, rng)
    return piece, waves


def _shorter_pauses(person: Person, rng: np.random.Generator) -> np.ndarray:
    """When each recorded sample comes if the pauses from T to the next P are shortened, in recorded samples.

    What is left of a pause is the same share everywhere, but for a tenth from beat to beat: a fast rhythm, in which P
    follows T closely.
    """
    speed = np.ones(person.signal.shape[1])
    p, _, t = person.spans
    share = rng.uniform(0.02, 0.8)
    for end in t[:, 1]:
        following = p[p[:, 0] > end, 0]
        if len(following) and following[0] - end < 1500:
            # A seam at the marks themselves would tell where they are.
            first, last = np.array([end, -following[0]]) + min(40, (following[0] - end) / 4) * rng.random(2)
            speed[int(first * FS / 1000) : int(-last * FS / 1000)] = share * math.exp(0.1 * rng.standard_normal())
    return np.cumsum(speed) - speed[0]


def _hump(x: np.ndarray, start: int, stop: int, smooth: int = 5) -> np.ndarray:
    """What rises above the straight line from start to stop (lead, sample), without noise faster than 20 ms."""
    padded = np.pad(x[:, start:stop], ((0, 0), (smooth // 2, smooth // 2)), mode="edge")
    slow = np.lib.stride_tricks.sliding_window_view(padded, smooth, axis=1).mean(-1)
    return slow - np.linspace(slow[:, 0], slow[:, -1], stop - start, axis=1)


def _other_p(x: np.ndarray, waves: list[np.ndarray], spans: list[np.ndarray], rng: np.random.Generator) -> None:
    """Move the P waves of some records earlier, upon T if they come to lie there, and make some smaller; in place."""
    earlier = rng.uniform(5, 65) if rng.random() < LONG_PR else 0.0  # samples: 20 to 260 ms
    gain = 10 ** rng.uniform(-0.6, 0.15) if rng.random() < OTHER_P else 1.0
    if not earlier and gain == 1:
        return
    for onset, offset in spans[0]:
        following = spans[1][spans[1][:, 1] > offset, 0]
        before = spans[1][spans[1][:, 1] < onset, 1]
        start = math.floor(onset - rng.uniform(2, 9))
        stop = math.ceil(offset + rng.uniform(2, 9))
        stop = min(stop, int(following[0] + rng.uniform(-3, 1)) if len(following) else x.shape[1])
        room = onset - before[-1] - 15 if len(before) else 0  # 60 ms after the QRS complex before
        by = int(max(min(earlier + rng.normal(0, 1.5), room), 0)) if earlier else 0
        if start - by < 0 or stop > x.shape[1] or stop - start < 6:
            continue
        hump = _hump(x, start, stop)
        x[:, start:stop] -= hump
        x[:, start - by : stop - by] += gain * hump
        for w in waves:
            mine = (w[:, 0] == 0) & (w[:, 2] >= onset - 1) & (w[:, 2] <= offset + 1)
            w[mine, 1:] -= by


def _other_t(
    x: np.ndarray, waves: list[np.ndarray], spans: list[np.ndarray], rng: np.random.Generator
) -> list[np.ndarray]:
    """Make the T waves of some records smaller or inverted, in place, or take them off."""
    chance = rng.random()
    if chance > OTHER_T + NO_T:
        return waves
    gain = (
        rng.uniform(0.2, 1.1, (len(x), 1))
        * rng.choice([-1, 1], p=[0.7, 0.3])
        * rng.choice([1, -1], (len(x), 1), p=[0.85, 0.15])
    )
    for onset, offset in spans[2]:
        before = spans[1][spans[1][:, 1] <= onset + 1, 1]
        start, stop = math.floor(onset - rng.uniform(0, 8)), math.ceil(offset + rng.uniform(1, 9))
        if len(before):
            start = max(start, math.ceil(before[-1]))
            start = math.ceil(before[-1]) if chance < NO_T and onset - before[-1] < 60 else start
        if start < 0 or stop > x.shape[1] or stop - start < 12:
            continue
        hump = _hump(x, start, stop)
        if chance >= NO_T:
            x[:, start:stop] += (gain - 1) * hump
            continue
        level = x[:, start : start + 1] - x[:, stop - 3 : stop].mean(1, keepdims=True)
        line = level * np.linspace(1, 0, stop - start)
        x[:, start:stop] += level * np.exp(-np.arange(stop - start) / rng.uniform(2, 12)) - line - hump
        waves = [w[(w[:, 0] != 2) | (w[:, 2] < onset - 1) | (w[:, 2] > offset + 1)] for w in waves]
    return waves


def _fibrillate(x: np.ndarray, waves: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """Take the P waves off, in place, and often put fibrillation or flutter in: LUDB has few people without P waves."""
    n = x.shape[1]
    for row, w in zip(x, waves, strict=True):
        smooth = np.convolve(row, np.ones(15) / 15, "same")  # what is faster than 60 ms stays, as noise does
        for _, onset, peak, offset in w[w[:, 0] == 0]:
            start, stop = np.clip([np.fmin(onset, peak) - 4, np.fmax(offset, peak) + 5], 0, n).astype(int)
            if stop - start > 1:
                line = np.linspace(smooth[start], smooth[stop - 1], stop - start)
                row[start:stop] += line - smooth[start:stop]
    if rng.random() < 0.75:
        # A rate of 240 to 540 a minute that drifts, with a second harmonic for flutter's sawtooth
        rate = rng.uniform(4, 9) * (1 + rng.uniform(0, 0.15) * np.cumsum(rng.standard_normal(n)) / math.sqrt(n))
        angle = 2 * np.pi * (np.cumsum(rate) / RATE + rng.random())
        size = np.abs(x).max(1, keepdims=True) * 10 ** rng.uniform(-2.0, -0.8, (len(x), 1))
        x += size * (np.sin(angle) + rng.uniform(0, 0.5) * np.sin(2 * angle + rng.uniform(0, 6)))
    return [w[w[:, 0] != 0] for w in waves]


def _augment(x: np.ndarray, waves: list[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What other recorders, patients and rooms do to a signal (record, lead, sample), and which leads are off."""
    records, leads, n = x.shape
    one = (records, leads, 1)

    def some(share: float, shape: tuple = one) -> np.ndarray:
        return (rng.random(shape) < share).astype(np.float32)

    size = np.abs(x).max(-1, keepdims=True) + 1.0
    x = x / size
    x *= 1 - 2 * some(0.3)
    # Breathing: slow change of gain.
    t = np.arange(n) / RATE
    breath = (
        rng.uniform(0, 0.3, one)
        * some(0.5)
        * np.sin(2 * np.pi * (rng.uniform(0.15, 0.5, (records, 1, 1)) * t + rng.random((records, 1, 1))))
    )
    x *= 1 + breath
    _pace(x, waves, rng)
    spectrum = np.fft.rfft(x, axis=-1)
    f = np.fft.rfftfreq(n, 1 / RATE)
    # Other bandwidths: a low-pass (as of 100 Hz sampling or a monitor), a high-pass.
    cut = np.where(some(0.4, (records, 1, 1)) > 0, np.exp(rng.uniform(np.log(18), np.log(110), (records, 1, 1))), 1e4)
    slow = np.where(some(0.3, (records, 1, 1)) > 0, rng.uniform(0.1, 0.8, (records, 1, 1)), 1e-6)
    spectrum *= 1 / (1 + (f / cut) ** 6) * f**4 / (f**4 + slow**4 + 1e-30)
    # Noise: white, muscle (20 Hz and up), wander and motion (falling with frequency), mains.
    phase = np.exp(2j * np.pi * rng.random((records, leads, len(f))))
    level = 10 ** rng.uniform(-3.0, -0.8, one) * some(0.6)
    muscle = 10 ** rng.uniform(-3.0, -0.8, one) * some(0.2)
    wander = 10 ** rng.uniform(-2.0, -0.2, one) * some(0.4)
    motion = 10 ** rng.uniform(-2.0, -0.8, one) * some(0.2)
    density = level + muscle * (f > 20) + motion * (f > 0.5) * (f < 12) * 3
    density = density * math.sqrt(n / 2)
    drift = wander * (f > 0.05) * (f < 0.7) * n / 2 / max(1.0, math.sqrt(0.65 * n / RATE))
    # What prepare leaves of a wander
    drift = drift * f**4 / (f**4 + 0.5**4)
    spectrum += (density + drift) * phase
    x = np.fft.irfft(spectrum, n, axis=-1)
    mains = rng.choice([50.0, 60.0], (records, 1, 1)) + rng.uniform(-0.3, 0.3, (records, 1, 1))
    x += 10 ** rng.uniform(-2.5, -0.7, one) * some(0.15) * np.sin(2 * np.pi * (mains * t + rng.random(one)))
    # A lead that is off: nothing, or noise of its own; there is nothing to find in it, whatever the others show.
    off = some(0.04 if leads > 1 else 0.02)[..., 0] > 0
    for r, lead in zip(*np.nonzero(off), strict=True):
        noise = np.asarray(rng.standard_normal(n))
        x[r, lead] = (np.zeros(n), noise, np.cumsum(noise) - np.linspace(0, noise.sum(), n))[rng.integers(3)]
    return x.astype(np.float32), off


def _pace(x: np.ndarray, waves: list[np.ndarray], rng: np.random.Generator) -> None:
    """Pacemaker spikes just before QRS complexes, or before P waves, of some records, in place."""
    records, leads, n = x.shape
    for r in np.flatnonzero(rng.random(records) < 0.06):
        kind = int(rng.integers(2))
        lead_waves = waves[r * leads]
        at = np.round(lead_waves[lead_waves[:, 0] == kind, 1] - rng.uniform(1, 10))
        at = at[np.isfinite(at) & (at >= 0) & (at < n - 2)].astype(int)
        gain = rng.uniform(-1.5, 1.5, (leads, 1))
        x[r][:, at] += gain
        x[r][:, at + 1] += gain * rng.uniform(-0.3, 0.8)
