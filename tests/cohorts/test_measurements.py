"""Voltages of a beat: as drawn, and not those of a pacing spike."""

import numpy as np
import pytest

from ecgwb.cohorts.beats import representative_beat
from ecgwb.cohorts.measurements import TIME, baseline, levelled, pacing_spike, targets
from ecgwb.recordings.reading import read_record

MARKS = np.array([-200, -150, -100, -32, 0, 50, 150, 250, 350.0])


def drawn():
    beat = np.zeros((8, 600)) + 30.0  # an offset that the baseline takes off
    v5 = beat[6]
    v5[(TIME >= -30) & (TIME <= 50)] += 1000 * np.hanning(((TIME >= -30) & (TIME <= 50)).sum())
    v5[(TIME >= 150) & (TIME <= 350)] -= 200 * np.hanning(((TIME >= 150) & (TIME <= 350)).sum())
    v5[TIME == 50] = 30 + 40.0
    return beat


def test_targets_of_a_drawn_beat_are_those_drawn():
    out = targets(drawn(), MARKS, 75.0)
    assert (out["pr"], out["qrs"]) == (168, 82)
    assert out["qt"] == 382
    assert out["hr"] == 75
    assert out["j_v5"] == pytest.approx(40)
    assert out["r_v5"] == pytest.approx(1000, rel=0.01)
    assert out["t_v5"] == pytest.approx(-200, rel=0.01)


@pytest.mark.parametrize(
    ("at", "width"), [(-60, 2), (-60, 14), (-46, 6), (-46, 14), (-40, 6), (-36, 2), (-36, 6), (-32, 2), (-32, 6)]
)
@pytest.mark.parametrize("size", [-2000, 900])
def test_a_pacing_spike_changes_no_voltage(at, width, size):
    beat = drawn()
    paced = beat + size * ((at <= TIME) & (at + width > TIME)) * np.linspace(0.2, 1, 8)[:, None]
    start, stop = pacing_spike(paced, -32.0)
    assert (start, stop) == (at - 2, at + width)
    np.testing.assert_allclose(baseline(paced, -32.0), 30.0)
    clean, found = targets(beat, MARKS, 75.0), targets(paced, MARKS, 75.0)
    assert found == pytest.approx(clean, abs=8)  # where it lies on QRS, that is bridged by a straight line
    away = (start > TIME) | (stop < TIME)
    np.testing.assert_allclose(levelled(paced, -32.0)[:, away], levelled(beat, -32.0)[:, away])


def test_a_beat_without_a_spike_is_only_shifted():
    assert pacing_spike(drawn(), -32.0) is None
    np.testing.assert_allclose(levelled(drawn(), -32.0), drawn() - 30.0)


def test_spikes_are_seen_in_paced_people_and_in_nobody_else(ludb, ptbxl):
    spikes = {
        c.attrs["source"]: c["record"].values[["pacing spike" in f for f in c["flags"].values]] for c in (ludb, ptbxl)
    }
    # 72 is called "P-synchrony"; 90 and 382 are paced too, by spikes too weak to be seen. Half of 95's beats are paced,
    # and the other half represent it.
    assert spikes["ludb"].tolist() == ["8", "34", "45", "72", "74", "93", "104", "111"]
    assert spikes["ptbxl500"].tolist() == ["144", "190", "385", "498"]
    paced = [r for r, d in zip(ptbxl["record"].values, ptbxl["diagnosis"].values, strict=True) if "PACE" in d]
    assert set(spikes["ptbxl500"]) <= set(paced)


def test_j_of_a_paced_beat_is_read_from_before_its_spike(ludb_folder):
    # LUDB 95: a spike of 570 µV in V5 lies in the 10 ms before QRS_on.
    beat = representative_beat(read_record(ludb_folder / "data" / "95"))
    v5, on, j = beat["beat"].sel(lead="V5"), *(float(beat["fiducial"].sel(landmark=m)) for m in ("QRS_on", "J"))
    before = float(v5.sel(time=slice(on - 60, on - 20)).mean())
    assert float(beat["j_v5"]) == pytest.approx(float(v5.interp(time=j)) - before, abs=30)


def test_a_level_that_the_beat_does_not_reach_back_to_is_unknown():
    assert np.isnan(baseline(drawn(), TIME[0])).all()
    assert np.isnan(baseline(drawn(), np.nan)).all()
