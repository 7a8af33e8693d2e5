import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import ecgwb as wb
from ecgwb.cohorts import sources


def test_both_embedded_cohorts_account_for_every_record(ludb, ptbxl):
    for cohort, total in ((ludb, 200), (ptbxl, 488)):
        assert cohort.sizes["record"] + len(wb.excluded(cohort)) == total
        assert set(wb.excluded(cohort).columns) == {"record", "step", "reason"}


def test_the_cohort_has_the_documented_shape(ludb):
    assert ludb["beat"].dims == ("record", "lead", "time")
    assert ludb["beat"].dtype == np.float32
    assert tuple(ludb["lead"].values) == wb.LEADS
    assert (float(ludb.time[0]), float(ludb.time[-1]), ludb.sizes["time"]) == (-500.0, 698.0, 600)
    assert tuple(ludb["landmark"].values) == wb.LANDMARKS
    assert "rhythm" not in ludb
    for name in ("age", "sex", "patient", "diagnosis", "fold", "n_beats"):
        assert ludb[name].dims == ("record",)
    assert {"ludb"} == {ludb.attrs["source"]}
    assert len(ludb.attrs["sha256"]) == 64


def test_a_cohort_is_named_with_its_people_and_recordings(ludb, ptbxl):
    assert wb.cohorts.in_words(ludb) == "LUDB, 200 people"
    assert wb.cohorts.in_words(ptbxl) == "PTB-XL-500, 459 people in 488 recordings"
    assert wb.cohorts.in_words(ludb.isel(record=[0, 1]).assign_attrs(source="mine")) == "mine, 2 people"


def test_people_are_those_of_the_data_sets(ludb, ptbxl):
    sexes = pd.Series(ludb["sex"].values).value_counts()
    assert sexes.to_dict() == {"male": 115, "female": 85}
    assert len(np.unique(ptbxl["patient"])) == 459
    assert int((ptbxl["sex"] == "male").sum()) == int(ptbxl["male"].sum())
    assert float(ptbxl["age"].max()) <= 91
    assert (ludb["fold"].values == ludb["record"].values.astype(int) % 5).all()


def test_voltages_of_the_two_cohorts_are_alike(ludb, ptbxl):
    # LUDB's integers are taken as µV because its people then look like PTB-XL's.
    for target in ("r_v5", "t_v5"):
        ratio = float(ludb[target].median() / ptbxl[target].median())
        assert 0.8 < ratio < 1.25


def test_rhythm_holds_the_beats(ptbxl):
    assert ptbxl.sizes["sample"] == 5000
    one = ptbxl.isel(record=3)
    r = one["cycle_fiducial"].sel(landmark="R").values[one["cycle_used"].values == 1]
    at = np.round(r / 2).astype(int)[:, None] + np.arange(-250, 350)
    beat = np.median(one["rhythm"].values[:, at], axis=1)
    np.testing.assert_allclose(beat, one["beat"].values, atol=1e-3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, ludb_folder):
    """Ten real records, one truncated, one flat in V3."""
    out = tmp_path_factory.mktemp("wfdb")
    for i in range(1, 11):
        for kind in ("hea", "dat"):
            shutil.copy(ludb_folder / "data" / f"{i}.{kind}", out / f"{i}.{kind}")
    (out / "4.dat").write_bytes((out / "4.dat").read_bytes()[:5000])
    raw = np.frombuffer((out / "7.dat").read_bytes(), "<i2").reshape(-1, 12).copy()
    raw[:, 8] = 5
    (out / "7.dat").write_bytes(raw.tobytes())
    return out


def test_records_that_fail_are_listed_with_step_and_reason(folder, tmp_path):
    cohort = wb.build_cohort(folder, tmp_path / "c.zarr")
    left = wb.excluded(cohort).set_index("record")
    assert set(left.index) == {"4", "7"}
    assert left.loc["4", "step"] == "read"
    assert "truncated" in left.loc["4", "reason"]
    assert left.loc["7", "step"] == "beat"
    assert "V3" in left.loc["7", "reason"]
    assert cohort.sizes["record"] == 8
    again = wb.open_cohort(tmp_path / "c.zarr")
    np.testing.assert_array_equal(again["beat"], cohort["beat"])
    assert len(wb.excluded(again)) == 2


