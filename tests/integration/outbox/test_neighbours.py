"""Two installations, each with a database of its own, on one vhost with the same queues: nothing of either is lost."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pika
import psycopg
import pytest

from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.rabbitmq import PrivateRabbitmq
from tests.integration.outbox.pool.process import Pool, wait_for

pytestmark = pytest.mark.integration

COUNT = 10
SEND = """
from django.contrib.auth.models import User
from tasks.models import Task
user = User.objects.create(username="user1")
for number in range({count}):
    Task.objects.create(title="{name} %d" % number, owner=user)
"""


@dataclass
class Installation:
    """A service with a database of its own."""

    name: str

    pool: Pool

    database: psycopg.Connection[Any]

    def send(self, count: int = COUNT) -> None:
        """Create tasks, and publish the messages about them."""
        self.pool.manage("shell", "--no-imports", "-c", SEND.format(count=count, name=self.name))
        self.pool.manage("relay", "--once")

    def read(self, query: str) -> list[tuple[Any, ...]]:
        return self.database.execute(query).fetchall()

    def history(self) -> list[str]:
        return [title for [title] in self.read("SELECT title FROM actors_activity ORDER BY id")]

    def has_written(self, count: int = COUNT) -> bool:
        settled = self.read("SELECT count(*) FROM outbox_outboxmessage") == [(0,)]
        return settled and sorted(self.history()) == [f"{self.name} {number}" for number in range(count)]

    def is_shared(self) -> bool:
        return bool(self.read("SELECT 1 FROM outbox_watchedqueue WHERE probe_at IS NOT NULL"))

    def log(self) -> str:
        return self.pool.log.read_text("utf-8")


@pytest.fixture
def installations(
    postgresql: PrivatePostgresql, rabbitmq: PrivateRabbitmq, tmp_path: Path
) -> Iterator[list[Installation]]:
    prefix = f"shared-{uuid4().hex[:8]}-"
    with ExitStack() as stack:
        found = []
        for name in ("first", "second"):
            postgresql.create_database(name)
            stack.callback(postgresql.drop_database, name)
            directory = tmp_path / name
            directory.mkdir()
            url = postgresql.url(name)
            pool = Pool(directory=directory, database_url=url, rabbitmq_url=rabbitmq.url, QUEUE_PREFIX=prefix)
            pool.manage("migrate", "--verbosity", "0")
            stack.callback(pool.kill)
            database = stack.enter_context(psycopg.connect(url, autocommit=True))
            found.append(Installation(name=name, pool=pool, database=database))
        yield found


def test_a_worker_stops_at_the_others_message_and_goes_on_when_the_other_has_taken_it(
    installations: list[Installation], rabbitmq: PrivateRabbitmq
) -> None:
    first, second = installations
    second.send(1)
    first.send()
    first.pool.start()
    wait_for(first.is_shared)
    wait_for(lambda: "is shared with another installation" in first.log())
    assert first.history() == []
    # It looks again and again: RabbitMQ has counted few deliveries, and only of the other's message.
    looks = first.read("SELECT probe_at FROM outbox_watchedqueue WHERE probe_at IS NOT NULL")
    wait_for(lambda: first.read("SELECT probe_at FROM outbox_watchedqueue WHERE probe_at IS NOT NULL") > looks)
    assert first.log().count("is shared with another installation") == 1
    second.pool.start()
    wait_for(lambda: first.has_written() and second.has_written(1))
    wait_for(lambda: not first.is_shared() and not second.is_shared())
    for each in installations:
        assert "was skipped" not in each.log()
    queue = first.pool.environment["QUEUE_PREFIX"] + "activity"
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        channel = connection.channel()
        for name in (queue, f"{queue}.XQ"):
            assert channel.queue_declare(name, passive=True).method.message_count == 0


@pytest.mark.heavy
def test_with_the_messages_of_both_in_turn_each_writes_its_own_once(installations: list[Installation]) -> None:
    for each in installations:
        each.send()
    for each in installations:
        each.pool.start()
    wait_for(lambda: all(each.has_written() for each in installations))


@pytest.mark.heavy
def test_with_a_prefix_each_they_do_not_meet(installations: list[Installation], rabbitmq: PrivateRabbitmq) -> None:
    for each in installations:
        each.pool.environment["QUEUE_PREFIX"] += f"{each.name}-"
        each.send()
        each.pool.start()
    wait_for(lambda: all(each.has_written() for each in installations))
    assert not any("is shared" in each.log() or each.is_shared() for each in installations)
