"""Everything that stands on landmarks, made anew in order where the landmarks have changed, and what that changes.

python -m studies.rebuild [--list] [--only STEP ...] [--ptbxl FOLDER]

A step is up to date where its products were made from the landmarks that LUDB and PTB-XL-500 have now; that is kept in
``results/rebuild.json``. Each step goes on where a killed run stopped. New weights of the delineator come first, by
``python -m studies.delineator_training``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from studies import held
from studies.training import PARTS, RECIPES

from ecgwb.cohorts.cohort import open_cohort
from ecgwb.cohorts.packed import PACKED
from ecgwb.models.checkpoints import WEIGHTS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS, STATE = HERE / "results", HERE / "results" / "rebuild.json"


@dataclass(frozen=True)
class Step:
    """A command, what it makes, and how long that takes on one core."""

    name: str
    command: tuple[str, ...]  # of Python, from notebooks/
    makes: tuple[Path, ...]
    minutes: float
    remove: bool = False  # its products first, as it makes only what is lacking


def _network(name: str, minutes: float) -> Step:
    parts = ["", *(f"-without-{p}" for p in PARTS)] if RECIPES[name].in_parts else [""]
    made = tuple(WEIGHTS / f"{name}{part}.safetensors" for part in parts)
    return Step(name, ("-m", "studies.training", name, "--card"), (*made, WEIGHTS / f"{name}.md"), minutes, remove=True)


def steps(ptbxl: Path | None) -> tuple[Step, ...]:
    """All steps in order; without PTB-XL's folder the first one is left out."""
    folder = () if ptbxl is None else (
        Step("ptbxl", ("-m", "studies.ptbxl_cohort", str(ptbxl.resolve())), (PACKED["ptbxl"],), 20),
    )  # fmt: skip
    return (
        *folder,
        Step("landmark-doubt", ("-m", "studies.landmark_doubt"), (RESULTS / "landmark-doubt.csv",), 1),
        _network("compact-measures", 25),
        _network("kanres-measures", 90),
        _network("compact-rhythm", 35),
        _network("compact-sex", 60),
        _network("compact-sex-126ms", 10),
        _network("kanres-sex", 40),
        _network("compact-age", 85),
        _network("compact-diagnoses", 45),
        Step("sex-table", ("-m", "studies.sex_table"), (RESULTS / "sex-table.csv",), 10),
        Step("map-judge", ("-m", "studies.map_judge"), (RESULTS / "map-judge.csv",), 30),
        Step("held", ("-m", "studies.held"), tuple(
            held.folder(held.FOLDER, o) / "manifest.json" for o in held.OUTCOMES), 15),
        Step("receptive-fields", ("../tests/bench/bench_fields.py",), (HERE.parent / "receptive_fields.csv",), 60),
        Step("bad-input", ("../tests/adversarial/bad_input.py",), (ROOT / "tests/adversarial/bad_input.md",), 3),
        Step("discovery-bench", ("-m", "studies.discovery_bench"), (
            RESULTS / "discovery-bench.csv", RESULTS / "discovery-bench-summary.csv"), 60, remove=True),
    )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.rebuild", description=__doc__.split("\n")[0])
    parser.add_argument("--list", action="store_true", help="say what is to be made, and make nothing")
    parser.add_argument("--ptbxl", type=Path, metavar="FOLDER", help="PTB-XL's: its embedded cohort is made anew, too")
    parser.add_argument("--only", nargs="+", metavar="STEP")
    given = parser.parse_args(argv)
    known = steps(given.ptbxl)
    if wrong := set(given.only or ()) - {s.name for s in known}:
        parser.error(f"no step {min(wrong)!r}; these are {', '.join(s.name for s in known)}")
    key = landmarks_key()
    done = json.loads(STATE.read_text()) if STATE.is_file() else {}
    chosen = [s for s in known if not given.only or s.name in given.only]
    due = [s for s in chosen if done.get(s.name) != key]
    print(
        f"Landmarks {key}: {len(due)} of {len(chosen)} steps to make, some {sum(s.minutes for s in due):.0f} minutes."
    )
    for step in due:
        print(f"  {step.name}: {' '.join(step.command)}")
        if given.list:
            continue
        before = {file: contents(file) for file in step.makes}
        if step.remove and done.get(f"{step.name} begun") != key:
            for file in step.makes:
                file.unlink(missing_ok=True)
            done[f"{step.name} begun"] = key
            STATE.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n")
        began = time.time()
        subprocess.run([sys.executable, *step.command], cwd=HERE.parent, check=True)
        done[step.name] = key
        STATE.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n")
        print(f"  {step.name}: made in {(time.time() - began) / 60:.1f} minutes")
        for file, old in before.items():
            print(f"    {file.name}: {change(old, contents(file))}")


def landmarks_key() -> str:
    """Changes when a landmark of LUDB or PTB-XL-500 moves by a tenth of a millisecond, or a record comes or goes."""
    digest = hashlib.sha256()
    for name in ("ludb", "ptbxl500"):
        cohort = open_cohort(name)
        digest.update(" ".join(cohort["record"].values).encode())
        digest.update(np.round(cohort["fiducial"].values, 1).astype("<f4").tobytes())
    return digest.hexdigest()[:16]


def contents(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


def change(old: bytes, new: bytes) -> str:
    """What has changed in a file, in words: nothing, the largest change of a number of a table, or the lines."""
    if old == new:
        return "the same"
    if not old:
        return "new"
    try:
        before, after = old.decode().splitlines(), new.decode().splitlines()
    except UnicodeDecodeError:
        return "other bytes"
    rows = [list(csv.reader(lines)) for lines in (before, after)]
    if "," in before[0] and [len(r) for r in rows[0]] == [len(r) for r in rows[1]]:
        moved = [
            (abs(y - x), f"{a[0]} {head}: {x:g} -> {y:g}")
            for a, b in zip(*rows, strict=True)
            for head, u, v in zip(rows[1][0], a, b, strict=True)
            if (x := _number(u)) is not None and (y := _number(v)) is not None and x != y
        ]
        if moved:
            moved.sort(key=lambda m: -m[0])
            return f"{len(moved)} numbers differ, most of all {moved[0][1]}"
    gone, come = set(before) - set(after), set(after) - set(before)
    return f"{len(come)} of {len(after)} lines are other than the {len(gone)} before"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


if __name__ == "__main__":
    main()
