"""Opening and building cohorts: many recordings as one labelled data set, and a list of those that were left out.

`build_cohort` asks ``sources`` for the recordings, has ``building`` make them chunk by chunk, and opens what ``stores``
has put together.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import xarray as xr

from ..recordings.channels import Told
from ..recordings.record import RecordError
from .beats import RHYTHM
from .building import OTHER_AGE, OTHER_SEX, build_at
from .cache import COHORT, cache_dir, content_key, make_cache_dir
from .guards import counted, json_attribute, kind_of
from .items import METADATA
from .packed import PACKED, unpack
from .people import lines_of_doubt
from .sources import list_source
from .stores import open_store

_NAMES = "'ludb', 'ptbxl', 'ptbxl500', 'synthetic:N' or the folder of a Zarr store"


def open_cohort(name: str | Path, rhythm: bool = False) -> xr.Dataset:
    """Open a cohort: embedded, synthetic, or one that `build_cohort` stored.

    Parameters
    ----------
    name : str or Path
        ``"ludb"`` (200 people, with cardiologists' marks; landmarks by networks that had not seen the person, since
        the shipped delineator was trained on LUDB), ``"ptbxl"`` (21,796 of PTB-XL's recordings at 100 Hz: beats
        without what is above 50 Hz, no whole recordings), ``"ptbxl500"`` (its first 488 at 500 Hz),
        ``"synthetic:N"`` (needs the extra ``synthetic``), or the path of a ``.zarr`` store. Embedded and synthetic
        cohorts are built on first use and kept in the user's cache.
    rhythm : bool
        Also give ``rhythm`` (record, lead, sample) µV, 10 s at 500 Hz, and ``cycle_fiducial`` (record, cycle,
        landmark), ms from the recording's start.

    Returns
    -------
    Dataset
        Dims record, lead, time, landmark. ``beat`` µV; ``fiducial``, ``doubt`` ms; the targets ``pr``, ``qrs``,
        ``qt`` (ms), ``hr`` (bpm), ``j_v5``, ``r_v5``, ``t_v5`` (µV) and ``male`` (1, 0, NaN); LUDB also has
        ``fiducial_manual`` and ``pr_manual``, ``qrs_manual``, ``qt_manual``. Age, sex, patient and the like are
        coordinates of record. ``attrs`` say how it was made; `excluded` lists who was left out. What a path holds of
        ``beat`` and ``rhythm`` stays on the disk until it is used, so it may be larger than memory.

        The quality of each lead as recorded, before any filter: ``lead_missing``, ``lead_flat``, ``lead_saturated``
        (record, lead), shares of its samples, ``lead_noise`` (record, lead) µV; ``limb_error`` (record): how far the
        limb leads break II = I + III, relative to their size. ``lead_bridged`` is the share of samples in gaps of up
        to 20 ms, which are bridged, and ``lead_beats`` how many beats each lead has of its own; both (record, lead).
        What is worth a look stands in words in the coordinate
        ``flags``. A PTB-XL folder with PTB-XL+ beside it has the 12SL program's ``pr_12sl``, ``qrs_12sl``,
        ``qt_12sl``, ``hr_12sl``, ``r_v5_12sl``, ``t_v5_12sl``; recordings that came with measurements of their own
        have these as ``pr_file``, ``qrs_file``, ``qt_file``, ``hr_file``, and `ecgwb.cohorts.agreement` compares them.

    Raises
    ------
    RecordError
        For an unknown name, or a path that is no cohort.
    """
    if not isinstance(name, (str, Path)):
        raise TypeError(f"name is {kind_of(name)}; expected {_NAMES}")
    text = str(name) if str(name) in ("ludb", *PACKED) else str(Path(name).expanduser())
    if text in ("ludb", "ptbxl500") or text.startswith("synthetic:"):
        store = cache_dir() / "cohorts" / f"{text.replace(':', '-')}-{content_key(*COHORT)}.zarr"
        if not store.is_dir():
            make_cache_dir()
            store.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(store.with_suffix(".lock")):  # a second process waits for the first
                build_cohort(text, out=store)
        return _without_rhythm(open_store(store), rhythm).load()
    if text in PACKED:
        if rhythm:
            raise RecordError(
                f"{text!r} has beats only: its whole recordings would take 150 MB. Build it from PTB-XL's own folder: "
                'build_cohort("ptb-xl-1.0.3", out="ptbxl.zarr")'
            )
        return open_store(_unpacked(text))
    unfinished = Path(text.removesuffix(".building") + ".building")
    if unfinished.is_dir() and (text == str(unfinished) or not Path(text).is_dir()):
        done = len(list(unfinished.glob("*.npz")))
        raise RecordError(
            f"{text} is unfinished: {done} chunks of its records are done, kept in {unfinished}. Run the same "
            "build_cohort call again: it goes on from there"
        )
    if not Path(text).is_dir():
        raise RecordError(f"no cohort {text!r}; expected {_NAMES}")
    return _without_rhythm(open_store(Path(text)), rhythm)


def _unpacked(name: str) -> Path:
    """The store of a packed cohort in the user's cache, written on first use."""
    file = PACKED[name]
    key = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    store = cache_dir() / "cohorts" / f"{name}-{key}.zarr"
    if not store.is_dir():
        make_cache_dir()
        store.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(store.with_suffix(".lock")):  # a second process waits for the first
            if not store.is_dir():
                unpack(file, store)
    return store


