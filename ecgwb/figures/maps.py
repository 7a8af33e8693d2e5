"""Figures of maps: a cohort's map on the common beat, maps that resolve leads, and words beside them.

Each function draws on the Axes it is given, or on the current ones, and returns them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ..attention.alignment import PARTS, align, template_of
from ..attention.maps import MEASURED_IN, segments
from ..attention.maps import cohort_map as over_people
from ..cohorts.guards import check, kind_of
from ..cohorts.people import in_words
from ..models.spec import NO_SKILL
from .beats import mark_waves, plot_beat
from .style import LEAD_SHOWN, NAMES, TWO_COLUMNS, method_in_words, styled


@styled()
def cohort_map(
    aligned: xr.DataArray,
    cohort: xr.Dataset,
    target: str | None = None,
    *,
    by: str | None = None,
    lead: str | None = None,
    below: xr.DataArray | None = None,
    width: float = TWO_COLUMNS,
) -> Figure:
    """A whole cohort map in one call: the common beat in the map's colours, and the mean map with its band.

    Parameters
    ----------
    aligned : DataArray (record, [target,] phase)
        Maps on the common beat, from `ecgwb.align`.
    cohort : Dataset
        The people of the maps; others in it are left out.
    target : str, optional
        The first target of the maps by default.
    by : str, optional
        A column of the records, such as "sex": a curve a group.
    lead : str, optional
        The lead of the common beat that is drawn; the one where the target is seen best by default.
    below : DataArray (record, [target,] phase), optional
        Maps of another kind, such as ECGradCAM, drawn as a curve in a third panel.
    width : float, inches

    Returns
    -------
    Figure
        Its title has target, lead and the number of people.

    Raises
    ------
    ValueError
        When the maps are not aligned, have no such target, or are of people whom the cohort lacks.
    """
    cohort = check(cohort, all_leads=False)
    maps = {"map": aligned} | ({} if below is None else {"below": below})
    for values in maps.values():
        if not isinstance(values, xr.DataArray):
            raise TypeError(f"the maps are {kind_of(values)}; expected what wb.align(maps, cohort) gives")
    target = target or str(np.atleast_1d(aligned["target"].values)[0]) if "target" in aligned.coords else target
    chosen = {kind: _of_target(values, target) for kind, values in maps.items()}
    own = chosen["map"]
    lacking = np.setdiff1d(own["record"].values, cohort["record"].values)
    if len(lacking):
        raise ValueError(f"the maps are of {len(lacking)} records that the cohort lacks, such as {lacking[0]}")
    people = cohort.sel(record=own["record"].values[own.notnull().any("phase").values])
    lead = lead or LEAD_SHOWN.get(str(target), "V5")
    if lead not in people["lead"].values:
        has = ", ".join(map(str, people["lead"].values))
        raise ValueError(f"the cohort has no lead {lead!r} to draw the map on; lead= takes one of {has}")
    beat = align(people["beat"].sel(lead=[lead]), people, template_of(own)).median("record").isel(lead=0)
    wide = width > 5
    n, ratios = 1 + len(maps), (3, 3, 2)[: 1 + len(maps)]
    figure, axes = plt.subplots(
        n, 1, figsize=(width, 1.0 * n + (1.0 if wide else 2.0)), sharex=True, height_ratios=ratios, layout="constrained"
    )
    means = {kind: over_people(values, by=by) for kind, values in chosen.items()}
    plot_cohort_map(means["map"], beat, (axes[0], axes[1]), own)
    name = NAMES.get(str(target), str(target or "map"))
    words = f"{name} on lead {lead} of the common beat", in_words(people)
    axes[0].set_title(("; " if wide else "\n").join(words), loc="left", pad=14)
    if below is not None:
        axes[1].set_xlabel("")
        _draw_curve(means["below"], axes[2], chosen["below"])
        method = str(below.attrs.get("method", "another map")).split(",")[0]
        axes[2].set_title(method_in_words(method), loc="left", pad=12)
    axes[1].get_legend().remove()
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4 if wide else 2)
    figure.draw_without_rendering()  # ticks, too, are made in this style
    return figure


def _of_target(aligned: xr.DataArray, target: str | None) -> xr.DataArray:
    """The maps (record, phase) of one target."""
    if not {"record", "phase"} <= set(aligned.dims):
        have = ", ".join(map(str, aligned.dims))
        raise ValueError(
            f"cohort_map draws (record, phase) or (record, target, phase); these maps have {have}; "
            "wb.align(maps, cohort) warps them onto the common beat"
        )
    if "target" not in aligned.coords:
        return aligned
    known = [str(t) for t in np.atleast_1d(aligned["target"].values)]
    if target not in known:
        raise ValueError(f"the maps have no target {target!r}; expected one of {', '.join(known)}")
    return aligned.sel(target=target) if "target" in aligned.dims else aligned


def plot_cohort_map(
    cmap: xr.Dataset, beat: xr.DataArray, axes: tuple[Axes, Axes], aligned: xr.DataArray | None = None
) -> tuple[Axes, Axes]:
    """One target's cohort map: the common beat coloured by the map, and the map as a curve with its band.

    Parameters
    ----------
    cmap : Dataset (phase,) or (group, phase)
        From `cohort_map`, one target selected. With groups, from ``by=``, each has its curve and band, and the colours
        are the difference of two groups (the second minus the first), or the mean of more. An edit map's are the SD
        between people: it compares each with the mean beat, so that the mean of all says little of what is read.
    beat : DataArray (phase,)
        One lead of the common beat, in µV.
    axes : two Axes, above each other
    aligned : DataArray (record, phase), optional
        The maps behind `cmap`: adds how much they differ between people (SD), which is what makes one person's value
        higher than another's.

    Raises
    ------
    ValueError
        When no target has been selected.
    """
    _check_one_target(cmap, aligned)
    top, bottom = axes
    shown = per_10_ms(cmap)
    phase, unit = shown["phase"].values, map_unit(shown)
    plot_beat(beat, ax=top)
    say_skill(top, cmap)
    colours, words = _colours_of(_groups_of(shown), str(cmap.attrs.get("method", "")))
    image = paint_map(top, phase, colours, float(np.nanmax(np.abs(colours))) or 1.0)
    bar = top.figure.colorbar(image, ax=top, label=f"{words}\n({unit})", pad=0.01, aspect=12)
    if (colours >= 0).all():
        bar.ax.set_ylim(bottom=0)
    _draw_curve(cmap, bottom, aligned)  # what is to be said of its skill stands above
    bottom.set(xlim=top.get_xlim())
    # Beside each other where the figure is wide enough for it.
    wide = bottom.get_figure(root=True).get_figwidth() > 5  # type: ignore[union-attr]
    bottom.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=3 if wide else 1)
    top.set_xlabel("")
    mark_waves(top, template_of(cmap), shades=False)  # the map's colours fill this panel
    return top, bottom


def plot_curve(cmap: xr.Dataset, ax: Axes | None = None, aligned: xr.DataArray | None = None) -> Axes:
    """One target's cohort map as a curve with its band, a curve a group.

    Parameters
    ----------
    cmap : Dataset (phase,) or (group, phase)
        As in `plot_cohort_map`.
    ax : Axes, optional
    aligned : DataArray (record, phase), optional
        The maps behind `cmap`: adds how much they differ between people (SD).
    """
    _check_one_target(cmap, aligned)
    ax = _draw_curve(cmap, ax or plt.gca(), aligned)
    say_skill(ax, cmap)
    return ax


def _draw_curve(cmap: xr.Dataset, ax: Axes, aligned: xr.DataArray | None) -> Axes:
    cmap, aligned = per_10_ms(cmap), None if aligned is None else per_10_ms(aligned)
    phase = cmap["phase"].values
    for k, (name, group) in enumerate(_groups_of(cmap).items()):
        band = f"{100 * cmap.attrs['ci']:.0f} % band" if k == 0 else None
        colour = f"C{k if k == 0 else k + 1}"  # C1 is the spread's
        ax.fill_between(phase, group["low"], group["high"], color=colour, alpha=0.3, lw=0, label=band)
        ax.plot(phase, group["mean"], color=colour, label=name)
    if aligned is not None:
        spread = aligned.std("record").values
        ax.plot(phase, spread, color="C1", lw=1, ls="--", label="SD between people")
    ax.axhline(0, color="0.5", lw=0.5)
    ax.set(xlabel="ms on the common beat", ylabel=f"contribution\n({map_unit(cmap)})")
    mark_waves(ax, template_of(cmap))
    return ax


def _check_one_target(cmap: Any, aligned: xr.DataArray | None) -> None:
    """Refuses what is no cohort map of one target, or maps behind it that are of several."""
    if not isinstance(cmap, xr.Dataset) or "mean" not in cmap or "phase" not in cmap["mean"].dims:
        raise ValueError("expected what wb.cohort_map gives, one target selected, as the map to draw")
    if "target" in cmap["mean"].dims:
        raise ValueError("one target's map is drawn; select it with cohort_map.sel(target=...)")
    if aligned is not None and set(aligned.dims) != {"record", "phase"}:
        raise ValueError(
            f"aligned has {', '.join(map(str, aligned.dims))}; expected record and phase: aligned.sel(target=...)"
        )
    if not np.isfinite(cmap["mean"].values).any():
        raise ValueError("the map is NaN throughout, so there is nothing to draw; wb.excluded lists what was left out")


def _groups_of(cmap: xr.Dataset) -> dict[str, xr.Dataset]:
    """A cohort map by group, or the one of everybody."""
    by = next((str(d) for d in cmap["mean"].dims if d != "phase"), None)
    if by is None:
        return {"mean over people": cmap}
    return {str(g): cmap.sel({by: g}) for g in cmap[by].values}


def _colours_of(groups: Mapping[str, xr.Dataset], method: str) -> tuple[np.ndarray, str]:
    """What the colours of a cohort map show, and its name.

    An edit map compares people with their mean beat, so that what a network reads shows in how much they differ. Of
    ECGradCAM, whose zero says nothing, the mean is taken off.
    """
    curves = [group["mean"].values for group in groups.values()]
    if len(groups) == 2:
        first, second = groups
        return curves[1] - curves[0], f"{second} minus {first}"
    mean = np.mean(curves, axis=0)
    name = "map" if len(groups) == 1 else "mean of the groups"
    if len(groups) == 1 and method.startswith("edit map"):
        return np.asarray(next(iter(groups.values()))["sd"].values), "SD between people"
    if method.startswith("ecgradcam"):
        return mean - np.nanmean(mean), f"{name} minus its mean" if len(groups) == 1 else f"{name},\nminus its mean"
    return mean, name


def plot_lead_map(values: xr.DataArray, ax: Axes | None = None, limit: float | None = None) -> Axes:
    """A map that resolves leads, a row per lead: red raises the prediction, blue lowers it.

    Parameters
    ----------
    values : DataArray (lead, phase) or (lead, time)
        From `attribute`, aligned or not; one target, one record or a mean over records. Lines mark QRS_on, J and the
        ends of P and T where the map is aligned.
    limit : float, optional
        Where the colours end; at the 99.5th percentile of the absolute values by default, as single samples may stand
        far out. In the unit shown, which for contributions is per 10 ms.

    Raises
    ------
    ValueError
        When the map has other dimensions.
    """
    if values.ndim != 2 or values.dims[0] != "lead":
        have = ", ".join(map(str, values.dims))
        raise ValueError(f"plot_lead_map takes (lead, phase) or (lead, time); this has {have}; select a target first")
    ax = ax or plt.gca()
    values, n = per_10_ms(values), values.sizes["lead"]
    limit = limit or float(np.nanquantile(np.abs(values), 0.995)) or 1.0
    x = values[values.dims[1]].values
    image = paint_map(ax, x, values.values, limit, (n - 0.5, -0.5), alpha=1)
    aligned = "template" in values.attrs
    if aligned:
        for mark in (
            template_of(values).sel(landmark=["P_on", "P_off", "QRS_on", "J", "T_on", "T_off"]).dropna("landmark")
        ):
            ax.axvline(float(mark), color="0.4", lw=0.4)
    ax.figure.colorbar(image, ax=ax, label=map_unit(values), pad=0.01, aspect=12)
    ax.set(yticks=range(n), yticklabels=values["lead"].values, ylim=(n - 0.5, -0.5))
    ax.set_xlabel("ms on the common beat" if aligned else "ms")
    say_skill(ax, values)
    return ax


def describe_map(shares: pd.DataFrame, cmap: xr.Dataset, target: str) -> str:
    """In words, where a target's map lies beside where the target is measured.

    Parameters
    ----------
    shares : DataFrame
        From `segment_table`.
    cmap : Dataset
        From `cohort_map`.
    target : str

    Returns
    -------
    str
    """
    rows = pd.DataFrame(shares.xs(target, level="target")).sort_values("share", ascending=False)
    percent = 100 * rows[["share", "low", "high", "span"]]
    # Clearly more than an even map would give.
    clear = percent[(percent["low"] > 1.25 * percent["span"]) & (percent.index != "rest")]
    where = [f"{segment} {r['share']:.0f} % ({r['low']:.0f}-{r['high']:.0f})" for segment, r in clear.iterrows()]
    text = (
        f"{NAMES.get(target, target)}: people's maps differ more than a segment's length explains in "
        f"{', '.join(where) or 'no segment in particular'}"
    )
    if target in MEASURED_IN:
        own = percent.loc[list(MEASURED_IN[target])].sum()
        text += (
            f". It is measured in {', '.join(MEASURED_IN[target])}: {own['share']:.0f} % of the differences lie there, "
            f"on {own['span']:.0f} % of the beat's length"
        )
    rest = percent.loc["rest"]
    text += f"; {rest['share']:.0f} % lie outside P to T, on {rest['span']:.0f} % of its length"
    of_edits = str(cmap.attrs.get("method", "")).startswith("edit map")
    curve = cmap["sd" if of_edits else "mean"].sel(target=target)
    highest = int(curve.argmax("phase"))
    segment = next((name for name, inside in segments(cmap).items() if inside[highest]), "rest")
    place = "outside P to T" if segment == "rest" else f"in {segment}"
    what = "People differ most" if of_edits else "The mean map is highest"
    if note := skill_note(curve):
        text = f"{note[0].upper()}{note[1:]}. {text}"
    return f"{text}. {what} at {float(curve['phase'][highest]):+.0f} ms, {place}."


# ---------------------------------------------------------------- colours


def map_unit(values: xr.DataArray | xr.Dataset) -> str:
    """The unit of a map of one target, or "no unit"."""
    unit = values.coords["unit"].values if "unit" in values.coords else values.attrs.get("units", "")
    return str(unit) or "no unit"


def skill_note(values: xr.DataArray | xr.Dataset) -> str:
    """What is to be said beside a map of one target whose network has no skill, or none that is known; else ""."""
    notes = np.unique(values.coords["skill"].values.astype(str)) if "skill" in values.coords else [""]
    return str(max(notes, key=lambda note: (note.startswith(NO_SKILL), len(note))))


def say_skill(ax: Axes, values: xr.DataArray | xr.Dataset) -> None:
    """Write on a picture of a map that its network was not shown to have skill, or in grey that this is not known.

    Parameters
    ----------
    ax : Axes
        In whose upper right corner, above the end of T, it is written.
    values : DataArray or Dataset
        The map; ``skill`` is a coordinate of its target.
    """
    if note := skill_note(values):
        summary, _, numbers = note.partition(": ")
        numbers = numbers.replace(" (", "\n(").replace("; ", ";\n")
        text = f"{summary}:\nthis map may mean nothing\n{numbers}" if numbers else note
        ax.text(0.99, 0.985, text, ha="right", va="top", transform=ax.transAxes, **_letters(note))


def _say_in_margin(figure: Figure, values: xr.DataArray, x: float, y: float, align: str) -> None:
    """The same in a line of a figure's margin."""
    if note := skill_note(values):
        text = f"{NO_SKILL}: this map may mean nothing" if note.startswith(NO_SKILL) else note
        figure.text(x, y, text, ha=align, va="bottom", **_letters(note))


