"""Discovery in one call: scan, network, what is left, where, what, and whether it holds on other people."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn
from tqdm.auto import tqdm

from ..cohorts.guards import check, kind_of
from ..cohorts.people import (
    folds_of,
    groups,
    in_words,
    names_patients,
    one_record_each,
    patients_of,
    split_patients,
    warn_of_leaks,
)
from ..models.checkpoints import load_model
from ..models.prediction import predict
from ..models.progress import quiet
from ..models.spec import ModelError, spec_of
from ..recordings.record import RecordError
from ..stats import adjusted_p
from .beyond import KNOWN, known_columns
from .comparisons import compare_features
from .features import Feature, feature_table, numbers_of
from .left import Known, People, Places, leans_on, left_over, locate
from .manifests import Manifest, freeze
from .proposals import Proposals, unlike
from .readers import NetworkReader, PooledReader, Reader
from .regression import FEWEST_FOR_TEST, is_binary, likelihood_ratio, regress
from .scan import FAMILIES, scan, scan_at

SHIPPED = ("compact-sex", "compact-age", "compact-diagnoses")
POOLED = "pooled network"
AGES = (50.0, 70.0)
_DISCOVERY_FOLDS, _TEST_FOLD = 8, 10  # of PTB-XL; fold 9 has chosen the epochs of networks
_FOR_PLACES = 1000  # discovery patients on whom places are sought
_FROM_SCAN = 2  # features of the scan that may stand before the network's


@dataclass
class Discovery:
    """What `discover` found. ``print(found)`` says it in words.

    Parameters
    ----------
    outcome : str
    people : DataFrame, a row per group
        ``used`` records, one a patient, and why others were left out.
    known : list of str
        Columns beyond which something was sought.
    scan : Proposals
        What the scan found on discovery patients; ``scan.places`` is its table.
    network : str
        Which network it was; "" for none.
    binary : bool
        Whether the outcome is 0 or 1.
    leans_on : DataFrame
        Which known columns the network follows; see `ecgwb.discovery.leans_on`.
    left : DataFrame, a row per group
        Whether the network tells more than known measurements and the scan's features; see
        `ecgwb.discovery.left_over`.
    places : DataFrame
        Where in the ECG that is; see `ecgwb.discovery.locate`. Empty where nothing is left.
    features : list of Feature
        At most three, in words and as a formula.
    manifest : Manifest or None
        What was frozen before anybody was tested; None where nothing was found.
    tests : DataFrame, rows ``people``, ``model``
        As from `compare_features`, on each group that took no part.
    holds : DataFrame, a row per feature
        p on test patients, by Holm; for features that pass there, p on each replication, by Holm over these; and
        whether all of them are at most `alpha`, with the effect's sign as in discovery.
    by_group : DataFrame
        The effect of each feature by age, heart rate and sex, and p of its interplay with each; see
        `effects_by_group`.
    alpha : float
    seconds : dict of float
        What each step took.
    """

    outcome: str
    people: pd.DataFrame
    known: list[str]
    scan: Proposals
    network: str
    binary: bool
    leans_on: pd.DataFrame
    left: pd.DataFrame
    places: pd.DataFrame
    features: list[Feature]
    manifest: Manifest | None
    tests: pd.DataFrame
    holds: pd.DataFrame
    by_group: pd.DataFrame
    alpha: float
    seconds: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(
            [*_people_in_words(self), *_scan_in_words(self), *_left_in_words(self), *_holds_in_words(self)]
        )


def discover(
    cohort: xr.Dataset,
    outcome: str = "male",
    *,
    test: xr.Dataset | None = None,
    replication: xr.Dataset | Mapping[str, xr.Dataset] | None = None,
    baseline: Sequence[str] | None = None,
    known: str | Sequence[str] = "classic",
    network: str | nn.Module | bool | None = None,
    families: Sequence[str] = FAMILIES,
    n: int = 3,
    alpha: float = 0.05,
    path: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Discovery:
    """Features of an outcome beyond what is known, found on some people and tested on others.

    1. People are split: discovery and test, two to one by patient; of PTB-XL, whose patients are not named, folds 1 to
       8 and fold 10.
    2. `scan` looks through shapes, times, spreads and pairs on discovery patients.
    3. A network reads the whole beat: one that is shipped for the outcome, yours, or `PooledReader`. For discovery
       patients networks answer that have not learnt from them.
    4. `locate` and `scan_at` turn the best place of the network into a formula (but for the rhythm, which may be the
       place of a network that takes recordings), and at most `n` features are frozen with their coefficients
       (`freeze`), before anybody else is looked at.
    5. `left_over`: does the network tell more than what is known and the scan's features? One test, on test patients.
    6. Where it is in the ECG, on test patients, if anything is left.
    7. `compare_features` on test patients and on each replication, and `effects_by_group`.

    Of a cohort whose patients are not named, such as PTB-XL, records count as people; its folds keep those of one
    person together. "Beyond what is known" is beyond what known columns tell by addition (the baseline, as splines).
    Only features are corrected for each other, by Holm; the tests of the network, of places, of interplay with age and
    on each replication are at `alpha` each. A second call on the same test people is a second look at them. What none
    of it can show: that a feature causes anything, or that what is not found is not there.

    Parameters
    ----------
    cohort : Dataset
        All people; or the discovery patients, where `test` is given.
    outcome : str
        A variable of the cohort or a column of `measure`: 0 and 1, or numbers in one unit.
    test : Dataset, optional
        Other people.
    replication : Dataset or mapping of name to Dataset, optional
        Still others, such as ``wb.open_cohort("ludb")``.
    baseline : sequence of str, optional
        Covariates, which enter as splines; by default ``age`` and ``hr`` where half of the people have them.
    known : "classic", or sequence of str
        What a feature must add to: all classic measurements that 80 % of discovery patients have, or these columns.
    network : str, nn.Module or False, optional
        A name or file for `wb.load_model`, a network with a spec, or "pooled network". By default that shipped for the
        outcome, if it has not learnt from people it is tested on, or else the pooled network. False: none. One that
        takes recordings needs them of all people: ``rhythm=True``.
    families : sequence of str
        Of `scan`; () leaves the scan out.
    n : int
        Most features to freeze.
    alpha : float
    path : path, optional
        Of the manifest; it must not exist.
    seed : int
    progress : bool
        Show a bar.

    Returns
    -------
    Discovery

    Raises
    ------
    ValueError
        When groups share patients or identical beats, the outcome is not there, has one value or is known itself, or
        too few people are left.
    ModelError
        When the network has learnt from people it is to be tested on, or from discovery patients without others of its
        recipe that have not.

    Examples
    --------
    >>> import ecgwb as wb
    >>> found = wb.discover(wb.open_cohort("ptbxl500"), "male", replication=wb.open_cohort("ludb"), progress=False)
    >>> print(found.people[["used"]].T)
          discovery  test  LUDB
    used        307   149   200
    """
    began = time.perf_counter()
    _check_arguments(outcome, known, families, network, n, alpha, path, seed)
    groups_ = _groups_of(check(cohort), test, replication)
    baseline = _baseline_of(groups_["discovery"], outcome, baseline)
    names = known_columns(groups_["discovery"], outcome, baseline, known)
    if outcome in baseline:
        raise ValueError(f"the outcome {outcome!r} is among what is known; leave it out of baseline and known")
    apart(groups_)
    taken, rows = {}, {}
    for name, people in groups_.items():
        taken[name], rows[name] = take_part(people, outcome, baseline, names, name)
    found_on = taken.pop("discovery")
    binary = is_binary(found_on.y, outcome)
    for name, others in taken.items():
        if binary and set(others.y.tolist()) != {0.0, 1.0}:
            values = np.unique(others.y).tolist()
            raise ValueError(f"{outcome!r} is 0 and 1 on discovery patients, but {values} in {name!r}")
    seconds: dict[str, float] = {}
    bar = tqdm(total=6, desc=f"discover {outcome}", unit="step", disable=not progress)

    def done(step: str) -> None:
        seconds[step] = round(time.perf_counter() - began - sum(seconds.values()), 1)
        bar.update()
        bar.set_postfix_str(f"{step} done")

    done("people")
    more = [k for k in names if k not in baseline]
    searched = Proposals([], {}, 1.0)
    if families:
        searched = scan(found_on.cohort, outcome, baseline, known=more, families=families, n=n, alpha=alpha, seed=seed)
    done("scan")
    read = None
    if network is not False:
        with quiet(not progress):
            read = _read(network, outcome, found_on, taken, searched, baseline, names, binary, alpha, seed)
    done("network")
    features = _chosen(searched, read.proposed if read else [], found_on.cohort, n)
    manifest = None
    if features:
        tried = searched.tried | (read.tried if read else {})
        manifest = freeze(features, found_on.cohort, outcome, baseline, known=names, tried=tried, path=path)
    done("features frozen")
    with quiet(not progress):
        left, places = _left(read, taken, alpha, seed) if read else (pd.DataFrame(), pd.DataFrame())
    done("what is left, and where")
    tests, holds, by_group = pd.DataFrame(), pd.DataFrame(), pd.DataFrame()
    if manifest is not None:
        tests = pd.concat({k: compare_features(manifest, p.cohort) for k, p in taken.items()}, names=["people"])
        holds = _holds(manifest, tests, list(taken), alpha)
        by_group = pd.concat({k: effects_by_group(manifest, p.cohort) for k, p in taken.items()}, names=["people"])
    done("tests")
    bar.close()
    return Discovery(
        outcome, pd.DataFrame(rows).T, names, searched, read.reader.name if read else "", binary,
        read.leans_on if read else pd.DataFrame(), left, places, features, manifest, tests, holds, by_group, alpha,
        seconds,
    )  # fmt: skip


# ---------------------------------------------------------------- people


def _check_arguments(
    outcome: str, known: str | Sequence[str], families: Sequence[str], network: object, n: int, alpha: float,
    path: str | Path | None, seed: int,
) -> None:  # fmt: skip
    if not isinstance(outcome, str):
        raise TypeError(f"outcome is {kind_of(outcome)}; expected the name of a variable, such as 'male'")
    if not isinstance(known, (str, list, tuple)) or not isinstance(families, (str, list, tuple)):
        raise TypeError(f"known is {kind_of(known)}, families {kind_of(families)}; expected lists of names")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is {seed!r}; expected a whole number of 0 or more")
    if isinstance(known, str) and known != "classic":
        raise ValueError(f"known is {known!r}; expected 'classic' or a list of columns, such as ['qrs_ms']")
    if isinstance(families, str) or not set(families) <= set(FAMILIES):
        raise ValueError(f"families is {families!r}; expected some of {', '.join(FAMILIES)}, in a list")
    if not families and network is False:
        raise ValueError("families=() and network=False leave nothing to look with; leave one of them out")
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"n is {n!r}; expected 1 or more")
    if not isinstance(alpha, (int, float)) or not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha!r}; expected a level between 0 and 1, such as 0.05")
    if path is not None and Path(path).exists():
        raise ValueError(f"{path} exists; a manifest is written once. Choose another name")


def _groups_of(
    cohort: xr.Dataset, test: xr.Dataset | None, replication: xr.Dataset | Mapping[str, xr.Dataset] | None
) -> dict[str, xr.Dataset]:
    """Everyone, by group: "discovery", "test", and replications by name."""
    more = replication
    if isinstance(more, xr.Dataset):
        more = {in_words(more).split(",")[0]: more}
    if more is not None and not isinstance(more, Mapping):
        raise TypeError(f"replication is {kind_of(more)}; expected a cohort, or a mapping of names to cohorts")
    test = None if test is None else check(test)
    if test is not None:
        warn_of_leaks([cohort, test], stacklevel=3)
    found, other = (cohort, test) if test is not None else split(cohort)
    out = {"discovery": found, "test": other} | {str(k): check(v) for k, v in (more or {}).items()}
    if len(out) < 2 + len(more or {}):
        raise ValueError("a replication is called 'discovery' or 'test'; give it another name")
    return out


def split(cohort: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Discovery and test people: PTB-XL's folds 1 to 8 and 10 where nobody is named, or else `split_patients`.

    Parameters
    ----------
    cohort : Dataset

    Returns
    -------
    discovery, test : Dataset
    """
    if not names_patients(cohort) and (folds_of(cohort) != "").all():
        fold = pd.to_numeric(pd.Series(cohort["fold"].values)).to_numpy()
        return cohort.isel(record=fold <= _DISCOVERY_FOLDS), cohort.isel(record=fold == _TEST_FOLD)
    return split_patients(cohort)


