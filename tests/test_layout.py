"""The rules of the house: what imports what, and how notebooks are committed."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = [
    "stats", "workers", "recordings", "delineation", "cohorts", "models", "attention", "edits", "trust", "discovery",
    "figures", "explorer",
]  # fmt: skip
ENTRANCES = ["__init__", "__main__", "paper"]  # these may import every room
FILES = sorted((ROOT / "ecgwb").rglob("*.py"))


def place(path):
    """The room and the file of a path: ("models", "spec"); a file beside the rooms is its own room."""
    parts = path.relative_to(ROOT / "ecgwb").with_suffix("").parts
    return parts[0], parts[-1]


def imports(path):
    """The package's own modules, as "room.file", and the outside packages, that a file imports anywhere."""
    here = path.relative_to(ROOT).with_suffix("").parts
    own, outside = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            modules = [node.module] if node.module else [a.name for a in node.names]
            own |= {".".join([*base[1:], m]) for m in modules}
        elif isinstance(node, ast.ImportFrom):
            outside.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            outside |= {a.name.split(".")[0] for a in node.names}
    return own, outside


@pytest.mark.parametrize("path", FILES, ids=lambda p: ".".join(place(p)))
def test_a_room_imports_only_rooms_above_it(path):
    own, outside = imports(path)
    assert "ecgwb" not in outside, "inside the package imports are relative"
    room = place(path)[0]
    if room in ENTRANCES:
        return
    assert room in ROOMS, f"{path.name} has no room"
    later = [m for m in own if ROOMS.index(m.split(".")[0]) > ROOMS.index(room)]
    assert not later


def test_files_import_each_other_without_a_circle():
    graph = {".".join(dict.fromkeys(place(p))): imports(p)[0] for p in FILES if place(p)[1] != "__init__"}
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize(
    "name", ["stats", "attention/alignment", "attention/maps", "attention/contrasts", "discovery/classic",
             "discovery/regression"]
)  # fmt: skip
def test_statistics_never_import_torch(name):
    assert "torch" not in imports(ROOT / "ecgwb" / f"{name}.py")[1]


def test_networks_import_nothing_of_the_package():
    assert not imports(ROOT / "ecgwb" / "models" / "networks.py")[0]


def test_notebooks_are_committed_without_outputs():
    import json

    for file in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(file.read_text())["cells"]:
            assert not cell.get("outputs"), file.name
            assert cell.get("execution_count") is None, file.name
