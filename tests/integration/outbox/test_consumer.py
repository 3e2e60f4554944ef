"""RabbitMQ closes connections by force while messages are in a worker's memory: no message may be lost."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import dramatiq
import httpx
import pika
import pytest
from dramatiq.broker import Consumer
from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer
from dramatiq.worker import Worker

from actors.outbox.amqp import topology
from actors.outbox.amqp.client_names import process_name
from actors.outbox.worker.consumer import OutboxConsumer
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq

pytestmark = pytest.mark.integration

DEADLINE_SECONDS = 60.0
PREFETCH = 4
FIRST = -1


class PlainBroker(RabbitmqBroker):
    """Dramatiq's broker with our queues and a chosen consumer; it reconnects when the test lets it."""

    consumer_class: Any = None

    def __init__(self, url: str) -> None:
        super().__init__(url=[url], middleware=[], confirm_delivery=True)
        self.may_connect = threading.Event()
        self.may_connect.set()

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        self.may_connect.wait(DEADLINE_SECONDS)
        return super().consume(queue_name, prefetch, timeout)

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return topology.work_queue_arguments(queue_name)

    def _declare_xq_queue(self, queue_name: str) -> Any:
        arguments = topology.dead_letter_queue_arguments()
        return self.channel.queue_declare(topology.dead_letter_queue(queue_name), durable=True, arguments=arguments)


@dataclass(kw_only=True)
class Scene:
    """A worker with one actor, which waits for `may_finish`, and another consumer of the same queue."""

    broker: PlainBroker
    queue: str
    worker: Worker
    other: Any
    processed: list[int] = field(default_factory=list)
    may_finish: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.actor = dramatiq.actor(broker=self.broker, queue_name=self.queue, actor_name="process")(self.process)
        self.channel = self.other.channel()

    def process(self, number: int) -> None:
        self.may_finish.wait(DEADLINE_SECONDS)
        self.processed.append(number)

    def send(self, numbers: range) -> None:
        for number in numbers:
            self.actor.send(number)

    @property
    def consumer(self) -> Any:
        return self.worker.consumers[self.queue].consumer

    def wait_for(self, condition: Callable[[], bool]) -> None:
        assert wait_until(condition, timeout_seconds=DEADLINE_SECONDS)

    def wait_for_messages_in_memory(self, count: int) -> None:
        """Wait until the worker has taken as many messages that none of its threads has begun."""
        self.wait_for(lambda: self.worker.work_queue.qsize() == count)

    def wait_for_first_message(self) -> None:
        """Wait until the queue exists: RabbitMQ refuses messages while a quorum queue is being created."""
        self.actor.send(FIRST)
        self.wait_for(lambda: self.processed == [FIRST])

    def ready(self) -> int:
        return int(self.channel.queue_declare(self.queue, passive=True).method.message_count)

    def get(self, count: int) -> list[int]:
        """Take messages that the worker then does not get."""
        bodies: list[bytes] = []

        def got_all() -> bool:
            method, _, body = self.channel.basic_get(self.queue)
            if method is not None:
                bodies.append(body)
            return len(bodies) == count

        self.wait_for(got_all)
        return sorted(dramatiq.Message.decode(body).args[0] for body in bodies)

    def lose_connection(self) -> None:
        """Use a method that RabbitMQ does not implement: it answers by closing the connection."""
        self.wait_for(lambda: self.consumer is not None and self.consumer.connection.is_open)
        lost = self.consumer
        lost.connection.add_callback_threadsafe(lambda: lost.channel.flow(active=False))
        self.wait_for(lambda: bool(lost.connection.is_closed))

    def stop_worker_after_its_current_message(self) -> None:
        stopping = threading.Thread(target=self.worker.stop)
        stopping.start()
        self.wait_for(lambda: not any(thread.running for thread in self.worker.workers))
        self.may_finish.set()
        stopping.join(DEADLINE_SECONDS)

    def let_another_take_what_this_one_took_before(self) -> None:
        """Leave the worker with 0 to 3 of a lost connection, 0 begun, and 4 to 7 of a new one, under the same tags."""
        self.send(range(4))
        self.wait_for_messages_in_memory(3)
        self.broker.may_connect.clear()
        self.lose_connection()
        assert self.get(4) == [0, 1, 2, 3]
        self.send(range(4, 8))
        self.broker.may_connect.set()
        self.wait_for_messages_in_memory(7)

    def give_back(self) -> None:
        self.channel.basic_nack(0, multiple=True, requeue=True)


