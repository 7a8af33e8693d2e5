import asyncio
import base64
import copy
import csv
import dataclasses
import io
import itertools
import re
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

import ecgwb as wb
from ecgwb.explorer import Exploration, View, draw
from ecgwb.explorer.session import Session
from ecgwb.explorer.state import COMPARED, WAYS
from ecgwb.models.spec import keep_spec


@pytest.fixture(scope="module")
def few():
    return wb.open_cohort("ludb", rhythm=True).isel(record=slice(40))


@pytest.fixture
def explorer(few, measures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return wb.explore(few, measures)


@pytest.fixture
def session(few, measures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Session(few, measures)


def floats(data):
    return np.frombuffer(data, "<f4")


def row(shown, target):
    return next(r for r in shown["numbers"] if r["target"] == target)


def test_what_is_shown_is_all_of_one_record(explorer, few):
    for record in ("3", "7"):
        explorer.do("see", record=record)
        shown, one = explorer.shown, few.sel(record=record)
        assert shown["record"] == shown["view"]["record"] == record
        np.testing.assert_array_equal(floats(shown["beat"]).reshape(8, -1), one["beat"].values)
        np.testing.assert_allclose([np.nan if m is None else m for m in shown["marks"]], one["fiducial"].values)
        assert row(shown, "qt")["measured"] == pytest.approx(float(one["qt"]), nan_ok=True)
        maps = explorer.session.of.record_map(explorer.session.view)[0]
        np.testing.assert_array_equal(floats(shown["map"]["values"]), maps.values.ravel().astype("f4"))
        assert f"{float(one['age']):.0f} years" in shown["about"]
        assert shown["before"] is None


def test_what_is_shown_is_what_is_selected_whatever_is_asked_for(few, measures, tmp_path, monkeypatch):
    """Asked at random, for much that cannot be: what is shown is of the selected record, with its edits only."""
    monkeypatch.chdir(tmp_path)
    bare = few.isel(record=slice(8)).drop_vars(["rhythm", "cycle_fiducial", "cycle_used"]).copy(deep=True)
    bare["fiducial"][1, :3] = np.nan
    bare["fiducial"][3] = np.nan
    bare["beat"][5, 2, 100:110] = np.nan
    session, rng = Session(bare, measures), np.random.default_rng(0)
    asked = {
        "record": [*bare["record"].values.astype(str), "nobody"],
        "view": ["beat", "12 leads", "rhythm"],
        "blanked": ["none", "P", "T"],
        "stretched": [[], [["QT", 40]], [["PR", -40]]],
        "moved": [None, ["T_off", 300], ["T_off", -100], ["R", 3]],
        "lead": ["V2", "X"],
    }
    refused = 0
    for _ in range(60):
        what = rng.choice(list(asked))
        choice = asked[what][rng.integers(len(asked[what]))]
        revision = session.revision
        session.see(**{what: choice})
        view, edited = session.view, session.of.edited(session.view)
        refused += bool(session.message)
        assert session.revision == revision + 1
        assert str(edited["record"].values[0]) == view.record
        if what == "record" and choice != "nobody":
            assert view.record == choice
        one = bare.sel(record=[view.record])
        if view.edits:
            assert not np.array_equal(edited["beat"], one["beat"])
        else:
            np.testing.assert_array_equal(edited["beat"], one["beat"])
    assert refused >= 10


def test_an_edit_goes_along_to_the_next_record_unless_that_cannot_take_it(few, measures):
    bare = few.isel(record=slice(4)).copy(deep=True)
    bare["fiducial"][2, :3] = np.nan  # no P wave
    session, ids = Session(bare, measures), few["record"].values.astype(str)
    session.see(blanked="P")
    session.see(record=ids[1])
    assert session.view.edits == ["P blanked"]
    assert session.message == ""
    session.see(record=ids[2])
    assert session.view.record == ids[2]
    assert session.view.edits == []
    assert "P blanked: this beat has no such wave" in session.message
    session.see(record=ids[3])
    assert session.message == ""
    session.undo()
    assert (session.view.record, session.view.edits) == (ids[1], ["P blanked"])
    session.redo()
    assert (session.view.record, session.view.edits) == (ids[3], [])


def test_one_undo_for_edits_landmarks_and_marks(session, few):
    rid = session.view.record
    at = float(few["fiducial"].sel(record=rid, landmark="T_off"))
    session.see(stretched=[["QT", 10]], group="drag")
    session.see(stretched=[["QT", 20]], group="drag")  # one drag is one step
    session.see(scaled=[["T", 1.2]])
    session.see(stretched=[], scaled=[])
    session.see(moved=["T_off", at + 20])
    session.keep()
    session.mark("doubtful", "T ends late")
    assert session.can_undo == 6
    assert float(session.of.cohort["fiducial"].sel(record=rid, landmark="T_off")) == at + 20
    session.see(record="5")
    session.undo()
    assert session.marks == {}
    session.undo()
    assert float(session.of.cohort["fiducial"].sel(record=rid, landmark="T_off")) == at
    assert session.view.moved == ("T_off", at + 20)
    for edits in ([], ["QT +20 ms", "T 120 %"], ["QT +20 ms"], []):
        session.undo()
        assert session.view.edits == edits
        assert session.view.record == rid
    session.undo()
    assert session.message == "nothing to undo"
    for _ in range(6):
        session.redo()
    assert session.marks == {rid: ("doubtful", "T ends late")}
    assert float(session.of.cohort["fiducial"].sel(record=rid, landmark="T_off")) == at + 20
    session.redo()
    assert session.message == "nothing to do again"


def test_marks_are_kept_in_a_csv_and_read_again(few, measures, tmp_path):
    few.to_zarr(tmp_path / "few.zarr", zarr_format=2)
    cohort = wb.open_cohort(tmp_path / "few.zarr")
    session = Session(cohort, measures, tmp_path / "few.zarr", by="JK")
    session.see(record="3")
    session.mark("unusable", 'lead V2, "noise"')
    session.mark("perfect")
    assert "expected one of good, doubtful, unusable" in session.message
    with (tmp_path / "few.zarr.review.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"record": "3", "verdict": "unusable", "note": 'lead V2, "noise"', "by": "JK"}]
    assert Session(cohort, measures, tmp_path / "few.zarr").marks == {"3": ("unusable", 'lead V2, "noise"')}
    (tmp_path / "few.zarr.review.csv").write_text("something,else\n")
    with pytest.raises(ValueError, match="expected record, verdict, note, by"):
        Session(cohort, measures, tmp_path / "few.zarr")


def test_marks_of_others_stay_theirs(few, measures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = Session(few, measures, by="AB"), Session(few, measures, by="CD")  # both are open at once
    one.mark("good")
    other.see(record="3")
    other.mark("doubtful")
    with Path("explorer.review.csv").open(newline="") as file:
        assert [(r["record"], r["by"]) for r in csv.DictReader(file)] == [("1", "AB"), ("3", "CD")]
    other.undo()
    again = Session(few, measures, by="EF")
    assert again.marks == {"1": ("good", "")}
    again.see(record="5")
    again.mark("good")
    with Path("explorer.review.csv").open(newline="") as file:
        assert [(r["record"], r["by"]) for r in csv.DictReader(file)] == [("1", "AB"), ("5", "EF")]


def test_the_table_lists_what_is_measured_predicted_and_doubted(explorer, few):
    records, of = explorer.records, explorer.session.of
    assert records["ids"] == few["record"].values.tolist()
    numbers = {name: floats(v) for name, v in records["numbers"].items()}
    np.testing.assert_allclose(numbers["qt"], few["qt"], rtol=1e-6)
    np.testing.assert_allclose(numbers["predicted_qt"], of.predictions["qt"], rtol=1e-6)
    np.testing.assert_allclose(numbers["error_qt"], np.abs(of.predictions["qt"] - few["qt"]), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(numbers["doubt"], few["doubt"].max("landmark"), rtol=1e-6)
    np.testing.assert_allclose(numbers["qtc"], few["qt"] / np.cbrt(60 / few["hr"]), rtol=1e-6)
    assert records["texts"]["sex"] == few["sex"].values.tolist()
    np.testing.assert_allclose(floats(records["marks"]).reshape(40, -1), few["fiducial"], rtol=1e-6)


def test_beats_are_sent_ahead_to_the_nearest_microvolt(explorer, few):
    sent = []
    explorer.send = lambda message, buffers=None: sent.append((message, buffers))
    explorer._told({"do": "beats", "with": {"rows": [2, 5, 1000]}})
    ((message, (data,)),) = sent
    assert message == {"beats": [2, 5]}
    beats = np.frombuffer(data, "<i2").reshape(2, 8, -1)
    np.testing.assert_allclose(beats, few["beat"].isel(record=[2, 5]), atol=0.51)


def test_what_fails_is_said_in_the_browser_and_not_in_the_log_alone(explorer, monkeypatch):
    def full(*args, **kwargs):
        raise MemoryError("no room for a figure")

    monkeypatch.setattr("ecgwb.explorer.session.draw", full)
    with pytest.raises(MemoryError):
        explorer._answer({"do": "export", "with": {}, "number": 7})
    assert explorer.shown["refused"]
    assert explorer.shown["number"] == 7
    assert "export failed" in explorer.shown["message"]
    assert "no room for a figure" in explorer.shown["message"]
    explorer._answer({"do": "see", "with": {"lead": "V2"}, "number": 8})
    assert explorer.shown["view"]["lead"] == "V2"
    assert not explorer.shown["message"]


def test_the_table_of_measurements_says_before_and_after(explorer, measures, few):
    explorer.do("see", stretched=[["QT", 20]])
    shown, rid = explorer.shown, explorer.session.view.record
    qt, again = row(shown, "qt"), wb.edits.stretch(few.sel(record=[rid]), "QT", 20)
    assert qt["measured_after"] == pytest.approx(qt["measured"] + 20, abs=2.1)
    assert qt["predicted_after"] == pytest.approx(float(wb.predict(measures, again)["qt"][0]), rel=1e-5)
    assert row(shown, "qtc")["measured"] == pytest.approx(qt["measured"] / np.cbrt(60 / row(shown, "hr")["measured"]))
    np.testing.assert_array_equal(floats(shown["before"]).reshape(8, -1), few["beat"].sel(record=rid).values)


def test_maps_are_compared_with_the_reason_they_differ(explorer):
    explorer.do("see", view="maps")
    assert [m["name"] for m in explorer.shown["maps"]] == list(COMPARED)
    assert all(np.isfinite(floats(m["map"]["values"])).all() for m in explorer.shown["maps"])
    assert "an edit map says what a stretch of the ECG does" in explorer.constants["why"]
    figure = draw(explorer.session.of, explorer.session.view)
    assert len(figure.axes) == 4
    plt.close(figure)


def test_a_network_without_shown_skill_says_so_on_every_picture_of_its_maps(few, measures):
    no = {
        "metric": "1 - MAE/constant",
        "constant": 0.0,
        "value": -0.01,
        "low": -0.1,
        "high": 0.05,
        "people": 48,
        "on": "?",
    }
    spec = measures.spec
    try:
        keep_spec(measures, dataclasses.replace(spec, skill=spec.skill | {"pr": no}))
        explorer = wb.explore(few, measures)
        assert explorer.shown["skill"].startswith("NO SKILL SHOWN: 1 - MAE/constant -0.01")
        assert explorer.shown["notes"] == [explorer.shown["skill"]]
        assert "NO SKILL SHOWN" in explorer._page().data
        for view in ("beat", "12 leads", "maps"):
            figure = draw(explorer.session.of, dataclasses.replace(explorer.session.view, view=view))
            texts = [t.get_text() for t in (*figure.texts, *(t for ax in figure.axes for t in ax.texts))]
            assert [t for t in texts if t.startswith("NO SKILL SHOWN:")], view
            plt.close(figure)
        explorer.do("see", target="qt")  # whose skill was shown
        assert (explorer.shown["skill"], explorer.shown["notes"]) == ("", [])
        keep_spec(measures, dataclasses.replace(spec, skill={}))
        assert (unknown := Exploration(few, measures)).skill_note(explorer.session.view) == "skill not known"
        assert unknown.notes(explorer.session.view) == []
    finally:
        keep_spec(measures, spec)


def test_a_number_that_rests_on_an_absent_wave_is_marked(few, measures):
    bare = few.isel(record=slice(4)).copy(deep=True)
    bare["pr"][1] = np.nan
    bare["rhythm_label"] = ("record", ["Sinus rhythm", "Atrial fibrillation", "Sinus rhythm", "Sinus rhythm"])
    explorer = wb.explore(bare, measures)
    assert {r["caution"] for r in explorer.shown["numbers"]} == {""}
    explorer.do("see", record=str(bare["record"].values[1]))
    cautions = {r["target"]: r["caution"] for r in explorer.shown["numbers"] if r["caution"]}
    assert list(cautions) == ["pr", "qtc"]
    assert "a wave it needs is absent" in cautions["pr"]
    of = Exploration(few.assign_coords(diagnosis=("record", ["AFLT"] * 40)).drop_vars("rhythm_label"), measures)
    (qtc,) = (r for r in of.measurements(View(str(few["record"].values[0]), "qt")) if r["target"] == "qtc")
    assert "irregular rhythm" in qtc["caution"]  # by the diagnosis, as PTB-XL has it


def test_messages_say_whether_something_was_refused(session):
    session.mark("good")
    assert (session.message.startswith("record 1: marked as good"), session.refused) == (True, False)
    session.mark("splendid")
    assert session.refused
    session.see(record="2")
    assert (session.message, session.refused) == ("", False)


def test_a_record_without_landmarks_is_shown_without_them(few, measures):
    bare = few.isel(record=slice(12)).copy(deep=True)
    bare["fiducial"][0] = np.nan
    for t in wb.TARGETS:
        bare[t][0] = np.nan
    explorer = wb.explore(bare, measures)
    assert row(explorer.shown, "qt")["predicted"] is not None
    assert any("this record has no landmarks" in words for words in explorer.shown["about"])
    before = explorer.shown["beat"]
    explorer.do("see", blanked="P")
    assert "no such wave" in explorer.shown["message"]
    assert explorer.shown["view"]["blanked"] == "none"
    assert explorer.shown["beat"] == before


def test_a_cohort_without_the_networks_leads_is_shown_without_the_network(few, measures):
    explorer = wb.explore(few.sel(lead=["I", "II", "V1"]), measures)
    assert "needs lead V2, V3" in explorer.shown["notes"][0]
    for view in ("12 leads", "rhythm", "maps", "beat"):
        explorer.do("see", view=view)
        assert explorer.shown["view"]["view"] == view
        assert explorer.shown["map"] is None
    explorer.do("see", blanked="T")
    assert "other leads than I, II, V1" in explorer.shown["message"]
    assert explorer.shown["view"]["blanked"] == "none"


def test_what_cannot_be_explored_is_said(few, measures):
    with pytest.raises(ValueError, match="holds no records"):
        wb.explore(few.isel(record=[]), measures)
    session = Session(few.drop_vars(["rhythm", "cycle_fiducial", "cycle_used"]), measures)
    session.see(view="rhythm")
    assert "rhythm=True" in session.message
    assert session.view.view == "beat"
    session.see(colour="red")
    assert "a view has no colour" in session.message


def test_the_cohorts_map_is_never_made_in_one_go_while_a_user_waits(few, measures, monkeypatch):
    """Neither when something else is shown by the time it is made, nor when a landmark is kept meanwhile."""
    at_hand, whole = [], Exploration.cohort_map

    def noted(of, view):
        at_hand.append(of.map_key(view)[:3] in of._raw_maps)
        return whole(of, view)

    async def look():
        explorer = wb.explore(few, measures)
        for asked in ({"view": "12 leads"}, {"variant": "saliency"}, {"view": "beat"}, {"variant": "edit map"}):
            explorer.do("see", **asked)
            await asyncio.sleep(0.2)
        while not re.search(r"[1-9]\d %", explorer.computing):
            await asyncio.sleep(0.02)
        place = explorer.session.of.place(explorer.shown["record"], "T_off")
        explorer.do("see", moved=["T_off", place + 20])
        explorer.do("keep")
        while explorer.computing or "mean" not in (explorer.shown.get("cohort") or {}):
            await asyncio.sleep(0.02)

    monkeypatch.setattr(Exploration, "cohort_map", noted)
    asyncio.run(asyncio.wait_for(look(), 120))
    assert at_hand
    assert all(at_hand)


def test_a_network_whose_target_is_words_in_the_cohort_is_explored(few, sex_net):
    spec = wb.ModelSpec(targets=("sex",), link="logit", layer=sex_net.spec.layer, net=sex_net.spec.net)
    explorer = wb.explore(few, wb.wrap_model(copy.deepcopy(sex_net), spec))
    assert row(explorer.shown, "sex")["predicted"] is not None
    assert row(explorer.shown, "sex")["measured"] is None
    assert explorer.records["texts"]["sex"] == few["sex"].values.tolist()
    assert np.isnan(floats(explorer.records["numbers"]["error_sex"])).all()


def test_an_edit_that_there_is_not_is_refused_and_said(explorer):
    before = explorer.session.view
    explorer.do("see", stretched=[["RR", 20]])
    assert explorer.session.view == before
    assert explorer.shown["message"] == "'RR' cannot be stretched; expected one of PR, QRS, QT"


def test_people_whom_a_cohorts_map_lacks_are_not_counted(few, measures):
    some = few.isel(record=slice(20)).copy(deep=True)
    some["fiducial"][3] = np.nan  # no QRS to warp a map onto
    some = some.assign_coords(patient=("record", [*"aa", *map(str, range(18))]))
    of = Exploration(some, measures)
    assert of.cohort_map_on(View(str(some["record"].values[0]), "qt")).attrs["people"] == 18


def test_layers_and_methods_are_chosen_from_those_that_work(few, measures, tiny):
    of = Exploration(few, measures)
    assert of.layers()[0] == measures.spec.layer
    view = View(str(few["record"].values[1]), "qt")
    seen = {name: of.maps(dataclasses.replace(view, layer=name), of.edited(view), "qt") for name in of.layers()}
    assert len(seen) > 3
    assert all(np.isfinite(m).all() for m in seen.values())
    curves = [of.record_map(dataclasses.replace(view, variant=name))[0] for name in WAYS]
    for one, other in itertools.pairwise(curves):
        assert one.dims != other.dims or not np.array_equal(one, other)
    assert {"features.0", "features.3"} <= set(Exploration(few, tiny).layers())


def test_a_landmark_is_moved_kept_in_the_store_and_taken_back(few, measures, tmp_path):
    few.to_zarr(tmp_path / "few.zarr", zarr_format=2)
    cohort = wb.open_cohort(tmp_path / "few.zarr", rhythm=True)
    explorer = wb.explore(cohort, measures, store=tmp_path / "few.zarr", by="JK")
    rid = explorer.shown["record"]
    at, qt = (float(v.sel(record=rid)) for v in (few["fiducial"].sel(landmark="T_off"), few["qt"]))
    explorer.do("keep")
    assert "move a landmark first" in explorer.shown["message"]
    explorer.do("see", moved=["T_off", at + 20])
    assert row(explorer.shown, "qt")["measured_after"] == pytest.approx(qt + 20)  # QT measured anew
    assert float(explorer.cohort["qt"].sel(record=rid)) == qt
    explorer.do("keep")
    assert explorer.shown["manual"][wb.LANDMARKS.index("T_off")]
    kept = wb.open_cohort(tmp_path / "few.zarr")
    for c in (explorer.cohort, kept):
        assert float(c["fiducial"].sel(record=rid, landmark="T_off")) == at + 20
    assert '"source": "JK"' in kept.attrs["landmarks_changed"]
    assert floats(explorer.records["numbers"]["qt"])[0] == pytest.approx(qt + 20, rel=1e-6)
    explorer.do("undo")
    for c in (explorer.cohort, wb.open_cohort(tmp_path / "few.zarr")):
        assert float(c["fiducial"].sel(record=rid, landmark="T_off")) == at


def test_a_move_that_cannot_be_is_refused_and_another_record_forgets_one_that_can(session):
    at = session.of.place(session.view.record, "QRS_on")
    session.see(moved=["QRS_on", at - 4])
    session.see(moved=["QRS_on", at + 150])
    assert "out of order" in session.message
    assert session.view.moved == ("QRS_on", at - 4)
    session.see(record="2")
    assert session.view.moved is None
    assert session.message == ""
    session.undo()
    assert session.view.moved == ("QRS_on", at - 4)


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
    (qt,) = (r for r in of.measurements(view) if r["target"] == "qt")
    assert qt["predicted_after"] == pytest.approx(float(wb.predict(measures, names["one"])["qt"][0]))
    np.testing.assert_allclose(
        names["maps"].mean() + names["maps"]["bias"], wb.predict(measures, names["one"])["qt"], rtol=1e-4
    )


def test_export_keeps_the_figure_and_says_how_it_is_made(session, tmp_path):
    code = session.export()
    (kept,) = tmp_path.glob("*.pdf")
    assert kept.name in session.message
    assert "wb.ecgradcam(model, one" in code


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
