import io
import sys
import time
from functools import partial

import ecgwb as wb
from ecgwb.models import progress as lines
from ecgwb.models.progress import progress, quiet


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal_of(monkeypatch, after_s=0.01):
    """Standard error as a terminal; in the test itself, since pytest sets its own before each."""
    monkeypatch.setattr(lines, "_AFTER_S", after_s)
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def slowly(n=3):
    for k in range(n):
        time.sleep(0.2)
        yield k


def test_items_pass_and_a_terminal_shows_how_many_have(monkeypatch):
    terminal = terminal_of(monkeypatch)
    assert list(progress("edits", slowly(), total=3)) == [0, 1, 2]
    assert "edits:  67%" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")  # gone


def test_nothing_is_shown_where_no_one_looks_or_wants_it(monkeypatch):
    terminal = terminal_of(monkeypatch)
    with quiet():
        assert list(progress("edits", slowly(1))) == [0]
        with quiet(False):  # inner ones do not bring it back
            list(progress("edits", slowly(1)))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    list(progress("edits", slowly(1)))
    monkeypatch.delenv("TQDM_DISABLE")
    assert terminal.getvalue() == ""
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    list(progress("edits", slowly(1)))
    assert file.getvalue() == ""


def test_quick_work_shows_none(monkeypatch, measures):
    terminal = terminal_of(monkeypatch, 100.0)
    cohort = wb.open_cohort("ludb").isel(record=slice(12))
    wb.ecgradcam(measures, cohort)
    assert terminal.getvalue() == ""


def test_long_work_says_how_far_it_is(monkeypatch, measures):
    cohort = wb.open_cohort("ludb").isel(record=slice(12))
    terminal = terminal_of(monkeypatch, 1e-9)
    monkeypatch.setattr(lines, "tqdm", partial(lines.tqdm, mininterval=0))  # every step is shown
    for what, work in (
        ("predict", lambda: wb.predict(measures, cohort)),
        ("ecgradcam", lambda: wb.ecgradcam(measures, cohort, "qt")),
        ("saliency", lambda: wb.attribute(measures, cohort, "saliency", "qt")),
        ("edits", lambda: wb.edit_map(measures, cohort, "qt", n_edits=2)),
        ("doses", lambda: wb.edits.dose_response(measures, cohort, measured=False)),
    ):
        before = len(terminal.getvalue())
        work()
        assert f"\r{what}: " in terminal.getvalue()[before:], what
