"""The test bed: databases and queues on private servers, and the web servers and workers that run against them.

Guarantee: every process that is started here is stopped here, by its process id.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import sql

from bench import servers
from bench.peers.site import LESSON, VHOSTS, make_row_alike, peer
from bench.servers import Servers
from bench.sites import DATABASE, OURS, Site, ours
from project.local.servers.ports import LOOPBACK, free_port, listens
from project.local.servers.process import Program, RunningProgram, wait_until
from project.local.stack import ROOT

# Of all subprocesses, the thread that runs Python just then.
PROFILER = (str(Path(sys.executable).with_name("py-spy")), "record", "--subprocesses", "--gil")
WEB_TIMEOUT_SECONDS = 30.0
MAX_QUOTE_CHARACTERS = 2_000
RELAY_TIMEOUT_SECONDS = 120.0
# A measurement of creates ends with this wait.
RELAY_POLL_SECONDS = 0.005
OUR_TABLES = "tasks_task, outbox_outboxmessage, actors_activity"
THEIR_TABLES = "peers_task, peers_activity"

ADD_USERS = """
INSERT INTO auth_user (password, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined)
SELECT '!', number = 1, 'user' || number, '', '', '', number = 1, true, now()
FROM generate_series(1 + (SELECT count(*) FROM auth_user), %s) AS number
"""
# A sign-in of each user; its id is the user's, which `load.token` names.
ADD_SIGN_INS = """
INSERT INTO accounts_tokenfamily
    (id, user_id, created_at, expires_at, refresh_id, password_digest, end_reason)
SELECT lpad(to_hex(id), 32, '0')::uuid, id, now(), now() + interval '7 days', '',
    encode(sha256(password::bytea), 'hex'), ''
FROM auth_user ON CONFLICT (id) DO NOTHING
"""

Query = LiteralString | sql.Composed
Name = TypeVar("Name")


@dataclass(frozen=True, kw_only=True)
class Running:
    """A web server, a relay or a pool of workers that runs."""

    pid: int
    log: Path
    """The application's."""
    port: int = 0


