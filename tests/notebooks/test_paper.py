"""What a notebook keeps, and how the command line runs notebooks and makes pages of it."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest

import ecgwb as wb
from ecgwb import figures, paper
from ecgwb.__main__ import main

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_what_is_kept_twice_gives_the_same_files(tmp_path, monkeypatch):
    made = []
    for run in ("a", "b"):
        monkeypatch.setenv(paper.FOLDER_VARIABLE, str(tmp_path / run))
        fig, ax = plt.subplots()
        ax.plot([0, 1])
        table = pd.DataFrame({"v": [1 / 3, 2e-9]})
        assert paper.keep("1x", fig, table, "Title of 0.5 Hz. Caption. More.") is fig
        made.append({p.name: p.read_bytes() for p in (tmp_path / run).iterdir()})
    assert set(made[0]) == {"1x.pdf", "1x.png", "1x.csv", "1x.json"}
    assert made[0] == made[1]
    about = json.loads(made[0]["1x.json"])
    assert about == {"name": "1x", "title": "Title of 0.5 Hz", "caption": "Caption. More.", "heading_rows": 1}
    assert made[0]["1x.csv"] == b",v\n0,0.333333\n1,2e-09\n"


# ---------------------------------------------------------------- pages


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two exhibits, the one named first made last, and one left out."""
    monkeypatch.setenv(paper.FOLDER_VARIABLE, str(tmp_path))
    for name, title, width in (("2a_x", "Second & last", 7.2), ("0a_y", "First", 3.5)):
        fig, ax = plt.subplots(figsize=(width, 2))
        ax.plot([0, 1], label=title)
        ax.set_title("drawn µV")
        table = pd.DataFrame({"v": [1 / 3, 2.0], "note": ["", "long <words> " * 20]}, index=["a", "b"])
        with plt.style.context(figures.STYLE):
            paper.keep(name, fig, table, f"{title}. Caption of {name}, |a - b| < *3* $x$.")
    paper.leave_out("1b_z", "No marks made by hand.")
    (tmp_path / "provenance.json").write_text(json.dumps(paper.provenance()))
    return tmp_path


def test_the_page_has_every_exhibit_in_order_with_its_numbers_methods_and_provenance(folder):
    text = paper.write_pages(folder, {"2": "What networks predict"}).read_text()
    places = [
        text.index(words) for words in ("Figure 1. First", "What networks predict", "Figure 2. Second &amp; last")
    ]
    assert places == sorted(places)
    assert "Caption of 2a_x, |a - b| &lt; *3* $x$." in text
    assert '<a id="2a_x">' in text
    assert '<img alt="First" src="0a_y.png"' in text
    assert "<td>0.333</td>" in text
    assert "long &lt;words&gt;" in text
    assert "1b_z: No marks made by hand." in text
    assert "1000 bootstrap samples" in text
    assert paper.provenance()["data"]["ludb"]["sha256"] in text


def test_the_pdf_holds_the_figures_as_vectors_with_captions_tables_methods_and_provenance(folder):
    pypdf = pytest.importorskip("pypdf")
    paper.write_pages(folder, {})
    pdf = pypdf.PdfReader(folder / "paper.pdf")
    text = "\n".join(page.extract_text() for page in pdf.pages)
    flat = " ".join(text.split())
    captions = ["First. Caption of 0a_y, |a - b| < *3* $x$.", "Second & last. Caption of 2a_x", "Methods", "Provenance"]
    places = [flat.index(words) for words in captions]
    assert places == sorted(places)
    assert "0.333" in flat
    assert "1b_z: No marks made by hand." in flat
    assert flat.count("drawn µV") == 2  # the figures' own text: not pictures of them
    assert paper.provenance()["data"]["ptbxl500"]["sha256"] in text.replace("\n", "")
    assert not any(page.images for page in pdf.pages)
    assert pdf.metadata.title.startswith("What ECG networks measure")
    first = (folder / "paper.pdf").read_bytes()
    paper.write_pages(folder, {})
    assert (folder / "paper.pdf").read_bytes() == first


def test_numbers_are_read_with_three_digits_and_large_tables_left_to_their_csv(folder):
    pd.DataFrame({"v": range(200)}).to_csv(folder / "2a_x.csv")
    frame = pd.DataFrame({"k": ["x", "y", "z"], "v_ms": [0.123456, 12345.6, 2.0], "n": [200, 7, 3000000]})
    frame.to_csv(folder / "0a_y.csv", index=False)
    text = paper.write_pages(folder, {}).read_text()
    assert text.count("<table") == 1
    for cell in ("v ms", "0.123", "12346", "200", "3000000"):
        assert f">{cell}</t" in text


