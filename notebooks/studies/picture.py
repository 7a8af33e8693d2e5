"""The README's picture, notebooks/cohort_map_qt.png: ``python -m studies.picture`` draws it anew."""

from __future__ import annotations

from pathlib import Path

import ecgwb as wb
from ecgwb import figures

FILE = Path(__file__).parent.parent / "cohort_map_qt.png"


def main() -> None:
    people, network = wb.open_cohort("ludb").load(), wb.load_model("compact-measures")
    maps = (make(network, people, "qt") for make in (wb.edit_map, wb.ecgradcam))
    edits, cam = (wb.align(m, people) for m in maps)
    with figures.styled():
        figure = figures.cohort_map(edits, people, "qt", below=cam)
        figures.letter_panels(figure)
        figure.savefig(FILE, dpi=120)


if __name__ == "__main__":
    main()
