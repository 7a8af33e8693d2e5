"""Recordings of more than one kind of beat, and rhythms whose P waves are not found."""

import numpy as np
import pytest

import ecgwb as wb

TIME = np.arange(300) * 2.0  # ms
SIZES = np.array([-0.7, -1, 1.2, 1.5, 1.3, 0.9, -0.5, -0.8])[:, None] * 1440
# A wide premature beat, with T against QRS
WIDE = SIZES * (np.exp(-(((TIME - 90) / 38) ** 2)) - 0.45 * np.exp(-(((TIME - 330) / 70) ** 2)))


@pytest.fixture(scope="module")
def beat():
    """A person's beat from before P to after T (lead, sample) at 500 Hz, down to nothing at its ends; its intervals."""
    one = wb.open_cohort("ludb").sel(record="1")
    mark = one["fiducial"].to_series()
    wave = one["beat"].sel(time=slice(mark["P_on"] - 20, mark["T_off"] + 20)).values.astype(float)
    return wave - np.linspace(wave[:, 0], wave[:, -1], wave.shape[1]).T, one


def recorded(pieces, name="x"):
    """A recording of 12 s with each waveform at its sample, and a little noise."""
    signal = np.random.default_rng(0).normal(0, 3, (8, 6000))
    for wave, at in pieces:
        signal[:, at : at + wave.shape[1]] += wave
    return wb.Record(signal, 500, wb.LEADS, name)


@pytest.mark.parametrize("left_out", [(), (1, 3, 4)], ids=["bigeminy", "fewer"])
def test_of_two_kinds_the_conducted_beat_is_chosen_and_the_other_one_offered(beat, left_out):
    wave, one = beat
    starts = range(100, 5400, 900)
    early = [(WIDE, s + 380) for k, s in enumerate(starts) if k not in left_out]
    record = recorded([(wave, s) for s in starts] + early)
    chosen = wb.representative_beat(record)
    assert float(chosen["qrs"]) == pytest.approx(float(one["qrs"]), abs=15)
    assert float(chosen["qt"]) == pytest.approx(float(one["qt"]), abs=15)
    assert np.isfinite(float(chosen["pr"]))
    assert int(chosen["n_kinds"]) == 2
    other = wb.representative_beat(record, kind=2)
    assert float(other["qrs"]) > float(chosen["qrs"]) + 40
    assert np.isnan(float(other["pr"]))
    assert float(chosen["share_alike"]) + float(other["share_alike"]) == pytest.approx(1)
    with pytest.raises(wb.RecordError, match="has 2 kinds of beats, counted from 1; kind is 3"):
        wb.representative_beat(record, kind=3)
    flags = str(wb.build_cohort([record])["flags"].item())
    flagged = "beats are like the representative one; representative_beat(record, kind=2) has the others" in flags
    assert flagged == (float(chosen["share_alike"]) < 0.6) == (not left_out)


def test_a_recording_of_one_kind_has_no_second(beat):
    record = recorded((beat[0], s) for s in range(100, 5400, 450))
    found = wb.representative_beat(record)
    assert float(found["share_alike"]) == 1
    with pytest.raises(wb.RecordError, match="has 1 kind of beats"):
        wb.representative_beat(record, kind=2)


def test_a_regular_rhythm_without_p_is_flagged_and_an_irregular_one_not(beat):
    wave, one = beat
    mark = one["fiducial"].to_series()
    no_p = wave.copy()
    no_p[:, : int((mark["QRS_on"] - mark["P_on"] + 20) / 2)] = 0
    regular = range(100, 5400, 420)
    irregular = np.cumsum([100, *np.random.default_rng(0).integers(330, 520, 12)])
    cohort = wb.build_cohort(
        [recorded(((no_p, s) for s in starts), n) for n, starts in (("r", regular), ("i", irregular))]
    )
    assert np.isnan(cohort["pr"]).all()
    assert "regular rhythm without a P wave" in str(cohort["flags"].sel(record="r").item())
    assert "without a P wave" not in str(cohort["flags"].sel(record="i").item())


def test_where_noise_makes_every_beat_unlike_the_more_similar_half_stays(beat):
    record = recorded((beat[0], s) for s in range(100, 5400, 450))
    noisy = wb.Record(record.signal + np.random.default_rng(1).normal(0, 250, record.signal.shape), 500, wb.LEADS, "n")
    found = wb.representative_beat(noisy, wb.delineate(record))
    assert float(found["share_alike"]) < 0.6
    assert int(found["n_beats"]) >= 5
