"""Discovery: maps and measurements in; candidate features, frozen and tested on other people, out."""

from .classic import measure
from .comparisons import compare_features
from .features import Feature, feature_table
from .manifests import Manifest, freeze, load_manifest
from .proposals import propose_features
from .regression import nested_models
from .screening import screen_features

__all__ = [
    "Feature",
    "Manifest",
    "compare_features",
    "feature_table",
    "freeze",
    "load_manifest",
    "measure",
    "nested_models",
    "propose_features",
    "screen_features",
]
