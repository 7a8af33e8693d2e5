"""Figures of what edits do and of the checks: they show what their tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from ecgwb.figures import NAMES, plot_check, plot_dose_response, plot_panel
from ecgwb.trust import Check, Panel, Picture

pytestmark = pytest.mark.usefixtures("paper_style")


def doses():
    """Slopes of a network that follows its own edit by 0.9 and another's by -0.2, beside a perfect measurement."""
    index = pd.MultiIndex.from_product([["PR", "QT"], ["pr", "qt"]], names=["edit", "target"])
    own = np.array([1.0, 0.0, 0.0, 1.0])
    table = pd.DataFrame({"slope": 0.9 * own - 0.2 * (1 - own), "measured_slope": own}, index=index)
    for c in ("slope", "measured_slope"):
        table[c.replace("slope", "low")], table[c.replace("slope", "high")] = table[c] - 0.05, table[c] + 0.05
    return table.assign(unit=["ms per ms"] * 4, n=10)


def texts(ax):
    return [t.get_text() for t in ax.texts]


def cells(ax):
    (mesh,) = ax.collections
    return mesh.get_array().reshape(2, -1)


def test_slopes_stand_beside_the_measurements_on_one_scale():
    _, axes = plt.subplots(1, 2)
    plot_dose_response(doses(), axes)
    np.testing.assert_allclose(cells(axes[0]), [[0.9, -0.2], [-0.2, 0.9]])
    np.testing.assert_allclose(cells(axes[1]), [[1, 0], [0, 1]])
    assert axes[0].collections[0].get_cmap() == axes[1].collections[0].get_cmap()
    assert texts(axes[0])[:2] == ["+.90\n(.85, .95)", "\N{MINUS SIGN}.20\n(\N{MINUS SIGN}.25,\n\N{MINUS SIGN}.15)"]
    assert texts(axes[1])[1] == "0\n(\N{MINUS SIGN}.05,\n.05)"
    assert {tuple(p.get_xy()) for p in axes[0].patches} == {(0, 0), (1, 1)}  # each target's own edit is framed
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["PR, ms", "QT, ms"]


def test_slopes_without_a_measurement_have_dashes_beside_them():
    unknown = doses().assign(measured_slope=np.nan, measured_low=np.nan, measured_high=np.nan)
    _, axes = plt.subplots(1, 2)
    plot_dose_response(unknown, axes)
    assert set(texts(axes[1])) == {"–"}
    assert texts(plot_dose_response(unknown, plt.figure().gca())) == [
        "0.90",
        "\N{MINUS SIGN}0.20",
        "\N{MINUS SIGN}0.20",
        "0.90",
    ]


def test_slopes_in_one_axes_have_the_measurements_in_brackets():
    ax = plot_dose_response(doses(), plt.figure().gca())
    assert texts(ax) == ["0.90\n(1.00)", "\N{MINUS SIGN}0.20\n(0.00)", "\N{MINUS SIGN}0.20\n(0.00)", "0.90\n(1.00)"]


def test_colours_of_slopes_mean_the_same_in_both_axes_whichever_is_larger():
    table = doses()
    table["slope"] *= 0.5
    _, axes = plt.subplots(1, 2)
    plot_dose_response(table, axes)
    network, measurement = (ax.collections[0].get_facecolor() for ax in axes)
    assert not np.allclose(network[0], measurement[0])  # 0.45 is not as red as 1


def made(kind, values, **others):
    return Check("a check", values, "r is 1", "1 is perfect", Picture(kind, values, **others))


def test_the_picture_of_a_matrix_shows_its_numbers():
    values = pd.DataFrame([[np.nan, 0.5], [-0.25, np.nan]], index=["pr", "qt"], columns=["pr", "qt"])
    ax = plot_check(made("matrix", values), plt.figure().gca())
    assert sorted(texts(ax)) == ["-0.25", "0.50"]
    assert [t.get_text() for t in ax.get_yticklabels()] == [NAMES["pr"], NAMES["qt"]]
    assert ax.get_title(loc="left") == "a check"


@pytest.mark.parametrize("kind", ["intervals", "curves"])
def test_the_picture_of_intervals_shows_each_dot_and_what_chance_gives(kind):
    index = pd.MultiIndex.from_product([["pr", "qt"], [0.0, 100.0]], names=["target", "at"])
    table = pd.DataFrame({"r": [1.0, 2.0, 3.0, 4.0], "low": 0.5, "high": 5.0}, index=index)
    check = made(kind, table, columns=("r", "low", "high"), by="target", chance=2.5, limits=(0, 9))
    ax = plot_check(check, plt.figure().gca())
    first, second = (line.get_ydata() if kind == "curves" else line.get_xdata() for line in ax.lines[:2])
    np.testing.assert_array_equal([first, second], [[1, 2], [3, 4]])
    chance = ax.lines[2].get_ydata() if kind == "curves" else ax.lines[2].get_xdata()
    assert set(chance) == {2.5}
    assert (ax.get_ylim() if kind == "curves" else ax.get_xlim()) == (0, 9)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["PR", "QT"]
    assert ax.get_title(loc="left") == "a check"


def test_a_panel_has_a_picture_for_every_check_and_says_where_there_is_none():
    nothing = Check("another", pd.DataFrame(), "There is one network")
    values = pd.DataFrame([[1.0]], index=["pr"], columns=["qt"])
    panel = Panel({"a check": made("matrix", values), "another": nothing, "third": nothing})
    figure = plot_panel(panel)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["a check", "another", "another", ""]
    assert texts(figure.axes[1]) == ["nothing to compare"]
    assert not figure.axes[3].axison


def test_a_panel_of_some_checks_has_only_those():
    values = pd.DataFrame([[1.0]], index=["pr"], columns=["qt"])
    panel = Panel({"one": made("matrix", values), "two": Check("two", pd.DataFrame(), "Nothing")})
    assert [ax.get_title(loc="left") for ax in plot_panel(panel, checks=["two"]).axes] == ["two", ""]
    with pytest.raises(ValueError, match="no check 'three'; expected some of one, two"):
        plot_panel(panel, checks=["three"])
