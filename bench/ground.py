"""The servers that everything is measured on: a PostgreSQL that syncs, a RabbitMQ node, web processes; all private.

Guarantee: what is started here is ended here, by its process id.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, LiteralString

import pika
import psutil
import psycopg

from project.management.commands.prepare import PASSWORD, USERNAME
from project.servers.errors import ServerFailedToStart
from project.servers.ports import LOOPBACK, free_port
from project.servers.postgresql import PrivatePostgresql
from project.servers.process import Program, RunningProgram, wait_until
from project.servers.rabbitmq import PrivateRabbitmq
from project.stack import MANAGE, ROOT

DATABASE = "bench"
QUEUE = "activity"
# A classic queue of the same name is refused beside a quorum queue: the plain broker has a virtual host of its own.
PLAIN_VHOST = "plain"
DECLARE = f"import dramatiq; dramatiq.get_broker().declare_queue({QUEUE!r}, ensure=True)"
WEB_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Web:
    """A running web server."""

    port: int

    pid: int

    def cpu_seconds(self) -> float:
        """Return how long its processes, all their threads, have kept a core busy."""
        master = psutil.Process(self.pid)
        times = [each.cpu_times() for each in (master, *master.children(recursive=True))]
        return float(sum(each.user + each.system for each in times))


@dataclass(kw_only=True)
class Ground:
    """A prepared database and an empty RabbitMQ."""

    directory: Path

    postgresql: PrivatePostgresql

    rabbitmq: PrivateRabbitmq

    database: psycopg.Connection[Any] = field(init=False)

    def prepare(self) -> None:
        """Make the database, with the time of each commit kept, and a user."""
        with psycopg.connect(self.postgresql.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
        self.postgresql.restart()
        self.postgresql.create_database(DATABASE)
        self.manage("migrate", "--verbosity", "0")
        self.manage("createsuperuser", "--noinput", "--username", USERNAME, "--email", "user1@example.com")
        self.manage("shell", "--verbosity", "0", "--command", DECLARE)
        self.rabbitmq.rabbitmqctl("add_vhost", PLAIN_VHOST)
        self.rabbitmq.rabbitmqctl("set_permissions", "--vhost", PLAIN_VHOST, "guest", ".*", ".*", ".*")
        self.database = psycopg.connect(self.postgresql.url(DATABASE), autocommit=True)

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment of production, on the private servers."""
        ours = {
            "ENV_FILE": os.devnull,
            "DJANGO_SETTINGS_MODULE": "settings.production",
            "SECRET_KEY": "for-the-bench-only-and-long-enough-to-sign-a-token-without-a-warning",
            "DATABASE_URL": self.postgresql.url(DATABASE),
            "RABBITMQ_URL": self.rabbitmq.url,
            "ALLOWED_HOSTS": LOOPBACK,
            "SECURE_SSL_REDIRECT": "False",
            "LOG_FILE": str(self.directory / "debug.log"),
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            # A short period: a throttle remembers each request of it, and the bench is not about that.
            "THROTTLE_ANON": "100000/s",
            "THROTTLE_USER": "100000/s",
            "PYTHONUNBUFFERED": "1",
        }
        return {**os.environ, **ours, **variables}

    def manage(self, *arguments: str) -> None:
        subprocess.run([*MANAGE, *arguments], env=self.environment(), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    @contextmanager
    def web(self, name: str = "web", **variables: str) -> Iterator[Web]:
        """Run gunicorn, one process of the default number of threads, and yield it."""
        port = free_port()
        program = Program(
            name=name,
            command=(sys.executable, "-m", "gunicorn", "project.wsgi"),
            environment=self.environment(BIND=f"{LOOPBACK}:{port}", **variables),
            working_directory=ROOT,
        )
        running = RunningProgram(program, log=self.directory / f"{name}.log")
        try:
            if not wait_until(lambda: _answers(port), timeout_seconds=WEB_TIMEOUT_SECONDS):
                raise ServerFailedToStart(f"{name} does not answer; see {running.log}.")
            yield Web(port=port, pid=running.pid)
        finally:
            running.stop()

    def count(self, query: LiteralString) -> int:
        row = self.database.execute(query).fetchone()
        assert row is not None
        return int(row[0])

    def awaiting(self) -> int:
        """Return how many messages wait for a relay."""
        return self.count("SELECT count(*) FROM outbox_outboxmessage WHERE state IN ('pending', 'scheduled')")

    def queued(self) -> int:
        """Return how many messages RabbitMQ has."""
        with self.channel() as channel:
            return int(channel.queue_declare(QUEUE, passive=True).method.message_count)

    def empty(self) -> None:
        """Forget all messages, in the database and in RabbitMQ."""
        self.database.execute("TRUNCATE outbox_outboxmessage, tasks_task")
        with self.channel() as channel:
            channel.queue_purge(QUEUE)

    @contextmanager
    def channel(self) -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self.rabbitmq.url))
        try:
            yield connection.channel()
        finally:
            connection.close()


def _answers(port: int) -> bool:
    connection = HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/health/ready/")
        return connection.getresponse().status < 500
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
