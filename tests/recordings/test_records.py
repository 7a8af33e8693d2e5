import numpy as np
import pytest
import wfdb

import ecgwb as wb
from ecgwb.recordings.filters import prepare
from ecgwb.recordings.record import LEADS12, pick_leads


def sine(fs, hz, seconds=8.0):
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * fs)) / fs)


def write(folder, signal_mv, name="r", gain=200.0, leads=None, units="mV", **more):
    leads = leads or list(LEADS12[: len(signal_mv)])
    wfdb.wrsamp(
        name,
        fs=500,
        units=[units] * len(leads),
        sig_name=leads,
        p_signal=np.asarray(signal_mv).T,
        fmt=["16"] * len(leads),
        adc_gain=[gain] * len(leads),
        baseline=[0] * len(leads),
        write_dir=str(folder),
        **more,
    )
    return folder / name


def limb(rng, n=4000):
    i, ii = np.cumsum(rng.normal(0, 0.01, (2, n)), axis=1)
    return np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2])


def test_ludb_integers_are_read_as_microvolts(ludb_folder):
    record = wb.read_record(ludb_folder / "data" / "1")
    stored = wfdb.rdrecord(str(ludb_folder / "data" / "1"), physical=False).d_signal.T
    np.testing.assert_array_equal(record.signal, stored)
    i, ii, iii = record.signal[:3]
    np.testing.assert_array_equal(ii, i + iii)
    assert record.leads == LEADS12
    assert "stored integers" in record.metadata["flags"][0]
    assert (record.metadata["age"], record.metadata["sex"]) == (51.0, "female")


def test_right_gains_are_applied_and_nothing_is_flagged(tmp_path):
    signal = limb(np.random.default_rng(0))
    record = wb.read_record(write(tmp_path, signal, gain=1000.0))
    np.testing.assert_allclose(record.signal, 1000 * signal, atol=0.5)
    assert record.metadata["flags"] == []


def test_microvolt_and_millivolt_files_agree(tmp_path):
    signal = limb(np.random.default_rng(0))
    mv = wb.read_record(write(tmp_path, signal, "mv", gain=1000.0))
    uv = wb.read_record(write(tmp_path, 1000 * signal, "uv", gain=1.0, units="uV"))
    np.testing.assert_allclose(mv.signal, uv.signal, atol=1.0)


def test_a_wrong_gain_in_one_limb_lead_is_warned_of_and_flagged(tmp_path):
    signal = limb(np.random.default_rng(0))
    signal[1] *= 2
    with pytest.warns(UserWarning, match="limb leads disagree"):
        record = wb.read_record(write(tmp_path, signal, gain=1000.0))
    assert "limb leads disagree" in record.metadata["flags"][0]


def test_a_truncated_file_is_named_with_what_is_missing(tmp_path):
    path = write(tmp_path, limb(np.random.default_rng(0)))
    data = path.with_suffix(".dat")
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(wb.RecordError, match=r"truncated: 1000 bytes, the header promises 48000"):
        wb.read_record(path)


@pytest.mark.parametrize("units", ["bpm", "mmHg"])
def test_a_unit_that_is_no_voltage_is_refused(tmp_path, units):
    with pytest.raises(wb.RecordError, match="not a voltage"):
        wb.read_record(write(tmp_path, limb(np.random.default_rng(0)), units=units))


def test_a_missing_file_says_what_was_expected(tmp_path):
    with pytest.raises(wb.RecordError, match="no header at"):
        wb.read_record(tmp_path / "nothing")
    with pytest.raises(wb.RecordError, match=r"'nothing.xml': there is no file .*nothing.xml$"):
        wb.read_record(tmp_path / "nothing.xml")
    with pytest.raises(wb.RecordError, match=r"it is a folder; wb.build_cohort reads"):
        wb.read_record(tmp_path)


def test_names_and_dates_in_headers_stay_behind(tmp_path):
    path = write(
        tmp_path,
        limb(np.random.default_rng(0)),
        comments=["Name: Jane Doe", "Age: 61", "Sex: Female", "DOB: 1960-01-01"],
    )
    metadata = wb.read_record(path).metadata
    assert metadata == {"age": 61.0, "sex": "female", "flags": []}


