import io

import matplotlib.image
import numpy as np
import pytest

import ecgwb as wb
from ecgwb.exploration import Exploration, View


@pytest.fixture(scope="module")
def few():
    return wb.open_cohort("ludb", rhythm=True).isel(record=slice(40))


@pytest.fixture
def explorer(few, measures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return wb.explore(few, measures)


def pixels(explorer):
    return matplotlib.image.imread(io.BytesIO(explorer.picture.value))


def test_every_control_changes_the_picture(explorer):
    seen = [pixels(explorer)]
    for name, value in (
        ("target", "qt"), ("variant", "published"), ("lead", "V2"), ("view", "12 leads"), ("view", "rhythm"),
        ("view", "beat"), ("blanked", "T"),
    ):  # fmt: skip
        getattr(explorer, name).value = value
        seen.append(pixels(explorer))
        assert seen[-1].shape != seen[-2].shape or (seen[-1] != seen[-2]).any(), name
    explorer.blanked.value = "none"
    for slider in (*explorer.stretched.values(), *explorer.scaled.values()):
        before = pixels(explorer)
        slider.value = slider.max
        assert (pixels(explorer) != before).any(), slider.description
    before = explorer.said.value
    explorer.reset.click()
    assert "edited" not in explorer.said.value
    assert explorer.said.value != before


def test_next_and_previous_go_round_the_list(explorer):
    ids = explorer.record.options
    explorer.on.click()
    assert explorer.record.value == ids[1]
    explorer.back.click()
    explorer.back.click()
    assert explorer.record.value == ids[-1]
    assert f"record {ids[-1]};" in explorer.said.value


def test_records_are_found_by_words_and_sorted(few, measures):
    of = Exploration(few, measures)
    found = of.records("male")
    assert found == few["record"].values[few["sex"].values == "male"].tolist()
    assert of.records("fibrillation male") == [r for r in of.records("fibrillation") if r in found]
    error = np.abs(of.said["qt"] - few["qt"]).to_series().fillna(-1)
    assert of.records(order="error", target="qt")[0] == error.idxmax()
    age = few["age"].to_series()
    assert [age[r] for r in of.records(order="age")] == sorted(age)


def test_an_empty_search_is_said_in_place_and_left_again(explorer):
    explorer.search.value = "nobody"
    assert "no record holds these words" in explorer.said.value
    explorer.on.click()
    explorer.search.value = ""
    assert "measured" in explorer.said.value


def test_a_record_without_landmarks_is_shown_without_them(few, measures):
    bare = few.isel(record=slice(12)).copy(deep=True)
    bare["fiducial"][0] = np.nan
    explorer = wb.explore(bare, measures)
    assert "predicted" in explorer.said.value
    explorer.blanked.value = "P"
    assert "no such wave" in explorer.said.value
    explorer.on.click()
    assert "edited" in explorer.said.value


def test_a_network_that_cannot_be_shown_is_refused(few, measures):
    with pytest.raises(wb.ModelError, match="needs lead V2, V3"):
        wb.explore(few.sel(lead=["I", "II", "V1"]), measures)
    no_rhythm = few.drop_vars(["rhythm", "cycle_fiducial", "cycle_used"])
    explorer = wb.explore(no_rhythm, measures)
    explorer.view.value = "rhythm"
    assert "rhythm=True" in explorer.said.value


def test_the_code_beside_a_picture_makes_its_numbers(few, measures):
    of = Exploration(few, measures)
    view = View(str(few["record"].values[1]), "qt", stretched=(("QT", 20.0),), scaled=(("T", 1.2),))
    names = {"wb": wb, "cohort": few, "model": measures}
    exec(of.code(view), names)
    shown = {row[0]: row[3] for row in of.numbers(view)}
    assert shown["QT (ms)"] == f"{float(wb.predict(measures, names['one'])['qt'][0]):.0f}"
    np.testing.assert_allclose(
        names["maps"].mean() + names["maps"]["bias"], wb.predict(measures, names["one"])["qt"], rtol=1e-4
    )


def test_export_keeps_the_figure_and_says_how_it_is_made(explorer, tmp_path):
    explorer.export.click()
    (kept,) = tmp_path.glob("*.pdf")
    assert kept.name in explorer.kept.value
    assert "wb.ecgradcam(model, one" in explorer.kept.value


def test_an_exported_page_holds_a_static_picture(explorer):
    assert explorer._repr_mimebundle_()["image/png"]
