"""Standard errors of intervals, and what they do to a regression."""

import numpy as np
import pytest
from conftest import TYPICAL, made_cohort

import ecgwb as wb
from ecgwb.cohorts import reliability, standard_errors
from ecgwb.delineation.landmarks import LANDMARKS


@pytest.fixture
def people():
    """A thousand people whose true QT is known, and landmarks with errors of 6 ms (QRS_on) and 8 ms (T_off)."""
    rng = np.random.default_rng(0)
    true = rng.normal(400, 20, 1000)
    cohort = made_cohort([TYPICAL] * 1000)
    doubt = np.full((1000, 9), 5.0)
    doubt[:, LANDMARKS.index("QRS_on")], doubt[:, LANDMARKS.index("T_off")] = 6.0, 8.0
    measured = true + rng.normal(0, 10, 1000)
    values = {"qt": measured, "pr": rng.normal(160, 20, 1000), "qrs": rng.normal(90, 10, 1000)}
    cohort = cohort.assign({k: ("record", v, {"units": "ms"}) for k, v in values.items()})
    return cohort.assign(doubt=(("record", "landmark"), doubt)), true


def test_the_standard_error_of_an_interval_is_that_of_its_two_ends(people):
    errors = standard_errors(people[0])
    np.testing.assert_allclose(errors["qt"], 10)
    np.testing.assert_allclose(errors["qrs"], np.hypot(6, 5))


def test_a_slope_divided_by_the_reliability_is_the_true_one(people):
    cohort, true = people
    outcome = 2 * true + np.random.default_rng(1).normal(0, 5, 1000)
    attenuated = np.polyfit(cohort["qt"].values, outcome, 1)[0]
    assert attenuated < 1.75
    assert attenuated / reliability(cohort).loc["qt", "reliability"] == pytest.approx(2, abs=0.12)


def test_real_intervals_are_mostly_true(ludb):
    table = reliability(ludb)
    assert table["n"].tolist()[1:] == [200, 200]
    assert table["reliability"].between(0.5, 1).all()
    moved = wb.cohorts.move_landmark(ludb, "2", "T_off", float(ludb["fiducial"].sel(record="2", landmark="T_off")) + 4)
    assert np.isnan(standard_errors(moved)["qt"].sel(record="2"))
