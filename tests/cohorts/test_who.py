"""Who is who: said as a cohort is built, kept with it, and in the way of splits that leak; cohorts joined."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.signal import resample_poly

import ecgwb as wb
from ecgwb.cohorts.copies import hash_of, outline_of, same_recordings
from ecgwb.cohorts.layouts import WITHDRAWN
from ecgwb.cohorts.people import names_patients, own_names, sources_of
from ecgwb.cohorts.sources import unpack
from ecgwb.models.prediction import _seen
from ecgwb.recordings.identity import pseudonym
from ecgwb.recordings.reading import read_flagged

SMALL = {"name": "compact", "width": 4}


def spoken(call, *args, **kwargs):
    """What a call gives, and all its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        made = call(*args, **kwargs)
    return made, [str(w.message) for w in caught]


@pytest.fixture(scope="module")
def read(ludb_folder):
    return [wb.read_record(ludb_folder / "data" / str(i)) for i in range(1, 7)]


def records(read, *names, **metadata):
    """Some of the recordings, each under a name and with metadata of its own."""
    return [
        replace(r, record_id=n, metadata={k: v[i] for k, v in metadata.items()})
        for i, (r, n) in enumerate(zip(read, names, strict=False))
    ]


@pytest.fixture(scope="module")
def dozen(ludb_folder):
    """Twelve recordings that name nobody."""
    return spoken(wb.build_cohort, [ludb_folder / "data" / f"{i}.hea" for i in range(1, 13)])[0]


@pytest.fixture(scope="module")
def nobody(read):
    return spoken(wb.build_cohort, records(read, "a", "b", "c"))


@pytest.fixture(scope="module")
def somebody(read):
    return spoken(wb.build_cohort, records(read, "a", "b", "c", patient=("x", "x", "y")))


@pytest.fixture(scope="module")
def others(read):
    return spoken(wb.build_cohort, records(read[3:], "a", "b", "d", patient=("x", "z", "z")))[0]


def test_recordings_that_name_nobody_are_said_and_remembered_until_they_are_named(nobody, somebody):
    cohort, said = nobody
    assert [line for line in said if "none of the 3 recordings says whose it is" in line] == said
    assert json.loads(cohort.attrs["who_is_who"])["unnamed"] == 3
    assert not names_patients(cohort)
    _, said = spoken(wb.split_patients, cohort)
    assert len(said) == 1
    assert "one person may be on both sides: none of the 3 recordings" in said[0]
    named = cohort.assign_coords(patient=("record", ["p", "p", "q"]))
    assert names_patients(named)
    assert spoken(wb.split_patients, named)[1] == []
    assert somebody[1] == []
    assert names_patients(somebody[0])
    assert spoken(wb.split_patients, somebody[0])[1] == []


def test_a_table_that_says_the_record_is_the_patient_is_believed(read):
    cohort, said = spoken(wb.build_cohort, records(read, "a", "b", patient=("a", "b")))
    assert said == []
    assert names_patients(cohort)


def test_a_recording_that_is_there_twice_is_found_in_any_order_of_leads_and_at_any_scale(read):
    one = read[0]
    turned = replace(one, signal=one.signal[::-1], leads=one.leads[::-1])
    eight = wb.Record(one.signal[[one.leads.index(x) for x in wb.LEADS]], one.fs, wb.LEADS)
    louder = replace(one, signal=one.signal * 2.5)
    assert len({hash_of(r) for r in (one, turned, eight, louder)}) == 1
    changed = one.signal.copy()
    changed[0, 100] += 50
    gap = one.signal.copy()
    gap[0, 100] = np.nan
    assert len({hash_of(r) for r in (one, replace(one, signal=changed), replace(one, signal=gap), read[1])}) == 4

    twice = [*records(read, "a", "b", patient=("x", "y")), replace(turned, record_id="c", metadata={"patient": "z"})]
    cohort, said = spoken(wb.build_cohort, twice)
    assert said == ["1 recording is there more than once under different patients, such as 'a' and 'c'"]
    assert json.loads(cohort.attrs["who_is_who"])["two_patients"] == [["a", "c"]]
    assert "'a' and 'c'" in spoken(wb.split_patients, cohort)[1][0]
    assert spoken(wb.split_patients, cohort.isel(record=[0, 1]))[1] == []  # only what is still there
    twice[2].metadata["patient"] = "x"
    cohort, said = spoken(wb.build_cohort, twice)
    assert said == ["1 recording is there more than once, with the same samples, such as 'a' and 'c'"]
    assert spoken(wb.split_patients, cohort)[1] == []  # they are one person's, on one side


