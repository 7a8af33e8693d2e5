"""A session of looking: what is selected, edits and how they are undone, review marks. Without widgets.

There is one owner of what is selected and shown: `Session.view`. Whatever is asked for and cannot be is not done, and
`Session.message` says why.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from torch import nn

from ..figures.style import styled
from .pictures import draw
from .state import MOVABLE, VIEWS, WAYS, Exploration, View

VERDICTS = ("good", "doubtful", "unusable")
_COLUMNS = ("record", "verdict", "note", "by")
_EDITS = ("blanked", "stretched", "scaled", "moved")


Mark = tuple[str, str, str, str]  # record, verdict, note, and by whom


@dataclass(frozen=True)
class Step:
    """What undo goes back to: a view, the landmarks kept so far, and the review's marks."""

    view: View
    kept: tuple[tuple[str, str, float], ...] = ()  # record, landmark, ms
    marks: tuple[Mark, ...] = ()


class Session:
    """What is selected and shown, and everything that can be done to it.

    Parameters
    ----------
    cohort : Dataset
    model : nn.Module
    store : path, optional
    by : str
        See `explore`.

    Attributes
    ----------
    of : Exploration
    view : View
        What is shown: always of a record of the cohort, and with no edit that the record cannot take.
    message : str
        What the last action led to; of this view's record.
    refused : bool
        Whether the message says why something was not done.
    revision : int
        Grows with every change.
    """

    def __init__(self, cohort: xr.Dataset, model: nn.Module, store: str | Path | None = None, by: str = "by hand"):
        self.of = Exploration(cohort, model)
        self.store, self.by = store, by
        leads = [str(v) for v in cohort["lead"].values]
        lead = "V5" if "V5" in leads else leads[0]
        first = View(str(cohort["record"].values[0]), self.of.spec.targets[0], self.of.way(), lead=lead)
        self.message, self.revision = "", 0
        self._done_at = -1  # the revision whose message says what was done
        self._now = Step(first, marks=_read_marks(self.review_file))
        self._past: list[Step] = []
        self._future: list[Step] = []
        self._group: str | None = None

    @property
    def view(self) -> View:
        return self._now.view

    @property
    def refused(self) -> bool:
        return bool(self.message) and self._done_at != self.revision

    @property
    def marks(self) -> dict[str, tuple[str, str]]:
        """Records reviewed: their verdict and note."""
        return {record: (verdict, note) for record, verdict, note, _ in self._now.marks}

    @property
    def review_file(self) -> Path:
        """The CSV that marks are kept in: beside the store, or in the working directory."""
        return Path("explorer.review.csv") if self.store is None else Path(f"{Path(self.store)}.review.csv")

    @property
    def can_undo(self) -> int:
        return len(self._past)

    @property
    def can_redo(self) -> int:
        return len(self._future)

    # ------------------------------------------------------------ what is selected

    def see(self, group: str | None = None, **wanted: Any) -> None:
        """Change the view: any attributes of `View`.

        An edit goes along to another record where that can take it; a landmark's move that was not kept does not. What
        does not go along comes back with `undo`, with its record.

        Parameters
        ----------
        group : str, optional
            Changes in a row of one group, such as one drag, are undone together.
        """
        self.revision += 1
        self.message = ""
        before = self.view
        try:
            view = replace(before, **_checked(wanted, self.of))
        except (TypeError, ValueError) as e:
            self.message = str(e)
            return
        if view.record != before.record and "moved" not in wanted:
            view = replace(view, moved=None)
        shown = self._possible(view, before)
        if _edits_of(shown) == _edits_of(before):
            self._now = replace(self._now, view=shown)
            self._group = None
        else:
            self._do(replace(self._now, view=shown), group)

    def _possible(self, wanted: View, before: View) -> View:
        """The view, or what comes nearest to it that its record can show; the message says why."""
        plain = replace(wanted, blanked="none", stretched=(), scaled=(), moved=None)
        choices = [wanted, plain, replace(plain, view="beat")]
        if wanted.record == before.record:
            choices[1:1] = [replace(wanted, **{name: getattr(before, name) for name in _EDITS}), before]
        for view in choices:
            try:
                self._try(view)
                return view
            except ValueError as e:  # the package's own errors are ValueErrors and say what to do
                self.message = self.message or str(e)
        return choices[-1]

    def _try(self, view: View) -> None:
        self.of.edited(view)
        if view.view == "rhythm":
            self.of.recording(view)

    # ------------------------------------------------------------ what is done, and undone

    def keep(self) -> None:
        """Put the moved landmark into the cohort, and its store."""
        view = self.view
        self.revision += 1
        if view.moved is None:
            self.message = "nothing to keep: move a landmark first"
            return
        landmark, ms = view.moved
        kept = (*self._now.kept, (view.record, landmark, ms))
        where = f"explorer.cohort and {self.store}" if self.store else "explorer.cohort"
        if self._go_to(replace(self._now, view=replace(view, moved=None), kept=kept), remember=True):
            self._say_done(f"{landmark} of record {view.record} at {ms:.0f} ms is kept in {where}")

    def mark(self, verdict: str, note: str = "") -> None:
        """Mark the record as reviewed, or with an empty verdict and note as not reviewed."""
        self.revision += 1
        if verdict not in ("", *VERDICTS):
            self.message = f"verdict is {verdict!r}; expected one of {', '.join(VERDICTS)}"
            return
        others = tuple(m for m in self._now.marks if m[0] != self.view.record)
        mine = ((self.view.record, verdict, note, self.by),) if verdict or note else ()
        if self._go_to(replace(self._now, marks=(*others, *mine)), remember=True):
            what = f"marked as {verdict}" if verdict else "note kept" if note else "no longer marked"
            self._say_done(f"record {self.view.record}: {what}, in {self.review_file}")

    def undo(self) -> None:
        """Go one step back, whatever the step was."""
        self._back_or_forth(self._past, self._future, "nothing to undo")

    def redo(self) -> None:
        """Do again what was undone."""
        self._back_or_forth(self._future, self._past, "nothing to do again")

    def _back_or_forth(self, source: list[Step], to: list[Step], nothing: str) -> None:
        self.revision += 1
        self.message, self._group = "", None
        if not source:
            self.message = nothing
            return
        now = self._now
        if self._go_to(source[-1]):
            source.pop()
            to.append(now)

    def _say_done(self, what: str) -> None:
        self.message, self._done_at = what, self.revision

    def _do(self, step: Step, group: str | None = None) -> None:
        if group is None or group != self._group:
            self._past.append(self._now)
        self._group = group
        self._future.clear()
        self._now = step

    def _go_to(self, step: Step, remember: bool = False) -> bool:
        """Make a step the present one, with what it keeps in the cohort, the store and the CSV."""
        self.message = ""
        try:
            if len(step.kept) < len(self._now.kept):
                record, landmark, _ = self._now.kept[-1]
                self.of.take_back(record, landmark, store=self.store)
            elif len(step.kept) > len(self._now.kept):
                self.of.keep(*step.kept[-1], self.by, store=self.store)
            if step.marks != self._now.marks:
                _write_marks(self.review_file, self._now.marks, step.marks)
        except (OSError, ValueError) as e:
            self.message = str(e)
            return False
        if remember:
            self._do(step)
        else:
            self._now = step
        return True

    # ------------------------------------------------------------ export

    def export(self) -> str:
        """Keep the picture as a PDF in the working directory; returns the lines that make it."""
        view = self.view
        self.revision += 1
        file = Path(f"explorer-{view.record.replace('/', '-')}-{view.target}-{view.view.replace(' ', '')}.pdf")
        with styled():
            figure = draw(self.of, view)
            try:
                figure.savefig(file)
            except OSError as e:
                self.message = f"cannot write {file}: {e.strerror}"
                return ""
            finally:
                plt.close(figure)
        self._say_done(f"The figure is kept as {file}.")
        return self.of.code(view)


