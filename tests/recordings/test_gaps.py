"""Missing samples before and after the filter."""

import numpy as np
import pytest

from ecgwb.recordings.filters import bridge_short_gaps, prepare
from ecgwb.recordings.record import Record

T = np.arange(5000) / 500.0
WAVE = 800 * np.sin(2 * np.pi * 7 * T) + 300 * np.sin(2 * np.pi * 13 * T)


@pytest.mark.parametrize(("length", "error"), [(1, 3.0), (5, 20.0), (10, 60.0)])  # µV; the wave spans 2,200
def test_gaps_of_up_to_20_ms_are_bridged_by_a_curve(length, error):
    signal = WAVE[None].copy()
    for at in range(50, 4900, 97):
        signal[0, at : at + length] = np.nan
    bridged = bridge_short_gaps(signal, 500.0)
    assert np.isfinite(bridged).all()
    assert np.abs(bridged - WAVE).max() < error
    np.testing.assert_array_equal(bridged[np.isfinite(signal)], signal[np.isfinite(signal)])


def test_longer_gaps_and_those_at_the_ends_stay():
    signal = WAVE[None].copy()
    for part in (slice(0, 3), slice(1000, 1011), slice(4990, 5000)):
        signal[0, part] = np.nan
    np.testing.assert_array_equal(bridge_short_gaps(signal, 500.0), signal)


def test_at_a_low_rate_one_missing_sample_is_bridged():
    signal = WAVE[None, ::12].copy()
    signal[0, 100] = np.nan
    assert np.isfinite(bridge_short_gaps(signal, 500 / 12)).all()


def test_whatever_was_missing_does_not_bend_what_lies_beside_it():
    # A gap that begins on a peak: a level held through it would be filtered into a slope of half its height.
    ecg = np.zeros(5000)
    for r in range(200, 5000, 400):
        ecg[r - 20 : r + 21] += 1500 * np.hanning(41)
    holed = ecg.copy()
    holed[1000:3000] = np.nan  # 1000 is the top of a peak
    whole, cut = (prepare(Record(x[None], 500.0, ("II",))).signal[0] for x in (ecg, holed))
    error = np.abs(whole - cut)
    assert np.isfinite(error).sum() == 3000
    assert np.nanmax(error) < 200  # µV
    assert max(error[300:700].max(), error[3300:4700].max()) < 40


def test_a_recording_without_gaps_is_filtered_as_one():
    two = np.stack([WAVE, WAVE])
    holed = two.copy()
    holed[1, 2000:2500] = np.nan
    whole, cut = (prepare(Record(x, 500.0, ("I", "II"))).signal for x in (two, holed))
    np.testing.assert_array_equal(cut[0], whole[0])