def copies(record):
    """Of a recording, what other formats make of it: larger steps, another rate, eight leads in another order."""
    for step in (1.0, 2.5, 5.0):
        yield replace(record, signal=np.round(record.signal / step) * step)
    yield replace(record, signal=resample_poly(record.signal, 2, 1, axis=1), fs=2 * record.fs)
    eight = [record.leads.index(lead) for lead in wb.LEADS[::-1]]
    yield replace(record, signal=-3 * np.round(record.signal[eight] / 4.88) * 4.88 + 100, leads=wb.LEADS[::-1])


def test_a_copy_in_other_steps_or_at_another_rate_is_found_and_no_two_people_are_one(ludb_folder):
    folders = [(ludb_folder / "data", "*.hea"), (unpack("ptbxl500") / "records500", "*/*_hr.hea")]
    all_ = [read_flagged(f) for folder, what in folders for f in sorted(folder.glob(what))]
    assert len(all_) == 700
    outlines, samples = (np.array([of(r) for r in all_]) for of in (outline_of, hash_of))
    groups, other_steps = same_recordings({"samples": samples, "outline": outlines})
    assert groups == same_recordings({"samples": samples})[0]
    of_twice = {all_[k].record_id for g in groups for k in g}
    assert all(any(all_[k].record_id[2:5] in WITHDRAWN for k in g) for g in groups)
    assert len(of_twice) > 8  # of which PTB-XL has withdrawn one each
    assert other_steps == []
    for record in all_[::25]:
        both = [record, *copies(record), all_[1] if record is all_[0] else all_[0]]
        of = {k: np.array([f(r) for r in both]) for k, f in (("samples", hash_of), ("outline", outline_of))}
        assert same_recordings(of) == ([list(range(6))], [list(range(6))])


def test_a_recording_in_two_formats_is_said(read):
    rounded = replace(read[0], signal=np.round(read[0].signal / 2.5) * 2.5)
    both = records([read[0], read[1], rounded], *"abc", patient=tuple("xyx"))
    cohort, said = spoken(wb.build_cohort, both)
    assert said == [
        "1 recording is there more than once, with the same samples but for steps or rate, such as 'a' and 'c'"
    ]
    assert json.loads(cohort.attrs["who_is_who"])["copies"] == [["a", "c"]]
    both[2].metadata["patient"] = "z"
    cohort, said = spoken(wb.build_cohort, both)
    assert said == ["1 recording is there more than once under different patients, such as 'a' and 'c'"]
    assert "'a' and 'c'" in spoken(wb.split_patients, cohort)[1][0]


def test_records_without_names_are_split_all_the_same(somebody):
    discovery, test = wb.split_patients(somebody[0].drop_vars("record"))
    assert discovery.sizes["record"] + test.sizes["record"] == 3
    assert names_patients(somebody[0].drop_vars("record"))


