"""How often interchanged, inverted, doubled and wrongly scaled leads are recognised, and seen where there are none.

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
from ecgwb import Record
from ecgwb.cohorts.electrodes import (
    LOG_ODDS,
    SWAPS,
    UPRIGHT,
    UPSIDE_DOWN,
    evidence,
    fit_chest,
    fit_upright,
    fit_weights,
    near_twins,
    polarity,
    wrong_gains,
)


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


def polarities(cohort):
    pairs = zip(cohort["beat"].values, cohort["fiducial"].values, strict=True)
    return np.stack([polarity(beat, fiducial) for beat, fiducial in pairs])


def odds_by_fifths(cohort):
    """Log-odds (record,) of each recording to be right side up, by weights that other patients gave."""
    x, odds = polarities(cohort), np.zeros(cohort.sizes["record"])
    for train, test in GroupKFold(5).split(x, groups=cohort["patient"]):
        odds[test] = (x[test] * fit_upright(x[train])).sum(axis=(1, 2))
    return odds


def doubts(cohort):
    """Shares of recordings, as they are, with near twins and with a wrong gain; and of gains of 10 that are found."""
    no_third = Record(np.zeros((2, 10)), 500, ("I", "II"))
    pairs = list(zip(cohort["beat"].values.astype(float), cohort["fiducial"].values, strict=True))
    found = []
    for k, lead in enumerate(wb.LEADS):
        gain = np.ones((len(wb.LEADS), 1))
        gain[k] = 10.0
        found.append(np.mean([wrong_gains(gain * b, f, no_third).get(lead) == 10.0 for b, f in pairs]))
    twins = np.mean([bool(near_twins(b, f)) for b, f in pairs])
    return {"twins": twins, "wrong gain": np.mean([bool(wrong_gains(b, f, no_third)) for b, f in pairs]),
            "gain of 10 found": np.mean(found)}  # fmt: skip


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
    print("UPRIGHT", fit_upright(polarities(ptbxl)).round(1).tolist())
    odds = {"LUDB": (polarities(ludb) * UPRIGHT).sum(axis=(1, 2)), "PTB-XL-500": odds_by_fifths(ptbxl)}
    rows = {
        name: {"called upside down": np.mean(z < -UPSIDE_DOWN), "inverted, found": np.mean(-z < -UPSIDE_DOWN)}
        | doubts(cohort)
        for (name, z), cohort in zip(odds.items(), (ludb, ptbxl), strict=True)
    }
    print((100 * pd.DataFrame(rows)).round(1).to_string())
