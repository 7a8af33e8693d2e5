"""The paper: runs the numbered notebooks and gathers the figures and tables that they keep.

The notebooks are run by nbclient, each in a process of its own; ``index.html`` is made by nbconvert and ``paper.pdf``
by Typst, from the template ``paper.typ``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text
from tqdm.auto import tqdm

from .cohorts.cohort import open_cohort
from .cohorts.layouts import CREDITS
from .cohorts.packed import PACKED
from .cohorts.people import patients_of
from .cohorts.sources import archive_sha256
from .figures.style import NAMES, letter_panels, typeset
from .models.checkpoints import WEIGHTS, load_model, shipped
from .models.spec import spec_of
from .recordings.filters import FILTERS

FOLDER_VARIABLE = "ECGWB_PAPER"
_EMBEDDED = {"ludb": "ludb", "ptbxl500": "ptbxl", "ptbxl": "ptbxl"}  # cohorts, and whose credit each needs
_SLOWEST_FIRST = ("05", "06", "04", "03", "02")  # so that the last to finish is a short one
_ONE_THREAD = {f"{k}_NUM_THREADS": "1" for k in ("OMP", "MKL", "OPENBLAS")}  # notebooks side by side share the cores
_NO_PROGRESS = {"TQDM_DISABLE": "1"}  # which would stay on their pages
_LONGEST_S = 3600  # that a cell may take
_MOST_UNBROKEN = 12  # columns of a table on a page whose intervals stand on one line
_MOST_ROWS, _MOST_COLUMNS = 60, 20  # of a table on a page; larger ones are in their CSV alone
_P = ("p,", "p ", "p\0")  # how headings of p-values begin
_HEADINGS = {
    "mae": "mean absolute error",
    "sd": "SD",
    "auc": "AUC",
    "p": "p",
    "n_missing": "n missing",
    "score": "error",
    "constant": "error of a constant",
    "lr_p": "p (likelihood ratio)",
    "p_adds": "p that it adds",
    "beyond": "beyond classic",
    "within_doubt": "within doubt",
    "within_2_doubt": "within 2 doubts",
    "rank_correlation": "rank correlation",
    "field_ms": "field (ms)",
    "r_test": "r, test",
    "p_test": "p, test",
    "r_LUDB": "r, LUDB",
    "p_LUDB": "p, LUDB",
    "r": "r",
    "possible_auc": "possible AUC",
    "p_uniform": "p, uniform",
    "wrong_share": "share in a wrong place",
    "additivity": "R²",
}
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


# ---------------------------------------------------------------- in a notebook


def paper_dir() -> Path:
    """Where exhibits go: ``paper/`` beside the notebooks' folder, or what the variable ECGWB_PAPER names."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    here = Path.cwd()
    return Path(chosen) if chosen else (here.parent if here.name == "notebooks" else here) / "paper"


