from __future__ import annotations

import inspect
import pickle
import re

import pytest

from featherface import errors

CLASSES = [
    value for _, value in inspect.getmembers(errors, inspect.isclass) if value.__module__ == errors.__name__
]


def test_the_diagram_shows_the_tree_and_its_codes() -> None:
    drawn = {}
    parents: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^    ([│├└─ ]*)(\w+Error) +(\w+)", line)
        if found:
            depth = len(found[1]) // 4
            parents[depth:] = [found[2]]
            drawn[found[2]] = (parents[depth - 1] if depth else "Exception", found[3])
    assert drawn == {cls.__name__: (cls.__base__.__name__, cls.code) for cls in CLASSES}


def test_codes_are_unique() -> None:
    assert len({cls.code for cls in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_errors_survive_pickling(cls: type[errors.FeatherFaceError]) -> None:
    copy = pickle.loads(pickle.dumps(cls("what came, what is accepted")))
    assert type(copy) is cls
    assert str(copy) == "what came, what is accepted"
    assert copy.code == cls.code


def test_all_is_what_is_defined() -> None:
    assert sorted(errors.__all__) == sorted(cls.__name__ for cls in CLASSES)
