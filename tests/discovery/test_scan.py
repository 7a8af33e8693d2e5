import numpy as np
import pytest
from studies.plants import LABEL, PLANTS, planted_cohort

import ecgwb as wb
from ecgwb.delineation.landmarks import SEGMENTS
from ecgwb.discovery.features import Feature, feature_table
from ecgwb.discovery.scan import _Curves, halves, scan, scan_at

RUNS = 200  # permutations: p is at least 1/201


def planted(people, plant, size, seed=0):
    return planted_cohort(people, plant, size, seed)[0]


@pytest.mark.parametrize(
    ("plant", "family", "size"),
    [
        ("V2 downslope", "shapes", 0.8),
        ("notch in V4", "shapes", 0.8),
        ("hump on T of V3", "shapes", 0.8),
        ("T peak", "times", 0.8),
        ("spread of V2", "spreads", 2.5),
        ("V2 x V5", "pairs", 0.7),
        ("QRS x T", "pairs", 0.7),
        ("slope on rate", "pairs", 0.7),
    ],
)
def test_what_is_planted_is_found_in_its_lead_and_place_by_its_family(people, plant, family, size):
    cohort = planted(people, plant, size)
    found = scan(cohort, LABEL, ("age", "hr"), families=[family], permutations=RUNS)
    assert found.p == pytest.approx(1 / (1 + RUNS))
    assert PLANTS[plant].found_by(found[0], wb.attention.template_of(cohort))
    row = found.places.loc[family]
    assert row["columns"] == found.tried[family] > 30
    values = feature_table([found[0]], cohort).iloc[:, 0]
    assert abs(values.rank().corr(cohort[LABEL].to_series())) > 0.15 or family == "pairs"


def test_where_nothing_is_planted_nothing_passes(people):
    passed = [len(scan(planted(people, "nothing", 0.0, seed), LABEL, permutations=RUNS)) for seed in range(4)]
    assert passed == [0] * 4


def test_what_is_known_is_not_found_again(people):
    cohort = planted(people, "T peak", 0.8)
    assert scan(cohort, LABEL, families=["times"], permutations=RUNS)
    # J to T_peak is J to T_off less T_peak to T_off
    assert not scan(cohort, LABEL, known=["jt_ms", "tpe_ms"], families=["times"], permutations=RUNS)


def test_a_column_is_what_its_formula_says(people):
    some = people.isel(record=slice(60))
    curves = _Curves(some)
    rng = np.random.default_rng(0)
    for own, least in ((False, 1 - 1e-6), (True, 0.9)):
        block = curves.shapes("V3", own, 8.0, (16.0, 64.0))
        for k in rng.choice(block.x.shape[1], 12, replace=False):
            values = feature_table([block.feature(k)], some).iloc[:, 0].to_numpy()
            both = np.isfinite(values) & np.isfinite(block.x[:, k])
            if both.sum() > 20 and block.x[both, k].std() > 1:
                assert np.corrcoef(values[both], block.x[both, k])[0, 1] >= least
            if not own:
                np.testing.assert_allclose(values[both], block.x[both, k], rtol=1e-3, atol=0.05)


def test_halves_are_the_mean_levels_of_every_segment_and_lead(people):
    some = people.isel(record=slice(20))
    x, features = halves(some)
    assert x.shape == (20, 8 * 2 * len(SEGMENTS))
    k = next(i for i, f in enumerate(features) if f.lead == "V5" and f.points[0].first == "T_on")
    area = Feature("area", "V5", features[k].points).values(some)
    length = Feature("duration", "", features[k].points).values(some)
    np.testing.assert_allclose(x[:, k], area / length, rtol=1e-4, atol=0.01)


def test_a_place_is_scanned_alone(people):
    cohort = planted(people, "spread of V2", 2.5)
    found = scan_at(cohort, [("V2", "QRS")], LABEL, permutations=RUNS)
    assert found[0].kind == "distance"
    assert found[0].leads() == {"V2"}
    start, stop = found[0].span(wb.attention.template_of(cohort))
    template = wb.attention.template_of(cohort)
    assert float(template.sel(landmark="QRS_on")) <= start <= stop <= float(template.sel(landmark="J"))
    both = scan_at(planted(people, "QRS x T", 0.7), [("V2", "QRS"), ("V5", "T")], LABEL, permutations=RUNS)
    assert both[0].kind == "product"
    assert [f.lead for f in both[0].of] == ["V2", "V5"]
    assert both.tried == {"pairs": 4}


def test_people_without_p_count_and_lack_nothing_else(people):
    marks = people["fiducial"].copy()
    marks[:200, :3] = np.nan
    cohort = planted(people.assign(fiducial=marks), "V2 downslope", 0.8)
    found = scan(cohort, LABEL, families=["shapes"], permutations=RUNS)
    assert PLANTS["V2 downslope"].found_by(found[0], wb.attention.template_of(cohort))


def test_what_cannot_be_scanned_is_said(people):
    cohort = planted(people, "nothing", 0.0)
    with pytest.raises(ValueError, match="expected some of shapes, times, spreads, pairs"):
        scan(cohort, LABEL, families=["shape"])
    for wrong in ([], ("V2", "QRS"), [("V9", "QRS")], [("V2", "U")], [("V2", "QRS")] * 2, None):
        with pytest.raises(ValueError, match="expected one place or two different ones, each a lead"):
            scan_at(cohort, wrong, LABEL)
    with pytest.raises(ValueError, match="is in the baseline"):
        scan(cohort, "hr")
    with pytest.raises(ValueError, match="12 of 12 people have planted, age, hr and a beat with QRS; expected at"):
        scan(cohort.isel(record=slice(12)), LABEL)
    with pytest.raises(ValueError, match="give at least two a column, or say less"):
        scan(cohort.isel(record=slice(60)), LABEL, known=list(wb.measure(cohort.isel(record=slice(60))).columns))
