"""Confirms, backoff and log lines of the publisher, without a network: RabbitMQ's possible answers in any order."""

import logging
import random
import socket
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pika
import pytest
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed, AMQPConnectorSocketConnectError
from pika.exceptions import (
    AMQPConnectionError,
    AMQPHeartbeatTimeout,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ConnectionOpenAborted,
    IncompatibleProtocolError,
    ProbableAuthenticationError,
    StreamLostError,
)
from pika.frame import Method
from pika.spec import Basic

from actors.outbox.amqp.confirms import SEQUENCE_HEADER, Confirms, Outgoing
from actors.outbox.amqp.connection import MAX_BACKOFF_SECONDS, ReconnectingConnection
from actors.outbox.amqp.outage import explain, kind_of
from actors.outbox.amqp.publisher import Publisher
from actors.outbox.amqp.topology import Declarations, explain_refusal

TOO_LARGE = ChannelClosedByBroker(406, "PRECONDITION_FAILED - message size 9 is larger than configured max size 5")
FRAME_TOO_LARGE = ConnectionClosedByBroker(501, "FRAME_ERROR - type 2, {frame_too_large,9,5}")
FORCED = ConnectionClosedByBroker(320, "CONNECTION_FORCED - closed by an operator")
FORBIDDEN = ChannelClosedByBroker(403, "ACCESS_REFUSED - write access to exchange 'amq.default' refused")


@dataclass
class FakeChannel:
    """Keeps what is published, as pika would write it."""

    published: list[tuple[str, bytes, pika.BasicProperties]] = field(default_factory=list)

    def basic_publish(
        self, exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties, *, mandatory: bool
    ) -> None:
        assert exchange == ""
        assert mandatory
        properties.encode()
        self.published.append((routing_key, body, properties))


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def channel() -> FakeChannel:
    return FakeChannel()


@pytest.fixture
def confirms(channel: FakeChannel) -> Confirms:
    return Confirms(channel)


def message(key: int, **properties: Any) -> Outgoing:
    return Outgoing(key=key, queue="q", body=b"{}", properties=pika.BasicProperties(**properties))


def send(confirms: Confirms, *keys: int) -> None:
    for key in keys:
        confirms.send(message(key))


def ack(confirms: Confirms, tag: int, *, multiple: bool = False) -> None:
    confirms.on_confirm(Method(1, Basic.Ack(tag, multiple)))


def nack(confirms: Confirms, tag: int, *, multiple: bool = False) -> None:
    confirms.on_confirm(Method(1, Basic.Nack(tag, multiple)))


def give_back(confirms: Confirms, channel: FakeChannel, tag: int) -> None:
    queue, body, properties = channel.published[tag - 1]
    confirms.on_return(channel, Basic.Return(312, "NO_ROUTE", "", queue), properties, body)


def test_a_message_is_confirmed_by_its_own_ack_only(confirms: Confirms) -> None:
    send(confirms, 71, 72, 73)
    ack(confirms, 2)
    assert confirms.outcome.confirmed == [72]
    assert not confirms.is_settled


def test_a_multiple_ack_confirms_all_up_to_it_and_none_after(confirms: Confirms) -> None:
    send(confirms, 71, 72, 73, 74)
    ack(confirms, 3, multiple=True)
    assert confirms.outcome.confirmed == [71, 72, 73]
    assert confirms.give_up().unknown == [74]


def test_a_multiple_ack_skips_what_was_answered_before(confirms: Confirms) -> None:
    send(confirms, 71, 72, 73)
    nack(confirms, 2)
    ack(confirms, 3, multiple=True)
    assert (confirms.outcome.confirmed, confirms.outcome.unknown) == ([71, 73], [72])


def test_a_multiple_ack_of_zero_confirms_everything(confirms: Confirms) -> None:
    send(confirms, 71, 72)
    ack(confirms, 0, multiple=True)
    assert confirms.outcome.confirmed == [71, 72]


