"""Lessons run as a learner gets them, and their solutions are all told right."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
LESSONS = sorted(FOLDER.glob("lesson_?.ipynb"))


def told(file):
    """What every check of a notebook said, after it was run."""
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}}).execute()
    lines = []
    for cell in notebook.cells:
        if re.search(r"\bplot_\w+\(|plt\.subplots\(", cell.source):
            assert any("image/png" in out.get("data", {}) for out in cell.outputs), cell.source
        if "check(" in cell.source and "import" not in cell.source:
            lines += [x for out in cell.outputs if out.get("name") == "stdout" for x in out["text"].splitlines()]
    return lines


@pytest.mark.parametrize("file", LESSONS, ids=lambda p: p.stem)
def test_a_lesson_waits_for_answers_and_its_solutions_are_right(file):
    asked = told(file)
    assert len(asked) >= 4
    assert all("no answer yet" in line for line in asked)
    answered = told(file.with_stem(f"{file.stem}_solutions"))
    assert len(answered) == len(asked)
    assert all("right" in line for line in answered), answered
