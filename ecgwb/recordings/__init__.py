"""Recordings: files in, a `Record` in µV with known leads out; filters that all later steps share."""

from .filters import prepare
from .reading import read_record
from .record import FS, LEADS, LEADS12, Record, RecordError, lead_quality, limb_error, pick_leads

__all__ = [
    "FS",
    "LEADS",
    "LEADS12",
    "Record",
    "RecordError",
    "lead_quality",
    "limb_error",
    "pick_leads",
    "prepare",
    "read_record",
]
