"""What a consumer acknowledges, refuses to acknowledge and makes of bodies that are no messages; RabbitMQ is faked."""

import json
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pika
import pytest
from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import ConnectionClosed
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout

from actors.outbox.decoding import MAX_SHOWN_BYTES
from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.models import State
from actors.outbox.worker.consumer import DeliveredMessage, Neighbours, OutboxConsumer

QUEUE = "activity"


class Channel:
    """A channel that delivers what it is given, with tags from 1 on, and records acks and nacks."""

    def __init__(self) -> None:
        self.answered: list[tuple[str, int]] = []
        self.bodies: deque[tuple[bytes, bool, dict[str, Any] | None]] = deque()
        self.consumed: dict[str, Any] = {}
        self.declared: list[str] = []
        self.is_open = True
        self._impl = self

    def __enter__(self) -> "Channel":
        return self

    def __exit__(self, *_error: object) -> None:
        """Stay open: there is only one."""

    def queue_declare(self, queue: str, *, durable: bool, arguments: dict[str, Any]) -> None:
        assert durable
        self.declared.append(queue)

    def basic_qos(self, *, prefetch_count: int) -> None:
        self.consumed["prefetch"] = prefetch_count

    def consume(self, queue: str, **options: Any) -> Iterator[tuple[Any, Any, Any]]:
        self.consumed.update(options, queue=queue)
        return self._deliveries()

    def _deliveries(self) -> Iterator[tuple[Any, Any, Any]]:
        tag = 0
        while True:
            if not self.bodies:
                yield None, None, None
                continue
            body, redelivered, headers = self.bodies.popleft()
            tag += 1
            properties = pika.BasicProperties(headers=headers)
            yield SimpleNamespace(delivery_tag=tag, redelivered=redelivered), properties, body

    def basic_ack(self, tag: int, *, multiple: bool) -> None:
        self.answered.append(("ack up to" if multiple else "ack", tag))

    def basic_nack(self, tag: int, *, requeue: bool) -> None:
        assert not requeue
        self.answered.append(("nack", tag))

    def close(self) -> None:
        if not self.is_open:
            raise pika.exceptions.ChannelWrongStateError("Channel is closed.")
        self.is_open = False


class Connection:
    """A connection that does at once what pika does in the consumer thread."""

    def __init__(self, addresses: Any, _impl_class: type | None = None) -> None:
        self.addresses = addresses
        self.the_channel = Channel()
        self.is_open = True

    def channel(self) -> Channel:
        return self.the_channel

    def add_callback_threadsafe(self, callback: Callable[[], None]) -> None:
        if not self.is_open:
            raise pika.exceptions.ConnectionWrongStateError("closed")
        callback()

    def close(self) -> None:
        self.is_open = False


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch, met: list[str]) -> Callable[[], OutboxConsumer]:
    """Open one more connection and consume over it, as Dramatiq does after it has lost one."""
    monkeypatch.setattr("actors.outbox.amqp.pika_internals.AnyAddressConnection", Connection)
    broker = cast(RabbitmqBroker, SimpleNamespace(parameters=[pika.ConnectionParameters()], actors={"log": None}))
    return lambda: OutboxConsumer(broker, QUEUE, 16, 1000, Neighbours(installation="ours", on_meeting=met.append))


@pytest.fixture
def met() -> list[str]:
    """The ids of the other installations that consumers have met."""
    return []


@pytest.fixture
def consumer(connect: Callable[[], OutboxConsumer]) -> OutboxConsumer:
    return connect()


def body(**changes: Any) -> bytes:
    fields = {"queue_name": QUEUE, "actor_name": "log", "args": [1], "kwargs": {}, "options": {"outbox": "7:0"}}
    return json.dumps({**fields, "message_id": "m", "message_timestamp": 1, **changes}).encode()


def deliver(
    consumer: OutboxConsumer,
    raw: bytes | None = None,
    *,
    redelivered: bool = False,
    headers: dict[str, Any] | None = None,
) -> Any:
    consumer.channel.bodies.append((body() if raw is None else raw, redelivered, headers))
    return next(consumer)


def test_it_acknowledges_and_rejects_what_it_took(consumer: OutboxConsumer) -> None:
    first, second = deliver(consumer), deliver(consumer)
    consumer.nack(second)
    consumer.ack(first)
    assert consumer.channel.answered == [("nack", 2), ("ack", 1)]
    assert consumer.known_tags == set()


