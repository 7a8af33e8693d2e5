import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import ecgwb as wb
from ecgwb import figures
from ecgwb.delineation.landmarks import SEGMENTS
from ecgwb.discovery import Feature
from ecgwb.stats import adjusted_p

pytestmark = pytest.mark.usefixtures("paper_style")


@pytest.fixture(scope="module")
def qt(measures, ludb):
    aligned = wb.align(wb.ecgradcam(measures, ludb, ["qt", "r_v5"]), ludb)
    return aligned, wb.cohort_map(aligned), wb.align(ludb["beat"], ludb).mean("record")


def test_a_beat_is_drawn_over_its_own_time_with_its_waves_named(ludb):
    one = ludb.isel(record=1)
    ax = figures.plot_beat(one["beat"].sel(lead="II"), one["fiducial"])
    assert ax.get_xlim() == (-500, 698)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), one["beat"].sel(lead="II"))
    assert [t.get_text() for t in ax.texts] == ["P", "QRS", "T"]


def test_a_beat_without_p_is_drawn_without_it(ludb):
    one = ludb.isel(record=1).copy(deep=True)
    one["fiducial"][:3] = np.nan
    ax = figures.plot_beat(one["beat"].sel(lead="II"), one["fiducial"])
    assert [t.get_text() for t in ax.texts] == ["QRS", "T"]


def test_a_map_by_lead_has_a_row_per_lead_colours_about_zero_and_a_unit(measures, ludb):
    few = ludb.isel(record=slice(3))
    maps = wb.align(wb.attribute(measures, few, "saliency", "qt"), few).isel(record=1, target=0)
    fig, ax = plt.subplots()
    figures.plot_lead_map(maps, ax)
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array(), maps)
    assert image.get_clim()[0] == -image.get_clim()[1] < 0
    assert [t.get_text() for t in ax.get_yticklabels()] == list(wb.LEADS)
    assert image.get_extent() == [-501, 699, 7.5, -0.5]
    assert fig.axes[1].get_ylabel() == "ms/µV"
    assert len(ax.lines) == 6


def test_the_cohort_maps_colours_are_centred_on_zero_and_carry_a_unit(qt):
    aligned, mean, beat = qt
    fig, (top, bottom) = plt.subplots(2, 1)
    figures.plot_cohort_map(mean.sel(target="qt"), beat.sel(lead="V5"), (top, bottom), aligned.sel(target="qt"))
    low, high = top.images[0].get_clim()
    assert low == -high
    assert "ms" in fig.axes[-1].get_ylabel()
    assert bottom.get_ylabel() == "contribution\n(ms)"
    np.testing.assert_array_equal(bottom.lines[0].get_ydata(), mean["mean"].sel(target="qt"))


def test_a_map_by_group_shows_each_group_and_their_difference(qt, ludb):
    aligned, _, beat = qt
    groups = wb.cohort_map(aligned, by="sex").sel(target="qt")
    fig, (top, bottom) = plt.subplots(2, 1)
    figures.plot_cohort_map(groups, beat.sel(lead="V5"), (top, bottom))
    for line, sex in zip(bottom.lines, ("female", "male"), strict=False):
        assert line.get_label() == sex
        np.testing.assert_array_equal(line.get_ydata(), groups["mean"].sel(sex=sex))
    shown = top.images[0].get_array()[0]
    np.testing.assert_allclose(shown, groups["mean"].sel(sex="male") - groups["mean"].sel(sex="female"))
    assert "male minus female" in fig.axes[-1].get_ylabel()


