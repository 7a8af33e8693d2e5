"""The whole way from labels to frozen features, on discovery patients alone: networks, maps, null, proposals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from ..attention.alignment import align, template_of
from ..attention.attribution import attribute
from ..attention.contrasts import map_contrast
from ..cohorts.people import patient_draw
from ..models.prediction import predict
from ..models.spec import load_model, save_model, spec_of
from ..models.training import fit
from .proposals import Proposals, propose_features


@dataclass(frozen=True)
class Recipe:
    """How the networks of one discovery are trained.

    Parameters
    ----------
    net : dict
        Name and arguments. The default sees 126 ms around each position: it must look locally, and learns from few.
    epochs : int
    folds : int
        Networks per set of labels, each trained without one part of the discovery patients, whose maps it then gives.
    """

    net: dict[str, Any] = field(default_factory=lambda: {"name": "compact", "width": 32, "dilations": [1, 2]})
    epochs: int = 20
    folds: int = 3


@dataclass(frozen=True)
class Crossed:
    """Networks, each of which answers for the patients that it has not seen."""

    networks: tuple[nn.Module, ...]
    fold: np.ndarray  # (record,) which network has not seen the record's patient

    def said(self, cohort: xr.Dataset) -> np.ndarray:
        """Answers (record,) to these records, edited or not, in the order trained on."""
        out = np.full(cohort.sizes["record"], np.nan)
        for k, network in enumerate(self.networks):
            rows = np.flatnonzero(self.fold == k)
            out[rows] = predict(network, cohort.isel(record=rows))[spec_of(network).targets[0]].values
        return out

    def maps(self, cohort: xr.Dataset, method: str) -> xr.DataArray:
        """Aligned maps by a method of `attribute`, from the mean beat where it takes a baseline; ``network``: whose."""
        template = template_of(cohort)
        parts = []
        for k, network in enumerate(self.networks):
            some = cohort.isel(record=np.flatnonzero(self.fold == k))
            maps = attribute(network, some, method, baseline="mean")
            parts.append(align(maps.isel(target=0, drop=True), some, template))
        whole = xr.concat(parts, dim="record", combine_attrs="override", coords="different", compat="equals")
        back = np.argsort(np.concatenate([np.flatnonzero(self.fold == k) for k in range(len(self.networks))]))
        return whole.isel(record=back).assign_coords(network=("record", self.fold))


def cross_fit(cohort: xr.Dataset, outcome: str, recipe: Recipe, seed: int = 0, folder: Path | None = None) -> Crossed:
    """Train the networks of one set of labels; a killed run goes on where it was, if it has a folder.

    Raises
    ------
    ValueError
        When a patient has two records: one each is expected, or the null would take them for two people.
    """
    patients = cohort["patient"].values.astype(str)
    if len(set(patients)) < len(patients):
        raise ValueError("some patients have two records; keep one each: one_record_each(cohort)")
    fold = np.array([int(patient_draw(p, f"fold {seed}") * recipe.folds) for p in patients])
    networks = []
    for k in range(recipe.folds):
        file = folder / f"fold{k}.safetensors" if folder else None
        if file and file.is_file():
            networks.append(load_model(file))
            continue
        some = cohort.isel(record=np.flatnonzero(fold != k))
        checkpoint = file.with_suffix(".checkpoint") if file else None
        network = fit(
            some, outcome, net=recipe.net, epochs=recipe.epochs, seed=seed, checkpoint=checkpoint, progress=False
        )
        if file and checkpoint:
            tmp = file.with_suffix(".tmp")
            save_model(network, tmp)
            tmp.replace(file)
            checkpoint.unlink()
        networks.append(network)
    return Crossed(tuple(networks), fold)


def contrast_of(crossed: Crossed, cohort: xr.Dataset, outcome: str) -> xr.DataArray:
    """The contrast (phase,) of the networks' maps with the labels they were trained on: of real ones, or of a null."""
    return map_contrast(crossed.maps(cohort, "ecgradcam"), cohort[outcome].values.astype(float))


def discover(
    crossed: Crossed,
    cohort: xr.Dataset,
    outcome: str,
    null: Sequence[xr.DataArray],
    baseline: Sequence[str],
    n: int = 3,
) -> Proposals:
    """Features from the maps: gated by ECGradCAM against its null, placed by DeepLIFT, confirmed by edits."""
    gate = crossed.maps(cohort, "ecgradcam")
    curves = xr.concat(list(null), dim="run", coords="minimal", compat="override", join="exact")
    return propose_features(
        gate, cohort, curves, outcome=outcome, by_lead=lambda: crossed.maps(cohort, "deeplift"), said=crossed.said,
        baseline=baseline, n=n,
    )  # fmt: skip


def permuted(cohort: xr.Dataset, outcome: str, run: int) -> xr.Dataset:
    """The cohort with its outcome dealt out anew among its records."""
    values = np.random.default_rng([run, 20211]).permutation(cohort[outcome].values)
    return cohort.assign({outcome: ("record", values, cohort[outcome].attrs)})


def one_record_each(cohort: xr.Dataset) -> xr.Dataset:
    """Every patient's first record."""
    _, first = np.unique(cohort["patient"].values.astype(str), return_index=True)
    return cohort.isel(record=np.sort(first))


def recipe_key(recipe: Recipe) -> str:
    """Of networks in the cache: the recipe, and the code that plants, augments and trains.

    Not the cohort: after a change to how beats are made, empty the cache's folder ``discovery``.
    """
    digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    for file in [Path(__file__), *sorted((Path(__file__).parents[1] / "models").glob("*.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
