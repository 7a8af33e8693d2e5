"""Recordings edited: every beat alike, and what that does to networks whose answer is known."""

import numpy as np
import pytest
from known_rhythms import (
    CLOCK,
    LEAD_GAINS,
    LENGTH,
    MARKS,
    CountsBeats,
    LinearInTime,
    MeanOfPower,
    N,
    made_rhythms,
    many,
    on_rhythms,
    steady,
    wave,
)

import ecgwb as wb
from ecgwb.cohorts.beats import RHYTHM
from ecgwb.cohorts.cycles import cycles_of, windows
from ecgwb.cohorts.measurements import TIME
from ecgwb.edits import blank, counterfactual, erase, lift, plant, scale, spread_rr, stretch

EDITS = {
    "blank P": lambda c: blank(c, "P"),
    "blank QRS, flat": lambda c: blank(c, "QRS", "flat"),
    "blank T, mean": lambda c: blank(c, "T", "mean"),
    "sham": lambda c: blank(c, "P", sham=True),
    "PR": lambda c: stretch(c, "PR", 20),
    "QRS": lambda c: stretch(c, "QRS", -10),
    "QT": lambda c: stretch(c, "QT", 30),
    "R": lambda c: scale(c, "R", 1.3),
    "T": lambda c: scale(c, "T", 0.7),
    "J": lambda c: lift(c, "J", 100),
    "plant": lambda c: plant(c, 100.0, 50.0, lead="V3"),
    "erase": lambda c: erase(c, np.broadcast_to(np.abs(TIME - 300) <= 40, (c.sizes["record"], 600))),
    "erase, mean": lambda c: erase(c, np.broadcast_to(np.abs(TIME - 300) <= 40, (c.sizes["record"], 600)), "mean"),
}


@pytest.fixture(scope="module")
def made():
    return many()


@pytest.mark.parametrize("edit", EDITS)
def test_every_cycle_of_a_recording_is_changed_as_the_representative_beat_is(made, edit):
    out = EDITS[edit](made)
    cycles = cycles_of(made).isel(record=cycles_of(made)["used"].values)
    beats = windows(out["rhythm"].values, cycles)
    before = windows(made["rhythm"].values, cycles)
    # What the representative beat's window shows of its neighbours stays; in a recording they are changed, too.
    near = (TIME > -250) & (TIME < 480)
    expected = (out["beat"].values - made["beat"].values)[cycles["row"].values]
    np.testing.assert_allclose((beats - before)[..., near], expected[..., near], atol=0.5)
    assert np.abs(expected).max() > 10 or edit in ("sham", "blank T, mean", "erase, mean")  # in all the mean is alike


def test_nothing_changes_outside_the_wave(rhythms):
    for wave_name, columns in {"P": [0, 2], "QRS": [3, 5], "T": [6, 8]}.items():
        out = blank(rhythms, wave_name)
        changed = (out["rhythm"].values != rhythms["rhythm"].values).any(axis=1)  # (record, sample)
        spans = rhythms["cycle_fiducial"].values[..., columns]
        inside = np.zeros(changed.shape, bool)
        for k in range(spans.shape[1]):
            inside |= (spans[:, k, :1] - 1 <= CLOCK) & (spans[:, k, 1:] + 1 >= CLOCK)
        known = np.isfinite(out["rhythm"].values).all(axis=(1, 2))
        assert known.sum() > 10
        assert not (changed & ~inside)[known].any()
        assert (changed & inside)[known].any(axis=1).all()


def test_landmarks_of_every_cycle_move_with_its_waves(rhythms):
    out = stretch(rhythms, "QT", 30)
    moved = out["cycle_fiducial"].values - rhythms["cycle_fiducial"].values
    assert set(np.round(moved[..., 6:][np.isfinite(moved[..., 6:])], 6)) <= {0.0, 30.0}
    assert np.nanmedian(moved[..., 8]) == 30
    assert np.nanmax(np.abs(moved[..., :6])) == 0


def test_a_recording_with_too_few_beats_that_can_be_changed_is_nan(rhythms):
    out = blank(rhythms, "P")
    lacking = np.isnan(out["beat"].values).any(axis=(1, 2))
    assert 0 < lacking.sum() < len(lacking)
    np.testing.assert_array_equal(np.isnan(out["rhythm"].values).any(axis=(1, 2)), lacking)
    assert (out["cycles_edited"].values[~lacking] >= 0.5).all()
    made = many(2)
    marks = made["cycle_fiducial"].values.copy()
    marks[0, :, :3] = np.nan  # the representative beat has a P wave, its cycles do not
    out = stretch(made.assign(cycle_fiducial=(made["cycle_fiducial"].dims, marks)), "PR", 20)
    assert np.isnan(out["rhythm"].values).all(axis=(1, 2)).tolist() == [True, False]
    assert out["cycles_edited"].values.tolist() == [0, 1]


