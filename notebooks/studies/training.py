"""The recipes of the shipped networks.

python -m studies.training measures|sex|rhythm [--net compact|kanres] [--cohort NAME ...] [--seed 0] [--out FOLDER]
python -m studies.training delineator --help
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from studies import delineator_training
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
    epoch: int | None = None
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
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["delineator"]:  # has options of its own
        delineator_training.main(argv[1:])
        return
    parser = argparse.ArgumentParser(prog="python -m studies.training", description=__doc__.split("\n")[0])
    parser.add_argument("recipe", choices=["measures", "sex", "rhythm", "delineator"])
    parser.add_argument("--net", default="compact", choices=["compact", "kanres"])
    parser.add_argument("--cohort", action="append", help="ptbxl500, synthetic:N or a store; may be given again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--epoch", type=int, help="copies in an epoch")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for weights, card and checkpoints")
    given = vars(parser.parse_args(argv))
    train(given.pop("recipe"), given.pop("net"), given.pop("seed"), given.pop("out"), **given)


def train(
    name: str, net: str = "compact", seed: int = 0, out: Path = WEIGHTS, *,
    cohort: Sequence[str] | None = None, epochs: int | None = None, epoch: int | None = None,
) -> nn.Module:  # fmt: skip
    """Train a shipped network from scratch, and write its weights and model card; a killed run goes on where it was.

    "measures" and "rhythm" learn the seven measurements of all patients of their cohorts. "sex" learns from the
    discovery patients of `split_patients` alone, so that the others can test it, and a compact one carries predictions
    by five more networks, each without a fifth of all patients. All are judged on LUDB, which takes no part.
    """
    usual = RECIPES[net, name]
    recipe = replace(
        usual,
        cohorts=tuple(cohort or usual.cohorts),
        epochs=epochs or usual.epochs,
        epoch=epoch or usual.epoch,
    )
    cohorts = [open_cohort(c, rhythm=True) for c in recipe.cohorts]
    label = f"{net}-{name}" + (f"-seed{seed}" if seed else "")
    files: list[Path] = []

    def learn(some: list[xr.Dataset], part: str = "") -> nn.Module:
        files.append(out / f"{label}{part}.checkpoint")
        return fit(
            some, recipe.targets, net, input=recipe.input, epochs=recipe.epochs, epoch=recipe.epoch, seed=seed,
            checkpoint=files[-1],
        )  # fmt: skip

    began = time.time()
    model = learn([split_patients(c)[0] for c in cohorts] if name == "sex" else cohorts)
    if name == "sex" and net == "compact":
        said = [_out_of_fold(c, learn) for c in cohorts]
        names = [str(c.attrs["source"]) for c in cohorts]
        wrap_model(model, replace(spec_of(model), out_of_fold=dict(zip(names, said, strict=True))))
    save_model(model, out / f"{label}.safetensors")
    command = f"python -m studies.training {name} --net {net} --seed {seed} --epochs {recipe.epochs}"
    command += f" --epoch {recipe.epoch}" if recipe.epoch else ""
    command += "".join(f" --cohort {c}" for c in recipe.cohorts)
    write_card(model, cohorts, out / f"{label}.safetensors", command, (time.time() - began) / 60)
    for file in files:
        file.unlink()
    return model


def _out_of_fold(cohort: xr.Dataset, learn: Any) -> dict[str, list[float]]:
    """Outputs for every record, each by a network that has not seen its patient."""
    fold = np.array([int(patient_draw(str(p), "fold") * FOLDS) for p in cohort["patient"].values])
    said: dict[str, list[float]] = {}
    for k in range(FOLDS):
        model = learn([cohort.isel(record=np.flatnonzero(fold != k))], f"-fold{k}")
        held = cohort.isel(record=np.flatnonzero(fold == k))
        outputs = predict(model, held)[list(spec_of(model).targets)].to_dataframe()[list(spec_of(model).targets)]
        said |= {str(r): [round(float(v), 4) for v in row] for r, row in outputs.iterrows()}
    return said


if __name__ == "__main__":
    main()
