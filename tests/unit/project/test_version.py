"""The version is in pyproject.toml, and nowhere else."""

import re
import tomllib

from project.local.stack import ROOT
from tests.unit.schema_client import openapi

VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CODE = ("settings", "project", "tasks", "actors", "bench")
FILES = ("Dockerfile", "docker-compose.yml", "Makefile", "gunicorn.conf.py", ".env.example", ".github/workflows/ci.yml")


def test_the_schema_has_it() -> None:
    assert openapi()["info"]["version"] == VERSION


def test_nothing_else_repeats_it() -> None:
    files = [*(ROOT / name for name in FILES), *(file for name in CODE for file in (ROOT / name).rglob("*.py"))]

    assert [file for file in files if re.search(rf"(?<![\d.]){re.escape(VERSION)}(?![\d.])", file.read_text())] == []


def test_the_changelog_s_latest_release_is_it() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(VERSION)} - \d{{4}}-\d\d-\d\d", headings[1])
