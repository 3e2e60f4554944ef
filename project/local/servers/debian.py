"""Fetches Debian packages, with every dependency that is not installed, into a directory: no root, nothing installed.

Either the whole unpacked tree appears under its final name or nothing does, however many processes fetch at once and
whenever one is interrupted. `rabbitmq_installation` and `postgresql_installation` look for their programs in the tree;
`apt` does the downloading.
"""

import fcntl
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from project.local.servers.apt import INSTALLED_PACKAGES, Apt
from project.local.servers.errors import ServerUnavailable

Report = Callable[[str], None]

NEEDED_MB = 250


@dataclass(frozen=True, kw_only=True)
class PackageTree:
    """Packages unpacked, with what they need, below one directory."""

    title: str
    """What the packages are for; starts every reported line."""

    packages: Sequence[str]

    path: Path
    """The tree's final name."""

    finish: Callable[[Path], None] = lambda tree: None
    """Called with the unpacked tree before it gets its final name."""

    sources: Path | None = None
    """A sources list to use instead of the system's, for packages of another suite."""

    installed_packages: Path = INSTALLED_PACKAGES
    """dpkg's status file; what it lists is not fetched."""

    def fetch(self, report: Report) -> Path:
        """Fetch and unpack the packages unless that was done before; return `path`.

        Args:
            report: called with one line per step.

        Raises:
            ServerUnavailable: apt or dpkg is missing, the archive cannot be reached or the disk is full.
        """
        try:
            if self.path.is_dir():
                return self.path
            self._require_tools()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._require_space()
            with self._one_at_a_time(report):
                # Another process may have fetched it while this one waited.
                if not self.path.is_dir():
                    self._fetch(report)
        except OSError as error:
            raise ServerUnavailable(f"{self.title}: cannot write to {self.path.parent} ({error})") from error
        except ServerUnavailable as error:
            raise ServerUnavailable(f"{self.title}: {error}") from error
        return self.path

    def _fetch(self, report: Report) -> None:
        work = self._scratch_directory()
        try:
            apt = Apt(work, sources=self.sources, installed_packages=self.installed_packages)
            report(f"{self.title}: reading the Debian package lists")
            apt.update()
            archives = apt.download(
                self.packages,
                on_fetched=lambda number, total, name: report(f"{self.title}: fetching {number}/{total} {name}"),
            )
            tree = work / "tree"
            self._unpack(archives, tree, report)
            self.finish(tree)
            tree.rename(self.path)
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _unpack(self, archives: Sequence[Path], tree: Path, report: Report) -> None:
        tree.mkdir()
        for number, archive in enumerate(archives, start=1):
            report(f"{self.title}: unpacking {number}/{len(archives)} {archive.name.split('_')[0]}")
            result = subprocess.run(["dpkg", "-x", archive, tree], capture_output=True, text=True, check=False)
            if result.returncode != 0:
                raise OSError(result.stderr.strip().splitlines()[0])
            archive.unlink()

    def _require_tools(self) -> None:
        for tool in ("apt-get", "dpkg"):
            if shutil.which(tool) is None:
                raise ServerUnavailable(f"it cannot be fetched here, because this system has no {tool}")

    def _require_space(self) -> None:
        # On a full disk apt waits for ever.
        free_mb = shutil.disk_usage(self.path.parent).free // 1_000_000
        if free_mb < NEEDED_MB:
            raise ServerUnavailable(f"{self.path.parent} has {free_mb} MB free, {NEEDED_MB} MB are needed")

    def _scratch_directory(self) -> Path:
        prefix = f".{self.path.name}-"
        for leftover in self.path.parent.glob(f"{prefix}*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)
        return Path(tempfile.mkdtemp(dir=self.path.parent.resolve(), prefix=prefix, suffix=".partial"))

    @contextmanager
    def _one_at_a_time(self, report: Report) -> Iterator[None]:
        with self.path.with_name(f".{self.path.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report(f"{self.title}: waiting for another process that is fetching it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def host_tag() -> str:
    """Name the release and architecture of this system, because an unpacked tree fits no other."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    name = release.get("VERSION_CODENAME") or release.get("ID") or platform.system()
    return f"{name}-{platform.machine()}".lower()


def library_directories(tree: Path) -> list[Path]:
    """Return the directories of an unpacked tree in which the dynamic linker must look for libraries."""
    return [*tree.glob("usr/lib/*-linux-*"), *tree.glob("lib/*-linux-*")]
