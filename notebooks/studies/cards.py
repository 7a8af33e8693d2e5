"""Model cards: what a network was trained on, how, and how well it does, with intervals."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import xarray as xr
from torch import nn

from ecgwb.cohorts.cohort import open_cohort
from ecgwb.cohorts.sources import CREDITS
from ecgwb.models.accuracy import accuracy_table
from ecgwb.models.prediction import predict
from ecgwb.models.spec import ModelSpec, spec_of

_COLUMNS = ["n", "unit", "score", "low", "high", "skill", "slope", "bias", "limit_low", "limit_high"]
_SEX = ["n", "score", "low", "high", "constant", "auc", "auc_low", "auc_high"]
_RATE_BANDS = (60.0, 86.0)  # bpm; between them are most people
_GROUPS = ("sex", "age", "diagnosis")


def write_card(model: nn.Module, cohorts: Sequence[xr.Dataset], weights: Path, command: str, minutes: float) -> None:
    """Write the card beside the weights, scored on LUDB and, out of fold, on what the network was trained on.

    Parameters
    ----------
    model : nn.Module
        With its `ModelSpec`.
    cohorts : sequence of Dataset
        What it was trained on.
    weights : Path
        Its file; the card takes the same name, with the ending .md.
    command : str
        That made it, run in the folder ``notebooks``.
    minutes : float
        That it took.
    """
    spec = spec_of(model)
    sections = [_about(model, cohorts, weights, command, minutes), *_on_ludb(model, spec)]
    for name, predictions in spec.out_of_fold.items():
        cohort = next(c for c in cohorts if c.attrs["source"] == name)
        predicted = predict(model, cohort, out_of_fold=True)
        predicted = predicted.isel(record=[str(r) in predictions for r in cohort["record"].values])
        sections += [f"## On {name}, out of fold by patient", _scores(predicted, cohort)]
        sections += [part for by in _GROUPS for part in (f"By {by}:", _scores(predicted, cohort, by=by))]
    weights.with_suffix(".md").write_text("\n\n".join(sections) + "\n")


def _about(model: nn.Module, cohorts: Sequence[xr.Dataset], weights: Path, command: str, minutes: float) -> str:
    spec = spec_of(model)
    data = ", ".join(f"{len(v)} patients of {k}" for k, v in spec.trained_on.items())
    licences = "; ".join(sorted({str(c.attrs["credit"]) for c in cohorts}))
    labels = "sex in the patient record" if spec.link == "logit" else "the workbench's own measurements"
    arguments = {k: v for k, v in spec.net.items() if k != "name"}
    source = "10 s" if spec.input == "rhythm" else "one representative beat"
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    return f"""# {weights.stem}

| | |
|---|---|
| predicts | {", ".join(f"{t} ({spec.unit(t)})" for t in spec.targets)} |
| from | {source}: {", ".join(spec.leads)}; {spec.n_samples} samples at {spec.fs:g} Hz; µV |
| network | {spec.net["name"]}, {arguments}, {sum(p.numel() for p in model.parameters()):,} parameters |
| trained on | {data}; 15 % of the first cohort's patients for early stopping; the weights' file names them all |
| labels | {labels} |
| recipe | `{command}`, in the folder `notebooks` |
| took | {minutes:.0f} minutes on {machine}; Python {platform.python_version()}, torch {torch.__version__} |
| sha256 | `{hashlib.sha256(weights.read_bytes()).hexdigest()}` |
| licence | BSD-3-Clause for the weights; data: {licences} |

**Use**: studying what networks measure, and teaching. **Not for** diagnosis, monitoring or any decision about a person.
**Limits**: small training data from one country and two kinds of recorder; it reproduces the labels, with their faults.
A beat rarely shows its RR: heart rate from one is inferred. Numbers shrink towards the mean (see `slope`).

`score` is the mean absolute error (accuracy for sex) with its 95 % interval over patients, `low` to `high`; `constant`
the score of always giving the same answer, `skill` the share of its error that is removed; `limit_low` and
`limit_high` the Bland-Altman limits."""


def _on_ludb(model: nn.Module, spec: ModelSpec) -> list[str]:
    ludb = open_cohort("ludb", rhythm=spec.input == "rhythm")
    predicted = predict(model, ludb)
    measures = spec.link == "identity"
    sections = ["## On LUDB, which took no part in training", f"{CREDITS['ludb']}."]
    sections += ["Against the workbench's measurements:"] * measures + [_scores(predicted, ludb)]
    if measures:
        against = accuracy_table(predicted, ludb, "_manual")
        sections += ["Against the intervals that cardiologists marked:", _markdown(against)]
    if "hr" in spec.targets:
        sections += ["Heart rate by band:", _scores(predicted[["hr"]], ludb, by="hr", edges=_RATE_BANDS)]
    return sections + [part for by in _GROUPS for part in (f"By {by}:", _scores(predicted, ludb, by=by))]


def _scores(predicted: xr.Dataset, cohort: xr.Dataset, **groups: Any) -> str:
    return _markdown(accuracy_table(predicted, cohort, **groups))


def _markdown(table: pd.DataFrame) -> str:
    """A table of scores, of measurements or of sex, with the columns that a card shows."""
    columns = _SEX if "auc" in table else _COLUMNS
    flat = table.reindex(columns=[c for c in columns if c in table]).reset_index()
    lines = [list(map(str, flat.columns)), ["---"] * flat.shape[1]]
    lines += [[_cell(v) for v in row] for row in flat.to_numpy(object)]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def _cell(v: Any) -> str:
    if isinstance(v, float):
        return "" if v != v else f"{v:.2f}" if abs(v) < 10 else f"{v:.1f}"
    return str(v)
