"""Upkeep of a real RabbitMQ that loses messages, is wiped or is frozen."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import httpx
import pika
import pytest
from pytest_django import Settings

from actors.outbox.amqp.connection import ReconnectingConnection
from actors.outbox.amqp.outage import CANNOT_CONNECT
from actors.outbox.amqp.pika_internals import TimeLimitedConnection
from actors.outbox.amqp.publisher import Publisher
from actors.outbox.amqp.topology import count_ready, dead_letter_queue
from actors.outbox.maintenance.upkeep import Upkeep, UpkeepThread
from actors.outbox.models import OutboxMessage, State
from actors.outbox.relay.relay import Relay
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

DEADLINE_SECONDS = 60.0


@pytest.fixture(scope="module")
def node(rabbitmq: PrivateRabbitmq, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitmq]:
    """A node that these tests may break; each repairs it."""
    directory = tmp_path_factory.mktemp("upkeep")
    with PrivateRabbitmq(installation=rabbitmq.installation, directory=directory, plugins=()) as node:
        yield node


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    return str(request.node.name)[:80]


@pytest.fixture
def send(queue: str) -> Iterator[Callable[[int], None]]:
    """Commit messages to the test's queue."""
    broker: Any = dramatiq.get_broker()
    actors, queues = dict(broker.actors), dict(broker.queues)
    actor = dramatiq.actor(actor_name=queue, queue_name=queue)(lambda: None)

    def send(count: int) -> None:
        for _ in range(count):
            actor.send()

    yield send
    broker.actors.clear()
    broker.actors.update(actors)
    broker.queues.clear()
    broker.queues.update(queues)


@pytest.fixture
def line(rabbitmq: PrivateRabbitmq) -> Iterator[TimeLimitedConnection]:
    line = connect(rabbitmq)
    yield line
    line.close_quickly()


@pytest.fixture
def upkeep(settings: Settings) -> Iterator[Callable[[PrivateRabbitmq], Upkeep]]:
    """Make the upkeep of a node, with a tiny margin before repair."""
    settings.OUTBOX_REPAIR_AFTER_SECONDS = 0.01
    made: list[Upkeep] = []

    def make(node: PrivateRabbitmq) -> Upkeep:
        made.append(Upkeep(connect=lambda: connect(node)))
        return made[-1]

    yield make
    for one in made:
        one.disconnect()


def connect(node: PrivateRabbitmq) -> TimeLimitedConnection:
    return TimeLimitedConnection([pika.URLParameters(node.url)], heartbeat_seconds=60)


def carry(node: PrivateRabbitmq) -> None:
    """Publish all due messages."""
    publisher = Publisher(
        ReconnectingConnection(addresses=[pika.URLParameters(node.url)], client_name="relay of a test")
    )
    relay = Relay(publisher=publisher)

    def all_is_published() -> bool:
        publisher.run(0.1)
        relay.step()
        return states() == {State.PUBLISHED}

    try:
        assert wait_until(all_is_published, timeout_seconds=DEADLINE_SECONDS), states()
    finally:
        publisher.close()


def states() -> set[str]:
    return set(OutboxMessage.objects.values_list("state", flat=True))


def step_until(upkeep: Upkeep, condition: Callable[[], bool]) -> None:
    def step_and_look() -> bool:
        upkeep.step()
        return condition()

    assert wait_until(step_and_look, timeout_seconds=DEADLINE_SECONDS), states()


def wait_for_ready(line: TimeLimitedConnection, queue: str, count: int) -> None:
    assert wait_until(lambda: count_ready(line, queue) == count, timeout_seconds=DEADLINE_SECONDS)


