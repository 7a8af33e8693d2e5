"""`make bench-fields`: how much of the ECG a position must see. Four networks alike but for their receptive field.

Each is trained for the same number of steps on PTB-XL's folds 1 to 8 and judged on LUDB. A killed run goes on where it
was; the table is committed as notebooks/receptive_fields.csv.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import ecgwb as wb

# All but the shortest have six blocks; a position sees 30 + 32 * sum ms.
DILATIONS = {126: (1, 1, 1), 222: (1, 1, 1, 1, 1, 1), 414: (1, 1, 2, 2, 3, 3), 766: (1, 2, 4, 4, 6, 6)}
EPOCHS, COPIES = 10, 8_000
ROOT = Path(__file__).parents[2]


def main() -> None:
    ptbxl, ludb = wb.open_cohort("ptbxl"), wb.open_cohort("ludb")
    fold = ptbxl["fold"].values
    learn, choose = (ptbxl.isel(record=rows).load() for rows in (fold <= 8, fold == 9))
    runs = ROOT / "runs" / "fields"
    rows = []
    for field, dilations in DILATIONS.items():
        file = runs / f"{field}.safetensors"
        if not file.is_file():
            net = {"name": "compact", "dilations": dilations}
            model = wb.fit(
                learn, list(wb.TARGETS), net, epochs=EPOCHS, epoch=COPIES, validation=choose, bfloat16=True,
                checkpoint=runs / f"{field}.checkpoint",
            )  # fmt: skip
            wb.save_model(model, file)
        model = wb.load_model(file)
        table = wb.accuracy_table(wb.predict(model, ludb), ludb)
        row = {"field_ms": field, "parameters": sum(p.numel() for p in model.parameters())}
        for t in wb.TARGETS:
            row |= {t: table.loc[t, "score"], f"{t}_low": table.loc[t, "low"], f"{t}_high": table.loc[t, "high"]}
        rows.append(row | {"slope_qt": table.loc["qt", "slope"], "slope_qrs": table.loc["qrs", "slope"]})
    out = pd.DataFrame(rows).set_index("field_ms").round(3)
    out.to_csv(ROOT / "notebooks" / "receptive_fields.csv", lineterminator="\n")
    print(out[[*wb.TARGETS, "slope_qt"]].to_string())


if __name__ == "__main__":
    main()
