"""Broken input by chance, and what is asked of the package about it.

    make fuzz     # the whole campaign; its table is fuzz.md

Recordings are real ones whose header and signal bytes are altered, in WFDB and in the formats of hospitals; cohorts and
maps are real ones bent out of shape.
Whatever comes in, a function returns, or raises an error that the package itself raised, in words.
"""

import argparse
import io
import itertools
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "recordings"))

import bent
import h5py
import medical_files
import numpy as np
import pandas as pd
import torch
from bad_input import ptbxl, write

import ecgwb as wb
from ecgwb.recordings.record import LEADS12

PACKAGE = Path(wb.__file__).parent
OWN = (wb.RecordError, wb.ModelError, ValueError, TypeError)
NASTY = (
    *b"0 -1 1 2 7 1e309 nan -inf 999999999999999999999 0.0000001 65536 x ../r.dat ~ r 16 212 80 8 310 516 16x4 16:9 "
    b"16+1000000 200(0)/mV 0/V 1e-300/uV 1e300/mV \xc2\xb5V \x00 # /3 500/1(2) I II".split(b" "),
    *(b"", b" ", b"\n"),
)


def own(error):
    """Whether the package itself raised it, by a ``raise`` of its own, and as an error of its kinds."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return isinstance(error, OWN) and PACKAGE in Path(last.filename).parents and last.line.startswith("raise ")


def base(folder):
    """Header and signal of a real recording, cut to 3 s."""
    path = write(folder, "r", ptbxl()[:, :1500])
    return path.with_suffix(".hea").read_bytes(), path.with_suffix(".dat").read_bytes()


def altered(rng, header, signal):
    """The two with one to three things changed by chance."""
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(8)
        if kind == 0:  # bytes of the header changed
            raw = bytearray(header)
            for at in rng.integers(0, max(len(raw), 1), 3) if raw else ():
                raw[at] = rng.integers(256)
            header = bytes(raw)
        elif kind == 1:  # cut short
            header = header[: rng.integers(0, len(header) + 1)]
        elif kind in (2, 3, 4):  # a word replaced
            words = re.split(rb"(\s+|/|\(|\))", header)
            words[rng.integers(len(words))] = NASTY[rng.integers(len(NASTY))]
            header = b"".join(words)
        elif kind == 5:  # lines lost, doubled, in another order
            lines = header.splitlines(keepends=True)
            header = b"".join(lines[k] for k in rng.integers(0, len(lines), rng.integers(1, 15))) if lines else b""
        elif kind == 6:  # signal cut short or too long
            n = int(rng.integers(0, 2 * len(signal) + 1))
            signal = (signal * 2 or b"\x00")[:n]
        else:  # samples of chance, stretches of zeros and of missing ones
            x = np.frombuffer(signal[: len(signal) // 2 * 2], "<i2").copy()
            a, b = sorted(rng.integers(0, len(x) + 1, 2))
            fill = (rng.integers(-32768, 32768, b - a), np.zeros(b - a), np.full(b - a, -32768), np.full(b - a, 32767))
            x[a:b] = fill[rng.integers(4)]
            signal = x.astype("<i2").tobytes()
    return header, signal


def make(folder, n, seed=0):
    """`n` altered recordings in a folder; their names."""
    header, signal = base(folder)
    for file in folder.iterdir():
        file.unlink()
    rng = np.random.default_rng(seed)
    names = [f"m{k:05d}" for k in range(n)]
    for name in names:
        h, s = altered(rng, header, signal)
        (folder / f"{name}.hea").write_bytes(
            h.replace(b"r.dat", name.encode() + b".dat").replace(b"r 12", name.encode() + b" 12")
        )
        (folder / f"{name}.dat").write_bytes(s)
    return names


def hospital_files():
    """The same recording in each format of hospitals, as its bytes."""
    ecg = np.round(ptbxl()[:, :1500])
    eight, beat = ecg[[LEADS12.index(x) for x in medical_files.EIGHT]], ecg[:, 200:600]
    rows = [(f"ECG {n}", "uV", (-81920, 81917.5), medical_files.steps(x, 2.5), 500)
            for n, x in zip(LEADS12, ecg, strict=True)]  # fmt: skip
    groups = [("RHYTHM", "ORIGINAL", ecg, 500, {}), ("MEDIAN BEAT", "DERIVED", beat, 500, {})]
    return {
        "GE MUSE XML": medical_files.muse(eight, median=eight[:, 200:600]),
        "HL7 aECG": medical_files.aecg(ecg, median=beat),
        "Philips Sierra XML": medical_files.sierra(ecg, median=beat),
        "Philips Sierra XML, XLI": medical_files.sierra(ecg, compressed=True),
        "SCP-ECG": medical_files.scp(ecg, beat=beat),
        "SCP-ECG, Huffman code": medical_files.scp(ecg, order=1, packed=True, beat=beat, peaks=(400, 900)),
        "DICOM ECG": medical_files.dicom(groups),
        "EDF+D": medical_files.edf(rows, kind="EDF+D", times=[0, 1, 5]),
        **array_files(ecg),
    }


def array_files(ecg):
    """The recording (lead, sample) µV as arrays and tables, small enough that what is bent is seldom but a sample."""
    ecg = ecg[:, :600]
    said = {"fs": 500, "leads": list(LEADS12), "unit": "uV", "age": 50, "patient_id": "7"}
    npz, hdf5, parquet = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(npz, ecg=ecg, **said)
    with h5py.File(hdf5, "w") as file:
        file.create_dataset("p1/ecg", data=ecg, chunks=(12, 200), compression="gzip")
        file["p1/ids"] = ["a"]
        file.attrs.update(said)
    table = pd.DataFrame(dict(zip((f"{lead} (uV)" for lead in LEADS12), ecg, strict=True)))
    table.insert(0, "time (ms)", 2 * np.arange(600))
    table.to_parquet(parquet)
    csv = table.to_csv(index=False).encode()
    files = {"NumPy .npz": npz, "HDF5": hdf5, "Parquet": parquet}
    return {kind: file.getvalue() for kind, file in files.items()} | {"CSV": csv}


def bent_bytes(rng, content):
    """A file with one or two things changed by chance, more often in what is not samples."""
    for _ in range(rng.choice([1, 1, 2])):
        kind, n = rng.integers(8), len(content)
        # The heads of all these formats are short, and so are texts between samples in XML.
        at = int(rng.integers(0, max(min(n, 6000) if rng.random() < 0.7 else n, 1)))
        if kind == 0:
            content = content[: int(rng.integers(0, n + 1))]
        elif kind == 1:  # bytes changed
            content = content[:at] + rng.bytes(int(rng.integers(1, 5))) + content[at + 4 :]
        elif kind == 2:  # a whole number of two or four bytes
            value = int(rng.choice([0, 1, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1]))
            size = 2 if value < 2**16 and rng.random() < 0.5 else 4
            content = content[:at] + value.to_bytes(4, "little")[:size] + content[at + size :]
        elif kind in (3, 4):  # a number or word replaced, of the same length in columns
            found = re.compile(rb"[0-9.]+" if rng.random() < 0.7 else rb"[A-Za-z_]+").search(content, at)
            if found:
                a, z = found.span()
                word = NASTY[rng.integers(len(NASTY))]
                content = content[:a] + (word.ljust(z - a)[: z - a] if kind == 3 else word) + content[z:]
        elif kind == 5:  # a stretch lost
            content = content[:at] + content[at + int(rng.integers(1, 200)) :]
        elif kind == 6:  # a stretch doubled
            content = content[:at] + content[max(at - int(rng.integers(1, 500)), 0) :]
        else:  # a tag or a declaration where none is expected
            word = (b"<a>", b"</Waveform>", b"<!DOCTYPE x [<!ENTITY e 'e'>]>", b"&e;", b"<![CDATA[", b"\xff\xfe", b"\0")
            content = content[:at] + word[rng.integers(len(word))] + content[at:]
    return content


def make_files(folder, content, n, seed=0):
    """`n` bent files of one format in a folder; their names."""
    rng, names = np.random.default_rng(seed), [f"f{k:05d}" for k in range(n)]
    for name in names:
        (folder / name).write_bytes(bent_bytes(rng, content))
    return names


def memory_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def read_all(folder, names):
    """What `read_record` makes of each: counts, the slowest in seconds, growth of memory in MB, and foreign errors."""
    counts, slowest, foreign, before = Counter(), 0.0, [], memory_mb()
    for name in names:
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings(
                "ignore", "record '.*': (limb leads disagree|units differ|no gain|a sampling rate of)"
            )
            try:
                record = wb.read_record(folder / name)
                assert np.isfinite(record.signal).any() or np.isnan(record.signal).all()
                counts["read"] += 1
            except wb.RecordError as e:
                counts["refused" if own(e) else "foreign"] += 1
            except Exception as e:
                counts["foreign"] += 1
                foreign.append((name, repr(e)))
        slowest = max(slowest, time.perf_counter() - start)
    return counts, slowest, memory_mb() - before, foreign


def build_all(folder, names):
    """What `build_cohort` makes of all of them at once, and which of the reasons it gives are no words of ours."""
    before, start = memory_mb(), time.perf_counter()
    with tempfile.TemporaryDirectory() as tmp:
        cohort = wb.build_cohort(folder, Path(tmp) / "c.zarr")
        left = wb.excluded(cohort)
        assert np.isfinite(cohort["beat"]).all()
    given = sorted([*map(str, cohort["record"].values), *left["record"]])
    assert given == sorted(names), "a record is lost"
    counts = Counter({"kept": cohort.sizes["record"]}) + Counter(f"left out ({s})" for s in left["step"])
    foreign = [
        tuple(r) for r in left[["record", "reason"]].values if re.match(r"[A-Za-z]*(Error|Exception|Warning): ", r[1])
    ]
    return counts, time.perf_counter() - start, memory_mb() - before, foreign


def call(name, given, frozen, model):
    """Outcome of one call: "returned", "refused", "not asked", or the foreign error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            bent.CALLS[name](given, frozen, model)
        except Exception as e:
            if own(e):
                return "refused"
            ours = [f for f in traceback.extract_tb(e.__traceback__) if PACKAGE in Path(f.filename).parents]
            return f"foreign: {name}: {e!r}"[:300] if ours else "not asked"  # the call took the cohort apart itself
    return "returned"