def _letters(note: str) -> dict[str, Any]:
    """Red and framed where no skill was shown, small and grey where it is not known."""
    if not note.startswith(NO_SKILL):
        return {"fontsize": 6, "color": "0.4", "zorder": 10, "gid": "skill"}
    frame = {"facecolor": "white", "alpha": 0.8, "edgecolor": "#b00000", "pad": 1.5}
    return {"fontsize": 6, "color": "#b00000", "fontweight": "bold", "zorder": 10, "gid": "skill", "bbox": frame}


def per_10_ms(values: Any) -> Any:
    """A map whose samples are parts of an effect, as the effect of 10 ms of the beat; other maps as they are.

    Parameters
    ----------
    values : DataArray or Dataset
        From `edit_map` or `attribute`, aligned or averaged, or another map.
    """
    if not str(values.attrs.get("method", "")).startswith(PARTS):
        return values
    time = values["phase" if "phase" in values.dims else "time"].values
    times = 10.0 / float(time[1] - time[0])
    scaled = (
        values.assign({k: values[k] * times for k in ("mean", "low", "high", "sd") if k in values})
        if isinstance(values, xr.Dataset)
        else values * times
    )
    attrs = values.attrs | {"method": "", "units": f"{map_unit(values)} per 10 ms"}
    return scaled.drop_vars("unit", errors="ignore").assign_attrs(attrs)


