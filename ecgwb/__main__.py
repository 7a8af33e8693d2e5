"""The command line: ``python -m ecgwb paper`` and ``python -m ecgwb build SOURCE OUT``."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from typing import Any

from .cohorts.cohort import build_cohort, excluded
from .paper import make_paper
from .recordings.record import RecordError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ecgwb", description="The ECG network workbench.")
    commands = parser.add_subparsers(dest="command", required=True)
    paper = commands.add_parser("paper", help="run the notebooks; write every figure and table")
    paper.add_argument("--notebooks", default="notebooks", help="their folder")
    paper.add_argument("--out", default="paper", help="the folder to write")
    paper.add_argument("--cohort", help="your own, such as my.zarr; LUDB by default")
    paper.add_argument("--model", help="of wb.fit, stored by wb.save_model; the shipped ones by default")
    paper.add_argument("--target", help="shown where one target is shown")
    paper.add_argument("--record", help="shown where one record is shown")
    only = "exhibits or notebooks, as 3c_map_qt; the notebooks that make them run as a whole"
    paper.add_argument("--only", nargs="+", default=(), metavar="NAME", help=only)
    build = commands.add_parser("build", help="make a cohort of a folder of recordings")
    build.add_argument("source", help="a folder of recordings, or of a data set")
    build.add_argument("out", help="the Zarr store to write, such as my.zarr")
    build.add_argument("--metadata", help="CSV with a column 'record', and age, sex, patient, ...")
    build.add_argument("--scheduler", help="address of a running Dask scheduler, to work on its workers")
    a = parser.parse_args(argv)
    try:
        if a.command == "paper":
            make_paper(
                a.notebooks, a.out, cohort=a.cohort, model=a.model, target=a.target, record=a.record, only=a.only
            )
        else:
            with connect(a.scheduler) if a.scheduler else nullcontext() as client:
                cohort = build_cohort(a.source, a.out, a.metadata, client)
            left_out = excluded(cohort)
            print(f"{a.out}: {cohort.sizes['record']} records, {len(left_out)} left out")
            if len(left_out):
                print(left_out.to_string(index=False))
    except (ValueError, OSError) as e:  # the package's own errors are ValueErrors
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0


def connect(scheduler: str) -> Any:
    try:
        from distributed import Client  # the extra `cluster`
    except ImportError:
        raise RecordError("--scheduler needs Dask: install the extra with  pip install 'ecgwb[cluster]'") from None
    try:
        return Client(scheduler, timeout="20s")
    except OSError as e:
        raise RecordError(f"no Dask scheduler answers at {scheduler} ({e})") from None


if __name__ == "__main__":
    sys.exit(main())
