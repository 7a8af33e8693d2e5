import json
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from conftest import TYPICAL, made_cohort
from scipy.stats import chi2, norm

import ecgwb as wb
from ecgwb.discovery.comparisons import compare_features
from ecgwb.discovery.features import Feature
from ecgwb.discovery.manifests import freeze, load_manifest
from ecgwb.discovery.regression import Column, calibration_slope, design, r_squared, regress, shrunk

R = Feature("amplitude", "V2", (("R", 0.0, "J"),), origin="drawn")
T = Feature("amplitude", "V5", (("T_peak", 0.0, "T_off"),))
P = Feature("amplitude", "II", (("P_peak", 0.0, "P_off"),))
TRIED = {"candidates": 3}


def people(n, seed, effect=1.0, prefix="d", rate=0.0):
    """Beats whose R in V2 is `effect` SDs (of 200 µV) higher in men, T in V5 and P in II of no meaning."""
    rng = np.random.default_rng(seed)
    male = rng.permutation(np.arange(n) % 2)
    beat = np.zeros((n, 8, 600))
    time = made_cohort(TYPICAL)["time"].values
    for lead, at, size in (
        (3, 0, 900 + 200 * (rng.normal(size=n) + effect * male)),
        (6, 250, 300 + 60 * rng.normal(size=n)),
        (1, -150, 100 + 20 * rng.normal(size=n)),
    ):
        beat[:, lead] += size[:, None] * np.maximum(1 - np.abs(time - at) / 20, 0)
    out = made_cohort(np.tile(TYPICAL, (n, 1)), beat, [f"{prefix}{i}" for i in range(n)])
    out["hr"] = ("record", 70 + 10 * rng.normal(size=n) + rate * male)
    out["male"] = ("record", male.astype(float))
    out["pr"] = ("record", 160 + 0.05 * beat[:, 3, 250] + 5 * rng.normal(size=n))
    return out.assign_coords(age=("record", rng.uniform(20, 80, n))).assign_attrs(source="drawn")


@pytest.fixture(scope="module")
def found():
    return people(400, 0)


@pytest.fixture
def manifest(found):
    return freeze([R, T], found, tried=TRIED)


def test_a_planted_effect_is_found_and_a_meaningless_one_is_not(manifest):
    table = compare_features(manifest, people(1500, 1, prefix="t"))
    assert list(table.index) == ["baseline", R.name, T.name, "all features"]
    r, t = table.loc[R.name], table.loc[T.name]
    # Two normals one SD apart: AUC = Phi(1 / sqrt 2); log-odds per SD of R within a sex are 1, and 200 µV to an SD.
    assert r["low"] < norm.cdf(1 / np.sqrt(2)) < r["high"]
    sd = manifest.columns_for(R.name)[-1].spread
    assert r["effect_low"] < sd / 200 < r["effect_high"]
    assert r["p"] < 1e-30
    assert r["change_low"] > 0.1
    assert r["slope_low"] < 1 < r["slope_high"]
    assert t["p"] > 0.01
    assert t["change_low"] < 0.02 < 0.1
    assert (table["note"] == "").all()
    assert table.attrs["score"] == "AUC"
    assert "R" in repr(table)  # pandas compares attrs when it prints


def test_the_likelihood_ratio_is_statsmodels_own_with_straight_covariates(found):
    test = people(300, 3, 0.2, "t")
    for c in (found, test):
        c["young"] = ("record", (c["age"].values < 50).astype(float))
    table = compare_features(freeze([R], found, baseline=["young"], tried=TRIED), test)
    x = sm.add_constant(np.stack([test["young"].values, R.values(test)], axis=1))
    large, small = (sm.Logit(test["male"].values, v).fit(disp=0).llf for v in (x, x[:, :2]))
    assert table.loc[R.name, "lr_p"] == pytest.approx(chi2.sf(2 * (large - small), 1), rel=1e-4)


def test_meaningless_features_are_found_as_seldom_as_promised(found):
    # Holm over two features that mean nothing: at most 5 % of tables hold a finding; 20 tables, so at most 4 here
    # (a binomial exceeds that in 3 of 1,000 cases).
    frozen = freeze([T, P], found, tried=TRIED)
    p = [compare_features(frozen, people(150, 100 + s, prefix=f"t{s}-"))["p"].min() for s in range(20)]
    assert (np.array(p) < 0.05).sum() <= 4
    assert np.median(p) > 0.25


def test_a_number_for_an_outcome_is_scored_by_r2(found):
    table = compare_features(freeze([R, T], found, "pr", ["hr"], tried=TRIED), people(800, 4, prefix="t"))
    assert table.attrs["score"] == "R2"
    size = 0.05 * np.sqrt(200**2 * 1.25)  # what R's spread, of sex and within it, makes of PR
    assert table.loc[R.name, "score"] == pytest.approx(size**2 / (size**2 + 25), abs=0.05)
    assert table.loc[R.name, "effect"] == pytest.approx(size, rel=0.1)
    assert table.loc["baseline", "score"] < 0.02
    assert table.loc[R.name, "slope"] == pytest.approx(1, abs=0.1)


