"""Hospital formats come back as they were written, to half a step, with what a cohort needs and nobody's name."""

import datetime
import re
import sys
import tracemalloc
from pathlib import Path

import edfio
import medical_files as files
import numpy as np
import pydicom
import pytest
from bad_input import ptbxl
from medical_files import EIGHT, LEADS12, MEASURED, WHO, steps
from pydicom.data import get_testdata_file

import ecgwb as wb
from ecgwb.recordings.channels import NOTHING_TOLD
from ecgwb.recordings.identity import clinical, pseudonym, spelling, years_between
from ecgwb.recordings.reading import FORMATS, format_of
from ecgwb.recordings.record import pick_leads

ECG = ptbxl()
BEAT = ECG[:, 1000:1600]
OF_EIGHT = [LEADS12.index(x) for x in EIGHT]


@pytest.fixture(autouse=True)
def own_key(tmp_path_factory, monkeypatch):
    """Pseudonyms of tests leave the user's own key alone."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data"))


def put(folder, content, name="ecg"):
    (folder / name).write_bytes(content)
    return folder / name


def channels(path):
    return format_of(path).read(path, "", NOTHING_TOLD)


def edf_of(uv, lsb=2.5, unit="uV", **more):
    scale = {"uV": 1.0, "mV": 1e3}[unit]
    span = (-32768 * lsb / scale, 32767 * lsb / scale)
    return files.edf([(f"ECG {n}", unit, span, steps(x, lsb), 500) for n, x in zip(LEADS12, uv, strict=True)], **more)


# name: (file, step in µV, format, leads)
WRITTEN = {
    "MUSE": (files.muse(ECG[OF_EIGHT], median=BEAT[OF_EIGHT]), 4.88, "GE MUSE XML", EIGHT),
    "MUSE, UTF-16": (files.muse(ECG[OF_EIGHT], encoding="UTF-16"), 4.88, "GE MUSE XML", EIGHT),
    "aECG": (files.aecg(ECG, median=BEAT), 2.5, "HL7 aECG", LEADS12),
    "aECG in mV from 0.1 mV on": (files.aecg(ECG, unit="mV", origin=0.1), 2.5, "HL7 aECG", LEADS12),
    "Philips": (files.sierra(ECG, median=BEAT), 5.0, "Philips Sierra XML", LEADS12),
    "Philips, XLI": (files.sierra(ECG, compressed=True, encoding="UTF-16"), 5.0, "Philips Sierra XML", LEADS12),
    "SCP-ECG": (files.scp(ECG, beat=BEAT), 5.0, "SCP-ECG", LEADS12),
    "SCP-ECG, 1st differences": (files.scp(ECG, order=1, packed=True), 5.0, "SCP-ECG", LEADS12),
    "SCP-ECG, 2nd differences": (files.scp(ECG, order=2, packed=True), 5.0, "SCP-ECG", LEADS12),
    "SCP-ECG, its own table": (files.scp(ECG, order=2, packed=True, own_tables=True), 5.0, "SCP-ECG", LEADS12),
    "SCP-ECG without its beats": (
        files.scp(ECG, order=1, packed=True, beat=BEAT, peaks=(1100, 1900, 2700)), 5.0, "SCP-ECG", LEADS12,
    ),
    "DICOM": (
        files.dicom([("RHYTHM", "ORIGINAL", ECG, 500, {}), ("MEDIAN BEAT", "DERIVED", BEAT, 500, {})]), 2.5,
        "DICOM ECG", LEADS12,
    ),
    "DICOM in mV, by MDC, big-endian": (
        files.dicom([("RHYTHM", "ORIGINAL", ECG, 500, {"unit": "mV", "factor": 2.0, "baseline": 0.25})], scheme="MDC",
                    big_endian=True), 2.5, "DICOM ECG", LEADS12,
    ),
    "DICOM, leads by their meaning": (
        files.dicom([("RHYTHM", "ORIGINAL", ECG, 500, {})], scheme="99HOUSE"), 2.5, "DICOM ECG", LEADS12,
    ),
    "EDF": (edf_of(ECG), 2.5, "EDF or BDF", LEADS12),
    "EDF+ in mV": (edf_of(ECG, unit="mV", kind="EDF+C"), 2.5, "EDF or BDF", LEADS12),
    "BDF": (
        files.edf([(n, "uV", (-8388608, 8388607), steps(x, 1), 250) for n, x in zip(LEADS12, ECG, strict=True)],
                  seconds=0.5, bits=24), 1.0, "EDF or BDF", LEADS12,
    ),
}  # fmt: skip
PEOPLE = [k for k in WRITTEN if not k.startswith(("EDF", "BDF"))]
BEATS = ["MUSE", "aECG", "Philips", "SCP-ECG", "SCP-ECG without its beats", "DICOM"]


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_recording_comes_back_to_half_a_step_whatever_its_name(kind, tmp_path):
    content, lsb, name, leads = WRITTEN[kind]
    path = put(tmp_path, content, "file.without.its.ending")
    record = wb.read_record(path)
    assert format_of(path).name == name
    assert (record.leads, record.fs, record.metadata["flags"]) == (leads, 500, [])
    of = [LEADS12.index(x) for x in leads]
    assert np.abs(record.signal - ECG[of]).max() <= lsb / 2 + 1e-6
    whole = pick_leads(record, LEADS12).signal
    assert np.abs(whole - ECG).max() < 1.5 * lsb + 1  # III, aVR, aVL and aVF are differences of rounded leads
    assert np.corrcoef(whole[3], ECG[3])[0, 1] > 0.999


@pytest.mark.parametrize("kind", PEOPLE)
def test_age_sex_diagnosis_device_and_measurements_are_kept(kind, tmp_path):
    found = wb.read_record(put(tmp_path, WRITTEN[kind][0])).metadata
    age = 61 if "Philips" not in kind else years_between(WHO["born"], WHO["on"])
    assert (found["age"], found["sex"]) == (age, "female")
    assert found["diagnosis"] == "Sinus rhythm; Left ventricular hypertrophy"
    assert found["measured"] == pytest.approx(MEASURED, rel=1e-3)
    assert found["patient"] == pseudonym(WHO["number"])
    assert found["device"] in ("GE MAC55", "Mortara ELI 250", "Philips PageWriter TC", "Schiller AT-102")


@pytest.mark.parametrize("kind", BEATS)
def test_the_recorders_own_beat_is_kept(kind, tmp_path):
    content, lsb, _, leads = WRITTEN[kind]
    beat = channels(put(tmp_path, content)).median
    assert (beat.fs, beat.signal.shape) == (500, (len(leads), 600))
    assert np.abs(beat.signal - BEAT[[LEADS12.index(x) for x in leads]]).max() <= lsb / 2 + 1e-6


def test_a_dicom_of_a_hospital_is_as_pydicom_has_it_and_measures_alike():
    path = get_testdata_file("waveform_ecg.dcm")
    record, data = wb.read_record(path), pydicom.dcmread(path)
    np.testing.assert_allclose(record.signal, data.waveform_array(0).T)
    assert (record.leads, record.fs) == (LEADS12, 1000)
    assert {k: round(v) for k, v in record.metadata["measured"].items()} == {"pr": 161, "qrs": 75, "qt": 368, "hr": 61}
    assert record.metadata["diagnosis"] == "RITMO SINUSALE; ECG NORMALE"
    cohort = wb.build_cohort([record])
    for name, limit in {"pr": 20, "qrs": 15, "qt": 20, "hr": 1}.items():
        assert abs(float(cohort[name][0]) - record.metadata["measured"][name]) < limit


# ---------------------------------------------------------------- one bad part costs itself


def damaged_muse(lead, **tags):
    """A MUSE file in which one lead's fields are others."""
    content = files.muse(ECG[OF_EIGHT]).decode("latin-1")
    begin = content.rindex("<LeadData>", 0, content.index(f"<LeadID>{lead}</LeadID>"))
    end = content.index("</LeadData>", begin)
    part = content[begin:end]
    for tag, value in tags.items():
        head, _, tail = part.partition(f"<{tag}>")
        part = f"{head}<{tag}>{value}{tail[tail.index('</') :]}"
    return (content[:begin] + part + content[end:]).encode("latin-1")