def test_it_declares_its_queue_before_it_consumes_its_dead_letters_first(consumer: OutboxConsumer) -> None:
    assert consumer.channel.declared == [f"{QUEUE}.XQ", QUEUE]
    assert consumer.channel.consumed["queue"] == QUEUE


def test_a_queue_that_rabbitmq_refuses_says_what_to_do_and_leaves_no_connection_open(
    connect: Callable[[], OutboxConsumer], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Connection] = []

    class Refusing(Connection):
        def __init__(self, parameters: Any, _impl_class: type | None = None) -> None:
            super().__init__(parameters)
            opened.append(self)

    def refuse(_channel: Any, queue: str, **_options: Any) -> None:
        raise pika.exceptions.ChannelClosedByBroker(406, f"inequivalent arg 'x-queue-type' for queue '{queue}'")

    monkeypatch.setattr("actors.outbox.amqp.pika_internals.AnyAddressConnection", Refusing)
    monkeypatch.setattr(Channel, "queue_declare", refuse)
    with pytest.raises(ConnectionClosed, match=r"argument=x-queue-type .*move what it holds and delete it"):
        connect()
    assert [one.is_open for one in opened] == [False]


@pytest.mark.parametrize("answer", ["ack", "nack"])
def test_a_message_left_for_redelivery_is_not_answered(consumer: OutboxConsumer, answer: str) -> None:
    message = deliver(consumer)
    message.stuff_exception(LeaveForRedelivery())
    getattr(consumer, answer)(message)
    assert consumer.channel.answered == []


@pytest.mark.parametrize("answer", ["ack", "nack"])
def test_it_ignores_another_connections_message_that_has_the_same_tag(
    connect: Callable[[], OutboxConsumer], answer: str
) -> None:
    lost, present = connect(), connect()
    foreign, own = deliver(lost), deliver(present)
    assert foreign.tag == own.tag == 1
    getattr(present, answer)(foreign)
    assert present.channel.answered == []
    getattr(present, answer)(own)
    assert present.channel.answered == [(answer, 1)]


def test_it_ignores_a_message_that_no_consumer_took(consumer: OutboxConsumer) -> None:
    deliver(consumer)
    consumer.ack(MessageProxy(Message.decode(body())))
    assert consumer.channel.answered == []


@pytest.mark.parametrize("answer", ["ack", "nack"])
def test_an_answer_over_a_lost_connection_is_dropped_without_waiting(consumer: OutboxConsumer, answer: str) -> None:
    message = deliver(consumer)
    consumer.connection.is_open = False
    getattr(consumer, answer)(message)
    assert consumer.channel.answered == []


def test_a_second_ack_of_a_message_sends_nothing(consumer: OutboxConsumer) -> None:
    message = deliver(consumer)
    consumer.ack(message)
    consumer.ack(message)
    assert consumer.channel.answered == [("ack", 1)]


