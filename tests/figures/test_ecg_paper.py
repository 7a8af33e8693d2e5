import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection

import ecgwb as wb
from ecgwb.figures.ecg_paper import LAYOUTS, plot_beats, plot_ecg, plot_paper_beat, plot_trace


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def rhythm(leads=wb.LEADS, seconds=10.0, fs=500):
    t = np.arange(round(seconds * fs)) / fs
    beats = 1000.0 * (np.abs(t % 1.0 - 0.5) < 0.02)  # 1 mV for 40 ms, once a second
    return xr.DataArray(np.stack([beats] * len(leads)), dims=("lead", "sample"), coords={"lead": list(leads)})


def traces(figure):
    return [line for line in figure.axes[0].lines if len(line.get_xdata()) > 100]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_page_is_true_to_size(layout):
    figure = plot_ecg(rhythm(), layout)
    ax = figure.axes[0]
    width, height = figure.get_size_inches() * 25.4
    assert ax.get_xlim() == pytest.approx((0, width))
    assert ax.get_ylim() == pytest.approx((0, height))
    assert ax.get_position().bounds == (0, 0, 1, 1)
    total = sum(np.ptp(line.get_xdata()) for line in traces(figure))
    rows = len(LAYOUTS[layout])
    assert total == pytest.approx(rows * 250, rel=0.01)  # 10 s a row at 25 mm/s
    assert len(traces(figure)) == sum(map(len, LAYOUTS[layout]))
    for line in traces(figure):
        assert np.ptp(line.get_ydata()) <= 20.0001


def test_a_millivolt_is_ten_millimetres_as_is_the_calibration_pulse():
    figure = plot_ecg(rhythm(), "12x1")
    lead_i = traces(figure)[0]
    assert np.ptp(lead_i.get_ydata()) == pytest.approx(10.0)
    pulse = min(figure.axes[0].lines, key=lambda line: line.get_xdata().min())
    assert np.ptp(pulse.get_ydata()) == pytest.approx(10.0)
    x = pulse.get_xdata()[np.isclose(pulse.get_ydata(), pulse.get_ydata().max())]
    assert np.ptp(x) == pytest.approx(5.0)  # 200 ms


def test_another_rate_has_the_same_paper_speed():
    figure = plot_ecg(rhythm(fs=250), "12x1", fs=250)
    assert np.ptp(traces(figure)[0].get_xdata()) == pytest.approx(250, rel=0.01)


def test_limb_leads_are_derived_and_others_named_as_not_recorded():
    words = [t.get_text() for t in plot_ecg(rhythm(("I", "II", "V1")), "6x2").axes[0].texts]
    assert {"aVF", "III", "V1", "V4: not recorded"} <= set(words)
    with pytest.raises(ValueError, match="unknown layout '4x3'"):
        plot_ecg(rhythm(), "4x3")
    with pytest.raises(ValueError, match="select a record first"):
        plot_ecg(rhythm().expand_dims("record"))


def test_attention_on_paper_keeps_zero_white_and_its_own_time():
    values = xr.DataArray(np.r_[np.zeros(2500), np.ones(2500)], dims="sample")
    images = plot_ecg(rhythm(), "12x1", attention=values).axes[0].images
    assert len(images) == 12
    (bar,) = (ax for ax in plot_ecg(rhythm(), "12x1", attention=values).axes if ax.get_label() == "colour bar")
    assert bar.get_title() == "map (no unit)"
    for image in images:
        assert image.get_clim() == (-1.0, 1.0)
        assert np.ptp(image.get_extent()[:2]) == pytest.approx(250, rel=0.01)


def test_a_coloured_trace_is_also_told_apart_in_grey():
    ax = plt.figure().subplots()
    plot_trace(ax, np.arange(4.0), np.zeros(4), np.array([0.0, 0.0, 1.0, 1.0]), 1.0)
    (drawn,) = (c for c in ax.collections if isinstance(c, LineCollection))
    assert drawn.get_linewidths()[-1] > 2 * drawn.get_linewidths()[0]


def test_twelve_leads_of_a_beat_share_one_scale(ludb):
    one = ludb.isel(record=0)
    figure = plot_beats(one["beat"], xr.DataArray(np.linspace(-1, 1, 600), dims="time"))
    assert [ax.texts[0].get_text() for ax in figure.axes[:4]] == ["I", "aVR", "V1", "V4"]  # as on paper
    *leads, bar = figure.axes
    assert len({ax.get_ylim() for ax in leads}) == 1
    assert bar.get_ylabel() == "map (no unit)"
    by_lead = xr.DataArray(np.ones((8, 600)), dims=("lead", "time"), coords={"lead": list(wb.LEADS)})
    figure = plot_beats(one["beat"], by_lead)
    coloured = {ax.texts[0].get_text() for ax in figure.axes if ax.collections and ax.texts}
    assert coloured == set(wb.LEADS)  # a method that resolves leads says nothing of derived ones


