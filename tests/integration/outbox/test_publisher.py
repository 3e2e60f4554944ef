"""The publisher over a real RabbitMQ that is full, frozen, killed, blocked, or absent."""

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pika
import pytest

from actors.outbox.amqp import topology
from actors.outbox.amqp.connection import ReconnectingConnection
from actors.outbox.amqp.publisher import Outcome, Outgoing, Publisher
from project.local.servers.process import wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.servers.rabbitmq_installation import Installation

pytestmark = pytest.mark.integration

MAX_MESSAGE_BYTES = 100_000
SOON_SECONDS = 60.0


@pytest.fixture(scope="module")
def node(rabbitmq_installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitmq]:
    """A node that these tests may break; each repairs it."""
    node = PrivateRabbitmq(
        installation=rabbitmq_installation,
        directory=tmp_path_factory.mktemp("publisher"),
        plugins=(),
        extra_configuration=(f"max_message_size = {MAX_MESSAGE_BYTES}",),
    )
    with node:
        yield node


@pytest.fixture
def make() -> Iterator[Callable[..., Publisher]]:
    """Make a publisher, which is closed after the test."""
    with ExitStack() as stack:

        def make_publisher(url: str, *, heartbeat: int = 60, **options: Any) -> Publisher:
            parameters = pika.URLParameters(url)
            parameters.heartbeat = heartbeat
            options = {"client_name": "relay of a test", "connect_timeout_seconds": 10.0, **options}
            publisher = Publisher(ReconnectingConnection(addresses=[parameters], **options))
            stack.callback(publisher.close)
            return publisher

        yield make_publisher


@pytest.fixture
def publisher(node: PrivateRabbitmq, make: Callable[..., Publisher]) -> Publisher:
    """A publisher that is ready."""
    publisher = make(node.url)
    become_ready(publisher)
    return publisher


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    """The name of a new queue for the test, which does not exist yet.

    It is not deleted. Deleting a queue with at-least-once dead-lettering just after its leader was elected ends
    rabbit_fifo_dlx_sup for good (3.10.8): from then on the node answers each declaration with INTERNAL_ERROR.
    """
    return str(request.node.name)[:80]


@contextmanager
def management_channel(node: PrivateRabbitmq) -> Iterator[Any]:
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        yield connection.channel()


@contextmanager
def memory_alarm(node: PrivateRabbitmq) -> Iterator[None]:
    node.rabbitmqctl("set_vm_memory_high_watermark", "0")
    try:
        yield
    finally:
        node.rabbitmqctl("set_vm_memory_high_watermark", "0.4")


@contextmanager
def frozen(node: PrivateRabbitmq) -> Iterator[None]:
    node.freeze()
    try:
        yield
    finally:
        node.thaw()


