"""Codes of diagnoses and their names."""

import numpy as np
import pytest

import ecgwb as wb
from ecgwb.cohorts.people import groups, names_in
from ecgwb.recordings.snomed import names, scp_names


def test_codes_of_both_lists_become_names_and_words_stay():
    assert names_in("AFIB; 164889003; seen twice") == "atrial fibrillation; seen twice"
    assert names_in("") == ""
    assert names_in("AFIB; ;") == "atrial fibrillation"
    assert names_in("LAO/LAE;VCLVH") == (
        "left atrial overload/enlargement; voltage criteria (QRS) for left ventricular hypertrophy"
    )


def test_every_code_of_a_real_cohort_has_a_name(ptbxl):
    named = wb.cohorts.statement_names(ptbxl)
    codes = {c for text in ptbxl["diagnosis"].values for c in text.split("; ")} - {""}
    assert codes <= set(scp_names())
    of_af = ["AFIB" in text.split("; ") for text in ptbxl["diagnosis"].values]
    assert of_af == ["atrial fibrillation" in text.split("; ") for text in named["diagnosis"].values]
    assert sum(of_af) > 5
    assert not codes & {c for text in named["diagnosis"].values for c in text.split("; ")}


def test_the_lists_give_each_code_one_name():
    for table in (names(), scp_names()):
        assert all(code and name and code.strip() == code and name.strip() == name for code, name in table.items())
    assert len(scp_names()) == 71


def test_groups_of_diagnoses_have_names_and_other_columns_their_own(ptbxl):
    found = groups(ptbxl, "diagnosis")
    assert "atrial fibrillation" in found or "normal ECG" in found
    assert "NORM" not in found
    np.testing.assert_array_equal(found["normal ECG"], groups(ptbxl, "superclass")["NORM"])


def test_a_cohort_without_diagnoses_is_refused(ludb):
    with pytest.raises(wb.RecordError, match="diagnosis"):
        wb.cohorts.statement_names(ludb.drop_vars("diagnosis"))
