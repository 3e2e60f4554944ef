"""Installs pinned packages with pip and shows how far it is: `python -m project.local.install requirements/local.txt`.

`make` runs it with the Python of a new virtual environment, where nothing is installed yet: standard library only.
Guarantee: a package is counted once pip has reached it and once pip has unpacked it; the exit status is pip's.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

PIP = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off")
SITE_PACKAGES = Path(sysconfig.get_path("purelib"))
POLL_SECONDS = 0.1
INTERRUPTED = 130

PIN = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;]+)")
# What pip writes. It names a pin by the pin's line in the file.
SKIPPED = re.compile(r"Ignoring .+: markers ")
REACHED = re.compile(r"(?:Collecting|Processing) .*\(from -r .*\(line (?P<line>\d+)\)")
UNPACKING = re.compile(r"Installing collected packages: (?P<names>.+)")


class Screen:
    """Shows steps: on a terminal each in place of the one before, elsewhere each on a line of its own."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.in_place = out.isatty()

    def show(self, step: str) -> None:
        columns = shutil.get_terminal_size().columns
        self._write(f"\r\x1b[K{step[: columns - 1]}" if self.in_place else f"{step}\n")

    def clear(self) -> None:
        """Empty the line for other output."""
        self._write("\r\x1b[K" if self.in_place else "")

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


class Progress:
    """Derives the steps of an installation from pip's lines and from what has appeared in site-packages."""

    def __init__(self, pins: str, site_packages: Path) -> None:
        self.site_packages = site_packages
        self.seen = self._installed()
        lines = enumerate(pins.splitlines(), start=1)
        self.pins = {number: f"{pin['name']} {pin['version']}" for number, line in lines if (pin := PIN.match(line))}
        self.labels = {_key(pin): pin for pin in self.pins.values()}
        self.missing = len(self.labels.keys() - self.seen)
        self.reached = 0
        self.to_unpack = 0
        self.unpacked = 0
        self.rest = ""

    def steps(self, output: str) -> Iterator[str]:
        """Take what pip has written since the last call, and yield the steps that it has taken since then."""
        *lines, self.rest = (self.rest + output).split("\n")
        for line in lines:
            yield from self._read(line)
        yield from self._look()

    def _read(self, line: str) -> Iterator[str]:
        if SKIPPED.match(line):
            self.missing -= 1
        elif step := REACHED.match(line):
            self.reached += 1
            yield f"  Downloading {self.reached} of {self.missing}: {self.pins[int(step['line'])]}"
        elif step := UNPACKING.match(line):
            self.to_unpack = len(step["names"].split(", "))

    def _look(self) -> Iterator[str]:
        new = self._installed() - self.seen if self.to_unpack else set()
        self.seen |= new
        for package in sorted(new):
            self.unpacked += 1
            yield f"  Unpacked {self.unpacked} of {self.to_unpack}: {self.labels.get(package, package)}"

    def _installed(self) -> set[str]:
        # INSTALLER is among the last files that pip writes of a package.
        return {_key(file.parent.stem) for file in self.site_packages.glob("*.dist-info/INSTALLER")}


def _key(package: str) -> str:
    """Return what a pin, `django-filter 26.2`, has in common with its folder in site-packages, `django_filter-26.2`."""
    return re.sub(r"[-_. ]+", "-", package).lower()


def install(
    requirements: Path,
    *,
    pip: Sequence[str] = PIP,
    site_packages: Path = SITE_PACKAGES,
    out: TextIO = sys.stdout,
    errors: TextIO = sys.stderr,
) -> int:
    """Install what `requirements` pins; show the steps on `out`, and pip's warnings and errors on `errors`.

    Returns:
        pip's exit status.
    """
    progress = Progress(requirements.read_text("utf-8"), site_packages)
    screen = Screen(out)
    try:
        with _running((*pip, "--require-hashes", "-r", str(requirements))) as (process, output, complaints):
            ended = False
            while not ended:
                ended = process.poll() is not None
                if text := complaints.read():
                    screen.clear()
                    errors.write(text)
                    errors.flush()
                for step in progress.steps(output.read()):
                    screen.show(step)
                time.sleep(POLL_SECONDS)
    finally:
        screen.clear()
    return process.returncode


@contextmanager
def _running(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], TextIO, TextIO]]:
    """Run `command` with its output in two files, which are read as they grow."""
    with TemporaryDirectory() as directory, ExitStack() as files:
        paths = (Path(directory, "output"), Path(directory, "errors"))
        written = [files.enter_context(path.open("wb")) for path in paths]
        read = [files.enter_context(path.open(encoding="utf-8", errors="replace")) for path in paths]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, stdout=written[0], stderr=written[1], env=environment) as process:
            yield process, read[0], read[1]


def main() -> int:
    try:
        return install(Path(sys.argv[1]))
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