def keep(name: str, figure: Figure, table: pd.DataFrame, caption: str) -> Figure:
    """Keep a figure and the numbers behind it for the paper.

    Panels of a figure that has several get the letters a, b, c, which captions name, unless they have them.

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
    letter_panels(figure)
    for text in figure.findobj(Text):
        if text.get_text() != typeset(text.get_text()):
            text.set_text(typeset(text.get_text()))
    figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
    figure.savefig(folder / f"{name}.png")
    table.to_csv(folder / f"{name}.csv", float_format="%.6g", lineterminator="\n")
    about = {"title": title.removesuffix("."), "caption": rest, "heading_rows": table.columns.nlevels}
    _note(folder, name, about)
    plt.close(figure)
    return figure


def leave_out(name: str, reason: str) -> None:
    """Say that an exhibit cannot be made of this cohort or network; the paper lists it with the reason.

    Parameters
    ----------
    name : str
        As `keep` would have had it.
    reason : str
        A sentence, such as "This cohort has no marks made by hand.".
    """
    folder = paper_dir()
    folder.mkdir(parents=True, exist_ok=True)
    _note(folder, name, {"left_out": reason})
    print(f"{name} is left out. {reason}")


def _note(folder: Path, name: str, about: dict[str, Any]) -> None:
    (folder / f"{name}.json").write_text(json.dumps({"name": name} | about, ensure_ascii=False, indent=1))


# ---------------------------------------------------------------- running the notebooks


def make_paper(
    notebooks: str | Path = "notebooks",
    out: str | Path = "paper",
    *,
    cohort: str | None = None,
    model: str | None = None,
    target: str | None = None,
    record: str | None = None,
    only: Sequence[str] = (),
) -> Path:
    """Run the numbered notebooks and gather what they keep into one page and one PDF.

    Notebooks run side by side, as many as there are cores, each in a process and on a thread of its own.

    Parameters
    ----------
    notebooks : path
        The folder with ``00_tour.ipynb`` and the steps of the paper.
    out : path
        Exhibits, the executed notebooks (also as HTML), ``provenance.json``, ``index.html`` and ``paper.pdf`` go there.
    cohort, model : str, optional
        Your own, as `open_cohort` and `load_model` take them. Notebooks that are about the cohorts and networks of
        the package alone are then left out.
    target : str, optional
        The target that is shown where one is shown; "qt", or your network's first.
    record : str, optional
        The record that is shown where one is shown; "2", or your cohort's first.
    only : sequence of str, optional
        Exhibits or notebooks, such as "3c_map_qt" or "03_attention": only what makes them is run, and what other
        notebooks kept before stays.

    Returns
    -------
    Path of the page.

    Raises
    ------
    FileNotFoundError
        When there are no notebooks.
    ValueError
        When `only` names none of them, the network has no such target, the cohort no such record, or a notebook stops
        with an error. What `open_cohort` and `load_model` raise is raised before anything is run.
    """
    import nbformat  # these come with the extra `lab`

    source, folder = Path(notebooks).resolve(), Path(out).resolve()
    files = sorted(source.glob("0*.ipynb"))
    if not files:
        raise FileNotFoundError(f"no numbered notebooks in {source}; run this in the repository, or give their folder")
    sheets = {f.stem: nbformat.read(f, as_version=4) for f in files}
    chosen = _chosen(sheets, only)
    parameters, subject = _asked(cohort, model, target, record)
    _make_room(folder, sheets, subject, bool(only))

    began = time.time()
    os.environ[FOLDER_VARIABLE] = str(folder)
    run = {}
    for name in sorted(chosen, key=lambda n: (*(not n.startswith(k) for k in _SLOWEST_FIRST), n)):
        if _parametrise(sheets[name], parameters) or not subject:
            run[name] = sheets[name]
        else:
            leave_out(name, "It is about the cohorts and networks that come with the package.")
    at_once = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, len(run))
    print(
        f"{len(run)} notebooks, {at_once} side by side, into {folder}; all ten take about 10 minutes on two idle cores"
    )
    for name in _EMBEDDED if not cohort else ():
        open_cohort(name)  # made on first use, with its own progress, before notebooks wait for it
    _run(run, source, at_once)
    for name, sheet in run.items():
        (folder / f"{name}.html").write_text(_html(sheet, name))
        nbformat.write(sheet, folder / f"{name}.ipynb")  # as it was executed: the documentation is made of it
    asked = {"cohort": cohort, "model": model, "target": target, "record": record, "only": " ".join(only)}
    command = " ".join(["python -m ecgwb paper", *(f"--{k} {Path(v).name}" for k, v in asked.items() if v)])
    made = {"command": command, "commit": _commit(source)}
    (folder / "provenance.json").write_text(json.dumps(subject | made | provenance(), indent=1))
    headings = [re.match(r"# (\d)\. (.+)", s.cells[0].source) for s in sheets.values()]
    page = write_pages(folder, {h[1]: h[2] for h in headings if h})
    print(f"{page} and paper.pdf: {len(exhibits_in(folder))} exhibits in {time.time() - began:.0f} s")
    return page


def _chosen(sheets: dict[str, Any], only: Sequence[str]) -> list[str]:
    """The notebooks that make what is asked for; all, where nothing is."""
    code = {n: "\n".join(c.source for c in s.cells if c.cell_type == "code") for n, s in sheets.items()}
    found: dict[str, None] = {}
    for wanted in only:
        makers = [n for n in sheets if wanted == n or f'"{wanted}"' in code[n]]
        if not makers:
            known = sorted({e for text in code.values() for e in re.findall(r'"(\d[a-z]_\w+)"', text)})
            raise ValueError(f"no exhibit or notebook {wanted!r}; expected one of {', '.join([*sheets, *known])}")
        found |= dict.fromkeys(makers)
    return list(found) if only else list(sheets)


def _asked(
    cohort: str | None, model: str | None, target: str | None, record: str | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters for the notebooks, and what provenance says of the cohort and network; nothing where none is given."""
    parameters: dict[str, Any] = {}
    subject: dict[str, Any] = {}
    if cohort or record:
        people = open_cohort(cohort or "ludb")
        known = [str(r) for r in people["record"].values]
        if record and record not in known:
            raise ValueError(f"no record {record!r} in {cohort or 'ludb'}; it has {', '.join(known[:5])} and so on")
        parameters["record"] = record or known[0]
    if cohort:
        parameters["cohort"] = _absolute(cohort)
        patients = len(np.unique(patients_of(people)))
        subject["cohort"] = {"name": Path(cohort).name, "records": len(known), "patients": patients}
    if model or target:
        name = model or "compact-measures"
        spec = spec_of(load_model(name))
        if spec.input != "beat":
            raise ValueError(f"{name} takes recordings of 10 s; the paper shows networks of representative beats")
        target = target or ("qt" if "qt" in spec.targets else spec.targets[0])
        if target not in spec.targets:
            raise ValueError(f"{name} has no target {target!r}; expected one of {', '.join(spec.targets)}")
        parameters["target"] = target
    if model:
        parameters |= {"model": _absolute(model), "beside": None}
        subject["network"] = {"name": Path(model).name, "targets": list(spec.targets)}
        if Path(model).is_file():
            subject["network"]["sha256"] = hashlib.sha256(Path(model).read_bytes()).hexdigest()
    return parameters, subject


