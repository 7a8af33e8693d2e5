"""The trust panel: every check of one network side by side."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn

from ..attention.gradcam import VARIANTS, asked_of
from ..cohorts import guards
from ..cohorts.people import patients_of
from ..edits.effects import for_network
from ..edits.maps import time_maps
from ..models.progress import progress
from ..models.spec import ModelError, spec_of
from ..workers import each
from . import checks
from .checks import Check
from .judge import joint_edits

FEWEST = 10  # people of whom anything may be said
MANY = 50  # of whom checks take so long that they are made in processes, side by side


@dataclass(frozen=True, eq=False, repr=False)
class Panel:
    """All checks of one network; `ecgwb.figures.plot_panel` draws them.

    Attributes
    ----------
    checks : dict of Check
        By name.
    """

    checks: dict[str, Check]

    @property
    def table(self) -> pd.DataFrame:
        """A row per check: ``finding`` and ``scale``, what would be perfect and what chance."""
        rows = {name: {"finding": c.finding, "scale": c.scale} for name, c in self.checks.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("check")

    def __repr__(self) -> str:
        more = "In full: .table, .checks[name].table, wb.figures.plot_panel(panel)"
        return "\n".join([*map(repr, self.checks.values()), more])

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return self.table.to_html()


def trust_panel(
    model: nn.Module,
    cohort: xr.Dataset,
    others: Sequence[nn.Module] = (),
    targets: Sequence[str] | str | None = None,
    *,
    method: str = "gradcam",
) -> Panel:
    """Every check of a network and its maps.

    Parameters
    ----------
    model : nn.Module
        With a spec; of one that takes recordings every beat is edited alike, and maps are compared beat by beat.
    cohort : Dataset
        Some 200 people it has not seen, and no fewer than 10; their labels are not used.
    others : sequence of nn.Module
        Networks trained alike but for chance, for `ecgwb.trust.consistency`.
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    method : str
        The maps that are judged: "edit map", a variant of `ecgradcam` or a method of `attribute`.

    Returns
    -------
    Panel
        ``checks``, ``table``; `ecgwb.figures.plot_panel` draws it. The judge of maps, `joint_edits`, comes first.

    Raises
    ------
    ModelError
        When the cohort has fewer than 10 people or lacks what the network takes, or target or method is unknown.
    """
    asked_of(model, targets)  # what is wrong is found before minutes of work
    if not isinstance(others, Sequence) or not all(isinstance(m, nn.Module) for m in others):
        raise ModelError(
            f"others is {guards.kind_of(others)}; expected networks trained alike, in a list. Targets go by name: "
            "trust_panel(model, cohort, targets='qt')"
        )
    cohort = for_network(model, guards.check(cohort, "hr"))
    people = len(np.unique(patients_of(cohort)))
    if people < FEWEST:
        raise ModelError(
            f"the cohort has {people} people; a panel needs {FEWEST} or more, and some 200 to be of use. "
            "The single checks of ecgwb.trust ask for no number"
        )
    time_maps(model, cohort.isel(record=slice(1)), method, targets, among=cohort)
    of_layers = VARIANTS if spec_of(model).layer else ()  # without a layer there is no ECGradCAM to compare with
    beside = [m for m in (*of_layers[:2], "input_x_gradient", "saliency") if m != method]
    ways = (method, *(v for v in of_layers if v != method))
    todo: list[Callable[[], Check]] = [
        partial(joint_edits, model, cohort, list(dict.fromkeys(["edit map", method])), targets),
        partial(checks.leads, model, cohort, targets),
        partial(checks.randomisation, model, cohort, targets, method=method),
        partial(checks.specificity, model, cohort, targets, method=method),
        partial(checks.consistency, model, others, cohort, targets, method=method),
        partial(checks.agreement, model, cohort, (method, *beside), targets),
        partial(checks.removal, model, cohort, targets, method=method),
        partial(checks.localisation, model, cohort, targets, method=method),
        partial(checks.resolution, model, cohort, targets, method=method),
        partial(checks.effect, model, cohort, ways, targets),
    ]
    checked = each(operator.call, todo, long=people >= MANY)
    # The longest of all is no piece of work among others: it hands out its own pieces, dose by dose.
    last = map(operator.call, [partial(checks.response, model, cohort, targets)])
    first, *rest, response = progress("trust panel", chain(checked, last), total=len(todo) + 1, unit="check")
    return Panel({c.name: c for c in (first, response, *rest)})
