"""The embedded cohort of all of PTB-XL, made from its 100 Hz recordings.

python -m studies.ptbxl_cohort FOLDER

FOLDER is PTB-XL 1.0.3 as downloaded, with records100, or its recordings packed by fold: ``foldKK.NxLxS.xz`` holds the
first differences along time of int16 values in µV (recording, lead, sample), low bytes first, then high bytes, and
``ptbxl100.csv`` a row a recording. The build goes on where a killed one stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from ecgwb.cohorts.cache import cache_dir, content_key
from ecgwb.cohorts.cohort import build_cohort
from ecgwb.cohorts.layouts import CREDITS, OVER_89, SUPERCLASSES
from ecgwb.cohorts.packed import PACKED, pack
from ecgwb.recordings.record import LEADS, Record

NO_PATIENTS = (
    "unknown: 21,799 recordings are of 18,869 patients. No patient is in two folds; within folds, a recording counts "
    "as a patient, so that intervals are a little too narrow"
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.ptbxl_cohort", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    store = whole_store()
    store.parent.mkdir(parents=True, exist_ok=True)
    is_packed = (folder / "ptbxl100.csv").is_file()
    cohort = build_cohort(packed_records(folder) if is_packed else folder, out=store)
    cohort = cohort.isel(record=np.argsort(cohort["record"].values.astype(int)))
    attrs = {
        "source": "ptbxl",
        "credit": CREDITS["ptbxl"],
        "folds": "ptbxl",
        "recordings": "100 Hz",
        "ecgwb": version("ecgwb"),
        "patients": NO_PATIENTS,
    }
    if is_packed:
        attrs["sha256"] = digest(folder)
        cohort["patient"] = cohort["patient"].copy(data=np.full(cohort.sizes["record"], ""))
    file = PACKED["ptbxl"]
    pack(cohort.assign_attrs(attrs), file)
    print(f"{file.name}: {cohort.sizes['record']} recordings, {file.stat().st_size / 1e6:.1f} MB")


def whole_store() -> Path:
    """Where the build is kept, with the 10 s of every recording, which the embedded cohort does not hold."""
    return cache_dir() / "cohorts" / f"ptbxl100-{content_key('delineation')}.zarr"


def packed_records(folder: Path) -> Iterator[Record]:
    """The recordings, by their number in PTB-XL, with their metadata."""
    table = pd.read_csv(folder / "ptbxl100.csv", keep_default_na=False)
    for fold, rows in table.groupby("strat_fold"):
        signals = fold_of(folder, int(str(fold)))
        for row in rows.to_dict("records"):
            known = {
                "sex": row["sex"],
                "age": min(float(row["age"]), OVER_89) if row["age"] else None,
                "diagnosis": row["diagnosis"],
                "superclass": "; ".join(c for c in SUPERCLASSES if row[c]),
                "fold": row["strat_fold"],
            }
            yield Record(signals[row["row"]], 100.0, LEADS, str(row["ecg_id"]), known)


def fold_of(folder: Path, fold: int) -> np.ndarray:
    """A fold's signals (recording, lead, sample), µV, int16."""
    (file,) = folder.glob(f"fold{fold:02d}.*.xz")
    shape = [int(n) for n in re.findall(r"\d+", file.name.partition(".")[2])]
    planes = np.frombuffer(lzma.decompress(file.read_bytes()), "u1").reshape(2, *shape)
    steps = np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view("<i2")[..., 0]
    return np.cumsum(steps, axis=-1, dtype=np.int16)


def digest(folder: Path) -> str:
    """Of the files' content."""
    whole = hashlib.sha256()
    for file in sorted(folder.glob("fold*.xz")):
        whole.update(file.read_bytes())
    return whole.hexdigest()


if __name__ == "__main__":
    main()
