import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TinyNet
from known_nets import Ignores, Linear, LooksAside, marked, qt_from_rr, reads, sex_from_a_mark, wrapped

import ecgwb as wb
from ecgwb import figures
from ecgwb.trust.checks import (
    Check,
    agreement,
    consistency,
    correlation,
    effect,
    leads,
    localisation,
    randomisation,
    removal,
    resolution,
    response,
    specificity,
)


@pytest.fixture(scope="module")
def people(ludb):
    return ludb.isel(record=slice(0, 60))


@pytest.fixture(scope="module")
def ignores():
    return wrapped(Ignores(2), ("pr", "qt"))


@pytest.fixture(scope="module")
def aside():
    return wrapped(LooksAside(75), ("qt",))


def seeded(seed):
    net = TinyNet(1)
    torch.manual_seed(seed)
    for m in net.modules():
        if hasattr(m, "reset_parameters"):
            m.reset_parameters()
    return wrapped(net, ("qt",))


def test_maps_that_do_not_depend_on_weights_are_caught(measures, ignores, people):
    learnt = randomisation(measures, people).table["r"].groupby("target")
    assert (learnt.first() < 0.95).all()
    assert (learnt.last() < 0.71).all()
    published = randomisation(measures, people, method="published")
    np.testing.assert_allclose(published.table["r"].groupby("target").first(), 1, atol=1e-5)  # the head does nothing
    assert randomisation(ignores, people, stages=2, seeds=1).table["r"].isna().all()  # a flat map says nothing
    assert list(randomisation(measures, people, "qt", stages=2, seeds=1).table.index.names) == ["target", "shuffled"]


def test_shuffling_leaves_the_network_as_it_was(measures, people):
    before = wb.predict(measures, people)
    randomisation(measures, people, "qt", stages=2, seeds=1)
    np.testing.assert_array_equal(before["qt"], wb.predict(measures, people)["qt"])


def test_maps_that_cannot_tell_targets_apart_are_caught(measures, sex_net, people):
    assert specificity(measures, people).table["high"].max() < 0.95
    published = specificity(measures, people, method="published")
    np.testing.assert_allclose(published.table["r"], 1, atol=1e-5)
    assert published.words == (
        "Maps of different targets correlate 1.00. Maps that cannot tell the targets apart have 1."
    )
    assert specificity(sex_net, people).words == "male is the only target."
    twins = np.tile(np.random.default_rng(0).normal(size=(1, 8, 600)), (2, 1, 1))
    of_twins = specificity(wrapped(Linear(twins), ("pr", "qt")), people, method="input_x_gradient")
    np.testing.assert_allclose(of_twins.table["r"], 1, atol=1e-5)


def test_networks_that_read_other_samples_do_not_agree(people):
    model = seeded(0)
    same = consistency(model, [model], people)
    assert same.table["r_other"].abs().max() < 0.5
    np.testing.assert_allclose(same.table[["r", "r_map"]], 1, atol=1e-6)
    other = consistency(reads("V5", 0.0), [reads("II", 400.0)], people, method="input_x_gradient")
    assert other.table["high"].max() < 0.1
    assert len(consistency(model, [seeded(1), seeded(2)], people).table) == 3
    assert consistency(model, [], people).words == "No other network was given to compare with."


def test_methods_that_point_elsewhere_are_caught(aside, ignores, people):
    beside = ("gradcam", "input_x_gradient", "saliency")
    assert agreement(aside, people, beside).table["r"].xs("gradcam", level="method").mean() < 0.5
    assert agreement(ignores, people, beside).table["r"].isna().all()
    one = agreement(reads("V5", 0.0), people, ("input_x_gradient", "integrated_gradients"))
    np.testing.assert_allclose(one.table["r"], 1, atol=1e-4)


def test_maps_that_stress_what_does_not_matter_are_caught(measures, ignores, people):
    def deletes_and_inserts(check):
        kinds = check.table.swaplevel()
        return (kinds.loc["deletion", "low"] > 1).all() and (kinds.loc["insertion", "high"] < 1).all()

    assert deletes_and_inserts(removal(measures, people, ["r_v5", "t_v5"]))
    assert not deletes_and_inserts(removal(ignores, people))
    late = reads("V5", 420.0)
    assert deletes_and_inserts(removal(late, people, method="input_x_gradient"))
    assert not deletes_and_inserts(removal(late, people, method="gradcam"))  # its map is V5 itself, highest at R


def test_maps_that_differ_elsewhere_are_caught(measures, ignores, people):
    own = localisation(measures, people, ["qrs", "qt", "t_v5"]).table
    assert (own["low"] > own["span"]).all()
    after_t = reads("V5", 600.0)
    found = localisation(after_t, people, method="input_x_gradient")
    assert found.table.loc["qt", "share"] < 0.01
    nowhere = localisation(ignores, people).table
    assert not (nowhere["low"] > nowhere["span"]).any()


@pytest.mark.parametrize("check", [localisation, removal])
def test_of_maps_of_one_person_is_said_that_nothing_can_be_told(check, tiny, people):
    finding = check(tiny, people.isel(record=slice(1))).finding
    assert "of one person" in finding
    assert "flat maps" not in finding


