"""A worker's consumer declares its queue again and again, to a real RabbitMQ that refuses it or has lost it."""

import logging
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dramatiq
import httpx
import pika
import pytest
from dramatiq.worker import Worker
from pytest_django import Settings

from actors.outbox.amqp import topology
from actors.outbox.amqp.connection import ReconnectingConnection
from actors.outbox.amqp.publisher import Outgoing, Publisher
from actors.outbox.broker import OutboxRabbitmqBroker
from actors.outbox.exceptions import LeaveForRedelivery
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

DEADLINE_SECONDS = 60.0


@dataclass(kw_only=True)
class Pool:
    """A worker with one actor that records the messages it is sent, and a publisher to its queue."""

    node: PrivateRabbitmq
    queue: str
    threads: int = 1
    processed: list[int] = field(default_factory=list)
    work: Callable[[int], None] = lambda number: None

    def __post_init__(self) -> None:
        self.broker = OutboxRabbitmqBroker(url=self.node.url, middleware=[])
        self.actor = dramatiq.actor(actor_name="process", queue_name=self.queue, broker=self.broker)(self.process)
        self.worker = Worker(self.broker, worker_threads=self.threads, worker_timeout=50)

    def process(self, number: int) -> None:
        self.work(number)
        self.processed.append(number)

    @contextmanager
    def publishing(self) -> Iterator[Callable[[int], bool]]:
        publisher = Publisher(
            ReconnectingConnection(addresses=[pika.URLParameters(self.node.url)], client_name="relay of a test")
        )

        def publish(number: int) -> bool:
            publisher.run(0.1)
            body = self.actor.message(number).encode()
            message = Outgoing(key=number, queue=self.queue, body=body, properties=pika.BasicProperties())
            return bool(publisher.publish([message], timeout_seconds=5, on_wait=lambda: None).confirmed)

        try:
            yield publish
        finally:
            publisher.close()

    def send(self, *numbers: int) -> None:
        with self.publishing() as publish:
            for number in numbers:
                wait_for(lambda number=number: publish(number))  # type: ignore[misc]

    @contextmanager
    def running(self) -> Iterator["Pool"]:
        self.worker.start()
        try:
            yield self
        finally:
            self.worker.stop()
            self.broker.close()


def wait_for(condition: Callable[[], bool]) -> None:
    assert wait_until(condition, timeout_seconds=DEADLINE_SECONDS)


def ready(node: PrivateRabbitmq, queue: str) -> int:
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        return int(connection.channel().queue_declare(queue, passive=True).method.message_count)


@pytest.fixture(autouse=True)
def admitted(settings: Any) -> None:
    """Admit the messages of these tests, which have no rows."""
    settings.OUTBOX_FOREIGN_MESSAGES = True


@pytest.fixture(autouse=True)
def impatient_consumers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.2)


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W+", "_", request.node.name)[:80]


@pytest.mark.parametrize("queue_type", ["quorum", "classic"])
def test_publisher_and_consumer_work_with_either_kind_of_queue(
    rabbitmq: PrivateRabbitmq, management: httpx.Client, settings: Settings, queue: str, queue_type: str
) -> None:
    settings.OUTBOX_QUEUE_TYPE = queue_type
    with Pool(node=rabbitmq, queue=queue).running() as pool:
        pool.send(1, 2)
        wait_for(lambda: sorted(pool.processed) == [1, 2])
    found = {one["name"]: one for one in management.get("queues").json()}
    assert [found[name]["type"] for name in (queue, f"{queue}.XQ")] == [queue_type] * 2
    assert found[queue]["arguments"] == topology.work_queue_arguments(queue)
    assert ready(rabbitmq, queue) == 0


def test_a_consumer_has_one_connection_and_no_other_beside_it(
    rabbitmq: PrivateRabbitmq, management: httpx.Client, queue: str
) -> None:
    def names() -> list[str]:
        found = [one.get("client_properties", {}) for one in management.get("connections").json()]
        return [one.get("connection_name", "") for one in found]

    with Pool(node=rabbitmq, queue=queue).running() as pool:
        wait_for(lambda: any(name.endswith(f"queue={queue}") for name in names()))
        assert pool.broker.connections == set()
        assert len([name for name in names() if name.endswith(f"queue={queue}")]) == 1


def test_a_queue_that_exists_with_other_arguments_is_logged_until_it_is_mended(
    rabbitmq: PrivateRabbitmq, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    def refusals() -> list[logging.LogRecord]:
        return [one for one in caplog.records if "move what it holds and delete it" in one.getMessage()]

    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        connection.channel().queue_declare(queue, durable=True, arguments={"x-queue-type": "classic"})
        with Pool(node=rabbitmq, queue=queue).running() as pool:
            wait_for(lambda: len(refusals()) > 1)
            connection.channel().queue_delete(queue)
            pool.send(1)
            wait_for(lambda: pool.processed == [1])
    assert all(one.exc_info is None and f"queue={queue} argument=" in one.getMessage() for one in refusals())


def test_what_is_unsettled_is_redelivered_when_its_worker_ends(rabbitmq: PrivateRabbitmq, queue: str) -> None:
    begun = threading.Event()

    def leave(number: int) -> None:
        begun.set()
        raise LeaveForRedelivery

    with Pool(node=rabbitmq, queue=queue, work=leave).running() as pool:
        pool.send(1)
        wait_for(begun.is_set)
        wait_for(lambda: pool.worker.work_queue.unfinished_tasks == 0)
        assert ready(rabbitmq, queue) == 0
    wait_for(lambda: ready(rabbitmq, queue) == 1)
    with Pool(node=rabbitmq, queue=queue).running() as other:
        wait_for(lambda: other.processed == [1])


@pytest.mark.heavy
def test_a_node_that_lost_its_disk_gets_its_queues_again_from_the_workers(
    rabbitmq: PrivateRabbitmq, queue: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory: Any = tmp_path_factory.mktemp("declarations")
    node = PrivateRabbitmq(installation=rabbitmq.installation, directory=directory, plugins=())
    with node, Pool(node=node, queue=queue).running() as pool:
        pool.send(1)
        wait_for(lambda: pool.processed == [1])
        node.stop()
        shutil.rmtree(node.files.data)
        node.start()
        with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:

            def has_consumer() -> bool:
                try:
                    return bool(connection.channel().queue_declare(queue, passive=True).method.consumer_count)
                except pika.exceptions.ChannelClosedByBroker:
                    return False

            wait_for(has_consumer)
        pool.send(2)
        wait_for(lambda: pool.processed == [1, 2])
