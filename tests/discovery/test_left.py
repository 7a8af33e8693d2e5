import numpy as np
import pandas as pd
import pytest
from studies.plants import LABEL, planted_cohort

from ecgwb.discovery.discover import take_part
from ecgwb.discovery.left import Known, People, _within, leans_on, left_over, locate, strata
from ecgwb.discovery.readers import PooledReader

NAMES = ["age", "hr"]


@pytest.fixture(scope="module")
def halves_of(people):
    """Discovery and test people with an interplay planted, what is known, and a reader of it."""
    cohort = planted_cohort(people, "QRS x T", 0.7, 0)[0]
    found, other = (
        take_part(cohort.isel(record=rows), LABEL, NAMES, NAMES)[0] for rows in (slice(0, 580), slice(580, None))
    )
    known = Known.of(found, NAMES, NAMES, True)
    reader = PooledReader(found.cohort, known.residual(found))
    return found, other, known, reader


def test_what_a_reader_knows_is_left_over_and_noise_is_not(halves_of):
    found, other, known, reader = halves_of
    outputs = reader.output(found.cohort, out_of_fold=True), reader.output(other.cohort)
    row = left_over((found, outputs[0]), (other, outputs[1]), known)
    assert row["p"] < 1e-6
    assert row["change_low"] > 0.05
    assert row["effect_low"] > 0
    rng = np.random.default_rng(0)
    noise = left_over((found, rng.normal(size=len(found.y))), (other, rng.normal(size=len(other.y))), known)
    assert noise["p"] > 0.01
    turned = left_over((found, outputs[0]), (other, -outputs[1]), known)
    assert turned["p"] == 1
    assert turned["note"] == "the effect is against that in discovery"


def test_an_output_that_follows_from_what_is_known_is_not_left_over(halves_of):
    found, other, known, _ = halves_of
    outputs = [
        p.table["age"].to_numpy() + 0.01 * np.random.default_rng(1).normal(size=len(p.y)) for p in (found, other)
    ]
    assert left_over((found, outputs[0]), (other, outputs[1]), known)["p"] > 0.01


def test_the_planted_pair_is_located_and_tested(halves_of):
    found, other, known, reader = halves_of
    places = locate(reader, found, known, permutations=300)
    places.test("test", other, permutations=300)
    pairs = places.table[places.table.index.str.contains(" and ")]
    assert pairs["r"].idxmax() == "V2 QRS and V5 T"
    assert pairs.loc["V2 QRS and V5 T", "p_test"] == pytest.approx(1 / 301)
    assert len(places.table) == len(reader.places) + 8


def test_permuting_within_strata_keeps_the_level_where_place_and_outcome_share_what_is_known():
    """The outcome and every place follow age; nothing else joins them, so p is uniform."""
    rng = np.random.default_rng(2)
    p = []
    for seed in range(60):
        age = rng.normal(size=400)
        y = (rng.random(400) < 1 / (1 + np.exp(-1.5 * age))).astype(float)
        table = pd.DataFrame({"age": age, "hr": rng.normal(size=400)})
        some = People(None, table, y, np.arange(400).astype(str))
        known = Known.of(some, NAMES, NAMES, True)
        values = age[:, None] + rng.normal(size=(400, 10))
        freed = known.beyond.freed(table, values, known.beyond.fitted(table, values))
        r, null = _within(freed, some, known, 200, seed)
        p.append((1 + (null >= r.max()).sum()) / 201)
    assert np.mean(np.array(p) <= 0.05) <= 0.13  # 97.5 % quantile of a binomial of 60 at 0.05: 0.12
    assert 0.35 < np.mean(p) < 0.65


def test_strata_hold_forty_people_or_more_and_are_ordered():
    expected = np.random.default_rng(0).normal(size=410)
    stratum = strata(expected)
    assert np.bincount(stratum).min() >= 40
    means = [expected[stratum == k].max() for k in range(stratum.max())]
    assert all(expected[stratum == k + 1].min() >= top for k, top in enumerate(means))
    assert set(strata(expected[:30])) == {0}


def test_a_reader_is_asked_which_measurements_it_leans_on(halves_of):
    found, _, known, _ = halves_of
    table = leans_on(found.table["hr"].to_numpy() ** 3, found, known.beyond)
    assert table.index[0] == "hr"
    assert table.loc["hr", "r"] > 0.8
    assert table.attrs["r2"] > 0.6
    assert abs(table.loc["age", "alone"]) < 0.05
