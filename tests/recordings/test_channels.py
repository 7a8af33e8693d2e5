import numpy as np
import pytest

import ecgwb as wb
from ecgwb.cohorts.sources import unpack
from ecgwb.recordings.channels import Channels, Told, to_record, uv_per
from ecgwb.recordings.leads import LEADS12


def ecg(n=3000, seed=0):
    """Twelve leads in µV that obey Einthoven, with beats and noise."""
    rng = np.random.default_rng(seed)
    beat = np.exp(-(((np.arange(n) % 400) - 200) ** 2) / 50.0)
    i, ii, *chest = np.outer([600, 900, -700, 400, 900, 1200, 1300, 1000], beat) + rng.normal(0, 5, (8, n))
    return np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2, *chest])


def channels(signal, names, units=None, fs=500.0, **metadata):
    return Channels(np.asarray(signal), fs, tuple(names), tuple(units or ["uV"] * len(names)), metadata)


@pytest.mark.parametrize(
    ("unit", "uv"),
    [("mV", 1e3), ("µV", 1), ("μV", 1), ("uV", 1), ("nV", 1e-3), ("V", 1e6), ("microvolt", 1), ("MilliVolts", 1e3),
     ("nanovolts", 1e-3), (" mV ", 1e3), ("4.88 uV", 4.88), ("2,5 uV/bit", 2.5), ("volt", 1e6)],
)  # fmt: skip
def test_voltages_in_every_spelling(unit, uv):
    assert uv_per(unit) == pytest.approx(uv)


@pytest.mark.parametrize("unit", ["NU", "%", "mmHg", "bpm", None, "", "adu", "mm", "kV A", "L/min", "ohm"])
def test_what_is_no_voltage(unit):
    assert np.isnan(uv_per(unit))


def test_leads_in_different_units_come_out_in_microvolts():
    signal = ecg()
    given = signal.copy()
    given[:3] /= 1e3
    given[3] *= 1e3
    record = to_record(channels(given, LEADS12, ["mV", "millivolts", "mV", "nV"] + ["µV"] * 8), "r")
    np.testing.assert_allclose(record.signal, signal)
    assert record.metadata["flags"] == []


def test_other_channels_are_left_out_and_named():
    names = ["RESP", *LEADS12, "SpO2", "ABP", "Pleth", "EEG C3"]
    units = ["NU", *["uV"] * 12, "%", "mmHg", "mV", "uV"]
    record = to_record(channels(np.concatenate([ecg()[:1], ecg(), ecg()[:4]]), names, units, age=50.0), "r")
    assert record.leads == LEADS12
    np.testing.assert_array_equal(record.signal, ecg())
    assert record.metadata["left_out"] == ["RESP (NU)", "SpO2 (%)", "ABP (mmHg)", "Pleth", "EEG C3"]
    assert record.metadata["flags"] == ["left out: RESP (NU), SpO2 (%), ABP (mmHg), Pleth, EEG C3"]
    assert record.metadata["age"] == 50.0


def test_many_other_channels_are_counted():
    record = to_record(channels(np.concatenate([ecg(), ecg()]), [*LEADS12, *(f"E{k}" for k in range(12))]), "r")
    assert record.metadata["flags"] == ["left out: E0, E1, E2, E3, E4, E5 and 6 more"]
    assert len(record.metadata["left_out"]) == 12


@pytest.mark.parametrize(("shift", "flags"), [(0, 1), (300, 2)])
def test_of_a_lead_that_is_there_twice_the_first_is_used(shift, flags):
    signal = np.concatenate([ecg(), ecg()[1:2] + shift * np.sin(np.arange(3000))])
    record = to_record(channels(signal, [*LEADS12, "II"]), "r")
    np.testing.assert_array_equal(record.signal, signal[:12])
    assert record.metadata["left_out"] == ["II (a second II)"]
    assert len(record.metadata["flags"]) == flags
    assert any("lead II is there twice and the two differ; the first" in f for f in record.metadata["flags"]) == (
        flags > 1
    )


def test_of_a_printout_the_long_strip_is_used():
    signal = np.concatenate([ecg(), ecg()[1:2]])
    signal[1, 750:] = np.nan
    record = to_record(channels(signal, [*LEADS12, "II rhythm"]), "r")
    assert np.isfinite(record.signal[record.leads.index("II")]).all()
    assert record.metadata["left_out"] == ["II (a second II)"]


