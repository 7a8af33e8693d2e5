"""The lists people install from agree: pyproject.toml, the exact versions in lock/, environment.yml."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from itertools import product
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ASKED = [Requirement(r) for r in [*PROJECT["dependencies"], *(r for e in EXTRAS.values() for r in e)]]
OF_ONE_BUILD = re.compile("nvidia-|cuda-|triton$")  # comes with some builds of torch, which names its exact version
PLACES = [
    {"sys_platform": system, "platform_system": name, "os_name": os, "implementation_name": "cpython",
     "platform_python_implementation": "CPython", "python_version": python, "python_full_version": f"{python}.0"}
    for (system, name, os), python in product(
        [("linux", "Linux", "posix"), ("darwin", "Darwin", "posix"), ("win32", "Windows", "nt")],
        ["3.11", "3.12", "3.13"],
    )
]  # fmt: skip


def locked(*files):
    """Name and exact version of every package in files of lock/."""
    lines = [line for f in files for line in (ROOT / "lock" / f).read_text().splitlines()]
    found = [re.match(r"([a-z0-9-]+)==([^\s;]+)", line) for line in lines]
    return {m.group(1): m.group(2) for m in found if m}


LOCK = locked("packages.txt", "torch.txt")


def name(requirement):
    return canonicalize_name(requirement.name)


def needed(of, extras):
    """What an installed package requires with these extras, on any platform and Python that the lock is for."""
    found = [Requirement(r) for r in requires(of) or []]
    places = [place | {"extra": extra} for place in PLACES for extra in (*extras, "")]
    return [r for r in found if r.marker is None or any(r.marker.evaluate(place) for place in places)]


def test_every_requirement_is_locked_in_a_version_that_it_allows():
    unfit = [str(r) for r in ASKED if name(r) not in LOCK or LOCK[name(r)] not in r.specifier]
    assert not unfit, "run  make relock UPGRADE="


def test_the_lock_holds_what_is_needed_and_nothing_else():
    def installed(package):
        try:
            return version(package).partition("+")[0]
        except PackageNotFoundError:  # of another platform
            return LOCK[package]

    other = {k: f"{v}, here {installed(k)}" for k, v in LOCK.items() if installed(k) != v}
    if other:
        pytest.skip(f"this environment was not installed from the lock, as make test does: {other}")
    reached, to_visit = {}, [(name(r), r.extras) for r in ASKED]
    while to_visit:
        package, extras = to_visit.pop()
        if OF_ONE_BUILD.match(package) or extras | {""} <= reached.get(package, set()):
            continue
        reached[package] = reached.get(package, set()) | extras | {""}
        try:
            to_visit += [(name(r), r.extras) for r in needed(package, extras)]
        except PackageNotFoundError:  # of another platform; what it needs in its turn is not known here
            continue
    nobody_needs, not_locked = set(LOCK) - set(reached), set(reached) - set(LOCK)
    assert not nobody_needs | not_locked, "run  make relock UPGRADE="


def test_the_lowest_versions_are_those_of_pyproject():
    lowest = locked("lowest.txt")
    tools = {name(Requirement(r)) for extra in ("dev", "docs", "browser") for r in EXTRAS[extra]}
    floors = {name(r): floor(r) for r in ASKED if name(r) not in tools | {"torch"}}
    for package, wanted in floors.items():
        assert lowest[package] in Requirement(f"{package}=={wanted}.*").specifier, "run  make relock"


def test_files_of_the_lock_name_no_host():
    for file in (ROOT / "lock").iterdir():
        assert not re.search(r"https?:|file:|^-|\s@\s", file.read_text(), re.MULTILINE), file.name


def test_all_but_torch_is_locked_by_hashes():
    blocks = re.split(r"^(?=[a-z])", (ROOT / "lock/packages.txt").read_text(), flags=re.MULTILINE)[1:]
    assert len(blocks) == len(LOCK) - 1
    assert all("--hash=sha256:" in block for block in blocks)


def floor(requirement):
    (only,) = requirement.specifier
    assert only.operator == ">=", f"{requirement}: a lower bound alone; a cap would need a reason"
    return only.version


def test_environment_yml_asks_for_what_pyproject_asks_for():
    conda_names = {"torch": "pytorch"}
    wanted = [Requirement(r) for r in PROJECT["dependencies"] + EXTRAS["lab"]]
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(x["pip"] for x in listed if isinstance(x, dict))
    listed = [x for x in [*listed, *pip] if isinstance(x, str) and x not in ("pip", "-e .")]
    asked = [Requirement(x) for x in listed if not x.startswith("python>")]
    assert {name(r): floor(r) for r in asked} == {conda_names.get(name(r), name(r)): floor(r) for r in wanted}
    assert f"python{PROJECT['requires-python']}" in listed
