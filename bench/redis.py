"""A Redis of one's own, on loopback, for what is measured beside ours: an installed one, or fetched without root."""

import os
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path

from project.local.servers import debian
from project.local.servers.errors import ServerFailedToStart
from project.local.servers.ports import LOOPBACK, free_port
from project.local.servers.process import Program, RunningProgram, StartedWithin, wait_until

BOOT_TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A Redis that can be started."""

    server: Path

    shared_libraries: tuple[Path, ...] = ()

    @property
    def environment(self) -> dict[str, str]:
        libraries = ":".join(map(str, self.shared_libraries))
        return {"LC_ALL": "C.UTF-8", **({"LD_LIBRARY_PATH": libraries} if libraries else {})}


def find_or_fetch(cache: Path, report: debian.Report) -> Installation:
    """Return an installed Redis, or one unpacked from Debian's package in `cache`.

    Raises:
        ServerUnavailable: there is none and none can be fetched.
    """
    if found := shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/bin"):
        return Installation(server=Path(found))
    path = cache.absolute() / f"redis-{debian.host_tag()}"
    tree = debian.PackageTree(title="Redis", packages=["redis-server"], path=path).fetch(report)
    return Installation(server=tree / "usr/bin/redis-server", shared_libraries=tuple(debian.library_directories(tree)))


@dataclass(kw_only=True)
class PrivateRedis(StartedWithin):
    """A server that keeps all in memory, as a broker mostly is run."""

    installation: Installation

    directory: Path

    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self._server: RunningProgram | None = None

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServerFailedToStart: it does not.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._server = RunningProgram(self._program(), log=self.directory / "redis.log")
        if not wait_until(self._answers, timeout_seconds=BOOT_TIMEOUT_SECONDS):
            self.stop()
            raise ServerFailedToStart(f"Redis does not answer; see {self.directory / 'redis.log'}.")

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
        self._server = None

    def _program(self) -> Program:
        settings = ("--bind", LOOPBACK, "--port", str(self.port), "--save", "", "--appendonly", "no")
        return Program(
            name="redis",
            command=(str(self.installation.server), *settings),
            environment=self.installation.environment,
            working_directory=self.directory,
        )

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
