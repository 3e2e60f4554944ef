"""The test bed: databases and queues on private servers, and the web servers and workers that run against them.

Guarantee: every process that is started here is stopped here, by its process id.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from bench import processes
from bench.servers import Servers, private_servers
from bench.sites import DATABASE, LESSON, OURS, PEERS_DATABASE, QUEUE, VHOSTS, Site, ours, peer
from project.local.demo_user import USERNAME
from project.local.servers.errors import ServerFailedToStart
from project.local.servers.ports import LOOPBACK, free_port
from project.local.servers.process import Program, RunningProgram, wait_until
from project.local.stack import ROOT

DECLARE = f"import dramatiq; dramatiq.get_broker().declare_queue({QUEUE!r}, ensure=True)"
WEB_TIMEOUT_SECONDS = 30.0
MAX_QUOTE_CHARACTERS = 2_000
RELAY_TIMEOUT_SECONDS = 60.0
# A measurement of creates ends with this wait.
RELAY_POLL_SECONDS = 0.005
OUR_TABLES = "tasks_task, outbox_outboxmessage, actors_activity"
THEIR_TABLES = "peers_task, peers_activity"


@dataclass(frozen=True, kw_only=True)
class Running:
    """A web server or a pool of workers that runs."""

    pid: int

    log: Path
    """The application's."""

    port: int = 0

    def cpu_seconds(self) -> float:
        return processes.cpu_seconds(self.pid)

    def memory_mb(self) -> float:
        return processes.memory_mb(self.pid)


