"""Finds RabbitMQ on this machine, or fetches it without root.

An installed one comes first, then Debian's packages unpacked in a cache directory. `rabbitmq` runs a node from an
`Installation`, which has every program that a node needs.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from project.local.servers import debian
from project.local.servers.erlang import make_relocatable
from project.local.servers.errors import ServerUnavailable

WAYS_OUT = (
    "Run `docker compose up`, or install it (`brew install rabbitmq`, `apt-get install rabbitmq-server`), "
    "or set RABBITMQ_URL to a broker of your own."
)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BREW_PATH = "/opt/homebrew/sbin:/opt/homebrew/bin:/opt/homebrew/opt/rabbitmq/sbin:/usr/local/opt/rabbitmq/sbin"
PACKAGED_SCRIPTS = Path("usr/lib/rabbitmq/bin")
PACKAGED_ERLANG = Path("usr/lib/erlang/bin")


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A RabbitMQ that can be started by its real script, with the Erlang it runs on."""

    server: Path
    """The real start script: Debian's wrapper in sbin would switch to another user."""

    rabbitmqctl: Path

    erlang_bin: Path
    """The directory that holds `erl`."""

    epmd: Path

    erlang_libraries: Path | None = None
    """Erlang applications outside Erlang's own root: some unpacked beside an installed Erlang."""

    shared_libraries: tuple[Path, ...] = ()
    """Directories of libraries the dynamic linker does not know."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the scripts find `erl`, the system's tools and the libraries."""
        environment = {"PATH": f"{self.erlang_bin}:{SYSTEM_PATH}"}
        if self.erlang_libraries:
            environment["ERL_LIBS"] = str(self.erlang_libraries)
        if self.shared_libraries:
            environment["LD_LIBRARY_PATH"] = ":".join(map(str, self.shared_libraries))
        return environment


def find_installation() -> Installation | None:
    """Return the RabbitMQ that is installed on this system, if any."""
    for scripts in _candidate_directories():
        erl = shutil.which("erl", path=_whole_path())
        if erl and (found := _complete(scripts, Path(erl).resolve().parent)):
            return found
    return None


def find_or_fetch(cache: Path, report: debian.Report) -> Installation:
    """Return an installed RabbitMQ, or one unpacked from Debian packages in `cache`, fetched if need be.

    Args:
        cache: a directory for unpacked packages; it is created, and may be shared and deleted at any time.
        report: called with one line per step of a fetch.

    Raises:
        ServerUnavailable: there is none and none can be fetched; the message names every way out.
    """
    if found := find_installation():
        return found
    try:
        path = _space_free(cache) / f"rabbitmq-{debian.host_tag()}"
        tree = debian.PackageTree(title="RabbitMQ", packages=["rabbitmq-server"], path=path, finish=make_relocatable)
        return installation_in(tree.fetch(report))
    except ServerUnavailable as error:
        raise ServerUnavailable(f"{error}. {WAYS_OUT}") from error


def installation_in(tree: Path) -> Installation:
    """Return the RabbitMQ in a tree of unpacked Debian packages.

    Raises:
        ServerUnavailable: the tree holds none.
    """
    erlang = next((path for path in (tree / PACKAGED_ERLANG, "/" / PACKAGED_ERLANG) if (path / "erl").exists()), None)
    found = erlang and _complete(tree / PACKAGED_SCRIPTS, erlang, tree=tree)
    if not found:
        raise ServerUnavailable(f"RabbitMQ: {tree} is incomplete; delete it and try again")
    return found


def _complete(scripts: Path, erlang_bin: Path, *, tree: Path | None = None) -> Installation | None:
    # The scripts read their neighbour rabbitmq-env; a wrapper has none beside it.
    needed = [scripts / name for name in ("rabbitmq-server", "rabbitmqctl", "rabbitmq-env")]
    epmd = next((path for path in _epmd_candidates(erlang_bin) if path.exists()), None)
    if epmd is None or not all(path.exists() for path in needed):
        return None
    libraries = tree / PACKAGED_ERLANG.parent / "lib" if tree else None
    beside_erlang = libraries is not None and erlang_bin.parent != libraries.parent
    return Installation(
        server=needed[0],
        rabbitmqctl=needed[1],
        erlang_bin=erlang_bin,
        epmd=epmd,
        erlang_libraries=libraries if beside_erlang else None,
        shared_libraries=tuple(debian.library_directories(tree)) if tree else (),
    )


def _candidate_directories() -> Iterator[Path]:
    yield "/" / PACKAGED_SCRIPTS
    for directory in _whole_path().split(":"):
        if script := shutil.which("rabbitmq-server", path=directory):
            yield Path(script).resolve().parent


def _epmd_candidates(erlang_bin: Path) -> Iterator[Path]:
    yield erlang_bin / "epmd"
    yield from sorted(erlang_bin.parent.glob("erts-*/bin/epmd"))


def _whole_path() -> str:
    return f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}:{BREW_PATH}"


def _space_free(cache: Path) -> Path:
    # RabbitMQ's shell scripts do not quote their own path.
    user_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vazifa"
    for directory in (cache.absolute(), user_cache):
        if not any(character.isspace() for character in str(directory)):
            return directory
    raise ServerUnavailable(f"RabbitMQ: it cannot run from a path that contains a space, as {cache} does")
