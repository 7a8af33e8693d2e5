import numpy as np
import pytest
import xarray as xr
from conftest import TYPICAL, made_cohort
from hypothesis import given, settings
from hypothesis import strategies as st

import ecgwb as wb
from ecgwb.cohorts.measurements import TIME
from ecgwb.delineation.landmarks import LANDMARKS, J


def template(marks=TYPICAL):
    return xr.DataArray(np.array(marks, float), dims="landmark", coords={"landmark": list(LANDMARKS)})


def test_a_beat_on_the_template_is_left_as_it_is():
    cohort = made_cohort(TYPICAL)
    out = wb.align(cohort["beat"], cohort, template())
    np.testing.assert_allclose(out.values, cohort["beat"].values, rtol=1e-5, atol=1e-4)
    assert out.dims == ("record", "lead", "phase")


def test_landmarks_land_on_those_of_the_template():
    own = np.array([-230, -170, -120, -50, 0, 60, 180, 300, 420.0])
    cohort = made_cohort(own)
    time = xr.DataArray(np.tile(TIME, (1, 1)), dims=("record", "time"), coords={"record": ["0"], "time": TIME})
    warped = wb.align(time, cohort, template())  # the record's own time at each phase
    for common, mine in zip(TYPICAL, own, strict=True):
        assert float(warped.sel(phase=common)[0]) == pytest.approx(mine, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(5, 90), min_size=9, max_size=9))
def test_warping_rises_and_keeps_values_within_bounds(gaps):
    own = np.cumsum(gaps)
    own = own - own[4]
    cohort = made_cohort(own)
    time = xr.DataArray(TIME[None], dims=("record", "time"), coords={"record": ["0"], "time": TIME})
    warped = wb.align(time, cohort, template()).values[0]
    assert (np.diff(warped[np.isfinite(warped)]) > 0).all()
    beat = wb.align(cohort["beat"], cohort, template())
    assert float(beat.max()) <= float(cohort["beat"].max())


def test_an_absent_p_masks_the_p_and_nothing_else():
    marks = np.array(TYPICAL, float)
    marks[:3] = np.nan
    cohort = made_cohort(marks)
    out = wb.align(cohort["beat"], cohort, template()).isel(record=0, lead=0)
    masked = out.phase.values[np.isnan(out.values)]
    assert (masked.min(), masked.max()) == (-200, -100)


def test_with_its_jacobian_the_sum_over_a_stretched_segment_is_kept():
    own = np.array(TYPICAL, float)
    own[6:] += [20, 60, 90]
    cohort = made_cohort(own, np.ones((1, 8, 600)))
    out = wb.align(cohort["beat"], cohort, template(), keep_sum=True).isel(record=0, lead=0)
    j_to_t_off = out.sel(phase=slice(50, 348)).sum() * 2
    assert float(j_to_t_off) == pytest.approx(440 - 50, abs=4)


def test_the_template_is_the_cohorts_median_and_travels_along(ludb, measures):
    maps = wb.align(wb.ecgradcam(measures, ludb, "qt"), ludb)
    np.testing.assert_allclose(wb.attention.template_of(ludb).values, np.nanmedian(ludb["fiducial"], axis=0))
    assert "template" in maps.attrs
    assert maps["sex"].dims == ("record",)


def test_averaging_aligned_t_waves_is_sharper_than_averaging_beats(ludb):
    plain = ludb["beat"].sel(lead="V5").std("record")
    aligned = wb.align(ludb["beat"], ludb).sel(lead="V5").std("record")
    end = float(wb.attention.template_of(ludb).sel(landmark="T_off"))
    near = slice(end - 60, end)
    assert float(aligned.sel(phase=near).mean()) < float(plain.sel(time=near).mean())


def test_values_of_another_cohort_are_refused():
    a = made_cohort([TYPICAL, TYPICAL])
    with pytest.raises(ValueError, match="no landmarks for record '1'"):
        wb.align(a["beat"], a.isel(record=[0]))
    with pytest.raises(ValueError, match="start at 0 ms"):
        wb.align(a["beat"].assign_coords(time=TIME + 500), a)
    with pytest.raises(ValueError, match="without 'time'; expected what"):
        wb.align(a["hr"], a)


def test_records_are_warped_alike_alone_and_together():
    rng = np.random.default_rng(3)
    own = np.array(TYPICAL) + np.sort(rng.normal(0, 25, (30, 9)), axis=1)
    own[:, 4] = 0
    own[rng.random(own.shape) < 0.1] = np.nan
    own[:, 4] = 0
    cohort = made_cohort(own)
    together = wb.align(cohort["beat"], cohort, template(), keep_sum=True)
    for i in (0, 7, 29):
        alone = wb.align(cohort["beat"][[i]], cohort, template(), keep_sum=True)
        np.testing.assert_array_equal(alone[0], together[i])


def test_a_qrs_without_an_end_is_masked_too():
    marks = np.array(TYPICAL, float)
    marks[J] = np.nan
    cohort = made_cohort(marks)
    out = wb.align(cohort["beat"], cohort, template()).isel(record=0, lead=0)
    masked = out.phase.values[np.isnan(out.values)]
    assert (masked.min(), masked.max()) == (-40, 50)


def test_the_next_beat_keeps_its_distance_to_t_off():
    own = np.array(TYPICAL, float)
    own[6:] -= 60  # a shorter QT at a higher rate; the next P is 100 ms after T_off
    beat = np.zeros((1, 8, 600))
    beat[:, :, np.flatnonzero(own[8] + 100 == TIME)] = 1.0
    cohort = made_cohort(own, beat)
    out = wb.align(cohort["beat"], cohort, template()).isel(record=0, lead=0)
    assert float(out.phase[out.values.argmax()]) == TYPICAL[8] + 100


def test_a_template_that_is_none_is_refused(ludb):
    few = ludb.isel(record=slice(3))
    common = wb.attention.template_of(few)
    with pytest.raises(TypeError, match="no DataArray of the nine landmarks"):
        wb.align(few["beat"], few, common.values)
    with pytest.raises(ValueError, match="expected them in the order of time"):
        wb.align(few["beat"], few, common[::-1])
