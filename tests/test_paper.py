import json

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest

from ecgwb import paper
from ecgwb.__main__ import main


def test_two_runs_of_an_exhibit_give_the_same_files(tmp_path, monkeypatch):
    made = []
    for run in ("a", "b"):
        monkeypatch.setenv(paper.FOLDER_VARIABLE, str(tmp_path / run))
        fig, ax = plt.subplots()
        ax.plot([0, 1])
        paper.exhibit("1x", "Title", "Caption", fig, pd.DataFrame({"v": [1 / 3, 2e-9]}))
        made.append({p.name: p.read_bytes() for p in (tmp_path / run).iterdir()})
    assert set(made[0]) == {"1x.pdf", "1x.png", "1x.csv", "1x.json"}
    assert made[0] == made[1]
    assert made[0]["1x.csv"] == b",v\n0,0.333333\n1,2e-09\n"


def test_the_paper_is_made_of_what_its_notebooks_show(tmp_path, monkeypatch):
    monkeypatch.setenv(paper.FOLDER_VARIABLE, "")
    source = tmp_path / "notebooks"
    source.mkdir()
    code = (
        "import matplotlib.pyplot as plt, pandas as pd\nfrom ecgwb.paper import exhibit\n"
        "exhibit('1a_x', 'A <title>', 'Words & numbers', plt.figure(), pd.DataFrame({'v': [1]}))"
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


def test_without_notebooks_the_command_says_so(tmp_path, capsys):
    assert main(["paper", "--notebooks", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "no numbered notebooks" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["build", "nowhere", "x.zarr"]])
def test_the_command_line_says_what_is_wrong(arguments, capsys):
    assert main(arguments) == 1
    assert "error: no folder nowhere" in capsys.readouterr().err