def millimetres(ax, x, y):
    """A point of an Axes, in mm from the sheet's lower left corner."""
    return ax.transData.transform((x, y)) / ax.figure.dpi * 25.4


@pytest.mark.parametrize(("speed", "gain"), [(100.0, 10.0), (25.0, 20.0)])
def test_a_beat_on_paper_is_true_to_size(ludb, speed, gain):
    one = ludb.sel(record="2")
    figure = plot_paper_beat(one["beat"], one["fiducial"], speed=speed, gain=gain)
    leads = {ax.get_label(): ax for ax in figure.axes[1:]}
    assert list(leads) == ["II", "V2", "V5"]
    for lead, ax in leads.items():
        a, b = millimetres(ax, 0, 0), millimetres(ax, 400, 1000)
        assert b - a == pytest.approx([0.4 * speed, gain], rel=1e-6)
        trace = max(ax.lines, key=lambda line: len(line.get_xdata()))
        np.testing.assert_array_equal(trace.get_ydata(), one["beat"].sel(lead=lead))
        low, high = ax.get_ylim()
        assert low < one["beat"].sel(lead=lead).min() < one["beat"].sel(lead=lead).max() < high


def test_a_landmarks_doubt_is_a_band_and_one_by_hand_is_drawn_otherwise(ludb):
    one = wb.cohorts.move_landmark(ludb, "2", "T_off", 380.0).sel(record="2")
    marks = {"fiducial": one["fiducial"], "doubt": one["doubt"], "manual": one["manual"]}
    ax = next(a for a in plot_paper_beat(one["beat"], **marks).axes if a.get_label() == "V5")
    bands = {p.get_gid(): p for p in ax.patches if p.get_gid()}
    at, off = (float(one[k].sel(landmark="P_on")) for k in ("fiducial", "doubt"))
    for times in (1, 2):
        band = bands[f"{times} doubt P_on"].get_extents().transformed(ax.transData.inverted())
        assert (band.x0, band.x1) == pytest.approx((at - times * off, at + times * off))
    assert not {"1 doubt T_off", "2 doubt T_off"} & set(bands)  # by hand: how surely is not known
    lines = {line.get_gid(): line for line in ax.lines}
    assert lines["mark T_off"].get_linestyle() == "--"
    assert lines["mark P_on"].get_linestyle() == "-"
    assert lines["by hand T_off"].get_xdata() == [380.0]
    assert "by hand P_on" not in lines
    assert not any(str(g).split()[-1] == "R" for g in (*bands, *lines))


def test_attention_on_a_paper_beat_has_one_scale_and_a_bar_with_its_unit(ludb, measures):
    one = ludb.isel(record=[0])
    qt = wb.ecgradcam(measures, one, "qt").isel(record=0, target=0)
    figure = plot_paper_beat(one["beat"].isel(record=0), attention=qt)
    images = [i for ax in figure.axes if ax.get_label() != "colour bar" for i in ax.images]
    limit = float(np.abs(qt).max())
    assert [i.get_clim() for i in images] == [pytest.approx((-limit, limit))] * 3
    (bar,) = (ax for ax in figure.axes if ax.get_label() == "colour bar")
    assert bar.get_title() == "map (ms)"
    assert bar.get_xlim() == pytest.approx((-limit, limit))
    with pytest.raises(ValueError, match="expected one of aVX"):
        plot_paper_beat(one["beat"].isel(record=0), leads=["aVX"])


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(light):
    """CIELAB of linear sRGB; L* is what is left of a colour in grey, and a distance of 2.3 can just be seen."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = light @ to_xyz.T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def seen_without(missing, light):
    """Linear sRGB as people without the red or green cone see it (Vienot, Brettel & Mollon 1999)."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    lms = light @ to_lms.T
    if missing == "red":
        lms[:, 0] = 2.02344 * lms[:, 1] - 2.52581 * lms[:, 2]
    else:
        lms[:, 1] = 0.494207 * lms[:, 0] + 1.24827 * lms[:, 2]
    return np.clip(lms @ np.linalg.inv(to_lms).T, 0, 1)


def test_a_maps_colours_tell_sign_to_colour_blind_eyes_and_size_in_grey():
    colours = linear(plt.get_cmap("RdBu_r")(np.linspace(0, 1, 65))[:, :3])
    grey = lab(colours)[:, 0]
    assert grey[32] > 95  # zero is white
    assert (np.diff(grey[:33]) > 0).all()  # and either side darkens step by step
    assert (np.diff(grey[32:]) < 0).all()
    for missing in ("red", "green"):
        seen = lab(seen_without(missing, colours))
        apart = np.linalg.norm(seen[:32] - seen[:32:-1], axis=1)  # +v from -v, from the ends to the middle
        assert (apart[:28] > 10).all(), missing
