"""The beat and the measurements that a recording came with, beside ours."""

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.signal

import ecgwb as wb
from ecgwb.cohorts.sources import unpack
from ecgwb.recordings.channels import Channels, to_record
from ecgwb.recordings.record import LEADS12, Record


def recorders_beat(record, r_ms):
    """The median of the beats as they are, of 1.2 s with R at 0.4 s, as a recorder makes it."""
    first = [int(t / 2) - 200 for t in r_ms]
    return np.median([record.signal[:, a : a + 600] for a in first if 0 <= a <= 4400], axis=0)


@pytest.fixture(scope="module")
def made(ptbxl):
    """Twelve recordings with a median beat of 500 Hz or 250 Hz."""
    out = []
    for k in ("1", "2", "3", "5", "8", "9", "10", "11", "12", "13", "15", "16"):
        record = wb.read_record(unpack("ptbxl500") / "records500" / "00000" / f"{int(k):05d}_hr")
        one = ptbxl.sel(record=k)
        beat = recorders_beat(record, one["cycle_fiducial"].sel(landmark="R").values[one["cycle_used"].values == 1])
        fs = 500 if int(k) % 2 else 250
        beat = beat if fs == 500 else scipy.signal.resample_poly(beat, 1, 2, axis=1, padtype="line")
        told = {"pr": 160, "qrs": "?", "qt": float(one["qt"]) + 5, "hr": 65535}
        out.append(Record(record.signal, 500, LEADS12, k, {"measured": told}, median=Record(beat, fs, LEADS12)))
    return out


@pytest.fixture(scope="module")
def cohort(made):
    return wb.build_cohort([*made, Record(made[0].signal, 500, LEADS12, "without")], beats="file")


def test_the_recorders_beat_gives_what_ours_gives(cohort, ptbxl):
    ours = ptbxl.sel(record=cohort["record"])
    for name, bias, sd in (("pr", 4, 7), ("qrs", 4, 4), ("qt", 6, 6), ("j_v5", 15, 25), ("r_v5", 20, 40)):
        d = (cohort[name] - ours[name]).values
        d = d[np.isfinite(d)]
        assert len(d) >= 10
        assert abs(d.mean()) < bias, name
        assert d.std() < sd, name
    np.testing.assert_array_equal(cohort["hr"], ours["hr"])
    near = [
        np.corrcoef(a.ravel(), b.ravel())[0, 1]
        for a, b in zip(*(c["beat"].sel(time=slice(-250, 400)).values for c in (cohort, ours)), strict=True)
    ]
    assert min(near) > 0.97
    assert (cohort["doubt"].fillna(0) >= ours["doubt"].fillna(0) - 1e-9).where(ours["doubt"].notnull()).all()


def test_what_is_of_the_file_says_so_and_what_has_none_is_left_out(cohort):
    assert cohort.attrs["beats"] == "file"
    assert all("is the one that came with the recording" in f for f in cohort["flags"].values)
    assert (cohort["n_beats"] == 0).all()
    assert (cohort["n_beats_found"] > 5).all()
    left_out = wb.excluded(cohort)
    assert left_out["record"].tolist() == ["without"]
    assert "came without a representative beat; beats='ours' makes one" in left_out["reason"][0]


def test_the_files_measurements_stand_beside_ours_without_what_is_none(cohort):
    np.testing.assert_array_equal(cohort["pr_file"], 160)
    assert cohort["qt_file"].attrs["units"] == "ms"
    assert "qrs_file" not in cohort
    assert "hr_file" not in cohort


def test_agreement_is_bias_and_limits(cohort, ludb):
    table = wb.cohorts.agreement(cohort)
    d = (cohort["qt"] - cohort["qt_file"]).values
    assert table.index.tolist() == ["pr", "qt"]
    assert table.loc["qt", "n"] == np.isfinite(d).sum()
    assert table.loc["qt", "bias"] == pytest.approx(np.nanmean(d))
    assert table.loc["qt", "upper"] - table.loc["qt", "lower"] == pytest.approx(2 * 1.96 * np.nanstd(d, ddof=1))
    manual = wb.cohorts.agreement(ludb, "manual")
    assert manual.index.tolist() == ["pr", "qrs", "qt"]
    assert (manual["bias"].abs() < 3).all()
    with pytest.raises(wb.RecordError, match="no measurement that ends in '_12sl'"):
        wb.cohorts.agreement(ludb, "12sl")


def test_the_channels_of_a_file_bring_their_median_along(made):
    median = Channels(made[0].median.signal / 1000, 500, LEADS12, ("mV",) * 12)
    channels = Channels(made[0].signal / 1000, 500, LEADS12, ("mV",) * 12, {}, median)
    record = to_record(channels, "a")
    np.testing.assert_allclose(record.median.signal, made[0].median.signal)
    assert record.median.fs == 500


def test_a_median_that_is_no_ecg_costs_itself_alone(made):
    median = Channels(np.ones((1, 600)), 500, ("RESP",), ("%",))
    record = to_record(Channels(made[0].signal / 1000, 500, LEADS12, ("mV",) * 12, {}, median), "a")
    assert record.median is None
    assert any("representative beat cannot be used" in f for f in record.metadata["flags"])


def test_what_cannot_be_meant_is_refused(made):
    with pytest.raises(ValueError, match="beats is 'muse'; expected 'ours' or 'file'"):
        wb.build_cohort(made[:1], beats="muse")
    with pytest.raises(TypeError, match="median is a ndarray; expected a Record"):
        Record(made[0].signal, 500, LEADS12, median=made[0].signal)
    short = Record(made[0].signal, 500, LEADS12, "short", median=Record(made[0].signal[:, :200], 500, LEADS12))
    with pytest.raises(wb.RecordError, match="400 ms long; expected 500 ms or more"):
        wb.build_cohort([short], beats="file")


def test_a_joined_cohort_says_whose_beats_its_are(cohort, ptbxl):
    both = wb.cohorts.concat([cohort, ptbxl.sel(record=["30", "31", "32"])], names=["theirs", "ours"])
    assert both.attrs["beats"] == "file; ours"
    assert [part["beats"] for part in json.loads(both.attrs["joined"])] == ["file", "ours"]


@pytest.mark.filterwarnings("ignore:1 recording is there more than once")
def test_a_beat_that_is_not_the_recordings_is_flagged(made, cohort):
    assert not any("not like those in it" in f or "times as large" in f for f in cohort["flags"].values)
    beats = {"inverted": -1 * made[0].median.signal, "large": 2 * made[0].median.signal}
    given = [replace(made[0], record_id=k, median=Record(x, 500, LEADS12)) for k, x in beats.items()]
    flags = dict(zip(beats, wb.build_cohort(given, beats="file")["flags"].values, strict=True))
    assert "is not like those in it" in flags["inverted"]
    assert "is 2 times as large as those in it" in flags["large"]
