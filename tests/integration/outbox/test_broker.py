"""Messages in a real RabbitMQ: their properties, their queues, and retries of a failing actor."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pika
import psycopg
import pytest
from dramatiq.errors import ConnectionClosed

from actors.outbox.amqp import topology
from actors.outbox.broker import OutboxRabbitmqBroker
from project.local.demo import CREATED, Walk
from project.local.servers.postgresql import PrivatePostgresql
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.stack import Stack

pytestmark = pytest.mark.integration


@pytest.fixture
def broker(rabbitmq: PrivateRabbitmq) -> Iterator[OutboxRabbitmqBroker]:
    broker = OutboxRabbitmqBroker(url=rabbitmq.url, middleware=[])
    yield broker
    broker.close()


def test_queues_are_durable_quorum_queues_with_their_final_arguments(rabbitmq_queues: dict[str, Any]) -> None:
    work, dead = rabbitmq_queues["activity"], rabbitmq_queues["activity.XQ"]
    assert work["durable"]
    assert dead["durable"]
    assert work["arguments"] == topology.work_queue_arguments("activity")
    assert dead["arguments"] == {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}


def test_a_message_is_legible_json_in_the_management_ui(
    walk: Walk, stack: Stack, management: httpx.Client, rabbitmq_queues: dict[str, Any]
) -> None:
    peeked: list[dict[str, Any]] = []

    def peek() -> bool:
        one = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
        peeked[:] = management.post("queues/%2F/activity/get", json=one).json()
        return bool(peeked)

    stack.supervisor.stop_program("worker")
    try:
        task = walk.client.post("tasks/", json={"title": "Yangi vazifa"}).json()
        assert wait_until(peek, timeout_seconds=30)
        [message] = peeked
    finally:
        stack.supervisor.start_program("worker")
    walk.wait_for_line(CREATED.format(**task))
    body = json.loads(message["payload"])
    assert message["payload_encoding"] == "string"
    assert message["properties"]["delivery_mode"] == 2
    assert (body["actor_name"], body["args"]) == ("log_task_creation", [task["id"], "Yangi vazifa", "user1"])


def test_a_queue_that_exists_with_other_arguments_is_refused(
    broker: OutboxRabbitmqBroker, rabbitmq: PrivateRabbitmq
) -> None:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        connection.channel().queue_declare("classic", durable=True)
        with pytest.raises(ConnectionClosed, match="inequivalent arg"):
            broker.declare_queue("classic", ensure=True)
        connection.channel().queue_delete("classic")


def test_no_queue_of_delays_is_declared(rabbitmq_queues: dict[str, Any]) -> None:
    assert "activity.DQ" not in rabbitmq_queues


def test_connections_say_which_process_they_are(
    walk: Walk, management: httpx.Client, rabbitmq_queues: dict[str, Any]
) -> None:
    walk.create()

    def names() -> set[str]:
        connections = management.get("connections").json()
        return {" ".join(one["client_properties"].get("connection_name", "").split()[:2]) for one in connections}

    assert wait_until(lambda: {"vazifa relay", "vazifa worker"} <= names(), timeout_seconds=30)


def test_a_failing_actor_is_retried_through_its_row_and_ends_as_a_dead_letter(
    stack: Stack, postgresql: PrivatePostgresql
) -> None:
    # An owner's name that no column holds fails in the database, at every attempt.
    send = "from actors.activity import log_task_creation as log;"
    send += "log.send_with_options(args=(1, 't', 'o' * 151), subject='test:dead', max_retries=2, min_backoff=10)"
    stack.manage("shell", "--no-imports", "-c", send)
    with psycopg.connect(postgresql.url("stack"), autocommit=True) as database:

        def row() -> tuple[Any, ...]:
            query = "SELECT state, attempt, reason, error FROM outbox_outboxmessage WHERE subject = 'test:dead'"
            return database.execute(query).fetchone() or ()

        assert wait_until(lambda: row()[:1] == ("dead",), timeout_seconds=60), row()
        assert row()[1:3] == (2, "retries exhausted")
        assert row()[3].startswith("DataError")
        database.execute("DELETE FROM outbox_outboxmessage WHERE subject = 'test:dead'")