def test_a_nacked_message_is_unknown(confirms: Confirms) -> None:
    send(confirms, 71, 72)
    nack(confirms, 2, multiple=True)
    assert confirms.outcome.unknown == [71, 72]
    assert confirms.is_settled


@pytest.mark.parametrize("tag", [0, 4, 2**63])
def test_an_ack_of_what_was_never_sent_confirms_nothing(confirms: Confirms, tag: int) -> None:
    send(confirms, 71, 72, 73)
    ack(confirms, tag)
    assert confirms.outcome.confirmed == []


def test_a_multiple_ack_beyond_what_was_sent_does_not_confirm_what_follows(confirms: Confirms) -> None:
    send(confirms, 71)
    ack(confirms, 2**63, multiple=True)
    send(confirms, 72)
    assert confirms.outcome.confirmed == [71]
    assert confirms.give_up().unknown == [72]


def test_a_second_ack_of_the_same_message_changes_nothing(confirms: Confirms) -> None:
    send(confirms, 71)
    ack(confirms, 1)
    ack(confirms, 1)
    nack(confirms, 1)
    assert (confirms.outcome.confirmed, confirms.outcome.unknown) == ([71], [])


def test_a_returned_message_is_unroutable_although_it_is_acknowledged_afterwards(
    confirms: Confirms, channel: FakeChannel
) -> None:
    send(confirms, 71, 72, 73)
    give_back(confirms, channel, 2)
    ack(confirms, 3, multiple=True)
    assert (confirms.outcome.unroutable, confirms.outcome.confirmed) == ([72], [71, 73])


def test_a_returned_message_is_known_among_equals(confirms: Confirms, channel: FakeChannel) -> None:
    confirms.send(message(71, message_id="same"))
    confirms.send(message(72, message_id="same"))
    give_back(confirms, channel, 2)
    ack(confirms, 2, multiple=True)
    assert (confirms.outcome.unroutable, confirms.outcome.confirmed) == ([72], [71])


def test_an_answer_to_an_earlier_batch_confirms_nothing_of_this_one(confirms: Confirms, channel: FakeChannel) -> None:
    send(confirms, 71, 72)
    confirms.give_up()
    confirms.start()
    send(confirms, 72)
    ack(confirms, 1)
    give_back(confirms, channel, 2)
    ack(confirms, 2)
    assert not confirms.is_settled
    ack(confirms, 3)
    assert confirms.outcome.confirmed == [72]


def test_what_was_not_sent_is_unknown(confirms: Confirms) -> None:
    send(confirms, 71)
    assert confirms.give_up([message(72)]).unknown == [71, 72]


def test_the_message_keeps_its_own_headers(confirms: Confirms, channel: FakeChannel) -> None:
    confirms.send(message(71, headers={"subject": "task:1"}))
    assert channel.published[0][2].headers == {"subject": "task:1", SEQUENCE_HEADER: 1}


@pytest.mark.parametrize(
    "properties",
    [{"headers": {"x": object()}}, {"message_id": "x" * 300}, {"message_id": 7}, {"timestamp": -1}, {"priority": 999}],
)
def test_a_message_that_cannot_be_encoded_is_refused_and_disturbs_no_other(
    confirms: Confirms, properties: dict[str, Any]
) -> None:
    confirms.send(message(71))
    confirms.send(message(72, **properties))
    confirms.send(message(73))
    ack(confirms, 2, multiple=True)
    assert confirms.outcome.confirmed == [71, 73]
    assert "cannot be encoded" in confirms.outcome.refused[72]


@pytest.mark.parametrize("error", [TOO_LARGE, FRAME_TOO_LARGE])
def test_the_only_message_outstanding_is_blamed(confirms: Confirms, error: Exception) -> None:
    send(confirms, 71, 72)
    ack(confirms, 1)
    confirms.on_close(error)
    assert list(confirms.outcome.refused) == [72]
    assert confirms.outcome.confirmed == [71]
    assert confirms.outcome.channel_error is None


