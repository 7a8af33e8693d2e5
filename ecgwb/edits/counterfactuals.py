"""Counterfactuals: what a network would have to see to predict something else, in the field's own terms."""

from __future__ import annotations

import numpy as np
import xarray as xr
from torch import nn

from ..attention.alignment import FEWEST
from ..attention.gradcam import asked_of
from ..cohorts.beats import RHYTHM
from ..cohorts.guards import check, kind_of
from ..cohorts.measurements import TARGETS, UNITS
from ..models.prediction import model_input, predict
from .changes import plant, scale
from .edit_maps import left_out
from .effects import DOSES, Dose, doses_of, for_network
from .remeasurement import remeasure

_STEP, _MOST = 0.25, 3.0  # standard deviations between people, of a step and of an edit
_LEAST = 0.1  # of a wave's height that is left
_RHYTHMS_AT_ONCE = 16  # recordings whose edits are tried together


def counterfactual(
    model: nn.Module, cohort: xr.Dataset, target: str, change: float | np.ndarray, *, among: xr.Dataset | None = None
) -> xr.Dataset:
    """A small combination of known edits of each beat that changes its prediction by so much.

    The edits are those of `dose_response`: PR, QRS and QT drawn out, J (with ST) lifted, R and T scaled; for networks
    that take recordings, RR, too, and every beat of them is edited alike. The smallest
    of them that does it alone is taken. Where none does, they grow together in steps of a quarter of the standard
    deviation between people, always by the step that helps most, and steps that turn out not to be needed are taken
    back. This finds a small combination, and not surely the smallest. What the edited beats show is then measured anew
    by the delineator.

    Parameters
    ----------
    model : nn.Module
        With a spec.
    cohort : Dataset
        Its labels are not used.
    target : str
        Of ``model.spec.targets``.
    change : float, or array (record,)
        By which the prediction is to grow, or to fall, in the target's unit (log-odds of what is yes or no).
    among : Dataset, optional
        The cohort whose people's spread an edit is measured by; by default `cohort`.

    Returns
    -------
    Dataset
        - ``beat``, ``fiducial``: of the edited beats, and ``rhythm``, ``cycle_fiducial`` and ``cycle_used`` of the
          edited recordings, where the network takes them; ``outside`` (record,) names the measurements of the edited
          beat, changed or not, that lie outside the 1st to 99th percentile of `among`, where a network has hardly seen
          any;
        - ``predicted`` (record, when), ``when`` being before and after, and the ``goal`` (record,);
        - ``reached`` (record,): False where even edits of three standard deviations do not change so much, and where
          a record cannot be used; heart rate, for one, no edit of a beat moves;
        - ``amount`` (record, edit): ms for PR, QRS, QT and RR, µV for J, a factor for R and T;
        - ``sd`` (record, edit): the same in standard deviations between people;
        - ``measured`` (record, measurement, when): PR, QRS, QT, J, R and T, measured anew.

        A record that cannot be used is NaN, and `excluded` lists it.

    Raises
    ------
    ModelError
        When the network has no such target, or the cohort lacks what it takes.
    ValueError
        When the change is no number other than 0, or `among` has fewer than ten records.
    """
    if not isinstance(target, str):
        raise ValueError(f"target is {kind_of(target)}; expected the name of one target")
    asked_of(model, target)
    cohort, doses = for_network(model, check(cohort, "hr")), doses_of(model)
    by = np.asarray(change)
    n = cohort.sizes["record"]
    if by.dtype.kind not in "fiu" or by.shape not in ((), (n,)) or not np.isfinite(by).all() or (by == 0).any():
        raise ValueError(
            f"change is {change!r}; expected a number above or below 0, in the unit of {target}, or one for each of "
            f"the {n} records"
        )
    # Both are measured from their landmarks, as the changed beats are.
    people = plant((cohort if among is None else check(among, "hr")).drop_vars(RHYTHM, errors="ignore"), 0.0, 0.0)
    cohort = plant(cohort.assign_attrs(seen_range=people.attrs["seen_range"]), 0.0, 0.0)
    if people.sizes["record"] < FEWEST:
        raise ValueError(
            f"{people.sizes['record']} records do not say how much people differ; give a cohort of at least {FEWEST}: "
            "among=cohort"
        )
    sizes = np.array([_spread(people, dose.target) for dose in doses.values()])
    search = _Search(model, cohort, target, by.astype(float), sizes)
    search.one_alone()
    search.together()
    search.back()
    z, before, now = search.z + 0.0, search.before, search.now  # no -0.0
    reached = search.there(np.arange(len(now)), now)
    edited = _edited(cohort, z, sizes, doses)
    has_qrs = np.isfinite(cohort["fiducial"].sel(landmark=["QRS_on", "J"]).values).all(axis=1)
    lost = ~(np.isfinite(before) & has_qrs)
    again = [remeasure(c) for c in (cohort, edited)]
    when = ["before", "after"]
    known = [t for t in TARGETS if t != "hr"]
    return xr.Dataset(
        {
            "beat": edited["beat"],
            "fiducial": edited["fiducial"],
            **{name: edited[name] for name in RHYTHM if name in edited},
            "predicted": (("record", "when"), _without(np.stack([before, now], axis=1), lost)),
            "goal": ("record", _without(search.goal, lost)),
            "reached": ("record", reached & ~lost),
            "amount": (("record", "edit"), _without(_amounts(z, sizes, doses), lost)),
            "sd": (("record", "edit"), _without(z, lost)),
            "measured": (
                ("record", "measurement", "when"),
                _without(np.stack([np.stack([c[t].values for t in known], axis=1) for c in again], axis=2), lost),
            ),
        },
        coords={k: v for k, v in edited.coords.items() if v.dims == ("record",)}
        | {"edit": list(doses), "measurement": known, "when": when}
        | {
            "edit_unit": ("edit", [_unit(dose) for dose in doses.values()]),
            "unit": ("measurement", [UNITS[t] for t in known]),
        },
        attrs={
            "target": target,
            "units": asked_of(model, target)[0].unit(target),
            "excluded": left_out(cohort, model_input(model, cohort)[1] & has_qrs, ~lost),
        },
    )