@pytest.mark.parametrize(
    ("tags", "flag", "left"),
    [
        ({"WaveFormData": "!!!"}, "lead V3 left out: its samples or its gain are missing or damaged", 7),
        ({"LeadAmplitudeUnitsPerBit": "0"}, "lead V3 left out: its samples or its gain are missing or damaged", 7),
        ({"LeadSampleCountTotal": "6000"}, "lead V3 has 5000 samples, its header promises 6000", 8),
        ({"LeadDataCRC32": "12345"}, "the checksum of lead V3 is wrong", 8),
        ({"LeadOff": "TRUE"}, "the recorder says that lead V3 was off", 8),
        ({"LeadAmplitudeUnits": "COUNTS"}, "the unit of lead V3 is not said; read as µV", 8),
    ],
)
def test_one_bad_lead_of_muse_costs_itself_and_is_said(tags, flag, left, tmp_path):
    record = wb.read_record(put(tmp_path, damaged_muse("V3", **tags)))
    assert record.metadata["flags"] == [flag]
    assert len(record.leads) == left
    assert np.abs(record.signal[0] - ECG[0]).max() <= 2.44 + 1e-6


def test_a_bad_lead_of_aecg_costs_itself(tmp_path):
    content = files.aecg(ECG).replace(b"<digits>", b"<digits>x ", 1)
    record = wb.read_record(put(tmp_path, content))
    assert record.leads == LEADS12[1:]
    assert record.metadata["flags"][0].startswith("lead I left out")


