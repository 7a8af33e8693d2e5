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
from ecgwb.models.spec import spec_of

_COLUMNS = ["n", "unit", "score", "low", "high", "skill", "slope", "bias", "limit_low", "limit_high"]
_SEX = ["n", "score", "low", "high", "constant", "auc", "auc_low", "auc_high"]
_RATE_BANDS = (60.0, 86.0)  # bpm; between them are most people


def write_card(model: nn.Module, cohorts: Sequence[xr.Dataset], weights: Path, command: str, minutes: float) -> None:
    """Write the card beside the weights, scored on LUDB and, out of fold, on what the network was trained on."""
    spec = spec_of(model)
    rhythm = spec.input == "rhythm"
    ludb = open_cohort("ludb", rhythm=rhythm)
    said = predict(model, ludb)
    data = ", ".join(f"{len(v)} patients of {k}" for k, v in spec.trained_on.items())
    licences = "; ".join(sorted({str(c.attrs["credit"]) for c in cohorts}))
    labels = "sex in the patient record" if spec.link == "logit" else "the workbench's own measurements"
    net = {k: v for k, v in spec.net.items() if k != "name"}
    machine = (
        f"{torch.get_num_threads()} CPU threads" if not torch.cuda.is_available() else torch.cuda.get_device_name()
    )
    columns = _SEX if spec.link == "logit" else _COLUMNS
    sections = ["## On LUDB, which took no part in training", f"{CREDITS['ludb']}."]
    if spec.link == "identity":
        sections.append("Against the workbench's measurements:")
    sections.append(_markdown(accuracy_table(said, ludb), columns))
    if spec.link == "identity":
        sections += ["Against the intervals that cardiologists marked:"]
        sections.append(_markdown(accuracy_table(said, ludb, "_manual"), columns))
    if "hr" in spec.targets:
        sections += ["Heart rate by band:"]
        by_rate = accuracy_table(said[["hr"]], ludb, by="hr", edges=_RATE_BANDS)
        sections.append(_markdown(by_rate, columns))
    for by in ("sex", "age", "diagnosis"):
        sections += [f"By {by}:", _markdown(accuracy_table(said, ludb, by=by), columns)]
    for name, others in spec.out_of_fold.items():
        mine = next(c for c in cohorts if c.attrs["source"] == name)
        here = predict(model, mine, out_of_fold=True).isel(record=[str(r) in others for r in mine["record"].values])
        sections += [
            f"## On {name}, out of fold by patient",
            _markdown(accuracy_table(here, mine), columns),
            *(x for by in ("sex", "age", "diagnosis") for x in
              (f"By {by}:", _markdown(accuracy_table(here, mine, by=by), columns))),
        ]  # fmt: skip
    source = "10 s" if rhythm else "one representative beat"
    body = "\n\n".join(sections)
    text = f"""# {weights.stem}

| | |
|---|---|
| predicts | {", ".join(f"{t} ({spec.unit(t)})" for t in spec.targets)} |
| from | {source}: {", ".join(spec.leads)}; {spec.n_samples} samples at {spec.fs:g} Hz; µV |
| network | {spec.net["name"]}, {net}, {sum(p.numel() for p in model.parameters()):,} parameters |
| trained on | {data}; 15 % of the first cohort's patients for early stopping; the file names all |
| labels | {labels} |
| recipe | `{command}` |
| took | {minutes:.0f} minutes on {machine}; Python {platform.python_version()}, torch {torch.__version__} |
| sha256 | `{hashlib.sha256(weights.read_bytes()).hexdigest()}` |
| licence | BSD-3-Clause for the weights; data: {licences} |

**Use**: studying what networks measure, and teaching. **Not for** diagnosis, monitoring or any decision about a person.
**Limits**: small training data from one country and two kinds of recorder; it reproduces the labels, with their faults.
A beat rarely shows its RR: heart rate from one is inferred. Numbers shrink towards the mean (see `slope`).

`score` is the mean absolute error (accuracy for sex) with its 95 % interval over patients, `low` to `high`; `constant`
the score of always giving the same answer, `skill` the share of its error that is removed; `limit_low` and
`limit_high` the Bland-Altman limits.

{body}
"""
    weights.with_suffix(".md").write_text(text)


def _markdown(table: pd.DataFrame, columns: Sequence[str]) -> str:
    flat = table.reindex(columns=[c for c in columns if c in table]).reset_index()
    lines = [list(map(str, flat.columns)), ["---"] * flat.shape[1]]
    lines += [[_cell(v) for v in row] for row in flat.to_numpy(object)]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def _cell(v: Any) -> str:
    if isinstance(v, float):
        return "" if v != v else f"{v:.2f}" if abs(v) < 10 else f"{v:.1f}"
    return str(v)
