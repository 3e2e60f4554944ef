"""The private parts of a library are used in one module, which says what it relies on and has a test for it."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from inspect import isfunction
from pathlib import Path

import pytest

from tests.internals import fail_if_changed

OWN = ("actors", "project", "settings", "tasks")

# The modules that may use names with an underscore of each library.
PRIVATE_PARTS = {
    "pika": {"actors/outbox/amqp/pika_internals.py"},
    "dramatiq": {"actors/outbox/worker/dramatiq_internals.py"},
    "gunicorn": {"project/web_server/gunicorn_internals.py"},
    "django": {"actors/django_internals.py"},
}

# Names with an underscore that their libraries document for use.
DOCUMENTED = {"_meta", "_state", "_default_manager", "_base_manager", "_fields", "_make", "_replace", "_asdict"}


def sources() -> Iterator[str]:
    for path in [*(path for folder in OWN for path in Path(folder).rglob("*.py")), Path("gunicorn.conf.py")]:
        if "migrations" not in path.parts:
            yield path.as_posix()


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") or name.endswith("_") or name in DOCUMENTED)


def defined_names(source: str) -> set[str]:
    """Return the names that a file defines, attributes of its own instances included."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                names.add(name)
    return names


def foreign_names(source: str, *neighbours: str) -> set[str]:
    """Return the private names that a file imports or reads from an object, and that its package does not define."""
    used = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name):
                used.add(name)
            case ast.ImportFrom(names=names):
                used.update(each.name for each in names)
    return {name for name in used.difference(*map(defined_names, (source, *neighbours))) if is_private(name)}


def overridden(module: str) -> Iterator[tuple[str, str]]:
    """Yield the libraries, and their private methods, that the classes of a module override."""
    for kind in vars(importlib.import_module(module)).values():
        if not isinstance(kind, type) or kind.__module__ != module:
            continue
        for name in filter(is_private, vars(kind)):
            for base in kind.__mro__[1:]:
                library = base.__module__.partition(".")[0]
                if library not in OWN and isfunction(vars(base).get(name)) and isfunction(vars(kind)[name]):
                    yield library, f"{kind.__qualname__}.{name}"


def test_no_other_file_names_a_private_part() -> None:
    allowed = set.union(*PRIVATE_PARTS.values())
    found = {
        path: names
        for path in sources()
        if (names := foreign_names(*(each.read_text() for each in [Path(path), *Path(path).parent.glob("*.py")])))
    }
    assert {path: names for path, names in found.items() if path not in allowed} == {}
    assert allowed - set(found) == set(), "these need not be in the list"


def test_no_other_file_overrides_a_private_part() -> None:
    found = {
        (library, info.name, what)
        for folder in ("actors", "project", "tasks")
        for info in pkgutil.walk_packages([folder], f"{folder}.")
        if ".migrations" not in info.name
        for library, what in overridden(info.name)
    }
    wrong = [each for each in found if f"{each[1].replace('.', '/')}.py" not in PRIVATE_PARTS.get(each[0], ())]
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from pika.channel import _private", {"_private"}),
        ("def f(channel): return channel._impl", {"_impl"}),
        ("class C(B):\n def f(self): self._theirs()", {"_theirs"}),
        ("class C(B):\n def f(self): super()._theirs()", {"_theirs"}),
        ("class C(B):\n _held = None\n def _f(self): self._held, self._f, type(self)._meta", set()),
        ("class C:\n def __init__(self): self._own = 1\n def f(self, other): return other._own", set()),
        ("class C(Neighbour):\n def f(self): return self._neighbours", set()),
    ],
)
def test_a_private_part_is_seen_however_it_is_used(source: str, names: set[str]) -> None:
    assert foreign_names(source, "class Neighbour:\n _neighbours = 1") == names


@pytest.mark.parametrize("part", ["dramatiq.worker:Worker.start", "dramatiq.worker:Worker.no_more", "dramatiq.gone:it"])
def test_a_part_that_has_changed_fails_and_says_what_to_look_at(part: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=rf"(?s){part} has changed .*make good the threads.*internals\.py"):
        fail_if_changed(part, "another", "the threads", module="dramatiq_internals.py")
