"""Messages on their way through a real RabbitMQ: how they look, where they wait, what happens when it is away."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import httpx
import pika
import pytest
from dramatiq.errors import ConnectionClosed

from actors.outbox import queues
from actors.outbox.broker import ConfirmedRabbitmqBroker
from project.demo import CREATED, Walk
from project.servers.process import wait_until
from project.servers.rabbitmq import PrivateRabbitmq
from project.stack import Stack

pytestmark = pytest.mark.integration


@pytest.fixture
def broker(rabbitmq: PrivateRabbitmq) -> Iterator[ConfirmedRabbitmqBroker]:
    broker = ConfirmedRabbitmqBroker(url=rabbitmq.url, middleware=[])
    yield broker
    broker.close()


@pytest.fixture
def queue(broker: ConfirmedRabbitmqBroker, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a declared queue of the test's own."""
    name = request.node.name[:100]
    broker.declare_queue(name, ensure=True)
    yield name
    for each in (name, f"{name}.DQ", f"{name}.XQ"):
        broker.channel.queue_delete(each)


def message_to(queue: str) -> dramatiq.Message[Any]:
    return dramatiq.Message(queue_name=queue, actor_name="nobody", args=(1,), kwargs={}, options={})


def waiting(broker: ConfirmedRabbitmqBroker, queue: str) -> int:
    return int(broker.channel.queue_declare(queue, passive=True).method.message_count)


def test_queues_are_durable_quorum_queues_with_their_final_arguments(rabbitmq_queues: dict[str, Any]) -> None:
    work, dead = rabbitmq_queues["activity"], rabbitmq_queues["activity.XQ"]
    assert work["durable"]
    assert dead["durable"]
    assert work["arguments"] == queues.work_queue_arguments("activity")
    assert dead["arguments"] == {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}


def test_a_message_is_legible_json_in_the_management_ui(
    walk: Walk, stack: Stack, management: httpx.Client, rabbitmq_queues: dict[str, Any]
) -> None:
    stack.supervisor.stop_program("worker")
    task = walk.client.post("tasks/", json={"title": "Yangi vazifa"}).json()
    peek = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
    [message] = management.post("queues/%2F/activity/get", json=peek).json()
    stack.supervisor.start_program("worker")
    walk.wait_for_line(CREATED.format(**task))
    body = json.loads(message["payload"])
    assert message["payload_encoding"] == "string"
    assert message["properties"]["delivery_mode"] == 2
    assert (body["actor_name"], body["args"]) == ("log_task_creation", [task["id"], "Yangi vazifa", "user1"])


def test_a_queue_that_was_deleted_is_declared_again_and_the_message_is_not_lost(
    broker: ConfirmedRabbitmqBroker, queue: str
) -> None:
    broker.channel.queue_delete(queue)
    broker.enqueue(message_to(queue))
    assert wait_until(lambda: waiting(broker, queue) == 1, timeout_seconds=10)


def test_a_queue_that_exists_with_other_arguments_is_refused(
    broker: ConfirmedRabbitmqBroker, rabbitmq: PrivateRabbitmq
) -> None:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        connection.channel().queue_declare("classic", durable=True)
        with pytest.raises(ConnectionClosed, match="inequivalent arg"):
            broker.declare_queue("classic", ensure=True)
        connection.channel().queue_delete("classic")


def test_threads_that_come_and_go_share_one_connection(
    broker: ConfirmedRabbitmqBroker, queue: str, all_of: Callable[[list[threading.Thread]], None]
) -> None:
    all_of([threading.Thread(target=broker.enqueue, args=(message_to(queue),)) for _ in range(30)])
    assert wait_until(lambda: waiting(broker, queue) == 30, timeout_seconds=10)
    assert len(broker.connections) == 1


@pytest.fixture
def all_of() -> Callable[[list[threading.Thread]], None]:
    def run(threads: list[threading.Thread]) -> None:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run


def test_a_create_succeeds_while_rabbitmq_is_away_and_the_loss_is_logged(
    stack: Stack, walk: Walk, tmp_path: Path, closed_port: int
) -> None:
    log = tmp_path / "debug.log"
    variables = {**stack.variables, "LOG_FILE": str(log)}
    create = (
        "from django.contrib.auth.models import User; from tasks.models import Task;"
        "print(Task.objects.create(title='Yolg\\'iz vazifa', owner=User.objects.get(username='user1')).pk)"
    )
    alone = Stack(
        directory=tmp_path,
        port=stack.port,
        rabbitmq_url=f"amqp://guest:guest@127.0.0.1:{closed_port}/",
        variables=variables,
    )
    task_id = int(alone.manage("shell", "--no-imports", "-c", create).split()[-1])
    assert walk.client.get(f"tasks/{task_id}/").json()["title"] == "Yolg'iz vazifa"
    assert "ConnectionClosed" in log.read_text()
