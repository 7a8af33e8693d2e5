"""Lessons run as a learner gets them, and their solutions, made from the same file, are all told right."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from studies.solutions import solved, write

FOLDER = Path(__file__).parents[2] / "notebooks"
LESSONS = sorted(FOLDER.glob("lesson_?.ipynb"))


def told(notebook):
    """What every check of a notebook said, after it was run."""
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}}).execute()
    lines = []
    for cell in notebook.cells:
        if re.search(r"\bplot_\w+\(|plt\.subplots\(", cell.source):
            assert any("image/png" in out.get("data", {}) for out in cell.outputs), cell.source
        if "check(" in cell.source and "import" not in cell.source:
            lines += [x for out in cell.outputs if out.get("name") == "stdout" for x in out["text"].splitlines()]
    return lines


def test_there_are_four_lessons():
    assert [f.stem for f in LESSONS] == [f"lesson_{k}" for k in (1, 2, 3, 4)]


@pytest.mark.parametrize("file", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_waits_for_answers_and_its_solutions_are_right(file):
    lesson = nbformat.read(file, as_version=4)
    answered = told(solved(lesson))
    asked = told(lesson)
    assert len(asked) >= 4
    assert all("no answer yet" in line for line in asked), asked
    assert len(answered) == len(asked)
    assert all("right" in line for line in answered), answered


@pytest.mark.parametrize("file", LESSONS, ids=lambda p: p.stem)
def test_a_learner_sees_dots_where_a_solution_is(file):
    """Every cell of dots has a solution of the same names, and no other cell has one."""
    cells = nbformat.read(file, as_version=4).cells
    dots = [c for c in cells if re.fullmatch(r"\w+ = \.\.\.", c.source)]
    assert dots
    assert dots == [c for c in cells if "solution" in c.metadata]
    for cell in dots:
        names = [n.targets[0].id for n in ast.parse("".join(cell.metadata["solution"])).body]
        assert names == [cell.source.split()[0]]


def test_the_teachers_copies_say_what_they_are_and_keep_no_second_solution(tmp_path):
    files = write(tmp_path)
    assert [f.name for f in files] == [f"{f.stem}_solutions.ipynb" for f in LESSONS]
    for file in files:
        notebook = nbformat.read(file, as_version=4)
        assert notebook.cells[0].source.splitlines()[0].endswith("(solutions)")
        assert not any("solution" in c.metadata or "= ..." in c.source for c in notebook.cells)
