import numpy as np
import pandas as pd
import pytest
from scipy.stats import median_abs_deviation
from studies import discovery_bench as bench
from studies.plants import LABEL, NOTHING, PLANTS, TIED, planted_cohort

import ecgwb as wb
from ecgwb.cohorts.measurements import TIME
from ecgwb.discovery.features import Feature
from ecgwb.stats import auc


def test_people_are_whole_and_without_what_would_tell_their_sex(people):
    assert len(set(people["patient"].values)) == people.sizes["record"] > 800
    assert np.isfinite(people["fiducial"]).all()
    assert np.isfinite(people["beat"]).all()
    assert not {"male", "diagnosis", "fold"} & set(people.variables)


@pytest.mark.parametrize("name", [p for p in PLANTS if p != "T peak"])
def test_quantities_are_as_drawn_and_only_the_draw_follows_the_label(people, name):
    plant = PLANTS[name]
    cohort, possible = planted_cohort(people, name, plant.size, 1)
    y = cohort[LABEL].values
    assert y.mean() == 0.5
    assert 0.53 < possible < 0.85
    for q in plant.quantities:
        now, before = q.measured.values(cohort), q.measured.values(people)
        fine = np.isfinite(now)
        assert fine.mean() > 0.95
        spread = median_abs_deviation(before[np.isfinite(before)], scale="normal")
        drawn = (now[fine] - np.nanmedian(before)) / spread
        assert abs(drawn).max() < 6.5
        assert 0.85 < drawn[y[fine] == 0].std() / (2.2 if name.startswith("fragmented") else 1) < 1.15
    change = np.abs((cohort["beat"] - people["beat"]).values).max(axis=(0, 2))
    edited = {lead for q in plant.quantities for lead in q.leads}
    assert {str(v) for v in cohort["lead"].values[change > 1e-3]} == edited


def test_t_is_moved_whole_with_its_landmarks_and_nothing_before_j(people):
    some = people.isel(record=slice(50))
    (quantity,) = PLANTS["T peak"].quantities
    before = quantity.measured.values(some)
    edited = quantity.put(some, before + 20.0)
    moved = quantity.measured.values(edited) - before
    np.testing.assert_allclose(moved[moved > 1], 20, atol=8)  # less where TP has no more room
    assert np.median(moved) == pytest.approx(20)
    marks, old = (c["fiducial"].sel(landmark=["T_on", "T_peak", "T_off"]).values for c in (edited, some))
    np.testing.assert_allclose((marks - old) - moved[:, None], 0, atol=1e-9)
    j = some["fiducial"].sel(landmark="J").values
    for i in np.flatnonzero(np.isclose(moved, 20)):
        early = j[i] >= TIME
        np.testing.assert_allclose(edited["beat"].values[i][:, early], some["beat"].values[i][:, early], atol=0.01)


def test_of_nothing_the_edits_do_not_know_the_label(people):
    for name in (NOTHING, TIED):
        for seed in range(6):
            cohort, possible = planted_cohort(people, name, 0.0, seed)
            assert possible == 0.5
            (first, *_) = PLANTS[list(PLANTS)[seed % len(PLANTS)]].quantities
            values = first.measured.values(cohort)
            fine = np.isfinite(values)
            assert (values[fine] != first.measured.values(people)[fine]).mean() > 0.5
            assert auc(cohort[LABEL].values[fine], values[fine])[0] == pytest.approx(0.5, abs=0.09)
    assert auc(cohort[LABEL].values, cohort["age"].values)[0] > 0.65  # the tied one
    with pytest.raises(ValueError, match="no plant 'U wave'"):
        planted_cohort(people, "U wave", 1.0, 0)


def test_a_feature_finds_a_plant_only_in_its_span_and_lead(people):
    template = wb.attention.template_of(people)
    slope, t, pair = PLANTS["V2 downslope"], PLANTS["T peak"], PLANTS["QRS x T"]
    middle, wave = (("R", 0.2, "J"), ("R", 0.8, "J")), (("T_on", 0.0, "T_peak"), ("T_peak", 0.0, "T_off"))
    assert slope.found_by(Feature("slope", "V2", middle), template)
    assert slope.found_by(Feature("amplitude", "V2", (("R", 0.5, "J"),)), template)
    assert not slope.found_by(Feature("slope", "V3", middle), template)
    assert not slope.found_by(Feature("slope", "V2", wave), template)
    assert not slope.found_by(Feature("slope", "V2", (("QRS_on", 0.0, "R"), ("R", 0.0, "J"))), template)
    assert t.found_by(Feature("slope", "V3", wave), template)
    late = Feature("duration", "", (("R", 1.0, "J"), ("T_peak", 0.0, "T_off")))
    assert t.found_by(late, template)
    assert not slope.found_by(late, template)  # a duration is no shape of V2
    assert not t.found_by(Feature("duration", "", (("QRS_on", 0.0, "R"), ("R", 1.0, "J"))), template)
    v2, v5 = Feature("slope", "V2", middle), Feature("amplitude", "V5", (("T_peak", 0.0, "T_off"),))
    assert pair.found_by(Feature("product", of=(v2, v5), centre=(0, 0)), template)
    assert not pair.found_by(Feature("product", of=(v2, v2), centre=(0, 0)), template)
    assert not pair.found_by(v2, template)


def test_a_run_says_what_was_found_by_both_ways(people):
    scan, network = bench.one_run(bench.Run("QRS x T", 0.8, 800, 0), people)
    assert (scan["method"], network["method"]) == ("scan", "network")
    assert scan["right"] == network["right"] == 1
    assert network["named"] == "V2 QRS and V5 T"
    assert network["p_left"] < 1e-6
    assert network["wrong"] < network["found"]


def test_the_benchmark_goes_on_where_it_was_and_gives_intervals(tmp_path):
    out = tmp_path / "bench.csv"
    for name, runs in ((NOTHING, 20), ("V2 downslope", 4)):
        size = PLANTS[name].size if name in PLANTS else 0.0
        for k in range(runs):
            hit = int(name in PLANTS and k > 0)
            row = bench.Run(name, size, 50, k)._asdict() | {"found": hit, "right": hit, "wrong": 0}
            row |= {"p_left": (k + 1) / 21, "possible_auc": 0.6, "seconds": 1.0}
            bench.append(out, [row | {"method": m} for m in bench.METHODS])
    before = out.read_text()
    bench.main(["--n", "50", "--runs", "4", "--plants", "V2 downslope", "--out", str(out)])  # all done
    assert out.read_text() == before
    table = pd.read_csv(tmp_path / "bench-summary.csv").set_index(["plant", "method"])
    nothing, slope = table.loc[(NOTHING, "network")], table.loc[("V2 downslope", "scan")]
    assert (nothing["runs"], nothing["share"], nothing["what"]) == (20, 0, "false")
    assert nothing["high"] == pytest.approx(1 - 0.025 ** (1 / 20), rel=1e-3)  # Clopper-Pearson of none
    assert nothing["p_uniform"] > 0.9
    assert (slope["share"], slope["what"]) == (0.75, "in its place")


def test_the_shipped_benchmark_is_the_summary_of_its_runs():
    runs = pd.read_csv(bench.RESULTS)
    assert len(runs.drop_duplicates([*bench.Run._fields, "method"])) == len(runs)
    assert set(runs["plant"]) == {*PLANTS, NOTHING, TIED}
    kept = pd.read_csv(bench.RESULTS.with_name("discovery-bench-summary.csv")).set_index(["plant", "method"])
    pd.testing.assert_frame_equal(bench.summary(runs)[kept.columns], kept, rtol=1e-3, check_dtype=False)
