"""Cohorts: many recordings as one labelled data set, with every record that was left out counted and listed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from tqdm.auto import tqdm

from .beats import TIME, UNITS, representative_beat, targets
from .fiducials import delineate, ludb_out_of_fold, read_annotations
from .filters import FILTERS
from .landmarks import LANDMARKS
from .records import FS, Record, RecordError
from .sources import METADATA, Item, Source, cache_dir, list_source

CHUNK = 50  # records built, and stored, together
_RHYTHM_SAMPLES = 10 * FS
_TEXT = ("sex", "patient", "diagnosis", "rhythm_label", "device", "site")
_RHYTHM = ("rhythm", "cycle_fiducial", "cycle_used")


def open_cohort(name: str | Path, rhythm: bool = False) -> xr.Dataset:
    """Open a cohort: embedded, synthetic, or one that `build_cohort` stored.

    Parameters
    ----------
    name : str or Path
        ``"ludb"`` (200 people, with cardiologists' marks; landmarks by networks that had not seen the person, since
        the shipped delineator was trained on LUDB), ``"ptbxl500"`` (500 recordings of 466 patients),
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
        coordinates of record. ``attrs`` say how it was made; `excluded` lists who was left out.

    Raises
    ------
    RecordError
        For an unknown name, or a path that is no cohort.
    """
    text = str(name)
    if text in ("ludb", "ptbxl500") or text.startswith("synthetic:"):
        store = cache_dir() / "cohorts" / f"{text.replace(':', '-')}-{_recipe()}.zarr"
        if not store.is_dir():
            build_cohort(text, out=store)
        return _open(store, rhythm).load()
    if not Path(text).is_dir():
        raise RecordError(
            f"no cohort {text!r}; expected 'ludb', 'ptbxl500', 'synthetic:N' or the folder of a Zarr store"
        )
    return _open(Path(text), rhythm)


def excluded(cohort: xr.Dataset | xr.DataArray) -> pd.DataFrame:
    """The records that a cohort, predictions or maps left out.

    One row each: ``record``, the ``step`` at which it failed, and the ``reason``.
    """
    rows = json.loads(cohort.attrs.get("excluded", "[]"))
    return pd.DataFrame(rows, columns=["record", "step", "reason"])


def build_cohort(source: Any, out: str | Path | None = None, metadata: Any = None, client: Any = None) -> xr.Dataset:
    """Read, delineate and average every recording of a source.

    Parameters
    ----------
    source : str, Path, DataFrame or iterable of Record
        See `ecgwb.sources.list_source`: a folder of WFDB records, of LUDB or PTB-XL, a table of paths, or records.
    out : path, optional
        Where to store the cohort as Zarr; it must not exist. Without it the cohort stays in memory.
    metadata : DataFrame or path of a CSV, optional
        Joined on its column ``record``: age, sex, patient, diagnosis, device, site.
    client : dask.distributed.Client, optional
        Runs the chunks there instead of here.

    Returns
    -------
    Dataset
        As `open_cohort` gives with ``rhythm=True``.

    Raises
    ------
    RecordError
        When nothing could be used, or `out` exists. A single recording that cannot be used is no error: it is
        listed by `excluded`.
    """
    found = list_source(source, metadata)
    if found.ignored:
        warnings.warn(
            f"metadata columns not kept: {', '.join(found.ignored)}. Kept are {', '.join(METADATA)}; add a number of "
            'your own with cohort.assign(ef=("record", values))',
            stacklevel=2,
        )
    if out is not None and Path(out).exists():
        raise RecordError(f"{out} exists already; choose another place or remove it first")
    oof = ludb_out_of_fold() if found.name == "ludb" else None
    chunks = [found.items[i : i + CHUNK] for i in range(0, len(found.items), CHUNK)]
    work = partial(_build_chunk, waves=oof)
    results: Any = map(work, chunks) if client is None else client.gather(client.map(work, chunks))
    parts, left_out = [], []
    with tqdm(total=len(found.items), desc=found.name, unit="record") as bar:
        for chunk, (part, failures) in zip(chunks, results, strict=True):
            parts += part
            left_out += failures
            bar.update(len(chunk))
    if not parts:
        first = left_out[0]
        raise RecordError(
            f"{found.name}: none of {len(found.items)} recordings could be used; "
            f"record {first['record']!r} failed at step {first['step']!r}: {first['reason']}"
        )
    cohort = _assemble(parts, found, left_out, "out-of-fold" if oof is not None else "ecgwb")
    if out is None:
        return cohort
    _store(cohort, Path(out))
    return _open(Path(out), rhythm=True)


def put_landmarks(cohort: xr.Dataset, landmarks: pd.DataFrame, source: str) -> xr.Dataset:
    """A cohort with landmarks made elsewhere, or corrected by hand; everything measured from them is measured anew.

    Parameters
    ----------
    cohort : Dataset
    landmarks : DataFrame
        Index: records of the cohort. Columns: some of ``wb.LANDMARKS``, ms from the QRS fiducial; NaN means absent.
        Records and columns that are not there stay as they are.
    source : str
        Who or what made them, such as "JK by hand"; kept in ``attrs["landmarks_changed"]``.

    Returns
    -------
    Dataset
        ``fiducial`` and the targets changed, ``manual`` (record, landmark) True where a landmark was put in, and its
        ``doubt`` unknown (NaN). The beats are the same, and so is the cohort given.

    Raises
    ------
    RecordError
        For an unknown record or landmark, or landmarks out of order.
    """
    names = [str(r) for r in landmarks.index]
    unknown = sorted(set(names) - set(map(str, cohort["record"].values)))
    strange = [str(c) for c in landmarks.columns if c not in LANDMARKS]
    if unknown or strange:
        what = f"no record {unknown[0]!r} in the cohort" if unknown else f"no landmark {strange[0]!r}"
        raise RecordError(f"{what}; expected records of the cohort and columns among {', '.join(LANDMARKS)}")
    if len(set(names)) < len(names):
        raise RecordError(
            f"record {next(n for n in names if names.count(n) > 1)!r} has two rows of landmarks; give one"
        )
    if "R" in landmarks and (landmarks["R"] != 0).any():
        raise RecordError("R is the QRS fiducial, time zero by definition; leave the column out")
    out = cohort.copy(deep=True)
    if "manual" not in out:
        out["manual"] = xr.zeros_like(out["fiducial"], dtype=bool).drop_attrs()
    rows = {str(r): i for i, r in enumerate(out["record"].values)}
    at = [LANDMARKS.index(c) for c in landmarks.columns]
    for name, values in zip(names, landmarks.to_numpy(float), strict=True):
        i = rows[name]
        marks = out["fiducial"].values[i]
        marks[at] = values
        seen = marks[np.isfinite(marks)]
        told = ", ".join(f"{k} {v:.0f}" for k, v in zip(LANDMARKS, marks, strict=True))
        if (np.diff(seen) < 0).any():
            raise RecordError(f"record {name!r}: landmarks are out of order: {told}")
        if seen[0] < TIME[0] or seen[-1] > TIME[-1]:
            raise RecordError(
                f"record {name!r}: landmarks are outside the beat ({TIME[0]:.0f} to {TIME[-1]:.0f} ms): {told}"
            )
        out["manual"].values[i, at], out["doubt"].values[i, at] = True, np.nan
        for target, value in targets(out["beat"].values[i], marks, float(out["hr"][i])).items():
            out[target].values[i] = value
    changed = json.loads(out.attrs.get("landmarks_changed", "[]"))
    changed.append({"source": source, "records": names, "landmarks": list(map(str, landmarks.columns))})
    return out.assign_attrs(landmarks_changed=json.dumps(changed, ensure_ascii=False))


# ---------------------------------------------------------------- one chunk


def _build_chunk(
    items: Sequence[Item], waves: pd.DataFrame | None = None
) -> tuple[list[xr.Dataset], list[dict[str, str]]]:
    """Each item's representative beat, and those that failed with the step and the reason."""
    failures: list[dict[str, str]] = []
    records: list[tuple[Item, Record]] = []
    with warnings.catch_warnings():  # what read_record warns of is kept as the record's flags
        warnings.simplefilter("ignore", UserWarning)
        for item in items:
            try:
                records.append((item, item.read()))
            except (RecordError, OSError) as e:
                failures.append({"record": item.record_id, "step": "read", "reason": str(e)})
        if waves is None:
            waves = _delineate_together([replace(record, record_id=item.record_id) for item, record in records])
    by_record = dict(iter(waves.groupby("record")))
    parts = []
    for item, record in records:
        try:
            mine = by_record.get(item.record_id)  # None, where the whole chunk was refused: delineated alone
            by_hand = read_annotations(item.annotated) if item.annotated else None
            beat = representative_beat(record, mine, annotations=by_hand)
        except RecordError as e:
            failures.append({"record": item.record_id, "step": "beat", "reason": str(e)})
            continue
        parts.append(_label(beat, item, record))
    return parts, failures


