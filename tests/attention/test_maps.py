import json

import numpy as np
import pytest
import xarray as xr
from conftest import TYPICAL, TinyNet, aligned

import ecgwb as wb
from ecgwb.attention import finish_map, map_difference, map_sums, merge_maps
from ecgwb.cohorts.measurements import TIME


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


@pytest.mark.parametrize("n", [20, 50])
def test_the_band_holds_in_small_cohorts_of_real_maps_too(n, measures, ludb):
    maps = wb.align(wb.ecgradcam(measures, ludb, "qt"), ludb).isel(target=0, phase=slice(100, 400, 10)).dropna("record")
    truth, rng, held, runs = maps.mean("record").values, np.random.default_rng(0), 0, 60
    for seed in range(runs):
        few = aligned(maps.values[rng.integers(0, maps.sizes["record"], n)])
        out = wb.cohort_map(few, seed=seed)
        held += bool(((out["low"] <= truth) & (truth <= out["high"])).all())
    assert held / runs >= 0.95 - 3 * (0.95 * 0.05 / runs) ** 0.5  # three binomial SD


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


def test_diagnoses_are_named_and_a_person_is_in_the_group_of_each():
    values = np.repeat(np.arange(12.0)[:, None], 20, axis=1)
    maps = aligned(values, diagnosis=["AFIB; IMI"] * 6 + ["164889003"] * 3 + ["IMI"] * 3)
    out = wb.cohort_map(maps, by="diagnosis")
    assert list(out["diagnosis"].values) == ["atrial fibrillation", "inferior myocardial infarction"]
    alone = wb.cohort_map(maps.isel(record=[*range(6), *range(9, 12)]))
    xr.testing.assert_allclose(
        out.isel(diagnosis=1, drop=True)[["mean", "low", "high", "n"]], alone[["mean", "low", "high", "n"]]
    )
    halves = [
        wb.attention.map_sums(part, "diagnosis")
        for part in (maps.isel(record=slice(5)), maps.isel(record=slice(5, 12)))
    ]
    merged = wb.attention.finish_map(wb.attention.merge_maps(halves))
    xr.testing.assert_allclose(merged[["mean", "low", "high"]], out[["mean", "low", "high"]])


def test_people_without_a_map_are_not_counted():
    values = np.ones((12, 20))
    values[3] = np.nan
    assert int(wb.cohort_map(aligned(values))["patients"]) == 11


def test_nothing_to_average_is_an_error():
    with pytest.raises(ValueError, match="no record has a value"):
        wb.cohort_map(aligned(np.full((3, 20), np.nan)))
    with pytest.raises(ValueError, match="or is in a group"):
        wb.cohort_map(aligned(np.ones((3, 20)), sex=[""] * 3), by="sex")


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


def pieces(values, n=3):
    """The records taken in turns, so that one patient's lie in several parts."""
    return [values.isel(record=slice(k, None, n)) for k in range(n)]


def test_maps_of_parts_add_up_to_the_map_of_the_whole():
    rng = np.random.default_rng(6)
    values = rng.normal(5, 1, size=(90, 2, 30))
    values[:20, :, :4] = np.nan
    whole = xr.DataArray(
        values, dims=("record", "target", "phase"),
        coords={"record": np.arange(90), "target": ["a", "b"], "phase": TIME[:30],
                "patient": ("record", [f"p{i % 40}" for i in range(90)]),
                "sex": ("record", ["male"] * 30 + ["female"] * 60)},
        attrs={"template": json.dumps(TYPICAL)},
    )  # fmt: skip
    for by in (None, "sex"):
        at_once = wb.cohort_map(whole, by=by)
        added = finish_map(merge_maps(map_sums(part, by) for part in pieces(whole)))
        assert added.attrs == at_once.attrs
        for name in ("mean", "low", "high", "sd", "n", "patients"):
            assert added[name].dims == at_once[name].dims
            np.testing.assert_allclose(added[name], at_once[name], rtol=1e-9)
    assert int(at_once["patients"].sel(sex="female")) == 40
    # A part may hold one of the groups alone, or none.
    nobody = whole[:5].assign_coords(sex=("record", [""] * 5))
    parts = [nobody, *(whole[k : k + 30] for k in (0, 30, 60))]
    added = finish_map(merge_maps(map_sums(part, "sex") for part in parts))
    np.testing.assert_allclose(added["high"], at_once["high"], rtol=1e-9)


