"""The page "your folder, your network, your map, your test" runs as it stands, on real recordings in a folder."""

import re
import shutil
import sys
import types
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import ecgwb as wb

PAGE = Path(__file__).parents[2] / "notebooks" / "your_own_in_30_lines.md"
N = 70  # recordings


def test_the_page_goes_from_a_folder_and_a_checkpoint_to_a_map_and_a_test(ludb, ludb_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("recordings").mkdir()
    for i in range(1, N + 1):
        for kind in ("hea", "dat"):
            shutil.copy(ludb_folder / "data" / f"{i}.{kind}", Path("recordings") / f"{i}.{kind}")
    some = ludb.isel(record=slice(N))
    table = {"record": range(1, N + 1), "patient": [f"mine-{i}" for i in range(N)], "age": some["age"].values}
    pd.DataFrame(table | {"sex": some["sex"].values}).to_csv("people.csv", index=False)
    network = wb.load_model("compact-sex")
    torch.save(network.state_dict(), "checkpoint.pt")
    mine = types.ModuleType("my_package")
    mine.MyNet = lambda: wb.models.CompactNet(n_leads=8, n_outputs=1)
    monkeypatch.setitem(sys.modules, "my_package", mine)

    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len([line for line in block.splitlines() if line.strip()]) <= 30
    names = {}
    exec(compile(block, PAGE.name, "exec"), names)

    skill = names["model"].spec.skill["male"]
    expected = wb.accuracy_table(wb.predict(network, names["test"]), names["test"]).loc["male", "auc"]
    np.testing.assert_allclose(skill["value"], expected, atol=1e-4)
    assert plt.gcf().axes
    assert wb.discovery.load_manifest("slope.json").sha256 == names["manifest"].sha256
    assert Path("slope.json.ledger.json").is_file()
    plt.close("all")
