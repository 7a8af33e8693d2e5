"""From a source to a stored cohort, chunk by chunk: here or on a cluster's workers, and going on where it stopped.

A chunk of recordings is read, delineated together, and each recording made a representative beat with its metadata
and its quality (`build_chunk`). `build` has all chunks made and puts their parts together.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from tqdm.auto import tqdm

from ..delineation.annotations import ludb_out_of_fold, read_annotations
from ..delineation.landmarks import QRS_ON, R
from ..delineation.waves import delineate
from ..recordings.filters import BRIDGED_MS, FILTERS
from ..recordings.identity import Key, own_key, pseudonyms_by
from ..recordings.people import age_of, sex_of
from ..recordings.record import FS, LEADS, LIMB_TOLERANCE, LOW_FS, Record, RecordError
from ..workers import on_client, one_thread, side_by_side
from . import stores
from .beats import BEAT_VARIABLES, FEW_ALIKE, beat_arrays, file_beat_arrays
from .cache import COHORT, content_key
from .copies import hash_of, outline_of
from .electrodes import LOG_ODDS, UPSIDE_DOWN, likeliest_swap, near_twins, upright_odds, wrong_gains
from .files import KNOWN, MAKE_RECORDS
from .guards import counted
from .items import Item, Source
from .layouts import MEASURED_12SL
from .measurements import UNITS, pacing_spike
from .people import WHO, who_is_who
from .stores import RHYTHM_SAMPLES, Part

MANY = 300  # records that are worth the start of processes, some seconds
_PACED = re.compile(r"\bpac(e|ed|ing|emaker)\b", re.IGNORECASE)  # not PAC, a premature atrial complex
_TEXT = ("sex", "patient", "diagnosis", "superclass", "rhythm_label", "device", "site")
COORDS = ("record", "age", "fold", "flags", "samples", "outline", "patient_named", *_TEXT, "n_beats", "n_beats_found")
MEASURED_BY_FILE = {"pr_file": "ms", "qrs_file": "ms", "qt_file": "ms", "hr_file": "bpm"}
HIGHEST_MEASURED = 2000.0  # no interval or rate is as high: files write "unknown" as 0 or 65535
# What a chunk yields: each variable's dims after the record, and its attributes.
FORM = BEAT_VARIABLES | {
    "male": ((), {"units": UNITS["male"]}),
    "age": ((), {"units": "years"}),
    **{name: ((), {"units": unit, "comment": "12SL, from PTB-XL+"}) for name, (_, unit, _) in MEASURED_12SL.items()},
    **{name: ((), {"units": u, "comment": "as it came with the recording"}) for name, u in MEASURED_BY_FILE.items()},
    **{name: ((), {}) for name in ("record", "fold", "flags", *_TEXT)},
    "samples": (
        (),
        {"comment": "hash of the recording; the same for the same samples, scale and order of leads aside"},
    ),
    "outline": ((), {"comment": "shares of its energy, alike for copies in other steps or at another rate"}),
    "patient_named": ((), {"comment": "0: nobody was named, and the record's name stands for the patient"}),
}
# Above these a lead's quality is described in words. About 5 % of LUDB's leads and 0.5 % of PTB-XL-500's are.
WORTH_A_LOOK = {
    "lead_missing": (0.01, "{} is missing for {:.0%} of it"),
    "lead_flat": (0.1, "{} is flat for {:.0%} of it"),
    "lead_saturated": (0.005, "{} is saturated for {:.1%} of it"),
    "lead_noise": (10.0, "{} is noisy ({:.0f} µV)"),
}
OTHER_SEX, OTHER_AGE = "the table says another sex", "the table says another age"
OLDEST_NAMED, SAME_AGE = 90.0, 2.0  # years: whoever is older often counts as 90, and birthdays and visits lie apart
ALONE_MS = 60_000.0  # a longer recording is not held in memory beside others
# Beyond what any of LUDB's and PTB-XL-500's people have: 975 to 7,520 µV, 71 ms, and 263 to 588 ms.
USUAL_SPAN_UV, USUAL_QRS_MS, USUAL_QT_MS = (700.0, 10_000.0), 68.0, (255.0, 600.0)


# ---------------------------------------------------------------- one chunk


def build_chunk(items: Sequence[Item], waves: pd.DataFrame | None = None, beats: str = "ours") -> Part:
    """Each item's representative beat and metadata, records first; those that failed, with step and reason, as JSON.

    Whatever a file holds, it costs its own record alone. `beats` is "ours", or "file" for those that files hold.
    """
    failures: list[dict[str, str]] = []

    def failed(item: Item, step: str, e: Exception) -> None:
        reason = str(e) if isinstance(e, RecordError | OSError) else f"{type(e).__name__}: {e}"
        failures.append({"record": item.record_id, "step": step, "reason": reason})

    rows: dict[str, dict[str, Any]] = {}

    def average(item: Item, record: Record, found: pd.DataFrame | None) -> None:
        try:
            by_hand = read_annotations(item.annotated) if item.annotated else None
            arrays = (file_beat_arrays if beats == "file" else beat_arrays)(record, found, annotations=by_hand)
            rows[item.record_id] = _labelled(arrays, item, record)
        except Exception as e:
            failed(item, "beat", e)

    records: list[tuple[Item, Record]] = []
    for item in items:
        try:
            record = item.read()
        except Exception as e:
            failed(item, "read", e)
            continue
        if waves is None and record.duration_ms > ALONE_MS:
            average(item, record, None)
        else:
            records.append((item, record))
    if waves is None:
        waves = _delineate_together([replace(record, record_id=item.record_id) for item, record in records])
    by_record = dict(iter(waves.groupby("record")))
    for item, record in records:
        # None, where the whole chunk was refused: delineated alone
        average(item, record, by_record.get(item.record_id))
    return _stacked([rows[i.record_id] for i in items if i.record_id in rows]) | {
        "failures": np.array(json.dumps(failures, ensure_ascii=False))
    }


def _delineate_together(records: list[Record]) -> pd.DataFrame:
    """Waves of all records in one batch; of those that can be delineated at all, should one be refused."""
    try:
        return delineate(records)
    except Exception:
        tables = []
        for r in records:
            with contextlib.suppress(Exception):  # fails again, with its reason, when its beat is made
                tables.append(delineate(r))
        return pd.concat(tables) if tables else delineate([])


def _labelled(beat: dict[str, Any], item: Item, record: Record) -> dict[str, Any]:
    """A beat's arrays with the record's metadata, its rhythm cut or filled to ten seconds."""
    of_record = {k: v for k, v in record.metadata.items() if v is not None}
    meta = {"rhythm_label": of_record.get("rhythm", "")} | of_record | item.metadata
    rhythm = beat["rhythm"][:, :RHYTHM_SAMPLES]
    beat["rhythm"] = np.pad(rhythm, ((0, 0), (0, RHYTHM_SAMPLES - rhythm.shape[1])), constant_values=np.nan)
    inside = beat["cycle_fiducial"][:, R] < 1000.0 * RHYTHM_SAMPLES / FS
    beat["cycle_fiducial"], beat["cycle_used"] = beat["cycle_fiducial"][inside], beat["cycle_used"][inside]
    beat["male"] = {"male": 1.0, "female": 0.0}.get(str(meta.get("sex", "")), np.nan)
    if item.stands_in and of_record.get("patient"):
        meta["patient"] = of_record["patient"]
    text = {k: str(meta.get(k, "")) for k in _TEXT}
    named = bool(text["patient"]) and not (item.stands_in and meta["patient"] == item.metadata["patient"])
    text["patient"] = text["patient"] or item.record_id
    flags = [
        *item.metadata.get("flags", []),
        *_unlike(item.metadata, of_record),
        *_doubts_of_record(beat, record),
        *_doubts_of_beat(beat),
    ]
    flags += [unlike] if (unlike := beat.pop("unlike", "")) else []
    if record.fs < LOW_FS and _PACED.search(text["diagnosis"]):
        beat |= dict.fromkeys(("j_v5", "r_v5", "t_v5"), np.nan)
        flags.append(f"paced, and its spikes smeared at {record.fs:g} Hz: voltages cannot be read")
    return {
        **beat,
        **{k: float(meta[k]) for k in MEASURED_12SL if k in meta},
        **_measured_by_file(meta),
        "record": item.record_id,
        "age": float(meta.get("age", np.nan)),
        "fold": int(meta.get("fold", -1)),
        "flags": "; ".join(flags),
        "samples": hash_of(record),
        "outline": outline_of(record),
        "patient_named": int(named),
        **text,
    }


def _unlike(told: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Where a table and the file itself say different things of a person: its rows may be other recordings'."""
    flags, sex, age = [], sex_of(own.get("sex"))[0], age_of(own.get("age"))[0]
    if sex and told.get("sex", sex) != sex:
        flags.append(f"{OTHER_SEX} than the file, and is used ({told['sex']})")
    if abs(min(told.get("age", age), OLDEST_NAMED) - min(age, OLDEST_NAMED)) > SAME_AGE:
        flags.append(f"{OTHER_AGE} than the file, and is used ({told['age']:g} years)")
    return flags


