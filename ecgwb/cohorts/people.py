"""Who is who: the patients behind records, and splits that keep a patient on one side."""

from __future__ import annotations

import hashlib

import numpy as np
import xarray as xr

TEST_SHARE = 1 / 3


def patients_of(data: xr.DataArray | xr.Dataset) -> np.ndarray:
    """Whose each record is (record,); a record is its own patient where nobody is named."""
    return data["patient" if "patient" in data.coords else "record"].values.astype(str)


def same_people(values: xr.DataArray | xr.Dataset, cohort: xr.Dataset) -> None:
    """Refuses a cohort whose records have the names of other people's: data sets number theirs from 1.

    Raises
    ------
    ValueError
        When a record is another patient's in the cohort than in the values.
    """
    if "patient" not in values.coords or "patient" not in cohort.coords:
        return
    ours = values["patient"].values.astype(str)
    theirs = cohort["patient"].sel(record=values["record"]).values.astype(str)
    for record, a, b in zip(values["record"].values, ours, theirs, strict=True):
        if a != b:
            raise ValueError(
                f"record '{record}' is patient '{a}' in the values and '{b}' in the cohort: give the cohort "
                "that the values come from"
            )


def split_patients(cohort: xr.Dataset, test: float = TEST_SHARE, seed: int = 0) -> tuple[xr.Dataset, xr.Dataset]:
    """Discovery and test patients of a cohort; no patient is in both.

    A patient's side follows from a hash of the patient's name and the seed, so it does not depend on who else is in
    the cohort, nor on the order of records.

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
        When `test` is no such share, or a record has no patient.
    """
    if not 0 < test < 1:
        raise ValueError(f"test is {test}; expected a share between 0 and 1")
    if not all(map(str, cohort["patient"].values)):
        raise ValueError("some records have no patient; a split by record would put one person on both sides")
    is_test = np.array([patient_draw(str(p), seed) < test for p in cohort["patient"].values])
    return cohort.isel(record=np.flatnonzero(~is_test)), cohort.isel(record=np.flatnonzero(is_test))


def patient_draw(patient: str, seed: int | str = 0) -> float:
    """A number from 0 to 1 that follows from the patient's name and the seed alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{patient}".encode()).digest()[:8], "big") / 2**64


def one_record_each(cohort: xr.Dataset) -> xr.Dataset:
    """The cohort with the first record of every patient."""
    _, first = np.unique(patients_of(cohort), return_index=True)
    return cohort.isel(record=np.sort(first))


def in_words(cohort: xr.Dataset) -> str:
    """A cohort's name and how many people it holds, as captions say it.

    Parameters
    ----------
    cohort : Dataset

    Returns
    -------
    str
        Such as "LUDB, 200 people", or "mine, 12 people in 20 recordings".
    """
    name = str(cohort.attrs.get("source", "this cohort"))
    people, records = len(np.unique(patients_of(cohort))), cohort.sizes["record"]
    name = {"ludb": "LUDB", "ptbxl500": "PTB-XL-500"}.get(name, name)
    return f"{name}, {people} people{f' in {records} recordings' if records > people else ''}"
