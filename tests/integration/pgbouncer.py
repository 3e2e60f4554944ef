"""A private PgBouncer on loopback in front of a private PostgreSQL, for tests."""

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from project.local.servers import debian
from project.local.servers.ports import LOOPBACK, free_port, listens
from project.local.servers.postgresql import SUPERUSER, PrivatePostgresql, account_for_root
from project.local.servers.process import Program
from project.local.servers.server import PrivateServer
from settings.environment import VAR

CONFIGURATION = """\
[databases]
* = host={host} port={server_port} user={user}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = any
"""


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A PgBouncer that can be started."""

    program: Path

    shared_libraries: tuple[Path, ...]


@dataclass(kw_only=True)
class PrivatePgbouncer(PrivateServer):
    """A pooler with PgBouncer's default settings, except for those given."""

    title: ClassVar[str] = "PgBouncer"

    installation: Installation

    postgresql: PrivatePostgresql

    settings: dict[str, object]

    port: int = field(default_factory=free_port)

    def url(self, database: str) -> str:
        return f"postgresql://{SUPERUSER}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> None:
        text = CONFIGURATION.format(
            host=LOOPBACK, server_port=self.postgresql.port, user=SUPERUSER, port=self.port
        ) + "".join(f"{name} = {value}\n" for name, value in self.settings.items())
        # PgBouncer refuses root, and another account may not read in root's directories.
        with tempfile.NamedTemporaryFile("w", prefix="vazifa-pgbouncer-", dir="/tmp", delete=False) as file:
            file.write(text)
        self._file = Path(file.name)
        self._file.chmod(0o644)

    def programs(self) -> list[Program]:
        program = Program(
            name="pgbouncer",
            command=(str(self.installation.program), str(self._file)),
            environment={"PATH": os.defpath, **debian.library_path(self.installation.shared_libraries)},
            working_directory=Path("/"),
            is_ready=lambda: listens(LOOPBACK, self.port),
            account=account_for_root(),
        )
        return [program]

    def ports(self) -> tuple[int, ...]:
        return (self.port,)

    def logs(self) -> tuple[Path, ...]:
        return (self.directory / "pgbouncer.log",)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._file.unlink()


def find_or_fetch() -> Installation:
    """Return the installed PgBouncer, or Debian's, unpacked in the cache.

    Raises:
        ServerUnavailable: as `PackageTree.find_or_fetch`.
    """

    def find(root: Path) -> Installation | None:
        program = root / "usr/sbin/pgbouncer"
        found = Installation(program=program, shared_libraries=debian.library_directories(root))
        return found if program.exists() else None

    tree = debian.PackageTree(
        title="PgBouncer",
        packages=["pgbouncer"],
        path=VAR.absolute() / "cache" / f"pgbouncer-{debian.host_tag()}",
        ways_out="Install it (`apt-get install pgbouncer`).",
    )
    return tree.find_or_fetch(find, print)
