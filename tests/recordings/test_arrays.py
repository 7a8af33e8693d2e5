import io
import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest

import ecgwb as wb
from ecgwb.cohorts.sources import unpack
from ecgwb.recordings import arrays
from ecgwb.recordings.channels import Told
from ecgwb.recordings.identity import pseudonym
from ecgwb.recordings.reading import format_of, read_flagged
from ecgwb.recordings.record import LEADS12

ALL = list(LEADS12)


@pytest.fixture(scope="module")
def ecg():
    """A recording of PTB-XL: (12, 5000), µV, 500 Hz."""
    return wb.read_record(unpack("ptbxl500") / "records500" / "00000" / "00001_hr").signal


def same(record, ecg, atol=0.51):
    np.testing.assert_allclose(record.signal, ecg, atol=atol)
    assert record.leads == LEADS12
    assert record.fs == 500


# ---------------------------------------------------------------- NumPy


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("unit", "factor"), [("mV", 1e-3), ("uV", 1), ("V", 1e-6)])
def test_an_array_is_read_in_either_orientation_and_any_unit(tmp_path, ecg, turned, unit, factor):
    np.save(tmp_path / "a.npy", (ecg.T if turned else ecg) * factor)
    same(wb.read_record(tmp_path / "a.npy", leads=ALL, fs=500, unit=unit), ecg)


def test_the_order_of_an_array_in_memory_does_not_matter(tmp_path, ecg):
    np.save(tmp_path / "a.npy", np.asfortranarray(ecg.astype(np.float32)))
    same(wb.read_record(tmp_path / "a.npy", leads=ALL, fs=500, unit="uV"), ecg)


@pytest.mark.parametrize(
    ("said", "lacking"),
    [
        ({"fs": 500, "unit": "mV"}, "leads="),
        ({"leads": ALL, "unit": "mV"}, "fs=500"),
        ({"leads": ALL, "fs": 500}, "unit='mV'"),
        ({"leads": ALL[:8], "fs": 500, "unit": "mV"}, r"\(12, 5000\)"),
    ],
)
def test_what_an_array_does_not_say_must_be_told(tmp_path, ecg, said, lacking):
    np.save(tmp_path / "a.npy", ecg)
    with pytest.raises(wb.RecordError, match=lacking):
        wb.read_record(tmp_path / "a.npy", **said)


def test_an_orientation_that_cannot_be_told_is_an_error(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((12, 12)))
    with pytest.raises(wb.RecordError, match="which way round"):
        wb.read_record(tmp_path / "a.npy", leads=ALL, fs=500, unit="mV")


def test_pickled_objects_are_never_loaded(tmp_path):
    touched = tmp_path / "touched"

    class Evil:
        def __reduce__(self):
            return (open, (str(touched), "w"))

    np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", signal=np.array([Evil()], dtype=object))
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Evil()))
    for name in ("a.npy", "b.npz", "c.npy"):
        with pytest.raises(wb.RecordError):
            wb.read_record(tmp_path / name, leads=ALL, fs=500, unit="mV")
    assert not touched.exists()


@pytest.mark.parametrize("cut", [5, 60, 200, 9000])
def test_a_truncated_array_is_refused(tmp_path, ecg, cut):
    np.save(tmp_path / "a.npy", ecg)
    np.savez_compressed(tmp_path / "b.npz", signal=ecg)
    for name in ("a.npy", "b.npz"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:cut])
        with pytest.raises(wb.RecordError):
            wb.read_record(tmp_path / name, leads=ALL, fs=500, unit="mV")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", [("signal", "fs", "leads", "unit"), ("x", "sampling_rate", "lead_names", "units")])
def test_named_arrays_say_what_they_are(tmp_path, ecg, save, names):
    save(
        tmp_path / "a.npz", **dict(zip(names, (ecg / 1000, 500, ALL, "mV"), strict=True)), age=61, sex="F", name="Jane"
    )
    record = wb.read_record(tmp_path / "a.npz")
    same(record, ecg)
    assert record.metadata == {"age": 61.0, "sex": "female", "flags": []}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_many_recordings_in_one_file_are_read_one_by_one(tmp_path, ecg, save):
    many = np.stack([ecg, 2 * ecg, -ecg]).transpose(0, 2, 1)
    save(tmp_path / "a.npz", ecg=many, fs=500, leads=ALL, unit="uV", ids=["p7", "p9", "p1"], age=[50, 60, np.nan])
    assert arrays.names_of_arrays(tmp_path / "a.npz") == ["p7", "p9", "p1"]
    second = read_flagged(tmp_path / "a.npz", "p9")
    same(second, 2 * ecg)
    assert (second.record_id, second.metadata["age"]) == ("p9", 60.0)
    assert "age" not in read_flagged(tmp_path / "a.npz", "p1").metadata
    with pytest.raises(wb.RecordError, match="3 recordings, such as p7"):
        wb.read_record(tmp_path / "a.npz")


