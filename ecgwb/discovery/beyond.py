"""Beyond what is known: an outcome as known measurements tell it, and anything else freed of them.

Both come from discovery patients alone and are then used unchanged, so that a new measurement is tested for what it has
of its own, beyond what known columns tell of it by addition. A test beside a frozen score alone would be too easy: a
measurement that follows from known ones would make up for what the score misses on other people. What is left of that
grows with the people tested, so where they are many enough, five or more a column, all known columns are fitted anew.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV

from ..cohorts.people import one_record_each
from .classic import measure
from .features import Feature, feature_table, numbers_of

KNOWN = "known measurements"
FEW = "few cases: covariates enter the test by way of what is known"
_ENOUGH = 0.8  # of the people must have a classic measurement that counts as known
_LACKING = 0.01  # of the people lack it: then that it is lacking is a column, too
_FOLDS = 5  # of the cross-validation that chooses the ridge of the outcome's score
_FAR = 5.0  # SDs, beyond which a value counts as so many: a few paced beats must not carry a coefficient
_SPANNED = 1e-6  # of the largest singular value: columns below it follow from the others
_SAME = 0.999  # correlation of an outcome with a measurement that is the outcome


class Beyond(NamedTuple):
    """Known columns as discovery patients scale them, and coefficients fitted on these.

    Parameters
    ----------
    names : list of str
        Columns: covariates and classic measurements.
    centre, spread : list of float
        Of each, in discovery patients.
    lacking : list of str
        Those that some people lack, such as PR: that it is lacking enters as a column of its own.
    outcome : list of float
        Coefficients of the outcome on all of them, the intercept first; log-odds where it is 0 or 1.
    features : dict of list of float
        Of each feature its coefficients on all of them and on its own parts, and at last the SD of what is left.
    """

    names: list[str]
    centre: list[float]
    spread: list[float]
    lacking: list[str]
    outcome: list[float]
    features: dict[str, list[float]]

    @classmethod
    def of(cls, table: pd.DataFrame, names: Sequence[str], y: np.ndarray, binary: bool) -> Beyond:
        """From discovery patients: a table with these columns, and the outcome (record,) with a value for each.

        A ridge, the best of seven by cross-validation, keeps the score's coefficients from fitting chance.
        """
        x = table[list(names)].to_numpy(float)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value
            centre, spread = np.nanmean(x, axis=0), np.nanstd(x, axis=0)
        kept = [k for k in range(len(names)) if spread[k] > 1e-9 * max(1.0, abs(centre[k]))]
        share = np.isnan(x).mean(axis=0)
        seen: list[np.ndarray] = []
        lacking = []
        for k in kept:
            pattern = np.isnan(x[:, k])
            if _LACKING < share[k] < 1 - _LACKING and not any(
                np.mean(pattern != other) < _LACKING / 2 for other in seen
            ):
                seen.append(pattern)
                lacking.append(names[k])
        out = cls([names[k] for k in kept], centre[kept].tolist(), spread[kept].tolist(), lacking, [], {})
        z = out.matrix(table)[:, 1:]
        if not z.shape[1]:
            mean = float(np.mean(y))
            return out._replace(outcome=[float(np.log(mean / (1 - mean))) if binary else mean])
        ridge = LogisticRegression(solver="newton-cholesky", max_iter=1000) if binary else Ridge()
        grid = {"C" if binary else "alpha": np.logspace(-4, 2, 7) if binary else np.logspace(-2, 4, 7)}
        scoring = "neg_log_loss" if binary else "neg_mean_squared_error"
        few = min(_FOLDS, int(min(np.sum(y == 0), np.sum(y == 1)))) if binary else _FOLDS
        model = (
            GridSearchCV(ridge, grid, cv=few, scoring=scoring).fit(z, y).best_estimator_ if few > 1 else ridge.fit(z, y)
        )
        return out._replace(outcome=[float(v) for v in (np.ravel(model.intercept_)[0], *np.ravel(model.coef_))])

    def matrix(self, table: pd.DataFrame) -> np.ndarray:
        """What enters (record, 1 + columns): a value that is lacking is the discovery patients' mean."""
        z = (table[self.names].to_numpy(float) - self.centre) / self.spread
        gone = table[self.lacking].isna().to_numpy(float)
        return np.c_[np.ones(len(table)), np.nan_to_num(np.clip(z, -_FAR, _FAR)), gone]

    def basis(self, table: pd.DataFrame, covariates: np.ndarray) -> np.ndarray:
        """Covariates as they enter and all known columns (record, column), as orthogonal columns that span the same."""
        u, size, _ = np.linalg.svd(np.c_[covariates, self.matrix(table)], full_matrices=False)
        return np.asarray(u[:, size > _SPANNED * size[0]] * np.sqrt(len(table)))

    def score(self, table: pd.DataFrame) -> np.ndarray:
        """The outcome (record,) as what is known tells it: log-odds where it is 0 or 1."""
        return self.matrix(table) @ np.array(self.outcome)

    def expected(self, table: pd.DataFrame, binary: bool) -> np.ndarray:
        """The outcome (record,) that is expected: a probability where it is 0 or 1."""
        return np.asarray(expit(self.score(table))) if binary else self.score(table)

    def fitted(self, table: pd.DataFrame, values: np.ndarray, parts: np.ndarray | None = None) -> np.ndarray:
        """Coefficients and SD of what is left (1 + columns + parts + 1, value), of values (record, value)."""
        x = self._with(table, parts)
        known = np.isfinite(values).all(axis=1) & np.isfinite(x).all(axis=1)
        if not known.any():
            return np.full((x.shape[1] + 1, values.shape[1]), np.nan)
        ridge = np.sqrt(np.r_[0.0, np.ones(x.shape[1] - 1)])
        wide = np.r_[x[known], np.diag(ridge)]
        beta = np.linalg.lstsq(wide, np.r_[values[known], np.zeros((len(ridge), values.shape[1]))], rcond=None)[0]
        left = values[known] - x[known] @ beta
        return np.r_[beta, left.std(axis=0)[None]]

    def freed(
        self, table: pd.DataFrame, values: np.ndarray, coefficients: np.ndarray, parts: np.ndarray | None = None
    ) -> np.ndarray:
        """Values (record, value) less what known columns, and their own parts, tell of them."""
        left = values - self._with(table, parts) @ coefficients[:-1]
        return np.clip(left, -_FAR * coefficients[-1], _FAR * coefficients[-1])

    def _with(self, table: pd.DataFrame, parts: np.ndarray | None) -> np.ndarray:
        x = self.matrix(table)
        return x if parts is None else np.c_[x, parts]


