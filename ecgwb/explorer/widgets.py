"""The explorer: widgets to walk through a cohort, move landmarks, and see what edits do to a prediction and its map.

What the widgets are set to is a `View`, and what is shown is always the picture of that view: a change that cannot be
shown is taken back, and the message says why.
"""

from __future__ import annotations

import asyncio
import base64
import html
import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ipywidgets as w
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from IPython.display import HTML, display
from matplotlib.figure import Figure
from torch import nn

from .. import figures
from ..delineation.landmarks import WAVES
from ..models.progress import quiet
from .pictures import draw
from .search import ORDERS
from .state import MOVABLE, VIEWS, WAYS, Exploration, View

_DPI = 112
_LIVE = ", ".join(f".{shell} .ecgwb-static" for shell in ("jp-LabShell", "jp-NotebookShell"))  # where widgets are live
_SEARCH = "search: 12, male, age>60, error>20, doubt>30"
_NOTHING = (
    "no record fits this search; change it. Words begin an id, sex, diagnosis or rhythm; numbers go as age>60, qt<=440 "
    "(measured), error>20 (of the target's prediction), doubt>=30 (ms)"
)


class Controls(w.VBox):
    """The explorer's widgets, and the `View` that they are set to."""

    def __init__(self, of: Exploration) -> None:
        self.of = of
        # A kernel may hand over what a user does in another thread, while this one computes. Torch's hooks and pyplot
        # bear one thread at a time, so everything is done in this one.
        self._thread, self._loop = threading.get_ident(), _running_loop()
        self._silent_in: int | None = None  # the thread that is setting widgets itself
        targets, leads = list(of.spec.targets), [str(v) for v in of.cohort["lead"].values]
        ids = of.records()
        self.search = w.Text(placeholder=_SEARCH, layout=_width("98%"))
        self.order = _dropdown("sorted by", ORDERS)
        self.record = w.Select(options=ids, value=ids[0], rows=9, layout=_width("98%"))
        # The slider takes the arrow keys, left and right: in JupyterLab, up and down in a list move between cells.
        self.place = w.IntSlider(0, min=0, max=len(ids) - 1, readout=False, layout=_width("98%"))
        self.back, self.on = _button("previous", "48%"), _button("next", "48%")
        self.target = _dropdown("target", [(figures.NAMES.get(t, t), t) for t in targets])
        self.variant = _dropdown("map by", WAYS, of.way())
        self.layer = _dropdown("layer", of.layers())
        self.lead = _dropdown("lead", leads, "V5" if "V5" in leads else leads[0])
        self.view = w.ToggleButtons(options=VIEWS, style=w.ToggleButtonsStyle(button_width="90px"))
        self.blanked = _dropdown("blank", ["none", *WAVES])
        self.stretched = {what: _slider(f"{what} ms", *ends, 2, "+d") for what, ends in of.stretched.items()}
        self.scaled = {what: _slider(f"{what} %", *ends, 5, "d", 100) for what, ends in of.scaled.items()}
        self.reset = _button("undo edits")
        self.landmark = _dropdown("landmark", ["none", *MOVABLE])
        self.move = _slider("by ms", -150, 150, 2, "+d")
        self.keep = _button("keep", "48%", "put this landmark into the cohort, by hand")
        self.take_back = _button("undo", "48%", "as it was before it was moved")
        self.export = _button("export figure and code")
        self.picture = w.Image(format="png", layout=w.Layout(max_width="100%"))
        self.summary, self.message = w.HTML(), w.HTML()
        self.edits = [self.blanked, *self.stretched.values(), *self.scaled.values()]
        self.deciding = [self.target, self.variant, self.layer, self.view, self.lead, *self.edits]
        self.deciding += [self.landmark, self.move]
        self.as_recorded = {control: control.value for control in (*self.edits, self.move, self.view)}
        left = [self.search, self.order, self.record, self.place, w.HBox([self.back, self.on])]
        left += [self.target, self.variant, self.layer, self.lead]
        right = [w.HTML("<b>What if</b>"), *self.edits, self.reset, w.HTML("<b>Move a landmark</b>"), self.landmark]
        right += [self.move, w.HBox([self.keep, self.take_back]), self.export]
        for control in (*left, *right):
            if getattr(control, "description", "") and hasattr(control.style, "description_width"):
                control.style.description_width = "76px" if of.of_rhythms else "62px"
        middle = [self.view, self.picture, self.summary, self.message]
        sides = [w.VBox(part, layout=w.Layout(width="210px", flex="0 0 auto")) for part in (left, right)]
        centre = w.VBox(middle, layout=w.Layout(flex="1 1 0", min_width="0"))
        super().__init__([w.HBox([sides[0], centre, sides[1]])])

    @property
    def selected(self) -> View | None:
        """What the widgets are set to; None where the list of records is empty."""
        if self.record.value is None:
            return None
        record, landmark, own = str(self.record.value), self.landmark.value, self.of.spec.layer
        moving = landmark != "none" and self.move.value != 0
        return View(
            record,
            self.target.value,
            self.variant.value,
            self.view.value,
            self.lead.value,
            self.blanked.value,
            tuple((what, slider.value) for what, slider in self.stretched.items() if slider.value),
            tuple((what, slider.value / 100) for what, slider in self.scaled.items() if slider.value != 100),
            None if self.layer.value == own else self.layer.value,
            (landmark, self.of.place(record, landmark) + self.move.value) if moving else None,
        )

    def list_records(self) -> None:
        """List the records that fit the search, the one selected before where it is among them."""
        ids = self.of.records(self.search.value, self.order.value, self.target.value)
        before = self.record.value
        with self.silently():
            self.record.options = ids
            self.record.value = before if before in ids else ids[0] if ids else None
            self.place.max = max(len(ids) - 1, 0)
            self.place.value = ids.index(self.record.value) if ids else 0
            if self.record.value != before:
                self.move.value = 0

    @contextmanager
    def silently(self) -> Iterator[None]:
        """Set widgets without triggering their callbacks."""
        before, self._silent_in = self._silent_in, threading.get_ident()
        try:
            yield
        finally:
            self._silent_in = before

    def set_to(self, values: Mapping[Any, Any]) -> None:
        """Set widgets to values; nothing is drawn."""
        with self.silently():
            for control, value in values.items():
                control.value = value

    def when_set(self, controls: list[Any], do: Callable[[], None]) -> None:
        """Call a function when a user sets one of these."""

        def is_set(_change: Any) -> None:
            if threading.get_ident() != self._silent_in:
                self.do(do)

        for control in controls:
            control.observe(is_set, "value")

    def do(self, what: Callable[[], None]) -> None:
        """Call a function in the thread of the widgets: at once, or when it is free."""
        if self._loop is None or threading.get_ident() == self._thread:
            what()
        else:
            self._loop.call_soon_threadsafe(what)


