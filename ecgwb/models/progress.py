"""Progress: a line in the terminal or notebook where work takes more than two seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm.auto import tqdm

_AFTER_S = 2.0
_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)


def progress(what: str, items: Any = None, *, total: int | None = None, unit: str = "record") -> Any:
    """Items with a line that says how many are done, gone once all are; or that line alone, for ``update``.

    It is there after two seconds, in a terminal or a notebook. Where standard error goes to a file, the variable
    ``TQDM_DISABLE`` is set, or within `quiet`, there is none.

    Parameters
    ----------
    what : str
    items : iterable, optional
    total : int, optional
        How many there are, where `items` do not say.
    unit : str
    """
    off = True if _QUIET.get() or os.environ.get("TQDM_DISABLE") else None  # None: where there is no terminal
    return tqdm(items, what, total, unit=unit, delay=_AFTER_S, disable=off, leave=False)


@contextmanager
def quiet(silent: bool = True) -> Iterator[None]:
    """Within, there are no lines of progress."""
    before = _QUIET.set(silent or _QUIET.get())
    try:
        yield
    finally:
        _QUIET.reset(before)
