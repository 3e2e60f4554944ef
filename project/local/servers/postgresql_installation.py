"""Finds PostgreSQL on this machine, or fetches it without root.

An installed one comes first, then Debian's packages unpacked in a cache directory. `postgresql` runs a server from an
`Installation`.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from project.local.servers import debian
from project.local.servers.errors import ServerUnavailable

WAYS_OUT = "Run `docker compose up`, or install it (`brew install postgresql`, `apt-get install postgresql`)."
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
PACKAGED_DIRECTORIES = "usr/lib/postgresql/*/bin"
BREW_DIRECTORIES = ("opt/homebrew/opt/postgresql*/bin", "usr/local/opt/postgresql*/bin")


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A PostgreSQL that can be started."""

    initdb: Path

    postgres: Path

    shared_libraries: tuple[Path, ...] = ()
    """Directories of libraries the dynamic linker does not know."""

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment its programs run in."""
        environment = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"}
        if self.shared_libraries:
            environment["LD_LIBRARY_PATH"] = ":".join(map(str, self.shared_libraries))
        return environment


def find_installation() -> Installation | None:
    """Return the PostgreSQL that is installed on this system, if any; of several packaged ones the newest."""
    return next(filter(None, map(_complete, _candidate_directories())), None)


def require_installation() -> Installation:
    """Return the PostgreSQL that is installed on this system.

    Raises:
        ServerUnavailable: there is none.
    """
    if found := find_installation():
        return found
    raise ServerUnavailable(f"PostgreSQL is not installed. {WAYS_OUT}")


def find_or_fetch(cache: Path, report: debian.Report) -> Installation:
    """Return an installed PostgreSQL, or one unpacked from Debian packages in `cache`, fetched if need be.

    Args:
        cache: a directory for unpacked packages; it is created, and may be shared and deleted at any time.
        report: called with one line per step of a fetch.

    Raises:
        ServerUnavailable: there is none and none can be fetched; the message names every way out.
    """
    if found := find_installation():
        return found
    path = cache.absolute() / f"postgresql-{debian.host_tag()}"
    tree = debian.PackageTree(title="PostgreSQL", packages=["postgresql"], path=path)
    try:
        return installation_in(tree.fetch(report))
    except ServerUnavailable as error:
        raise ServerUnavailable(f"{error}. {WAYS_OUT}") from error


def installation_in(tree: Path) -> Installation:
    """Return the PostgreSQL in a tree of unpacked Debian packages.

    Raises:
        ServerUnavailable: the tree holds none.
    """
    libraries = tuple(debian.library_directories(tree))
    for directory in _newest_first(tree.glob(PACKAGED_DIRECTORIES)):
        if found := _complete(directory, shared_libraries=libraries):
            return found
    raise ServerUnavailable(f"PostgreSQL: {tree} is incomplete; delete it and try again")


def _complete(directory: Path, *, shared_libraries: tuple[Path, ...] = ()) -> Installation | None:
    initdb, postgres = directory / "initdb", directory / "postgres"
    if not (initdb.exists() and postgres.exists()):
        return None
    return Installation(initdb=initdb, postgres=postgres, shared_libraries=shared_libraries)


def _candidate_directories() -> Iterator[Path]:
    if on_path := shutil.which("initdb"):
        yield Path(on_path).resolve().parent
    for pattern in (PACKAGED_DIRECTORIES, *BREW_DIRECTORIES):
        yield from _newest_first(Path("/").glob(pattern))


def _newest_first(directories: Iterator[Path]) -> list[Path]:
    return sorted(directories, key=_version, reverse=True)


def _version(directory: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", directory.parent.name)]
