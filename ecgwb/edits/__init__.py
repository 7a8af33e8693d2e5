"""Edits: a cohort in; beats changed on purpose, measured again, and what that does to predictions, out."""

from .changes import blank, erase, lift, plant, scale, stretch
from .effects import blanking_table, dose_response
from .maps import faithfulness, point_spread
from .remeasurement import remeasure

__all__ = [
    "blank",
    "blanking_table",
    "dose_response",
    "erase",
    "faithfulness",
    "lift",
    "plant",
    "point_spread",
    "remeasure",
    "scale",
    "stretch",
]
