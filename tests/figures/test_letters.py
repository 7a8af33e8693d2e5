"""Letters in figures: none below 6 points, none cut off, no two texts on each other; panels have letters."""

import itertools

import matplotlib.pyplot as plt
import pytest
from matplotlib.text import Annotation, Text

import ecgwb as wb
from ecgwb import figures

SMALLEST = 6  # points, as journals ask


@pytest.fixture(autouse=True)
def closed():
    with figures.styled():
        yield
    plt.close("all")


def texts(figure):
    """The texts that a figure shows, with the box that each fills, in pixels."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    off = {id(t) for ax in figure.axes if not ax.axison for t in (ax.xaxis, ax.yaxis) for t in t.findobj(Text)}
    shown = [
        t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and id(t) not in off and drawn(t)
    ]
    return [(t, t.get_window_extent(renderer)) for t in shown]


def drawn(text):
    """Whether a label of a tick lies within its axis; those outside are made, but not drawn."""
    for axis in (axis for ax in text.figure.axes for axis in (ax.xaxis, ax.yaxis)):
        for tick in axis.get_major_ticks() + axis.get_minor_ticks():
            if text in (tick.label1, tick.label2):
                low, high = sorted(axis.get_view_interval())
                room = 1e-9 * (high - low)
                return low - room <= tick.get_loc() <= high + room
    return True


def faults(figure):
    """What is wrong with a figure's letters, in words."""
    found, page = texts(figure), figure.bbox
    wrong = [f"{t.get_text()!r} has {t.get_fontsize()} pt" for t, _ in found if t.get_fontsize() < SMALLEST - 0.01]
    wrong += [
        f"{t.get_text()!r} is cut off"
        for t, box in found
        if box.x0 < page.x0 - 1 or box.x1 > page.x1 + 1 or box.y0 < page.y0 - 1 or box.y1 > page.y1 + 1
    ]
    for (a, box), (b, other) in itertools.combinations(found, 2):
        wide = min(box.x1, other.x1) - max(box.x0, other.x0)
        high = min(box.y1, other.y1) - max(box.y0, other.y0)
        values = isinstance(a, Annotation) or isinstance(b, Annotation)  # of lines in the data, which may be close
        if wide > 1.5 and high > 2.5 and not values:
            wrong.append(f"{a.get_text()!r} lies on {b.get_text()!r}")
    return wrong


@pytest.fixture(scope="module")
def some(ludb):
    return ludb.isel(record=slice(40))


def cohort_map(measures, some):
    maps = [wb.align(make(measures, some, "qt"), some) for make in (wb.edit_map, wb.ecgradcam)]
    return figures.cohort_map(maps[0], some, "qt", below=maps[1])


def narrow_cohort_map(measures, some):
    return figures.cohort_map(wb.align(wb.ecgradcam(measures, some, "qt"), some), some, "qt", width=figures.ONE_COLUMN)


def dose_response(measures, some):
    figure, axes = plt.subplots(1, 2, figsize=(figures.TWO_COLUMNS, 3.2))
    figures.plot_dose_response(wb.dose_response(measures, some), axes)
    return figure


def dose_response_in_one(measures, some):
    figure, ax = plt.subplots(figsize=(figures.ONE_COLUMN, 2.6))
    figures.plot_dose_response(wb.dose_response(measures, some), ax)
    return figure


def blanking(measures, some):
    figure, ax = plt.subplots(figsize=(figures.TWO_COLUMNS, 3.6))
    figures.plot_blanking(wb.blanking_table(measures, some), ax)
    return figure


def groups(measures, some):
    predicted = wb.predict(measures, some)
    figure, ax = plt.subplots(figsize=(figures.TWO_COLUMNS, 2.0))
    table = wb.accuracy_table(predicted, some, by="sex")
    figures.plot_groups(table, wb.accuracy_table(predicted, some), ax)
    return figure


@pytest.mark.parametrize("draw", [cohort_map, narrow_cohort_map, dose_response, dose_response_in_one, blanking, groups])
def test_letters_are_large_enough_and_on_none_other(draw, measures, some):
    assert not faults(draw(measures, some))


def test_faults_are_seen():
    figure, ax = plt.subplots()
    ax.text(0.5, 0.5, "one", fontsize=5)
    ax.text(0.5, 0.5, "other")
    ax.text(1.2, 0.5, "outside", transform=figure.transFigure)
    wrong = " ".join(faults(figure))
    assert "'one' has 5.0 pt" in wrong
    assert "'one' lies on 'other'" in wrong
    assert "'outside' is cut off" in wrong
