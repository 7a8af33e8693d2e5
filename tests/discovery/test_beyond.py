import numpy as np
import pandas as pd
import pytest
from conftest import TYPICAL, made_cohort

import ecgwb as wb
from ecgwb.discovery.beyond import KNOWN, Beyond, freed_table, known_columns
from ecgwb.discovery.comparisons import compare_features
from ecgwb.discovery.features import Feature
from ecgwb.discovery.left import Known, People, left_over
from ecgwb.discovery.manifests import freeze, load_manifest
from ecgwb.discovery.regression import likelihood_ratio

V2 = Feature("amplitude", "V2", (("R", 0.0, "J"),))
V5 = Feature("amplitude", "V5", (("R", 0.0, "J"),))
BOTH = Feature("product", of=(V2, V5), centre=(900.0, 900.0))
FAR = Feature("distance", of=(V2,), centre=(900.0,))


def drawn(n, seed, effect, prefix, rho=0.0):
    """R of V2 and V5 drawn for everybody; the log-odds of the outcome are `effect` of (V2, V5, their product)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    z[:, 1] = rho * z[:, 0] + np.sqrt(1 - rho**2) * z[:, 1]
    beat = np.zeros((n, 8, 600))
    time = made_cohort(TYPICAL)["time"].values
    for k, lead in enumerate((3, 6)):
        beat[:, lead] = (900 + 200 * z[:, [k]]) * np.maximum(1 - np.abs(time) / 20, 0)
    log_odds = z @ effect[:2] + effect[2] * z[:, 0] * z[:, 1]
    y = (rng.random(n) < 1 / (1 + np.exp(-log_odds))).astype(float)
    out = made_cohort(np.tile(TYPICAL, (n, 1)), beat, [f"{prefix}{i}" for i in range(n)])
    out = out.assign(male=("record", y), hr=("record", 70 + rng.normal(size=n)))
    return out.assign_coords(age=("record", rng.uniform(20, 80, n))).assign_attrs(source="drawn")


def test_what_follows_from_known_columns_adds_nothing_and_what_does_not_does():
    found, other = (drawn(800, k, (1.0, 0.0, 0.0), p, rho=0.8) for k, p in ((0, "d"), (1, "t")))
    alone = compare_features(freeze([V5], found, tried={"x": 1}), other)
    assert alone.loc[V5.name, "p"] < 1e-6  # by way of V2 alone
    beyond = compare_features(freeze([V5], found, known=["r_uv_V2"], tried={"x": 1}), other)
    assert beyond.loc[V5.name, "p"] > 0.05
    assert beyond.loc["baseline", "score"] > 0.7  # what is known is in the baseline
    new = compare_features(freeze([V2], found, known=["r_uv_V5"], tried={"x": 1}), other)
    assert new.loc[V2.name, "p"] < 1e-6


def test_a_product_or_a_distance_is_tested_for_more_than_its_parts():
    for effect, passes in (((1.0, 1.0, 0.0), False), ((0.0, 0.0, 1.0), True)):
        found, other = (drawn(1500, k, effect, p) for k, p in ((2, "d"), (3, "t")))
        table = compare_features(freeze([BOTH], found, known=["age"], tried={"x": 1}), other)
        assert (table.loc[BOTH.name, "p"] < 1e-6) == passes
        table = compare_features(freeze([FAR], found, known=["age"], tried={"x": 1}), other)
        assert table.loc[FAR.name, "p"] > 0.05


def test_an_effect_against_that_of_discovery_counts_as_none():
    found, other = drawn(800, 4, (1.0, 0.0, 0.0), "d"), drawn(800, 5, (-1.0, 0.0, 0.0), "t")
    row = compare_features(freeze([V2], found, known=["age"], tried={"x": 1}), other).loc[V2.name]
    assert row["p"] == 1
    assert row["note"] == "the effect is against that in discovery"


def test_tests_beyond_many_known_columns_keep_their_level():
    """400 discovery and 300 test people, 30 known columns, and a measurement that follows from them in part."""
    rng = np.random.default_rng(0)
    names = [f"k{i}" for i in range(30)]
    p = []
    for _ in range(150):
        weights, own = rng.normal(size=30) / 5, rng.normal(size=30) / 5
        tables = []
        for n in (400, 300):
            x = rng.normal(size=(n, 30))
            y = (rng.random(n) < 1 / (1 + np.exp(-x @ weights))).astype(float)
            tables.append(pd.DataFrame(x, columns=names).assign(y=y, f=x @ own + rng.normal(size=n)))
        beyond = Beyond.of(tables[0], names, tables[0]["y"].to_numpy(), True)
        fit = beyond.fitted(tables[0], tables[0][["f"]].to_numpy())[:, 0]
        t = freed_table(beyond._replace(features={"f": fit.tolist()}), tables[1], {})
        small = np.c_[np.ones(300), t[KNOWN]]
        p.append(likelihood_ratio(t["y"].to_numpy(), small, np.c_[small, t["f"]], True)[0])
    assert np.mean(np.array(p) <= 0.05) <= 0.1  # 97.5 % quantile of a binomial of 150 at 0.05: 0.087


def test_with_many_more_people_to_test_on_than_to_learn_from_the_level_holds():
    """What frozen coefficients miss grows with the people tested, so all known columns are fitted anew on these."""
    rng = np.random.default_rng(0)
    names = [f"k{i}" for i in range(40)]
    p = []
    for _ in range(100):
        weights, own = rng.normal(size=40) / 6, rng.normal(size=40) / 6
        groups = []
        for n in (200, 4000):
            x = rng.normal(size=(n, 40))
            table = pd.DataFrame(x, columns=names)
            groups.append(People(None, table, x @ weights + rng.normal(size=n), np.arange(n).astype(str)))
            groups.append(x @ own + rng.normal(size=n))
        known = Known.of(groups[0], [], names, False)
        p.append(left_over((groups[0], groups[1]), (groups[2], groups[3]), known)["p"])
    assert np.mean(np.array(p) <= 0.05) <= 0.08  # 2.5 % are expected, as half of the signs are against discovery


def test_a_measurement_that_some_lack_brings_a_column_that_says_so():
    rng = np.random.default_rng(1)
    x = rng.normal(size=400)
    y = (rng.random(400) < np.where(np.arange(400) < 100, 0.9, 0.3)).astype(float)
    x[:100] = np.nan
    beyond = Beyond.of(pd.DataFrame({"pr_ms": x, "flat": 1.0}), ["pr_ms", "flat"], y, True)
    assert beyond.names == ["pr_ms"]
    assert beyond.lacking == ["pr_ms"]
    score = beyond.score(pd.DataFrame({"pr_ms": [np.nan, 0.0, 1e9]}))
    assert score[0] > score[1] + 1
    assert np.isfinite(score).all()
    assert abs(score[2] - score[1]) < 5  # one wild value counts as five SDs


def test_classic_measurements_that_most_people_have_count_as_known(ludb):
    names = known_columns(ludb, "male", ("age", "hr"), "classic")
    assert names[:2] == ["age", "hr"]
    assert "hr_bpm" not in names
    table = wb.measure(ludb)
    assert set(names[2:]) == {c for c in table if table[c].notna().mean() >= 0.8} - {"hr_bpm"}
    assert known_columns(ludb, "male", ("age",), ["qrs_ms"]) == ["age", "qrs_ms"]
    with pytest.raises(ValueError, match="the outcome 'qt' is the classic measurement 'qt_ms'"):
        known_columns(ludb, "qt", ("age", "hr"), "classic")


def test_a_manifest_holds_what_was_known_and_is_read_again(tmp_path):
    found, other = (drawn(300, k, (1.0, 0.0, 0.5), p) for k, p in ((6, "d"), (7, "t")))
    made = freeze([BOTH, FAR], found, known=["r_uv_V2", "qrs_ms"], tried={"x": 1}, path=tmp_path / "m.json")
    again = load_manifest(tmp_path / "m.json")
    assert again == made
    assert made.baseline == ("age", "hr")
    assert "male on age, hr, 3 known columns and" in str(made)
    pd.testing.assert_frame_equal(again.table(other), made.table(other))
    for wrong in ("qrs_ms", ["male"]):
        with pytest.raises(ValueError, match="expected a list of columns without the outcome 'male'"):
            freeze([BOTH], found, known=wrong, tried={"x": 1})
    text = (tmp_path / "m.json").read_text()
    (tmp_path / "m.json").write_text(text.replace('"lacking": []', '"lacking": ["qrs_ms"]'))
    with pytest.raises(ValueError, match="was changed after it was frozen"):
        load_manifest(tmp_path / "m.json")
