import numpy as np
import pytest
from conftest import TYPICAL, made_cohort

import ecgwb as wb
from ecgwb.cohorts.measurements import TIME
from ecgwb.delineation.landmarks import QRS_ON, T_ON, J
from ecgwb.models import augmentation
from ecgwb.models.augmentation import Copies


def test_a_stretched_and_scaled_copy_keeps_its_label_true():
    width, height = 40.0, 1000.0
    beat = np.where(np.abs(TIME) <= width, height, 0.0) * np.ones((1, 8, 1))
    label = np.array([[2 * width, height, 60.0]])
    copies = Copies([made_cohort(TYPICAL, beat)], label, ["width", "height", "rate"], ["ms", "µV", "bpm"], False)
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, label = copies.draw(np.array([0]), rng)
        lead = x[0, 0].numpy()
        seen_height = np.median(lead[np.abs(TIME) < 20])
        seen_width = 2.0 * (lead > seen_height / 2).sum()
        assert seen_height == pytest.approx(label[0, 1], abs=80)  # up to noise and drift
        assert seen_width == pytest.approx(label[0, 0], abs=8)
        assert label[0, 0] * label[0, 2] == pytest.approx(2 * width * 60)


def test_a_copy_warped_part_by_part_has_the_intervals_of_its_label(monkeypatch):
    monkeypatch.setattr(augmentation, "_TWO_QRS", 0.0)
    monkeypatch.setattr(augmentation, "_PACED", 0.0)
    # P, QRS and T rise steeply from their onsets, so that their ends can be seen in any copy.
    beat = np.zeros((1, 8, 600))
    for on, off in ((-200, -100), (-40, 50), (150, 350)):
        beat += 3000 * np.clip(np.minimum(TIME - on, off - TIME) / 4, 0, 1)
    names = ["pr", "qrs", "qt", "hr"]
    copies = Copies(
        [made_cohort(TYPICAL, beat)], np.array([[160.0, 90.0, 390.0, 60.0]]), names, ["ms"] * 3 + ["bpm"], False
    )
    rng, labels = np.random.default_rng(1), []
    for _ in range(60):
        x, label = copies.draw(np.array([0]), rng)
        level = np.abs(x[0].numpy())
        high = np.median(level, axis=0) > 400
        edge = TIME[np.flatnonzero(np.diff(high.astype(int)))]
        p_on, t_off = edge[0], edge[-1]
        qrs_on, j = edge[edge < 0][-1], edge[edge > 0][0]
        assert label[0, :3] == pytest.approx([qrs_on - p_on, j - qrs_on, t_off - qrs_on], abs=12)
        labels.append(label[0])
    pr, qrs, qt, hr = np.array(labels).T
    assert (np.std([pr, qrs, qt], axis=1) > [20, 8, 20]).all()
    assert 0.2 < np.isnan(hr).mean() < 0.9  # the rate of a beat warped by parts is not known
    assert abs(np.corrcoef(pr / qt, qrs / qt)[0, 1]) < 0.5  # parts vary by themselves


def test_voltages_of_copies_of_real_beats_are_those_the_copy_shows(ptbxl, monkeypatch):
    monkeypatch.setattr(augmentation, "_PACED", 0.0)
    some = ptbxl.isel(record=slice(60))
    names = list(wb.TARGETS)
    y = np.stack([some[t].values for t in names], axis=1)
    copies = Copies([some], y, names, [some[t].attrs["units"] for t in names], False)
    x, label = copies.draw(np.arange(60), np.random.default_rng(2))
    assert np.array_equal(np.isnan(label[:, :3]), np.isnan(y[:, :3]))
    v5 = x[:, wb.LEADS.index("V5")].numpy()
    tallest = v5[:, np.abs(TIME) < 60].max(axis=1)
    assert np.corrcoef(tallest, label[:, 5])[0, 1] > 0.98
    changed = np.abs(label - y) / np.nanstd(y, axis=0)
    assert (np.nanmean(changed, axis=0) > 0.1).all()


