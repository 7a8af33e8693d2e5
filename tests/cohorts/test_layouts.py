"""Folders in the layouts of known data sets, made of real signals."""

import warnings

import numpy as np
import pandas as pd
import pytest
import wfdb

import ecgwb as wb
from ecgwb.cohorts.layouts import of_mimic
from ecgwb.cohorts.sources import list_source, unpack
from ecgwb.recordings import snomed
from ecgwb.recordings.channels import Told
from ecgwb.recordings.record import LEADS12, pick_leads


def ptb(n):
    """Record n of PTB-XL's first 500, (12, 5000) µV at 500 Hz."""
    return wb.read_record(unpack("ptbxl500") / "records500" / "00000" / f"{n:05d}_hr").signal


def build(*args, **more):
    """A cohort and the warnings that came with it."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        cohort = wb.build_cohort(*args, **more)
    return cohort, [str(w.message) for w in seen if issubclass(w.category, UserWarning)]


def write(folder, name, uv, leads, gain):
    folder.mkdir(parents=True, exist_ok=True)
    n, stored = len(uv), np.asarray(uv * gain / 1000).round().astype(int)
    wfdb.wrsamp(
        name, fs=500, units=["mV"] * n, sig_name=list(leads), d_signal=stored.T, fmt=["16"] * n, adc_gain=[gain] * n,
        baseline=[0] * n, write_dir=str(folder),
    )  # fmt: skip


# ---------------------------------------------------------------- MIMIC-IV-ECG

MIMIC = [(10001725, 41420867, 1), (10001725, 41420999, 1), (10002013, 41500000, 3)]


@pytest.fixture
def mimic(tmp_path):
    """Its order of leads (aVF before aVL), gain and lists."""
    rows = []
    order = [0, 1, 2, 3, 5, 4, *range(6, 12)]
    for subject, study, n in MIMIC:
        path = f"files/p{str(subject)[:4]}/p{subject}/s{study}/{study}"
        write((tmp_path / path).parent, str(study), ptb(n)[order], [LEADS12[k] for k in order], 200.0)
        row = {"subject_id": subject, "study_id": study, "file_name": study, "ecg_time": "2180-07-23 08:44:00"}
        rows.append(row | {"path": path})
    pd.DataFrame(rows).to_csv(tmp_path / "record_list.csv", index=False)
    return tmp_path


def measurements(folder):
    table = pd.DataFrame({"subject_id": [s for s, _, _ in MIMIC], "study_id": [s for _, s, _ in MIMIC]})
    table = table.assign(cart_id=6848296, ecg_time="2180-07-23 08:44:00", bandwidth="0.005-150 Hz", p_axis=5)
    table["report_0"] = ["Sinus rhythm", "Atrial fibrillation.", "Sinus rhythm"]
    table["report_1"] = ["Possible LVH; consider", None, None]
    table["report_10"] = ["Borderline ECG", None, None]
    for name, cells in {
        "rr_interval": [800, 659, 0], "p_onset": [40, 29999, 40], "p_end": [150, 29999, 150],
        "qrs_onset": [190, 30, 29999], "qrs_end": [280, 120, 29999], "t_end": [590, 29999, 500],
    }.items():  # fmt: skip
        table[name] = cells
    table.to_csv(folder / "machine_measurements.csv", index=False)


def test_a_data_set_is_known_in_the_folder_of_its_version(mimic):
    outer = mimic / "mimic-iv-ecg"
    (outer / "1.0").mkdir(parents=True)
    for part in ("files", "record_list.csv"):
        (mimic / part).rename(outer / "1.0" / part)
    assert next(iter(list_source(outer).items)).metadata["patient"] == "mimic-10001725"


@pytest.mark.parametrize("name", ["", "record_list.csv"])
def test_mimic_knows_its_people_by_subject(mimic, name):
    cohort, said = build(mimic / name)
    assert cohort["record"].values.tolist() == ["41420867", "41420999", "41500000"]
    assert cohort["patient"].values.tolist() == ["mimic-10001725", "mimic-10001725", "mimic-10002013"]
    assert "ODbL" in cohort.attrs["credit"]
    assert not any("2180" in str(x) for x in [*cohort.attrs.values(), *said, cohort["flags"].values])
    record = wb.read_record(mimic / "files/p1000/p10001725/s41420867/41420867")
    np.testing.assert_allclose(record.signal[record.leads.index("aVL")], ptb(1)[4], atol=2.6)


def test_mimic_measurements_and_reports_come_along(mimic):
    measurements(mimic)
    first, second, third = (item.metadata for item in list_source(mimic).items)
    assert first["measured"] == {"pr": 150.0, "qrs": 90.0, "qt": 400.0, "hr": 75.0}
    assert first["diagnosis"] == "Sinus rhythm; Possible LVH, consider; Borderline ECG"
    assert second["measured"] == {"qrs": 90.0, "hr": pytest.approx(60_000 / 659)}
    assert second["diagnosis"] == "Atrial fibrillation"
    assert "measured" not in third


def test_mimic_ages_and_sexes_come_from_the_list_or_the_patients_beside_it(mimic):
    people = {"subject_id": [10001725, 10002013], "gender": ["F", "M"], "anchor_age": [46, 91], "anchor_year": 2178}
    pd.DataFrame(people).assign(dod=None).to_csv(mimic / "patients.csv", index=False)
    first, _, third = (item.metadata for item in list_source(mimic).items)
    assert (first["age"], first["sex"]) == (48.0, "female")
    assert (third["age"], third["sex"]) == (90.0, "male")


def test_a_list_of_mimic_that_names_a_file_elsewhere_or_nobody(mimic, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere, "x", ptb(5), LEADS12, 200.0)
    table = pd.read_csv(mimic / "record_list.csv")
    rows = [{"study_id": 7, "path": elsewhere / "x"}, {"path": table["path"][0]}, {"study_id": 8}]
    table = pd.concat([table.assign(subject_id=[10001725, None, None]), pd.DataFrame(rows)])
    table.to_csv(mimic / "record_list.csv", index=False)
    cohort, said = build(mimic)
    assert cohort["record"].values.tolist() == ["41420867", "41420999", "41500000"]
    assert cohort["patient"].values.tolist() == ["mimic-10001725", "41420999", "41500000"]
    assert any("2 of 3 recordings do not say whose it is" in x for x in said)
    assert dict(wb.excluded(cohort)[["record", "reason"]].values) == {
        "7": "its path leads out of its folder", "row 5": "it has no study_id", "8": "its files are not here",
    }  # fmt: skip


def test_a_study_that_the_list_has_twice_costs_its_second_row(mimic):
    table = pd.read_csv(mimic / "record_list.csv")
    pd.concat([table, table.iloc[:1]]).to_csv(mimic / "record_list.csv", index=False)
    cohort, said = build(mimic)
    assert cohort["record"].values.tolist() == ["41420867", "41420999", "41500000"]
    assert wb.excluded(cohort).values.tolist() == [["41420867", "list", "the list has it again; its first row is used"]]
    assert any("1 recording of the list is left out, such as '41420867': the list has it again" in x for x in said)


def test_tables_of_mimic_with_spaces_texts_and_bad_cells_cost_no_more_than_these(mimic):
    table = pd.read_csv(mimic / "record_list.csv", dtype=str)
    table["subject_id"] = ["s1", "s1", "10002013"]
    table.columns = [f" {c}" for c in table.columns]
    table.to_csv(mimic / "record_list.csv", index=False)
    (mimic / "patients.csv").write_text("subject_id,gender,anchor_age,anchor_year\ns1,F,50,abc\n10002013,M,60,2179\n")
    measurements(mimic)
    cohort, _ = build(mimic)
    assert cohort["patient"].values.tolist() == ["mimic-s1", "mimic-s1", "mimic-10002013"]
    assert cohort["age"].values.tolist() == [50, 50, 61]
    assert cohort["sex"].values.tolist() == ["female", "female", "male"]
    assert np.isfinite(cohort["qt_file"].values).any()
    (mimic / "patients.csv").write_text('subject_id,gender\n"1,F\n1,2,3\n')
    with pytest.raises(wb.RecordError, match=r"patients\.csv cannot be read as a CSV"):
        wb.build_cohort(mimic)


def test_ptbxl_opens_no_file_elsewhere_and_a_bad_cell_costs_itself(tmp_path):
    folder = tmp_path / "ptb"
    write(folder / "r", "2", ptb(2), LEADS12, 1000.0)
    write(tmp_path / "elsewhere", "1", ptb(1), LEADS12, 1000.0)
    table = pd.DataFrame({"ecg_id": [2], "patient_id": [np.nan], "age": ["x"], "sex": [1], "filename_hr": ["r/2"]})
    table.assign(strat_fold=[2.5]).to_csv(folder / "ptbxl_database.csv", index=False)
    cohort, _ = build(folder)
    assert cohort["patient"].values.tolist() == ["2"]
    assert cohort["patient_named"].values.tolist() == [0]
    assert cohort["fold"].values.tolist() == [-1]
    for low in ("../elsewhere/1", tmp_path / "elsewhere" / "1"):
        table.assign(filename_hr="r/none", filename_lr=str(low)).to_csv(folder / "ptbxl_database.csv", index=False)
        with pytest.raises(wb.RecordError, match="outside its own folder"):
            wb.build_cohort(folder)


def test_the_12sl_beats_of_ptbxl_plus_are_the_files_own_beats(tmp_path):
    folder = tmp_path / "ptb-xl"
    beats = tmp_path / "ptb-xl-plus" / "median_beats" / "12sl" / "00000"
    for n in (1, 2, 3):
        write(folder / "r", str(n), ptb(n), LEADS12, 1000.0)
    table = pd.DataFrame({"ecg_id": [1, 2, 3], "patient_id": [1, 2, 3], "age": 50, "sex": 0})
    table.assign(filename_hr=[f"r/{n}" for n in (1, 2, 3)]).to_csv(folder / "ptbxl_database.csv", index=False)
    ours = wb.representative_beat(wb.Record(ptb(1), 500, LEADS12))["beat"]
    beat = pick_leads(wb.Record(1.5 * ours.values, 500, wb.LEADS), LEADS12).signal
    beats.mkdir(parents=True)
    wfdb.wrsamp(
        "00001_medians", fs=500, units=["mV"] * 12, sig_name=list(LEADS12), fmt=["32"] * 12, adc_gain=[2e5] * 12,
        d_signal=(200 * beat).round().astype(int).T, baseline=[0] * 12, write_dir=str(beats),
    )  # fmt: skip
    header = beats / "00001_medians.hea"  # of PTB-XL+ the first line has a folder, which wfdb refuses
    header.write_text(f"ge_median_beats_wfdb/{header.read_text()}")
    (beats / "00003_medians.hea").write_text("damaged")
    first, second, third = (item.read() for item in list_source(folder).items)
    np.testing.assert_allclose(first.median.signal, beat, atol=0.01)
    assert second.median is third.median is None
    assert any(f.startswith("the 12SL program's beat cannot be used: ") for f in third.metadata["flags"])
    cohort, _ = build(folder, beats="file")
    assert cohort["record"].values.tolist() == ["1"]
    assert wb.excluded(cohort)["reason"].str.contains("came without a representative beat").all()
    size = np.ptp(cohort["beat"].sel(record="1", lead="II").values) / np.ptp(ours.sel(lead="II").values)
    assert size == pytest.approx(1.5, rel=0.02)


def test_mimic_recordings_that_were_not_fetched_are_left_out_with_a_count(mimic):
    table = pd.read_csv(mimic / "record_list.csv")
    more = table.iloc[[0, 0]].assign(study_id=[7, 8], path=["files/7", "../secret"])
    pd.concat([table, more]).to_csv(mimic / "record_list.csv", index=False)
    cohort, said = build(mimic)
    assert cohort.sizes["record"] == 3
    assert wb.excluded(cohort)["record"].tolist() == ["7", "8"]
    assert any("2 recordings of the list are left out, such as '7': its files are not here" in x for x in said)
    pd.concat([more]).to_csv(mimic / "record_list.csv", index=False)
    with pytest.raises(wb.RecordError, match="2 recordings of the list are left out"):
        build(mimic)


def test_a_long_list_of_mimic_is_not_walked_before_its_turn(mimic):
    n = 100_000
    path = pd.read_csv(mimic / "record_list.csv")["path"][0]
    table = pd.DataFrame({"subject_id": np.arange(n), "study_id": np.arange(n), "path": path})
    table.to_csv(mimic / "record_list.csv", index=False)
    source = of_mimic(mimic / "record_list.csv")
    (mimic / f"{path}.hea").unlink()
    assert next(iter(source.items), None) is None  # looked for now, not when the list was read
    assert source.left_out.n == n
    assert len(source.left_out.rows()) == 1001


# ---------------------------------------------------------------- CODE-15%


@pytest.fixture
def code15(tmp_path):
    """Three exams of 7.3 s and 10.24 s in one part, padded as there, a filler row, and exams of a part that is not."""
    h5py = pytest.importorskip("h5py")
    tracings = np.zeros((4, 4096, 12), np.float32)
    for row, (n, length) in enumerate([(1, 2934), (3, 3600), (4, 3900)]):
        x = np.stack([np.interp(np.arange(length) / 400, np.arange(5000) / 500, lead) for lead in ptb(n)]) / 1000
        start = (4096 - length) // 2
        tracings[row, start : start + length] = x.T
    with h5py.File(tmp_path / "exams_part0.hdf5", "w") as file:
        file["exam_id"] = [1169160, 2873686, 168405, 0]
        file["tracings"] = tracings
    table = pd.DataFrame(
        {
            "exam_id": [168405, 1169160, 2873686, 99, 5, 6],
            "age": [67, 38, 73, 60, 50, 50],
            "is_male": [True, False, True, True, False, False],
            "nn_predicted_age": 60.5,
            **dict.fromkeys(("1dAVb", "LBBB", "SB", "ST"), False),
            "RBBB": [True, *[False] * 5],
            "AF": [True, *[False] * 5],
            "patient_id": [8, 7, 7, 6, 5, 5],
            "death": None,
            "timey": 2.1,
            "normal_ecg": [False, True, True, False, False, False],
            "trace_file": [*["exams_part0.hdf5"] * 4, *["exams_part13.hdf5"] * 2],
        }
    )
    table.to_csv(tmp_path / "exams.csv", index=False)
    return tmp_path


def test_code15_is_read_by_its_table(code15):
    cohort, said = build(code15)
    assert cohort["record"].values.tolist() == ["168405", "1169160", "2873686"]
    assert cohort["patient"].values.tolist() == ["code15-8", "code15-7", "code15-7"]
    assert cohort["age"].values.tolist() == [67, 38, 73]
    assert cohort["sex"].values.tolist() == ["male", "female", "male"]
    assert cohort["diagnosis"].values.tolist() == ["RBBB; AF", "normal ECG", "normal ECG"]
    left_out = dict(wb.excluded(cohort)[["record", "reason"]].values)
    assert left_out == {
        "99": "it is not in exams_part0.hdf5",
        "exams_part13.hdf5": "its 2 exams are left out: the file is not here",
    }
    assert any("3 recordings of the list are left out" in x for x in said)
    assert any("CODE-15% states no unit" in x for x in said)


def test_code15_padding_is_no_signal_and_its_unit_can_be_told(code15):
    first = next(iter(list_source(code15).items)).read()
    assert (first.signal.shape, first.fs) == ((12, 3900), 400)
    assert np.ptp(first.signal[1]) == pytest.approx(np.ptp(ptb(4)[1]), rel=0.05)
    told = list_source(code15, told=Told(unit="V"))
    np.testing.assert_allclose(next(iter(told.items)).read().signal, 1000 * first.signal)
    assert told.notes.lines() == []


def test_the_list_of_code15_is_a_source_and_its_leads_can_be_told(code15):
    table = pd.read_csv(code15 / "exams.csv")
    table.iloc[[1, 2, 1]].to_csv(code15 / "some.csv", index=False)
    source = list_source(code15 / "some.csv", told=Told(leads={"V1": "V2", "V2": "V1"}))
    one, other = source.items
    assert (one.record_id, other.record_id) == ("1169160", "2873686")
    assert one.metadata["patient"] == "code15-7"
    assert source.left_out.rows() == [
        {"record": "1169160", "step": "list", "reason": "the list has it again; its first row is used"}
    ]
    plain = next(i for i in list_source(code15).items if i.record_id == "1169160").read()
    turned = one.read()
    assert plain.leads == LEADS12
    np.testing.assert_array_equal(turned.signal[turned.leads.index("V2")], plain.signal[plain.leads.index("V1")])


def test_a_damaged_part_of_code15_costs_its_exams_alone(code15):
    whole = (code15 / "exams_part0.hdf5").read_bytes()
    (code15 / "exams_part13.hdf5").write_bytes(whole[:3000])
    cohort, _ = build(code15)
    assert cohort.sizes["record"] == 3
    assert "fetch the file again" in wb.excluded(cohort)["reason"].str.cat()


def test_exams_without_a_patient_are_not_one_persons(code15):
    table = pd.read_csv(code15 / "exams.csv").assign(patient_id=[None, None, 7, 6, 5, 5])
    table.to_csv(code15 / "exams.csv", index=False)
    cohort, said = build(code15)
    assert cohort["patient"].values.tolist() == ["168405", "1169160", "code15-7"]
    assert any("2 of 3 recordings do not say whose it is" in x for x in said)


# ---------------------------------------------------------------- collections of WFDB with codes


def header_of(n, age, sex, codes):
    return [f"Age: {age}", f"Sex: {sex}", f"Dx: {codes}", "Rx: Unknown", "Hx: Unknown", "Sx: Unknown"]


def as_mat(folder, name, uv, fs, comments):
    """A record as in the Challenges: 16+24 in a MATLAB file, with time and date, and with comments close to '#'."""
    folder.mkdir(parents=True, exist_ok=True)
    x = np.asarray(uv).round().astype("<i2")
    head = np.array([30, *x.shape, 0, 4], "<i4").tobytes() + b"val\0"  # MATLAB 4: int16, rows, columns, real, name
    (folder / f"{name}.mat").write_bytes(head + x.T.tobytes())
    lines = [f"{name} {len(x)} {fs} {x.shape[1]} 05-May-2020 14:50:55"]
    lines += [
        f"{name}.mat 16+24 1000/mV 16 0 {row[0]} {row.sum() % 32768} 0 {lead}"
        for row, lead in zip(x, LEADS12, strict=False)
    ]
    (folder / f"{name}.hea").write_text("\n".join([*lines, *(f"#{c}" for c in comments)]) + "\n")


def resampled(uv, fs, seconds):
    n = int(fs * seconds)
    return np.stack([np.interp(np.arange(n) / fs % 9.99, np.arange(5000) / 500, lead) for lead in uv])


@pytest.fixture
def challenge(tmp_path):
    """Seven collections, each with its rate and length; St Petersburg's half hour shortened to two minutes."""
    root = tmp_path / "training"
    for folder, name, fs, seconds, head in [
        ("cpsc_2018/g1", "A0001", 500, 15, header_of(1, 74, "Male", "59118001")),
        ("cpsc_2018_extra/g1", "Q0001", 500, 5.2, header_of(1, "NaN", "Female", "164867002,429622005")),
        ("st_petersburg_incart/g1", "I0001", 257, 120, header_of(1, 65, "F", "6374002")),
        ("ptb/g1", "S0001", 1000, 110, header_of(1, 81, "Female", "164865005")),
        ("ptb-xl/g1", "HR00001", 500, 10, header_of(1, 56, "Female", "426783006")),
        ("georgia/g1", "E00001", 500, 10, header_of(1, "NaN", "Unknown", "284470004,999999999")),
        ("chapman_shaoxing/g1", "JS00001", 500, 10, header_of(1, -1, "Male", "164889003,59118001,164934002")),
    ]:
        as_mat(root / folder, name, resampled(ptb(1), fs, seconds), fs, head)
    return root