def test_the_quality_of_each_lead_is_kept_beside_the_record(folder, tmp_path):
    record = wb.read_record(folder / "1")
    signal = record.signal.copy()
    rng = np.random.default_rng(0)
    v2, v6, i = (record.leads.index(x) for x in ("V2", "V6", "I"))
    signal[v2, 1000:2000] = 40.0
    signal[v6] += rng.normal(0, 25, 5000)
    signal[i] *= 1.5
    top = np.quantile(signal[record.leads.index("V4")], 0.98)
    signal[record.leads.index("V4")] = signal[record.leads.index("V4")].clip(max=top)
    changed = wb.Record(signal, 500, record.leads, "changed")
    cohort = wb.build_cohort([record, changed], tmp_path / "c.zarr")
    assert cohort["lead_flat"].dims == ("record", "lead")
    good, bad = cohort.isel(record=0), cohort.isel(record=1)
    assert float(bad["lead_flat"].sel(lead="V2") - good["lead_flat"].sel(lead="V2")) == pytest.approx(0.2, abs=0.005)
    assert float(bad["lead_noise"].sel(lead="V6")) == pytest.approx(25, rel=0.1)
    assert float(bad["lead_saturated"].sel(lead="V4")) == pytest.approx(0.02, abs=0.005)
    assert float(good["limb_error"]) < 0.01 < 0.1 < float(bad["limb_error"])
    flags = str(bad["flags"].values)
    for words in ("V2 is flat for 20% of it", "V4 is saturated for", "V6 is noisy (2", "limb leads disagree"):
        assert words in flags
    assert "limb leads" not in str(good["flags"].values)


@pytest.mark.filterwarnings("ignore:the table says another")  # made-up people
def test_ptbxl_plus_joins_where_it_lies_inside_or_beside(tmp_path, ludb_folder):
    base = tmp_path / "ptb-xl-1.0.3"
    (base / "records500").mkdir(parents=True)
    rows = []
    for i in (1, 2, 3):
        for kind in ("hea", "dat"):
            shutil.copy(ludb_folder / "data" / f"{i}.{kind}", base / "records500" / f"{i}.{kind}")
        rows.append({"ecg_id": i, "patient_id": 10 * i, "age": 300 if i == 1 else 50, "sex": i % 2,
                     "filename_hr": f"records500/{i}", "scp_codes": "{'NORM': 100.0}", "strat_fold": i})  # fmt: skip
    pd.DataFrame(rows).to_csv(base / "ptbxl_database.csv", index=False)
    without = wb.build_cohort(base)
    assert "qt_12sl" not in without
    assert without["age"].values.tolist() == [90, 50, 50]
    assert without["sex"].values.tolist() == ["female", "male", "female"]
    table = pd.DataFrame({"HR__Global": [61, 72], "ecg_id": [1, 3], "QT_Int_Global": [400, np.nan],
                          "PR_Int_Global": [150, 160], "R_Amp_V5": [1.5, 0.5], "P_Area_I": [1, 2]})  # fmt: skip
    beside = tmp_path / "ptb-xl-plus-1.0.1" / "features"
    beside.mkdir(parents=True)
    table.to_csv(beside / "12sl_features.csv", index=False)
    cohort = wb.build_cohort(base)
    np.testing.assert_array_equal(cohort["qt_12sl"], [400, np.nan, np.nan])
    np.testing.assert_array_equal(cohort["hr_12sl"], [61, np.nan, 72])
    np.testing.assert_array_equal(cohort["r_v5_12sl"], [1500, np.nan, 500])
    assert cohort["r_v5_12sl"].attrs["units"] == "µV"
    assert "qrs_12sl" not in cohort
    table.rename(columns={"ecg_id": "id"}).to_csv(beside / "12sl_features.csv", index=False)
    with pytest.raises(wb.RecordError, match="no column 'ecg_id'"):
        wb.build_cohort(base)