def _absolute(name: str) -> str:
    """A path as it is reached from the notebooks' folder; names of what comes with the package stay."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def _parametrise(sheet: Any, parameters: dict[str, Any]) -> bool:
    """Put parameters behind the cell tagged ``parameters``, as papermill does; False where there is no such cell."""
    import nbformat

    for place, cell in enumerate(sheet.cells):
        if "parameters" in cell.metadata.get("tags", []):
            if not parameters:
                return True
            lines = [f"{k} = {v!r}" for k, v in parameters.items()]
            sheet.cells.insert(place + 1, nbformat.v4.new_code_cell("# What was asked for\n" + "\n".join(lines)))
            return True
    return False


def _make_room(folder: Path, sheets: dict[str, Any], subject: dict[str, Any], adding: bool) -> None:
    """Remove what an earlier run left in the folder, or make sure that what stays is about the same cohort."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "provenance.json"
    before = json.loads(file.read_text()) if file.is_file() else {}
    if adding:
        if before and {k: before.get(k) for k in ("cohort", "network")} != {"cohort": None, "network": None} | subject:
            raise ValueError(f"{folder} holds the paper of another cohort or network; choose another folder with --out")
        return
    notes = [f for f in folder.glob("*.json") if _read_note(f)]
    old = [f.with_suffix(f".{kind}") for f in notes for kind in ("pdf", "png", "csv", "json")]
    old += [folder / f"{name}.{kind}" for name in [*sheets, "index"] for kind in ("html", "ipynb")]
    old += [file, folder / "paper.pdf"]
    for f in old:
        f.unlink(missing_ok=True)


