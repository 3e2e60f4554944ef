"""Fetches Debian packages, with dependencies that are not installed, into a directory, without root.

apt-get only downloads, with its state, lists and cache in a scratch directory; nothing is installed. It uses the
system's sources and keys, so the packages are as trustworthy as those that root would install.
Guarantee: either the whole unpacked tree appears under its final name or nothing does, however many processes fetch
at once and whenever one is interrupted.
"""

import fcntl
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from project.local.servers.errors import ServerError, ServerUnavailable

T = TypeVar("T")

Report = Callable[[str], None]
"""Called with one line per step."""

SYSTEM = Path("/")
NEEDED_MB = 250
PLAN = re.compile(r"^(?P<upgraded>\d+) upgraded, (?P<new>\d+) newly installed")
FETCHED_PACKAGE = re.compile(r"^Get:\d+ \S+ \S+ \S+ (?P<name>\S+) ")

# Run by root, apt would download as the user _apt, which may not write into a private directory.
CONFIGURATION = """\
APT::Sandbox::User "root";
Dir::State "{work}/state";
Dir::State::status "/var/lib/dpkg/status";
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


@dataclass(frozen=True, kw_only=True)
class PackageTree:
    """Packages unpacked, with what they need, below one directory."""

    title: str
    """The name of the software; every reported line begins with it."""

    packages: Sequence[str]

    path: Path
    """The tree's final name."""

    finish: Callable[[Path], None] = lambda tree: None
    """Called with the unpacked tree before the tree gets its final name."""

    ways_out: str = ""
    """What users can do if the packages cannot be fetched; every error ends with it."""

    def fetch(self, report: Report) -> Path:
        """Fetch and unpack the packages, if `path` does not exist; return it.

        Raises:
            ServerUnavailable: apt or dpkg is missing, the archive cannot be reached or the disk is full.
        """
        try:
            if not self.path.is_dir():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                # On a full disk apt never ends.
                require_disk_space(self.path.parent, needed_mb=NEEDED_MB)
                with self._one_at_a_time(report):
                    # Another process may have fetched it while this one waited.
                    if not self.path.is_dir():
                        self._fetch(report)
        except (OSError, ServerError) as error:
            reason = f"it cannot be fetched into {self.path.parent} ({error})"
            raise ServerUnavailable(f"{self.title}: {reason}. {self.ways_out}".rstrip()) from error
        return self.path

    def find_or_fetch(self, find: Callable[[Path], T | None], report: Report) -> T:
        """Return what `find` finds on this system, or in these packages, fetched if need be.

        Args:
            find: looks below the root that it is given, and returns None if there is nothing.
            report: called with one line per step of a fetch.

        Raises:
            ServerUnavailable: it is not there and cannot be fetched; the message names every way out.
        """
        if found := find(SYSTEM) or find(self.fetch(report)):
            return found
        raise ServerUnavailable(f"{self.title}: {self.path} is incomplete; delete it and try again")

    def _fetch(self, report: Report) -> None:
        prefix = f".{self.path.name}-"
        for leftover in self.path.parent.glob(f"{prefix}*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            dir=self.path.parent.resolve(), prefix=prefix, suffix=".partial", ignore_cleanup_errors=True
        ) as work:
            tree = Path(work, "tree")
            self._unpack(self._download(Path(work), report), tree, report)
            self.finish(tree)
            tree.rename(self.path)

    def _download(self, work: Path, report: Report) -> list[Path]:
        archives = work / "cache" / "archives"
        for directory in (archives / "partial", work / "state" / "lists" / "partial"):
            directory.mkdir(parents=True)
        configuration = work / "apt.conf"
        configuration.write_text(CONFIGURATION.format(work=work))
        report(f"{self.title}: reading the Debian package lists")
        # A list that cannot be read matters only if a package is missing later.
        with _apt_get(configuration, "update") as update:
            output = list(update.stdout or ())
        fetched = total = 0
        with _apt_get(configuration, "install", *self.packages) as install:
            for line in install.stdout or ():
                output.append(line)
                if plan := PLAN.match(line):
                    total = int(plan["upgraded"]) + int(plan["new"])
                elif package := FETCHED_PACKAGE.match(line):
                    fetched += 1
                    report(f"{self.title}: fetching {fetched}/{total} {package['name']}")
        found = sorted(archives.glob("*.deb"))
        if install.returncode != 0 or not found:
            raise ServerUnavailable(failure(output))
        return found

    def _unpack(self, archives: Sequence[Path], tree: Path, report: Report) -> None:
        tree.mkdir()
        for number, archive in enumerate(archives, start=1):
            report(f"{self.title}: unpacking {number}/{len(archives)} {archive.name.split('_')[0]}")
            result = subprocess.run(["dpkg", "-x", archive, tree], capture_output=True, text=True, check=False)
            if result.returncode != 0:
                raise OSError(result.stderr.strip().splitlines()[0])
            archive.unlink()

    @contextmanager
    def _one_at_a_time(self, report: Report) -> Iterator[None]:
        with self.path.with_name(f".{self.path.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report(f"{self.title}: waiting for another process that is fetching it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _apt_get(configuration: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["apt-get", "-c", str(configuration), *arguments],
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def failure(output: Sequence[str]) -> str:
    """Return apt's reason for a failure: its first failed download, else its last error, else its last line."""
    lines = [line.strip() for line in output if line.strip()] or ["it gives no reason"]
    unreached = [line for line in lines if "Failed to fetch" in line]
    errors = [line for line in lines if line.startswith("E:")]
    return (unreached[:1] or errors[-1:] or lines[-1:])[0].removeprefix("E:").removeprefix("W:").strip()


def host_tag() -> str:
    """Return the name of this system's release and architecture: an unpacked tree fits no other."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    name = release.get("VERSION_CODENAME") or release.get("ID") or platform.system()
    return f"{name}-{platform.machine()}".lower()


def library_directories(tree: Path) -> tuple[Path, ...]:
    """Return the directories of an unpacked tree in which the dynamic linker has to look for libraries."""
    return () if tree == SYSTEM else (*tree.glob("usr/lib/*-linux-*"), *tree.glob("lib/*-linux-*"))


def library_path(directories: Sequence[Path]) -> dict[str, str]:
    """Return the variable by which the dynamic linker finds `directories`; none without directories."""
    return {"LD_LIBRARY_PATH": ":".join(map(str, directories))} if directories else {}


def require_disk_space(directory: Path, *, needed_mb: int) -> None:
    """Check that a directory's disk is not full.

    Raises:
        ServerError: fewer than `needed_mb` megabytes are free there.
    """
    free_mb = shutil.disk_usage(directory).free // 1024**2
    if free_mb < needed_mb:
        raise ServerError(f"The disk is full: {free_mb} MB are free for {directory}, {needed_mb} MB are needed.")
