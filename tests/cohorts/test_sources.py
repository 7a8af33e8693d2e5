"""Where recordings come from: files, lists, patterns and folders with links; names, states and walks of them."""

import gzip
import os
import shutil
import stat
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ecgwb as wb
from ecgwb.cohorts import sources
from ecgwb.cohorts.files import named_by_path, recordings_in, walk
from ecgwb.cohorts.items import Notes
from ecgwb.recordings.channels import Told


def put(folder, name, from_, number):
    """A recording of LUDB under another name."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(from_ / "data" / f"{number}.dat", folder / f"{name}.dat")
    text = (from_ / "data" / f"{number}.hea").read_text()
    lines = text.replace(f"{number}.dat", f"{name}.dat").splitlines()
    (folder / f"{name}.hea").write_text("\n".join([f"{name} {lines[0].split(' ', 1)[1]}", *lines[1:]]) + "\n")
    return folder / f"{name}.hea"


def names(source, **kwargs):
    return [item.record_id for item in sources.list_source(source, **kwargs).items]


def test_a_header_whose_segments_lie_elsewhere_costs_itself(ludb_folder, tmp_path):
    put(tmp_path, "a", ludb_folder, 1)
    (tmp_path / "b.hea").write_text("b/2 12 500 10000\n../secret/x 5000\n/etc/y 5000\n")
    cohort = wb.build_cohort(tmp_path)
    assert cohort["record"].values.tolist() == ["a"]
    assert "expected files in the header's own folder" in wb.excluded(cohort)["reason"].item()


def test_a_file_a_list_a_pattern_and_a_folder_give_the_same_recordings(ludb_folder, tmp_path):
    a, b = (put(tmp_path / "data", n, ludb_folder, k) for k, n in ((1, "a"), (2, "b")))
    (tmp_path / "data" / "notes.pdf").write_bytes(b"%PDF-1.4")
    for source in (tmp_path / "data", [a, str(b)], [a.with_suffix(".dat"), b.with_suffix("")], [tmp_path / "data"],
                   [a, a, b], tmp_path / "data" / "*", str(tmp_path / "**" / "*.hea")):  # fmt: skip
        assert names(source) == ["a", "b"]
    for one in (a, str(a), a.with_suffix(".dat"), a.with_suffix("")):
        assert names(one) == ["a"]
    cohort = wb.build_cohort([a, b])
    assert cohort["beat"].equals(wb.build_cohort(tmp_path / "data")["beat"])
    with pytest.raises(wb.RecordError, match="no file fits"):
        names(tmp_path / "*.edf")


def test_what_a_list_names_and_is_not_there_is_left_out_with_its_reason(ludb_folder, tmp_path):
    a = put(tmp_path, "a", ludb_folder, 1)
    cohort = wb.build_cohort([a, tmp_path / "gone.hea"])
    assert wb.excluded(cohort)["record"].tolist() == ["gone"]
    assert "no header at" in wb.excluded(cohort)["reason"][0]


def test_links_are_followed_without_loops_and_hidden_folders_passed_over(ludb_folder, tmp_path):
    here, far = tmp_path / "here", tmp_path / "far"
    put(far / "deep", "x", ludb_folder, 1)
    put(here, "y", ludb_folder, 2)
    put(here / ".git", "z", ludb_folder, 3)
    put(here / "__MACOSX", "._y", ludb_folder, 3)
    shutil.copy(here / "y.hea", here / "._y.hea")
    (here / "batch").symlink_to(far)
    (here / "again").symlink_to(far)
    (far / "back").symlink_to(here)
    (here / "gone.hea").symlink_to(tmp_path / "nowhere.hea")
    (here / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    assert sorted(names(here)) == ["gone", "x", "y"]
    cohort = wb.build_cohort(here)
    assert sorted(cohort["record"].values.tolist()) == ["x", "y"]
    assert wb.excluded(cohort)["record"].tolist() == ["gone"]


def test_a_fifo_is_not_waited_for(ludb_folder, tmp_path):
    put(tmp_path, "a", ludb_folder, 1)
    os.mkfifo(tmp_path / "pipe.xml")
    assert names(tmp_path) == ["a"]


def test_a_tilde_is_the_home_folder_everywhere(ludb_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    put(tmp_path / "home" / "ecgs", "a", ludb_folder, 1)
    (tmp_path / "home" / "t.csv").write_text("record,age,patient\na,51,x\n")
    (tmp_path / "home" / "p.csv").write_text("path,patient\n~/ecgs/a,x\n")
    monkeypatch.chdir(tmp_path)
    cohort = wb.build_cohort("~/ecgs", "~/mine.zarr", "~/t.csv")
    assert (cohort["age"].values.tolist(), cohort["patient"].values.tolist()) == ([51], ["x"])
    assert wb.open_cohort("~/mine.zarr").sizes["record"] == 1
    assert names("~/p.csv") == names(["~/ecgs/a.hea"]) == names("~/ecgs/*.hea") == ["a"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home"]


def test_spaces_other_letters_and_a_folder_that_is_not_to_be_written_to(ludb_folder, tmp_path):
    place = tmp_path / "Mes données (été)" / "ЭКГ"
    put(place, "rec1", ludb_folder, 1)
    before = {p: p.stat().st_mtime_ns for p in place.iterdir()}
    place.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert wb.build_cohort(tmp_path / "Mes données (été)")["record"].values.tolist() == ["rec1"]
    finally:
        place.chmod(stat.S_IRWXU)
    assert {p: p.stat().st_mtime_ns for p in place.iterdir()} == before


def test_several_recordings_of_a_file_and_files_of_several_formats(ludb_folder, tmp_path):
    put(tmp_path, "a", ludb_folder, 1)
    record = wb.read_record(ludb_folder / "data" / "2")
    columns = dict(zip(record.leads, record.signal / 1000, strict=True))
    pd.DataFrame(columns).to_csv(tmp_path / "b.csv", index=False)
    np.savez(tmp_path / "many.npz", signal=np.stack([record.signal, record.signal[:, ::-1]]), ids=["x", "y"])
    found, passed = recordings_in(walk(tmp_path, Notes()))
    assert [r.record_id for r in found] == ["a", "b", "many/x", "many/y"]
    assert [r.inside for r in found] == ["", "", "x", "y"]
    assert passed == []


def test_segments_of_a_recording_are_no_recordings_of_their_own(ludb_folder, tmp_path):
    for k in (1, 2):
        put(tmp_path, f"m_{k}", ludb_folder, k)
    (tmp_path / "m.hea").write_text("# a comment\nm/3 12 500 11000\nm_1 5000\n~ 1000\nm_2 5000\n")
    assert names(tmp_path) == ["m"]


def test_names_differ_by_folder_and_where_that_is_not_enough_by_ending():
    paths = [Path(p) for p in ("/d/1/a.hea", "/d/2/a.hea", "/d/2/a.xml", "/d/b.1")]
    assert named_by_path(paths, Path("/d")) == ["1/a", "2/a.hea", "2/a.xml", "b.1"]
    assert named_by_path(paths[:2]) == ["1/a", "2/a"]
    assert named_by_path(paths[3:]) == ["b.1"]


def test_files_called_like_recordings_that_are_none_are_told_of(ludb_folder, tmp_path):
    put(tmp_path, "a", ludb_folder, 1)
    (tmp_path / "LICENSE.txt").write_text("free")
    said = [line for line in sources.list_source(tmp_path).notes.lines() if "passed by" in line]
    assert said == []
    (tmp_path / "other.xml").write_text("<other/>")
    (tmp_path / "lost.mat").write_bytes(b"no header")
    (line,) = sources.list_source(tmp_path).notes.lines()
    assert line.startswith("2 files that are called like recordings are passed by, such as 'lost.mat'")
    with pytest.raises(wb.RecordError, match=r"without their header lost\.hea"):
        wb.read_record(tmp_path / "lost.mat")


@pytest.mark.parametrize(
    ("name", "content"),
    [("people.csv", b"record,age,sex\na,50,M\n"), ("metadata.txt", "sep=;\nFile;Patient ID\na;7\n".encode("utf-16")),
     ("people.csv.gz", gzip.compress(b"name,gender\na,F\n", mtime=0)), ("people.xlsx", b"PK\x03\x04")],
)  # fmt: skip
def test_a_table_of_people_beside_the_recordings_is_not_passed_by_in_silence(ludb_folder, tmp_path, name, content):
    put(tmp_path, "a", ludb_folder, 1)
    (tmp_path / name).write_bytes(content)
    (tmp_path / "lists.csv").write_text("recording,label\na,b\n")
    (line,) = sources.list_source(tmp_path).notes.lines()
    assert line.startswith(f"{name} beside the recordings is not used; if it tells of the people, say metadata=")
    assert str(tmp_path / name) in line
    (tmp_path / "also.tsv").write_text("id\tsex\n")
    (line,) = sources.list_source(tmp_path).notes.lines()
    assert "nor 1 other like it" in line
    assert sources.list_source(tmp_path, pd.DataFrame({"record": ["a"], "age": [50]})).notes.lines() == []


def test_a_table_of_people_is_no_recording_though_the_leads_are_told(ludb_folder, tmp_path):
    record = wb.read_record(ludb_folder / "data" / "1")
    table = pd.DataFrame(record.signal.T, columns=[f"ECG{k}" for k in range(12)])
    table.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "people.csv").write_text("record,age\na,50\n")
    told = Told({f"ECG{k}": lead for k, lead in enumerate(record.leads)}, 500, "uV")
    assert names(tmp_path, told=told) == ["a"]


def test_nothing_found_says_what_was_passed_by_and_how_arrays_are_given(tmp_path):
    (tmp_path / "x.abc").write_bytes(b"abc")
    with pytest.raises(wb.RecordError, match=r"passed by: 1 file of no known format, such as 'x.abc'.*wb.Record\("):
        wb.build_cohort(tmp_path)
    with pytest.raises(wb.RecordError, match=r"of no known format: WFDB.*wb.Record\("):
        wb.build_cohort(tmp_path / "x.abc")
    for arrays in (np.zeros((8, 5000)), [np.zeros((8, 5000))]):
        with pytest.raises(wb.RecordError, match=r"wb.Record\(signal, fs, leads, name\)"):
            wb.build_cohort(arrays)


def test_a_table_of_paths_with_other_columns_is_a_source(ludb_folder, tmp_path):
    for k, n in ((1, "s1"), (2, "s2")):
        put(tmp_path / "files", n, ludb_folder, k)
    table = pd.DataFrame({"where": ["files/s1", "files/s2.hea", None], "study_id": [11.0, 12.0, np.nan],
                          "subject_id": [7, 7, 8], "anchor_age": [50, ">89", 3]})  # fmt: skip
    table.to_csv(tmp_path / "t.csv", index=False)
    with pytest.warns(UserWarning, match="1 row has no path and is passed over"):
        cohort = wb.build_cohort(tmp_path / "t.csv", columns={"path": "where"})
    assert cohort["record"].values.tolist() == ["11", "12"]
    assert cohort["patient"].values.tolist() == ["7", "7"]
    assert cohort["age"].values.tolist() == [50, 90]
    with pytest.raises(wb.RecordError, match=r"no column 'path'.*columns={'path'"):
        wb.build_cohort(tmp_path / "t.csv")


def test_a_generator_may_yield_paths_and_records(ludb_folder):
    record = wb.read_record(ludb_folder / "data" / "2")
    cohort = wb.build_cohort(x for x in (ludb_folder / "data" / "1.hea", record, str(ludb_folder / "data" / "3")))
    assert cohort["record"].values.tolist() == ["1", "2", "3"]


def test_a_file_that_changes_is_another_item(tmp_path):
    record = tmp_path / "a.csv"
    states = []
    for rows in (["I,II,V1", "1,2,3"], ["I,II,V1", "1,2,3", "4,5,6"]):
        record.write_text("\n".join(rows) + "\n")
        found = sources.list_source([record])
        states.append((found.items[0].fingerprint, found.sha256))
    assert states[0][0] != states[1][0]
    assert states[0][1] != states[1][1]


def test_ten_thousand_files_are_listed_by_one_walk(tmp_path, monkeypatch):
    for part in range(10):
        folder = tmp_path / f"{part}"
        folder.mkdir()
        for k in range(500):
            (folder / f"r{part}_{k}.hea").touch()
            (folder / f"r{part}_{k}.dat").touch()
    opened, listed = [], []
    real_open, real_scan = Path.open, os.scandir
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self) or real_open(self, *a, **k))
    monkeypatch.setattr(os, "scandir", lambda p: listed.append(p) or real_scan(p))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, _ = recordings_in(walk(tmp_path, Notes()))
    assert len(found) == 5000
    assert len(listed) == 11  # each folder once
    assert len(opened) <= 2 * 5000  # a header's beginning, and whether it has segments; no signal file


def test_a_folder_that_is_called_ludb_is_not_given_ludbs_landmarks(ludb_folder, tmp_path):
    for folder in ("ludb", "mine"):
        put(tmp_path / folder, "1", ludb_folder, 2)
    one, other = (wb.build_cohort(tmp_path / folder) for folder in ("ludb", "mine"))
    assert one.attrs["landmarks"] == "ecgwb"
    assert one["beat"].equals(other["beat"])
    assert one["fiducial"].equals(other["fiducial"])
