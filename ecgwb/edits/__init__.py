"""Edits: a cohort in; beats changed on purpose, measured again, and what that does to predictions, out."""

from .changes import blank, erase, lift, plant, scale, spread_rr, stretch
from .counterfactuals import counterfactual
from .edit_maps import edit_map, edit_profile, interplay, joint_effects, piece_effects
from .effects import blanking_table, dose_response
from .maps import faithfulness, point_spread
from .remeasurement import remeasure

__all__ = [
    "blank",
    "blanking_table",
    "counterfactual",
    "dose_response",
    "edit_map",
    "edit_profile",
    "erase",
    "faithfulness",
    "interplay",
    "joint_effects",
    "lift",
    "piece_effects",
    "plant",
    "point_spread",
    "remeasure",
    "scale",
    "spread_rr",
    "stretch",
]
