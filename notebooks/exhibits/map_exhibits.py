"""Exhibits of maps: where networks look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
import xarray as xr
from exhibits.beat_exhibits import Shown, about
from torch import nn

from ecgwb import figures
from ecgwb.attention.alignment import align, template_of
from ecgwb.attention.attribution import attribute
from ecgwb.attention.gradcam import departure, ecgradcam
from ecgwb.attention.maps import cohort_map as mean_map
from ecgwb.attention.maps import segment_table
from ecgwb.models.spec import spec_of

METHODS: dict[str, dict[str, Any]] = {  # ways that resolve leads, and how each is asked
    "saliency": {}, "smoothgrad": {}, "input_x_gradient": {}, "integrated_gradients": {"baseline": "mean", "steps": 32},
    "deeplift": {"baseline": "mean"}, "guided_gradcam": {}, "occlusion": {},
}  # fmt: skip


class Maps(NamedTuple):
    """A cohort's maps of one network, made once for several exhibits."""

    cohort: xr.Dataset
    name: str  # of the network
    maps: xr.DataArray
    aligned: xr.DataArray
    mean: xr.Dataset
    shares: pd.DataFrame
    common_beat: xr.DataArray


def maps_of_cohort(model: nn.Module, cohort: xr.Dataset, name: str = "the network") -> Maps:
    """Signed maps of all targets, aligned, averaged, and their shares per segment."""
    maps = ecgradcam(model, cohort)
    aligned = align(maps, cohort)
    common_beat = align(cohort["beat"], cohort).median("record")
    return Maps(cohort, name, maps, aligned, mean_map(aligned), segment_table(aligned), common_beat)


def cohort_map(of: Maps, target: str) -> Shown:
    """One target's cohort map."""
    _need_target(of.maps, target)
    fig, axes = plt.subplots(2, 1, figsize=(figures.TWO_COLUMNS, 3.8), sharex=True)
    lead, mean = figures.LEAD_SHOWN.get(target, "V5"), of.mean.sel(target=target)
    figures.plot_cohort_map(mean, of.common_beat.sel(lead=lead), axes, of.aligned.sel(target=target))
    name = figures.NAMES.get(target, target)
    axes[0].set_title(f"{name} by {of.name}, on lead {lead} of the common beat", pad=14)
    field = figures.SAYS.format(field=of.maps.attrs["receptive_field_ms"])
    return Shown(
        f"Cohort map: {name}",
        f"{about(of.cohort)} {figures.describe_map(of.shares, of.mean, target)} {field}",
        fig,
        mean[["mean", "low", "high", "n"]].to_dataframe()[["mean", "low", "high", "n"]],
    )


def shares(of: Sequence[Maps]) -> Shown:
    """Where people's maps differ, per segment."""
    table = pd.concat([m.shares for m in of])
    n = table.index.get_level_values("target").nunique()
    fig, ax = plt.subplots(figsize=(figures.TWO_COLUMNS, 0.25 * n + 0.8))
    figures.plot_shares(table, ax)
    return Shown(
        "Where people's maps differ",
        "Share of |map - cohort mean| per segment of the common beat; the last row is the segment's share of the "
        "beat's length.",
        fig,
        table,
    )


def variants(model: nn.Module, cohort: xr.Dataset) -> Shown:
    """Whether a variant tells one target of a network from another."""
    names = list(spec_of(model).targets)
    if len(names) < 2:
        raise ValueError("this exhibit compares the targets of one network; this one has a single target")
    fig, axes = plt.subplots(1, 3, figsize=(figures.TWO_COLUMNS, 2.2), sharex=True)
    curves = {}
    for variant, ax in zip(("published", "guided", "gradcam"), axes, strict=True):
        mean = align(ecgradcam(model, cohort, variant=variant), cohort).mean("record")
        for target in names:
            curve = mean.sel(target=target)
            curves[variant, target] = curve.to_series()
            scaled = (curve - curve.min()) / (curve.max() - curve.min())
            ax.plot(curve["phase"], scaled, label=figures.NAMES.get(target, target), lw=0.9)
        ax.set(title=variant, xlabel="ms on the common beat", yticks=[0, 1])
    likeness = pd.DataFrame(curves).T.groupby(level=0).apply(lambda g: g.T.corr().values.min())
    if likeness["published"] > 0.999:
        text = f"all {len(names)}\ncoincide"
        axes[0].text(0.98, 0.95, text, transform=axes[0].transAxes, ha="right", va="top", fontsize=7)
    axes[0].set_ylabel("mean map, scaled to 0..1")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    return Shown(
        "Three variants of ECGradCAM",
        f"Mean maps of {len(names)} targets of one network. Least correlation between two targets' mean maps: "
        + ", ".join(f"{v} {likeness[v]:.2f}" for v in ("published", "guided", "gradcam")),
        fig,
        pd.DataFrame(curves),
    )