def test_a_patient_in_the_file_is_a_pseudonym_however_it_is_written(tmp_path, ecg):
    many, said = np.stack([ecg, 2 * ecg, -ecg]), {"fs": 500, "leads": ALL, "unit": "uV"}
    np.savez(tmp_path / "a.npz", ecg=many, ids=list("abc"), patient_id=[15709.0, np.nan, 7.0], **said)
    of = [read_flagged(tmp_path / "a.npz", x).metadata.get("patient") for x in "abc"]
    assert of == [pseudonym("15709"), None, pseudonym("7")]
    with hdf5(tmp_path / "a.h5") as file:
        file.attrs.update(said)
        file["p1/ecg"], file["p2/ecg"] = ecg, 2 * ecg
        file["p1"].attrs["Subject ID"], file["p2"]["participant"] = "15709", np.array([b"x7"])
    of = [read_flagged(tmp_path / "a.h5", x).metadata.get("patient") for x in ("p1", "p2")]
    assert of == [pseudonym("15709"), pseudonym("x7")]
    with hdf5(tmp_path / "b.h5") as file:
        file.attrs.update(said)
        file["ecg"], file["patient_id"] = many, [8, 8, 9]
    of = [read_flagged(tmp_path / "b.h5", f"b-{k}").metadata["patient"] for k in range(3)]
    assert of == [pseudonym("8"), pseudonym("8"), pseudonym("9")]


def test_samples_of_impossible_size_are_missing(tmp_path, ecg):
    bent = ecg.copy()
    bent[3, 7] = 1e200
    np.savez(tmp_path / "a.npz", ecg=bent, fs=500, leads=ALL, unit="uV")
    record = wb.read_record(tmp_path / "a.npz")
    assert record.metadata["flags"] == ["samples of an impossible size are missing: 1"]
    assert np.argwhere(np.isnan(record.signal)).tolist() == [[3, 7]]


def test_ids_that_repeat_are_not_taken_for_names(tmp_path, ecg):
    np.savez(tmp_path / "a.npz", ecg=np.stack([ecg, ecg]), ids=["p7", "p7"])
    assert arrays.names_of_arrays(tmp_path / "a.npz") == ["a-0", "a-1"]


def test_the_files_own_rate_is_used_and_what_was_told_is_flagged(tmp_path, ecg):
    np.savez(tmp_path / "a.npz", ecg=ecg, fs=500, leads=ALL, unit="uV")
    record = wb.read_record(tmp_path / "a.npz", fs=250)
    assert record.fs == 500
    assert record.metadata["flags"] == ["fs=250 is not used: the file says 500 Hz"]


def test_each_lead_may_have_a_unit_of_its_own(tmp_path, ecg):
    scale = np.where(np.arange(12) == 11, 1.0, 1000.0)[:, None]
    units = ["mV"] * 11 + ["uV"]
    with hdf5(tmp_path / "a.h5") as file:
        file["signal"] = ecg / scale
        file["signal"].attrs.update({"fs": 500, "leads": list(ALL), "units": units})
    with hdf5(tmp_path / "b.h5") as file:
        for lead, row, unit in zip(ALL, ecg / scale, units, strict=True):
            file[lead] = row
            file[lead].attrs.update({"fs": 500, "unit": unit})
    names = [f"{lead} ({unit})" for lead, unit in zip(ALL, units, strict=True)]
    pd.DataFrame((ecg / scale).T, columns=names).assign(resp=1.0).to_csv(tmp_path / "c.csv", index=False)
    for name in ("a.h5", "b.h5", "c.csv"):
        for unit in (None, "V"):
            record = wb.read_record(tmp_path / name, fs=500, unit=unit)
            np.testing.assert_allclose([record.signal[record.leads.index(x)] for x in ALL], ecg, atol=1e-9)
            assert any("unit='V' is not used" in f for f in record.metadata["flags"]) == bool(unit)
    with pytest.importorskip("h5py").File(tmp_path / "b.h5", "a") as file:
        file["V1"].attrs["fs"] = 250
    with pytest.raises(wb.RecordError, match=r"its leads differ in sampling rate: 250\.0, 500\.0 Hz"):
        wb.read_record(tmp_path / "b.h5")


