"""Exhibits of networks: how well they predict, what edits do to them, and whether they are to be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from exhibits.beat_exhibits import Shown, about, bland_altman_figure, errors, need, source_of
from studies.sex_table import CLASSIC, NETWORK
from torch import nn

from ecgwb import figures
from ecgwb.cohorts.cohort import open_cohort
from ecgwb.cohorts.measurements import TARGETS
from ecgwb.cohorts.people import split_patients
from ecgwb.discovery.classic import measure
from ecgwb.discovery.regression import nested_models
from ecgwb.edits.effects import blanking_table, dose_response, faithfulness
from ecgwb.figures import plot_dose_response, plot_map_against_effect, plot_sex_table
from ecgwb.models.accuracy import accuracy_table
from ecgwb.models.prediction import predict
from ecgwb.models.spec import load_model, spec_of
from ecgwb.recordings.record import LEADS
from ecgwb.trust.panel import trust_panel


def accuracy(models: Sequence[nn.Module], cohort: xr.Dataset) -> Shown:
    """Predictions against the workbench's measurements."""
    said = [predict(m, cohort) for m in models]
    table: Any = pd.concat([accuracy_table(s, cohort) for s in said])
    numbers = [(str(t), s) for s in said for t in s.data_vars if t in TARGETS]
    fig, axes = plt.subplots(2, 4, figsize=(figures.TWO_COLUMNS, 4))
    for (t, s), ax in zip(numbers, axes.flat, strict=False):
        figures.plot_agreement(s[t].values, cohort[t].values, table.loc[t, "unit"], ax)
        ax.set_title(figures.NAMES[t])
    for ax in axes.flat[len(numbers) :]:
        ax.axis("off")
    rows = table[table["metric"] != "accuracy"]
    caption = f"{about(cohort)} " + "; ".join(
        f"{figures.NAMES[t]}: {r['score']:.1f} {r['unit']} ({r['low']:.1f}-{r['high']:.1f}), slope {r['slope']:.2f}"
        for t, r in rows.iterrows()
    )
    for name, r in table[table["metric"] == "accuracy"].iterrows():
        caption += f"; {figures.NAMES.get(name, name)}: {100 * r['score']:.0f} % right "
        caption += f"({100 * r['low']:.0f}-{100 * r['high']:.0f})"
    return Shown(
        "Predictions against the workbench's measurements",
        caption + ". Numbers shrink towards the mean where the slope is below 1. Heart rate is inferred: the next beat "
        "mostly lies outside the window.",
        fig,
        table,
    )


def bland_altman(model: nn.Module, cohort: xr.Dataset) -> Shown:
    """Predicted intervals against those made by hand."""
    need(cohort, "qt_manual", "intervals made by hand, as LUDB has")
    said = predict(model, cohort)
    table = accuracy_table(said, cohort, "_manual")
    return Shown(
        "Predictions against the cardiologists' intervals",
        f"Network minus marks made by hand on {source_of(cohort)}, with bias and 95 % limits of agreement. "
        f"{errors(table)}",
        bland_altman_figure(said, cohort),
        table,
    )


def by_group(model: nn.Module, cohort: xr.Dataset) -> Shown:
    """Errors by sex, age, heart rate and diagnosis."""
    said = predict(model, cohort)
    table: Any = pd.concat(
        {
            by: accuracy_table(said, cohort, by=by, edges=(60, 86) if by == "hr" else None).rename_axis(
                ["group", "target"]
            )
            for by in ("sex", "age", "hr", "diagnosis")
        },
        names=["by"],
    )
    everyone = accuracy_table(said, cohort)
    n_groups = len(table.index.droplevel("target").unique())
    fig, ax = plt.subplots(figsize=(figures.TWO_COLUMNS, 0.22 * n_groups + 1))
    figures.plot_groups(table, everyone, ax)
    return Shown(
        "Errors by sex, age, heart rate and diagnosis",
        f"Mean absolute error on {source_of(cohort)} in each group (numbers, in the target's unit), coloured by how "
        "many times everyone's error it is. One person may have several diagnoses. Intervals are in the table.",
        fig,
        table,
    )


