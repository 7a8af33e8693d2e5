"""Readers: networks that tell an outcome from the whole beat, and what they make of each lead and segment.

`PooledReader` is trained here, in seconds, on what known measurements leave of the outcome; `NetworkReader` is any
network. Both answer for discovery patients by networks that have not learnt from them. Of a network that takes
recordings the rhythm itself is a place, too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn

from ..cohorts.guards import kind_of
from ..cohorts.people import folds_of, names_patients, patient_draw, patients_of
from ..delineation.landmarks import SEGMENTS
from ..edits.changes import spread_rr, stretch
from ..edits.edit_maps import joint_effects, piece_names
from ..models.prediction import predict, unseen
from ..models.spec import ModelError, spec_of
from .scan import halves

FOLDS = 3
_INNER = 5  # folds that choose the ridge
_FAR = 3.0  # SDs, beyond which a level counts as so many
_RIDGES = np.logspace(-3, 2, 11)  # weights of the ridge, per person
_COLUMNS = 400  # of all levels, squares and products: as many enter as correlate most


RHYTHM = ("RR", "RR spread")
"""Of a recording: how long its RR intervals are, and how unlike each other."""


class Place(NamedTuple):
    """A lead's segment, or one half of it; or, without a lead, one of `RHYTHM`."""

    lead: str
    segment: str
    half: str = ""  # "first", "second"

    @property
    def words(self) -> str:
        return f"{self.lead} {self.half and self.half + ' half of '}{self.segment}".strip()


class Reader(Protocol):
    """What steps 4 to 6 of `discover` ask of a network. All arrays are by record, in the cohort's order."""

    places: tuple[Place, ...]
    name: str

    def output(self, cohort: xr.Dataset, *, out_of_fold: bool = False) -> np.ndarray:
        """Outputs (record,); out of fold for discovery patients."""

    def effects(self, cohort: xr.Dataset, *, out_of_fold: bool = False) -> np.ndarray:
        """The output less that with each place replaced (record, place)."""

    def interplay(
        self, cohort: xr.Dataset, pairs: Sequence[tuple[int, int]], *, out_of_fold: bool = False
    ) -> np.ndarray:
        """f(x) - f(a) - f(b) + f(ab) for pairs of places (record, pair)."""


# ---------------------------------------------------------------- trained here


