"""Every message that a real RabbitMQ dead-letters, for each of its reasons, becomes a row: none is lost or doubled."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import dramatiq
import pika
import pytest
from django.db.models.functions import Now
from django.utils import timezone
from dramatiq.worker import Worker
from pytest_django import Settings

from actors.outbox import envelope
from actors.outbox.amqp import topology
from actors.outbox.broker import OutboxRabbitmqBroker
from actors.outbox.dead_letters import collector, decisions
from actors.outbox.log_limit import limit_lines
from actors.outbox.models import Operator, OutboxMessage, State
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("database")]

DEADLINE_SECONDS = 60.0
GARBAGE = b"\xff\x00 no message"


@dataclass
class Scene:
    """A queue with its queue of dead letters, a publisher, a consumer and a collector."""

    queue: str

    connection: Any

    def __post_init__(self) -> None:
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()
        self.collecting = self.connection.channel()

    def declare(self, **different: Any) -> None:
        dead_letters = topology.dead_letter_queue(self.queue)
        self.channel.queue_declare(dead_letters, durable=True, arguments=topology.dead_letter_queue_arguments())
        arguments = topology.work_queue_arguments(self.queue) | different
        self.channel.queue_declare(self.queue, durable=True, arguments=arguments)

    def publish(self, body: bytes, properties: Any = None) -> None:
        """Publish again until it is confirmed: RabbitMQ refuses messages while a quorum queue is being created."""

        def is_taken() -> bool:
            try:
                self.channel.basic_publish("", self.queue, body, properties, mandatory=True)
            except (pika.exceptions.NackError, pika.exceptions.UnroutableError):
                return False
            return True

        self.wait_for(is_taken)

    def publish_row(self, row: OutboxMessage) -> None:
        outgoing = envelope.to_amqp(row)
        self.publish(outgoing.body, outgoing.properties)

    def take(self) -> int:
        """Take a message as a worker would; return its delivery tag."""
        taken: list[int] = []

        def got() -> bool:
            method, _, _ = self.channel.basic_get(self.queue)
            if method is not None:
                taken.append(method.delivery_tag)
            return bool(taken)

        self.wait_for(got)
        return taken[0]

    def reject(self) -> None:
        self.channel.basic_reject(self.take(), requeue=False)

    def collect(self, count: int = 1) -> None:
        """Collect until as many dead letters were collected."""
        collected = 0

        def came() -> bool:
            nonlocal collected
            collected += collector.collect(self.collecting, self.queue, at_most=10)
            return collected >= count

        self.wait_for(came)
        assert collected == count

    def wait_for(self, condition: Callable[[], bool]) -> None:
        assert wait_until(condition, timeout_seconds=DEADLINE_SECONDS)


@pytest.fixture
def scene(rabbitmq: PrivateRabbitmq) -> Iterator[Scene]:
    # Its queues stay: RabbitMQ 3.10 may crash when a queue that dead-letters at least once is deleted.
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq.url))
    yield Scene(queue=f"dead-{uuid4().hex[:8]}", connection=connection)
    if connection.is_open:
        connection.close()


@pytest.fixture
def send(scene: Scene) -> Iterator[Callable[[], OutboxMessage]]:
    """Send a message of an actor of the scene's queue, and return its row."""
    broker = dramatiq.get_broker()
    before = dict(broker.actors)

    def work() -> None:
        pass

    actor = dramatiq.actor(actor_name="known", queue_name=scene.queue)(work)

    def one() -> OutboxMessage:
        actor.send()
        return OutboxMessage.objects.latest("pk")

    yield one
    broker.actors.clear()
    broker.actors.update(before)


@pytest.fixture
def worker(scene: Scene, rabbitmq: PrivateRabbitmq) -> Iterator[Callable[[], None]]:
    """Start a worker of the scene's queue, which knows no actor."""
    broker = OutboxRabbitmqBroker(url=rabbitmq.url, middleware=[])
    running: list[Worker] = []

    def start() -> None:
        broker.declare_queue(scene.queue, ensure=True)
        worker = Worker(broker, worker_timeout=100, worker_threads=1)
        worker.start()
        running.append(worker)

    yield start
    for one in running:
        one.stop()
    broker.close()