def test_what_was_purged_is_published_again_and_a_queue_that_is_not_empty_never_grows(
    rabbitmq: PrivateRabbitmq, line: TimeLimitedConnection, send: Callable[[int], None], queue: str, upkeep: Any
) -> None:
    send(3)
    carry(rabbitmq)
    wait_for_ready(line, queue, 3)
    line.channel().queue_purge(queue)
    wait_for_ready(line, queue, 0)
    keeper = upkeep(rabbitmq)
    step_until(keeper, lambda: states() == {State.PENDING})
    carry(rabbitmq)
    wait_for_ready(line, queue, 3)
    for _ in range(5):
        keeper.step()
    assert states() == {State.PUBLISHED}
    assert count_ready(line, queue) == 3


def test_a_node_that_lost_its_disk_gets_its_queues_and_its_messages_again(
    node: PrivateRabbitmq, send: Callable[[int], None], queue: str, upkeep: Any
) -> None:
    send(3)
    carry(node)
    node.stop()
    shutil.rmtree(node.files.data)
    node.start()
    step_until(upkeep(node), lambda: states() == {State.PENDING})
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        for name in (queue, dead_letter_queue(queue)):
            connection.channel().queue_declare(name, passive=True)
    carry(node)
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        wait_for_ready(connection, queue, 3)


def test_a_frozen_node_is_given_up_and_looked_at_again_when_it_answers(
    node: PrivateRabbitmq, send: Callable[[int], None], upkeep: Any
) -> None:
    send(1)
    keeper = upkeep(node)
    assert keeper.step()
    node.freeze()
    try:
        with pytest.raises(CANNOT_CONNECT):
            keeper.step()
    finally:
        node.thaw()
    assert keeper.step()


def test_a_wait_for_a_frozen_node_ends_soon_when_another_thread_aborts_it(node: PrivateRabbitmq) -> None:
    line = connect(node)
    line.timeout_seconds = 10 * DEADLINE_SECONDS
    node.freeze()
    try:
        line.abort_soon()
        with pytest.raises(TimeoutError):
            line.channel()
    finally:
        node.thaw()
    assert not line.is_open


def test_abort_soon_harms_no_connection_that_is_closed_and_no_close_handshake(rabbitmq: PrivateRabbitmq) -> None:
    line = connect(rabbitmq)
    line.abort_soon()
    line.close()
    line.abort_soon()
    line.close_quickly()
    assert line.is_closed


def test_a_dead_letter_becomes_a_row_and_a_missing_queue_of_them_comes_back(
    rabbitmq: PrivateRabbitmq, line: TimeLimitedConnection, send: Callable[[int], None], queue: str, upkeep: Any
) -> None:
    keeper = upkeep(rabbitmq)
    send(1)
    OutboxMessage.objects.all().delete()
    keeper.step()
    dead_letters = dead_letter_queue(queue)
    line.channel().basic_publish("", dead_letters, b"no message")
    step_until(keeper, lambda: states() == {State.DEAD})


def test_of_all_processes_of_the_service_one_has_a_connection_for_this(stack: Stack, management: httpx.Client) -> None:
    def names() -> list[str]:
        found = [one.get("client_properties", {}) for one in management.get("connections").json()]
        return [one.get("connection_name", "") for one in found]

    httpx.get(stack.url, timeout=30)
    assert wait_until(lambda: any(name.startswith("vazifa upkeep") for name in names()), timeout_seconds=30)
    assert len([name for name in names() if name.startswith("vazifa upkeep")]) == 1


def test_a_thread_survives_a_rabbitmq_that_is_not_there_and_says_so_once(
    closed_port: int, send: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    send(1)
    nowhere = pika.URLParameters(f"amqp://127.0.0.1:{closed_port}/")
    thread = UpkeepThread(lambda: TimeLimitedConnection([nowhere], heartbeat_seconds=60), period_seconds=1)
    for _ in range(3):
        thread.step()
    logged = [one.getMessage() for one in caplog.records if one.name.startswith("actors.outbox")]
    assert len(logged) == 1
    assert logged[0].startswith("rabbitmq unavailable for='upkeep'")
