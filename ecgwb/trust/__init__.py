"""Trust: a network and a cohort in; checks of its predictions and maps, with tables and verdicts, out."""

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
from .panel import Panel, trust_panel

__all__ = [
    "Check",
    "Panel",
    "Picture",
    "agreement",
    "consistency",
    "effect",
    "leads",
    "localisation",
    "randomisation",
    "removal",
    "resolution",
    "response",
    "specificity",
    "trust_panel",
]