def _without(values: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Values (record, ...), NaN for the records that are lost."""
    out = values.astype(float)
    out[lost] = np.nan
    return out


def _spread(cohort: xr.Dataset, target: str) -> float:
    """How much people differ, as a standard deviation that outliers do not move; R and T as a share of the median.

    Of heart rate, which is edited by RR, it is that of RR (ms).
    """
    values = 60000.0 / cohort["hr"].values if target == "hr" else cohort[target].values
    low, middle, high = np.nanpercentile(values, (16, 50, 84)) if np.isfinite(values).any() else (0.0, 1.0, 0.0)
    sd = (high - low) / 2
    return float(sd / abs(middle)) if target in ("r_v5", "t_v5") and middle else float(sd)


def _amounts(z: np.ndarray, sizes: np.ndarray, doses: dict[str, Dose]) -> np.ndarray:
    """Edits in standard deviations (..., edit) as ms, µV and factors."""
    factor = np.array([dose.edit is scale for dose in doses.values()])
    return np.where(factor, np.maximum(1 + z * sizes, _LEAST), z * sizes)


def _unit(dose: Dose) -> str:
    return "times" if dose.edit is scale else "ms" if dose.target == "hr" else UNITS[dose.target]


def _edited(cohort: xr.Dataset, z: np.ndarray, sizes: np.ndarray, doses: dict[str, Dose]) -> xr.Dataset:
    """The cohort with all edits of each record (record, edit), in standard deviations, made one after another."""
    amounts = _amounts(z, sizes, doses)
    for k, (name, dose) in enumerate(doses.items()):
        some = z[:, k] != 0
        if some.any():
            changed = dose.edit(cohort, name, amounts[:, k])
            # A record that this edit leaves alone stays as it is, as it may lack the wave. RR by 0 ms does that itself.
            for part in ("beat", "fiducial", *RHYTHM):
                if part in cohort and name in DOSES:
                    keep = some.reshape(-1, *[1] * (changed[part].ndim - 1))
                    changed[part] = changed[part].copy(data=np.where(keep, changed[part].values, cohort[part].values))
            cohort = changed
    return cohort


class _Search:
    """The edits of each record (record, edit), in standard deviations, and what is predicted with them."""

    def __init__(
        self, model: nn.Module, cohort: xr.Dataset, target: str, change: np.ndarray, sizes: np.ndarray
    ) -> None:
        self.model, self.cohort, self.target, self.sizes = model, cohort, target, sizes
        self.doses = doses_of(model)
        self.before = predict(model, cohort)[target].values
        self.goal, self.up = self.before + change, np.sign(change) * np.ones(len(self.before))
        self.now, self.z = self.before.copy(), np.zeros((len(self.before), len(sizes)))
        self.ways = np.concatenate([np.eye(len(sizes)), -np.eye(len(sizes))])  # (way, edit)

    def predicted(self, rows: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Predictions (record, way) of some records with edits (record, way, edit); NaN beyond what is allowed."""
        n, ways, _ = z.shape
        got = np.empty((n, ways))
        at_once = n if "rhythm" not in self.cohort else _RHYTHMS_AT_ONCE
        for some in (slice(k, k + at_once) for k in range(0, n, at_once)):
            many = self.cohort.isel(record=np.repeat(rows[some], ways))
            many = many.assign_coords(record=[f"{r}#{k}" for k, r in enumerate(many["record"].values)])
            edited = _edited(many, z[some].reshape(many.sizes["record"], -1), self.sizes, self.doses)
            got[some] = predict(self.model, edited)[self.target].values.reshape(-1, ways)
        return np.where((np.abs(z) <= _MOST + 1e-9).all(axis=2), got, np.nan)

    def beyond(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """By how much predictions (record, ...) of some records pass the goal; below 0 where they do not."""
        goal, up = (v[rows].reshape(-1, *[1] * (values.ndim - 1)) for v in (self.goal, self.up))
        return np.where(np.isfinite(values), up * (values - goal), -np.inf)

    def there(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.asarray(self.beyond(rows, values) >= 0)

    def open(self) -> np.ndarray:
        """The records that can be predicted and are not there."""
        every = np.arange(len(self.now))
        return np.flatnonzero(np.isfinite(self.now) & ~self.there(every, self.now))

    def take(self, rows: np.ndarray, tried: np.ndarray, got: np.ndarray, needed: np.ndarray) -> np.ndarray:
        """Go the way that leads furthest, where it leads further than needed (record,); which records went."""
        far = np.where(np.isfinite(got), self.beyond(rows, got), -np.inf)
        best = far.argmax(axis=1)
        goes = far[np.arange(len(rows)), best] >= needed
        self.z[rows[goes]], self.now[rows[goes]] = tried[goes, best[goes]], got[goes, best[goes]]
        return rows[goes]

    def one_alone(self) -> None:
        """The smallest single edit that suffices, where one does."""
        for size in np.arange(2 * _STEP, _MOST + 1e-9, 2 * _STEP):
            rows = self.open()
            if len(rows):
                tried = np.repeat(size * self.ways[None], len(rows), axis=0)
                self.take(rows, tried, self.predicted(rows, tried), np.zeros(len(rows)))

    def together(self) -> None:
        """Steps of all edits, each the one that helps most, until the goal is reached or none helps."""
        rows = self.open()
        while len(rows):
            tried = self.z[rows, None] + _STEP * self.ways
            here = self.beyond(rows, self.now[rows])
            rows = self.take(rows, tried, self.predicted(rows, tried), here + 1e-6)
            rows = np.intersect1d(rows, self.open())

    def back(self) -> None:
        """Every step taken back that is not needed."""
        rows = np.flatnonzero(self.there(np.arange(len(self.now)), self.now))
        while len(rows):
            tried = self.z[rows, None] - _STEP * np.sign(self.z[rows])[:, None, :] * np.eye(len(self.sizes))
            got = self.predicted(rows, tried)
            got[(tried == self.z[rows, None]).all(axis=2)] = np.nan  # nothing taken back
            rows = self.take(rows, tried, got, np.zeros(len(rows)))
