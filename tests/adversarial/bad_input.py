"""What ecgwb does with bad input: every row of the table in bad_input.md, from a real call.

    make bad-input     # writes the table anew

The recordings are real ones of the embedded sets, spoilt; but for ventricular fibrillation and noise, which are made.
"""

import argparse
import contextlib
import io
import pickle
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import torch
import wfdb
import xarray as xr
from torch import nn

import ecgwb as wb
from ecgwb import workers
from ecgwb.cohorts import stores
from ecgwb.cohorts.electrodes import SWAPS
from ecgwb.cohorts.sources import unpack
from ecgwb.recordings.record import LEADS12, complete_limb_leads
from ecgwb.recordings.wfdb_files import quiet_wfdb

TABLE = Path(__file__).with_suffix(".md")
INTRODUCTION = """# What happens to bad input

One bad recording costs itself alone, and `wb.excluded(cohort)` says why. What is seen to be doubtful is kept and
described in the coordinate `flags`. What is seen to be wrong is refused: the message says what was seen, what was
expected and what to do. What cannot be seen stands here, too: "kept, nothing". Every row is a real call, written by
`make bad-input`.
"""
GOOD = ("00001_hr", "00002_hr", "00003_hr")  # stand beside the spoilt recordings, and must be kept
FIBRILLATION, PACED = 88, 74  # records of LUDB


def stored(path):
    """Its integers (lead, sample), in µV for both embedded sets."""
    return wfdb.rdrecord(str(path), physical=False).d_signal.T.astype(float)


def ptbxl(name=GOOD[0]):
    return stored(unpack("ptbxl500") / "records500" / "00000" / name)


def write(folder, name, uv, *, fs=500, gain=1000.0, unit="mV", leads=LEADS12):
    """A WFDB record of integers that mean µV where gain and unit are right; NaN is stored as missing."""
    values = np.where(np.isnan(uv), -32768, np.clip(np.nan_to_num(uv).round(), -32767, 32767)).astype(np.int64)
    n = len(values)
    with quiet_wfdb():
        wfdb.wrsamp(name, fs=fs, units=[unit] * n, sig_name=list(leads), d_signal=values.T, fmt=["16"] * n,
                    adc_gain=[gain] * n, baseline=[0] * n, write_dir=str(folder))  # fmt: skip
    return folder / name


def twelve(i_ii, chest):
    leads = {"I": i_ii[0], "II": i_ii[1]}
    complete_limb_leads(leads)
    return np.stack([*(leads[n] for n in LEADS12[:6]), *chest])


def lead(uv, name, change):
    """A recording with one lead changed; limb leads but I and II are left as they are."""
    out = uv.copy()
    out[LEADS12.index(name)] = change(uv[LEADS12.index(name)])
    return out


def gap(x, start, stop):
    x = x.copy()
    x[start:stop] = np.nan
    return x


def holes(x, share):
    return np.where(np.random.default_rng(0).random(x.shape) < share, np.nan, x)


def printout(uv, strip):
    """Three rows of four columns of 2.5 s, with lead II whole or not."""
    column = np.arange(12)[:, None] // 3 == np.arange(uv.shape[1]) // (uv.shape[1] // 4)
    return np.where(column | (strip & (np.arange(12) == 1))[:, None], uv, np.nan)


def hum(uv, hz):
    eight = uv[[LEADS12.index(n) for n in wb.LEADS]] + 100 * np.sin(2 * np.pi * hz * np.arange(uv.shape[1]) / 500)
    return twelve(eight[:2], eight[2:])


def noise(n=5000, size=100.0):
    return twelve(*np.split(np.random.default_rng(0).normal(0, size, (8, n)), [2]))


