"""Attention: a network and a cohort in; maps of each record, aligned, averaged and compared, out.

In this order: `gradcam` and `attribution` make maps of records, `alignment` warps them onto a common beat, `maps`
averages them, `contrasts` compares groups of people.

Parameters
----------
by : str, optional
    A coordinate of record, such as ``"sex"``: one map per value, along a dimension of that name.
ci : float
    Level of bands and intervals, 0 to 1.
seed : int
    Of resamplings and permutations.
"""

from .alignment import align, reference_beats, reference_rhythms, template_of
from .attribution import attribute
from .contrasts import difference_chunks, map_contrast, map_difference
from .gradcam import departure, ecgradcam
from .maps import cohort_map, finish_map, map_chunks, map_sums, merge_maps, segment_table, segments

__all__ = [
    "align",
    "attribute",
    "cohort_map",
    "departure",
    "difference_chunks",
    "ecgradcam",
    "finish_map",
    "map_chunks",
    "map_contrast",
    "map_difference",
    "map_sums",
    "merge_maps",
    "reference_beats",
    "reference_rhythms",
    "segment_table",
    "segments",
    "template_of",
]
