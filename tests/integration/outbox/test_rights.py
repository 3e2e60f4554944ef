"""A user of RabbitMQ that lacks a right: what it may not declare it uses as it is, and what it may not use is told."""

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import dramatiq
import pika
import pytest
from dramatiq.errors import ConnectionClosed

from actors.outbox.amqp import connection, topology
from actors.outbox.amqp.connection import ReconnectingConnection
from actors.outbox.amqp.pika_internals import TimeLimitedConnection
from actors.outbox.amqp.publisher import Outcome, Outgoing, Publisher
from actors.outbox.broker import OutboxRabbitmqBroker
from actors.outbox.maintenance.upkeep import collect_dead_letters
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

NOTHING = "^$"
DEADLINE_SECONDS = 60.0
MISSING = "hint='declare it, durable, with the arguments "


@pytest.fixture
def queue() -> str:
    return f"rights-{uuid4().hex[:8]}"


@pytest.fixture
def url_with_rights(rabbitmq: PrivateRabbitmq) -> Iterator[Callable[..., str]]:
    """Make a user with these rights, and return the address with them."""

    def make(*, configure: str = ".*", write: str = ".*", read: str = ".*") -> str:
        rabbitmq.rabbitmqctl("add_user", "limited", "secret")
        rabbitmq.rabbitmqctl("set_permissions", "limited", configure, write, read)
        return f"amqp://limited:secret@127.0.0.1:{rabbitmq.amqp_port}/"

    yield make
    rabbitmq.rabbitmqctl("delete_user", "limited")


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the outbox has logged, information apart."""
    caplog.set_level(logging.INFO, "actors.outbox")
    return lambda: [
        f"{one.levelname} {one.getMessage()}"
        for one in caplog.records
        if one.name.startswith("actors.outbox") and one.levelno >= logging.WARNING
    ]


@pytest.fixture
def upkeep_at() -> Iterator[Callable[[str], TimeLimitedConnection]]:
    """Open upkeep's connection."""
    opened = []

    def open_at(url: str) -> TimeLimitedConnection:
        opened.append(TimeLimitedConnection([pika.URLParameters(url)], heartbeat_seconds=60))
        return opened[-1]

    yield open_at
    for each in opened:
        each.close_quickly()


def declare(node: PrivateRabbitmq, queue: str) -> None:
    """Declare a queue as an operator with all rights does, and wait until it accepts a message."""
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        topology.declare(connection, queue)
        channel = connection.channel()
        channel.confirm_delivery()

        def accepts() -> bool:
            try:
                channel.basic_publish("", queue, b"{}")
            except pika.exceptions.NackError:
                return False
            return True

        assert wait_until(accepts, timeout_seconds=DEADLINE_SECONDS)


def publish(publisher: Publisher, queue: str) -> Outcome:
    publisher.run(0.1)
    message = Outgoing(key=1, queue=queue, body=b"{}", properties=pika.BasicProperties())
    return publisher.publish([message], timeout_seconds=20, on_wait=lambda: None)


def becomes_ready(publisher: Publisher) -> bool:
    def turn() -> bool:
        publisher.run(0.1)
        return publisher.is_ready()

    return wait_until(turn, timeout_seconds=DEADLINE_SECONDS)


def publisher_at(url: str) -> Publisher:
    return Publisher(ReconnectingConnection(addresses=[pika.URLParameters(url)], client_name="relay of a test"))


def test_without_the_right_to_configure_every_part_uses_the_queues_as_they_are_and_says_so_once(
    rabbitmq: PrivateRabbitmq,
    queue: str,
    url_with_rights: Callable[..., str],
    upkeep_at: Callable[[str], TimeLimitedConnection],
    warnings: Callable[[], list[str]],
) -> None:
    declare(rabbitmq, queue)
    # The least, as docs/operations.md has them.
    url = url_with_rights(configure=NOTHING, write=r"^amq\.default$", read=rf"^({queue})(\.XQ)?$")
    broker = OutboxRabbitmqBroker(url=url, middleware=[])
    broker.declare_queue(queue, ensure=True)
    consumer: Any = broker.consume(queue, timeout=100)
    assert wait_until(lambda: (next(consumer), consumer.channel.consumer_tags)[1], timeout_seconds=DEADLINE_SECONDS)
    consumer.close()
    publisher = publisher_at(url)
    assert wait_until(lambda: publish(publisher, queue).confirmed == [1], timeout_seconds=DEADLINE_SECONDS)
    publisher.close()
    rabbit = upkeep_at(url)
    assert topology.count_ready(rabbit, queue) >= 0
    collect_dead_letters(rabbit, queue)
    assert not any("unavailable" in one for one in warnings())
    [line] = [one for one in warnings() if "is used as it is" in one]
    assert re.match(f"WARNING queue={queue} .* its arguments cannot be checked reason=.ACCESS_REFUSED - ", line)


def test_a_missing_queue_that_the_user_may_not_declare_is_told_with_what_to_do(
    rabbitmq: PrivateRabbitmq,
    queue: str,
    url_with_rights: Callable[..., str],
    upkeep_at: Callable[[str], TimeLimitedConnection],
    warnings: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topology, "AGAIN_AFTER_SECONDS", 0.0)
    url = url_with_rights(configure=NOTHING)
    broker = OutboxRabbitmqBroker(url=url, middleware=[])
    publisher = publisher_at(url)
    assert becomes_ready(publisher)
    for _ in range(3):
        with pytest.raises(ConnectionClosed, match=MISSING):
            broker.consume(queue)
        assert publish(publisher, queue).unknown == [1]
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        topology.count_ready(upkeep_at(url), queue)
    [line] = warnings()
    told = f"ERROR queue {queue} unavailable for='consumer of {queue}' queue={queue}.XQ reason=.NOT_FOUND - "
    assert re.match(told, line)
    assert MISSING in line
    declare(rabbitmq, queue)
    consumer = broker.consume(queue, timeout=100)
    next(iter(consumer))
    consumer.close()
    assert wait_until(lambda: publish(publisher, queue).confirmed == [1], timeout_seconds=DEADLINE_SECONDS)
    publisher.close()


@pytest.mark.parametrize("lacking", ["read", "write"])
def test_a_right_that_is_missing_later_is_told_once(
    rabbitmq: PrivateRabbitmq,
    queue: str,
    lacking: str,
    url_with_rights: Callable[..., str],
    warnings: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(connection, "MAX_BACKOFF_SECONDS", 0.1)
    declare(rabbitmq, queue)
    url = url_with_rights(configure=NOTHING, **{lacking: NOTHING})
    broker, publisher = OutboxRabbitmqBroker(url=url, middleware=[]), publisher_at(url)
    if lacking == "read":
        for _ in range(3):
            consumer = broker.consume(queue, timeout=100)
            with pytest.raises(ConnectionClosed):
                next(iter(consumer))
            consumer.close()
    else:
        for _ in range(3):
            assert becomes_ready(publisher)
            assert publish(publisher, queue).unknown == [1]
    publisher.close()
    told = [one for one in warnings() if "is used as it is" not in one]
    assert len(told) == 1
    assert re.search("unavailable for='(relay|consumer of .*)' .*ACCESS_REFUSED", told[0])
    assert "available again" not in caplog.text


@pytest.fixture(autouse=True)
def admitted(settings: Any) -> Iterator[None]:
    """Admit the messages of these tests, which have no rows; they are no messages."""
    settings.OUTBOX_FOREIGN_MESSAGES = True
    before = dramatiq.get_broker()
    yield
    dramatiq.set_broker(before)