def _run(sheets: dict[str, Any], source: Path, at_once: int) -> None:
    """Execute notebooks in place, several at a time."""
    from jupyter_core.utils import run_sync
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    free = asyncio.Semaphore(at_once)
    running: dict[str, None] = {}
    stopped: list[str] = []
    bar = tqdm(total=sum(c.cell_type == "code" for s in sheets.values() for c in s.cells), unit="cell")

    async def execute(name: str, sheet: Any) -> None:
        async with free:
            if stopped:  # what already runs goes on to its end, but nothing new is begun
                return
            running[name] = None
            bar.set_description(", ".join(running))
            client = NotebookClient(
                sheet,
                timeout=_LONGEST_S,
                kernel_name="python3",
                resources={"metadata": {"path": str(source)}},
                on_cell_executed=lambda **_: bar.update(),
            )
            client.extra_arguments = ["--log-level=ERROR"]  # the kernel's own log would bury the progress
            try:
                await client.async_execute(env=os.environ | _ONE_THREAD | _NO_PROGRESS)
            except CellExecutionError as e:
                stopped.append(f"{name}.ipynb stopped with {e.ename}: {e.evalue}\n{e}")
            del running[name]
            bar.set_description(", ".join(running))

    async def execute_all() -> None:
        await asyncio.gather(*(execute(name, sheet) for name, sheet in sheets.items()))

    with bar:
        run_sync(execute_all)()
    if stopped:
        raise ValueError("\n\n".join(stopped))


# ---------------------------------------------------------------- gathering what they kept


def _read_note(file: Path) -> dict[str, Any]:
    """What `keep` or `leave_out` wrote of an exhibit; empty for other files."""
    try:
        about = json.loads(file.read_text())
    except ValueError:
        return {}
    return about if isinstance(about, dict) and about.keys() & {"caption", "left_out"} else {}


def exhibits_in(folder: Path) -> list[dict[str, Any]]:
    """What `keep` kept there, in the order of the names: ``name``, ``title``, ``caption``, ``heading_rows``."""
    return [about for f in sorted(folder.glob("*.json")) if "caption" in (about := _read_note(f))]


def left_out_in(folder: Path) -> list[dict[str, Any]]:
    """What `leave_out` noted there: ``name`` and ``left_out``, the reason."""
    return [about for f in sorted(folder.glob("*.json")) if "left_out" in (about := _read_note(f))]


def write_pages(folder: Path, headings: dict[str, str]) -> Path:
    """Write ``index.html`` and ``paper.pdf`` of the exhibits in a folder.

    Parameters
    ----------
    folder : Path
        With what `keep` and `leave_out` wrote, ``provenance.json``, and the notebooks as HTML.
    headings : dict
        By the first character of the exhibits' names, the heading that they stand under.

    Returns
    -------
    Path of the page.
    """
    import typst

    found = json.loads((folder / "provenance.json").read_text())
    title, introduction = _introduction(found)
    exhibits = exhibits_in(folder)
    paper: dict[str, Any] = {
        "title": title,
        "introduction": list(map(typeset, introduction)),
        "headings": {"0": "What matters most"} | headings,
        "exhibits": [
            about | {k: typeset(about[k]) for k in ("title", "caption")} | {"table": _shown_table(folder, about)}
            for about in exhibits
        ],
        "left_out": left_out_in(folder),
        "methods": list(map(typeset, methods(found))),
        "provenance": {k: v if isinstance(v, str) else _in_lines(v) for k, v in found.items()},
    }
    template = (Path(__file__).parent / "paper.typ").read_bytes()
    given: dict[str, Any] = {
        "root": str(folder),
        "ignore_system_fonts": True,
        "font_paths": [str(Path(matplotlib.get_data_path()) / "fonts" / "ttf")],  # the figures' own font
        "sys_inputs": {"paper": json.dumps(paper)},
    }
    (folder / "paper.pdf").write_bytes(typst.compile(template, **given))
    # Typst fills pages, and numbers figures in the order that does it; the page numbers them alike.
    placed = [label.strip("<>") for label in json.loads(typst.query(template, "figure", field="label", **given))]
    paper["exhibits"] = sorted(paper["exhibits"], key=lambda about: placed.index(about["name"]))
    page = folder / "index.html"
    page.write_text(_index(paper, sorted(f.stem for f in folder.glob("0*.html"))))
    return page