def test_the_lead_that_is_read_is_named(people, ignores):
    planted = leads(reads("V2", 600.0), people)
    assert planted.table["share"].idxmax() == ("qt", "V2", "rest")
    assert "V2 100 %" in planted.finding
    own = leads(reads("V5", 0.0, target="r_v5"), people)
    assert own.table["share"].idxmax() == ("r_v5", "V5", "QRS")
    assert not leads(ignores, people).table["share"].any()


def test_a_network_that_does_not_follow_the_ecg_is_caught(ignores, people):
    found = response(ignores, people.isel(record=slice(6)))
    assert "pr 0.00 (0.00 to 0.00" in found.finding


def test_maps_in_the_wrong_place_are_caught(aside, tiny, ignores, people):
    few = people.isel(record=slice(10))
    fine, off = resolution(tiny, few).table, resolution(aside, few).table
    assert fine["width"].groupby("target").mean().max() < 100
    assert fine["q50"].abs().groupby("target").median().max() < 50
    assert off["q50"].abs().groupby("target").median().min() > 50
    assert resolution(ignores, few).table["width"].isna().all()


def test_maps_that_do_not_say_what_waves_do_are_caught(ignores, people):
    one = reads("V5", 0.0, target="r_v5")

    def r_of(check):
        return check.table.xs("all", level="wave")["r"]

    assert r_of(effect(one, people, ("saliency",))).min() > 0.9
    assert r_of(effect(one, people, ("published",))).max() < 0.7
    assert not r_of(effect(ignores, people)).any()


def test_a_qt_that_is_really_the_heart_rate_is_exposed(ptbxl, ludb, people):
    model = qt_from_rr(ptbxl)
    predicted = wb.predict(model, ludb)["qt"].values
    assert np.corrcoef(predicted, ludb["qt"])[0, 1] > 0.25  # by its predictions alone it looks as if it knew
    stretched = response(model, people.isel(record=slice(12)))
    assert stretched.table.loc[("QT", "qt"), "slope"] < 0.15
    read = leads(model, people)
    assert read.table["share"].xs("rest", level="segment").sum() > 0.9
    where = localisation(model, people).table
    assert not (where["low"] > where["span"]).any()


def test_a_sex_that_is_really_a_mark_is_exposed(ptbxl, ludb):
    model = sex_from_a_mark(ptbxl)
    cohort = marked(ludb)
    assert ((wb.predict(model, cohort)["male"] > 0) == (cohort["male"] == 1)).mean() > 0.95  # on people not seen
    read = leads(model, cohort.isel(record=slice(0, 60)))
    assert read.table["share"].idxmax() == ("male", "V3", "rest")


@pytest.mark.parametrize("method", ["gradcam", "edit map"])
def test_the_panel_lays_all_checks_side_by_side(sex_net, people, method):
    panel = wb.trust_panel(sex_net, people.isel(record=slice(10)), [sex_net], method=method)
    assert len(panel.table) == len(panel.checks) == 11
    assert next(iter(panel.checks)) == "joint edits"
    assert all(c.words.endswith(".") for c in panel.checks.values())
    assert all(repr(c) in repr(panel) for c in panel.checks.values())
    figure = figures.plot_panel(panel)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[:11] == list(panel.checks)
    assert panel.checks["dose-response"].scale in panel._repr_html_()
    plt.close(figure)


def test_a_flat_map_says_nothing_and_a_flat_other_is_no_likeness():
    a = np.random.default_rng(0).normal(size=(3, 50))
    np.testing.assert_allclose(correlation(a, 2 * a + 1), 1)
    b = a.copy()
    b[0], a[1] = 3.0, 3.0
    assert np.isnan(correlation(a, b)).tolist() == [False, True, False]
    assert correlation(a, b)[0] == 0


def test_a_network_of_another_rate_and_a_shorter_window_is_judged_too(people):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv1d(3, 8, 7, padding=3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten(),
        torch.nn.Linear(8, 1),
    )  # fmt: skip
    spec = wb.ModelSpec(
        leads=("I", "II", "V1"), fs=250, n_samples=300, scale=0.001, targets=("qt",), units=("ms",), layer="1"
    )
    check = removal(wb.wrap_model(net, spec), people)
    assert np.isfinite(check.table.to_numpy(float)).all()


def test_the_response_is_judged_for_the_targets_asked_for(measures, people):
    found = response(measures, people.isel(record=slice(6)), "qt")
    assert found.table.index.get_level_values("target").unique().tolist() == ["qt"]


def test_one_method_agrees_with_nobody(measures, people):
    found = agreement(measures, people.isel(record=slice(3)), ("gradcam",), "qt")
    assert found.words == "gradcam is the only method."


def test_a_check_says_what_it_is_to_be_compared_with():
    made = Check("a check", pd.DataFrame(), "r is 0.8", "A perfect map has 1")
    assert repr(made) == "a check: r is 0.8. A perfect map has 1."
    assert Check("a check", pd.DataFrame(), "There is nothing").words == "There is nothing."
