"""`.env.example` lists every variable with its default, and has no effect when copied."""

import ast
import json
import os
import re
import runpy
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / ".env.example"
READERS = [*sorted((ROOT / "settings").glob("*.py")), ROOT / "gunicorn.conf.py"]

# Read by docker-compose.yml and by django_dramatiq's `rundramatiq`, not by the service's own code.
PASSWORDS = {"POSTGRES_PASSWORD", "RABBITMQ_PASSWORD", "VALKEY_PASSWORD"}
READ_BY_OTHERS = PASSWORDS | {"DRAMATIQ_NPROCS", "DRAMATIQ_NTHREADS", "PORT"}

# Read before any file is: only the process's environment can set it.
CHOOSES_SETTINGS = "DJANGO_SETTINGS_MODULE"

# Production refuses to start without these.
REQUIRED = {
    "SECRET_KEY": secrets.token_hex(32),
    "DATABASE_URL": "sqlite:///d",
    "RABBITMQ_URL": "amqp://r:unpublished@r/",
    "ALLOWED_HOSTS": "a",
}

DUMP_SETTINGS = """
import importlib, json, re, sys

def plain(value):
    inside = {k: v for k, v in getattr(value, "__dict__", {}).items() if isinstance(v, (str, int, float))}
    return inside or re.sub(" at 0x[0-9a-f]+", "", str(value))

settings = importlib.import_module(sys.argv[1])
print(json.dumps({name: value for name, value in vars(settings).items() if name.isupper()}, default=plain))
"""


def variables_read() -> set[str]:
    """Return the name of every variable that the settings and gunicorn.conf.py read."""
    read = {name for file in READERS for node in ast.walk(ast.parse(file.read_text())) for name in _names_read(node)}
    return read - {CHOOSES_SETTINGS}


def variables_documented() -> dict[str, str]:
    """Return the variables of `.env.example` and their values, in its order."""
    return dict(re.findall(r"^# ([A-Z][A-Z0-9_]*)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def _names_read(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="env") | ast.Attribute(attr="environ") | ast.Name(id="environ")),
            args=[ast.Constant(value=str(name)), *_],
        ):
            yield name
        case ast.Call(func=ast.Attribute(attr="getenv"), args=[ast.Constant(value=str(name)), *_]):
            yield name
        case ast.Subscript(value=ast.Attribute(attr="environ"), slice=ast.Constant(value=str(name)), ctx=ast.Load()):
            yield name
        case ast.Call(func=ast.Name(id="require"), args=arguments):
            yield from (str(argument.value) for argument in arguments if isinstance(argument, ast.Constant))


def _settings(environment: str, *, env_file: str | Path) -> dict[str, object]:
    # Only what is needed: a variable of the shell that runs the tests would hide the file's effect.
    variables = {"ENV_FILE": str(env_file), **(REQUIRED if environment == "production" else {})}
    with TemporaryDirectory() as state:  # in `var` there may be the address of a RabbitMQ that `make run` runs
        printed = subprocess.run(
            [sys.executable, "-c", DUMP_SETTINGS, f"settings.{environment}"],
            cwd=ROOT,
            env=variables | {"STATE_DIR": state},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    settings: dict[str, object] = json.loads(printed.replace(state, "var").replace(f"{ROOT}/", ""))
    return settings


def test_every_variable_that_is_read_is_documented() -> None:
    assert variables_read() - variables_documented().keys() == set()


def test_every_documented_variable_is_read() -> None:
    assert variables_documented().keys() - variables_read() == READ_BY_OTHERS


def test_the_scan_finds_each_way_of_reading_a_variable() -> None:
    source = (
        'env.int("A", 1); os.environ.get("B"); os.environ["C"]; os.getenv("D"); require("E", "F"); environ.get("G")'
    )

    assert {name for node in ast.walk(ast.parse(source)) for name in _names_read(node)} == set("ABCDEFG")


def test_the_scan_leaves_out_a_variable_that_is_only_written() -> None:
    assert [name for node in ast.walk(ast.parse('os.environ["A"] = "1"')) for name in _names_read(node)] == []


def test_no_variable_is_documented_twice() -> None:
    names = re.findall(r"^# ([A-Z][A-Z0-9_]*)=", EXAMPLE.read_text(), re.MULTILINE)

    assert sorted(names) == sorted(set(names))


def test_every_variable_has_a_line_of_explanation_above_it() -> None:
    lines = EXAMPLE.read_text().splitlines()

    bare = [
        line
        for above, line in zip(["", *lines], lines, strict=False)
        if re.match(r"# [A-Z][A-Z0-9_]*=", line) and not re.match(r"# +\S.*", above)
    ]

    assert bare == []


def test_everything_in_it_is_commented_out() -> None:
    assert [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")] == []


def test_the_lessons_throttles_are_shown() -> None:
    text = EXAMPLE.read_text()

    assert "THROTTLE_ANON=10/hour" in text
    assert "THROTTLE_USER=20/hour" in text


def test_an_unchanged_copy_changes_nothing_in_development(tmp_path: Path) -> None:
    copy = tmp_path / "copy.env"
    copy.write_text(EXAMPLE.read_text())

    assert _settings("development", env_file=copy) == _settings("development", env_file=os.devnull)


@pytest.mark.parametrize("environment", ["development", "production"])
def test_the_defaults_that_it_shows_are_those_of_the_settings(tmp_path: Path, environment: str) -> None:
    written_out = tmp_path / "written-out.env"
    written_out.write_text("".join(f"{name}={value}\n" for name, value in variables_documented().items() if value))

    assert _settings(environment, env_file=written_out) == _settings(environment, env_file=os.devnull)


def test_the_defaults_that_it_shows_are_those_of_gunicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    documented = variables_documented()
    for name in documented:
        monkeypatch.delenv(name, raising=False)
    defaults = _gunicorn_options()
    for name, value in documented.items():
        monkeypatch.setenv(name, value)

    assert _gunicorn_options() == defaults


@pytest.mark.parametrize(("variable", "setting"), [("TIME_LIMIT_MS", "OUTBOX_TIME_LIMIT_MS"), ("LOG_FILE", "LOG_FILE")])
def test_the_comparison_sees_a_variable_that_is_changed(tmp_path: Path, variable: str, setting: str) -> None:
    changed = tmp_path / "changed.env"
    changed.write_text(f"{variable}=12345\n")

    before, after = (_settings("development", env_file=file) for file in (os.devnull, changed))

    assert before[setting] != after[setting]


def _gunicorn_options() -> dict[str, object]:
    options = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    return {name: value for name, value in options.items() if isinstance(value, str | int | None) and name[0] != "_"}
