import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import chi2

import ecgwb as wb
from ecgwb.discovery.regression import nested_models


def people(n, seed, effect=1.0, prefix="d"):
    rng = np.random.default_rng(seed)
    male = rng.integers(0, 2, n)
    x = rng.normal(size=n) + effect * male
    return pd.DataFrame(
        {"male": male, "x": x, "noise": rng.normal(size=n), "patient": [f"{prefix}{i}" for i in range(n)]}
    )


MODELS = {"noise": ["noise"], "noise + x": ["noise", "x"]}


def test_no_patient_is_on_both_sides_and_the_split_is_stable(ptbxl):
    a, b = wb.split_patients(ptbxl)
    assert not set(a["patient"].values) & set(b["patient"].values)
    assert a.sizes["record"] + b.sizes["record"] == ptbxl.sizes["record"]
    assert 0.28 < b.sizes["record"] / ptbxl.sizes["record"] < 0.39
    shuffled = wb.split_patients(ptbxl.isel(record=np.random.default_rng(0).permutation(ptbxl.sizes["record"])))[1]
    assert set(shuffled["record"].values) == set(b["record"].values)
    assert set(wb.split_patients(ptbxl, seed=1)[1]["record"].values) != set(b["record"].values)


def test_the_auc_is_that_of_the_planted_effect():
    # Two normals one SD apart: AUC = Phi(1 / sqrt 2) = 0.760.
    table = nested_models(MODELS, people(3000, 0), {"test": people(3000, 1, prefix="t")})
    row = table.loc[("noise + x", "test")]
    assert row["auc"] == pytest.approx(0.760, abs=0.02)
    assert row["low"] < 0.760 < row["high"]
    assert row["change_low"] > 0.2
    assert row["lr_p"] < 1e-50


def test_a_useless_column_is_not_found_more_often_than_it_should():
    p = [
        nested_models(
            {"x": ["x"], "x + noise": ["x", "noise"]}, people(120, s), {"t": people(120, 1000 + s, prefix="t")}
        ).loc[("x + noise", "t"), "lr_p"]
        for s in range(60)
    ]
    assert np.mean(np.array(p) < 0.05) <= 0.15
    assert 0.3 < np.mean(p) < 0.7


def test_the_likelihood_ratio_is_statsmodels_own_on_the_test_people():
    test = people(400, 5, 0.3, "t")
    table = nested_models(MODELS, people(400, 4, 0.3), {"test": test})
    small = sm.Logit(test["male"], sm.add_constant(test[["noise"]])).fit(disp=0)
    large = sm.Logit(test["male"], sm.add_constant(test[["noise", "x"]])).fit(disp=0)
    assert table.loc[("noise + x", "test"), "lr_p"] == pytest.approx(chi2.sf(2 * (large.llf - small.llf), 1), rel=1e-5)


def test_missing_values_are_counted_and_cost_the_same_people_in_every_row():
    test = people(300, 1, prefix="t")
    test.loc[:19, "x"] = np.nan
    table = nested_models(MODELS, people(300, 0), {"test": test})
    assert table.xs("test", level="people")["n"].tolist() == [280, 280]
    assert table.xs("test", level="people")["n_missing"].tolist() == [20, 20]


def test_perfect_separation_is_noted_and_gives_finite_numbers():
    found, test = people(100, 0), people(100, 1, prefix="t")
    for t in (found, test):
        t["x"] = t["male"] + 0.01 * t["noise"]
    row = nested_models(MODELS, found, {"test": test}).loc[("noise + x", "test")]
    assert "not estimable" in row["note"]
    assert "no likelihood-ratio test" in row["note"]
    assert row["auc"] > 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, t: (d, d), "took part in discovery"),
        (lambda d, t: (d.assign(x=1.0), t), "'x' is constant"),
        (lambda d, t: (d, t.drop(columns="x")), "test has no column x"),
        (lambda d, t: (d, t[t["male"] == 1]), "only one kind"),
    ],
)
def test_what_cannot_be_answered_is_refused(change, message):
    found, test = change(people(100, 0), people(100, 1, prefix="t"))
    with pytest.raises(ValueError, match=message):
        nested_models(MODELS, found, {"test": test})


def test_a_model_without_columns_is_the_baseline_of_the_next():
    table = nested_models({"nothing": [], "x": ["x"]}, people(300, 0), {"test": people(300, 1, prefix="t")})
    assert table.loc[("nothing", "test"), "auc"] == 0.5
    assert table.loc[("x", "test"), "change_low"] > 0.1
    assert table.loc[("x", "test"), "lr_p"] < 1e-10


def test_a_patient_counts_once_in_the_likelihood_ratio():
    test = people(200, 7, 0.0, "t")
    once = nested_models(MODELS, people(400, 4, 0.3), {"test": test})
    often = nested_models(MODELS, people(400, 4, 0.3), {"test": pd.concat([test] * 4)})
    row = ("noise + x", "test")
    assert often.loc[row, "lr_p"] == pytest.approx(once.loc[row, "lr_p"])


def test_columns_are_numbers_and_lists_of_them():
    found, test = people(60, 1), people(60, 2, prefix="t")
    with pytest.raises(ValueError, match="model 'a' is the text 'noise'; expected a list of columns"):
        nested_models({"a": "noise"}, found, {"test": test})
    with pytest.raises(ValueError, match=r"column 'x' of discovery holds .*; expected numbers"):
        nested_models({"a": ["x"]}, found.assign(x=found["x"].astype(str)), {"test": test})