def test_shams_lie_between_the_waves_of_every_cycle(rhythms):
    out = blank(rhythms, "P", sham=True)
    spans, marks = out["cycle_blanked"].values, rhythms["cycle_fiducial"].values
    assert np.isfinite(spans).any(axis=(1, 2)).sum() > 10
    for a, b in ((0, 2), (3, 5), (6, 8)):
        for k in range(marks.shape[1]):
            start, stop = marks[:, k, a, None], marks[:, k, b, None]
            assert not ((spans[..., 0] < stop) & (spans[..., 1] > start)).any()


# ---------------------------------------------------------------- RR


@pytest.mark.parametrize("ms", [-100.0, -51.0, 50.0, 120.0])
def test_rr_is_longer_by_so_much_and_every_wave_keeps_its_shape(made, ms):
    out = stretch(made, "RR", ms)
    assert out["rhythm"].shape == made["rhythm"].shape
    np.testing.assert_allclose(60000 / out["hr"], 60000 / made["hr"] + ms)
    np.testing.assert_array_equal(out["beat"], made["beat"])
    for i in range(out.sizes["record"]):
        r = out["cycle_fiducial"].values[i, :, 4]
        r = r[np.isfinite(r)]
        np.testing.assert_allclose(np.diff(r), 60000 / float(made["hr"][i]) + ms, atol=1e-6)
        assert r[0] == made["cycle_fiducial"].values[i, 0, 4]
        assert LENGTH - r[-1] < 60000 / float(out["hr"][i]) + 200  # up to its end there are beats
        expected = LEAD_GAINS[:, None] * sum(wave(CLOCK - one) for one in r)
        before_end = r[-1] - 200 > CLOCK
        np.testing.assert_allclose(out["rhythm"].values[i][:, before_end], expected[:, before_end], atol=2)


def test_real_recordings_have_no_step_where_they_are_joined(rhythms):
    steps = np.abs(np.diff(rhythms["rhythm"].values, axis=2)).max(axis=2)
    for out in (
        stretch(rhythms, "RR", -80),
        stretch(rhythms, "RR", 80),
        spread_rr(rhythms, 0.0),
        spread_rr(rhythms, 2.0),
    ):
        known = np.isfinite(out["rhythm"].values).all(axis=(1, 2))
        assert known.mean() > 0.9
        now = np.abs(np.diff(out["rhythm"].values, axis=2)).max(axis=2)
        # Between two samples R may rise faster than from one to the other; a seam would be many times steeper.
        assert (now <= 1.2 * steps + 5)[known].all()


def test_the_spread_of_rr_is_what_was_asked():
    rng = np.random.default_rng(0)
    irregular = made_rhythms([2 * np.round((300 + np.cumsum(rng.normal(900, 60, 10))) / 2) for _ in range(3)])
    rr = np.diff(irregular["cycle_fiducial"].values[..., 4])
    for factor in (0.0, 0.5, 1.0, 1.5):
        out = spread_rr(irregular, factor)
        now = out["cycle_fiducial"].values[..., 4]
        for i in range(3):
            n = np.isfinite(now[i]).sum()
            expected = rr[i].mean() + factor * (rr[i] - rr[i].mean())
            np.testing.assert_allclose(np.diff(now[i])[: min(n - 1, 7)], expected[: min(n - 1, 7)], atol=1e-6)
    np.testing.assert_array_equal(spread_rr(irregular, 1.0)["rhythm"], irregular["rhythm"])
    with pytest.raises(ValueError, match="factor is -1; expected 0"):
        spread_rr(irregular, -1.0)


def test_rr_that_leaves_no_room_is_nan_and_one_short_gap_is_not_closed():
    fast = made_rhythms(steady([620.0, 900.0], (300.0, 300.0)))
    out = stretch(fast, "RR", -100)  # 30 ms between T and P
    assert np.isnan(out["rhythm"].values).any(axis=(1, 2)).tolist() == [True, False]
    assert np.isnan(out["hr"].values).tolist() == [True, False]
    one = made_rhythms(steady([900.0, 900.0], (300.0, 300.0))).isel(cycle=[3])
    out = stretch(one, "RR", np.array([50.0, 0.0]))
    assert np.isnan(out["rhythm"].values).any(axis=(1, 2)).tolist() == [True, False]
    early = np.r_[300.0 + 900.0 * np.arange(6), 4800.0 + 602.0 + 900.0 * np.arange(5)]
    mixed = stretch(made_rhythms([early]), "RR", -100)
    rr = np.diff(mixed["cycle_fiducial"].values[0, :11, 4])
    assert rr[5] == pytest.approx(MARKS[8] - MARKS[0] + 8)
    np.testing.assert_allclose(np.delete(rr, 5)[:8], 800)


