"""The judge of maps on maps of which it is known how good they are."""

import numpy as np
import pytest
from known_nets import Ignores, Linear, LooksAside, Product, QtByConstruction, wrapped

import ecgwb as wb
from ecgwb.edits.edit_maps import drawn_edits
from ecgwb.trust import joint_edits
from ecgwb.trust.judge import _held_out


def test_maps_of_a_linear_network_tell_every_joint_edit(ludb):
    people = ludb.isel(record=slice(0, 30))
    net = wrapped(Linear(np.random.default_rng(0).normal(size=(1, 8, 600)) / 1000), ("qt",))
    table = joint_edits(net, people).table
    assert table.loc[("qt", "edit map"), "r"] > 0.98
    assert table.loc[("qt", "edit map"), "low"] > 0.95
    assert table.loc[("qt", "edit map"), "r_best"] > 0.999
    assert abs(table.loc[("qt", "edit map"), "r_other"]) < 0.7


def test_a_map_in_the_wrong_place_is_told_from_one_in_the_right_place(ludb):
    people = ludb.isel(record=slice(0, 30))
    table = joint_edits(wrapped(LooksAside(75), ("qt",)), people).table.loc["qt"]
    assert table.loc["edit map", "low"] > 0.9
    assert table.loc["gradcam", "r"] < 0.7
    assert table.loc["gradcam", "high"] < table.loc["edit map", "low"]


def test_of_qt_by_construction_and_of_a_product_edits_tell_more_than_the_papers_map(ludb):
    people = ludb.isel(record=slice(0, 40))
    by_rule = joint_edits(wrapped(QtByConstruction(), ("qt",)), people, ["edit map"]).table.iloc[0]
    assert by_rule["r"] > 0.85
    assert by_rule["r_best"] < 0.99  # both ends count together: sums are not the whole answer
    assert by_rule["sham"] < 0.05
    product = joint_edits(wrapped(Product(("V2", 0.0), ("V5", 300.0)), ("qt",)), people).table.loc["qt"]
    assert product.loc["edit map", "low"] > 0.9 > product.loc["gradcam", "high"]
    assert product.loc["edit map", "r_best"] < 0.99


def test_of_a_network_that_reads_nothing_no_map_tells_anything(ludb):
    table = joint_edits(wrapped(Ignores(1), ("qt",)), ludb.isel(record=slice(0, 20))).table
    assert (table["r"].abs() < 0.3).all()
    assert table.select_dtypes(object).empty


def test_the_measuring_networks_edit_map_reaches_its_bars(measures, ludb):
    table = joint_edits(measures, ludb.isel(record=slice(0, 60))).table["r"].xs("edit map", level="method")
    assert (table[["pr", "qrs", "t_v5", "j_v5"]] > 0.9).all()
    assert (table > 0.7).all()


def test_by_whole_segments_the_measuring_networks_edit_map_tells_qt_too(measures, ludb):
    table = joint_edits(measures, ludb.isel(record=slice(0, 60)), targets=["qt", "pr", "qrs"], pieces="segments").table
    r = table["r"].xs("edit map", level="method")
    assert r["qt"] > 0.8
    assert (r[["pr", "qrs"]] > 0.9).all()


def test_a_beat_is_given_the_map_of_another_patient_whatever_the_order(ludb):
    some = ludb.isel(record=np.repeat(np.arange(12), 2))
    some = some.assign_coords(record=[f"r{i}" for i in range(24)])
    net = wrapped(Linear(np.random.default_rng(0).normal(size=(1, 8, 600)) / 1000), ("qt",))
    tables = [
        joint_edits(net, s, "edit map").table for s in (some, some.isel(record=[*range(0, 24, 2), *range(1, 24, 2)]))
    ]
    assert tables[0]["r_other"].item() == pytest.approx(tables[1]["r_other"].item(), abs=1e-6)
    assert tables[0]["r_other"].item() < 0.7


def test_slips_are_named(ludb, measures):
    people = ludb.isel(record=slice(0, 12))
    for odd in ({"methods": []}, {"n_edits": 0}, {"n_edits": 2.5}):
        with pytest.raises(ValueError, match="expected one or more of each"):
            joint_edits(measures, people, **odd)
    with pytest.raises(wb.ModelError, match="unknown method 'editmap'; expected one of edit map, ecgradcam"):
        joint_edits(measures, people, "editmap")
    one = joint_edits(measures, people.isel(record=[3, 4]), "edit map", "qt", among=ludb)
    assert one.table["n"].item() == 2


def test_a_network_without_a_layer_is_judged_by_what_needs_none(ludb):
    net = wrapped(Linear(np.random.default_rng(0).normal(size=(1, 8, 600)) / 1000), ("qt",), layer="")
    panel = wb.trust_panel(net, ludb.isel(record=slice(0, 12)), method="edit map")
    assert panel.checks["joint edits"].table.index.get_level_values("method").tolist() == ["edit map"]


@pytest.mark.parametrize("k", [7, 12])
def test_no_edit_judges_a_map_that_it_made(k):
    made = {tuple(row) for row in drawn_edits(k).tolist()}
    judging = ~_held_out(k, 48, 0)
    assert judging.shape == (48, k)
    assert judging.any(axis=1).all()
    assert not made & {tuple(row) for row in judging.tolist()}
