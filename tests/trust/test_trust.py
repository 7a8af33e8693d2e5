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
    assert randomisation(measures, people).passed
    published = randomisation(measures, people, method="published")
    assert published.passed is False
    np.testing.assert_allclose(published.table["r"].groupby("target").first(), 1, atol=1e-5)  # the head does nothing
    assert randomisation(ignores, people, stages=2, seeds=1).passed is False
    assert list(randomisation(measures, people, "qt", stages=2, seeds=1).table.index.names) == ["target", "shuffled"]


def test_shuffling_leaves_the_network_as_it_was(measures, people):
    before = wb.predict(measures, people)
    randomisation(measures, people, "qt", stages=2, seeds=1)
    np.testing.assert_array_equal(before["qt"], wb.predict(measures, people)["qt"])


def test_maps_that_cannot_tell_targets_apart_are_caught(measures, sex_net, people):
    assert specificity(measures, people).passed
    published = specificity(measures, people, method="published")
    assert published.passed is False
    np.testing.assert_allclose(published.table["r"], 1, atol=1e-5)
    assert "another target's is the same" in published.verdict
    assert specificity(sex_net, people).passed is None
    twins = np.tile(np.random.default_rng(0).normal(size=(1, 8, 600)), (2, 1, 1))
    assert specificity(wrapped(Linear(twins), ("pr", "qt")), people, method="input_x_gradient").passed is False


def test_networks_that_read_other_samples_do_not_agree(people):
    model = seeded(0)
    same = consistency(model, [model], people)
    assert same.passed
    np.testing.assert_allclose(same.table[["r", "r_map"]], 1, atol=1e-6)
    other = consistency(reads("V5", 0.0), [reads("II", 400.0)], people, method="input_x_gradient")
    assert other.passed is False
    assert len(consistency(model, [seeded(1), seeded(2)], people).table) == 3
    assert consistency(model, [], people).passed is None


def test_methods_that_point_elsewhere_are_caught(aside, ignores, people):
    beside = ("gradcam", "input_x_gradient", "saliency")
    assert agreement(aside, people, beside).passed is False
    assert agreement(ignores, people, beside).passed is False
    one = agreement(reads("V5", 0.0), people, ("input_x_gradient", "integrated_gradients"))
    assert one.passed  # two methods that are the same on a linear network
    np.testing.assert_allclose(one.table["r"], 1, atol=1e-4)


def test_maps_that_stress_what_does_not_matter_are_caught(measures, ignores, people):
    assert removal(measures, people, ["r_v5", "t_v5"]).passed
    assert removal(ignores, people).passed is False
    late = reads("V5", 420.0)
    assert removal(late, people, method="input_x_gradient").passed
    assert removal(late, people, method="gradcam").passed is False  # whose map is V5 itself, highest at R


def test_maps_that_differ_elsewhere_are_caught(measures, ignores, people):
    assert localisation(measures, people, ["qrs", "qt", "t_v5"]).passed
    after_t = reads("V5", 600.0)
    found = localisation(after_t, people, method="input_x_gradient")
    assert found.passed is False
    assert found.table.loc["qt", "share"] < 0.01
    assert localisation(ignores, people).passed is False


def test_the_lead_that_is_read_is_named(people, ignores):
    planted = leads(reads("V2", 600.0), people)
    assert planted.passed is False
    assert planted.table["share"].idxmax() == ("qt", "V2", "rest")
    assert "V2 100 %" in planted.verdict
    own = leads(reads("V5", 0.0, target="r_v5"), people)
    assert own.passed
    assert leads(ignores, people).passed is False


def test_a_network_that_does_not_follow_the_ecg_is_caught(ignores, people):
    found = response(ignores, people.isel(record=slice(6)))
    assert found.passed is False
    assert "pr 0.00 (0.00 to 0.00" in found.verdict


def test_maps_in_the_wrong_place_are_caught(aside, tiny, ignores, people):
    few = people.isel(record=slice(10))
    assert resolution(tiny, few).passed
    assert resolution(aside, few).passed is False
    assert resolution(ignores, few).passed is False


def test_maps_that_do_not_say_what_waves_do_are_caught(ignores, people):
    one = reads("V5", 0.0, target="r_v5")
    assert effect(one, people, ("saliency",)).passed
    assert effect(one, people, ("published",)).passed is False
    assert effect(ignores, people).passed is False


def test_a_qt_that_is_really_the_heart_rate_is_exposed(ptbxl, ludb, people):
    model = qt_from_rr(ptbxl)
    predicted = wb.predict(model, ludb)["qt"].values
    assert np.corrcoef(predicted, ludb["qt"])[0, 1] > 0.25  # by its predictions alone it looks as if it knew
    stretched = response(model, people.isel(record=slice(12)))
    assert stretched.passed is False
    assert stretched.table.loc[("QT", "qt"), "slope"] < 0.15
    read = leads(model, people)
    assert read.passed is False
    assert read.table["share"].xs("rest", level="segment").sum() > 0.9
    assert localisation(model, people).passed is False


def test_a_sex_that_is_really_a_mark_is_exposed(ptbxl, ludb):
    model = sex_from_a_mark(ptbxl)
    cohort = marked(ludb)
    assert ((wb.predict(model, cohort)["male"] > 0) == (cohort["male"] == 1)).mean() > 0.95  # on people not seen
    read = leads(model, cohort.isel(record=slice(0, 60)))
    assert read.passed is False
    assert read.table["share"].idxmax() == ("male", "V3", "rest")


def test_the_panel_lays_all_checks_side_by_side(sex_net, people):
    panel = wb.trust_panel(sex_net, people.isel(record=slice(10)), [sex_net])
    assert len(panel.table) == len(panel.checks) == 10
    assert panel.checks["seed consistency"].passed
    assert panel.checks["target specificity"].passed is None
    failed = [n for n, c in panel.checks.items() if c.passed is False]
    assert f"{9 - len(failed)} of 9 checks passed" in panel.verdict
    assert all(n in panel.verdict for n in failed)
    assert all(c.verdict.endswith(".") for c in panel.checks.values())
    figure = figures.plot_panel(panel)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[:10] == [c.headline for c in panel.checks.values()]
    assert panel.verdict in panel._repr_html_()
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
    assert found.passed is None
    assert found.verdict == "gradcam is the only method."


def test_a_check_says_for_which_targets_it_holds():
    good, bad = "it is so", "it is not"
    made = [Check("a check", pd.DataFrame(), "r is 1", h, (good, bad)) for h in ({"qt": True}, {"qt": False}, {})]
    assert [c.passed for c in made] == [True, False, None]
    assert [c.verdict for c in made] == ["r is 1: it is so.", "r is 1: it is not.", "r is 1."]
    some = Check("a check", pd.DataFrame(), "r is 1", {"qt": True, "pr": False, "hr": False}, (good, bad))
    assert some.verdict == "r is 1: it is so, but not for pr, hr, where it is not."
    assert repr(some) == f"a check: FAILED. {some.verdict}"
