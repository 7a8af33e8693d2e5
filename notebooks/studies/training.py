"""The recipes of the shipped networks. (The delineator's is studies.delineator_training.)

python -m studies.training measures|sex|rhythm [--net compact|kanres] [--cohort NAME ...] [--seed 0] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr
from studies.cards import write_card
from torch import nn

from ecgwb.cohorts.cohort import open_cohort
from ecgwb.cohorts.measurements import TARGETS
from ecgwb.cohorts.people import patient_draw, split_patients
from ecgwb.models.prediction import predict
from ecgwb.models.spec import WEIGHTS, save_model, spec_of, wrap_model
from ecgwb.models.training import fit

FOLDS = 5


@dataclass(frozen=True)
class Recipe:
    """What a shipped network learns, from whom, and for how long."""

    targets: tuple[str, ...]
    cohorts: tuple[str, ...]
    epochs: int
    epoch: int | None = None  # copies in an epoch; as many as there are records where not said
    input: str = "beat"


RECIPES = {
    ("compact", "measures"): Recipe(TARGETS, ("ptbxl500", "synthetic:4000"), 180, 4000),
    ("kanres", "measures"): Recipe(TARGETS, ("ptbxl500", "synthetic:4000"), 60, 4000),
    ("compact", "rhythm"): Recipe(TARGETS, ("ptbxl500",), 60, input="rhythm"),
    ("kanres", "rhythm"): Recipe(TARGETS, ("ptbxl500",), 10, input="rhythm"),
    ("compact", "sex"): Recipe(("male",), ("ptbxl500",), 60),
    ("kanres", "sex"): Recipe(("male",), ("ptbxl500",), 20, 2500),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.training", description=__doc__.split("\n")[0])
    parser.add_argument("recipe", choices=["measures", "sex", "rhythm"])
    parser.add_argument("--net", default="compact", choices=["compact", "kanres"])
    parser.add_argument("--cohort", action="append", help="ptbxl500, synthetic:N or a store; may be given again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--epoch", type=int, help="copies in an epoch")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for weights, card and checkpoints")
    given = parser.parse_args(argv)
    usual = RECIPES[given.net, given.recipe]
    recipe = replace(
        usual,
        cohorts=tuple(given.cohort or usual.cohorts),
        epochs=given.epochs or usual.epochs,
        epoch=given.epoch or usual.epoch,
    )
    train(given.recipe, given.net, recipe, given.seed, given.out)


def train(name: str, net: str, recipe: Recipe, seed: int = 0, out: Path = WEIGHTS) -> nn.Module:
    """Train a shipped network from scratch, and write its weights and model card; a killed run goes on where it was.

    "measures" and "rhythm" learn the seven measurements of all patients of their cohorts. "sex" learns from the
    discovery patients of `split_patients` alone, so that the others can test it, and a compact one carries predictions
    by five more networks, each without a fifth of all patients. All are judged on LUDB, which takes no part.
    """
    cohorts = [open_cohort(c, rhythm=True) for c in recipe.cohorts]
    label = f"{net}-{name}" + (f"-seed{seed}" if seed else "")
    checkpoints: list[Path] = []

    def learn(some: list[xr.Dataset], part: str = "") -> nn.Module:
        checkpoints.append(out / f"{label}{part}.checkpoint")
        return fit(
            some, recipe.targets, net, input=recipe.input, epochs=recipe.epochs, epoch=recipe.epoch, seed=seed,
            checkpoint=checkpoints[-1],
        )  # fmt: skip

    began = time.time()
    model = learn([split_patients(c)[0] for c in cohorts] if name == "sex" else cohorts)
    if name == "sex" and net == "compact":
        predictions = {str(c.attrs["source"]): out_of_fold(c, learn) for c in cohorts}
        wrap_model(model, replace(spec_of(model), out_of_fold=predictions))
    weights = out / f"{label}.safetensors"
    save_model(model, weights)
    command = f"python -m studies.training {name} --net {net} --seed {seed} --epochs {recipe.epochs}"
    command += f" --epoch {recipe.epoch}" if recipe.epoch else ""
    command += "".join(f" --cohort {c}" for c in recipe.cohorts)
    write_card(model, cohorts, weights, command, (time.time() - began) / 60)
    for file in checkpoints:
        file.unlink()
    return model


def out_of_fold(cohort: xr.Dataset, learn: Callable[[list[xr.Dataset], str], nn.Module]) -> dict[str, list[float]]:
    """Outputs for every record, each by a network that has not seen its patient."""
    fold = np.array([int(patient_draw(str(p), "fold") * FOLDS) for p in cohort["patient"].values])
    predictions: dict[str, list[float]] = {}
    for k in range(FOLDS):
        model = learn([cohort.isel(record=np.flatnonzero(fold != k))], f"-fold{k}")
        held_out = cohort.isel(record=np.flatnonzero(fold == k))
        outputs = predict(model, held_out)[list(spec_of(model).targets)].to_dataframe()[list(spec_of(model).targets)]
        predictions |= {str(r): [round(float(v), 4) for v in row] for r, row in outputs.iterrows()}
    return predictions


if __name__ == "__main__":
    main()
