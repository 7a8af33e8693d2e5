"""What edits do to predictions: the paper's Table 3, with a sham span of the same length beside every wave."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from torch import nn

from .accuracy import accuracy_table
from .edits import WAVES, blank
from .models import ModelError, spec_of
from .prediction import predict


def blanking_table(model: nn.Module, cohort: xr.Dataset, fill: str = "linear", *, ci: float = 0.95) -> pd.DataFrame:
    """The paper's Table 3: the error per target on intact beats and with P, QRS or T blanked, and with shams.

    The truth stays the intact beat's measurement. A sham blanks a span of the wave's length where there is no wave.

    Parameters
    ----------
    model : nn.Module
    cohort : Dataset
        People the network has not seen.
    fill : {"linear", "flat"}
        See `ecgwb.edits.blank`.

    Returns
    -------
    DataFrame, a row per target
        ``metric`` (MAE in ``unit``, or accuracy as a share), then ``intact``, ``P``, ``QRS``, ``T``, ``sham_P``,
        ``sham_QRS``, ``sham_T``; then for each of these ``_low``, ``_high`` (patient bootstrap), ``_n``, the records
        that have the target and the wave (or room for the sham), and ``_same``, the score of intact beats on just
        these records, which is what to compare with.

    Raises
    ------
    ModelError
        When the network takes rhythms, or the cohort has none of its targets.
    """
    if spec_of(model).input != "beat":
        raise ModelError("blanking works on representative beats; this network takes rhythms")
    edited = {"intact": cohort} | {w: blank(cohort, w, fill) for w in WAVES}
    edited |= {f"sham_{w}": blank(cohort, w, fill, sham=True) for w in WAVES}
    tables, same = {}, {}
    intact = predict(model, cohort)
    for name, changed in edited.items():
        there = np.isfinite(changed["beat"].values).all(axis=(1, 2))
        if there.any():
            tables[name] = accuracy_table(predict(model, changed), cohort, ci=ci)
            rows = np.flatnonzero(there)
            same[name] = accuracy_table(intact.isel(record=rows), cohort.isel(record=rows), ci=ci)["score"]
    out = tables["intact"][["metric", "unit"]].copy()
    for name in edited:
        out[name] = tables[name]["score"] if name in tables else np.nan
    for name, table in tables.items():
        out[f"{name}_low"], out[f"{name}_high"], out[f"{name}_n"] = table["low"], table["high"], table["n"]
        out[f"{name}_same"] = same[name]
    return out
