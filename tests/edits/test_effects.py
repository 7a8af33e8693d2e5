import numpy as np
import pytest
from conftest import TYPICAL, made_cohort
from hypothesis import given, settings
from hypothesis import strategies as st
from known_nets import Ignores, Linear, LooksAside, reads, wrapped

import ecgwb as wb
from ecgwb.cohorts.measurements import TIME
from ecgwb.delineation.landmarks import WAVES
from ecgwb.edits.effects import DOSES
from ecgwb.models.spec import ModelError


@pytest.mark.parametrize("wave", WAVES)
def test_blanking_draws_a_straight_line_between_the_waves_ends_and_touches_nothing_else(wave):
    cohort = made_cohort(TYPICAL)
    out = wb.edits.blank(cohort, wave)
    start, stop = (dict(zip(wb.LANDMARKS, TYPICAL, strict=True))[m] for m in WAVES[wave])
    inside = (start <= TIME) & (stop >= TIME)
    np.testing.assert_array_equal(out["beat"].values[..., ~inside], cohort["beat"].values[..., ~inside])
    line = out["beat"].values[0][:, inside]
    ends = cohort["beat"].values[0][:, inside][:, [0, -1]]
    np.testing.assert_allclose(line[:, [0, -1]], ends, atol=1e-3)  # no jump at either end
    np.testing.assert_allclose(np.diff(line, 2), 0, atol=1e-2)
    assert out["blanked"].values.tolist() == [[start, stop]]


@settings(max_examples=40, deadline=None)
@given(st.floats(-240, -150), st.floats(20, 60), st.floats(40, 120), st.floats(20, 130), st.floats(35, 170))
def test_a_sham_is_as_long_as_the_wave_and_touches_no_wave(p_on, pr_gap, qrs, st_length, hr):
    j = max(p_on + 80 + pr_gap + qrs + 60, 10)
    marks = [p_on, p_on + 40, p_on + 80, p_on + 80 + pr_gap, 0, j]
    marks += [marks[5] + st_length, marks[5] + st_length + 90, marks[5] + st_length + 170]
    cohort = made_cohort(marks, hr=hr)
    for wave, (a, b) in WAVES.items():
        start, stop = wb.edits.blank(cohort, wave, sham=True)["blanked"].values[0]
        if np.isnan(start):
            continue
        own = dict(zip(wb.LANDMARKS, marks, strict=True))
        assert stop - start == pytest.approx(own[b] - own[a])
        for x, y in WAVES.values():
            for beat in (-60000 / hr, 0.0, 60000 / hr):  # neither its own waves nor its neighbours'
                assert stop <= own[x] + beat or start >= own[y] + beat


def test_an_absent_wave_cannot_be_blanked():
    marks = np.array([TYPICAL, TYPICAL], float)
    marks[0, :3] = np.nan
    out = wb.edits.blank(made_cohort(marks), "P")
    assert np.isnan(out["beat"].values).all(axis=(1, 2)).tolist() == [True, False]
    with pytest.raises(ValueError, match="expected one of P, QRS, T"):
        wb.edits.blank(made_cohort(marks), "U")


def test_blanking_on_real_people_shows_the_papers_pattern_beside_shams_that_do_little(measures, ludb):
    table = wb.blanking_table(measures, ludb)
    assert list(table.index) == list(wb.TARGETS)
    for target, wave in (
        ("pr", "P"),
        ("pr", "QRS"),
        ("qrs", "QRS"),
        ("qt", "QRS"),
        ("qt", "T"),
        ("r_v5", "QRS"),
        ("t_v5", "T"),
    ):
        assert table.loc[target, f"{wave}_low"] > table.loc[target, "intact_high"], (target, wave)
        assert table.loc[target, wave] > 1.3 * table.loc[target, f"sham_{wave}"], (target, wave)
    for target, wave in (("qt", "P"), ("qrs", "P"), ("r_v5", "P"), ("t_v5", "P")):
        # In the paper QRS without P has 1.5 times the intact error.
        assert table.loc[target, wave] < 2 * table.loc[target, f"{wave}_same"], (target, wave)


def test_a_cohort_without_targets_is_refused(tiny, ludb):
    with pytest.raises(ModelError, match="no record has both a prediction and a value in the cohort of a, b"):
        wb.blanking_table(tiny, ludb)


@pytest.fixture(scope="module")
def people(ptbxl):
    return ptbxl.isel(record=slice(0, 24)).drop_vars(["rhythm", "cycle_fiducial", "cycle_used"])


