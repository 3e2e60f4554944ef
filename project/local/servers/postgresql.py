"""A private PostgreSQL server, on loopback and without a password, for tests and benchmarks.

PostgreSQL refuses root, so root runs it as an account without privileges, with its data outside root's directories.
Guarantee: a client can prove that a connection leads to such a server of this machine (`made_here`).
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import psycopg
from psycopg import sql

from project.local.servers.errors import ServerFailedToStart, ServerUnavailable
from project.local.servers.ports import LOOPBACK, free_port
from project.local.servers.postgresql_installation import Installation, find_or_fetch
from project.local.servers.process import Program, run_as
from project.local.servers.server import PrivateServer, explain

__all__ = ["Installation", "PrivatePostgresql", "find_or_fetch"]

SUPERUSER = "postgres"
MAINTENANCE_DATABASE = "postgres"
MAX_CONNECTIONS = 200
ACCOUNTS_FOR_ROOT = ("postgres", "nobody")
# A locale that knows upper and lower case of Cyrillic letters.
LOCALE = "en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8"
TRAVERSABLE = 0o711
OWNER_ONLY = 0o700
# A random word of each server: it reports it as a setting, and a file beside its data has it.
MARK = "vazifa.mark"
MARK_FILE = "mark"
FAST_BUT_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}


@dataclass(kw_only=True)
class PrivatePostgresql(PrivateServer):
    """A server on loopback that lives in `directory`."""

    title: ClassVar[str] = "PostgreSQL"

    installation: Installation

    port: int = field(default_factory=free_port)

    durable: bool = True
    """Whether commits survive a crash of the machine; tests are faster without."""

    primary_url: str = ""
    """The address of the server whose standby this one is: a copy that follows it until `promote()`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._account = account_for_root()
        self._elsewhere: Path | None = None

    @property
    def log(self) -> Path:
        return self.directory / "postgresql.log"

    def url(self, database: str = MAINTENANCE_DATABASE) -> str:
        return f"postgresql://{SUPERUSER}@{LOOPBACK}:{self.port}/{database}"

    def create_database(self, name: str) -> None:
        """Create an empty database."""
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists, with all its connections."""
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def promote(self) -> None:
        """Make a standby the primary; it accepts writes on return.

        Raises:
            RuntimeError: it did not become the primary within a minute.
        """
        if self.execute(sql.SQL("SELECT pg_promote()")) != [(True,)]:
            raise RuntimeError("PostgreSQL was not promoted in time")

    def prepare(self) -> None:
        """Create the data directory; data of an earlier start are kept.

        Raises:
            ServerFailedToStart: `initdb` or `pg_basebackup` fails; the message quotes and names the log.
        """
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        self.directory.mkdir(mode=OWNER_ONLY, exist_ok=True)
        if self._account and self._elsewhere is None:
            self._elsewhere = Path(tempfile.mkdtemp(prefix="vazifa-postgresql-", dir="/tmp"))
            self._elsewhere.chmod(TRAVERSABLE)
        if not self._data.exists():
            self._initialize()
        mark = self._data.parent / MARK_FILE  # not among the data, which a standby copies
        if not mark.exists():
            mark.write_text(secrets.token_hex(16))

    def programs(self) -> list[Program]:
        settings = [f"--{name}={value}" for name, value in self._settings().items()]
        server = Program(
            name="postgresql",
            command=(str(self.installation.bin / "postgres"), "-D", str(self._data), *settings),
            environment=self.installation.environment,
            working_directory=self._data.parent,
            is_ready=self.is_ready,
            account=self._account,
            parent_death_signal=STOP_SIGNALS["immediate"],
        )
        return [server]

    def ports(self) -> tuple[int, ...]:
        return (self.port,)

    def logs(self) -> tuple[Path, ...]:
        return (self.log,)

    def is_ready(self) -> bool:
        """Return whether the server accepts connections."""
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server; `immediate` is a crash, from which it recovers at the next start."""
        self._end(lambda server: server.stop(with_signal=STOP_SIGNALS[mode]))

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self.remove_data_kept_elsewhere()

    def remove_data_kept_elsewhere(self) -> None:
        """Delete the data if they are outside `directory`, where nothing else would delete them."""
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere, ignore_errors=True)
            self._elsewhere = None

    @property
    def _data(self) -> Path:
        return (self._elsewhere or self.directory) / "data"

    def _initialize(self) -> None:
        self._data.mkdir(mode=OWNER_ONLY)
        if self._account:
            os.chown(self._data, self._account.pw_uid, self._account.pw_gid)
        if self.primary_url:
            program, options = "pg_basebackup", ["-d", self.primary_url, "--write-recovery-conf", "--checkpoint=fast"]
        else:
            program, options = "initdb", ["-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", f"--locale={LOCALE}"]
        command = [str(self.installation.bin / program), "-D", str(self._data), *options]
        with self.log.open("ab") as output:
            made = subprocess.run(
                [*command, *([] if self.durable else ["--no-sync"])],
                env=self.installation.environment,
                cwd=self._data.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                **run_as(self._account),
            )
        if made.returncode != 0:
            shutil.rmtree(self._data)
            raise ServerFailedToStart(explain("PostgreSQL cannot create its data directory", [self.log]))

    def _settings(self) -> dict[str, object]:
        return {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            # A socket's path has to be short; that of a test's directory is not.
            "unix_socket_directories": "",
            "max_connections": MAX_CONNECTIONS,
            MARK: (self._data.parent / MARK_FILE).read_text(),
            **({} if self.durable else FAST_BUT_NOT_DURABLE),
        }

    def execute(self, statement: sql.SQL | sql.Composed) -> list[tuple[Any, ...]]:
        """Run one statement outside any transaction, and return its rows."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


def made_here(mark: str | None, data_directory: str | None) -> bool:
    """Return whether a server is a private one of this machine, by what it says of itself over a connection.

    Its address proves nothing: a tunnel makes any server one of loopback. That server would have to say, by chance,
    what stands in a file of this machine.
    """
    if not mark or not data_directory:
        return False
    try:
        return (Path(data_directory).parent / MARK_FILE).read_text() == mark
    except OSError:
        return False


def account_for_root() -> pwd.struct_passwd | None:
    """Return the account that root should use; None if this is not root.

    Raises:
        ServerUnavailable: there is no such account.
    """
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS_FOR_ROOT:
        with suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerUnavailable(f"Root needs an account named {' or '.join(ACCOUNTS_FOR_ROOT)} and there is none.")