def test_a_challenge_collection_is_read_without_loss(challenge):
    cohort, said = build(challenge)
    assert wb.excluded(cohort).empty
    table = cohort[["age", "sex", "diagnosis"]].to_dataframe()
    assert table.loc["A0001", ["age", "sex", "diagnosis"]].tolist() == [74, "male", "right bundle branch block"]
    assert table.loc["Q0001", "diagnosis"] == "old myocardial infarction; ST depression"
    assert table.loc["E00001", "diagnosis"] == "premature atrial contraction; 999999999"
    assert table.loc["I0001", ["age", "sex"]].tolist() == [65, "female"]
    assert table["age"].isna().sum() == 3
    assert (table["sex"] == "").sum() == 1
    assert cohort["hr"].values == pytest.approx(float(cohort["hr"].sel(record="HR00001")), abs=3)
    assert [x for x in said if "whose" in x] == [x for x in said if "none of the 7 recordings says whose" in x]
    assert len([x for x in said if "whose" in x]) == 1
    assert "Challenge 2021" in cohort.attrs["credit"]


def test_a_challenge_whose_people_a_table_names_says_nothing_of_people(challenge):
    found = list_source(challenge, pd.DataFrame({"record": ["A0001", "Q0001"], "patient": ["a", "b"]}))
    assert found.notes.lines() == []
    named = {item.record_id: item.metadata["patient"] for item in found.items if "patient" in item.metadata}
    assert named == {"A0001": "a", "Q0001": "b"}