def ventricular_fibrillation(n=5000):
    rng = np.random.default_rng(0)
    phase = (
        2 * np.pi * np.cumsum(4.5 + np.interp(np.arange(n), np.arange(0, n, 100), rng.normal(0, 0.7, n // 100))) / 500
    )
    size = 200 + np.interp(np.arange(n), np.arange(0, n, 250), rng.normal(0, 50, n // 250))
    return twelve(*np.split(rng.normal(1, 0.5, (8, 1)) * size * np.sin(phase + rng.normal(0, 0.3, (8, 1))), [2]))


def spoil(kind, change):
    """A whole recording one of whose files is then changed."""

    def make(folder, name):
        file = write(folder, name, ptbxl()).with_suffix(kind)
        change(file)

    return make


def recorded(change, **header):
    return lambda folder, name: write(folder, name, change(ptbxl()), **header)


def beside(name, unit, samples=1):
    """The twelve leads and a channel of another name, or in another unit."""

    def make(folder, rid):
        x = ptbxl()
        write(folder, rid, np.concatenate([x, np.roll(x[:1], samples, axis=1)]), leads=[*LEADS12, "other"])
        file = (folder / rid).with_suffix(".hea")
        *lines, last = file.read_text().splitlines()
        last = last.replace("/mV", f"/{unit}").replace(" other", f" {name}")
        file.write_text("\n".join([*lines, last]) + "\n")

    return make


def in_segments(folder, name):
    """A variable layout: two segments, the second of eight leads, and a gap of 0.2 s between them."""
    x, eight = ptbxl(), [LEADS12.index(n) for n in wb.LEADS]
    write(folder, f"{name}_1", x[:, :4000])
    write(folder, f"{name}_2", x[eight, 4000:], leads=wb.LEADS)
    layout = "".join(f"~ 0 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS12)
    (folder / f"{name}_0.hea").write_text(f"{name}_0 12 500 0\n{layout}")
    segments = f"{name}_0 0\n{name}_1 4000\n~ 100\n{name}_2 1000\n"
    (folder / f"{name}.hea").write_text(f"{name}/4 12 500 5100\n{segments}")


def of_ludb(number):
    return lambda folder, name: write(folder, name, stored(unpack("ludb") / "data" / str(number)))


def text(edit):
    return lambda file: file.write_text(edit(file.read_text()))


def outside(file):
    shutil.copy(file.with_suffix(".dat"), file.parent.parent / "secret.dat")
    file.write_text(file.read_text().replace(f"{file.stem}.dat", "../secret.dat"))


RECORDINGS = {
    "header empty": spoil(".hea", lambda f: f.write_bytes(b"")),
    "header cut in its first line": spoil(".hea", text(lambda s: s[:12])),
    "header cut between two leads": spoil(".hea", text(lambda s: "\n".join(s.splitlines()[:7]) + "\n")),
    "header cut within a lead's line": spoil(".hea", text(lambda s: s[: s.index("mV") - 3])),
    "header of random bytes": spoil(".hea", lambda f: f.write_bytes(np.random.default_rng(0).bytes(500))),
    "header without a length": spoil(".hea", text(lambda s: s.replace(" 500 5000", " 500", 1))),
    "header that promises 10^12 samples": spoil(".hea", text(lambda s: s.replace("5000", "1000000000000", 1))),
    "header that names a file outside its folder": spoil(".hea", outside),
    "signal file missing": spoil(".dat", lambda f: f.unlink()),
    "signal file empty": spoil(".dat", lambda f: f.write_bytes(b"")),
    "signal file cut to half": spoil(".dat", lambda f: f.write_bytes(f.read_bytes()[:60000])),
    "signal file cut within a sample": spoil(".dat", lambda f: f.write_bytes(f.read_bytes()[:-1])),
    "header with a date that is none": spoil(".hea", text(lambda s: s.replace("500 5000", "500 5000 24:00 2006", 1))),
    "header in UTF-16": spoil(".hea", lambda f: f.write_bytes(f.read_text().encode("utf-16"))),
    "header without a rate": spoil(".hea", text(lambda s: s.replace(" 500 5000", "", 1))),
    "header without gains": spoil(".hea", text(lambda s: s.replace("1000.0(0)/mV", "0(0)/mV"))),
    "header with an age of 300, and sex 1": spoil(".hea", text(lambda s: s + "# Age: 300\n# Sex: 1\n")),
    "segments of variable layout, with a gap": in_segments,
    "a channel of respiration beside the leads": beside("RESP", "NU"),
    "a second lead II that differs": beside("II", "mV"),
    "-aVR in place of aVR": recorded(
        lambda x: lead(x, "aVR", lambda y: -y), leads=[*LEADS12[:3], "-aVR", *LEADS12[4:]]
    ),
    "names of leads that are none": recorded(lambda x: x, leads=[f"ECG{k}" for k in range(1, 13)]),
    "names of leads in German": spoil(
        ".hea", text(lambda s: s.replace(" V", " Brustwand V").replace(" I", " Ableitung I"))
    ),
    "gain of V3 a thousand times too small": spoil(
        ".hea", text(lambda s: re.sub(r"1000\.0\(0\)/mV(.* V3\n)", r"1.0(0)/mV\1", s))
    ),
    "gain of one limb lead doubled": recorded(lambda x: lead(x, "II", lambda y: 2 * y)),
    "gain of one chest lead doubled": recorded(lambda x: lead(x, "V4", lambda y: 2 * y)),
    "all gains ten times too large": recorded(lambda x: x, gain=10000.0),
    "all gains ten times too small": recorded(lambda x: x, gain=100.0),
    "mV called µV": recorded(lambda x: x, unit="uV"),
    "µV called mV": recorded(lambda x: x, gain=1.0),
    "a unit that is no voltage": recorded(lambda x: x, unit="mmHg"),
    "rate in the header half the true one": recorded(lambda x: x, fs=250),
    "rate in the header twice the true one": recorded(lambda x: x, fs=1000),
    "rate in the header 0": spoil(".hea", text(lambda s: s.replace(" 500 5000", " 0 5000", 1))),
    "rate in the header 0.01 Hz": recorded(lambda x: x, fs=0.01),
    **{
        f"limb electrodes interchanged: {name}": recorded(lambda x, swap=swap: twelve(swap @ x[:2], x[6:]))
        for name, swap in list(SWAPS.items())[1:4]
    },
    "V1 copied into V2": recorded(lambda x: np.concatenate([x[:7], x[6:7], x[8:]])),
    "V1 copied into V2, a half larger": recorded(lambda x: np.concatenate([x[:7], 1.5 * x[6:7], x[8:]])),
    "all leads upside down": recorded(lambda x: -x),
    "V4 ten times too large": recorded(lambda x: lead(x, "V4", lambda y: 10 * y)),
    "II a thousandth of what it is": recorded(lambda x: lead(x, "II", lambda y: y / 1000)),
    "a lead's name twice": spoil(".hea", text(lambda s: s.replace(" V6", " V5"))),
    "no V6": recorded(lambda x: x[:11], leads=LEADS12[:11]),
    "0.4 s of V5 missing": recorded(lambda x: lead(x, "V5", lambda y: gap(y, 2000, 2200))),
    "V5 missing throughout": recorded(lambda x: lead(x, "V5", lambda y: gap(y, 0, 5000))),
    "1 % of the samples missing": recorded(lambda x: holes(x, 0.01)),
    "a printout: 2.5 s a lead, II whole": recorded(lambda x: printout(x, True)),
    "a printout: 2.5 s a lead": recorded(lambda x: printout(x, False)),
    "V5 constant": recorded(lambda x: lead(x, "V5", lambda y: 0 * y + 7)),
    "V5 constant for 3 s": recorded(lambda x: lead(x, "V5", lambda y: np.concatenate([y[:3500], 0 * y[3500:]]))),
    "all leads constant": recorded(lambda x: 0 * x + 7),
    "50 Hz hum, 100 µV": recorded(lambda x: hum(x, 50)),
    "60 Hz hum, 100 µV": recorded(lambda x: hum(x, 60)),
    "V4 saturated above 400 µV": recorded(lambda x: lead(x, "V4", lambda y: y.clip(max=400))),
    "1 s long": recorded(lambda x: x[:, :500]),
    "30 min long, eight leads": recorded(lambda x: np.tile(np.concatenate([x[:2], x[6:]]), 180), leads=wb.LEADS),
    "asystole: noise of 5 µV": lambda folder, name: write(folder, name, noise(size=5)),
    "no ECG: noise of 100 µV": lambda folder, name: write(folder, name, noise()),
    "ventricular fibrillation": lambda folder, name: write(folder, name, ventricular_fibrillation()),
    "atrial fibrillation": of_ludb(FIBRILLATION),
    "ventricular pacing": of_ludb(PACED),
}  # fmt: skip


def recording_rows(folder):
    """All spoilt recordings in one folder with good ones, built into one cohort."""
    spoilt_folder = folder / "recordings"
    spoilt_folder.mkdir()
    for name in GOOD:
        write(spoilt_folder, name, ptbxl(name))
    ids = {f"r{k:02d}": given for k, given in enumerate(RECORDINGS)}
    for rid, given in ids.items():
        RECORDINGS[given](spoilt_folder, rid)
    cohort = wb.build_cohort(spoilt_folder)
    left = wb.excluded(cohort).set_index("record")
    assert sorted([*cohort["record"].values, *left.index]) == sorted([*GOOD, *ids])  # every record is accounted for
    assert set(GOOD) <= set(cohort["record"].values)
    rows = []
    for rid, given in ids.items():
        if rid in left.index:
            message = left.loc[rid, "reason"].removeprefix(f"record '{rid}': ").replace(rid, "NAME")
            rows.append((given, f"left out when {'reading' if left.loc[rid, 'step'] == 'read' else 'making the beat'}",
                         message, "all other recordings"))  # fmt: skip
            continue
        one = cohort.sel(record=rid)
        flags = str(one["flags"].values)
        absent = [w for w in ("P", "T") if np.isnan(one["fiducial"].sel(landmark=f"{w}_on"))]
        kept = "its beat and landmarks" + (f", no {' or '.join(absent)}" if absent else "")
        if one["n_beats_found"] > 1000:
            kept += " of more than 1,000 beats; 10 s of rhythm"
        rows.append((given, "kept, flagged" if flags else "kept", flags or "nothing", kept))
    return rows


# ---------------------------------------------------------------- calls


class Malicious:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def pickle_as_model(folder):
    mark = folder / "ran"
    (folder / "model.pt").write_bytes(pickle.dumps(Malicious(mark)))
    try:
        wb.load_model(folder / "model.pt")
    finally:
        assert not mark.exists()


def records(*names):
    return [wb.read_record(write(Path(tempfile.mkdtemp(dir=FOLDER[0])), n, ptbxl())) for n in names]


FOLDER: list[Path] = []


def lying(**lies):
    """A network of one convolution for eight leads of 600 samples and one target, under a spec that says otherwise."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(8, 4, 9), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 1))
    return wb.wrap_model(net, wb.ModelSpec(**({"targets": ("qt",), "layer": "1"} | lies)))


def wrong_scale(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nobody is named
        cohort = wb.build_cohort(records("a", "b"))
    predicted = wb.predict(lying(scale=0.001), cohort)["qt"].values
    assert np.isfinite(predicted).all()
    return "predictions, without a warning: only their accuracy tells"


def empty(folder):
    (folder / "empty").mkdir()
    wb.build_cohort(folder / "empty")


def same_names(folder):
    for part in ("1", "2"):
        (folder / "twice" / part).mkdir(parents=True)
        write(folder / "twice" / part, "a", ptbxl())
    names = wb.build_cohort(folder / "twice")["record"].values
    return f"both, called {' and '.join(map(repr, map(str, names)))}"


def partly_joined(folder):
    cohort = wb.build_cohort(records("a", "b"), metadata=pd.DataFrame({"record": ["a", "z"], "age": [50, 60]}))
    return f"both, ages {cohort['age'].values.tolist()}"


def with_table(table, *names):
    names = names or ("a", "b")
    people = [wb.Record(r.signal + 5 * k, 500, r.leads, r.record_id) for k, r in enumerate(records(*names))]
    made = wb.build_cohort(people, metadata=table)
    return f"both, sexes {made['sex'].values.tolist()}, ages {made['age'].values.tolist()}"


def written(folder, name, data):
    (folder / name).write_bytes(data)
    return folder / name


def loop_of_links(folder):
    (folder / "looped").mkdir()
    write(folder / "looped", "a", ptbxl())
    (folder / "looped" / "back").symlink_to(folder / "looped")
    return f"each recording once: {wb.build_cohort(folder / 'looped')['record'].values.tolist()}"


def twice_under_two_names(folder):
    one = records("a")[0]
    people = [wb.Record(one.signal, 500, one.leads, n, {"patient": p}) for n, p in (("a", "p"), ("b", "q"))]
    return f"both, patients {wb.build_cohort(people)['patient'].values.tolist()}"


def joined_by_hand(folder):
    one, other = (wb.build_cohort(records(n)) for n in "ab")
    wb.split_patients(xr.concat([one, other], "record", join="outer", combine_attrs="override"))


def built(folder, name):
    out = folder / name
    wb.build_cohort(records("a", "b"), out)
    return out


def missing_chunk(folder):
    out = built(folder, "lacking.zarr")
    (out / "beat" / "0.0.0").unlink()
    wb.open_cohort(out)


def interrupted(*found):
    yield from found
    raise KeyboardInterrupt


def unfinished(folder):
    with (
        mock.patch.object(stores, "CHUNK", 1),
        mock.patch.object(workers, "cores", return_value=1),
        contextlib.suppress(KeyboardInterrupt),
    ):
        wb.build_cohort(interrupted(*records("a", "b", "c")), folder / "mine.zarr")
    wb.open_cohort(folder / "mine.zarr")


def escaping_table(folder):
    (folder / "ptb").mkdir()
    row = {"ecg_id": 1, "patient_id": 1, "age": 50, "sex": 0, "filename_hr": "../../etc/passwd"}
    pd.DataFrame([row]).to_csv(folder / "ptb" / "ptbxl_database.csv", index=False)
    wb.build_cohort(folder / "ptb")


def infinite(folder):
    one = records("a")[0]
    signal = one.signal.copy()
    signal[LEADS12.index("V5"), 2000] = np.inf
    cohort = wb.build_cohort(wb.Record(signal, 500, one.leads, "a"))
    assert np.isfinite(cohort["beat"]).all()
    used, found = cohort["n_beats"].item(), cohort["n_beats_found"].item()
    return f"the record, the sample as missing: {used} of {found} beats"


CALLS = {
    "an infinite sample": infinite,
    "a folder without recordings": empty,
    "two recordings of one id": lambda folder: wb.build_cohort(records("a", "a")),
    "two files of one name in two folders": same_names,
    "metadata none of whose rows fits": lambda folder: wb.build_cohort(
        records("a"), metadata=pd.DataFrame({"record": ["z"]})
    ),
    "metadata some of whose rows fit": partly_joined,
    "metadata with two rows for a recording": lambda folder: wb.build_cohort(
        records("a"), metadata=pd.DataFrame({"record": ["a", "a"], "age": [50, 60]})
    ),
    "a metadata file that is not there": lambda folder: wb.build_cohort(records("a"), metadata=folder / "people.csv"),
    "metadata with a word for an age, and an unknown sex": lambda folder: with_table(
        pd.DataFrame({"record": ["a", "b"], "age": ["abc", 50], "sex": ["Unknown", "F"], "patient": ["p", "q"]})
    ),
    "metadata with sex as 0 and 1": lambda folder: with_table(
        pd.DataFrame({"record": ["a", "b"], "age": [40, 50], "sex": [0, 1], "patient": ["p", "q"]})
    ),
    "metadata in Latin-1, with semicolons and decimal commas": lambda folder: with_table(
        written(folder, "latin.csv", "record;age;sex;patient;site\na;40,5;M;p;Köln\nb;50;F;q;x\n".encode("latin-1"))
    ),
    "metadata that is an Excel file": lambda folder: with_table(written(folder, "people.xlsx", b"PK\x03\x04")),
    "recordings that name nobody": lambda folder: with_table(pd.DataFrame({"record": ["a", "b"], "age": [40, 50]})),
    "a recording twice, under two names and patients": twice_under_two_names,
    "a folder with a link to itself": loop_of_links,
    "an array in place of a recording": lambda folder: wb.build_cohort(ptbxl()),
    "cohorts joined by xarray.concat": joined_by_hand,
    "a PTB-XL table that names a file outside its folder": escaping_table,
    "a malicious pickle as a model": pickle_as_model,
    "a spec with the wrong number of targets": lambda folder: lying(targets=("qt", "pr")),
    "a spec with the wrong leads": lambda folder: lying(leads=("I", "II")),
    "a spec with a layer that is not there": lambda folder: lying(layer="features.9"),
    "a spec with the wrong scale": wrong_scale,
    "a store that lacks a chunk": missing_chunk,
    "a store that is unfinished": unfinished,
}


def call_rows(folder):
    rows = []
    FOLDER[:] = [folder]
    for given, call in CALLS.items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")  # what libraries deprecate is theirs
            warnings.simplefilter("always", UserWarning)
            try:
                kept = call(folder)
                happens, message = ("kept, warned" if caught else "kept"), "; ".join(str(w.message) for w in caught)
            except (wb.RecordError, wb.ModelError) as e:
                happens, message, kept = f"refused ({type(e).__name__})", str(e).splitlines()[0], "what was there"
        rows.append((given, happens, message or "nothing", kept))
    return rows


def table():
    """The rows as a Markdown table."""
    with tempfile.TemporaryDirectory() as tmp, contextlib.redirect_stderr(io.StringIO()):
        rows = [*recording_rows(Path(tmp)), *call_rows(Path(tmp))]
        rows = [tuple(cell.replace(f"{tmp}/", "").replace("|", "\\|") for cell in row) for row in rows]
    head = ["| given | what happens | what you read | what is kept |", "|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def page():
    return f"{INTRODUCTION}\n{table()}\n"


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    TABLE.write_text(page())