def test_a_rate_or_a_unit_that_is_not_said_is_asked_for(tmp_path):
    path = put(tmp_path, files.aecg(ECG).replace(b"<increment", b"<other"))
    with pytest.raises(wb.RecordError, match="says no time step; give the rate"):
        wb.read_record(path)
    assert np.abs(wb.read_record(path, fs=500).signal - ECG).max() <= 1.25
    path = put(tmp_path, edf_of(ECG).replace(b"uV      ", b"        "))
    with pytest.raises(wb.RecordError, match=r"says no unit of its leads\. Give it: unit='mV'"):
        wb.read_record(path)
    assert np.abs(wb.read_record(path, unit="uV").signal - ECG).max() <= 1.25


def test_the_rate_that_a_dicom_does_not_say_is_told(tmp_path):
    data = pydicom.dcmread(put(tmp_path, files.dicom([("RHYTHM", "ORIGINAL", ECG, 500, {})])))
    for rate in (None, 0):
        data.WaveformSequence[0].SamplingFrequency = rate
        data.save_as(tmp_path / "b")
        with pytest.raises(wb.RecordError, match=r"say no sampling rate; give it: read_record\(path, fs=500\)"):
            wb.read_record(tmp_path / "b")
        record = wb.read_record(tmp_path / "b", fs=500)
        assert (record.fs, record.metadata["flags"]) == (500, [])
        assert np.abs(record.signal - ECG).max() <= 1.25


def test_a_damaged_beat_of_the_recorder_costs_itself(tmp_path):
    content = files.scp(ECG, beat=BEAT)
    pointer = 6 + 16 + 10 * 5  # of section 5
    shorter = content[: pointer + 2] + (1000).to_bytes(4, "little") + content[pointer + 6 :]
    record = wb.read_record(put(tmp_path, shorter))
    assert "its reference beat is damaged, and left out" in record.metadata["flags"]
    assert np.abs(record.signal - ECG).max() <= 2.5
    data = pydicom.dcmread(put(tmp_path, WRITTEN["DICOM"][0]))
    del data.WaveformSequence[1].SamplingFrequency
    data.save_as(tmp_path / "ecg")
    assert np.abs(wb.read_record(tmp_path / "ecg").signal - ECG).max() <= 1.25


