"""Lessons: telling a learner right from wrong."""

from __future__ import annotations

from typing import Any

import numpy as np


def check(answer: Any, truth: Any, *, within: float = 0.0, unit: str = "", hint: str = "") -> str:
    """What to say of an answer.

    Parameters
    ----------
    answer : number, text, or a collection of texts
        None or ``...``: not answered yet.
    truth : the same
        A collection is compared without regard to order, texts without regard to case.
    within : float
        How far off a number may be.
    unit, hint : str
        Said with a wrong answer.

    Returns
    -------
    str
        Starts with "right", "not yet", or "no answer yet".
    """
    if answer is None or answer is ...:
        return "no answer yet: put yours in place of the dots"
    if isinstance(truth, str) or np.ndim(truth) > 0:
        given, wanted = (_words(v) for v in (answer, truth))
        if given == wanted:
            return f"right: {_told(truth)}"
        more = f"; {len(given & wanted)} of {len(wanted)} are among them" if len(wanted) > 1 else ""
        return f"not yet{more}. {hint}".strip()
    try:
        off = float(answer) - float(truth)
    except (TypeError, ValueError):
        return f"not yet: expected a number{f' in {unit}' if unit else ''}. {hint}".strip()
    if abs(off) <= within:
        return f"right: {float(truth):.4g} {unit}".strip()
    return f"not yet: {'too high' if off > 0 else 'too low'}. {hint}".strip()


def _words(value: Any) -> set[str]:
    return {value.strip().lower()} if isinstance(value, str) else {str(v).strip().lower() for v in value}


def _told(truth: Any) -> str:
    return truth if isinstance(truth, str) else ", ".join(map(str, truth))
