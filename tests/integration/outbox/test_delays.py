"""Messages with a delay, and retries, run when they are due: no relay here sweeps before an hour is over."""

from collections.abc import Iterator
from typing import Any

import dramatiq
import pika
import pytest

from actors.outbox.amqp.connection import ReconnectingConnection
from actors.outbox.amqp.publisher import Publisher
from actors.outbox.models import AWAITING, OutboxMessage
from actors.outbox.relay import thread
from project.local.servers.rabbitmq import PrivateRabbitmq
from tests.integration.outbox.pool.process import Pool, wait_for

pytestmark = pytest.mark.integration

QUEUE = "delays"
SEND = (
    "from tests.integration.outbox.pool.countdown import count_down; count_down.send_with_options(args=(3,), delay=1)"
)


@pytest.fixture
def actor() -> Iterator[dramatiq.Actor[Any, Any]]:
    broker: Any = dramatiq.get_broker()
    actors, queues = dict(broker.actors), dict(broker.queues)
    yield dramatiq.actor(actor_name=QUEUE, queue_name=QUEUE)(lambda name: None)
    broker.actors.clear()
    broker.actors.update(actors)
    broker.queues.clear()
    broker.queues.update(queues)


@pytest.fixture
def relay(rabbitmq: PrivateRabbitmq, monkeypatch: pytest.MonkeyPatch) -> Iterator[thread.RelayThread]:
    """A relay in the test's own thread."""
    monkeypatch.setattr(thread, "SWEEP_SECONDS", 3_600.0)
    connection = ReconnectingConnection(addresses=[pika.URLParameters(rabbitmq.url)], client_name="relay of a test")
    monkeypatch.setattr(thread, "make_publisher", lambda: Publisher(connection))
    relay = thread.RelayThread()
    yield relay
    relay.publisher.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("database")
def test_rows_of_other_processes_are_published_when_each_is_due(
    actor: dramatiq.Actor[Any, Any], relay: thread.RelayThread, rabbitmq: PrivateRabbitmq
) -> None:
    for name, delay in (("third", 400), ("first", 0), ("second", 200)):
        actor.send_with_options(args=(name,), delay=delay)
    while OutboxMessage.objects.filter(state__in=AWAITING).exists():
        relay._sweep()
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        channel = connection.channel()
        bodies = [channel.basic_get(QUEUE, auto_ack=True)[2] for _ in range(3)]
        channel.queue_delete(QUEUE)
    assert [dramatiq.Message.decode(body).args for body in bodies] == [("first",), ("second",), ("third",)]


@pytest.fixture
def pool_variables() -> dict[str, str]:
    return {"DJANGO_SETTINGS_MODULE": "tests.integration.outbox.pool.unswept"}


def test_delays_and_retries_of_a_worker_wake_its_relay(pool: Pool) -> None:
    pool.manage("shell", "--no-imports", "-c", SEND)
    pool.start()
    wait_for(lambda: len(pool.begun()) == 8)
    assert pool.begun() == [3, 3, 2, 2, 1, 1, 0, 0]
