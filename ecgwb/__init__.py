"""ecgwb: what an ECG network measures, and whether what it looks at is a true feature of the ECG.

    import ecgwb as wb

    cohort = wb.open_cohort("ludb")
    model = wb.load_model("compact-measures")
    maps = wb.align(wb.ecgradcam(model, cohort), cohort)
    wb.cohort_map(maps)

Time is in ms, voltage in µV, rate in Hz, everywhere.
"""

import inspect as _inspect

from .arguments import checked as _checked
from .attention.alignment import align, template_of
from .attention.attribution import attribute
from .attention.contrasts import map_difference
from .attention.gradcam import departure, ecgradcam
from .attention.mapping import map_chunks
from .attention.maps import cohort_map, finish_map, map_sums, merge_maps, segment_table
from .cohorts.beats import representative_beat
from .cohorts.cohort import build_cohort, excluded, open_cohort, put_landmarks
from .cohorts.corrections import move_landmark, undo_landmark
from .cohorts.measurements import TARGETS
from .cohorts.people import split_patients
from .delineation.landmarks import LANDMARKS
from .delineation.waves import delineate
from .discovery.classic import measure
from .discovery.comparisons import compare_features
from .discovery.features import Feature, feature_table
from .discovery.manifests import Manifest, freeze, load_manifest
from .discovery.proposals import map_contrast, propose_features
from .discovery.regression import nested_models
from .discovery.screening import screen_features
from .edits.beats import blank, lift, plant, scale, stretch
from .edits.effects import blanking_table, dose_response, faithfulness, point_spread
from .edits.erasing import erase
from .edits.remeasurement import remeasure
from .models.accuracy import accuracy_table
from .models.prediction import predict
from .models.spec import ModelError, ModelSpec, load_model, save_model, wrap_model
from .models.training import fit
from .recordings.record import LEADS, Record, RecordError
from .recordings.wfdb_files import read_record
from .trust.panel import trust_panel

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`explore` on first use: its widgets come with the extra `lab`, and servers do without."""
    if name != "explore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from .explorer.widgets import explore
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(f"wb.explore needs {e.name}: install the extra with  pip install 'ecgwb[lab]'") from e
    return explore


def __dir__() -> list[str]:
    return sorted({*globals(), "explore"})


__all__ = [
    "LANDMARKS",
    "LEADS",
    "TARGETS",
    "Feature",
    "Manifest",
    "ModelError",
    "ModelSpec",
    "Record",
    "RecordError",
    "accuracy_table",
    "align",
    "attribute",
    "blank",
    "blanking_table",
    "build_cohort",
    "cohort_map",
    "compare_features",
    "delineate",
    "departure",
    "dose_response",
    "ecgradcam",
    "erase",
    "excluded",
    "explore",
    "faithfulness",
    "feature_table",
    "finish_map",
    "fit",
    "freeze",
    "lift",
    "load_manifest",
    "load_model",
    "map_chunks",
    "map_contrast",
    "map_difference",
    "map_sums",
    "measure",
    "merge_maps",
    "move_landmark",
    "nested_models",
    "open_cohort",
    "plant",
    "point_spread",
    "predict",
    "propose_features",
    "put_landmarks",
    "read_record",
    "remeasure",
    "representative_beat",
    "save_model",
    "scale",
    "screen_features",
    "segment_table",
    "split_patients",
    "stretch",
    "template_of",
    "trust_panel",
    "undo_landmark",
    "wrap_model",
]

for _name in __all__:
    if _inspect.isfunction(globals().get(_name)):
        globals()[_name] = _checked(globals()[_name])
