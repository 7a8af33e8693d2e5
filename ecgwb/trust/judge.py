"""The judge of maps: does a map say what joint edits of the beat do to the prediction?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn

from ..attention.attribution import attribute
from ..attention.gradcam import asked_of, departure
from ..cohorts import guards
from ..cohorts.lines import lines_between
from ..cohorts.people import patients_of
from ..edits.changes import edited, sham_span
from ..edits.edit_maps import drawn_edits, edit_map, joint_effects, piece_edges, piece_names, weights_of
from ..edits.effects import for_network
from ..edits.maps import check_method
from ..models.prediction import predict
from ..models.spec import ModelError, spec_of
from ..stats import interval, resampled_sums
from .checks import Check, Picture, in_words

_REPLACED = (0.15, 0.3, 0.5)  # probabilities with which a piece is replaced: few pieces, some, many


def joint_edits(
    model: nn.Module,
    cohort: xr.Dataset,
    methods: Sequence[str] | str | None = None,
    targets: Sequence[str] | str | None = None,
    *,
    pieces: str = "halves",
    reference: str = "common",
    among: xr.Dataset | None = None,
    n_edits: int = 48,
    seed: int = 0,
) -> Check:
    """Does a map's sum over what is replaced tell what replacing it does?

    Random pieces of every beat are replaced by those of the reference beat, several at once. The map of the unchanged
    beat tells an effect for each such edit: its sum over what was replaced. The two are compared over all beats and
    edits, none of which made a map. An edit map is made by other edits of the same kind, and that is its advantage: it
    answers the question that is asked here, which a map of a layer was not made for.

    Parameters
    ----------
    model : nn.Module
        With a spec; of one that takes recordings the same pieces of every beat are replaced.
    cohort : Dataset
        Its labels are not used.
    methods : sequence of str, or str
        ``"edit map"`` (`ecgwb.edits.edit_map`, by the same pieces), variants of `ecgradcam` and methods of
        `attribute`; by default the edit map, and ECGradCAM where the network's spec names a layer.
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    pieces : {"halves", "segments"}
        What is replaced: halves of waves and segments, or these whole.
    reference : {"common", "own time"}
    among : Dataset, optional
        See `ecgwb.attention.reference_beats`.
    n_edits, seed : int
        Joint edits of each beat, and the seed they are drawn by.

    Returns
    -------
    Check
        Rows ``target`` and ``method``:

        - ``r``, ``low``, ``high``: correlation of told and true effects over beats and edits;
        - ``r_other``: where each beat is given the map of another patient: what any beat's map would get;
        - ``r_best``: by the best numbers that pieces of each beat could have, found from these very effects; 1 where
          pieces add up, less where they interact;
        - ``sham``: mean absolute effect of a straight line in place of a stretch without a wave, as long as a piece is,
          as a share of that of replacing a piece from P to T;
        - ``n``: beats.

    Raises
    ------
    ModelError
        For an unknown target or method, or a cohort without what the network takes.
    """
    cohort = for_network(model, guards.check(cohort, "hr"))
    if methods is None:
        methods = ["edit map", *(["gradcam"] if spec_of(model).layer else [])]
    methods = [methods] if isinstance(methods, str) else list(methods)
    if not methods or isinstance(n_edits, bool) or n_edits != int(n_edits) or n_edits < 1:
        raise ValueError(f"{len(methods)} methods and n_edits {n_edits!r}; expected one or more of each")
    for method in methods:
        check_method(method)
    names, patient = asked_of(model, targets)[1], patients_of(cohort)
    k = len(piece_names(pieces))
    kept = _held_out(k, n_edits, seed)
    one_by_one = ~np.eye(k, dtype=bool)[1:-1]  # from P to T
    effects = joint_effects(
        model, cohort, np.vstack([kept, one_by_one]), names, pieces=pieces, reference=reference, among=among
    )
    true, single = effects[:, :, : len(kept)], np.abs(effects[:, :, len(kept) :])  # (record, target, edit)
    edges = piece_edges(cohort, pieces)
    sham = _sham_effects(model, cohort, np.diff(edges, axis=1).mean(axis=1), names)  # (record, target)
    ok = np.isfinite(true).all(axis=(1, 2))
    if len(np.unique(patient[ok])) < 2:
        raise ModelError(f"{ok.sum()} records can be judged; expected those of two patients or more")
    other = _of_another(patient[ok])
    rows = {}
    for method in methods:
        parts = _parts(model, cohort, method, names, pieces, reference, among)
        told = np.einsum("ep,ntp->nte", ~kept, np.nan_to_num(parts))
        for j, t in enumerate(names):
            a, b, who = told[ok, j], true[ok, j], patient[ok]
            drawn = _r(resampled_sums(_sums(a, b), who, seed))
            low, high = interval(drawn[:, None])
            best = np.stack([~kept @ np.linalg.lstsq((~kept).astype(float), v, rcond=None)[0] for v in b])
            rows[t, method] = {
                "r": float(_r(_sums(a, b).sum(axis=0))), "low": low[0], "high": high[0],
                "r_other": float(_r(_sums(a[other], b).sum(axis=0))),
                "r_best": float(_r(_sums(best, b).sum(axis=0))),
                "sham": _share(sham[ok, j], single[ok, j]), "n": int(ok.sum()),
            }  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["target", "method"])
    first = pd.DataFrame(table.xs(methods[0], level="method"))
    ranges = {c: in_words(first[c]) for c in ("r", "r_other", "r_best")}
    finding = f"What the {methods[0]} tells of joint edits correlates {ranges['r']} with what they do"
    scale = f"Another beat's map has {ranges['r_other']}, the best that sums of pieces can do is {ranges['r_best']}"
    picture = Picture(
        "intervals", table, ("r", "low", "high"), by="method", xlabel="r of told and true effects", chance=0.0
    )
    return Check("joint edits", table, finding, scale, picture)


def _of_another(patient: np.ndarray) -> np.ndarray:
    """For each record the first one of the next patient, by name."""
    names, first, own = np.unique(patient, return_index=True, return_inverse=True)
    return first[(own + 1) % len(names)]


def _held_out(k: int, n_edits: int, seed: int) -> np.ndarray:
    """Which pieces stay in each edit (edit, piece): few are replaced, some, or many, and none as for an edit map."""
    known = {tuple(row) for row in drawn_edits(k).tolist()} | {(False,) * k}
    rng = np.random.default_rng([seed, k])
    rows: list[np.ndarray] = []
    while len(rows) < n_edits:
        gone = rng.random(k) < _REPLACED[len(rows) % len(_REPLACED)]
        if tuple(gone.tolist()) not in known:
            rows.append(~gone)
    return np.array(rows)


def _parts(
    model: nn.Module,
    cohort: xr.Dataset,
    method: str,
    names: list[str],
    pieces: str,
    reference: str,
    among: xr.Dataset | None,
) -> np.ndarray:
    """What a method's map gives each piece (record, target, piece): parts of the prediction, where it says so."""
    if method == "edit map":
        maps = edit_map(model, cohort, names, pieces=pieces, reference=reference, among=among)
    else:
        against = reference if method in ("integrated_gradients", "deeplift") else "flat"
        maps = attribute(model, cohort, method, names, baseline=against, among=among)
    by_mean, is_beat = maps.attrs.get("adds_up") == "mean", spec_of(model).input == "beat"
    if by_mean:
        maps = (departure(maps) if is_beat else maps) / maps.sizes["time"]
    whole = (maps.sum("lead", skipna=False) if "lead" in maps.dims else maps).transpose("record", "target", "time")
    parts = [np.einsum("nps,nts->ntp", w, whole.values[rows]) for rows, w in weights_of(model, cohort, pieces)]
    out = np.concatenate(parts)
    # People's recordings have no common moments: what is compared with the mean map is what pieces get.
    return out - np.nanmean(out, axis=0) if by_mean and not is_beat else out