def why_longer(of: Maps, target: str = "qt") -> Shown:
    """Why the largest prediction among people with P waves is so large."""
    _need_target(of.maps, target)
    away = departure(of.maps).sel(target=target)
    sinus = of.cohort["fiducial"].sel(landmark="P_on").notnull().values
    who = str(away[sinus].mean("time").idxmax("record").values)
    by_person, usual = float(away.mean("time").sel(record=who)), float(away["bias"])
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(figures.TWO_COLUMNS, 3.4), sharex=True)
    lead, marks = figures.LEAD_SHOWN.get(target, "V5"), template_of(of.cohort)
    own = align(of.cohort["beat"].sel(record=[who]), of.cohort, marks).sel(record=who, lead=lead)
    figures.plot_beat(of.common_beat.sel(lead=lead), marks, top, color="0.6", label=f"common beat, {lead}")
    figures.plot_beat(own, None, top, label=f"record {who}, on the common beat")
    top.legend(loc="upper left")
    top.set_xlabel("")
    curve = departure(of.aligned).sel(target=target, record=who)
    unit = str(of.maps["unit"].sel(target=target).values) or "no unit"
    bottom.plot(curve["phase"], curve)
    bottom.axhline(0, color="0.5", lw=0.5)
    bottom.set(xlabel="ms on the common beat", ylabel=f"map less the cohort's\nmean map ({unit})")
    figures.mark_waves(bottom, marks)
    name = figures.NAMES.get(target, target)
    return Shown(
        f"Why one person's {name} is predicted high",
        f"The highest prediction among people with P waves, {usual + by_person:.0f} {unit} against a mean of "
        f"{usual:.0f} {unit}. Below: where that person's map differs from the cohort's mean map. Each position sees "
        f"{of.maps.attrs['receptive_field_ms']:.0f} ms of the ECG.",
        fig,
        curve.to_series().rename("departure").to_frame(),
    )


def leads(model: nn.Module, cohort: xr.Dataset, target: str = "qt") -> Shown:
    """One target by seven methods that resolve leads."""
    by_lead = {m: align(attribute(model, cohort, m, target, **how), cohort) for m, how in METHODS.items()}
    fig, axes = plt.subplots(4, 2, figsize=(figures.TWO_COLUMNS, 7.4), sharex=True)
    for (m, values), ax in zip(by_lead.items(), axes.flat, strict=False):
        figures.plot_lead_map(values.isel(target=0).mean("record", keep_attrs=True), ax)
        ax.set_title(m.replace("_", " "), pad=3)
    common_beat = align(cohort["beat"], cohort).median("record")
    figures.plot_beat(common_beat.sel(lead="V5"), template_of(cohort), axes.flat[-1])
    axes.flat[-1].set_title("V5 of the common beat", pad=12)
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    differs = {m: abs(departure(v)).sum(["target", "record", "phase"]).to_series() for m, v in by_lead.items()}
    table = pd.DataFrame({m: v / v.sum() for m, v in differs.items()})
    return Shown(
        f"{figures.NAMES.get(target, target)} by seven methods that resolve leads",
        "Mean maps over people, each on its own scale. Lead in which people's maps differ most: "
        + ", ".join(f"{str(m).replace('_', ' ')} {v.idxmax()} ({100 * v.max():.0f} %)" for m, v in table.items())
        + f"; an even map would give {100 / len(table):.0f} % a lead.",
        fig,
        table,
    )


def _need_target(maps: xr.DataArray, target: str) -> None:
    known = [str(t) for t in maps["target"].values]
    if target not in known:
        raise ValueError(f"this network has no target {target!r}; it predicts {', '.join(known)}")
