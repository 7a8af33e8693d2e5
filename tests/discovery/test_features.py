import numpy as np
import pandas as pd
import pytest
from conftest import TYPICAL, made_cohort

import ecgwb as wb
from ecgwb.cohorts.measurements import TIME
from ecgwb.discovery.classic import qt_slope


@pytest.fixture
def drawn():
    """One beat with a triangle of QRS in every lead: up from -40 to 0 ms, down to -1/2 at 30 ms, back at 50 ms."""
    shape = np.interp(TIME, [-40, 0, 30, 50], [0, 1, -0.5, 0])
    size = np.array([1, 2, 3, 4, 5, 6, 7, 8]) * 100.0
    return made_cohort(TYPICAL, (size[:, None] * shape)[None] + 70.0)


def test_every_measurement_of_a_drawn_beat_is_as_drawn(drawn):
    row = wb.measure(drawn).iloc[0]
    assert (row["pr_ms"], row["qrs_ms"], row["qt_ms"], row["jt_ms"], row["tpe_ms"]) == (160, 90, 390, 300, 100)
    assert row["qtc_ms"] == row["qt_ms"]  # at 60 bpm RR is one second
    for k, lead in enumerate(wb.LEADS, start=1):
        assert row[f"r_uv_{lead}"] == pytest.approx(100 * k, abs=1e-2)
        assert row[f"s_uv_{lead}"] == pytest.approx(-50 * k, abs=1e-2)
        assert row[f"q_uv_{lead}"] == pytest.approx(0, abs=1e-2)
        assert (row[f"r_time_ms_{lead}"], row[f"s_time_ms_{lead}"]) == (40, 70)
        assert row[f"r_upslope_{lead}"] == pytest.approx(100 * k / 40, rel=1e-3)
        assert row[f"r_downslope_{lead}"] == pytest.approx(-150 * k / 30, rel=1e-3)
        assert row[f"qrs_area_uvms_{lead}"] == pytest.approx(100 * k * (20 + 10 - 2.5 - 5), rel=1e-2)


def test_the_axis_is_that_of_the_drawn_vector(drawn):
    # Lead I = 1, II = 2: aVF = 2 - 1/2; the axis is atan2(1.5 * 2 / sqrt 3, 1) = 60 degrees.
    assert wb.measure(drawn).iloc[0]["qrs_axis_deg"] == pytest.approx(60, abs=1e-6)


def test_measurements_agree_with_the_cohorts_targets(ludb):
    table = wb.measure(ludb)
    np.testing.assert_allclose(table["qt_ms"], ludb["qt"])
    np.testing.assert_allclose(table["j_uv_V5"], ludb["j_v5"], atol=0.1)
    np.testing.assert_allclose(table["t_uv_V5"], ludb["t_v5"], atol=0.1)
    has_r = table["r_time_ms_V5"].notna().to_numpy()  # the maximum of a QS complex is an end of QRS, and no R
    assert (table["r_uv_V5"][~has_r] == 0).all()
    assert (~has_r).sum() < 10
    above = has_r & (ludb["r_v5"].values > 0)
    less = ludb["r_v5"].values[above] - table["r_uv_V5"][above]
    assert (less > -0.1).all()
    assert (less > 0.1).sum() == 1  # a small R below a raised ST, which the target takes for R


def test_a_small_r_below_a_raised_st_is_an_r(ptbxl):
    row = wb.measure(ptbxl.sel(record=["180"])).iloc[0]  # left bundle branch block: J in V2 lies above its small r
    assert row["j_uv_V2"] > row["r_uv_V2"] > 250
    assert row["s_uv_V2"] < -5000
    assert 0 < row["r_time_ms_V2"] < row["s_time_ms_V2"]


def test_every_column_has_a_unit_a_definition_and_a_source(ludb):
    table = wb.measure(ludb.isel(record=slice(3)))
    about = pd.DataFrame(table.attrs["columns"]).T
    assert "p_ms" in repr(table)  # pandas compares attrs when it prints
    assert list(about.index) == list(table.columns)
    assert (about != "").all().all()
    assert about.loc["r_downslope_V2", "unit"] == "µV/ms"


def test_an_absent_p_leaves_its_own_measurements_absent_alone(drawn):
    changed = drawn.copy(deep=True)
    changed["fiducial"][0, :3] = np.nan
    row = wb.measure(changed).iloc[0]
    assert row[["p_ms", "pr_ms", "p_uv_II"]].isna().all()
    assert row[["qrs_ms", "qt_ms", "r_uv_V5", "t_axis_deg"]].notna().all()


def test_qt_corrected_by_regression_is_uncorrelated_with_rr(ptbxl):
    slope = qt_slope(ptbxl)
    table = wb.measure(ptbxl, qt_per_rr=slope)
    rr = 60000 / table["hr_bpm"]
    assert 0.05 < slope < 0.35  # Framingham: 0.154
    assert table["qtc_rr_ms"].corr(rr) == pytest.approx(0, abs=1e-6)
    assert table["qt_ms"].corr(rr) > 0.5
    one = wb.measure(ptbxl.isel(record=[0])).iloc[0]
    assert one["qtc_rr_ms"] == pytest.approx(one["qt_ms"] + 0.154 * (1000 - 60000 / one["hr_bpm"]))


def test_no_slope_without_people_who_differ(drawn):
    with pytest.raises(ValueError, match="three that differ"):
        qt_slope(drawn)


@pytest.mark.parametrize("sign", [1, -1])
def test_asymmetry_is_the_ratio_of_a_triangles_areas(sign):
    # T from 150 to 350 ms, its peak at 290: areas are as 140 to 60, upright or inverted, on any slope.
    shape = sign * 300 * np.interp(TIME, [150, 290, 350], [0, 1, 0]) + 0.1 * TIME
    small = np.where(np.arange(8)[:, None] == 7, 0.01, 1.0) * shape
    row = wb.measure(made_cohort(TYPICAL, small[None])).iloc[0]
    assert row["t_asymmetry_V2"] == pytest.approx(140 / 60, rel=0.01)
    assert np.isnan(row["t_asymmetry_V6"])


def test_a_qrs_too_short_for_a_slope_has_none_and_costs_nobody_else_theirs(ludb):
    few = ludb.isel(record=slice(3))
    name = str(few["record"].values[0])
    short = wb.cohorts.move_landmark(wb.cohorts.move_landmark(few, name, "J", 2.0), name, "QRS_on", -2.0)
    table = wb.measure(short)
    assert np.isnan(table.loc[name, "r_upslope_V5"])
    pd.testing.assert_series_equal(table.iloc[1], wb.measure(few).iloc[1])
