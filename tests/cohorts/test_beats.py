import itertools

import numpy as np
import pytest

import ecgwb as wb
from ecgwb.delineation.annotations import read_annotations
from ecgwb.delineation.landmarks import LANDMARKS


@pytest.fixture(scope="module")
def one(ludb_folder):
    base = ludb_folder / "data" / "2"
    return wb.read_record(base), read_annotations(base)


def test_marks_by_hand_give_the_same_beat_whichever_leads_come_first(one):
    record, waves = one
    beat = wb.representative_beat(record, waves)
    order = np.random.default_rng(0).permutation(12)
    shuffled = wb.Record(record.signal[order], 500, tuple(np.array(record.leads)[order]), "2")
    again = wb.representative_beat(shuffled, waves.sample(frac=1, random_state=0))
    np.testing.assert_allclose(again["beat"], beat["beat"], atol=1e-3)
    np.testing.assert_allclose(again["fiducial"], beat["fiducial"])


def test_time_zero_is_the_peak_of_the_rms_within_qrs(one):
    record, waves = one
    beat = wb.representative_beat(record, waves)
    rms = np.sqrt((beat["beat"] ** 2).mean("lead"))
    qrs_on, j = beat["fiducial"].sel(landmark=["QRS_on", "J"]).values
    inside = rms.sel(time=slice(qrs_on, j))
    assert float(inside.time[inside.values.argmax()]) == 0.0


def test_gain_scales_voltages_and_moves_no_landmark(one):
    record, waves = one
    beat = wb.representative_beat(record, waves)
    twice = wb.representative_beat(wb.Record(2 * record.signal, 500, record.leads), waves)
    np.testing.assert_allclose(twice["beat"], 2 * beat["beat"], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(twice["fiducial"], beat["fiducial"])
    assert float(twice["r_v5"]) == pytest.approx(2 * float(beat["r_v5"]), rel=1e-4)


def test_an_ectopic_beat_is_left_out(one):
    record, waves = one
    clean = wb.representative_beat(record, waves)
    r = clean["cycle_fiducial"].sel(landmark="R").values
    signal = record.signal.copy()
    k = len(r) // 2
    inside = np.abs(record.time_ms - r[k]) < 200
    signal[:, inside] = 1500 * np.hanning(inside.sum())  # wide and of another shape
    other = wb.representative_beat(wb.Record(signal, 500, record.leads), waves)
    assert clean["cycle_used"][k] == 1
    assert other["cycle_used"][k] == 0
    assert int(other["n_beats"]) == int(clean["n_beats"]) - 1


def test_noise_shrinks_with_the_number_of_beats(one):
    record, waves = one
    clean = wb.representative_beat(record, waves)
    noise = np.random.default_rng(0).normal(0, 50, record.signal.shape)
    noisy = wb.representative_beat(wb.Record(record.signal + noise, 500, record.leads), waves)
    error = float((noisy["beat"] - clean["beat"]).std())
    # The median of n normal values has SD 1.2533 sigma / sqrt(n); moving beats by a sample adds a little.
    assert error < 1.25 * 1.2533 * 50 / np.sqrt(float(noisy["n_beats"]))


def test_a_gap_costs_its_beat_and_no_other(one):
    record, waves = one
    clean = wb.representative_beat(record, waves)
    r = clean["cycle_fiducial"].sel(landmark="R").values
    signal = record.signal.copy()
    k = len(r) // 2
    signal[:, np.abs(record.time_ms - r[k]) < 20] = np.nan
    other = wb.representative_beat(wb.Record(signal, 500, record.leads), waves)
    assert other["cycle_used"][k] == 0
    assert int(other["n_beats"]) >= int(clean["n_beats"]) - 3  # its neighbours' windows may reach into the gap


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: np.vstack([x[:9], np.zeros((1, x.shape[1])), x[10:]]), "lead V4 is empty or flat"),
        (lambda x: x[:, :400], "none of its"),
        (lambda x: x / 1000, "Signals in mV are to be multiplied by 1000"),
    ],
)
def test_a_record_without_a_beat_says_why(one, change, message):
    record, waves = one
    with pytest.raises(wb.RecordError, match=message):
        wb.representative_beat(wb.Record(change(record.signal), 500, record.leads, "x"), waves)


def test_a_second_opinion_adds_to_the_doubt_and_moves_nothing(one):
    record, waves = one
    alone = wb.representative_beat(record, waves)
    both = wb.representative_beat(record, waves, second="dwt")
    np.testing.assert_array_equal(both["fiducial"], alone["fiducial"])
    more = both["doubt"] - alone["doubt"]
    assert (more >= 0).all()
    assert float(more.max()) > 1
    assert float(more.sel(landmark="R")) == 0


def test_no_qrs_is_an_error(one):
    record, waves = one
    with pytest.raises(wb.RecordError, match="no QRS found"):
        wb.representative_beat(record, waves[waves["wave"] != "QRS"])


def test_landmarks_of_every_person_are_in_order(ludb):
    f = ludb["fiducial"].to_pandas()
    for a, b in itertools.pairwise(LANDMARKS):
        both = f[[a, b]].dropna()
        assert (both[b] >= both[a]).all(), f"{b} before {a} in {both.index[both[b] < both[a]].tolist()}"


def test_intervals_agree_with_those_from_marks_made_by_hand(ludb):
    # Out of fold, by the same rule on both sides.
    for target, limit in (("pr", 6), ("qrs", 6), ("qt", 10)):
        error = ludb[target] - ludb[f"{target}_manual"]
        assert float(np.abs(error).mean()) < limit
        assert abs(float(error.mean())) < 3


def test_by_the_outermost_leads_qrs_is_longer(ludb_folder):
    longer = []
    for k in (1, 2, 4, 30):
        record = wb.read_record(ludb_folder / "data" / str(k))
        waves = wb.delineate(record)
        usual, outermost = (wb.cohorts.representative_beat(record, waves, rank=r) for r in (5, 1))
        np.testing.assert_array_equal(usual["beat"], outermost["beat"])
        assert float(outermost["fiducial"].sel(landmark="QRS_on")) <= float(usual["fiducial"].sel(landmark="QRS_on"))
        assert float(outermost["fiducial"].sel(landmark="J")) >= float(usual["fiducial"].sel(landmark="J"))
        longer.append(float(outermost["qrs"] / usual["qrs"]))
    assert 1.03 < np.median(longer) < 1.6
    with pytest.raises(ValueError, match="rank is 0; expected 1, the outermost"):
        wb.cohorts.representative_beat(record, waves, rank=0)
