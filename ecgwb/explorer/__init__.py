"""The explorer: a cohort and a network in, widgets to look at them out; and what lessons need."""

from .widgets import explore

__all__ = ["explore"]