def test_the_words_beside_a_map_are_its_numbers(qt):
    shares = wb.segment_table(qt[0])
    text = figures.describe_map(shares, qt[1], "r_v5")
    own = shares.loc["r_v5"].drop("rest")
    most = own["share"][own["share"] > own["span"]].idxmax()
    share = {segment: f"{100 * own.loc[segment, 'share']:.0f} %" for segment in (most, "QRS")}
    first = f"R in V5: people's maps differ more than a segment's length explains in {most} {share[most]}"
    assert text.startswith(first)
    assert f"It is measured in QRS: {share['QRS']} of the differences lie there" in text
    mean = qt[1]["mean"].sel(target="r_v5")
    highest, marks = float(mean.phase[mean.values.argmax()]), wb.attention.template_of(qt[0]).to_series()
    (where,) = (s for s, (first, last) in SEGMENTS.items() if marks[first] <= highest < marks[last])
    assert f"highest at {highest:+.0f} ms, in {where}" in text


def test_the_blanking_table_prints_what_it_holds(measures, ludb):
    table = wb.blanking_table(measures, ludb.isel(record=slice(40)))
    ax = figures.plot_blanking(table)
    cells = [t.get_text() for t in ax.texts]
    assert len(cells) == 7 * 7
    assert cells[0].startswith(f"{table.loc['pr', 'intact']:.1f}\n(")


def test_errors_by_group_are_numbers_coloured_by_everyones(measures, ludb):
    predictions = wb.predict(measures, ludb)
    everyone = wb.accuracy_table(predictions, ludb)
    groups = {by: wb.accuracy_table(predictions, ludb, by=by).rename_axis(["group", "target"]) for by in ("sex", "age")}
    table = pd.concat(groups, names=["by"])
    ax = figures.plot_groups(table, everyone)
    women = table.loc[("sex", "female", "qt")]
    row, column = [t.get_text() for t in ax.get_yticklabels()], [t.get_text() for t in ax.get_xticklabels()]
    assert [r.partition(" (n")[0] for r in row[:2]] == ["sex: male", "sex: female"]  # the larger group first
    assert len(row) == 5
    ages = [r.partition(" (n")[0] for r in row[2:]]
    assert ages == sorted(ages, key=lambda r: int(re.search(r"\d+", r)[0]))  # ranges keep their order
    cell = column.index("QT") + len(column)
    assert ax.texts[cell].get_text() == f"{women['score']:.1f}"
    shade = ax.collections[0].get_array().ravel()[cell]
    clear = adjusted_p(table["p"].to_numpy())[list(table.index).index(("sex", "female", "qt"))] < 0.05
    assert shade == pytest.approx(np.log2(women["score"] / everyone.loc["qt", "score"]) if clear else 0.0)
    assert ax.collections[0].get_array().ravel().any()  # some group does differ


def test_agreement_roc_and_forest_show_their_numbers():
    rng = np.random.default_rng(0)
    true = rng.normal(400, 30, 50)
    ax = figures.plot_bland_altman(true + 7, true, "ms")
    assert ax.texts[0].get_text() == "+7"
    y = rng.integers(0, 2, 80)
    ax = figures.plot_roc({"good": y + 0.0}, y, plt.figure().gca())
    assert ax.get_legend().get_texts()[0].get_text() == "good (AUC 1.00)"
    rows = pd.DataFrame({"auc": [0.7, 0.8], "low": [0.6, 0.7], "high": [0.8, 0.9], "n": [10, 10]})
    rows.index = pd.MultiIndex.from_tuples([("a", "test"), ("b", "test")], names=["model", "people"])
    ax = figures.plot_forest(rows, plt.figure().gca())
    assert [t.get_text() for t in ax.get_yticklabels()] == ["a", "b"]


def estimates():
    rows = {"value": [0.7, 0.8, np.nan, 0.6], "low": [0.6, 0.7, np.nan, 0.5], "high": [0.8, 0.9, np.nan, 0.7]}
    index = pd.MultiIndex.from_product([["qt", "new"], ["test", "LUDB"]], names=["target", "people"])
    return pd.DataFrame(rows, index=index)


