"""What an installation shows, with a fake pip, and what pip shows itself."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from project.local.install import install

PINS = """\
async-timeout==5.0.1 ; python_full_version < '3.11.3' \\
    --hash=sha256:1
django-filter==26.2 \\
    --hash=sha256:2
    # via vazifa (pyproject.toml)
pika==1.4.4 \\
    --hash=sha256:3
tqdm==4.70.1 \\
    --hash=sha256:4
"""

# Lines of pip 23 and 24; `unpack` creates a package's files in site-packages, INSTALLER among the last.
PIP = """\
import sys
from pathlib import Path

pins, site_packages = sys.argv[-1], Path(sys.argv[1])

def unpack(package):
    folder = site_packages / f"{package}.dist-info"
    folder.mkdir()
    (folder / "INSTALLER").write_text("pip")

assert sys.argv[2:-1] == ["--require-hashes", "-r"]
print("Ignoring async-timeout: markers \\"python_full_version < '3.11.3'\\" don't match your environment")
print(f"Requirement already satisfied: tqdm==4.70.1 in site-packages (from -r {pins} (line 8)) (4.70.1)")
print(f"Collecting django-filter==26.2 (from -r {pins} (line 3))")
print("  Downloading django_filter-26.2-py3-none-any.whl (94 kB)")
print(f"Processing /wheels/pika-1.4.4-py3-none-any.whl (from -r {pins} (line 6))")
"""
UNPACKS = """\
print("Installing collected packages: pika, django-filter")
unpack("pika-1.4.4")
unpack("django_filter-26.2")
print("Successfully installed django-filter-26.2 pika-1.4.4")
"""
FAILS = """\
print("WARNING: Retrying after connection broken", file=sys.stderr)
print("ERROR: no such hash", file=sys.stderr)
print("    Expected sha256 2", end="", file=sys.stderr)
sys.exit(3)
"""
DOWNLOADS = ["  Downloading 1 of 2: django-filter 26.2", "  Downloading 2 of 2: pika 1.4.4"]


Install = Callable[[str], int]


@pytest.fixture
def run(tmp_path: Path) -> Install:
    """Install PINS, of which tqdm is already installed, with a fake pip that takes the given steps."""
    site_packages = tmp_path / "site-packages"
    present = site_packages / "tqdm-4.70.1.dist-info"
    present.mkdir(parents=True)
    (present / "INSTALLER").write_text("pip")
    pins = tmp_path / "pins.txt"
    pins.write_text(PINS)
    pip = tmp_path / "pip.py"

    def run(then: str) -> int:
        pip.write_text(PIP + then)
        command = (sys.executable, str(pip), str(site_packages))
        return install(pins, pip=command, site_packages=site_packages)

    return run


def test_each_package_is_counted_when_pip_comes_to_it_and_when_pip_has_unpacked_it(
    run: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(UNPACKS) == 0
    shown = capfd.readouterr()
    lines = shown.out.splitlines()
    assert lines[:2] == DOWNLOADS
    assert [line.partition(":")[0] for line in lines[2:]] == ["  Unpacked 1 of 2", "  Unpacked 2 of 2"]
    assert {line.partition(": ")[2] for line in lines[2:]} == {"pika 1.4.4", "django-filter 26.2"}
    assert shown.err == ""


def test_a_terminal_shows_one_step_at_a_time_and_is_left_with_an_empty_line(
    run: Install, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    run(UNPACKS)

    shown = capfd.readouterr().out
    first, second, *_, last = shown.split("\x1b[K")[1:]
    assert [first, second] == [f"{step}\r" for step in DOWNLOADS]
    assert last == ""
    assert "\n" not in shown


def test_a_step_never_wraps_on_a_narrow_terminal(
    run: Install, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    run(UNPACKS)

    assert {len(step.rstrip("\r")) for step in capfd.readouterr().out.split("\x1b[K")} == {0, 19}


def test_what_pip_complains_of_is_shown_whole_and_its_failure_is_ours(
    run: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(FAILS) == 3
    shown = capfd.readouterr()
    assert shown.out.splitlines() == DOWNLOADS
    assert shown.err.splitlines() == [
        "WARNING: Retrying after connection broken",
        "ERROR: no such hash",
        "    Expected sha256 2",
    ]


def test_what_pip_does_not_unpack_is_not_counted(run: Install, capfd: pytest.CaptureFixture[str]) -> None:
    run('print("Installing collected packages: pika, django-filter")\nunpack("pika-1.4.4")')

    assert capfd.readouterr().out.splitlines() == [*DOWNLOADS, "  Unpacked 1 of 2: pika 1.4.4"]
