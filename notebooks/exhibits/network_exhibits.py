"""Exhibits of networks that notebooks 05 and 06 show: what is known of sex, and whether networks are to be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import xarray as xr
from exhibits.beat_exhibits import Shown, about
from studies.sex_table import CLASSIC, NETWORK
from torch import nn

from ecgwb import figures
from ecgwb.cohorts.cohort import open_cohort
from ecgwb.cohorts.people import split_patients
from ecgwb.discovery.classic import measure
from ecgwb.discovery.regression import nested_models
from ecgwb.figures import plot_sex_table
from ecgwb.models.prediction import predict
from ecgwb.models.spec import load_model, spec_of
from ecgwb.recordings.record import LEADS
from ecgwb.trust.panel import trust_panel

# ---------------------------------------------------------------- effects


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
        figures.plot_panel(panel),
        panel.table,
    )