@pytest.fixture(autouse=True)
def admitted(settings: Any) -> None:
    """Admit the messages of these tests, which have no rows."""
    settings.OUTBOX_FOREIGN_MESSAGES = True


@pytest.fixture
def play(
    rabbitmq: PrivateRabbitmq, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Scene]]:
    """Make a scene with a running worker; afterwards everything is closed and deleted."""
    monkeypatch.setattr("dramatiq.worker.CONSUMER_RESTART_DELAY_SECS", 0.05)
    monkeypatch.setattr("dramatiq.worker.QUEUE_PREFETCH", PREFETCH)
    scenes: list[Scene] = []

    def set_scene(consumer_class: Any = OutboxConsumer, *, threads: int = 1) -> Scene:
        broker = type("Broker", (PlainBroker,), {"consumer_class": consumer_class})(rabbitmq.url)
        scene = Scene(
            broker=broker,
            queue=request.node.name[:100],
            worker=Worker(broker, worker_threads=threads, worker_timeout=50),
            other=pika.BlockingConnection(pika.URLParameters(rabbitmq.url)),
        )
        scenes.append(scene)
        scene.worker.start()
        return scene

    yield set_scene
    for scene in scenes:
        _clear_up(scene)


def _clear_up(scene: Scene) -> None:
    scene.may_finish.set()
    scene.broker.may_connect.set()
    scene.worker.stop()
    scene.other.close()
    for name in (scene.queue, f"{scene.queue}.DQ", f"{scene.queue}.XQ"):
        scene.broker.channel.queue_delete(name)
    scene.broker.close()


def test_the_ack_of_a_lost_connections_message_removes_no_other(play: Callable[..., Scene]) -> None:
    scene = play()
    scene.let_another_take_what_this_one_took_before()
    scene.stop_worker_after_its_current_message()
    scene.give_back()
    assert scene.processed == [0]
    assert scene.get(8) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_dramatiqs_own_consumer_removes_another_message(play: Callable[..., Scene]) -> None:
    """If this fails, Dramatiq has fixed it: remove docs/upstream, and most of `OutboxConsumer`."""
    scene = play(_RabbitmqConsumer)
    scene.let_another_take_what_this_one_took_before()
    scene.stop_worker_after_its_current_message()
    scene.give_back()
    assert scene.processed == [0]
    assert scene.get(7) == [0, 1, 2, 3, 5, 6, 7]


def test_messages_of_a_lost_connection_run_and_run_again_when_they_are_redelivered(play: Callable[..., Scene]) -> None:
    scene = play()
    scene.let_another_take_what_this_one_took_before()
    scene.give_back()
    scene.may_finish.set()
    scene.wait_for(lambda: len(scene.processed) == 12)
    assert sorted(scene.processed) == sorted([*range(8), *range(4)])
    scene.worker.stop()
    assert scene.ready() == 0


def test_what_came_over_a_lost_connection_is_redelivered_and_says_so(play: Callable[..., Scene]) -> None:
    scene = play()
    seen: list[tuple[int, bool]] = []

    class Witness(dramatiq.Middleware):
        def before_process_message(self, broker: dramatiq.Broker, message: Any) -> None:
            seen.append((message.args[0], message.redelivered))

    scene.broker.add_middleware(Witness())
    scene.send(range(2))
    scene.wait_for_messages_in_memory(1)
    scene.lose_connection()
    scene.wait_for_messages_in_memory(3)
    scene.may_finish.set()
    scene.wait_for(lambda: len(scene.processed) == 4)
    assert sorted(seen) == [(0, False), (0, True), (1, False), (1, True)]