class PooledNet(NamedTuple):
    """A network on the mean levels of both halves of every segment and lead, with one layer of squares and products.

    ``constant + w z + z' M z``; with M written by its eigenvectors, a hidden unit is (u z) squared. It holds spreads,
    and the interplay of any two stretches, which a network that averages over positions and ends in a linear layer
    cannot. Its weights are those of a ridge regression in which each level, square and product has a penalty of one
    over the square of its own correlation with the outcome (as in the adaptive lasso, Zou 2006), since few of thousands
    will matter; how strong it is, five folds choose. So there is nothing of chance in its training.

    Parameters
    ----------
    centre, spread : array (level,)
        Median, and half the distance of the 16th and 84th percentile.
    w : array (level,)
    m : array (level, level)
        Symmetric.
    constant : float
    """

    centre: np.ndarray
    spread: np.ndarray
    w: np.ndarray
    m: np.ndarray
    constant: float

    @classmethod
    def fit(cls, levels: np.ndarray, y: np.ndarray) -> PooledNet:
        """From levels (record, level), NaN where a wave is lacking, and an outcome (record,)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a level that nobody has
            low, middle, high = np.nan_to_num(np.nanquantile(levels, [0.16, 0.5, 0.84], axis=0))
        out = cls(middle, (high - low) / 2 + 1e-6, np.zeros(len(middle)), np.zeros((len(middle),) * 2), 0.0)
        z = out.scaled(levels).astype(np.float32)
        i, j = np.triu_indices(z.shape[1])
        x = np.concatenate([z, z[:, i] * z[:, j]], axis=1)  # (record, level, then square or product)
        mean, sd = x.mean(axis=0), x.std(axis=0) + 1e-6
        x = (x - mean) / sd
        fold = np.arange(len(y)) % _INNER
        error = np.zeros(len(_RIDGES))
        for k in range(_INNER):
            beta, constant = _adaptive_ridge(x[fold != k], y[fold != k], _RIDGES)
            error += ((y[fold == k, None] - constant - x[fold == k] @ beta) ** 2).sum(axis=0)
        beta, constant = _adaptive_ridge(x, y, _RIDGES[[int(error.argmin())]])
        v = beta[:, 0] / sd
        w, m = v[: z.shape[1]], np.zeros((z.shape[1],) * 2)
        m[i, j] += v[z.shape[1] :] / 2
        m[j, i] += v[z.shape[1] :] / 2
        return out._replace(w=w, m=m, constant=float(constant - mean @ v))

    def scaled(self, levels: np.ndarray) -> np.ndarray:
        """Levels in SDs (record, level); one that is lacking is the mean."""
        return np.clip(np.nan_to_num((levels - self.centre) / self.spread), -_FAR, _FAR)

    def output(self, levels: np.ndarray) -> np.ndarray:
        z = self.scaled(levels)
        return np.asarray(self.constant + z @ self.w + ((z @ self.m) * z).sum(axis=1))

    def effect(self, levels: np.ndarray, at: Sequence[int]) -> np.ndarray:
        """The output less that with these levels the mean (record,)."""
        z, k = self.scaled(levels), list(at)
        own, all_ = z[:, k], z @ self.m[:, k]
        within = ((own @ self.m[np.ix_(k, k)]) * own).sum(axis=1)
        return np.asarray(own @ self.w[k] + 2 * (all_ * own).sum(axis=1) - within)

    def interplay(self, levels: np.ndarray, a: Sequence[int], b: Sequence[int]) -> np.ndarray:
        """f(x) - f(a) - f(b) + f(ab) (record,)."""
        z = self.scaled(levels)
        return np.asarray(2 * ((z[:, list(a)] @ self.m[np.ix_(list(a), list(b))]) * z[:, list(b)]).sum(axis=1))


def _adaptive_ridge(x: np.ndarray, y: np.ndarray, ridges: np.ndarray) -> tuple[np.ndarray, float]:
    """Coefficients (column, ridge) and the constant, of columns in SDs; 0 for all but the likeliest columns."""
    centred = y - y.mean()
    r = centred @ x / (np.linalg.norm(centred) * np.sqrt(len(y)) + 1e-12)
    kept = np.argsort(-np.abs(r))[:_COLUMNS]
    weight = np.abs(r[kept]) / (np.abs(r[kept]).max() + 1e-12)  # a column scaled so has the penalty 1 / weight squared
    scaled = x[:, kept] * weight
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    turned = vectors.T @ (scaled.T @ centred)
    beta = np.zeros((x.shape[1], len(ridges)))
    for k, ridge in enumerate(ridges * len(y)):
        beta[kept, k] = weight * (vectors @ (turned / (np.maximum(values, 0.0) + ridge)))
    return beta, float(y.mean())


class PooledReader:
    """`PooledNet`, trained on discovery patients and, for these themselves, in three folds without them.

    Parameters
    ----------
    cohort : Dataset
        Discovery patients, one record each.
    y : array (record,)
        What is to be told: the outcome, or what known measurements leave of it.
    seed : int
        Of the folds.
    """

    name = "pooled network"

    def __init__(self, cohort: xr.Dataset, y: np.ndarray, seed: int = 0) -> None:
        if not isinstance(y, np.ndarray) or y.shape != (cohort.sizes["record"],) or not np.isfinite(y).all():
            raise ValueError(f"y is {kind_of(y)}; expected an array of {cohort.sizes['record']} finite numbers")
        levels, features = halves(cohort)
        # Where nobody is named, folds keep the records of one person together.
        folds = folds_of(cohort)
        people = patients_of(cohort) if names_patients(cohort) or (folds == "").any() else folds
        fold = np.array([int(patient_draw(p, f"reader {seed}") * FOLDS) for p in people])
        if len(set(fold.tolist())) < FOLDS:  # too few to draw among
            fold = pd.factorize(people)[0] % FOLDS
        self._fold = dict(zip(cohort["record"].values.tolist(), fold.tolist(), strict=True))  # the net without it
        self._nets = [PooledNet.fit(levels[fold != k], y[fold != k]) for k in range(FOLDS + 1)]
        leads = list(dict.fromkeys(f.lead for f in features))
        self._at: list[list[int]] = []
        places = []
        for lead in range(len(leads)):
            for s, segment in enumerate(SEGMENTS):
                first = lead * 2 * len(SEGMENTS) + 2 * s
                for half, at in (("", [first, first + 1]), ("first", [first]), ("second", [first + 1])):
                    places.append(Place(leads[lead], segment, half))
                    self._at.append(at)
        self.places = tuple(places)

    def _by_net(self, cohort: xr.Dataset, out_of_fold: bool) -> list[tuple[PooledNet, np.ndarray]]:
        """Each network and the rows it answers for."""
        if not out_of_fold:
            return [(self._nets[FOLDS], np.arange(cohort.sizes["record"]))]
        unknown = [r for r in cohort["record"].values.tolist() if r not in self._fold]
        if unknown:
            raise ValueError(
                f"{len(unknown)} records, such as {unknown[0]!r}, were not trained on, so that there is no fold to "
                "leave out; ask without out_of_fold"
            )
        fold = np.array([self._fold[r] for r in cohort["record"].values.tolist()])
        return [(net, np.flatnonzero(fold == k)) for k, net in enumerate(self._nets)]

    def output(self, cohort: xr.Dataset, *, out_of_fold: bool = False) -> np.ndarray:
        levels, out = halves(cohort)[0], np.full(cohort.sizes["record"], np.nan)
        for net, rows in self._by_net(cohort, out_of_fold):
            out[rows] = net.output(levels[rows])
        return out

    def effects(self, cohort: xr.Dataset, *, out_of_fold: bool = False) -> np.ndarray:
        levels, out = halves(cohort)[0], np.full((cohort.sizes["record"], len(self.places)), np.nan)
        for net, rows in self._by_net(cohort, out_of_fold):
            for k, at in enumerate(self._at):
                out[rows, k] = net.effect(levels[rows], at)
        return out

    def interplay(
        self, cohort: xr.Dataset, pairs: Sequence[tuple[int, int]], *, out_of_fold: bool = False
    ) -> np.ndarray:
        levels, out = halves(cohort)[0], np.full((cohort.sizes["record"], len(pairs)), np.nan)
        for net, rows in self._by_net(cohort, out_of_fold):
            for k, (a, b) in enumerate(pairs):
                out[rows, k] = net.interplay(levels[rows], self._at[a], self._at[b])
        return out


# ---------------------------------------------------------------- any network


class NetworkReader:
    """A network, for one of its targets; places are leads' segments, replaced by the common beat's.

    Of one that takes recordings they are replaced in every beat; and there are two places more. "RR": every interval is
    made longer or shorter by so much that the median is that of `among`; "RR spread": all intervals are made the same.
    Beats keep their shape then.

    Parameters
    ----------
    model : nn.Module
        With a spec, as from `wb.load_model` or `wb.wrap_model`.
    target : str
        One of its targets.
    among : Dataset
        Discovery patients, whose common beat it is.

    Raises
    ------
    ModelError
        When the network has no such target.
    """

    def __init__(self, model: nn.Module, target: str, among: xr.Dataset, name: str = "network") -> None:
        spec = spec_of(model)
        if target not in spec.targets:
            raise ModelError(f"the network predicts {', '.join(spec.targets)}; expected {target!r} among them")
        self.model, self.target, self.among, self.name = model, target, among, name
        self._pieces = piece_names("segments")
        self._rr_ms: float | None = None if spec.input == "beat" else float((60000.0 / among["hr"]).median())
        rhythm = () if self._rr_ms is None else tuple(Place("", what) for what in RHYTHM)
        self._segments = tuple(Place(lead, segment) for lead in spec.leads for segment in SEGMENTS)
        self.places = (*self._segments, *rhythm)

    def output(self, cohort: xr.Dataset, *, out_of_fold: bool = False) -> np.ndarray:
        return np.asarray(predict(self.model, cohort, out_of_fold=out_of_fold)[self.target].values, dtype=float)

    def effects(self, cohort: xr.Dataset, *, out_of_fold: bool = False) -> np.ndarray:
        kept = ~np.stack([self._gone(k) for k in range(len(self._segments))])
        lost = self._without(cohort, kept, out_of_fold)
        if self._rr_ms is None:
            return lost
        make = partial(_lost_rhythm, rr_ms=self._rr_ms, target=self.target)
        return np.c_[lost, self._made(make, cohort, out_of_fold)]

    def interplay(
        self, cohort: xr.Dataset, pairs: Sequence[tuple[int, int]], *, out_of_fold: bool = False
    ) -> np.ndarray:
        alone = sorted({k for pair in pairs for k in pair})
        gone = [self._gone(k) for k in alone] + [self._gone(a) | self._gone(b) for a, b in pairs]
        lost = self._without(cohort, ~np.stack(gone), out_of_fold)
        single = {k: lost[:, i] for i, k in enumerate(alone)}
        both = lost[:, len(alone) :]
        return np.stack([single[a] + single[b] - both[:, i] for i, (a, b) in enumerate(pairs)], axis=1)

    def _gone(self, place: int) -> np.ndarray:
        """Which of the pieces, lead by lead, a place is."""
        lead, segment = divmod(place, len(SEGMENTS))
        gone = np.zeros((len(spec_of(self.model).leads), len(self._pieces)), bool)
        gone[lead, self._pieces.index(list(SEGMENTS)[segment])] = True
        return gone.ravel()

    def _without(self, cohort: xr.Dataset, kept: np.ndarray, out_of_fold: bool) -> np.ndarray:
        """The output less that with only these pieces its own (record, edit)."""
        return self._made(partial(_lost, kept=kept, target=self.target, among=self.among), cohort, out_of_fold)

    def _made(
        self, make: Callable[[nn.Module, xr.Dataset], xr.DataArray], cohort: xr.Dataset, out_of_fold: bool
    ) -> np.ndarray:
        return np.asarray((unseen(make, self.model, cohort) if out_of_fold else make(self.model, cohort)).values)


def _lost(model: nn.Module, cohort: xr.Dataset, kept: np.ndarray, target: str, among: xr.Dataset) -> xr.DataArray:
    return _labelled(joint_effects(model, cohort, kept, target, by_lead=True, among=among)[:, 0], cohort)


def _lost_rhythm(model: nn.Module, cohort: xr.Dataset, rr_ms: float, target: str) -> xr.DataArray:
    """The output less that of the recording with another rhythm, as `RHYTHM` (record, edit).

    One that cannot be paced so, as in fast atrial fibrillation, stays as it is: 0.
    """
    longer = np.nan_to_num(rr_ms - 60000.0 / cohort["hr"].values.astype(float))
    intact = predict(model, cohort)[target]
    others = (stretch(cohort, "RR", longer), spread_rr(cohort, 0.0))
    lost = np.stack([(intact - predict(model, other)[target]).values for other in others], axis=1)
    return _labelled(np.where(np.isfinite(intact.values)[:, None], np.nan_to_num(lost), np.nan), cohort)


def _labelled(lost: np.ndarray, cohort: xr.Dataset) -> xr.DataArray:
    coords = {"record": cohort["record"], "seen": ("record", np.zeros(len(lost), bool))}
    return xr.DataArray(lost, dims=("record", "edit"), coords=coords, attrs={"excluded": "[]"})