def test_the_unit_of_one_column_is_not_overruled_by_what_is_told_of_the_others(tmp_path, ecg):
    scale = np.where(np.arange(12) == 0, 1000.0, 1.0)[:, None]
    names = ["I (mV)", *ALL[1:]]
    pd.DataFrame((ecg / scale).T, columns=names).to_csv(tmp_path / "a.csv", index=False)
    same(wb.read_record(tmp_path / "a.csv", fs=500, unit="uV"), ecg)


def test_of_many_recordings_each_has_its_own_rate(tmp_path, ecg):
    np.savez(tmp_path / "a.npz", ecg=np.stack([ecg, ecg]), fs=[500, 250], leads=ALL, unit="uV", ids=["a", "b"])
    assert [read_flagged(tmp_path / "a.npz", n).fs for n in "ab"] == [500, 250]


@pytest.mark.parametrize("fs", ["abc", -3, float("nan"), True, [500]])
def test_a_rate_that_is_none_is_named(tmp_path, ecg, fs):
    np.save(tmp_path / "a.npy", ecg)
    with pytest.raises(wb.RecordError, match=r"fs is .*; expected a positive number of Hz"):
        wb.read_record(tmp_path / "a.npy", leads=ALL, fs=fs, unit="uV")


def test_two_possible_signals_are_an_error(tmp_path, ecg):
    np.savez(tmp_path / "a.npz", a=ecg, b=ecg)
    with pytest.raises(wb.RecordError, match="2 of its arrays may be the signal: a, b"):
        wb.read_record(tmp_path / "a.npz", leads=ALL, fs=500, unit="uV")


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    bomb = io.BytesIO()
    np.lib.format.write_array_header_1_0(bomb, {"shape": (12, 2**27), "fortran_order": False, "descr": "<f8"})
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("signal.npy", "w", force_zip64=True) as file,
    ):
        file.write(bomb.getvalue())
        for _ in range(300):
            file.write(bytes(2**20))
    with pytest.raises(wb.RecordError, match=r"promises|MiB"):
        wb.read_record(tmp_path / "a.npz", leads=ALL, fs=500, unit="uV")


# ---------------------------------------------------------------- HDF5


def hdf5(path):
    return pytest.importorskip("h5py").File(path, "w")


def test_a_dataset_with_attributes_is_a_recording(tmp_path, ecg):
    with hdf5(tmp_path / "a.h5") as file:
        file["signal"] = ecg.T / 1000
        file["signal"].attrs.update({"fs": 500.0, "leads": ALL, "unit": "mV"})
    same(wb.read_record(tmp_path / "a.h5"), ecg)


def test_what_groups_and_the_file_say_counts_for_their_datasets(tmp_path, ecg):
    with hdf5(tmp_path / "a.h5") as file:
        file.attrs.update({"sampling_rate": 500, "leads": ", ".join(ALL), "unit": "uV"})
        for name, factor in (("p1", 1), ("p2", 2)):
            file[f"{name}/ecg"] = factor * ecg
            file[name].attrs["sex"] = "M"
    assert arrays.names_of_hdf5(tmp_path / "a.h5") == ["p1", "p2"]
    record = read_flagged(tmp_path / "a.h5", "p2")
    same(record, 2 * ecg)
    assert record.metadata["sex"] == "male"


def test_a_dataset_a_lead_is_a_recording(tmp_path, ecg):
    with hdf5(tmp_path / "a.h5") as file:
        file.attrs["fs"] = 500
        for lead, row in zip(ALL, ecg, strict=True):
            file[lead] = row
    record = wb.read_record(tmp_path / "a.h5", unit="uV")
    np.testing.assert_allclose(record.signal[record.leads.index("V2")], ecg[7])


def test_of_many_recordings_one_row_is_read(tmp_path, ecg):
    with hdf5(tmp_path / "a.h5") as file:
        file["tracings"] = np.stack([ecg, 3 * ecg]).transpose(0, 2, 1)
        file["exam_id"] = [1169160, 2873686]
    assert arrays.names_of_hdf5(tmp_path / "a.h5") == ["1169160", "2873686"]
    same(read_flagged(tmp_path / "a.h5", "2873686", Told(ALL, 500, "uV")), 3 * ecg)


