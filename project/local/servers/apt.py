"""apt-get as an ordinary user: its state, lists and cache lie in a scratch directory, and it only ever downloads.

It uses the system's sources and keys, so what it fetches is as trustworthy as what root would install.
"""

import itertools
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from project.local.servers.errors import ServerUnavailable

INSTALLED_PACKAGES = Path("/var/lib/dpkg/status")
DISK_FULL_SIGNS = ("No space left on device", "enough free space", "Disk quota exceeded")
PLAN = re.compile(r"^(?P<upgraded>\d+) upgraded, (?P<new>\d+) newly installed")
FETCHED_PACKAGE = re.compile(r"^Get:\d+ \S+ \S+ \S+ (?P<name>\S+) ")

CONFIGURATION = """\
Dir::State "{work}/state";
Dir::State::status "{installed_packages}";
Dir::Cache "{work}/cache";
Dir::Log "{work}";
Debug::NoLocking "true";
APT::Get::Assume-Yes "true";
APT::Get::Download-Only "true";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
"""
# As root apt would download as the user _apt, who may not write into a private directory.
CONFIGURATION_FOR_ROOT = 'APT::Sandbox::User "root";\n'
CONFIGURATION_OF_SOURCES = 'Dir::Etc::SourceList "{sources}";\nDir::Etc::SourceParts "/dev/null";\n'

OnFetched = Callable[[int, int, str], None]
"""Called with how many packages are fetched, how many there are, and the name of the last one."""


class Apt:
    """One use of apt-get, inside the directory `work`."""

    def __init__(
        self, work: Path, *, sources: Path | None = None, installed_packages: Path = INSTALLED_PACKAGES
    ) -> None:
        """Prepare `work`.

        Args:
            work: an empty directory.
            sources: a sources list to use instead of the system's.
            installed_packages: dpkg's status file; what it lists is not fetched.
        """
        self._archives = work / "cache" / "archives"
        for directory in (self._archives / "partial", work / "state" / "lists" / "partial"):
            directory.mkdir(parents=True)
        configuration = CONFIGURATION.format(work=work, installed_packages=installed_packages)
        if os.geteuid() == 0:
            configuration += CONFIGURATION_FOR_ROOT
        if sources is not None:
            configuration += CONFIGURATION_OF_SOURCES.format(sources=sources.resolve())
        self._configuration = work / "apt.conf"
        self._configuration.write_text(configuration)
        self._output: list[str] = []

    def update(self) -> None:
        """Fetch the package lists; one that cannot be had only matters if a package is missed later."""
        self._run("update", on_line=lambda line: None)

    def download(self, packages: Sequence[str], *, on_fetched: OnFetched) -> list[Path]:
        """Download packages and all they need that is not installed; return the archives.

        Raises:
            ServerUnavailable: a package is unknown or cannot be reached.
            OSError: the disk is full.
        """
        status = self._run("install", *packages, on_line=_follower(on_fetched))
        archives = sorted(self._archives.glob("*.deb"))
        if status != 0 or not archives:
            raise self._failure()
        return archives

    def _run(self, *arguments: str, on_line: Callable[[str], None]) -> int:
        with subprocess.Popen(
            ["apt-get", "-c", str(self._configuration), *arguments],
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            for line in process.stdout or ():
                self._output.append(line.rstrip())
                on_line(line)
        return process.returncode

    def _failure(self) -> Exception:
        reason = last_error(self._output)
        if any(sign in line for sign in DISK_FULL_SIGNS for line in self._output):
            return OSError(reason)
        if trouble := network_trouble(self._output):
            return ServerUnavailable(f"the Debian archive cannot be reached ({trouble})")
        return ServerUnavailable(f"apt-get cannot fetch it ({reason})")


def network_trouble(output: Sequence[str]) -> str | None:
    """Return apt's reason for not reaching an archive, if it says that it did not."""
    for line, following in itertools.pairwise(output):
        if line.startswith("Err:"):
            return following.strip()
    return next((line.removeprefix("W:").strip() for line in output if "Failed to fetch" in line), None)


def last_error(output: Sequence[str]) -> str:
    """Return the last line that apt marks as an error, or its last line."""
    lines = [line for line in output if line.startswith("E:")] or [line for line in output if line]
    return lines[-1].removeprefix("E:").strip() if lines else "it gives no reason"


def _follower(on_fetched: OnFetched) -> Callable[[str], None]:
    fetched = itertools.count(1)
    total = 0

    def follow(line: str) -> None:
        nonlocal total
        if plan := PLAN.match(line):
            total = int(plan["upgraded"]) + int(plan["new"])
        elif package := FETCHED_PACKAGE.match(line):
            on_fetched(next(fetched), total, package["name"])

    return follow