def test_a_table_with_two_rows_of_headings_is_shown_with_one(folder, monkeypatch):
    table = pd.DataFrame({("ms", "P_on"): [1.5], ("doubt", "P_on"): [0.25]}, index=pd.Index(["7"], name="record"))
    paper.keep("3z", plt.figure(), table, "Title.")
    text = paper.write_pages(folder, {}).read_text()
    assert all(f"<th>{head}</th>" in text for head in ("record", "ms P on", "doubt P on"))


def test_an_estimate_stands_beside_its_interval_with_the_digits_that_this_has(folder):
    rows = {"target": ["r_v5", "qt"], "unit": ["µV", "ms"], "score": [12.3456, -0.00123], "low": [11.0, -0.0035]}
    rows |= {"high": [13.5, 0.001], "limit_low": [-5.0, -6.0], "limit_high": [5.0, 6.0]}
    pd.DataFrame(rows).to_csv(folder / "0a_y.csv", index=False)
    table = paper._shown_table(folder, {"name": "0a_y", "heading_rows": 1})
    assert table[0] == ["target", "error", "95 % interval", "limit low", "limit high"]
    assert table[1][:3] == ["R in V5 (µV)", "12.3", "11.0\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}13.5"]
    assert table[2][:3] == [
        "QT (ms)",
        "\N{MINUS SIGN}0.0012",
        "\N{MINUS SIGN}0.0035\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}0.0010",
    ]


def test_a_column_is_shown_with_three_digits_p_with_three_decimals_and_an_empty_one_not_at_all(folder):
    columns = {
        "r": [0.12345, -0.5],
        "p_test": [1e-9, 0.0314],
        "seconds": [12.0, 345.678],
        "n": [3, 4],
        "note": ["", ""],
    }
    pd.DataFrame(columns).to_csv(folder / "0a_y.csv", index=False)
    table = paper._shown_table(folder, {"name": "0a_y", "heading_rows": 1})
    assert table == [
        ["r", "p, test", "seconds", "n"],
        ["0.123", "<0.001", "12.0", "3"],
        ["\N{MINUS SIGN}0.500", "0.031", "346", "4"],
    ]


# ---------------------------------------------------------------- the command


def notebook(folder, name, *cells, parameters=None):
    """A notebook of code cells; `parameters` is the code of its cell of that tag."""
    sheet = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {int(name[:2])}. About {name}")])
    sheet.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    if parameters:
        sheet.cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    sheet.cells += [nbformat.v4.new_code_cell(c) for c in cells]
    folder.mkdir(exist_ok=True)
    nbformat.write(sheet, folder / f"{name}.ipynb")


