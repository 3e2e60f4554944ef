"""Installs pinned packages with pip and shows how far it is: `python -m project.local.install requirements/local.txt`.

`make` runs it with the Python of a new virtual environment, where nothing is installed yet: standard library only.
Guarantee: a package is counted when pip has reached it, and again when pip has unpacked it; the exit status is pip's.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PIP = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off")
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
POLL_SECONDS = 0.1
INTERRUPTED = 130
CLEAR_LINE = "\x1b[K"

PIN = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;]+)")
# pip's lines. They name a pin by its line in the file.
SKIPPED = re.compile(r"Ignoring .+: markers ")
REACHED = re.compile(r"(?:Collecting|Processing) .*\(from -r .*\(line (?P<line>\d+)\)")
UNPACKING = re.compile(r"Installing collected packages: (?P<names>.+)")


def install(requirements: Path, *, pip: Sequence[str] = PIP, site_packages: Path = SITE_PACKAGES) -> int:
    """Install the packages that `requirements` pins, and show the steps; pip writes its own warnings and errors.

    Returns:
        pip's exit status.
    """
    command = (*pip, "--require-hashes", "-r", str(requirements))
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True, errors="replace") as process:
        try:
            for step in _steps(process, requirements.read_text("utf-8"), site_packages):
                _show(step)
        finally:
            if sys.stdout.isatty():
                sys.stdout.write(CLEAR_LINE)
                sys.stdout.flush()
    return process.returncode


def _steps(process: subprocess.Popen[str], requirements: str, site_packages: Path) -> Iterator[str]:
    """Yield each step that pip takes, from its lines and from site-packages."""
    lines = enumerate(requirements.splitlines(), start=1)
    pins = {number: f"{pin['name']} {pin['version']}" for number, line in lines if (pin := PIN.match(line))}
    labels = {_key(pin): pin for pin in pins.values()}
    present = _installed(site_packages)
    missing = len(labels.keys() - present)
    reached = 0
    for line in process.stdout or ():
        if SKIPPED.match(line):
            missing -= 1
        elif step := REACHED.match(line):
            reached += 1
            yield f"  Downloading {reached} of {missing}: {pins[int(step['line'])]}"
        elif step := UNPACKING.match(line):
            total = len(step["names"].split(", "))
            for number, package in enumerate(_unpacked(process, site_packages, present), start=1):
                yield f"  Unpacked {number} of {total}: {labels.get(package, package)}"


def _unpacked(process: subprocess.Popen[str], site_packages: Path, present: set[str]) -> Iterator[str]:
    """Yield each package that appears in site-packages until pip ends: pip itself writes nothing meanwhile."""
    ended = False
    while not ended:
        ended = process.poll() is not None
        yield from sorted(new := _installed(site_packages) - present)
        present |= new
        time.sleep(POLL_SECONDS)


def _installed(site_packages: Path) -> set[str]:
    # INSTALLER is among the last files of a package that pip writes.
    return {_key(file.parent.stem) for file in site_packages.glob("*.dist-info/INSTALLER")}


def _key(package: str) -> str:
    """Return a key that a pin, `django-filter 26.2`, and its folder in site-packages, `django_filter-26.2`, share."""
    return re.sub(r"[-_. ]+", "-", package).lower()


def _show(step: str) -> None:
    """Show a step: on a terminal in place of the one before, elsewhere as a new line."""
    if sys.stdout.isatty():
        # The next step, or a line of pip's, then begins at the start of the line.
        step = f"{CLEAR_LINE}{step[: shutil.get_terminal_size().columns - 1]}\r"
    else:
        step += "\n"
    sys.stdout.write(step)
    sys.stdout.flush()


def main() -> int:
    try:
        return install(Path(sys.argv[1]))
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
