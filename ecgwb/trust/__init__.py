"""Trust: a network and a cohort in; checks of its predictions and maps, with tables and verdicts, out.

What all checks have in common:

Parameters
----------
model : Module
    With a `ModelSpec`.
cohort : Dataset
targets : str or sequence of str, optional
    All of the network's by default.
method : str
    The maps that are checked; see `attribute`, and `ecgradcam` for its variants.
"""

from .anatomy import ANATOMY, known_answers
from .checks import (
    Check,
    Picture,
    agreement,
    consistency,
    effect,
    leads,
    localisation,
    randomisation,
    removal,
    resolution,
    response,
    specificity,
)
from .judge import joint_edits
from .panel import Panel, trust_panel

__all__ = [
    "ANATOMY",
    "Check",
    "Panel",
    "Picture",
    "agreement",
    "consistency",
    "effect",
    "joint_edits",
    "known_answers",
    "leads",
    "localisation",
    "randomisation",
    "removal",
    "resolution",
    "response",
    "specificity",
    "trust_panel",
]