def _delineate_together(records: list[Record]) -> pd.DataFrame:
    """Waves of all records in one batch; of those that can be delineated at all, should one be refused."""
    try:
        return delineate(records)
    except RecordError:
        tables = []
        for r in records:
            with contextlib.suppress(RecordError):  # refused again, with its reason, when its beat is made
                tables.append(delineate(r))
        return pd.concat(tables) if tables else delineate([])


def _label(beat: xr.Dataset, item: Item, record: Record) -> xr.Dataset:
    meta = {"rhythm_label": record.metadata.get("rhythm", "")} | record.metadata | item.metadata
    sex = str(meta.get("sex", ""))
    beat["male"] = ((), {"male": 1.0, "female": 0.0}.get(sex, np.nan), {"units": UNITS["male"]})
    n = beat.sizes["sample"]
    beat = beat.isel(sample=slice(_RHYTHM_SAMPLES))
    if n < _RHYTHM_SAMPLES:
        beat = beat.pad(sample=(0, _RHYTHM_SAMPLES - n))
    inside = (beat["cycle_fiducial"].sel(landmark="R") < 1000.0 * _RHYTHM_SAMPLES / FS).values
    beat = beat.isel(cycle=np.flatnonzero(inside))
    text: dict[Any, Any] = {k: str(meta.get(k, "")) for k in _TEXT}
    text["patient"] = text["patient"] or item.record_id
    return beat.assign_coords(
        record=item.record_id,
        age=float(meta.get("age", np.nan)),
        fold=int(meta.get("fold", -1)),
        flags="; ".join(record.metadata.get("flags", [])),
        **text,
    )


