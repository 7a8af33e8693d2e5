"""Manifests: what will be tested, written down before it is: definitions, coefficients, patients, counts, a hash."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from ..cohorts.guards import check, kind_of
from ..cohorts.people import folds_of, named_patients, names_patients
from .beyond import KNOWN, Beyond, freed_table, parts_of_features, with_features
from .features import Feature, people_table
from .regression import FEWEST_FOR_TEST, Column, columns_of, design, detectable, frozen_coefficients, is_binary

ALL = "all features"
MEDIUM_R = 0.3  # a partial correlation that is called medium (Cohen 1988)
MEDIUM_SD = 2 * MEDIUM_R / math.sqrt(1 - MEDIUM_R**2)  # how far apart it puts the means of two groups of one size
_FLAT = 1e-6  # SD of a score, below which it says the same of everybody


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
    beyond: Beyond | None = None  # what was known, and the features' coefficients on it
    recordings: tuple[str, ...] = ()  # hashes of the discovery people's recordings, as far as they were built here
    path: str = field(default="", compare=False)
    tests: list[dict[str, Any]] = field(default_factory=list, compare=False)  # where there is no file to keep them

    @property
    def baseline(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns[: len(self.columns) - len(self.features)] if c.name != KNOWN)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def models(self) -> list[str]:
        """What is fitted: the baseline, each feature beside it, and all of them together."""
        return ["baseline", *(f.name for f in self.features), ALL]

    def columns_for(self, model: str) -> list[Column]:
        """Those of "baseline", of one feature by name, or of all features."""
        covariates = list(self.columns[: len(self.columns) - len(self.features)])
        return covariates + [c for c in self.columns[len(covariates) :] if model in (ALL, c.name)]

    def to_json(self) -> dict[str, Any]:
        """What is frozen: everything but the file and the tests."""
        frozen = asdict(self) | {"features": [f.to_json() for f in self.features]}
        frozen["beyond"] = self.beyond and self.beyond._asdict()
        later = [name for name in ("beyond", "recordings") if not getattr(self, name)]
        left_out = ("path", "tests", *later)  # manifests without what came later keep their hash
        return {name: value for name, value in frozen.items() if name not in left_out}

    def table(self, cohort: xr.Dataset) -> pd.DataFrame:
        """What is regressed, a row per patient: outcome, baseline and features, these freed of what is known."""
        if self.beyond is None:
            return people_table(cohort, self.outcome, self.baseline, self.features)
        names = list(dict.fromkeys([*self.baseline, *self.beyond.names]))
        people = people_table(cohort, self.outcome, names, self.features)
        return freed_table(self.beyond, people, parts_of_features(self.features, cohort))

    def __str__(self) -> str:
        known = f", {len(self.beyond.names)} known columns" if self.beyond else ""
        lines = [
            f"{self.outcome} on {', '.join(self.baseline) or 'nothing'}{known} and, each by itself, then together:"
        ]
        lines += [f"  {f.name} = {f.formula}" + (f"  ({f.origin})" if f.origin else "") for f in self.features]
        tried = ", ".join(f"{n} {what}" for what, n in self.tried.items())
        lines.append(f"{self.n} discovery patients of {self.source}; tried: {tried}; sha256 {self.sha256[:12]}")
        return "\n".join(lines)


def freeze(
    features: Sequence[Feature] | Feature,
    discovery: xr.Dataset,
    outcome: str = "male",
    baseline: Sequence[str] = ("age", "hr"),
    *,
    known: Sequence[str] = (),
    tried: Mapping[str, int] | None = None,
    test_people: int | None = None,
    path: str | Path | None = None,
) -> Manifest:
    """Write down what will be tested, with coefficients fitted on discovery patients, before any test is made.

    Parameters
    ----------
    features : sequence of Feature, or Feature
        Such as `propose_features` gives; or one that was specified before anybody looked.
    discovery : Dataset
        The patients that features, templates and networks came from: the first part of `split_patients`.
    outcome : str
        A variable of the cohort: two values (logistic regression) or more (least squares).
    baseline : sequence of str
        Covariates: numbers of the cohort (``age``, ``hr``) or columns of `measure`. They enter as cubic splines with a
        knot at their median, where they have ten values or more; features enter straight.
    known : sequence of str
        Columns of `measure`, or numbers of the cohort, beyond which the features are to add something: as many as there
        are. They enter as one column, what they tell of the outcome, and features enter less what known columns tell of
        them by addition; of a product or a distance, less what its parts tell. All of it is fitted on discovery
        patients. `ecgwb.discovery.known_columns` lists all classic measurements.
    tried : mapping of str to int, optional
        How many curves, spans, leads, candidates and networks were looked at on the way; what `propose_features` gives
        knows its own. One feature that was specified beforehand, without an ``origin``, needs none.
    test_people : int, optional
        On how many people the features will be tested: a warning says, before anything is frozen, where only large
        effects could be found on so few. `detectable` gives the numbers for any plan.
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

    Warns
    -----
    UserWarning
        When `test_people` are too few to find an effect of medium size.
    """
    discovery = check(discovery)
    if isinstance(baseline, str) or outcome in baseline or len(set(baseline)) < len(baseline):
        raise ValueError(f"the baseline is {baseline!r}; expected columns, each once, without the outcome {outcome!r}")
    if isinstance(known, str) or outcome in known:
        raise ValueError(
            f"known is {known!r}; expected a list of columns without the outcome {outcome!r}, such as "
            "wb.discovery.known_columns(discovery, outcome, baseline, 'classic')"
        )
    given = getattr(features, "tried", {}) if tried is None else tried
    counts = {str(k): int(v) for k, v in given.items()}
    features = _check_features([features] if isinstance(features, Feature) else features)
    if not counts and len(features) == 1 and not features[0].origin:
        counts = {"feature, specified beforehand": 1}
    if not counts:
        raise ValueError(
            "say what was tried on the way to these features, tried={'candidates': 130, ...}; a single feature "
            "that was specified beforehand needs no count, and has no origin"
        )
    if path is not None and Path(path).exists():
        raise ValueError(f"{path} exists; a manifest is written once. Choose another name, or load_manifest it")
    patients = hashed(discovery)
    people = people_table(discovery, outcome, list(dict.fromkeys([*baseline, *known])), features)
    needed = [outcome, *baseline, *(f.name for f in features)]
    complete = people.dropna(subset=needed)
    if len(complete) < FEWEST_FOR_TEST:
        raise ValueError(
            f"{len(complete)} of {len(people)} discovery patients have {outcome}, the baseline and every feature; "
            f"expected at least {FEWEST_FOR_TEST}"
        )
    y = complete[outcome].to_numpy(float)
    binary = is_binary(y, outcome)
    beyond = None
    if known:
        whole = people[needed].notna().all(axis=1).to_numpy()
        parts = parts_of_features(features, discovery)
        parts = {name: values[whole] for name, values in parts.items()}
        beyond = Beyond.of(complete, list(dict.fromkeys([*baseline, *known])), y, binary)
        beyond = with_features(beyond, complete, parts, features)
        complete = freed_table(beyond, complete, parts)
    if test_people is not None:
        cases = round(float(y.mean()) * test_people) if binary else None
        _warn_of_few(detectable(test_people, len(baseline) + len(known), len(features), cases))
    manifest = Manifest(
        features=tuple(features),
        outcome=outcome,
        binary=binary,
        columns=tuple(_columns(complete, baseline, known, features)),
        beyond=beyond,
        coefficients={},
        tried=counts,
        source=str(discovery.attrs.get("source", "cohort")),
        discovery=tuple(patients),
        recordings=tuple(hashed_recordings(discovery)),
        n=len(complete),
        path=str(path or ""),
    )
    for model in manifest.models:
        beta, note = frozen_coefficients(y, design(manifest.columns_for(model), complete), binary)
        manifest.coefficients[model] = [float(b) for b in beta]
        if note:
            manifest.notes[model] = note
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        content = {"sha256": manifest.sha256, **manifest.to_json()}
        Path(path).write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    return manifest


def _warn_of_few(least: dict[str, float]) -> None:
    """Warns where only effects could be found that are larger than what is called medium.

    Of a rare outcome the difference says so: few cases let a small correlation stand for means that are far apart.
    """
    r, apart = least["partial_r"], least.get("difference_sd", 0.0)
    if r > MEDIUM_R or apart > MEDIUM_SD:
        few = "no effect" if r >= 1 or math.isinf(apart) else f"a partial correlation of {r:.2f}"
        few += f", or {apart:.2f} SD between the outcomes" if few != "no effect" and apart else ""
        warnings.warn(
            f"{least['people']:.0f} people are few for this test: the smallest effect that it finds in four of five "
            f"trials is {few}; a medium one is {MEDIUM_R}, or {MEDIUM_SD:.2f} SD. Take more people or fewer features "
            "before you freeze: a test that could not find anything shows nothing",
            stacklevel=3,
        )


def _columns(
    table: pd.DataFrame, baseline: Sequence[str], known: Sequence[str], features: Sequence[Feature]
) -> list[Column]:
    """Covariates as splines; what is known as one straight column, which a baseline alone does not need; features."""
    names = [f.name for f in features]
    if not known:
        return columns_of(table, list(baseline), names)
    score = not set(known) <= set(baseline) and table[KNOWN].std() > _FLAT
    straight = [*([KNOWN] if score else []), *names]  # freed, so that none follows from those before it
    return columns_of(table, list(baseline), []) + [Column.of(table, name) for name in straight]


def _check_features(features: Any) -> list[Feature]:
    if not isinstance(features, (list, tuple)):
        raise TypeError(f"features is {kind_of(features)}; expected a list of features, as from wb.propose_features")
    odd = [f for f in features if not isinstance(f, Feature)]
    if odd:
        raise TypeError(f"features hold {kind_of(odd[0])}; expected wb.discovery.Feature, as from wb.propose_features")
    if not features:
        raise ValueError("no feature to freeze; finding none is a result too, and needs no test")
    names = [f.name for f in features]
    if len(set(names)) < len(names):
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is given twice; give each feature once")
    return list(features)


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
    if not isinstance(path, (str, Path)):
        raise TypeError(f"path is {kind_of(path)}; expected that of a file which wb.freeze wrote")
    if not Path(path).is_file():
        raise ValueError(f"no manifest {str(path)!r}; expected the file that freeze(..., path=...) wrote")
    try:
        stored = json.loads(Path(path).read_text())
        out = _from_json(stored, path)
        sha256 = stored["sha256"]
    except (LookupError, TypeError, ValueError) as e:
        raise ValueError(f"{path} is no manifest of freeze ({type(e).__name__}: {e})") from e
    if out.sha256 != sha256:
        raise ValueError(f"{path} was changed after it was frozen: its content no longer has the hash it carries")
    return out


def _from_json(stored: dict[str, Any], path: str | Path) -> Manifest:
    content = {name: value for name, value in stored.items() if name != "sha256"}
    content["features"] = tuple(Feature.from_json(f) for f in stored["features"])
    content["columns"] = tuple(Column(**c | {"knots": tuple(c["knots"])}) for c in stored["columns"])
    content["discovery"] = tuple(stored["discovery"])
    content["recordings"] = tuple(stored.get("recordings", ()))
    content["beyond"] = Beyond(**stored["beyond"]) if "beyond" in stored else None
    return Manifest(**content, path=str(path))


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
    """Its patients, each once, as hashes of names, so that a manifest can be passed on without names.

    Where nobody is named, but folds part the patients (PTB-XL), these are its records and folds: two cohorts that share
    a fold may share people.
    """
    folds = folds_of(cohort)
    if not names_patients(cohort) and len(folds) and (folds != "").all():
        records = [f"{cohort.attrs['folds']} record {r}" for r in cohort["record"].values]
        names = sorted({*records, *folds.tolist()})
    else:
        names = sorted(set(named_patients(cohort).tolist()))
    return [hashlib.sha256(n.encode()).hexdigest()[:16] for n in names]


def hashed_recordings(cohort: xr.Dataset) -> list[str]:
    """Its recordings, as hashes of what the samples are, each once; none where they are not known."""
    known = sorted(set(cohort["samples"].values.astype(str)) - {"", "nan"}) if "samples" in cohort.coords else []
    return [hashlib.sha256(text.encode()).hexdigest()[:16] for text in known]
