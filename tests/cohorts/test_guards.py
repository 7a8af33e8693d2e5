"""A cohort is examined at the door: what was seen, what was expected and how to mend it, before any work is done."""

import bent
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import TYPICAL, made_cohort

import ecgwb as wb
from ecgwb.cohorts import check, check_values
from ecgwb.cohorts.guards import json_attribute


@pytest.fixture
def cohort():
    return made_cohort([TYPICAL] * 4)


def test_a_cohort_comes_back_with_its_dimensions_in_the_usual_order(cohort):
    turned = cohort.transpose("landmark", "time", "lead", "record")
    xr.testing.assert_identical(check(turned), cohort)
    xr.testing.assert_identical(check(cohort, "hr", "patient"), cohort)


def test_beats_on_the_disk_are_not_read(cohort, tmp_path):
    cohort.to_zarr(tmp_path / "c.zarr", zarr_format=2)
    opened = wb.open_cohort(tmp_path / "c.zarr")
    checked = check(opened)
    assert not checked["beat"].variable._in_memory
    assert not opened["beat"].variable._in_memory


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("ludb", r"cohort is str 'ludb'; expected a cohort, as from wb.open_cohort .*: wb.open_cohort\('ludb'\)"),
        (None, "cohort is NoneType None; expected a cohort"),
        (pd.DataFrame(), "cohort is a DataFrame; expected a cohort"),
        (xr.DataArray(np.zeros(3)), "cohort is a DataArray; expected a cohort"),
    ],
)
def test_what_is_no_cohort_is_named(given, message):
    with pytest.raises(TypeError, match=message):
        check(given)


@pytest.mark.parametrize(
    ("bend", "message"),
    [
        ("without beat", "has no variable 'beat'; expected a cohort, as from"),
        ("without hr", "has no variable 'hr'"),
        ("half the landmarks", "has other landmarks than P_on"),
        ("landmarks renamed", "has other landmarks than P_on"),
        ("without landmark", "has other landmarks than P_on"),
        ("leads reversed", "has other leads than I, II"),
        ("half the time", "has times other than -500 to 698 ms in 600 steps"),
        ("time from zero", "has times other than -500 to 698 ms"),
        ("beat as text", "has 'beat' as <U[0-9]+; expected numbers"),
        ("no record", "holds no record"),
        ("records twice", "has record '0' twice; names must differ"),
        ("one record without its dimension", r"no dimension 'record'.*use cohort.sel\(record=\['0'\]\)"),
        ("landmarks reversed", "record '0': landmarks are out of order: P_on 350, P_peak 250"),
        ("landmarks far away", r"record '0': landmarks are outside the beat \(-500 to 698 ms\)"),
        ("fiducial infinite in half", "record '0': landmarks are outside the beat"),
        ("landmarks at one moment", "record '0': a wave ends where it begins"),
        ("fs as text", "has the sampling rate 'fast'; its beats are sampled at 500 Hz"),
        ("fs of 0", "has the sampling rate 0; its beats are sampled at 500 Hz"),
        ("hr 0 in half", "has heart rates of 0 bpm or less; expected more, or NaN where it is unknown"),
    ],
)
def test_a_bent_cohort_is_described(cohort, bend, message):
    with pytest.raises(wb.RecordError, match=message):
        check(bent.BENDS[bend](cohort), "hr")


def test_a_variable_over_other_dimensions_is_described(cohort):
    with pytest.raises(wb.RecordError, match="has 'fiducial' over landmark; expected record, landmark"):
        check(cohort.assign(fiducial=cohort["fiducial"][0].drop_vars(["record", "patient"])))


@pytest.mark.parametrize("bend", ["fiducial missing in half", "hr missing in half", "ids as numbers", "one record"])
def test_what_is_rare_and_can_be_is_let_in(cohort, bend):
    check(bent.BENDS[bend](cohort), "hr")


def test_values_come_back_with_records_first_and_the_curve_last(cohort):
    values = cohort["beat"]
    turned = values.transpose("time", "lead", "record")
    xr.testing.assert_identical(check_values(turned, "record", "time"), values)
    with pytest.raises(TypeError, match=r"maps is a Dataset; expected a DataArray, as from wb.ecgradcam"):
        check_values(cohort, "record")
    with pytest.raises(ValueError, match=r"aligned is over record, lead, time, without 'phase'; expected what"):
        check_values(values, "record", "phase", name="aligned", source="wb.align")
    with pytest.raises(ValueError, match="maps holds <U"):
        check_values(values.astype(str), "record")
    with pytest.raises(wb.RecordError, match=r"maps holds no record; expected what wb.ecgradcam gives"):
        check_values(values[:0], "record")


def test_an_attribute_that_is_no_json_is_named(cohort):
    assert json_attribute(cohort, "excluded", []) == []
    assert json_attribute(cohort.assign_attrs(excluded='[{"record": "a"}]'), "excluded", []) == [{"record": "a"}]
    with pytest.raises(
        wb.RecordError, match=r"'excluded' is str '\['; expected the JSON .* del data.attrs\['excluded'\]"
    ):
        wb.excluded(cohort.assign_attrs(excluded="["))
    with pytest.raises(TypeError, match="cohort is str 'ludb'; expected a cohort, predictions or maps"):
        wb.excluded("ludb")


def test_a_doubt_below_zero_is_refused(ludb):
    with pytest.raises(wb.RecordError, match="doubt below 0"):
        wb.cohorts.check(ludb.isel(record=slice(3)).assign(doubt=-ludb["doubt"].isel(record=slice(3)) - 1))


def test_a_cache_that_cannot_be_written_says_what_to_do(monkeypatch, tmp_path):
    from ecgwb.cohorts import cache

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache, "cache_dir", lambda: tmp_path / "file" / "ecgwb")
    with pytest.raises(wb.RecordError, match="XDG_CACHE_HOME"):
        cache.make_cache_dir()
