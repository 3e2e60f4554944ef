"""Messages whose actor never runs, and foreign messages: their outcome is written all the same."""

import json
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq import Broker, Message, MessageProxy, Middleware
from dramatiq.middleware import SkipMessage

from actors.outbox import store
from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.models import OutboxMessage, State
from tests.unit.outbox.inline_worker import InlineWorker
from tests.unit.outbox.race_steps import add_effect, effects, only_row, raise_database_away

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]

# Dramatiq cannot call an actor with this.
HOPELESS = {"self": 1}


class SkipAll(Middleware):
    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        raise SkipMessage("paused")


def deliver_foreign(inline_worker: InlineWorker, message: Message[Any]) -> str:
    """Deliver a message that no outbox has sent."""
    return inline_worker.run(MessageProxy(message))


def test_what_cannot_be_called_is_retried_and_dies(inline_worker: InlineWorker, actor: Declare) -> None:
    actor(lambda **kwargs: None, max_retries=1).send_with_options(kwargs=HOPELESS)
    inline_worker.deliver(only_row())
    assert (only_row().state, only_row().attempt) == (State.SCHEDULED, 1)
    inline_worker.deliver(only_row())
    assert (only_row().state, only_row().reason) == (State.DEAD, "retries exhausted")
    assert only_row().error.startswith("TypeError")


@pytest.mark.parametrize("place", ["first", "last"])
def test_what_a_middleware_skips_is_done(inline_worker: InlineWorker, actor: Declare, place: str) -> None:
    broker, skip_all = dramatiq.get_broker(), SkipAll()
    actor(add_effect).send()
    broker.middleware.insert(0 if place == "first" else len(broker.middleware), skip_all)
    try:
        assert inline_worker.deliver(only_row()) == "ack"
    finally:
        broker.middleware.remove(skip_all)
    assert (effects(), OutboxMessage.objects.count()) == ([], 0)


def test_a_message_after_a_skipped_one_is_settled_as_ever(inline_worker: InlineWorker, actor: Declare) -> None:
    one, skip_all = actor(add_effect), SkipAll()
    one.send("skipped")
    dramatiq.get_broker().middleware.append(skip_all)
    try:
        inline_worker.deliver(only_row())
    finally:
        dramatiq.get_broker().middleware.remove(skip_all)
    one.send("done")
    inline_worker.deliver_all()
    assert effects() == ["done"]


def test_an_outcome_that_cannot_be_written_before_the_worker_stops_leaves_the_message_for_redelivery(
    inline_worker: InlineWorker, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor(lambda **kwargs: None).send_with_options(kwargs=HOPELESS)
    row = only_row()
    monkeypatch.setattr("actors.outbox.worker.execution.write_failure", lambda *arguments: raise_database_away())
    inline_worker.stop()
    inline_worker.deliver(row)
    assert isinstance(inline_worker.errors[-1], LeaveForRedelivery)
    assert only_row().attempt == 0


def test_a_foreign_message_that_fails_becomes_a_row_and_dies_as_one(
    inline_worker: InlineWorker, actor: Declare
) -> None:
    one = actor(add_effect, max_retries=1)
    foreign = one.message().copy(kwargs=HOPELESS)
    assert deliver_foreign(inline_worker, foreign) == "ack"
    assert (only_row().state, json.loads(bytes(only_row().body))["options"]["retries"]) == (State.SCHEDULED, 1)
    for _ in range(2):
        inline_worker.deliver(only_row())
    assert (only_row().state, only_row().attempt) == (State.DEAD, 1)


def test_a_foreign_message_that_fails_while_the_database_is_away_waits_for_it_and_is_counted_once(
    inline_worker: InlineWorker, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, failures = store.insert, [1, 1]

    def fail_twice(**values: Any) -> None:
        if failures:
            failures.pop()
            raise_database_away()
        insert(**values)

    def work() -> None:
        raise ValueError("wrong")

    monkeypatch.setattr(store, "insert", fail_twice)
    assert deliver_foreign(inline_worker, actor(work).message()) == "ack"
    assert json.loads(bytes(only_row().body))["options"]["retries"] == 1


def test_a_foreign_message_is_not_acknowledged_by_a_worker_that_stops_while_the_database_is_away(
    inline_worker: InlineWorker, actor: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work() -> None:
        raise ValueError("wrong")

    monkeypatch.setattr(store, "insert", lambda **values: raise_database_away())
    inline_worker.stop()
    deliver_foreign(inline_worker, actor(work).message())
    assert isinstance(inline_worker.errors[-1], LeaveForRedelivery)


def test_a_foreign_message_whose_retry_cannot_be_written_goes_among_the_dead_letters(
    inline_worker: InlineWorker, actor: Declare
) -> None:
    def work() -> None:
        raise ValueError("wrong")

    foreign = actor(work).message().copy(options={"broker_priority": 5})
    assert deliver_foreign(inline_worker, foreign) == "nack"
    assert (only_row().state, only_row().reason) == (State.DEAD, "foreign")
