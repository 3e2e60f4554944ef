"""What Dramatiq's broker for RabbitMQ can do besides sending and consuming, of rows in place of RabbitMQ's queues."""

import inspect
import re
import time
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from django.db import transaction
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import QueueJoinTimeout, QueueNotFound

from actors.outbox.broker import OutboxRabbitmqBroker
from actors.outbox.exceptions import NotSupported
from actors.outbox.models import OutboxMessage, State
from tests.unit.outbox.inline_worker import QUEUE

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

Declare = Callable[..., dramatiq.Actor[Any, Any]]


@pytest.fixture
def broker(closed_port: int) -> OutboxRabbitmqBroker:
    """A broker whose RabbitMQ is away."""
    broker = OutboxRabbitmqBroker(url=f"amqp://127.0.0.1:{closed_port}", middleware=[])
    broker.declare_queue(QUEUE)
    return broker


@pytest.fixture
def nothing(actor: Declare) -> dramatiq.Actor[Any, Any]:
    return actor(lambda: None)


@pytest.mark.parametrize("state", [State.PENDING, State.PUBLISHED, State.SCHEDULED])
def test_a_join_waits_for_each_row_of_its_queue_wherever_the_message_is(
    broker: OutboxRabbitmqBroker, nothing: dramatiq.Actor[Any, Any], state: State
) -> None:
    nothing.send()
    OutboxMessage.objects.update(state=state)
    with pytest.raises(QueueJoinTimeout):
        broker.join(QUEUE, idle_time=1, timeout=20)


def test_a_join_ends_when_all_are_settled_or_dead(
    broker: OutboxRabbitmqBroker, nothing: dramatiq.Actor[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        nothing.send()
    dead, settled = OutboxMessage.objects.all()
    OutboxMessage.objects.filter(pk=dead.pk).mark_dead("throws")
    pauses: list[float] = []

    def settle_in_the_second_pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            OutboxMessage.objects.filter(pk=settled.pk).delete()

    monkeypatch.setattr(time, "sleep", settle_in_the_second_pause)
    broker.join(QUEUE, min_successes=2, idle_time=1, timeout=30_000)
    assert broker.get_queue_message_counts(QUEUE) == (0, 0, 1)
    assert pauses == [0.001] * 3


def test_a_join_ignores_other_queues(broker: OutboxRabbitmqBroker, nothing: dramatiq.Actor[Any, Any]) -> None:
    nothing.send()
    broker.declare_queue("another")
    broker.join("another", timeout=0)


def test_a_join_that_could_not_end_is_refused(broker: OutboxRabbitmqBroker) -> None:
    with transaction.atomic(), pytest.raises(NotSupported, match="inside a transaction"):
        broker.join(QUEUE)
    with pytest.raises(QueueNotFound):
        broker.join("unknown")


def test_counts_are_those_of_rows(broker: OutboxRabbitmqBroker, nothing: dramatiq.Actor[Any, Any]) -> None:
    for state in (State.PENDING, State.PUBLISHED, State.PUBLISHED, State.SCHEDULED):
        nothing.send()
        OutboxMessage.objects.filter(pk=OutboxMessage.objects.latest("pk").pk).update(state=state)
    assert broker.get_queue_message_counts(QUEUE) == (3, 1, 0)
    assert broker.get_queue_message_counts("another") == (0, 0, 0)


def test_a_flush_is_refused_and_says_what_to_do(
    broker: OutboxRabbitmqBroker, nothing: dramatiq.Actor[Any, Any]
) -> None:
    nothing.send()
    for flush in (lambda: broker.flush(QUEUE), broker.flush_all):
        with pytest.raises(NotSupported, match="outbox cancel"):
            flush()
    assert OutboxMessage.objects.count() == 1


def test_there_are_no_queues_of_delays(broker: OutboxRabbitmqBroker) -> None:
    assert broker.get_declared_queues() == {QUEUE}
    assert broker.get_declared_delay_queues() == set()


def test_nothing_is_inherited_that_declares_or_purges_a_queue() -> None:
    touching = {
        name
        for name, each in inspect.getmembers(RabbitmqBroker, inspect.isfunction)
        if re.search(r"channel\.queue_|self\._?(declare|declare_dq|declare_xq|ensure)_queue\(", inspect.getsource(each))
    }
    private = {"_ensure_queue", "_declare_queue", "_declare_dq_queue", "_declare_xq_queue"}
    assert private < touching
    inherited = {name for name in touching if getattr(OutboxRabbitmqBroker, name) is getattr(RabbitmqBroker, name)}
    assert inherited == private, "of these, Dramatiq's other methods alone make use"
