"""The command line: ``python -m ecgwb paper``, ``... figure NAME`` and ``... build SOURCE OUT``."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from typing import Any

from .cohorts import build_cohort, excluded
from .exhibits import Asked, listed, make_figure
from .paper import make_paper
from .records import RecordError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ecgwb", description="The ECG network workbench.")
    commands = parser.add_subparsers(dest="command", required=True)
    paper = commands.add_parser("paper", help="run the notebooks; write every figure and table")
    paper.add_argument("--notebooks", default="notebooks")
    paper.add_argument("--out", default="paper")
    figure = commands.add_parser("figure", help="one figure alone, by name, with its numbers and caption")
    figure.add_argument("name", nargs="?", help="see --list")
    figure.add_argument("--list", action="store_true", help="the names of all figures")
    figure.add_argument("--target", default="qt", help="pr, qrs, qt, hr, j_v5, r_v5, t_v5 or male")
    figure.add_argument("--out", help="file to write, such as qt.pdf, .svg or .png; its numbers go beside it as CSV")
    figure.add_argument("--cohort", default="ludb", help="ludb, ptbxl500, synthetic:N or a Zarr store")
    figure.add_argument("--model", help="a shipped network or a file; by default the one that predicts the target")
    figure.add_argument("--record", default="2", help="whose beat, where a figure shows one person's")
    build = commands.add_parser("build", help="make a cohort of a folder of recordings")
    build.add_argument("source", help="a folder of WFDB records, of LUDB or of PTB-XL")
    build.add_argument("out", help="the Zarr store to write, such as my.zarr")
    build.add_argument("--metadata", help="CSV with a column 'record', and age, sex, patient, ...")
    build.add_argument("--scheduler", help="address of a running Dask scheduler, to work on its workers")
    a = parser.parse_args(argv)
    try:
        if a.command == "paper":
            make_paper(a.notebooks, a.out)
        elif a.command == "figure":
            if a.list or a.name is None:
                print(listed())
                return 0
            file, shown = make_figure(a.name, Asked(a.target, a.cohort, a.model, a.record), a.out)
            print(f"{file}, {file.with_suffix('.csv').name}: {shown.title}\n{shown.caption}")
        else:
            with connect(a.scheduler) if a.scheduler else nullcontext() as client:
                cohort = build_cohort(a.source, a.out, a.metadata, client)
            left_out = excluded(cohort)
            print(f"{a.out}: {cohort.sizes['record']} records, {len(left_out)} left out")
            if len(left_out):
                print(left_out.to_string(index=False))
    except (ValueError, FileNotFoundError) as e:  # the package's own errors are ValueErrors
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
