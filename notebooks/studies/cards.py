"""Model cards: what a network was trained on, how, and how well it does, with intervals.

python -m studies.cards measures the skill of every shipped network on PTB-XL's fold 10, which shaped none of them
(LUDB, for the one that takes rhythms), and writes it to ecgwb/models/weights/skill.json, which `load_model` reads.
"""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import nn

from ecgwb.cohorts.cohort import open_cohort
from ecgwb.cohorts.layouts import CREDITS
from ecgwb.cohorts.people import with_statements
from ecgwb.discovery.regression import calibration_slope
from ecgwb.models.accuracy import accuracy_table
from ecgwb.models.activations import positions
from ecgwb.models.checkpoints import SKILL, load_model, shipped
from ecgwb.models.prediction import predict
from ecgwb.models.skill import with_skill
from ecgwb.models.spec import ModelSpec, spec_of

_COLUMNS = ["n", "unit", "score", "low", "high", "skill", "slope", "bias", "limit_low", "limit_high"]
_SEX = ["n", "score", "low", "high", "constant", "auc", "auc_low", "auc_high"]
_RATE_BANDS = (60.0, 86.0)  # bpm; between them are most people
_GROUPS = ("sex", "age", "diagnosis")
_MANY = 10  # targets, of which groups would fill pages


def write_card(model: nn.Module, cohort: xr.Dataset, weights: Path, command: str) -> None:
    """Write the card beside the weights, scored on LUDB and on PTB-XL: fold 10, and the others out of fold.

    Parameters
    ----------
    model : nn.Module
        With its `ModelSpec`.
    cohort : Dataset
        PTB-XL, with what the network predicts.
    weights : Path
        Its file; the card takes the same name, with the ending .md.
    command : str
        That made it, run in the folder ``notebooks``.
    """
    spec = spec_of(model)
    sections = [_about(model, cohort, weights, command), *_on_ludb(model, spec)]
    test = cohort.isel(record=cohort["fold"].values == 10)
    sections += _on("On fold 10 of PTB-XL, which took no part", predict(model, test), test)
    if spec.out_of_fold:
        others = cohort.isel(record=np.isin(cohort["fold"].values, range(1, 9)))
        found = predict(model, others, out_of_fold=True)
        sections += _on("On folds 1 to 8, each by a network that has not learnt from it", found, others)
    weights.with_suffix(".md").write_text("\n\n".join(sections) + "\n")


def _on(title: str, predicted: xr.Dataset, cohort: xr.Dataset) -> list[str]:
    groups = _GROUPS if len(predicted.data_vars) < _MANY else ()
    return [
        f"## {title}", _scores(predicted, cohort), *_calibration(predicted, cohort),
        *(part for by in groups for part in (f"By {by}:", _scores(predicted, cohort, by=by))),
    ]  # fmt: skip


def _calibration(predicted: xr.Dataset, cohort: xr.Dataset) -> list[str]:
    """The calibration slope of log-odds: 1 where they are right, below where they are too sure."""
    of = [t for t in predicted.data_vars if t in cohort and predicted[t].attrs.get("units") == "log-odds"]
    if not 0 < len(of) < _MANY:
        return []
    words = []
    for t in of:
        ok = np.isfinite(predicted[t].values + cohort[t].values)
        slope, low, high, _ = calibration_slope(cohort[t].values[ok], predicted[t].values[ok], True)
        words.append(f"{t} {slope:.2f} ({low:.2f} to {high:.2f})")
    return [f"Calibration slope of the log-odds, below 1 where they are too sure: {', '.join(words)}."]


