"""Discovery: maps and measurements in; candidate features, frozen and tested on other people, out.

`discover` goes all the way, in steps that are here, too: `split`, `scan`, `PooledReader` or `NetworkReader`,
`locate`, `scan_at`, `freeze` (of `manifests`), `left_over`, `compare_features` and `effects_by_group`. `classic`
measures what cardiologists do, `features` defines measurements in a small grammar, `beyond` frees them of what is
known, and `regression` has the statistics that all of them use. `proposals` finds candidates in maps, beside a null of
networks of `crossfit` trained on permuted labels.
"""

from .beyond import Beyond, known_columns
from .classic import measure, qt_slope
from .comparisons import compare_features
from .crossfit import Crossed, Recipe, cross_fit, permuted
from .discover import Discovery, discover, effects_by_group, split, take_part
from .features import Feature, Point, feature_table
from .left import Known, People, Places, leans_on, left_over, locate
from .manifests import Manifest, freeze, load_manifest
from .proposals import (
    Proposals,
    against_null,
    candidates_at,
    erase_places,
    find_places,
    propose_features,
    rank_features,
    screen_features,
    unlike,
)
from .readers import NetworkReader, Place, PooledNet, PooledReader
from .regression import detectable, nested_models
from .scan import halves, scan, scan_at

__all__ = [
    "Beyond",
    "Crossed",
    "Discovery",
    "Feature",
    "Known",
    "Manifest",
    "NetworkReader",
    "People",
    "Place",
    "Places",
    "Point",
    "PooledNet",
    "PooledReader",
    "Proposals",
    "Recipe",
    "against_null",
    "candidates_at",
    "compare_features",
    "cross_fit",
    "detectable",
    "discover",
    "effects_by_group",
    "erase_places",
    "feature_table",
    "find_places",
    "freeze",
    "halves",
    "known_columns",
    "leans_on",
    "left_over",
    "load_manifest",
    "locate",
    "measure",
    "nested_models",
    "permuted",
    "propose_features",
    "qt_slope",
    "rank_features",
    "scan",
    "scan_at",
    "screen_features",
    "split",
    "take_part",
    "unlike",
]
