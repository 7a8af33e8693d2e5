import numpy as np
import pytest
from known_rhythms import LENGTH, MARKS, N, made_rhythms, many, steady

import ecgwb as wb
from ecgwb.cohorts.cycles import (
    cycles_of,
    has_cycles,
    in_every_cycle,
    inside_spans,
    mask_in_cycles,
    own_share,
    spans_in_cycles,
    territories,
    windows,
)
from ecgwb.cohorts.measurements import TIME


@pytest.fixture(scope="module")
def ludb():
    return wb.open_cohort("ludb", rhythm=True).isel(record=slice(70))


def test_a_recording_taken_apart_and_put_together_is_itself(ludb):
    rhythm, marks, share = in_every_cycle(ludb, lambda beats, _: (beats["beat"].values, beats["fiducial"].values))
    np.testing.assert_array_equal(rhythm, ludb["rhythm"])
    np.testing.assert_array_equal(marks, ludb["cycle_fiducial"])
    assert (share == 1).all()


def test_the_median_of_a_recordings_used_cycles_is_its_representative_beat(ludb):
    cycles = cycles_of(ludb)
    beats = windows(ludb["rhythm"].values, cycles)
    for i in (0, 7, 60):
        mine = (cycles["row"].values == i) & cycles["used"].values
        np.testing.assert_allclose(np.median(beats[mine], axis=0), ludb["beat"].values[i], atol=0.1)


def test_every_moment_is_one_cycles_own(ludb):
    cycles, time = cycles_of(ludb), np.arange(N) * 2.0
    edges = territories(cycles, LENGTH)
    for i in range(20):
        mine = np.flatnonzero(cycles["row"].values == i)
        assert (edges[mine, 0] <= cycles["r_ms"].values[mine]).all()
        assert (edges[mine[1:], 0] >= edges[mine[:-1], 1] - 1e-9).all()
        share = own_share(edges[mine], time)
        assert share.min() >= 0
        assert share.sum(axis=0).max() <= 1 + 1e-9
    even = made_rhythms(steady([800.0]))
    share = own_share(territories(cycles_of(even), LENGTH), time).sum(axis=0)
    np.testing.assert_allclose(share[200:-600], 1)


def test_neighbours_are_known_and_the_first_and_last_as_if_they_went_on():
    cycles = cycles_of(made_rhythms([np.array([600.0, 1400.0, 2400.0])]))
    np.testing.assert_allclose(cycles["before"], [MARKS[8] - 800, MARKS[8] - 800, MARKS[8] - 1000])
    np.testing.assert_allclose(cycles["after"], [800 + MARKS[0], 1000 + MARKS[0], 1000 + MARKS[0]])


def test_a_wave_that_leaves_the_window_is_absent_and_one_beat_has_no_neighbours():
    late = MARKS + np.array([0, 0, 0, 0, 0, 0, 300, 300, 320.0])
    cycles = cycles_of(made_rhythms([np.array([2000.0, 5000.0])], late))
    assert np.isnan(cycles["fiducial"].values[:, 6:]).all()
    assert np.isfinite(cycles["fiducial"].values[:, :6]).all()
    alone = cycles_of(made_rhythms([np.array([4000.0, 4900.0])]).isel(cycle=[0]))
    assert np.isinf([alone["before"].item(), alone["after"].item()]).all()
    np.testing.assert_allclose(territories(alone, LENGTH), [[3500, 4698]])


def test_spans_and_masks_lie_in_every_cycle():
    cohort = many(3)
    spans = spans_in_cycles(cohort, lambda beats: tuple(beats["fiducial"].values[:, [6, 8]].T))
    np.testing.assert_array_equal(spans, cohort["cycle_fiducial"].values[..., [6, 8]])
    inside = inside_spans(spans, np.arange(N) * 2.0)
    qrs = np.broadcast_to(np.abs(TIME) <= 20, (3, 1, 600))
    mask = mask_in_cycles(cohort, qrs)
    n_beats = np.isfinite(cohort["cycle_fiducial"].values[..., 4]).sum(axis=1)
    np.testing.assert_array_equal(mask.sum(axis=(1, 2)), 21 * n_beats)
    assert not (mask[:, 0] & inside).any()
    everything = mask_in_cycles(cohort, np.ones((3, 1, 600), bool))
    assert everything[:, 0, 300:-400].all()


def test_recordings_without_their_beats_landmarks_are_refused_in_words(ludb):
    with pytest.raises(wb.RecordError, match="'rhythm' without 'cycle_fiducial'"):
        has_cycles(ludb.drop_vars("cycle_fiducial"))
    assert not has_cycles(wb.open_cohort("ludb"))
