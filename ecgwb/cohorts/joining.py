"""Cohorts joined: names made unique, people kept apart, what each part is and whom it credits kept."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from .beats import RHYTHM
from .guards import check, counted, json_attribute
from .people import WHO, patients_of, stand_ins, who_is_who

_MUST_AGREE = ("fs", "filters", "units", "edited")  # attributes without which numbers of the parts cannot be compared
_LISTS = ("excluded", "metadata_without_record", "records_without_metadata", "landmarks_changed")
_OF_A_PART = ("source", "folds", "credit", "sha256", "inputs", "landmarks", "beats", "ecgwb")


@dataclass(frozen=True)
class _Part:
    """A cohort, what it is called among the others, and its records and patients under their new names."""

    cohort: xr.Dataset
    name: str
    data_set: str  # the same for cohorts whose patients have the same names; empty where nothing says so
    prefix: str  # of records, empty where they differ without
    records: np.ndarray
    patients: np.ndarray


def concat(
    cohorts: Iterable[xr.Dataset], names: Sequence[str] | None = None, *, same_people: bool = False
) -> xr.Dataset:
    """Join cohorts into one.

    Parameters
    ----------
    cohorts : iterable of Dataset
        As from `open_cohort` or `build_cohort`, of one rate and one filter.
    names : sequence of str, optional
        What each is called; by default its ``attrs["source"]``, with a number where two are called the same.
    same_people : bool
        Whether a patient's name means the same person in all of them. It does anyway in parts of one data set, such as
        two of PTB-XL. Otherwise patients are called "name/patient".

    Returns
    -------
    Dataset
        Records, one cohort after the other, called "name/record" where two would have one name. The coordinates
        ``source`` and ``folds`` (record,) say which cohort, and whose folds, each is of, so that networks are still
        known to have seen them; ``attrs["joined"]`` lists the parts (JSON). Numbers that a part lacks are NaN, texts
        empty; whole recordings are kept where all parts have them.

    Raises
    ------
    ValueError
        When rates, filters or units differ, a cohort is a joined one, or a recording is in two of them.
    """
    given = [cohorts] if isinstance(cohorts, xr.Dataset) else list(cohorts)
    checked = [check(c) for c in given]
    if not checked:
        raise ValueError("there is no cohort to join")
    if any("joined" in c.attrs for c in checked):
        raise ValueError("a cohort is joined already; join all parts at once: concat([a, b, c])")
    _agree(checked)
    parts = _named(checked, _names_of(checked, names), same_people)
    _same_recordings(parts)
    whole = xr.concat(
        _alike(parts), "record", data_vars="all", coords="all", compat="override", join="override",
        combine_attrs="drop",
    )  # fmt: skip
    for name, v in whole.variables.items():  # attributes such as units are the first part's that has any
        v.attrs = next((p.cohort[name].attrs for p in parts if name in p.cohort.variables), {})
    return whole.assign_attrs(_attributes(parts, whole))


def _agree(cohorts: list[xr.Dataset]) -> None:
    for key in _MUST_AGREE:
        seen = {repr(c.attrs.get(key)) for c in cohorts}
        if len(seen) > 1:
            raise ValueError(f"the cohorts differ in {key!r}: {' and '.join(sorted(seen))}; build them alike")
    for name in dict.fromkeys(str(n) for c in cohorts for n in c.variables):
        units = {str(c[name].attrs["units"]) for c in cohorts if name in c.variables and "units" in c[name].attrs}
        if len(units) > 1:
            raise ValueError(f"the cohorts have {name!r} in {' and in '.join(sorted(units))}; bring them to one unit")


def _names_of(cohorts: list[xr.Dataset], names: Sequence[str] | None) -> list[str]:
    if names is None:
        own = [str(c.attrs.get("source", "cohort")) for c in cohorts]
        sets = [_data_set(c) for c in cohorts]
        clash = [
            n
            for n, k in Counter(own).items()
            if k > 1 and len({s for s, o in zip(sets, own, strict=True) if o == n} - {""}) != 1
        ]
        seen: Counter[str] = Counter()
        for k, name in enumerate(own):
            seen[name] += 1
            own[k] = f"{name}-{seen[name]}" if name in clash else name
        return own
    if isinstance(names, str) or len(names) != len(cohorts):
        raise ValueError(f"names is {names!r}; expected a list of {len(cohorts)} names")
    out = [str(n) for n in names]
    if len(set(out)) < len(out) or not all(out) or any("/" in n for n in out):
        raise ValueError(f"names are {', '.join(map(repr, out))}; expected names that differ, without '/'")
    return out


def _data_set(cohort: xr.Dataset) -> str:
    """What a cohort's patients are numbered by: a data set that is known, or nothing."""
    return str(cohort.attrs.get("folds", "") or cohort.attrs.get("credit", ""))


def _named(cohorts: list[xr.Dataset], names: list[str], same_people: bool) -> list[_Part]:
    """The parts, their records and patients called so that nobody's name is another's."""
    sets = [_data_set(c) or f" {k}" for k, c in enumerate(cohorts)]
    owner: dict[str, int] = {}
    clash = False
    for k, c in enumerate(cohorts):
        for record in c["record"].values.astype(str).tolist():
            j = owner.setdefault(record, k)
            if j != k and sets[j] == sets[k]:
                raise ValueError(f"{names[j]!r} and {names[k]!r} are of one data set, and record {record!r} is in both")
            clash |= j != k
    parts = []
    for name, data_set, c in zip(names, sets, cohorts, strict=True):
        prefix = f"{name}/" if clash else ""
        records = np.array([prefix + r for r in c["record"].values.astype(str)])
        known = tuple(f"{x}-" for x in (c.attrs.get("folds"), c.attrs.get("source")) if x)
        apart = not same_people and len(set(sets)) > 1
        own = [
            f"{name}/{p}" if apart and p and not p.startswith(known) else p
            for p in (c["patient"].values.astype(str) if "patient" in c.coords else np.full(len(records), ""))
        ]
        own = [f"record {r}" if s else p for p, r, s in zip(own, records, stand_ins(c), strict=True)]
        parts.append(_Part(c, name, data_set, prefix, records, np.array(own, dtype=str)))
    return parts