class Explorer(Controls):
    """The widgets of `explore`.

    Parameters
    ----------
    cohort : Dataset
    model : nn.Module
    store : path, optional
    by : str
        See `explore`.

    Attributes
    ----------
    cohort : Dataset
        With the landmarks that were kept.
    shown : View or None
        What the picture shows, which is what the widgets are set to; None where no record fits the search.
    picture : Image
        Its ``value`` holds the PNG.
    summary, message : HTML
        Under the picture: who is shown, with what is measured and predicted; and what the last action led to.
    took_ms : float
        How long the last answer took.
    """

    def __init__(self, cohort: xr.Dataset, model: nn.Module, store: str | Path | None = None, by: str = "by hand"):
        super().__init__(Exploration(cohort, model))
        self._store, self._by = store, by
        self.shown: View | None = None
        self._shown_by: dict[Any, Any] = {}  # the values of the widgets that decide what is shown
        self.took_ms, self._due = np.nan, False
        self.when_set([c for c in self.deciding if c not in (self.target, self.landmark)], self._changed)
        self.when_set([self.search, self.order, self.target], self._listed)
        self.when_set([self.record, self.landmark], self._another)
        self.when_set([self.place], lambda: self._go(self.place.value))
        for button, do in (
            (self.back, lambda: self._go(self.place.value - 1)), (self.on, lambda: self._go(self.place.value + 1)),
            (self.reset, self._undo_edits), (self.keep, self._keep), (self.take_back, self._take_back),
            (self.export, self._export),
        ):  # fmt: skip
            button.on_click(lambda _, do=do: self.do(do))
        self.refresh()

    @property
    def cohort(self) -> xr.Dataset:
        return self.of.cohort

    # ------------------------------------------------------------ what is selected

    def _changed(self) -> None:
        """Draw once the messages that wait have been read: a moving slider never piles up pictures."""
        self.message.value = ""
        self._draw_soon()

    def _listed(self) -> None:
        self.list_records()
        self._changed()

    def _another(self) -> None:
        """Another record or landmark: a move that was not kept is forgotten."""
        ids = self.record.options
        with self.silently():
            self.place.value = ids.index(self.record.value) if self.record.value in ids else 0
            self.move.value = 0
        self._changed()

    def _go(self, to: int) -> None:
        """To a place in the list, which goes round."""
        if self.record.options:
            with self.silently():
                self.record.value = self.record.options[to % len(self.record.options)]
            self._another()

    def _undo_edits(self) -> None:
        self.set_to({control: self.as_recorded[control] for control in self.edits})
        self._changed()

    # ------------------------------------------------------------ what is shown

    def _draw_soon(self) -> None:
        if self._due:
            return
        self._due = True
        if self._loop:
            self._loop.call_later(0.02, self.refresh)
        else:  # nothing else will come
            self.refresh()

    def refresh(self) -> None:
        """Show what the widgets are set to; a change that cannot be shown is taken back, and the message says why."""
        self._due = False
        began = time.perf_counter()
        with quiet():  # a line of progress would be one more output of the notebook's cell
            self.shown, picture, refused = self._picture()
            self.summary.value = self._summary(self.shown) if self.shown else ""
        self._shown_by = {control: control.value for control in self.deciding}
        self.picture.value = picture
        if refused:
            self.message.value = _warning(refused)
        self.took_ms = 1000 * (time.perf_counter() - began)
        view = self.shown
        if self._loop and view and view.view == "beat" and not self.of.trouble and not self.of.has_cohort_map(view):
            self._loop.call_later(0.1, self._add_cohort_map, view)

    def _picture(self) -> tuple[View | None, bytes, str]:
        """What the widgets are set to, or else what they are set back to; its picture; and why."""
        wanted, refused = self.selected, ""
        before = self._shown_by if self.shown and wanted and self.shown.record == wanted.record else {}
        with figures.styled(), plt.rc_context({"figure.max_open_warning": 0}):
            for values in ({}, before, self.as_recorded):
                self.set_to(values)
                view = self.selected
                if view is None:
                    return None, _png(_text("no record fits this search")), _NOTHING
                try:
                    # The cohort's map may take a second the first time: in a kernel, the record's own is shown before.
                    return view, _png(draw(self.of, view, wait=self._loop is None)), refused
                except ValueError as e:  # the package's own errors are ValueErrors and say what to do
                    refused = refused or str(e)
            return view, _png(_text("this record cannot be shown")), refused

    def _add_cohort_map(self, view: View) -> None:
        """Add the cohort's map, unless something else is shown by now."""
        if self._due or self.shown != view:
            return
        try:
            with quiet():
                self.of.cohort_map(view)
        except ValueError as e:
            self.message.value = _warning(f"no cohort map: {e}")
            return
        self._draw_soon()

    def _summary(self, view: View) -> str:
        """Who is shown, and a table of what is measured and predicted."""
        one = self.of.cohort.sel(record=view.record)
        about = [f"record {view.record}"]
        if np.isfinite(one.get("age", np.nan)):
            about.append(f"{float(one['age']):.0f} years")
        about += [str(one[k].values) for k in ("sex", "rhythm_label", "diagnosis") if k in one and str(one[k].values)]
        if self.of.has_seen(view.record):
            about.append("the network was trained on this person")
        by_hand = self.of.by_hand(view.record)
        about += [f"by hand: {', '.join(by_hand)}"] if by_hand else []
        if not np.isfinite(one["fiducial"].values).any():
            about.append("this record has no landmarks: nothing is measured, and no wave can be edited")
        if view.edits:
            about.append(f"edited: {', '.join(view.edits)}")
        if view.moved:
            landmark, to = view.moved
            was = float(one["fiducial"].sel(landmark=landmark))
            was_at = f"{was:.0f}" if np.isfinite(was) else "absent"
            about.append(f"{landmark} {was_at} \N{RIGHTWARDS ARROW} {to:.0f} ms, not kept yet")
        has_map = view.view != "rhythm" or self.of.of_rhythms
        trouble = self.of.record_map(view)[1] if has_map else self.of.trouble
        heads = ["", "measured", "predicted"] + (["edited"] if view.edits else [])
        return (
            f"<div style='line-height:1.3'>{_warning(f'no map: {trouble}') if trouble else ''}"
            f"<div>{html.escape('; '.join(about))}</div>{_table([heads, *self.of.numbers(view)])}</div>"
        )

    # ------------------------------------------------------------ landmarks and export

    def _keep(self) -> None:
        view = self.selected
        if view is None or view.moved is None:
            self.message.value = _warning("nothing to keep: choose a landmark and move it with the slider")
            return
        self._change(f"{view.moved[0]} of record {view.record} kept", self.of.keep, view.moved[1], self._by)

    def _take_back(self) -> None:
        """The slider back to where the landmark is; from there, the landmark back to where it was."""
        view = self.selected
        if view is None or self.landmark.value == "none":
            self.message.value = _warning("nothing to undo: choose a landmark")
        elif view.moved:
            self.move.value = 0
        else:
            self._change(f"{self.landmark.value} of record {view.record} as before", self.of.take_back)

    def _change(self, what: str, how: Callable[..., None], *given: Any) -> None:
        """Change the cohort's landmark by `keep` or `take_back`, and say so."""
        try:
            how(str(self.record.value), self.landmark.value, *given, store=self._store)
        except ValueError as e:
            self.message.value = _warning(str(e))
            return
        self._another()
        where = f", in {self._store} too" if self._store else "; the cohort is explorer.cohort"
        self.message.value = html.escape(what + where)

    def _export(self) -> None:
        """The picture as PDF beside the notebook, and the lines that make it."""
        view = self.shown
        if view is None:
            self.message.value = _warning(_NOTHING)
            return
        name = view.record.replace("/", "-")
        file = Path(f"explorer-{name}-{view.target}-{view.view.replace(' ', '')}.pdf")
        with figures.styled():
            figure = draw(self.of, view)
            try:
                figure.savefig(file)
            except OSError as e:
                self.message.value = _warning(f"cannot write {file}: {e.strerror}")
                return
            finally:
                plt.close(figure)
        self.message.value = f"kept as {html.escape(str(file))}<pre>{html.escape(self.of.code(view))}</pre>"

    def _ipython_display_(self) -> None:
        """The widgets and, for an exported page, where no kernel runs, a static picture and its words under them."""
        display(self._repr_mimebundle_(), raw=True)
        picture = base64.b64encode(self.picture.value).decode()
        display(
            HTML(
                f"<style>{_LIVE}{{display:none}}</style><div class='ecgwb-static'><img alt='what the explorer shows' "
                f"style='max-width:100%' src='data:image/png;base64,{picture}'>{self.summary.value}</div>"
            )
        )


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
        The Zarr store the cohort was opened from: landmarks that are moved and kept are written there, too.
    by : str
        Who moves them, for the cohort's log.

    Returns
    -------
    Explorer
        Show it as the last line of a notebook's cell. With the slider under the list in focus, the arrow keys left and
        right go to the previous and the next record; with the slider of a landmark, they move it by 2 ms. ``.cohort``
        is the cohort with the landmarks that were kept.

    Raises
    ------
    ModelError
        When the network takes rhythms and the cohort holds none: ``wb.open_cohort(..., rhythm=True)``.
    ValueError
        When the cohort holds no records.
    """
    return Explorer(cohort, model, store, by)


def _width(width: str) -> w.Layout:
    return w.Layout(width=width)


def _dropdown(description: str, options: Any, value: Any = None) -> w.Dropdown:
    chosen = {} if value is None else {"value": value}
    return w.Dropdown(options=options, description=description, layout=_width("98%"), **chosen)


def _slider(description: str, low: int, high: int, step: int, readout: str, value: int = 0) -> w.IntSlider:
    return w.IntSlider(value, low, high, step, description=description, readout_format=readout, layout=_width("98%"))


def _button(description: str, width: str = "98%", tooltip: str = "") -> w.Button:
    return w.Button(description=description, layout=_width(width), tooltip=tooltip)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that a kernel runs; None outside of one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _text(text: str) -> Figure:
    """A picture of a text alone."""
    figure = plt.figure(figsize=(6.4, 4.4), layout="none")
    figure.text(0.5, 0.5, text, ha="center", color="0.4")
    return figure


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    plt.close(figure)
    return file.getvalue()


def _table(rows: list[Any]) -> str:
    cells = ["".join(f"<td style='padding:0 1em 0 0'>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _warning(text: str) -> str:
    return f"<div style='color:#b00020;line-height:1.3'>{html.escape(text)}</div>"