def _index(paper: dict[str, Any], notebooks: list[str]) -> str:
    """The page of all exhibits, from a notebook that holds nothing but text."""
    import nbformat

    links = ", ".join(f"[{n}]({n}.html)" for n in notebooks)
    text = [
        f"# {_plain(paper['title'])}",
        *map(_plain, paper["introduction"]),
        f"[The same as PDF](paper.pdf). The notebooks that made it: {links}.",
    ]
    under = None
    for number, about in enumerate(paper["exhibits"], start=1):
        name, table = about["name"], about["table"]
        if (heading := paper["headings"].get(name[0])) and heading != under:
            text.append(f"## {_plain(heading)}")
            under = heading
        text += [
            f'<a id="{name}"></a>\n\n### Figure {number}. {_plain(about["title"])}',
            f"![{_plain(about['title'])}]({name}.png)",
            f"{_plain(about['caption'])} [PDF]({name}.pdf), [PNG]({name}.png), [CSV]({name}.csv)",
        ]
        if table:
            rows = pd.DataFrame(table[1:], columns=table[0]).to_html(index=False, border=0)
            text.append(f"<details><summary>Numbers</summary>\n{rows}\n</details>")
    if paper["left_out"]:
        text.append("## Left out")
        text.append("\n".join(f"- {_plain(a['name'])}: {_plain(a['left_out'])}" for a in paper["left_out"]))
    text += ["## Methods", *map(_plain, paper["methods"]), "## Provenance"]
    text += [f"**{_plain(k)}** {_plain(v)}" for k, v in paper["provenance"].items()]
    sheet = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(t) for t in text])
    return _html(sheet, paper["title"])


def _html(sheet: Any, title: str) -> str:
    from nbconvert import HTMLExporter

    body, _ = HTMLExporter().from_notebook_node(sheet, {"metadata": {"name": title}})
    return body


def _plain(text: str) -> str:
    """Text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_\[\]<>|$~#])", r"\\\1", text.replace("&", "&amp;"))


def _shown_table(folder: Path, about: dict[str, Any]) -> list[list[str]] | None:
    """An exhibit's numbers as they are read on a page, headings first; None where they would fill pages."""
    file, rows = folder / f"{about['name']}.csv", about["heading_rows"]
    if rows == 1:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        table.columns = ["" if str(c).startswith("Unnamed") else c for c in table]
    else:
        table = pd.read_csv(file, dtype=str, keep_default_na=False, header=list(range(rows)), index_col=0)
        table.columns = [" ".join(map(str, c)) for c in table.columns.tolist()]
        table = table.reset_index()
    table = table.astype(str)  # pandas 2.2 reads an index as numbers in spite of dtype
    if len(table) > _MOST_ROWS or table.shape[1] > _MOST_COLUMNS or table.map(len).to_numpy().max(initial=0) > 600:
        return None
    if "unit" in table and "target" in table:
        units = [
            f"{NAMES.get(t, t)} ({u})" if u else NAMES.get(t, t)
            for t, u in zip(table["target"], table["unit"], strict=True)
        ]
        table = table.assign(target=units).drop(columns="unit")
    table = table[[c for c in table if any(table[c])]]
    columns: dict[str, list[str]] = {}
    for c, low, high in _triples(list(map(str, table))):
        if not low:
            columns[_words(c)] = [typeset(v) for v in _rounded(list(table[c]), f"{_words(c)}\0".startswith(_P))]
            continue
        rows = [_with_interval(*row) for row in zip(table[c], table[low], table[high], strict=True)]
        columns[_words(c)], columns[f"95 % interval\0{c}"] = map(list, zip(*rows, strict=True)) if rows else ([], [])
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    if len(columns) > _MOST_UNBROKEN:  # else columns would lie on each other
        rows = [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in rows]
    return [[head.partition("\0")[0] for head in columns], *rows]


