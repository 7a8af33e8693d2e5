"""Predictions, maps, bands and contrasts of stored beats: time and memory at 2,000, 20,000 and 200,000 records.

``make bench-scale``. The records are the embedded PTB-XL's first 20,000, again and again under other names, two of a
name; each step is a process of its own, so that its peak of memory is its own. The network is ``compact-measures``:
predictions are of its seven targets, maps of QT.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench_cohorts import peak_mb

import ecgwb as wb
from ecgwb.cohorts import building, stores

DISTINCT, BLOCK = 20_000, 1000
ABOUT = (
    "Predictions are of seven targets, maps of QT. `map_chunks` and `difference_chunks` make the maps anew;\n"
    "`ecgradcam` gives them all back, 2.4 kB a record and target."
)
STEPS = ["open", "predict", "map_chunks", "difference_chunks", "ecgradcam"]


def repeated(n: int, store: Path) -> None:
    """A store of `n` records, a thousand in memory at a time but for their labels."""
    cohort = wb.open_cohort("ptbxl").isel(record=slice(DISTINCT))
    labels = cohort.drop_vars("beat").isel(record=np.arange(n) % DISTINCT)
    pairs = [f"p{k // 2:07d} {sex}" for k, sex in enumerate(labels["sex"].values)]
    labels = labels.assign_coords(record=[f"{k:07d}" for k in range(n)], patient=("record", pairs))

    def beats() -> Iterator[np.ndarray]:
        for k in range(0, n, BLOCK):
            yield cohort["beat"].isel(record=slice(k % DISTINCT, k % DISTINCT + min(BLOCK, n - k))).values

    stores.write(labels, {"beat": beats()}, building.FORM, store)


def steps() -> dict[str, Callable[[Any], Any]]:
    model = wb.load_model("compact-measures")
    maps = partial(wb.ecgradcam, model, targets="qt")
    return {
        "open": lambda cohort: None,
        "predict": partial(wb.predict, model),
        "map_chunks": partial(wb.attention.map_chunks, maps),
        "difference_chunks": partial(wb.attention.difference_chunks, maps),
        "ecgradcam": maps,
    }


def measure(step: str, store: str) -> None:
    """A line of JSON."""
    work = steps()[step]
    began, cpu = time.perf_counter(), time.process_time()
    work(wb.open_cohort(store))
    print(json.dumps({"s": time.perf_counter() - began, "CPU s": time.process_time() - cpu, "peak MB": peak_mb()}))


def rows_of(n: int, work: Path) -> list[dict[str, Any]]:
    store = work / f"{n}.zarr"
    subprocess.run([sys.executable, __file__, "--repeat", str(n), "--store", str(store)], check=True)
    rows = []
    for step in STEPS:
        command = [sys.executable, __file__, "--step", step, "--store", str(store)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        rows.append({"step": step, "records": n, **json.loads(done.stdout.splitlines()[-1])})
        print(rows[-1], flush=True)
    shutil.rmtree(store)
    return rows


def writing(work: Path, n_parts: int = 40) -> None:
    """What a cluster does not share out: the main process saves parts of 50 recordings and puts them together."""
    cohort = wb.open_cohort("ptbxl500", rhythm=True).isel(record=slice(stores.CHUNK))
    part = {str(k): v.values for k, v in cohort.transpose("record", ...).variables.items() if "record" in v.dims}
    part |= {"cycles": np.array(cohort.sizes["cycle"]), "failures": np.array("[]")}
    files, n = [stores.part_file(work, k, "") for k in range(n_parts)], n_parts * stores.CHUNK
    began = time.perf_counter()
    for k, file in enumerate(files):
        stores.save_part(file, part | {"record": np.array([f"{k}-{name}" for name in part["record"]])})
    saved = time.perf_counter()
    stores.put_together(files, building.FORM, [c for c in building.COORDS if c in part], {}, work / "store")
    put = time.perf_counter() - saved
    sizes = [sum(f.stat().st_size for f in where) / n / 1e6 for where in (files, work.glob("store/*/*"))]
    print(f"saved: {n / (saved - began):.0f} recordings a second, {sizes[0]:.2f} MB each")
    print(f"put together: {n / put:.0f} a second, {sizes[1]:.2f} MB each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 20_000, 200_000])
    parser.add_argument("--table", type=Path, help="also write the table there, as Markdown")
    parser.add_argument("--work", type=Path, help="where stores are put for the while; 15 kB a record")
    parser.add_argument("--writing", action="store_true", help="how fast parts are saved and put together, only")
    parser.add_argument("--repeat", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--store", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.repeat:
        repeated(a.repeat, Path(a.store))
        return
    if a.step:
        measure(a.step, a.store)
        return
    if a.writing:
        with tempfile.TemporaryDirectory(dir=a.work) as folder:
            writing(Path(folder))
        return
    began = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=a.work) as folder:
        rows = [row for n in a.sizes for row in rows_of(n, Path(folder))]
    text = table_of(pd.DataFrame(rows))
    print(text)
    if a.table:
        a.table.write_text(
            f"`python tests/bench/bench_beats.py --sizes {' '.join(map(str, a.sizes))} --table {a.table}`\n\n"
            f"{os.cpu_count()} cores, load {began:.1f} before. {ABOUT}\n\n{text}\n"
        )


def table_of(rows: pd.DataFrame) -> str:
    """As Markdown: a row a step, what was measured of each size."""
    table = rows.pivot(index="step", columns="records").swaplevel(axis=1)
    table = table.loc[STEPS, [(n, what) for n in sorted(set(rows["records"])) for what in ("s", "CPU s", "peak MB")]]
    heads = ["step", *(f"{n:,}: {what}" for n, what in table.columns)]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * len(table.columns)]
    for step, row in zip(STEPS, table.values, strict=True):
        lines.append(f"| `{step}` | " + " | ".join(f"{v:.1f}" if v < 10 else f"{v:.0f}" for v in row) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