def _measured_by_file(metadata: dict[str, Any]) -> dict[str, float]:
    """The intervals and the rate that came with a recording; what is no positive number is left out."""
    given = metadata.get("measured")
    out: dict[str, float] = {}
    for name in MEASURED_BY_FILE:
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            value = float(given.get(name.removesuffix("_file")))  # type: ignore[union-attr]
            if 0 < value < HIGHEST_MEASURED:
                out[name] = value
    return out


def _doubts_of_record(beat: dict[str, Any], record: Record) -> list[str]:
    """What is worth a look in a recording, in words: none of it is certain, and no record is left out for it."""
    flags = list(record.metadata.get("flags", []))
    if beat["limb_error"] > LIMB_TOLERANCE and not any(f.startswith("limb leads disagree") for f in flags):
        flags.append(f"limb leads disagree: they break II = I + III by {100 * beat['limb_error']:.0f} % of their size")
    flags += _doubts_of_leads(beat)
    rows = [row.tobytes() for row in np.where(np.isnan(beat["rhythm"]), np.nan, beat["rhythm"] + 0.0)]
    for a, b in combinations(range(len(LEADS)), 2):
        if rows[a] == rows[b]:
            flags.append(f"{LEADS[a]} and {LEADS[b]} hold the same signal")
    for one, other, gain in near_twins(beat["beat"], beat["fiducial"]):
        flags.append(f"{other} is {gain:.2f} times {one} but for noise: one signal in two leads, perhaps")
    told = any(f.startswith("units differ between leads") for f in flags)
    for lead, gain in () if told else wrong_gains(beat["beat"], beat["fiducial"], record).items():
        size = f"{gain:g} times too large" if gain > 1 else f"{1 / gain:g} times too small"
        flags.append(f"{lead} is {size} beside the other leads: a wrong gain or unit of it, perhaps")
    return flags


