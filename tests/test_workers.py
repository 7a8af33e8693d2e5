"""Processes side by side: as many as the machine grants, and the same results as here."""

import os
import signal
import threading
import warnings

import joblib
import numpy as np
import pytest
import torch
import xarray as xr

import ecgwb as wb
from ecgwb import workers
from ecgwb.cohorts import stores
from ecgwb.models import prediction


@pytest.fixture
def two(monkeypatch):
    """Two processes, whose start is worth it for any work."""
    monkeypatch.setattr(workers, "cores", lambda: 2)
    monkeypatch.setattr(workers, "_WORTH_S", -1.0)


@pytest.mark.parametrize("name", ["LOKY_MAX_CPU_COUNT", "OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"])
def test_as_many_as_the_machine_and_each_limit_grant(monkeypatch, name):
    for limit in ("LOKY_MAX_CPU_COUNT", "OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(limit, raising=False)
    assert workers.cores() == joblib.cpu_count()
    monkeypatch.setenv(name, "1")
    assert workers.cores() == 1
    monkeypatch.setenv(name, "1000")
    assert workers.cores() == joblib.cpu_count()
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")  # a number for each level of nesting
    assert workers.cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert workers.cores() >= 1


def where(part):
    return part, os.getpid(), torch.get_num_threads()


def test_parts_are_made_in_order_the_first_two_here_and_the_others_elsewhere(two):
    made = list(workers.each(where, range(9)))
    assert [part for part, _, _ in made] == list(range(9))
    pids = [pid for _, pid, _ in made]
    assert pids[:2] == [os.getpid()] * 2
    assert os.getpid() not in pids[2:]
    assert {n for _, _, n in made[2:]} == {1}
    assert len(set(pids)) > 1


def test_what_is_quick_or_cannot_be_copied_or_has_one_core_stays_here(two, monkeypatch):
    lock = threading.Lock()

    def holding(part):
        return part, os.getpid(), lock.locked()

    assert {pid for _, pid, _ in workers.each(holding, range(5))} == {os.getpid()}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert {pid for _, pid, _ in workers.each(where, range(5))} == {os.getpid()}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(workers, "cores", lambda: 1)
    assert {pid for _, pid, _ in workers.each(where, range(5))} == {os.getpid()}
    monkeypatch.setattr(workers, "cores", lambda: 2)
    monkeypatch.setattr(workers, "_WORTH_S", 10.0)
    assert {pid for _, pid, _ in workers.each(where, range(5))} == {os.getpid()}


def test_warnings_of_parts_are_told_once_and_where_the_caller_is(two):
    def doubtful(part):
        warnings.warn(f"{part} of 9 records are odd", stacklevel=1)
        warnings.warn("this will change", DeprecationWarning, stacklevel=1)
        return part

    with pytest.warns(UserWarning, match="0 of 9 records are odd") as caught:
        list(workers.each(doubtful, range(9)))
    assert [w.category for w in caught if "odd" in str(w.message)] == [UserWarning]


def test_parts_that_take_long_are_all_made_elsewhere(two):
    assert os.getpid() not in {pid for _, pid, _ in workers.each(where, range(2), long=True)}
    assert {pid for _, pid, _ in workers.each(where, range(1), long=True)} == {os.getpid()}


def test_an_error_of_a_part_is_the_error(two):
    def fails(part):
        if part == 4:
            raise wb.RecordError("record 4 is empty")
        return part

    with pytest.raises(wb.RecordError, match="record 4 is empty"):
        list(workers.each(fails, range(6)))
    assert list(workers.each(abs, range(6))) == list(range(6))  # the processes go on


def test_a_process_that_ends_in_the_midst_is_said(two):
    def killed(part):
        if part == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return part

    with pytest.raises(RuntimeError, match=r"for want of memory. Ask for fewer: LOKY_MAX_CPU_COUNT=1"):
        list(workers.each(killed, range(6)))
    assert list(workers.each(abs, range(6))) == list(range(6))


def test_a_cohort_is_bit_for_bit_that_built_here(two, few_of_ludb, tmp_path, monkeypatch):
    folder = few_of_ludb(12)
    monkeypatch.setattr(stores, "CHUNK", 3)
    here = wb.build_cohort(folder, tmp_path / "here.zarr")
    monkeypatch.setattr("ecgwb.cohorts.building.MANY", 1)
    elsewhere = wb.build_cohort(folder, tmp_path / "elsewhere.zarr")
    xr.testing.assert_identical(elsewhere.load(), here.load())
    assert wb.excluded(elsewhere)["record"].tolist() == ["4"]


def test_predictions_maps_edits_and_measurements_are_those_made_here(
    two, measures, rhythm_net, ludb, rhythms, monkeypatch, one_thread
):
    some = ludb.isel(record=slice(24)).copy()
    some["beat"] = some["beat"].copy(deep=True)
    some["beat"][5, 0, 100] = np.nan  # one that cannot be used
    asked = {
        "predictions": lambda: wb.predict(measures, some),
        "maps": lambda: wb.ecgradcam(measures, some),
        "gradients": lambda: wb.attribute(measures, some, "smoothgrad", "qt", n_noises=2),
        "own time": lambda: wb.attribute(measures, some, "deeplift", "qt", baseline="own time"),
        "edits": lambda: wb.edit_map(measures, some, "qt", n_edits=30),
        "measured": lambda: wb.edits.remeasure(some)[["fiducial", "qt"]],
        "rhythms": lambda: wb.predict(rhythm_net, rhythms),
        "edited rhythms": lambda: wb.edit_map(rhythm_net, rhythms, "hr", method="alone"),
    }
    for name in ("models.prediction.PART", "models.prediction.SLOW_PART", "edits.edit_maps.SLOW_PART"):
        monkeypatch.setattr(f"ecgwb.{name}", {"beat": 6, "rhythm": 3})
    monkeypatch.setattr("ecgwb.edits.remeasurement._TOGETHER", 5)
    elsewhere = {name: make() for name, make in asked.items()}
    monkeypatch.setattr(workers, "cores", lambda: 1)
    for name, make in asked.items():
        xr.testing.assert_identical(elsewhere[name], make())
    assert wb.excluded(elsewhere["maps"])["record"].tolist() == [str(some["record"].values[5])]


def test_a_warning_about_all_records_counts_all_of_them(two, tiny, ludb, monkeypatch):
    monkeypatch.setattr(prediction, "PART", {"beat": 10, "rhythm": 3})
    with torch.no_grad():
        tiny.head.bias[0] = np.inf
    with pytest.warns(UserWarning, match="no finite number for 50 of 50 records") as caught:
        wb.predict(tiny, ludb.isel(record=slice(50)))
    assert sum("finite" in str(w.message) for w in caught) == 1
    assert caught[0].filename == __file__


def test_folds_are_trained_side_by_side_as_one_after_the_other(two, people, tmp_path, monkeypatch, one_thread):
    some = people.isel(record=slice(60))
    some = some.assign(outcome=("record", np.arange(60) % 2.0))
    recipe = wb.discovery.Recipe({"name": "compact", "width": 8, "dilations": [1]}, epochs=1, folds=2)
    elsewhere = wb.discovery.cross_fit(some, "outcome", recipe, folder=tmp_path)
    monkeypatch.setattr(workers, "cores", lambda: 1)
    here = wb.discovery.cross_fit(some, "outcome", recipe)
    np.testing.assert_array_equal(elsewhere.predict(some), here.predict(some))
    again = wb.discovery.cross_fit(some, "outcome", recipe, folder=tmp_path)  # which is read
    np.testing.assert_array_equal(again.predict(some), elsewhere.predict(some))