@dataclass(kw_only=True)
class Ground:
    """Prepared databases and empty queues."""

    directory: Path

    servers: Servers

    report: Callable[[str], None]

    filled: set[str] = field(init=False, default_factory=set)
    """The names of the databases that were made beside the first two (`grown`)."""

    _connections: dict[str, psycopg.Connection[Any]] = field(init=False, default_factory=dict)

    def prepare(self) -> None:
        """Make the databases, with the time of each commit kept, and a user in each."""
        with psycopg.connect(self.servers.postgresql.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
        self.servers.postgresql.restart()
        for vhost in VHOSTS:
            self.servers.rabbitmq.rabbitmqctl("add_vhost", vhost)
            self.servers.rabbitmq.rabbitmqctl("set_permissions", "--vhost", vhost, "guest", ".*", ".*", ".*")
        self.make_database(self.ours)
        self.manage(self.ours, "shell", "--verbosity", "0", "--command", DECLARE)
        self.make_database(self.site(LESSON))

    def make_database(self, site: Site) -> None:
        self.servers.postgresql.create_database(site.database)
        self.manage(site, "migrate", "--verbosity", "0")
        self.manage(site, "createsuperuser", "--noinput", "--username", USERNAME, "--email", "user1@example.com")

    @cached_property
    def ours(self) -> Site:
        return ours(self.servers)

    def site(self, name: str) -> Site:
        return self.ours if name == OURS else peer(self.servers, name)

    def environment(self, site: Site, **variables: str) -> dict[str, str]:
        """Return the environment of a site's processes."""
        own = {"LOG_FILE": str(self.directory / f"{site.name}.log"), "PYTHONUNBUFFERED": "1"}
        return {**os.environ, **own, **site.variables, **variables}

    def manage(self, site: Site, *arguments: str) -> None:
        subprocess.run(
            [*site.manage, *arguments], env=self.environment(site), cwd=ROOT, check=True, stdout=subprocess.DEVNULL
        )

    @contextmanager
    def web(self, site: Site, name: str = "web") -> Iterator[Running]:
        """Run a site's web server."""
        port = free_port()
        with self._running(site, name, site.web, BIND=f"{LOOPBACK}:{port}") as running:
            if not wait_until(lambda: _answers(port), timeout_seconds=WEB_TIMEOUT_SECONDS):
                raise ServerFailedToStart(f"The web server of {site.name} does not answer: {_end_of(running.log)}")
            yield Running(pid=running.pid, log=running.log, port=port)

    @contextmanager
    def webs(self, names: list[str]) -> Iterator[dict[str, Running]]:
        """Run the web servers of several sites, which wait while one of them is measured."""
        with ExitStack() as stack:
            yield {name: stack.enter_context(self.web(self.site(name))) for name in names}

    @contextmanager
    def worker(self, site: Site) -> Iterator[Running]:
        """Run a site's workers; they write a log of their own, which is empty at first.

        In the end they are killed, which spares a run most of a minute: what they have done is counted before.
        """
        with self._running(site, "worker", site.worker, end=RunningProgram.kill) as running:
            yield running

    @contextmanager
    def command(self, site: Site, *arguments: str) -> Iterator[Running]:
        """Run a management command that does not end by itself."""
        with self._running(site, arguments[0], (*site.manage, *arguments)) as running:
            yield running

    @contextmanager
    def _running(
        self,
        site: Site,
        name: str,
        command: tuple[str, ...],
        *,
        end: Callable[[RunningProgram], None] = RunningProgram.stop,
        **variables: str,
    ) -> Iterator[Running]:
        log = self.directory / f"{site.name}-{name}.log"
        log.unlink(missing_ok=True)
        program = Program(
            name=f"{site.name} {name}",
            command=command,
            environment=self.environment(site, LOG_FILE=str(log), **variables),
            working_directory=ROOT,
        )
        running = RunningProgram(program, log=log.with_suffix(".output"))
        try:
            yield Running(pid=running.pid, log=log)
        except RuntimeError as error:
            error.add_note(f"{program.name} said last: {_end_of(log)}")
            raise
        finally:
            end(running)

    def database(self, name: str = DATABASE) -> psycopg.Connection[Any]:
        if name not in self._connections:
            self._connections[name] = psycopg.connect(self.servers.postgresql.url(name), autocommit=True)
        return self._connections[name]

    def count(self, query: LiteralString, database: str = DATABASE) -> int:
        row = self.database(database).execute(query).fetchone()
        assert row is not None
        return int(row[0] or 0)

    def awaiting(self, database: str = DATABASE) -> int:
        """Return how many messages wait for a relay."""
        query: LiteralString = "SELECT count(*) FROM outbox_outboxmessage WHERE state IN ('pending', 'scheduled')"
        return self.count(query, database)

    def wait_for_relay(self, database: str = DATABASE) -> float:
        """Wait until no message waits for a relay; return when that was, by the monotonic clock.

        Raises:
            RuntimeError: some still do.
        """
        deadline = time.monotonic() + RELAY_TIMEOUT_SECONDS
        while waiting := self.awaiting(database):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{waiting} messages still wait for a relay")
            time.sleep(RELAY_POLL_SECONDS)
        return time.monotonic()

    def unsettled(self) -> int:
        """Return how many of our messages have not had their effect yet."""
        return self.count("SELECT count(*) FROM outbox_outboxmessage")

    def last_id(self, site: Site, table: sql.Identifier) -> int:
        """Return the greatest id of a table, 0 if it is empty: it costs the database less than a count."""
        row = self.database(site.database).execute(sql.SQL("SELECT max(id) FROM {}").format(table)).fetchone()
        assert row is not None
        return row[0] or 0

    def empty(self, site: Site) -> None:
        """Forget a site's tasks, rows and messages."""
        tables: LiteralString = OUR_TABLES if site.database != PEERS_DATABASE else THEIR_TABLES
        self.database(site.database).execute(f"TRUNCATE {tables} RESTART IDENTITY")
        site.queue.empty()

    def empty_messages(self, site: Site) -> None:
        """Forget the messages of ours, and nothing else."""
        self.database(site.database).execute("TRUNCATE outbox_outboxmessage")
        site.queue.empty()

    def cpu_seconds(self) -> dict[str, float]:
        """Return how long each of the servers has kept a core busy."""
        return {name: processes.cpu_seconds(pid) for name, pid in self._pids().items()}

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    def _pids(self) -> dict[str, int]:
        data = self.database().execute("SHOW data_directory").fetchone()
        assert data is not None
        return {
            "PostgreSQL": int((Path(data[0]) / "postmaster.pid").read_text().split()[0]),
            "RabbitMQ": int(self.servers.rabbitmq.files.pid.read_text()),
            "Redis": self.servers.redis.pid,
        }


@contextmanager
def prepared(report: Callable[[str], None]) -> Iterator[Ground]:
    """Start the servers, prepare the databases, and stop the servers afterwards."""
    report("Starting PostgreSQL, RabbitMQ and Redis …")
    with tempfile.TemporaryDirectory(prefix="vazifa-bench-") as scratch:
        directory = Path(scratch)
        with private_servers(directory, report) as servers:
            ground = Ground(directory=directory, servers=servers, report=report)
            try:
                ground.prepare()
                yield ground
            finally:
                ground.close()


def _end_of(log: Path) -> str:
    said = log.read_text() if log.exists() else ""
    return (said or log.with_suffix(".output").read_text())[-MAX_QUOTE_CHARACTERS:]


def _answers(port: int) -> bool:
    connection = HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/tasks/")
        return connection.getresponse().status < 500
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
