"""Pages of the paper.pdf that `make paper` wrote last: they are filled, and in one font.

Left out where there is no ``paper/``; continuous integration makes it first.
"""

from pathlib import Path

import pytest

PDF = Path(__file__).parents[2] / "paper" / "paper.pdf"
MOST_EMPTY = 0.45  # of a page's height, under its last line

pypdf = pytest.importorskip("pypdf")
pytestmark = pytest.mark.skipif(not PDF.is_file(), reason="make paper has not been run")


def lowest_line(page):
    """Height of the lowest text of a page over the page number, as a share of the page's height."""
    heights = []

    def seen(text, matrix, of_text, font, size):
        if text.strip():
            y = of_text[4] * matrix[1] + of_text[5] * matrix[3] + matrix[5]
            heights.append(abs(y) / float(page.mediabox.height))

    page.extract_text(visitor_text=seen)
    body = [y for y in heights if y > 0.055]
    return min(body, default=1.0)


def test_no_page_but_the_last_is_half_empty():
    pages = pypdf.PdfReader(PDF).pages
    empty = {k + 1: lowest_line(page) for k, page in enumerate(pages[:-1])}
    assert not {k: round(y, 2) for k, y in empty.items() if y > MOST_EMPTY}


def test_all_text_is_in_one_family_of_fonts():
    fonts = set()
    for page in pypdf.PdfReader(PDF).pages:
        fonts |= {str(f.get_object()["/BaseFont"]) for f in (page["/Resources"].get("/Font") or {}).values()}
    assert fonts
    assert all("DejaVuSans" in f for f in fonts), fonts
