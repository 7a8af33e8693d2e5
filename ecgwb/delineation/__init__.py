"""Delineation: a recording in; P, QRS and T in every lead, and the landmarks of a beat, out."""

from .landmarks import LANDMARKS, SEGMENTS, WAVES, global_marks
from .waves import delineate, read_annotations

__all__ = ["LANDMARKS", "SEGMENTS", "WAVES", "delineate", "global_marks", "read_annotations"]
