"""A PostgreSQL server of one's own, on loopback and without a password, for development and tests.

Its data lives in a directory the caller names and survives a restart from there. Root runs it as an unprivileged
account (`unprivileged`), because PostgreSQL refuses root.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from project.local.servers import boot_log
from project.local.servers.errors import ServerFailedToStart
from project.local.servers.ports import LOOPBACK, free_port, is_free
from project.local.servers.postgresql_installation import (
    Installation,
    find_installation,
    find_or_fetch,
    require_installation,
)
from project.local.servers.process import Program, RunningProgram, StartedWithin, wait_until
from project.local.servers.unprivileged import Account, account_for_root

__all__ = ["Installation", "PrivatePostgresql", "find_installation", "find_or_fetch"]

SUPERUSER = "postgres"
MAINTENANCE_DATABASE = "postgres"
BOOT_TIMEOUT_SECONDS = 30.0
MAX_CONNECTIONS = 200
# Upper and lower case of Cyrillic letters need a locale that knows them.
LOCALE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
TRAVERSABLE = 0o711
OWNER_ONLY = 0o700
FAST_BUT_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


@dataclass(kw_only=True)
class PrivatePostgresql(StartedWithin):
    """A server on loopback that lives in `directory`."""

    directory: Path

    port: int = field(default_factory=free_port)

    installation: Installation = field(default_factory=require_installation)

    durable: bool = True
    """Whether what is committed survives a crash of the machine; tests are faster without."""

    def __post_init__(self) -> None:
        self.directory = self.directory.absolute()
        self._account = account_for_root()
        self._server: RunningProgram | None = None

    @property
    def log(self) -> Path:
        return self.directory / "postgresql.log"

    def url(self, database: str = MAINTENANCE_DATABASE) -> str:
        return f"postgresql://{SUPERUSER}@{LOOPBACK}:{self.port}/{database}"

    def create_database(self, name: str) -> None:
        """Create an empty database."""
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, and whatever connections it has."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def prepare(self) -> None:
        """Create the data directory; data of an earlier start are kept.

        Raises:
            ServerFailedToStart: `initdb` fails; the message quotes and names the log.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self._data.exists():
            self._initialize()

    def program(self) -> Program:
        """Return the server as a process manager would run it; `prepare()` comes first."""
        settings = [f"--{name}={value}" for name, value in self._settings().items()]
        return Program(
            name="postgresql",
            command=(str(self.installation.postgres), "-D", str(self._data), *settings),
            environment=self.installation.environment,
            working_directory=self._base,
            account=self._account,
            stop_signal=STOP_SIGNALS["fast"],
            parent_death_signal=STOP_SIGNALS["immediate"],
        )

    def is_ready(self) -> bool:
        """Say whether the server accepts connections."""
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def wait_until_ready(
        self, timeout_seconds: float = BOOT_TIMEOUT_SECONDS, still_running: Callable[[], bool] = lambda: True
    ) -> None:
        """Wait until `is_ready()`, or until `still_running` says that it will never be.

        Raises:
            ServerFailedToStart: the server ended or the time is over; the message quotes and names the log.
        """
        in_time = wait_until(lambda: self.is_ready() or not still_running(), timeout_seconds=timeout_seconds)
        if in_time and still_running():
            return
        problem = "ended during its start" if in_time else f"was not ready after {timeout_seconds:g} s"
        raise ServerFailedToStart(boot_log.explain(f"PostgreSQL {problem}", [self.log]))

    def start(self, *, timeout_seconds: float = BOOT_TIMEOUT_SECONDS) -> None:
        """Start the server and wait until it is ready.

        Raises:
            ServerFailedToStart: the port is in use, or the server does not become ready; nothing is left running.
        """
        if not is_free(self.port):
            raise ServerFailedToStart(
                f"PostgreSQL cannot listen on {LOOPBACK}:{self.port}, the port is in use: stop what listens there."
            )
        self.log.unlink(missing_ok=True)
        self.prepare()
        self._server = RunningProgram(self.program(), log=self.log)
        try:
            self.wait_until_ready(timeout_seconds, self._server.is_running)
        except BaseException:
            self.kill()
            raise

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server; `immediate` is the crash from which it recovers at the next start."""
        if self._server is not None:
            self._server.stop(with_signal=STOP_SIGNALS[mode])
        self._server = None

    def kill(self) -> None:
        """Kill the server and its backends with SIGKILL."""
        if self._server is not None:
            self._server.kill()
        self._server = None

    def restart(self) -> None:
        """Stop the server and start it again on the same port."""
        self.stop()
        self.start()

    def is_running(self) -> bool:
        """Say whether the server that `start()` started still runs."""
        return self._server is not None and self._server.is_running()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.remove_data_kept_elsewhere()

    def remove_data_kept_elsewhere(self) -> None:
        """Delete the data if they had to be put outside `directory`, where nothing else would delete them."""
        if self._elsewhere.is_symlink():
            shutil.rmtree(self._elsewhere.resolve(), ignore_errors=True)
            self._elsewhere.unlink()

    @property
    def _elsewhere(self) -> Path:
        return self.directory / "elsewhere"

    @property
    def _base(self) -> Path:
        return self._elsewhere.resolve() if self._elsewhere.is_dir() else self.directory

    @property
    def _data(self) -> Path:
        return self._base / "data"

    def _initialize(self) -> None:
        if self._account and not self._account.can_reach(self.directory):
            self._move_elsewhere()
        unfinished = self._base / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=OWNER_ONLY)
        if self._account:
            os.chown(unfinished, self._account.uid, self._account.gid)
        self._run_initdb(unfinished)
        unfinished.rename(self._data)

    def _move_elsewhere(self) -> None:
        base = Path(tempfile.mkdtemp(prefix="vazifa-postgresql-", dir="/tmp"))
        base.chmod(TRAVERSABLE)
        self._elsewhere.unlink(missing_ok=True)
        self._elsewhere.symlink_to(base)

    def _run_initdb(self, data: Path) -> None:
        command = [str(self.installation.initdb), "-D", str(data), "-U", SUPERUSER]
        options = ["--auth=trust", "--encoding=UTF8", f"--locale={LOCALE}", *([] if self.durable else ["--no-sync"])]
        with self.log.open("ab") as output:
            result = subprocess.run(
                _as_account(self._account, [*command, *options]),
                env=self.installation.environment,
                cwd=self._base,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if result.returncode != 0:
            raise ServerFailedToStart(boot_log.explain("PostgreSQL cannot create its data directory", [self.log]))

    def _settings(self) -> dict[str, object]:
        return {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            # A socket's path must be short, a test's directory is not.
            "unix_socket_directories": "",
            "max_connections": MAX_CONNECTIONS,
            **({} if self.durable else FAST_BUT_NOT_DURABLE),
        }

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement)


def _as_account(account: Account | None, command: list[str]) -> list[str]:
    return account.command(command) if account else command
