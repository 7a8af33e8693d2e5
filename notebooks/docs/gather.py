"""The documentation's pages, gathered for Sphinx: written here, kept elsewhere in the repository, or made.

Every text has one place: a page that stands elsewhere (bring_your_network.md, CHANGELOG.md, the tables of benches) is
copied to the same place below the folder that Sphinx reads, so that links between files go on working. Notebooks come
executed from ``paper/``; the gallery and the pages of the reference are made.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ecgwb
from ecgwb.paper import exhibits_in

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ROOMS = {  # as one meets them: the order of the data
    "recordings": "Recordings",
    "delineation": "Delineation",
    "cohorts": "Cohorts",
    "models": "Models",
    "attention": "Attention",
    "edits": "Edits",
    "trust": "Trust",
    "discovery": "Discovery",
    "figures": "Figures",
    "explorer": "Explorer",
    "stats": "Statistics",
}
ELSEWHERE = [
    "README.md", "CHANGELOG.md", "CITATION.cff", "notebooks/*.md", "notebooks/*.png", "tests/bench/*.md",
    "tests/adversarial/*.md", "tests/zoo/zoo.md", "ecgwb/*/weights/*.md", "notebooks/studies/results/*.csv",
    "notebooks/studies/results/*.md",
]  # fmt: skip
ON_A_PAGE = dict.fromkeys(
    ("tests/bench/bench.md", "tests/bench/browser.md", "tests/bench/profile.md"), "times.md"
)  # where what a link leads to is shown
HEADED = {
    "tests/adversarial/bad_input.md": "Bad input",
    "tests/adversarial/fuzz.md": "Fuzzing",
    "tests/zoo/zoo.md": "Networks that no one here wrote",
}
_WIDGET = "application/vnd.jupyter.widget-view+json"


def gather(out: Path, paper: Path) -> None:
    """Write all that Sphinx reads into a folder; what an earlier call wrote there goes.

    Parameters
    ----------
    out : path
    paper : path
        With executed notebooks and exhibits, as `ecgwb.paper.make_paper` keeps them.
    """
    pages = {f.name: f.read_text() for f in HERE.glob("*.md")}
    for pattern in ELSEWHERE:
        pages |= {str(f.relative_to(ROOT)): f for f in ROOT.glob(pattern)}
    exhibits = [e["name"] for e in exhibits_in(paper)]
    pages |= {f"notebooks/{f.name}": _notebook(f, exhibits) for f in sorted(paper.glob("0*.ipynb"))}
    pages |= {f"exhibits/{name}.png": paper / f"{name}.png" for name in exhibits}
    pages["gallery.md"] += _thumbnails(paper)
    pages["reference/index.md"] = _flat_names(pages.pop("reference.md"))
    pages |= {f"reference/{room}.md": room_page(room) for room in ROOMS}
    for name, content in pages.items():
        _put(out / name, _linked(name, content))
    for file in [f for f in out.rglob("*") if f.is_file() and str(f.relative_to(out)) not in pages]:
        file.unlink()


def _put(place: Path, content: Path | str) -> None:
    """Put a file there, unless it is there already: Sphinx builds anew what is newer than its page."""
    new = content.read_bytes() if isinstance(content, Path) else content.encode()
    if not place.is_file() or place.read_bytes() != new:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(new)


def _linked(name: str, content: Path | str) -> Path | str:
    """A page of the repository with a heading, and with links to the pages that show what they lead to."""
    if isinstance(content, str) or content.suffix != ".md":
        return content
    text = content.read_text()
    for target, page in ON_A_PAGE.items():
        text = text.replace(f"]({target})", f"]({page})")
    return f"# {HEADED[name]}\n\n{text}" if name in HEADED and not text.startswith("# ") else text


# ---------------------------------------------------------------- notebooks and their exhibits


def _notebook(file: Path, exhibits: list[str]) -> str:
    """An executed notebook with an anchor before each cell that keeps an exhibit, and pictures for widgets."""
    sheet = json.loads(file.read_text())
    sheet["metadata"].pop("widgets", None)
    cells = []
    for cell in sheet["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            names = kept_in(source, exhibits)
            if names:
                cells.append(_words("\n".join(f"({anchor(n)})=" for n in names)))
            cell["outputs"] = [o for o in map(_without_widget, cell["outputs"]) if o]
        cells.append(cell)
    return json.dumps(sheet | {"cells": cells}, ensure_ascii=False, indent=1)


def kept_in(source: str, exhibits: Iterable[str] = ()) -> list[str]:
    """The exhibits that a cell keeps, by name; `f"9{letter}_feature"` in a loop is those of `exhibits` that fit it."""
    if not re.search(r"\bkeep\(", source):
        return []
    names = re.findall(r'(?<!leave_out\()(?<!f)"(\d[a-z]_\w+)"', source)
    for first, last in re.findall(r'f"(\d)\{\w+\}(_\w+)"', source):
        names += [n for n in exhibits if re.fullmatch(f"{first}[a-z]{last}", n)]
    return list(dict.fromkeys(names))


def anchor(exhibit: str) -> str:
    return f"exhibit-{exhibit.replace('_', '-')}"


def _words(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": re.sub(r"\W", "", text)[:64], "metadata": {}, "source": text}


def _without_widget(output: dict[str, Any]) -> dict[str, Any] | None:
    """An output without the part that needs a kernel; None where nothing else is left."""
    data = output.get("data", {})
    if _WIDGET in data:
        kept = {k: v for k, v in data.items() if k not in (_WIDGET, "text/plain")}
        return output | {"data": kept} if kept else None
    return output


def makers(paper: Path) -> dict[str, str]:
    """By exhibit, the notebook whose cell keeps it."""
    found: dict[str, str] = {}
    exhibits = [e["name"] for e in exhibits_in(paper)]
    for file in sorted(paper.glob("0*.ipynb")):
        for cell in json.loads(file.read_text())["cells"]:
            if cell["cell_type"] == "code":
                found |= dict.fromkeys(kept_in("".join(cell["source"]), exhibits), file.stem)
    return found


def _thumbnails(paper: Path) -> str:
    """The gallery's pictures under the headings of their notebooks, each a link to the cell that draws it."""
    text, under = "", None
    made_by = makers(paper)
    for exhibit in exhibits_in(paper):
        name, notebook = exhibit["name"], made_by[exhibit["name"]]
        if name[0] != under:
            heading = "What matters most" if name[0] == "0" else _title(paper / f"{notebook}.ipynb")
            text += f"{'::::' if under else ''}\n\n## {heading}\n\n"
            text += "::::{grid} 1 2 2 3\n:gutter: 3\n:class-container: gallery\n\n"
            under = name[0]
        text += (
            f":::{{grid-item-card}} {exhibit['title']}\n:img-top: exhibits/{name}.png\n:img-alt: {exhibit['title']}\n"
            f":link: {anchor(name)}\n:link-type: ref\n:link-alt: {exhibit['title']}\n:::\n\n"
        )
    return f"{text}::::\n" if under else text


