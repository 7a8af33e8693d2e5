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