def test_benjamini_hochberg_is_no_stricter_than_holm(manifest):
    test = people(300, 5, 0.2, "t")
    holm = compare_features(manifest, test)["p"]
    with pytest.warns(UserWarning, match="tested on 300 of these people before"):
        bh = compare_features(manifest, test, correction="bh")["p"]
    assert (bh.dropna() <= holm.dropna() + 1e-12).all()


def test_discovery_patients_are_refused(manifest, found):
    mixed = people(300, 1, prefix="t")
    mixed = mixed.assign_coords(patient=("record", np.r_[found["patient"].values[:1], mixed["patient"].values[1:]]))
    with pytest.raises(ValueError, match="1 of 300 patients took part in discovery"):
        compare_features(manifest, mixed)


def test_a_second_look_at_the_same_people_warns_wherever_the_manifest_lies(found, tmp_path):
    path = tmp_path / "sex.json"
    freeze([R], found, tried=TRIED, path=path)
    first, second = people(100, 1, prefix="t"), people(100, 2, prefix="u")
    compare_features(load_manifest(path), first)
    compare_features(load_manifest(path), second)  # others: no warning, which would be an error here
    with pytest.warns(UserWarning, match=r"tested on 40 of these people before \(20.*drawn\)"):
        compare_features(load_manifest(path), first.isel(record=slice(40)))
    assert len(json.loads((tmp_path / "sex.json.ledger.json").read_text())) == 3


def test_a_manifest_comes_back_whole_and_not_if_it_was_changed(found, tmp_path):
    path = tmp_path / "sex.json"
    made = freeze([R, T], found, tried=TRIED, path=path)
    again = load_manifest(path)
    assert again == made
    assert again.sha256 == made.sha256
    assert '"d17"' not in path.read_text()  # no patient's name
    assert "tried: 3 candidates" in str(again)
    with pytest.raises(ValueError, match="written once"):
        freeze([R], found, tried=TRIED, path=path)
    path.write_text(path.read_text().replace('"candidates": 3', '"candidates": 2'))
    with pytest.raises(ValueError, match="changed after it was frozen"):
        load_manifest(path)


def test_missing_values_are_counted_row_by_row(manifest):
    test = people(300, 1, prefix="t")
    test["fiducial"][:20, 6:] = np.nan
    test["hr"][20:25] = np.nan
    table = compare_features(manifest, test)
    assert table["n"].tolist() == [295, 295, 275, 275]
    assert table["n_missing"].tolist() == [5, 5, 25, 25]


def test_one_record_per_patient_counts(manifest):
    test = people(300, 1, prefix="t")
    twice = test.isel(record=np.r_[0:300, 0:100]).assign_coords(record=[str(i) for i in range(400)])
    assert compare_features(manifest, twice).loc["baseline", "n"] == 300


@pytest.mark.parametrize(
    ("features", "change", "message"),
    [
        ([Feature("amplitude", "V6", (("R", 0.0, "J"),))], lambda d: d, r"'V6: .*' is constant \(0\) on the 400"),
        ([R, Feature("ratio", of=(R, Feature("duration", "", (("R", 0.0, "J"), ("R", 1.0, "J")))))], lambda d: d,
         "follows from"),
        ([R], lambda d: d.isel(record=slice(5)), "5 of 5 discovery patients have male"),
        ([R], lambda d: d.assign(male=d["male"] * np.nan), "0 of 400 discovery patients"),
        ([R], lambda d: d.assign(male=d["male"] * 0 + 1), "'male' is 1 for all 400"),
        ([R], lambda d: d.assign(male=d["male"] + 1), "values 1 and 2; expected 0 and 1"),
        ([R, R], lambda d: d, "given twice"),
        ([], lambda d: d, "no feature to freeze"),
    ],
)  # fmt: skip
def test_what_cannot_be_frozen_is_refused(found, features, change, message):
    with pytest.raises(ValueError, match=message):
        freeze(features, change(found), tried=TRIED)


def test_freezing_wants_counts_numbers_and_patients(found):
    with pytest.raises(ValueError, match="some records have no patient"):
        freeze([R], found.assign_coords(patient=("record", ["", *found["patient"].values[1:]])), tried=TRIED)
    with pytest.raises(ValueError, match="say what was tried"):
        freeze([R], found)
    with pytest.raises(ValueError, match="neither a number per record"):
        freeze([R], found, baseline=["shoe size"], tried=TRIED)
    with pytest.raises(ValueError, match=r"'sex' holds text.*take 'male'"):
        freeze([R], found.assign_coords(sex=("record", ["x"] * 400)), "sex", tried=TRIED)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.isel(record=slice(5)), "5 of 5 patients have male and the baseline; a test needs at least 20"),
        (lambda d: d.assign(hr=d["hr"] * np.nan), "0 of 200 .*; 200 lack 'hr'"),
        (lambda d: d.assign(male=d["male"] * 0), "'male' is 0 for all 200 patients"),
    ],
)
def test_people_that_cannot_answer_are_refused(manifest, change, message):
    with pytest.raises(ValueError, match=message):
        compare_features(manifest, change(people(200, 1, prefix="t")))
    with pytest.raises(ValueError, match="froze outcome 'male', not 'pr'"):
        compare_features(manifest, people(200, 1, prefix="t"), "pr")


