import numpy as np
import pytest
import xarray as xr
from conftest import TYPICAL, made_cohort

import ecgwb as wb
from ecgwb.models.spec import ModelError


def test_the_table_is_the_mean_absolute_error_with_its_limits():
    cohort = made_cohort([TYPICAL] * 50)
    rng = np.random.default_rng(0)
    true = rng.normal(400, 30, 50)
    predicted = true + rng.normal(5, 10, 50)
    cohort["qt"] = ("record", true, {"units": "ms"})
    row = wb.accuracy_table(
        xr.Dataset({"qt": ("record", predicted, {"units": "ms"})}, {"record": cohort["record"]}), cohort
    ).loc["qt"]
    error = predicted - true
    assert row["score"] == pytest.approx(np.abs(error).mean())
    assert row["low"] < row["score"] < row["high"]
    assert row["bias"] == pytest.approx(error.mean())
    assert row["limit_high"] == pytest.approx(error.mean() + 1.96 * error.std(ddof=1))
    assert row["skill"] == pytest.approx(1 - row["score"] / np.abs(true - np.median(true)).mean())


def test_predictions_are_paired_by_record_whatever_the_order(measures, ludb):
    predicted = wb.predict(measures, ludb)
    expected = wb.accuracy_table(predicted, ludb)
    mixed = ludb.isel(record=np.random.default_rng(0).permutation(200))
    np.testing.assert_allclose(wb.accuracy_table(predicted, mixed)["score"], expected["score"])
    few = predicted.isel(record=slice(50))
    assert wb.accuracy_table(few, ludb).loc["qrs", "n"] == 50
    with pytest.raises(ModelError, match="has no record"):
        wb.accuracy_table(predicted, ludb.isel(record=slice(50)))


def test_thirds_of_any_column_are_thirds(ludb, measures):
    predictions = wb.predict(measures, ludb)
    small = wb.accuracy_table(predictions, ludb.assign(level=("record", np.arange(200) * 1e-5)), by="level")
    assert small["n"].unstack()["qt"].tolist() == pytest.approx([200 / 3] * 3, abs=1)
    two = ludb.assign(tall=("record", np.arange(200) % 2 == 0))
    assert wb.accuracy_table(predictions, two, by="tall")["n"].unstack()["qt"].tolist() == [100, 100]
    with pytest.raises(wb.RecordError, match="no value of 'level' is known"):
        wb.accuracy_table(predictions, ludb.assign(level=("record", np.full(200, np.nan))), by="level")


def test_predictions_in_another_unit_than_the_measurements_are_refused(measures, ludb):
    predictions = wb.predict(measures, ludb)
    in_seconds = predictions.assign(qt=(predictions["qt"] / 1000).assign_attrs(units="s"))
    with pytest.raises(ModelError, match=r"'qt' is predicted in s, .* measured in ms; convert"):
        wb.accuracy_table(in_seconds, ludb)
    texts = predictions.assign(qt=predictions["qt"].astype(str))
    with pytest.raises(ModelError, match="'qt' of the predictions holds <U"):
        wb.accuracy_table(texts, ludb)


def test_log_odds_are_compared_with_0_and_1_alone(ludb):
    predictions = xr.Dataset({"qt": ("record", np.zeros(200), {"units": "log-odds"})}, {"record": ludb["record"]})
    with pytest.raises(ModelError, match="'qt' is predicted in log-odds; the cohort's 'qt' is not 0 or 1"):
        wb.accuracy_table(predictions, ludb)


@pytest.mark.parametrize("edges", ["60", [], [np.nan]])
def test_edges_that_cut_nothing_are_refused(measures, ludb, edges):
    with pytest.raises(wb.RecordError, match="expected numbers at which 'age' is cut"):
        wb.accuracy_table(wb.predict(measures, ludb), ludb, by="age", edges=edges)


def test_two_networks_are_compared_on_the_same_people(ludb, measures):
    some = ludb.isel(record=slice(80))
    first = wb.predict(measures, some)[["qt", "pr"]]
    worse = first.copy()
    worse["qt"] = (first["qt"] + np.where(np.arange(80) % 2, 30.0, -30.0)).assign_attrs(first["qt"].attrs)
    table = wb.accuracy_table(worse, some, against=first.isel(record=slice(None, None, -1)))
    expected = abs(worse["qt"] - some["qt"]).mean() - abs(first["qt"] - some["qt"]).mean()
    row = table.loc["qt"]
    assert row["change"] == pytest.approx(float(expected))
    assert 0 < row["change_low"] < row["change"] < row["change_high"]
    assert (table.loc["pr", ["change", "change_low", "change_high"]] == 0).all()
    with pytest.raises(ModelError, match="the other predictions lack record"):
        wb.accuracy_table(worse, some, against=first.isel(record=slice(3)))
    in_s = first.assign(qt=(first["qt"] / 1000).assign_attrs(units="s"))
    with pytest.raises(wb.ModelError, match="'qt' is predicted in s"):
        wb.accuracy_table(worse, some, against=in_s)
    with pytest.raises(wb.ModelError, match="nothing can be compared"):
        wb.accuracy_table(worse[["qt"]], some, against=first[["pr"]])
    with pytest.warns(UserWarning, match="whose data shaped the other network"):
        wb.accuracy_table(
            worse, some, against=first.assign_coords(seen=("record", np.ones(some.sizes["record"], bool)))
        )
    by = wb.accuracy_table(worse, some, by="sex", against=first)
    assert (by.xs("qt", level="target")["change"] > 0).all()


def test_areas_of_two_networks_are_compared_on_the_same_people(ludb, sex_net):
    found = wb.predict(sex_net, ludb)[["male"]]
    noisy = found.copy()
    noise = np.random.default_rng(0).normal(0, 5, ludb.sizes["record"])
    noisy["male"] = (found["male"] + noise).assign_attrs(found["male"].attrs)
    row = wb.accuracy_table(noisy, ludb, against=found).loc["male"]
    other = wb.accuracy_table(found, ludb).loc["male"]
    assert row["change"] == pytest.approx(row["auc"] - other["auc"])
    assert row["change_high"] < 0


def test_a_group_is_told_from_all_others_where_it_differs(ludb):
    some = ludb.isel(record=slice(80))
    rng = np.random.default_rng(1)
    kind = np.where(np.arange(80) < 20, "hard", "easy")
    some = some.assign_coords(diagnosis=("record", kind))
    noise = {"qt": rng.normal(0, np.where(kind == "hard", 30.0, 5.0)), "qrs": rng.normal(size=80)}
    predictions = some[["qt", "qrs"]].copy()
    for t, away in noise.items():
        predictions[t] = (some[t] + away).assign_attrs(units="ms")
    p = wb.accuracy_table(predictions, some, by="diagnosis")["p"]
    assert p[("hard", "qt")] < 1e-3
    assert p[("hard", "qt")] == pytest.approx(p[("easy", "qt")])
    assert p[("hard", "qrs")] > 0.01
