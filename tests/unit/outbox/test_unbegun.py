"""Messages whose actor is never begun, and those that came from elsewhere: their end is written down all the same."""

import json
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq import Broker, Message, MessageProxy, Middleware
from dramatiq.middleware import SkipMessage

from actors.outbox import store as statements
from actors.outbox.exceptions import Unsettled
from actors.outbox.models import OutboxMessage, State
from tests.unit.outbox.conftest import QUEUE, Bench
from tests.unit.outbox.scene import add, effects, lose_database, the_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]

# Dramatiq cannot even call an actor with this.
HOPELESS = {"self": 1}


class SkipAll(Middleware):
    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        raise SkipMessage("paused")


def deliver_foreign(bench: Bench, message: Message[Any]) -> str:
    """Deliver what no outbox has sent."""
    proxy = MessageProxy(message)
    bench.worker.work_queue.put(None)  # type: ignore[arg-type]  # process_message says that it is done with one
    bench.worker.process_message(proxy)
    return bench.consumer.ends[-1]


def test_what_cannot_be_called_is_retried_and_dies(bench: Bench, actor: Declare) -> None:
    actor(lambda **kwargs: None, max_retries=1).send_with_options(kwargs=HOPELESS)
    bench.deliver(the_row())
    assert (the_row().state, the_row().attempt) == (State.SCHEDULED, 1)
    bench.deliver(the_row())
    assert (the_row().state, the_row().reason) == (State.DEAD, "retries exhausted")
    assert the_row().error.startswith("TypeError")


@pytest.mark.parametrize("place", ["first", "last"])
def test_what_a_middleware_skips_is_done(bench: Bench, actor: Declare, place: str) -> None:
    broker, skip_all = dramatiq.get_broker(), SkipAll()
    actor(add).send()
    broker.middleware.insert(0 if place == "first" else len(broker.middleware), skip_all)
    try:
        assert bench.deliver(the_row()) == "ack"
    finally:
        broker.middleware.remove(skip_all)
    assert (effects(), OutboxMessage.objects.count()) == ([], 0)


def test_what_follows_a_skipped_message_is_settled_as_ever(bench: Bench, actor: Declare) -> None:
    one, skip_all = actor(add), SkipAll()
    one.send("skipped")
    dramatiq.get_broker().middleware.append(skip_all)
    try:
        bench.deliver(the_row())
    finally:
        dramatiq.get_broker().middleware.remove(skip_all)
    one.send("done")
    bench.deliver_all()
    assert effects() == ["done"]


def test_an_end_that_cannot_be_written_before_the_worker_stops_leaves_the_message_to_rabbitmq(
    bench: Bench, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor(lambda **kwargs: None).send_with_options(kwargs=HOPELESS)
    row = the_row()
    monkeypatch.setattr("actors.outbox.worker.execution.write_failure", lambda *arguments: lose_database())
    bench.stop()
    bench.deliver(row)
    assert isinstance(bench.consumer.errors[-1], Unsettled)
    assert the_row().attempt == 0


def test_a_foreign_message_that_fails_becomes_a_row_and_dies_as_one(bench: Bench, actor: Declare) -> None:
    one = actor(add, max_retries=1)
    foreign = one.message().copy(kwargs=HOPELESS)
    assert deliver_foreign(bench, foreign) == "ack"
    assert (the_row().state, json.loads(bytes(the_row().body))["options"]["retries"]) == (State.SCHEDULED, 1)
    for _ in range(2):
        bench.deliver(the_row())
    assert (the_row().state, the_row().attempt) == (State.DEAD, 1)


def test_a_foreign_message_that_fails_while_the_database_is_away_waits_for_it_and_is_counted_once(
    bench: Bench, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, failures = statements.insert, [1, 1]

    def fail_twice(**values: Any) -> None:
        if failures:
            failures.pop()
            lose_database()
        insert(**values)

    def work() -> None:
        raise ValueError("wrong")

    monkeypatch.setattr(statements, "insert", fail_twice)
    assert deliver_foreign(bench, actor(work).message()) == "ack"
    assert json.loads(bytes(the_row().body))["options"]["retries"] == 1


def test_a_foreign_message_is_not_acknowledged_by_a_worker_that_stops_while_the_database_is_away(
    bench: Bench, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        raise ValueError("wrong")

    monkeypatch.setattr(statements, "insert", lambda **values: lose_database())
    bench.stop()
    deliver_foreign(bench, actor(work).message())
    assert isinstance(bench.consumer.errors[-1], Unsettled)


def test_a_foreign_message_whose_retry_cannot_be_written_goes_among_the_dead_letters(
    bench: Bench, actor: Declare
) -> None:
    def work() -> None:
        raise ValueError("wrong")

    foreign = actor(work).message().copy(options={"broker_priority": 5})
    assert deliver_foreign(bench, foreign) == "nack"
    assert not OutboxMessage.objects.filter(queue=QUEUE).exists()
