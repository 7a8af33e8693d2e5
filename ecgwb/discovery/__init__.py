"""Discovery: maps and measurements in; candidate features, frozen and tested on other people, out.

In this order: `classic` measures what cardiologists do, `features` defines measurements in a small grammar, `proposals`
finds candidates, `manifests` freezes them, `comparisons` tests them on other people. `crossfit` trains the networks
whose maps lead to candidates; `regression` has the statistics that all of them use.
"""

from .classic import measure, qt_slope
from .comparisons import compare_features
from .crossfit import Crossed, Recipe, cross_fit, permuted
from .features import Feature, Point, feature_table
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
from .regression import nested_models

__all__ = [
    "Crossed",
    "Feature",
    "Manifest",
    "Point",
    "Proposals",
    "Recipe",
    "against_null",
    "candidates_at",
    "compare_features",
    "cross_fit",
    "erase_places",
    "feature_table",
    "find_places",
    "freeze",
    "load_manifest",
    "measure",
    "nested_models",
    "permuted",
    "propose_features",
    "qt_slope",
    "rank_features",
    "screen_features",
    "unlike",
]