@dataclass(kw_only=True, eq=False)
class Ground:
    """Prepared databases and empty queues."""

    directory: Path
    servers: Servers
    profiles: Path | None = None
    """Where flame graphs of our processes are drawn, each in a file of its own, the last of a name staying."""
    _connections: dict[str, psycopg.Connection[Any]] = field(init=False, default_factory=dict)

    def prepare(self) -> None:
        """Make the databases, with the time of each commit kept, and a user in each."""
        with psycopg.connect(self.servers.postgresql.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
        self.servers.postgresql.restart()
        for vhost in VHOSTS:
            self.servers.rabbitmq.rabbitmqctl("add_vhost", vhost)
            self.servers.rabbitmq.rabbitmqctl(
                "set_permissions", "--vhost", vhost, self.servers.rabbitmq.username, ".*", ".*", ".*"
            )
        self.make_database(self.ours)
        self.make_database(self.site(LESSON))
        make_row_alike(self.database(), self.database(self.site(LESSON).database))

    def make_database(self, site: Site) -> None:
        self.servers.postgresql.create_database(site.database)
        subprocess.run([*site.manage, "migrate", "--verbosity", "0"], env=self.environment(site), cwd=ROOT, check=True)
        self.add_users(site, 1)

    @cached_property
    def ours(self) -> Site:
        return ours(self.servers)

    def site(self, name: str) -> Site:
        return self.ours if name == OURS else peer(self.servers, name)

    def environment(self, site: Site, **variables: str) -> dict[str, str]:
        """Return the environment of a site's processes."""
        log = str(self.directory / f"{site.name}.log")
        return {**os.environ, "LOG_FILE": log, "PYTHONUNBUFFERED": "1", **site.variables, **variables}

    @contextmanager
    def web(self, site: Site, name: str = "web") -> Iterator[Running]:
        """Run a site's web server."""
        port = free_port()
        with self._running(site, name, site.web, BIND=f"{LOOPBACK}:{port}") as running:
            # What is asked before the application is loaded waits for it.
            if not wait_until(lambda: listens(LOOPBACK, port), timeout_seconds=WEB_TIMEOUT_SECONDS):
                raise RuntimeError(f"the web server of {site.name} does not listen")
            yield Running(pid=running.pid, log=running.log, port=port)

    @contextmanager
    def webs(self, sites: Mapping[Name, Site]) -> Iterator[dict[Name, Running]]:
        """Run the web servers of several sites, which wait while one of them is measured."""
        with ExitStack() as stack:
            yield {name: stack.enter_context(self.web(site, f"web-{name}")) for name, site in sites.items()}

    def worker(self, site: Site) -> AbstractContextManager[Running]:
        """Run a site's workers; they write a log of their own, which is empty at first.

        In the end they are killed, which spares a run most of a minute: what they have done is counted before.
        """
        return self._running(site, "worker", site.worker, end=RunningProgram.kill)

    def relay(self, name: str = "relay") -> AbstractContextManager[Running]:
        """Run a relay of ours in a process of its own."""
        return self._running(self.ours, name, (*self.ours.manage, "relay"))

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
        log, output = (self.directory / f"{site.name}-{name}.{kind}" for kind in ("log", "output"))
        log.write_bytes(b"")
        if self.profiles and site.is_ours:
            self.profiles.mkdir(parents=True, exist_ok=True)
            graph = self.profiles.absolute() / f"{name}.svg"
            command = (*PROFILER, "--output", str(graph), "--", *command)
            end = partial(RunningProgram.stop, with_signal=signal.SIGINT)
        program = Program(
            name=f"{site.name} {name}",
            command=command,
            environment=self.environment(site, LOG_FILE=str(log), **variables),
            working_directory=ROOT,
        )
        running = RunningProgram(program, log=output)
        try:
            yield Running(pid=running.pid, log=log)
        except RuntimeError as error:
            said = log.read_text() or output.read_text()
            error.add_note(f"{program.name} said last: {said[-MAX_QUOTE_CHARACTERS:]}")
            raise
        finally:
            end(running)

    def database(self, name: str = DATABASE) -> psycopg.Connection[Any]:
        if name not in self._connections:
            self._connections[name] = psycopg.connect(self.servers.postgresql.url(name), autocommit=True)
        return self._connections[name]

    def rows(self, query: Query, *values: object, database: str = DATABASE) -> list[Any]:
        return self.database(database).execute(query, values).fetchall()

    def value(self, query: Query, *values: object, database: str = DATABASE) -> int:
        """Return the one number that a query answers, 0 for none."""
        [[found]] = self.rows(query, *values, database=database)
        return int(found or 0)

    def awaiting(self, database: str = DATABASE) -> int:
        """Return how many messages wait for a relay."""
        query = "SELECT count(*) FROM outbox_outboxmessage WHERE state IN ('pending', 'scheduled')"
        return self.value(query, database=database)

    def wait_for_relay(self, database: str = DATABASE, *, poll_seconds: float = RELAY_POLL_SECONDS) -> float:
        """Wait until no message waits for a relay; return when that was, by the monotonic clock.

        Raises:
            RuntimeError: some still do.
        """
        deadline = time.monotonic() + RELAY_TIMEOUT_SECONDS
        while waiting := self.awaiting(database):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{waiting} messages still wait for a relay")
            time.sleep(poll_seconds)
        return time.monotonic()

    def unsettled(self) -> int:
        """Return how many of our messages have not had their effect yet."""
        return self.value("SELECT count(*) FROM outbox_outboxmessage")

    def wait_until_settled(self, timeout_seconds: float) -> None:
        """Wait until all of our messages have had their effect, or raise a RuntimeError."""
        if not wait_until(lambda: self.unsettled() == 0, timeout_seconds=timeout_seconds):
            raise RuntimeError(f"{self.unsettled()} messages are not settled")

    def last_id(self, site: Site, table: sql.Identifier) -> int:
        """Return the greatest id of a table, 0 if it is empty: it costs the database less than a count."""
        return self.value(sql.SQL("SELECT max(id) FROM {}").format(table), database=site.database)

    def add_users(self, site: Site, users: int) -> list[int]:
        """Add users until there are so many, the first a superuser; return the ids of all."""
        self.database(site.database).execute(ADD_USERS, [users])
        if site.is_ours:
            self.database(site.database).execute(ADD_SIGN_INS)
        self.database(site.database).execute("ANALYZE auth_user")
        return [user for (user,) in self.rows("SELECT id FROM auth_user ORDER BY id", database=site.database)]

    def empty(self, site: Site) -> None:
        """Forget a site's tasks, rows and messages."""
        tables: LiteralString = OUR_TABLES if site.is_ours else THEIR_TABLES
        self.database(site.database).execute(f"TRUNCATE {tables} RESTART IDENTITY")
        site.queue.empty()

    def empty_messages(self, site: Site) -> None:
        """Forget a site's messages, and nothing else."""
        if site.is_ours:
            self.database(site.database).execute("TRUNCATE outbox_outboxmessage")
        site.queue.empty()

    def cpu_seconds(self) -> dict[str, float]:
        """Return how long each of the servers has kept a core busy."""
        database, node = self.servers.postgresql.pid, self.servers.rabbitmq.pid
        pids = {"PostgreSQL": database, "RabbitMQ": node, "Redis": self.servers.redis_pid}
        return {name: servers.cpu_seconds(pid) for name, pid in pids.items()}


@contextmanager
def prepared(report: Callable[[str], None], profiles: Path | None = None) -> Iterator[Ground]:
    """Start the servers, prepare the databases, and stop the servers afterwards."""
    report("Starting PostgreSQL, RabbitMQ and Redis …")
    with tempfile.TemporaryDirectory(prefix="vazifa-bench-") as scratch:
        directory = Path(scratch)
        with servers.private_servers(directory, report) as started:
            ground = Ground(directory=directory, servers=started, profiles=profiles)
            ground.prepare()
            yield ground
