"""Discovery by networks on recordings: the rhythm itself is a place, and is named where it is what is read."""

import numpy as np
import pytest
from known_rhythms import CountsBeats, LinearInTime, N, made_rhythms, many, on_rhythms, steady
from studies import rhythm_bench as bench

import ecgwb as wb
from ecgwb.cohorts.beats import RHYTHM as OF_RECORDINGS
from ecgwb.discovery.discover import discover
from ecgwb.discovery.readers import RHYTHM, NetworkReader, Place
from ecgwb.edits.edit_maps import joint_effects


@pytest.fixture(scope="module")
def made():
    return many(24)


def test_the_rhythm_is_a_place_of_networks_on_recordings_alone(made, sex_net, people):
    reader = NetworkReader(on_rhythms(CountsBeats()), "hr", made)
    assert [place.words for place in reader.places[-2:]] == list(RHYTHM)
    assert len(reader.places) == 8 * 5 + 2
    assert all(place.lead for place in NetworkReader(sex_net, "male", people).places)


def test_what_a_common_rate_takes_is_found_and_segments_are_as_by_edits(made):
    model = on_rhythms(CountsBeats())
    reader = NetworkReader(model, "hr", made)
    effects = reader.effects(made)
    beats = wb.predict(model, made)["hr"].values
    rate, spread = effects[:, -2], effects[:, -1]
    np.testing.assert_allclose(rate, beats - np.median(beats), atol=9)  # beats of ten seconds are counted
    assert np.corrcoef(rate, beats)[0, 1] > 0.9
    np.testing.assert_allclose(spread, 0, atol=1e-3)  # they are steady
    kept = np.ones((1, 8 * 7), bool)
    kept[0, 6 * 7 + 3] = False  # lead V5, QRS
    expected = joint_effects(model, made, kept, "hr", by_lead=True, among=made)[:, 0, 0]
    np.testing.assert_allclose(effects[:, reader.places.index(Place("V5", "QRS"))], expected, atol=1e-4)


def test_what_regular_intervals_take_is_found(made):
    rng = np.random.default_rng(0)
    uneven = [300 + 2 * np.round(np.cumsum(rng.uniform(300, 500, 11))) for _ in range(4)]
    cohort = made_rhythms([*uneven, *steady([800.0] * 8, [300.0] * 8)])
    effects = NetworkReader(bench.network(), bench.LABEL, cohort).effects(cohort)
    assert (effects[:4, -1] > 0.5).all()  # a logarithm
    np.testing.assert_allclose(effects[4:, -2:], 0, atol=0.01)
    assert (np.abs(effects[:4, -2]) < effects[:4, -1] / 2).all()


def test_recordings_that_cannot_be_paced_so_have_no_effect_of_rhythm():
    fast = made_rhythms(steady([620.0] * 6, [300.0] * 6), patient=[f"p{i}" for i in range(6)])
    slow = many(12)
    reader = NetworkReader(on_rhythms(CountsBeats()), "hr", slow)
    gone = fast.assign(cycle_fiducial=fast["cycle_fiducial"].where(fast["cycle"] < 1))  # one beat: no interval
    effects = reader.effects(gone)
    assert np.isfinite(effects).all()
    np.testing.assert_array_equal(effects[:, -2:], 0)


def test_a_planted_rhythm_is_found_to_be_rhythm_and_nothing_is_not():
    people = bench.sinus_people().isel(record=slice(None, None, 3))
    found = bench.one_run(people, 2.0, 0)
    assert found["p_left"] < 1e-3
    assert found["named"] == "RR spread"
    assert found["wrong"] == 0
    cohort, possible = bench.planted_rhythm(people, 2.0, 0)
    assert 0.75 < possible < 0.95
    np.testing.assert_array_equal(cohort["beat"], people["beat"].sel(record=cohort["record"]))


def test_recordings_are_asked_for(made):
    labels = np.arange(24) % 2.0
    cohort = made.assign(odd=("record", labels)).drop_vars(list(OF_RECORDINGS))
    weight = np.zeros((1, 8, N))
    model = on_rhythms(LinearInTime(weight), ("odd",))
    both = {
        "test": cohort.assign_coords(
            record=[f"t{i}" for i in range(24)], patient=("record", list("abcdefghijklmnopqrstuvwx"))
        )
    }
    both["test"] = both["test"].assign(beat=both["test"]["beat"] * 1.01)
    with pytest.raises(wb.ModelError, match=r"takes rhythms and the cohort has none; expected open_cohort"):
        discover(cohort, "odd", network=model, baseline=(), known=(), families=(), progress=False, **both)