def _doubts_of_leads(beat: dict[str, Any]) -> list[str]:
    """What is to be said of single leads: missing, flat, saturated, noisy; of few beats only."""
    flags = []
    seen = beat | {"lead_flat": beat["lead_flat"] - beat["lead_missing"]}  # flat, and there
    for name, (limit, words) in WORTH_A_LOOK.items():
        beyond = {lead: x for lead, x in zip(LEADS, seen[name], strict=True) if x > limit}
        if len(beyond) == len(LEADS):
            flags.append(words.format("every lead", max(beyond.values())))
        elif name == "lead_missing" and len(beyond) > 3:  # as in a printout
            shares = dict.fromkeys(f"{x:.0%}" for x in (min(beyond.values()), max(beyond.values())))
            flags.append(f"{', '.join(beyond)} are missing for {' to '.join(shares)} of it")
        else:
            flags += [words.format(lead, x) for lead, x in beyond.items()]
    bridged = {lead: x for lead, x in zip(LEADS, beat["lead_bridged"], strict=True) if x > 0}
    if bridged:
        where = "every lead" if len(bridged) == len(LEADS) else ", ".join(bridged)
        flags.append(f"gaps of up to {BRIDGED_MS:.0f} ms are bridged in {where} ({max(bridged.values()):.2%} of it)")
    n = beat["lead_beats"]
    if not n.any():
        flags.append("the representative beat is the one that came with the recording")
    if n.min() < FEW_ALIKE * n.max():
        parts = [f"{k} in {', '.join(np.array(LEADS)[n == k])}" for k in np.unique(n)]
        flags.append(f"few beats in some leads: {'; '.join(parts)}".replace("; ", " / "))
    return flags


