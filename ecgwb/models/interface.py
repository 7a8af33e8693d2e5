"""The interface between an ECG and a network: what the spec says is done to both, in one differentiable module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .spec import ModelError, ModelSpec, run, spec_of

_LEAST = 1e-6  # input units: what a flat lead is divided by
_SURE = 2.0**-25  # half of the least by which a probability of 32 bits differs from 1
SATURATED = 17.0  # log-odds beyond which a probability of 32 bits is 1


class EcgNetwork(nn.Module):
    """A network as a function of the ECG (record, lead, sample), at the spec's leads, rate and scale: (record, target).

    Normalising, windows, padding, layout and the weights' type are within, so that gradients and edits are of the ECG
    itself. Log-odds come out of networks that give log-odds, probabilities or classes.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    spec : ModelSpec, optional
        In place of the model's own.
    """

    def __init__(self, model: nn.Module, spec: ModelSpec | None = None) -> None:
        super().__init__()
        self.model = model
        self.about = spec or spec_of(model)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.answer(self.enter(x), len(x))

    # ------------------------------------------------------------ into the network

    def starts(self, n: int) -> list[int]:
        """The first sample of each piece of an ECG of `n` samples that the network is given."""
        spec = self.about
        if spec.windows not in ("mean", "max"):
            return [0]
        return list(range(0, max(n - spec.n_samples, 0) + 1, spec.window_step or spec.n_samples))

    def enter(self, x: torch.Tensor) -> torch.Tensor:
        """The pieces of the ECG (record x window, lead, sample), normalised; a record's windows follow one another."""
        n = self.about.n_samples
        if self.about.windows:
            x = torch.stack([x[..., s : s + n] for s in self.starts(x.shape[-1])], dim=1).flatten(0, 1)
        return self._normalised(x)

    def leave(self, z: torch.Tensor, n: int) -> torch.Tensor:
        """What belongs to the pieces (record x window, lead, sample), added up along an ECG of `n` samples."""
        starts = self.starts(n)
        parts = z.unflatten(0, (-1, len(starts)))
        out = z.new_zeros((len(parts), z.shape[1], n))
        for w, s in enumerate(starts):
            out[..., s : s + z.shape[-1]] += parts[:, w]
        return out

    def _normalised(self, x: torch.Tensor) -> torch.Tensor:
        spec = self.about
        if spec.normalise == "constants":
            mean, sd = (torch.tensor(v, dtype=x.dtype, device=x.device)[:, None] for v in (spec.mean, spec.sd))
            return (x - mean) / sd
        over = (1, 2) if spec.normalise.endswith("by record") else (2,)
        if spec.normalise.startswith("z-score"):
            centred = x - x.mean(dim=over, keepdim=True)
            # The root's slope at 0 is infinite: a flat lead is kept from it, and stays 0.
            sd = (centred**2).mean(dim=over, keepdim=True).clamp(min=_LEAST**2).sqrt()
            return centred / sd
        if spec.normalise.startswith("min-max"):
            low, high = x.amin(dim=over, keepdim=True), x.amax(dim=over, keepdim=True)
            return (x - low) / (high - low).clamp(min=_LEAST)
        return x

    @property
    def by_record(self) -> bool:
        """Whether normalising depends on the record, so that half an ECG is, to the network, the same as the whole."""
        return self.about.normalise.startswith(("z-score", "min-max"))

    def before(self, n: int) -> int:
        """How many zeros are put before a piece of `n` samples."""
        lacking = max(self.about.n_samples - n, 0)
        return {"centre": lacking // 2, "start": lacking}.get(self.about.pad, 0)

    def laid_out(self, z: torch.Tensor) -> torch.Tensor:
        """Pieces as the network's own code takes them: padded, in its layout and type."""
        spec = self.about
        if spec.pad:
            first = self.before(z.shape[-1])
            z = nn.functional.pad(z, (first, max(spec.n_samples - z.shape[-1], 0) - first))
        z = z.to(dtype_of(self.model), copy=True)  # networks that change their input in place change no ECG of ours
        if spec.layout == "record sample lead":
            return z.transpose(1, 2)
        return z[:, None] if spec.layout == "record 1 lead sample" else z

    # ------------------------------------------------------------ out of the network

    def answer(self, z: torch.Tensor, n_records: int) -> torch.Tensor:
        """The answers (record, target) to pieces, from `enter`."""
        return self.of_records(self.raw(z), n_records)

    def raw(self, z: torch.Tensor) -> torch.Tensor:
        """The network's own outputs for pieces (record x window, output), before columns are chosen."""
        y = _picked(run(self.model, self.laid_out(z)), self.about.output)
        if y.ndim == 1 and len(y) == len(z):
            y = y[:, None]
        if y.ndim < 2 and len(z) == 1:  # squeeze() takes the axis of a single record, too
            y = y.reshape(1, -1)
        while y.ndim > 2 and y.shape[-1] == 1:
            y = y[..., 0]
        return y.to(torch.promote_types(y.dtype, torch.float32))

    def of_records(self, y: torch.Tensor, n_records: int) -> torch.Tensor:
        """What outputs say of each record, in the spec's terms."""
        spec = self.about
        if spec.link == "softmax":  # of the class against all others
            others = torch.stack([_without(y, k).logsumexp(dim=1) for k in range(y.shape[1])], dim=1)
            y = y - others
        y = y[:, list(spec.columns)] if spec.columns else y
        if spec.link == "probability":
            y = _log_odds(y)
        if y.shape[0] == n_records and spec.windows not in ("mean", "max"):
            return y
        by_window = y.unflatten(0, (n_records, -1))  # (record, window, target)
        if spec.windows == "max":
            return by_window.amax(dim=1)
        if spec.link in ("probability", "softmax"):
            return _log_odds(by_window.double().sigmoid().mean(dim=1)).to(y.dtype)
        return by_window.mean(dim=1)


def ecg_network(model: nn.Module) -> EcgNetwork:
    """The network as a function of the ECG.

    Parameters
    ----------
    model : nn.Module
        With a spec; see `wrap_model`.

    Returns
    -------
    EcgNetwork
        Takes (record, lead, sample) as the spec's leads, rate and scale say, before it is normalised, padded or cut
        into windows, and gives (record, target), as `predict` does.
    """
    return EcgNetwork(model)


def dtype_of(model: nn.Module) -> torch.dtype:
    """The type of a network's weights, which its input takes."""
    kinds = (t.dtype for t in [*model.parameters(), *model.buffers()] if t.is_floating_point())
    return next(kinds, torch.float32)


def _log_odds(p: torch.Tensor) -> torch.Tensor:
    """Log-odds of probabilities, finite where these are 0 or 1."""
    p64 = p.double()
    return (p64.clamp(min=1e-37).log() - (1 - p64).clamp(min=_SURE).log()).to(p.dtype)


def _without(y: torch.Tensor, k: int) -> torch.Tensor:
    return torch.cat([y[:, :k], y[:, k + 1 :]], dim=1)


def _picked(y: Any, output: Any) -> torch.Tensor:
    """The tensor that the spec's `output` names, of what a network returned."""
    found = y
    try:
        if callable(output):
            found = output(y)
        elif output is not None:
            for step in output if isinstance(output, tuple) else (output,):
                by_name = isinstance(step, str) and not isinstance(found, Mapping)
                found = getattr(found, step) if by_name else found[step]
    except Exception as e:  # whatever a function of the user's raises
        raise ModelError(
            f"spec.output is {output!r}; the network returns {described(y)} ({type(e).__name__}: {e})"
        ) from e
    if not isinstance(found, torch.Tensor):
        raise ModelError(
            f"the network returns {described(found)}; say with spec.output which of it the targets are, such as "
            f"output={next(iter(found), 'logits') if isinstance(found, Mapping) else 0!r}"
        )
    return found


def described(value: Any) -> str:
    """What a network returned, in words: ``a tuple of (4, 5), (4, 64)``."""
    if isinstance(value, torch.Tensor):
        return str(tuple(value.shape))
    if isinstance(value, Mapping):
        return "a dict of " + ", ".join(f"{k!r}: {described(v)}" for k, v in value.items())
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of " + ", ".join(described(v) for v in value)
    return f"a {type(value).__name__}"