def test_intervals_of_groups_stand_side_by_side_in_the_tables_order():
    _, axes = plt.subplots(1, 2, sharey=True)
    for ax in axes:
        figures.plot_intervals(estimates(), ax, by="people", hollow=["LUDB"])
    for ax in axes:  # Axes that share their rows agree on them
        assert ax.get_ylim() == (1.5, -0.5)
        test, ludb = ax.lines
        np.testing.assert_array_equal(test.get_xdata(), [0.7, np.nan])
        np.testing.assert_array_equal(ludb.get_xdata(), [0.8, 0.6])
        assert (test.get_ydata() < ludb.get_ydata()).all()
        assert ludb.get_markerfacecolor() == "white" != test.get_markerfacecolor()
        (a, b), (c, _) = ax.collections[0].get_segments()[0]
        assert (a, c, b) == (0.6, 0.8, test.get_ydata()[0])
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["QT", "new"]
    assert [t.get_text() for t in axes[0].get_legend().get_texts()] == ["test", "LUDB"]


def test_upright_intervals_stand_at_the_numbers_of_the_index():
    table = estimates().xs("qt", level="target").set_axis([94, 222])
    ax = figures.plot_intervals(table, vertical=True)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [(94, 0.7), (222, 0.8)])


def test_a_table_without_intervals_is_refused_in_words():
    with pytest.raises(ValueError, match="no 'auc'; expected auc, low, high; it has target, people, value, low, high"):
        figures.plot_intervals(estimates(), columns=("auc", "low", "high"))
    with pytest.raises(ValueError, match="no 'group'"):
        figures.plot_intervals(estimates(), by="group")


def test_the_sex_table_shows_every_row_and_what_it_adds():
    index = pd.MultiIndex.from_product([["classic", "network"], ["discovery", "test"]], names=["model", "people"])
    rows = {"auc": [0.9, 0.8, 0.85, 0.88], "low": 0.7, "high": 0.95, "n": 50}
    rows |= {"beyond": [np.nan, np.nan, -0.05, 0.08], "beyond_low": -0.1, "beyond_high": 0.2}
    _, axes = plt.subplots(1, 2)
    figures.plot_sex_table(pd.DataFrame(rows, index=index), axes)
    found = {line.get_label(): line for line in axes[0].lines}
    np.testing.assert_array_equal(found["test (n = 50)"].get_xdata(), [0.8, 0.88])
    assert found["discovery (n = 50)"].get_markerfacecolor() == "white"
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["classic", "network"]
    np.testing.assert_array_equal(axes[1].lines[1].get_xdata(), [np.nan, 0.08])
    assert axes[0].get_shared_y_axes().joined(*axes)
    assert axes[0].get_ylim() == axes[1].get_ylim()  # the same row at the same height, though the first adds nothing
    np.testing.assert_array_equal(axes[0].lines[1].get_ydata(), axes[1].lines[1].get_ydata())


def test_map_against_effect_shows_each_correlation_with_its_interval():
    names = ["gradcam", "published"], ["qt", "t_v5"], ["P", "QRS", "T", "all"]
    index = pd.MultiIndex.from_product(names, names=["method", "target", "wave"])
    r = np.linspace(-0.7, 0.8, len(index))
    table = pd.DataFrame({"r": r, "r_low": r - 0.1, "r_high": r + 0.1, "slope": 1.0, "n": 20}, index=index)
    _, axes = plt.subplots(1, 4)
    figures.plot_map_against_effect(table, axes)
    for ax, wave in zip(axes, ("all", "P", "QRS", "T"), strict=True):
        for line, method in zip(ax.lines, names[0], strict=False):
            np.testing.assert_array_equal(line.get_xdata(), table.xs((method, wave), level=("method", "wave"))["r"])


def test_a_feature_is_drawn_where_it_is_read(ludb):
    slope = Feature("slope", "V4", (("R", 0.0, "J"), ("T_on", 0.0, "T_peak")))
    template = wb.attention.template_of(ludb)
    for by, names in (("male", ["female", "male"]), ("age", None)):
        ax = wb.figures.plot_feature(slope, ludb, by, plt.subplots()[1])
        dots = sorted({float(line.get_xdata()[0]) for line in ax.lines if line.get_gid() == "point"})
        np.testing.assert_allclose(dots, [float(template.sel(landmark=m)) for m in ("R", "T_on")])
        labels = [line.get_label() for line in ax.lines if not line.get_label().startswith("_")]
        assert labels == names if names else len(labels) == 2
        assert ax.get_ylabel() == "V4, µV"


