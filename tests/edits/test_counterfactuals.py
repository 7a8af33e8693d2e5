"""What a network would have to see, asked of networks whose answer is known."""

import numpy as np
import pytest
from known_nets import QtByConstruction, reads, wrapped

import ecgwb as wb
from ecgwb.edits import counterfactual


@pytest.fixture(scope="module")
def few(ludb):
    return ludb.isel(record=slice(0, 8))


def test_a_network_that_reads_r_in_v5_asks_for_a_higher_r_alone(few, ludb):
    found = counterfactual(reads("V5", 0.0, "r_v5"), few, "r_v5", 200.0, among=ludb)
    assert found["reached"].all()
    used = abs(found["sd"]).max("record")
    assert used.sel(edit="R") > 0
    assert (used.sel(edit=["PR", "QT", "T"]) == 0).all()
    rise = found["predicted"].diff("when").values
    assert ((rise >= 200) & (rise < 500)).all()
    measured = found["measured"].sel(measurement="r_v5")
    off = abs(measured.diff("when").values - rise)
    assert np.median(off) < 30  # µV; where R of V5 is not at time zero, the network does not read R


def test_what_is_asked_for_is_what_the_edited_beats_show(few, ludb):
    net = wrapped(QtByConstruction(), ("qt",))
    found = counterfactual(net, few, "qt", -25.0, among=ludb)
    ok = found["reached"].values
    assert ok.sum() >= 6
    after = wb.predict(net, few.assign(beat=found["beat"]))["qt"].values
    np.testing.assert_allclose(after[ok], found["predicted"].sel(when="after").values[ok], atol=1e-3)
    shorter = found["measured"].sel(measurement="qt").diff("when").values[ok]
    assert np.median(shorter) < -15
    assert found["amount"].sel(edit="QT").values[ok].min() < 0


def test_what_no_edit_can_do_is_said(few, ludb):
    found = counterfactual(reads("V5", 650.0), few, "qt", 5000.0, among=ludb)
    assert not found["reached"].any()
    assert (abs(found["sd"]) <= 3 + 1e-9).all()


def test_slips_are_named(few, measures, ludb):
    with pytest.raises(ValueError, match="8 records do not say how much people differ"):
        counterfactual(measures, few, "qt", 20.0)
    with pytest.raises(ValueError, match="expected a number above or below 0"):
        counterfactual(measures, few, "qt", 0.0, among=ludb)
    for odd in (True, "a", [1.0, 2.0]):
        with pytest.raises(ValueError, match="expected a number above or below 0, in the unit of qt, or one for each"):
            counterfactual(measures, few, "qt", odd, among=ludb)
    with pytest.raises(ValueError, match="expected the name of one target"):
        counterfactual(measures, few, ["qt"], 20.0, among=ludb)
    with pytest.raises(wb.models.ModelError, match="has no target"):
        counterfactual(measures, few, "age", 5.0, among=ludb)
    with pytest.raises(TypeError, match="one for each of 8 records"):
        wb.edits.stretch(few, "QT", np.ones(3))


def test_what_lies_outside_does_not_depend_on_who_else_is_asked(few, measures, ludb):
    together = counterfactual(measures, few, "qt", 15.0, among=ludb)
    alone = counterfactual(measures, few.isel(record=[5]), "qt", 15.0, among=ludb)
    assert alone["outside"].item() == together["outside"].values[5]


def test_a_record_that_cannot_be_used_is_listed(few, measures, ludb):
    changed = few.copy(deep=True)
    changed["beat"][2, 5, 100:120] = np.nan
    changed["fiducial"][3] = np.nan
    found = counterfactual(measures, changed, "qt", 15.0, among=ludb)
    lost = found["record"].values[[2, 3]].tolist()
    assert wb.excluded(found)["record"].tolist() == lost
    for part in ("predicted", "goal", "amount", "sd", "measured"):
        gone = found[part].isnull().all([d for d in found[part].dims if d != "record"])
        assert found["record"].values[gone].tolist() == lost
    assert not found["reached"].sel(record=lost).any()


def test_an_amount_of_each_record_is_as_one_amount_for_each(few):
    ms = np.array([20.0, -10.0] * 4)
    both = wb.edits.stretch(few, "QT", ms)
    for k in (0, 1):
        own = wb.edits.stretch(few.isel(record=[k]), "QT", float(ms[k]))
        np.testing.assert_allclose(both["beat"].values[k], own["beat"].values[0], equal_nan=True)