def read_hospital_files(n, seed=0):
    """Rows of the table, and what went wrong, of `n` bent files of each format."""
    rows, wrong = [], []
    for kind, content in hospital_files().items():
        with tempfile.TemporaryDirectory() as tmp:
            counts, seconds, mb, foreign = read_all(Path(tmp), make_files(Path(tmp), content, n, seed))
        outcomes = ", ".join(f"{n:,} {k}" for k, n in sorted(counts.items()))
        rows.append((f"`read_record`, each, {kind}", f"{n:,} bent files", outcomes, f"slowest {seconds:.2g} s",
                     f"{mb:.0f} MB"))  # fmt: skip
        wrong += foreign
    return rows, wrong


def campaign(n_recordings, n_calls, seed=0, n_files=1000):
    """The table of a campaign, and all that went wrong in it."""
    rows, wrong = [], []
    with tempfile.TemporaryDirectory() as tmp:
        names = make(Path(tmp), n_recordings, seed)
        for what, run in (("`read_record`, each", read_all), ("`build_cohort`, all in one folder", build_all)):
            counts, seconds, mb, foreign = run(Path(tmp), names)
            assert counts.total() == n_recordings
            outcomes = ", ".join(f"{n:,} {k}" for k, n in sorted(counts.items()))
            limit = "slowest" if run is read_all else "in all"
            rows.append(
                (what, f"{n_recordings:,} altered recordings", outcomes, f"{limit} {seconds:.2g} s", f"{mb:.0f} MB")
            )
            wrong += foreign
    of_files, foreign = read_hospital_files(n_files, seed)
    rows, wrong = rows + of_files, wrong + foreign
    cohort, frozen = bent.good(), bent.with_manifest()
    model, rng, counts, before, slowest = bent.net(), np.random.default_rng(seed), Counter(), memory_mb(), 0.0
    calls = list(itertools.product(bent.CALLS, [*bent.BENDS, *range(len(bent.OTHERS))]))
    for k in rng.permutation(len(calls))[:n_calls]:
        name, bend = calls[k]
        given = bent.OTHERS[bend] if isinstance(bend, int) else bent.BENDS[bend](cohort)
        start = time.perf_counter()
        outcome = call(name, given, frozen, model)
        slowest = max(slowest, time.perf_counter() - start)
        counts[outcome.partition(":")[0]] += 1
        wrong += [(bend, outcome)] if outcome.startswith("foreign") else []
    outcomes = ", ".join(f"{n:,} {k}" for k, n in sorted(counts.items()))
    tried = f"{counts.total():,} calls with bent cohorts and things of other kinds"
    rows.append((f"{len(bent.CALLS)} calls of all public functions that take data", tried, outcomes,
                 f"slowest {slowest:.2g} s", f"{memory_mb() - before:.0f} MB"))  # fmt: skip
    head = ["| through | given | outcome | time | memory grew by |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)]), wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The whole campaign of fuzzing.")
    parser.add_argument("--recordings", type=int, default=5000)
    parser.add_argument("--files", type=int, default=1000, help="of each format of hospitals")
    parser.add_argument("--calls", type=int, default=10**6, help="at most; by default every pair of call and input")
    parser.add_argument("--table", type=Path)
    args = parser.parse_args()
    table, wrong = campaign(args.recordings, args.calls, n_files=args.files)
    print(table, *wrong, sep="\n")
    if args.table:
        asked = f"--recordings {args.recordings} --files {args.files} --calls {args.calls} --table {args.table}"
        by = f"By `python tests/adversarial/fuzzing.py {asked}`, with torch {torch.__version__}."
        args.table.write_text(f"# Fuzzing\n\n{by}\n\n{table}\n")
    sys.exit(bool(wrong))