def map_limit(values: xr.DataArray | None) -> float:
    """Where the colours of a map end: at its largest absolute value; 1 for a map of zeros, or without a map."""
    return 1.0 if values is None else float(np.nanmax(np.abs(values.values))) or 1.0


def paint_map(
    ax: Axes,
    x: np.ndarray,
    values: np.ndarray,
    limit: float,
    between: tuple[float, float] | None = None,
    *,
    alpha: float = 0.75,
) -> AxesImage:
    """A map as colours behind a trace, from -limit (blue) over 0 (white) to limit (red).

    Parameters
    ----------
    x : array (sample,)
        Times of the samples, equally far from each other.
    values : array (sample,) or (row, sample)
    limit : float
    between : two float, optional
        From where to where the colours reach, upwards; all the height of the Axes by default.
    alpha : float
        Opacity.

    Returns
    -------
    AxesImage
    """
    height, half = ax.get_ylim(), (x[1] - x[0]) / 2
    image = ax.imshow(
        np.atleast_2d(values), aspect="auto", extent=(x[0] - half, x[-1] + half, *(between or height)), cmap="RdBu_r",
        vmin=-limit, vmax=limit, alpha=alpha, zorder=-3, interpolation="nearest",
    )  # fmt: skip
    ax.set_ylim(height)
    return image