@pytest.fixture
def scheduled(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Callbacks for the consumer thread, which do not run until the test calls them."""
    asked: list[Callable[[], None]] = []
    monkeypatch.setattr(Connection, "add_callback_threadsafe", lambda _self, callback: asked.append(callback))
    return asked


def test_answers_that_are_buffered_meanwhile_are_sent_together(
    scheduled: list[Callable[[], None]], consumer: OutboxConsumer
) -> None:
    messages = [deliver(consumer) for _ in range(5)]
    for message in (messages[2], messages[0], messages[1], messages[4]):
        consumer.ack(message)
    [flush] = scheduled
    flush()
    assert consumer.channel.answered == [("ack up to", 3), ("ack", 5)]


def test_a_message_left_for_redelivery_is_acknowledged_by_no_later_one(
    scheduled: list[Callable[[], None]], consumer: OutboxConsumer
) -> None:
    first, left, last = (deliver(consumer) for _ in range(3))
    left.stuff_exception(LeaveForRedelivery())
    for message in (first, left, last):
        consumer.ack(message)
    scheduled.pop()()
    assert consumer.channel.answered == [("ack", 1), ("ack", 3)]


def test_what_is_no_message_is_rejected_before_a_later_one_is_acknowledged(
    scheduled: list[Callable[[], None]], consumer: OutboxConsumer
) -> None:
    first = deliver(consumer)
    assert deliver(consumer, b"[]") is None
    assert deliver(consumer, body(options=None)) is None
    consumer.ack(first)
    consumer.ack(deliver(consumer))
    scheduled.pop()()
    assert consumer.channel.answered == [("nack", 2), ("nack", 3), ("ack up to", 4)]


def test_answers_of_a_lost_connection_are_sent_over_no_other(
    scheduled: list[Callable[[], None]], connect: Callable[[], OutboxConsumer]
) -> None:
    lost = connect()
    messages = [deliver(lost) for _ in range(3)]
    lost.ack(messages[0])
    scheduled.clear()  # the connection drops, and what pika was still to do with it
    lost.connection.is_open = False
    present = connect()
    redelivered = deliver(present, redelivered=True)
    for message in messages[1:]:
        present.ack(message)
        lost.ack(message)
    assert scheduled == []
    present.ack(redelivered)
    scheduled.pop()()
    assert (lost.channel.answered, present.channel.answered) == ([], [("ack", 1)])


@pytest.mark.parametrize("redelivered", [False, True])
def test_a_message_says_whether_rabbitmq_delivered_it_before(consumer: OutboxConsumer, redelivered: bool) -> None:
    message = deliver(consumer, redelivered=redelivered)
    assert isinstance(message, DeliveredMessage)
    assert message.redelivered is redelivered
    assert message.consumer is consumer


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\x00",
        b"[]",
        b'{"actor_name": "log"}',
        body(options=None),
        body(kwargs=[]),
        body(actor_name=["log"]),
        body(message_id={}),
        body(message_id="m\0"),
        body(message_id="m" * 65),
        body(message_timestamp="1"),
        body(options={"outbox": "7:0", "throws": "ValueError"}),
        body(options={"outbox": "7:0", "time_limit": "1"}),
    ],
)
def test_what_is_no_message_is_rejected_once_and_the_next_one_is_taken(consumer: OutboxConsumer, raw: bytes) -> None:
    assert deliver(consumer, raw) is None
    assert consumer.channel.answered == [("nack", 1)]
    assert deliver(consumer).message_id == "m"


def test_a_message_belongs_to_the_queue_on_which_it_came(consumer: OutboxConsumer) -> None:
    message = deliver(consumer, body(queue_name="another", options={"outbox": "7:0"}))
    assert (message.queue_name, message.options, message.args) == (QUEUE, {"outbox": "7:0"}, (1,))


@pytest.mark.parametrize(
    "options", [{}, {"outbox": None}, {"outbox": "7"}, {"outbox": f"{10**30}:0"}, {"outbox": "7:-1"}, {"outbox": "٧:0"}]
)
def test_a_message_without_a_reference_is_rejected_unless_a_setting_admits_it(
    consumer: OutboxConsumer, settings: Any, options: dict[str, Any]
) -> None:
    assert deliver(consumer, body(options=options)) is None
    assert consumer.channel.answered == [("nack", 1)]
    settings.OUTBOX_FOREIGN_MESSAGES = True
    assert deliver(consumer, body(options=options)).options == options


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"no message", "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        (b"\xff\x00", "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b'{"actor_name":"log"}', "it lacks the fields of a message: KeyError: 'args'"),
    ],
)
def test_what_is_no_message_is_logged_with_its_queue_its_first_bytes_and_the_reason(
    consumer: OutboxConsumer, caplog: pytest.LogCaptureFixture, raw: bytes, why: str
) -> None:
    deliver(consumer, raw)
    assert caplog.messages == [f"rejected queue={QUEUE} reason={why!r} body={raw!r} bytes={len(raw)}"]


def test_of_a_long_body_the_first_bytes_are_logged(consumer: OutboxConsumer, caplog: pytest.LogCaptureFixture) -> None:
    deliver(consumer, b"\n" * 10**6)
    shown = repr(b"\n" * MAX_SHOWN_BYTES)
    assert caplog.messages[0].endswith(f"body={shown} bytes=1000000")


def test_a_death_that_its_row_records_is_acknowledged_so_that_there_is_no_second_dead_letter(
    consumer: OutboxConsumer,
) -> None:
    dead, rejected = deliver(consumer), deliver(consumer)
    dead.outcome = State.DEAD.value
    consumer.nack(dead)
    consumer.nack(rejected)
    assert consumer.channel.answered == [("ack", 1), ("nack", 2)]


def test_an_actor_that_no_worker_knows_is_rejected_in_one_line_that_cannot_be_forged(
    consumer: OutboxConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    assert deliver(consumer, body(actor_name="log\n\x1b[2J", args=["x" * 100_000])) is None
    assert consumer.channel.answered == [("nack", 1)]
    [record] = caplog.records
    assert record.exc_info is None
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 500


def test_a_due_time_is_dropped_so_that_no_message_waits_in_the_worker(consumer: OutboxConsumer) -> None:
    assert deliver(consumer, body(options={"outbox": "7:0", "eta": 10**15})).options == {"outbox": "7:0"}


def test_log_lines_show_a_message_cut_and_escaped(consumer: OutboxConsumer) -> None:
    shown = str(deliver(consumer, body(args=["x" * 10**6, *range(1_000)], kwargs={"a\nb" * 1_000: "\x1b" * 1_000})))
    assert shown.startswith("log('xxx")
    assert shown.isprintable()
    assert len(shown) < 1_000


@pytest.mark.parametrize("headers", [None, {}, {"installation": None}, {"installation": "ours"}])
def test_messages_of_this_installation_and_of_earlier_releases_are_taken(
    consumer: OutboxConsumer, met: list[str], headers: dict[str, Any] | None
) -> None:
    assert deliver(consumer, headers=headers).message_id == "m"
    assert met == []


@pytest.mark.parametrize("raw", [body(), b"of a later release"])
def test_at_a_message_of_another_installation_it_ends_and_answers_nothing(
    consumer: OutboxConsumer, met: list[str], raw: bytes
) -> None:
    before = deliver(consumer)
    with pytest.raises(StopIteration):
        deliver(consumer, raw, headers={"installation": "theirs"})
    assert (met, consumer.channel.answered, consumer.connection.is_open) == (["theirs"], [], False)
    consumer.ack(before)
    assert consumer.channel.answered == []


def test_nothing_to_take_is_none(consumer: OutboxConsumer) -> None:
    assert next(consumer) is None


def test_connection_and_consumer_say_which_process_they_are(consumer: OutboxConsumer) -> None:
    process = f"vazifa worker {socket.gethostname()} pid={os.getpid()}"
    assert consumer.connection.addresses[0].client_properties == {"connection_name": f"{process} queue={QUEUE}"}
    assert consumer.channel.consumed == {
        "queue": QUEUE,
        "prefetch": 16,
        "inactivity_timeout": 1.0,
        "consumer_tag": process,
    }


@pytest.mark.parametrize(
    "error",
    [pika.exceptions.AMQPConnectionError(), AMQPConnectorStackTimeout(), socket.gaierror("no such name"), OSError()],
)
def test_a_rabbitmq_that_cannot_be_reached_is_a_closed_connection(
    connect: Callable[[], OutboxConsumer], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(_parameters: Any, **_options: Any) -> None:
        raise error

    monkeypatch.setattr("actors.outbox.amqp.pika_internals.AnyAddressConnection", refuse)
    with pytest.raises(ConnectionClosed):
        connect()


def test_closing_closes_the_connection(consumer: OutboxConsumer) -> None:
    consumer.close()
    assert not consumer.connection.is_open


def test_closing_closes_the_connection_of_a_lost_channel(consumer: OutboxConsumer) -> None:
    consumer.channel.is_open = False
    consumer.close()
    assert not consumer.connection.is_open


def test_closing_sends_the_answers_that_are_buffered(
    scheduled: list[Callable[[], None]], consumer: OutboxConsumer
) -> None:
    consumer.ack(deliver(consumer))
    consumer.close()
    assert consumer.channel.answered == [("ack", 1)]


def test_answers_for_a_lost_channel_do_not_keep_the_connection_from_being_closed(
    scheduled: list[Callable[[], None]], consumer: OutboxConsumer
) -> None:
    consumer.ack(deliver(consumer))
    consumer.channel.is_open = False
    consumer.close()
    assert (consumer.channel.answered, consumer.connection.is_open) == ([], False)
