import base64
import dataclasses
import io
import itertools
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

import ecgwb as wb
from ecgwb import figures
from ecgwb.explorer import Exploration, View, draw
from ecgwb.explorer.state import WAYS


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
    before = explorer.summary.value
    assert "edited: PR +40 ms, QRS +20 ms, QT +40 ms, R 150 %, T 150 %" in before
    explorer.reset.click()
    assert "edited" not in explorer.summary.value
    assert explorer.summary.value != before


def test_next_and_previous_go_round_the_list(explorer):
    ids = explorer.record.options
    explorer.on.click()
    assert explorer.record.value == ids[1]
    explorer.back.click()
    explorer.back.click()
    assert explorer.record.value == ids[-1]
    assert f"record {ids[-1]};" in explorer.summary.value


def test_records_are_found_by_words_and_sorted(few, measures):
    of = Exploration(few, measures)
    found = of.records("male")
    assert found == few["record"].values[few["sex"].values == "male"].tolist()
    assert of.records("fibrillation male") == [r for r in of.records("fibrillation") if r in found]
    error = np.abs(of.predictions["qt"] - few["qt"]).to_series().fillna(-1)
    assert of.records(order="error", target="qt")[0] == error.idxmax()
    age = few["age"].to_series()
    assert [age[r] for r in of.records(order="age")] == sorted(age)
    doubt = few["doubt"].max("landmark").to_series()
    assert of.records(order="doubt")[0] == doubt.idxmax()


def test_records_are_found_by_id_age_error_and_doubt(few, measures):
    of = Exploration(few, measures)
    age = few["age"].to_series()
    assert of.records("age>60 age<=70") == list(age[(age > 60) & (age <= 70)].index)
    assert of.records("12")[0] == "12"
    error = np.abs(of.predictions["qt"] - few["qt"]).to_series()
    hits = of.records("error>=8 male", target="qt")
    assert hits == [r for r in error.index[error >= 8] if few["sex"].sel(record=r) == "male"]
    assert hits != of.records("error>=8 male", target="pr")
    doubt = few["doubt"].max("landmark").to_series()
    assert set(of.records("doubt>20")) == set(doubt.index[doubt > 20])
    unknown = few.assign_coords(age=("record", np.full(few.sizes["record"], np.nan)))
    assert Exploration(unknown, measures).records("age<200") == []
    assert of.records("age>old") == []


def test_an_empty_search_shows_nothing_and_is_left_again(explorer):
    before = pixels(explorer)
    explorer.search.value = "nobody"
    assert explorer.shown is None
    assert (pixels(explorer) != before).any()
    assert explorer.summary.value == ""
    assert "no record fits this search" in explorer.message.value
    assert "age&gt;60" in explorer.message.value
    for button in (explorer.on, explorer.keep, explorer.take_back, explorer.export):
        button.click()
    explorer.landmark.value = "J"
    explorer.move.value = 4
    explorer.search.value = "age>"
    assert "no record fits this search" in explorer.message.value
    explorer.landmark.value = "none"
    explorer.search.value = ""
    assert "measured" in explorer.summary.value
    assert explorer.message.value == ""
    assert (pixels(explorer) == before).all()


def test_a_record_without_landmarks_is_shown_without_them(few, measures):
    bare = few.isel(record=slice(12)).copy(deep=True)
    bare["fiducial"][0] = np.nan
    for t in wb.TARGETS:
        bare[t][0] = np.nan
    explorer = wb.explore(bare, measures)
    assert "predicted" in explorer.summary.value
    assert "this record has no landmarks" in explorer.summary.value
    before = pixels(explorer)
    explorer.blanked.value = "P"
    assert "no such wave" in explorer.message.value
    assert explorer.blanked.value == "none"
    assert (pixels(explorer) == before).all()


def test_an_edit_goes_along_to_the_next_record_unless_that_cannot_take_it(few, measures):
    bare = few.isel(record=slice(4)).copy(deep=True)
    bare["fiducial"][2, :3] = np.nan  # no P wave
    explorer = wb.explore(bare, measures)
    ids = explorer.record.options
    explorer.blanked.value = "P"
    explorer.on.click()
    assert explorer.shown == explorer.selected
    assert explorer.shown.record == ids[1]
    assert "edited: P blanked" in explorer.summary.value
    explorer.on.click()
    assert explorer.shown == explorer.selected == View(ids[2], "pr")
    assert f"record {ids[2]};" in explorer.summary.value
    assert "edited" not in explorer.summary.value
    assert "P blanked: this beat has no such wave" in explorer.message.value


