"""Predictions that rest on what a record does not have are marked."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import TYPICAL, TinyNet, made_cohort

import ecgwb as wb
from ecgwb.models.prediction import fibrillates


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


def test_the_table_counts_them_and_warns_where_they_are_compared(three):
    predictions = predicted(three, "pr", "qrs")
    measured = three.assign({t: ("record", [150.0, np.nan, 160.0, 170.0], {"units": "ms"}) for t in ("pr", "qrs")})
    with pytest.warns(UserWarning, match=r"\(1 of pr\), such as PR without a P wave"):
        table = wb.accuracy_table(predictions, measured)
    assert table["absent"].to_dict() == {"pr": 2, "qrs": 0}
    assert table.loc["pr", "n"] == 3
    rest = predictions.isel(record=predictions["rests_on_absent"].values == "")
    assert wb.accuracy_table(rest, measured).loc["pr", ["absent", "n"]].tolist() == [0, 2]


def test_the_scatter_draws_them_as_crosses_and_counts_those_without_a_measurement(three):
    measured = np.array([150.0, np.nan, 160.0, 170.0])
    predictions = predicted(three, "pr", "qrs")
    with wb.figures.styled():
        ax = wb.figures.plot_agreement(predictions["pr"], measured, "ms", plt.subplots()[1])
        assert [len(dots.get_offsets()) for dots in ax.collections] == [2, 1]
        assert ax.texts[0].get_text() == "no P wave or AF:\n1 drawn as ×\n1 predicted,\nnot measured"
        other = wb.figures.plot_agreement(predictions["qrs"], measured, "ms", plt.subplots()[1])
    assert not other.texts
    assert len(other.collections[1].get_offsets()) == 0
    plt.close("all")


@pytest.mark.parametrize(
    ("words", "af"),
    [
        ("Atrial flutter, typical", True), ("sinus rhythm; AFIB", True), ("paroxysmal atrial fibrillation", True),
        ("sinus rhythm, no atrial fibrillation", False), ("sinus rhythm; without atrial flutter", False),
        ("no sign of atrial fibrillation", False),
    ],
)  # fmt: skip
def test_fibrillation_is_read_from_words_unless_they_deny_it(three, words, af):
    assert fibrillates(three.assign_coords(diagnosis=("record", [words] * 4))).tolist() == [af] * 4
