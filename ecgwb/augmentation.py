"""Augmentation: altered copies of beats whose labels stay true."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from .beats import N_BEFORE, N_SAMPLES
from .records import FS

_EXTRA = 100  # samples beyond the beat on either side, for stretched copies
_STRETCH, _GAIN = 0.25, 0.4  # largest natural-log factor of time and of voltage in augmented copies


class Copies:
    """Augmented beats whose labels stay true."""

    def __init__(self, cohort: xr.Dataset, y: np.ndarray, units: list[str] | None) -> None:
        self.y = y
        # Powers of the time factor and of the voltage factor that a label follows; None where a unit has no such rule.
        power = {"ms": (1, 0), "bpm": (-1, 0), "µV": (0, 1)}
        self.powers = np.array([power[u] for u in units]) if units and all(u in power for u in units) else None
        time = np.arange(-_EXTRA, N_SAMPLES + _EXTRA) - N_BEFORE
        self.windows = []  # per record (cycle, lead, sample), beyond the beat on both sides
        beats = cohort["beat"].values.astype(np.float32)
        edge = ((0, 0), (_EXTRA, _EXTRA))
        for i in range(cohort.sizes["record"]):
            own = [np.pad(beats[i], edge, mode="edge")]
            if "rhythm" in cohort:
                rhythm = cohort["rhythm"].values[i]
                r = cohort["cycle_fiducial"].sel(landmark="R").values[i][cohort["cycle_used"].values[i] == 1]
                at = np.round(r * FS / 1000).astype(int)[:, None] + time
                at = at[((at >= 0) & (at < rhythm.shape[1])).all(axis=1)]
                cut = rhythm[:, at].transpose(1, 0, 2) if len(at) else np.empty((0, *rhythm.shape[:1], time.size))
                cut = cut[np.isfinite(cut).all(axis=(1, 2))]
                own = list(cut) or own
            self.windows.append(np.stack(own).astype(np.float32))

    def draw(self, rows: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
        n = len(rows)
        beats = []
        for i in rows:
            w = self.windows[i]
            some = rng.permutation(len(w))[: rng.integers((len(w) + 1) // 2, len(w) + 1)]
            beats.append(np.median(w[some], axis=0) if len(some) > 1 else w[some[0]])
        x = np.stack(beats)  # (n, lead, sample)
        target = self.y[rows].copy()
        stretch, gain = np.ones(n), np.ones(n)
        if self.powers is not None:
            stretch = np.exp(rng.uniform(-_STRETCH, _STRETCH, n) * (rng.random(n) < 0.8))
            gain = np.exp(rng.uniform(-_GAIN, _GAIN, n) * (rng.random(n) < 0.8))
            target *= stretch[:, None] ** self.powers[:, 0] * gain[:, None] ** self.powers[:, 1]
        shift = rng.uniform(-5, 5, n)
        at = (np.arange(N_SAMPLES) - N_BEFORE) / stretch[:, None] + shift[:, None] + N_BEFORE + _EXTRA
        at = np.clip(at, 0, x.shape[2] - 1.001)
        low = at.astype(int)
        part = (at - low)[:, None, :].astype(np.float32)
        take = np.take_along_axis
        x = take(x, low[:, None, :], 2) * (1 - part) + take(x, low[:, None, :] + 1, 2) * part
        x = x * gain[:, None, None].astype(np.float32)
        noise = rng.gamma(1.0, 4.0, (n, 1, 1)).astype(np.float32)  # µV
        x = x + noise * rng.standard_normal(x.shape, dtype=np.float32)
        phase = rng.uniform(0, 2 * np.pi, (n, x.shape[1], 1))
        drift = np.sin(np.arange(N_SAMPLES) / FS * 2 * np.pi * rng.uniform(0.1, 0.6, (n, 1, 1)) + phase)
        x = x + (rng.gamma(1.0, 8.0, (n, 1, 1)) * drift).astype(np.float32)
        return torch.from_numpy(x.astype(np.float32)), target
