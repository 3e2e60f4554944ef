"""The pinned packages are those imported: by the service from runtime.txt, by `make run` from local.txt."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from project.local.stack import ROOT

OURS = ("manage", "settings", "project", "tasks", "actors")
LOCAL_ONLY = (ROOT / "project/local", *(ROOT / f"project/management/commands/{name}.py" for name in ("up", "demo")))
DECLARED: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
DISTRIBUTIONS = packages_distributions()
PIN = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?P<marker> ;.*?)? \\(?P<hashes>(\n    --hash=.*)+)", re.MULTILINE
)


@cache
def pins(name: str) -> set[tuple[str, str, str]]:
    """Return the packages that a pin file names: name, version and hashes."""
    return {(pin["name"], pin["version"], pin["hashes"]) for pin in PIN.finditer(read_pins(name))}


def read_pins(name: str) -> str:
    return (ROOT / f"requirements/{name}.txt").read_text()


def names(requirements: list[Any]) -> set[str]:
    return {re.split(r"[\[<>=~ ]", requirement)[0] for requirement in requirements if isinstance(requirement, str)}


def sources() -> Iterator[Path]:
    yield from (ROOT / "manage.py", ROOT / "gunicorn.conf.py")
    for package in OURS[1:]:
        yield from (ROOT / package).rglob("*.py")


def imported(file: Path) -> Iterator[str]:
    """Yield the name of every distribution that the file imports from."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules = [str(node.module)]
        else:
            continue
        for package in {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {*OURS}:
            yield DISTRIBUTIONS[package][0].lower().replace("_", "-")


def is_local(file: Path) -> bool:
    return any(file.is_relative_to(place) for place in LOCAL_ONLY)


def test_the_service_imports_only_what_it_declares() -> None:
    found = {name for file in sources() if not is_local(file) for name in imported(file)}

    assert found <= names(DECLARED["project"]["dependencies"])


def test_what_runs_it_on_one_machine_imports_only_what_the_local_group_adds() -> None:
    found = {name for file in sources() if is_local(file) for name in imported(file)}

    added = names(DECLARED["dependency-groups"]["local"])
    assert added <= found <= names(DECLARED["project"]["dependencies"]) | added


@pytest.mark.parametrize(("less", "more"), [("runtime", "local"), ("local", "development"), ("runtime", "bench")])
def test_each_pin_file_holds_the_one_before_it(less: str, more: str) -> None:
    assert pins(less) < pins(more)


def test_what_is_measured_beside_ours_moves_no_pin() -> None:
    versions = {name: version for name, version, _ in pins("development")}

    assert all(versions.get(name, version) == version for name, version, _ in pins("bench"))


@pytest.mark.parametrize("name", ["runtime", "local", "development", "bench"])
def test_a_pin_file_holds_hashed_pins_and_nothing_else(name: str) -> None:
    rest = [line for line in PIN.sub("", read_pins(name)).splitlines() if line and not line.lstrip().startswith("#")]

    assert rest == []
    assert pins(name)