def test_cabreras_lead_is_turned_over_and_that_is_said():
    signal, names = ecg(), ["-aVR" if n == "aVR" else n for n in LEADS12]
    turned = signal.copy()
    turned[3] *= -1
    record = to_record(channels(turned, names), "r")
    np.testing.assert_array_equal(record.signal, signal)
    assert record.metadata["flags"] == ["aVR is the file's -aVR, turned over"]
    assert to_record(channels([signal[0], signal[3], -signal[3]], ["I", "aVR", "-aVR"]), "r").leads == (
        "I",
        "aVR",
        "-aVR",
    )


@pytest.mark.parametrize(
    ("names", "units", "told", "message"),
    [
        (["ECG1", "RESP"], ["mV", "NU"], Told(), "none of its channels has the name of an ECG lead: 'ECG1', 'RESP'. "
         "Say which is which, such as leads={'ECG1': 'I'}"),
        (["", ""], ["mV", "mV"], Told(), "'channel 1', 'channel 2'. Say which is which, such as leads=['I', "),
        (["I", "II"], ["mmHg", "mmHg"], Told(), "unit 'mmHg' is not a voltage"),
        (["I", "II"], ["", ""], Told(), "the file says no unit of its leads. Give it: unit='mV'"),
        (["I", "II"], ["adu", "adu"], Told(), "unit 'adu' is not a voltage (mV, uV or V). Give it: unit='mV'"),
        (["I", "II"], ["", ""], Told(unit="mm"), "unit is 'mm'; expected a voltage, such as 'mV'"),
    ],
)  # fmt: skip
def test_a_recording_without_a_lead_says_what_it_has_and_what_to_do(names, units, told, message):
    with pytest.raises(wb.RecordError) as e:
        to_record(channels(ecg()[:2], names, units), "r7", told)
    assert message in str(e.value)
    assert "r7" in str(e.value)


def test_what_a_file_does_not_say_the_caller_says():
    record = to_record(channels(ecg()[:2] / 1e3, ["ECG1", "ECG2"], ["", "adu"], np.nan), "r",
                       Told({"ECG1": "I", "ECG2": "II"}, 250, "mV"))  # fmt: skip
    np.testing.assert_allclose(record.signal, ecg()[:2])
    assert (record.fs, record.leads, record.metadata["flags"]) == (250, ("I", "II"), [])


def test_what_a_file_says_is_not_overruled_in_silence():
    record = to_record(channels(ecg()[:2], ["I", "II"]), "r", Told(fs=250, unit="mV"))
    assert record.fs == 500
    assert record.metadata["flags"] == [
        "fs=250 is not used: the file says 500 Hz",
        "unit='mV' is not used where the file says uV",
    ]


@pytest.mark.parametrize("fs", [0, np.nan, None, -500, np.inf])
def test_without_a_rate_nothing_is_assumed(fs):
    with pytest.raises(wb.RecordError, match=r"no sampling rate .* Give it: fs=500"):
        to_record(channels(ecg(), LEADS12, fs=fs), "r")


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1e3, "1,000 times larger"),
        (1e-3, "1,000 times smaller"),
        (1e6, "1,000,000 times larger"),
        (1e-6, "1,000,000 times smaller"),
    ],
)
def test_a_lead_in_another_unit_than_its_file_says_is_flagged(factor, said):
    signal = ecg()
    signal[8] *= factor
    (flag,) = to_record(channels(signal, LEADS12), "r").metadata["flags"]
    assert flag == f"units differ between leads, it seems: V3 is about {said} than the others"


@pytest.mark.parametrize("seed", range(5))
def test_a_lead_that_is_small_or_large_for_other_reasons_is_not(seed):
    signal = ecg(seed=seed)
    signal[8] = np.round(np.random.default_rng(seed).normal(0, 1, signal.shape[1]))  # an electrode that is off
    signal[9] *= 10
    signal[10] = 0
    assert to_record(channels(signal, LEADS12), "r").metadata["flags"] == []


def test_all_of_ptbxl_and_ludb_are_one_unit(ludb_folder):
    headers = [*sorted(unpack("ptbxl500").rglob("*_hr.hea"))[::10], *sorted((ludb_folder / "data").glob("*.hea"))[::10]]
    flags = [f for h in headers for f in wb.read_record(h).metadata["flags"]]
    assert len(headers) > 60
    assert not [f for f in flags if "units differ" in f]


def test_a_rate_that_no_ecg_has_is_told_of(tmp_path):
    lines = ["time (ms),I,II", *(f"{k / 500},{10 * np.sin(k)},{10 * np.cos(k)}" for k in range(1000))]  # seconds
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.warns(UserWarning, match=r"a sampling rate of 500000 Hz.*expected 50 to 20,000 Hz"):
        record = wb.read_record(tmp_path / "a.csv", unit="uV")
    assert "times may be in another unit" in record.metadata["flags"][0]
    assert "array" not in repr(record)
