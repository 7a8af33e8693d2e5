"""How far landmarks lie from manual ones, by the protocol of the published LUDB tables.

Each lead is scored on its own. Each landmark is matched one to one, nearest first, to a manual one of the same kind
within 150 ms (Kalyakulina et al., IEEE Access 8:186181, 2020; Martinez et al., IEEE TBME 51:570, 2004). This file
imports nothing of the package.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

TOLERANCE_MS = 150.0
POINTS = tuple(f"{wave}_{point}" for wave in ("P", "QRS", "T") for point in ("onset", "peak", "offset"))


def match(manual: np.ndarray, found: np.ndarray, within_ms: float = TOLERANCE_MS) -> tuple[np.ndarray, np.ndarray]:
    """Indices into both of the pairs of a greedy one-to-one matching, nearest pairs first."""
    distance = np.abs(found[None, :] - manual[:, None])
    i, j = np.nonzero(distance <= within_ms)
    used_i, used_j, pairs = set(), set(), []
    for k in np.argsort(distance[i, j], kind="stable"):
        if i[k] not in used_i and j[k] not in used_j:
            used_i.add(i[k])
            used_j.add(j[k])
            pairs.append((i[k], j[k]))
    at = np.array(pairs, int).reshape(-1, 2)
    return at[:, 0], at[:, 1]


def landmark_errors(found: pd.DataFrame, manual: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Errors of matched landmarks, and counts.

    Parameters
    ----------
    found, manual : DataFrame
        As from ``delineate`` and ``read_annotations``. Only records and leads of `manual` are scored.

    Returns
    -------
    errors : DataFrame
        ``record``, ``point`` (such as "P_onset"), ``error_ms`` (found - manual).
    counts : DataFrame, a row per record, lead and point
        ``manual``, ``matched``, and ``false``: found ones left unmatched between the lead's first and last mark;
        beyond them nobody looked.
    """
    groups = dict(iter(found.groupby(["record", "lead"], sort=False)))
    errors, counts = [], []
    empty = found.iloc[:0]
    for (record, lead), marks in manual.groupby(["record", "lead"], sort=False):
        ours = groups.get((record, lead), empty)
        times = marks[["onset_ms", "peak_ms", "offset_ms"]].to_numpy()
        first, last = np.nanmin(times), np.nanmax(times)
        for point in POINTS:
            wave, place = point.split("_")
            truth, guess = (t.loc[t["wave"] == wave, f"{place}_ms"].dropna().to_numpy() for t in (marks, ours))
            i, j = match(truth, guess)
            errors += [(record, point, e) for e in guess[j] - truth[i]]
            left = np.delete(guess, j)
            counts.append((record, lead, point, len(truth), len(i), int(((left >= first) & (left <= last)).sum())))
    return (
        pd.DataFrame(errors, columns=["record", "point", "error_ms"]),
        pd.DataFrame(counts, columns=["record", "lead", "point", "manual", "matched", "false"]),
    )


def score_landmarks(found: pd.DataFrame, manual: pd.DataFrame) -> pd.DataFrame:
    """The published tables' scores.

    Returns
    -------
    DataFrame, indexed by point
        ``n`` manual landmarks; ``se`` and, for peaks, ``ppv`` (%); of the errors in ms ``mean``, ``sd`` over all,
        ``sd_person`` (the median over people of each one's SD) and ``p95`` (95th percentile of their size).
    """
    errors, counts = landmark_errors(found, manual)
    rows = []
    for point in POINTS:
        n, matched, false = counts.loc[counts["point"] == point, ["manual", "matched", "false"]].to_numpy().sum(0)
        mine = errors[errors["point"] == point]
        e = mine["error_ms"].to_numpy() if len(mine) else np.array([np.nan])
        rows.append(
            {
                "n": int(n),
                "se": 100 * matched / max(n, 1),
                "ppv": 100 * matched / max(matched + false, 1) if point.endswith("peak") else np.nan,
                "mean": e.mean(),
                "sd": e.std(),
                "sd_person": mine.groupby("record")["error_ms"].std(ddof=0).median(),
                "p95": np.percentile(np.abs(e), 95),
            }
        )
    return pd.DataFrame(rows, index=pd.Index(POINTS, name="point"))