def test_a_part_can_be_split_again_and_nobody_is_on_two_sides(ludb):
    rest, test = wb.split_patients(ludb, test=0.3)
    train, validation = wb.split_patients(rest, test=0.3)
    sides = [set(part["patient"].values) for part in (train, validation, test)]
    assert [len(side) for side in sides] == [part.sizes["record"] for part in (train, validation, test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 200
    assert 25 < len(sides[1]) < 60
    again = wb.split_patients(ludb, test=0.3)
    assert again[1]["record"].values.tolist() == test["record"].values.tolist()


def test_a_split_with_nobody_on_one_side_is_refused(ludb):
    with pytest.raises(wb.RecordError, match="all 20 patients would be"):
        wb.split_patients(ludb.isel(record=slice(20)), test=0.0001)


def test_recordings_without_energy_are_not_the_same():
    flat, short = wb.Record(np.ones((2, 5000)), 500, ["I", "II"]), wb.Record(np.eye(2, 20), 500, ["I", "II"])
    empty = wb.Record(np.full((2, 5000), np.nan), 500, ["I", "II"])
    assert [outline_of(r) for r in (flat, short, empty)] == [""] * 3
    assert same_recordings({"outline": np.array(["", "", "nan"])}) == ([], [])
    assert same_recordings({}) == ([], [])


def test_patients_written_in_different_ways_are_named(read):
    cohort, said = spoken(wb.build_cohort, records(read, *"abcd", patient=("P 07", "p7", "p70", "p7.0")))
    assert len(said) == 1
    assert "1 patient is written in different ways" in said[0]
    assert json.loads(cohort.attrs["who_is_who"])["alike"] == [["P 07", "p7", "p7.0"]]
    assert "p7" in spoken(wb.split_patients, cohort)[1][0]


def test_pseudonyms_of_a_number_with_and_without_leading_zeros_are_alike(read):
    people = tuple(map(pseudonym, ("00012345", "12345", "2345")))
    _, said = spoken(wb.build_cohort, records(read, *"abc", patient=people))
    (line,) = said
    assert f"1 patient is written in different ways and counted as different people, such as {people[1]!r}" in line


def test_training_and_discovery_warn_of_people_who_may_be_two(nobody, dozen, read):
    cohort = nobody[0]
    _, said = spoken(wb.fit, dozen, "qt", net=SMALL, epochs=1, validation=0.34, progress=False)
    assert sum("one person may be on both sides" in line for line in said) == 1
    from ecgwb.discovery.discover import _groups_of

    same = spoken(wb.build_cohort, records(read, "d"))[0]
    with pytest.warns(UserWarning, match="on both sides") as caught:
        wb.split_patients(cohort)
    assert caught[0].filename == __file__
    _, said = spoken(_groups_of, cohort, same, None)
    assert len(said) == 1
    assert "under" not in said[0]
    assert "none of the 4 recordings" in said[0]


# ---------------------------------------------------------------- joined


def test_joined_cohorts_keep_people_apart_and_say_where_each_record_is_from(somebody, others):
    a = somebody[0].assign_attrs(source="one", credit="C1")
    b = others.assign_attrs(
        source="two", credit="C2", excluded=json.dumps([{"record": "q", "step": "read", "reason": "r"}])
    )
    both = wb.cohorts.concat([a, b])
    assert both["record"].values.tolist() == ["one/a", "one/b", "one/c", "two/a", "two/b", "two/d"]
    assert both["patient"].values.tolist() == ["one/x", "one/x", "one/y", "two/x", "two/z", "two/z"]
    assert both["source"].values.tolist() == ["one"] * 3 + ["two"] * 3
    assert own_names(both).tolist() == ["x", "x", "y", "x", "z", "z"]
    assert wb.cohorts.in_words(both) == "one + two, 4 people in 6 recordings"
    assert both.attrs["credit"] == "C1; C2"
    assert wb.excluded(both)["record"].tolist() == ["two/q"]
    parts = json.loads(both.attrs["joined"])
    assert [(p["name"], p["records"], p["credit"]) for p in parts] == [("one", 3, "C1"), ("two", 3, "C2")]
    np.testing.assert_array_equal(both["beat"].values, np.concatenate([a["beat"], b["beat"]]))
    np.testing.assert_array_equal(both["rhythm"].values, np.concatenate([a["rhythm"], b["rhythm"]]))
    assert both["beat"].attrs["units"] == "µV"
    assert set(both.variables) == set(a.variables) | {"source", "folds"}
    same = wb.cohorts.concat([a, b], names=["u", "v"], same_people=True)
    assert same["patient"].values.tolist() == ["x", "x", "y", "x", "z", "z"]
    assert wb.cohorts.check(same).sizes["record"] == 6
    with pytest.raises(ValueError, match="joined already"):
        wb.cohorts.concat([both, a])


def test_names_stay_where_they_differ_and_sources_of_one_name_are_numbered(somebody, others):
    a, b = somebody[0].isel(record=[2]), others.isel(record=[2])
    both = wb.cohorts.concat([a, b])
    assert both["record"].values.tolist() == ["c", "d"]
    assert both["source"].values.tolist() == ["records-1", "records-2"]
    assert both["patient"].values.tolist() == ["records-1/y", "records-2/z"]
    for names in (["x"], ["x", "x"], ["x/y", "z"], "xy"):
        with pytest.raises(ValueError, match="names"):
            wb.cohorts.concat([a, b], names=names)


def test_a_recording_in_two_cohorts_is_refused(somebody, read):
    again = spoken(wb.build_cohort, records([read[1], read[4]], "r", "s", patient=("x", "t")))[0]
    with pytest.raises(ValueError, match=r"1 recording is in two .* 'b' of 'records-1', which is 'r' of 'records-2'"):
        wb.cohorts.concat([somebody[0], again])
    without = [c.drop_vars("samples") for c in (somebody[0], again)]
    with pytest.raises(ValueError, match="1 recording is in two"):
        wb.cohorts.concat(without)
    assert wb.cohorts.concat([somebody[0], again.drop_sel(record=["r"])]).sizes["record"] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.assign_attrs(filters="another"), "differ in 'filters'"),
        (lambda c: c.assign(qt=c["qt"].assign_attrs(units="s")), "'qt' in ms and in s"),
    ],
)
def test_cohorts_made_differently_do_not_join(somebody, others, change, message):
    with pytest.raises(ValueError, match=message):
        wb.cohorts.concat([somebody[0], change(others)])


