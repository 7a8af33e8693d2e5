"""Attention: a network and a cohort in; maps of each record, aligned, averaged and compared, out."""

from .alignment import align, template_of
from .attribution import attribute
from .contrasts import map_contrast, map_difference
from .gradcam import departure, ecgradcam
from .maps import cohort_map, finish_map, map_chunks, map_sums, merge_maps, segment_table, segments

__all__ = [
    "align",
    "attribute",
    "cohort_map",
    "departure",
    "ecgradcam",
    "finish_map",
    "map_chunks",
    "map_contrast",
    "map_difference",
    "map_sums",
    "merge_maps",
    "segment_table",
    "segments",
    "template_of",
]
