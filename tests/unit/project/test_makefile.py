"""What `make` installs for each target, prints and refuses, with a fake Python that installs nothing."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from project.local.stack import ROOT

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

# Both the Python that makes an environment and the one in it. Its version is in a file beside it.
PYTHON = """#!/bin/sh
version=$(cat "$0.version")
case "$*" in
  "-m venv --clear "*)
    mkdir -p $4/bin $4/lib/python$version && cp "$0" $4/bin/python && cp "$0.version" $4/bin/python.version ;;
  "-m project.local.install "*) [ ! -e broken ] || { echo "ERROR: no such hash" >&2; exit 1; }; echo "  from $3" ;;
  "-m pip --version") [ -e "$(dirname "$0")/../lib/python$version" ] ;;
  "-m ensurepip") [ ! -e no_ensurepip ] && mkdir -p "$(dirname "$0")/../lib/python$version" ;;
  "--version") echo "Python $version.0" ;;
  "-c "*print*) echo $version ;;
  "-c "*exit*) [ $version != 3.9 ] ;;
  "manage.py "*) echo "$0 $*" ;;
esac
"""
MADE = ["Making .venv with Python 3.11.0 …"]
LOCAL = ["Installing the packages for running the service into .venv, once …", "  from requirements/local.txt"]
DEVELOPMENT = ["Adding the packages for tests and checks to .venv, once …", "  from requirements/development.txt"]


class Project:
    """A copy of the Makefile among files of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        shutil.copy(ROOT / "Makefile", directory)
        self.write("requirements/local.txt", "")
        self.write("requirements/development.txt", "")
        self.write_python("python3", "3.11")

    def write_python(self, name: str, version: str) -> Path:
        """Write a Python of that version, and return where it is."""
        self.write(f"{name}.version", version)
        return self.write(name, PYTHON)

    def write(self, name: str, text: str) -> Path:
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
        return file

    def outdate(self, name: str) -> None:
        """Make what is installed older than its pins."""
        os.utime(self.directory / ".venv" / name, (0, 0))

    def make(self, target: str, *variables: str, **exported: str) -> subprocess.CompletedProcess[str]:
        """Run make where `python3` is the fake Python."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "PYTHON"}
        environment = {**kept, "PATH": f"{self.directory}:{kept['PATH']}", **exported}
        command = ["make", target, *variables]
        return subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True, check=False)

    def said(self, target: str, *variables: str, **exported: str) -> list[str]:
        """Return what a run of make prints that has no error."""
        made = self.make(target, *variables, **exported)
        assert (made.returncode, made.stderr) == (0, "")
        return made.stdout.splitlines()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_running_installs_only_what_running_needs(project: Project) -> None:
    assert project.said("run") == [*MADE, *LOCAL, ".venv/bin/python manage.py up"]


def test_the_demo_installs_no_more_than_running(project: Project) -> None:
    assert project.said("demo")[: len(MADE + LOCAL)] == MADE + LOCAL
    assert not (project.directory / ".venv/development").exists()


def test_testing_adds_the_rest_to_what_running_has_installed(project: Project) -> None:
    project.said("run")

    assert project.said("install") == DEVELOPMENT
    assert project.said("run") == [".venv/bin/python manage.py up"]


def test_what_is_installed_is_not_installed_again(project: Project) -> None:
    assert project.said("install") == [*MADE, *LOCAL, *DEVELOPMENT]

    assert project.said("install") == ["make: Nothing to be done for 'install'."]


@pytest.mark.parametrize(("changed", "installed"), [("local", [*LOCAL, *DEVELOPMENT]), ("development", DEVELOPMENT)])
def test_pins_that_change_are_installed_and_so_is_what_builds_on_them(
    project: Project, changed: str, installed: list[str]
) -> None:
    project.said("install")
    project.outdate(changed)

    assert project.said("install") == installed


def test_pins_for_testing_that_change_are_nothing_to_running(project: Project) -> None:
    project.said("install")
    project.outdate("development")

    assert project.said("run") == [".venv/bin/python manage.py up"]


def test_an_installation_that_fails_says_why_and_is_begun_anew(project: Project) -> None:
    broken = project.write("broken", "")

    failed = project.make("install-local")
    assert failed.returncode != 0
    assert "ERROR: no such hash" in failed.stderr
    assert project.make("install-local").returncode != 0

    broken.unlink()
    assert project.said("install-local") == LOCAL


def test_an_environment_whose_python_has_gone_is_made_anew(project: Project) -> None:
    project.said("install-local")
    (project.directory / ".venv/bin/python").unlink()

    assert project.said("install-local") == [*MADE, *LOCAL]


def test_an_environment_whose_python_has_become_another_version_is_installed_into_again(project: Project) -> None:
    project.said("install-local")
    project.write_python(".venv/bin/python", "3.12")
    project.outdate("local")

    assert project.said("install-local") == LOCAL


def test_an_environment_without_pip_keeps_what_is_in_it(project: Project) -> None:
    project.write_python(".venv/bin/python", "3.12")
    project.write("no_ensurepip", "")
    made = project.make("install-local")

    assert made.returncode != 0
    assert made.stdout == ".venv has no pip, and none can be added: remove it, and run make again\n"
    assert (project.directory / ".venv/bin/python").exists()


def test_a_python_of_the_shells_environment_chooses_no_other_environment(project: Project) -> None:
    project.write_python("python3.13", "3.13")
    project.said("install-local")

    assert project.said("run", PYTHON="python3.13") == [".venv/bin/python manage.py up"]


def test_a_python_that_is_too_old_is_refused(project: Project) -> None:
    project.write_python("python3", "3.9")
    made = project.make("run")

    assert made.returncode != 0
    assert made.stdout == "Python 3.11 or later is needed, and python3 is not one: make PYTHON=python3.11 run\n"
    assert not (project.directory / ".venv").exists()


def test_another_python_gets_an_environment_beside_the_first(project: Project) -> None:
    other = project.write_python("python3.13", "3.13")
    project.said("install-local")

    assert project.said("run", f"PYTHON={other}") == [
        "Making .venv-3.13 with Python 3.13.0 …",
        "Installing the packages for running the service into .venv-3.13, once …",
        "  from requirements/local.txt",
        ".venv-3.13/bin/python manage.py up",
    ]
    assert project.said("run") == [".venv/bin/python manage.py up"]
    assert project.said("run", f"PYTHON={other}") == [".venv-3.13/bin/python manage.py up"]


def test_the_first_environment_is_for_the_python_that_is_named_then(project: Project) -> None:
    other = project.write_python("python3.13", "3.13")

    assert project.said("install-local", f"PYTHON={other}") == ["Making .venv with Python 3.13.0 …", *LOCAL]
    assert project.said("run") == [".venv/bin/python manage.py up"]
    assert project.said("run", f"PYTHON={other}") == [".venv/bin/python manage.py up"]


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
