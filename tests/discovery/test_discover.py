import json

import numpy as np
import pytest
from studies.plants import LABEL, PLANTS, planted_cohort

import ecgwb as wb
from ecgwb.discovery.discover import apart, discover, split, take_part
from ecgwb.discovery.manifests import load_manifest

QUIET = {"progress": False}


@pytest.fixture(scope="module")
def found(people, tmp_path_factory):
    """An interplay of QRS and T, found and tested, and where its manifest is."""
    cohort = planted_cohort(people, "QRS x T", 0.7, 0)[0].assign_attrs(source="planted")
    path = tmp_path_factory.mktemp("found") / "manifest.json"
    rows = np.arange(cohort.sizes["record"])
    replication = {"others": cohort.isel(record=rows >= 700)}
    made = discover(cohort.isel(record=rows < 700), LABEL, replication=replication, known=(), path=path, **QUIET)
    return made, path, cohort


def test_an_interplay_is_found_named_and_holds_on_all_people(found):
    made, _, cohort = found
    template = wb.attention.template_of(cohort)
    assert PLANTS["QRS x T"].found_by(made.features[0], template)
    assert made.holds.loc[made.features[0].name, "holds"] == "yes"
    assert list(made.holds) == ["p_test", "p_others", "holds"]
    assert made.network == "pooled network"
    assert set(made.left.index) == {"test", "others"}
    assert sum(made.scan.tried.values()) > 20_000
    assert made.people.loc[["discovery", "test"], "used"].sum() == 700
    assert {"scan", "network", "tests"} <= set(made.seconds)


def test_it_says_in_words_what_was_found(found):
    text = str(found[0])
    assert "planted, beyond 2 known columns." in text
    assert f"{found[0].features[0].name} = {found[0].features[0].formula} (scan): holds (test p " in text
    assert "Does the pooled network tell more than that? On test (" in text


def test_what_was_tried_is_frozen_before_anybody_is_tested(found):
    made, path, _ = found
    kept = load_manifest(path)
    assert kept == made.manifest
    assert kept.tried["pairs"] == made.scan.tried["pairs"]
    assert kept.tried["places and pairs"] == 128
    ledger = json.loads(path.with_name("manifest.json.ledger.json").read_text())
    assert [t["cohort"] for t in ledger] == ["planted", "planted"]


def test_effects_are_given_by_age_and_rate(found):
    made, _, _ = found
    table = made.by_group.xs(made.features[0].name, level="feature").xs("test", level="people")
    ages = table.xs("age", level="by")
    assert ages.loc["all", "n"] == ages.drop("all")["n"].sum()
    assert {"all", "below 50", "50 to 70"} <= set(ages.index)
    assert (ages["low"] < ages["effect"]).all()
    assert ages.loc["all", "p_interplay"] > 0.001
    assert len(table.xs("hr", level="by")) == 4


def test_where_nothing_is_there_it_says_so_and_stops(people):
    cohort = planted_cohort(people, "nothing", 0.0, 3)[0]
    made = discover(cohort, LABEL, known=(), **QUIET)
    assert made.manifest is None
    assert made.features == []
    assert made.places.empty
    assert made.tests.empty
    text = str(made)
    assert "nothing passes" in text
    assert "where it would be is not asked" in text
    assert "no manifest was written" in text


def test_an_outcome_of_numbers_is_told_by_what_tells_it(people):
    rng = np.random.default_rng(0)
    t = wb.measure(people)["t_uv_V5"].to_numpy()
    known = people.assign(score=("record", (t - t.mean()) / t.std() + rng.normal(size=len(t))))
    made = discover(known, "score", known=["qrs_ms"], n=1, **QUIET)
    assert not made.binary
    assert made.holds["holds"].tolist() == ["yes"]
    assert made.features[0].leads() & {"V4", "V5", "V6"}
    assert ", R2 " in str(made)


def test_by_the_scan_or_the_network_alone(people):
    cohort = planted_cohort(people, "spread of V2", 2.5, 1)[0]
    scanned = discover(cohort, LABEL, known=(), network=False, **QUIET)
    assert scanned.left.empty
    assert scanned.network == ""
    assert {f.origin for f in scanned.features} == {"scan"}
    read = discover(cohort, LABEL, known=(), families=(), **QUIET)
    assert read.scan == []
    best = read.places["r"].idxmax()
    assert best.startswith("V2")
    assert best.endswith("QRS")
    assert all(f.origin.startswith("network: V2") for f in read.features)
    assert "No scan was made." in str(read)


# ---------------------------------------------------------------- who takes part


def test_ptbxl_is_split_by_its_folds_and_others_by_patient(ptbxl):
    everyone = wb.open_cohort("ptbxl").isel(record=slice(300))
    first, second = split(everyone)
    assert set(first["fold"].values) == set(range(1, 9))
    assert set(second["fold"].values) == {10}
    named = split(ptbxl)
    assert not set(named[0]["patient"].values) & set(named[1]["patient"].values)


def test_groups_that_share_people_are_refused(people, ptbxl, ludb):
    some = people.isel(record=slice(100))
    with pytest.raises(ValueError, match="'test' and 'discovery' share 100 patients, such as '"):
        apart({"discovery": some, "test": some})
    renamed = some.assign_coords(patient=("record", [f"x{i}" for i in range(100)]))
    with pytest.raises(ValueError, match="share 100 identical beats; people that something is found on"):
        apart({"discovery": some, "test": renamed})
    unnamed = wb.open_cohort("ptbxl").isel(record=slice(0, 200)).load()
    with pytest.raises(ValueError, match="folds, such as 'ptbxl fold "):
        apart({"discovery": unnamed.isel(record=slice(100)), "test": unnamed.isel(record=slice(100, 200))})
    with pytest.raises(ValueError, match="share 10 folds"):  # the same people, by name and at another rate
        apart({"discovery": wb.open_cohort("ptbxl").isel(record=slice(100)).load(), "test": ptbxl})
    apart({"discovery": some, "test": people.isel(record=slice(100, 200)), "LUDB": ludb})


