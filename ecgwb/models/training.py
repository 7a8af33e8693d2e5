"""Training a network on any column of a cohort."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn
from tqdm.auto import tqdm

from ..recordings.record import FS
from .augmentation import Copies
from .spec import ModelSpec, make_net, wrap_model


def fit(
    cohort: xr.Dataset | Sequence[xr.Dataset],
    targets: Sequence[str] | str,
    net: str | dict[str, Any] = "compact",
    *,
    input: str = "beat",
    epochs: int = 100,
    epoch: int | None = None,
    batch: int = 64,
    lr: float = 3e-3,
    seed: int = 0,
    validation: float = 0.15,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> nn.Module:
    """Train a network on representative beats, or on rhythms.

    Patients are split into training and validation; the weights (an exponential average) of the best validation epoch
    are kept. Targets are standardised inside the network, so its outputs are in their own units, or log-odds. A step
    sees altered copies of records whose labels stay true (`ecgwb.augmentation.Copies`); they are richer where the
    cohort is opened with ``rhythm=True``, as each is then the median of a random half or more of its record's cycles.

    Parameters
    ----------
    cohort : Dataset or sequence of Dataset
        Of several, each gives the same number of copies, however many its records; the first one's patients alone are
        set aside for validation.
    targets : str or sequence of str
        Variables of the cohort: numbers in one unit each, or one binary (0, 1).
    net : {"compact", "kanres"} or dict
        A dict gives arguments too: ``{"name": "compact", "width": 32}``.
    input : {"beat", "rhythm"}
        What the network takes.
    epochs, epoch : int
        How many, and copies in each; by default as many as the first cohort has records to train on, times the number
        of cohorts.
    batch : int
        Copies a step.
    lr : float
        Highest learning rate of its one cycle (by NAdam).
    seed : int
        Of the split, the first weights and the copies.
    validation : float
        Share of patients.
    checkpoint : path, optional
        Training state is kept there after every epoch; the same call resumes from it.
    progress : bool
        Show a bar.

    Returns
    -------
    nn.Module
        In eval mode, with ``.spec``; ``.history`` lists the loss per epoch.

    Raises
    ------
    ValueError
        For an unknown or constant target, text, binary targets beside others, fewer than 10 patients, cohorts without
        the input or with other leads, an unknown network, no epoch, or a checkpoint of another training.
    """
    names = [targets] if isinstance(targets, str) else list(targets)
    cohorts = [cohort] if isinstance(cohort, xr.Dataset) else list(cohort)
    if epochs < 1 or batch < 1 or (epoch is not None and epoch < 1):
        raise ValueError(f"epochs {epochs}, epoch {epoch}, batch {batch}: expected at least 1 of each")
    if not isinstance(net, (str, dict)):
        raise ValueError("fit trains this package's networks: net is 'compact', 'kanres' or a dict with arguments")
    x, usable = _inputs(cohorts, input)
    y, binary = _labels(cohorts, names)
    ok = usable & np.isfinite(y).any(axis=1)
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    whose = np.concatenate([c["patient"].values.astype(str) for c in cohorts])
    source = np.repeat(np.arange(len(cohorts)), [c.sizes["record"] for c in cohorts])
    patients = np.unique(whose[ok & (source == 0)])
    if len(patients) < 10:
        raise ValueError(
            f"{len(patients)} patients with {', '.join(names)}; expected at least 10 to train and validate on"
        )
    held = rng.permutation(patients)[: max(1, round(validation * len(patients)))]
    is_held = np.isin(whose, held)
    pools = [np.flatnonzero(ok & ~is_held & (source == k)) for k in range(len(cohorts))]
    valid = np.flatnonzero(ok & is_held)
    train = np.concatenate(pools)
    mean = np.zeros(len(names)) if binary else np.nanmean(y[train], axis=0)
    scale = np.ones(len(names)) if binary else np.nanstd(y[train], axis=0)

    arguments = {"name": net} if isinstance(net, str) else dict(net)
    arguments |= {"n_leads": x.shape[1], "n_outputs": len(names)}
    model = make_net(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    average = copy.deepcopy(model).eval()
    share = round((epoch or len(pools[0]) * len(cohorts)) / len(cohorts))  # copies an epoch shows of each cohort
    steps = max(1, round(share * len(cohorts) / batch))
    # The paper used Nadam; decoupled weight decay and a one-cycle rate reach the same loss in fewer epochs.
    optimiser = torch.optim.NAdam(model.parameters(), lr=lr, weight_decay=1e-2, decoupled_weight_decay=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=epochs * steps, pct_start=0.2)
    units = [str(cohorts[0][n].attrs.get("units", "")) for n in names]
    copies = Copies(cohorts, y, names, units, input == "rhythm")
    # What a checkpoint must agree with; its file is opened without unpickling, so plain text serves.
    task = (
        f"{names}, {input}, {arguments}, {epochs} epochs of {share} x {len(cohorts)} by {batch}, lr {lr}, seed {seed}, "
        f"{len(train)} + {len(valid)} records"
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

    def standard(labels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(((labels - mean) / scale).astype(np.float32)).to(device)

    bar = tqdm(range(first, epochs), f"fit {', '.join(names)}", disable=not progress, initial=first, total=epochs)
    for turn in bar:
        # One stream per epoch, so a resumed training draws what an uninterrupted one does.
        stream = np.random.default_rng([seed, turn])
        torch.manual_seed(seed * 100003 + turn)
        model.train()
        rows = np.concatenate([_some(pool, share, stream) for pool in pools])
        turns = np.array_split(stream.permutation(rows), steps)
        for k, (copied, labels) in enumerate(_ahead(copies.draw, turns, stream)):
            loss = _loss(model(copied.to(device)), standard(labels), binary)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            done = turn * steps + k
            _follow(average, model, min(0.98, (1 + done) / (10 + done)))  # short memory while weights still move far
        with torch.inference_mode():
            said = torch.cat(
                [average(torch.from_numpy(x[v]).to(device)) for v in np.array_split(valid, len(valid) // 128 + 1)]
            )
            score = float(_loss(said, standard(y[valid]), binary))
        history.append(score)
        bar.set_postfix(loss=f"{score:.4f}")
        if score < best:
            best, best_state = score, copy.deepcopy(average.state_dict())
        if state_file:
            _checkpoint(state_file, task, turn, model, average, optimiser, schedule, best, best_state, history)
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
        input=input,
        leads=tuple(str(v) for v in cohorts[0]["lead"].values),
        fs=float(cohorts[0].attrs.get("fs", FS)),
        n_samples=x.shape[2],
        targets=tuple(names),
        units=tuple(units),
        layer=str(average.layer),
        link="logit" if binary else "identity",
        net=arguments,
        trained_on={
            str(c.attrs.get("source", "cohort")): np.unique(whose[ok & (source == k)]).tolist()
            for k, c in enumerate(cohorts)
        },
    )
    model = wrap_model(average.cpu().eval(), spec)
    model.history = history  # type: ignore[assignment]
    return model


def _inputs(cohorts: list[xr.Dataset], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Beats or rhythms (record, lead, sample) of all cohorts, and which of them can be used."""
    if name not in ("beat", "rhythm"):
        raise ValueError(f"input is {name!r}; expected 'beat' or 'rhythm'")
    for c in cohorts:
        if name not in c:
            raise ValueError(f"the cohort has no {name}; expected one of open_cohort(..., rhythm=True)")
        if c["lead"].values.tolist() != cohorts[0]["lead"].values.tolist():
            raise ValueError("the cohorts differ in their leads; expected the same, in the same order")
    x = np.concatenate([c[name].values.astype(np.float32) for c in cohorts])
    return x, np.isfinite(x).all(axis=(1, 2))