def _edits_of(view: View) -> tuple[Any, ...]:
    return tuple(getattr(view, name) for name in _EDITS)


def _checked(wanted: Mapping[str, Any], of: Exploration) -> dict[str, Any]:
    """Attributes of a view as a browser sends them, as they are kept."""
    unknown = set(wanted) - {f.name for f in fields(View)}
    if unknown:
        raise ValueError(f"a view has no {', '.join(sorted(unknown))}; expected {', '.join(asdict(View('', '')))}")
    out = dict(wanted)
    for name in ("stretched", "scaled"):
        if name in out:
            none = 0.0 if name == "stretched" else 1.0
            known = getattr(of, name)
            pairs = {str(what): float(amount) for what, amount in out[name] if float(amount) != none}
            if lost := set(pairs) - set(known):
                raise ValueError(f"{min(lost)!r} cannot be {name}; expected one of {', '.join(known)}")
            out[name] = tuple((what, pairs[what]) for what in known if what in pairs)
    if out.get("moved") is not None:
        landmark, ms = out["moved"]
        if landmark not in MOVABLE or not np.isfinite(float(ms)):
            raise ValueError(f"{landmark} cannot be moved to {ms} ms; expected one of {', '.join(MOVABLE)} and a time")
        out["moved"] = (str(landmark), float(ms))
    leads = [str(v) for v in of.cohort["lead"].values]
    choices: dict[str, Any] = {"target": of.spec.targets, "variant": WAYS, "view": VIEWS, "lead": leads}
    choices["record"] = of.cohort["record"].values.astype(str)
    for name, known in choices.items():
        if name in out and out[name] not in known:
            raise ValueError(f"no {name} {out[name]!r} here; expected one of {', '.join(map(str, list(known)[:20]))}")
    if out.get("layer") == of.spec.layer:
        out["layer"] = None
    return out


def _read_marks(file: Path) -> tuple[Mark, ...]:
    if not file.is_file():
        return ()
    with file.open(newline="", encoding="utf-8-sig") as f:  # a spreadsheet puts a mark before the first column
        rows = csv.DictReader(f)
        if tuple(rows.fieldnames or ()) != _COLUMNS:
            raise ValueError(f"{file} has columns {rows.fieldnames}; expected {', '.join(_COLUMNS)}: move it away")
        return tuple((row["record"], row["verdict"], row["note"], row["by"]) for row in rows)


def _write_marks(file: Path, before: tuple[Mark, ...], after: tuple[Mark, ...]) -> None:
    """Write the marks that changed; what others have written to the file meanwhile stays."""
    changed = {mark[0] for mark in set(before) ^ set(after)}
    marks = [mark for mark in _read_marks(file) if mark[0] not in changed]
    marks += [mark for mark in after if mark[0] in changed]
    written = file.with_suffix(".part")
    with written.open("w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(_COLUMNS)
        rows.writerows(marks)
    written.replace(file)