def only_row() -> OutboxMessage:
    return OutboxMessage.objects.get()


def test_an_undecodable_body_that_a_worker_rejected(scene: Scene, worker: Callable[[], None]) -> None:
    worker()
    scene.publish(GARBAGE, pika.BasicProperties(message_id="m1", type="mail", headers={"subject": "task:1"}))
    scene.collect()
    row = only_row()
    assert (row.state, row.reason, bytes(row.body)) == (State.DEAD, "undecodable", GARBAGE)
    assert (row.queue, row.message_id, row.actor, row.subject) == (scene.queue, "m1", "mail", "task:1")
    assert row.error.endswith(f"RabbitMQ: rejected in queue '{scene.queue}', 1×")


def test_an_actor_that_no_worker_knows(
    scene: Scene, worker: Callable[[], None], send: Callable[[], OutboxMessage]
) -> None:
    worker()
    row = send()
    dramatiq.get_broker().actors.pop("known")
    scene.publish_row(row)
    scene.collect()
    assert (only_row().pk, only_row().state, only_row().reason) == (row.pk, State.DEAD, "unknown actor")


def test_a_message_that_was_delivered_too_often(scene: Scene, send: Callable[[], OutboxMessage]) -> None:
    scene.declare(**{"x-delivery-limit": 2})
    scene.publish_row(send())
    for _ in range(3):
        scene.channel.basic_nack(scene.take(), requeue=True)
    scene.collect()
    assert (only_row().state, only_row().reason) == (State.DEAD, "delivery limit")
    assert only_row().error.startswith("RabbitMQ: delivery_limit")


@pytest.fixture
def set_policy(scene: Scene, rabbitmq: PrivateRabbitmq) -> Iterator[Callable[[str], None]]:
    """Set a policy for the scene's queue, as an operator does."""

    def put(definition: str) -> None:
        rabbitmq.rabbitmqctl("set_policy", "--apply-to", "queues", scene.queue, f"^{scene.queue}$", definition)

    yield put
    rabbitmq.rabbitmqctl("clear_policy", scene.queue)


def test_what_a_policy_of_the_queue_expired_is_published_again_after_pauses_that_grow(
    scene: Scene,
    send: Callable[[], OutboxMessage],
    set_policy: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collector.logger, "filters", [])
    limit_lines(collector.logger, collector.RETURNED, **collector.RARELY)
    scene.declare()
    row = send()
    set_policy('{"message-ttl": 50}')
    pauses = []
    for age_seconds in (0, 100, 10_000):
        this = OutboxMessage.objects.filter(pk=row.pk)
        this.update(created_at=Now() - timedelta(seconds=age_seconds), state=State.PUBLISHED, published_at=Now())
        scene.publish_row(row)
        scene.collect()
        row = only_row()
        assert (row.state, row.attempt, row.starts, row.reason, row.published_at) == (State.PENDING, 0, 0, "", None)
        pauses.append((row.due_at - timezone.now()).total_seconds())
    # Between a half and the whole of its age, which has grown a little meanwhile; ten minutes at most.
    assert 50 * 0.9 < pauses[1] < 300 < pauses[2] + 30 < 630
    [line] = [one for one in caplog.messages if one.startswith("published again")]
    assert f"queue={scene.queue} " in line
    assert "hint='raise or remove message-ttl of the queue" in line


def test_what_a_policy_of_the_queue_dropped_for_want_of_room_is_published_again(
    scene: Scene, send: Callable[[], OutboxMessage], set_policy: Callable[[str], None], settings: Settings
) -> None:
    settings.OUTBOX_QUEUE_TYPE = "classic"  # a quorum queue's own arguments refuse new messages instead
    scene.declare()
    set_policy('{"max-length": 1}')
    rows = [send(), send()]
    OutboxMessage.objects.update(state=State.PUBLISHED, published_at=Now())
    for row in rows:
        scene.publish_row(row)
    scene.collect()
    assert list(OutboxMessage.objects.order_by("pk").values_list("state", flat=True)) == ["pending", "published"]


