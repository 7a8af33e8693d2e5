"""Synthetic recordings by deepfake-ecg, a generator of the paper's group: an extra, about 50 MB."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch


def generate(n: int, batch: int = 32) -> np.ndarray:
    """(record, lead, sample) µV; record i is the same whatever `n`. The ends (100 ms) are cut: the GAN rings there.

    Raises
    ------
    ImportError
        When the extra is not installed.
    """
    try:
        import deepfakeecg
    except ImportError:
        raise ImportError(
            "synthetic cohorts need the package deepfake-ecg: install the extra with  pip install 'ecgwb[synthetic]'"
        ) from None
    # Its layers use a spelling that torch has since renamed, and draw initial weights from the caller's stream.
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", FutureWarning)
        net = deepfakeecg.Generator()
    checkpoint = Path(deepfakeecg.__file__).parent / "checkpoints" / "g_stat.pt"
    net.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["stat_dict"])
    net.eval()
    noise = torch.Generator().manual_seed(0)
    out = []
    with torch.inference_mode():
        for start in range(0, n, batch):
            z = torch.empty(batch, 8, 5000).uniform_(-1, 1, generator=noise)  # the paper's latent: 8 leads of noise
            out.append((net(z) * 6000).round().numpy()[: n - start, :, 50:-50])
    return np.concatenate(out).astype(np.float32)