def test_a_cohort_map_is_drawn_in_one_call(qt, ludb):
    aligned, _, _ = qt
    some = aligned.isel(record=slice(60))
    figure = figures.cohort_map(some, ludb, "qt", below=some)
    top, curve, below = figure.axes[:3]
    assert top.get_title(loc="left") == "QT on lead V5 of the common beat; LUDB, 60 people"
    assert below.get_title(loc="left") == "ECGradCAM"
    computed = wb.cohort_map(some)["mean"].sel(target="qt")
    np.testing.assert_allclose(curve.lines[0].get_ydata(), computed, rtol=1e-6)
    beat = wb.align(
        ludb["beat"].sel(record=some["record"]), ludb.sel(record=some["record"]), wb.attention.template_of(some)
    )
    np.testing.assert_allclose(top.lines[0].get_ydata(), beat.sel(lead="V5").median("record"), rtol=1e-6)
    assert {"mean over people", "95 % band"} <= {t.get_text() for t in figure.legends[0].get_texts()}


def test_a_cohort_map_takes_the_first_target_and_groups(qt, ludb):
    figure = figures.cohort_map(qt[0].isel(record=slice(60)), ludb, by="sex")
    assert figure.axes[0].get_title(loc="left").startswith("QT on lead V5")
    assert {"female", "male"} <= {t.get_text() for t in figure.legends[0].get_texts()}


def test_a_cohort_map_says_what_it_cannot_draw(qt, measures, ludb):
    some = qt[0].isel(record=slice(20))
    with pytest.raises(ValueError, match="no target 'pr'; expected one of qt, r_v5"):
        figures.cohort_map(some, ludb, "pr")
    with pytest.raises(ValueError, match="no target 'pr'; expected one of qt"):
        figures.cohort_map(some.sel(target="qt"), ludb, "pr")
    with pytest.raises(ValueError, match="20 records that the cohort lacks, such as 1"):
        figures.cohort_map(some, ludb.isel(record=slice(50, None)))
    with pytest.raises(ValueError, match=r"wb\.align"):
        figures.cohort_map(wb.ecgradcam(measures, ludb.isel(record=slice(5)), "qt"), ludb)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("5.1-6.3 ms, -0.2 (-.3 to +.4)", "5.1–6.3 ms, \u22120.2 (\u2212.3 to +.4)"),
        ("PTB-XL-500, folds 1-8", "PTB-XL-500, folds 1–8"),
        ("T_off of P_peak-P_off, r_v5", "T offset of P peak-P offset, r_v5"),
        ("doi 10.1038/s41598-021-90285-5", "doi 10.1038/s41598-021-90285-5"),
    ],
)
def test_numbers_are_set_with_true_minus_signs_and_dashes(given, shown):
    assert figures.typeset(given) == shown


def test_panels_are_lettered_but_colour_bars_empty_panels_and_a_single_panel_are_not():
    figure, axes = plt.subplots(2, 2)
    axes[0, 0].set_title("QT")
    figure.colorbar(axes[0, 1].imshow([[0, 1]]), ax=axes[0, 1])
    axes[1, 0].axis("off")
    figures.letter_panels(figure)
    figures.letter_panels(figure)  # once more changes nothing
    assert [ax.get_title(loc="left") for ax in axes.flat] == ["a  QT", "b", "", "c"]
    one, ax = plt.subplots()
    figures.letter_panels(one)
    assert ax.get_title(loc="left") == ""
    many, axes = plt.subplots(4, 4)
    for ax in axes[::2].flat:
        ax.set_title("V1")
    figures.letter_panels(many)
    assert [ax.get_title(loc="left")[:1] for ax in axes.flat] == [*"abcd", *[""] * 4, *"efgh", *[""] * 4]
