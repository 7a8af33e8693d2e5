"""What a test can find: said before anything is frozen."""

import numpy as np
import pytest

import ecgwb as wb
from ecgwb.discovery import Feature, detectable, freeze

R_V5 = Feature("amplitude", "V5", [("R", 0, "J")])


@pytest.mark.parametrize(("people", "columns"), [(60, 0), (60, 5), (200, 2)])
def test_the_smallest_correlation_is_found_in_four_of_five_trials(people, columns):
    r = detectable(people, columns)["partial_r"]
    rng = np.random.default_rng(people + columns)
    found = 0
    for _ in range(1000):
        z = np.c_[np.ones(people), rng.normal(size=(people, columns))]
        x = rng.normal(size=people)
        y = r * x + np.sqrt(1 - r**2) * rng.normal(size=people)
        x, y = (v - z @ np.linalg.lstsq(z, v, rcond=None)[0] for v in (x, y))
        partial = (x @ y) / np.sqrt((x @ x) * (y @ y))
        free = people - columns - 2
        found += abs(partial * np.sqrt(free / (1 - partial**2))) > 2.0  # t of p = 0.05, to a hair
    assert found / 1000 == pytest.approx(0.8, abs=0.04)


def test_the_smallest_difference_is_found_in_four_of_five_trials():
    apart = detectable(120, cases=30)["difference_sd"]
    rng = np.random.default_rng(0)
    one, other = rng.normal(apart, 1, (2000, 30)), rng.normal(0, 1, (2000, 90))
    z = (one.mean(axis=1) - other.mean(axis=1)) / np.sqrt(1 / 30 + 1 / 90)
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.03)


def test_more_tests_and_fewer_people_find_larger_effects_alone():
    assert detectable(100, tests=10)["partial_r"] > detectable(100)["partial_r"] > detectable(1000)["partial_r"]
    assert detectable(5, columns=3)["partial_r"] == 1.0
    assert detectable(50, cases=0)["difference_sd"] == np.inf


@pytest.mark.parametrize(
    "given", [{"people": -1}, {"people": 10, "cases": 11}, {"people": 10, "tests": 0}, {"people": 9, "power": 1}]
)
def test_what_is_no_plan_is_refused(given):
    with pytest.raises(ValueError, match="expected counts of people"):
        detectable(**given)


def test_one_feature_that_was_specified_beforehand_needs_no_count(ludb):
    alone = freeze(R_V5, ludb, baseline=("age",))
    assert alone.tried == {"feature, specified beforehand": 1}
    assert alone == freeze([R_V5], ludb, baseline=("age",))
    assert "1 feature, specified beforehand" in str(alone)


def test_features_that_were_found_or_are_several_need_one(ludb):
    found = Feature("amplitude", "V5", [("R", 0, "J")], origin="attention")
    for features in (found, [found], [R_V5, Feature("number", column="qt")]):
        with pytest.raises(ValueError, match="say what was tried"):
            freeze(features, ludb, baseline=("age",))


def test_too_few_test_people_are_said_before_freezing(ludb, tmp_path):
    with pytest.warns(UserWarning, match=r"40 people are few .* partial correlation of 0.4\d, or 0.9\d SD"):
        freeze(R_V5, ludb, baseline=("age",), test_people=40)
    assert freeze(R_V5, ludb, baseline=("age",), test_people=400).tried
    with pytest.warns(UserWarning, match="no effect"):
        wb.freeze(R_V5, ludb, baseline=("age",), test_people=3)


def test_few_cases_among_many_people_are_said_too(ludb):
    rare = ludb.assign(rare=("record", (np.arange(ludb.sizes["record"]) % 20 == 0).astype(float)))
    with pytest.warns(UserWarning, match=r"100 people are few .* 0.28, or 1.29 SD .* a medium one is 0.3, or 0.63 SD"):
        freeze(R_V5, rare, "rare", baseline=("age",), test_people=100)
    with pytest.warns(UserWarning, match="is no effect"):
        freeze(R_V5, rare, "rare", baseline=("age",), test_people=9)  # half a case is expected