@pytest.mark.parametrize("error", [TOO_LARGE, FRAME_TOO_LARGE])
def test_no_message_is_blamed_where_another_could_be_the_cause(confirms: Confirms, error: Any) -> None:
    send(confirms, 71, 72)
    confirms.on_close(error)
    assert (confirms.outcome.refused, confirms.outcome.unknown) == ({}, [71, 72])
    assert confirms.outcome.channel_error == error.reply_text


def test_no_message_is_blamed_for_what_an_earlier_batch_left_behind(confirms: Confirms) -> None:
    send(confirms, 71)
    confirms.give_up()
    confirms.start()
    send(confirms, 72)
    confirms.on_close(TOO_LARGE)
    assert (confirms.outcome.refused, confirms.outcome.unknown) == ({}, [72])
    assert confirms.outcome.channel_error is not None


@pytest.mark.parametrize("error", [FORCED, FORBIDDEN, StreamLostError("EOF"), TimeoutError("silent")])
def test_a_loss_that_is_no_message_s_fault_leaves_all_unknown(confirms: Confirms, error: Exception) -> None:
    send(confirms, 71)
    confirms.on_close(error)
    assert (confirms.outcome.refused, confirms.outcome.unknown) == ({}, [71])
    assert confirms.outcome.channel_error is None


@pytest.mark.parametrize("seed", range(200))
def test_any_interleaving_gives_what_a_simple_model_gives(seed: int) -> None:
    draw, channel = random.Random(seed), FakeChannel()
    confirms = Confirms(channel)
    model: dict[int, str] = {}  # of the batch: what became of each message, whose key is its tag
    for _ in range(draw.randint(1, 120)):
        choice = draw.random()
        if choice < 0.4:
            send(confirms, len(channel.published) + 1)
            model[len(channel.published)] = "outstanding"
        elif choice < 0.45:
            confirms.start()
            model.clear()
        else:
            _answer(draw, confirms, channel, model)
    _compare(confirms, model)


def _answer(draw: random.Random, confirms: Confirms, channel: FakeChannel, model: dict[int, str]) -> None:
    sent = len(channel.published)
    tag, multiple = draw.randint(0, sent + 2), draw.random() < 0.4
    if draw.random() < 0.2 and 1 <= tag <= sent:
        give_back(confirms, channel, tag)
        answered, verdict = [tag], "unroutable"
    elif draw.random() < 0.25:
        nack(confirms, tag, multiple=multiple)
        answered, verdict = _tags(tag, sent, multiple=multiple), "unknown"
    else:
        ack(confirms, tag, multiple=multiple)
        answered, verdict = _tags(tag, sent, multiple=multiple), "confirmed"
    model.update({each: verdict for each in answered if model.get(each) == "outstanding"})


def _tags(tag: int, sent: int, *, multiple: bool) -> list[int]:
    return list(range(1, (tag or sent) + 1)) if multiple else [tag]


def _compare(confirms: Confirms, model: dict[int, str]) -> None:
    def keys(*verdicts: str) -> list[int]:
        return [key for key, verdict in model.items() if verdict in verdicts]

    assert confirms.is_settled == (not keys("outstanding"))
    outcome = confirms.give_up()
    assert sorted(outcome.confirmed) == keys("confirmed")
    assert sorted(outcome.unroutable) == keys("unroutable")
    assert sorted(outcome.unknown) == keys("unknown", "outstanding")


