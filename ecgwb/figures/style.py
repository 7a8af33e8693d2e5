"""One style for all figures: widths of journal columns, names of targets, the lead a target is shown on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import ascii_lowercase

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

STYLE = Path(__file__).parent / "ecgwb.mplstyle"
ONE_COLUMN, TWO_COLUMNS = 3.5, 7.2  # inches: 89 and 183 mm, usual journal columns
NAMES = {
    "pr": "PR", "qrs": "QRS", "qt": "QT", "hr": "heart rate", "j_v5": "J in V5", "r_v5": "R in V5", "t_v5": "T in V5",
    "male": "sex (male)", "age": "age",
}  # fmt: skip
_ENDS = {"on": "onset", "off": "offset", "peak": "peak"}  # of landmarks' names
LEAD_SHOWN = {"pr": "II", "male": "V2"}  # where the target's waves are seen best; V5 for the others
SAYS = (
    "A map says which positions contribute to the prediction, each seeing {field:.0f} ms of the ECG; what a stretch of "
    "the ECG does is shown by edits."
)


def use_style() -> None:
    """Give all figures that follow the workbench's look."""
    plt.style.use(STYLE)


@contextmanager
def styled() -> Iterator[None]:
    """Give the figures made inside a ``with`` block the workbench's look, and no others."""
    # A notebook's backend makes figures appear under their cell when it is loaded, at the first figure. A style
    # context undoes all settings made inside it, and with them that one: load the backend before.
    if not plt.get_fignums():
        plt.switch_backend(mpl.get_backend())
    with plt.style.context(STYLE):
        yield


def typeset(text: str) -> str:
    """Text with a true minus before numbers, an en dash between them, and landmarks in words; names and DOIs stay.

    Parameters
    ----------
    text : str
        Such as "5.1-6.3", "-0.2" or "T_off".
    """
    text = re.sub(r"\b(P|QRS|T)_(on|off|peak)\b", lambda m: f"{m[1]} {_ENDS[m[2]]}", text)
    text = re.sub(r"(?<![\w.,)/\u2013-])-(?=\.?\d)", "\N{MINUS SIGN}", text)
    return re.sub(r"(?<![\w/.-])(\d[\d.,]*)-(?=\d[\d.,]*(?![\w/-]))", "\\1\N{EN DASH}", text)


def method_in_words(name: str) -> str:
    """What a way to a map is called in figures: "ECGradCAM" for gradcam and ecgradcam, else without underscores."""
    return re.sub(r"\b(ec)?gradcam\b", "ECGradCAM", name.replace("_", " "))


def letter_panels(figure: Figure) -> None:
    """Put a, b, c and so on before the titles of a figure's panels, by which its caption names them.

    Parameters
    ----------
    figure : Figure
        One panel needs no letter. Of more than eight, those without a title belong to the panel above them.
    """
    panels = [ax for ax in figure.axes if ax.axison and ax.get_label() not in ("<colorbar>", "colour bar")]
    if len(panels) > 8:
        panels = [ax for ax in panels if ax.get_title(loc="left")]
    if len(panels) == 1:
        return
    # A legend above a panel may be wider than it: letters stand over its line.
    pad = 17 if any(ax.get_legend() for ax in panels) else None
    for letter, ax in zip(ascii_lowercase, panels, strict=False):
        title = ax.get_title(loc="left")
        if title == letter or title.startswith(f"{letter}  "):  # it has it
            continue
        if not title:
            ax.set_title(letter, loc="left", pad=pad)
            continue
        # `set_title` would move a title back to its usual height.
        shown = next(t for t in ax.get_children() if getattr(t, "get_text", str)() == title)
        shown.set_text(f"{letter}  {title}")  # type: ignore[attr-defined]