def test_a_challenge_is_known_though_its_first_header_has_no_code(tmp_path):
    for n, codes in ((1, "Unknown"), (2, "426177001")):
        as_mat(tmp_path / "georgia" / f"g{n}", f"E0000{n}", ptb(n), 500, header_of(n, 50, "Male", codes))
    cohort, _ = build(tmp_path / "georgia")
    assert "Challenge 2021" in cohort.attrs["credit"]


def test_chapman_has_one_recording_a_person(tmp_path):
    for n, folder in ((1, "01/010"), (2, "01/011")):
        head = header_of(n, 60 + n, "Male", "426177001,164934002")
        as_mat(tmp_path / "WFDBRecords" / folder, f"JS0000{n}", ptb(n), 500, head)
    (tmp_path / "ConditionNames_SNOMED-CT.csv").write_text("Acronym Name,Full Name,Snomed_CT\nSB,Sinus,426177001\n")
    (tmp_path / "RECORDS").write_text("WFDBRecords/01/010/\n")
    cohort, said = build(tmp_path)
    inside, _ = build(tmp_path / "WFDBRecords")
    assert (inside["patient"].values == cohort["patient"].values).all()
    assert inside.attrs["credit"] == cohort.attrs["credit"]
    assert cohort["patient"].values.tolist() == ["chapman-JS00001", "chapman-JS00002"]
    assert cohort["diagnosis"].values.tolist() == ["sinus bradycardia; T wave abnormal"] * 2
    assert "10.1038/s41597-020-0386-x" in cohort.attrs["credit"]
    assert not any("whose" in x for x in said)


