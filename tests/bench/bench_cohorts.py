"""From WFDB to a cohort and its maps: speed, where the time goes, memory, beside NeuroKit2: ``make bench``.

Without arguments: speed on real recordings, and memory at 500 and 2,000. ``--sizes 500 2000 20000`` is what
``make bench-scale`` runs, for about half an hour. The recordings are LUDB's and PTB-XL-500's, read from their files
again and again, each time with another gain (1 + k / 1000 in copy k) and as other people. Other work on the machine
adds to the seconds, less to the CPU's; ratios are of runs side by side.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from timing import spread

import ecgwb as wb
from ecgwb.cohorts import sources
from ecgwb.workers import cores, each


def copies(n: int) -> Iterator[wb.Record]:
    """The first n of LUDB, PTB-XL-500, LUDB with another gain, and so on; one in memory at a time."""
    items = [i for name in ("ludb", "ptbxl500") for i in sources.list_source(name).items]
    for k in range(n):
        item, copy = items[k % len(items)], k // len(items)
        record = item.read()
        metadata = record.metadata | item.metadata
        metadata["patient"] = f"{metadata['patient']}-{copy}"
        yield replace(
            record, signal=record.signal * (1 + copy / 1000), record_id=f"{metadata['patient']}-{k}", metadata=metadata
        )


class Clock:
    """Seconds and CPU seconds of what is done within."""

    def __enter__(self) -> Clock:
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu


def measure(task: str, n: int, store: str) -> None:
    """One task in a process of its own, which starts no others, so that its peak of memory is all; a line of JSON."""
    with Clock() as clock:
        if task == "read":
            for _ in copies(n):
                pass
        elif task == "build":
            wb.build_cohort(copies(n), store)
        elif task == "map":
            model = wb.load_model("compact-measures")
            cohort = wb.open_cohort(store)
            wb.attention.map_chunks(partial(wb.ecgradcam, model), cohort)
        else:
            raise ValueError(task)
    print(json.dumps({"wall": clock.wall, "cpu": clock.cpu, "peak": peak_mb()}))


def peak_mb() -> float:
    """This process's own peak; ``ru_maxrss`` would begin with that of the process that started it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on a Mac
    return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def in_process(task: str, n: int, store: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--task", task, "--sizes", str(n), "--store", str(store)]
    one = os.environ | {"LOKY_MAX_CPU_COUNT": "1"}  # so that time and memory are those of a single process
    done = subprocess.run(command, env=one, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def scale(sizes: list[int], work: Path) -> pd.DataFrame:
    rows = []
    for n in sizes:
        store = work / f"{n}.zarr"
        read, build, maps = (in_process(task, n, store) for task in ("read", "build", "map"))
        rows.append(
            {
                "records": n,
                "records/s": n / build["wall"],
                "reading alone, records/s": n / read["wall"],
                "CPU ms a record": 1000 * build["cpu"] / n,
                "of it reading": 1000 * read["cpu"] / n,
                "build, peak MB": build["peak"],
                "maps of 7 targets, s": maps["wall"],
                "maps, CPU s": maps["cpu"],
                "maps, peak MB": maps["peak"],
            }
        )
        print(pd.DataFrame(rows[-1:]).round(1).to_string(index=False), flush=True)
    return pd.DataFrame(rows)


def compare(work: Path) -> list[dict[str, Any]]:
    """Rows of the table of `make bench`; the detail is printed."""
    rows = speed(400, 8, work)
    sizes = [200, 1000]
    table = scale(sizes, work)
    for what in ("build", "maps"):
        small, large = table[f"{what}, peak MB"]
        name = f"{what}: peak memory of {sizes[1]} records / of {sizes[0]}"
        rows.append({"step": "cohort", "what": name, "value": large / small})
    return rows


def speed(n: int, n_neurokit: int, work: Path) -> list[dict[str, Any]]:
    """From WFDB files to a finished store, in turns with one process and with NeuroKit2; printed, and as rows."""
    paths = sorted(sources.unpack("ptbxl500").rglob("*.hea"))[:n]
    records = [wb.read_record(path) for path in paths[: 3 * 2 * n_neurokit]]
    all_cores, walls, alone, ratios = cores(), [], [], []
    for turn in range(4):
        with Clock() as ours:
            wb.build_cohort(paths, work / f"speed{turn}.zarr")
        if turn == 0:  # processes are started, weights read
            continue
        with limited_to(1), Clock() as one:
            wb.build_cohort(paths, work / f"alone{turn}.zarr")
        some = records[(turn - 1) * 2 * n_neurokit : turn * 2 * n_neurokit]
        with Clock() as theirs:
            list(each(_by_dwt, [some[k::all_cores] for k in range(all_cores)], long=True))
        walls.append(ours.wall / n)
        alone.append(one.wall / n)
        ratios.append(theirs.wall / len(some) / (ours.wall / n))
    with Clock() as reading:
        for path in paths:
            wb.read_record(path)
    with Clock() as network:
        for k in range(0, len(records), 50):
            wb.delineate(records[k : k + 50])
    print(f"WFDB to finished store, {n} records of 12 leads and 10 s, {all_cores} processes, "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print(f"  records a second: {1 / np.median(walls):.1f} ({1 / max(walls):.1f} to {1 / min(walls):.1f}; 45 asked)")
    print(f"  with one process: {1 / np.median(alone):.1f} ({1 / max(alone):.1f} to {1 / min(alone):.1f})")
    print(f"  NeuroKit2 dwt in as many processes: {np.median(ratios):.1f} times ours "
          f"({min(ratios):.1f} to {max(ratios):.1f}; 20 asked)")  # fmt: skip
    print("  (ours also reads, measures, doubts, grades and stores)")
    print(
        f"  CPU ms a record: reading {1000 * reading.cpu / n:.1f}, delineating {1000 * network.cpu / len(records):.1f}"
    )
    rows = [
        {"what": "WFDB to finished store, records/s", **spread(1 / np.array(walls)), "asked": "45 or more"},
        {"what": "the same with one process", **spread(1 / np.array(alone))},
        {"what": f"rate of {all_cores} processes / of one", **spread(np.array(alone) / np.array(walls))},
        {
            "what": f"time, NeuroKit2 dwt in {all_cores} processes / the whole build",
            **spread(np.array(ratios)),
            "asked": "20 or more",
        },
    ]
    return [{"step": "cohort", **row} for row in rows]


def _by_dwt(records: list[wb.Record]) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wb.delineate(records, "dwt")


@contextlib.contextmanager
def limited_to(n: int) -> Iterator[None]:
    """Within, as many cores are granted."""
    before = os.environ.get("LOKY_MAX_CPU_COUNT")
    os.environ["LOKY_MAX_CPU_COUNT"] = str(n)
    try:
        yield
    finally:
        del os.environ["LOKY_MAX_CPU_COUNT"]
        if before is not None:
            os.environ["LOKY_MAX_CPU_COUNT"] = before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--table", type=Path, help="also write the table there, as Markdown")
    parser.add_argument("--work", type=Path, help="where stores are put for the while; 0.4 MB a record")
    parser.add_argument("--records", type=int, default=400, help="for speed; 0 leaves it out")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.task:
        measure(a.task, a.sizes[0], a.store)
        return
    with tempfile.TemporaryDirectory(dir=a.work) as folder:
        if a.records:
            speed(a.records, 8, Path(folder))
        began = os.getloadavg()[0]
        table = scale(a.sizes, Path(folder))
    print(table.round(1).to_string(index=False))
    if a.table:
        lines = ["| " + " | ".join(table.columns) + " |", "|" + "---:|" * len(table.columns)]
        lines += ["| " + " | ".join(f"{v:.0f}" if v >= 100 else f"{v:.1f}" for v in row) + " |" for row in table.values]
        a.table.write_text(
            f"`python tests/bench_cohorts.py --records 0 --sizes {' '.join(map(str, a.sizes))} --table {a.table}`\n\n"
            f"{os.cpu_count()} cores, load {began:.1f} before.\n\n"
            + "\n".join(lines) + "\n"
        )  # fmt: skip


if __name__ == "__main__":
    main()