def _sham_effects(model: nn.Module, cohort: xr.Dataset, length: np.ndarray, names: list[str]) -> np.ndarray:
    """Absolute effects (record, target) of a straight line in place of a stretch without a wave; NaN without room."""

    def change(beats: xr.Dataset, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        start, stop = sham_span(beats, length[rows])
        _, lined, _ = lines_between(beats, start, stop)
        lined[~np.isfinite(start)] = np.nan
        return lined, beats["fiducial"].values

    changed = edited(cohort, change)
    return np.asarray(abs(predict(model, changed)[names] - predict(model, cohort)[names]).to_array().values.T)


def _share(sham: np.ndarray, single: np.ndarray) -> float:
    """The mean effect of shams (record,) as a share of that of single pieces (record, piece) of the same beats."""
    has = np.isfinite(sham)
    usual = single[has].mean() if has.any() else 0.0
    return float(sham[has].mean() / usual) if usual > 0 else np.nan


def _sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What a correlation needs of each record's values (record, edit): (record, 6)."""
    return np.stack([np.full(len(a), a.shape[1]), *(v.sum(axis=1) for v in (a, b, a * a, b * b, a * b))], axis=1)


def _r(sums: np.ndarray) -> np.ndarray:
    """Correlations from such sums (..., 6); 0 where one side is the same throughout."""
    n, a, b, aa, bb, ab = np.moveaxis(sums, -1, 0)
    spread = (aa - a * a / n).clip(0) * (bb - b * b / n).clip(0)
    return np.divide(ab - a * b / n, np.sqrt(spread), out=np.zeros_like(spread), where=spread > 0)