KEEP = """
import matplotlib.pyplot as plt, pandas as pd
from ecgwb.paper import keep

keep("{name}", plt.figure(), pd.DataFrame({{"v": [1]}}), f"A <title>. {words}")
"""


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Two notebooks: one of anybody's cohort and network, one of the package's own."""
    monkeypatch.setenv(paper.FOLDER_VARIABLE, "")
    folder = tmp_path / "notebooks"
    parameters = 'cohort, model, beside, record = "ludb", "compact-measures", "compact-sex", "2"'
    notebook(
        folder, "01_x", KEEP.format(name="1a_x", words="{cohort}, {model}, {beside}, {record}."), parameters=parameters
    )
    notebook(folder, "02_y", KEEP.format(name="2a_y", words="Words."))
    return folder


def made(folder):
    return {about["name"]: about["caption"] for about in paper.exhibits_in(folder)}


def test_the_paper_is_made_of_what_its_notebooks_keep_and_removes_nothing_else(tmp_path, notebooks, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.pdf").write_bytes(b"mine")
    for _ in range(2):
        assert main(["paper", "--notebooks", str(notebooks), "--out", str(out)]) == 0
    assert made(out) == {"1a_x": "ludb, compact-measures, compact-sex, 2.", "2a_y": "Words."}
    assert (out / "mine.pdf").read_bytes() == b"mine"
    assert (out / "01_x.html").is_file()
    executed = [c for c in json.loads((out / "01_x.ipynb").read_text())["cells"] if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in executed] == list(range(1, 1 + len(executed)))
    page = (out / "index.html").read_text()
    assert "Figure 1. A &lt;title&gt;" in page
    assert "About 02_y" in page
    found = json.loads((out / "provenance.json").read_text())
    assert {"ludb", "ptbxl500", "ptbxl"} == set(found["data"])
    assert "compact-measures.safetensors" in found["weights"]
    assert found["command"] == "python -m ecgwb paper"
    assert found["commit"].startswith("not known: ")  # these notebooks lie outside every repository
    assert "2 notebooks" in capsys.readouterr().out


def test_one_figure_alone_is_made_by_its_notebook_and_the_others_stay(tmp_path, notebooks, capsys):
    out = tmp_path / "out"
    command = ["paper", "--notebooks", str(notebooks), "--out", str(out)]
    assert main([*command, "--only", "1a_x"]) == 0
    assert set(made(out)) == {"1a_x"}
    assert main([*command, "--only", "02_y"]) == 0
    assert set(made(out)) == {"1a_x", "2a_y"}
    assert main([*command, "--record", "3"]) == 0
    assert set(made(out)) == {"1a_x", "2a_y"}
    assert made(out)["1a_x"] == "ludb, compact-measures, compact-sex, 3."
    assert main([*command, "--record", "x"]) == 1
    assert "no record 'x' in ludb; it has 1, 2" in capsys.readouterr().err
    assert main([*command, "--only", "9z"]) == 1
    assert "no exhibit or notebook '9z'; expected one of 01_x, 02_y, 1a_x, 2a_y" in capsys.readouterr().err


def test_the_paper_of_ones_own_cohort_and_network_leaves_out_what_is_not_about_them(tmp_path, notebooks, capsys):
    store, file, out = tmp_path / "mine.zarr", tmp_path / "mine.safetensors", tmp_path / "out"
    wb.open_cohort("ludb").isel(record=slice(5, 9)).to_zarr(store)
    wb.save_model(wb.load_model("compact-sex"), file)
    command = ["paper", "--notebooks", str(notebooks), "--out", str(out), "--cohort", str(store)]
    assert main([*command, "--model", str(file)]) == 0
    assert made(out) == {"1a_x": f"{store}, {file}, None, 6."}
    page = (out / "index.html").read_text()
    assert "02_y: It is about the cohorts and networks that come with the package." in page
    assert "The cohort is mine.zarr, 4 records of 4 people." in page
    assert json.loads((out / "provenance.json").read_text())["network"]["targets"] == ["male"]
    for wrong, message in (
        (["--model", str(file), "--target", "qt"], "has no target 'qt'; expected one of male"),
        (["--record", "1"], "no record '1' in"),
        (["--only", "1a_x"], "holds the paper of another cohort or network"),
        (["--model", "nothing"], "nothing"),
        (["--model", "compact-rhythm"], "takes recordings of 10 s"),
    ):
        assert main([*command, *wrong]) == 1
        assert message in capsys.readouterr().err


def test_the_notebooks_run_on_ones_own_few_people_and_network(tmp_path):
    store, file, out = tmp_path / "mine.zarr", tmp_path / "mine.safetensors", tmp_path / "out"
    people = wb.open_cohort("ludb").isel(record=slice(20, 32))
    people = people.drop_vars([v for v in people.variables if str(v).endswith("_manual")])
    people.assign_coords(record=[f"p{r}" for r in people["record"].values]).to_zarr(store)
    wb.save_model(wb.load_model("compact-measures"), file)
    steps = ["00_tour", "01_beats", "02_networks", "03_attention", "04_blanking"]
    command = ["paper", "--notebooks", str(NOTEBOOKS), "--out", str(out), "--only", *steps]
    assert main([*command, "--cohort", str(store), "--model", str(file), "--target", "pr"]) == 0
    names = {*made(out), *(about["name"] for about in paper.left_out_in(out))}
    code = "".join((NOTEBOOKS / f"{s}.ipynb").read_text() for s in steps)
    assert names == set(re.findall(r'\\"(\d[a-z]_\w+)\\"', code))
    assert "1b_intervals" not in made(out)
    assert "12 people" in made(out)["3a_map_pr"]
    titles = {about["name"]: about["title"] for about in paper.exhibits_in(out)}
    assert titles["3l_leads"] == "PR by eight methods that resolve leads"


def test_a_notebook_that_stops_is_named_with_its_error(tmp_path, capsys):
    notebook(tmp_path / "notebooks", "03_z", "1 + 1", "raise KeyError('gone')")
    assert main(["paper", "--notebooks", str(tmp_path / "notebooks"), "--out", str(tmp_path / "out")]) == 1
    text = capsys.readouterr().err
    assert "error: 03_z.ipynb stopped with KeyError: 'gone'" in text


def test_without_notebooks_the_command_says_so(tmp_path, capsys):
    assert main(["paper", "--notebooks", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "no numbered notebooks" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["build", "nowhere", "x.zarr"]])
def test_the_command_line_says_what_is_wrong(arguments, capsys):
    assert main(arguments) == 1
    assert "error: no folder nowhere" in capsys.readouterr().err
