"""The explorer of networks that take recordings: known recordings and networks, and the rhythm_net one."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from known_rhythms import CountsBeats, MeanOfPower, made_rhythms, many, on_rhythms, steady

import ecgwb as wb
from ecgwb.cohorts.beats import RHYTHM
from ecgwb.delineation.landmarks import R
from ecgwb.explorer import Exploration, View, draw


@pytest.fixture(scope="module")
def made():
    return many(16)


def test_the_map_lies_along_the_recording_and_put_together_on_the_beat(made):
    of = Exploration(made, on_rhythms(MeanOfPower()))
    view = View("3", "hr", variant="saliency", view="rhythm")
    along, trouble = of.record_map(view)
    assert trouble == ""
    slope = 2 * np.abs(made["rhythm"].sel(record="3", lead="V5").values) / 1000 / 5000
    np.testing.assert_allclose(along.sel(lead="V5"), slope, rtol=1e-4, atol=1e-9)
    on_beat = of.record_map(View("3", "hr", variant="saliency"))[0].sel(lead="V5")
    np.testing.assert_array_equal(on_beat["time"], made["time"])
    beat = 2 * np.abs(made["beat"].sel(record="3", lead="V5").values) / 1000 / 5000
    own = np.isfinite(on_beat.values)
    assert own.mean() > 0.5
    np.testing.assert_allclose(on_beat.values[own], beat[own], rtol=1e-3, atol=1e-8)


def test_the_beats_map_lies_where_the_edit_has_put_the_wave(made):
    of = Exploration(made, on_rhythms(MeanOfPower()))
    view = View("3", "hr", variant="saliency", stretched=(("QT", 40.0),))
    before, after = (
        of.record_map(v)[0].sel(lead="V5", time=slice(150, 440)) for v in (View("3", "hr", "saliency"), view)
    )
    assert 2 * (after.values.argmax() - before.values.argmax()) == 40


def test_rr_is_stretched_and_made_regular_and_the_prediction_follows():
    uneven = np.cumsum(np.tile([700.0, 900.0], 7))[:12] - 400
    cohort = made_rhythms([uneven, *steady([800.0] * 11, [300.0] * 11)])
    of = Exploration(cohort, on_rhythms(CountsBeats()))
    longer = View("0", "hr", stretched=(("RR", 200.0),))
    assert longer.edits == ["RR +200 ms"]
    hr = of.measurements(longer)[0]
    assert hr["predicted"] == pytest.approx(72, abs=0.5)
    assert abs(hr["predicted_after"] - 60) <= 6  # beats of ten seconds are counted
    regular = View("0", "hr", scaled=(("RR spread", 0.0),))
    assert regular.edits == ["RR spread 0 %"]
    rr = np.diff(of.edited(regular)["cycle_fiducial"].values[0, :, R])
    np.testing.assert_allclose(rr[np.isfinite(rr)], rr[0], atol=1e-6)


def test_what_half_of_the_beats_cannot_take_is_refused(made):
    bare = made.copy(deep=True)
    bare["cycle_fiducial"][0, 2:, :3] = np.nan  # no P wave in most beats of the recording
    of = Exploration(bare, on_rhythms(CountsBeats()))
    with pytest.raises(ValueError, match="P blanked: half of the recording's beats or more have no such wave"):
        of.edited(View("0", "hr", blanked="P"))
    of.edited(View("1", "hr", blanked="P"))


def test_a_cohort_without_recordings_is_told_how_to_be_opened(made):
    with pytest.raises(wb.ModelError, match=r"expected open_cohort\(\.\.\., rhythm=True\)"):
        wb.explore(made.drop_vars(list(RHYTHM)), on_rhythms(CountsBeats()))


def test_a_network_of_another_rate_has_its_map_at_the_right_second(made):
    spec = wb.ModelSpec("rhythm", fs=100, n_samples=1000, targets=("hr",), units=("bpm",), layer="features")
    of = Exploration(made, wb.wrap_model(MeanOfPower().eval(), spec))
    figure = draw(of, View("3", "hr", "saliency", "rhythm"))
    painted = [image.get_array()[0] for image in figure.axes[0].images]
    assert len(painted) == 9  # I, V1, V4, II, V2, V5, V3, V6, II; other leads are not the network's
    v5 = made["rhythm"].sel(record="3", lead="V5").values[3750:]  # the last quarter
    np.testing.assert_allclose(painted[5] / painted[5].max(), np.abs(v5) / v5.max(), atol=0.1)
    plt.close(figure)


def test_recordings_are_sent_with_their_landmarks_and_their_map_along_them(rhythms, rhythm_net):
    explorer = wb.explore(rhythms, rhythm_net)
    assert list(explorer.constants["stretched"]) == ["PR", "QRS", "QT", "RR"]
    assert list(explorer.constants["scaled"]) == ["R", "T", "RR spread"]
    explorer.do("see", view="rhythm")
    rhythm, one = explorer.shown["rhythm"], rhythms.isel(record=0)
    values = np.frombuffer(rhythm["values"], "<f4").reshape(len(one["lead"]), -1)
    np.testing.assert_array_equal(values, one["rhythm"].values)
    np.testing.assert_allclose(
        np.frombuffer(rhythm["cycles"], "<f4"), one["cycle_fiducial"].values.ravel(), rtol=1e-5, atol=1e-3
    )
    assert not explorer.shown["folded"]
    assert explorer.shown["map"]["time"]["n"] == values.shape[1]
    explorer.do("see", stretched=[["RR", 20]], scaled=[["RR spread", 1.2]])
    assert explorer.shown["edits"] == ["RR +20 ms", "RR spread 120 %"]


def test_networks_of_beats_have_no_rr_to_change_and_lay_their_map_on_every_cycle(rhythms, measures):
    explorer = wb.explore(rhythms, measures)
    assert "RR" not in explorer.constants["stretched"]
    explorer.do("see", view="rhythm")
    assert explorer.shown["folded"]
    assert explorer.shown["map"]["time"]["n"] == rhythms.sizes["time"]
    before = explorer.shown["rhythm"]["values"]
    explorer.do("see", blanked="T")
    assert explorer.shown["rhythm"]["values"] != before


@pytest.mark.parametrize("way", ["gradcam", "edit map"])
def test_the_code_beside_a_picture_makes_it_again(rhythms, rhythm_net, way):
    of = Exploration(rhythms, rhythm_net)
    edits = {"stretched": (("RR", 40.0),), "scaled": (("T", 1.2), ("RR spread", 0.5))}
    view = View(str(rhythms["record"].values[1]), "qt", way, **edits)
    names = {"wb": wb, "cohort": rhythms, "model": rhythm_net}
    exec(of.code(view), names)
    drawn, again = draw(of, view), names["figure"]
    assert len(drawn.axes[1].lines) > 3  # the record's curve, and the cohort's
    for a, b in zip(drawn.axes, again.axes, strict=True):
        for one, other in zip(a.lines, b.lines, strict=True):
            np.testing.assert_array_equal(one.get_xydata(), other.get_xydata())
    plt.close("all")
    (qt,) = (r for r in of.measurements(view) if r["target"] == "qt")
    assert qt["predicted_after"] == pytest.approx(float(wb.predict(rhythm_net, names["one"])["qt"][0]))