def _with_interval(value: str, low: str, high: str) -> tuple[str, str]:
    """An estimate and its interval, with the decimals that the width of the interval gives sense to."""
    try:
        estimate, a, b = float(value), float(low), float(high)
        digits = min(max(1 - int(np.floor(np.log10(b - a))), 0), 4)
    except (ValueError, OverflowError):  # empty, or an interval of no width
        value, low, high = _rounded([value, low, high])
        return typeset(value), _span(low, high) if low and high else ""
    return typeset(f"{estimate:.{digits}f}"), _span(f"{a:.{digits}f}", f"{b:.{digits}f}")


def _span(low: str, high: str) -> str:
    """An interval that no line ends in."""
    return typeset(f"{low} to {high}").replace(" ", "\N{NO-BREAK SPACE}")


def _triples(columns: list[str]) -> list[tuple[str, str, str]]:
    """Columns, each with those that hold the ends of its interval, or with two empty names."""
    ends = {c.removesuffix("low") + "high": c for c in columns if c == "low" or c.endswith("_low")}
    known = {c for c in columns if c == "low" or c.removesuffix("_low") in columns}  # limits have no estimate
    ends = {low: high for high, low in ends.items() if high in columns and low in known}
    found: list[tuple[str, str, str]] = []
    for k, c in enumerate(columns):
        if c in ends or c in ends.values():
            continue
        low = f"{c}_low" if f"{c}_low" in ends else columns[k + 1] if columns[k + 1 : k + 2] == ["low"] else ""
        found.append((c, low, ends.get(low, "")))
    return found


def _words(column: str) -> str:
    """A column's heading in words, such as "R in V5" for r_v5."""
    return _HEADINGS.get(column) or NAMES.get(column) or column.replace("_", " ")


def _in_lines(value: Any) -> str:
    """What provenance says of one thing, as text: names and what they stand for."""
    if not isinstance(value, dict):
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return "; ".join(f"{k}: {_in_lines(v)}" for k, v in value.items())


def _rounded(texts: list[str], is_p: bool = False) -> list[str]:
    """Numbers of a column as they are read; text as it is.

    Shares, correlations and p have three decimals, other numbers three digits at least.
    """
    numbers = pd.to_numeric(pd.Series(texts), errors="coerce").where(lambda v: np.isfinite(v))
    largest = numbers.abs().max()

    def shown(text: str, v: float) -> str:
        if v != v:
            return NAMES.get(text, text)
        if is_p:
            return "<0.001" if v < 0.0005 else f"{v:.3f}"
        if (numbers.dropna() % 1 == 0).all():
            return f"{v:.0f}"
        if 0 < abs(v) < 0.0005:
            return f"{v:.1g}"
        return f"{v:.3f}" if largest <= 1 else f"{v:.{min(max(2 - int(np.floor(np.log10(abs(v) or 1))), 0), 3)}f}"

    return list(map(shown, texts, numbers))


# ---------------------------------------------------------------- what the pages say


