"""Training a network on any column of a cohort."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from tqdm.auto import tqdm

from .augmentation import Copies
from .models import ModelSpec, make_net, wrap_model
from .records import FS


def fit(
    cohort: xr.Dataset,
    targets: Sequence[str] | str,
    net: str | dict[str, Any] = "compact",
    *,
    epochs: int = 100,
    batch: int = 64,
    lr: float = 3e-3,
    seed: int = 0,
    validation: float = 0.15,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> nn.Module:
    """Train a network on representative beats.

    Patients are split into training and validation; the weights (an exponential average) of the best validation epoch
    are kept. Targets are standardised inside the network, so its outputs are in their own units, or log-odds. Where the
    cohort is opened with ``rhythm=True``, each epoch sees a new representative beat of every record, the median of a
    random half or more of its cycles. Copies are shifted by up to 10 ms and get noise and baseline drift. If every
    target is in ms, bpm or µV they are also stretched in time and scaled in voltage by a random factor, and the target
    with them (QT of a beat stretched by 1.1 is 1.1 times as long): so a label stays true to its beat.

    Parameters
    ----------
    cohort : Dataset
    targets : str or sequence of str
        Variables of the cohort: numbers in one unit each, or one binary (0, 1).
    net : {"compact", "kanres"} or dict
        A dict gives arguments too: ``{"name": "compact", "width": 32}``.
    checkpoint : path, optional
        Training state is kept there after every epoch; the same call resumes from it.

    Returns
    -------
    nn.Module
        In eval mode, with ``.spec``; ``.history`` lists the loss per epoch.

    Raises
    ------
    ValueError
        For an unknown or constant target, or too few patients.
    """
    names = [targets] if isinstance(targets, str) else list(targets)
    if epochs < 1 or batch < 1:
        raise ValueError(f"epochs {epochs} and batch {batch}: expected at least 1 of each")
    if not isinstance(net, (str, dict)):
        raise ValueError("fit trains this package's networks: net is 'compact', 'kanres' or a dict with arguments")
    y, binary = _labels(cohort, names)
    ok = np.isfinite(y).any(axis=1) & np.isfinite(cohort["beat"].values).all(axis=(1, 2))
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    patients = np.unique(cohort["patient"].values[ok])
    if len(patients) < 10:
        raise ValueError(
            f"{len(patients)} patients with {', '.join(names)}; expected at least 10 to train and validate on"
        )
    held = rng.permutation(patients)[: max(1, round(validation * len(patients)))]
    is_held = np.isin(cohort["patient"].values, held)
    train, valid = np.flatnonzero(ok & ~is_held), np.flatnonzero(ok & is_held)
    mean = np.zeros(len(names)) if binary else np.nanmean(y[train], axis=0)
    scale = np.ones(len(names)) if binary else np.nanstd(y[train], axis=0)

    arguments = {"name": net} if isinstance(net, str) else dict(net)
    arguments |= {"n_leads": cohort.sizes["lead"], "n_outputs": len(names)}
    model = make_net(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    average = copy.deepcopy(model).eval()
    steps = max(1, round(len(train) / batch))
    # The paper used Nadam; decoupled weight decay and a one-cycle rate reach the same loss in fewer epochs.
    optimiser = torch.optim.NAdam(model.parameters(), lr=lr, weight_decay=1e-2, decoupled_weight_decay=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=epochs * steps, pct_start=0.2)
    copies = Copies(cohort, y, None if binary else [str(cohort[n].attrs.get("units", "")) for n in names])
    x_valid = torch.from_numpy(cohort["beat"].values[valid].astype(np.float32)).to(device)
    y_valid = torch.from_numpy(((y[valid] - mean) / scale).astype(np.float32)).to(device)
    # What a checkpoint must agree with; its file is opened without unpickling, so plain text serves.
    task = (
        f"{names}, {arguments}, {epochs} epochs of {batch}, lr {lr}, seed {seed}, {len(train)} + {len(valid)} records"
    )
    best, best_state, history, first = np.inf, copy.deepcopy(average.state_dict()), [], 0
    state_file = Path(checkpoint) if checkpoint else None
    if state_file and state_file.is_file():
        s = torch.load(state_file, weights_only=True, map_location=device)
        if s["task"] != task:
            raise ValueError(f"{state_file} belongs to another training: {s['task']}, not {task}; name another file")
        for thing, key in ((model, "model"), (average, "average"), (optimiser, "optimiser"), (schedule, "schedule")):
            thing.load_state_dict(s[key])
        best, best_state, history, first = s["best"], s["best_state"], s["history"], s["epoch"] + 1
    for epoch in tqdm(
        range(first, epochs), desc=f"fit {', '.join(names)}", disable=not progress, initial=first, total=epochs
    ):
        # One stream per epoch, so a resumed training draws what an uninterrupted one does.
        stream = np.random.default_rng([seed, epoch])
        torch.manual_seed(seed * 100003 + epoch)
        model.train()
        order = stream.permutation(train)
        for k in range(steps):
            x, target = copies.draw(order[k * batch : (k + 1) * batch], stream)
            loss = _loss(
                model(x.to(device)), torch.from_numpy(((target - mean) / scale).astype(np.float32)).to(device), binary
            )
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            done = epoch * steps + k
            _follow(average, model, min(0.98, (1 + done) / (10 + done)))  # short memory while weights still move far
        with torch.inference_mode():
            score = float(_loss(average(x_valid), y_valid, binary))
        history.append(score)
        if score < best:
            best, best_state = score, copy.deepcopy(average.state_dict())
        if state_file:
            _checkpoint(state_file, task, epoch, model, average, optimiser, schedule, best, best_state, history)
    average.load_state_dict(best_state)
    head: Any = average.head
    with torch.no_grad():  # standardisation moves into the head: outputs in units, and still one linear layer
        s, m = (
            torch.tensor(scale, dtype=torch.float32, device=device),
            torch.tensor(mean, dtype=torch.float32, device=device),
        )
        head.weight.mul_(s[:, None])
        head.bias.mul_(s).add_(m)
    spec = ModelSpec(
        leads=tuple(str(v) for v in cohort["lead"].values),
        fs=float(cohort.attrs.get("fs", FS)),
        n_samples=cohort.sizes["time"],
        targets=tuple(names),
        units=tuple(str(cohort[n].attrs.get("units", "")) for n in names),
        layer=str(average.layer),
        link="logit" if binary else "identity",
        net=arguments,
        trained_on={str(cohort.attrs.get("source", "cohort")): sorted(map(str, patients))},
    )
    model = wrap_model(average.cpu().eval(), spec)
    model.history = history  # type: ignore[assignment]
    return model


def _labels(cohort: xr.Dataset, names: list[str]) -> tuple[np.ndarray, bool]:
    unknown = [n for n in names if n not in cohort or cohort[n].dims != ("record",)]
    if unknown:
        have = ", ".join(str(k) for k, v in cohort.variables.items() if v.dims == ("record",) and v.dtype.kind in "fib")
        raise ValueError(f"the cohort has no number per record called {', '.join(unknown)}; it has {have}")
    words = [n for n in names if cohort[n].dtype.kind not in "fiub"]
    if words:
        hint = "; for sex take 'male' (1, 0)" if "sex" in words else ""
        raise ValueError(f"target {words[0]!r} holds text; expected numbers{hint}")
    y = np.stack([cohort[n].values.astype(float) for n in names], axis=1)  # (record, target)
    for n, column in zip(names, y.T, strict=True):
        if np.unique(column[np.isfinite(column)]).size < 2:
            raise ValueError(f"target {n!r} has fewer than two different values; there is nothing to learn")
    two = [set(np.unique(c[np.isfinite(c)])) == {0.0, 1.0} for c in y.T]
    if any(two) and not all(two):
        raise ValueError("binary and continuous targets need a network each; fit them one after the other")
    return y, all(two)


def _loss(z: torch.Tensor, target: torch.Tensor, binary: bool) -> torch.Tensor:
    known = torch.isfinite(target)
    t = torch.where(known, target, torch.zeros_like(target))
    if binary:
        each = nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none")
    else:
        each = nn.functional.smooth_l1_loss(z, t, reduction="none", beta=0.3)
    return (each * known).sum() / known.sum().clamp(min=1)


def _follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for a, b in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            a.copy_(keep * a + (1 - keep) * b if a.is_floating_point() else b)


def _checkpoint(
    file: Path,
    task: str,
    epoch: int,
    model: Any,
    average: Any,
    optimiser: Any,
    schedule: Any,
    best: float,
    best_state: Any,
    history: list[float],
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tmp = file.with_suffix(".tmp")
    parts = {"model": model, "average": average, "optimiser": optimiser, "schedule": schedule}
    state = {k: v.state_dict() for k, v in parts.items()}
    torch.save(state | {"task": task, "epoch": epoch, "best": best, "best_state": best_state, "history": history}, tmp)
    tmp.replace(file)  # a kill leaves the last whole state
