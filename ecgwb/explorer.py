"""The explorer: widgets to walk through a cohort, and to see what edits do to a prediction and its map."""

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
from matplotlib.figure import Figure
from torch import nn

from . import figures
from .attention import VARIANTS
from .edits import WAVES
from .exploration import SCALED, STRETCHED, VIEWS, Exploration, View

_DPI = 96


class Explorer(w.VBox):
    """The widgets of `explore`: ``picture`` holds the PNG, ``said`` the words, ``took_ms`` the last answer's time."""

    def __init__(self, cohort: xr.Dataset, model: nn.Module) -> None:
        self.of = Exploration(cohort, model)
        targets, leads = list(self.of.spec.targets), [str(v) for v in cohort["lead"].values]
        wide = w.Layout(width="100%")
        self.search = w.Text(placeholder="search: id, male, fibrillation", layout=wide)
        self.order = w.Dropdown(options=["record", "age", "error", "doubt"], description="sorted by", layout=wide)
        ids = self.of.records()
        self.record = w.Select(options=ids, value=ids[0], rows=12, layout=wide)
        self.back, self.on = (w.Button(description=d, layout=w.Layout(width="48%")) for d in ("previous", "next"))
        # The slider takes the arrow keys, left and right: in JupyterLab, up and down in a list move between cells.
        self.place = w.IntSlider(0, min=0, max=len(ids) - 1, readout=False, layout=wide)
        names = [(figures.NAMES.get(t, t), t) for t in targets]
        self.target = w.Dropdown(options=names, value=targets[0], description="target", layout=wide)
        self.variant = w.Dropdown(options=VARIANTS, description="variant", layout=wide)
        self.view = w.ToggleButtons(options=VIEWS, style=w.ToggleButtonsStyle(button_width="90px"))
        self.lead = w.Dropdown(
            options=leads, value="V5" if "V5" in leads else leads[0], description="lead", layout=wide
        )
        self.blanked = w.Dropdown(options=["none", *WAVES], description="blank", layout=wide)
        self.stretched = {
            k: w.FloatSlider(0, min=a, max=b, step=2, description=f"{k} ms", readout_format="+.0f", layout=wide)
            for k, (a, b) in STRETCHED.items()
        }
        self.scaled = {k: w.IntSlider(100, min=50, max=150, step=5, description=f"{k} %", layout=wide) for k in SCALED}
        self.reset = w.Button(description="undo edits", layout=wide)
        self.export = w.Button(description="export figure and code", layout=wide)
        self.picture = w.Image(format="png", layout=w.Layout(max_width="100%"))
        self.said, self.kept = w.HTML(), w.HTML()
        self.took_ms, self._due = np.nan, False
        edits = [self.blanked, *self.stretched.values(), *self.scaled.values()]
        for control in (self.record, self.target, self.variant, self.view, self.lead, *edits):
            control.observe(self._later, "value")
        for control in (self.search, self.order):
            control.observe(self._list, "value")
        self.place.observe(self._go, "value")
        self.record.observe(self._placed, "value")
        self.back.on_click(lambda _: self._step(-1))
        self.on.on_click(lambda _: self._step(1))
        self.reset.on_click(lambda _: self._undo())
        self.export.on_click(lambda _: self._export())
        left = w.VBox(
            [
                self.search,
                self.order,
                self.record,
                self.place,
                w.HBox([self.back, self.on]),
                self.target,
                self.variant,
                self.lead,
            ],
            layout=w.Layout(width="230px"),
        )
        what_if = w.VBox([w.HTML("<b>What if</b>"), *edits, self.reset, self.export], layout=w.Layout(width="260px"))
        middle = w.VBox([self.view, self.picture, self.said, self.kept], layout=w.Layout(flex="1 1 0", min_width="0"))
        super().__init__([w.HBox([left, middle, what_if])])
        self.refresh()

    def state(self) -> View:
        """What the controls say now."""
        return View(
            str(self.record.value), self.target.value, self.variant.value, self.view.value, self.lead.value,
            self.blanked.value, tuple((k, s.value) for k, s in self.stretched.items()),
            tuple((k, s.value / 100) for k, s in self.scaled.items()),
        )  # fmt: skip

    def refresh(self) -> None:
        """Draw what the controls say. What cannot be shown is said in place, and the last picture stays."""
        self._due = False
        if self.record.value is None:
            self.said.value = _warning("no record holds these words; change the search")
            return
        began = time.perf_counter()
        view = self.state()
        try:
            with plt.rc_context({"figure.max_open_warning": 0}), plt.style.context(figures.STYLE):
                self.picture.value = _png(self.of.draw(view))
            self.said.value = self._words(view)
        except ValueError as e:  # the package's own errors are ValueErrors and say what to do
            self.said.value = _warning(str(e))
        self.took_ms = 1000 * (time.perf_counter() - began)

    def _later(self, _change: Any) -> None:
        """Draw once the messages that wait have been read: a moving slider never piles up pictures."""
        if self._due:
            return
        self._due = True
        try:
            asyncio.get_running_loop().call_later(0.02, self.refresh)
        except RuntimeError:  # outside a kernel nothing else will come
            self.refresh()

    def _words(self, view: View) -> str:
        c = self.of.cohort.sel(record=view.record)
        about = [f"record {view.record}"]
        about += [f"{float(c['age']):.0f} years"] if "age" in c.coords and np.isfinite(c["age"]) else []
        about += [str(c[k].values) for k in ("sex", "rhythm_label", "diagnosis") if k in c.coords and str(c[k].values)]
        about += ["the network was trained on this person"] if self.of.has_seen(view.record) else []
        heads = ["", "measured", "predicted"] + (["edited"] if view.edited else [])
        cells = "".join(
            "<tr>"
            + "".join(f"<td style='padding:0 1em 0 0'>{html.escape(x)}</td>" for x in row[: len(heads)])
            + "</tr>"
            for row in [tuple(heads), *self.of.numbers(view)]
        )
        return f"<div>{html.escape('; '.join(about))}</div><table>{cells}</table>"

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

    def _undo(self) -> None:
        self.blanked.value = "none"
        for slider in self.stretched.values():
            slider.value = 0
        for slider in self.scaled.values():
            slider.value = 100

    def _export(self) -> None:
        """The picture as PDF beside the notebook, and the lines that make its numbers."""
        view = self.state()
        try:
            with plt.style.context(figures.STYLE):
                figure = self.of.draw(view)
        except ValueError as e:
            self.kept.value = _warning(str(e))
            return
        file = Path(f"explorer-{view.record}-{view.target}-{view.view.replace(' ', '')}.pdf")
        figure.savefig(file)
        plt.close(figure)
        self.kept.value = f"kept as {html.escape(str(file))}<pre>{html.escape(self.of.code(view))}</pre>"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """With a static picture, which is what an exported page shows where no kernel runs."""
        bundle = super()._repr_mimebundle_(**kwargs)
        if isinstance(bundle, dict):
            bundle["image/png"] = base64.b64encode(self.picture.value).decode()
        return bundle


def explore(cohort: xr.Dataset, model: nn.Module) -> Explorer:
    """Look at records one after another: prediction beside measurement, attention, and what edits do to both.

    Parameters
    ----------
    cohort : Dataset
        Beats; opened with ``rhythm=True``, recordings too.
    model : nn.Module
        A network that takes beats.

    Returns
    -------
    Explorer
        Show it as the last line of a notebook's cell. With the slider under the list in focus, the
        arrow keys left and right go to the previous and the next record.
    """
    return Explorer(cohort, model)


def _png(figure: Figure) -> bytes:
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=_DPI)
    plt.close(figure)
    return held.getvalue()


def _warning(text: str) -> str:
    return f"<div style='color:#b00020'>{html.escape(text)}</div>"