def _assemble(parts: list[xr.Dataset], found: Source, left_out: list[dict[str, str]], landmarks: str) -> xr.Dataset:
    cycles = max(p.sizes["cycle"] for p in parts)
    parts = [p.pad(cycle=(0, cycles - p.sizes["cycle"])) for p in parts]
    cohort = xr.concat(parts, dim="record", coords="different", compat="equals", join="exact", combine_attrs="override")
    for name in (*_TEXT, "age", "fold", "flags", "n_beats", "n_beats_found"):
        if cohort[name].ndim == 0:  # concat leaves a coordinate scalar where all records agree
            cohort = cohort.assign_coords({name: ("record", np.repeat(cohort[name].values, len(parts)))})
    cohort = cohort.transpose("record", ...)
    cohort["age"].attrs["units"] = "years"
    cohort.attrs = {
        "source": found.name,
        "credit": found.credit,
        "sha256": found.sha256,
        "landmarks": landmarks,
        "filters": FILTERS,
        "fs": FS,
        "units": "time ms, voltage µV, rate bpm",
        "ecgwb": version("ecgwb"),
        "excluded": json.dumps(left_out, ensure_ascii=False),
        "metadata_without_record": json.dumps(found.unjoined),
    }
    return cohort


# ---------------------------------------------------------------- stores


def _recipe() -> str:
    """Key of a cached cohort: the code and weights that make it. A change to either builds it anew."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    names = (
        "records.py",
        "filters.py",
        "delineator.py",
        "fiducials.py",
        "landmarks.py",
        "beats.py",
        "sources.py",
        "cohorts.py",
    )
    weights = [here / "weights" / n for n in ("delineator.safetensors", "delineator-ludb-oof.npz")]
    for file in [here / n for n in names] + weights:
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _store(cohort: xr.Dataset, out: Path) -> None:
    """Written beside its place and moved there whole: a store is complete or absent."""
    out.parent.mkdir(parents=True, exist_ok=True)
    tmp = Path(tempfile.mkdtemp(dir=out.parent, prefix=".ecgwb-"))
    try:
        encoding = {
            v: {"chunks": (min(CHUNK, cohort.sizes["record"]), *cohort[v].shape[1:])}
            for v in cohort.data_vars
            if cohort[v].dims[:1] == ("record",)
        }
        # Zarr format 2: format 3 has no settled text type yet.
        cohort.to_zarr(tmp / "store", mode="w", zarr_format=2, encoding=encoding)
        (tmp / "store").rename(out)
    except OSError as e:
        if not out.is_dir():
            raise RecordError(f"could not store the cohort at {out}: {e}") from e
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


def _open(store: Path, rhythm: bool) -> xr.Dataset:
    try:
        cohort = xr.open_zarr(store, chunks=None)
    except Exception as e:  # zarr's errors differ by what is broken; the reader needs the place and the fix
        raise RecordError(f"{store} is not a readable cohort ({type(e).__name__}: {e}); build it again") from e
    if "beat" not in cohort or "fiducial" not in cohort:
        raise RecordError(f"{store} holds no beats and landmarks; expected a store made by build_cohort")
    cohort = cohort.drop_encoding()  # so that a changed cohort can be stored again in any format
    return cohort if rhythm else cohort.drop_vars([v for v in _RHYTHM if v in cohort])