def test_a_second_qrs_ends_where_j_is_said_to_be_and_nothing_else_changes(ptbxl):
    some = ptbxl.isel(record=slice(2, 12))
    beats, marks = some["beat"].values.astype(float), some["fiducial"].values
    rng, wider = np.random.default_rng(4), 0
    for beat, mark in zip(beats, marks, strict=True):
        for lent, its in zip(beats, marks[:, [QRS_ON, J]], strict=True):
            found, new = augmentation._two_qrs(beat, mark, lent, its, rng)
            change = np.abs(found - beat).max(axis=0)
            changed = TIME[change > 1e-6]
            assert np.array_equal(np.delete(new, [J, T_ON]), np.delete(mark, [J, T_ON]), equal_nan=True)
            assert new[J] >= mark[J]
            if changed.size:
                assert changed[0] > mark[QRS_ON]
                assert changed[-1] <= new[J]
                assert change[new[J] - 4 < TIME].max() < 0.3 * change.max()  # it ends there, without a step
            wider += new[J] > mark[J] + 10
    assert wider > 20


def test_a_spike_is_added_after_the_label_was_read(ptbxl, monkeypatch):
    some = ptbxl.isel(record=slice(60))
    y = np.stack([some[t].values for t in wb.TARGETS], axis=1)
    copies = Copies([some], y, wb.TARGETS, [some[t].attrs["units"] for t in wb.TARGETS], False)
    monkeypatch.setattr(augmentation, "_AS_IT_IS", 0.0)
    drawn = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(augmentation, "_PACED", share)
        drawn += [copies.draw(np.array([i]), np.random.default_rng(i)) for i in range(60)]
    for (x, label), (paced, same) in zip(drawn[:60], drawn[60:], strict=True):
        assert np.array_equal(label, same, equal_nan=True)
        away = (paced[0] - x[0]).abs().numpy()
        assert away.max() > 20  # µV


def test_some_copies_are_as_they_are_but_for_shift_and_noise(ptbxl, monkeypatch):
    some = ptbxl.isel(record=slice(40)).drop_vars(["rhythm", "cycle_fiducial", "cycle_used"])
    y = np.stack([some[t].values for t in wb.TARGETS], axis=1)
    copies = Copies([some], y, wb.TARGETS, [some[t].attrs["units"] for t in wb.TARGETS], False)
    monkeypatch.setattr(augmentation, "_AS_IT_IS", 1.0)
    monkeypatch.setattr(augmentation, "_disturbed", lambda x, rng: x)
    x, label = copies.draw(np.arange(40), np.random.default_rng(0))
    np.testing.assert_allclose(label, y, atol=0.1)
    beats = some["beat"].values
    moved = [np.abs(x.numpy() - np.roll(beats, k, axis=2))[:, :, 30:-30].max(axis=(1, 2)) for k in range(-5, 6)]
    assert (np.min(moved, axis=0) < 0.1).all()


def test_a_label_without_a_rule_is_never_moved():
    cohort = made_cohort(TYPICAL)
    for units in ("", "years"):
        copies = Copies([cohort], np.array([[1.0]]), ["age"], [units], False)
        assert copies.draw(np.array([0]), np.random.default_rng(0))[1].tolist() == [[1.0]]


def test_a_beat_without_landmarks_is_stretched_as_a_whole_about_its_r_wave():
    beat = 1000 * np.exp(-((TIME / 15.0) ** 2)) * np.ones((1, 8, 1))
    copies = Copies([made_cohort(np.full(9, np.nan), beat)], np.array([[50.0]]), ["width"], ["ms"], False)
    x, label = copies.draw(np.array([0]), np.random.default_rng(0))
    assert abs(TIME[x[0].numpy().mean(axis=0).argmax()]) <= 14  # the shift of a copy, and noise
    assert label[0, 0] != 50.0


def test_a_gain_scales_the_copies_of_labels_that_it_does_not_change(monkeypatch):
    cohort = made_cohort(TYPICAL)
    monkeypatch.setattr(augmentation, "_disturbed", lambda x, rng: x)
    for units, scaled in (("years", True), ("µV", False)):
        largest = {}
        for gain in (0.0, 0.3):
            copies = Copies([cohort], np.array([[50.0]]), ["age"], [units], False, gain)
            drawn = [copies.draw(np.array([0]), np.random.default_rng(k)) for k in range(20)]
            largest[gain] = [float(x.abs().max()) for x, _ in drawn]
        factors = np.log(np.divide(largest[0.3], largest[0.0]))
        assert (np.ptp(factors) > 0.2) == scaled
        assert np.abs(factors).max() <= 0.5
        assert all(label.item() == 50 for _, label in drawn) == scaled
