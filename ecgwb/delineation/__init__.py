"""Delineation: a recording in; P, QRS and T in every lead, and the landmarks of a beat, out."""

from .annotations import ludb_out_of_fold, read_annotations
from .landmarks import LANDMARKS, SEGMENTS, WAVES, global_marks
from .waves import delineate

__all__ = ["LANDMARKS", "SEGMENTS", "WAVES", "delineate", "global_marks", "ludb_out_of_fold", "read_annotations"]
