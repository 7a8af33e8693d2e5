import numpy as np
import pytest
from conftest import TYPICAL, made_cohort

import ecgwb as wb
from ecgwb.cohorts.measurements import TIME
from ecgwb.delineation.landmarks import T_OFF, T_ON, WAVES
from ecgwb.edits.changes import erase, lift, plant, scale, stretch
from ecgwb.edits.remeasurement import remeasure

AT = {m: k for k, m in enumerate(wb.LANDMARKS)}
SOME = [
    ("PR", stretch, 40), ("PR", stretch, -20), ("QRS", stretch, 20), ("QRS", stretch, -20), ("QT", stretch, 40),
    ("QT", stretch, -40), ("R", scale, 0.7), ("R", scale, 1.3), ("T", scale, 0.7), ("T", scale, 1.3), ("J", lift, 100),
]  # fmt: skip


@pytest.fixture(scope="module")
def people(many):
    return many.isel(record=slice(0, 60))


@pytest.fixture(scope="module")
def intact(people):
    return remeasure(people)


@pytest.fixture(scope="module")
def many(ptbxl):
    """Of 60 people a median is known to 1 ms alone."""
    return ptbxl.isel(record=slice(0, 200)).drop_vars(["rhythm", "cycle_fiducial", "cycle_used"])


@pytest.fixture(scope="module")
def many_intact(many):
    return remeasure(many)


def steps(beat):
    """Largest change (record, lead) between one sample and the next, µV."""
    return np.abs(np.diff(beat, axis=2)).max(axis=2)


SHORT_T = pytest.mark.xfail(
    reason="ptbxl500's 16: ST and T, by the new landmarks shorter, take 40 ms; bends by 23 µV more"
)
SMOOTH = [pytest.param(*one, marks=SHORT_T) if one == ("QT", stretch, -40) else one for one in SOME]


@pytest.mark.parametrize(("what", "edit", "dose"), SMOOTH)
def test_edited_beats_are_as_continuous_as_they_were(people, what, edit, dose):
    out = edit(people, what, dose)
    ok = np.isfinite(out["beat"].values).all(axis=(1, 2))
    assert ok.mean() > 0.8
    before, after = people["beat"].values[ok], out["beat"].values[ok]
    # A QRS of two thirds the length, or a third higher, is that much steeper; nothing else may be.
    grows = {"QRS": 1.7, "R": 1.35, "T": 1.35}.get(what, 1.0)
    assert (steps(after) <= grows * steps(before) + 10).all()
    # A seam would bend more than anything in the beat.
    bend = [np.abs(np.diff(x, 2, axis=2)).max(axis=2) for x in (before, after)]
    assert (bend[1] <= grows**2 * bend[0] + 20).all()


@pytest.mark.parametrize("fill", ["linear", "flat", "mean"])
@pytest.mark.parametrize("wave", list(WAVES))
def test_no_fill_leaves_a_step(people, wave, fill):
    out = wb.edits.blank(people, wave, fill)
    ok = np.isfinite(out["beat"].values).all(axis=(1, 2))
    was, now = people["beat"].values[ok], np.abs(np.diff(out["beat"].values[ok], axis=2))
    seam = np.array([[np.searchsorted(TIME, edge) - 1 for edge in span] for span in out["blanked"].values[ok]])
    for k in (-1, 0, 1):
        at_seam = np.take_along_axis(now, seam[:, None] + k, axis=2).max(axis=2)
        assert (at_seam <= np.maximum(steps(was), 15)).all()
    assert set(out["outside"].values[ok]) == {"" if fill == "mean" else f"no {wave}"}


def test_the_mean_wave_is_the_cohorts(people):
    out = wb.edits.blank(people, "T", "mean")
    t = np.array([_share(x, f) for x, f in zip(out["beat"].values, out["fiducial"].values, strict=True)])
    own = np.array([_share(x, f) for x, f in zip(people["beat"].values, people["fiducial"].values, strict=True)])
    np.testing.assert_allclose(t.mean(axis=0), own.mean(axis=0), atol=3)
    assert t.std(axis=0).max() < 0.05 * own.std(axis=0).max()  # no one's T wave differs from another's