def test_a_folder_of_mat_files_is_a_source(tmp_path, ludb_folder):
    import scipy.io

    stored = np.fromfile(ludb_folder / "data" / "1.dat", "<i2").reshape(-1, 12).T
    leads = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    scipy.io.savemat(tmp_path / "JS1.mat", {"val": stored}, format="4")  # as the PhysioNet challenges have them
    lines = [f"JS1.mat 16+24 1000/mV 16 0 {row[0]} 0 0 {lead}" for lead, row in zip(leads, stored, strict=True)]
    (tmp_path / "JS1.hea").write_text("\n".join(["JS1 12 500 5000", *lines, "#Age: 40", "#Sex: Female"]) + "\n")
    (tmp_path / "JS2.hea").write_text((tmp_path / "JS1.hea").read_text().replace("JS1", "JS2"))
    (tmp_path / "JS2.mat").write_bytes((tmp_path / "JS1.mat").read_bytes()[:30000])
    cohort = wb.build_cohort(tmp_path)
    one = wb.build_cohort([wb.read_record(ludb_folder / "data" / "1")])
    np.testing.assert_allclose(cohort["beat"], one["beat"], atol=0.01)
    assert cohort["sex"].values.tolist() == ["female"]
    assert wb.excluded(cohort)["record"].tolist() == ["JS2"]


def test_a_store_is_not_overwritten(folder, tmp_path):
    (tmp_path / "c.zarr").mkdir()
    with pytest.raises(wb.RecordError, match="exists already"):
        wb.build_cohort(folder, tmp_path / "c.zarr")


def test_metadata_is_joined_and_what_does_not_join_is_named(folder):
    metadata = pd.DataFrame(
        {
            "record": [1, 2, 99],
            "age": [40, 50, 60],
            "sex": ["F", "male", "f"],
            "patient": ["a", "a", "b"],
            "name": ["x", "y", "z"],
        }
    )
    records = [wb.read_record(folder / str(i)) for i in (1, 2, 3)]
    with (
        pytest.warns(UserWarning, match="columns not kept: name"),
        pytest.warns(UserWarning, match="1 metadata row fits no recording, such as '99'; 1 recording has no .* '3'"),
        pytest.warns(UserWarning, match="1 of 3 recordings does not say whose it is"),
    ):
        cohort = wb.build_cohort(records, metadata=metadata)
    assert cohort["age"].values.tolist()[:2] == [40, 50]
    assert cohort["sex"].values.tolist()[:2] == ["female", "male"]
    assert cohort["patient"].values.tolist() == ["a", "a", "3"]
    assert json.loads(cohort.attrs["metadata_without_record"]) == ["99"]
    assert "name" not in cohort.coords
    with pytest.raises(wb.RecordError, match="no metadata row fits"):
        wb.build_cohort([wb.read_record(folder / "1")], metadata=pd.DataFrame({"record": ["other"]}))


def test_a_record_without_a_patient_is_no_one_elses(folder):
    records = [wb.Record((r := wb.read_record(folder / "1")).signal, 500, r.leads, n) for n in ("1", "2", "7")]
    rows = pd.DataFrame({"record": ["1", "2"], "patient": [7.0, 8.0]})
    with (
        pytest.warns(UserWarning, match="1 recording has no metadata row, such as '7'"),
        pytest.warns(UserWarning, match="1 of 3 recordings does not say whose it is"),
        pytest.warns(UserWarning, match="more than once under different patients, such as '1' and '2' and '7'"),
    ):
        cohort = wb.build_cohort(records, metadata=rows)
    assert cohort["patient"].values.tolist() == ["7", "8", "record 7"]


@pytest.mark.filterwarnings("ignore:the table says another")  # made-up people
def test_a_table_of_paths_is_a_source(folder):
    table = pd.DataFrame({"path": [folder / "1", folder / "2.hea"], "age": [30, 31]})
    assert wb.build_cohort(table)["age"].values.tolist() == [30, 31]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "no folder nowhere"),
        ("synthetic:many", "whole number"),
        ([], "no recordings found"),
        ([np.zeros(3)], "item 0 of the source is a ndarray; expected an ecgwb.Record"),
        (pd.DataFrame({"file": ["x"]}), "no column 'path'"),
    ],
)
def test_a_source_that_holds_nothing_is_refused(source, message):
    with pytest.raises(wb.RecordError, match=message):
        wb.build_cohort(source)


