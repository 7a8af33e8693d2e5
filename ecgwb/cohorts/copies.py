"""Recordings that are there again: the very same samples, or a copy in other steps, at another rate or scale."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..recordings.record import LEADS, Record

_WINDOWS = 16  # of equal length
_EDGE = 0.02  # of a recording on each side, where resampling rings
# Distance of two outlines. Of copies in steps of 5 µV or at twice the rate it is up to 0.0045 (of 700 recordings of
# LUDB and PTB-XL-500); of the 21,799 of PTB-XL no two are nearer than 0.012.
_SAME = 0.005
_WHOLE = 65_535


def hash_of(record: Record) -> str:
    """Twelve hexadecimal digits that recordings share when they are the same but for scale and order of leads.

    The eight independent leads count, so that a recording with and without derived leads is the same.
    """
    x = _independent(record)
    largest = np.nanmax(np.abs(x), initial=0.0, where=np.isfinite(x)) or 1.0
    # Steps of a 4,096th of the largest; their edges lie where no quotient of whole numbers does.
    steps = np.where(np.isfinite(x), np.floor(4096 * np.nan_to_num(x) / largest + 1 / np.pi), 10_000).astype("<i2")
    leads = sorted(hashlib.sha256(row.tobytes()).digest() for row in steps)
    return hashlib.sha256(b"".join(leads)).hexdigest()[:12]


def outline_of(record: Record) -> str:
    """Where a recording's energy lies, as text: its shares of 16 windows and, in order of size, of the eight leads.

    Scale, offset and order of leads do not matter, steps and rate little. Empty where there is no energy.
    """
    x = _independent(record)
    edges = np.linspace(_EDGE, 1 - _EDGE, _WINDOWS + 1) * x.shape[1]
    edges = edges.round().astype(int)
    rows = [row - np.nanmedian(row) for row in x if np.isfinite(row).any()]
    if x.shape[1] < 2 * _WINDOWS or not rows:
        return ""
    inside = slice(edges[0], edges[-1])
    energy = np.array([np.add.reduceat(np.nan_to_num(r[inside]) ** 2, edges[:-1] - edges[0]) for r in rows])
    total = energy.sum()  # (lead, window)
    if not 0 < total < np.inf:
        return ""
    of_leads = np.zeros(len(LEADS))
    of_leads[-len(rows) :] = np.sort(energy.sum(axis=1))[-len(LEADS) :]
    shares = np.concatenate([energy.sum(axis=0), of_leads]) / total
    return base64.b64encode((shares * _WHOLE).round().astype("<u2").tobytes()).decode()


def _independent(record: Record) -> np.ndarray:
    rows = [k for k, lead in enumerate(record.leads) if lead in LEADS]
    return record.signal[rows] if len(rows) > 1 else record.signal


def same_recordings(of: Mapping[str, np.ndarray]) -> tuple[list[list[int]], list[list[int]]]:
    """Groups of rows that are one recording, and those of them whose samples differ in steps or rate.

    Parameters
    ----------
    of : mapping of array (record,)
        ``samples``, of `hash_of`, and ``outline``, of `outline_of`, as far as they are there.

    Returns
    -------
    list of list of int, list of list of int
    """
    n = max((len(of[k]) for k in ("samples", "outline") if k in of), default=0)
    if not n:
        return [], []
    samples, _, links = _numbered(of.get("samples"), n)
    _, first, more = _numbered(of.get("outline"), n)
    near = np.empty((0, 2), int)
    if len(first) > 1:
        texts = base64.b64decode("".join(of["outline"][first].astype(str)))
        shares = np.frombuffer(texts, "<u2").reshape(len(first), -1) / _WHOLE
        near = first[cKDTree(shares).query_pairs(_SAME, output_type="ndarray")]
    a, b = np.concatenate([links, more, near]).T
    label = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(n, n)), directed=False)[1]
    rows = pd.Series(range(n)).groupby(label).agg(list)
    groups = sorted(g for g in rows if len(g) > 1)
    return groups, [g for g in groups if len(set(samples[g])) > 1]


def _numbered(texts: np.ndarray | None, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A number for each row's text, -1 where it is empty; the first row of each; and pairs of rows of the same."""
    words = pd.Series(np.full(n, "") if texts is None else texts.astype(str))
    code = pd.factorize(words.where(~words.isin(["", "nan"])))[0]
    order = np.argsort(code, kind="stable")
    order = order[code[order] >= 0]
    again = np.diff(code[order], prepend=-1) == 0
    return code, order[~again], np.stack([order[:-1][again[1:]], order[1:][again[1:]]], axis=1)