def test_what_is_shown_is_what_is_selected_whatever_is_done(few, measures):
    """Controls set at random, many of them to what cannot be; after each the picture is that of the controls."""
    bare = few.isel(record=slice(8)).drop_vars(["rhythm", "cycle_fiducial", "cycle_used"]).copy(deep=True)
    bare["fiducial"][1, :3] = np.nan
    bare["fiducial"][3] = np.nan
    bare["beat"][5, 2, 100:110] = np.nan
    explorer, fresh = wb.explore(bare, measures), Exploration(bare, measures)
    controls = ["record", "on", "search", "target", "view", "lead", "blanked", "QT", "landmark", "move", "move", "view"]
    rng = np.random.default_rng(0)
    search = ["", "", "male", "nobody", "error>20", "age<50"]
    refused = 0
    for _ in range(40):
        name = rng.choice(controls)
        control = explorer.stretched.get(name) or explorer.scaled.get(name) or getattr(explorer, name)
        if name == "on":
            control.click()
        elif name in ("QT", "T", "move"):
            control.value = int(rng.choice(np.arange(control.min, control.max + 1, control.step)))
        else:
            options = search if name == "search" else [o[-1] if isinstance(o, tuple) else o for o in control.options]
            if options:
                control.value = options[rng.integers(len(options))]
        assert explorer.shown == explorer.selected
        if explorer.shown is None:
            assert explorer.summary.value == ""
            continue
        refused += bool(explorer.message.value)
        assert f"record {explorer.shown.record};" in explorer.summary.value
        assert explorer.record.options[explorer.place.value] == explorer.record.value
        with figures.styled():
            figure = draw(fresh, explorer.shown)
            drawn = io.BytesIO()
            figure.savefig(drawn, format="png", dpi=112)
            plt.close(figure)
        assert drawn.getvalue() == bytes(explorer.picture.value)
    assert refused >= 3


def test_a_message_of_one_record_does_not_stand_under_another(explorer):
    explorer.export.click()
    assert "kept as" in explorer.message.value
    explorer.on.click()
    assert explorer.message.value == ""


def test_a_cohort_without_the_networks_leads_is_shown_without_the_network(few, measures):
    explorer = wb.explore(few.sel(lead=["I", "II", "V1"]), measures)
    assert "needs lead V2, V3" in explorer.summary.value
    seen = [pixels(explorer)]
    explorer.on.click()
    assert "measured" in explorer.summary.value
    for view in ("12 leads", "rhythm", "beat"):
        explorer.view.value = view
        seen.append(pixels(explorer))
    explorer.blanked.value = "T"
    assert "other leads than I, II, V1" in explorer.message.value
    assert explorer.blanked.value == "none"
    assert all(a.shape != b.shape or (a != b).any() for a, b in itertools.pairwise(seen))
    explorer.search.value = "error>1"
    assert "no record fits this search" in explorer.message.value


def test_what_cannot_be_explored_is_said(few, measures):
    with pytest.raises(ValueError, match="holds no records"):
        wb.explore(few.isel(record=[]), measures)
    no_rhythm = few.drop_vars(["rhythm", "cycle_fiducial", "cycle_used"])
    explorer = wb.explore(no_rhythm, measures)
    explorer.view.value = "rhythm"
    assert "rhythm=True" in explorer.message.value
    assert explorer.view.value == "beat"


def test_layers_and_methods_are_chosen_from_those_that_work(few, measures, tiny):
    of = Exploration(few, measures)
    assert of.layers()[0] == measures.spec.layer
    view = View(str(few["record"].values[1]), "qt")
    seen = {name: of.maps(dataclasses.replace(view, layer=name), of.edited(view), "qt") for name in of.layers()}
    assert len(seen) > 3
    assert all(np.isfinite(m).all() for m in seen.values())
    explorer = wb.explore(few, measures)
    before = pixels(explorer)
    explorer.layer.value = of.layers()[2]
    assert (pixels(explorer) != before).any()
    for name in WAYS[3:]:
        before = pixels(explorer)
        explorer.variant.value = name
        assert "measured" in explorer.summary.value, name
        assert (pixels(explorer) != before).any(), name
    assert {"features.0", "features.3"} <= set(Exploration(few, tiny).layers())


