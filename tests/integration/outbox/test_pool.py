"""A worker pool that is stopped finishes the messages that it has begun and gives back the others."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pika
import psycopg
import pytest

from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.stack import MANAGE, ROOT

pytestmark = pytest.mark.integration

DEADLINE_SECONDS = 60.0
SHUTDOWN_TIMEOUT_MS = 30_000
# Ends as soon as the process leads for its queue.
LEAD = """
import time
from actors.outbox.models import WatchedQueue
from actors.outbox.background import background_threads
background_threads.start()
while not WatchedQueue.objects.exclude(lease_token=None).exists():
    time.sleep(0.05)
"""
SEND = "from tests.integration.outbox.pool.slow import wait_for_gate as slow; [slow.send(n) for n in range({count})]"


class Pool:
    """A pool of one thread, which takes one message ahead, over a database and a queue of its own."""

    def __init__(self, *, environment: dict[str, str], directory: Path) -> None:
        self.environment = {**os.environ, **environment, "POOL_DIRECTORY": str(directory)}
        self.directory = directory
        self.log = directory / "worker.log"
        self.process: subprocess.Popen[bytes] | None = None

    def manage(self, *arguments: str) -> None:
        subprocess.run([*MANAGE, *arguments], env=self.environment, cwd=ROOT, check=True, capture_output=True)

    def start(self) -> None:
        options = ("--processes", "1", "--threads", "1", "--worker-shutdown-timeout", str(SHUTDOWN_TIMEOUT_MS))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*MANAGE, "rundramatiq", *options], env=self.environment, cwd=ROOT, stdout=log, stderr=log
            )

    def ask_to_stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "Shutting down..." in self.log.read_text("utf-8"))

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(DEADLINE_SECONDS)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def begun(self) -> list[int]:
        file = self.directory / "begun"
        return [int(line) for line in file.read_text("utf-8").split()] if file.exists() else []

    def open_gate(self) -> None:
        (self.directory / "gate").touch()


def wait_for(condition: Callable[[], bool]) -> None:
    assert wait_until(condition, timeout_seconds=DEADLINE_SECONDS)


@pytest.fixture
def database(postgresql: PrivatePostgresql) -> Iterator[psycopg.Connection[Any]]:
    postgresql.create_database("pool")
    with psycopg.connect(postgresql.url("pool"), autocommit=True) as connection:
        yield connection
    postgresql.drop_database("pool")


@pytest.fixture
def pool(
    postgresql: PrivatePostgresql, database: psycopg.Connection[Any], rabbitmq: PrivateRabbitmq, tmp_path: Path
) -> Iterator[Pool]:
    environment = {
        "ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "tests.integration.outbox.pool.settings",
        "DATABASE_URL": postgresql.url("pool"),
        "RABBITMQ_URL": rabbitmq.url,
        "LOG_FILE": "",
        "UPKEEP_SECONDS": "0.5",
    }
    pool = Pool(environment=environment, directory=tmp_path)
    pool.manage("migrate", "--verbosity", "0")
    yield pool
    pool.open_gate()
    pool.kill()


def test_what_is_begun_is_settled_and_what_is_taken_ahead_goes_back_uncounted(
    pool: Pool, database: psycopg.Connection[Any], rabbitmq: PrivateRabbitmq
) -> None:
    def rows() -> list[tuple[Any, ...]]:
        return database.execute("SELECT state, starts, attempt FROM outbox_outboxmessage").fetchall()

    pool.manage("shell", "--no-imports", "-c", SEND.format(count=4))
    pool.start()
    wait_for(lambda: len(pool.begun()) == 1 and [row[0] for row in rows()] == ["published"] * 4)
    pool.ask_to_stop()
    pool.open_gate()
    assert pool.wait() == 0
    assert (len(pool.begun()), rows()) == (1, [("published", 0, 0)] * 3)
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        channel = connection.channel()
        wait_for(lambda: channel.queue_declare("slow", passive=True).method.message_count == 3)
    pool.start()
    wait_for(lambda: rows() == [])
    assert sorted(pool.begun()) == [0, 1, 2, 3]


def test_a_process_that_ends_gives_up_what_it_leases(pool: Pool, database: psycopg.Connection[Any]) -> None:
    pool.manage("shell", "--no-imports", "-c", LEAD)
    found = database.execute("SELECT name, lease_token FROM outbox_watchedqueue").fetchall()
    assert ("activity", None) in found
    assert {token for _name, token in found} == {None}
