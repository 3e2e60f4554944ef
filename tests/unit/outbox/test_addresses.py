"""The addresses of RabbitMQ mean the same for every part that reads them."""

from typing import Any

import pytest

from actors.outbox.broker import OutboxRabbitmqBroker
from actors.outbox.management.commands import outbox as command

CLUSTER = "amqps://one/;amqp://two/;amqps://three:5700/"


def test_without_a_port_an_encrypted_address_means_5671(monkeypatch: pytest.MonkeyPatch) -> None:
    broker: Any = OutboxRabbitmqBroker(url=CLUSTER, middleware=[])
    assert [(each.host, each.port) for each in broker.parameters] == [("one", 5671), ("two", 5672), ("three", 5700)]
    monkeypatch.setattr("dramatiq.get_broker", lambda: broker)
    assert command._address() == " at one:5671, two:5672, three:5700"