def test_the_dose_response_of_a_network_that_reads_one_sample_is_known(people):
    cohort = made_cohort([TYPICAL] * 12, beat=people["beat"].values[:12])
    table = wb.dose_response(reads("V5", 50.0), cohort, measured=False)  # J of a typical beat
    slopes = table["slope"].xs("qt", level="target")
    assert slopes["J"] == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(slopes[["PR", "QT", "R", "T"]], 0, atol=1e-6)
    assert table["measured_slope"].isna().all()
    assert (table["n"] > 0).all()
    quiet = wb.dose_response(wrapped(Ignores(1), ("qt",)), cohort, measured=False)
    assert (quiet[["slope", "low", "high", "moved"]] == 0).all(axis=None)


def test_the_workbench_follows_known_edits_of_real_beats(people, measures):
    table = wb.dose_response(measures, people)
    own = {name: table.loc[(name, target)] for name, (_, _, target) in DOSES.items()}
    for name in ("PR", "QT", "J", "R", "T"):
        assert own[name]["measured_slope"] == pytest.approx(1, abs=0.1), name
    assert 0.6 < own["QRS"]["measured_slope"] < 1.1  # it sees three quarters of what QRS grows, the rest in PR and T
    assert table.loc[("QRS", "qt"), "measured_slope"] > 0.75  # a wider QRS is a longer QT
    for edit, target in (("QT", "pr"), ("PR", "t_v5"), ("R", "qt"), ("T", "qrs")):
        assert abs(table.loc[(edit, target), "measured_slope"]) < 0.1, (edit, target)
    known = table.dropna()
    assert ((known["measured_low"] <= known["measured_slope"]) & (known["low"] <= known["slope"])).all()
    assert np.isnan(table.loc[("QT", "hr"), "measured_slope"])
    seen = wb.dose_response(measures, people, measured=False, seen_only=True)
    assert (seen["n"] <= table["n"]).all()
    assert seen.loc[("QRS", "qrs"), "n"] < table.loc[("QRS", "qrs"), "n"] or table.loc[("QRS", "qrs"), "outside"] < 0.5


def test_the_point_spread_of_known_receptive_fields(tiny, people):
    narrow = wb.edits.point_spread(tiny, people.isel(record=slice(8)), at_ms=(-100, 0, 200))
    # 15 samples see a position, 4 lie between two, the bump is 8 ms wide at half its height and 16 at its foot.
    reach = 2 * (15 / 2 + 4) + 8
    assert (narrow["q05"] > -reach).all()
    assert (narrow["q95"] < reach).all()
    assert (narrow["width"] < narrow["width90"]).all()
    assert ((narrow["low"] <= narrow["width"]) & (narrow["width"] <= narrow["high"])).all()
    aside = wrapped(LooksAside(75), ("qt",))
    moved = wb.edits.point_spread(aside, people.isel(record=slice(8)), at_ms=(0, 200))
    np.testing.assert_allclose(moved["q50"], -150, atol=6)
    none = wb.edits.point_spread(wrapped(Ignores(1), ("qt",)), people.isel(record=slice(4)), at_ms=(0,))
    assert none["change"].item() == 0
    assert np.isnan(none["width"].item())


def test_gradients_say_exactly_what_blanking_does_to_a_linear_network(people):
    rng = np.random.default_rng(0)
    model = wrapped(Linear(rng.normal(size=(2, 8, 600))), ("pr", "qt"))
    table = wb.edits.faithfulness(model, people, ("saliency", "published"))
    np.testing.assert_allclose(table.loc["saliency"]["slope"], 1, rtol=1e-3)
    np.testing.assert_allclose(table.loc["saliency"]["r"], 1, rtol=1e-4)
    assert (table.loc["published"]["r"].abs() < 0.9).all()
    none = wb.edits.faithfulness(wrapped(Ignores(1), ("qt",)), people, ("gradcam",))
    assert (none[["slope", "r", "r_high"]] == 0).all(axis=None)


def test_occlusions_of_single_leads_add_up_where_leads_do(people):
    weight = np.random.default_rng(0).normal(size=(1, 8, 600))
    table = wb.edits.faithfulness(wrapped(Linear(weight), ("qt",)), people, ("occlusion", "integrated_gradients"))
    np.testing.assert_allclose(table.loc["occlusion"]["slope"], 1, rtol=1e-3)
    assert (table.loc["integrated_gradients"]["r"] < 0.999).any()  # its baseline is 0 µV, not the blanked beat


def test_people_without_p_waves_give_no_slope_for_pr():
    marks = np.array([TYPICAL] * 6, float)
    marks[:, :3] = np.nan
    table = wb.dose_response(reads("V5", 50.0), made_cohort(marks), measured=False)
    assert table.loc[("PR", "qt"), "n"] == 0
    assert np.isnan(table.loc[("PR", "qt"), "slope"])
    assert table.loc[("J", "qt"), "slope"] == pytest.approx(1, abs=1e-5)