def excluded(cohort: xr.Dataset | xr.DataArray) -> pd.DataFrame:
    """The records that a cohort, predictions or maps left out.

    Parameters
    ----------
    cohort : Dataset or DataArray

    Returns
    -------
    DataFrame, a row per record left out
        ``record``, the ``step`` at which it failed, and the ``reason``.
    """
    if not isinstance(cohort, (xr.Dataset, xr.DataArray)):
        raise TypeError(f"cohort is {kind_of(cohort)}; expected a cohort, predictions or maps")
    return pd.DataFrame(json_attribute(cohort, "excluded", []), columns=["record", "step", "reason"])


def build_cohort(
    source: Any,
    out: str | Path | None = None,
    metadata: Any = None,
    client: Any = None,
    *,
    columns: Mapping[str, str] | None = None,
    leads: Mapping[str, str] | Sequence[str] | None = None,
    fs: float | None = None,
    unit: str | None = None,
    beats: str = "ours",
) -> xr.Dataset:
    """Read, delineate and average every recording of a source.

    Parameters
    ----------
    source : str, Path, DataFrame, or iterable of Record, str or Path
        A folder of recordings, of LUDB or PTB-XL, a file, a pattern such as ``"data/*.hea"``, a list of paths, a table
        of paths, or records; see `ecgwb.cohorts.sources.list_source`. A generator of records is read as the work goes
        on, so that it may yield more than memory holds.
    out : path, optional
        Where to store the cohort as Zarr, 50 records at a time. Without it the finished cohort is in memory.
    metadata : DataFrame or path of a CSV, optional
        Joined on its column ``record``, which names recordings with or without folder and ending: age, sex, patient,
        diagnosis, rhythm_label, device, site, fold. Usual names of these are understood (subject_id, gender,
        anchor_age, ...); other columns are named in a warning. A cell that is not understood costs itself alone: it is
        left out, counted in a warning and flagged.
    client : dask.distributed.Client, optional
        Runs the chunks on its workers instead of here. Each worker reads its recordings itself and sends 0.2 MB a
        record back; only this process writes.
    columns : mapping of str, optional
        What the table's columns hold, where their names do not say it: ``{"patient": "case", "record": "file"}``.
    leads, fs, unit : optional
        What the files do not say, as of `read_record`: the leads in their order, or {name in the file: lead}; Hz; such
        as "mV".
    beats : {"ours", "file"}
        "file" takes the representative beat that a recording came with, as GE MUSE's do, in place of the one made of
        its beats; recordings without one are left out.

    Returns
    -------
    Dataset
        As `open_cohort` gives with ``rhythm=True``. ``attrs["who_is_who"]`` holds, as JSON, what is doubtful about
        whose each recording is.

    Raises
    ------
    RecordError
        When nothing could be used; when names repeat, or metadata do not fit; when `out` is something else already, or
        is being built by another process; when the disk is full. A single recording that cannot be used is no error: it
        is listed by `excluded`.

    Notes
    -----
    Whatever ends it, nothing finished is lost: the same call goes on where it stopped, from the folder `out` +
    ``.building``, and gives the store it would have given. Once complete, a store is never changed: the same call
    returns it, another is an error. The lock on the folder is the system's file lock, which on a network file system
    holds between machines only where that system passes locks on (NFS with its lock service, Lustre mounted with
    ``flock``).
    """
    if beats not in ("ours", "file"):
        raise ValueError(f"beats is {beats!r}; expected 'ours' or 'file'")
    found = list_source(source, metadata, columns, Told(leads, fs, unit))
    if found.ignored:
        warnings.warn(
            f"metadata columns not kept: {', '.join(found.ignored)}. Kept are {', '.join(METADATA)}; where one of "
            "these is meant, say columns={'age': 'its name'}. Add a number of your own with "
            'cohort.assign(ef=("record", values))',
            stacklevel=2,
        )
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "cohort.zarr"
            build_at(store, found, client, beats)
            cohort = open_store(store).load()
    else:
        out = Path(out).expanduser()
        build_at(out, found, client, beats)
        cohort = open_store(out)
    for line in [
        *found.notes.lines(),
        *found.left_out.lines(),
        *_lines_of_join(cohort),
        *_unlike(cohort),
        *_mostly_flagged(cohort),
        *lines_of_doubt(cohort),
    ]:
        warnings.warn(line, stacklevel=2)
    return cohort