def test_two_records_of_one_name_are_refused(folder):
    one = wb.read_record(folder / "1")
    with pytest.raises(wb.RecordError, match="occurs twice"):
        wb.build_cohort([one, one])


def test_nothing_usable_is_an_error_that_names_the_first_failure(folder):
    with pytest.raises(wb.RecordError, match="none of 1 recordings could be used; record '7'"):
        wb.build_cohort(pd.DataFrame({"path": [folder / "7"]}))


def test_no_such_cohort():
    with pytest.raises(wb.RecordError, match="expected 'ludb', 'ptbxl', 'ptbxl500'"):
        wb.open_cohort("mimic")


def test_synthetic_needs_its_extra_or_works(monkeypatch):
    found = pytest.importorskip("deepfakeecg", reason="the extra 'synthetic' is not installed")
    assert found
    state = torch.get_rng_state()
    three, two = (sources.list_source(f"synthetic:{n}") for n in (3, 2))
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(three.items[1].read().signal, two.items[1].read().signal)
    assert three.items[0].read().signal.shape == (8, 4900)
    cohort = wb.build_cohort("synthetic:3")
    assert cohort.sizes["record"] + len(wb.excluded(cohort)) == 3
    assert np.isnan(cohort["male"]).all()


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "deepfakeecg", None)
    with pytest.raises(ImportError, match=r"ecgwb\[synthetic\]"):
        wb.open_cohort("synthetic:3")


def test_landmarks_put_in_change_what_is_measured_from_them_and_leave_a_trace(ludb):
    cohort = ludb.isel(record=slice(3))
    rid = str(cohort["record"].values[1])
    before = cohort["fiducial"].sel(record=rid)
    end = float(before.sel(landmark="T_off")) + 30
    changed = wb.cohorts.put_landmarks(
        cohort, pd.DataFrame({"T_off": [end], "P_on": [np.nan]}, index=[rid]), "JK by hand"
    )
    assert float(changed["qt"].sel(record=rid) - cohort["qt"].sel(record=rid)) == pytest.approx(30)
    assert np.isnan(changed["pr"].sel(record=rid))
    assert float(changed["qrs"].sel(record=rid)) == float(cohort["qrs"].sel(record=rid))
    others = [r for r in cohort["record"].values if r != rid]
    for name in ("fiducial", "qt", "pr", "t_v5"):
        np.testing.assert_array_equal(changed[name].sel(record=others), cohort[name].sel(record=others))
    assert changed["manual"].values.sum() == 2
    assert json.loads(changed.attrs["landmarks_changed"])[0]["source"] == "JK by hand"
    assert float(before.sel(landmark="T_off")) == end - 30


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame({"T_off": [300.0]}, index=["nobody"]), "no record 'nobody'"),
        (pd.DataFrame({"U_off": [300.0]}, index=["1"]), "no landmark 'U_off'"),
        (pd.DataFrame({"T_off": [-300.0]}, index=["1"]), "record '1': landmarks are out of order"),
        (pd.DataFrame({"T_off": [40000.0]}, index=["1"]), "outside the beat"),
        (pd.DataFrame({"R": [20.0]}, index=["1"]), "time zero by definition"),
        (pd.DataFrame({"T_off": [300.0, 310.0]}, index=["1", "1"]), "record '1' has two rows"),
    ],
)
def test_landmarks_that_cannot_be_are_refused(ludb, table, message):
    with pytest.raises(wb.RecordError, match=message):
        wb.cohorts.put_landmarks(ludb, table, "test")


def test_names_with_leading_zeros_join_from_a_csv(folder, tmp_path):
    record = wb.read_record(folder / "1")
    (tmp_path / "people.csv").write_text("record,age\n001,44\n")
    cohort = wb.build_cohort(wb.Record(record.signal, 500, record.leads, "001"), metadata=tmp_path / "people.csv")
    assert cohort["age"].values.tolist() == [44]


