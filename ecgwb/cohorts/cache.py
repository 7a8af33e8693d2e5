"""The user's cache: where it is, and keys that follow from the content of the code that makes what is kept there."""

from __future__ import annotations

import hashlib
import tempfile
from functools import cache
from pathlib import Path

import platformdirs

from ..recordings.record import RecordError

PACKAGE = Path(__file__).parents[1]
COHORT = ("recordings", "delineation", "cohorts")  # the rooms that make a cohort of recordings
_COUNTS = (".py", ".safetensors", ".npz")  # code and weights; not cards, nor embedded recordings


def cache_dir() -> Path:
    """The user's cache: ``~/.cache/ecgwb`` on Linux (platformdirs)."""
    return Path(platformdirs.user_cache_dir("ecgwb"))


def make_cache_dir() -> None:
    """Make the user's cache.

    Raises
    ------
    RecordError
        When nothing can be written there.
    """
    place = cache_dir()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as e:
        raise RecordError(
            f"nothing can be written in the cache {place} ({e.strerror}); name another folder in the environment, such "
            "as XDG_CACHE_HOME=/scratch/me on Linux, or make this one writable"
        ) from e


@cache
def content_key(*places: str, package: Path = PACKAGE) -> str:
    """A key that changes with the code or the weights of some places in the package.

    Parameters
    ----------
    *places : str
        Rooms, such as ``"delineation"``, with all that lies in them, or single files.
    package : Path
        The folder of the package.

    Returns
    -------
    str
        Twelve hexadecimal digits.

    Raises
    ------
    FileNotFoundError
        When a place is not there.
    """
    digest = hashlib.sha256()
    for place in places:
        files = [package / place] if (package / place).is_file() else sorted((package / place).rglob("*"))
        files = [f for f in files if f.suffix in _COUNTS]
        if not files:
            raise FileNotFoundError(f"no code at {package / place}")
        for file in files:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]
