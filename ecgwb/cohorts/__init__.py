"""Cohorts: recordings in; one labelled data set of representative beats, with all who were left out, out."""

from .beats import representative_beat
from .cohort import build_cohort, excluded, open_cohort
from .corrections import move_landmark, put_landmarks, undo_landmark
from .guards import check, check_values
from .joining import concat
from .measurements import TARGETS, TIME, UNITS
from .people import in_words, one_record_each, patients_of, split_patients, statement_names, with_statements
from .precision import agreement, reliability, standard_errors

__all__ = [
    "TARGETS",
    "TIME",
    "UNITS",
    "agreement",
    "build_cohort",
    "check",
    "check_values",
    "concat",
    "excluded",
    "in_words",
    "move_landmark",
    "one_record_each",
    "open_cohort",
    "patients_of",
    "put_landmarks",
    "reliability",
    "representative_beat",
    "split_patients",
    "standard_errors",
    "statement_names",
    "undo_landmark",
    "with_statements",
]
