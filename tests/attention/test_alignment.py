import numpy as np
import pytest
import xarray as xr
from conftest import TYPICAL, made_cohort
from hypothesis import given, settings
from hypothesis import strategies as st
from known_rhythms import CLOCK, LEAD_GAINS, MARKS, clocked, made_rhythms, many, wave

import ecgwb as wb
from ecgwb.cohorts.beats import RHYTHM
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


# ---------------------------------------------------------------- along recordings


@pytest.fixture(scope="module")
def recordings():
    return wb.open_cohort("ludb", rhythm=True).isel(record=slice(30))


def test_a_recording_folds_to_its_beat():
    cohort = many(6)
    folded = wb.align(cohort["rhythm"], cohort)
    assert folded.dims == ("record", "lead", "phase")
    np.testing.assert_array_equal(folded["phase"], TIME)
    expected = LEAD_GAINS[:, None] * wave(TIME)
    near = (MARKS[0] - 40 < TIME) & (MARKS[8] + 40 > TIME)
    np.testing.assert_allclose(
        folded.values[..., near], np.broadcast_to(expected[:, near], (6, 8, near.sum())), atol=0.1
    )


def test_a_real_recording_folds_to_nearly_its_representative_beat(recordings):
    folded, beats = wb.align(recordings["rhythm"], recordings), wb.align(recordings["beat"], recordings)
    near = slice(-150, 400)
    off = abs(folded - beats).sel(phase=near).mean(["lead", "phase"])
    size = abs(beats).sel(phase=near).mean(["lead", "phase"])
    assert float((off / size).median()) < 0.05  # a mean of cycles, each in its own time, beside a median


def test_landmarks_of_every_cycle_land_on_those_of_the_template(recordings):
    r = recordings["cycle_fiducial"].values
    for k, name in enumerate(LANDMARKS):
        marked = np.zeros((30, 5000))
        for i in range(30):
            for own in r[i, :, k][np.isfinite(r[i, :, k])]:
                marked[i] += np.clip(1 - np.abs(CLOCK - own) / 10, 0, None)
        folded = wb.align(clocked(marked, recordings), recordings)
        at = float(wb.attention.template_of(recordings).sel(landmark=name))
        peak = folded["phase"].values[np.nan_to_num(folded.values).argmax(axis=1)]
        assert np.abs(peak - at)[np.nanmax(folded.values, axis=1) > 0.5].max() <= 4, name


def test_a_map_that_is_the_same_throughout_stays_so_and_its_sum_or_mean_is_kept(recordings):
    ones = clocked(np.ones((30, 5000)), recordings)
    even = wb.align(ones, recordings)
    np.testing.assert_allclose(even.values[np.isfinite(even.values)], 1, atol=1e-6)
    whole = many(5)
    kept = wb.align(clocked(np.ones((5, 5000)), whole), whole, keep_sum=True).sum("phase")
    np.testing.assert_allclose(kept, 5000, rtol=0.12)  # but the ends, where no beat is whole
    assert float(abs(kept / kept.mean() - 1).max()) < 0.1  # whatever the rate
    by_mean = wb.align(clocked(np.ones((5, 5000)), whole).assign_attrs(adds_up="mean"), whole).sum("phase") / 600
    np.testing.assert_allclose(by_mean, kept / 5000, rtol=1e-5)


def test_sums_over_each_wave_of_all_beats_are_kept(recordings):
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.normal(size=(30, 5000)), axis=1)
    folded = wb.align(clocked(smooth, recordings), recordings, keep_sum=True)
    marks, common = recordings["cycle_fiducial"].values, wb.attention.template_of(recordings).values
    cycles = np.isfinite(marks[..., [3, 5]]).all(axis=2)
    for i in range(30):
        expected = sum(smooth[i][(a <= CLOCK) & (b > CLOCK)].sum() for a, b in marks[i][cycles[i]][:, [3, 5]])
        inside = (common[3] <= TIME) & (common[5] > TIME)
        size = np.abs(smooth[i]).mean() * 50 * cycles[i].sum()
        assert abs(folded.values[i][inside].sum() - expected) < 0.1 * size


def test_recordings_of_another_rate_fold_at_that_rate(recordings):
    slow = clocked(np.ones((30, 5000)), recordings)[:, ::4].assign_coords(sex=recordings["sex"])
    folded = wb.align(slow, recordings)
    assert (float(folded["phase"][0]), float(folded["phase"][1]), folded.sizes["phase"]) == (-496, -488, 150)
    shares = wb.segment_table(folded.copy(data=folded.values * np.arange(30.0)[:, None]))
    assert np.isfinite(shares["share"]).all()
    assert wb.cohort_map(folded, by="sex")["mean"].sizes["phase"] == 150


def test_what_starts_at_zero_and_is_no_recording_is_refused(recordings):
    beat = recordings["beat"].assign_coords(time=TIME + 500)
    with pytest.raises(ValueError, match="start at 0 ms"):
        wb.align(beat.isel(time=slice(300)), recordings)
    with pytest.raises(ValueError, match=r"give open_cohort\(..., rhythm=True\)"):
        wb.align(clocked(np.ones((30, 5000)), recordings), recordings.drop_vars(RHYTHM))


def test_recordings_with_reference_beats_keep_their_own_rate():
    cohort = many(12)
    other = wb.attention.reference_rhythms(cohort)
    np.testing.assert_allclose(other, cohort["rhythm"], atol=2)  # all have one beat
    late = made_rhythms([np.arange(300.0, 10000, 1500)])  # between two windows it is the record's own
    marked = late.assign(rhythm=late["rhythm"] + xr.DataArray(100.0 * (np.abs(CLOCK - 1050) < 20), dims="sample"))
    other = wb.attention.reference_rhythms(marked, "own time", among=cohort)
    np.testing.assert_array_equal(other.values[0, :, 520:530], marked["rhythm"].values[0, :, 520:530])
    with pytest.raises(ValueError, match="the cohort has no recordings"):
        wb.attention.reference_rhythms(cohort.drop_vars(RHYTHM))


def test_maps_of_the_shipped_network_on_recordings_become_a_cohort_map(recordings):
    model = wb.load_model("compact-rhythm")
    maps = wb.ecgradcam(model, recordings, ["qt", "pr"])
    aligned = wb.align(maps, recordings)
    rise = (wb.predict(model, recordings)["qt"] - maps["bias"].sel(target="qt")).values
    np.testing.assert_allclose(aligned.sel(target="qt").sum("phase") / 600, rise, rtol=0.25, atol=10)
    assert set(wb.cohort_map(aligned, by="sex")["sex"].values) == {"female", "male"}
    assert wb.segment_table(aligned)["share"]["pr"].drop("rest").idxmax() in ("P", "PQ")
    by_parts = wb.attention.map_chunks(lambda part: wb.ecgradcam(model, part, ["qt", "pr"]), recordings)
    np.testing.assert_allclose(by_parts["mean"], wb.cohort_map(aligned)["mean"], rtol=1e-4, atol=1e-4)
