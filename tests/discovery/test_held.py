import json

import numpy as np
import pandas as pd
import pytest
from studies import held

import ecgwb as wb
from ecgwb.discovery.comparisons import _row
from ecgwb.discovery.discover import effects_by_group, take_part


@pytest.fixture(scope="module")
def ludb_with_outcomes():
    return held.with_outcomes(wb.open_cohort("ludb"))


def test_statements_of_ludb_are_spelt_as_those_of_ptbxl(ludb_with_outcomes):
    name = "incomplete right bundle branch block"
    assert int(ludb_with_outcomes[name].sum()) == 29
    assert name.capitalize() not in ludb_with_outcomes


@pytest.mark.parametrize("outcome", held.OUTCOMES)
def test_what_is_kept_of_ludb_is_what_the_frozen_manifest_gives_on_it_now(outcome, ludb_with_outcomes):
    manifest = wb.discovery.load_manifest(held.folder(held.FOLDER, outcome) / "manifest.json")
    known = list(dict.fromkeys([*manifest.baseline, *manifest.beyond.names]))
    people = take_part(ludb_with_outcomes, outcome, manifest.baseline, known)[0].cohort
    kept = held.asked(outcome, "tests", ["people", "model"]).xs("LUDB", level="people")
    table = manifest.table(people)
    for model in manifest.models:
        row = _row(model, table, manifest, 0.95, 0)
        for column in ("n", "effect", "lr_p", "score", "change"):
            if np.isfinite(kept.loc[model, column]):
                assert row[column] == pytest.approx(kept.loc[model, column], rel=2e-3, abs=1e-6)
    groups = held.asked(outcome, "by_group", ["people", "feature", "by", "group"]).xs("LUDB", level="people")
    now = effects_by_group(manifest, people)
    np.testing.assert_allclose(now["effect"], groups["effect"], rtol=2e-3)


@pytest.mark.parametrize("outcome", held.OUTCOMES)
def test_discovery_was_on_other_people_and_every_look_is_in_the_ledger(outcome):
    manifest = wb.discovery.load_manifest(held.folder(held.FOLDER, outcome) / "manifest.json")
    everyone = wb.open_cohort("ptbxl")
    found, test = wb.discovery.split(everyone)
    hashes = [set(wb.discovery.manifests.hashed(c)) for c in (found, test)]
    assert set(manifest.discovery) <= hashes[0]
    assert not set(manifest.discovery) & hashes[1]
    ledger = json.loads((held.folder(held.FOLDER, outcome) / "manifest.json.ledger.json").read_text())
    looks = pd.DataFrame(ledger).query("manifest == @manifest.sha256")
    assert set(looks["cohort"]) == {"ludb", "ptbxl"}
    assert held.words(outcome).startswith(f"{outcome}, beyond ")
