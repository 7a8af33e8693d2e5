"""The trust panel: every check of one network side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn

from ..attention.gradcam import VARIANTS, asked_of
from ..cohorts import guards
from ..cohorts.people import patients_of
from ..edits.effects import check_takes_beats
from ..edits.maps import time_maps
from ..models.spec import ModelError
from . import checks
from .checks import Check

FEWEST_FOR_VERDICT = 10  # people of whom a verdict may be given


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
        """A row per check: ``passed`` and ``verdict``."""
        rows = {name: {"passed": c.passed, "verdict": c.verdict} for name, c in self.checks.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("check")

    @property
    def verdict(self) -> str:
        """How many passed, and which did not."""
        judged = [c for c in self.checks.values() if c.passed is not None]
        failed = [c.name for c in judged if not c.passed]
        text = f"{len(judged) - len(failed)} of {len(judged)} checks passed"
        return text + (f"; failed: {', '.join(failed)}." if failed else ".")

    def __repr__(self) -> str:
        more = "In full: .table, .checks[name].table, wb.figures.plot_panel(panel)"
        return "\n".join([self.verdict, *(c.headline for c in self.checks.values()), more])

    def _repr_html_(self) -> str:
        with pd.option_context("display.max_colwidth", None):
            return f"<p>{self.verdict}</p>{self.table.to_html()}"


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
        That takes representative beats.
    cohort : Dataset
        Some 200 people it has not seen, and no fewer than 10; their labels are not used.
    others : sequence of nn.Module
        Networks trained alike but for chance, for `ecgwb.trust.consistency`.
    targets : str or sequence of str, optional
        Some of ``model.spec.targets``; all by default.
    method : str
        The maps that are judged: a variant of `ecgradcam` or a method of `attribute`.

    Returns
    -------
    Panel
        ``checks``, ``table``, ``verdict``; `ecgwb.figures.plot_panel` draws it.

    Raises
    ------
    ModelError
        When the cohort has fewer than 10 people, the network takes rhythms, or target or method is unknown.
    """
    cohort = guards.check(cohort, "hr")
    asked_of(model, targets)  # what is wrong is found before minutes of work
    check_takes_beats(model)
    people = len(np.unique(patients_of(cohort)))
    if people < FEWEST_FOR_VERDICT:
        raise ModelError(
            f"the cohort has {people} people; verdicts need {FEWEST_FOR_VERDICT} or more, and some 200 to be of use. "
            "The single checks of ecgwb.trust ask for no number"
        )
    time_maps(model, cohort.isel(record=slice(1)), method, targets)
    beside = [m for m in ("gradcam", "guided", "input_x_gradient", "saliency") if m != method]
    found = [
        checks.response(model, cohort, targets),
        checks.leads(model, cohort, targets),
        checks.randomisation(model, cohort, targets, method=method),
        checks.specificity(model, cohort, targets, method=method),
        checks.consistency(model, others, cohort, targets, method=method),
        checks.agreement(model, cohort, (method, *beside), targets),
        checks.removal(model, cohort, targets, method=method),
        checks.localisation(model, cohort, targets, method=method),
        checks.resolution(model, cohort, targets, method=method),
        checks.effect(model, cohort, (method, *(v for v in VARIANTS if v != method)), targets),
    ]
    return Panel({c.name: c for c in found})
