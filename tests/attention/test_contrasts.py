import numpy as np
import pytest
from conftest import aligned

from ecgwb.attention import map_difference


def groups(rng, n=(25, 35), phases=40):
    values = rng.normal(size=(sum(n), phases)).cumsum(axis=1) * 0.3 + rng.normal(size=(sum(n), phases))
    return aligned(values, sex=["female"] * n[0] + ["male"] * n[1])


def test_a_difference_that_is_not_there_is_found_as_often_as_the_level_says():
    found = [
        float(map_difference(groups(np.random.default_rng(seed)), permutations=199, seed=seed)["p_curve"]) <= 0.05
        for seed in range(300)
    ]
    # 5 % of 300, give or take three binomial SD.
    assert 0.012 <= np.mean(found) <= 0.088


def test_a_difference_is_found_where_it_lies_and_said_in_its_direction():
    values = groups(np.random.default_rng(10))
    values[:25, 10:15] += 4.0
    out = map_difference(values)
    assert out.attrs["contrast"] == "sex: female minus male"
    assert float(out["p_curve"]) < 0.01
    assert (out["p"][10:15] < 0.05).all()
    assert (out["difference"][10:15] > 0).all()
    assert float((out["p"][20:] < 0.05).mean()) < 0.1
    assert out["n"].values.tolist() == [25, 35]


def test_a_shift_of_the_whole_map_is_no_difference_in_where_it_lies():
    values = groups(np.random.default_rng(11))
    values[:25] += 5.0
    assert float(map_difference(values)["p_curve"]) < 0.01
    assert float(map_difference(values, centred=True)["p_curve"]) > 0.05


def test_patients_not_records_are_compared():
    once = groups(np.random.default_rng(12))
    thrice = once.isel(record=np.repeat(np.arange(60), 3)).assign_coords(record=np.arange(180))
    np.testing.assert_allclose(map_difference(thrice)["p"], map_difference(once)["p"])
    mixed = once.assign_coords(patient=("record", ["one"] * 60))
    with pytest.raises(ValueError, match="patient 'one' has two values of 'sex'"):
        map_difference(mixed)
    with pytest.raises(ValueError, match="a difference takes two"):
        map_difference(once[:25])
