"""A worker pool that is stopped finishes the messages that it has begun and gives back the others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import psycopg
import pytest

from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.rabbitmq import PrivateRabbitmq
from tests.integration.outbox.pool.process import Pool, wait_for

pytestmark = pytest.mark.integration

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
    pool = Pool(directory=tmp_path, database_url=postgresql.url("pool"), rabbitmq_url=rabbitmq.url)
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


def test_what_expires_behind_a_busy_worker_is_published_again_until_it_runs(
    pool: Pool, database: psycopg.Connection[Any], rabbitmq: PrivateRabbitmq
) -> None:
    def rows() -> list[tuple[Any, ...]]:
        return database.execute("SELECT state, claimed_at < due_at FROM outbox_outboxmessage").fetchall()

    pool.environment |= {"MAX_BACKOFF_MS": "2000", "dramatiq_queue_prefetch": "2"}
    pool.manage("shell", "--no-imports", "-c", SEND.format(count=2))
    pool.start()
    wait_for(lambda: len(pool.begun()) == 1)
    rabbitmq.rabbitmqctl("set_policy", "--apply-to", "queues", "expiry", "^slow$", '{"message-ttl": 500}')
    try:
        # One message runs, and one is taken ahead.
        pool.manage("shell", "--no-imports", "-c", SEND.format(count=3))
        wait_for(lambda: rows().count(("pending", True)) >= 2)
        pool.open_gate()
        wait_for(lambda: all(state == "dead" for state, _ in rows()))
        assert rows() == []
    finally:
        rabbitmq.rabbitmqctl("clear_policy", "expiry")
    assert sorted(pool.begun()) == [0, 0, 1, 1, 2]


def test_a_process_that_ends_gives_up_what_it_leases(pool: Pool, database: psycopg.Connection[Any]) -> None:
    pool.manage("shell", "--no-imports", "-c", LEAD)
    found = database.execute("SELECT name, lease_token FROM outbox_watchedqueue").fetchall()
    assert ("activity", None) in found
    assert {token for _name, token in found} == {None}
