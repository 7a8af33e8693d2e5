"""What README and docstrings print runs as printed."""

import doctest
import importlib
import inspect
import operator
import pkgutil
import re
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import ecgwb
import ecgwb as wb
from ecgwb.__main__ import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


class Mine(nn.Module):
    """What a reader might bring: three leads of 300 samples, one target."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)  # of four channels all may be dead by chance
        layers = [(nn.Conv1d(3 if k == 0 else 4, 4, 5, padding=2), nn.ReLU()) for k in range(4)]
        self.features = nn.Sequential(*(x for pair in layers for x in pair))
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.features(x).mean(dim=2))


@pytest.fixture(scope="module")
def reader(tmp_path_factory, ludb_folder):
    """The folder in which a reader types: ``my_folder`` and ``people.csv``."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "my_folder").mkdir()
    for i in (1, 2, 3):
        for kind in ("hea", "dat"):
            shutil.copy(ludb_folder / "data" / f"{i}.{kind}", folder / "my_folder" / f"{i}.{kind}")
    people = {"record": [1, 2, 3], "age": [40, 50, 60], "sex": ["F", "M", "F"], "patient": ["a", "b", "c"]}
    pd.DataFrame(people).to_csv(folder / "people.csv", index=False)
    return folder


@pytest.mark.filterwarnings("ignore:the table says another")  # made-up people
def test_the_blocks_of_the_readme_run_one_after_the_other(reader, monkeypatch):
    monkeypatch.chdir(reader)
    blocks = [b for b in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if ">>>" not in b]
    assert len(blocks) >= 2
    names = {"wb": wb, "my_module": Mine(), "signal": wb.read_record("my_folder/1").signal[[0, 1, 6], ::2]}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["cohort"].sizes["record"] == 3
    assert names["cohort"]["age"].values.tolist() == [40, 50, 60]
    assert names["model"].spec.targets == ("qt",)


@pytest.mark.filterwarnings("ignore:the table says another")  # made-up people
def test_the_commands_of_the_readme_are_there(reader, monkeypatch):
    monkeypatch.chdir(reader)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE))
    assert {"paper", "test", "lab", "bench"} <= named <= targets
    command = re.search(r"`python -m ecgwb (build [^`]*)`", README).group(1)
    assert main(command.replace("mine.zarr", "by_command.zarr").split()) == 0
    assert wb.open_cohort("by_command.zarr").sizes["record"] == 3
    for script in re.findall(r"`python (tests/[a-z_]+\.py)`", README):
        assert (ROOT / script).is_file()


def test_hours_on_a_cluster_follow_from_measured_rates():
    page = (ROOT / "notebooks" / "cluster.md").read_text()
    tables = [[[c.strip() for c in line.strip("|").split("|")] for line in block.splitlines()]
              for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)]  # fmt: skip
    rates = {step: float(ms) for step, ms, _ in tables[0][2:]}
    head, _, *rows = tables[1]
    assert [row[0] for row in rows] == list(rates)
    for step, *hours in rows:
        for cores, told in zip(head[1:], hours, strict=True):
            n = 1 if step.startswith("putting") else int(cores.split()[0])
            assert float(told) == pytest.approx(rates[step] * 1e6 / 1000 / n / 3600, abs=0.005), step
    lines = (ROOT / "tests" / "bench" / "bench_beats.md").read_text().splitlines()
    cells = [[c.strip(" `") for c in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    measured = {row[0]: float(row[cells[0].index("200,000: CPU s")]) for row in cells[2:]}
    assert {"predict", "map_chunks", "difference_chunks"} <= set(measured)
    for step, rate in rates.items():
        name = step.split("`")[1] if "`" in step else ""
        if name in measured:
            assert rate == pytest.approx(measured[name] * 1000 / 200_000, abs=0.01), step
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        for name in re.findall(r"\bwb\.([a-z_.]+)", block):
            assert operator.attrgetter(name)(wb)
        compile(block, "cluster.md", "exec")


def test_the_example_of_the_package_runs():
    example = textwrap.dedent(re.search(r"\n\n((?:    .*\n|\n)+)", ecgwb.__doc__).group(1))
    names = {}
    exec(example, names)
    assert np.isfinite(names["wb"].cohort_map(names["maps"])["mean"]).any()


@pytest.mark.parametrize(
    "name", [m.name for m in pkgutil.walk_packages(ecgwb.__path__, "ecgwb.") if m.name != "ecgwb.__main__"]
)
def test_examples_in_docstrings_print_what_they_say(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


ROOMS = [m.name for m in pkgutil.iter_modules(ecgwb.__path__, "ecgwb.") if m.ispkg]
FUNCTIONS = sorted(
    f"{room}.{name}"
    for room in ROOMS
    for name in importlib.import_module(room).__all__
    if inspect.isfunction(getattr(importlib.import_module(room), name))
)


def sections_of(documented):
    """The parameters that a docstring names, and whether it has something that is given back."""
    parts = re.split(r"^(\w+)\n-+\n", inspect.getdoc(documented), flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    # "a, b : kind", with what they are in the indented lines below it.
    heads = re.findall(r"^[\w*].*", sections.get("Parameters", ""), re.MULTILINE)
    return {n.lstrip("*") for head in heads for n in head.split(" : ")[0].split(", ")}, "Returns" in sections


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_documents_what_it_takes_and_gives(name):
    room, _, name = name.rpartition(".")
    room = importlib.import_module(room)
    function = getattr(room, name)
    common, common_gives = sections_of(room)  # what all functions of a room share stands in the room's docstring
    named, gives = sections_of(function)
    takes = set(inspect.signature(function).parameters)
    assert named <= takes
    assert takes <= named | common
    is_context = inspect.isgeneratorfunction(inspect.unwrap(function))
    if is_context or inspect.signature(function).return_annotation in (None, "None"):
        assert not gives
    else:
        assert gives or common_gives


def test_the_flat_functions_are_functions_of_rooms():
    of_rooms = {name.rpartition(".")[2] for name in FUNCTIONS}
    assert {n for n in wb.__all__ if n.islower()} <= of_rooms
