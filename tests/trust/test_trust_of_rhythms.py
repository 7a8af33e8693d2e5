"""The checks of networks that take recordings."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from known_rhythms import CountsBeats, LinearInTime, MeanOfPower, N, many, on_rhythms

import ecgwb as wb
from ecgwb import figures
from ecgwb.cohorts.beats import RHYTHM
from ecgwb.edits import scale
from ecgwb.trust import joint_edits
from ecgwb.trust.checks import leads, localisation, removal, resolution, response, specificity


@pytest.fixture(scope="module")
def made():
    cohort = many(16)
    return scale(cohort, "R", np.linspace(0.8, 1.2, 16))


@pytest.fixture(scope="module")
def power():
    return on_rhythms(MeanOfPower(), ("r_v5",), ("µV",))


def test_the_panel_lays_all_checks_of_a_network_on_recordings_side_by_side(paper_style):
    people = wb.open_cohort("ludb", rhythm=True).isel(record=slice(10))
    model = wb.load_model("compact-rhythm")
    panel = wb.trust_panel(model, people, [model], ["qt", "hr"])
    assert len(panel.checks) == 11
    assert all(c.words.endswith(".") for c in panel.checks.values())
    judged = panel.checks["joint edits"].table
    assert judged.loc[("qt", "edit map"), "r"] > 0.7
    told = panel.checks["dose-response"]
    assert told.table.loc[("QT", "qt"), "slope"] > 0.6
    assert told.table.loc[("RR", "hr"), "slope"] > 0.7
    assert "nan" not in told.finding
    np.testing.assert_allclose(panel.checks["seed consistency"].table["r"], 1, atol=1e-6)
    assert panel.checks["point spread"].table["change"].gt(0).all()
    figure = figures.plot_panel(panel)
    assert [ax.get_title(loc="left") for ax in figure.axes][:11] == list(panel.checks)
    plt.close(figure)


def test_the_lead_and_the_wave_that_are_read_are_named(power, made):
    found = leads(power, made)
    assert found.table["share"].idxmax() == ("r_v5", "V5", "QRS")
    assert "V5 100 %" in found.finding


def test_maps_that_differ_in_qrs_are_said_to(power, made):
    table = localisation(power, made, method="input_x_gradient").table
    assert table.loc["r_v5", "share"] > 0.8 > table.loc["r_v5", "span"]


def test_what_the_map_stresses_is_what_matters(power, made):
    kinds = removal(power, made, method="input_x_gradient").table.swaplevel()
    assert (kinds.loc["deletion", "low"] > 1).all()
    assert (kinds.loc["insertion", "high"] < 1).all()
    counts = removal(on_rhythms(LinearInTime(np.zeros((1, 8, N)))), made, method="input_x_gradient")
    assert not (counts.table["low"] > 1).any()


def test_a_map_changes_where_every_beat_does(power, made):
    table = resolution(power, made.isel(record=slice(4)), method="input_x_gradient").table
    assert table.loc[("r_v5", 0.0), "width"] < 30
    assert abs(table.loc[("r_v5", 0.0), "q50"]) <= 4


def test_targets_of_one_network_are_compared_beat_by_beat(made):
    weight = np.zeros((2, 8, N))
    weight[0, 6], weight[1, 1] = 1e-3, 1e-3
    twins = on_rhythms(LinearInTime(np.stack([weight[0], 2 * weight[0]])), ("pr", "qt"), ("ms", "ms"))
    found = specificity(twins, made, method="input_x_gradient")
    np.testing.assert_allclose(found.table["r"], 1, atol=1e-5)


def test_a_count_of_beats_responds_to_rr(made):
    found = response(on_rhythms(CountsBeats()), made)
    assert found.table.loc[("RR", "hr"), "slope"] == pytest.approx(1, abs=0.15)
    assert found.finding.startswith("Slope on its own edit")


def test_maps_of_a_linear_network_tell_every_joint_edit():
    people = wb.open_cohort("ludb", rhythm=True).isel(record=slice(20))
    model = on_rhythms(LinearInTime(np.random.default_rng(0).normal(size=(1, 8, N)) / 1000), ("qt",), ("ms",))
    table = joint_edits(model, people, ["edit map", "integrated_gradients"]).table.loc["qt"]
    assert table.loc["edit map", "r"] > 0.95
    assert table.loc["integrated_gradients", "r"] > 0.999
    assert abs(table.loc["edit map", "r_other"]) < 0.5


def test_a_panel_of_recordings_needs_recordings():
    with pytest.raises(wb.ModelError, match="takes rhythms and the cohort has none"):
        wb.trust_panel(wb.load_model("compact-rhythm"), wb.open_cohort("ludb", rhythm=True).drop_vars(RHYTHM))


def test_a_target_in_the_place_of_other_networks_is_told_at_once(tiny, ludb):
    with pytest.raises(wb.ModelError, match=r"others is str 'a'.*targets='qt'"):
        wb.trust_panel(tiny, ludb, "a")