def _introduction(found: dict[str, Any]) -> tuple[str, list[str]]:
    """The title, and paragraphs on whom and what the paper is about."""
    maps = (
        "A map says which positions of a network's last layer contribute to a prediction. What a stretch of the ECG "
        "does to the prediction is shown by changing it."
    )
    if "cohort" not in found and "network" not in found:
        return "What ECG networks measure, and where they look", [
            "The networks learnt from folds 1 to 8 of PTB-XL, 17,000 recordings; fold 9 chose when to stop. They are "
            "judged on fold 10 and on LUDB, 200 people of another country, and had not seen either. "
            f"{maps} The two figures that matter most come first: how the networks respond to known "
            "changes of the ECG, and what the network for sex adds to what was known."
        ]
    network, cohort = found.get("network"), found.get("cohort")
    about = f"The network is {network['name']}, which predicts {', '.join(network['targets'])}. " if network else ""
    if cohort:
        about += f"The cohort is {cohort['name']}, {cohort['records']} records of {cohort['patients']} people. "
    return "What this network measures, and where it looks", [about + maps]


def methods(found: dict[str, Any]) -> list[str]:
    """Paragraphs on how the numbers were made, with the parameters that were used.

    Parameters
    ----------
    found : dict, from `provenance`
    """
    used = found["parameters"]
    return [
        "Recordings are read in µV and resampled to 500 Hz. Filtering is the same for networks and measurements: "
        f"{used['filters']}. A recording becomes one representative beat, the median of its similar beats aligned by "
        "cross-correlation, 600 samples from -500 to +698 ms around the peak of the leads' root mean square within "
        "QRS. P, QRS and T are found in every lead by a network; for LUDB, by networks that had not seen the person. "
        "Global landmarks are the fifth earliest onset and fifth latest offset of twelve leads, or as many in "
        "proportion. A landmark's doubt is a standard error, calibrated on LUDB, from how leads and beats disagree.",
        "An edit map says what each stretch of a beat, in its place, does to the prediction: pieces of the beat are "
        "replaced by those of the cohort's common beat, several at a time, and numbers are found for the pieces whose "
        "sums come nearest to the effects. ECGradCAM is the signed map in the target's own unit: its mean over time "
        "plus a bias is the prediction. Maps are warped by the landmarks onto the cohort's median beat, piecewise "
        "linearly, and averaged over people. Beats are edited by known amounts, and measured anew, to see how "
        "predictions follow.",
        f"Intervals hold {100 * used['interval']:.0f} % and come from {used['bootstrap resamples']} bootstrap samples "
        "of patients, not of records, with fixed seeds. People are split by patient. The embedded PTB-XL names no "
        "patients: its folds part them, its recordings count as people, of whom each has 1.16, and its intervals are "
        "a little too narrow. Features and regressions are fitted on discovery patients and judged, unchanged, on "
        "others.",
        f"The paper that this follows: {found['method']}.",
    ]


def _commit(folder: Path) -> str:
    """Of the repository that holds a folder, with "-dirty" where files differ from it."""
    command = ["git", "-C", str(folder), "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except OSError as e:
        return f"not known: git cannot be run ({e.strerror})"
    except subprocess.CalledProcessError as e:
        return f"not known: git says {' '.join(e.stderr.split())!r}"


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def provenance() -> dict[str, Any]:
    """Hashes of data and weights, versions, seeds and parameters."""

    def installed(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return "absent"

    return {
        "data": {
            name: {
                "sha256": _sha256(PACKED[name]) if name in PACKED else archive_sha256(name),
                "credit": CREDITS[credit],
            }
            for name, credit in _EMBEDDED.items()
        },
        "weights": {f.name: _sha256(f) for f in sorted(WEIGHTS.glob("*.safetensors"))},
        "models": shipped(),
        "versions": {p: installed(p) for p in _PACKAGES} | {"python": platform.python_version()},
        "seeds": {"patient split": 0, "bootstrap": 0},
        "parameters": {"filters": FILTERS, "bootstrap resamples": 1000, "interval": 0.95},
        "method": "Hicks et al., Sci Rep 11:10949 (2021), doi 10.1038/s41598-021-90285-5",
    }