def test_people_are_counted_with_what_they_lack(ptbxl):
    taken, row = take_part(ptbxl, "male", ["age", "hr"], ["age", "hr", "qrs_ms"])
    assert row["used"] == len(taken.y) == len(set(taken.patient))
    assert sum(row.values()) == ptbxl.sizes["record"]
    assert row["second records"] > 0
    with pytest.raises(ValueError, match=r"0 of the 488 records of the cohort can be used \(488 no age\)"):
        take_part(ptbxl.assign_coords(age=("record", np.full(488, np.nan))), "male", ["age"], ["age"])


def test_a_network_that_has_learnt_from_people_it_is_tested_on_is_refused(ptbxl):
    with pytest.raises(wb.ModelError, match=r"the network has learnt from .* records of 'test'; test on"):
        discover(ptbxl, "male", network="compact-sex", families=(), known=(), **QUIET)


def test_small_groups_and_an_age_that_nobody_has_cost_their_rows_alone(people):
    t = wb.measure(people)["t_uv_V5"].to_numpy()
    some = people.assign(score=("record", t / t.std())).isel(record=slice(75))
    some = some.assign_coords(age=("record", np.full(75, np.nan)))
    made = discover(some, "score", known=(), network=False, families=["shapes"], **QUIET)
    assert made.manifest.baseline == ("hr",)
    assert made.by_group.index.unique("by").tolist() == ["hr"]
    wild = people.assign(score=("record", np.where(np.arange(len(t)) == 3, np.inf, t)))
    taken, row = take_part(wild, "score", ["hr"], ["hr"])
    assert row["no score"] == 1
    assert np.isfinite(taken.y).all()


def test_an_effect_the_other_way_round_does_not_hold_whatever_is_known(people):
    t = wb.measure(people)["t_uv_V5"].to_numpy()
    z = t / t.std() + np.random.default_rng(0).normal(size=len(t))
    first, other = (people.isel(record=rows) for rows in (slice(0, 500), slice(500, None)))
    first, other = first.assign(score=("record", z[:500])), other.assign(score=("record", -z[500:]))
    made = discover(first, "score", test=other, baseline=(), known=(), network=False, families=["shapes"], n=1, **QUIET)
    assert made.holds[["p_test", "holds"]].to_numpy().tolist() == [[1.0, "no"]]


def test_what_is_asked_in_vain_is_said(people, tmp_path):
    cohort = planted_cohort(people.isel(record=slice(200)), "nothing", 0.0, 0)[0]
    for wrong, message in (
        ({"known": "qrs_ms"}, "expected 'classic' or a list of columns"),
        ({"families": "shapes"}, "in a list"),
        ({"families": (), "network": False}, "leave nothing to look with"),
        ({"n": 0}, "n is 0; expected 1 or more"),
        ({"alpha": 5}, "alpha is 5; expected a level"),
        ({"baseline": "age"}, "baseline is the text 'age'"),
        ({"known": [LABEL]}, "is among what is known"),
        ({"replication": {"test": people}}, "is called 'discovery' or 'test'"),
        ({"path": tmp_path}, "a manifest is written once"),
        ({"known": ["no such"]}, "'no such' is neither a number per record"),
    ):
        with pytest.raises(ValueError, match=message):
            discover(cohort, LABEL, **({"known": ()} | wrong), **QUIET)
    with pytest.raises(TypeError, match="expected a cohort, or a mapping"):
        discover(cohort, LABEL, replication=[people], known=(), **QUIET)
    with pytest.raises(TypeError, match="expected a name, a file or a network with a spec"):
        discover(cohort, LABEL, network=3, known=(), families=(), **QUIET)
    with pytest.raises(TypeError, match="expected the name of a variable, such as 'male'"):
        discover(cohort, cohort[LABEL].values, known=(), **QUIET)
    with pytest.raises(ValueError, match="seed is -1; expected a whole number of 0 or more"):
        discover(cohort, LABEL, known=(), seed=-1, **QUIET)
    with pytest.raises(ValueError, match="the known column 'copy' is the outcome 'planted' by another name"):
        discover(cohort.assign(copy=cohort[LABEL]), LABEL, known=["copy"], **QUIET)
    with pytest.raises(ValueError, match="the known column 'flat' has 1 values on discovery patients"):
        discover(cohort.assign(flat=0 * cohort[LABEL]), LABEL, known=["flat"], **QUIET)
    other = people.isel(record=slice(200, 300)).assign({LABEL: ("record", 1.0 + np.arange(100) % 2)})
    with pytest.raises(ValueError, match=r"is 0 and 1 on discovery patients, but \[1.0, 2.0\] in 'others'"):
        discover(cohort, LABEL, known=(), replication={"others": other}, **QUIET)
    with pytest.raises(ValueError, match="others: 'planted' is neither a number per record of the cohort"):
        discover(cohort, LABEL, known=(), replication={"others": people.isel(record=slice(200, 300))}, **QUIET)
    same = cohort.assign({LABEL: ("record", np.ones(200))})
    with pytest.raises(ValueError, match="'planted' is 1 for all"):
        discover(same, LABEL, known=(), **QUIET)
