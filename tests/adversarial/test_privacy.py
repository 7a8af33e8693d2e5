"""No one's name leaves by accident: not by a cohort, its store, an export or a figure."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from bad_input import ptbxl, write

import ecgwb as wb
from ecgwb import figures

PLANTED = ("Jane", "Doe", "1960-01", "1984-11", "09:17", "555-0199", "Dr Who", "MRN4711")
COMMENTS = ("Name: Jane Doe", "Age: 61", "Sex: Female", "DOB: 1960-01-01", "Rhythm: sinus rhythm",
            "Diagnoses: left axis deviation", "Patient: Doe, Jane", "Recorded 1984-11-09 09:17:34", "Phone: 555-0199",
            "Reviewed by: Dr Who", "Hospital number: MRN4711",
            "Electric axis of the heart: left axis deviation")  # fmt: skip


def holds(text):
    return [p for p in PLANTED if p in text]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Four recordings whose headers and table tell more than a cohort may hold, and one that is broken."""
    folder = tmp_path_factory.mktemp("named")
    records = folder / "records"
    records.mkdir()
    for k in range(5):
        path = write(records, f"r{k}", np.roll(ptbxl(), 100 * k, axis=1))
        header = path.with_suffix(".hea")
        lines = header.read_text().splitlines()
        lines[0] += " 09:17:34 09/11/1984"
        header.write_text("\n".join([*lines, *(f"# {c}" for c in COMMENTS)]) + "\n")
    (records / "r4.dat").unlink()
    table = pd.DataFrame({"record": [f"r{k}" for k in range(4)], "name": "Jane Doe", "birth": "1960-01-01", "age": 61,
                          "recording_date": "1984-11-09 09:17:34"})  # fmt: skip
    with pytest.warns(UserWarning, match="columns not kept: name, birth, recording_date"):
        return wb.build_cohort(records, folder / "c.zarr", metadata=table).load(), folder / "c.zarr"


def test_what_was_planted_is_in_the_headers(cohort):
    header = (cohort[1].parent / "records" / "r0.hea").read_text()
    assert len(holds(header)) >= 7


def test_a_record_keeps_age_sex_and_diagnosis_alone(cohort):
    record = wb.read_record(cohort[1].parent / "records" / "r0")
    assert set(record.metadata) == {"age", "sex", "rhythm", "diagnosis", "flags"}
    assert record.metadata["diagnosis"] == "left axis deviation; Electric axis of the heart: left axis deviation"
    assert not holds(str(record.metadata))


def test_a_cohort_and_its_store_hold_no_name_and_no_date(cohort):
    made, store = cohort
    opened = wb.open_cohort(store, rhythm=True)
    for data in (made, opened):
        text = str(data.attrs) + "".join(
            str(v.values.tolist()) for v in data.variables.values() if v.dtype.kind in "OUST"
        )
        assert not holds(text)
        assert "left axis deviation" in text  # it would have been seen
    for file in store.rglob(".z*"):
        assert not holds(file.read_text())


def test_exports_hold_records_only_where_asked(cohort):
    made, _ = cohort
    model = wb.load_model("compact-measures")
    predicted = wb.predict(model, made)
    aligned = wb.align(wb.ecgradcam(model, made), made)
    by_record = {"measure": wb.measure(made), "excluded": wb.excluded(made), "predictions": predicted.to_dataframe()}
    of_all = {"map": wb.cohort_map(aligned).to_dataframe(), "segments": wb.segment_table(aligned),
              "accuracy": wb.accuracy_table(predicted, made)}  # fmt: skip
    for name, table in (by_record | of_all).items():
        text = table.to_csv()
        assert not holds(text), name
        assert ("r0" in text or "r4" in text) == (name in by_record), name


@pytest.mark.parametrize("kind", ["pdf", "svg", "png"])
def test_figures_hold_neither_names_nor_records(cohort, kind):
    made, _ = cohort
    aligned = wb.align(wb.ecgradcam(wb.load_model("compact-measures"), made, "qt"), made)
    beats = wb.align(made["beat"], made).mean("record").sel(lead="V5")
    fig, axes = plt.subplots(4)
    figures.plot_cohort_map(wb.cohort_map(aligned).sel(target="qt"), beats, axes[:2], aligned.sel(target="qt"))
    one = made.isel(record=0)
    figures.plot_beat(one["beat"].sel(lead="V5"), one["fiducial"], axes[2])
    figures.plot_shares(wb.segment_table(aligned), axes[3])
    file = io.BytesIO()
    with plt.rc_context({"pdf.compression": 0, "svg.fonttype": "none"}):
        fig.savefig(file, format=kind)
    plt.close(fig)
    text = file.getvalue().decode("latin-1")
    assert not [p for p in PLANTED[:2] + PLANTED[6:] if p in text]
    if kind == "svg":
        assert not [r for r in ("r0", "r1", "r2", "r3") if f">{r}<" in text]
