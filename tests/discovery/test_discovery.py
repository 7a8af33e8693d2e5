import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from studies import sex_table
from studies.plants import LABEL, planted_cohort

import ecgwb as wb
from ecgwb.cohorts.cache import PACKAGE, content_key
from ecgwb.cohorts.people import one_record_each
from ecgwb.discovery import crossfit
from ecgwb.discovery.crossfit import Recipe, cross_fit, permuted
from ecgwb.stats import auc

TINY = Recipe({"name": "compact", "width": 8, "dilations": [1]}, epochs=1, folds=2)


def test_every_patient_is_predicted_by_a_network_that_has_not_seen_them(people, tmp_path):
    some = planted_cohort(people.isel(record=slice(80)), "nothing", 0.0, 3)[0]
    crossed = cross_fit(some, LABEL, TINY, 1, tmp_path)
    patients = some["patient"].values
    for k, network in enumerate(crossed.networks):
        (seen,) = network.spec.trained_on.values()
        assert not set(seen) & set(patients[crossed.fold == k])
    predictions = crossed.predict(some)
    assert np.isfinite(predictions).all()
    first = np.flatnonzero(crossed.fold == 0)
    np.testing.assert_allclose(predictions[first], wb.predict(crossed.networks[0], some.isel(record=first))[LABEL])
    maps = crossed.maps(some, "ecgradcam")
    assert maps["record"].values.tolist() == some["record"].values.tolist()
    np.testing.assert_array_equal(maps["network"], crossed.fold)
    assert np.isfinite(maps).any()
    again = cross_fit(some, LABEL, TINY, 1, tmp_path)  # read, not trained
    xr.testing.assert_allclose(again.maps(some, "ecgradcam"), maps)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fold0.safetensors", "fold1.safetensors"]


def test_networks_are_kept_under_their_recipe_and_the_code_that_trains_them(tmp_path, monkeypatch):
    before = TINY.key
    assert replace(TINY, epochs=2).key != before
    code = shutil.copytree(PACKAGE, tmp_path / "ecgwb", ignore=shutil.ignore_patterns("__pycache__", "data"))
    monkeypatch.setattr(crossfit, "content_key", partial(content_key.__wrapped__, package=code))
    assert TINY.key == before
    (code / "models" / "networks.py").write_text("# changed")
    assert TINY.key != before


def test_two_records_of_a_patient_are_refused_and_one_can_be_chosen(ptbxl):
    with pytest.raises(ValueError, match="two records; give one each"):
        cross_fit(ptbxl, "male", TINY)
    assert len(set(ptbxl["patient"].values)) == one_record_each(ptbxl).sizes["record"]


def test_permuted_labels_are_the_same_labels_in_another_order(ptbxl):
    shuffled = permuted(ptbxl, "male", 0)["male"].values
    real = ptbxl["male"].values
    assert np.sort(shuffled).tolist() == np.sort(real).tolist()
    assert abs(np.corrcoef(shuffled, real)[0, 1]) < 0.2
    assert (shuffled != permuted(ptbxl, "male", 1)["male"].values).any()


def test_the_shipped_sex_table_is_on_the_same_people_and_by_age():
    table = pd.read_csv(sex_table.TABLE, index_col=["model", "people", "group"])
    for people, atleast in (("test", 2000), ("LUDB", 180)):
        some = table.xs(people, level="people")
        everyone, ages = some.xs("all", level="group"), some.drop("all", level="group")
        assert everyone["n"].nunique() == 1
        assert everyone["n"].iloc[0] >= atleast
        assert ages["n"].groupby("model").sum().nunique() == 1
        assert (some["low"] < some["auc"]).all()
        assert (some["auc"] < some["high"]).all()
        rows = [sex_table.BASE, "+ QRS duration", sex_table.PAPER, sex_table.CLASSIC, sex_table.NETWORK]
        assert everyone.loc[rows[:4], "measurements"].tolist() == [0, 1, 33, 94]
    assert table.loc[("+ QRS duration", "test", "all"), "auc"] == pytest.approx(0.72, abs=0.1)  # Hicks et al. 2021


def test_the_networks_row_of_the_sex_table_is_what_the_network_predicts():
    table = pd.read_csv(sex_table.TABLE, index_col=["model", "people", "group"])
    ludb = wb.open_cohort("ludb")
    some = sex_table.whole(ludb)
    measured = sex_table.with_times({"discovery": wb.measure(some)})["discovery"]
    log_odds = wb.predict(wb.load_model("compact-sex"), some)["male"].values
    classic = measured[sex_table.classic_of(some)].notna().all(axis=1).to_numpy()
    known = classic & np.isfinite(some["age"].values) & np.isfinite(some["hr"].values) & np.isfinite(log_odds)
    row = table.loc[(sex_table.NETWORK, "LUDB", "all")]
    assert row["n"] == known.sum()
    assert row["auc"] == pytest.approx(auc(some["male"].values[known], log_odds[known]), abs=2e-3)


def test_a_beat_that_was_measured_before_has_the_same_numbers_and_its_own(ludb):
    few = ludb.isel(record=slice(12))
    whole = wb.measure(few)
    pd.testing.assert_frame_equal(wb.measure(few.isel(record=slice(3, 7))), whole.iloc[3:7])
    whole.iloc[:, :] = 0.0  # what a user does to his table
    again = wb.measure(few)
    later = few.copy(deep=True)
    later["fiducial"].loc[{"landmark": "T_off"}] += 20.0
    higher = few.copy(deep=True)
    higher["beat"] *= 2.0
    assert (again.abs().max(axis=1) > 0).all()
    np.testing.assert_allclose(wb.measure(higher)["r_uv_V5"], 2 * again["r_uv_V5"])
    changed = (wb.measure(later)["t_area_uvms_V5"] - again["t_area_uvms_V5"]).dropna()
    assert (changed != 0).all()
