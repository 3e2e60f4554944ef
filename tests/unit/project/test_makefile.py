"""What `make` says and refuses, with a Python that only pretends to install."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from project.local.stack import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

PYTHON = """#!/bin/sh
[ "$1 $2" = "-m venv" ] && mkdir -p .venv/bin && cp pip .venv/bin/python
exit 0
"""
PIP = """#!/bin/sh
echo "Collecting pika==1.4.0 (from -r requirements/development.txt (line 1))"
echo "  Downloading pika-1.4.0-py3-none-any.whl (162 kB)"
[ -e broken ] && { echo "ERROR: no such hash" >&2; exit 1; }
echo "Installing collected packages: pika"
"""


class Project:
    """A copy of the Makefile among files of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.copy(ROOT / "Makefile", directory)
        self.write("requirements/development.txt", "")
        self.write("python", PYTHON)
        self.write("pip", PIP)

    def write(self, name: str, text: str) -> Path:
        file = self.directory / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
        return file

    def make(self, target: str) -> subprocess.CompletedProcess[str]:
        command = ["make", target, f"PYTHON={self.directory / 'python'}"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_an_installation_is_a_line_for_each_package(project: Project) -> None:
    made = project.make("install")

    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout.splitlines() == [
        "Installing the pinned dependencies into .venv, once …",
        "  pika==1.4.0",
        "All are there; unpacking them …",
    ]


def test_what_is_installed_is_not_installed_again(project: Project) -> None:
    project.make("install")

    assert "Installing" not in project.make("install").stdout


def test_an_installation_that_fails_says_why_and_is_begun_anew(project: Project) -> None:
    project.make("install")
    broken = project.write("broken", "")
    os.utime(project.directory / ".venv/installed", (0, 0))  # the requirements are newer

    failed = project.make("install")
    assert failed.returncode != 0
    assert "ERROR: no such hash" in failed.stderr
    assert project.make("install").returncode != 0

    broken.unlink()
    assert project.make("install").returncode == 0


def test_help_names_every_target_that_is_explained(project: Project) -> None:
    listed = [line.split()[:2] for line in project.make("help").stdout.splitlines()]

    assert ["make", "run"] in listed
    assert ["make", "help"] in listed
    assert len(listed) == (ROOT / "Makefile").read_text().count(" ## ")


def test_clean_removes_what_run_keeps(project: Project) -> None:
    lock = project.write("var/up.lock", "")

    assert project.make("clean").returncode == 0
    assert not lock.parent.exists()


@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock")
def test_clean_takes_nothing_away_from_under_a_running_service(project: Project) -> None:
    lock = project.write("var/up.lock", "")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        made = project.make("clean")

    assert made.returncode != 0
    assert made.stdout == "Vazifa is running. Stop it first: Ctrl-C in the terminal of make run\n"
    assert lock.exists()
