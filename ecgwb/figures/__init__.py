"""Figures: labelled arrays and tables in, Axes out; one style for all of them.

What all functions that draw have in common:

Parameters
----------
ax : Axes, optional
    Where to draw; on the current ones by default.

Returns
-------
Axes
    Those drawn on.
"""

from .beats import BY_HAND, mark_doubt, mark_waves, plot_beat, plot_feature
from .ecg_paper import plot_beats, plot_ecg, plot_paper_beat
from .effects import plot_dose_response, plot_map_against_effect
from .maps import cohort_map, describe_map, per_10_ms, plot_cohort_map, plot_curve, plot_lead_map
from .style import (
    LEAD_SHOWN,
    NAMES,
    ONE_COLUMN,
    SAYS,
    STYLE,
    TWO_COLUMNS,
    letter_panels,
    styled,
    typeset,
    use_style,
)
from .tables import (
    plot_agreement,
    plot_bland_altman,
    plot_blanking,
    plot_forest,
    plot_groups,
    plot_intervals,
    plot_landmark_errors,
    plot_matrix,
    plot_roc,
    plot_sex_table,
    plot_shares,
)
from .trust import plot_check, plot_panel

__all__ = [
    "BY_HAND",
    "LEAD_SHOWN",
    "NAMES",
    "ONE_COLUMN",
    "SAYS",
    "STYLE",
    "TWO_COLUMNS",
    "cohort_map",
    "describe_map",
    "letter_panels",
    "mark_doubt",
    "mark_waves",
    "per_10_ms",
    "plot_agreement",
    "plot_beat",
    "plot_beats",
    "plot_bland_altman",
    "plot_blanking",
    "plot_check",
    "plot_cohort_map",
    "plot_curve",
    "plot_dose_response",
    "plot_ecg",
    "plot_feature",
    "plot_forest",
    "plot_groups",
    "plot_intervals",
    "plot_landmark_errors",
    "plot_lead_map",
    "plot_map_against_effect",
    "plot_matrix",
    "plot_panel",
    "plot_paper_beat",
    "plot_roc",
    "plot_sex_table",
    "plot_shares",
    "styled",
    "typeset",
    "use_style",
]
