import json

import numpy as np
import pytest
from conftest import TYPICAL, made_cohort

import ecgwb as wb
from ecgwb.cohorts.measurements import TIME
from ecgwb.discovery.features import Feature, Point, feature_table

DOWN = Feature("slope", "V2", (("R", 0.0, "J"), ("R", 0.6, "J")))


@pytest.fixture
def drawn():
    """V2 falls from 900 µV at R to -300 at J (50 ms), all leads on a level of 70 µV; other leads are flat."""
    beat = np.full((1, 8, 600), 70.0)
    beat[0, 3] += np.interp(TIME, [-20, 0, 50, 60], [0, 900, -300, 0])
    return made_cohort(TYPICAL, beat)


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        (DOWN, -24.0),
        (Feature("amplitude", "V2", (("R", 0.0, "J"),)), 900.0),
        (Feature("amplitude", "V2", (("R", 0.75, "J"),)), 0.0),
        (Feature("area", "V2", (("R", 0.0, "J"), ("R", 0.75, "J"))), 900 * 37.5 / 2),
        (Feature("area", "V2", (("R", 0.0, "J"), ("R", 1.0, "J"))), 15000.0),
        (Feature("duration", "", (("R", 0.5, "J"), ("T_on", 0.5, "T_peak"))), 175.0),
        (Feature("amplitude", "V6", (("R", 0.5, "J"),)), 0.0),
    ],
)
def test_values_of_a_drawn_beat_are_as_drawn(drawn, feature, value):
    assert feature.values(drawn)[0] == pytest.approx(value, abs=1e-3, rel=1e-3)


def test_a_feature_says_in_words_what_it_is():
    assert DOWN.name == "V2: slope from R to 60 % of R-J, µV/ms"
    assert DOWN.formula == "(V2[R + 0.6 (J - R)] - V2[R]) / ((R + 0.6 (J - R)) - R)"
    whole = Feature("area", "V5", (("T_on", 0.0, "T_peak"), ("T_peak", 1.0, "T_off")))
    assert whole.name == "V5: area from T_on to T_off, µV ms"
    assert Feature("ratio", of=(DOWN, whole)).unit == "µV/ms per µV ms"
    assert Feature("ratio", of=(whole, whole)).name.endswith("over V5: area from T_on to T_off, 1")


def test_ratios_divide_and_are_absent_where_the_divisor_is_nothing(drawn):
    r, half = (Feature("amplitude", "V2", (("R", s, "J"),)) for s in (0.0, 0.375))
    nothing = Feature("amplitude", "V6", (("R", 0.0, "J"),))
    assert Feature("ratio", of=(half, r)).values(drawn)[0] == pytest.approx(0.5, rel=1e-3)
    assert np.isnan(Feature("ratio", of=(r, nothing)).values(drawn)[0])


def test_what_a_record_lacks_is_absent_and_nothing_else(ludb):
    p = Feature("amplitude", "II", (("P_peak", 0.0, "P_off"),))
    no_p = np.isnan(ludb["fiducial"].sel(landmark="P_peak").values)
    assert 0 < no_p.sum() < len(no_p) / 2
    np.testing.assert_array_equal(np.isnan(p.values(ludb)), no_p)
    assert np.isfinite(DOWN.values(ludb)).all()


def test_the_grammar_agrees_with_the_classic_table(ludb):
    table = wb.measure(ludb)
    j = Feature("amplitude", "V5", (("R", 1.0, "J"),))
    jt = Feature("duration", "", (("R", 1.0, "J"), ("T_peak", 1.0, "T_off")))
    area = Feature("area", "V2", (("QRS_on", 0.0, "R"), ("R", 1.0, "J")))
    np.testing.assert_allclose(j.values(ludb), table["j_uv_V5"], atol=0.1)
    np.testing.assert_allclose(jt.values(ludb), table["jt_ms"])
    # The table's area stops at the samples within QRS; the grammar's at QRS_on and J themselves.
    assert np.corrcoef(area.values(ludb), table["qrs_area_uvms_V2"])[0, 1] > 0.999


def test_scaled_beats_have_scaled_voltages_and_the_same_ratios(ludb):
    some = ludb.isel(record=slice(40))
    larger = some.assign(beat=2 * some["beat"] + 13)
    ratio = Feature("ratio", of=(DOWN, Feature("amplitude", "V5", (("R", 0.0, "J"),))))
    np.testing.assert_allclose(DOWN.values(larger), 2 * DOWN.values(some), rtol=1e-3, atol=1e-3)
    a, b = ratio.values(some), ratio.values(larger)
    both = np.isfinite(a)  # of larger beats, more pass the least divisor
    np.testing.assert_allclose(a[both], b[both], rtol=1e-3, atol=1e-4)


def test_a_feature_comes_back_from_json_and_not_if_it_was_changed():
    ratio = Feature("ratio", of=(DOWN, Feature("amplitude", "V5", (("R", 0.0, "J"),))), origin="map")
    stored = json.loads(json.dumps(ratio.to_json()))
    assert Feature.from_json(stored) == ratio
    stored["of"][0]["points"][1][1] = 0.4
    with pytest.raises(ValueError, match="changed by hand"):
        Feature.from_json(stored)


def test_points_of_the_common_beat():
    template = wb.attention.template_of(made_cohort(TYPICAL))
    assert Point.nearest(31.0, template) == Point("R", 0.6, "J")
    assert Point.nearest(50.0, template) == Point("J", 0.0, "T_on")
    assert Point.nearest(49.9, template) == Point("J", 0.0, "T_on")  # 100 % of R-J has one spelling
    assert Point.nearest(-400.0, template) == Point("P_on", 0.0, "P_peak")
    assert Point.nearest(600.0, template) == Point("T_peak", 1.0, "T_off")
    assert DOWN.span(template) == (0.0, 30.0)
    assert DOWN.leads() == {"V2"}


def test_a_table_has_a_column_per_feature_by_name(drawn):
    table = feature_table([DOWN], drawn)
    assert table.loc["0", "V2: slope from R to 60 % of R-J, µV/ms"] == pytest.approx(-24, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("height", "V2", (("R", 0.0, "J"),)), "unknown kind 'height'"),
        (("slope", "V2", (("R", 0.0, "J"),)), "has 2 points"),
        (("amplitude", "V2", (("J", 0.0, "R"),)), "a later landmark"),
        (("amplitude", "V2", (("R", 1.5, "J"),)), "share from 0 to 1"),
        (("amplitude", "", (("R", 0.5, "J"),)), "have a lead"),
        (("ratio", "", (), (Feature("ratio", of=(DOWN, DOWN)), DOWN)), "ratio of ratios"),
    ],
)
def test_what_is_no_feature_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Feature(*arguments)


def test_a_lead_that_is_not_there_is_named(drawn):
    with pytest.raises(ValueError, match="needs lead aVL; the cohort has I, II"):
        Feature("amplitude", "aVL", (("R", 0.0, "J"),)).values(drawn)
