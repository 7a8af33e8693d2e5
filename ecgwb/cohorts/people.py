"""Patients: whose recording each is, groups of patients, and splits that keep a patient on one side."""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ..recordings.identity import spelling
from ..recordings.record import RecordError
from ..recordings.snomed import name_of
from .copies import same_recordings
from .guards import check, counted, json_attribute, kind_of

TEST_SHARE = 1 / 3
_FEW_TO_SPLIT = 10  # of fewer patients all may be on one side by chance
FEWEST_IN_GROUP = 10  # patients of a group that a number is worth
_FEW_VALUES = 10  # whole numbers that stand for kinds, such as 0 and 1, or folds


def patients_of(data: xr.DataArray | xr.Dataset) -> np.ndarray:
    """The patient of each record, by name; a record is its own patient where nobody is named.

    Parameters
    ----------
    data : DataArray or Dataset

    Returns
    -------
    array (record,) of str
    """
    records = data["record"].values.astype(str)
    if "patient" not in data.coords:
        return records
    patients = data["patient"].values.astype(str)
    return np.where(patients == "", np.char.add("record ", records), patients) if (patients == "").any() else patients


def folds_of(data: xr.DataArray | xr.Dataset) -> np.ndarray:
    """The fold of each record (record,), by name; "" where a data set has no folds of its own that part patients.

    PTB-XL has: its recordings are the same people's at any rate, and in any folder. Of a joined cohort the coordinate
    ``folds`` says of each record whose its fold is.
    """
    name = data["folds"].values if "folds" in data.coords else str(data.attrs.get("folds", ""))
    if "fold" not in data.coords or not np.any(np.asarray(name) != ""):
        return np.full(data.sizes["record"], "")
    number = pd.to_numeric(pd.Series(data["fold"].values), errors="coerce").fillna(0).astype(int)
    names = np.broadcast_to(np.asarray(name).astype(str), number.shape)
    return np.array([f"{n} fold {k}" if k > 0 and n else "" for n, k in zip(names, number, strict=True)], dtype=str)


def names_patients(data: xr.DataArray | xr.Dataset) -> bool:
    """Whether every record says whose it is, and none has but its own name for a patient's."""
    if "patient" not in data.coords or not all(map(str, data["patient"].values)):
        return False
    return not stand_ins(data).any()


def stand_ins(data: xr.DataArray | xr.Dataset) -> np.ndarray:
    """Where (record,) the patient is but the record's own name, since nobody was named."""
    return _stand_in(_who(data))


def _who(data: xr.DataArray | xr.Dataset) -> dict[str, np.ndarray]:
    """What `WHO` names, as far as it is there; records without names are called by their numbers."""
    return {"record": data["record"].values} | {k: data[k].values for k in WHO if k in data.coords}


def own_names(data: xr.DataArray | xr.Dataset) -> np.ndarray:
    """The patient of each record (record,), as the cohort called him that the record was joined from."""
    patients = patients_of(data)
    if "source" not in data.coords or data["source"].dims != ("record",):
        return patients
    pairs = zip(patients.tolist(), data["source"].values.tolist(), strict=True)
    return np.array([p.removeprefix(f"{source}/") for p, source in pairs], dtype=str)


def sources_of(data: xr.DataArray | xr.Dataset) -> list[tuple[str, str, np.ndarray]]:
    """The cohorts that this one is joined from, or itself: source, name of the folds, and rows."""
    n = data.sizes["record"]
    if "source" not in data.coords or "folds" not in data.coords:
        return [(str(data.attrs.get("source", "cohort")), str(data.attrs.get("folds", "")), np.arange(n))]
    pairs = list(
        zip(data["source"].values.astype(str).tolist(), data["folds"].values.astype(str).tolist(), strict=True)
    )
    codes, which = pd.factorize(pd.Series(pairs))
    return [(*pair, np.flatnonzero(codes == k)) for k, pair in enumerate(which)]


