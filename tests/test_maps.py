import json

import numpy as np
import pytest
import xarray as xr
from conftest import TYPICAL

import ecgwb as wb
from ecgwb.beats import TIME


def aligned(values, patient=None, **coords):
    n = len(values)
    who = [f"p{i}" for i in range(n)] if patient is None else patient
    return xr.DataArray(
        values, dims=("record", "phase"),
        coords={"record": np.arange(n), "phase": TIME[: values.shape[1]], "patient": ("record", who)}
        | {k: ("record", v) for k, v in coords.items()},
        attrs={"template": json.dumps(TYPICAL)},
    )  # fmt: skip


def test_the_mean_is_the_mean_and_absent_parts_are_counted():
    values = np.random.default_rng(0).normal(size=(10, 30))
    values[:4, :5] = np.nan
    out = wb.cohort_map(aligned(values))
    np.testing.assert_allclose(out["mean"], np.nanmean(values, axis=0))
    assert out["n"].values[[0, 10]].tolist() == [6, 10]


def test_the_band_holds_the_whole_true_curve_as_often_as_it_says():
    rng = np.random.default_rng(1)
    truth = np.sin(np.arange(40) / 5)
    held, runs = 0, 200
    for seed in range(runs):
        person = rng.normal(size=(60, 1)) * 0.5 + rng.normal(size=(60, 40))
        out = wb.cohort_map(aligned(truth + person), seed=seed)
        held += bool(((out["low"] <= truth) & (truth <= out["high"])).all())
    # 95 % of 200 runs, give or take three binomial SD and the bootstrap's known shortfall at n = 60.
    assert 0.88 <= held / runs <= 0.99


def test_records_of_one_patient_do_not_narrow_the_band():
    values = np.random.default_rng(2).normal(size=(30, 20))
    once = wb.cohort_map(aligned(values))
    thrice = wb.cohort_map(aligned(np.repeat(values, 3, axis=0), np.repeat([f"p{i}" for i in range(30)], 3)))
    np.testing.assert_allclose(thrice["high"] - thrice["low"], once["high"] - once["low"], rtol=1e-9)


def test_six_people_have_a_band_and_one_has_none():
    values = np.random.default_rng(5).normal(size=(6, 20))
    assert np.isfinite(wb.cohort_map(aligned(values))["low"]).all()
    assert np.isnan(wb.cohort_map(aligned(values[:1]))["low"]).all()


def test_groups_are_mapped_one_by_one():
    values = np.concatenate([np.zeros((8, 20)), np.ones((6, 20)), np.full((2, 20), 9.0)])
    out = wb.cohort_map(aligned(values, sex=["female"] * 8 + ["male"] * 6 + [""] * 2), by="sex")
    assert out["mean"].sel(sex="female").values.tolist() == [0] * 20
    assert out["mean"].sel(sex="male").values.tolist() == [1] * 20
    with pytest.raises(ValueError, match="'age' has 40 values"):
        wb.cohort_map(aligned(np.zeros((40, 5)), age=np.arange(40.0)), by="age")
    with pytest.raises(ValueError, match="cannot group by 'height'; the records carry"):
        wb.cohort_map(aligned(values), by="height")


def test_nothing_to_average_is_an_error():
    with pytest.raises(ValueError, match="no record has a value"):
        wb.cohort_map(aligned(np.full((3, 20), np.nan)))


def test_shares_find_the_wave_in_which_people_differ():
    values = np.tile(np.linspace(0, 5, 600), (20, 1))
    in_t = (TIME >= 150) & (TIME < 350)
    values[:, in_t] += np.random.default_rng(3).normal(size=(20, 1))
    shares = wb.segment_table(aligned(values)).loc[""]
    assert shares.loc["T", "share"] == pytest.approx(1)
    assert shares["span"].sum() == pytest.approx(1)
    assert (shares["low"] <= shares["share"] + 1e-9).all()


def test_shares_of_noise_are_the_lengths_of_the_segments():
    values = np.random.default_rng(4).normal(size=(200, 600))
    shares = wb.segment_table(aligned(values)).loc[""]
    np.testing.assert_allclose(shares["share"], shares["span"], atol=0.01)
