"""Tables of people: any encoding, separator and column names; a bad cell costs itself alone."""

import gzip
import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import ecgwb as wb
from ecgwb.__main__ import main
from ecgwb.cohorts.items import Notes
from ecgwb.cohorts.tables import id_text, read_table, tidy, understood

NAMES = ("p1", "p2", "p3")


@pytest.fixture(scope="module")
def records(ludb_folder):
    """Three real recordings, called p1, p2, p3."""
    read = [wb.read_record(ludb_folder / "data" / str(i)) for i in (1, 2, 3)]
    return [wb.Record(r.signal, r.fs, r.leads, name) for r, name in zip(read, NAMES, strict=True)]


def built(records, table, **kwargs):
    """The cohort, and every warning but the one on patients that nobody names."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        cohort = wb.build_cohort(records, metadata=table, **kwargs)
    return cohort, [str(w.message) for w in caught if "whose it is" not in str(w.message)]


def test_a_cell_that_is_not_understood_costs_itself_and_is_counted_once(records):
    table = pd.DataFrame(
        {"record": NAMES, "sex": ["M", "abc", "Unknown"], "age": ["50", "", "abc"], "fold": ["1", "x", "3"],
         "patient": ["a", "NA", "b"]}
    )  # fmt: skip
    cohort, said = built(records, table)
    assert cohort["sex"].values.tolist() == ["male", "", ""]
    np.testing.assert_array_equal(cohort["age"], [50, np.nan, np.nan])
    assert cohort["fold"].values.tolist() == [1, -1, 3]
    assert cohort["patient"].values.tolist() == ["a", "p2", "b"]
    (line,) = said
    for words in ("sex of 2 (such as 'abc' of record 'p2', 'Unknown' of record 'p3')", "age of 2", "fold of 1",
                  "patient of 1 (such as 'NA' of record 'p2')"):  # fmt: skip
        assert words in line
    flags = cohort["flags"].values.tolist()
    assert "not understood" not in flags[0]
    assert flags[1].count("(table)") == 2
    assert "an age that is not understood is left out (table)" in flags[2]


def test_a_cell_that_may_be_a_name_is_not_shown_whole(records):
    table = pd.DataFrame(
        {"record": NAMES, "sex": ["Mary Shelley", "not known", "xyz"], "age": ["30.08.1797", "", "9999"]}
    )
    (line,) = built(records, table)[1]
    assert "sex of 3 (such as 'Ma…' of record 'p1', 'not known' of record 'p2', 'xyz' of record 'p3')" in line
    assert "'30…' of record 'p1'" in line
    assert "'9999' of record 'p3'" in line
    assert "Shelley" not in line
    assert "1797" not in line


def test_a_cell_of_a_record_in_memory_that_is_left_out_does_not_come_back(records):
    cells = [
        {"age": "abc", "sex": "7"},
        {"age": -5, "patient": "unknown"},
        {"fold": "x", "patient": "nan", "age": "50"},
    ]
    cohort, (line,) = built([replace(r, metadata=m) for r, m in zip(records, cells, strict=True)], None)
    assert cohort["record"].values.tolist() == list(NAMES)
    np.testing.assert_array_equal(cohort["age"], [np.nan, np.nan, 50])
    assert cohort["sex"].values.tolist() == ["", "", ""]
    assert cohort["patient"].values.tolist() == list(NAMES)
    assert cohort["patient_named"].values.tolist() == [0, 0, 0]
    assert cohort["fold"].values.tolist() == [-1, -1, -1]
    assert "age of 2" in line


def test_an_empty_cell_of_a_table_does_not_take_away_what_the_recording_says(records):
    known = [replace(r, metadata={"diagnosis": "AF", "device": "GE", "age": 50}) for r in records]
    table = pd.DataFrame(
        {"record": NAMES, "diagnosis": ["", " ", "SR"], "device": ["", None, "X"], "age": ["", None, 60]}
    )
    cohort, _ = built(known, table)
    assert cohort["diagnosis"].values.tolist() == ["AF", "AF", "SR"]
    assert cohort["device"].values.tolist() == ["GE", "GE", "X"]
    assert cohort["age"].values.tolist() == [50, 50, 60]


def test_a_table_that_contradicts_the_files_is_told_of(records):
    known = [{"sex": "F", "age": "61"}, {"sex": "M", "age": 95}, {"sex": "M"}]
    own = [wb.Record(r.signal, r.fs, r.leads, r.record_id, m) for r, m in zip(records, known, strict=True)]
    table = pd.DataFrame({"record": NAMES, "sex": ["male", "m", ""], "age": [62, 90, 30]})
    cohort, said = built(own, table)
    assert cohort["sex"].values.tolist() == ["male", "male", "male"]
    assert "the table says another sex than the file, and is used (male)" in cohort["flags"].values[0]
    assert "another" not in "".join(cohort["flags"].values[1:])
    (line,) = (x for x in said if "another" in x)
    assert "another sex than the file for 1 recording, such as 'p1'; the table's is used" in line
    flags = built(own, table.assign(age=[50, 60, 30]))[0]["flags"].values
    assert ["another age" in x for x in flags] == [True, True, False]


def test_codes_are_not_guessed_and_the_way_out_is_shown(records):
    table = pd.DataFrame({"record": NAMES, "sex": [0, 1, 1], "age": [50, 300, 40], "patient": list("abc")})
    cohort, (line,) = built(records, table)
    assert cohort["sex"].values.tolist() == ["", "", ""]
    assert np.isnan(cohort["age"].values).tolist() == [False, True, False]
    assert "map({0: 'male', 1: 'female'})" in line
    assert "age of 1 (such as '300' of record 'p2')" in line


def test_a_unit_in_brackets_belongs_to_a_usual_name(records):
    table = pd.DataFrame({"record": NAMES, "Age (years)": [50, 60, 70], "Sex [M/F]": list("FMF"), "age (months)": 600})
    with pytest.warns(UserWarning, match=r"columns not kept: age \(months\)\. .* say columns={'age': 'its name'}"):
        cohort = wb.build_cohort(records, metadata=table)
    assert cohort["age"].values.tolist() == [50, 60, 70]
    assert cohort["sex"].values.tolist() == ["female", "male", "female"]


def test_usual_names_are_understood_and_any_others_are_told(records):
    usual = pd.DataFrame({"File Name": [f"data/{n}.hea" for n in NAMES], "Subject_ID": [7, 7, 8], "GENDER": list("FMF"),
                          "anchor age": [50, 60, 70]})  # fmt: skip
    told = usual.rename(columns={"File Name": "x", "Subject_ID": "y", "GENDER": "z", "anchor age": "w"})
    a = wb.build_cohort(records, metadata=usual)
    b = wb.build_cohort(records, metadata=told, columns={"record": "x", "patient": "y", "sex": "z", "age": "w"})
    for cohort in (a, b):
        assert cohort["patient"].values.tolist() == ["7", "7", "8"]
        assert cohort["sex"].values.tolist() == ["female", "male", "female"]
        assert cohort["age"].values.tolist() == [50, 60, 70]
    with pytest.raises(wb.RecordError, match=r"no column 'record' .* it has Subject_ID, GENDER, anchor age. Say which"):
        wb.build_cohort(records, metadata=usual.drop(columns="File Name"))
    with pytest.raises(wb.RecordError, match="no column 'path' of recordings; it has Subject_ID, GENDER, anchor age"):
        wb.build_cohort(usual.drop(columns="File Name"))
    with pytest.raises(wb.RecordError, match="no column 'q'; it has x, y, z, w"):
        wb.build_cohort(records, metadata=told, columns={"record": "q"})
    with pytest.raises(wb.RecordError, match=r"turned round\? {'patient': 'y'}"):
        wb.build_cohort(records, metadata=told, columns={"y": "patient"})
    with pytest.raises(wb.RecordError, match="there is none"):
        wb.build_cohort(records, columns={"patient": "y"})


def test_of_two_columns_the_one_taken_is_said_and_id_is_taken_only_where_it_fits(records):
    table = pd.DataFrame({"record": NAMES, "patient_id": [1, 2, 3], "subject_id": [9, 9, 8], "id": [5, 6, 7]})
    cohort, said = built(records, table)
    assert cohort["patient"].values.tolist() == ["1", "2", "3"]
    assert any("patient is taken from the column 'patient_id', not from 'subject_id'" in line for line in said)
    by_id = pd.DataFrame({"id": NAMES, "file": ["u", "v", "w"], "patient": list("abc"), "age": [1, 2, 3]})
    assert built(records, by_id)[0]["age"].values.tolist() == [1, 2, 3]
    with pytest.raises(wb.RecordError, match="no column 'record'"):
        wb.build_cohort(records, metadata=pd.DataFrame({"id": [5, 6, 7], "age": [1, 2, 3]}))


def test_a_column_that_looks_like_a_patient_and_is_not_used_is_named(records):
    _, said = built(records, pd.DataFrame({"record": NAMES, "MRN": [1, 1, 2]}))
    assert any("no column is taken for the patient, though 'MRN' looks like one" in line for line in said)


def test_names_of_records_and_patients_are_texts_whole_and_as_written(records):
    assert [id_text(x) for x in (15709.0, "15709.0", 15709, "001", "NA", None, np.nan, " a ", np.float64(7), 1.5)] == [
        "15709", "15709", "15709", "001", "NA", "", "", "a", "7", "1.5"]  # fmt: skip
    named = [wb.Record(r.signal, r.fs, r.leads, n) for r, n in zip(records, ("NA", "001", "17"), strict=True)]
    table = pd.DataFrame({"record": ["NA", "001", "17.0"], "patient": ["5.0", "5", "005"], "age": [1, 2, 3]})
    cohort, said = built(named, table)
    assert cohort["age"].values.tolist() == [1, 2, 3]
    assert cohort["patient"].values.tolist() == ["5", "5", "005"]
    assert any("written in different ways" in line and "'005' and '5'" in line for line in said)


def test_a_row_that_fits_two_recordings_by_its_ending_fits_none(ludb_folder, tmp_path):
    for k, part in enumerate(("a", "b"), 1):
        (tmp_path / part).mkdir()
        for kind in ("hea", "dat"):
            shutil.copy(ludb_folder / "data" / f"{k}.{kind}", tmp_path / part / f"x.{kind}")
            text = (tmp_path / part / "x.hea").read_text() if kind == "hea" else ""
            if text:
                (tmp_path / part / "x.hea").write_text(text.replace(f"{k} 12", "x 12", 1).replace(f"{k}.dat", "x.dat"))
    rows = pd.DataFrame({"record": ["x", "a/x.hea"], "age": [30, 40], "patient": ["p", "q"]})
    cohort, said = built(tmp_path, rows)
    assert cohort["record"].values.tolist() == ["a/x", "b/x"]
    assert cohort["age"].values.tolist() == [40, 64]  # of the table, and of the header
    assert any("1 metadata row fits no recording, such as 'x'; 1 recording has no metadata row, such as 'b/x'" in line
               for line in said)  # fmt: skip
    assert json.loads(cohort.attrs["records_without_metadata"]) == ["b/x"]


TEXT = "record,age,sex,site,patient\np1,50,M,Köln,1\np2,60,F,Århus,2\np3,70,F,x,3\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        gzip.compress(TEXT.encode(), mtime=0),
        TEXT.replace(",", ";").encode(),
        TEXT.replace(",", "\t").encode("utf-16"),
        b"sep=;\r\n" + TEXT.replace(",", ";").replace("\n", "\r\n").encode(),
    ],
)
def test_a_table_is_read_whatever_wrote_it(data, records, tmp_path):
    (tmp_path / "t.csv").write_bytes(data)
    cohort = wb.build_cohort(records, metadata=tmp_path / "t.csv")
    assert cohort["site"].values.tolist() == ["Köln", "Århus", "x"]
    assert cohort["age"].values.tolist() == [50, 60, 70]


def test_latin_1_is_read_and_said_and_decimal_commas_are_numbers(records, tmp_path):
    (tmp_path / "t.csv").write_bytes(
        "record;age;site;patient\np1;50,5;Köln;a\np2;60,0;x;b\np3;;x;c\n".encode("latin-1")
    )
    cohort, said = built(records, tmp_path / "t.csv")
    np.testing.assert_array_equal(cohort["age"], [50.5, 60, np.nan])
    assert str(cohort["site"].values[0]) == "Köln"
    assert len(said) == 1
    assert "t.csv is not UTF-8 and is read as cp1252" in said[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04rest", r"an Excel file; give the table itself: pd.read_excel"),
        (b"PAR1rest", r"pd.read_parquet"),
        (b"record,age\np1,50,M\np2,60,F\n", "rows have more cells than its first line names"),
        (b"record,age\n\x81\0\xff\n", "is no text"),
        (b"record,age\n", "metadata has no rows"),
        (b"", "cannot be read as a CSV"),
        (b"record,age\n,50\n,60\n", "its column of records is empty"),
    ],
)
def test_a_table_that_cannot_be_used_says_what_to_do(data, message, records, tmp_path):
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(wb.RecordError, match=message):
        wb.build_cohort(records, metadata=tmp_path / "t.csv")


def test_two_equal_rows_are_one_and_two_that_differ_are_refused(records):
    rows = pd.DataFrame({"record": [*NAMES, "p1"], "age": [1, 2, 3, 1], "patient": list("abca")})
    assert wb.build_cohort(records, metadata=rows)["age"].values.tolist() == [1, 2, 3]
    rows.loc[3, "age"] = 9
    with pytest.raises(wb.RecordError, match="two rows for record 'p1'"):
        wb.build_cohort(records, metadata=rows)


def test_zeros_that_a_spreadsheet_took_are_noticed(records):
    named = [wb.Record(records[0].signal, 500, records[0].leads, "0017")]
    with pytest.raises(wb.RecordError, match="lost leading zeros"):
        wb.build_cohort(named, metadata=pd.DataFrame({"record": [17], "age": [50]}))


def test_a_table_without_pandas_guesses_keeps_na_as_a_name(tmp_path):
    (tmp_path / "t.csv").write_text("record,age,patient\nNA,NA,NA\nnull,5,x\n001,6,007\n")
    table = read_table(tmp_path / "t.csv")
    assert table["record"].tolist() == ["NA", "null", "001"]
    assert np.isnan(table["age"][0])
    notes = Notes()
    assert tidy({"record": "NA", "patient": "NA", "age": 5}, notes) == {"age": 5.0}
    assert "patient of 1" in notes.lines()[0]
    ours, left = understood(table, None, notes)
    assert (list(ours), left) == (["record", "patient", "age"], [])


def test_a_packed_table_without_end_is_not_unpacked(records, tmp_path):
    with gzip.open(tmp_path / "people.csv.gz", "wb", compresslevel=1) as file:
        file.write(b"record,age\np1,50\n")
        for _ in range(257):
            file.write(bytes(2**20))
    with pytest.raises(wb.RecordError, match="more than 256 MiB of text"):
        built(records, tmp_path / "people.csv.gz")


def test_the_command_line_says_what_files_and_tables_do_not(tmp_path):
    rhythms = wb.open_cohort("ludb", rhythm=True).isel(record=slice(2))
    folder = tmp_path / "arrays"
    folder.mkdir()
    for name, x in zip("ab", rhythms["rhythm"].values, strict=True):
        np.save(folder / f"{name}.npy", x.astype(float))
    (tmp_path / "people.csv").write_text("record,case\na,p1\nb,p2\n")
    told = ["--leads", *wb.LEADS, "--fs", "500", "--unit", "uV", "--columns", "patient=case"]
    out = tmp_path / "mine.zarr"
    assert main(["build", str(folder), str(out), "--metadata", str(tmp_path / "people.csv"), *told]) == 0
    made = wb.open_cohort(out)
    assert made["patient"].values.tolist() == ["p1", "p2"]
    np.testing.assert_allclose(made["r_v5"], rhythms["r_v5"], atol=20)
    with pytest.raises(SystemExit):
        main(["build", str(folder), str(tmp_path / "other.zarr"), "--columns", "case"])
