"""The explorer: widgets to walk through a cohort, move landmarks, and see what edits do to a prediction and its map."""

from __future__ import annotations

import asyncio
import base64
import html
import io
import time
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
from .search import ORDERS
from .state import MOVABLE, SCALED, STRETCHED, VIEWS, WAYS, Exploration, View

_DPI = 112
_LIVE = ", ".join(f".{shell} .ecgwb-static" for shell in ("jp-LabShell", "jp-NotebookShell"))  # where widgets are live
_SEARCH = "search: 12, male, age>60, error>20, doubt>30"
_NOTHING = (
    "no record fits this search; change it. Words begin an id, sex, diagnosis or rhythm; numbers go as age>60, "
    "error>20 (of the target's prediction), doubt>=30 (ms)"
)


class Explorer(w.VBox):
    """The widgets of `explore`.

    Attributes
    ----------
    cohort : Dataset
        With the landmarks that were kept.
    picture : Image
        Its ``value`` holds the PNG.
    said, kept : HTML
        The words under it.
    took_ms : float
        How long the last answer took.
    """

    def __init__(self, cohort: xr.Dataset, model: nn.Module, store: str | Path | None = None, by: str = "by hand"):
        self.of, self._store, self._by = Exploration(cohort, model), store, by
        targets, leads = list(self.of.spec.targets), [str(v) for v in cohort["lead"].values]
        wide, half = w.Layout(width="98%"), w.Layout(width="48%")
        self.search = w.Text(placeholder=_SEARCH, layout=wide)
        self.order = w.Dropdown(options=ORDERS, description="sorted by", layout=wide)
        ids = self.of.records()
        self.record = w.Select(options=ids, value=ids[0], rows=9, layout=wide)
        self.back, self.on = (w.Button(description=d, layout=half) for d in ("previous", "next"))
        # The slider takes the arrow keys, left and right: in JupyterLab, up and down in a list move between cells.
        self.place = w.IntSlider(0, min=0, max=len(ids) - 1, readout=False, layout=wide)
        names = [(figures.NAMES.get(t, t), t) for t in targets]
        self.target = w.Dropdown(options=names, value=targets[0], description="target", layout=wide)
        self.variant = w.Dropdown(options=WAYS, description="map by", layout=wide)
        self.layer = w.Dropdown(options=self.of.layers(), description="layer", layout=wide)
        self.view = w.ToggleButtons(options=VIEWS, style=w.ToggleButtonsStyle(button_width="90px"))
        shown = "V5" if "V5" in leads else leads[0]
        self.lead = w.Dropdown(options=leads, value=shown, description="lead", layout=wide)
        self.blanked = w.Dropdown(options=["none", *WAVES], description="blank", layout=wide)
        self.stretched = {
            k: w.FloatSlider(0, min=a, max=b, step=2, description=f"{k} ms", readout_format="+.0f", layout=wide)
            for k, (a, b) in STRETCHED.items()
        }
        self.scaled = {k: w.IntSlider(100, min=50, max=150, step=5, description=f"{k} %", layout=wide) for k in SCALED}
        self.reset = w.Button(description="undo edits", layout=wide)
        self.landmark = w.Dropdown(options=["none", *MOVABLE], description="landmark", layout=wide)
        self.move = w.IntSlider(0, min=-150, max=150, step=2, description="by ms", readout_format="+d", layout=wide)
        self.keep = w.Button(description="keep", tooltip="put this landmark into the cohort, by hand", layout=half)
        self.take_back = w.Button(description="undo", tooltip="as it was before it was moved", layout=half)
        self.export = w.Button(description="export figure and code", layout=wide)
        self.picture = w.Image(format="png", layout=w.Layout(max_width="100%"))
        self.said, self.kept = w.HTML(), w.HTML()
        self.took_ms, self._due = np.nan, False
        edits = [self.blanked, *self.stretched.values(), *self.scaled.values()]
        for control in (
            self.target, self.variant, self.layer, self.view, self.lead, *edits, self.move,
        ):  # fmt: skip
            control.observe(self._later, "value")
        for control in (self.record, self.landmark):
            control.observe(self._another, "value")
        for control in (self.search, self.order):
            control.observe(self._list, "value")
        self.place.observe(self._go, "value")
        self.record.observe(self._placed, "value")
        self.back.on_click(lambda _: self._step(-1))
        self.on.on_click(lambda _: self._step(1))
        self.reset.on_click(lambda _: self._unedited())
        self.keep.on_click(lambda _: self._keep())
        self.take_back.on_click(lambda _: self._take_back())
        self.export.on_click(lambda _: self._export())
        left = [self.search, self.order, self.record, self.place, w.HBox([self.back, self.on])]
        left += [self.target, self.variant, self.layer, self.lead]
        right = [w.HTML("<b>What if</b>"), *edits, self.reset, w.HTML("<b>Move a landmark</b>"), self.landmark]
        right += [self.move, w.HBox([self.keep, self.take_back]), self.export]
        for control in (*left, *right):
            if getattr(control, "description", "") and hasattr(control.style, "description_width"):
                control.style.description_width = "62px"
        middle = w.VBox([self.view, self.picture, self.said, self.kept], layout=w.Layout(flex="1 1 0", min_width="0"))
        side = [w.VBox(part, layout=w.Layout(width="210px", flex="0 0 auto")) for part in (left, right)]
        super().__init__([w.HBox([side[0], middle, side[1]])])
        self.refresh()

    @property
    def cohort(self) -> xr.Dataset:
        return self.of.cohort

    def state(self) -> View:
        """What the controls say now."""
        mark, own = self.landmark.value, self.of.spec.layer
        moved = (mark, self.of.place(str(self.record.value), mark) + self.move.value) if self._is_moving() else None
        return View(
            str(self.record.value), self.target.value, self.variant.value, self.view.value, self.lead.value,
            self.blanked.value, tuple((k, s.value) for k, s in self.stretched.items()),
            tuple((k, s.value / 100) for k, s in self.scaled.items()),
            None if self.layer.value == own else self.layer.value, moved,
        )  # fmt: skip

    def refresh(self) -> None:
        """Draw what the controls say. What cannot be shown is said in place, and the last picture stays."""
        self._due = False
        if self.record.value is None:
            self.said.value = _warning(_NOTHING)
            return
        began = time.perf_counter()
        view = self.state()
        # The cohort's map may take a second the first time: the record's own is shown before.
        later = self._in_kernel() and view.view == "beat" and not self.of.trouble and not self.of.has_cohort_map(view)
        try:
            with figures.styled(), plt.rc_context({"figure.max_open_warning": 0}):
                self.picture.value = _png(self.of.draw(view, wait=not later))
            self.said.value = self._words(view)
        except ValueError as e:  # the package's own errors are ValueErrors and say what to do
            self.said.value, later = _warning(str(e)), False
        self.took_ms = 1000 * (time.perf_counter() - began)
        if later:
            asyncio.get_running_loop().call_later(0.1, self._complete, view)

    def _complete(self, view: View) -> None:
        """Add the cohort's map, unless something else is asked for by now."""
        if self.record.value is None or self.state() != view:
            return
        try:
            self.of.cohort_map(view)
        except ValueError as e:
            self.said.value += _warning(f"no cohort map: {e}")
            return
        self._later(None)

    def _later(self, _change: Any) -> None:
        """Draw once the messages that wait have been read: a moving slider never piles up pictures."""
        if self._due:
            return
        self._due = True
        if self._in_kernel():
            asyncio.get_running_loop().call_later(0.02, self.refresh)
        else:  # nothing else will come
            self.refresh()

    @staticmethod
    def _in_kernel() -> bool:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return True

    def _words(self, view: View) -> str:
        c = self.of.cohort.sel(record=view.record)
        about = [f"record {view.record}"]
        about += [f"{float(c['age']):.0f} years"] if "age" in c.coords and np.isfinite(c["age"]) else []
        about += [str(c[k].values) for k in ("sex", "rhythm_label", "diagnosis") if k in c.coords and str(c[k].values)]
        about += ["the network was trained on this person"] if self.of.has_seen(view.record) else []
        by_hand = self.of.by_hand(view.record)
        about += [f"by hand: {', '.join(by_hand)}"] if by_hand else []
        if not np.isfinite(c["fiducial"].values).any():
            about.append("this record has no landmarks: nothing is measured, and no wave can be edited")
        if view.moved:
            was = float(c["fiducial"].sel(landmark=view.moved[0]))
            was_at = f"{was:.0f}" if np.isfinite(was) else "absent"
            about.append(f"{view.moved[0]} {was_at} \N{RIGHTWARDS ARROW} {view.moved[1]:.0f} ms, not kept yet")
        heads = ["", "measured", "predicted"] + (["edited"] if view.edited else [])
        cells = "".join(
            "<tr>"
            + "".join(f"<td style='padding:0 1em 0 0'>{html.escape(x)}</td>" for x in row[: len(heads)])
            + "</tr>"
            for row in [tuple(heads), *self.of.numbers(view)]
        )
        trouble = _warning(f"the network says nothing here: {self.of.trouble}") if self.of.trouble else ""
        words = f"{trouble}<div>{html.escape('; '.join(about))}</div><table>{cells}</table>"
        return f"<div style='line-height:1.3'>{words}</div>"

    def _list(self, _change: Any) -> None:
        ids = self.of.records(self.search.value, self.order.value, self.target.value)
        now = self.record.value
        self.record.options = ids
        self.record.value = now if now in ids else ids[0] if ids else None
        self._later(None)

    def _go(self, change: Any) -> None:
        if change["new"] < len(self.record.options):
            self.record.value = self.record.options[change["new"]]

    def _placed(self, change: Any) -> None:
        ids = self.record.options
        self.place.max = max(len(ids) - 1, 0)
        self.place.value = ids.index(change["new"]) if change["new"] in ids else 0

    def _step(self, by: int) -> None:
        ids = list(self.record.options)
        if ids:
            self.record.value = ids[(ids.index(self.record.value) + by) % len(ids)]

    def _unedited(self) -> None:
        self.blanked.value = "none"
        for slider in self.stretched.values():
            slider.value = 0
        for slider in self.scaled.values():
            slider.value = 100

    def _another(self, _change: Any) -> None:
        """Another record or landmark: a move that was not kept is forgotten."""
        if self.move.value:
            self.move.value = 0  # draws
        else:
            self._later(None)

    def _is_moving(self) -> bool:
        return self.landmark.value != "none" and self.move.value != 0

    def _keep(self) -> None:
        if not self._is_moving():
            self.kept.value = _warning("nothing to keep: choose a landmark and move it with the slider")
            return
        record, mark = str(self.record.value), self.landmark.value
        self._change(f"{mark} of record {record} kept", self.of.keep, self.state().moved[1], self._by)  # type: ignore[index]

    def _take_back(self) -> None:
        """The slider back to where the landmark is; from there, the landmark back to where it was."""
        if self.landmark.value == "none":
            self.kept.value = _warning("nothing to undo: choose a landmark")
        elif self.move.value:
            self.move.value = 0
        else:
            self._change(f"{self.landmark.value} of record {self.record.value} as before", self.of.take_back)

    def _change(self, what: str, how: Any, *given: Any) -> None:
        try:
            how(str(self.record.value), self.landmark.value, *given, store=self._store)
        except ValueError as e:
            self.kept.value = _warning(str(e))
            return
        where = f", in {self._store} too" if self._store else "; the cohort is explorer.cohort"
        self.kept.value = html.escape(what + where)
        self._another(None)

    def _export(self) -> None:
        """The picture as PDF beside the notebook, and the lines that make it."""
        if self.record.value is None:
            self.kept.value = _warning(_NOTHING)
            return
        view = self.state()
        try:
            with figures.styled():
                figure = self.of.draw(view)
        except ValueError as e:
            self.kept.value = _warning(str(e))
            return
        name = view.record.replace("/", "-")
        file = Path(f"explorer-{name}-{view.target}-{view.view.replace(' ', '')}.pdf")
        try:
            figure.savefig(file)
        except OSError as e:
            self.kept.value = _warning(f"cannot write {file}: {e.strerror}")
            return
        finally:
            plt.close(figure)
        self.kept.value = f"kept as {html.escape(str(file))}<pre>{html.escape(self.of.code(view))}</pre>"

    def _ipython_display_(self) -> None:
        """The widgets and, for an exported page, where no kernel runs, a static picture and its words under them."""
        display(self._repr_mimebundle_(), raw=True)
        picture = base64.b64encode(self.picture.value).decode()
        display(
            HTML(
                f"<style>{_LIVE}{{display:none}}</style><div class='ecgwb-static'><img alt='what the explorer shows' "
                f"style='max-width:100%' src='data:image/png;base64,{picture}'>{self.said.value}</div>"
            )
        )


def explore(cohort: xr.Dataset, model: nn.Module, *, store: str | Path | None = None, by: str = "by hand") -> Explorer:
    """Look at records one after another: prediction beside measurement, attention, and what edits do to both.

    Parameters
    ----------
    cohort : Dataset
        Beats; opened with ``rhythm=True``, recordings too. One that lacks leads the network needs is shown without it.
    model : nn.Module
        A network that takes beats.
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
    ValueError
        For a network that takes rhythms, or a cohort without records.
    """
    return Explorer(cohort, model, store, by)


def _png(figure: Figure) -> bytes:
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=_DPI)
    plt.close(figure)
    return held.getvalue()


def _warning(text: str) -> str:
    return f"<div style='color:#b00020;line-height:1.3'>{html.escape(text)}</div>"
