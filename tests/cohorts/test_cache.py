"""Keys of what is kept in the user's cache follow from the content of the code that makes it."""

import shutil
import subprocess
import sys

import pytest

from ecgwb.cohorts import cache
from ecgwb.cohorts.cache import COHORT, content_key
from ecgwb.discovery.crossfit import Recipe

KEYS = """
import sys
sys.path.insert(0, sys.argv[1])
from ecgwb.cohorts.building import Inputs
from ecgwb.cohorts.items import Source
from ecgwb.discovery.crossfit import Recipe
print(Inputs(Source("nothing", iter([]), "")).digest, Recipe().key)
"""


def keys(folder):
    """Of a cohort of nothing, and of networks of the default recipe, by the package in a folder."""
    done = subprocess.run([sys.executable, "-c", KEYS, str(folder)], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, without the embedded recordings and the weights of networks."""
    ignored = shutil.ignore_patterns("__pycache__", "*.xz", "*-measures*", "*-sex*", "*-rhythm*")
    shutil.copytree(cache.PACKAGE, tmp_path / "ecgwb", ignore=ignored)
    return tmp_path


def change_a_line(file):
    file.write_text(file.read_text() + "\n_CHANGED = True\n")


def test_a_change_to_the_delineator_changes_the_keys_of_cohorts_and_of_networks_trained_on_them(copy):
    cohort, networks = keys(copy)
    change_a_line(copy / "ecgwb" / "delineation" / "network.py")
    assert keys(copy)[0] != cohort
    assert keys(copy)[1] != networks


def test_a_change_to_the_networks_changes_the_key_of_trained_ones_alone(copy):
    cohort, networks = keys(copy)
    change_a_line(copy / "ecgwb" / "models" / "networks.py")
    assert keys(copy)[0] == cohort
    assert keys(copy)[1] != networks


@pytest.mark.parametrize("place", ["recordings/filters.py", "delineation/weights/delineator.safetensors"])
def test_every_file_of_a_room_counts_weights_too(copy, place):
    package = copy / "ecgwb"
    before = content_key(*COHORT, package=package)
    content_key.cache_clear()
    with open(package / place, "ab") as f:
        f.write(b"#")
    assert content_key(*COHORT, package=package) != before
    content_key.cache_clear()


def test_a_place_that_is_not_there_is_an_error_and_no_key():
    with pytest.raises(FileNotFoundError, match="no code at"):
        content_key("delineations")


def test_another_recipe_is_another_key():
    assert Recipe(epochs=3).key != Recipe().key
