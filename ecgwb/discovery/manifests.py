"""Manifests: what will be tested, written down before it is: definitions, coefficients, patients, counts, a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .classic import measure
from .designs import Column, columns_of, design, regress, shrunk
from .features import Feature, feature_table

FEWEST = 20  # patients
ALL = "all features"


@dataclass(frozen=True)
class Manifest:
    """Features, frozen: see `freeze`. ``str(manifest)`` says what is in it."""

    features: tuple[Feature, ...]
    outcome: str
    binary: bool
    columns: tuple[Column, ...]  # covariates first, then one per feature
    coefficients: dict[str, list[float]]  # of "baseline", of each feature beside it, and of all: intercept first
    tried: dict[str, int]
    source: str
    discovery: tuple[str, ...]  # hashed names of patients
    n: int
    notes: dict[str, str] = field(default_factory=dict)
    path: str = field(default="", compare=False)
    tests: list[dict[str, Any]] = field(default_factory=list, compare=False)  # where there is no file to keep them

    @property
    def baseline(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns[: len(self.columns) - len(self.features)])

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def columns_for(self, model: str) -> list[Column]:
        """Those of "baseline", of one feature by name, or of all features."""
        covariates = list(self.columns[: len(self.baseline)])
        return covariates + [c for c in self.columns[len(covariates) :] if model in (ALL, c.name)]

    def to_json(self) -> dict[str, Any]:
        return {
            "features": [f.to_json() for f in self.features],
            "outcome": self.outcome,
            "binary": self.binary,
            "columns": [c.to_json() for c in self.columns],
            "coefficients": self.coefficients,
            "tried": self.tried,
            "source": self.source,
            "discovery": list(self.discovery),
            "n": self.n,
            "notes": self.notes,
        }

    def __str__(self) -> str:
        lines = [f"{self.outcome} on {', '.join(self.baseline) or 'nothing'} and, each by itself, then together:"]
        lines += [f"  {f.name} = {f.formula}" + (f"  ({f.origin})" if f.origin else "") for f in self.features]
        tried = ", ".join(f"{n} {what}" for what, n in self.tried.items())
        lines.append(f"{self.n} discovery patients of {self.source}; tried: {tried}; sha256 {self.sha256[:12]}")
        return "\n".join(lines)


def freeze(
    features: Sequence[Feature],
    discovery: xr.Dataset,
    outcome: str = "male",
    baseline: Sequence[str] = ("age", "hr"),
    *,
    tried: Mapping[str, int] | None = None,
    path: str | Path | None = None,
) -> Manifest:
    """Write down what will be tested, with coefficients fitted on discovery patients, before any test is made.

    Parameters
    ----------
    features : sequence of Feature
        Such as `propose_features` gives.
    discovery : Dataset
        The patients that features, templates and networks came from: the first part of `split_patients`.
    outcome : str
        A variable of the cohort: two values (logistic regression) or more (least squares).
    baseline : sequence of str
        Covariates: numbers of the cohort (``age``, ``hr``) or columns of `measure`. They enter as cubic splines with a
        knot at their median, where they have ten values or more; features enter straight.
    tried : mapping of str to int, optional
        How many curves, spans, leads, candidates and networks were looked at on the way; what `propose_features` gives
        knows its own.
    path : path, optional
        Where to write it, as JSON; every test is then noted beside it, in ``<path>.ledger.json``. It must not exist.

    Returns
    -------
    Manifest

    Raises
    ------
    TypeError
        When `features` holds something else.
    ValueError
        When there is no feature or no count of what was tried, a feature is given twice, there are too few patients or
        a record without one, a binary outcome is not 0 and 1, a column is constant or redundant, or `path` exists.
    """
    given = getattr(features, "tried", {}) if tried is None else tried
    counts = {str(k): int(v) for k, v in given.items()}
    features = list(features)
    odd = [f for f in features if not isinstance(f, Feature)]
    if odd:
        raise TypeError(
            f"features hold a {type(odd[0]).__name__}; expected wb.discovery.Feature, as from wb.propose_features"
        )
    names = [f.name for f in features]
    if not features:
        raise ValueError("no feature to freeze; finding none is a result too, and needs no test")
    if len(set(names)) < len(names):
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is given twice; give each feature once")
    if not counts:
        raise ValueError("say what was tried on the way to these features, tried={'candidates': 130, ...}")
    if path is not None and Path(path).exists():
        raise ValueError(f"{path} exists; a manifest is written once. Choose another name, or load_manifest it")
    patients = hashed(discovery)
    people = table_of(discovery, outcome, baseline, features)
    complete = people.dropna()
    y = complete[outcome].to_numpy(float)
    if len(complete) < FEWEST:
        raise ValueError(
            f"{len(complete)} of {len(people)} discovery patients have {outcome}, the baseline and every feature; "
            f"expected at least {FEWEST}"
        )
    values = np.unique(y)
    if len(values) < 2:
        raise ValueError(f"{outcome!r} is {values[0]:g} for all {len(y)} discovery patients; two values are needed")
    binary = len(values) == 2
    if binary and not np.array_equal(values, [0.0, 1.0]):
        raise ValueError(f"{outcome!r} has the values {values[0]:g} and {values[1]:g}; expected 0 and 1")
    columns = columns_of(complete, list(baseline), names)
    found = Manifest(
        tuple(features), outcome, binary, tuple(columns), {}, counts, str(discovery.attrs.get("source", "cohort")),
        tuple(patients), len(complete), path=str(path or ""),
    )  # fmt: skip
    for model in ("baseline", *names, ALL):
        x = design(found.columns_for(model), complete)
        fitted = regress(y, x, binary)
        beta = shrunk(y, x, binary) if fitted.note else fitted.params
        if fitted.note:
            found.notes[model] = f"frozen coefficients have a ridge of one per SD ({fitted.note})"
        found.coefficients[model] = [float(b) for b in beta]
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        said = {"sha256": found.sha256, **found.to_json()}
        Path(path).write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n")
    return found


def load_manifest(path: str | Path) -> Manifest:
    """A manifest that `freeze` wrote.

    Parameters
    ----------
    path : str or Path
        The JSON file; tests of it are noted beside it, in ``<path>.ledger.json``.

    Returns
    -------
    Manifest

    Raises
    ------
    ValueError
        When there is no such file, it is no manifest, or it was changed since.
    """
    if not Path(path).is_file():
        raise ValueError(f"no manifest {str(path)!r}; expected the file that freeze(..., path=...) wrote")
    try:
        said = json.loads(Path(path).read_text())
        out = _from_json(said, path)
        sha256 = said["sha256"]
    except (LookupError, TypeError, ValueError) as e:
        raise ValueError(f"{path} is no manifest of freeze ({type(e).__name__}: {e})") from e
    if out.sha256 != sha256:
        raise ValueError(f"{path} was changed after it was frozen: its content no longer has the hash it carries")
    return out


def _from_json(said: dict[str, Any], path: str | Path) -> Manifest:
    return Manifest(
        tuple(Feature.from_json(f) for f in said["features"]), said["outcome"], said["binary"],
        tuple(Column.from_json(c) for c in said["columns"]), said["coefficients"], said["tried"], said["source"],
        tuple(said["discovery"]), said["n"], said["notes"], str(path),
    )  # fmt: skip


def earlier_tests(manifest: Manifest, people: Iterable[str]) -> list[dict[str, Any]]:
    """Tests of this manifest on any of these people (hashed names): when, on which cohort, how many of them."""
    file = _ledger(manifest)
    done = json.loads(file.read_text()) if file and file.is_file() else manifest.tests
    now = set(people)
    mine = [t for t in done if t["manifest"] == manifest.sha256]
    return [t | {"again": len(now & set(t["people"]))} for t in mine if now & set(t["people"])]


def note_test(manifest: Manifest, entry: dict[str, Any]) -> None:
    """Put a test into the ledger beside the manifest, or into the manifest where it has no file."""
    entry = {"manifest": manifest.sha256, **entry}
    file = _ledger(manifest)
    if file is None:
        manifest.tests.append(entry)
        return
    done = json.loads(file.read_text()) if file.is_file() else []
    tmp = file.with_suffix(".tmp")
    tmp.write_text(json.dumps([*done, entry], ensure_ascii=False, indent=1) + "\n")
    tmp.replace(file)


def _ledger(manifest: Manifest) -> Path | None:
    return Path(manifest.path + ".ledger.json") if manifest.path else None


def hashed(cohort: xr.Dataset) -> list[str]:
    """Its patients, each once, as hashes of names, so that a manifest can be passed on without names."""
    if "patient" not in cohort.coords or not all(map(str, cohort["patient"].values)):
        raise ValueError("some records have no patient; without one nobody can tell discovery patients from others")
    names = sorted({str(p) for p in cohort["patient"].values})
    return [hashlib.sha256(n.encode()).hexdigest()[:16] for n in names]


def table_of(cohort: xr.Dataset, outcome: str, covariates: Sequence[str], features: Sequence[Feature]) -> pd.DataFrame:
    """Outcome, covariates and features: a row per patient, from each one's first record.

    Raises
    ------
    ValueError
        When a column is neither a number of the cohort nor a classic measurement.
    """
    first = ~pd.Series(cohort["patient"].values.astype(str)).duplicated().to_numpy()
    people = cohort.isel(record=np.flatnonzero(first))
    classic: pd.DataFrame | None = None
    columns: dict[str, np.ndarray] = {}
    for name in (outcome, *covariates):
        if name in people.variables and people[name].dims == ("record",):
            if people[name].dtype.kind not in "fiub":
                hint = "; for sex take 'male' (1, 0)" if name == "sex" else ""
                raise ValueError(f"{name!r} holds text; expected numbers{hint}")
            columns[name] = people[name].values.astype(float)
            continue
        classic = measure(people) if classic is None else classic
        if name not in classic:
            raise ValueError(f"{name!r} is neither a number per record of the cohort nor a column of wb.measure")
        columns[name] = classic[name].to_numpy(float)
    table = pd.DataFrame(columns, index=pd.Index(people["patient"].values.astype(str), name="patient"))
    values = feature_table(features, people).set_axis(table.index)
    twice = set(values.columns) & set(table.columns)
    if twice:
        raise ValueError(f"{sorted(twice)[0]!r} is a covariate and a feature; give it once")
    return pd.concat([table, values], axis=1)