def test_maps_of_other_beats_or_draws_do_not_add():
    values = aligned(np.random.default_rng(7).normal(size=(10, 20)))
    other = values.assign_attrs(template=json.dumps([x + 1 for x in TYPICAL]))
    with pytest.raises(ValueError, match="different 'template'"):
        merge_maps([map_sums(values), map_sums(other)])
    with pytest.raises(ValueError, match="different 'draws_by_seed'"):
        merge_maps([map_sums(values), map_sums(values, seed=1)])


def test_the_spread_of_seeds_stands_beside_the_band():
    rng = np.random.default_rng(8)
    people = rng.normal(size=(40, 20))
    shift = np.array([-1.0, 0.0, 1.0])
    nets = xr.concat([aligned(people + s) for s in shift], dim="seed")
    out, one = wb.cohort_map(nets), wb.cohort_map(aligned(people))
    np.testing.assert_allclose(out["seed_sd"], 1.0)
    for name in ("mean", "low", "high", "sd"):
        np.testing.assert_allclose(out[name], one[name], atol=1e-12)
    added = finish_map(merge_maps(map_sums(part) for part in pieces(nets)))
    np.testing.assert_allclose(added["seed_sd"], 1.0)


def test_the_sd_is_between_records():
    values = np.random.default_rng(9).normal(300, 2, size=(50, 10))
    np.testing.assert_allclose(wb.cohort_map(aligned(values))["sd"], values.std(axis=0))


def test_maps_that_are_not_aligned_are_named(measures, ludb):
    maps = wb.ecgradcam(measures, ludb.isel(record=slice(3)), "qt")
    with pytest.raises(ValueError, match=r"without 'phase'; expected what wb\.align\(maps, cohort\) gives"):
        wb.cohort_map(maps)


def test_finished_maps_and_maps_of_leads_are_refused_where_they_do_not_belong(measures, ludb):
    few = ludb.isel(record=slice(6))
    maps = wb.ecgradcam(measures, few, "qt")
    for ask in (map_sums, map_difference, wb.segment_table):
        with pytest.raises(ValueError, match="without 'phase'; expected what"):
            ask(maps)
    done = wb.cohort_map(wb.align(maps, few))
    with pytest.raises(ValueError, match="the sums have no 'total'; expected what map_sums gives"):
        merge_maps([done, done])
    with pytest.raises(ValueError, match="dimension 'lead'; select one, or sum them"):
        wb.segment_table(wb.align(wb.attribute(measures, few, "saliency", "qt"), few))


@pytest.mark.parametrize("ci", [95, 0, 1.0])
def test_a_level_that_is_none_is_named_at_the_door(measures, ludb, ci):
    aligned = wb.align(wb.ecgradcam(measures, ludb.isel(record=slice(6)), "qt"), ludb)
    for ask in (wb.segment_table, wb.cohort_map):
        with pytest.raises(ValueError, match=f"ci is {ci}; expected a level between 0 and 1"):
            ask(aligned, ci=ci)


def test_a_stretch_that_few_people_show_does_not_widen_the_band_of_the_rest():
    values = np.random.default_rng(0).normal(size=(40, 60)) + np.linspace(0, 5, 60)
    whole = wb.cohort_map(aligned(values))
    values[5:, 50:] = np.nan  # 5 of 40: a resampling may show one person alone
    some = wb.cohort_map(aligned(values))
    np.testing.assert_allclose((some["high"] - some["low"])[:50], (whole["high"] - whole["low"])[:50], rtol=0.1)
    assert some["high"][50:].isnull().all()
    assert (some["n"][50:] == 5).all()


def test_infinite_maps_are_counted_and_said(ludb):
    aligned = wb.align(ludb["beat"], ludb).isel(record=slice(20), lead=0).copy(deep=True)
    aligned[3, 5] = np.inf
    with pytest.warns(UserWarning, match="1 of 20 maps have infinite values"):
        cmap = wb.cohort_map(aligned)
    assert np.isfinite(cmap["mean"]).any()


def test_a_start_between_samples_is_labelled_by_the_sample_that_is_read(ludb):
    spec = wb.ModelSpec(targets=("qt",), columns=(0,), start_ms=-200.9, n_samples=300)
    maps = wb.ecgradcam(wb.wrap_model(TinyNet().eval(), spec), ludb.isel(record=slice(3)))
    assert maps["time"].values[0] == -200.0