def _doubts_of_beat(beat: dict[str, Any]) -> list[str]:
    """The same of its representative beat."""
    flags = []
    span = float(np.ptp(beat["beat"], axis=1).max())
    if not USUAL_SPAN_UV[0] <= span <= USUAL_SPAN_UV[1]:
        flags.append(f"the largest lead spans {span:.0f} µV: a rare ECG, or a wrong gain")
    if beat["qrs"] < USUAL_QRS_MS or not (np.isnan(beat["qt"]) or USUAL_QT_MS[0] <= beat["qt"] <= USUAL_QT_MS[1]):
        flags.append(f"QRS {beat['qrs']:.0f} ms, QT {beat['qt']:.0f} ms: a rare ECG, or a wrong sampling rate")
    if beat["share_alike"] < FEW_ALIKE:
        others = "; representative_beat(record, kind=2) has the others" if beat["n_kinds"] > 1 else ""
        flags.append(f"only {beat['share_alike']:.0%} of the beats are like the representative one{others}")
    if np.isnan(beat["pr"]) and _is_regular(beat["cycle_fiducial"][:, R]):
        flags.append("regular rhythm without a P wave: P may lie in T")
    qrs_on = beat["fiducial"][QRS_ON]
    spike = pacing_spike(beat["beat"], qrs_on) if np.isfinite(qrs_on) else None
    if spike is not None:
        side = "before" if spike[0] < qrs_on else "after"
        flags.append(f"a pacing spike {abs(spike[0] - qrs_on):.0f} ms {side} QRS_on; voltages are read without it")
    turned = spike is None and upright_odds(beat["beat"], beat["fiducial"]) < -UPSIDE_DOWN  # a paced heart is no guide
    if turned:
        flags.append("the whole recording may be upside down: P, QRS and T point against the usual")
    swap, log_odds = likeliest_swap(-beat["beat"] if turned else beat["beat"], beat["fiducial"])
    if log_odds > LOG_ODDS:
        flags.append(f"the limb leads look like those of interchanged electrodes ({swap}, perhaps)")
    return flags


def _is_regular(r_ms: np.ndarray) -> bool:
    """Whether of five beats or more the cycles differ little from each other: the middle half by a twentieth."""
    cycles = np.diff(r_ms)
    return len(cycles) > 3 and bool(np.subtract(*np.percentile(cycles, [75, 25])) < 0.05 * np.median(cycles))


def _stacked(rows: list[dict[str, Any]]) -> Part:
    """The records' arrays on top of each other, cycles filled up with NaN; and the largest number of cycles."""
    cycles = max((len(row["cycle_used"]) for row in rows), default=0)
    part = {"cycles": np.array(cycles)}
    for row in rows:
        for name in ("cycle_fiducial", "cycle_used"):
            x = row[name]
            row[name] = np.pad(x, [(0, cycles - len(x))] + [(0, 0)] * (x.ndim - 1), constant_values=np.nan)
    for name in dict.fromkeys(name for row in rows for name in row):
        like = next(np.asarray(row[name]) for row in rows if name in row)
        part[name] = np.stack([np.asarray(row.get(name, np.full(like.shape, np.nan))) for row in rows])
    return part


# ---------------------------------------------------------------- all chunks


def build_at(out: Path, found: Source, client: Any = None, beats: str = "ours") -> None:
    """The finished cohort at `out`: built, gone on with, or found there complete."""
    inputs = Inputs(found, beats)
    with stores.building(out) as place:
        if out.exists():
            _same_or_refuse(out, inputs)
        else:
            build(inputs, place, client)
            (place / "store").rename(out)
    stores.remove(place)