def _mostly_flagged(cohort: xr.Dataset) -> list[str]:
    """What is rare in a person, but wrong where most of a cohort's recordings have it."""
    flags, n = cohort["flags"].values.astype(str), cohort.sizes["record"]
    lines = []
    for what, fix in (("a wrong sampling rate", "fs="), ("a wrong gain", "unit=")):
        some = sum(what in text for text in flags)
        if n >= 3 and some > n / 2:
            lines.append(f"{some} of {n} recordings are flagged as rare ECGs or {what}: see flags, and check {fix}")
    return lines


def _lines_of_join(cohort: xr.Dataset) -> list[str]:
    """What of a table and the recordings does not fit, in one sentence."""
    rows = json_attribute(cohort, "metadata_without_record", [])
    records = json_attribute(cohort, "records_without_metadata", [])
    where = {"metadata_without_record": rows, "records_without_metadata": records}
    parts = []
    if rows:
        parts.append(
            f"{counted(len(rows), 'metadata row fits', 'metadata rows fit')} no recording, such as {rows[0]!r}"
        )
    if records:
        parts.append(
            f"{counted(len(records), 'recording has', 'recordings have')} no metadata row, such as {records[0]!r}"
        )
    listed = " and ".join(f"attrs[{name!r}]" for name, some in where.items() if some)
    return [f"{'; '.join(parts)}; {listed} list{'' if ' and ' in listed else 's'} them"] if parts else []


def _unlike(cohort: xr.Dataset) -> list[str]:
    """Of how many records a table and the file say different things, in a sentence for each."""
    flags, lines = cohort["flags"].values.astype(str), []
    for words in (OTHER_SEX, OTHER_AGE):
        records = cohort["record"].values[[words in f for f in flags]].tolist()
        if records:
            many = f"{counted(len(records), 'recording', 'recordings')}, such as {records[0]!r}"
            lines.append(f"{words} than the file for {many}; the table's is used. Do its rows fit the recordings?")
    return lines


def _without_rhythm(cohort: xr.Dataset, rhythm: bool) -> xr.Dataset:
    return cohort if rhythm else cohort.drop_vars(RHYTHM, errors="ignore")
