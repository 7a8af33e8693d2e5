"""What is slow to import is imported when it is first used: a test of what is loaded, not of time."""

import subprocess
import sys

import pytest

SLOW = ("captum", "matplotlib", "neurokit2", "scipy.stats", "sklearn", "statsmodels", "torch", "wfdb")


def loaded_by(code):
    """Which slow packages a process of its own has loaded at the end."""
    ask = f"{code}\nimport sys\nprint('loaded', *(name for name in {SLOW!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", ask], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


def test_the_package_alone_loads_nothing_slow():
    assert loaded_by("import ecgwb") == []


@pytest.mark.parametrize("name", ["ludb", "ptbxl"])
def test_a_cohort_in_the_cache_opens_without_anything_slow(name, ludb, people):
    assert loaded_by(f"import ecgwb as wb; wb.open_cohort({name!r})") == []


def test_recordings_are_read_without_a_network(ludb_folder):
    assert "torch" not in loaded_by(f"import ecgwb as wb; wb.read_record({str(ludb_folder / 'data' / '1')!r})")


def test_a_network_is_loaded_with_the_first_delineation():
    code = "import ecgwb as wb, numpy as np; wb.delineate(wb.Record(np.zeros((2, 2500)), 500, ['I', 'II']))"
    assert "torch" in loaded_by(code)
