"""The explorer in a notebook: a session of looking, drawn in the browser by explorer.js.

The browser asks for a view or an action; the session decides, and ``shown`` is its answer. The cohort's beats are sent
ahead, so that the next record, hovering and zooming need no kernel.
"""

from __future__ import annotations

import asyncio
import base64
import html
import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anywidget
import matplotlib.pyplot as plt
import numpy as np
import traitlets
import xarray as xr
from IPython.display import HTML, DisplayHandle, display
from torch import nn

from .. import figures
from ..models.progress import quiet
from .payload import beats, cohort_curve, constants, maps, records, shown
from .pictures import draw
from .session import Session
from .state import View

_HERE = Path(__file__).parent
_DPI = 112
_LIVE = ", ".join(f".{shell} .ecgwb-static" for shell in ("jp-LabShell", "jp-NotebookShell"))  # where widgets are live
_ACTIONS = ("see", "keep", "mark", "undo", "redo")
_MOST_BEATS = 200  # that are sent at once


class Explorer(anywidget.AnyWidget):
    """The explorer of `explore`.

    Parameters
    ----------
    cohort : Dataset
    model : nn.Module
    store : path, optional
    by : str
        See `explore`.

    Attributes
    ----------
    session : Session
        What is selected and shown, and everything that can be done to it.
    cohort : Dataset
        With the landmarks that were kept.
    shown : dict
        What the browser shows: all of one view, and so of one record.
    took_ms : float
        How long the last answer took.
    """

    _esm = _HERE / "explorer.js"
    _css = _HERE / "explorer.css"
    constants = traitlets.Dict().tag(sync=True)
    records = traitlets.Dict().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)
    computing = traitlets.Unicode("").tag(sync=True)  # what the kernel computes by and by, in words

    def __init__(self, cohort: xr.Dataset, model: nn.Module, store: str | Path | None = None, by: str = "by hand"):
        self.session = Session(cohort, model, store, by)
        # A kernel may hand over what a user does in another thread, while this one computes. Torch's hooks and pyplot
        # bear one thread at a time, so everything is done in this one.
        self._thread, self._loop = threading.get_ident(), _running_loop()
        self._static: DisplayHandle | None = None
        self._steps: tuple[View, Iterator[float]] | None = None
        self._known_cohort = cohort
        self.took_ms = np.nan
        with quiet():
            super().__init__(
                constants=constants(self.session),
                records=records(self.session.of),
                shown=shown(self.session) | maps(self.session),
            )
        self.on_msg(lambda _, message, buffers: self._in_thread(lambda: self._answer(message)))
        self._make_cohort_map_soon()

    @property
    def cohort(self) -> xr.Dataset:
        return self.session.of.cohort

    # ------------------------------------------------------------ asked and answered

    def _in_thread(self, do: Callable[[], None]) -> None:
        """Call a function in the thread of the kernel's loop: at once, or when it is free."""
        if self._loop is None or threading.get_ident() == self._thread:
            do()
        else:
            self._loop.call_soon_threadsafe(do)

    def _answer(self, message: dict[str, Any]) -> None:
        """Do what the browser asks for; what goes wrong is said there, too, for a kernel's log is seen by few."""
        try:
            self._told(message)
        except Exception as e:
            failed = f"{message.get('do')} failed, and what is shown may be incomplete: {type(e).__name__}: {e}"
            self.shown = self.shown | {"message": failed, "refused": True, "number": message.get("number")}
            raise

    def _told(self, message: dict[str, Any]) -> None:
        """Do what the browser asks for, and answer."""
        what, given = str(message.get("do")), dict(message.get("with") or {})
        if what == "beats":
            rows = [int(k) for k in given["rows"] if 0 <= int(k) < self.constants["n"]][:_MOST_BEATS]
            self.send({"beats": rows}, [beats(self.session.of, rows)])
        elif what == "export":
            code = self.session.export()
            self.refresh(message.get("number"))
            self.send({"code": code})
        elif what in _ACTIONS:
            self.do(what, message.get("number"), **given)

    def do(self, what: str, number: int | None = None, **given: Any) -> None:
        """Let the session do something, and show what comes of it.

        Parameters
        ----------
        what : {"see", "keep", "mark", "undo", "redo"}
            A method of `Session`.
        number : int, optional
            Of the browser's request, so that it knows the answer.
        **given
            What that method takes.
        """
        if what not in _ACTIONS:
            raise ValueError(f"an explorer cannot {what!r}; expected one of {', '.join(_ACTIONS)}")
        began = time.perf_counter()
        with quiet():  # a line of progress would be one more output of the notebook's cell
            getattr(self.session, what)(**given)
            self.refresh(number)
        self.took_ms = 1000 * (time.perf_counter() - began)

    def refresh(self, number: int | None = None) -> None:
        """Show the session's view."""
        with quiet():
            if self._known_cohort is not self.cohort:
                self._known_cohort = self.cohort
                self._steps = None  # begun with other landmarks
                self.records = records(self.session.of)
            self.shown = shown(self.session) | {"number": number}
        if self._loop is None:
            self._add_maps(self.session.revision)
        else:  # numbers first: maps may take longer, and none is made while more is being asked for
            self._loop.call_later(0.03, self._add_maps, self.session.revision)
        self._renew_static_soon()

    def _add_maps(self, revision: int) -> None:
        """Add the maps of what is shown, unless something else is shown by now."""
        if revision == self.session.revision:
            with quiet():
                self.shown = self.shown | maps(self.session)
            self._make_cohort_map_soon()

    # ------------------------------------------------------------ the cohort's map, by and by

    def _make_cohort_map_soon(self) -> None:
        view, of = self.session.view, self.session.of
        if self._loop is None or view.view != "beat" or of.trouble or of.has_cohort_map(view):
            self.computing = ""
            return
        if self._steps is None or of.map_key(self._steps[0]) != of.map_key(view):
            self._steps = (view, of.cohort_map_steps(view))
            self._loop.call_later(0.05, self._step, self._steps)
        self.computing = "the cohort's map is being computed"

    def _step(self, steps: tuple[View, Iterator[float]]) -> None:
        """A few records more; between steps the kernel answers what a user does."""
        if steps is not self._steps or self._loop is None:
            return
        try:
            with quiet():
                share = next(steps[1], None)
        except ValueError:
            share = None  # the picture says why there is no map
        if share is not None:
            self.computing = f"the cohort's map is being computed: {100 * share:.0f} %"
            self._loop.call_later(0.02, self._step, steps)
            return
        made, self._steps, view = steps[0], None, self.session.view
        if view.view != "beat" or self.session.of.map_key(view) != self.session.of.map_key(made):
            self._make_cohort_map_soon()  # something else is shown by now, whose map would be made in one go here
            return
        try:
            with quiet():
                self.session.of.cohort_map(view)
                curve = cohort_curve(self.session.of, view)
        except ValueError as e:
            curve = {"trouble": f"no cohort map: {e}"}
        self.computing = ""
        self.shown = self.shown | {"cohort": curve}

    # ------------------------------------------------------------ where no kernel runs

    def _renew_static_soon(self) -> None:
        if self._loop is not None and self._static is not None:
            self._loop.call_later(2.0, self._renew_static, self.session.revision)

    def _renew_static(self, revision: int) -> None:
        """The last state as the picture of an exported page, once nothing has happened for a while."""
        if revision == self.session.revision and self._static is not None and self._steps is None:
            self._static.update(self._page())

    def _page(self) -> HTML:
        """The view as a static picture with its numbers."""
        view = self.session.view
        with figures.styled(), quiet():
            figure = draw(self.session.of, view)
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=_DPI)
            plt.close(figure)
        about = "; ".join([f"record {view.record}", *self.shown["about"], *view.edits])
        rows = "".join(_row(row, bool(view.edits or view.moved)) for row in self.shown["numbers"])
        notes = "".join(f"<div style='color:#b00020'>{html.escape(note)}</div>" for note in self.shown["notes"])
        heads = "<tr><th></th><th>measured</th><th>predicted</th></tr>"
        return HTML(
            f"<style>{_LIVE}{{display:none}}</style><div class='ecgwb-static'><img alt='what the explorer shows' "
            f"style='max-width:100%' src=\"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}\">"
            f"<div>{html.escape(about)}</div>{notes}<table>{heads}{rows}</table></div>"
        )

    def _ipython_display_(self) -> None:
        """The widget and, for an exported page, where no kernel runs, a static picture and its numbers under it."""
        bundle: Any = self._repr_mimebundle_()
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, None)
        display(data, metadata=metadata, raw=True)
        self._static = display(self._page(), display_id=True)