def test_what_a_part_lacks_is_unknown(somebody, nobody, others):
    a = nobody[0].assign(ef=("record", [1.0, 2.0, 3.0]), w=("record", ["u", "v", "w"])).drop_vars(["rhythm"])
    both = wb.cohorts.concat([a, others])
    np.testing.assert_array_equal(both["ef"], [1, 2, 3, np.nan, np.nan, np.nan])
    assert both["w"].values.tolist() == ["u", "v", "w", "", "", ""]
    assert "rhythm" not in both
    assert both["patient_named"].values.tolist() == [0, 0, 0, 1, 1, 1]
    assert json.loads(both.attrs["who_is_who"])["unnamed"] == 3


def test_a_joined_cohort_still_tells_whom_a_network_has_seen(somebody, others):
    folded = somebody[0].assign_attrs(source="ptbxl", folds="ptbxl", credit="P").assign_coords(
        fold=("record", [1, 9, 10]), patient=("record", ["ptbxl-1", "ptbxl-1", "ptbxl-2"])
    )  # fmt: skip
    both = wb.cohorts.concat([folded, others.assign_attrs(source="mine")])
    assert [(s, f, rows.tolist()) for s, f, rows in sources_of(both)] == [
        ("ptbxl", "ptbxl", [0, 1, 2]), ("mine", "", [3, 4, 5])]  # fmt: skip
    assert both["patient"].values.tolist() == ["ptbxl-1", "ptbxl-1", "ptbxl-2", "mine/x", "mine/z", "mine/z"]
    by_fold = wb.ModelSpec(targets=("qt",), trained_on={"ptbxl": ["ptbxl fold 1"]})
    by_name = wb.ModelSpec(targets=("qt",), trained_on={"ptbxl": ["ptbxl-2"], "mine": ["z"]})
    assert _seen(by_fold, both).tolist() == [True, False, False, False, False, False]
    assert _seen(by_name, both).tolist() == [False, False, True, False, True, True]
    assert _seen(by_name, both.isel(record=[5, 0])).tolist() == [True, False]
    lost = both.drop_vars("fold")
    seen, said = spoken(_seen, by_fold, lost)
    assert seen.tolist() == [True, True, True, False, False, False]
    assert "has lost its attribute or column of folds" in said[0]


def test_a_network_that_learnt_from_a_joined_cohort_knows_its_people_in_each_part(dozen):
    people = [f"p{k % 6}" for k in range(12)]
    named = dozen.assign_coords(patient=("record", people))
    parts = [
        named.isel(record=rows).assign_attrs(source=name) for name, rows in (("one", range(6)), ("two", range(6, 12)))
    ]
    both = wb.cohorts.concat(parts)
    assert len(set(both["patient"].values)) == 12
    model = wb.fit(both, "qt", net=SMALL, epochs=1, validation=0.3, progress=False)
    assert model.spec.trained_on == {"one": people[:6], "two": people[:6]}
    for cohort in (*parts, both):
        assert _seen(model.spec, cohort).all()


def test_a_recording_may_be_there_again_and_again(somebody):
    many = somebody[0].isel(record=np.repeat([0, 1, 2], 4))
    many = many.assign_coords(record=[str(k) for k in range(12)])
    assert wb.cohorts.check(many).sizes["record"] == 12


def test_cohorts_joined_by_hand_are_noticed(somebody, others):
    renamed = others.assign_coords(record=["d", "e", "f"])
    by_hand = xr.concat([somebody[0], renamed], "record", data_vars="minimal", coords="minimal", compat="override",
                        join="outer", combine_attrs="override")  # fmt: skip
    with pytest.raises(wb.RecordError, match=r"holds 6 records and was built of 3.*wb.cohorts.concat"):
        wb.split_patients(by_hand)
    twice = xr.concat([somebody[0], others], "record", join="outer", combine_attrs="override")
    with pytest.raises(wb.RecordError, match=r"record 'a' twice.*wb.cohorts.concat"):
        wb.cohorts.check(twice)


def test_a_joined_cohort_is_stored_and_opened(somebody, others, tmp_path):
    both = wb.cohorts.concat([somebody[0], others])
    both.to_zarr(tmp_path / "c.zarr", zarr_format=2)
    opened = wb.open_cohort(tmp_path / "c.zarr")
    assert opened["source"].values.tolist() == both["source"].values.tolist()
    assert opened.attrs["joined"] == both.attrs["joined"]
    assert wb.cohorts.check(opened).sizes["record"] == 6


def test_rows_without_a_patient_are_counted(read):
    table = pd.DataFrame({"record": list("abc"), "patient": ["x", None, "y"]})
    cohort, said = spoken(wb.build_cohort, records(read, *"abc"), metadata=table)
    assert cohort["patient"].values.tolist() == ["x", "b", "y"]
    assert [line.split(",")[0] for line in said] == ["1 of 3 recordings does not say whose it is"]
