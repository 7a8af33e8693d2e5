"""ecgwb: what an ECG network measures, and whether what it looks at is a true feature of the ECG.

    import ecgwb as wb

    cohort = wb.open_cohort("ludb")
    model = wb.load_model("compact-measures")
    maps = wb.align(wb.ecgradcam(model, cohort), cohort)
    wb.cohort_map(maps)

Time is in ms, voltage in µV, rate in Hz, everywhere. What is needed daily has a name here; the rest is in its room:
``wb.edits.stretch``, ``wb.attention.map_sums``, ``wb.figures.plot_beat``.
"""

import importlib as _importlib
import warnings as _warnings
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:  # what editors and type checkers read; while running, `_HOMES` is read
    from .attention.alignment import align
    from .attention.attribution import attribute
    from .attention.gradcam import ecgradcam
    from .attention.maps import cohort_map, segment_table
    from .cohorts.beats import representative_beat
    from .cohorts.cohort import build_cohort, excluded, open_cohort
    from .cohorts.measurements import TARGETS
    from .cohorts.people import split_patients
    from .delineation.landmarks import LANDMARKS
    from .delineation.waves import delineate
    from .discovery.classic import measure
    from .discovery.comparisons import compare_features
    from .discovery.discover import discover
    from .discovery.manifests import freeze
    from .discovery.proposals import propose_features
    from .edits.edit_maps import edit_map
    from .edits.effects import blanking_table, dose_response
    from .models.accuracy import accuracy_table
    from .models.checkpoints import load_model, save_model
    from .models.prediction import predict
    from .models.spec import ModelError, ModelSpec
    from .models.training import fit
    from .models.wrapping import wrap_model
    from .recordings.reading import read_record
    from .recordings.record import LEADS, Record, RecordError
    from .trust.panel import trust_panel

__version__ = "0.2.0"

__all__ = [
    "LANDMARKS",
    "LEADS",
    "TARGETS",
    "ModelError",
    "ModelSpec",
    "Record",
    "RecordError",
    "accuracy_table",
    "align",
    "attribute",
    "blanking_table",
    "build_cohort",
    "cohort_map",
    "compare_features",
    "delineate",
    "discover",
    "dose_response",
    "ecgradcam",
    "edit_map",
    "excluded",
    "explore",
    "fit",
    "freeze",
    "load_model",
    "measure",
    "open_cohort",
    "predict",
    "propose_features",
    "read_record",
    "representative_beat",
    "save_model",
    "segment_table",
    "split_patients",
    "trust_panel",
    "wrap_model",
]

_HOMES = {  # the file that each flat name is in, and is imported from when it is first used
    "LANDMARKS": "delineation.landmarks",
    "LEADS": "recordings.record",
    "TARGETS": "cohorts.measurements",
    "ModelError": "models.spec",
    "ModelSpec": "models.spec",
    "Record": "recordings.record",
    "RecordError": "recordings.record",
    "accuracy_table": "models.accuracy",
    "align": "attention.alignment",
    "attribute": "attention.attribution",
    "blanking_table": "edits.effects",
    "build_cohort": "cohorts.cohort",
    "cohort_map": "attention.maps",
    "compare_features": "discovery.comparisons",
    "delineate": "delineation.waves",
    "discover": "discovery.discover",
    "dose_response": "edits.effects",
    "ecgradcam": "attention.gradcam",
    "edit_map": "edits.edit_maps",
    "excluded": "cohorts.cohort",
    "fit": "models.training",
    "freeze": "discovery.manifests",
    "load_model": "models.checkpoints",
    "measure": "discovery.classic",
    "open_cohort": "cohorts.cohort",
    "predict": "models.prediction",
    "propose_features": "discovery.proposals",
    "read_record": "recordings.reading",
    "representative_beat": "cohorts.beats",
    "save_model": "models.checkpoints",
    "segment_table": "attention.maps",
    "split_patients": "cohorts.people",
    "trust_panel": "trust.panel",
    "wrap_model": "models.wrapping",
}

_ROOMS = (
    "stats",
    "recordings",
    "delineation",
    "cohorts",
    "models",
    "attention",
    "edits",
    "trust",
    "discovery",
    "figures",
    "explorer",
)

_MOVED = {  # flat names of 0.1: the room that has them now
    "Feature": "discovery",
    "Manifest": "discovery",
    "blank": "edits",
    "departure": "attention",
    "erase": "edits",
    "faithfulness": "edits",
    "feature_table": "discovery",
    "finish_map": "attention",
    "lift": "edits",
    "load_manifest": "discovery",
    "map_chunks": "attention",
    "map_contrast": "attention",
    "map_difference": "attention",
    "map_sums": "attention",
    "merge_maps": "attention",
    "move_landmark": "cohorts",
    "nested_models": "discovery",
    "plant": "edits",
    "point_spread": "edits",
    "put_landmarks": "cohorts",
    "remeasure": "edits",
    "scale": "edits",
    "screen_features": "discovery",
    "stretch": "edits",
    "template_of": "attention",
    "undo_landmark": "cohorts",
}


def __getattr__(name: str) -> object:
    """Flat names and rooms, imported on first use (torch and what else is heavy with them), and 0.1's flat names."""
    if name in _HOMES:
        globals()[name] = getattr(_importlib.import_module(f".{_HOMES[name]}", __name__), name)
        return globals()[name]
    if name in ("explore", "explorer"):
        try:
            explorer = _importlib.import_module(".explorer", __name__)
        except ModuleNotFoundError as e:
            raise ModuleNotFoundError(
                f"wb.{name} needs {e.name}: install the extra with  pip install 'ecgwb[lab]'"
            ) from e
        return explorer if name == "explorer" else explorer.explore
    if name in _ROOMS:
        return _importlib.import_module(f".{name}", __name__)
    if name in _MOVED:
        place = f"ecgwb.{_MOVED[name]}.{name}"
        _warnings.warn(
            f"ecgwb.{name} is {place} since 0.2; the old name goes with 0.3", DeprecationWarning, stacklevel=2
        )
        return getattr(_importlib.import_module(f".{_MOVED[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS])
