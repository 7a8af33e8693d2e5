"""Predictions that rest on what a record does not have are marked."""

import numpy as np
import pytest
from conftest import TYPICAL, TinyNet, made_cohort

import ecgwb as wb


@pytest.fixture
def three():
    marks = np.tile(TYPICAL, (4, 1))
    beat = np.random.default_rng(0).normal(0, 300, (4, 8, 600))
    cohort = made_cohort(marks, beat, list("abcd"))
    cohort["fiducial"][1, :3] = np.nan
    return cohort.assign_coords(diagnosis=("record", ["", "", "sinus rhythm; AFIB", "no atrial fibrillation"]))


def predicted(cohort, *targets):
    spec = wb.ModelSpec(targets=targets, units=("ms",) * len(targets))
    return wb.predict(wb.wrap_model(TinyNet(len(targets)).eval(), spec), cohort)


def test_pr_without_a_p_wave_and_in_fibrillation_is_marked(three):
    marked = predicted(three, "pr", "QTc", "qrs")["rests_on_absent"].values.tolist()
    af = "atrial fibrillation or flutter"
    assert marked == ["", "pr: no P wave", f"pr: {af}; QTc: {af}", ""]


def test_predictions_of_other_targets_carry_no_such_mark(three):
    assert "rests_on_absent" not in predicted(three, "qt", "qrs").coords


def test_on_real_people_all_in_fibrillation_are_marked(ludb, measures):
    marked = wb.predict(measures, ludb)["rests_on_absent"].values != ""
    af = np.isin(ludb["rhythm_label"].values, ["Atrial fibrillation", "Atrial flutter, typical"])
    no_p = np.isnan(ludb["fiducial"].sel(landmark="P_on").values)
    np.testing.assert_array_equal(marked, af | no_p)
    assert 0 < af.sum() < marked.sum() < 60


def test_a_cohort_that_has_no_rhythms_is_not_said_to_be_opened_with_them(ludb):
    cohort = ludb.isel(record=slice(3)).drop_vars("rhythm", errors="ignore").assign_attrs(source="ptbxl")
    with pytest.raises(wb.ModelError, match="'ptbxl' holds beats alone"):
        wb.predict(wb.load_model("compact-rhythm"), cohort)
