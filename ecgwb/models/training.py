"""Training a network on any column of a cohort."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from ..cohorts.guards import check
from ..cohorts.people import folds_of, own_names, patients_of, sources_of, warn_of_leaks
from ..recordings.record import FS
from .augmentation import Copies
from .skill import skill_of
from .spec import NO_SKILL, ModelSpec, make_net
from .wrapping import wrap_model


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
    validation: float | xr.Dataset = 0.15,
    gain: float = 0.0,
    bfloat16: bool = False,
    checkpoint: str | Path | None = None,
    progress: bool = True,
) -> nn.Module:
    """Train a network on representative beats, or on rhythms.

    Patients are split into training and validation; the weights (an exponential average) of the best validation epoch
    are kept. Targets are standardised inside the network, so its outputs are in their own units, or log-odds. A step
    sees altered copies of records whose labels stay true (`ecgwb.models.augmentation.Copies`); they are richer where
    the cohort is opened with ``rhythm=True``, as each is then the median of a random half or more of its record's
    cycles.

    Parameters
    ----------
    cohort : Dataset or sequence of Dataset
        Of several, each gives the same number of copies, however many its records; the first one's patients alone are
        set aside for validation, where `validation` is a share.
    targets : str or sequence of str
        Variables of the cohort: numbers in one unit each, or one binary (0, 1).
    net : {"compact", "kanres"} or dict
        A dict gives arguments too: ``{"name": "compact", "width": 32}``.
    input : {"beat", "rhythm"}
        What the network takes.
    epochs : int
    epoch : int, optional
        Copies in an epoch; by default as many as the first cohort has records to train on, times the number of cohorts.
    batch : int
        Copies a step.
    lr : float
        Highest learning rate of its one cycle (by NAdam).
    seed : int
        Of the split, the first weights and the copies.
    validation : float or Dataset
        Share of patients, or a cohort of others.
    gain : float
        Largest natural-log factor of voltage of a copy, and two thirds as much again of each of its leads, for targets
        that it does not change, such as sex, age and diagnoses: 0.15 makes a network rely less on single amplitudes.
        Targets in ms, bpm or µV have copies of their own, and are left alone.
    bfloat16 : bool
        Train in half precision, in about half the time where the processor computes in it; more of chance then, such
        as the number of threads, shows in the weights.
    checkpoint : path, optional
        Training state is kept there after every epoch; the same call resumes from it.
    progress : bool
        Show a bar.

    Returns
    -------
    nn.Module
        In eval mode, with ``.spec``; ``.history`` lists the loss per epoch. ``.spec.skill`` says how much better than
        a constant each target is predicted in the people set aside, who did not train: each half of them by the weights
        of the epoch that the other half chose, so that nobody chose the epoch of his own prediction. (The weights
        returned are of the epoch that all of them chose.) With `progress` it is printed, with the best epoch.

    Raises
    ------
    ValueError
        For an unknown or constant target, text, binary targets beside others, fewer than 10 patients, cohorts without
        the input or with other leads, an unknown network, no epoch, or a checkpoint of another training; for a training
        that diverges: its loss is no longer a number.
    """
    names = [targets] if isinstance(targets, str) else list(targets)
    cohorts = [check(c) for c in (cohort if isinstance(cohort, (list, tuple)) else [cohort])]
    _check_arguments(cohorts, net, input, epochs, epoch, batch, validation)
    if isinstance(gain, bool) or not isinstance(gain, (int, float)) or not 0 <= gain < 1:
        raise ValueError(f"gain is {gain!r}; expected a natural-log factor of 0 or more and below 1, such as 0.15")
    others = [check(validation)] if isinstance(validation, xr.Dataset) else []
    warn_of_leaks([*cohorts, *others])
    records = _records([*cohorts, *others], names, input)
    pools, valid = _divided(records, names, validation, seed)
    units = [str(cohorts[0][n].attrs.get("units", "")) for n in names]
    _check_sides(records.y[np.concatenate(pools)], records.y[valid], names, units, gain)
    arguments = {"name": net} if isinstance(net, str) else dict(net)
    arguments |= {"n_leads": records.x.shape[1], "n_outputs": len(names)}
    share = round((epoch or len(pools[0]) * len(cohorts)) / len(cohorts))  # copies an epoch shows of each cohort
    steps = max(1, round(share * len(cohorts) / batch))
    copies = Copies(cohorts, records.y, names, units, input == "rhythm", gain)
    train = np.concatenate(pools)
    with torch.random.fork_rng():  # the caller's own stream stays as it is
        torch.manual_seed(seed)
        network = make_net(arguments)
    trainer = _Trainer(network, records.y[train], records.binary, lr, epochs * steps, bfloat16)
    # What a checkpoint must agree with; its file is opened without unpickling, so plain text serves.
    task = (
        f"{names}, {input}, {arguments}, {epochs} epochs of {share} x {len(cohorts)} by {batch}, lr {lr}, seed {seed}, "
        f"{len(train)} + {len(valid)} records, data {_digest(records)}{f', gain {gain}' if gain else ''}"
        f"{', bfloat16' if bfloat16 else ''}"
    )
    state_file = Path(checkpoint) if checkpoint else None
    if state_file and state_file.is_file():
        trainer.load(state_file, task)
    done = len(trainer.history)
    bar = tqdm(range(done, epochs), f"fit {', '.join(names)}", disable=not progress, initial=done, total=epochs)
    for turn in bar:
        # One stream per epoch, so a resumed training draws what an uninterrupted one does.
        stream = np.random.default_rng([seed, turn])
        rows = np.concatenate([_some(pool, share, stream) for pool in pools])
        with torch.random.fork_rng():
            torch.manual_seed(seed * 100003 + turn)
            for x, labels in _ahead(copies.draw, np.array_split(stream.permutation(rows), steps), stream):
                trainer.step(x, labels)
        bar.set_postfix(loss=f"{trainer.validate(records.x[valid], records.y[valid]):.4f}")
        _check_loss(trainer.history, lr)
        if state_file:
            trainer.save(state_file, task)
    crossed = trainer.crossed(records.y[valid], records.patient[valid], seed)
    trained = trainer.finished()
    if not records.binary:
        centre(trained, records.x[valid], records.y[valid])
    spec = ModelSpec(
        input=input,
        leads=tuple(str(v) for v in cohorts[0]["lead"].values),
        fs=float(FS),
        n_samples=records.x.shape[2],
        targets=tuple(names),
        units=tuple(units),
        layer=str(trained.layer),
        link="logit" if records.binary else "identity",
        net=arguments,
        trained_on=_people([*cohorts, *others], records),
        skill={
            n: skill_of(crossed[:, k], records.y[valid, k], records.patient[valid], records.binary, _SET_ASIDE)
            for k, n in enumerate(names)
        },
    )
    model = wrap_model(trained, spec)
    model.history = trainer.history  # type: ignore[assignment]
    if progress:
        bar.write(_report(spec, trainer.history))
    return model


_SET_ASIDE = "the people set aside, who did not train; each half at the epoch that the other half chose"


def _check_loss(history: list[float], lr: float) -> None:
    if not np.isfinite(history[-1]):
        raise ValueError(
            f"the training diverged: its loss is {history[-1]} after epoch {len(history)}. Take a lower lr than "
            f"{lr:g}, such as lr={min(lr / 10, 1e-3):g}, and look for values in the cohort that no ECG has"
        )


def _report(spec: ModelSpec, history: list[float]) -> str:
    """What a training came to: the best epoch, and the skill of each target."""
    best, n = int(np.argmin(history)) + 1, len(history)
    lines = [f"The best epoch is {best} of {n}" + ("." if best < n else ", the last: more epochs may do better.")]
    for t, found in spec.skill.items():
        people = f"in {found['people']} people set aside"
        interval = "" if found["low"] is None else f" ({found['low']:.2f} to {found['high']:.2f})"
        value = "unknown" if found["value"] is None else f"{found['value']:.2f}"
        text = f"{t}: {found['metric']} {value}{interval} {people}; a constant has {found['constant']:g}."
        few = "are too few" if found["low"] is None else "do not show it to know more than a constant"
        bad = f" {NO_SKILL}: so many people {few}, and maps of this network say so."
        lines.append(text + (bad if spec.skill_note(t) else ""))
    return "\n".join([*lines, "They did not train; each half is predicted at the epoch that the other half chose."])


def _check_arguments(
    cohorts: list[xr.Dataset], net: Any, name: str, epochs: int, epoch: int | None, batch: int, validation: Any
) -> None:
    if not cohorts:
        raise ValueError("there is no cohort to learn from; give one, or a list of them")
    counts = {"epochs": epochs, "epoch": 1 if epoch is None else epoch, "batch": batch}
    for what, n in counts.items():
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            of = {"epochs": "100 epochs", "epoch": "1000 copies in an epoch", "batch": "64 copies a step"}[what]
            raise ValueError(
                f"{what} is {n!r}; expected a whole number of 1 or more, such as {what}={of.split()[0]}: {of}"
            )
    if not isinstance(validation, xr.Dataset) and not (isinstance(validation, (int, float)) and 0 < validation < 1):
        raise ValueError(
            f"validation is {validation!r}; expected a share of patients between 0 and 1, such as 0.15, or a cohort"
        )
    if not isinstance(net, (str, dict)):
        raise ValueError("fit trains this package's networks: net is 'compact', 'kanres' or a dict with arguments")
    if name not in ("beat", "rhythm"):
        raise ValueError(f"input is {name!r}; expected 'beat' or 'rhythm'")
    for c in [*cohorts, validation] if isinstance(validation, xr.Dataset) else cohorts:
        if name not in c:
            raise ValueError(f"the cohort has no {name}; expected one of open_cohort(..., rhythm=True)")


def _check_sides(train: np.ndarray, valid: np.ndarray, names: list[str], units: list[str], gain: float) -> None:
    """Refuses labels (record, target) that training, or validation, can make nothing of."""
    for k, n in enumerate(names):
        if np.isinf(train[:, k]).any() or np.isinf(valid[:, k]).any():
            raise ValueError(f"target {n!r} is infinite for some records; make them NaN where they are unknown")
        known = train[np.isfinite(train[:, k]), k]
        if len(np.unique(known)) < 2:
            raise ValueError(
                f"target {n!r} has fewer than two different values in the {len(known)} records to learn from that have "
                "it; there is nothing to learn"
            )
        if not np.isfinite(valid[:, k]).any():
            raise ValueError(f"no record to validate on has target {n!r}; the epoch is chosen by them")
    in_uv = [n for n, unit in zip(names, units, strict=True) if unit == "µV"]
    if gain and in_uv and not set(units) <= {"ms", "bpm", "µV"}:
        raise ValueError(f"gain changes voltages, and with them {in_uv[0]!r}; fit it in a network of its own")


# ---------------------------------------------------------------- what is learnt from


class _Records(NamedTuple):
    """The records of all cohorts, one cohort after the other."""

    x: np.ndarray  # (record, lead, sample) beats or rhythms
    y: np.ndarray  # (record, target), NaN where unknown
    binary: bool  # labels are 0 and 1
    usable: np.ndarray  # (record,) has all samples and a label
    patient: np.ndarray  # (record,)
    fold: np.ndarray  # (record,) that parts patients, "" unless some cohort does not name them
    source: np.ndarray  # (record,) which cohort


def _records(cohorts: list[xr.Dataset], names: list[str], name: str) -> _Records:
    x = np.concatenate([c[name].values.astype(np.float32) for c in cohorts])
    y, binary = _labels(cohorts, names)
    usable = np.isfinite(x).all(axis=(1, 2)) & np.isfinite(y).any(axis=1)
    patient = np.concatenate([patients_of(c) for c in cohorts])
    fold = np.concatenate([folds_of(c) for c in cohorts])
    if all((c["patient"] != "").all() for c in cohorts if "patient" in c.coords):
        fold[:] = ""
    source = np.repeat(np.arange(len(cohorts)), [c.sizes["record"] for c in cohorts])
    return _Records(x, y, binary, usable, patient, fold, source)


def _labels(cohorts: list[xr.Dataset], names: list[str]) -> tuple[np.ndarray, bool]:
    """Labels (record, target) of all cohorts, and whether they are 0 and 1."""
    if len(set(names)) < len(names):
        raise ValueError(f"targets {', '.join(names)}: each is to be named once")
    for n in names:
        units = {str(c[n].attrs["units"]) for c in cohorts if n in c and c[n].attrs.get("units")}
        if len(units) > 1:
            raise ValueError(f"target {n!r} is in {' and in '.join(sorted(units))}; expected one unit in all cohorts")
    for cohort in cohorts:
        unknown = [n for n in names if n not in cohort or cohort[n].dims != ("record",)]
        if unknown or not names:
            numbers = [k for k, v in cohort.variables.items() if v.dims == ("record",) and v.dtype.kind in "fib"]
            raise ValueError(
                f"the cohort has no number per record called {', '.join(map(str, unknown))}; it has "
                f"{', '.join(map(str, numbers))}"
            )
        words = [n for n in names if cohort[n].dtype.kind not in "fiub"]
        if words:
            hint = "; for sex take 'male' (1, 0)" if "sex" in words else ""
            raise ValueError(f"target {words[0]!r} holds text; expected numbers{hint}")
    y = np.concatenate([np.stack([c[n].values.astype(float) for n in names], axis=1) for c in cohorts])
    kinds = [np.unique(column[np.isfinite(column)]) for column in y.T]
    for n, values in zip(names, kinds, strict=True):
        if len(values) < 2:
            raise ValueError(f"target {n!r} has fewer than two different values; there is nothing to learn")
    two = [set(values) == {0.0, 1.0} for values in kinds]
    if any(two) and not all(two):
        raise ValueError("binary and continuous targets need a network each; fit them one after the other")
    return y, all(two)


def _digest(records: _Records) -> str:
    """Changes when the records, their labels or their patients do."""
    digest = hashlib.sha256(" ".join(map(str, records.patient)).encode())
    for values in (records.x, records.y):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]


def _divided(
    records: _Records, names: list[str], validation: float | xr.Dataset, seed: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """The records to train on, cohort by cohort, and those to validate on; a patient is on one side."""
    patients = np.unique(records.patient[records.usable & (records.source == 0)])
    if len(patients) < 10:
        raise ValueError(
            f"{len(patients)} patients with {', '.join(names)}; expected at least 10 to train and validate on"
        )
    last = records.source.max()
    if isinstance(validation, xr.Dataset):
        is_held = records.source == last
        for who in (records.patient, records.fold):
            both = np.setdiff1d(np.intersect1d(who[is_held], who[~is_held]), [""])
            if len(both):
                raise ValueError(
                    f"{str(both[0])!r} is among those to train on and those to validate on; leave it out of one"
                )
    else:
        if (records.fold[records.source == 0] != "").any():
            raise ValueError(
                "the cohort does not name its patients, so that a share of them cannot be set aside; validate on other "
                "folds: validation=cohort.isel(record=cohort.fold.values == 9)"
            )
        n_held = max(1, round(validation * len(patients)))
        is_held = np.isin(records.patient, np.random.default_rng(seed).permutation(patients)[:n_held])
    pools = [np.flatnonzero(records.usable & ~is_held & (records.source == k)) for k in range(last + 1)]
    return [pool for pool in pools if len(pool)], np.flatnonzero(records.usable & is_held)


def _people(cohorts: list[xr.Dataset], records: _Records) -> dict[str, list[str]]:
    """The patients of each cohort, by its name, or their folds, whose data shape the network."""
    own = np.concatenate([own_names(c) for c in cohorts])
    who = np.where(records.fold != "", records.fold, own)
    people: dict[str, set[str]] = {}
    for k, c in enumerate(cohorts):
        here = np.flatnonzero(records.source == k)
        for source, _, rows in sources_of(c):
            some = here[rows][records.usable[here[rows]]]
            people.setdefault(source, set()).update(who[some].tolist())
    return {name: sorted(those) for name, those in people.items()}


def _ahead(
    draw: Callable[..., tuple[torch.Tensor, np.ndarray]], batches: Sequence[np.ndarray], rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
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


# ---------------------------------------------------------------- learning

_FEWEST_TO_CENTRE = 100  # records: the median error of fewer is mostly chance


class _Trainer:
    """A network while it learns: its weights, their moving average, the optimiser, and the best average so far.

    Labels are standardised by those it is made with; `finished` moves that into the network's head.
    """

    def __init__(
        self, net: nn.Module, y: np.ndarray, binary: bool, lr: float, n_steps: int, bfloat16: bool = False
    ) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = net.to(self.device)
        self.binary, self.bfloat16 = binary, bfloat16
        self.mean = np.zeros(y.shape[1]) if binary else np.nanmean(y, axis=0)
        self.scale = np.ones(y.shape[1]) if binary else np.nanstd(y, axis=0)
        self.average = AveragedModel(self.net, avg_fn=_averaged, use_buffers=True).eval()
        self.average.n_averaged.fill_(1)  # the untrained weights count as the first
        # The paper used Nadam; decoupled weight decay and a one-cycle rate reach the same loss in fewer epochs.
        self.optimiser = torch.optim.NAdam(net.parameters(), lr=lr, weight_decay=1e-2, decoupled_weight_decay=True)
        rise = 0.2 if n_steps != 5 else 0.4  # torch divides by zero where the rise is one step long
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimiser, lr, total_steps=n_steps, pct_start=rise)
        self.history: list[float] = []  # the average's loss after each epoch
        self.outputs: list[torch.Tensor] = []  # of the average after each epoch, (record, target), standardised
        self.best, self.best_state = np.inf, copy.deepcopy(self.average.state_dict())

    def step(self, x: torch.Tensor, labels: np.ndarray) -> None:
        """Learn from a batch (record, lead, sample) and its labels (record, target)."""
        self.net.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            z = self.net(x.to(self.device))
        loss = self._loss(z.float(), labels)
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.average.update_parameters(self.net)

    def validate(self, x: np.ndarray, labels: np.ndarray) -> float:
        """The average's loss on records it does not learn from; the best average is kept."""
        with torch.inference_mode():
            parts = [torch.from_numpy(part).to(self.device) for part in np.array_split(x, len(x) // 128 + 1)]
            outputs = torch.cat([self.average(part) for part in parts])
            score = float(self._loss(outputs, labels))
        self.history.append(score)
        self.outputs.append(outputs.cpu())
        if score < self.best:
            self.best, self.best_state = score, copy.deepcopy(self.average.state_dict())
        return score

    def crossed(self, labels: np.ndarray, patient: np.ndarray, seed: int) -> np.ndarray:
        """Predictions (record, target) of records validated on: each half's at the epoch that the other half chose.

        Nobody's own label then chose the epoch, or the level, of their prediction. NaN for a single patient.
        """
        people = np.unique(patient)
        first = np.isin(patient, np.random.default_rng(seed).permutation(people)[::2])
        out = np.full(labels.shape, np.nan)
        for half in (first, ~first):
            if not half.any() or half.all():
                continue
            losses = [float(self._loss(z[~half].to(self.device), labels[~half])) for z in self.outputs]
            values = self.outputs[int(np.argmin(losses))].double().numpy() * self.scale + self.mean
            level = np.zeros(labels.shape[1]) if self.binary else _median_error(values[~half] - labels[~half])
            out[half] = values[half] - level
        return out

    def _loss(self, z: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
        target = torch.from_numpy(((labels - self.mean) / self.scale).astype(np.float32)).to(self.device)
        known = torch.isfinite(target)
        t = torch.where(known, target, torch.zeros_like(target))
        if self.binary:
            each = nn.functional.binary_cross_entropy_with_logits(z, t, reduction="none")
        else:
            each = nn.functional.smooth_l1_loss(z, t, reduction="none", beta=0.1)
        return (each * known).sum() / known.sum().clamp(min=1)

    def save(self, file: Path, task: str) -> None:
        """Write all that a resumed training needs."""
        file.parent.mkdir(parents=True, exist_ok=True)
        state = {name: thing.state_dict() for name, thing in self._parts().items()}
        state |= {"task": task, "history": self.history, "best": self.best, "best_state": self.best_state}
        state["outputs"] = self.outputs
        tmp = file.with_suffix(".tmp")
        torch.save(state, tmp)
        tmp.replace(file)  # a kill leaves the last whole state

    def load(self, file: Path, task: str) -> None:
        """Go on from what `save` wrote; an error where that was another training."""
        try:
            state = torch.load(file, weights_only=True, map_location=self.device)
        except Exception as e:  # torch's errors differ by what the file is
            raise ValueError(f"{file} is no checkpoint of fit ({type(e).__name__}); name another file") from e
        if not isinstance(state, dict) or not {"task", "outputs"} <= set(state):
            raise ValueError(f"{file} is no checkpoint of fit, or one of an older version; name another file")
        if state["task"] != task:
            raise ValueError(f"{file} belongs to another training: {state['task']}, not {task}; name another file")
        for name, thing in self._parts().items():
            thing.load_state_dict(state[name])
        self.history, self.best, self.best_state = state["history"], state["best"], state["best_state"]
        self.outputs = [z.cpu() for z in state["outputs"]]

    def _parts(self) -> dict[str, Any]:
        return {"net": self.net, "average": self.average, "optimiser": self.optimiser, "schedule": self.schedule}

    def finished(self) -> nn.Module:
        """The best average, in eval mode; its outputs are in the labels' units, and still of one linear layer."""
        self.average.load_state_dict(self.best_state)
        net = self.average.module
        head: Any = net.head
        scale, mean = (torch.tensor(v, dtype=torch.float32, device=self.device) for v in (self.scale, self.mean))
        with torch.no_grad():
            head.weight.mul_(scale[:, None])
            head.bias.mul_(scale).add_(mean)
        return net.cpu().eval()


def centre(network: nn.Module, x: np.ndarray, y: np.ndarray) -> None:
    """Shift each number that a network predicts so that its median error on these records is zero.

    Copies are noisier than records. Noise makes a peak look higher than its label says, so that a network which has
    learnt from copies reads the peaks of clean records too low.

    Parameters
    ----------
    network : nn.Module
        With a linear ``head``, whose bias is shifted; a number known of fewer than 100 records stays.
    x : array (record, lead, sample)
    y : array (record, target)
        NaN where unknown.
    """
    head: Any = network.head
    with torch.inference_mode():
        parts = [network(torch.from_numpy(part)) for part in np.array_split(x, len(x) // 128 + 1)]
    error = torch.cat(parts).double().numpy() - y
    with torch.no_grad():
        head.bias.sub_(torch.from_numpy(_median_error(error)).to(head.bias))


def _median_error(error: np.ndarray) -> np.ndarray:
    """The median (target,) of errors (record, target), by which a network is shifted; 0 of few records."""
    known = np.isfinite(error).sum(axis=0) >= _FEWEST_TO_CENTRE
    return np.array([np.nanmedian(e) if k else 0.0 for e, k in zip(error.T, known, strict=True)])


def _averaged(average: torch.Tensor, now: torch.Tensor, n: torch.Tensor | int) -> torch.Tensor:
    """A step of the exponential average of weights, whose memory is short while they still move far."""
    keep = min(0.98, int(n) / (9 + int(n)))
    return keep * average + (1 - keep) * now if average.is_floating_point() else now