def _title(notebook: Path) -> str:
    first = "".join(json.loads(notebook.read_text())["cells"][0]["source"])
    return first.splitlines()[0].removeprefix("# ")


# ---------------------------------------------------------------- the reference


def names_of(room: str) -> list[str]:
    """A room's public names, those that are flat first."""
    module = importlib.import_module(f"ecgwb.{room}")
    public = getattr(module, "__all__", None) or [
        n for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__module__", "") == module.__name__
    ]
    return sorted(public, key=lambda n: (full_name(room, n).count(".") > 1, n.lower()))


def full_name(room: str, name: str) -> str:
    """Where a name is documented: ``ecgwb.align``, or ``ecgwb.attention.map_sums``."""
    value = getattr(importlib.import_module(f"ecgwb.{room}"), name)
    flat = name in ecgwb.__all__ and getattr(ecgwb, name) is value
    return f"ecgwb.{name}" if flat else f"ecgwb.{room}.{name}"


def _entries(room: str) -> Iterator[tuple[str, str, str]]:
    """The directive, the name and what stands below it, of each public name of a room."""
    module = importlib.import_module(f"ecgwb.{room}")
    for name in names_of(room):
        value, full = getattr(module, name), full_name(room, name)
        if inspect.isclass(value):
            yield ("autoexception" if issubclass(value, Exception) else "autoclass"), full, "   :members:\n"
        elif callable(value):
            yield "autofunction", full, ""
        else:
            yield "py:data", full, f"\n   ``{_short(value)}``\n"


def _short(value: Any) -> str:
    text = " ".join(str(value).split()) if not isinstance(value, Path) else value.name
    return text if len(text) < 400 else f"{text[:400]} ..."


def room_page(room: str) -> str:
    """A room's page: what it is for, its names at a glance, and each in full."""
    names = "\n".join(f"   {full_name(room, n)}" for n in names_of(room))
    entries = "\n".join(f".. {directive}:: {full}\n{body}" for directive, full, body in _entries(room))
    about = _about(inspect.getdoc(importlib.import_module(f"ecgwb.{room}")) or "")
    summary = f".. autosummary::\n   :nosignatures:\n\n{names}\n"
    return f"# {ROOMS[room]}: `wb.{room}`\n\n```{{eval-rst}}\n{about}\n\n{summary}\n{entries}```\n"


def _about(docstring: str) -> str:
    """A room's docstring, in which what its functions share is no section of the page but a list."""
    text = re.sub(r"^(Parameters|Returns)\n-+$", r"*\1*\n", docstring, flags=re.MULTILINE)
    return re.sub(
        r"^(\w+ : .+)\n(?!    )", r"\1\n    \\ \n", text, flags=re.MULTILINE
    )  # a list wants two lines of each


def _flat_names(text: str) -> str:
    """The reference's first page, with the flat names room by room."""
    for room in ROOMS:
        flat = "\n".join(f"   {full_name(room, n)}" for n in names_of(room) if full_name(room, n).count(".") == 1)
        if flat:
            summary = f".. autosummary::\n   :nosignatures:\n\n{flat}\n"
            text += f"\n**[{ROOMS[room]}]({room}.md)**\n\n```{{eval-rst}}\n{summary}```\n"
    rooms = "\n".join(ROOMS)
    return f"{text}\n## All rooms\n\n```{{toctree}}\n:maxdepth: 1\n\n{rooms}\n```\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--paper", type=Path, default=ROOT / "paper")
    arguments = parser.parse_args()
    gather(arguments.out, arguments.paper)
