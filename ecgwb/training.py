"""The recipes of the shipped networks.

python -m ecgwb.training measures|sex|delineator [--seed 0] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import delineator_training
from .accuracy import accuracy_table
from .beats import TARGETS
from .cohorts import open_cohort
from .fitting import fit
from .models import WEIGHTS, ModelSpec, save_model
from .prediction import predict
from .regression import split_patients
from .sources import CREDITS


def main(argv: Sequence[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["delineator"]:  # has options of its own: python -m ecgwb.training delineator --help
        delineator_training.main(argv[1:])
        return
    parser = argparse.ArgumentParser(prog="python -m ecgwb.training", description=__doc__.split("\n")[0])
    parser.add_argument("recipe", choices=["measures", "sex", "delineator"])
    parser.add_argument("--net", default="compact", choices=["compact", "kanres"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for weights, card and checkpoint")
    arguments = parser.parse_args(argv)
    train(arguments.recipe, arguments.net, arguments.seed, arguments.epochs, arguments.out)


def train(
    recipe: str, net: str = "compact", seed: int = 0, epochs: int | None = None, out: Path = WEIGHTS
) -> nn.Module:
    """Train a shipped network from scratch, and write its weights and model card.

    "measures" learns the seven measurements of all PTB-XL-500 patients; "sex" learns sex from the discovery patients of
    `split_patients` alone, so that the others can test it. Both are judged on LUDB, which takes no part.
    """
    cohort = open_cohort("ptbxl500", rhythm=True)
    if recipe == "sex":
        cohort = split_patients(cohort)[0]
    names = ["male"] if recipe == "sex" else list(TARGETS)
    epochs = epochs or (60 if recipe == "sex" else 600)
    name = f"{net}-{recipe}" + (f"-seed{seed}" if seed else "")
    began = time.time()
    model = fit(cohort, names, net, epochs=epochs, seed=seed, checkpoint=out / f"{name}.checkpoint")
    save_model(model, out / f"{name}.safetensors")
    write_card(model, out / f"{name}.safetensors", epochs, seed, (time.time() - began) / 60)
    (out / f"{name}.checkpoint").unlink()
    return model


def write_card(model: nn.Module, weights: Path, epochs: int, seed: int, minutes: float) -> None:
    """The model card beside the weights: data, recipe, hash, scores with intervals, use and limits."""
    spec: ModelSpec = model.spec  # type: ignore[assignment]
    ludb = open_cohort("ludb")
    table = accuracy_table(predict(model, ludb), ludb).round(3)
    patients = sum(len(v) for v in spec.trained_on.values())
    data = f"{patients} patients of {', '.join(spec.trained_on)}, 15 % of them for early stopping; the file names them"
    labels = "sex in the patient record" if spec.link == "logit" else "the workbench's measurements of the same beats"
    net, recipe = weights.stem.split("-")[:2]
    command = f"python -m ecgwb.training {recipe} --net {net} --seed {seed} --epochs {epochs}"
    machine = f"{torch.get_num_threads()} CPU threads; Python {platform.python_version()}, torch {torch.__version__}"
    text = f"""# {weights.stem}

| | |
|---|---|
| predicts | {", ".join(f"{t} ({spec.unit(t)})" for t in spec.targets)} |
| from | one representative beat: {", ".join(spec.leads)}; {spec.n_samples} samples at {spec.fs:g} Hz; µV |
| network | {spec.net}, {sum(p.numel() for p in model.parameters()):,} parameters |
| trained on | {data} |
| labels | {labels} |
| recipe | `{command}` |
| took | {minutes:.0f} minutes on {machine} |
| sha256 | `{hashlib.sha256(weights.read_bytes()).hexdigest()}` |
| licence | BSD-3-Clause for the weights; data: {CREDITS["ptbxl"]} |

Scores on LUDB, which took no part in training ({CREDITS["ludb"]}):

{_markdown(table)}

`score` with its 95 % interval over patients; `constant` is the score of always giving the same answer, `skill` the
share of its error that is removed.

**Use**: studying what networks measure, and teaching. **Not for** diagnosis, monitoring or any decision about a person.
**Limits**: small training data from one country and two kinds of recorder; it reproduces the labels, with their faults.
Heart rate is inferred from a beat that rarely shows its RR. Numbers shrink towards the mean (see `slope`).
"""
    weights.with_suffix(".md").write_text(text)


def _markdown(table: Any) -> str:
    flat = table.reset_index()
    lines = [list(map(str, flat.columns)), ["---"] * flat.shape[1]]
    lines += [["" if v != v else str(v) for v in row] for row in flat.to_numpy(object)]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


if __name__ == "__main__":
    main()
