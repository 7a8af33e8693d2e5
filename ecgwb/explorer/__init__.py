"""The explorer: a cohort and a network in, a widget to look at them out; and what lessons need."""

from .pictures import draw
from .state import Exploration, View
from .widget import Explorer, explore

__all__ = ["Exploration", "Explorer", "View", "draw", "explore"]
