"""The documentation: every room, public name and exhibit has its place, and every page is reached."""

import importlib.util
import json
import operator
import re
import shutil
from pathlib import Path

import pytest

import ecgwb as wb

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "notebooks" / "docs"
spec = importlib.util.spec_from_file_location("gather", DOCS / "gather.py")
gather = importlib.util.module_from_spec(spec)
spec.loader.exec_module(gather)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """What Sphinx reads, of notebooks that were not executed; one exhibit is there."""
    paper = tmp_path_factory.mktemp("paper")
    for file in (ROOT / "notebooks").glob("0*.ipynb"):
        shutil.copy(file, paper)
    (paper / "1a_beat.json").write_text(json.dumps({"name": "1a_beat", "title": "A beat", "caption": ""}))
    (paper / "1a_beat.png").write_bytes(b"a picture")
    out = tmp_path_factory.mktemp("source")
    (out / "of_an_earlier_call.md").write_text("# Old")
    gather.gather(out, paper)
    return out


def documented(page):
    return re.findall(r"^\.\. (?:auto\w+|py:data):: ecgwb\.(\S+)$", page.read_text(), re.MULTILINE)


def test_every_room_and_every_public_name_has_one_place(source):
    assert set(gather.ROOMS) == set(wb._ROOMS)
    names = [name for room in gather.ROOMS for name in documented(source / "reference" / f"{room}.md")]
    assert len(names) == len(set(names))
    assert set(wb.__all__) <= set(names)
    for room in set(gather.ROOMS) - {"stats"}:
        for name in getattr(wb, room).__all__:
            assert {name, f"{room}.{name}"} & set(names), name
    assert {"stats.bootstrap", "stats.auc"} <= set(names)
    assert not [name for name in names if name.rpartition(".")[2].startswith("_")]


def test_flat_names_come_first_and_under_their_own_name(source):
    names = documented(source / "reference" / "attention.md")
    flat = [name for name in names if "." not in name]
    assert flat == ["align", "attribute", "cohort_map", "ecgradcam", "segment_table"] == names[: len(flat)]
    index = (source / "reference" / "index.md").read_text()
    listed = re.findall(r"^   ecgwb\.(\w+)$", index, re.MULTILINE)
    assert sorted(listed) == sorted(wb.__all__)
    assert re.search(r"toctree.*?\n\n(.*?)\n```", index, re.DOTALL)[1].split() == list(gather.ROOMS)


def reached(source, page, seen):
    """The pages that tables of contents lead to, from a page on."""
    seen.add(page.relative_to(source).as_posix())
    for block in re.findall(r"```{toctree}\n(.*?)```", page.read_text(), re.DOTALL):
        for line in filter(None, (line.strip() for line in block.splitlines())):
            if line.startswith(":"):
                continue
            found = [f for end in (".md", ".ipynb") for f in page.parent.glob(line + end)]
            assert found, f"{page.name} lists {line}, which is not there"
            for file in found:
                name = file.relative_to(source).as_posix()
                if file.suffix == ".md" and name not in seen:
                    reached(source, file, seen)
                seen.add(name)
    return seen


def test_every_page_is_in_the_table_of_contents(source):
    pages = reached(source, source / "index.md", set())
    parts = {"README.md", *(f"tests/bench/{f.name}" for f in (ROOT / "tests" / "bench").glob("*.md"))}
    there = {f.relative_to(source).as_posix() for end in ("md", "ipynb") for f in source.rglob(f"*.{end}")}
    assert pages == there - parts
    asked = ["start", "gallery", "discovery", "maps", "glossary", "times", "gpu", "cite", "CHANGELOG"]
    asked += [f"notebooks/{name}" for name in ("bring_your_recordings", "bring_your_network", "cluster")]
    assert {f"{name}.md" for name in asked} <= pages
    assert {f"notebooks/{f.name}" for f in (ROOT / "notebooks").glob("0*.ipynb")} <= pages
    included = re.findall(r"{include} (\S+)", (source / "times.md").read_text())
    assert {f for f in parts if f.startswith("tests/bench")} == set(included)


def test_a_thumbnail_leads_to_the_cell_that_draws_it(source):
    gallery = (source / "gallery.md").read_text()
    assert ":img-top: exhibits/1a_beat.png" in gallery
    assert (source / "exhibits" / "1a_beat.png").read_bytes() == b"a picture"
    target = re.search(r":link: (\S+)", gallery)[1]
    cells = json.loads((source / "notebooks" / "01_beats.ipynb").read_text())["cells"]
    places = [k for k, cell in enumerate(cells) if f"({target})=" in "".join(cell["source"])]
    assert len(places) == 1
    assert '"1a_beat"' in "".join(cells[places[0] + 1]["source"])


def test_a_cell_that_keeps_several_in_a_loop_keeps_those_that_are_there():
    source = 'keep(f"9{letter}_feature", fig)\nleave_out("9d_feature", "None held.")'
    assert gather.kept_in(source, ["9a_feature", "9b_feature", "3a_feature"]) == ["9a_feature", "9b_feature"]
    assert gather.kept_in('leave_out("9d_feature", "None held.")', ["9d_feature"]) == []


def test_anchors_that_pages_name_are_those_of_exhibits(source):
    kept = {gather.anchor(n) for n in gather.makers(source / "notebooks")}
    for page in DOCS.glob("*.md"):
        assert set(re.findall(r"\(#(exhibit-[\w-]+)\)", page.read_text())) <= kept, page.name


def test_functions_that_pages_name_are_there():
    named = {n for page in DOCS.glob("*.md") for n in re.findall(r"{py:\w+}`~?ecgwb\.([\w.]+)`", page.read_text())}
    assert named
    for name in named:
        operator.attrgetter(name)(wb)


def test_a_widget_leaves_its_picture():
    widget = {"output_type": "display_data", "data": {gather._WIDGET: {}, "text/plain": ["Box()"]}}
    picture = widget | {"data": widget["data"] | {"text/html": ["<img>"]}}
    assert gather._without_widget(widget) is None
    assert gather._without_widget(picture)["data"] == {"text/html": ["<img>"]}


def test_what_an_earlier_call_left_is_gone(source):
    assert not (source / "of_an_earlier_call.md").exists()


def test_the_glossary_explains_each_word_once():
    terms = re.findall(r"^(\S.*)\n  \S", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert len(terms) == len(set(terms)) >= 60
