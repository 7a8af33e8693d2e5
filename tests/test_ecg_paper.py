import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection

import ecgwb as wb
from ecgwb.ecg_paper import LAYOUTS, plot_beats, plot_ecg, plot_trace


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
    assert len({ax.get_ylim() for ax in figure.axes}) == 1
    by_lead = xr.DataArray(np.ones((8, 600)), dims=("lead", "time"), coords={"lead": list(wb.LEADS)})
    figure = plot_beats(one["beat"], by_lead)
    coloured = {ax.texts[0].get_text() for ax in figure.axes if ax.collections}
    assert coloured == set(wb.LEADS)  # a method that resolves leads says nothing of derived ones
