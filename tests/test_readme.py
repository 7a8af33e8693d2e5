"""README prints and says what is so."""

import doctest
import re
from pathlib import Path

import pandas as pd
from studies.sex_table import CLASSIC, NETWORK, PAPER, READER, TABLE

README = Path(__file__).parent.parent / "README.md"
TEXT = " ".join(README.read_text().split())
RESULTS = README.parent / "notebooks" / "studies" / "results"


def test_the_first_screen_prints_what_it_says():
    failed, tried = doctest.testfile(str(README), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried >= 6
    assert failed == 0


def test_every_file_it_points_to_is_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target


def test_it_is_one_screen_and_a_page():
    assert len(README.read_text().splitlines()) <= 150


def test_what_it_says_of_sex_is_what_the_sex_table_holds():
    table = pd.read_csv(TABLE, index_col=["group", "model", "people"]).loc["all"]
    test, ludb = ([f"{table.loc[(row, k), 'auc']:.2f}" for row in (NETWORK, PAPER, CLASSIC)] for k in ("test", "LUDB"))
    assert f"an AUC of {test[0]}; age, heart rate, QRS, R and S do with {test[1]}, and all 94 classic" in TEXT
    assert f"measurements with {test[2]}; on LUDB with {ludb[0]}, {ludb[1]} and {ludb[2]}" in TEXT
    assert table.loc[(CLASSIC, "test"), "measurements"] == 94
    ahead = [
        f"{r['beyond']:.2f} ({r['beyond_low']:.2f} to {r['beyond_high']:.2f})"
        for _, r in table.loc[NETWORK].loc[["test", "LUDB"]].iterrows()
    ]
    assert f"by {ahead[0]} on fold 10 and by {ahead[1]} on LUDB" in TEXT
    assert (table.loc[NETWORK, "beyond_low"] > 0).all()
    linear = [f"{table.loc[(READER, k), 'auc']:.2f}" for k in ("test", "LUDB")]
    assert f"A linear regression on the whole aligned beat, without a network, has {linear[0]} and {linear[1]}" in TEXT


def test_what_it_says_of_planted_changes_is_what_the_benchmark_holds():
    table = pd.read_csv(RESULTS / "discovery-bench-summary.csv").set_index(["plant", "method"])
    share = table["share"].unstack()
    planted = share.drop(["nothing", "label tied to age"])
    text = " ".join(TEXT.split())
    assert f"In {table['runs'].max()} runs each of planted changes" in text
    low, high = (f"{100 * v:.0f}" for v in (planted["scan"].min(), planted["scan"].max()))
    assert f"the scan finds {low} to {high} % of each kind in its place" in text
    v2_v5, qrs_t, spread = (f"{100 * planted.loc[p, 'network']:.0f} %" for p in ("V2 x V5", "QRS x T", "spread of V2"))
    assert f"an interplay of V2 and V5 in {v2_v5}, of QRS and T in {qrs_t}, a spread in {spread}." in text
    false = table.drop(planted.index, level="plant")
    found = round((false["share"] * false["runs"]).sum())
    assert f"they found something in {found} of {false['runs'].sum()} runs" in text


def test_what_it_says_of_features_of_sex_is_what_was_found():
    holds = pd.read_csv(RESULTS / "held" / "male" / "holds.csv", index_col="feature")
    names = holds.index[holds["holds"] == "yes"]
    assert len(names) == 2
    assert names[0].startswith("V1: slope from 97 % of P_peak-P_off to ")
    assert names[1] == "V4: amplitude at 176 ms after R, µV"
    left = pd.read_csv(RESULTS / "held" / "male" / "left.csv", index_col=0)
    test, ludb = (
        f"{r['change']:.3f} ({r['change_low']:.3f} to {r['change_high']:.3f})"
        for _, r in left.loc[["test", "LUDB"]].iterrows()
    )
    assert f"it adds {test} to the AUC on fold 10 and {ludb} on LUDB" in " ".join(TEXT.split())
