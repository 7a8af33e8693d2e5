"""Trust: a network and a cohort in; checks of its predictions and maps, with figures and intervals, out."""

from .checks import Check, Panel
from .panel import trust_panel

__all__ = ["Check", "Panel", "trust_panel"]
