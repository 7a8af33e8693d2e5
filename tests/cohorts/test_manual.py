"""Landmarks moved by hand stay where they were put, through a store and back, and can be taken back."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import ecgwb as wb


@pytest.fixture(scope="module")
def few(ludb):
    return ludb.isel(record=slice(12))


def t_off(cohort, record="2"):
    return float(cohort["fiducial"].sel(record=record, landmark="T_off"))


def test_a_moved_landmark_is_marked_measured_from_and_logged(few):
    at = t_off(few)
    moved = wb.cohorts.move_landmark(few, "2", "T_off", at + 24, source="JK")
    assert t_off(moved) == at + 24
    assert t_off(few) == at
    assert float(moved["qt"].sel(record="2") - few["qt"].sel(record="2")) == pytest.approx(24)
    assert float(moved["qrs"].sel(record="2")) == float(few["qrs"].sel(record="2"))
    assert moved["manual"].values.sum() == 1
    assert bool(moved["manual"].sel(record="2", landmark="T_off"))
    assert np.isnan(moved["doubt"].sel(record="2", landmark="T_off"))
    (entry,) = json.loads(moved.attrs["landmarks_changed"])
    assert entry == {
        "source": "JK", "records": ["2"], "landmarks": ["T_off"], "from_ms": at, "to_ms": at + 24,
        "from_doubt_ms": float(few["doubt"].sel(record="2", landmark="T_off")), "from_manual": False,
    }  # fmt: skip
    others = [r for r in few["record"].values if r != "2"]
    for name in ("fiducial", "doubt", *wb.TARGETS):
        np.testing.assert_array_equal(moved[name].sel(record=others), few[name].sel(record=others))


def test_moving_j_measures_the_voltages_anew(few):
    moved = wb.cohorts.move_landmark(few, "2", "J", float(few["fiducial"].sel(record="2", landmark="J")) + 10)
    v5 = few["beat"].sel(record="2", lead="V5")
    on, j = (float(moved["fiducial"].sel(record="2", landmark=m)) for m in ("QRS_on", "J"))
    level = float(v5.sel(time=v5["time"][(v5["time"] >= on - 10) & (v5["time"] < on)]).mean())
    assert float(moved["j_v5"].sel(record="2")) == pytest.approx(float(v5.interp(time=j)) - level, abs=1e-3)
    assert float(moved["j_v5"].sel(record="2")) != float(few["j_v5"].sel(record="2"))


def test_the_reader_may_say_how_surely_and_that_a_wave_is_absent(few):
    moved = wb.cohorts.move_landmark(few, "2", "T_off", t_off(few) + 4, doubt_ms=12)
    assert float(moved["doubt"].sel(record="2", landmark="T_off")) == 12
    gone = wb.cohorts.move_landmark(few, "2", "P_on", np.nan)
    assert np.isnan(gone["pr"].sel(record="2"))
    back = wb.cohorts.undo_landmark(gone, "2", "P_on")
    assert float(back["pr"].sel(record="2")) == float(few["pr"].sel(record="2"))


def test_undo_gives_the_cohort_before(few):
    once = wb.cohorts.move_landmark(few, "2", "T_off", t_off(few) + 20)
    twice = wb.cohorts.move_landmark(once, "2", "T_off", t_off(few) + 30)
    twice = wb.cohorts.move_landmark(twice, "3", "J", float(few["fiducial"].sel(record="3", landmark="J")) + 2)
    back = wb.cohorts.undo_landmark(wb.cohorts.undo_landmark(twice, "3", "J"), "2", "T_off")
    xr.testing.assert_identical(back, once)
    xr.testing.assert_identical(wb.cohorts.undo_landmark(back, "2", "T_off").drop_vars("manual"), few)
    with pytest.raises(wb.RecordError, match="nothing to undo"):
        wb.cohorts.undo_landmark(few, "2", "T_off")


@pytest.mark.parametrize(
    ("record", "landmark", "ms", "message"),
    [
        ("nobody", "J", 50.0, "no record 'nobody'"),
        ("2", "U_off", 300.0, "no landmark 'U_off'"),
        ("2", "R", 10.0, "time zero by definition"),
        ("2", "T_off", -100.0, "out of order"),
        ("2", "T_off", 900.0, "outside the beat"),
    ],
)
def test_a_landmark_that_cannot_be_is_refused(few, record, landmark, ms, message):
    with pytest.raises(wb.RecordError, match=message):
        wb.cohorts.move_landmark(few, record, landmark, ms)


def test_a_mark_survives_a_store_and_its_undo_too(few, tmp_path):
    few.to_zarr(tmp_path / "mine.zarr", zarr_format=2)
    mine = wb.open_cohort(tmp_path / "mine.zarr")
    moved = wb.cohorts.move_landmark(mine, "2", "T_off", t_off(few) + 24, source="JK", store=tmp_path / "mine.zarr")
    again = wb.open_cohort(tmp_path / "mine.zarr")
    xr.testing.assert_identical(again.load(), moved.load())
    assert again["manual"].dtype == bool
    assert set(again.coords) == set(few.coords)
    undone = wb.cohorts.undo_landmark(again, "2", "T_off", store=tmp_path / "mine.zarr")
    last = wb.open_cohort(tmp_path / "mine.zarr")
    for name in ("fiducial", "doubt", "manual", *wb.TARGETS):
        np.testing.assert_array_equal(last[name], undone[name])
        if name != "manual":
            np.testing.assert_array_equal(last[name], few[name])
    assert json.loads(last.attrs["landmarks_changed"]) == []


def test_two_readers_of_one_store_lose_nothing(few, tmp_path):
    store = tmp_path / "mine.zarr"
    few.to_zarr(store, zarr_format=2)
    one, other = wb.open_cohort(store), wb.open_cohort(store)
    wb.cohorts.move_landmark(one, "2", "T_off", t_off(few) + 24, source="A", store=store)
    wb.cohorts.move_landmark(other, "3", "T_off", t_off(few, "3") + 8, source="B", store=store)
    both = wb.open_cohort(store)
    assert t_off(both) == t_off(few) + 24
    assert t_off(both, "3") == t_off(few, "3") + 8
    assert [e["source"] for e in json.loads(both.attrs["landmarks_changed"])] == ["A", "B"]
    with pytest.raises(wb.RecordError, match="somebody moved them"):
        wb.cohorts.move_landmark(other, "2", "T_off", t_off(few) + 30, store=store)


def test_the_shared_cache_is_not_changed_and_a_missing_store_is_named(few, tmp_path):
    from ecgwb.cohorts.cache import cache_dir

    cached = cache_dir() / "cohorts" / "ludb.zarr"
    with pytest.raises(wb.RecordError, match="store a copy of your own"):
        wb.cohorts.move_landmark(few, "2", "T_off", t_off(few) + 24, store=cached)
    with pytest.raises(wb.RecordError, match="no store at"):
        wb.cohorts.move_landmark(few, "2", "T_off", t_off(few) + 24, store=tmp_path / "none.zarr")


def test_large_variables_are_shared_not_read(few, tmp_path):
    few.to_zarr(tmp_path / "mine.zarr", zarr_format=2)
    mine = wb.open_cohort(tmp_path / "mine.zarr")
    moved = wb.cohorts.move_landmark(mine, "2", "T_off", t_off(few) + 24)
    assert not moved["beat"].variable._in_memory
    assert not mine["beat"].variable._in_memory


def test_a_store_opens_after_all_was_undone_and_with_nothing_left_of_a_wave(ludb_folder, tmp_path):
    store = tmp_path / "mine.zarr"
    wb.build_cohort([wb.read_record(ludb_folder / "data" / k) for k in ("1", "2")], out=store)
    wb.cohorts.move_landmark(wb.open_cohort(store), "2", "T_off", 380.0, store=store)
    wb.cohorts.undo_landmark(wb.open_cohort(store), "2", "T_off", store=store)
    assert not wb.open_cohort(store)["manual"].any()
    for record in ("1", "2"):
        wb.cohorts.move_landmark(wb.open_cohort(store), record, "P_on", float("nan"), store=store)
    assert wb.open_cohort(store)["pr"].isnull().all()


def test_a_move_that_others_marks_have_replaced_is_not_undone(few):
    moved = wb.cohorts.move_landmark(few, "2", "T_off", t_off(few) + 10)
    atlas = wb.cohorts.put_landmarks(moved, pd.DataFrame({"T_off": [t_off(few) + 30]}, index=["2"]), "atlas")
    with pytest.raises(wb.RecordError, match="'atlas' put T_off in since it was moved"):
        wb.cohorts.undo_landmark(atlas, "2", "T_off")
    assert t_off(atlas) == t_off(few) + 30


@pytest.mark.parametrize("ms", [np.inf, -np.inf])
def test_an_infinite_landmark_is_outside_the_beat(few, ms):
    with pytest.raises(wb.RecordError, match=r"outside the beat|out of order"):
        wb.cohorts.move_landmark(few, "2", "T_off", ms)
    with pytest.raises(wb.RecordError, match="a landmark is no number"):
        wb.cohorts.put_landmarks(few, pd.DataFrame({"T_off": ["a"]}, index=["2"]), "JK")
    with pytest.raises(TypeError, match="ms is str '380'; expected a number of ms"):
        wb.cohorts.move_landmark(few, "2", "T_off", "380")
    with pytest.raises(wb.RecordError, match="doubt_ms is -5; expected 0 or more"):
        wb.cohorts.move_landmark(few, "2", "T_off", t_off(few) + 2, doubt_ms=-5)
