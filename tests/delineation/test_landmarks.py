"""Global landmarks from those of the leads, and the beat's from those of its cycles."""

import numpy as np
import pytest

from ecgwb.delineation.landmarks import (
    LANDMARKS,
    P_OFF,
    P_ON,
    QRS_ON,
    STANDARD_ERROR,
    T_OFF,
    T_ON,
    J,
    R,
    beat_landmarks,
    global_marks,
    in_order,
    intervals,
)

TYPICAL = np.array([-200, -150, -100, -40, 0, 50, 150, 250, 350.0])


def test_global_onset_is_the_fifth_earliest_of_twelve_and_offset_the_fifth_latest():
    marks = np.full((1, 12, 9), np.nan)
    marks[0, :, QRS_ON] = np.arange(12) * 10.0
    marks[0, :, J] = np.arange(12) * 10.0
    marks[0, :, R] = np.arange(12) * 10.0  # the median
    middle, outer, inner = global_marks(marks)[:, 0]
    assert (middle[QRS_ON], outer[QRS_ON], inner[QRS_ON]) == (40, 30, 50)
    assert (middle[J], outer[J], inner[J]) == (70, 80, 60)
    assert middle[R] == 55


@pytest.mark.parametrize(("n_leads", "present", "absent"), [(12, 4, 3), (8, 3, 2), (2, 1, 0)])
def test_a_wave_counts_from_a_third_of_the_leads(n_leads, present, absent):
    marks = np.full((2, n_leads, 9), np.nan)
    marks[0, :present, P_ON] = 1.0
    marks[1, :absent, P_ON] = 1.0
    assert np.isfinite(global_marks(marks)[0, :, P_ON]).tolist() == [True, False]


def test_an_absent_p_leaves_pr_absent_and_the_rest_known():
    out = intervals(np.array([np.nan, np.nan, np.nan, -40, 0, 50, 150, 250, 350]))
    assert np.isnan(out["pr"])
    assert (out["qrs"], out["qt"]) == (90, 390)


def test_landmarks_that_pass_another_wave_are_moved_to_its_boundary_and_absent_ones_stay_absent():
    late_p, early_t = TYPICAL.copy(), TYPICAL.copy()
    late_p[P_OFF], early_t[T_ON], early_t[P_ON] = -20, 30, np.nan
    assert in_order(late_p)[P_OFF] == -40
    assert in_order(early_t)[T_ON] == 50
    assert np.isnan(in_order(early_t)[P_ON])
    np.testing.assert_array_equal(in_order(TYPICAL), TYPICAL)


def test_a_beats_landmarks_are_medians_of_the_beats_that_make_it():
    r = np.array([1000.0, 2000.0, 3000.0, 4000.0])
    marks = r[:, None, None] + np.tile(TYPICAL, (4, 12, 1))  # no lead differs from another
    marks[:, :, T_OFF] += np.array([-6.0, 0.0, 6.0, 500.0])[:, None]
    marks[1:, :, P_ON] = np.nan
    used = np.array([True, True, True, False])
    found = beat_landmarks(marks, r, used)
    np.testing.assert_array_equal(found.fiducial[QRS_ON:], TYPICAL[QRS_ON:])
    assert np.isnan(found.fiducial[P_ON])  # one of three shows it
    assert beat_landmarks(marks, r, used, share=0.0).fiducial[P_ON] == -200
    np.testing.assert_array_equal(found.cycles[:, R], r)
    floor, factor = STANDARD_ERROR["T_off"]
    assert found.doubt[T_OFF] == pytest.approx(np.hypot(floor, factor * 1.4826 * 6))  # the median of 6, 0 and 6
    assert found.doubt[J] == STANDARD_ERROR["J"][0]


def test_spread_is_half_the_gap_between_the_neighbouring_leads_where_beats_agree():
    marks = np.full((3, 12, len(LANDMARKS)), np.nan)
    marks[:, :, QRS_ON] = np.arange(12) * 10.0 - 100
    found = beat_landmarks(marks, np.zeros(3), np.full(3, True))
    outer, inner = found.neighbour[:, QRS_ON]
    assert (outer, found.fiducial[QRS_ON], inner) == (-70, -60, -50)
    floor, factor = STANDARD_ERROR["QRS_on"]
    assert found.doubt[QRS_ON] == pytest.approx(np.hypot(floor, factor * 10))
    one = beat_landmarks(marks[:1], np.zeros(1), np.array([True]))  # how much beats differ is not known
    assert one.doubt[QRS_ON] == pytest.approx(np.hypot(floor, factor * np.hypot(10, 20)))


def test_the_standard_error_is_that_of_the_study(ludb):
    from studies.landmark_doubt import constants, coverage

    for name, fitted in constants(ludb).items():
        np.testing.assert_allclose(fitted, STANDARD_ERROR[name], atol=0.05)
    table = coverage(ludb).xs("all", level="by")
    boundaries = table.loc[["P_on", "P_off", "QRS_on", "J", "T_off"]]
    assert boundaries["within_1"].between(0.60, 0.76).all()
    assert boundaries["within_2"].between(0.91, 0.98).all()
