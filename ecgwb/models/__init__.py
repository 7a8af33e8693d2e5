"""Models: a cohort in; predictions, and how good they are, out. Networks of the package or of anyone."""

from .accuracy import accuracy_table
from .checkpoints import load_model, save_model, shipped
from .networks import CompactNet, KanResWideX
from .prediction import predict, unseen
from .spec import ModelError, ModelSpec, spec_of, wrap_model
from .training import fit

__all__ = [
    "CompactNet",
    "KanResWideX",
    "ModelError",
    "ModelSpec",
    "accuracy_table",
    "fit",
    "load_model",
    "predict",
    "save_model",
    "shipped",
    "spec_of",
    "unseen",
    "wrap_model",
]