def test_no_other_file_is_opened(tmp_path, ecg):
    h5py = pytest.importorskip("h5py")
    with hdf5(tmp_path / "secret.h5") as file:
        file["signal"] = ecg
    with hdf5(tmp_path / "link.h5") as file:
        file["signal"] = h5py.ExternalLink("secret.h5", "/signal")
        file["soft"] = h5py.SoftLink("/signal")
    layout = h5py.VirtualLayout(ecg.shape, "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "signal", ecg.shape)
    with hdf5(tmp_path / "virtual.h5") as file:
        file.create_virtual_dataset("signal", layout)
    (tmp_path / "raw").write_bytes(ecg.tobytes())
    with hdf5(tmp_path / "external.h5") as file:
        file.create_dataset("signal", ecg.shape, "f8", external=[(str(tmp_path / "raw"), 0, ecg.nbytes)])
    for name in ("link", "virtual", "external"):
        with pytest.raises(wb.RecordError, match="what leads to other files is not opened"):
            wb.read_record(tmp_path / f"{name}.h5", leads=ALL, fs=500, unit="uV")


def test_sizes_are_looked_at_before_anything_is_read(tmp_path):
    with hdf5(tmp_path / "a.h5") as file:
        file.create_dataset("signal", (12, 2**31), "f4", chunks=(1, 2**16), compression="gzip")
        file.attrs.update({"fs": 500, "unit": "uV", "leads": ALL})
    with hdf5(tmp_path / "b.h5") as file:
        file.create_dataset("signal", (2, 12, 5000), "f4", maxshape=(None, 2**14, 2**14), chunks=(4, 2**14, 2**13))
    for name in ("a.h5", "b.h5"):
        with pytest.raises(wb.RecordError, match="GiB"):
            read_flagged(tmp_path / name, "" if name == "a.h5" else "b-0", Told(ALL, 500, "uV"))


def test_a_group_that_holds_itself_is_walked_once(tmp_path, ecg):
    with hdf5(tmp_path / "a.h5") as file:
        file["p1/signal"] = ecg
        file["p1/again"] = file["p1"]
    assert arrays.names_of_hdf5(tmp_path / "a.h5") == ["p1"]


@pytest.mark.parametrize("cut", [8, 100, 2000, 400_000])
def test_a_truncated_hdf5_is_refused(tmp_path, ecg, cut):
    with hdf5(tmp_path / "a.h5") as file:
        file["signal"] = ecg
    (tmp_path / "a.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:cut])
    with pytest.raises(wb.RecordError, match="fetch the file again"):
        wb.read_record(tmp_path / "a.h5", leads=ALL, fs=500, unit="uV")


# ---------------------------------------------------------------- tables


def table(ecg, unit="", time="time"):
    columns = {f"{lead}{unit}": row for lead, row in zip(ALL, ecg.round(1), strict=True)}
    return pd.DataFrame({time: np.arange(5000) / 500} | columns if time else columns)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
@pytest.mark.parametrize(("sep", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), (",", ",")])
def test_a_table_is_read_however_it_is_written(tmp_path, ecg, encoding, sep, decimal):
    written = table(ecg, " (µV)").to_csv(sep=sep, decimal=decimal, index=False)
    (tmp_path / "a.csv").write_bytes(written.encode(encoding))
    same(wb.read_record(tmp_path / "a.csv"), ecg)


@pytest.mark.parametrize(
    ("time", "factor"),
    [("time", 1), ("time", 1000), ("Time [s]", 1), ("time_ms", 1000), ("ms", 1000), ("t", 1), ("seconds", 1)],
)
def test_a_column_of_times_gives_the_rate(tmp_path, ecg, time, factor):
    frame = table(ecg, " [uV]", time)
    frame[time] *= factor
    frame.to_csv(tmp_path / "a.csv")  # with the row numbers that pandas puts first
    same(wb.read_record(tmp_path / "a.csv"), ecg)


def test_times_rounded_to_milliseconds_give_the_true_rate(tmp_path, ecg):
    frame = table(ecg, " [uV]")
    frame["time"] = (np.arange(5000) / 360).round(3)
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert wb.read_record(tmp_path / "a.csv").fs == 360


def test_samples_that_times_leave_out_are_missing(tmp_path, ecg):
    table(ecg, " [uV]").drop(index=[100, 101, 4000]).to_csv(tmp_path / "a.csv", index=False)
    record = wb.read_record(tmp_path / "a.csv")
    missing = np.isnan(record.signal).all(axis=0)
    assert np.flatnonzero(missing).tolist() == [100, 101, 4000]
    np.testing.assert_allclose(record.signal[:, ~missing], ecg[:, ~missing], atol=0.06)
    assert "3 samples that its times leave out are missing" in record.metadata["flags"]


@pytest.mark.parametrize(
    ("times", "why"),
    [(np.arange(5000), "unknown unit"), (np.zeros(5000), "do not rise"), (np.arange(5000) ** 2.0, "uneven")],
)
def test_times_that_give_no_rate_are_said(tmp_path, ecg, times, why):
    frame = table(ecg, " [uV]")
    frame["time"] = times
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(wb.RecordError, match=why):
        wb.read_record(tmp_path / "a.csv")


def test_a_cell_that_is_no_number_costs_itself(tmp_path, ecg):
    frame = table(ecg, " [uV]").astype(object)
    frame.loc[77, "V1 [uV]"], frame.loc[78, "V1 [uV]"] = "n/c", None
    frame["doctor"] = "Dr Jane Doe"
    frame.to_csv(tmp_path / "a.csv", index=False)
    record = wb.read_record(tmp_path / "a.csv")
    assert np.flatnonzero(np.isnan(record.signal).any(axis=0)).tolist() == [77, 78]
    assert record.metadata["flags"] == [
        "1 cells of V1 [uV] are no numbers, and missing",
        "1 columns without numbers are left out",
    ]


def test_a_table_without_a_unit_or_rate_must_be_told(tmp_path, ecg):
    table(ecg, time=None).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(wb.RecordError, match="fs=500"):
        wb.read_record(tmp_path / "a.csv", unit="uV")
    with pytest.raises(wb.RecordError, match="unit='mV'"):
        wb.read_record(tmp_path / "a.csv", fs=500)
    same(wb.read_record(tmp_path / "a.csv", fs=500, unit="uV"), ecg)


def test_a_table_without_names_is_read_with_the_leads_told(tmp_path, ecg):
    np.savetxt(tmp_path / "a.csv", ecg.T, delimiter=",", fmt="%.1f")
    same(wb.read_record(tmp_path / "a.csv", leads=ALL, fs=500, unit="uV"), ecg)
    with pytest.raises(wb.RecordError, match="does not name its leads"):
        wb.read_record(tmp_path / "a.csv", fs=500, unit="uV")


@pytest.mark.parametrize(
    "text",
    [
        "record,age,sex\np1,50,M\np2,60,F\n",
        "record,age,fold\n1,50,1\n2,60,2\n",
        "name;size\na;b\nc;d\n",
        "path,I\na,1\nb,2\n",
        "# just words\nwithout, columns\n",
        "",
        "I,II",
    ],
)
def test_a_table_of_people_is_no_recording(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    assert format_of(tmp_path / "a.csv") is None


def test_parquet_is_read_as_a_table(tmp_path, ecg):
    pytest.importorskip("pyarrow")
    table(ecg, "_uV", "time_s").to_parquet(tmp_path / "a.parquet")
    same(wb.read_record(tmp_path / "a.parquet"), ecg)
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:5000])
    with pytest.raises(wb.RecordError, match="fetch the file again"):
        wb.read_record(tmp_path / "b.parquet")


def test_what_is_told_beside_the_files_own_word_is_flagged_once(tmp_path, ecg):
    np.savez(tmp_path / "a.npz", signal=ecg, fs=500, leads=ALL, unit="µV")
    record = wb.read_record(tmp_path / "a.npz", fs=250, unit="mV")
    same(record, ecg)
    assert record.metadata["flags"] == [
        "fs=250 is not used: the file says 500 Hz",
        "unit='mV' is not used where the file says µV",
    ]
    assert wb.read_record(tmp_path / "a.npz", unit="uV").metadata["flags"] == []


def test_a_table_with_other_names_says_how_its_leads_are_told(tmp_path, ecg):
    pd.DataFrame({"time": np.arange(ecg.shape[1]) / 500, "ECG1": ecg[1]}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(wb.RecordError, match=r"none of whose columns is named after a lead; .*leads={'ECG1': 'II'}"):
        wb.read_record(tmp_path / "a.csv")