def build(inputs: Inputs, place: Path, client: Any = None) -> None:
    """The cohort as the Zarr store ``place/store``; chunks whose parts lie in `place` are not made again."""
    source = inputs.source
    waves = ludb_out_of_fold() if source.out_of_fold else None
    files: list[Path] = []
    with tqdm(total=inputs.n or None, desc=source.name, unit="record") as bar:

        def to_do() -> Iterator[tuple[Path, list[Item]]]:
            for number, (chunk, key) in enumerate(inputs.chunks):
                files.append(stores.part_file(place, number, key))
                if stores.is_whole(files[-1]):
                    bar.update(len(chunk))
                else:
                    yield files[-1], chunk

        work = partial(build_chunk, waves=waves, beats=inputs.beats)
        many = inputs.n == 0 or inputs.n >= MANY
        if client is not None or many:
            work = partial(_with_key, own_key(), work)
        network_here = waves is None and client is None
        with one_thread() if network_here else contextlib.nullcontext():
            for file, chunk, part in _results(to_do(), work, client, many):
                stores.save_part(file, part)
                bar.update(len(chunk))
    left_out = stores.failures(files)
    without_record, without_row = inputs.check()
    if len(left_out) == inputs.n:
        first = left_out[0]
        raise RecordError(
            f"{source.name}: none of {inputs.n} recordings could be used; "
            f"record {first['record']!r} failed at step {first['step']!r}: {first['reason']}"
        )
    n_records, left_out = inputs.n - len(left_out), [*source.left_out.rows(), *left_out]
    attrs = {
        "source": source.name,
        "credit": source.credit,
        "folds": source.folds,
        "sha256": inputs.sha256,
        "beats": inputs.beats,
        "landmarks": "ecgwb" if waves is None else "out-of-fold",
        "filters": FILTERS,
        "fs": FS,
        "units": "time ms, voltage µV, rate bpm",
        "ecgwb": version("ecgwb"),
        "inputs": inputs.digest,
        "excluded": json.dumps(left_out, ensure_ascii=False),
        "metadata_without_record": json.dumps(without_record),
        "records_without_metadata": json.dumps(without_row),
        "n_records": n_records,
        "who_is_who": json.dumps(who_is_who(stores.columns(files, WHO)), ensure_ascii=False),
    }
    stores.put_together(files, FORM, COORDS, attrs, place / "store")


def _with_key(key: Key, work: Callable[[list[Item]], Part], items: list[Item]) -> Part:
    """What another process runs, whose home may be another: people have the pseudonyms of this one."""
    with pseudonyms_by(key):
        return work(items)