def test_a_foreign_message_that_expired_is_a_dead_letter(scene: Scene, set_policy: Callable[[str], None]) -> None:
    scene.declare()
    set_policy('{"message-ttl": 50}')
    scene.publish(b"{}")
    scene.collect()
    assert only_row().state == State.DEAD


def test_of_a_message_that_is_settled_nothing_is_kept(scene: Scene, send: Callable[[], OutboxMessage]) -> None:
    scene.declare()
    scene.publish_row(send())
    scene.reject()
    OutboxMessage.objects.all().delete()
    scene.collect()
    assert not OutboxMessage.objects.exists()


def test_a_collector_killed_between_commit_and_acknowledgement_writes_once(
    scene: Scene, rabbitmq: PrivateRabbitmq
) -> None:
    class Killed(BaseException):
        pass

    class Cut:
        """The channel of a collector that dies just before it acknowledges."""

        def __init__(self, channel: Any) -> None:
            self.channel, self.is_open = channel, True
            self.basic_get = channel.basic_get

        def basic_ack(self, tag: int) -> None:
            self.is_open = False
            raise Killed

    scene.declare()
    scene.publish(GARBAGE)
    scene.reject()
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        channel = Cut(connection.channel())

        def collects_and_dies() -> bool:
            try:
                collector.collect(channel, scene.queue, at_most=1)
            except Killed:
                return True
            return False

        scene.wait_for(collects_and_dies)
    assert OutboxMessage.objects.count() == 1
    scene.collect()
    assert OutboxMessage.objects.count() == 1


def test_what_a_worker_runs_is_collected_in_a_later_round(scene: Scene, send: Callable[[], OutboxMessage]) -> None:
    scene.declare()
    row = send()
    scene.publish_row(row)
    scene.reject()
    scene.publish(GARBAGE)
    scene.reject()
    OutboxMessage.objects.filter(pk=row.pk).update(held_until="2999-01-01T00:00Z")
    scene.collect()
    assert set(OutboxMessage.objects.values_list("state", flat=True)) == {State.PENDING, State.DEAD}
    OutboxMessage.objects.filter(pk=row.pk).update(held_until=None)
    scene.collect()
    assert set(OutboxMessage.objects.values_list("state", flat=True)) == {State.DEAD}


@pytest.mark.parametrize(
    "headers",
    [
        {"x-death": "no list", "subject": b"\xff\xfe", "outbox": 7},
        {"subject": "\0" * 500, "request_id": {"a": [1, None]}, "outbox": b"1:\xff"},
        {"x-first-death-reason": ["rejected"], "outbox": "9" * 400},
    ],
)
def test_headers_that_any_client_could_write(scene: Scene, headers: dict[str, Any]) -> None:
    scene.declare()
    scene.publish(GARBAGE, pika.BasicProperties(headers=headers, message_id="m" * 255, type="\0" * 255))
    scene.reject()
    scene.collect()
    assert (only_row().state, bytes(only_row().body)) == (State.DEAD, GARBAGE)


def test_a_replayed_letter_outruns_its_own_late_copy(scene: Scene, send: Callable[[], OutboxMessage]) -> None:
    scene.declare()
    row = send()
    for _ in range(2):
        scene.publish_row(row)
    scene.reject()
    scene.collect()
    rows = OutboxMessage.objects.filter(pk=row.pk)
    decisions.replay(rows, by=Operator(name="operator"), why="mended")
    scene.reject()
    scene.collect()
    assert (only_row().state, only_row().attempt) == (State.PENDING, 1)


def test_two_collectors_write_each_letter_once(scene: Scene, rabbitmq: PrivateRabbitmq, database: str) -> None:
    scene.declare()
    for number in range(20):
        scene.publish(b"%d" % number)
        scene.reject()
    ends: list[int] = []

    def run() -> None:
        from django.db import connection as database_connection

        with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
            channel = connection.channel()

            def all_came() -> bool:
                ends.append(collector.collect(channel, scene.queue, at_most=20))
                return sum(ends) >= 20

            wait_until(all_came, timeout_seconds=DEADLINE_SECONDS)
        database_connection.close()

    if database == "sqlite":
        run()
    else:
        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(int(bytes(row.body)) for row in OutboxMessage.objects.all()) == list(range(20))