def receptive_field(model: nn.Module, file: str | Path | None = None) -> Shown:
    """Error against what a position sees; `file` is the table of ``make bench-fields``."""
    places = [Path(file)] if file else [Path("receptive_fields.csv"), Path("notebooks/receptive_fields.csv")]
    found = next((p for p in places if p.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"no {' or '.join(map(str, places))} here; run this in the repository (make bench-fields)"
        )
    table = pd.read_csv(found, index_col="field_ms")
    fig, axes = plt.subplots(2, 4, figsize=(figures.TWO_COLUMNS, 3.2), sharex=True)
    for t, ax in zip(TARGETS, axes.flat, strict=False):
        size = [table[t] - table[f"{t}_low"], table[f"{t}_high"] - table[t]]
        ax.errorbar(table.index, table[t], yerr=size, fmt="o-", ms=3, capsize=2)
        ax.set(title=figures.NAMES[t], ylim=(0, None), xscale="log", xticks=table.index, xticklabels=table.index)
        ax.minorticks_off()
    axes.flat[-1].axis("off")
    fig.supxlabel("receptive field of a position, ms", fontsize=8)
    fig.supylabel("mean absolute error", fontsize=8)
    sees = (spec_of(model).net or {}).get("field", 414)
    return Shown(
        "Error against receptive field",
        f"LUDB, with 95 % intervals over patients. The shipped network sees {sees} ms. "
        + "; ".join(f"{f} ms: QT {r['qt']:.1f} ms, slope {r['slope_qt']:.2f}" for f, r in table.iterrows()),
        fig,
        table,
    )


def sex_seeds(names: Sequence[str]) -> Shown:
    """Sex by networks alike but for chance, on patients each had not seen."""
    ptbxl, ludb = open_cohort("ptbxl500"), open_cohort("ludb")
    rows = {}
    for name in names:
        net = load_model(name)
        for where, said, cohort in (
            ("PTB-XL-500, out of fold", predict(net, ptbxl, out_of_fold=True), ptbxl),
            ("LUDB", predict(net, ludb), ludb),
        ):
            rows[name, where] = accuracy_table(said, cohort).loc["male"]
    table = pd.DataFrame(rows).T.rename_axis(["network", "people"])
    fig, ax = plt.subplots(figsize=(figures.ONE_COLUMN, 2.4))
    for k, (people, r) in enumerate(table.groupby("people", sort=False)):
        y = np.arange(len(r)) + 0.15 * k
        size = [r["auc"] - r["auc_low"], r["auc_high"] - r["auc"]]
        ax.errorbar(r["auc"], y, xerr=size, fmt="os"[k], ms=4, capsize=2, label=people)
    ax.set(yticks=range(len(names)), yticklabels=names, xlabel="AUC for sex, 95 % interval", xlim=(0.5, 1))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    means = table["auc"].astype(float).groupby("people", sort=False).mean()
    return Shown(
        f"Sex, by {len(names)} seeds",
        "AUC with 95 % intervals over patients. Out of fold: each patient by a network that had not seen them. On "
        "average " + "; ".join(f"{who}: {v:.2f}" for who, v in means.items()) + ".",
        fig,
        table,
    )


# ---------------------------------------------------------------- effects


def blanking(models: Sequence[nn.Module], cohort: xr.Dataset) -> Shown:
    """The paper's Table 3."""
    table = pd.concat([blanking_table(m, cohort) for m in models])
    fig, ax = plt.subplots(figsize=(figures.TWO_COLUMNS, 0.4 * len(table) + 0.8))
    figures.plot_blanking(table, ax)
    return Shown(
        "The paper's Table 3: error with P, QRS or T blanked",
        f"{about(cohort)} Mean absolute error against the intact beat's "
        "measurement, for sex the share classified rightly, each with its 95 % interval over patients; colours compare "
        "with the same people's intact beats. A column counts people who have the wave "
        f"(P: {int(table['P_n'].max())}) or room for the sham (as long as T: {int(table['sham_T_n'].max())}), so "
        "that numbers of different columns are of different people: people without P are the harder ones.",
        fig,
        table,
    )


_DOSES = (
    "Change in prediction per unit of change made to the beat, with 95 % intervals over patients, beside the same of "
    "the workbench's own measurement of the edited beats, delineated anew, which is what a perfect network would give. "
    "Colours: relative to the row's largest slope. Framed: the edit a target is to follow."
)
_WAVES = (
    "Correlation over people of what each variant's map gives a wave with what blanking the wave takes from the "
    "prediction, with 95 % intervals; dashed: 0.5, which the check of trust asks of all three waves together."
)


def dose_response_matrix(table: pd.DataFrame, cohort: xr.Dataset) -> Shown:
    """The network's response to known changes beside the measurement's; `table` from `dose_response`."""
    height = 0.42 * table.index.get_level_values("target").nunique() + 0.7
    fig, axes = plt.subplots(1, 2, figsize=(figures.TWO_COLUMNS, height))
    plot_dose_response(table, axes)
    return Shown("Dose and response", f"{about(cohort)} {_DOSES}", fig, table)


def map_against_effect(table: pd.DataFrame, cohort: xr.Dataset) -> Shown:
    """Whether maps say what blanking a wave does; `table` from `faithfulness`."""
    fig, axes = plt.subplots(1, 4, figsize=(figures.TWO_COLUMNS, 2.9))
    plot_map_against_effect(table, axes)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return Shown("Map against effect", f"{about(cohort)} {_WAVES}", fig, table)


def effects(doses: pd.DataFrame, waves: pd.DataFrame, cohort: xr.Dataset) -> Shown:
    """What a network answers to known changes, and under it whether its maps say so."""
    fig = plt.figure(figsize=(figures.TWO_COLUMNS, 6.6))
    parts: Any = fig.subfigures(2, 1, height_ratios=(3.4, 3))
    top, bottom = parts
    plot_dose_response(doses, top.subplots(1, 2))
    axes = bottom.subplots(1, 4)
    plot_map_against_effect(waves, axes)
    bottom.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    table = pd.concat({"dose-response": doses.reset_index(), "map against effect": waves.reset_index()}, names=["part"])
    return Shown(
        "What the networks answer to known changes, and whether their maps say so",
        f"{about(cohort)} Above: {_DOSES[0].lower()}{_DOSES[1:]} Below: {_WAVES[0].lower()}{_WAVES[1:]}",
        fig,
        table.droplevel(1),
    )


def doses_of(models: Sequence[nn.Module], cohort: xr.Dataset) -> pd.DataFrame:
    """`dose_response` of several networks."""
    return pd.concat([dose_response(m, cohort) for m in models])


def waves_of(models: Sequence[nn.Module], cohort: xr.Dataset) -> pd.DataFrame:
    """`faithfulness` of several networks."""
    return pd.concat([faithfulness(m, cohort) for m in models])


def sex_exhibit(table: pd.DataFrame) -> Shown:
    """The paper's case; `table` from `sex_table`."""
    fig, axes = plt.subplots(1, 2, figsize=(figures.TWO_COLUMNS, 0.4 * table.index.get_level_values(0).nunique() + 0.9))
    plot_sex_table(table, axes)
    row: Any = table.loc[(NETWORK, "test")]
    on_test = table.xs("test", level="people")
    absent = [f"{m} ({r['note']})" for m, r in on_test[on_test["auc"].isna()].iterrows()]
    return Shown(
        "Sex: what the network adds to what was known",
        "AUC with 95 % intervals over patients. Every row is a regression fitted on discovery patients of PTB-XL-500 "
        "and frozen; their own figures (hollow) count for nothing. The network, on test patients: AUC "
        f"{row['auc']:.2f} ({row['low']:.2f}-{row['high']:.2f}), {row['beyond']:+.2f} ({row['beyond_low']:+.2f} to "
        f"{row['beyond_high']:+.2f}) against the row '{CLASSIC}'. The paper, on 15 times the people: QRS duration "
        "0.72, with R and S 0.80, network 0.96." + (f" Not made: {'; '.join(absent)}." if absent else ""),
        fig,
        table,
    )


def sex_models(network: str = "compact-sex") -> Shown:
    """The paper's own three rows: QRS duration, with R and S, and the network, in nested regressions."""
    ptbxl, ludb = open_cohort("ptbxl500"), open_cohort("ludb")
    discovery, test = split_patients(ptbxl)
    net = load_model(network)

    def columns(cohort: xr.Dataset) -> pd.DataFrame:
        table = measure(cohort)
        table["network"] = predict(net, cohort)["male"].values
        return table.assign(male=cohort["male"].values, patient=cohort["patient"].values)

    found, held_out, replication = (columns(c) for c in (discovery, test, ludb))
    shape = [f"{m}_{lead}" for m in ("r_uv", "s_uv", "r_time_ms", "s_time_ms") for lead in LEADS]
    rows = {"QRS duration": ["qrs_ms"], "+ R and S: amplitudes, timing": ["qrs_ms", *shape], "network": ["network"]}
    table = nested_models(rows, found, {"test": held_out, "LUDB": replication})
    fig, axes = plt.subplots(1, 2, figsize=(figures.TWO_COLUMNS, 2.6), width_ratios=[3, 2])
    figures.plot_forest(table, axes[0])
    scores = {"network": replication["network"].to_numpy(), "QRS duration": replication["qrs_ms"].to_numpy()}
    figures.plot_roc(scores, ludb["male"].values, axes[1])
    axes[1].set_title("LUDB")

    def told(people: str, more: bool) -> str:
        return "; ".join(
            f"{m} AUC {r['auc']:.2f} ({r['low']:.2f}-{r['high']:.2f})"
            + (f", accuracy {100 * r['accuracy']:.0f} %" if more else "")
            for m, r in table.xs(people, level="people").iterrows()
        )

    return Shown(
        "Sex: classic measurements and the network",
        "Logistic regressions fitted on discovery patients and frozen; 95 % intervals over patients. Discovery figures "
        f"are those of the people fitted on and count for nothing. On test patients: {told('test', True)}. On LUDB: "
        f"{told('LUDB', False)}. Each row stands alone and counts every recording; those of the sex table start from "
        "age and heart rate and count a patient once, so their figures differ. The paper, on 15 times the people: QRS "
        "alone 0.72, with R and S 0.80, network 0.96.",
        fig,
        table,
    )


def trust(model: nn.Module, cohort: xr.Dataset, others: Sequence[nn.Module] = (), panel: Any = None) -> Shown:
    """Every check of a network and its maps; `panel` from `trust_panel`, where it is at hand."""
    panel = panel or trust_panel(model, cohort, others)
    names = " and ".join(figures.NAMES.get(t, t) for t in spec_of(model).targets[:1])
    many = len(spec_of(model).targets) > 1
    return Shown(
        "Is the measuring network to be believed, and are its maps?"
        if many
        else f"Is the network for {names} to be believed, and are its maps?",
        f"{about(cohort)} {panel.verdict} Dose-response: change in prediction per unit of each edit, in brackets that "
        "of the workbench's own measurement of the edited beats; colours are relative to each row's largest. Dashed: "
        "what a check asks for.",
        panel.plot(),
        panel.table,
    )


def side_by_side(models: Mapping[str, nn.Module], cohort: xr.Dataset) -> Shown:
    """Errors of several networks for the same targets, by name."""
    table = pd.concat({k: accuracy_table(predict(m, cohort), cohort) for k, m in models.items()}, names=["network"])
    targets = list(dict.fromkeys(table.index.get_level_values("target")))
    fig, ax = plt.subplots(figsize=(figures.ONE_COLUMN, 0.3 * len(targets) + 0.9))
    for k, (name, r) in enumerate(table.groupby(level="network", sort=False)):
        share = r.droplevel("network").loc[targets]
        share = share[["score", "low", "high"]].div(share["constant"], axis=0)
        away = [share["score"] - share["low"], share["high"] - share["score"]]
        ax.errorbar(share["score"], np.arange(len(targets)) + 0.2 * k, xerr=away, fmt="o", ms=4, capsize=2, label=name)
    ax.set(yticks=range(len(targets)), yticklabels=[figures.NAMES[t] for t in targets], xlim=(0, None))
    ax.set_xlabel("mean absolute error / that of a constant")
    ax.invert_yaxis()
    ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    each = [f"{figures.NAMES[t]} " + ", ".join(f"{v:.1f}" for v in table.xs(t, level=1)["score"]) for t in targets]
    return Shown(
        "Networks side by side",
        f"{source_of(cohort)}: mean absolute error with 95 % intervals over patients, as a share of the error of "
        f"always saying the median. {', '.join(models)}, in their units: {'; '.join(each)}.",
        fig,
        table,
    )
