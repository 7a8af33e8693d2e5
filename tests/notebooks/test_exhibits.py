"""Every figure by its name: what it shows is what its table says, as vector graphics at journal width."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from exhibits import beat_exhibits, map_exhibits, network_exhibits

import ecgwb as wb
from ecgwb.figures import plot_dose_response, plot_map_against_effect

pytestmark = pytest.mark.usefixtures("paper_style")


@pytest.fixture(scope="module")
def few(ludb):
    return ludb.isel(record=slice(30))


def test_beats_of_the_exhibits_are_the_cohorts(few):
    shown = beat_exhibits.beat(few)
    for lead, ax in zip(few["lead"].values, shown.figure.axes, strict=True):
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), few["beat"].sel(record="2", lead=lead))
    assert shown.table.loc["2", ("ms", "J")] == float(few["fiducial"].sel(record="2", landmark="J"))
    shown = beat_exhibits.mean_beats(few)
    women = few.isel(record=np.flatnonzero(few["sex"].values == "female"))
    mean = wb.align(women["beat"], women, wb.attention.template_of(few)).mean("record").sel(lead="V5")
    np.testing.assert_allclose(shown.table["female", "V5"], mean, rtol=1e-5, atol=1e-3)
    shown = beat_exhibits.landmarks(few)
    away = (few["fiducial"] - few["fiducial_manual"]).sel(landmark="T_off")
    assert shown.table.loc["T_off", "bias"] == pytest.approx(float(away.mean()))
    assert shown.table.loc["T_off", "sd"] == pytest.approx(float(away.std(ddof=1)))
    assert (shown.table["within_2_doubt"] >= shown.table["within_doubt"]).all()


def test_maps_of_the_exhibits_are_the_networks(few, measures):
    of = map_exhibits.maps_of_cohort(measures, few, "compact-measures")
    shown = map_exhibits.cohort_map(of, "qt")
    np.testing.assert_array_equal(shown.table["mean"], of.mean["mean"].sel(target="qt"))
    shown = map_exhibits.why_longer(of, "qt")
    said = wb.predict(measures, few)["qt"].where(few["fiducial"].sel(landmark="P_on").notnull())
    assert f"{float(said.max()):.0f} ms against a mean" in shown.caption
    shown = map_exhibits.variants(measures, few)
    assert "published 1.00" in shown.caption
    with pytest.raises(ValueError, match="no target 'age'"):
        map_exhibits.cohort_map(of, "age")


def doses():
    """Slopes of a network that follows its own edit by 0.9 and another's by -0.2, beside a perfect measurement."""
    index = pd.MultiIndex.from_product([["PR", "QT"], ["pr", "qt"]], names=["edit", "target"])
    own = np.array([1.0, 0.0, 0.0, 1.0])
    table = pd.DataFrame({"slope": 0.9 * own - 0.2 * (1 - own), "measured_slope": own}, index=index)
    for c in ("slope", "measured_slope"):
        table[c.replace("slope", "low")], table[c.replace("slope", "high")] = table[c] - 0.05, table[c] + 0.05
    return table.assign(unit=["ms per ms"] * 4, n=10)


def test_the_dose_response_matrix_stands_beside_the_measurements_with_one_scale():
    _, axes = plt.subplots(1, 2)
    plot_dose_response(doses(), axes)
    network, measured = (ax.images[0] for ax in axes)
    np.testing.assert_allclose(network.get_array(), [[0.9, -0.2], [-0.2, 0.9]])
    np.testing.assert_allclose(measured.get_array(), [[1, 0], [0, 1]])
    assert network.get_clim() == measured.get_clim() == (-1, 1)
    assert [t.get_text() for t in axes[0].texts][:2] == ["+.90\n(+.85, +.95)", "-.20\n(-.25, -.15)"]
    assert [t.get_text() for t in axes[1].texts][1] == "0\n(-.05, +.05)"
    framed = {tuple(p.get_xy()) for p in axes[0].patches}
    assert framed == {(-0.5, -0.5), (0.5, 0.5)}
    unknown = doses().assign(measured_slope=np.nan, measured_low=np.nan, measured_high=np.nan)
    _, axes = plt.subplots(1, 2)
    plot_dose_response(unknown, axes)
    assert {t.get_text() for t in axes[1].texts} == {"–"}


def test_map_against_effect_shows_each_correlation_with_its_interval():
    names = ["gradcam", "published"], ["qt", "t_v5"], ["P", "QRS", "T", "all"]
    index = pd.MultiIndex.from_product(names, names=["method", "target", "wave"])
    r = np.linspace(-0.7, 0.8, len(index))
    table = pd.DataFrame({"r": r, "r_low": r - 0.1, "r_high": r + 0.1, "slope": 1.0, "n": 20}, index=index)
    _, axes = plt.subplots(1, 4)
    plot_map_against_effect(table, axes)
    for ax, wave in zip(axes, ("all", "P", "QRS", "T"), strict=True):
        for line, method in zip(ax.lines, names[0], strict=False):
            np.testing.assert_array_equal(line.get_xdata(), table.xs((method, wave), level=("method", "wave"))["r"])
    shown = network_exhibits.effects(doses(), table, wb.open_cohort("ludb"))
    assert len([ax for ax in shown.figure.axes if ax.images]) == 2
    assert set(shown.table.index) == {"dose-response", "map against effect"}
    top, bottom = shown.figure.axes[0], shown.figure.axes[2]
    shown.figure.canvas.draw()
    assert top.get_window_extent().y0 > bottom.get_window_extent().y1  # the map's effect stands under the matrix
