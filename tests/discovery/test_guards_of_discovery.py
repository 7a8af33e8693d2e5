"""What cannot be meant is refused before anything is computed, or warned of."""

import warnings

import pytest

import ecgwb as wb
from ecgwb.discovery import Feature, scan

R_V5 = Feature("amplitude", "V5", [("R", 0, "J")])


def test_a_scan_refuses_beats_in_mv(ludb):
    with pytest.raises(ValueError, match="multiplied by 1000"):
        scan(ludb.assign(beat=ludb["beat"] / 1000), families=["times"], permutations=10)


def test_a_level_that_is_none_is_refused_before_a_second_test_is_warned_of(ludb):
    one, other = ludb.isel(record=slice(100)), ludb.isel(record=slice(100, 200))
    manifest = wb.freeze(R_V5, one, baseline=("age",))
    wb.compare_features(manifest, other)
    with warnings.catch_warnings(record=True) as warned, pytest.raises(ValueError, match="ci is 95"):
        wb.compare_features(manifest, other, ci=95)
    assert not warned


def test_recordings_of_discovery_are_known_again_under_other_names(ludb, tmp_path):
    one = ludb.isel(record=slice(100))
    wb.freeze(R_V5, one, baseline=("age",), path=tmp_path / "frozen.json")
    manifest = wb.discovery.load_manifest(tmp_path / "frozen.json")
    renamed = ludb.isel(record=slice(90, 150))
    renamed = renamed.assign_coords(patient=("record", [f"other-{k}" for k in range(60)]))
    with pytest.raises(ValueError, match="10 recordings of this cohort are among those of discovery"):
        wb.compare_features(manifest, renamed)
    assert wb.compare_features(manifest, renamed.isel(record=slice(10, None))).loc["baseline", "n"] > 40
