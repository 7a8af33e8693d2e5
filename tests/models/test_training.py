import numpy as np
import pytest
import torch
from conftest import TYPICAL, made_cohort

import ecgwb as wb
from ecgwb.cohorts.measurements import TIME
from ecgwb.delineation.landmarks import QRS_ON, T_ON, J
from ecgwb.models import augmentation
from ecgwb.models.augmentation import Copies

SMALL = {"name": "compact", "width": 16, "dilations": (1, 2)}


@pytest.fixture(scope="module")
def simple():
    """Beats whose only content is an R wave of the height to be learnt; every fifth patient has two records."""
    rng = np.random.default_rng(0)
    height = rng.uniform(500, 2000, 120)
    beat = height[:, None, None] * np.exp(-((TIME / 15.0) ** 2)) * np.ones((1, 8, 1)) + rng.normal(0, 5, (120, 8, 600))
    cohort = made_cohort(np.tile(TYPICAL, (120, 1)), beat, [f"p{i - (i % 5 == 4)}" for i in range(120)])
    cohort["r_v5"] = ("record", height, {"units": "µV"})
    cohort["big"] = ("record", (height > 1250).astype(float), {"units": ""})
    return cohort


def test_fit_learns_a_number_in_its_own_unit(simple):
    model = wb.fit(simple, "r_v5", SMALL, epochs=50, batch=16, seed=1, progress=False)
    said = wb.predict(model, simple)["r_v5"]
    assert float(np.abs(said - simple["r_v5"]).mean()) < 60
    assert model.spec.units == ("µV",)
    maps = wb.ecgradcam(model, simple)
    np.testing.assert_allclose(maps.mean("time")[:, 0] + float(maps["bias"][0]), said, rtol=1e-3)


def test_fit_takes_a_column_that_the_cohort_carries_along(simple):
    cohort = simple.assign_coords(age=("record", simple["r_v5"].values / 25))
    model = wb.fit(cohort, "age", SMALL, epochs=2, progress=False)
    with pytest.warns(UserWarning, match="shaped the network"):
        assert wb.accuracy_table(wb.predict(model, cohort), cohort).loc["age", "n"] == 120


def test_fit_learns_a_binary_column_as_log_odds(simple):
    model = wb.fit(simple, "big", SMALL, epochs=50, batch=16, seed=1, progress=False)
    assert model.spec.link == "logit"
    assert float(((wb.predict(model, simple)["big"] > 0) == (simple["big"] > 0)).mean()) > 0.95


def test_the_same_seed_gives_the_same_network_and_a_resumed_one_is_the_uninterrupted_one(simple, tmp_path, monkeypatch):
    whole = wb.fit(simple, "r_v5", SMALL, epochs=6, seed=3, progress=False)
    again = wb.fit(simple, "r_v5", SMALL, epochs=6, seed=3, progress=False)
    real, calls = torch.save, []

    def dies(*a, **k):
        real(*a, **k)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        wb.fit(simple, "r_v5", SMALL, epochs=6, seed=3, progress=False, checkpoint=tmp_path / "c.pt")
    monkeypatch.setattr(torch, "save", real)
    resumed = wb.fit(simple, "r_v5", SMALL, epochs=6, seed=3, progress=False, checkpoint=tmp_path / "c.pt")
    for k, v in whole.state_dict().items():
        assert torch.equal(v, again.state_dict()[k])
        assert torch.equal(v, resumed.state_dict()[k])
    other = wb.fit(simple, "r_v5", SMALL, epochs=6, seed=4, progress=False)
    assert not torch.equal(other.head.weight, whole.head.weight)


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
    drawn = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(augmentation, "_PACED", share)
        drawn += [copies.draw(np.array([i]), np.random.default_rng(i)) for i in range(60)]
    for (x, label), (paced, same) in zip(drawn[:60], drawn[60:], strict=True):
        assert np.array_equal(label, same, equal_nan=True)
        away = (paced[0] - x[0]).abs().numpy()
        assert away.max() > 20  # µV


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


def test_rhythms_are_learnt_from_as_well(tmp_path):
    ludb = wb.open_cohort("ludb", rhythm=True).isel(record=slice(30))
    model = wb.fit(ludb, ["hr", "qt"], SMALL, input="rhythm", epochs=2, progress=False)
    assert (model.spec.input, model.spec.n_samples) == ("rhythm", 5000)
    wb.save_model(model, tmp_path / "m.safetensors")
    said = wb.predict(wb.load_model(tmp_path / "m.safetensors"), ludb)
    assert np.isfinite(said["hr"]).all()
    with pytest.raises(ValueError, match="no rhythm"):
        wb.fit(wb.open_cohort("ludb"), "hr", SMALL, input="rhythm", progress=False)


def test_several_cohorts_are_drawn_equally_and_the_first_validates(simple):
    other = simple.isel(record=slice(40)).assign_coords(patient=("record", [f"q{i}" for i in range(40)]))
    other.attrs["source"] = "other"
    model = wb.fit([simple, other], "r_v5", SMALL, epochs=2, epoch=64, progress=False)
    assert {k: len(v) for k, v in model.spec.trained_on.items()} == {"cohort": 96, "other": 40}
    with pytest.raises(ValueError, match="other leads than"):
        wb.fit([simple, other.isel(lead=slice(4))], "r_v5", SMALL, progress=False)


def test_a_checkpoint_of_another_task_is_refused(simple, tmp_path):
    wb.fit(simple, "r_v5", SMALL, epochs=1, progress=False, checkpoint=tmp_path / "c.pt")
    for change in ({"targets": "big"}, {"epochs": 2}, {"seed": 9}):
        arguments = {"targets": "r_v5", "epochs": 1, "seed": 0} | change
        with pytest.raises(ValueError, match="belongs to another training"):
            wb.fit(simple, net=SMALL, progress=False, checkpoint=tmp_path / "c.pt", **arguments)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        ("patient", "holds text"),
        ("weight", "no number per record called weight; it has"),
        ("flat", "fewer than two different values"),
        (["big", "r_v5"], "a network each"),
    ],
)
def test_what_cannot_be_learnt_is_refused(simple, targets, said):
    cohort = simple.assign(flat=("record", np.ones(120)))
    with pytest.raises(ValueError, match=said):
        wb.fit(cohort, targets, SMALL, progress=False)
    with pytest.raises(ValueError, match="at least 10"):
        wb.fit(simple.isel(record=slice(6)), "r_v5", SMALL, progress=False)
