"""Coroutine actors in a real worker pool, with Dramatiq's AsyncIO middleware, on both databases."""

import pytest

from tests.integration.outbox.pool.process import Pool, Read, wait_for

pytestmark = pytest.mark.integration

SEND = "from tests.integration.outbox.pool import coroutines; coroutines.{}"
GROUPS = "SELECT name FROM auth_group ORDER BY name"
ROWS = "SELECT state, attempt, error FROM outbox_outboxmessage"
# With Dramatiq's own arguments the new queue could not be declared afterwards.
JOIN = """
import dramatiq
from tests.integration.outbox.pool.coroutines import write_and_send
broker = dramatiq.get_broker()
broker.declare_queue("new")
broker.join("new")
broker.get_queue_message_counts("new")
broker.declare_queue("new", ensure=True)
write_and_send.send("one")
broker.join("coroutines", timeout=60_000)
"""


def send(pool: Pool, call: str) -> None:
    pool.manage("shell", "--no-imports", "-c", SEND.format(call))


def steps(pool: Pool) -> list[str]:
    file = pool.directory / "steps"
    return file.read_text("utf-8").split() if file.exists() else []


def test_one_that_fails_is_retried_and_becomes_a_dead_letter(pool: Pool, read: Read) -> None:
    send(pool, "write_and_fail.send('try')")
    pool.start()
    wait_for(lambda: read(ROWS) == [("dead", 1, "ValueError: wrong")])
    assert read(GROUPS) == [("try 0",), ("try 1",)]  # outside the settling transaction


def test_no_attempt_begins_before_a_cancelled_one_has_ended(pool: Pool, read: Read) -> None:
    send(pool, "clean_up_slowly.send()")
    pool.start()
    wait_for(lambda: [row[:2] for row in read(ROWS)] == [("dead", 1)])
    assert steps(pool) == ["begun", "ended"] * 2
    assert read(ROWS)[0][2].startswith("TimeLimitExceeded")


def test_a_worker_that_stops_cancels_it_and_gives_its_message_back(pool: Pool, read: Read) -> None:
    send(pool, "wait_in_coroutine.send()")
    pool.start()
    wait_for(lambda: steps(pool) == ["begun"])
    pool.ask_to_stop()
    assert pool.wait() == 0
    assert [row[1] for row in read(ROWS)] == [0]
    pool.open_gate()
    pool.start()
    wait_for(lambda: read(ROWS) == [])
    assert steps(pool) == ["begun", "begun", "ended"]


def test_a_join_waits_for_what_is_not_in_rabbitmq_yet_and_spoils_no_queue(pool: Pool, read: Read) -> None:
    pool.start()
    pool.manage("shell", "--no-imports", "-c", JOIN)
    assert read(GROUPS) == [("one",), ("one noted",)]
    assert read(ROWS) == []