class Inputs:
    """The recordings of a source chunk by chunk, and digests of what a cohort of them is made from.

    ``chunks`` holds each chunk with a key of its own, which follows from the code, the recordings and their metadata.

    Raises
    ------
    RecordError
        When a record's name occurs twice, there is no recording, or no metadata row fits one: at once where all
        recordings are known, in the course of the work where a generator yields them.
    """

    def __init__(self, source: Source, beats: str = "ours") -> None:
        self.source, self.beats, self.names = source, beats, dict[str, None]()
        self._code = content_key(*COHORT) + beats
        self._all, self._content = hashlib.sha256(self._code.encode()), hashlib.sha256()
        self.chunks: Iterable[tuple[list[Item], str]] = self._chunks()
        if isinstance(source.items, list):
            source = replace(source, items=_each_a_patient(source.items))
            self.source = source
            self.chunks = list(self.chunks)
            self.check()

    def _chunks(self) -> Iterator[tuple[list[Item], str]]:
        items = iter(self.source.items)
        while chunk := list(islice(items, stores.CHUNK)):
            for item in chunk:
                if item.record_id in self.names:
                    raise RecordError(f"{self.source.name}: record {item.record_id!r} occurs twice; names must differ")
                self.names[item.record_id] = None
                self._all.update(json.dumps([item.record_id, item.metadata], sort_keys=True).encode())
                self._content.update(item.fingerprint.encode())
            made_of = [[i.record_id, i.fingerprint, i.metadata] for i in chunk]
            yield chunk, self._code + json.dumps(made_of, sort_keys=True)

    def check(self) -> tuple[list[str], list[str]]:
        """The metadata rows without a recording, and the recordings without a row, once all chunks were asked for."""
        name, rows, used = self.source.name, self.source.rows, self.source.used
        if not self.names and self.source.left_out.n:
            raise RecordError(f"{name}: no recording can be had; {self.source.left_out.lines()[0]}")
        if not self.names:
            passed = ""
            if files := self.source.passed_by:
                many = counted(len(files), "file", "files")
                passed = f"; passed by: {many} of no known format, such as {files[0].name!r}"
            raise RecordError(
                f"{name}: no recordings found; expected files of a known format: {KNOWN}{passed}. Or, {MAKE_RECORDS}"
            )
        if rows and not used:
            raise RecordError(
                f"{name}: no metadata row fits a record; metadata names {min(rows)!r}, the recordings are called "
                f"like {next(iter(self.names))!r}{_lost_zeros(rows, self.names)}"
            )
        joined = set(used.values())
        without_row = [n for n in self.names if n not in joined] if rows else []
        return sorted(row for row in rows if row not in used), without_row

    @property
    def n(self) -> int:
        return len(self.names)

    @property
    def sha256(self) -> str:
        return self.source.sha256 or self._content.hexdigest()

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self._all.hexdigest()} {self.sha256} {self.source.name}".encode()).hexdigest()


def _lost_zeros(rows: Iterable[str], names: Iterable[str]) -> str:
    """A word on zeros that a table has lost, as spreadsheets make it, where that is why nothing fits."""
    short = {n.lstrip("0") for n in names}
    lost = any(row.lstrip("0") in short for row in rows)
    return "; the table has lost leading zeros: read it with pd.read_csv(file, dtype=str)" if lost else ""


def _each_a_patient(items: list[Item]) -> list[Item]:
    """The items, those without a patient renamed where their own name, which stands for one, is another's patient."""
    patients = {item.metadata["patient"] for item in items if item.metadata.get("patient")}
    return [
        replace(item, metadata=item.metadata | {"patient": f"record {item.record_id}"}, stands_in=True)
        if not item.metadata.get("patient") and item.record_id in patients
        else item
        for item in items
    ]


def _same_or_refuse(out: Path, inputs: Inputs) -> None:
    """Nothing where `out` is the finished cohort of this very source, metadata and code.

    Raises
    ------
    RecordError
        When it is anything else.
    """
    try:
        made_from = xr.open_zarr(out, chunks=None).attrs.get("inputs")
    except Exception:  # whatever lies there, it is no cohort
        made_from = None
    if made_from is not None:
        for _ in inputs.chunks:  # a digest is complete once all were asked for
            pass
    if made_from != inputs.digest:
        what = "another source, metadata or version of ecgwb made it" if made_from else "it is no finished cohort"
        raise RecordError(f"{out} exists already, and {what}; choose another place or remove it first")


def _results(
    to_do: Iterable[tuple[Path, list[Item]]], work: Callable[[list[Item]], Part], client: Any, many: bool
) -> Iterator[tuple[Path, list[Item], Part]]:
    """Each chunk's file, items and part, in the order they finish; `many` are worth the start of processes."""
    waiting: dict[Future, tuple[Path, list[Item]]] = {}

    def finished() -> Iterator[tuple[Path, list[Item], Part]]:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            yield *waiting.pop(future), future.result()

    with side_by_side(processes=many) if client is None else on_client(client) as (executor, n):
        try:
            for file, chunk in to_do:
                waiting[executor.submit(work, chunk)] = file, chunk
                # Some work ahead for every worker, but never the whole source: chunks of records may hold signals.
                if len(waiting) >= n:
                    yield from finished()
            while waiting:
                yield from finished()
        finally:
            for future in waiting:
                future.cancel()
