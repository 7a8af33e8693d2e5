import json
import sys

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest

from ecgwb import figures, pages, paper
from ecgwb.__main__ import main


def test_what_is_kept_twice_gives_the_same_files(tmp_path, monkeypatch):
    made = []
    for run in ("a", "b"):
        monkeypatch.setenv(paper.FOLDER_VARIABLE, str(tmp_path / run))
        fig, ax = plt.subplots()
        ax.plot([0, 1])
        assert paper.keep("1x", fig, pd.DataFrame({"v": [1 / 3, 2e-9]}), "Title of 0.5 Hz. Caption. More.") is fig
        made.append({p.name: p.read_bytes() for p in (tmp_path / run).iterdir()})
    assert set(made[0]) == {"1x.pdf", "1x.png", "1x.csv", "1x.json"}
    assert made[0] == made[1]
    about = json.loads(made[0]["1x.json"])
    assert about == {"name": "1x", "title": "Title of 0.5 Hz", "caption": "Caption. More."}
    assert made[0]["1x.csv"] == b",v\n0,0.333333\n1,2e-09\n"


def test_the_paper_is_made_of_what_its_notebooks_show(tmp_path, monkeypatch):
    monkeypatch.setenv(paper.FOLDER_VARIABLE, "")
    source = tmp_path / "notebooks"
    source.mkdir()
    code = (
        "import matplotlib.pyplot as plt, pandas as pd\nfrom ecgwb.paper import keep\n"
        "keep('1a_x', plt.figure(), pd.DataFrame({'v': [1]}), 'A <title>. Words & numbers.')"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, source / "01_x.ipynb")
    assert main(["paper", "--notebooks", str(source), "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "A &lt;title&gt;" in page
    assert "1a_x.png" in page
    assert (tmp_path / "out" / "01_x.html").is_file()
    found = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert {"ludb", "ptbxl500"} == set(found["data"])
    assert "compact-measures.safetensors" in found["weights"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two exhibits, the one named first made last."""
    monkeypatch.setenv(paper.FOLDER_VARIABLE, str(tmp_path))
    for name, title, width in (("2a_x", "Second & last", 7.2), ("0a_y", "First", 3.5)):
        fig, ax = plt.subplots(figsize=(width, 2))
        ax.plot([0, 1], label=title)
        ax.set_title("drawn µV")
        table = pd.DataFrame({"v": [1 / 3, 2.0], "note": ["", "long <words> " * 20]}, index=["a", "b"])
        with plt.style.context(figures.STYLE):
            paper.keep(name, fig, table, f"{title}. Caption of {name}.")
    (tmp_path / "provenance.json").write_text(json.dumps(paper.provenance()))
    return tmp_path


def test_the_page_has_every_exhibit_in_order_with_its_numbers_methods_and_provenance(folder):
    text = paper.write_pages(folder, ["01_x"]).read_text()
    assert text.index("<h2>First</h2>") < text.index("Second &amp; last") < text.index("<h2>Methods</h2>")
    assert "<td>0.333</td>" in text
    assert "long &lt;words&gt;" in text
    assert paper.provenance()["data"]["ludb"]["sha256"] in text
    assert "1000 bootstrap samples" in text


def test_the_pdf_holds_the_figures_as_vectors_with_captions_tables_methods_and_provenance(folder):
    pypdf = pytest.importorskip("pypdf")
    pytest.importorskip("reportlab")
    paper.write_pages(folder, ["01_x"])
    assert 'href="paper.pdf"' in (folder / "index.html").read_text()
    pdf = pypdf.PdfReader(folder / "paper.pdf")
    text = "\n".join(page.extract_text() for page in pdf.pages)
    flat = " ".join(text.split())
    for words in ("First", "Caption of 0a_y.", "Second & last", "Caption of 2a_x.", "Methods", "Provenance", "0.333"):
        assert words in flat
    assert flat.index("Caption of 0a_y.") < flat.index("Caption of 2a_x.") < flat.index("Methods")
    assert flat.count("drawn µV") == 2  # the figures' own text: not pictures of them
    assert paper.provenance()["data"]["ptbxl500"]["sha256"] in text.replace("\n", "")
    assert not any(page.images for page in pdf.pages)
    fonts = [f.get_object() for page in pdf.pages for f in page["/Resources"]["/Font"].values()]
    for font in fonts:
        if font["/BaseFont"] == "/Helvetica":  # named by ReportLab on every page, used on none
            continue
        inner = font["/DescendantFonts"][0].get_object() if "/DescendantFonts" in font else font
        assert "/FontFile2" in inner["/FontDescriptor"], font["/BaseFont"]


def test_without_the_packages_for_pdf_the_page_is_made_and_says_so(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pypdf", None)
    text = paper.write_pages(folder, ["01_x"]).read_text()
    assert "paper.pdf" not in text
    assert "install the extra with  pip install 'ecgwb[lab]'" in capsys.readouterr().out


def test_numbers_are_read_with_three_digits_and_large_tables_left_to_their_csv(tmp_path):
    pd.DataFrame({"k": ["x", "y"], "v": [0.123456, 12345.6], "n": [200, 7]}).to_csv(tmp_path / "a.csv", index=False)
    table = pages.shown_table(tmp_path, "a")
    assert table.to_numpy().tolist() == [["x", "0.123", "200"], ["y", "12346", "7"]]
    pd.DataFrame({"v": range(200)}).to_csv(tmp_path / "b.csv")
    assert pages.shown_table(tmp_path, "b") is None


def test_without_notebooks_the_command_says_so(tmp_path, capsys):
    assert main(["paper", "--notebooks", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "no numbered notebooks" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["build", "nowhere", "x.zarr"]])
def test_the_command_line_says_what_is_wrong(arguments, capsys):
    assert main(arguments) == 1
    assert "error: no folder nowhere" in capsys.readouterr().err
