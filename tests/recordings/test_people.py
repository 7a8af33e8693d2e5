import math

import numpy as np
import pandas as pd
import pytest

from ecgwb.recordings.people import SEX_CODE, age_of, in_years, sex_of


@pytest.mark.parametrize(
    ("cell", "years"),
    [
        (50, 50),
        (np.float32(50.5), 50.5),
        ("50", 50),
        (" 50.0 ", 50),
        ("50,5", 50.5),
        ("50 years", 50),
        ("61 yrs old", 61),
        ("050Y", 50),
        ("006M", 0.5),
        ("062 Jahre", 62),
        (130, 130),
    ],
)
def test_an_age_is_understood_without_doubt(cell, years):
    assert age_of(cell) == (years, "")


@pytest.mark.parametrize("cell", [None, np.nan, pd.NA, pd.NaT, "", "  ", "Unknown", "N/A", "?", "not specified"])
def test_what_is_plainly_unknown_is_no_doubt(cell):
    years, doubt = age_of(cell)
    assert math.isnan(years)
    assert doubt == ""
    assert sex_of(cell) == ("", "")


@pytest.mark.parametrize(
    ("cell", "years"),
    [(">89", 90), ("> 89 years", 90), (">=90", 90), ("≥90", 90), ("90+", 90), ("over 89", 90), ("0", 0)],
)
def test_an_age_with_a_doubt_is_kept_and_says_so(cell, years):
    known, doubt = age_of(cell)
    assert known == years
    assert f"{years}" in doubt


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (300, "130"),
        ("300", "130"),
        (-1, "130"),
        ("-5", "130"),
        ("1e3", "not understood"),
        (np.inf, "not understood"),
        ("abc", "not understood"),
        ("60-70", "not understood"),
        ("18+", "not understood"),
        (">18", "not understood"),
        ("65 months?", "not understood"),
        (True, "not understood"),
        ("1957-03-02", "not understood"),
    ],
)
def test_an_age_that_is_none_is_left_out_with_a_doubt(cell, why):
    years, doubt = age_of(cell)
    assert math.isnan(years)
    assert why in doubt
    assert "left out" in doubt


@pytest.mark.parametrize(
    ("cell", "sex"),
    [
        ("M", "male"),
        (" f ", "female"),
        ("Female", "female"),
        ("MÄNNLICH", "male"),
        ("ma\u0308nnlich", "male"),
        ("W", "female"),
        ("femme", "female"),
        ("Homme", "male"),
        ("masculino", "male"),
        ("Feminino", "female"),
        ("femenino", "female"),
    ],
)
def test_words_for_the_sexes(cell, sex):
    assert sex_of(cell) == (sex, "")


@pytest.mark.parametrize("cell", [0, 1, 2, "0", "1.0", np.float64(1)])
def test_a_number_is_no_sex(cell):
    assert sex_of(cell) == ("", SEX_CODE)


@pytest.mark.parametrize("cell", ["M/F", "H", "yes", "Jane Doe"])
def test_a_word_that_is_no_sex_is_a_doubt_that_does_not_repeat_it(cell):
    sex, doubt = sex_of(cell)
    assert sex == ""
    assert doubt
    assert cell not in doubt


@pytest.mark.parametrize(
    ("age", "unit", "years"),
    [(61.0, "YEARS", 61.0), (6.0, "mo", 0.5), (61.0, "", 61.0), (30.0, "MINUTES", None), (None, "a", None),
     (3.0, "furlongs", None)],
)  # fmt: skip
def test_an_age_in_a_unit_is_in_years(age, unit, years):
    assert in_years(age, unit) == years