@pytest.mark.parametrize(
    ("comments", "known", "n_flags"),
    [
        (["Age: 61 years", "Sex: m"], {"age": 61.0, "sex": "male"}, 0),
        (["Age: 8 months", "Sex: missing"], {}, 2),
        (["Age: -5", "Sex: Mujer"], {}, 2),
        (["Age: 300", "Gender: M/F"], {}, 2),
        (["Age: 60-70", "Sex: Unknown"], {}, 1),
        (["Age: ", "Sex: ?"], {}, 0),
    ],
)
def test_what_a_header_says_of_age_and_sex_is_not_guessed(tmp_path, comments, known, n_flags):
    metadata = wb.read_record(write(tmp_path, limb(np.random.default_rng(0)), comments=comments)).metadata
    assert len(metadata.pop("flags")) == n_flags
    assert metadata == known


def test_what_is_masked_is_missing():
    masked = np.ma.masked_greater(np.array([[1.0, 9999.0, 3.0]]), 1000)
    np.testing.assert_array_equal(wb.Record(masked, 500, ["I"]).signal, [[1, np.nan, 3]])


@pytest.mark.parametrize(
    ("signal", "fs", "leads", "message"),
    [
        (np.zeros((500, 2)), 500, ("I", "II"), "pass signal.T"),
        (np.zeros((2, 500)), 500, ("I", "I"), "more than once: ['I']"),
        (np.zeros((2, 500)), 0, ("I", "II"), "positive number of Hz"),
        (np.zeros((2, 500)), np.nan, ("I", "II"), "positive number of Hz"),
        ([[1, 2], [3]], 500, ("I", "II"), "rectangular"),
        (np.zeros((2, 500), complex), 500, ("I", "II"), "complex"),
    ],
)
def test_a_record_that_does_not_fit_together_is_refused(signal, fs, leads, message):
    with pytest.raises(wb.RecordError) as e:
        wb.Record(signal, fs, leads, "r7")
    assert message in str(e.value)
    assert "r7" in str(e.value)


def test_lead_names_take_their_standard_spelling_and_infinity_is_missing():
    record = wb.Record([[1.0, np.inf], [0.0, 2.0]], 500, ("avr", "MLII"))
    assert record.leads == ("aVR", "MLII")
    assert np.isnan(record.signal[0, 1])


@pytest.mark.parametrize("pair", [("I", "II"), ("II", "III"), ("aVR", "aVF"), ("I", "aVL")])
def test_all_limb_leads_follow_from_any_two(pair):
    six = limb(np.random.default_rng(1))
    rows = dict(zip(LEADS12[:6], six, strict=True))
    record = wb.Record(np.stack([rows[p] for p in pair]), 500, pair)
    np.testing.assert_allclose(pick_leads(record, LEADS12[:6]).signal, six, atol=1e-9)


def test_a_lead_that_cannot_be_derived_is_named():
    with pytest.raises(wb.RecordError, match="lead V1, V2, V3, V4, V5, V6 is missing"):
        pick_leads(wb.Record(np.zeros((2, 500)), 500, ("I", "II")))


@pytest.mark.parametrize("fs", [125.0, 250.0, 360.0, 1000.0])
def test_prepare_keeps_a_sine_at_any_rate(fs):
    out = prepare(wb.Record(sine(fs, 10.0)[None], fs, ("I",))).signal[0]
    expected = sine(500, 10.0)[: len(out)]
    np.testing.assert_allclose(out[1500:-1500], expected[1500:-1500], atol=0.01)


@pytest.mark.parametrize(("hz", "gain"), [(0.05, 0.0), (0.5, 0.5), (40.0, 1.0), (150.0, 1.0)])
def test_the_stated_filter_is_the_filter(hz, gain):
    # Butterworth, forward and backward: half the amplitude at the corner, all of it above, up to 150 Hz and beyond.
    x = sine(500, hz, 60)
    out = prepare(wb.Record(x[None], 500, ("I",))).signal[0]
    middle = slice(5000, -5000)
    assert np.sum(out[middle] * x[middle]) / np.sum(x[middle] ** 2) == pytest.approx(gain, abs=0.01)


def test_gaps_stay_gaps_and_quality_names_dead_leads():
    x = np.stack([sine(500, 5.0), np.zeros(4000), sine(500, 7.0)])
    x[0, 1000:1200] = np.nan
    record = wb.Record(x, 500, ("I", "II", "V1"))
    assert np.isnan(prepare(record).signal[0]).sum() == 200
    quality = record.quality
    assert quality["usable"].tolist() == [True, False, True]
    assert quality.loc["I", "missing"] == pytest.approx(0.05)