def test_no_message_vanishes_while_connections_are_closed_over_and_over(
    play: Callable[..., Scene], management: httpx.Client
) -> None:
    scene = play(threads=2)
    scene.may_finish.set()
    scene.send(range(100))
    close_worker_connection(management, scene.queue)
    for start in range(100, 600, 100):
        scene.send(range(start, start + 100))
        scene.lose_connection()
    scene.wait_for(lambda: set(scene.processed) == set(range(600)) and scene.ready() == 0)
    scene.worker.stop()
    assert scene.ready() == 0


def close_worker_connection(management: httpx.Client, queue: str) -> None:
    """Close the connection that consumes `queue` as an operator would, in the management UI, by its name."""

    def closed() -> bool:
        names = [one["name"] for one in connections(management, queue)]
        return any(management.delete(f"connections/{quote(name, safe='')}").status_code == 204 for name in names)

    assert wait_until(closed, timeout_seconds=DEADLINE_SECONDS)


def connections(management: httpx.Client, queue: str) -> list[dict[str, Any]]:
    name = f"{process_name('worker')} queue={queue}"
    found = management.get("connections").json()
    return [one for one in found if one.get("client_properties", {}).get("connection_name") == name]


def test_the_management_ui_shows_which_process_consumes(play: Callable[..., Scene], management: httpx.Client) -> None:
    scene = play()

    def tags() -> list[str]:
        consumers = management.get("consumers").json()
        return [one["consumer_tag"] for one in consumers if one["queue"]["name"] == scene.queue]

    scene.wait_for(lambda: tags() == [process_name("worker")])
    scene.wait_for(lambda: len(connections(management, scene.queue)) == 1)
    [connection] = connections(management, scene.queue)
    assert connection["user_provided_name"] == f"{process_name('worker')} queue={scene.queue}"


def test_a_body_that_is_no_message_is_dead_lettered_as_it_came(play: Callable[..., Scene]) -> None:
    scene = play()
    scene.may_finish.set()
    scene.wait_for_first_message()
    properties = pika.BasicProperties(content_type="text/x", headers={"request_id": "r"}, message_id="raw")
    for body in (b"\xff\x00", b'{"options": null}'):
        scene.broker.channel.basic_publish("", scene.queue, body, properties)
    dead: dict[bytes, Any] = {}

    def got_both() -> bool:
        method, kept, body = scene.channel.basic_get(f"{scene.queue}.XQ", auto_ack=True)
        if method is not None:
            dead[body] = kept
        return len(dead) == 2

    scene.wait_for(got_both)
    scene.send(range(1))
    scene.wait_for(lambda: scene.processed == [FIRST, 0])
    for kept in dead.values():
        assert (kept.content_type, kept.message_id, kept.headers["request_id"]) == ("text/x", "raw", "r")
    assert set(dead) == {b"\xff\x00", b'{"options": null}'}


def test_a_message_that_names_another_queue_runs_and_harms_no_thread(play: Callable[..., Scene]) -> None:
    scene = play()
    scene.may_finish.set()
    scene.wait_for_first_message()
    message = scene.actor.message(1).copy(queue_name="another")
    scene.broker.channel.basic_publish("", scene.queue, message.encode())
    scene.send(range(1))
    scene.wait_for(lambda: scene.processed == [FIRST, 1, 0])
    assert all(thread.is_alive() for thread in scene.worker.workers)


def test_a_lost_channel_leaves_no_connection_behind(play: Callable[..., Scene]) -> None:
    scene = play()
    scene.wait_for(lambda: scene.consumer is not None)
    lost = scene.consumer
    lost.connection.add_callback_threadsafe(lambda: lost.channel.basic_ack(999))
    scene.wait_for(lambda: scene.consumer is not lost)
    assert lost.connection.is_closed