def with_features(
    beyond: Beyond, people: pd.DataFrame, parts: dict[str, np.ndarray], features: Sequence[Feature]
) -> Beyond:
    """With the coefficients of these features, from a table of discovery patients that holds them by name."""
    found = {
        f.name: beyond.fitted(people, people[[f.name]].to_numpy(float), parts.get(f.name))[:, 0].tolist()
        for f in features
    }
    return beyond._replace(features=found)


def freed_table(beyond: Beyond, people: pd.DataFrame, parts: dict[str, np.ndarray]) -> pd.DataFrame:
    """The table with its features freed, and what is known as one column, `KNOWN`."""
    out = people.copy()
    for name, coefficients in beyond.features.items():
        values = people[[name]].to_numpy(float)
        out[name] = beyond.freed(people, values, np.array(coefficients)[:, None], parts.get(name))[:, 0]
    return out.assign(**{KNOWN: beyond.score(people)})


def parts_of_features(features: Sequence[Feature], cohort: xr.Dataset) -> dict[str, np.ndarray]:
    """The parts (patient, part) of each distance and product, by its name: what is told by a part alone is not new."""
    people = one_record_each(cohort)
    made = [f for f in features if f.kind in ("distance", "product")]
    return {f.name: feature_table(f.of, people).to_numpy(float) for f in made}


def known_columns(cohort: xr.Dataset, outcome: str, baseline: Sequence[str], known: str | Sequence[str]) -> list[str]:
    """What counts as known: the baseline and, for "classic", every classic measurement that 80 % of the people have.

    Parameters
    ----------
    cohort : Dataset
        Discovery patients.
    outcome : str
    baseline : sequence of str
    known : "classic", or sequence of str

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        When the outcome is one of them itself.
    """
    y = numbers_of(cohort, [outcome])[outcome]
    if known != "classic":
        names = [known] if isinstance(known, str) else list(known)
        if outcome in names:
            raise ValueError(f"the outcome {outcome!r} is among what is known; leave it out of baseline and known")
        own = numbers_of(cohort, names)
        for name in names:
            v = own[name]
            if not v.nunique() > 1:
                raise ValueError(
                    f"the known column {name!r} has {v.nunique()} values on discovery patients, so it tells nothing; "
                    "leave it out"
                )
            if name not in baseline and abs(v.corr(y)) > _SAME:
                raise ValueError(f"the known column {name!r} is the outcome {outcome!r} by another name; leave it out")
        return list(dict.fromkeys([*baseline, *names]))
    table = measure(cohort)
    have = table.notna().mean().to_dict()
    names = [str(c) for c in table if have[c] >= _ENOUGH and not (c == "hr_bpm" and "hr" in baseline)]
    same = [c for c in names if abs(table[c].corr(y.set_axis(table.index))) > _SAME]
    if same:
        raise ValueError(
            f"the outcome {outcome!r} is the classic measurement {same[0]!r}, so nothing of it is beyond them; say "
            "what counts as known, such as known=()"
        )
    return list(dict.fromkeys([*baseline, *names]))
