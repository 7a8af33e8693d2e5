"""Networks that have not seen the patient: trained in folds on discovery patients, with their predictions and maps.

The same is done with permuted labels: contrasts of those maps are the null of the real ones' in `propose_features`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from ..attention.alignment import align, template_of
from ..attention.attribution import attribute
from ..cohorts.cache import COHORT, content_key
from ..cohorts.guards import check
from ..cohorts.people import need_one_record_each, patient_draw, patients_of
from ..models.checkpoints import load_model, save_model
from ..models.prediction import predict
from ..models.spec import spec_of
from ..models.training import fit
from ..workers import each


@dataclass(frozen=True)
class Recipe:
    """How the networks of one discovery are trained.

    Parameters
    ----------
    net : dict
        Name and arguments. The default sees 126 ms around each position: it must look locally, and learns from few.
    epochs : int
    folds : int
        Networks per set of labels, each trained without one part of the discovery patients, and then applied to it.
    """

    net: dict[str, Any] = field(default_factory=lambda: {"name": "compact", "width": 32, "dilations": [1, 2]})
    epochs: int = 20
    folds: int = 3

    @property
    def key(self) -> str:
        """Of networks in the cache: the recipe, and the content of all code that makes beats, copies and networks."""
        made_by = content_key(*COHORT, "models", "discovery/crossfit.py")
        return hashlib.sha256(json.dumps([asdict(self), made_by], sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Crossed:
    """Networks, each of which predicts for the patients that it has not seen.

    Parameters
    ----------
    networks : tuple of nn.Module
    fold : array (record,)
        Which of them has not seen the record's patient.
    """

    networks: tuple[nn.Module, ...]
    fold: np.ndarray

    def predict(self, cohort: xr.Dataset) -> np.ndarray:
        """Predictions (record,) for the records that were trained on, edited or not, in their order."""
        out = np.full(cohort.sizes["record"], np.nan)
        for k, network in enumerate(self.networks):
            rows = np.flatnonzero(self.fold == k)
            out[rows] = predict(network, cohort.isel(record=rows))[spec_of(network).targets[0]].values
        return out

    def maps(self, cohort: xr.Dataset, method: str) -> xr.DataArray:
        """Aligned maps of the same records, by a method of `attribute`.

        Returns
        -------
        DataArray (record, phase) or (record, lead, phase)
            From the mean beat where the method takes a baseline. The coordinate ``network`` says which one made each.
        """
        template = template_of(cohort)
        parts = []
        for k, network in enumerate(self.networks):
            some = cohort.isel(record=np.flatnonzero(self.fold == k))
            maps = attribute(network, some, method, baseline="mean" if spec_of(network).input == "beat" else "common")
            parts.append(align(maps.isel(target=0, drop=True), some, template, keep_sum=False))
        maps = xr.concat(parts, dim="record", combine_attrs="override", coords="different", compat="equals")
        return maps.sel(record=cohort["record"].values).assign_coords(network=("record", self.fold))


def cross_fit(
    cohort: xr.Dataset, outcome: str, recipe: Recipe, seed: int = 0, folder: str | Path | None = None
) -> Crossed:
    """Train the networks of one set of labels, each without one fold of the patients.

    Parameters
    ----------
    cohort : Dataset
        Discovery patients, one record each.
    outcome : str
        A variable of the cohort.
    recipe : Recipe
    seed : int
        Of the folds, the first weights and the copies.
    folder : path, optional
        Where the networks are kept. Networks found in it are read, not trained, and a killed run goes on where it was.

    Returns
    -------
    Crossed

    Raises
    ------
    ValueError
        When a patient has two records: the null would take them for two people.
    """
    cohort = check(cohort, outcome)
    need_one_record_each(cohort)
    fold = np.array([int(patient_draw(p, f"fold {seed}") * recipe.folds) for p in patients_of(cohort)])
    files = [Path(folder) / f"fold{k}.safetensors" if folder else None for k in range(recipe.folds)]
    networks = {k: load_model(file) for k, file in enumerate(files) if file is not None and file.is_file()}
    missing = [k for k in range(recipe.folds) if k not in networks]
    work = partial(_trained, outcome=outcome, recipe=recipe, seed=seed)
    to_do = [(cohort.isel(record=np.flatnonzero(fold != k)), files[k]) for k in missing]
    # A GPU trains one after the other, as many cores side by side.
    networks |= zip(missing, each(work, to_do, long=not torch.cuda.is_available()), strict=True)
    return Crossed(tuple(networks[k] for k in range(recipe.folds)), fold)


def _trained(part: tuple[xr.Dataset, Path | None], outcome: str, recipe: Recipe, seed: int) -> nn.Module:
    """A network, saved as a file whole or not at all; its training goes on from the checkpoint beside it."""
    cohort, file = part
    checkpoint = file.with_suffix(".checkpoint") if file else None
    network = fit(cohort, outcome, recipe.net, epochs=recipe.epochs, seed=seed, checkpoint=checkpoint, progress=False)
    if file and checkpoint:
        unfinished = file.with_suffix(".tmp")
        save_model(network, unfinished)
        unfinished.replace(file)
        checkpoint.unlink()
    return network


def permuted(cohort: xr.Dataset, outcome: str, run: int) -> xr.Dataset:
    """The cohort with its outcome permuted among its records.

    Parameters
    ----------
    cohort : Dataset
    outcome : str
    run : int
        Each run has a permutation of its own.

    Returns
    -------
    Dataset
    """
    values = np.random.default_rng([run, 20211]).permutation(cohort[outcome].values)
    return cohort.assign({outcome: ("record", values, cohort[outcome].attrs)})
