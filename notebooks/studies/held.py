"""Features of sex, age and a diagnosis, found on PTB-XL's folds 1 to 8, tested on fold 10 and on LUDB.

python -m studies.held [--outcomes NAME ...]   writes results/held/; some five minutes for each outcome

`wb.discover` with all its defaults: beyond all classic measurements, by the scan and the network that is shipped for
the outcome. Each outcome has its manifest; beside it is a ledger of every time that one of its manifests was tested, so
that it shows how often fold 10 and LUDB have been looked at for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

import ecgwb as wb
from ecgwb.discovery.discover import Discovery

FOLDER = Path(__file__).parent / "results" / "held"
OUTCOMES = ("male", "age", "incomplete right bundle branch block")
TABLES = ("left", "tests", "holds", "by_group", "places", "leans_on", "scan", "people")
_WORDS = "words.txt"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.held", description=__doc__.split("\n")[0])
    parser.add_argument("--outcomes", nargs="+", default=list(OUTCOMES), help="variables, or PTB-XL's statements")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args(argv)
    everyone, ludb = (with_outcomes(wb.open_cohort(name)) for name in ("ptbxl", "ludb"))
    for outcome in given.outcomes:
        keep(wb.discover(everyone, outcome, replication=ludb, path=fresh(given.out, outcome)), given.out)
        print((folder(given.out, outcome) / _WORDS).read_text())


def with_outcomes(cohort: xr.Dataset) -> xr.Dataset:
    """The cohort with a variable for each statement, spelt as PTB-XL does: LUDB begins them with a capital letter."""
    made = wb.cohorts.with_statements(cohort)
    new = [str(name) for name in made if name not in cohort]
    return made.rename({name: name[0].lower() + name[1:] for name in new if name[:2].istitle()})


def folder(out: Path, outcome: str) -> Path:
    return out / outcome.replace(" ", "-")


def fresh(out: Path, outcome: str) -> Path:
    """Where a new manifest goes. An old one goes away; the ledger of its tests stays."""
    path = folder(out, outcome) / "manifest.json"
    path.unlink(missing_ok=True)
    return path


def keep(found: Discovery, out: Path) -> None:
    """All tables, and what it says in words."""
    here = folder(out, found.outcome)
    here.mkdir(parents=True, exist_ok=True)
    tables = {name: getattr(found, name) for name in TABLES} | {"scan": found.scan.places}
    for name, table in tables.items():
        if not table.empty:
            table.to_csv(here / f"{name}.csv", float_format="%.4g", lineterminator="\n")
    (here / _WORDS).write_text(f"{found}\n")


def words(outcome: str) -> str:
    """What was found of an outcome, as it is kept."""
    return (folder(FOLDER, outcome) / _WORDS).read_text()


def asked(outcome: str, name: str, index: Sequence[str]) -> pd.DataFrame:
    """A table that is kept."""
    table = pd.read_csv(folder(FOLDER, outcome) / f"{name}.csv", index_col=list(index))
    return table.assign(note=table["note"].astype(object).fillna("")) if "note" in table else table


if __name__ == "__main__":
    main()
