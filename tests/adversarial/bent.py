"""Cohorts and maps bent out of shape, and one call of every public function that takes data."""

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import nn

import ecgwb as wb

N = 24


def good():
    return wb.open_cohort("ptbxl500", rhythm=True).isel(record=slice(N)).load()


def with_manifest():
    """The same cohort, with features frozen on it among its attributes."""
    cohort = good()
    return cohort.assign_attrs(manifest=wb.freeze(features(), cohort, baseline=("hr",), tried={"candidates": 130}))


def net():
    """A small network that takes these beats."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv1d(8, 4, 9, padding=4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    return wb.wrap_model(module.eval(), wb.ModelSpec(targets=("qt", "hr"), units=("ms", "bpm"), layer="1"))


def _with(name, change):
    def bend(c):
        if name not in c:
            return c
        values = c[name].values.copy()
        return c.assign({name: (c[name].dims, change(values), c[name].attrs)})

    return bend


def _if(dim, change):
    """The change, where the cohort still has the dimension."""
    return lambda c: change(c) if dim in c.dims else c


def _twice(c):
    return xr.concat([c, c], "record", data_vars="minimal", coords="minimal", compat="override")


def _some(values, what):
    changed = np.atleast_1d(values.astype(float))
    changed[: max(len(changed) // 2, 1)] = what
    return changed.reshape(values.shape)


BENDS = {
    **{f"without {v}": lambda c, v=v: c.drop_vars(v, errors="ignore") for v in (
        "beat", "fiducial", "doubt", "hr", "qt", "male", "sex", "patient", "age", "lead", "time", "landmark", "record",
        "rhythm", "cycle_fiducial", "n_beats")},
    **{f"{v} {k} in half": _with(v, lambda x, w=w: _some(x, w)) for v in ("beat", "fiducial", "hr", "qt", "male", "age")
       for k, w in {"missing": np.nan, "infinite": np.inf, "0": 0.0, "huge": 1e30}.items()},
    **{f"{v} missing": _with(v, lambda x: np.full(x.shape, np.nan)) for v in ("beat", "fiducial", "qt", "male", "age")},
    **{f"{v} constant": _with(v, lambda x: np.full(x.shape, 1.0)) for v in ("beat", "fiducial", "qt", "male", "age")},
    "beat in mV": _with("beat", lambda x: x / 1000),
    "beat as text": _with("beat", lambda x: x[:, :1, :1].astype(str).repeat(8, 1).repeat(600, 2)),
    "beat as integers": _with("beat", lambda x: np.clip(np.nan_to_num(x), -1e6, 1e6).astype(int)),
    "landmarks reversed": _with("fiducial", lambda x: x[:, ::-1]),
    "landmarks far away": _with("fiducial", lambda x: x + 1e6),
    "landmarks at one moment": _with("fiducial", lambda x: 0 * np.nan_to_num(x)),
    "qt as text": _with("qt", lambda x: x.astype(str)),
    "one record without its dimension": lambda c: c.isel(record=0),
    "no record": lambda c: c.isel(record=slice(0)),
    "one record": lambda c: c.isel(record=slice(1)),
    "two records": lambda c: c.isel(record=slice(2)),
    "records twice": _if("record", _twice),
    "one patient": _if("record", lambda c: c.assign_coords(patient=("record", ["p"] * c.sizes["record"]))),
    "ids as numbers": lambda c: c.assign_coords(record=np.arange(c.sizes["record"])) if "record" in c.dims else c,
    "leads reversed": lambda c: c.isel(lead=slice(None, None, -1)) if "lead" in c.dims else c,
    "three leads": lambda c: c.isel(lead=slice(3)) if "lead" in c.dims else c,
    "leads renamed": lambda c: c.assign_coords(lead=list("abcdefgh")[: c.sizes["lead"]]) if "lead" in c.dims else c,
    "half the time": lambda c: c.isel(time=slice(300)) if "time" in c.dims else c,
    "time from zero": lambda c: c.assign_coords(time=np.arange(c.sizes["time"]) * 2.0) if "time" in c.dims else c,
    "time in another order": lambda c: c.transpose(..., "record") if "record" in c.dims else c,
    "half the landmarks": lambda c: c.isel(landmark=slice(4)) if "landmark" in c.dims else c,
    "landmarks renamed": _if("landmark", lambda c: c.assign_coords(landmark=list("abcdefghi")[: c.sizes["landmark"]])),
    "without attributes": lambda c: c.drop_attrs(),
    "fs of 0": lambda c: c.assign_attrs(fs=0),
    "fs as text": lambda c: c.assign_attrs(fs="fast"),
    "excluded no JSON": lambda c: c.assign_attrs(excluded="["),
}  # fmt: skip
OTHERS = (None, 3, "cohort", [], {}, np.zeros((2, 8, 600)), pd.DataFrame(), xr.Dataset(), xr.DataArray(np.zeros(3)))


def table(c, *names):
    return pd.DataFrame({n: np.asarray(c[n].values, dtype=object) for n in names})


def features():
    from ecgwb.discovery.proposals import screening_features

    return screening_features(["V5"])[:2]


def aligned(c, m):
    return wb.align(wb.ecgradcam(m, c), c)


# Every function is called with the bent cohort `c`, the cohort it was made from `g`, and a network `m`.
CALLS = {
    "accuracy_table": lambda c, g, m: wb.accuracy_table(wb.predict(m, g), c),
    "accuracy_table of bent predictions": lambda c, g, m: wb.accuracy_table(c, g),
    "accuracy_table by sex": lambda c, g, m: wb.accuracy_table(wb.predict(m, g), c, by="sex"),
    "align": lambda c, g, m: wb.align(g["beat"], c),
    "align of bent values": lambda c, g, m: wb.align(c["beat"], g),
    "attribute": lambda c, g, m: wb.attribute(m, c, "saliency", "qt"),
    "attribute, occlusion": lambda c, g, m: wb.attribute(m, c, "occlusion", "qt"),
    "blank": lambda c, g, m: wb.edits.blank(c, "T"),
    "blank, sham": lambda c, g, m: wb.edits.blank(c, "QRS", sham=True),
    "blanking_table": lambda c, g, m: wb.blanking_table(m, c),
    "build_cohort": lambda c, g, m: wb.build_cohort(c),
    "cohort_map": lambda c, g, m: wb.cohort_map(wb.align(c["beat"], c)),
    "cohort_map by sex": lambda c, g, m: wb.cohort_map(wb.align(c["beat"], c), by="sex"),
    "cohort_map of anything": lambda c, g, m: wb.cohort_map(c),
    "compare_features": lambda c, g, m: wb.compare_features(g.attrs["manifest"], c),
    "delineate": lambda c, g, m: wb.delineate(
        [wb.Record(x, 500, wb.LEADS, str(k)) for k, x in enumerate(c["rhythm"].values[:2])]
    ),
    "delineate anything": lambda c, g, m: wb.delineate(c),
    "departure": lambda c, g, m: wb.attention.departure(aligned(c, m)),
    "departure from another": lambda c, g, m: wb.attention.departure(aligned(g, m), aligned(c, m)),
    "discover": lambda c, g, m: wb.discover(c, progress=False),
    "discover, tested on others": lambda c, g, m: wb.discover(g, known=(), test=c, progress=False),
    "difference_chunks": lambda c, g, m: wb.attention.difference_chunks(
        lambda part: wb.ecgradcam(m, part), c, permutations=20
    ),
    "dose_response": lambda c, g, m: wb.dose_response(m, c, measured=False),
    "ecgradcam": lambda c, g, m: wb.ecgradcam(m, c),
    "erase": lambda c, g, m: wb.edits.erase(c, np.ones((c.sizes.get("record", 1), 600), bool)),
    "erase, mean": lambda c, g, m: wb.edits.erase(c, np.arange(600) > 300, "mean"),
    "excluded": lambda c, g, m: wb.excluded(c),
    "faithfulness": lambda c, g, m: wb.edits.faithfulness(m, c, targets="qt"),
    "feature_table": lambda c, g, m: wb.discovery.feature_table(features(), c),
    "finish_map": lambda c, g, m: wb.attention.finish_map(c),
    "fit": lambda c, g, m: wb.fit(c, "qt", epochs=1, epoch=8, batch=8, progress=False),
    "fit, a class": lambda c, g, m: wb.fit(c, "male", epochs=1, epoch=8, batch=8, progress=False),
    "freeze": lambda c, g, m: wb.freeze(features(), c),
    "lift": lambda c, g, m: wb.edits.lift(c, "J", 50.0),
    "map_chunks": lambda c, g, m: wb.attention.map_chunks(lambda part: wb.ecgradcam(m, part), c),
    "map_contrast": lambda c, g, m: wb.attention.map_contrast(wb.align(c["beat"], c), c["male"].values),
    "map_difference": lambda c, g, m: wb.attention.map_difference(aligned(c, m), "sex", permutations=20),
    "map_sums": lambda c, g, m: wb.attention.merge_maps([wb.attention.map_sums(aligned(x, m)) for x in (c, g)]),
    "measure": lambda c, g, m: wb.measure(c),
    "merge_maps": lambda c, g, m: wb.attention.merge_maps([c]),
    "nested_models": lambda c, g, m: wb.discovery.nested_models(
        {"qt": ["qt"]}, table(c, "qt", "male", "patient"), {"g": table(g, "qt", "male", "patient")}
    ),
    "open_cohort": lambda c, g, m: wb.open_cohort(c),
    "plant": lambda c, g, m: wb.edits.plant(c, 100.0, 50.0),
    "point_spread": lambda c, g, m: wb.edits.point_spread(m, c, "qt"),
    "predict": lambda c, g, m: wb.predict(m, c),
    "propose_features": lambda c, g, m: wb.propose_features(
        wb.align(c["beat"], c),
        c,
        wb.attention.map_contrast(wb.align(g["beat"], g), g["male"].values).expand_dims(run=2),
    ),
    "put_landmarks": lambda c, g, m: wb.cohorts.put_landmarks(
        c, pd.DataFrame({"T_off": [400.0]}, index=[str(g["record"].values[0])]), "fuzz"
    ),
    "put_landmarks by anything": lambda c, g, m: wb.cohorts.put_landmarks(g, c["fiducial"].to_pandas(), "fuzz"),
    "read_record": lambda c, g, m: wb.read_record(c),
    "remeasure": lambda c, g, m: wb.edits.remeasure(c),
    "representative_beat": lambda c, g, m: wb.representative_beat(wb.Record(c["rhythm"].values[0], 500, wb.LEADS)),
    "scale": lambda c, g, m: wb.edits.scale(c, "T", 1.2),
    "screen_features": lambda c, g, m: wb.discovery.screen_features(c),
    "segment_table": lambda c, g, m: wb.segment_table(aligned(c, m)),
    "segment_table of anything": lambda c, g, m: wb.segment_table(c),
    "split_patients": lambda c, g, m: wb.split_patients(c),
    "stretch": lambda c, g, m: wb.edits.stretch(c, "QT", 20.0),
    "template_of": lambda c, g, m: wb.attention.template_of(c),
    "trust_panel": lambda c, g, m: wb.trust_panel(m, c),
    "save_model": lambda c, g, m: wb.save_model(c, "nowhere"),
    "load_model": lambda c, g, m: wb.load_model(c),
    "wrap_model": lambda c, g, m: wb.wrap_model(m, c),
    "load_manifest": lambda c, g, m: wb.discovery.load_manifest(c),
}  # fmt: skip