REFUSED = AMQPConnectionError(
    AMQPConnectionWorkflowFailed([AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "Connection refused"))])
)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (REFUSED, "[Errno 111] Connection refused"),
        (
            AMQPConnectionWorkflowFailed([socket.gaierror(-2, "Name or service not known")]),
            "[Errno -2] Name or service",
        ),
        (ConnectionOpenAborted("prev_state=PROTOCOL"), "no answer in time"),
        (
            ProbableAuthenticationError("ConnectionClosedByBroker: (403) 'ACCESS_REFUSED - Login was refused.'"),
            "403 ACCESS_REFUSED - Login was refused.",
        ),
        (StreamLostError("Transport indicated EOF"), "Transport indicated EOF"),
        (FORCED, "320 CONNECTION_FORCED - closed by an operator"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_cause_of_a_failed_connection_is_one_line(error: Exception, cause: str) -> None:
    assert cause in explain(error)
    assert "\n" not in explain(error)


@pytest.mark.parametrize(
    ("kind", "errors"),
    [
        (
            None,
            [
                StreamLostError("EOF"),
                ConnectionResetError(104, "reset"),
                IncompatibleProtocolError("StreamLostError: ('Transport indicated EOF',)"),
            ],
        ),
        ("silent", [TimeoutError("no confirm in time"), AMQPHeartbeatTimeout("15 s"), ConnectionOpenAborted("OPEN")]),
        ("[Errno 111] Connection refused", [REFUSED]),
        ("320 CONNECTION_FORCED", [FORCED, ConnectionClosedByBroker(320, "CONNECTION_FORCED - shutdown")]),
    ],
)
def test_what_parts_of_a_process_meet_in_one_outage_is_of_one_kind(kind: str | None, errors: list[Exception]) -> None:
    assert {kind_of(each) for each in errors} == {kind}


@dataclass
class FakeConnection:
    """Records the calls it gets."""

    asked: list[object] = field(default_factory=list)

    def channel(self, *, on_open_callback: Callable[[Any], None]) -> None:
        self.asked.append(on_open_callback.__name__)

    def abort(self, error: Exception) -> None:
        self.asked.append(error)


@pytest.mark.parametrize(("error", "asked"), [(TOO_LARGE, "_on_channel_open"), (FORBIDDEN, FORBIDDEN)])
def test_only_a_message_s_fault_is_answered_with_a_new_channel_at_once(error: Exception, asked: object) -> None:
    connection = FakeConnection()
    returning = ReconnectingConnection(
        addresses=[pika.ConnectionParameters()], client_name="test", connect_timeout_seconds=1
    )
    returning._on_channel_closed(Confirms(FakeChannel()), SimpleNamespace(connection=connection), error)
    returning.close()
    assert connection.asked == [asked]


def test_every_address_is_tried_before_the_pause_between_attempts_grows() -> None:
    clock = Clock()
    cluster = [pika.ConnectionParameters(host) for host in "abc"]
    returning = ReconnectingConnection(addresses=cluster, client_name="test", clock=clock, jitter=lambda: 0.0)
    pauses = []
    for _ in range(60):
        returning._on_closed(cast(Any, None), REFUSED)
        pauses.append(returning._not_before - clock())
    returning.close()
    assert pauses[:6] == pytest.approx([0.05] * 3 + [0.1] * 3)
    assert sum(pauses[-3:]) == pytest.approx(MAX_BACKOFF_SECONDS / 2)


def test_a_refused_queue_is_explained() -> None:
    refusal = (
        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'mail.XQ' in vhost '/': received 'quorum'"
    )
    explained = explain_refusal("mail", refusal)
    assert "queue=mail.XQ argument=x-queue-type" in explained
    assert "delete it" in explained


@dataclass
class DeclaringChannel:
    """Remembers declarations; the test answers them."""

    on_open: Callable[[Any], None]
    declared: list[str] = field(default_factory=list)
    callbacks: list[Any] = field(default_factory=list)
    on_close: Callable[[Any, BaseException], None] = lambda _channel, _error: None

    def add_on_close_callback(self, callback: Callable[[Any, BaseException], None]) -> None:
        self.on_close = callback

    def queue_declare(
        self, queue: str, *, callback: Callable[[Any], None] | None, passive: bool = False, **final: Any
    ) -> None:
        assert passive or (final["durable"] and final["arguments"])
        self.declared.append(f"{queue} (passive)" if passive else queue)
        self.callbacks.append(callback)

    def close(self) -> None:
        self.on_close(self, RuntimeError("closed by us"))


@dataclass
class DeclaringConnection:
    channels: list[DeclaringChannel] = field(default_factory=list)

    def channel(self, *, on_open_callback: Callable[[Any], None]) -> DeclaringChannel:
        self.channels.append(DeclaringChannel(on_open_callback))
        return self.channels[-1]


def test_the_dead_letter_queue_is_declared_first_and_each_queue_once() -> None:
    connection, declarations = DeclaringConnection(), Declarations(clock=Clock())
    declaration = declarations.get(connection, "mail")
    [channel] = connection.channels
    channel.on_open(channel)
    assert channel.declared == ["mail.XQ", "mail"]
    assert not declaration.is_settled
    channel.callbacks[-1](None)
    assert declaration.is_done
    assert declaration.refusal is None
    assert declarations.get(connection, "mail") is declaration


def test_a_refused_queue_is_tried_again_after_a_while() -> None:
    clock, connection = Clock(), DeclaringConnection()
    declarations = Declarations(clock=clock)
    for _ in range(3):
        declaration = declarations.get(connection, "mail")
        connection.channels[-1].on_close(None, ChannelClosedByBroker(406, "PRECONDITION_FAILED - no"))
        assert declarations.get(connection, "mail") is declaration
        clock.now += 6
    assert len(connection.channels) == 3


def test_a_user_who_may_not_configure_a_queue_uses_it_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    connection, declarations = DeclaringConnection(), Declarations(clock=Clock())
    for _ in range(2):
        declaration = declarations.get(connection, "mail")
        connection.channels[-1].on_close(None, ChannelClosedByBroker(403, "ACCESS_REFUSED - configure"))
        assert not declaration.is_settled
        passive = connection.channels[-1]
        passive.on_open(passive)
        assert passive.declared == ["mail.XQ (passive)", "mail (passive)"]
        passive.callbacks[-1](None)
        assert declaration.is_done
        declarations.forget("mail")
    [line] = caplog.messages
    assert "queue=mail is used as it is, its arguments cannot be checked reason='ACCESS_REFUSED - configure'" in line


def test_a_missing_queue_that_the_user_may_not_declare_is_a_refusal() -> None:
    connection, declarations = DeclaringConnection(), Declarations(clock=Clock())
    declaration = declarations.get(connection, "mail")
    for error in (
        ChannelClosedByBroker(403, "ACCESS_REFUSED - configure"),
        ChannelClosedByBroker(404, "NOT_FOUND - no queue 'mail.XQ' in vhost '/'"),
    ):
        connection.channels[-1].on_close(None, error)
    assert len(connection.channels) == 2
    explained = explain_refusal("mail", declaration.refusal or "")
    assert explained.startswith("queue=mail.XQ reason=")
    assert """hint='declare it, durable, with the arguments {"x-queue-type": "quorum", """ in explained


def test_a_queue_that_was_returned_from_is_declared_again() -> None:
    connection, declarations = DeclaringConnection(), Declarations(clock=Clock())
    declarations.get(connection, "mail")
    declarations.forget("mail")
    declarations.get(connection, "mail")
    assert len(connection.channels) == 2


class WaitingConnection:
    """A connection on which RabbitMQ answers nothing: a turn takes as long as it may."""

    def __init__(self, clock: Clock) -> None:
        self.confirms: Confirms | None = Confirms(FakeChannel())
        self.declarations = SimpleNamespace(
            get=lambda _connection, queue: SimpleNamespace(queue=queue, is_settled=True, is_done=True, refusal=None),
        )
        self.pika = SimpleNamespace(unwritten_bytes=0, corked=nullcontext)
        self.is_blocked = False
        self.aborted: list[str] = []
        self.on_turn: Callable[[], None] = lambda: None
        self._clock = clock

    def turn(self, *, until: float) -> None:
        self.on_turn()
        self._clock.now = until

    def interrupt(self) -> None:
        """Ends the turn, which here ends by itself."""

    def abort(self, reason: str) -> None:
        self.aborted.append(reason)


def test_the_callback_is_called_once_a_second_and_the_wait_ends_in_time() -> None:
    clock, ticks = Clock(), []
    connection = WaitingConnection(clock)
    publisher = Publisher(cast(ReconnectingConnection, connection), clock=clock)
    outcome = publisher.publish([message(71)], timeout_seconds=3, on_wait=lambda: ticks.append(clock.now))
    assert (outcome.unknown, connection.aborted) == ([71], ["no confirm in time"])
    assert (ticks, clock.now) == ([101, 102, 103], 103)


def test_a_stop_leaves_half_a_second_for_what_is_outstanding() -> None:
    clock = Clock()
    connection = WaitingConnection(clock)
    publisher = Publisher(cast(ReconnectingConnection, connection), clock=clock)
    connection.on_turn = publisher.stop
    publisher.publish([message(71)], timeout_seconds=60, on_wait=lambda: None)
    assert clock.now == 101  # of the first turn, which nothing has ended
    clock.now = 200
    publisher.publish([message(72)], timeout_seconds=60, on_wait=lambda: None)
    assert clock.now == 200


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def waiting(clock: Clock) -> Publisher:
    """A publisher that could publish, with nothing to do."""
    return Publisher(cast(ReconnectingConnection, WaitingConnection(clock)), clock=clock)


def test_a_run_ends_at_the_earliest_time_for_which_it_was_woken(waiting: Publisher, clock: Clock) -> None:
    for at in (140.0, 120.0, 130.0):
        waiting.wake(at)
    waiting.run(3_600)
    assert clock.now == 120


def test_a_run_ends_before_a_time_that_comes_after_its_timeout_and_forgets_it(waiting: Publisher, clock: Clock) -> None:
    waiting.wake(100_000.0)
    waiting.run(10)
    assert clock.now == 110
    waiting.run(3_600)
    assert clock.now == 110 + 3_600


def test_a_time_during_a_rest_takes_effect_at_its_end(waiting: Publisher, clock: Clock) -> None:
    waiting.rest(10)
    waiting.wake(105.0)
    waiting.run(3_600)
    assert clock.now == 110


def test_a_time_ends_no_run_while_nothing_could_be_published(clock: Clock) -> None:
    connection = WaitingConnection(clock)
    connection.is_blocked = True
    publisher = Publisher(cast(ReconnectingConnection, connection), clock=clock)
    publisher.wake(105.0)
    publisher.run(3_600)
    assert clock.now == 100 + 3_600


def test_a_queue_that_refuses_messages_for_a_while_is_told_once_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "actors.outbox")
    clock, answer = Clock(), Basic.Nack
    connection = WaitingConnection(clock)
    publisher = Publisher(cast(ReconnectingConnection, connection), clock=clock)

    def answer_all() -> None:
        assert connection.confirms is not None
        connection.confirms.on_confirm(Method(1, answer(0, multiple=True)))

    connection.on_turn = answer_all
    for _ in range(30):
        publisher.publish([message(71)], timeout_seconds=3, on_wait=lambda: None)
    [line] = caplog.messages
    assert line.startswith("queue q unavailable for='relay' queue=q reason='RabbitMQ refuses its messages' hint=")
    answer = Basic.Ack
    for _ in range(3):
        publisher.publish([message(71)], timeout_seconds=3, on_wait=lambda: None)
    assert [one.split(" after")[0] for one in caplog.messages[1:]] == ["queue q available again"]