def test_a_feature_that_is_constant_on_the_test_people_says_so(manifest):
    test = people(200, 1, prefix="t")
    test["beat"][:, 6] = 0.0
    row = compare_features(manifest, test).loc[T.name]
    assert "is constant on these people; no likelihood-ratio test" in row["note"]
    assert np.isnan([row["lr_p"], row["effect"]]).all()
    assert np.isfinite([row["score"], row["change"]]).all()


def test_perfect_separation_is_said_and_leaves_finite_scores(found):
    far = people(400, 0, 40.0)
    frozen = freeze([R, T], far, tried=TRIED)
    assert "ridge" in frozen.notes[R.name]
    row = compare_features(frozen, people(200, 1, 40.0, "t")).loc[R.name]
    assert "separate the outcomes perfectly" in row["note"]
    assert row["score"] == 1.0
    assert np.isnan(row["lr_p"])


def test_a_feature_absent_in_everyone_is_noted_not_dropped(manifest):
    test = people(200, 1, prefix="t")
    test["fiducial"][:, 6:] = np.nan
    table = compare_features(manifest, test)
    assert "0 complete cases" in table.loc[T.name, "note"]
    assert table.loc[R.name, "p"] >= 2 * table.loc[R.name, "lr_p"] * 0.999  # it still counts as tested


def test_splines_follow_a_curve_that_a_line_misses():
    rng = np.random.default_rng(0)
    age = rng.uniform(20, 80, 2000)
    y = np.abs(age - 50)
    curve, line = Column("age", 50, 17, (20, 50, 80)), Column("age", 50, 17)
    table = pd.DataFrame({"age": age})
    r2 = [r_squared(y, x @ regress(y, x, False).params)[0] for x in (design([c], table) for c in (curve, line))]
    assert r2[0] > 0.95
    assert r2[1] < 0.05
    beyond = design([curve], pd.DataFrame({"age": [5.0, 20.0, 80.0, 99.0]}))
    np.testing.assert_array_equal(beyond[0], beyond[1])
    np.testing.assert_array_equal(beyond[2], beyond[3])


def test_a_predictor_twice_too_steep_has_a_calibration_slope_of_a_half():
    rng = np.random.default_rng(0)
    x = rng.normal(size=20000)
    y = (rng.random(20000) < 1 / (1 + np.exp(-x))).astype(float)
    slope, low, high, why = calibration_slope(y, 2 * x, True)
    assert (slope, why) == (pytest.approx(0.5, abs=0.03), "")
    assert low < 0.5 < high


def test_the_ridge_is_the_minimum_of_its_loss_and_vanishes_with_many_people():
    rng = np.random.default_rng(0)
    x = np.c_[np.ones(5000), rng.normal(size=(5000, 2))]
    y = (rng.random(5000) < 1 / (1 + np.exp(-x @ [0.3, 1.0, -0.5]))).astype(float)
    beta = shrunk(y, x, True)
    gradient = x.T @ (1 / (1 + np.exp(-x @ beta)) - y) + np.r_[0, beta[1:]]
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    np.testing.assert_allclose(beta, regress(y, x, True).params, atol=0.01)


def test_on_real_people_qrs_duration_tells_sex(ptbxl, ludb):
    discovery, test = wb.split_patients(ptbxl)
    qrs = Feature("duration", "", (("QRS_on", 0.0, "R"), ("R", 1.0, "J")))
    frozen = freeze([qrs], discovery, tried=TRIED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for cohort in (test, ludb):
            row = compare_features(frozen, cohort, "male", ["age", "hr"]).loc[qrs.name]
            assert row["effect"] > 0  # men's QRS is wider (Hicks et al. 2021)
            assert row["lr_p"] == row["p"]  # one feature: nothing to correct for
            assert row["note"] == ""


def test_what_cannot_be_screened_or_frozen_is_refused(ptbxl):
    with pytest.raises(ValueError, match="is in the baseline"):
        wb.discovery.screen_features(ptbxl, outcome="age")
    with pytest.raises(ValueError, match="8 records have 'male'; expected at least 20"):
        wb.discovery.screen_features(ptbxl.isel(record=slice(8)))
    with pytest.raises(TypeError, match=r"features hold str 'R in V5'; expected wb\.discovery\.Feature"):
        wb.freeze(["R in V5"], ptbxl, tried={"candidates": 1})
