"""Of several addresses of RabbitMQ, those that refuse or do not answer are passed over by every kind of connection."""

import socket
from collections.abc import Iterator

import dramatiq
import pytest

from actors.outbox import broker as broker_module
from actors.outbox.amqp.connection import ReconnectingConnection
from actors.outbox.amqp.publisher import Publisher
from actors.outbox.broker import OutboxRabbitmqBroker
from actors.outbox.maintenance.upkeep import connect_to_broker
from actors.outbox.worker.consumer import OutboxConsumer
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq

pytestmark = pytest.mark.integration

TIMEOUT_SECONDS = 3.0


@pytest.fixture
def broker(
    rabbitmq: PrivateRabbitmq, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[OutboxRabbitmqBroker]:
    """A broker with four addresses, of which the last answers; they are tried in this order."""
    monkeypatch.setattr("random.sample", lambda addresses, count: list(addresses))
    monkeypatch.setattr(broker_module, "CONNECT_TIMEOUT_SECONDS", TIMEOUT_SECONDS)
    before = dramatiq.get_broker()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        lost = [f"amqp://127.0.0.1:{port}/" for port in (closed_port, silent.getsockname()[1])]
        broker = OutboxRabbitmqBroker(url=";".join(["amqp://gone.invalid/", *lost, rabbitmq.url]), middleware=[])
        dramatiq.set_broker(broker)
        yield broker
        dramatiq.set_broker(before)


@pytest.mark.django_db
def test_a_worker_consumes_from_the_address_that_answers(
    broker: OutboxRabbitmqBroker, request: pytest.FixtureRequest
) -> None:
    consumer = broker.consume(request.node.name)
    assert isinstance(consumer, OutboxConsumer)
    assert consumer.connection.is_open
    consumer.close()


def test_a_relay_publishes_to_the_address_that_answers(broker: OutboxRabbitmqBroker) -> None:
    connection = ReconnectingConnection(
        addresses=broker.parameters, client_name="relay of a test", connect_timeout_seconds=TIMEOUT_SECONDS
    )
    publisher = Publisher(connection)

    def becomes_ready() -> bool:
        publisher.run(0.1)
        return publisher.is_ready()

    assert wait_until(becomes_ready, timeout_seconds=60)
    publisher.close()


def test_upkeep_looks_at_the_address_that_answers(broker: OutboxRabbitmqBroker) -> None:
    connection = connect_to_broker(period_seconds=1)
    assert connection.is_open
    connection.close_quickly()
