"""Models: a cohort in; predictions, and how good they are, out. Networks of the package or of anyone."""

from .accuracy import accuracy_table
from .activations import layers
from .checkpoints import load_model, save_model, shipped
from .interface import ecg_network
from .networks import CompactNet, KanResWideX
from .prediction import predict, unseen
from .skill import with_skill
from .spec import ModelError, ModelSpec, spec_of
from .training import fit
from .wrapping import wrap_model

__all__ = [
    "CompactNet",
    "KanResWideX",
    "ModelError",
    "ModelSpec",
    "accuracy_table",
    "ecg_network",
    "fit",
    "layers",
    "load_model",
    "predict",
    "save_model",
    "shipped",
    "spec_of",
    "unseen",
    "with_skill",
    "wrap_model",
]
