"""Finds RabbitMQ on this machine, or fetches it without root.

An installed one is preferred to Debian's packages, unpacked in a cache directory. `rabbitmq` runs a node from an
`Installation`, which has every program that a node needs.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from project.local.servers import debian
from project.local.servers.errors import ServerUnavailable

WAYS_OUT = (
    "Run `docker compose up`, or install it (`brew install rabbitmq`, `apt-get install rabbitmq-server`), "
    "or set RABBITMQ_URL to a broker of your own."
)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BREW_PATH = "/opt/homebrew/sbin:/opt/homebrew/bin:/opt/homebrew/opt/rabbitmq/sbin:/usr/local/opt/rabbitmq/sbin"
PACKAGED_SCRIPTS = "usr/lib/rabbitmq/bin"
PACKAGED_ERLANG = "usr/lib/erlang"
# Debian's scripts of Erlang contain the path of their root; the rest of Erlang looks everything up from there.
FIXED_ROOT = "ROOTDIR=/usr/lib/erlang"


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A RabbitMQ that can be started by its real script, and the Erlang that it runs on."""

    server: Path
    """The real start script: Debian's wrapper in sbin would switch to another user."""

    rabbitmqctl: Path

    erlang_bin: Path
    """The directory that holds `erl`."""

    epmd: Path

    erlang_libraries: Path | None = None
    """The directory of Erlang applications outside Erlang's root, if they were unpacked beside an installed Erlang."""

    shared_libraries: tuple[Path, ...] = ()
    """Directories of libraries that the dynamic linker does not know."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the scripts find `erl`, the system's tools and the libraries."""
        environment = {"PATH": f"{self.erlang_bin}:{SYSTEM_PATH}", **debian.library_path(self.shared_libraries)}
        if self.erlang_libraries:
            environment["ERL_LIBS"] = str(self.erlang_libraries)
        return environment


def find_or_fetch(cache: Path, report: debian.Report) -> Installation:
    """Return an installed RabbitMQ, or one unpacked in `cache`, which may be shared and deleted at any time.

    Raises:
        ServerUnavailable: as `PackageTree.find_or_fetch`.
    """
    path = _space_free(cache) / f"rabbitmq-{debian.host_tag()}"
    tree = debian.PackageTree(
        title="RabbitMQ", packages=["rabbitmq-server"], path=path, finish=make_relocatable, ways_out=WAYS_OUT
    )
    return tree.find_or_fetch(find_installation, report)


def find_installation(root: Path = debian.SYSTEM) -> Installation | None:
    """Return the RabbitMQ on this system, or in a tree of unpacked packages, with an Erlang from either."""
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}:{BREW_PATH}"
    erl = shutil.which("erl", path=f"{root / PACKAGED_ERLANG}/bin:{path}")
    if erl is None:
        return None
    erlang = Path(erl).resolve().parent.parent
    directories = [root / PACKAGED_SCRIPTS]
    if root == debian.SYSTEM:
        on_path = (shutil.which("rabbitmq-server", path=directory) for directory in path.split(":"))
        directories += (Path(script).resolve().parent for script in on_path if script)
    for epmd in filter(Path.exists, [erlang / "bin/epmd", *sorted(erlang.glob("erts-*/bin/epmd"))]):
        for scripts in directories:
            # The scripts read rabbitmq-env from their own directory; a wrapper's directory has none.
            needed = [scripts / name for name in ("rabbitmq-server", "rabbitmqctl", "rabbitmq-env")]
            if all(script.exists() for script in needed):
                return Installation(
                    server=needed[0],
                    rabbitmqctl=needed[1],
                    erlang_bin=erlang / "bin",
                    epmd=epmd,
                    erlang_libraries=None if root.resolve() in erlang.parents else root / PACKAGED_ERLANG / "lib",
                    shared_libraries=debian.library_directories(root),
                )
    return None


def make_relocatable(tree: Path) -> None:
    """Make the scripts of an unpacked tree's Erlang, if it has one, find their root from their own path."""
    root = tree / PACKAGED_ERLANG
    for script in [*root.glob("bin/*"), *root.glob("erts-*/bin/*")]:
        if script.is_file() and not script.is_symlink() and script.read_bytes().startswith(b"#!/bin/sh"):
            own_root = '"$(readlink -f "$0")"'
            for _level in script.relative_to(root).parts:
                own_root = f'"$(dirname {own_root})"'
            script.write_text(script.read_text().replace(FIXED_ROOT, f"ROOTDIR={own_root}"))


def _space_free(cache: Path) -> Path:
    # RabbitMQ's shell scripts do not quote their own path.
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vazifa"
    for directory in (cache.absolute(), user_cache):
        if not any(character.isspace() for character in str(directory)):
            return directory
    raise ServerUnavailable(f"RabbitMQ: it cannot run from a path that contains a space, as {cache} does")
