"""Every cell that draws shows a picture, in the pages that `make paper` wrote last.

Left out where there is no ``paper/``; continuous integration makes it first.
"""

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

PAPER = Path(__file__).parents[2] / "paper"
PAGES = sorted(PAPER.glob("0*.html"))
DRAWS = re.compile(r"\bplot_\w+\(|\bplt\.(figure|subplots)\(|\bkeep\(|\.plot\(|\bexplore\(")
PICTURES = ".jp-OutputArea-output img, .jp-OutputArea-output svg"


def cells(page):
    """Code of each cell of an executed notebook, and how many pictures stand under it."""
    for cell in BeautifulSoup(page, "html.parser").select(".jp-CodeCell"):
        yield cell.select_one(".jp-InputArea-editor").get_text(), len(cell.select(PICTURES))


def without_picture(page):
    return [code for code, pictures in cells(page) if DRAWS.search(code) and "def " not in code and not pictures]


@pytest.mark.skipif(not PAGES, reason="make paper has not been run")
@pytest.mark.parametrize("file", PAGES, ids=[p.stem for p in PAGES])
def test_every_cell_that_draws_shows_a_picture(file):
    assert not without_picture(file.read_text())


def test_a_cell_without_its_picture_is_found():
    cell = "<div class='jp-CodeCell'><div class='jp-InputArea-editor'>{}</div>{}</div>"
    shown = "<div class='jp-OutputArea-output'><img src='x.png'></div>"
    page = cell.format("plot_ecg(rhythm)", shown) + cell.format("plot_beats(beat)", "") + cell.format("1 + 1", "")
    assert without_picture(page) == ["plot_beats(beat)"]