def test_a_changed_cohort_can_be_stored_and_opened(ludb, tmp_path):
    changed = wb.cohorts.put_landmarks(
        ludb.isel(record=slice(5)), pd.DataFrame({"T_off": [500.0]}, index=["2"]), "test"
    )
    changed.to_zarr(tmp_path / "c.zarr", zarr_format=2)
    np.testing.assert_array_equal(wb.open_cohort(tmp_path / "c.zarr")["qt"], changed["qt"])


def test_one_record_without_its_dimension_is_refused_with_how_to_keep_it(ludb, measures):
    one = ludb.sel(record="2")
    for call in (lambda: wb.predict(measures, one), lambda: wb.edits.blank(one, "P"), lambda: wb.measure(one)):
        with pytest.raises(wb.RecordError, match=r"use cohort.sel\(record=\['2'\]\)"):
            call()


def test_statements_become_variables_and_an_empty_cell_is_unknown(ludb):
    some = ludb.isel(record=slice(3)).assign_coords(diagnosis=("record", ["a; b", "", "b"]))
    labelled = wb.cohorts.with_statements(some)
    np.testing.assert_array_equal(labelled["a"], [1, np.nan, 0])
    np.testing.assert_array_equal(labelled["b"], [1, np.nan, 1])
    with pytest.raises(wb.RecordError, match="variable 'pr' already"):
        wb.cohorts.with_statements(some.assign_coords(diagnosis=("record", ["pr", "a", "b"])))


def test_an_unknown_age_of_a_record_is_no_reason_to_lose_it(ludb_folder):
    record = wb.read_record(ludb_folder / "data" / "1")
    cohort = wb.build_cohort([replace(record, metadata={"age": None, "sex": None, "fold": 3})])
    assert wb.excluded(cohort).empty
    assert np.isnan(float(cohort["age"][0]))
    assert int(cohort["fold"][0]) == 3


def test_a_gap_that_hides_beats_does_not_slow_the_heart(ludb_folder):
    record = wb.read_record(ludb_folder / "data" / "4")
    signal = record.signal.copy()
    signal[:, np.arange(signal.shape[1]) % 1000 < 150] = np.nan
    whole, gappy = wb.representative_beat(record), wb.representative_beat(replace(record, signal=signal))
    assert float(gappy["hr"]) == pytest.approx(float(whole["hr"]), abs=3)


def test_no_voltage_is_read_of_paced_people_at_100_hz(ludb_folder):
    slow = wb.read_record(ludb_folder / "data" / "8")
    slow = replace(slow, signal=slow.signal[:, ::5], fs=100)
    for diagnosis, paced in (("PACE; SR", True), ("pacing rhythm", True), ("PAC; space", False)):
        cohort = wb.build_cohort([replace(slow, metadata={"diagnosis": diagnosis})])
        assert bool(np.isnan(cohort[["j_v5", "r_v5", "t_v5"]].to_array()).all()) == paced
        assert ("voltages cannot be read" in str(cohort["flags"].values[0])) == paced
        assert np.isfinite(float(cohort["qrs"][0]))


def test_few_whole_numbers_are_a_group_each(ludb):
    people = ludb.assign(yes=("record", np.arange(200) % 2.0))
    assert list(wb.cohorts.people.groups(people, "yes")) == ["0", "1"]
    assert list(wb.cohorts.people.groups(people, "fold")) == ["0", "1", "2", "3", "4"]
    assert len(wb.cohorts.people.groups(people, "age")) == 3


def test_a_wrong_rate_of_most_recordings_is_one_warning(ludb_folder):
    records = [wb.read_record(ludb_folder / "data" / str(k)) for k in (1, 2, 3, 4)]
    slow = [wb.Record(r.signal, r.fs / 2, r.leads, record_id=str(k)) for k, r in enumerate(records)]
    with pytest.warns(
        UserWarning, match=r"4 of 4 recordings are flagged as rare ECGs or a wrong sampling rate: .* fs="
    ):
        wb.build_cohort(slow)
