"""How often interchanged limb electrodes are recognised, and how often they are seen where there are none.

    python tests/bench/bench_electrodes.py

Swaps are made from real beats, by exchanging their limb leads as the electrodes would. The constants of
`ecgwb.cohorts.electrodes` come from PTB-XL-500 and meet LUDB's people for the first time here; PTB-XL's own patients
are judged by constants of the other four fifths of patients. False alarms are counted on the recordings as they are,
which may hold real swaps.
"""

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

import ecgwb as wb
from ecgwb.cohorts.electrodes import LOG_ODDS, SWAPS, evidence, fit_chest, fit_weights


def evidences(cohort, chest):
    pairs = zip(cohort["beat"].values, cohort["fiducial"].values, strict=True)
    return np.stack([evidence(beat, fiducial, chest) for beat, fiducial in pairs])


def constants(cohort):
    chest = fit_chest(cohort)
    return chest, fit_weights(evidences(cohort, chest))


def swapped(cohort, swap):
    """The cohort as its electrodes would have recorded it with this swap."""
    out = cohort.copy(deep=True)
    out["beat"].values[:, :2] = np.einsum("ij,rjt->rit", swap, cohort["beat"].values[:, :2])
    return out


def verdicts(cohort, chest, weights):
    """(record,) the swap that is named, "none" where none is."""
    z = evidences(cohort, chest) @ weights
    best = z.argmax(axis=1)
    best[z.max(axis=1) - z[:, 0] <= LOG_ODDS] = 0
    return np.array(list(SWAPS))[best]


def rates(cohort, chest, weights):
    """Per swap: in how many records any is named, and in how many this very one."""
    rows = {}
    for name, swap in SWAPS.items():
        named = verdicts(swapped(cohort, swap), chest, weights)
        rows[name] = {"any": int((named != "none").sum()), "this": int((named == name).sum())}
    return pd.DataFrame(rows).T


def by_fifths(cohort):
    """`rates` of every patient by constants that others gave."""
    parts = []
    for train, test in GroupKFold(5).split(cohort["record"], groups=cohort["patient"]):
        parts.append(rates(cohort.isel(record=test), *constants(cohort.isel(record=train))))
    return sum(parts[1:], parts[0])


if __name__ == "__main__":
    ptbxl, ludb = wb.open_cohort("ptbxl500"), wb.open_cohort("ludb")
    chest, weights = constants(ptbxl)
    print("CHEST", chest.round(2).tolist(), "WEIGHTS", weights.round(2).tolist())
    table = pd.concat(
        {
            f"LUDB, {ludb.sizes['record']} people": rates(ludb, chest.round(2), weights.round(2))
            / ludb.sizes["record"],
            f"PTB-XL-500, {ptbxl.sizes['record']} recordings": by_fifths(ptbxl) / ptbxl.sizes["record"],
        },
        axis=1,
    )
    print((100 * table).round(1).to_string())
