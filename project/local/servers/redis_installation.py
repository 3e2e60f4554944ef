"""Finds Redis on this machine, or fetches it without root: for benchmarks, and for tests in Valkey's place."""

import os
import shutil
from pathlib import Path

from project.local.servers import debian


def find_or_fetch(cache: Path, report: debian.Report) -> tuple[str, dict[str, str]]:
    """Return the command of an installed Redis, or of one unpacked from Debian's packages, and its environment.

    Raises:
        ServerUnavailable: as `PackageTree.fetch`.
    """
    environment = {"LC_ALL": "C.UTF-8"}
    if installed := shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/bin"):
        return installed, environment
    path = cache.absolute() / f"redis-{debian.host_tag()}"
    # The client of the same name is in the second package.
    tree = debian.PackageTree(title="Redis", packages=["redis-server", "redis-tools"], path=path).fetch(report)
    libraries = debian.library_path(debian.library_directories(tree))
    return str(tree / "usr/bin/redis-server"), {**environment, **libraries}