@contextmanager
def in_another_thread(work: Callable[[], object]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(SOON_SECONDS)
        assert not thread.is_alive()


def run_until(publisher: Publisher, condition: Callable[[], bool]) -> None:
    def turn_and_look() -> bool:
        publisher.run(0.1)
        return condition()

    assert wait_until(turn_and_look, timeout_seconds=SOON_SECONDS)


def become_ready(publisher: Publisher) -> None:
    run_until(publisher, publisher.is_ready)


def messages(queue: str, count: int, *, first: int = 1, body: bytes = b"{}", **properties: Any) -> list[Outgoing]:
    persistent = pika.BasicProperties(delivery_mode=2, **properties)
    return [Outgoing(key=first + n, queue=queue, body=body, properties=persistent) for n in range(count)]


def publish(publisher: Publisher, batch: list[Outgoing], *, timeout_seconds: float = SOON_SECONDS) -> Outcome:
    return publisher.publish(batch, timeout_seconds=timeout_seconds, on_wait=lambda: None)


def establish(publisher: Publisher, *names: str) -> None:
    """Publish one message to each queue, again and again until all are confirmed, as a relay does."""

    def is_established() -> bool:
        become_ready(publisher)
        batch = [each for name in names for each in messages(name, 1)]
        return len(publish(publisher, batch).confirmed) == len(names)

    assert wait_until(is_established, timeout_seconds=SOON_SECONDS)


def keys(batch: list[Outgoing]) -> list[int]:
    return [message.key for message in batch]


def every_key(outcome: Outcome) -> list[int]:
    return sorted([*outcome.confirmed, *outcome.refused, *outcome.unroutable, *outcome.unknown])


def waiting(node: PrivateRabbitmq, queue: str) -> int:
    with management_channel(node) as channel:
        return int(channel.queue_declare(queue, passive=True).method.message_count)


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [each.message for each in caplog.records if each.levelno == level and each.name.startswith("actors.")]


def test_two_thousand_messages_are_confirmed_and_are_there(
    node: PrivateRabbitmq, publisher: Publisher, queue: str
) -> None:
    establish(publisher, queue)
    batch = messages(queue, 2_000, body=b"x" * 400)
    outcome = publish(publisher, batch)
    assert sorted(outcome.confirmed) == keys(batch)
    assert every_key(outcome) == keys(batch)
    assert wait_until(lambda: waiting(node, queue) >= 2_001, timeout_seconds=SOON_SECONDS)


def test_bodies_of_many_frames_and_empty_ones_arrive_whole(
    node: PrivateRabbitmq, publisher: Publisher, queue: str
) -> None:
    establish(publisher, queue)
    bodies = [b"", b"\x00\xce" * 40_000, b"{}"]
    batch = [
        each for n, body in enumerate(bodies) for each in messages(queue, 1, first=n, body=body, message_id="same")
    ]
    assert publish(publisher, batch).confirmed == [0, 1, 2]
    with management_channel(node) as channel:
        received = [channel.basic_get(queue, auto_ack=True) for _ in [b"{}", *bodies]][1:]
    assert [body for _, _, body in received] == bodies
    assert {properties.message_id for _, properties, _ in received} == {"same"}


def test_the_connection_is_named_in_rabbitmq(node: PrivateRabbitmq, publisher: Publisher) -> None:
    assert publisher.is_ready()
    listed = node.rabbitmqctl("list_connections", "client_properties")
    assert "relay of a test" in listed


def test_messages_to_a_queue_that_was_deleted_come_back_and_the_queue_is_declared_again(
    node: PrivateRabbitmq, publisher: Publisher, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Classic ones may be deleted at any moment.
    monkeypatch.setattr(topology, "work_queue_arguments", lambda _name: {"x-queue-type": "classic"})
    kept = f"{queue}-kept"
    both = [*messages(queue, 3, message_id="same"), *messages(kept, 3, first=11, message_id="same")]
    establish(publisher, queue, kept)
    with management_channel(node) as channel:
        channel.queue_delete(queue)
    outcome = publish(publisher, both)
    assert (outcome.unroutable, sorted(outcome.confirmed)) == ([1, 2, 3], [11, 12, 13])
    establish(publisher, queue)
    assert publisher.is_ready()


def test_a_queue_with_other_arguments_is_explained_and_holds_up_no_other(
    node: PrivateRabbitmq,
    publisher: Publisher,
    queue: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(topology, "AGAIN_AFTER_SECONDS", 0.0)
    good = f"{queue}-good"
    establish(publisher, good)
    with management_channel(node) as channel:
        channel.queue_declare(queue, durable=True)
        both = [*messages(queue, 2), *messages(good, 2, first=11)]
        for _ in range(2):
            outcome = publish(publisher, both)
            assert (outcome.unknown, sorted(outcome.confirmed)) == ([1, 2], [11, 12])
        [line] = lines(caplog, logging.ERROR)
        assert f"queue={queue} argument=x-" in line
        channel.queue_delete(queue)
    establish(publisher, queue)


def test_nacked_messages_are_unknown(node: PrivateRabbitmq, publisher: Publisher, queue: str) -> None:
    establish(publisher, queue)
    node.rabbitmqctl("set_policy", "--apply-to", "queues", "full", f"^{queue}$", '{"max-length": 1}')
    refused: list[int] = []

    def is_full() -> bool:
        refused.extend(publish(publisher, messages(queue, 5)).unknown)
        return bool(refused)

    assert wait_until(is_full, timeout_seconds=SOON_SECONDS)
    node.rabbitmqctl("clear_policy", "full")
    assert publisher.is_ready()


@pytest.mark.parametrize(
    ("culprit", "reason"),
    [
        ({"body": b"x" * (MAX_MESSAGE_BYTES + 1)}, "larger than"),
        ({"expiration": "soon"}, "invalid expiration"),
        ({"headers": {"x": "y" * 200_000}}, "frame_too_large"),
    ],
    ids=["too-large", "expiration", "headers"],
)
def test_among_many_the_culprit_is_found_one_by_one(
    publisher: Publisher, queue: str, culprit: dict[str, Any], reason: str
) -> None:
    establish(publisher, queue)
    batch = [*messages(queue, 3), *messages(queue, 1, first=4, **culprit), *messages(queue, 3, first=5)]
    outcome = publish(publisher, batch)
    assert every_key(outcome) == keys(batch)
    assert {4, 5, 6, 7} <= set(outcome.unknown)
    assert reason in (outcome.channel_error or "")
    for message in batch:
        become_ready(publisher)
        alone = publish(publisher, [message])
        assert alone.channel_error is None
        assert (list(alone.refused), alone.confirmed) == (([4], []) if message.key == 4 else ([], [message.key]))


def test_a_blocked_connection_publishes_no_more_until_it_is_unblocked(
    node: PrivateRabbitmq, publisher: Publisher, queue: str
) -> None:
    establish(publisher, queue)
    waits: list[bool] = []
    with memory_alarm(node):
        batch = messages(queue, 5_000, body=b"x" * 400)
        outcome = publisher.publish(batch, timeout_seconds=3, on_wait=lambda: waits.append(publisher.is_ready()))
        assert every_key(outcome) == keys(batch)
        assert outcome.unknown
        assert waits
        assert not publisher.is_ready()
        assert publish(publisher, batch).unknown == keys(batch)
    become_ready(publisher)
    assert publish(publisher, messages(queue, 1, first=9_001)).confirmed == [9_001]


def test_an_exception_while_waiting_is_passed_on_and_later_answers_confuse_nothing(
    node: PrivateRabbitmq, publisher: Publisher, queue: str
) -> None:
    def lose_the_lease() -> None:
        raise LookupError("lease lost")

    establish(publisher, queue)
    with memory_alarm(node), pytest.raises(LookupError):
        publisher.publish(messages(queue, 200), timeout_seconds=SOON_SECONDS, on_wait=lose_the_lease)
    become_ready(publisher)
    batch = messages(queue, 200, first=1_001)
    assert sorted(publish(publisher, batch).confirmed) == keys(batch)


def test_a_frozen_node_leaves_messages_unknown_in_time_and_is_used_again_once_it_answers(
    node: PrivateRabbitmq, publisher: Publisher, queue: str
) -> None:
    establish(publisher, queue)
    with frozen(node):
        batch = messages(queue, 3_000, body=b"x" * 2_000)
        assert publish(publisher, batch, timeout_seconds=2).unknown == keys(batch)
        assert not publisher.is_ready()
        assert publish(publisher, batch).unknown == keys(batch)
    become_ready(publisher)
    assert publish(publisher, messages(queue, 1)).confirmed == [1]


def test_stopping_ends_a_publish_to_a_frozen_node(node: PrivateRabbitmq, publisher: Publisher, queue: str) -> None:
    establish(publisher, queue)
    batch, outcomes = messages(queue, 100), list[Outcome]()
    with frozen(node), in_another_thread(lambda: outcomes.append(publish(publisher, batch, timeout_seconds=3_600))):
        publisher.stop()
    assert outcomes[0].unknown == keys(batch)


def test_what_was_confirmed_survives_that_the_node_is_killed(
    node: PrivateRabbitmq, publisher: Publisher, queue: str
) -> None:
    confirmed = publish_until_something_is_unknown(publisher, queue, node.kill)
    assert not publisher.is_ready()
    node.start()
    establish(publisher, f"{queue}-after")
    assert wait_until(lambda: waiting(node, queue) >= confirmed, timeout_seconds=SOON_SECONDS)


def test_connections_closed_by_force_lose_nothing_that_was_confirmed(
    node: PrivateRabbitmq, publisher: Publisher, queue: str
) -> None:
    confirmed = publish_until_something_is_unknown(
        publisher, queue, lambda: node.rabbitmqctl("close_all_connections", "test")
    )
    become_ready(publisher)
    batch = messages(queue, 3)
    assert sorted(publish(publisher, batch).confirmed) == keys(batch)
    assert wait_until(lambda: waiting(node, queue) >= confirmed + 3, timeout_seconds=SOON_SECONDS)


def publish_until_something_is_unknown(publisher: Publisher, queue: str, break_it: Callable[[], object]) -> int:
    """Return how many were confirmed."""
    # A quorum queue younger than about a second does not survive kill -9.
    establish(publisher, queue)
    publisher.run(2)
    confirmed, outcome = 1, Outcome()
    with in_another_thread(break_it):
        while not outcome.unknown:
            outcome = publish(publisher, messages(queue, 500, body=b"x" * 400))
            assert every_key(outcome) == list(range(1, 501))
            assert not outcome.refused
            assert outcome.channel_error is None
            confirmed += len(outcome.confirmed)
    return confirmed


def test_a_port_that_never_answers_is_tried_again_and_again_and_holds_nothing_up(
    make: Callable[..., Publisher], caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as black_hole:
        black_hole.settimeout(SOON_SECONDS)
        url = f"amqp://guest:guest@127.0.0.1:{black_hole.getsockname()[1]}/"
        publisher = make(url, connect_timeout_seconds=0.2)
        assert publish(publisher, messages("q", 2)).unknown == [1, 2]
        done = threading.Event()
        with in_another_thread(lambda: run_until(publisher, done.is_set)):
            for _ in range(3):
                black_hole.accept()[0].close()
            done.set()
    assert not publisher.is_ready()
    assert len(lines(caplog, logging.ERROR)) == 1


@pytest.mark.parametrize("method", ["wake", "stop"])
def test_an_idle_publisher_is_woken_by_another_thread(publisher: Publisher, method: str) -> None:
    with in_another_thread(lambda: publisher.run(3_600)):
        getattr(publisher, method)()
    assert publisher.is_ready()


def test_a_wake_before_the_run_is_not_lost(publisher: Publisher) -> None:
    publisher.wake()
    publisher.run(3_600)


def test_wakes_do_not_shorten_the_pause_between_attempts(make: Callable[..., Publisher]) -> None:
    now = [1_000.0]
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(SOON_SECONDS)
        url = f"amqp://guest:guest@127.0.0.1:{server.getsockname()[1]}/"
        publisher = make(url, clock=lambda: now[0], jitter=lambda: 0.0)
        expect_an_attempt(server, publisher)
        turn_often(publisher)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
        server.settimeout(SOON_SECONDS)
        now[0] += 0.2
        expect_an_attempt(server, publisher)


def test_wakes_cost_nothing_while_nothing_could_be_published(
    make: Callable[..., Publisher], node: PrivateRabbitmq, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = make(node.url)
    interrupted = []
    monkeypatch.setattr(publisher._connection, "interrupt", lambda: interrupted.append(publisher.is_ready()))
    publisher.wake()
    become_ready(publisher)
    publisher.wake()
    publisher.run(3_600)
    publisher._connection.abort("lost")
    publisher.wake()
    assert interrupted == [True]


def expect_an_attempt(server: socket.socket, publisher: Publisher) -> None:
    accepted = threading.Event()

    def accept_and_close() -> None:
        server.accept()[0].close()
        accepted.set()

    def turn() -> bool:
        publisher.wake()
        publisher.run(0)
        return accepted.is_set()

    with in_another_thread(accept_and_close):
        assert wait_until(turn, timeout_seconds=SOON_SECONDS)


def turn_often(publisher: Publisher) -> None:
    for _ in range(300):
        publisher.wake()
        publisher.run(0)


def test_an_idle_publisher_serves_heartbeats(node: PrivateRabbitmq, make: Callable[..., Publisher]) -> None:
    publisher = make(node.url, heartbeat=1)
    become_ready(publisher)
    connection = publisher._connection.pika
    assert connection is not None
    before = connection.frames_received
    # RabbitMQ drops a client from which it heard nothing for two intervals.
    run_until(publisher, lambda: connection.frames_received >= before + 8)
    assert publisher.is_ready()
    assert publisher._connection.pika is connection


@pytest.mark.parametrize(
    ("place", "cause", "mend"),
    [
        ("new:secret@{address}/", "ACCESS_REFUSED", ["add_user new secret", "set_permissions new .* .* .*"]),
        ("{user}@{address}/new", "vhost new not found", ["add_vhost new", "set_permissions -p new vazifa .* .* .*"]),
    ],
    ids=["user", "vhost"],
)
def test_a_refused_publisher_keeps_trying_and_says_why_once(
    node: PrivateRabbitmq,
    make: Callable[..., Publisher],
    caplog: pytest.LogCaptureFixture,
    place: str,
    cause: str,
    mend: list[str],
) -> None:
    caplog.set_level(logging.INFO, "actors.outbox")
    account = f"{node.username}:{node.password}"
    publisher = make("amqp://" + place.format(user=account, address=f"127.0.0.1:{node.amqp_port}"))
    run_until(publisher, lambda: bool(lines(caplog, logging.ERROR)))
    publisher.run(1)
    for command in mend:
        node.rabbitmqctl(*command.split())
    become_ready(publisher)
    [line] = lines(caplog, logging.ERROR)
    assert cause in line
    assert len(lines(caplog, logging.INFO)) == 1


def test_a_missing_permission_is_no_message_s_fault(
    node: PrivateRabbitmq, make: Callable[..., Publisher], queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topology, "AGAIN_AFTER_SECONDS", 0.0)
    node.rabbitmqctl("add_user", "reader", "secret")
    node.rabbitmqctl("set_permissions", "reader", ".*", "nothing", ".*")
    publisher = make(f"amqp://reader:secret@127.0.0.1:{node.amqp_port}/")
    become_ready(publisher)
    outcome = publish(publisher, messages(queue, 1))
    assert (outcome.unknown, outcome.refused, outcome.channel_error) == ([1], {}, None)
    node.rabbitmqctl("set_permissions", "reader", ".*", ".*", ".*")
    establish(publisher, queue)
