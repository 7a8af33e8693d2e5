"""The rules of the house: what imports what, and that the lists people install from agree."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
FLOW = [
    "records", "reading", "filters", "neurokit", "delineator", "fiducials", "landmarks", "measurements", "beats",
    "arguments", "metadata", "synthetic", "sources", "stores", "electrodes", "chunks", "building", "cohorts",
    "manual", "networks", "models", "prediction", "layers", "attention", "alignment", "maps", "contrasts", "mapping",
    "resampling", "accuracy", "erasing", "edits", "attribution", "remeasurement", "effects", "checks", "sanity",
    "trust", "features", "grammar", "regression", "designs", "manifests", "comparisons", "cards", "augmentation",
    "fitting", "screening", "proposals", "plants", "discovery", "discovery_bench", "sex_table", "landmark_scores",
    "delineator_examples", "delineator_training", "training", "beat_figures", "figures", "ecg_paper", "record_search",
    "exploration", "explorer", "lessons", "effect_figures", "beat_exhibits", "map_exhibits", "network_exhibits",
    "discovery_exhibits", "exhibits", "pages", "paper",
]  # fmt: skip
FILES = sorted(p for p in (ROOT / "ecgwb").glob("*.py"))


def imports(path):
    """Names of the package's own modules, and of outside packages, that a file imports anywhere."""
    own, outside = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            own |= {node.module.split(".")[0]} if node.module else {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            outside.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            outside |= {a.name.split(".")[0] for a in node.names}
    return own, outside


@pytest.mark.parametrize("path", [p for p in FILES if not p.stem.startswith("__")], ids=lambda p: p.stem)
def test_imports_point_back_along_the_flow(path):
    assert path.stem in FLOW, f"{path.name} has no place in the flow"
    later = [m for m in imports(path)[0] if FLOW.index(m) >= FLOW.index(path.stem)]
    assert not later


@pytest.mark.parametrize("name", ["alignment", "maps", "contrasts", "features", "regression"])
def test_statistics_never_import_torch(name):
    assert "torch" not in imports(ROOT / "ecgwb" / f"{name}.py")[1]


def test_networks_import_nothing_local_and_models_only_networks():
    assert not imports(ROOT / "ecgwb" / "networks.py")[0]
    assert imports(ROOT / "ecgwb" / "models.py")[0] == {"networks"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_file_is_one_step(path):
    assert len(path.read_text().splitlines()) <= 350


def requirement(text):
    name, floor = re.match(r"([A-Za-z0-9_.-]+)(?:\[.*\])?\s*>=\s*([0-9.]+)", text).groups()
    return name.lower(), floor


def test_environment_yml_asks_for_what_pyproject_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    conda_names = {"torch": "pytorch"}
    wanted = dict(requirement(r) for r in project["dependencies"] + project["optional-dependencies"]["lab"])
    wanted = {conda_names.get(k, k): v for k, v in wanted.items()}
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(x["pip"] for x in listed if isinstance(x, dict))
    conda = dict(requirement(x) for x in listed if isinstance(x, str) and not x.startswith(("python", "pip")))
    conda |= dict(requirement(x) for x in pip if not x.startswith("-e"))
    assert conda == wanted
    assert f"python{project['requires-python']}" in listed


def test_notebooks_are_committed_without_outputs():
    import json

    for file in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(file.read_text())["cells"]:
            assert not cell.get("outputs"), file.name
            assert cell.get("execution_count") is None, file.name