def named_patients(data: xr.DataArray | xr.Dataset) -> np.ndarray:
    """The patient of each record (record,), by name.

    Raises
    ------
    ValueError
        When a record has none.
    """
    if "patient" not in data.coords or not all(map(str, data["patient"].values)):
        fix = "give each one: cohort.assign_coords(patient=('record', names))"
        if data.attrs.get("folds"):
            fix = "split by its folds, which part patients: cohort.isel(record=cohort.fold.values <= 8), and so on"
        raise ValueError(
            f"some records have no patient, so that two of one person cannot be told from two people; {fix}"
        )
    return patients_of(data)


# ---------------------------------------------------------------- who is who

WHO = ("record", "patient", "patient_named", "samples", "outline")
"""The coordinates by which it is told whose a record is; the last two by which a recording is known again."""


def who_is_who(of: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What is doubtful about whose each record is.

    Parameters
    ----------
    of : mapping of array (record,)
        What `WHO` names, as far as it is there.

    Returns
    -------
    dict
        ``unnamed``, how many records name no patient; ``same_recording``, lists of records that are one and the same,
        scale aside; ``copies``, those of them that differ in steps or rate; ``two_patients``, those of them that name
        different patients; ``alike``, lists of patients whose names differ only in case, spaces, leading zeros or ".0".
    """
    records = of["record"].astype(str)
    patients = of["patient"].astype(str) if "patient" in of else np.full(len(records), "")
    unnamed = _stand_in(of) | (patients == "")
    same, copies = same_recordings(of)
    several = [rows for rows in same if len({patients[k] for k in rows if not unnamed[k]}) > 1]
    spellings: dict[str, set[str]] = {}
    for patient in set(patients[~unnamed].tolist()):
        spellings.setdefault(spelling(patient), set()).add(patient)
    return {
        "unnamed": int(unnamed.sum()),
        "same_recording": [records[rows].tolist() for rows in same],
        "copies": [records[rows].tolist() for rows in copies],
        "two_patients": [records[rows].tolist() for rows in several],
        "alike": sorted(sorted(names) for names in spellings.values() if len(names) > 1),
    }


def _stand_in(of: Mapping[str, np.ndarray]) -> np.ndarray:
    """Where (record,) the patient is but the record's own name, since nobody was named."""
    records = of["record"].astype(str)
    if "patient" not in of or "patient_named" not in of:
        return np.zeros(len(records), dtype=bool)
    patients = of["patient"].astype(str)
    own = np.array([p.endswith(r) for p, r in zip(patients, records, strict=True)], dtype=bool)
    return own & (of["patient_named"].astype(float) == 0)


def lines_of_doubt(cohort: xr.Dataset) -> list[str]:
    """What `who_is_who` found as a cohort was built, in sentences, one of each kind."""
    return _sentences(json_attribute(cohort, "who_is_who", {}), cohort.sizes["record"])


_ARE = ("recording is", "recordings are")


def _sentences(doubts: Mapping[str, Any], n: int) -> list[str]:
    lines = []
    unnamed = doubts.get("unnamed", 0)
    if unnamed and n > 1:
        some = f"{unnamed} of {n} recordings {'does' if unnamed == 1 else 'do'} not say"
        who = f"none of the {n} recordings says" if unnamed == n else some
        lines.append(
            f"{who} whose it is, and each counts as a person: splits leak where one person has two. Name them by a "
            "column patient: metadata=, or columns={'patient': 'its name'}"
        )
    two = doubts.get("two_patients", [])
    once = [rows for rows in doubts.get("same_recording", []) if rows not in two]
    if once:
        but = " but for steps or rate" if once[0] in doubts.get("copies", []) else ""
        lines.append(
            f"{counted(len(once), *_ARE)} there more than once, with the same samples{but}, such as {_named(once[0])}"
        )
    if two:
        lines.append(
            f"{counted(len(two), *_ARE)} there more than once under different patients, such as {_named(two[0])}"
        )
    alike = doubts.get("alike", [])
    if alike:
        lines.append(
            f"{counted(len(alike), 'patient is', 'patients are')} written in different ways and counted "
            f"as different people, such as {_named(alike[0])}; write them the same where they are one person"
        )
    return lines


def _named(names: Sequence[str]) -> str:
    return " and ".join([repr(n) for n in names[:3]] + (["others"] if len(names) > 3 else []))


def warn_of_leaks(cohorts: Iterable[xr.Dataset], stacklevel: int = 2) -> None:
    """Warns when one person may count as two, so that a split by patients need not part people.

    Parameters
    ----------
    cohorts : iterable of Dataset
        That are split together.
    stacklevel : int
        As of `warnings.warn`.
    """
    parts = [_who(c) | {"patient": patients_of(c)} for c in cohorts]
    shared = [k for k in WHO if all(k in part for part in parts)]
    of = {k: np.concatenate([part[k] for part in parts]) for k in shared}
    doubts = who_is_who(of)
    patient = dict(zip(of["record"].astype(str).tolist(), of["patient"].astype(str).tolist(), strict=True))
    leaking = [rows for rows in doubts["same_recording"] if len({patient[r] for r in rows}) > 1]
    lines = _sentences(doubts | {"same_recording": leaking}, len(of["record"]))
    if lines:
        warnings.warn(f"one person may be on both sides: {'; '.join(lines)}", stacklevel=stacklevel + 1)


def same_people(values: xr.DataArray | xr.Dataset, cohort: xr.Dataset) -> None:
    """Refuses a cohort whose records have the names of other people's: data sets number theirs from 1.

    Raises
    ------
    ValueError
        When a record is another patient's in the cohort than in the values.
    """
    if "patient" not in values.coords or "patient" not in cohort.coords:
        return
    theirs = patients_of(cohort.sel(record=values["record"].values))
    for record, a, b in zip(values["record"].values, patients_of(values), theirs, strict=True):
        if a != b:
            raise ValueError(
                f"record '{record}' is patient '{a}' in the values and '{b}' in the cohort: give the cohort "
                "that the values come from"
            )


def one_record_each(cohort: xr.Dataset) -> xr.Dataset:
    """Every patient's first record.

    Parameters
    ----------
    cohort : Dataset

    Returns
    -------
    Dataset
    """
    again = pd.Series(patients_of(cohort)).duplicated().to_numpy()
    return cohort.isel(record=np.flatnonzero(~again))


def need_one_record_each(cohort: xr.Dataset) -> None:
    """Refuses a cohort in which a patient has two records, where both would count as people.

    Raises
    ------
    ValueError
        When one has.
    """
    patients = pd.Series(patients_of(cohort))
    if patients.duplicated().any():
        twice = patients[patients.duplicated()].iloc[0]
        raise ValueError(f"patient {twice!r} has two records; give one each: wb.cohorts.one_record_each(cohort)")


def in_words(cohort: xr.Dataset) -> str:
    """A cohort's name and how many people it holds, as captions give it.

    Parameters
    ----------
    cohort : Dataset

    Returns
    -------
    str
        Such as "LUDB, 200 people", or "mine, 12 people in 20 recordings"; where nobody is named, "PTB-XL, 2,198
        recordings".
    """
    name = str(cohort.attrs.get("source", "this cohort"))
    people, records = len(np.unique(patients_of(cohort))), cohort.sizes["record"]
    name = {"ludb": "LUDB", "ptbxl500": "PTB-XL-500", "ptbxl": "PTB-XL"}.get(name, name)
    if "patient" in cohort.coords and (cohort["patient"] == "").all():
        return f"{name}, {records:,} recordings"
    return f"{name}, {people} people{f' in {records} recordings' if records > people else ''}"


def split_patients(cohort: xr.Dataset, test: float = TEST_SHARE, seed: int = 0) -> tuple[xr.Dataset, xr.Dataset]:
    """Discovery and test patients of a cohort; no patient is in both.

    A patient's side follows from a hash of the patient's name and the seed, so it does not depend on who else is in
    the cohort, nor on the order of records. A part can be split again: what it was split by before is kept in its
    attribute ``splits``, and the second split by a seed is another one than the first.

    Parameters
    ----------
    cohort : Dataset
        With a ``patient`` for every record.
    test : float
        Share of patients to test on, above 0 and below 1: each one's chance to be among them.
    seed : int
        Another seed is another split.

    Returns
    -------
    discovery, test : Dataset

    Raises
    ------
    ValueError
        When `test` is no such share, a record has no patient, or all patients, ten or more, would be on one side.

    Warns
    -----
    UserWarning
        When it is doubtful whose the records are, so that one person may be on both sides: nobody is named, a
        recording is there twice under two names, or names differ only in case, spaces or leading zeros.
    """
    cohort = check(cohort)
    if not 0 < test < 1:
        raise ValueError(f"test is {test}; expected a share between 0 and 1")
    warn_of_leaks([cohort])
    before = json_attribute(cohort, "splits", [])
    again = before.count(seed)
    drawn_by = f"{seed}, again {again}" if again else seed
    is_test = np.array([patient_draw(name, drawn_by) < test for name in named_patients(cohort)])
    n = len(np.unique(patients_of(cohort)))
    if n >= _FEW_TO_SPLIT and (is_test.all() or not is_test.any()):
        raise RecordError(
            f"all {n} patients would be {'test' if is_test.all() else 'discovery'} patients, with test={test:g} and "
            f"seed={seed}; give more people, another share, or another seed"
        )
    cohort = cohort.assign_attrs(splits=json.dumps([*before, seed if isinstance(seed, str) else int(seed)]))
    return cohort.isel(record=np.flatnonzero(~is_test)), cohort.isel(record=np.flatnonzero(is_test))


def patient_draw(patient: str, seed: int | str = 0) -> float:
    """A number from 0 to 1 that follows from the patient's name and the seed alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{patient}".encode()).digest()[:8], "big") / 2**64


def column(data: xr.DataArray | xr.Dataset, by: str) -> np.ndarray:
    """What the records (record,) carry under a name.

    Raises
    ------
    RecordError
        When they carry no such thing.
    """
    carried = data.variables if isinstance(data, xr.Dataset) else data.coords
    if by not in carried or data[by].dims != ("record",):
        have = ", ".join(str(k) for k, v in carried.items() if v.dims == ("record",))
        raise RecordError(f"cannot group by {by!r}; the records carry {have}")
    return data[by].values


def groups(cohort: xr.Dataset, by: str, edges: Sequence[float] | None = None) -> dict[str, np.ndarray]:
    """The rows of a cohort in each group of a column.

    Parameters
    ----------
    cohort : Dataset
    by : str
        A column of records. Numbers are cut at `edges`; a text that lists several things, parted by ";", counts in
        the group of each. Codes of a ``"diagnosis"`` are given their names; see `statement_names`.
    edges : sequence of float, optional
        Where to cut numbers; a group holds its lower edge. By default into thirds; few whole numbers, such as 0 and 1
        or folds, are a group each.

    Returns
    -------
    dict of array
        Groups of at least ten patients.

    Raises
    ------
    RecordError
        When the records carry no such column, or none of its groups has ten patients.
    """
    values = column(cohort, by)
    if values.dtype.kind in "fiub":
        values = values.astype(float)
        if not np.isfinite(values).any():
            raise RecordError(f"no value of {by!r} is known; there are no groups")
        known = np.unique(values[np.isfinite(values)])
        few = len(known) <= min(_FEW_VALUES, len(values) / FEWEST_IN_GROUP)
        if edges is None and few and (known == np.round(known)).all():
            return _enough({f"{v:g}": values == v for v in known}, cohort, by)
        if edges is None:
            edges = [float(f"{v:.3g}") for v in np.nanquantile(values, [1 / 3, 2 / 3])]
        elif isinstance(edges, str) or not np.size(edges) or not np.isfinite(np.ravel(edges)).all():
            raise RecordError(f"edges is {edges!r}; expected numbers at which {by!r} is cut, such as (50, 70)")
        cuts = [-np.inf, *sorted(set(map(float, np.ravel(edges)))), np.inf]
        members = {_span(a, b): (values >= a) & (values < b) for a, b in itertools.pairwise(cuts)}
    else:
        table = listed(map(names_in, values) if by == "diagnosis" else values)
        members = {str(name): table[name].to_numpy() for name in table}
    return _enough(members, cohort, by)


def _enough(members: dict[str, np.ndarray], cohort: xr.Dataset, by: str) -> dict[str, np.ndarray]:
    """The rows of those groups that have enough patients."""
    patient = patients_of(cohort)
    found = {k: np.flatnonzero(m) for k, m in members.items() if len(np.unique(patient[m])) >= FEWEST_IN_GROUP}
    if not found:
        raise RecordError(f"no group of {by!r} has {FEWEST_IN_GROUP} patients")
    return found


def statement_names(cohort: xr.Dataset) -> xr.Dataset:
    """A cohort whose diagnoses are names: of "AFIB" or "164889003" it says "atrial fibrillation".

    Parameters
    ----------
    cohort : Dataset

    Returns
    -------
    Dataset
        With other values of ``diagnosis``. Codes of SNOMED CT, as ECG collections use them, and those of PTB-XL have
        names; what is no such code stays as it is.

    Raises
    ------
    RecordError
        When the cohort has no ``diagnosis``.
    """
    if not isinstance(cohort, xr.Dataset):
        raise TypeError(f"cohort is {kind_of(cohort)}; expected a cohort whose diagnoses are to have names")
    names = [names_in(text) for text in column(cohort, "diagnosis")]
    return cohort.assign_coords(diagnosis=("record", np.array(names, dtype=str), cohort["diagnosis"].attrs))


def names_in(text: str) -> str:
    """A text of statements, parted by ";", with names in place of codes, each once."""
    return "; ".join(dict.fromkeys(name_of(part) for part in str(text).split(";") if part.strip()))


def listed(texts: Iterable[Any]) -> pd.DataFrame:
    """What texts (record,) list, parted by ";": for each thing a column of bool (record,), by their sorted names."""
    parts = pd.Series([";".join(part.strip() for part in str(text).split(";")) for text in texts], dtype=object)
    return parts.str.get_dummies(";").drop(columns=["", "nan"], errors="ignore").astype(bool)


def with_statements(cohort: xr.Dataset, by: str = "diagnosis") -> xr.Dataset:
    """A cohort with a variable for every statement of a column: 1 where a record has it, 0 where it has others.

    Parameters
    ----------
    cohort : Dataset
    by : str
        A column of texts that list several things, parted by ";".

    Returns
    -------
    Dataset
        Each variable (record,) is called like its statement, and NaN where the column is empty.

    Raises
    ------
    RecordError
        When there is no such column, or a statement is called like a variable of the cohort.
    """
    texts = column(cohort, by).astype(str)
    known = ~np.isin(np.char.strip(texts), ["", "nan"])
    table = listed(texts).astype(float).where(pd.Series(known))
    taken = [name for name in table if name in cohort.variables]
    if taken:
        raise RecordError(f"the cohort has a variable {taken[0]!r} already; rename it: cohort.rename")
    return cohort.assign({name: ("record", table[name].to_numpy()) for name in table})


def _span(low: float, high: float) -> str:
    if low == -np.inf:
        return f"below {high:g}"
    return f"{low:g} or more" if high == np.inf else f"{low:g} to {high:g}"
