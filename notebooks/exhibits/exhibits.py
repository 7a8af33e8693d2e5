"""Every figure and table of the paper by its name, as ``python -m ecgwb figure NAME`` makes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import matplotlib.pyplot as plt
import xarray as xr
from exhibits import beat_exhibits, discovery_exhibits, map_exhibits, network_exhibits
from exhibits.beat_exhibits import Shown
from studies.sex_table import FOLDER, sex_table
from torch import nn

from ecgwb import figures
from ecgwb.cohorts.cohort import open_cohort
from ecgwb.models.spec import load_model, spec_of

SEX_SEEDS = ("compact-sex", *(f"compact-sex-seed{k}" for k in range(1, 5)))


class Asked:
    """What an exhibit is to show; cohort and networks are opened when they are first needed.

    Parameters
    ----------
    target : str
        One of ``wb.TARGETS``, or "male".
    cohort, model : str
        As `open_cohort` and `load_model` take them. Without a model, the shipped one that predicts the target.
    record : str
    """

    def __init__(self, target: str = "qt", cohort: str = "ludb", model: str | None = None, record: str = "2") -> None:
        self.target, self.record, self._cohort, self._model = target, record, cohort, model
        self.other_people, self.other_model = cohort != "ludb", model is not None

    @cached_property
    def cohort(self) -> xr.Dataset:
        return open_cohort(self._cohort)

    @cached_property
    def model(self) -> nn.Module:
        return load_model(self.name)

    @property
    def name(self) -> str:
        return self._model or ("compact-sex" if self.target == "male" else "compact-measures")

    @property
    def models(self) -> list[nn.Module]:
        """The network asked for, or both shipped ones, where an exhibit shows all targets."""
        return [self.model] if self._model else [load_model(n) for n in ("compact-measures", "compact-sex")]

    @cached_property
    def maps(self) -> map_exhibits.Maps:
        return map_exhibits.maps_of_cohort(self.model, self.cohort, self.name)

    @property
    def others(self) -> list[nn.Module]:
        """Networks trained alike but for chance."""
        return [load_model(n) for n in SEX_SEEDS[1:]] if self.name == "compact-sex" else []


def sex() -> Shown:
    """The sex table, with features from attention where ``make sex-table`` has been run."""
    file = FOLDER / "sex-campaign.json"
    return network_exhibits.sex_exhibit(sex_table(json.loads(file.read_text()) if file.is_file() else None)[0])


def _doses(a: Asked) -> Shown:
    return network_exhibits.dose_response_matrix(network_exhibits.doses_of(a.models, a.cohort), a.cohort)


def _waves(a: Asked) -> Shown:
    return network_exhibits.map_against_effect(network_exhibits.waves_of(a.models, a.cohort), a.cohort)


def _effects(a: Asked) -> Shown:
    doses, waves = network_exhibits.doses_of(a.models, a.cohort), network_exhibits.waves_of(a.models, a.cohort)
    return network_exhibits.effects(doses, waves, a.cohort)


EXHIBITS: dict[str, Callable[[Asked], Shown]] = {
    "effects": _effects,
    "dose_response": _doses,
    "map_against_effect": _waves,
    "sex_table": lambda a: sex(),
    "discovery_bench": lambda a: discovery_exhibits.discovery_bench(),
    "beat": lambda a: beat_exhibits.beat(a.cohort, a.record),
    "landmarks": lambda a: beat_exhibits.landmarks(a.cohort),
    "intervals": lambda a: beat_exhibits.intervals(a.cohort),
    "mean_beats": lambda a: beat_exhibits.mean_beats(a.cohort),
    "accuracy": lambda a: network_exhibits.accuracy(a.models, a.cohort),
    "bland_altman": lambda a: network_exhibits.bland_altman(a.model, a.cohort),
    "accuracy_by_group": lambda a: network_exhibits.by_group(a.model, a.cohort),
    "receptive_field": lambda a: network_exhibits.receptive_field(a.model),
    "networks": lambda a: network_exhibits.side_by_side(
        {n: load_model(n) for n in ("compact-measures", "kanres-measures")}, a.cohort
    ),
    "sex_seeds": lambda a: network_exhibits.sex_seeds(SEX_SEEDS),
    "cohort_map": lambda a: map_exhibits.cohort_map(a.maps, a.target),
    "shares": lambda a: map_exhibits.shares([map_exhibits.maps_of_cohort(m, a.cohort) for m in a.models]),
    "variants": lambda a: map_exhibits.variants(a.model, a.cohort),
    "why_longer": lambda a: map_exhibits.why_longer(a.maps, a.target),
    "leads": lambda a: map_exhibits.leads(a.model, a.cohort, a.target),
    "blanked_beats": lambda a: beat_exhibits.blanked_beats(a.cohort, a.record),
    "blanking": lambda a: network_exhibits.blanking(a.models, a.cohort),
    "sex": lambda a: network_exhibits.sex_models(),
    "changed_beats": lambda a: beat_exhibits.changed_beats(a.cohort, a.record),
    "trust": lambda a: network_exhibits.trust(a.model, a.cohort, a.others),
}


def listed() -> str:
    """Names of all exhibits, a line each."""
    return "\n".join(EXHIBITS)


def make_figure(name: str, asked: Asked, out: str | Path | None = None) -> tuple[Path, Shown]:
    """One exhibit alone: its figure as PDF (or another kind of file, by its ending), its numbers as CSV beside it.

    Parameters
    ----------
    name : str
        One of `EXHIBITS`.
    out : path, optional
        ``NAME-TARGET.pdf`` by default.

    Returns
    -------
    Path of the figure, and what is shown.

    Raises
    ------
    ValueError
        For an unknown name, target, record or kind of file.
    """
    if name not in EXHIBITS:
        raise ValueError(f"no figure {name!r}; expected one of {', '.join(EXHIBITS)}")
    file = Path(out) if out else Path(f"{name}-{asked.target}.pdf" if name in _BY_TARGET else f"{name}.pdf")
    kinds = plt.figure().canvas.get_supported_filetypes()
    plt.close()
    if file.suffix[1:].lower() not in kinds:
        raise ValueError(f"{file} ends in {file.suffix!r}; expected one of {', '.join(f'.{k}' for k in kinds)}")
    if name in _BY_TARGET and asked.target not in (known := spec_of(asked.model).targets):
        raise ValueError(f"{asked.name} does not predict {asked.target!r}; expected one of {', '.join(known)}")
    if name in _BY_RECORD and asked.record not in asked.cohort["record"].values.astype(str):
        raise ValueError(f"no record {asked.record!r} in this cohort; its records are {_some(asked.cohort)}")
    if asked.other_model and name in _WITHOUT_MODEL:
        raise ValueError(f"the figure {name!r} shows no network, or the shipped ones; leave --model out")
    if asked.other_people and name in _WITHOUT_COHORT:
        raise ValueError(f"the figure {name!r} shows the cohorts it was made for; leave --cohort out")
    with plt.style.context(figures.STYLE):
        shown = EXHIBITS[name](asked)
        file.parent.mkdir(parents=True, exist_ok=True)
        # No creation date, so that the same inputs give the same file.
        dated = {"pdf": "CreationDate", "svg": "Date"}.get(file.suffix[1:].lower())
        shown.figure.savefig(file, metadata={dated: None} if dated else None)
    plt.close(shown.figure)
    shown.table.to_csv(file.with_suffix(".csv"), float_format="%.6g", lineterminator="\n")
    return file, shown


_BY_TARGET = ("cohort_map", "why_longer", "leads")
_WITHOUT_MODEL = (  # they show none, or the shipped ones
    "sex_table", "discovery_bench", "beat", "landmarks", "intervals", "mean_beats", "networks", "sex_seeds",
    "blanked_beats", "sex", "changed_beats",
)  # fmt: skip
_WITHOUT_COHORT = ("sex_table", "discovery_bench", "sex_seeds", "sex", "receptive_field")
_BY_RECORD = ("beat", "blanked_beats", "changed_beats")


def _some(cohort: xr.Dataset) -> str:
    ids = [str(r) for r in cohort["record"].values]
    return ", ".join(ids[:5]) + (f", ... {ids[-1]}" if len(ids) > 5 else "")
