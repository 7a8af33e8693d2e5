"""What the table of `make map-judge` holds, against what was asked of edit maps."""

import pandas as pd
import pytest
from studies.map_judge import KEYS, TABLE

PEOPLE = ("LUDB", "fold 10")
BARS = {"pr": 0.9, "qrs": 0.9, "r_v5": 0.9, "t_v5": 0.9, "j_v5": 0.9, "qt": 0.8, "male": 0.8, "age": 0.8}


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(TABLE, index_col=KEYS)


@pytest.mark.parametrize("people", PEOPLE)
@pytest.mark.parametrize("target", BARS)
def test_edit_maps_by_segments_tell_joint_edits(table, people, target):
    rows = table.xs((people, "segments", target, "edit map"), level=["people", "pieces", "target", "method"])
    assert (rows["r"] >= BARS[target]).all()
    assert (rows["n"] == 200).all()


def missed(figures, bars=BARS):
    """Targets, those that miss the bar as expected failures."""
    return [
        pytest.param(t, marks=pytest.mark.xfail(reason=figures[t], strict=True)) if t in figures else t for t in bars
    ]


@pytest.mark.parametrize("target", missed({"qt": "0.778 on LUDB, 0.806 on fold 10; the best sums have 0.862"}))
def test_edit_maps_by_halves_do_too(table, target):
    rows = table.xs(("halves", target, "edit map"), level=["pieces", "target", "method"])
    assert (rows["r"] >= BARS[target]).all()


SHAMS = {"qt": "0.067 and 0.102", "male": "0.05 to 0.11", "age": "0.113 and 0.115"}  # LUDB, fold 10


@pytest.mark.parametrize("target", missed(SHAMS))
def test_a_line_where_no_wave_is_does_little(table, target):
    rows = table.xs(("halves", target, "edit map"), level=["pieces", "target", "method"])
    assert (rows["sham"] <= 0.05).all()


def test_no_other_map_tells_more_than_edit_maps(table):
    by_method = table["r"].unstack("method")
    assert (by_method.drop(columns="edit map").max(axis=1) <= by_method["edit map"] + 0.02).all()


def test_sums_of_pieces_cannot_tell_more_than_the_best(table):
    assert (table["r"] <= table["r_best"] + 1e-6).all()
    assert (table["r_other"].abs() < table["r"].xs("edit map", level="method").min()).all()