def _same_recordings(parts: list[_Part]) -> None:
    """Refuses a recording that is in two parts: by the hash of its samples, or else by its beat."""
    by_samples = all("samples" in p.cohort.coords for p in parts)
    owner: dict[Any, tuple[int, str]] = {}
    both: list[tuple[_Part, str, _Part, str]] = []
    for k, p in enumerate(parts):
        if by_samples:
            keys: list[Any] = p.cohort["samples"].values.astype(str).tolist()
        else:
            keys = [b.tobytes() if np.ptp(b) > 0 else "" for b in p.cohort["beat"].values]
        for key, record in zip(keys, p.cohort["record"].values.astype(str).tolist(), strict=True):
            if key not in ("", "nan"):
                j, first = owner.setdefault(key, (k, record))
                if j != k:
                    both.append((parts[j], first, p, record))
    if both:
        a, one, b, other = both[0]
        lost = [record for _, _, part, record in both if part is b]
        more = ", and so on" if len(lost) > 3 else ""
        it, many = "it" if len(both) == 1 else "them", counted(len(both), "recording is", "recordings are")
        raise ValueError(
            f"{many} in two of the cohorts, such as {one!r} of {a.name!r}, which is {other!r} of {b.name!r}; "
            f"leave {it} out of one: cohort.drop_sel(record={lost[:3]!r}{more})"
        )


def _alike(parts: list[_Part]) -> list[xr.Dataset]:
    """The parts with the same variables over the same dimensions, ready to be laid after each other."""
    kept = [n for n in RHYTHM if not all(n in p.cohort for p in parts)]
    cohorts = [p.cohort.drop_vars(kept, errors="ignore") for p in parts]
    cycles = max((c.sizes["cycle"] for c in cohorts if "cycle" in c.sizes), default=0)
    like = {str(n): v for c in reversed(cohorts) for n, v in c.variables.items() if v.dims[:1] == ("record",)}
    coords = {n for c in cohorts for n in c.coords} | {"source", "folds", "patient"}
    out = []
    for p, c in zip(parts, cohorts, strict=True):
        n = c.sizes["record"]
        if "cycle" in c.sizes:
            c = c.pad(cycle=(0, cycles - c.sizes["cycle"]), constant_values=np.nan)
        added = {
            name: (v.dims, np.full((n, *(c.sizes.get(d, v.sizes[d]) for d in v.dims[1:])), _nothing(name, v)))
            for name, v in like.items()
            if name not in c.variables
        }
        own = {
            "record": p.records,
            "patient": ("record", p.patients),
            "source": ("record", np.full(n, p.name)),
            "folds": ("record", np.full(n, str(p.cohort.attrs.get("folds", "")))),
        }
        c = c.assign(added).assign_coords(own)
        out.append(c.set_coords([name for name in coords if name in c.variables]))
    return out


def _nothing(name: str, v: xr.Variable) -> Any:
    if v.dtype.kind in "UOST":
        return ""
    return {"fold": -1, "patient_named": 1}.get(name, np.nan)


def _attributes(parts: list[_Part], whole: xr.Dataset) -> dict[str, Any]:
    first = parts[0].cohort.attrs
    attrs = {k: first[k] for k in _MUST_AGREE if k in first}
    lists: dict[str, list[Any]] = {}
    for p in parts:
        for key in _LISTS:
            for entry in json_attribute(p.cohort, key, []):
                lists.setdefault(key, []).append(_renamed(entry, p.prefix))
    of_parts = [
        {"name": p.name, "records": len(p.records)}
        | {k: str(p.cohort.attrs[k]) for k in _OF_A_PART if p.cohort.attrs.get(k)}
        for p in parts
    ]
    joined = {
        k: list(dict.fromkeys(str(x[k]) for x in of_parts if k in x)) for k in ("credit", "landmarks", "beats", "ecgwb")
    }
    content = json.dumps([[p.cohort.attrs.get("sha256", ""), p.records.tolist()] for p in parts])
    return {
        **attrs,
        "source": " + ".join(dict.fromkeys(p.name for p in parts)),
        **{k: "; ".join(some) for k, some in joined.items() if some},
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        **{k: json.dumps(some, ensure_ascii=False) for k, some in lists.items()},
        "n_records": whole.sizes["record"],
        "who_is_who": json.dumps(
            who_is_who({k: whole[k].values for k in WHO if k in whole.coords} | {"patient": patients_of(whole)}),
            ensure_ascii=False,
        ),
        "joined": json.dumps(of_parts, ensure_ascii=False),
    }


def _renamed(entry: Any, prefix: str) -> Any:
    """An entry of a list of records, under their new names."""
    if isinstance(entry, str):
        return prefix + entry
    if isinstance(entry, dict) and "record" in entry:
        return entry | {"record": prefix + str(entry["record"])}
    if isinstance(entry, dict) and "records" in entry:
        return entry | {"records": [prefix + str(r) for r in entry["records"]]}
    return entry