def _about(model: nn.Module, cohort: xr.Dataset, weights: Path, command: str) -> str:
    spec = spec_of(model)
    measures, number = "qt" in spec.targets, spec.link == "identity"
    labels = "PTB-XL's statements" if len(spec.targets) > 1 else f"{spec.targets[0]}, as in PTB-XL's table"
    if measures:
        labels = "the workbench's own measurements of the same beats, by a delineator that has learnt from LUDB's marks"
    rates = "of 100 Hz, and those of its first recordings at 500 Hz" if len(spec.trained_on) > 1 else "of 100 Hz"
    arguments = {k: v for k, v in spec.net.items() if k != "name"}
    log_odds = ""
    if spec.link == "logit":
        right = "folds left out" if spec.out_of_fold else "fold 9"
        log_odds = f"\n| log-odds | scaled and shifted, target by target, to be right on {right} |"
    source = "10 s" if spec.input == "rhythm" else "one representative beat"
    return f"""# {weights.stem}

| | |
|---|---|
| predicts | {", ".join(f"{t} ({spec.unit(t)})" if spec.unit(t) else t for t in spec.targets)} |
| from | {source}: {", ".join(spec.leads)}; {spec.n_samples} samples at {spec.fs:g} Hz; µV |
| network | {spec.net["name"]}, {arguments}, {sum(p.numel() for p in model.parameters()):,} parameters |
| a position sees | {positions(model).field * 1000 / spec.fs:.0f} ms |
| trained on | PTB-XL's folds 1 to 8, {rates}; fold 9 chose the epoch and set the level |
| labels | {labels} |{log_odds}
| recipe | `{command}`, in the folder `notebooks` |
| made with | Python {platform.python_version()}, torch {torch.__version__}, one thread |
| sha256 | `{hashlib.sha256(weights.read_bytes()).hexdigest()}` |
| licence | BSD-3-Clause for the weights; data: {cohort.attrs["credit"]} |

**Use**: studying what networks measure, and teaching. **Not for** diagnosis, monitoring or any decision about a person.
**Limits**: {_limits(measures, number)}

{_columns(number)}"""


def _limits(measures: bool, number: bool) -> str:
    words = ["training data from one country; it reproduces the labels, with their faults."]
    if measures:
        words += ["A beat rarely shows its RR: heart rate from one is inferred."]
        words += ["PR is learnt from people in whom a P wave was found."]
        words += ["The others get a PR, too, which means nothing: `rests_on_absent` of `wb.predict` marks it."]
    if number:
        words += ["Numbers shrink towards the mean (see `slope`)."]
    words += ["PTB-XL's recordings count as people here (21,799 are of 18,869), so that intervals are a little too"]
    words += ["narrow; 233 of them have no age, sex or statement in the table used."]
    return " ".join(words)


def _columns(number: bool) -> str:
    """What the columns of the tables are."""
    interval = "with its 95 % interval over people (LUDB) or recordings (PTB-XL), `low` to `high`"
    if number:
        return (
            f"`score` is the mean absolute error {interval}; `constant` that of always giving the median, `skill` the "
            "share of it that is removed; `limit_low` and `limit_high` the Bland-Altman limits."
        )
    return (
        f"`score` is the share of people classified correctly {interval}; `constant` that of always giving the more "
        "frequent answer; `auc` the area under the ROC curve."
    )


def _on_ludb(model: nn.Module, spec: ModelSpec) -> list[str]:
    ludb = open_cohort("ludb", rhythm=spec.input == "rhythm")
    if not any(t in ludb for t in spec.targets):
        return []
    predicted = predict(model, ludb)
    sections = ["## On LUDB, from which no network learnt", f"{CREDITS['ludb']}."]
    sections += ["Against the workbench's measurements:"] * ("qt" in spec.targets) + [
        _scores(predicted, ludb),
        *_calibration(predicted, ludb),
    ]
    if any(f"{t}_manual" in ludb for t in spec.targets):
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


def main() -> None:
    ptbxl = open_cohort("ptbxl")
    test = ptbxl.isel(record=ptbxl["fold"].values == 10).load().assign_attrs(source="fold 10 of PTB-XL")
    test = with_statements(with_statements(test, "superclass"), "diagnosis")
    ludb = open_cohort("ludb", rhythm=True).assign_attrs(source="LUDB")
    skill = {}
    for name in shipped():
        model = load_model(name)
        skill[name] = spec_of(with_skill(model, ludb if spec_of(model).input == "rhythm" else test)).skill
        print(name, {t: v["value"] for t, v in skill[name].items()}, flush=True)
    SKILL.write_text(json.dumps(skill, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
