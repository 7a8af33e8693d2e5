"""Lessons: a learner's answer beside the right one."""

from __future__ import annotations

from typing import Any

import numpy as np


def check(answer: Any, truth: Any, *, within: float = 0.0, unit: str = "", hint: str = "") -> str:
    """Judge a learner's answer.

    Parameters
    ----------
    answer : number, text, or a collection of texts
        None or ``...`` where there is no answer yet.
    truth : number, text, or a collection of texts
        The right answer. A collection is compared without regard to order, texts without regard to case.
    within : float
        How far off a number may be.
    unit : str
        Of the number.
    hint : str
        Message shown after a wrong answer.

    Returns
    -------
    str
        Starts with "right", "not yet", or "no answer yet".
    """
    if answer is None or answer is ...:
        return "no answer yet: put yours in place of the dots"
    if isinstance(truth, str) or np.ndim(truth) > 0:
        given, wanted = _texts(answer), _texts(truth)
        if given == wanted:
            return f"right: {truth if isinstance(truth, str) else ', '.join(map(str, truth))}"
        among = f"; {len(given & wanted)} of {len(wanted)} are among them" if len(wanted) > 1 else ""
        return f"not yet{among}. {hint}".strip()
    try:
        error = float(answer) - float(truth)
    except (TypeError, ValueError):
        return f"not yet: expected a number{f' in {unit}' if unit else ''}. {hint}".strip()
    if abs(error) <= within:
        return f"right: {float(truth):.4g} {unit}".strip()
    return f"not yet: {'too high' if error > 0 else 'too low'}. {hint}".strip()


def _texts(value: Any) -> set[str]:
    return {text.strip().lower() for text in ([value] if isinstance(value, str) else map(str, value))}
