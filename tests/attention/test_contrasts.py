import functools

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from conftest import aligned

import ecgwb as wb
from ecgwb.attention import contrasts, difference_chunks, map_difference


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


def test_t_is_welchs_and_the_difference_that_of_means_over_many_parts(monkeypatch):
    values = groups(np.random.default_rng(13)) * 10 + 400
    values[3, 7:9] = np.nan
    whole = map_difference(values, permutations=99)
    t = scipy.stats.ttest_ind(values[:25], values[25:], equal_var=False, nan_policy="omit").statistic
    np.testing.assert_allclose(whole["t"], t, rtol=1e-9)
    np.testing.assert_allclose(whole["difference"], values[:25].mean("record") - values[25:].mean("record"), rtol=1e-9)
    monkeypatch.setattr(contrasts, "CHUNK", 7)
    xr.testing.assert_allclose(map_difference(values, permutations=99), whole, rtol=1e-9)


@pytest.mark.parametrize("centred", [False, True])
def test_part_by_part_the_difference_is_that_of_all_at_once(ludb, measures, centred, monkeypatch):
    patient = [f"p{k // 3} {s}" for k, s in enumerate(ludb["sex"].values)]  # some have several records, far apart
    cohort = ludb.assign_coords(patient=("record", patient)).isel(record=np.random.default_rng(0).permutation(200))
    make = functools.partial(wb.ecgradcam, measures, targets=["qt", "pr"])
    whole = map_difference(wb.align(make(cohort), cohort), centred=centred, permutations=199)
    monkeypatch.setattr(contrasts, "CHUNK", 32)
    by_parts = difference_chunks(make, cohort, centred=centred, permutations=199)
    assert set(by_parts.variables) == set(whole.variables)
    for name in ("difference", "t"):
        np.testing.assert_allclose(by_parts[name], whole[name], rtol=1e-6, atol=1e-6 * float(np.abs(whole[name]).max()))
    np.testing.assert_allclose(by_parts["p"], whole["p"], atol=1 / 200)
    assert by_parts["n"].values.tolist() == whole["n"].values.tolist()
    assert by_parts.attrs["contrast"] == whole.attrs["contrast"]