def _share(beat, fiducial):
    """T in V5 above the line between its ends, at its middle."""
    a, b = (np.flatnonzero((fiducial[T_ON] <= TIME) & (fiducial[T_OFF] >= TIME)))[[0, -1]]
    return (beat[:, (a + b) // 2] - (beat[:, a] + beat[:, b]) / 2)[[6]]


MOVES = {  # by how much each landmark moves per ms of stretch; QRS grows about time zero
    "PR": [-1, -1, -1, 0, 0, 0, 0, 0, 0],
    "QT": [0, 0, 0, 0, 0, 0, 1, 1, 1],
}


@pytest.mark.parametrize(("interval", "ms"), [("PR", 30), ("PR", -20), ("QT", 40), ("QT", -40)])
def test_a_stretch_moves_its_own_landmarks_and_no_other(many, many_intact, interval, ms):
    out = stretch(many, interval, ms)
    moved = out["fiducial"].values - many["fiducial"].values
    found = remeasure(out)["fiducial"].values - many_intact["fiducial"].values
    for name, k in AT.items():
        expected = ms * MOVES[interval][k]
        np.testing.assert_allclose(moved[np.isfinite(out["pr"].values), k], expected, atol=1e-6)
        # Where T begins is the least certain: a shorter ST segment blurs it.
        assert np.nanmedian(found[:, k]) == pytest.approx(expected, abs=10 if name == "T_on" else 4), name
        assert np.nanmean(np.abs(found[:, k] - expected) < (16 if name == "T_on" else 8)) > 0.7, name


@pytest.mark.parametrize("ms", [20, -20])
def test_a_wider_qrs_keeps_pr_and_the_distance_from_j_to_t(people, intact, ms):
    out = stretch(people, "QRS", ms)
    np.testing.assert_allclose(out["qrs"] - people["qrs"], ms, atol=1e-3)
    np.testing.assert_allclose(out["qt"] - people["qt"], ms, atol=1e-3)
    np.testing.assert_allclose((out["pr"] - people["pr"]).dropna("record"), 0, atol=1e-3)
    assert (out["fiducial"].sel(landmark="R") == 0).all()
    peak = np.sqrt((out["beat"].values.astype(float) ** 2).mean(axis=1))
    near = np.abs(TIME) < 60
    # Time zero is still the QRS fiducial, but where two peaks are about as high.
    assert (np.abs(TIME[near][peak[:, near].argmax(axis=1)]) <= 2).mean() > 0.9
    found = remeasure(out) - intact
    assert np.sign(ms) * found["qrs"].median() > 12
    assert found["qt"].median() == pytest.approx(ms, abs=4)
    assert abs(found["pr"].median()) < 6


LIFTED = pytest.param(
    lift,
    "J",
    100,
    "j_v5",
    marks=pytest.mark.xfail(reason="the new delineator finds J of a lifted beat 2 ms earlier: 96 %"),
)


@pytest.mark.parametrize(
    ("edit", "what", "dose", "target"), [(scale, "R", 1.3, "r_v5"), (scale, "T", 0.7, "t_v5"), LIFTED]
)
def test_voltage_edits_change_their_own_voltage_and_move_no_landmark(people, intact, edit, what, dose, target):
    out = edit(people, what, dose)
    np.testing.assert_array_equal(out["fiducial"], people["fiducial"])
    anew = remeasure(out)
    found, made = anew[target] - intact[target], out[target] - people[target]
    assert np.abs(made).median() > 30
    np.testing.assert_allclose(np.nanmedian(found / made), 1, atol=0.03)
    moved = np.abs(anew["fiducial"].values - intact["fiducial"].values)
    assert (np.delete(np.nanmedian(moved, axis=0), AT["T_on"]) < 4).all()


def test_j_is_lifted_by_what_was_asked_and_r_and_t_stay():
    cohort = made_cohort(TYPICAL, beat=np.zeros((1, 8, 600)))
    out = lift(cohort, "J", 100)["beat"].values[0, 0]
    assert out[TIME == 50] == 100
    assert not out[(TIME <= 0) | (TIME >= 150)].any()


def test_a_plant_stands_in_its_lead_and_in_whom_it_was_meant_for():
    cohort = made_cohort([TYPICAL] * 3, beat=np.zeros((3, 8, 600)))
    out = plant(cohort, 500, 80, lead="V3", width_ms=10, where=np.array([True, False, True]))["beat"].values
    assert out[0, list(wb.LEADS).index("V3"), TIME == 500] == 80
    assert out[0, list(wb.LEADS).index("V3"), TIME == 490] == 0
    assert out[0, list(wb.LEADS).index("V3"), TIME == 506] == pytest.approx(80 * 0.3455, rel=1e-3)
    assert not out[1].any()
    assert not np.delete(out[0], list(wb.LEADS).index("V3"), axis=0).any()


def test_erasing_draws_lines_in_the_leads_meant():
    ramp = np.tile(np.arange(600.0), (1, 8, 1))
    bump = ramp.copy()
    bump[..., 200:210] += 500
    mask = np.zeros((1, 8, 600), bool)
    mask[:, 2, 195:215] = True
    out = erase(made_cohort(TYPICAL, beat=bump), mask)["beat"].values
    np.testing.assert_allclose(out[0, 2], ramp[0, 2], atol=1e-3)
    np.testing.assert_array_equal(out[0, 3], bump[0, 3])
    ends = np.zeros((1, 600), bool)
    ends[:, 590:] = True
    np.testing.assert_allclose(erase(made_cohort(TYPICAL, beat=ramp), ends)["beat"].values[0, 0, 590:], 589)
    assert not erase(made_cohort(TYPICAL, beat=ramp), np.ones((1, 600), bool))["beat"].values.any()


def test_an_edited_beat_says_where_it_leaves_what_was_seen(ptbxl):
    cohort = ptbxl.drop_vars(["rhythm", "cycle_fiducial", "cycle_used"])
    out = stretch(cohort, "QT", 40)
    high = np.nanpercentile(cohort["qt"], 99)
    is_outside = np.array(["qt" in v for v in out["outside"].values])
    known = np.isfinite(out["qt"].values)
    np.testing.assert_array_equal(is_outside[known], (out["qt"].values > high)[known])
    assert 0 < is_outside.mean() < 0.5
    assert "qt_manual" not in stretch(wb.open_cohort("ludb").isel(record=slice(2)), "QT", 10)
    back = stretch(out, "QT", -40)  # judged by the cohort before any edit
    assert np.array(["qt" in v for v in back["outside"].values])[known].mean() < 0.05


def test_a_beat_without_room_is_nan():
    marks = np.array([TYPICAL] * 3, float)
    marks[0, :3] = np.nan  # no P wave
    marks[1, 2] = -55  # 15 ms between P and QRS
    out = stretch(made_cohort(marks), "PR", -20)["beat"].values
    assert np.isnan(out).all(axis=(1, 2)).tolist() == [True, True, False]
    assert np.isfinite(stretch(made_cohort(marks), "QT", 20)["beat"].values).all()
    crowded = stretch(made_cohort(TYPICAL, hr=105), "PR", 30)["beat"].values  # P would lie on the T before it
    assert np.isnan(crowded).all()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda c: stretch(c, "RR", 5), "PR, QRS, QT"),
        (lambda c: scale(c, "P", 2), "'R' or 'T'"),
        (lambda c: lift(c, "R", 5), "expected 'J'"),
        (lambda c: plant(c, 0, 5, lead="aVR"), "the cohort has I, II"),
        (lambda c: wb.edits.blank(c, "P", "zero"), "linear, flat, mean"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(call, expected):
    with pytest.raises(ValueError, match=expected):
        call(made_cohort(TYPICAL))


def test_a_beat_measured_anew_agrees_with_its_recording(people, intact):
    for target, limit in (("pr", 8), ("qrs", 6), ("qt", 10), ("r_v5", 5), ("t_v5", 5)):
        gap = np.abs(intact[target] - people[target])
        assert float(gap.median()) < limit / 2, target
        assert float((gap < limit).mean()) > 0.8, target
    flat = remeasure(made_cohort(TYPICAL, beat=np.zeros((1, 8, 600))))
    assert np.isnan(flat["qt"].values).all()


def test_a_fill_a_width_and_a_mask_that_cannot_be_are_refused(ludb):
    few = ludb.isel(record=slice(2))
    mask = np.zeros((2, 600), bool)
    with pytest.raises(ValueError, match="cannot fill with 'flat'; expected 'linear' or 'mean'"):
        wb.edits.erase(few, mask, "flat")
    with pytest.raises(ValueError, match=r"mask is \(2, 300\); expected \(record, time\)"):
        wb.edits.erase(few, mask[:, :300])
    with pytest.raises(ValueError, match="width_ms is 0; expected more than 0"):
        wb.edits.plant(few, 0.0, 100.0, width_ms=0)
    with pytest.raises(ValueError, match="mask holds float64; expected bool"):
        wb.edits.erase(few, np.full((2, 600), np.nan))
    with pytest.raises(TypeError, match="ms is str '20'; expected a finite number"):
        stretch(few, "QT", "20")
    with pytest.raises(TypeError, match="factor is float nan; expected a finite number"):
        scale(few, "T", np.nan)
    with pytest.raises(ValueError, match=r"where is \(3,\); expected one value for each of 2 records"):
        plant(few, 0.0, 100.0, where=[True, False, True])
    mask[:, 200:220] = True
    np.testing.assert_array_equal(wb.edits.erase(few, mask.tolist())["beat"], wb.edits.erase(few, mask)["beat"])


def test_a_stretch_that_no_beat_has_room_for_is_refused(people):
    with pytest.raises(ValueError, match="ms is 3000; expected milliseconds between -500 and 500"):
        stretch(people, "QT", 3000)