def explore(cohort: xr.Dataset, model: nn.Module, *, store: str | Path | None = None, by: str = "by hand") -> Explorer:
    """Look at records one after another: prediction beside measurement, attention, and what edits do to both.

    Parameters
    ----------
    cohort : Dataset
        Beats; opened with ``rhythm=True``, recordings too. One that lacks leads the network needs is shown without it.
    model : nn.Module
        A network. Of one that takes rhythms, edits change every beat of the recording, RR can be stretched and made
        more or less regular, and the map lies along the recording, or put together on the representative beat.
    store : path, optional
        The Zarr store the cohort was opened from: landmarks that are moved and kept are written there, too, and the
        review's marks and notes to a CSV beside it (else to explorer.review.csv in the working directory).
    by : str
        Who moves and marks, for the cohort's log and the review.

    Returns
    -------
    Explorer
        Show it as the last line of a notebook's cell; the key ``?`` lists its keys. ``.cohort`` is the cohort with the
        landmarks that were kept. In a script ``wb.explorer.draw(explorer.session.of, explorer.session.view)`` gives the
        picture.

    Raises
    ------
    ModelError
        When the network takes rhythms and the cohort holds none: ``wb.open_cohort(..., rhythm=True)``.
    ValueError
        When the cohort holds no records.
    """
    return Explorer(cohort, model, store, by)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that a kernel runs; None outside of one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _row(row: dict[str, Any], changed: bool) -> str:
    """A row of the static table: a number, and after an arrow what an edit makes of it."""
    cells = []
    for name in ("measured", "predicted"):
        values = [_text(row[name], row["unit"])]
        values += [_text(row[f"{name}_after"], row["unit"])] if changed else []
        cells.append(" → ".join(dict.fromkeys(values)))
    name = f"{row['name']} ({row['unit']})" if row["unit"] not in ("", "log-odds") else row["name"]
    return (
        "<tr>" + "".join(f"<td style='padding:0 1em 0 0'>{html.escape(cell)}</td>" for cell in (name, *cells)) + "</tr>"
    )


def _text(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{100 / (1 + np.exp(-value)):.0f} %" if unit == "log-odds" else f"{value:.0f}"