def test_a_beat_has_no_rr_to_stretch(made):
    for call in (lambda c: stretch(c, "RR", 20), lambda c: spread_rr(c, 2.0)):
        with pytest.raises(ValueError, match=r"this cohort has none: open_cohort\(..., rhythm=True\)"):
            call(made.drop_vars(RHYTHM))


# ---------------------------------------------------------------- what it does to networks


def test_a_network_that_counts_beats_follows_rr_and_nothing_else(made):
    model = on_rhythms(CountsBeats())
    table = wb.dose_response(model, made, measured=False)
    slope = table["slope"].xs("hr", level="target")
    assert slope["RR"] == pytest.approx(1, abs=0.1)
    assert table.loc[("RR", "hr"), "low"] < slope["RR"] < table.loc[("RR", "hr"), "high"]
    assert table.loc[("RR", "hr"), "unit"] == "bpm per bpm"
    np.testing.assert_allclose(slope.drop("RR"), 0, atol=1e-3)
    assert "hr" in wb.figures.effects._OWN_EDIT


def test_the_effect_of_an_edit_on_a_linear_network_is_the_functional_of_the_change(rhythms):
    weight = np.random.default_rng(0).normal(size=(1, 8, N)) / 1000
    model = on_rhythms(LinearInTime(weight))
    for out in (
        scale(rhythms, "T", 1.3),
        stretch(rhythms, "QT", 20),
        stretch(rhythms, "RR", 50),
        blank(rhythms, "QRS"),
    ):
        effect = wb.predict(model, out)["hr"] - wb.predict(model, rhythms)["hr"]
        change = np.einsum("nls,ls->n", out["rhythm"].values - rhythms["rhythm"].values, weight[0])
        np.testing.assert_allclose(effect, change, atol=1e-3)


def test_pieces_of_all_beats_give_a_linear_network_what_they_weigh(rhythms):
    weight = np.random.default_rng(0).normal(size=(1, 8, N)) / 1000
    model = on_rhythms(LinearInTime(weight))
    effects = wb.edits.piece_effects(model, rhythms, pieces="segments", method="alone")
    other = wb.attention.reference_rhythms(rhythms).values
    away = np.einsum("nls,ls->ns", rhythms["rhythm"].values - other, weight[0])
    marks = rhythms["cycle_fiducial"].values.copy()
    marks[np.isnan(marks[..., [3, 5]]).any(axis=2)] = np.nan  # a QRS that the recording cuts stays, with its T
    for piece, (a, b) in {"QRS": (3, 5), "T": (6, 8)}.items():
        expected = np.zeros(len(away))
        for k in range(marks.shape[1]):
            ends = marks[:, k, [a, b]]
            ends[np.isnan(ends).any(axis=1)] = np.nan
            share = np.clip((CLOCK - ends[:, :, None]) / 8 + 0.5, 0, 1)
            first, last = (0.5 - 0.5 * np.cos(np.pi * np.nan_to_num(share))).transpose(1, 0, 2)
            expected += (away * (first - last)).sum(axis=1)
        np.testing.assert_allclose(effects.sel(target="hr", piece=piece), expected, atol=0.02)
    maps = wb.edit_map(model, rhythms, pieces="segments", method="alone")
    assert maps.dims == ("record", "target", "time")
    np.testing.assert_allclose(maps.sum("time"), effects.sum("piece"), atol=1e-3)
    folded = wb.align(maps, rhythms)
    np.testing.assert_allclose(folded.sum("phase"), maps.sum("time"), rtol=0.1, atol=0.1)
    shapley = wb.edits.edit_map(
        model, rhythms.isel(record=slice(3)), method="shapley", pieces="segments", among=rhythms
    )
    total = shapley.sum("time") + shapley["reference"]
    np.testing.assert_allclose(total.sel(target="hr"), wb.predict(model, rhythms)["hr"][:3], atol=1e-2)


def test_a_profile_over_recordings_is_highest_where_the_network_reads(made):
    found = abs(wb.edits.edit_profile(on_rhythms(MeanOfPower()), scaled(made), step_ms=20.0))
    folded = wb.align(found, made).mean("record").sel(target="hr")
    assert abs(float(folded.idxmax("phase"))) <= 20
    assert float(folded.sel(phase=slice(420, 460)).max()) < 0.05 * float(folded.max())


