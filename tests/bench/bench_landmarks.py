"""Accuracy and speed of the landmarks, side by side with NeuroKit2 in one run.

Accuracy is on all 200 people of LUDB, all 12 leads. For "ecgwb" each person's landmarks come from the network that
has not seen the person. Time is per 12-lead record of 10 s, all leads and beats, records in a batch.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from studies.landmark_scores import score_landmarks
from timing import in_turns, ratio, spread

from ecgwb import accuracy_table, open_cohort
from ecgwb.cohorts.sources import unpack
from ecgwb.delineation.annotations import ludb_out_of_fold, read_annotations
from ecgwb.delineation.neurokit import NEUROKIT_METHODS
from ecgwb.delineation.waves import COLUMNS, delineate
from ecgwb.recordings.reading import read_record
from ecgwb.recordings.record import Record

BARS = {"P_onset": 15.0, "P_offset": 12.7, "QRS_onset": 8.5, "QRS_offset": 8.8, "T_offset": 20.0}
BEST_PUBLISHED = {"P_onset": 10.2, "P_offset": 11.4, "QRS_onset": 7.7, "QRS_offset": 8.8, "T_offset": 15.5}
FOUND = {"P_peak": (97.5, 95.0), "QRS_peak": (99.9, 99.7), "T_peak": (98.5, 97.0)}


def milliseconds(records: list[Record], method: str, repeats: int = 3) -> float:
    """Time per record; the best of several, as other programs only ever add to it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        delineate(records[:2], method=method)  # imports, weights
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            delineate(records, method=method)
            times.append(time.perf_counter() - start)
    return 1000 * min(times) / len(records)


def show(scores: pd.DataFrame) -> None:
    columns = {
        "n": "{:.0f}", "se": "{:.2f}", "ppv": "{:.2f}", "mean": "{:+.2f}",
        "sd": "{:.2f}", "sd_person": "{:.2f}", "p95": "{:.1f}",
    }  # fmt: skip
    text = pd.DataFrame(
        {k: scores[k].map(lambda x, f=f: "" if pd.isna(x) else f.format(x)) for k, f in columns.items()}
    )
    text["SD at most"] = [BARS.get(p, "") for p in scores.index]
    text["best published"] = [BEST_PUBLISHED.get(p, "") for p in scores.index]
    text["Se / PPV at least"] = ["{} / {}".format(*FOUND[p]) if p in FOUND else "" for p in scores.index]
    print(text.to_string())


def ecgdeli_waves(records: list[Record]) -> pd.DataFrame:
    """ECGdeli's landmarks in the table of `delineate`; its own filter first, as its authors do."""
    import ecgdeli

    rows = []
    for record in records:
        found = ecgdeli.annotate(ecgdeli.filter_ecg(record.signal.T, record.fs), record.fs)
        for lead, points in zip(record.leads, found.leads, strict=True):
            ms = points.samples * 1000.0 / record.fs  # NaN where it found none
            for wave, at in (("P", (0, 1, 2)), ("QRS", (3, 5, 7)), ("T", (9, 10, 11))):
                rows += [(record.record_id, lead, wave, *m) for m in ms[:, at] if np.isfinite(m[1])]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def compare(n: int = 10) -> list[dict[str, Any]]:
    """Rows of the table of `make bench`: time and accuracy beside every peer, on `n` people of LUDB."""
    folder = unpack("ludb") / "data"
    chosen = range(1, 201, 200 // n)
    records = [read_record(folder / str(k)) for k in chosen]
    manual = pd.concat([read_annotations(folder / str(k)) for k in chosen])
    calls = {"ecgwb": partial(delineate, records)}
    calls |= {f"NeuroKit2 {m}": partial(delineate, records, m) for m in NEUROKIT_METHODS}
    if importlib.util.find_spec("ecgdeli"):
        calls["ecgdeli"] = partial(ecgdeli_waves, records)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        took = in_turns(calls, repeats=3)
        sd = {k: score_landmarks(call(), manual)["sd"] for k, call in calls.items() if k != "ecgwb"}
    unseen = ludb_out_of_fold()
    ours = score_landmarks(unseen[unseen["record"].isin([r.record_id for r in records])], manual)["sd"]
    a_record = spread(1000 * took["ecgwb"] / n)
    rows = [{"what": "12 leads of 10 s, ms a record", **a_record, "asked": "at most 40"}]
    for peer, errors in sd.items():
        asked = "10 or more" if peer == "NeuroKit2 dwt" else ""
        rows.append({"what": f"time, {peer} / ours", **ratio(took[peer], took["ecgwb"]), "asked": asked})
        for point in ("QRS_onset", "T_offset"):
            if np.isfinite(errors[point]):
                rows.append({"what": f"SD of {point}, {peer} / ours out of fold", "value": errors[point] / ours[point]})
    return [{"step": "landmarks", **row} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--neurokit", type=int, default=20, help="records that NeuroKit2 is scored and timed on")
    args = parser.parse_args()
    folder = unpack("ludb") / "data"
    manual = {n: read_annotations(folder / str(n)) for n in range(1, 201)}
    print("ecgwb, out of fold, 200 people, 12 leads; ms and %")
    show(score_landmarks(ludb_out_of_fold(), pd.concat(manual.values())))

    cohort = open_cohort("ludb")
    print("\nGlobal intervals against the manual ones, by the same rule, out of fold; ms")
    intervals = accuracy_table(cohort[["pr", "qrs", "qt"]], cohort, "_manual").drop(columns=["metric", "unit"])
    print(intervals.round(2).to_string())
    error = np.abs(cohort["qt"] - cohort["qt_manual"]).values
    doubt = np.hypot(*(cohort["doubt"].sel(landmark=m).values for m in ("QRS_on", "T_off")))
    sure = doubt <= np.quantile(doubt, 0.9)
    rank = spearmanr(doubt, error).statistic
    less = 100 * (1 - error[sure].mean() / error.mean())
    print(f"Doubt of QRS_on and T_off with the error of QT: Spearman {rank:.2f} (0.4 asked)")
    print(f"Without the most doubtful tenth that error is {less:.0f} % less (20 asked)")

    chosen = range(1, 201, max(200 // args.neurokit, 1))
    records = [read_record(folder / str(n)) for n in chosen]
    print(f"\nTime per record, {len(records)} records, {torch.get_num_threads()} threads")
    took = {m: milliseconds(records, m, 3 if m == "ecgwb" else 1) for m in ("ecgwb", "prominence", "dwt")}
    for method, ms in took.items():
        print(f"{method:11s} {ms:7.1f} ms, {ms / took['ecgwb']:5.1f} times ecgwb's")
    for method in ("prominence", "dwt"):
        print(f"\nNeuroKit2 {method}, the same {len(records)} people")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = delineate(records, method=method)
        show(score_landmarks(found, pd.concat([manual[n] for n in chosen])))


if __name__ == "__main__":
    main()
