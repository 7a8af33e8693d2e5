"""Cohorts larger than memory, and work on a cluster: the same results, part by part."""

import operator
from functools import partial

import numpy as np
import pytest

import ecgwb as wb
from ecgwb.__main__ import main
from ecgwb.cohorts import beats, building, stores
from ecgwb.models import prediction


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(prediction, "CHUNK", 64)


@pytest.fixture(scope="module")
def stored(ptbxl, tmp_path_factory):
    """PTB-XL-500 on the disk, and the same in memory."""
    out = tmp_path_factory.mktemp("store") / "ptbxl500.zarr"
    ptbxl.to_zarr(out, zarr_format=2)
    return out


def on_disk(cohort):
    return {name for name, v in cohort.variables.items() if not v._in_memory}


def same(a, b, tolerance=1e-6):
    """Equal to `tolerance` of the values' size, with the same labels."""
    assert a.dims == b.dims
    assert set(a.coords) == set(b.coords)
    np.testing.assert_array_equal(a["record"], b["record"])
    np.testing.assert_allclose(a.values, b.values, rtol=tolerance, atol=tolerance * float(np.nanmax(np.abs(b.values))))


def test_a_path_is_opened_without_reading_its_beats(stored):
    cohort = wb.open_cohort(stored)
    assert "beat" in on_disk(cohort)
    assert not on_disk(cohort) & {"record", "patient", "sex", "fiducial", "qt"}
    assert cohort.isel(record=slice(5))["beat"].shape == (5, 8, 600)


def test_of_many_records_long_texts_and_what_each_lead_has_stay_on_the_disk_too(ptbxl, tmp_path):
    many = ptbxl.drop_vars(beats.RHYTHM, errors="ignore").isel(record=np.arange(1100) % ptbxl.sizes["record"])
    many = many.assign_coords(record=[f"{k:04d}" for k in range(1100)])
    stores.write(many.drop_vars("beat"), {"beat": [many["beat"].values]}, building.FORM, tmp_path / "many.zarr")
    cohort = wb.open_cohort(tmp_path / "many.zarr")
    assert {"beat", "flags", "diagnosis", "neighbour"} <= on_disk(cohort)
    assert not on_disk(cohort) & {"record", "patient", "sex", "fiducial", "qt"}
    for name in ("flags", "diagnosis", "neighbour", "beat"):
        np.testing.assert_array_equal(cohort.isel(record=slice(1000, 1090))[name], many[name].values[1000:1090])
    for name, v in many.variables.items():
        np.testing.assert_array_equal(cohort[name].transpose(*v.dims), v)


def test_part_by_part_gives_what_all_at_once_gives(stored, ptbxl, measures, small_parts):
    cohort = wb.open_cohort(stored)
    predicted, at_once = wb.predict(measures, cohort), wb.predict(measures, ptbxl)
    same(predicted["qt"], at_once["qt"])
    assert predicted.attrs == at_once.attrs
    maps = wb.ecgradcam(measures, cohort, ["qt", "r_v5"])
    aligned = wb.align(maps, cohort)
    values = partial(wb.ecgradcam, measures, targets=["qt", "r_v5"])
    for by in (None, "sex"):
        added, whole = wb.attention.map_chunks(values, cohort, by), wb.cohort_map(aligned, by)
        for name in ("mean", "low", "high", "sd"):
            np.testing.assert_allclose(
                added[name], whole[name], rtol=1e-6, atol=1e-6 * float(np.abs(whole[name]).max())
            )
        np.testing.assert_array_equal(added["n"], whole["n"])
        np.testing.assert_array_equal(added["patients"], whole["patients"])
        assert added.attrs["template"] == whole.attrs["template"]
        assert list(added["target"].values) == ["qt", "r_v5"]


def test_the_common_beat_is_mapped_the_same_way_and_seeds_side_by_side(stored, ptbxl, measures, small_parts):
    cohort = wb.open_cohort(stored)
    mapped = wb.attention.map_chunks(operator.itemgetter("beat"), cohort)
    np.testing.assert_allclose(
        mapped["mean"], wb.cohort_map(wb.align(ptbxl["beat"], ptbxl))["mean"], rtol=1e-6, atol=1e-3
    )
    one = partial(wb.ecgradcam, measures, targets="qt")
    twice = wb.attention.map_chunks([one, one], cohort)
    np.testing.assert_allclose(twice["seed_sd"], 0.0, atol=1e-9)


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.filterwarnings("ignore::Warning")  # dask and its servers warn of what is theirs
def test_two_workers_build_predict_and_map_as_one_process_does(
    client, few_of_ludb, measures, tmp_path, monkeypatch, one_thread
):
    folder = few_of_ludb(24)
    monkeypatch.setattr(stores, "CHUNK", 6)
    monkeypatch.setattr(prediction, "CHUNK", 7)
    monkeypatch.setattr(prediction, "PART", {"beat": 7, "rhythm": 7})
    on_workers = wb.build_cohort(folder, tmp_path / "workers.zarr", client=client)
    at_home = wb.build_cohort(folder, tmp_path / "home.zarr")
    assert set(on_workers.variables) == set(at_home.variables)
    for name, v in at_home.variables.items():
        if v.dtype.kind == "f":
            np.testing.assert_allclose(on_workers[name], v, rtol=1e-6, atol=1e-6 * float(np.nanmax(np.abs(v.values))))
        else:
            np.testing.assert_array_equal(on_workers[name], v)
    assert wb.excluded(on_workers).equals(wb.excluded(at_home))
    assert wb.excluded(on_workers)["record"].tolist() == ["4"]

    cohort = wb.open_cohort(tmp_path / "home.zarr")
    same(wb.predict(measures, cohort, client=client)["qt"], wb.predict(measures, cohort)["qt"])
    maps, single = wb.ecgradcam(measures, cohort, "qt", client=client), wb.ecgradcam(measures, cohort, "qt")
    same(maps, single)
    assert maps.attrs == single.attrs
    values = partial(wb.ecgradcam, measures, targets="qt")
    for by in (None, "sex"):
        one, two = (
            wb.attention.map_chunks(values, cohort, by),
            wb.attention.map_chunks(values, cohort, by, client=client),
        )
        for name in ("mean", "low", "high", "sd"):
            np.testing.assert_allclose(two[name], one[name], rtol=1e-6, atol=1e-9)
        assert two.attrs == one.attrs
    assert main(["build", str(folder), str(tmp_path / "cli.zarr"), "--scheduler", client.scheduler.address]) == 0
    np.testing.assert_array_equal(wb.open_cohort(tmp_path / "cli.zarr")["qt"], on_workers["qt"])
    here_only = cohort.load()
    same(wb.predict(measures, here_only, client=client)["qt"], wb.predict(measures, cohort)["qt"])


@pytest.mark.filterwarnings("ignore::Warning")
def test_what_failed_on_a_worker_is_reported(client, ludb, measures):
    holed = ludb.isel(record=slice(4)).copy(deep=True)
    holed["beat"][2, 0, 5] = np.nan
    predicted = wb.predict(measures, holed, client=client)
    assert np.isnan(predicted["qt"].values).tolist() == [False, False, True, False]
    assert wb.excluded(predicted)["record"].tolist() == [str(holed["record"].values[2])]
    faint = holed.assign(beat=holed["beat"] / 1000)
    with pytest.raises(wb.ModelError, match="Signals in mV are to be multiplied"):
        wb.predict(measures, faint, client=client)
