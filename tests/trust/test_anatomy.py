"""Diagnoses whose place in the ECG is known."""

import numpy as np
import pytest
from known_nets import Linear, reads, wrapped

import ecgwb as wb
from ecgwb.cohorts.measurements import TIME
from ecgwb.models.spec import ModelError
from ecgwb.trust import ANATOMY, known_answers

BLOCK, BUNDLE = "first degree AV block", "left bundle branch block"


@pytest.fixture(scope="module")
def people(ludb):
    has = np.arange(ludb.sizes["record"]) % 4 == 0
    return ludb.assign({BLOCK: ("record", has.astype(float)), BUNDLE: ("record", np.roll(has, 1).astype(float))})


def looks(first, last, target):
    """A network that adds up the ECG of all leads between two times."""
    weight = np.zeros((1, 8, 600))
    weight[0, :, (first <= TIME) & (last > TIME)] = 1.0
    return wrapped(Linear(weight), (target,), ("",))


def test_a_network_that_looks_where_the_diagnosis_is_has_it_there(people):
    check = known_answers(looks(-20, 20, BUNDLE), people, method="input_x_gradient")
    row = check.table.loc[BUNDLE]
    assert (row["place"], row["n"]) == ("QRS", 50)
    assert row["low"] > 0.95
    assert row["span"] < 0.3
    assert check.finding.startswith("1 of 1 diagnoses have")
    assert row["without"] > 0.9  # it looks there in everybody, which an even map does not tell
    assert "and 0 more than the maps of people without" in check.finding


def test_one_that_looks_elsewhere_does_not(people):
    check = known_answers(looks(-20, 20, BLOCK), people, method="input_x_gradient")
    assert check.table.loc[BLOCK, "high"] < 0.05  # PQ ends where QRS begins
    assert check.finding.startswith("0 of 1 diagnoses have")
    wb.figures.plot_check(check)


def test_what_cannot_be_judged_is_said(people):
    with pytest.raises(ModelError, match="no diagnosis whose place is known"):
        known_answers(reads("V5", 0), people)
    few = people.isel(record=slice(20))
    with pytest.raises(ModelError, match="no diagnosis has 10 people with it"):
        known_answers(looks(-20, 20, BLOCK), few, method="input_x_gradient")


def test_every_place_is_one_of_the_beats():
    assert set(ANATOMY.values()) <= {"before QRS", "QRS", "ST and T", "T"}
