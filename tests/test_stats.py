import numpy as np
import pytest
from scipy.stats import false_discovery_control
from sklearn.metrics import roc_auc_score

from ecgwb.stats import (
    RESAMPLES,
    adjusted_p,
    auc,
    auc_interval,
    bootstrap,
    interval,
    mean_interval,
    patient_draws,
    patient_weights,
    permutation_p,
    ratio_interval,
    resampled_sums,
)

RNG = np.random.default_rng(0)
PATIENT = np.array(["a", "b", "b", "c", "d", "d", "d", "e"])


def test_records_of_a_patient_are_drawn_together_and_as_often_as_there_are_patients():
    draws = patient_draws(PATIENT, seed=3)
    assert draws.shape == (RESAMPLES, len(PATIENT))
    np.testing.assert_array_equal(draws[:, 1], draws[:, 2])
    assert (draws[:, [0, 1, 3, 4, 7]].sum(axis=1) == 5).all()
    np.testing.assert_array_equal(draws, patient_draws(np.char.add("other ", PATIENT), seed=3))


def test_sums_are_those_of_the_same_draws():
    values = RNG.normal(size=(len(PATIENT), 4, 3))
    expected = np.einsum("dr,rkt->dkt", patient_draws(PATIENT, 1), values)
    np.testing.assert_allclose(resampled_sums(values, PATIENT, 1), expected)


def test_the_interval_covers_a_known_mean_and_counts_patients_not_records():
    rng = np.random.default_rng(0)
    hits = [
        low <= 0 <= high
        for _, low, high in (mean_interval(rng.normal(size=80), np.arange(80), seed=s) for s in range(200))
    ]
    assert 0.89 <= np.mean(hits) <= 0.99
    values = rng.normal(size=40)
    once = mean_interval(values, np.arange(40))
    twice = mean_interval(np.repeat(values, 2), np.repeat(np.arange(40), 2))
    np.testing.assert_allclose(twice, once)


def test_a_mean_leaves_records_without_a_value_out_with_their_patients():
    values = np.array([1.0, 2.0, np.nan, 4.0, np.nan, np.nan, np.nan, 5.0])
    known = np.isfinite(values)
    assert mean_interval(values, PATIENT) == mean_interval(values[known], PATIENT[known])
    assert np.isnan(mean_interval(values[:0], PATIENT[:0])).all()


def test_a_mean_a_ratio_and_a_weighted_statistic_are_the_same_bootstrap():
    values = RNG.normal(size=len(PATIENT))
    by_weights = bootstrap(lambda w: w @ values / w.sum(axis=1), PATIENT, 0.9, 5)
    np.testing.assert_allclose(mean_interval(values, PATIENT, 0.9, 5), by_weights)
    top, bottom = values * 3, np.where(PATIENT == "c", np.nan, 2.0)
    assert ratio_interval(top, bottom, PATIENT).value == pytest.approx(1.5 * values[PATIENT != "c"].mean())
    assert np.isnan(ratio_interval(top, np.zeros(len(top)), PATIENT)).all()


def test_percentiles_leave_out_resamplings_without_a_value():
    drawn = np.stack([np.arange(101.0), np.full(101, np.nan)], axis=1)
    drawn[:50, 0] = np.nan
    low, high = interval(drawn, 0.8)
    np.testing.assert_allclose(low, [55.0, np.nan])
    np.testing.assert_allclose(high, [95.0, np.nan])


def test_the_area_is_scikit_learns_with_ties_and_weights():
    rng = np.random.default_rng(0)
    y, score = rng.integers(0, 2, 60), rng.integers(0, 12, 60).astype(float)
    draws = rng.multinomial(60, np.full(60, 1 / 60), 20)
    expected = [roc_auc_score(np.repeat(y, w), np.repeat(score, w)) for w in draws]
    np.testing.assert_allclose(auc(y, score, draws), expected)
    assert auc(y, score)[0] == pytest.approx(roc_auc_score(y, score))
    assert np.isnan(auc(np.ones(5), np.arange(5.0))[0])
    assert np.isnan(auc_interval(np.ones(5), np.arange(5.0), np.arange(5))).all()


def test_a_permutation_p_counts_the_data_among_the_permutations():
    permuted = np.array([3.0, 1.0, 2.0, 2.0])
    observed = np.array([[4.0, 3.0], [2.0, np.nan]])
    np.testing.assert_allclose(permutation_p(observed, permuted), [[0.2, 0.4], [0.8, np.nan]])
    assert permutation_p(np.array([2.0 * (1 + 1e-15)]), permuted)[0] == 0.8  # rounding makes no difference


def test_corrections_are_the_published_ones_and_count_tests_that_were_not_made():
    p = np.array([0.01, 0.04, 0.03])
    np.testing.assert_allclose(adjusted_p(p), [0.03, 0.06, 0.06])  # Holm 1979: 3 x, 2 x, 1 x, never falling
    np.testing.assert_allclose(adjusted_p(p, "bh"), false_discovery_control(p))
    np.testing.assert_allclose(adjusted_p(np.r_[p, np.nan]), [0.04, 0.09, 0.09, np.nan])
    np.testing.assert_allclose(adjusted_p(p, tests=5), [0.05, 0.12, 0.12])
    assert not len(adjusted_p(np.array([])))


def test_poisson_weights_follow_from_the_patients_name_alone():
    whole = patient_weights(PATIENT, 2)
    np.testing.assert_array_equal(whole[:, 3:5], patient_weights(PATIENT[3:5], 2))
    assert whole.mean() == pytest.approx(1.0, abs=0.05)
    assert not np.array_equal(whole, patient_weights(PATIENT, 3))
