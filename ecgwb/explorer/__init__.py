"""The explorer: a cohort and a network in, widgets to look at them out; and what lessons need."""
