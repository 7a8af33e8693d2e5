"""`make bench-fields`: how much of the ECG a position must see. Four networks alike but for their receptive field.

Each is trained for the same number of steps on PTB-XL-500 alone and judged on LUDB. A killed run goes on where it was;
the table is committed as notebooks/receptive_fields.csv.
"""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import torch

import ecgwb as wb

# All but the shortest have six blocks; a position sees 30 + 32 * sum ms.
DILATIONS = {94: (1, 1), 222: (1, 1, 1, 1, 1, 1), 414: (1, 1, 2, 2, 3, 3), 766: (1, 2, 4, 4, 6, 6)}
EPOCHS = 250
ROOT = Path(__file__).parents[2]


def milliseconds_a_beat(model: torch.nn.Module) -> float:
    x = torch.randn(128, 8, 600)
    with torch.inference_mode():
        model(x)
        took = []
        for _ in range(5):
            began = time.perf_counter()
            model(x)
            took.append(time.perf_counter() - began)
    return 1000 * min(took) / len(x)


def main() -> None:
    cohort, ludb = wb.open_cohort("ptbxl500", rhythm=True), wb.open_cohort("ludb")
    runs = ROOT / "runs" / "fields"
    rows = []
    for field, dilations in DILATIONS.items():
        file = runs / f"{field}.safetensors"
        if not file.is_file():
            net = {"name": "compact", "dilations": dilations}
            model = wb.fit(cohort, list(wb.TARGETS), net, epochs=EPOCHS, checkpoint=runs / f"{field}.checkpoint")
            wb.save_model(model, file)
        model = wb.load_model(file)
        table = wb.accuracy_table(wb.predict(model, ludb), ludb)
        row = {"field_ms": field, "parameters": sum(p.numel() for p in model.parameters())}
        row["forward_ms_a_beat"] = milliseconds_a_beat(model)
        for t in wb.TARGETS:
            row |= {t: table.loc[t, "score"], f"{t}_low": table.loc[t, "low"], f"{t}_high": table.loc[t, "high"]}
        rows.append(row | {"slope_qt": table.loc["qt", "slope"], "slope_qrs": table.loc["qrs", "slope"]})
    out = pd.DataFrame(rows).set_index("field_ms").round(3)
    out.to_csv(ROOT / "notebooks" / "receptive_fields.csv", lineterminator="\n")
    print(out[[*wb.TARGETS, "slope_qt", "forward_ms_a_beat"]].to_string())


if __name__ == "__main__":
    main()
