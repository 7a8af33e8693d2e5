"""The teacher's copies of the lessons: every answer in place of its dots. ``python -m studies.solutions`` writes them.

A lesson is kept once. The cell that waits for an answer holds the solution, as lines, under "solution" in its metadata,
which notebooks show in their property inspector only.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import nbformat

FOLDER = Path(__file__).parent.parent


def solved(lesson: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy of a lesson with its solutions in place of the dots, and so named in its title."""
    out = copy.deepcopy(lesson)
    title, *rest = out.cells[0].source.splitlines()
    out.cells[0].source = "\n".join([f"{title} (solutions)", *rest])
    for cell in out.cells:
        answer: Any = cell.metadata.pop("solution", None)
        if answer is not None:
            cell.source = "".join(answer)
    return out


def write(folder: Path) -> list[Path]:
    """Writes the solutions of all lessons into a folder, and says where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for lesson in sorted(FOLDER.glob("lesson_?.ipynb")):
        written.append(folder / f"{lesson.stem}_solutions.ipynb")
        nbformat.write(solved(nbformat.read(lesson, as_version=4)), written[-1])
    return written


if __name__ == "__main__":
    print(*write(Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER.parent / "solutions")), sep="\n")