def _ahead(draw: Any, batches: Sequence[np.ndarray], rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, Any]]:
    """Each batch drawn, one after the other from the one stream, while the network learns from the one before."""
    with ThreadPoolExecutor(1) as drawer:
        coming = drawer.submit(draw, batches[0], rng)
        for batch in batches[1:]:
            ready = coming.result()
            coming = drawer.submit(draw, batch, rng)
            yield ready
        yield coming.result()


def _some(pool: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` records of a pool, each as often as the others, give or take one."""
    return np.concatenate([rng.permutation(pool) for _ in range(-(-n // len(pool)))])[:n]


def _labels(cohorts: list[xr.Dataset], names: list[str]) -> tuple[np.ndarray, bool]:
    for cohort in cohorts:
        unknown = [n for n in names if n not in cohort or cohort[n].dims != ("record",)]
        if unknown:
            have = ", ".join(
                str(k) for k, v in cohort.variables.items() if v.dims == ("record",) and v.dtype.kind in "fib"
            )
            raise ValueError(f"the cohort has no number per record called {', '.join(unknown)}; it has {have}")
        words = [n for n in names if cohort[n].dtype.kind not in "fiub"]
        if words:
            hint = "; for sex take 'male' (1, 0)" if "sex" in words else ""
            raise ValueError(f"target {words[0]!r} holds text; expected numbers{hint}")
    y = np.concatenate([np.stack([c[n].values.astype(float) for n in names], axis=1) for c in cohorts])
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
        each = nn.functional.smooth_l1_loss(z, t, reduction="none", beta=0.1)
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