def test_samples_of_impossible_size_are_left_out_and_said(tmp_path):
    content = edf_of(ECG)
    low = 256 + 12 * (16 + 80 + 8) + 8 * 3  # the physical minimum of lead aVR
    record = wb.read_record(put(tmp_path, content[:low] + b"-9e290  " + content[low + 8 :]))
    assert "aVR" not in record.leads
    assert record.metadata["flags"] == ["left out for impossible size: aVR"]


def test_a_printout_in_aecg_has_each_lead_at_its_time(tmp_path):
    starts = [2.5 * (k // 3) for k in range(12)]
    quarter = [x[int(500 * t) : int(500 * t) + 1250] for x, t in zip(ECG, starts, strict=True)]
    record = wb.read_record(put(tmp_path, files.aecg(quarter, starts=starts)))
    assert record.signal.shape == (12, 5000)
    for row, lead, start in zip(record.signal, ECG, starts, strict=True):
        own = slice(int(500 * start), int(500 * start) + 1250)
        assert np.abs(row[own] - lead[own]).max() <= 1.25
        assert np.isnan(row).sum() == 3750


def test_leads_of_aecg_before_and_after_midnight_are_at_their_times(tmp_path):
    starts = [2.5 * (k // 3) for k in range(12)]
    quarter = [x[int(500 * t) : int(500 * t) + 1250] for x, t in zip(ECG, starts, strict=True)]
    relative = put(tmp_path, files.aecg(quarter, starts=starts))
    clock = {0.0: "20240228235955", 2.5: "20240228235957.500", 5.0: "20240229000000.000", 7.5: "20240229000002.500"}
    text = relative.read_text().replace("TIME_RELATIVE", "TIME_ABSOLUTE")
    absolute = relative.with_name("absolute.xml")
    absolute.write_text(
        re.sub(r'<head value="([\d.]+)" unit="s"/>', lambda m: f'<head value="{clock[float(m[1])]}"/>', text)
    )
    np.testing.assert_array_equal(wb.read_record(absolute).signal, wb.read_record(relative).signal)


def test_a_printout_in_dicom_has_each_lead_at_its_time(tmp_path):
    groups = [("RHYTHM", "ORIGINAL", ECG[3 * k : 3 * k + 3, 1250 * k : 1250 * (k + 1)], 500,
               {"leads": LEADS12[3 * k : 3 * k + 3], "start": 2500.0 * k}) for k in range(4)]  # fmt: skip
    record = wb.read_record(put(tmp_path, files.dicom(groups, kind="1.2.840.10008.5.1.4.1.1.9.1.2")))
    assert (record.leads, record.signal.shape) == (LEADS12, (12, 5000))
    assert np.abs(record.signal[11, 3750:] - ECG[11, 3750:]).max() <= 1.25
    assert np.isnan(record.signal[11, :3750]).all()


def test_edf_of_a_library_with_other_signals_and_rates(tmp_path):
    signals = [edfio.EdfSignal(x, 500, label=f"EKG {n}", physical_dimension="mV", physical_range=(-8, 8))
               for n, x in zip(LEADS12, ECG / 1000, strict=True)]  # fmt: skip
    breath = np.sin(np.arange(250) / 10)
    signals.append(edfio.EdfSignal(breath, 25, label="Resp", physical_dimension="uV", physical_range=(-1, 1)))
    signals.append(edfio.EdfSignal(breath + 98, 25, label="SpO2", physical_dimension="%", physical_range=(0, 100)))
    who = edfio.Patient(code=WHO["number"], sex="F", birthdate=datetime.date(1950, 3, 4), name=WHO["last"])
    began = datetime.date(2011, 6, 7)
    edfio.Edf(signals, patient=who, recording=edfio.Recording(startdate=began)).write(tmp_path / "a.edf")
    record = wb.read_record(tmp_path / "a.edf")
    assert (record.leads, record.fs) == (LEADS12, 500)
    assert np.abs(record.signal - ECG).max() <= 8000 / 65535 + 1e-3
    assert record.metadata["flags"] == ["left out for another sampling rate than 500 Hz: Resp, SpO2"]
    assert (record.metadata["age"], record.metadata["sex"]) == (61, "female")
    assert record.metadata["patient"] == pseudonym(WHO["number"])
    assert WHO["last"] not in str(record.metadata)


def test_gaps_of_edf_are_left_empty(tmp_path):
    times = [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]
    record = wb.read_record(put(tmp_path, edf_of(ECG, kind="EDF+D", times=times)))
    assert record.signal.shape == (12, 6000)
    assert np.isnan(record.signal[:, 1500:2500]).all()
    assert np.abs(record.signal[:, 2500:] - ECG[:, 1500:]).max() <= 1.25
    assert record.metadata["flags"] == ["1 gaps between its parts, left empty"]


def test_edf_cut_short_and_units_in_latin_1(tmp_path):
    content = edf_of(ECG).replace(b"uV      ", b"\xb5V      ")
    record = wb.read_record(put(tmp_path, content[:-30000]))
    assert record.signal.shape == (12, 3500)
    assert record.metadata["flags"] == ["cut short: 7 of 10 data records"]
    assert np.abs(record.signal - ECG[:, :3500]).max() <= 1.25


def test_dicom_cut_short_and_padding(tmp_path):
    data = pydicom.dcmread(put(tmp_path, WRITTEN["DICOM"][0]))
    group = data.WaveformSequence[0]
    group.add_new(0x5400100A, "OW", (7).to_bytes(2, "little"))  # padding value
    raw = np.frombuffer(group.WaveformData, "<i2").reshape(5000, 12).copy()
    raw[raw == 7] = 8
    raw[:100, 4] = 7
    group.WaveformData = raw[:4000].tobytes()
    data.save_as(tmp_path / "b")
    record = wb.read_record(tmp_path / "b")
    assert record.metadata["flags"] == ["cut short: 4000 of 5000 samples"]
    assert np.isnan(record.signal[4, :100]).all()
    assert np.isnan(record.signal).sum() == 100


def test_a_unit_that_a_dicom_does_not_say_is_flagged_and_may_be_told(tmp_path):
    data = pydicom.dcmread(put(tmp_path, files.dicom([("RHYTHM", "ORIGINAL", ECG, 500, {"unit": "mV"})])))
    for channel in data.WaveformSequence[0].ChannelDefinitionSequence:
        del channel.ChannelSensitivityUnitsSequence
    data.save_as(tmp_path / "b")
    record = wb.read_record(tmp_path / "b")
    assert record.metadata["flags"] == ["the unit of every channel is not said; read as µV"]
    record = wb.read_record(tmp_path / "b", unit="mV")
    assert np.abs(record.signal - ECG).max() <= 1.25
    assert record.metadata["flags"] == ["the unit of every channel is not said; read as mV"]


@pytest.mark.parametrize(
    ("unit", "age", "years"),
    [("YEARS", "17", 17), ("MONTHS", "30", 2), ("DAYS", "", 61), ("", "44", 44), ("YEARS", "x", 61)],
)
def test_ages_of_muse(unit, age, years, tmp_path):
    content = files.muse(ECG[OF_EIGHT], age=age).replace(b"<AgeUnits>YEARS", b"<AgeUnits>" + unit.encode())
    assert wb.read_record(put(tmp_path, content)).metadata["age"] == years


def test_an_impossible_age_costs_itself(tmp_path):
    metadata = wb.read_record(put(tmp_path, files.muse(ECG[OF_EIGHT], age="612"))).metadata
    assert "age" not in metadata
    assert metadata["flags"] == ["an age that is not from 0 to 130 years is left out"]


def test_an_xml_that_names_the_wrong_encoding_is_read(tmp_path):
    right = files.muse(ECG[OF_EIGHT], who=WHO | {"last": "Müller"})
    for declared in (b"UTF-8", b"UTF-16", b"x-unheard-of", b"ascii"):
        record = wb.read_record(put(tmp_path, right.replace(b"ISO-8859-1", declared)))
        assert record.leads == EIGHT


# ---------------------------------------------------------------- nobody's name


def holds(text):
    words = [w for v in WHO.values() for w in (v, v.replace("-", ""), *v.split())] + [
        "03-04-1950",
        "06-07-2011",
        "2009",
    ]
    return [w for w in words if w.lower() in text.lower()]


@pytest.mark.parametrize("kind", WRITTEN)
def test_no_name_number_date_place_or_staff_is_kept(kind, tmp_path):
    content = WRITTEN[kind][0]
    if kind.startswith(("EDF", "BDF")):
        person = f"{WHO['number']} F 04-MAR-1950 {WHO['last']}"
        content = edf_of(ECG, kind="EDF+C", person=person, recording=f"Startdate 07-JUN-2011 X {WHO['staff']} X")
    else:
        plain = content.decode("utf-16") if content[:2] in (b"\xff\xfe", b"\xfe\xff") else content.decode("latin-1")
        assert len(holds(plain)) >= 6  # it is planted
    path = put(tmp_path, content)
    read = channels(path)
    assert not holds(str((read.metadata, read.names, read.units)))
    assert not holds(str(wb.read_record(path).metadata))


@pytest.mark.filterwarnings("ignore:.*limb leads disagree")
@pytest.mark.parametrize("kind", WRITTEN)
def test_messages_of_damaged_files_hold_no_name(kind, tmp_path):
    content, rng = WRITTEN[kind][0], np.random.default_rng(0)
    refused = 0
    for cut in np.unique(np.geomspace(1, len(content) - 1, 60).astype(int)):
        spoilt = bytearray(content[:cut])
        for at in rng.integers(0, len(spoilt), 3):
            spoilt[at] = rng.integers(256)
        try:
            text = str(wb.read_record(put(tmp_path, bytes(spoilt))).metadata)
        except wb.RecordError as e:
            text, refused = str(e), refused + 1
        assert not holds(text), text
    assert refused > 5


def test_statements_that_hold_a_date_or_a_person_are_left_out():
    lines = ["Sinus rhythm.", "compared with ECG of 12-JAN-2009 10:11", "Confirmed by SMITH, J", "T wave abnormality",
             "Jane's ECG", "Read by J", "beats followed by pauses", "Abnormal ECG",
             "seen 3/4/11", "sinus rhythm has replaced AF since March 3, 2011", "QT long"]  # fmt: skip
    left = "Sinus rhythm; T wave abnormality; beats followed by pauses; Abnormal ECG; QT long"
    assert clinical(lines, ["Jane Doe", "ECG room"]) == left


def test_a_person_is_the_same_in_every_format_and_only_on_this_machine(tmp_path, monkeypatch):
    made = {wb.read_record(put(tmp_path, WRITTEN[kind][0])).metadata["patient"] for kind in PEOPLE}
    assert len(made) == 1
    assert made == {pseudonym(f" {WHO['number'].lower()} ")}
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    assert pseudonym(WHO["number"]) not in made
    (key,) = tmp_path.rglob("*.key")
    assert key.stat().st_mode & 0o077 == 0
    assert len(list(key.parent.iterdir())) == 1


def test_a_number_of_nobody_is_no_pseudonym():
    assert [pseudonym(x) for x in (None, "", " ", "0000", "?", "Unknown", "ANONYMOUS", "anonymized", "X", "n/a")] == [
        None
    ] * 10
    assert len({pseudonym(str(k)) for k in range(1, 1000)}) == 999


def test_a_number_with_leading_zeros_is_another_and_known_to_be_alike():
    whole, short, other = (pseudonym(x) for x in ("00012345", "12345", "0012346"))
    assert len({whole, short, other}) == 3
    assert spelling(whole) == spelling(short) == short != spelling(other)
    assert re.fullmatch("p[0-9a-f]{16}-[0-9a-f]{4}", whole)


# ---------------------------------------------------------------- what is no ECG, and what is an attack


OTHER = {
    "an XML": b"<?xml version='1.0'?><!-- <RestingECG> --><catalog><RestingECG/></catalog>",
    "an image": Path(get_testdata_file("CT_small.dcm")).read_bytes(),
    "text": b"a,b\n1,2\n",
    "nothing": b"",
    "zeros": bytes(5000),
}


@pytest.mark.parametrize("kind", OTHER)
def test_what_is_no_ecg_is_named_with_the_way(kind, tmp_path):
    path = put(tmp_path, OTHER[kind])
    assert format_of(path) is None
    with pytest.raises(wb.RecordError, match=r"wb\.Record\(signal, fs, leads\)") as e:
        wb.read_record(path)
    assert all(f.name in str(e.value) for f in FORMATS)
    assert {"an XML": "an XML of 'catalog'", "an image": "a DICOM, but of no ECG", "nothing": "empty"}.get(
        kind, ""
    ) in str(e.value)


@pytest.mark.parametrize(
    ("kind", "what"), [("1.3", "ambulatory ECG"), ("2.1", "hemodynamic"), ("7.1", "EEG"), ("99", "another kind")]
)
def test_other_waveforms_of_dicom_are_refused_with_the_reason(kind, what, tmp_path):
    content = files.dicom([("RHYTHM", "ORIGINAL", ECG, 500, {})], kind="1.2.840.10008.5.1.4.1.1.9." + kind)
    with pytest.raises(wb.RecordError, match=f"{what}.*12-lead and general ECGs are read"):
        wb.read_record(put(tmp_path, content))


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(wb.RecordError, match=r'pip install "ecgwb\[formats\]"'):
        wb.read_record(put(tmp_path, WRITTEN["DICOM"][0]))


def refused_within(path, megabytes, match):
    """Reading is refused, and Python's memory grows by no more."""
    tracemalloc.start()
    try:
        with pytest.raises(wb.RecordError, match=match):
            wb.read_record(path)
        assert tracemalloc.get_traced_memory()[1] < megabytes * 2**20
    finally:
        tracemalloc.stop()


ROOTS = {"RestingECG": b"</RestingECG>", "AnnotatedECG": b"</AnnotatedECG>", "restingecgdata": b"</restingecgdata>"}


@pytest.mark.parametrize("root", ROOTS)
def test_no_entity_is_expanded_and_no_file_opened(root, tmp_path):
    secret = put(tmp_path, b"secret", "secret")
    laughs = "".join(f'<!ENTITY l{k} "{10 * f"&l{k - 1};"}">' for k in range(1, 10))
    for declared in (f'<!ENTITY l0 "lol">{laughs}', f'<!ENTITY l9 SYSTEM "{secret.as_uri()}">',
                     f'<!ENTITY % l9 SYSTEM "{secret.as_uri()}"> %l9;'):  # fmt: skip
        content = f"<!DOCTYPE {root} [{declared}]><{root}><a>&l9;</a></{root}>".encode()
        refused_within(put(tmp_path, content), 5, "declares entities")


@pytest.mark.parametrize("root", ROOTS)
def test_xml_without_number_or_end_is_refused(root, tmp_path):
    begin, end = f"<{root}>".encode(), ROOTS[root]
    refused_within(put(tmp_path, begin + b"<a>" * 10_000), 20, "more than 100 elements")
    refused_within(put(tmp_path, begin + b"<a/>" * 200_000 + end), 60, "no ECG has")
    refused_within(put(tmp_path, begin + b"<a>"), 1, "damaged or cut short")


def patched(content, at, fmt, value):
    out = bytearray(content)
    np.frombuffer(out, np.uint8)
    out[at : at + len(np.array(value, fmt).tobytes())] = np.array(value, fmt).tobytes()
    return bytes(out)


def test_pointers_and_counts_of_scp_are_held_against_the_file(tmp_path):
    content = files.scp(ECG, order=1, packed=True)
    pointer = 6 + 16 + 10 * 6  # of section 6
    for at, value in ((pointer + 2, 2**31), (pointer + 6, 2**32 - 5), (pointer + 6, 3)):
        refused_within(put(tmp_path, patched(content, at, "<u4", value)), 10, "section 6|no section 3 or 6")
    leads = content.index(b"\x01\0\0\0\x88\x13\0\0\x01")  # lead I, samples 1 to 5000
    refused_within(put(tmp_path, patched(content, leads + 4, "<u4", 2**32 - 1)), 10, "is sample 1 to 4294967295")
    refused_within(put(tmp_path, patched(content, leads + 4, "<u4", 50_000)), 60, "Huffman code ends")


def test_impossible_headers_of_edf_are_refused(tmp_path):
    content = edf_of(ECG)
    for at, value in ((252, b"9999"), (252, b"-1  "), (184, b"99999999"), (244, b"0       "), (244, b"-1      "),
                      (244, b"nan     ")):  # fmt: skip
        refused_within(put(tmp_path, content[:at] + value + content[at + len(value) :]), 5, "header|format")
    samples = 256 + 12 * (16 + 80 + 8 * 5 + 80)
    huge = content[:samples] + b"99999999" + content[samples + 8 :]
    refused_within(put(tmp_path, huge), 5, "a data record has")
    record = wb.read_record(put(tmp_path, content[:236] + b"99999999" + content[244:]))
    assert record.metadata["flags"] == ["cut short: 10 of 99999999 data records"]


def test_wrong_lengths_of_dicom_are_refused_or_said(tmp_path):
    content = WRITTEN["DICOM"][0]
    at = content.index(b"\x00\x54\x10\x10OW") + 8  # length of the first group's samples
    with pytest.raises(wb.RecordError, match="no ECG samples"):
        wb.read_record(put(tmp_path, patched(content, at, "<u4", 0)))
    for length in (2**31, 2**32 - 2):  # to the end of the file, of which what was promised is taken
        record = wb.read_record(put(tmp_path, patched(content, at, "<u4", length)))
        assert np.abs(record.signal - ECG).max() <= 1.25
    samples = content.index(b"\x3a\x00\x10\x00UL") + 8
    record = wb.read_record(put(tmp_path, patched(content, samples, "<u4", 2**32 - 1)))
    assert record.metadata["flags"] == ["cut short: 5000 of 4294967295 samples"]


def test_what_is_too_large_for_one_ecg_is_not_opened(tmp_path):
    path = put(tmp_path, b"<RestingECG>")
    with path.open("r+b") as file:
        file.truncate(300 * 2**20)  # a sparse file
    refused_within(path, 1, "it has 300 MB")


def test_a_folder_of_all_formats_is_a_cohort_of_nobodys_name(tmp_path):
    for kind, (content, *_) in WRITTEN.items():
        put(tmp_path, content, kind.replace(" ", "_"))
    put(tmp_path, OTHER["an XML"], "other.xml")
    put(tmp_path, OTHER["an image"], "image.dcm")
    put(tmp_path, WRITTEN["DICOM"][0][:3000], "cut.dcm")
    holter = files.dicom([("RHYTHM", "ORIGINAL", ECG, 500, {})], kind="1.2.840.10008.5.1.4.1.1.9.1.3")
    put(tmp_path, holter, "holter.dcm")
    with pytest.warns(UserWarning, match=r"of 17 recordings do not say whose it is|are there more than once"):
        cohort = wb.build_cohort(tmp_path)
    assert cohort.sizes["record"] == len(WRITTEN)
    assert set(wb.excluded(cohort)["record"]) == {"cut", "holter"}
    assert len(set(cohort["patient"].values.tolist())) == 4  # one person, and three files that name nobody
    for name in ("pr", "qrs", "qt"):
        assert np.ptp(cohort[name].values.astype(float)) <= 4
    text = str(cohort.attrs) + wb.excluded(cohort).to_csv()
    text += "".join(str(v.values.tolist()) for v in cohort.variables.values() if v.dtype.kind in "OUST")
    assert "Left ventricular hypertrophy" in text
    assert not holds(text.replace(str(tmp_path), ""))
