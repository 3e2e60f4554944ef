"""Finds PostgreSQL on this machine, or fetches it without root.

An installed one is preferred to Debian's packages, unpacked in a cache directory. `postgresql` runs a server from an
`Installation`.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from project.local.servers import debian

WAYS_OUT = "Run `docker compose up`, or install it (`brew install postgresql`, `apt-get install postgresql`)."
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
DIRECTORIES = (
    "usr/lib/postgresql/*/bin",
    "opt/homebrew/opt/postgresql*/bin",
    "usr/local/opt/postgresql*/bin",
)


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A PostgreSQL that can be started."""

    bin: Path
    """The directory that holds `initdb` and `postgres`."""

    shared_libraries: tuple[Path, ...] = ()
    """Directories of libraries that the dynamic linker does not know."""

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of its programs."""
        return {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", **debian.library_path(self.shared_libraries)}


def find_or_fetch(cache: Path, report: debian.Report) -> Installation:
    """Return an installed PostgreSQL, or one unpacked in `cache`, which may be shared and deleted at any time.

    Raises:
        ServerUnavailable: as `PackageTree.find_or_fetch`.
    """
    path = cache.absolute() / f"postgresql-{debian.host_tag()}"
    tree = debian.PackageTree(title="PostgreSQL", packages=["postgresql"], path=path, ways_out=WAYS_OUT)
    return tree.find_or_fetch(find_installation, report)


def find_installation(root: Path = debian.SYSTEM) -> Installation | None:
    """Return the PostgreSQL on this system, or in a tree of unpacked packages; of several packaged ones the newest."""
    on_path = shutil.which("initdb") if root == debian.SYSTEM else None
    directories = [Path(on_path).resolve().parent] if on_path else []
    for pattern in DIRECTORIES:
        directories += sorted(root.glob(pattern), key=_version, reverse=True)
    for directory in directories:
        if (directory / "initdb").exists() and (directory / "postgres").exists():
            return Installation(bin=directory, shared_libraries=debian.library_directories(root))
    return None


def _version(directory: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", directory.parent.name)]
