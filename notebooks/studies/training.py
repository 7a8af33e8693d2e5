"""The recipes of the shipped networks. (The delineator's is studies.delineator_training.)

python -m studies.training NAME [--part all|1+2|3+4|5+6|7+8 ...] [--seed 0] [--out FOLDER] [--card]

NAME is compact-measures, compact-sex and so on. PTB-XL's folds 1 to 8 are learnt from, fold 9 chooses the epoch, and
fold 10 takes no part; LUDB takes none either. The compact networks for sex, age and diagnoses are also trained without
two folds each, so that every recording has an answer from a network that has not seen its patient. --card then writes
the model card, for which fold 10 is looked at: once, at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from sklearn.linear_model import LogisticRegression
from studies.cards import write_card
from studies.ptbxl_cohort import whole_store
from torch import nn

from ecgwb.cohorts.cohort import open_cohort
from ecgwb.cohorts.layouts import SUPERCLASSES
from ecgwb.cohorts.measurements import TARGETS
from ecgwb.cohorts.people import with_statements
from ecgwb.models.checkpoints import WEIGHTS, load_model, save_model
from ecgwb.models.prediction import predict
from ecgwb.models.spec import spec_of
from ecgwb.models.training import fit
from ecgwb.models.wrapping import wrap_model

LEARN, CHOOSE = range(1, 9), 9  # PTB-XL's folds
PARTS = ("1+2", "3+4", "5+6", "7+8")
FEWEST = 100  # recordings to learn from that a statement has


@dataclass(frozen=True)
class Recipe:
    """What a shipped network learns, and for how long."""

    targets: tuple[str, ...]
    epochs: int
    copies: int = 17_000  # in an epoch
    net: dict[str, Any] = field(default_factory=lambda: {"name": "compact"})
    with_500_hz: bool = False  # half of the copies are of PTB-XL's first recordings at 500 Hz
    in_parts: bool = True
    input: str = "beat"
    gain: float = 0.0


_KANRES = {"name": "kanres"}
_NARROW = {"name": "compact", "dilations": [1, 1, 1]}  # sees 126 ms, not 414
_BROAD = {"name": "compact", "dilations": [1, 2, 2, 4, 4, 6]}  # 638 ms
RECIPES = {
    "compact-measures": Recipe(TARGETS, 110, 8_000, with_500_hz=True, in_parts=False),
    "kanres-measures": Recipe(TARGETS, 24, 8_000, _KANRES, with_500_hz=True, in_parts=False),
    "compact-rhythm": Recipe(TARGETS, 10, 8_000, with_500_hz=True, in_parts=False, input="rhythm"),
    "compact-sex": Recipe(("male",), 25),
    "compact-sex-126ms": Recipe(("male",), 25, net=_NARROW, in_parts=False),
    "kanres-sex": Recipe(("male",), 9, net=_KANRES, in_parts=False),
    "compact-age": Recipe(("age",), 20, net=_BROAD, gain=0.15),
    "compact-diagnoses": Recipe(("diagnoses",), 16),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.training", description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument(
        "--part", nargs="+", choices=["all", *PARTS], help="networks to train; what is lacking, if not said"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for weights and checkpoints")
    parser.add_argument("--card", action="store_true", help="then write the model card, which looks at fold 10")
    given = parser.parse_args(argv)
    if given.card and given.out != WEIGHTS:
        parser.error("a card is written for the package's own weights, whose sisters it asks; leave out --out")
    recipe = RECIPES[given.name]
    if given.epochs:
        recipe = replace(recipe, epochs=given.epochs)
    cohort = labelled(recipe)
    for part in given.part or ["all", *(PARTS if recipe.in_parts else ())]:
        train(given.name, recipe, cohort, part, given.seed, given.out)
    if not given.part:
        calibrate(given.name, recipe, cohort, given.out)
    if given.card:
        weights = given.out / f"{given.name}.safetensors"
        write_card(load_model(weights), cohort, weights, f"python -m studies.training {given.name}")


def labelled(recipe: Recipe) -> xr.Dataset:
    """PTB-XL with what a recipe learns from: beats in memory, or the rhythms of the whole build."""
    cohort = open_cohort("ptbxl")
    if recipe.input == "rhythm":
        if not whole_store().is_dir():
            raise SystemExit("the embedded cohort has no rhythms: python -m studies.ptbxl_cohort FOLDER builds them")
        as_embedded = {name: cohort.attrs[name] for name in ("source", "folds", "credit")}
        cohort = open_cohort(whole_store(), rhythm=True).assign_attrs(as_embedded)
        return cohort.assign_coords(patient=("record", np.full(cohort.sizes["record"], "")))
    cohort = cohort.load()
    if "diagnoses" in recipe.targets:
        cohort = with_statements(with_statements(cohort, "superclass"), "diagnosis")
    return cohort


def targets_of(recipe: Recipe, cohort: xr.Dataset) -> list[str]:
    """The targets of a recipe; of diagnoses, superclasses and statements with enough recordings to learn from."""
    if "diagnoses" not in recipe.targets:
        return list(recipe.targets)
    learnt = folds(cohort, LEARN)
    names = [k for k in dict.fromkeys("; ".join(learnt["diagnosis"].values).split("; ")) if k]
    return [*SUPERCLASSES, *(k for k in sorted(names) if int(np.nansum(learnt[k])) >= FEWEST)]


def train(name: str, recipe: Recipe, cohort: xr.Dataset, part: str, seed: int, out: Path) -> None:
    """Train one network from scratch and write its weights; a killed run goes on, and what is there stays."""
    label = (f"{name}-seed{seed}" if seed else name) + ("" if part == "all" else f"-without-{part}")
    weights, checkpoint = out / f"{label}.safetensors", out / f"{label}.checkpoint"
    if weights.is_file():
        print(f"{weights} is there; remove it to train it anew")
        return
    left_out = [] if part == "all" else [int(k) for k in part.split("+")]
    learn = [k for k in LEARN if k not in left_out]
    cohorts = [folds(cohort, learn).load()]
    if recipe.with_500_hz:
        cohorts.append(folds(open_cohort("ptbxl500", rhythm=True), learn))
    model = fit(
        cohorts, targets_of(recipe, cohort), recipe.net, input=recipe.input, epochs=recipe.epochs, epoch=recipe.copies,
        seed=seed, validation=folds(cohort, [CHOOSE]).load(), gain=recipe.gain, bfloat16=True, checkpoint=checkpoint,
    )  # fmt: skip
    if part == "all" and recipe.in_parts:
        others = {f"ptbxl fold {k}": f"{label}-without-{p}" for p in PARTS for k in p.split("+")}
        wrap_model(model, replace(spec_of(model), out_of_fold=others | {f"ptbxl fold {CHOOSE}": ""}))
    save_model(model, weights)
    checkpoint.unlink()


def calibrate(name: str, recipe: Recipe, cohort: xr.Dataset, out: Path) -> None:
    """Make log-odds mean what they say on others: those of folds left out decide one scale and shift a target.

    As Platt (1999) did; a network trained longer than its data bear is too sure. The five networks of a recipe get the
    same, so that their log-odds stay comparable, and the one of all folds then the mean that the others have on fold 9;
    of one without parts fold 9 decides. Networks of numbers stay as they
    are, as do log-odds that are right already.
    """
    parts = PARTS if recipe.in_parts else ()
    files = [out / f"{name}{part}.safetensors" for part in ("", *(f"-without-{p}" for p in parts))]
    models = [load_model(file) for file in files]
    spec = spec_of(models[0])
    if spec.link != "logit":
        return
    left_out = [folds(cohort, [int(k) for k in part.split("+")]) for part in parts] or [folds(cohort, [CHOOSE])]
    found = xr.concat([predict(m, c) for m, c in zip(models[-len(left_out) :], left_out, strict=True)], "record")
    fits = []
    for t in spec.targets:
        y = np.concatenate([c[t].values for c in left_out])
        ok = np.isfinite(y) & np.isfinite(found[t].values)
        fit_of = LogisticRegression(C=np.inf).fit(found[t].values[ok, None], y[ok])
        fits.append((fit_of.coef_.item(), fit_of.intercept_.item()))
        print(f"{t}: log-odds times {fits[-1][0]:.3f}, {fits[-1][1]:+.3f}")
    scale, shift = (torch.tensor(v, dtype=torch.float32) for v in zip(*fits, strict=True))
    if (scale - 1).abs().max() > 1e-3 or shift.abs().max() > 1e-3:
        for model in models:
            with torch.no_grad():
                model.head.weight *= scale[:, None]  # type: ignore[union-attr, operator]
                model.head.bias.copy_(model.head.bias * scale + shift)  # type: ignore[union-attr, operator]
    if recipe.in_parts:
        _level(models, folds(cohort, [CHOOSE]))
    for model, file in zip(models, files, strict=True):
        save_model(model, file)


def _level(models: Sequence[nn.Module], others: xr.Dataset) -> None:
    """Give the network of all folds the mean log-odds that its sisters have on people whom none has learnt from."""
    mean = np.array(
        [[float(np.nanmean(v)) for v in predict(m, others)[list(spec_of(m).targets)].values()] for m in models]
    )
    apart = mean[1:].mean(axis=0) - mean[0]
    print("the network of all folds:", ", ".join(f"{v:+.3f}" for v in apart))
    with torch.no_grad():
        models[0].head.bias += torch.tensor(apart, dtype=torch.float32)  # type: ignore[union-attr, operator]


def folds(cohort: xr.Dataset, which: Sequence[int]) -> xr.Dataset:
    """The recordings of some folds."""
    return cohort.isel(record=np.flatnonzero(np.isin(cohort["fold"].values, list(which))))


if __name__ == "__main__":
    main()