def colour_bar(figure: Figure, place: tuple[float, float, float, float], limit: float, values: xr.DataArray) -> Axes:
    """A bar of a map's colours with its ``long_name`` and unit, in a fixed place, which is faster than a layout.

    The figure says, too, where the map's network was not shown to have skill.

    Parameters
    ----------
    figure : Figure
    place : four float
        Left, bottom, width and height as fractions of the figure. A bar that is wider than high lies.
    limit : float
        The bar reaches from -limit (blue) over 0 to limit (red).
    values : DataArray
        The map.
    """
    ax = figure.add_axes(place, label="colour bar")
    text = f"{values.attrs.get('long_name', 'map')} ({map_unit(values)})"
    shades, ticks = np.linspace(-1, 1, 101), [-limit, 0, limit]
    labels = [f"{t:+.3g}" if abs(t) < 999.5 else f"{t:+.0f}" for t in ticks[::2]]
    labels.insert(1, "0")
    lies = place[2] > place[3]
    if lies:
        ax.imshow(shades[None], aspect="auto", extent=(-limit, limit, 0, 1), cmap="RdBu_r")
        ax.set(yticks=[], xticks=ticks, xticklabels=labels)
        ax.set_title(text, fontsize=6, fontweight="normal", loc="center", pad=2)
    else:
        ax.imshow(shades[:, None], aspect="auto", extent=(0, 1, -limit, limit), cmap="RdBu_r", origin="lower")
        ax.set(xticks=[], yticks=ticks, yticklabels=labels, ylabel=text)
        ax.yaxis.tick_right()
        ax.yaxis.set_label_position("right")
    ax.tick_params(labelsize=6, length=2, pad=1)
    x, y, align = (place[0] - 0.03, place[1], "right") if lies else (0.012, 0.012, "left")
    _say_in_margin(figure, values, x, y, align)
    return ax