def scaled(cohort):
    """The cohort with R of another height in each record."""
    return scale(cohort, "R", np.linspace(0.8, 1.2, cohort.sizes["record"]))


def test_joint_edits_of_recordings_are_asked_for_as_those_of_beats(rhythms):
    model = on_rhythms(MeanOfPower())
    kept = np.ones((2, 7), bool)
    kept[0, 3], kept[1, 1] = False, False
    found = wb.edits.joint_effects(model, rhythms, kept, "hr")
    assert found.shape == (14, 1, 2)
    assert np.abs(found[..., 0]).mean() > 20 * np.abs(found[..., 1]).mean()  # V5's power is in QRS
    linear = on_rhythms(LinearInTime(np.ones((1, 8, N)) / 1e5))
    pairs = wb.edits.interplay(linear, rhythms.isel(record=slice(2)), among=rhythms)
    assert np.nanmax(np.abs(pairs)) < 1e-3


def test_gradients_say_exactly_what_blanking_does_to_a_linear_network(rhythms):
    model = on_rhythms(LinearInTime(np.random.default_rng(0).normal(size=(1, 8, N)) / 1000))
    table = wb.edits.faithfulness(model, rhythms, ("saliency", "occlusion"))
    np.testing.assert_allclose(table.loc["saliency"]["slope"], 1, rtol=1e-3)
    np.testing.assert_allclose(table.loc["occlusion"]["slope"], 1, rtol=1e-3)


def test_a_bump_in_every_beat_changes_the_map_there(made):
    table = wb.edits.point_spread(
        on_rhythms(MeanOfPower()), made.isel(record=slice(6)), method="input_x_gradient", at_ms=(0, 300)
    )
    np.testing.assert_allclose(table["q50"], 0, atol=4)
    assert (table["width"] < 16).all()


def test_another_rate_is_reached_by_rr_alone(made):
    found = counterfactual(on_rhythms(CountsBeats()), made.isel(record=slice(3)), "hr", 6.0, among=made)
    assert found["reached"].all()
    assert (found["sd"].sel(edit="RR") < 0).all()
    assert not found["sd"].drop_sel(edit="RR").values.any()
    assert found["edit_unit"].sel(edit="RR") == "ms"
    after = wb.predict(on_rhythms(CountsBeats()), made.isel(record=slice(3)).drop_vars(RHYTHM).assign(
        {k: found[k] for k in RHYTHM}
    ))  # fmt: skip
    np.testing.assert_allclose(after["hr"], found["predicted"].sel(when="after"), atol=1e-3)


def test_networks_on_beats_are_asked_about_beats_alone(rhythms, measures):
    beats, few = rhythms.drop_vars(RHYTHM), ["qt", "pr"]
    with_rhythm, without = (wb.dose_response(measures, c, measured=False) for c in (rhythms, beats))
    assert with_rhythm.equals(without)
    assert "RR" not in without.index.get_level_values("edit")
    np.testing.assert_array_equal(wb.edit_map(measures, rhythms, few), wb.edit_map(measures, beats, few))


def test_a_network_on_recordings_needs_some(rhythm_net, rhythms):
    for call in (wb.dose_response, wb.blanking_table, wb.edit_map, wb.edits.point_spread, wb.edits.faithfulness):
        with pytest.raises(wb.ModelError, match="takes rhythms and the cohort has none"):
            call(rhythm_net, rhythms.drop_vars(RHYTHM))


def test_blanking_shows_the_shipped_network_the_waves_that_it_measures(rhythm_net, rhythms):
    table = wb.blanking_table(rhythm_net, rhythms)
    for target, wave_name in (("pr", "P"), ("qt", "T"), ("t_v5", "T"), ("qrs", "QRS")):
        assert table.loc[target, wave_name] > 2 * table.loc[target, f"sham_{wave_name}"], (target, wave_name)
    assert table.loc["qt", "P"] < 2 * table.loc["qt", "P_same"]


def test_the_shipped_network_follows_known_edits_of_real_recordings(rhythm_net, rhythms):
    table = wb.dose_response(rhythm_net, rhythms, measured=False)
    for edit, target, least in (("PR", "pr", 0.7), ("QT", "qt", 0.7), ("T", "t_v5", 0.5), ("RR", "hr", 0.8)):
        assert table.loc[(edit, target), "slope"] > least, edit
    assert abs(table.loc[("RR", "pr"), "slope"]) < 0.3