def test_codes_become_names_each_once_and_texts_stay():
    assert snomed.statements("426783006, 164889003,426783006") == ["sinus rhythm", "atrial fibrillation"]
    assert snomed.statements("123456789") == ["123456789"]
    assert snomed.statements("Sinus rhythm 426783006") == ["Sinus rhythm 426783006"]
    assert len(snomed.names()) == 133
    assert len(set(snomed.names().values())) == 133


# ---------------------------------------------------------------- arrays as sources


def test_what_files_do_not_say_is_told_to_a_cohort(tmp_path):
    folder = tmp_path / "arrays"
    folder.mkdir()
    for n in (1, 2):
        np.save(folder / f"p{n}.npy", ptb(n) / 1000)
    said = {"leads": list(LEADS12), "unit": "mV"}
    cohort, _ = build(folder, tmp_path / "c.zarr", fs=500, **said)
    assert cohort["record"].values.tolist() == ["p1", "p2"]
    with pytest.raises(wb.RecordError, match="does not name its leads"):
        build(folder)
    with pytest.raises(wb.RecordError, match="exists already"):
        build(folder, tmp_path / "c.zarr", fs=499, **said)


def test_each_recording_of_a_file_of_many_is_a_record(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "many.h5", "w") as file:
        file["ecg"] = np.stack([ptb(1), ptb(2), ptb(3)])
        file["ids"] = ["a", "b", "c"]
        file.attrs.update({"fs": 500, "leads": list(LEADS12), "unit": "uV"})
    for source in (tmp_path, tmp_path / "many.h5"):
        cohort, _ = build(source)
        assert [x.rpartition("/")[2] for x in cohort["record"].values] == ["a", "b", "c"]
