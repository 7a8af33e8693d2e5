"""The explorer's colours: contrast by WCAG 2 (4.5 for text, 3 for lines), and told apart by the colour-blind."""

import re
from pathlib import Path

import numpy as np
import pytest

import ecgwb.explorer

FOLDER = Path(ecgwb.explorer.__file__).parent
CSS = (FOLDER / "explorer.css").read_text()
COLOURS = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", CSS))
SHARE = float(re.search(r"--map: ([0-9.]+);", CSS)[1])  # opacity of a map's colours behind a trace
MAP = re.findall(r'"(#[0-9a-f]{6})"', (FOLDER / "explorer.js").read_text().split("const RDBU")[1].split("]")[0])
TEXTS = [
    ("ink", "paper"), ("ink", "soft"), ("ink", "hover"), ("ink", "chosen"), ("quiet", "paper"), ("quiet", "soft"),
    ("disabled", "paper"), ("paper", "accent"), ("warn", "paper"), ("edited", "paper"), ("edited", "chosen"),
    ("hand", "paper"), ("axis", "paper"),
]  # fmt: skip
LINES = [(line, "paper") for line in ("record", "cohort", "other", "hand", "before", "zero", "focus", "edge")]
LINES += [("edge", "soft"), ("focus", "soft"), ("accent", "soft")]
# Colour blindness of red, green and blue cones (Machado, Oliveira and Fernandes 2009, severity 1), on linear RGB.
BLIND = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def rgb(colour):
    return np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255


def linear(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    a, b = sorted(float(XYZ[1] @ linear(c)) for c in (one, other))
    return (b + 0.05) / (a + 0.05)


def lab(colour, blind):
    xyz = XYZ @ np.clip(BLIND[blind] @ linear(rgb(colour)), 0, 1) / XYZ.sum(1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_contrast_of_known_colours():
    assert contrast(rgb("#000000"), rgb("#ffffff")) == pytest.approx(21)
    assert contrast(rgb("#777777"), rgb("#ffffff")) == pytest.approx(4.48, abs=0.01)


def test_every_colour_of_the_style_sheet_is_a_property():
    rules = CSS.split("}", 1)[1]
    assert not re.findall(r"#[0-9a-fA-F]{3,6}\b", rules)
    assert set(re.findall(r"var\(--([a-z]+)\)", rules)) <= set(COLOURS)


@pytest.mark.parametrize(("text", "ground"), TEXTS)
def test_text_stands_out(text, ground):
    assert contrast(rgb(COLOURS[text]), rgb(COLOURS[ground])) >= 4.5


@pytest.mark.parametrize(("line", "ground"), LINES)
def test_lines_stand_out(line, ground):
    assert contrast(rgb(COLOURS[line]), rgb(COLOURS[ground])) >= 3


def test_the_trace_stands_out_on_every_colour_of_a_map():
    assert len(MAP) == 11
    for colour in MAP:
        behind = SHARE * rgb(colour) + (1 - SHARE) * rgb(COLOURS["paper"])
        assert contrast(rgb(COLOURS["ink"]), behind) >= 3


@pytest.mark.parametrize("blind", BLIND)
def test_curves_of_one_panel_and_the_ends_of_the_map_are_told_apart(blind):
    for one, other in (("record", "cohort"), ("ink", "cohort"), ("ink", "other"), ("ink", "hand"), ("ink", "record")):
        assert np.linalg.norm(lab(COLOURS[one], blind) - lab(COLOURS[other], blind)) > 15, (one, other)
    for k in range(5):
        assert np.linalg.norm(lab(MAP[k], blind) - lab(MAP[-1 - k], blind)) > 15
