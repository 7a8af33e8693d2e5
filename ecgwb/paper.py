"""The paper: every exhibit as PDF, PNG and CSV, one page that shows them all, and where each number came from."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from .cohorts.sources import CREDITS, archive_sha256
from .models.spec import WEIGHTS, shipped
from .pages import exhibits_in, html_page, pdf_page
from .recordings.filters import FILTERS

_PACKAGES = (
    "ecgwb",
    "numpy",
    "scipy",
    "pandas",
    "xarray",
    "torch",
    "neurokit2",
    "wfdb",
    "scikit-learn",
    "statsmodels",
    "matplotlib",
)
FOLDER_VARIABLE = "ECGWB_PAPER"


def paper_dir() -> Path:
    """Where exhibits go: ``paper/`` beside the notebooks' folder, or what the variable ECGWB_PAPER names."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    here = Path.cwd()
    return Path(chosen) if chosen else (here.parent if here.name == "notebooks" else here) / "paper"


def keep(name: str, figure: Figure, table: pd.DataFrame, caption: str) -> Figure:
    """Keep a figure and the numbers behind it for the paper.

    Writes ``name.pdf`` (vector graphics), ``name.png``, ``name.csv`` and ``name.json`` into `paper_dir`. Numbers in the
    CSV have six significant digits and the PDF has no date, so that two runs give the same files.

    Parameters
    ----------
    name : str
        The files' name, such as ``"3c_map_qt"``; the paper shows exhibits in the order of their names.
    figure : Figure
    table : DataFrame
        The numbers that the figure shows.
    caption : str
        The first sentence is the exhibit's title.

    Returns
    -------
    Figure
        The same, so that a notebook cell can end with this call and show it.
    """
    title, _, rest = re.sub(r"(?<=[.?!])\s+", "\0", caption.strip(), count=1).partition("\0")
    folder = paper_dir()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    figure.savefig(folder / f"{name}.png")
    table.to_csv(folder / f"{name}.csv", float_format="%.6g", lineterminator="\n")
    about = {"name": name, "title": title.removesuffix("."), "caption": rest}
    (folder / f"{name}.json").write_text(json.dumps(about, ensure_ascii=False, indent=1))
    plt.close(figure)
    return figure


def make_paper(notebooks: str | Path = "notebooks", out: str | Path = "paper") -> Path:
    """Run the numbered notebooks and gather what they made into one page.

    Parameters
    ----------
    notebooks : path
        The folder with ``00_tour.ipynb`` and the steps of the paper.
    out : path
        Exhibits, the executed notebooks as HTML, ``provenance.json``, ``index.html`` and ``paper.pdf`` go there.

    Returns
    -------
    Path of the page.

    Raises
    ------
    FileNotFoundError
        When there are no notebooks.
    """
    import nbformat  # only this command needs the notebook machinery, which comes with the extra `lab`
    from nbclient import NotebookClient
    from nbconvert import HTMLExporter

    folder, source = Path(out).resolve(), Path(notebooks).resolve()
    files = sorted(source.glob("0*.ipynb"))
    if not files:
        raise FileNotFoundError(f"no numbered notebooks in {source}; run this in the repository, or give their folder")
    folder.mkdir(parents=True, exist_ok=True)
    for old in [p for kind in ("pdf", "png", "csv", "json", "html") for p in folder.glob(f"*.{kind}")]:
        old.unlink()
    began = time.time()
    bar = tqdm(files, unit="notebook")
    for file in bar:
        bar.set_description(file.stem)
        notebook = nbformat.read(file, as_version=4)
        os.environ[FOLDER_VARIABLE] = str(folder)
        # The kernel's own log would bury the progress bar; errors still come through.
        run = NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(source)}})
        run.extra_arguments = ["--log-level=ERROR"]
        run.execute()
        body, _ = HTMLExporter().from_notebook_node(notebook)
        (folder / f"{file.stem}.html").write_text(body)
    (folder / "provenance.json").write_text(json.dumps(provenance(), indent=1))
    return write_pages(folder, [f.stem for f in files], began)


def write_pages(folder: Path, notebooks: list[str], began: float | None = None) -> Path:
    """``paper.pdf`` and ``index.html`` of the exhibits in a folder; without the packages for PDF, the latter alone."""
    try:
        pdf_page(folder)
        pdf = True
    except ModuleNotFoundError as e:
        print(f"no paper.pdf, which needs {e.name}: install the extra with  pip install 'ecgwb[lab]'")
        pdf = False
    page = folder / "index.html"
    page.write_text(html_page(folder, notebooks, pdf))
    took = f" in {time.time() - began:.0f} s" if began else ""
    print(f"{page}{' and paper.pdf' if pdf else ''}: {len(exhibits_in(folder))} exhibits{took}")
    return page


def provenance() -> dict[str, object]:
    """Hashes of data and weights, versions, seeds and parameters."""

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "absent"

    return {
        "data": {
            name: {"sha256": archive_sha256(name), "credit": CREDITS[c]}
            for name, c in (("ludb", "ludb"), ("ptbxl500", "ptbxl"))
        },
        "weights": {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(WEIGHTS.glob("*.safetensors"))},
        "models": shipped(),
        "versions": {p: installed(p) for p in _PACKAGES} | {"python": platform.python_version()},
        "seeds": {"patient split": 0, "bootstrap": 0},
        "parameters": {"filters": FILTERS, "bootstrap resamples": 1000, "interval": 0.95},
        "method": "Hicks et al., Sci Rep 11:10949 (2021), doi 10.1038/s41598-021-90285-5",
    }