def _baseline_of(cohort: xr.Dataset, outcome: str, baseline: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(baseline, str):
        raise ValueError(f"baseline is the text {baseline!r}; expected a list of columns")
    if baseline is not None and not isinstance(baseline, (list, tuple)):
        raise TypeError(f"baseline is {kind_of(baseline)}; expected a list of columns")
    if baseline is not None:
        return tuple(baseline)
    usual = [c for c in ("age", "hr") if c != outcome and c in cohort.variables]
    return tuple(c for c in usual if np.isfinite(cohort[c].values.astype(float)).mean() >= 0.5)


def apart(cohorts: Mapping[str, xr.Dataset]) -> None:
    """Refuses groups that share people: by name, by fold where folds part them, and by beats that are the same.

    Raises
    ------
    ValueError
    """
    for (name, one), (other_name, other) in itertools.combinations(cohorts.items(), 2):
        for kind in ("patients", "folds", "identical beats"):
            both = _people(one, other, kind) & _people(other, one, kind)
            if both:
                shown = "" if kind == "identical beats" else f", such as {min(both)!r}"
                raise ValueError(
                    f"{other_name!r} and {name!r} share {len(both)} {kind}{shown}; people that something is found on "
                    "must not test it. Give other people, or other people's patients other names"
                )


def _people(cohort: xr.Dataset, other: xr.Dataset, kind: str) -> set[Any]:
    """What tells people of two cohorts apart: names, or folds where one has no names."""
    if kind == "identical beats":
        return {hash(beat.tobytes()) for beat in cohort["beat"].values if np.ptp(beat) > 0}
    by_name = names_patients(cohort) and names_patients(other)
    if kind == "folds":
        return set() if by_name else set(folds_of(cohort).tolist()) - {""}
    return set(patients_of(cohort).tolist()) if by_name else set()


def take_part(
    cohort: xr.Dataset, outcome: str, baseline: Sequence[str], known: Sequence[str], name: str = "the cohort"
) -> tuple[People, dict[str, int]]:
    """The people who have what is needed, one record each, and how many were left out for what.

    Parameters
    ----------
    cohort : Dataset
    outcome : str
        A variable of the cohort, or a column of `measure`.
    baseline, known : sequence of str
        Likewise; nobody lacks the former, while the latter may be lacking.
    name : str
        What messages call the people.

    Returns
    -------
    People, dict of int

    Raises
    ------
    ValueError
        When fewer than 20 are left, or one outcome alone.
    """
    whole = np.isfinite(cohort["beat"].values).all(axis=(1, 2))
    marks = np.isfinite(cohort["fiducial"].sel(landmark=["QRS_on", "J"]).values).all(axis=1)
    try:
        own = numbers_of(cohort, [outcome, *baseline])
    except ValueError as e:
        raise ValueError(f"{name}: {e}") from e
    lacking = {f"no {c}": own[c].isna().to_numpy() for c in own} | {"gaps in the beat": ~whole, "no QRS": ~marks}
    left_out = np.zeros(cohort.sizes["record"], bool)
    row: dict[str, int] = {}
    for reason, gone in lacking.items():
        row[reason] = int((gone & ~left_out).sum())
        left_out |= gone
    kept = one_record_each(cohort.isel(record=np.flatnonzero(~left_out)))
    row["second records"] = int((~left_out).sum()) - kept.sizes["record"]
    row = {"used": kept.sizes["record"], **row}
    if row["used"] < FEWEST_FOR_TEST:
        reasons = ", ".join(f"{v} {k}" for k, v in row.items() if v and k != "used")
        raise ValueError(
            f"{row['used']} of the {cohort.sizes['record']} records of {name} can be used"
            f"{f' ({reasons})' if reasons else ''}; expected at least {FEWEST_FOR_TEST}: give more people"
        )
    table = numbers_of(kept, list(dict.fromkeys([*known, *baseline])))
    y = numbers_of(kept, [outcome])[outcome].to_numpy(float)
    if len(np.unique(y)) < 2:
        raise ValueError(
            f"{outcome!r} is {y[0]:g} for all {len(y)} records of {name} that can be used; two values are needed"
        )
    return People(kept, table, y, patients_of(kept)), row


def _with_features(people: People, features: Sequence[Feature]) -> People:
    """The people with features among their known columns."""
    table = people.table.join(feature_table(features, people.cohort)) if features else people.table
    return People(people.cohort, table, people.y, people.patient)


def _some(people: People, seed: int) -> People:
    """At most a thousand of the people."""
    n = len(people.y)
    rows = np.sort(np.random.default_rng(seed).permutation(n)[:_FOR_PLACES])
    return People(people.cohort.isel(record=rows), people.table.iloc[rows], people.y[rows], people.patient[rows])


# ---------------------------------------------------------------- the network


@dataclass(frozen=True)
class _Read:
    """What a network makes of discovery patients, before anybody else is looked at."""

    reader: Reader
    known: Known  # with what the scan found
    discovery: People
    output: np.ndarray
    scanned: Sequence[Feature]
    leans_on: pd.DataFrame
    places: Places
    proposed: Proposals

    @property
    def tried(self) -> dict[str, int]:
        return {"places and pairs": len(self.places.rows)} | self.proposed.tried


def _read(
    network: str | nn.Module | bool | None, outcome: str, discovery: People, others: dict[str, People],
    scanned: Sequence[Feature], baseline: Sequence[str], names: Sequence[str], binary: bool, alpha: float, seed: int,
) -> _Read:  # fmt: skip
    before = Known.of(discovery, baseline, names, binary).beyond
    people = _with_features(discovery, scanned)
    known = Known.of(people, baseline, [*names, *(f.name for f in scanned)], binary)
    reader = _reader_of(network, outcome, people, known, others, seed)
    output = reader.output(people.cohort, out_of_fold=True)
    places = locate(reader, _some(people, seed), known, seed=seed)
    proposed = Proposals([], {}, 1.0)
    if float(left_over((people, output), (people, output), known, seed)["p"]) <= alpha:
        more = [k for k in names if k not in baseline]
        proposed = _at_places(places, discovery, outcome, baseline, more, alpha, seed)
    return _Read(reader, known, people, output, scanned, leans_on(output, people, before), places, proposed)


def _left(read: _Read, others: dict[str, People], alpha: float, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Whether anything is left, by group; and where, if it is on test patients."""
    theirs = {name: _with_features(people, read.scanned) for name, people in others.items()}
    found_on = (read.discovery, read.output)
    rows = {
        name: left_over(found_on, (people, read.reader.output(people.cohort)), read.known, seed)
        for name, people in theirs.items()
    }
    left = pd.DataFrame(rows).T
    left = left.astype({str(c): float for c in left if c != "note"})
    if not float(rows["test"]["p"]) <= alpha:
        return left, pd.DataFrame()
    for name, people in theirs.items():
        read.places.test(name, people, seed=seed)
    return left, read.places.table


def _reader_of(
    network: str | nn.Module | bool | None,
    outcome: str,
    discovery: People,
    known: Known,
    others: dict[str, People],
    seed: int,
) -> Reader:
    shipped = _shipped(outcome) if network is None else None
    if network == POOLED or (network is None and shipped is None):
        return PooledReader(discovery.cohort, known.residual(discovery), seed)
    chosen = shipped if network is None else network
    if not isinstance(chosen, (str, Path, nn.Module)):
        raise TypeError(f"network is {kind_of(chosen)}; expected a name, a file or a network with a spec")
    model = chosen if isinstance(chosen, nn.Module) else load_model(chosen)
    known_to = {group: _seen(model, people.cohort) for group, people in others.items()}
    if network is None and any(known_to.values()):
        return PooledReader(discovery.cohort, known.residual(discovery), seed)
    for group, number in known_to.items():
        if number:
            raise ModelError(
                f"the network has learnt from {number} of {len(others[group].y)} records of {group!r}; test on people "
                f"it has not seen, or take network={POOLED!r}, which is trained on discovery patients alone"
            )
    name = "network that was given" if isinstance(chosen, nn.Module) else str(chosen)
    return NetworkReader(model, outcome, _some(discovery, seed).cohort, name)


def _seen(model: nn.Module, cohort: xr.Dataset) -> int:
    """How many records are of patients that a network has learnt from."""
    predicted = predict(model, cohort)
    return int(predicted["seen"].sum()) if "seen" in predicted.coords else 0


def _shipped(outcome: str) -> str | None:
    """The shipped network for an outcome."""
    for name in SHIPPED:
        if outcome in spec_of(load_model(name)).targets:
            return name
    return None


def _at_places(
    places: Places, people: People, outcome: str, baseline: Sequence[str], known: Sequence[str], alpha: float, seed: int
) -> Proposals:
    """A formula at the place, or pair of places, that tells most on discovery patients."""
    best = int(places.table["r"].to_numpy().argmax())
    if places.table["p"].iloc[best] > alpha:
        return Proposals([], {}, 1.0)
    row = [places.reader.places[k] for k in places.rows[best]]
    if not all(place.lead for place in row):  # the rhythm, of which a beat has no formula
        return Proposals([], {}, 1.0)
    at = [(p.lead, p.segment) for p in row]
    found = scan_at(people.cohort, at, outcome, baseline, known=known, alpha=alpha, seed=seed)
    words = places.table.index[best]
    named = [Feature(f.kind, f.lead, f.points, f.of, f"network: {words}", f.centre, f.column) for f in found]
    return Proposals(named, {f"columns at {words}": sum(found.tried.values())}, found.p)


def _chosen(scanned: Sequence[Feature], proposed: Sequence[Feature], cohort: xr.Dataset, n: int) -> list[Feature]:
    """At most n features none of which follows from the others: two of the scan, the network's, others of the scan."""
    first = list(scanned[: min(_FROM_SCAN, max(n - 1, 1))])
    return unlike([*first, *proposed, *scanned[_FROM_SCAN:]], cohort, n)


# ---------------------------------------------------------------- tests


def _holds(manifest: Manifest, tests: pd.DataFrame, people: Sequence[str], alpha: float) -> pd.DataFrame:
    names = [f.name for f in manifest.features]
    raw = {k: _one_way(manifest, tests.xs(k, level="people").loc[names]) for k in people}
    out = pd.DataFrame({"p_test": adjusted_p(raw.pop("test"), "holm")}, index=pd.Index(names, name="feature"))
    passed = (out["p_test"] <= alpha).to_numpy()
    for k, p in raw.items():
        out.loc[passed, f"p_{k}"] = adjusted_p(p[passed], "holm")
    known = out.notna().all(axis=1).to_numpy() | ~passed & out["p_test"].notna().to_numpy()
    everywhere = passed & (out.fillna(1.0) <= alpha).all(axis=1).to_numpy()
    return out.assign(holds=np.where(~known, "not tested everywhere", np.where(everywhere, "yes", "no")))


def _one_way(manifest: Manifest, table: Any) -> np.ndarray:
    """p of each feature (feature,); 1 where its effect is against that of discovery."""
    frozen = np.array([manifest.coefficients[f.name][-1] for f in manifest.features])
    against = table["effect"].to_numpy(float) * frozen < 0
    return np.where(against, 1.0, table["lr_p"].to_numpy(float))


def effects_by_group(manifest: Manifest, cohort: xr.Dataset, ages: Sequence[float] = AGES) -> pd.DataFrame:
    """The effect of each frozen feature in people of some age, heart rate and sex, beside what is known.

    Parameters
    ----------
    manifest : Manifest
    cohort : Dataset
        People who took no part.
    ages : sequence of float
        Where age is cut; heart rate is cut into thirds.

    Returns
    -------
    DataFrame, rows ``feature``, ``by``, ``group``
        - ``n``
        - ``effect``, ``low``, ``high``: per SD of discovery patients, with a Wald interval of 95 %
        - ``p_interplay``: in the row of all, of a likelihood-ratio test that the effect changes with what is cut; not
          corrected for how many are asked
        - ``note``: why a figure is missing
    """
    people = one_record_each(check(cohort))
    table = manifest.table(people)
    columns = {c.name: c for c in manifest.columns}
    rows: list[dict[str, Any]] = []
    for f in manifest.features:
        names = [*([KNOWN] if KNOWN in columns else manifest.baseline), f.name]
        for by, edges in (("age", ages), ("hr", None), ("male", None)):
            if by == manifest.outcome or by not in people.variables:
                continue
            known = table[[manifest.outcome, *names]].notna().all(axis=1).to_numpy()
            values = people[by].values.astype(float)
            known = known & np.isfinite(values)
            if known.sum() < FEWEST_FOR_TEST:
                continue
            straight = [(table[k].to_numpy(float) - columns[k].centre) / columns[k].spread for k in names]
            x = np.c_[np.ones(len(table)), np.stack(straight, axis=1)]
            y = table[manifest.outcome].to_numpy(float)
            z = (values - values[known].mean()) / (values[known].std() or 1.0)
            small = (x if by in names else np.c_[x, z])[known]
            large = np.c_[small, (z * x[:, -1])[known]]
            p, why = likelihood_ratio(y[known], small, large, manifest.binary)
            rows.append({"feature": f.name, "by": by, "group": "all", **_effect(y[known], x[known], manifest.binary)})
            rows[-1] |= {"p_interplay": p, "note": why}
            some = people.isel(record=np.flatnonzero(known))
            for group, members in _groups(some, by, edges).items():
                effect = _effect(y[known][members], x[known][members], manifest.binary)
                rows.append({"feature": f.name, "by": by, "group": group, **effect})
    order = ["feature", "by", "group", "n", "effect", "low", "high", "p_interplay", "note"]
    return pd.DataFrame(rows, columns=order).set_index(["feature", "by", "group"])  # no row where groups are small


def _groups(cohort: xr.Dataset, by: str, edges: Sequence[float] | None) -> dict[str, np.ndarray]:
    """The rows of each group of ten patients or more; of none, where there is no such group."""
    try:
        return groups(cohort, by, edges)
    except RecordError:
        return {}


def _effect(y: np.ndarray, x: np.ndarray, binary: bool) -> dict[str, Any]:
    fitted = regress(y, x, binary)
    row = {"n": len(y), "effect": fitted.params[-1], "low": fitted.low[-1], "high": fitted.high[-1]}
    return row | {"p_interplay": np.nan, "note": fitted.note}


# ---------------------------------------------------------------- in words


def _people_in_words(found: Discovery) -> list[str]:
    counts = ", ".join(f"{int(row['used']):,} {name}" for name, row in found.people.iterrows())
    return [f"{found.outcome}, beyond {len(found.known)} known columns. Records, one of each named patient: {counts}."]


def _scan_in_words(found: Discovery) -> list[str]:
    if found.scan.places.empty:
        return ["No scan was made."]
    total = sum(found.scan.tried.values())
    said = "; ".join(f.name for f in found.scan) or "nothing passes"
    return [f"The scan of {total:,} columns on discovery patients: {said}."]


def _left_in_words(found: Discovery) -> list[str]:
    lines = []
    if found.left.empty:
        return ["No network was asked."]
    score = "AUC" if found.binary else "R2"
    for name, row in found.left.iterrows():
        gain = f"{score} {row['change']:+.3f} ({row['change_low']:+.3f} to {row['change_high']:+.3f})"
        said = f"p {row['p']:.2g}, {gain}" if np.isfinite(row["p"]) else ""
        said = "; ".join(filter(None, [said, str(row["note"])]))
        lines.append(f"Does {_article(found.network)} tell more than that? On {name} ({row['n']:.0f}): {said}.")
    if found.places.empty:
        return [*lines, "So nothing is shown to be left, and where it would be is not asked."]
    columns = _p_columns(found.places)
    named = found.places[found.places["p_test"] <= found.alpha].sort_values("r_test", ascending=False)
    places = "; ".join(
        f"{place} ({', '.join(f'{c[2:]} p {row[c]:.2g}' for c in columns)})" for place, row in named.head(5).iterrows()
    )
    where = f"Where ({len(named)} of {len(found.places)} places and pairs): {places}." if places else (
        f"No place or pair of {len(found.places)} is shown by itself to hold it."
    )  # fmt: skip
    return [*lines, where]


def _article(network: str) -> str:
    """The network as a sentence names it."""
    return f"the {network}" if " " in network else network


def _p_columns(table: pd.DataFrame) -> list[str]:
    return [str(c) for c in table if str(c).startswith("p_")]


def _holds_in_words(found: Discovery) -> list[str]:
    if found.manifest is None:
        return ["No feature was found, so none was frozen or tested, and no manifest was written."]
    lines = []
    for f in found.features:
        row = found.holds.loc[f.name]
        p = ", ".join(f"{c[2:]} p {row[c]:.3g}" for c in _p_columns(found.holds) if np.isfinite(row[c]))
        verdict = {"yes": "holds", "no": "does not hold"}.get(str(row["holds"]), "could not be tested everywhere")
        lines.append(f"{f.name} = {f.formula} ({f.origin}): {f'{verdict} ({p})' if p else 'could not be tested'}.")
    return lines