def test_a_landmark_is_moved_kept_and_taken_back(few, measures, tmp_path):
    few.to_zarr(tmp_path / "few.zarr", zarr_format=2)
    cohort = wb.open_cohort(tmp_path / "few.zarr", rhythm=True)
    explorer = wb.explore(cohort, measures, store=tmp_path / "few.zarr", by="JK")
    rid = explorer.record.value
    explorer.target.value = "qt"
    at, qt = (float(v.sel(record=rid)) for v in (few["fiducial"].sel(landmark="T_off"), few["qt"]))
    explorer.landmark.value = "T_off"
    before = pixels(explorer)
    explorer.move.value = 20
    assert (pixels(explorer) != before).any()
    assert f"T_off {at:.0f} → {at + 20:.0f} ms, not kept yet" in explorer.summary.value
    assert f">{qt + 20:.0f}<" in explorer.summary.value  # QT measured anew
    assert float(explorer.cohort["qt"].sel(record=rid)) == qt
    explorer.keep.click()
    assert explorer.move.value == 0
    assert "by hand: T_off" in explorer.summary.value
    kept = wb.open_cohort(tmp_path / "few.zarr")
    for c in (explorer.cohort, kept):
        assert float(c["fiducial"].sel(record=rid, landmark="T_off")) == at + 20
        assert bool(c["manual"].sel(record=rid, landmark="T_off"))
    assert '"source": "JK"' in kept.attrs["landmarks_changed"]
    explorer.move.value = -4
    explorer.take_back.click()  # the slider only
    assert float(explorer.cohort["qt"].sel(record=rid)) == pytest.approx(qt + 20)
    explorer.take_back.click()
    for c in (explorer.cohort, wb.open_cohort(tmp_path / "few.zarr")):
        assert float(c["fiducial"].sel(record=rid, landmark="T_off")) == at
    explorer.take_back.click()
    assert "nothing to undo" in explorer.message.value


def test_a_move_that_cannot_be_is_taken_back_and_another_record_forgets_one_that_can(explorer):
    explorer.landmark.value = "QRS_on"
    explorer.move.value = -4
    possible = pixels(explorer)
    explorer.move.value = 150
    assert "out of order" in explorer.message.value
    assert explorer.move.value == -4
    assert (pixels(explorer) == possible).all()
    explorer.on.click()
    assert explorer.move.value == 0
    assert "measured" in explorer.summary.value
    assert explorer.message.value == ""
    explorer.landmark.value = "none"
    explorer.keep.click()
    assert "choose a landmark" in explorer.message.value


def test_an_absent_landmark_is_put_in_from_where_most_people_have_it(few, measures):
    bare = few.isel(record=slice(12)).copy(deep=True)
    bare["fiducial"][0, :3] = np.nan
    of = Exploration(bare, measures)
    rid = str(bare["record"].values[0])
    usual = float(bare["fiducial"].sel(landmark="P_on").median())
    assert of.place(rid, "P_on") == pytest.approx(usual)
    of.keep(rid, "P_on", usual + 2, "test")
    assert float(of.cohort["pr"].sel(record=rid)) == pytest.approx(
        float(bare["fiducial"].sel(record=rid, landmark="QRS_on")) - usual - 2
    )


def test_the_code_beside_a_picture_makes_its_numbers(few, measures):
    of = Exploration(few, measures)
    view = View(
        str(few["record"].values[1]), "qt", stretched=(("QT", 20.0),), scaled=(("T", 1.2),), moved=("P_on", -260.0)
    )
    names = {"wb": wb, "cohort": few, "model": measures}
    exec(of.code(view), names)
    drawn, again = draw(of, view), names["figure"]
    for a, b in zip(drawn.axes, again.axes, strict=True):
        for one, other in zip(a.lines, b.lines, strict=True):
            np.testing.assert_array_equal(one.get_xydata(), other.get_xydata())
    plt.close("all")
    shown = {row[0]: row[3] for row in of.numbers(view)}
    assert shown["QT (ms)"] == f"{float(wb.predict(measures, names['one'])['qt'][0]):.0f}"
    np.testing.assert_allclose(
        names["maps"].mean() + names["maps"]["bias"], wb.predict(measures, names["one"])["qt"], rtol=1e-4
    )


def test_export_keeps_the_figure_and_says_how_it_is_made(explorer, tmp_path):
    explorer.export.click()
    (kept,) = tmp_path.glob("*.pdf")
    assert kept.name in explorer.message.value
    assert "wb.ecgradcam(model, one" in explorer.message.value


def test_an_exported_page_holds_a_static_picture_under_the_widget_and_later_figures_too():
    code = (
        "import ecgwb as wb\nfew = wb.open_cohort('ludb').isel(record=slice(5))\n"
        "wb.explore(few, wb.load_model('compact-measures'))"
    )
    later = "import matplotlib.pyplot as plt\nfigure, ax = plt.subplots()"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in (code, later)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    root = str(Path(__file__).parents[2])
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": root}}).execute()
    assert [out for out in notebook.cells[1].outputs if "image/png" in out.get("data", {})]
    page, _ = HTMLExporter().from_notebook_node(notebook)
    widget = page.index("application/vnd.jupyter.widget-view+json", page.index("<body"))
    static = page.index('class="ecgwb-static"')
    assert static > widget
    encoded = page[page.index("base64,", static) + 7 :].split('"', 1)[0]
    picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(encoded)))
    assert picture.shape[1] > 500
    assert picture[..., :3].std() > 0.05  # something is drawn
    assert "predicted" in page[static:]
