"""What `wb.<TAB>` shows: the names of every day, flat; the rest in its room; 0.1's flat names with a warning."""

import importlib
import inspect
import pickle
import re
from pathlib import Path

import pytest

import ecgwb as wb

ROOMS = [
    "stats", "recordings", "delineation", "cohorts", "models", "attention", "edits", "trust", "discovery", "figures",
    "explorer",
]  # fmt: skip


def test_a_newcomer_sees_the_flat_names_and_the_rooms():
    assert len(wb.__all__) == 35
    assert wb.__all__ == sorted(wb.__all__, key=lambda n: (n != n.upper(), n == n.lower(), n))
    assert sorted(dir(wb)) == sorted([*wb.__all__, *ROOMS])
    for name in dir(wb):
        assert getattr(wb, name) is not None


def test_a_flat_name_is_the_function_of_its_room():
    from ecgwb.models import training

    assert wb.fit is training.fit


@pytest.mark.parametrize("room", ROOMS[1:])
def test_a_room_says_what_comes_in_and_what_goes_out(room):
    module = importlib.import_module(f"ecgwb.{room}")
    assert re.search(r"\bin\b", module.__doc__)
    assert re.search(r"\bout\b", module.__doc__)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert not inspect.ismodule(getattr(module, name))


def test_old_flat_names_warn_and_name_the_new_place():
    for name, room in wb._MOVED.items():
        with pytest.warns(DeprecationWarning, match=rf"ecgwb\.{name} is ecgwb\.{room}\.{name} since 0\.2") as warned:
            old = getattr(wb, name)
        assert Path(warned[0].filename) == Path(__file__)
        assert old is getattr(importlib.import_module(f"ecgwb.{room}"), name)


def test_a_name_that_never_was_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'blink'"):
        wb.blink  # noqa: B018


def test_public_functions_can_be_sent_to_other_processes():
    for name in wb.__all__:
        thing = getattr(wb, name)
        if callable(thing):
            assert pickle.loads(pickle.dumps(thing)) is thing
