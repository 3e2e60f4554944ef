"""Sends messages over one channel in confirm mode (`basic_publish`), and records the outcome of each.

Guarantee: a message is `confirmed` only if RabbitMQ has acknowledged that very message. One that RabbitMQ nacked or
did not answer is `unknown`, never dropped. `publisher` drives it.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker, ConnectionClosedByBroker

from actors.outbox.amqp.topology import name_in_rabbitmq

# A header of each message, which identifies a returned one even among equal messages; .NET's client does the same.
SEQUENCE_HEADER = "x-publish-sequence"

# Reply codes with which RabbitMQ closes a channel or connection because of a message's content: too large (also 311),
# invalid expiration or user id, headers that fit in no frame. Others, such as 320 (operator) or 403 (permissions), are
# not caused by a message.
CHANNEL_FAULTS = frozenset({311, 406, 501, 502})
CONNECTION_FAULTS = frozenset({501, 502, 505})

# What pika raises for properties that cannot be encoded, before anything is written.
ENCODING_ERRORS = (AMQPError, AssertionError, AttributeError, OverflowError, TypeError, ValueError, struct.error)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outgoing:
    """A message for one queue."""

    key: int
    """Identifies the message to the caller; the `Outcome` lists messages by it."""

    queue: str
    """The queue's name, without the installation's prefix."""

    body: bytes

    properties: pika.BasicProperties
    """`Confirms.send` adds `SEQUENCE_HEADER` to their headers."""


@dataclass(kw_only=True, slots=True)
class Outcome:
    """The results of one `publish()`: each message's key is in exactly one of the first four fields."""

    confirmed: list[int] = field(default_factory=list)
    """RabbitMQ has the message; on a quorum queue, on the disks of a majority of its nodes."""

    refused: dict[int, str] = field(default_factory=dict)
    """Messages that would be refused again because of their content; with the reason."""

    unroutable: list[int] = field(default_factory=list)
    """Returned, because its queue is gone. The next `publish()` declares the queue again."""

    unknown: list[int] = field(default_factory=list)
    """All others: perhaps not sent, perhaps in the queue already. Publish them again later."""

    nacked: set[int] = field(default_factory=set)
    """Those of `unknown` that RabbitMQ has nacked: their queue is full, or is just being created."""

    channel_error: str | None = None
    """Why RabbitMQ closed the channel or connection over one of the `unknown`; publish each alone to find that one."""


def fault_of_a_message(error: BaseException) -> str | None:
    """Return why RabbitMQ closed a channel or connection, if a message's content was the reason; otherwise None."""
    if isinstance(error, ChannelClosedByBroker):
        return error.reply_text if error.reply_code in CHANNEL_FAULTS else None
    if isinstance(error, ConnectionClosedByBroker):
        return error.reply_text if error.reply_code in CONNECTION_FAULTS else None
    return None


class Confirms:
    """Confirms of the messages sent over one channel. The `on_` methods are the channel's callbacks."""

    def __init__(self, channel: Any) -> None:
        self.outcome = Outcome()
        self.has_confirmed = False
        self._channel = channel
        self._outstanding: dict[int, int] = {}
        self._sent = 0
        self._has_strays = False

    @property
    def is_settled(self) -> bool:
        """Whether no confirm is outstanding."""
        return not self._outstanding

    def start(self) -> Outcome:
        """Begin another batch and return its outcome, still empty; confirms of earlier messages are ignored."""
        self._has_strays = self._has_strays or bool(self._outstanding)
        self._outstanding.clear()
        self.outcome = Outcome()
        return self.outcome

    def send(self, message: Outgoing) -> None:
        """Publish a message on the channel. One that pika cannot encode is `refused`."""
        sequence, routing_key = self._sent + 1, name_in_rabbitmq(message.queue)
        try:
            message.properties.headers = {**(message.properties.headers or {}), SEQUENCE_HEADER: sequence}
            self._channel.basic_publish("", routing_key, message.body, message.properties, mandatory=True)
        except ENCODING_ERRORS as error:
            self.outcome.refused[message.key] = f"cannot be encoded: {type(error).__name__}: {error}"
        else:
            self._sent = sequence
            self._outstanding[sequence] = message.key

    def give_up(self, unsent: Iterable[Outgoing] = ()) -> Outcome:
        """Return the outcome, with every outstanding message and those in `unsent` as `unknown`."""
        self.outcome.unknown += self._outstanding.values()
        self.outcome.unknown += [message.key for message in unsent]
        self._has_strays = self._has_strays or bool(self._outstanding)
        self._outstanding.clear()
        return self.outcome

    def on_confirm(self, frame: Any) -> None:
        """Record an ack or a nack from RabbitMQ."""
        keys = self._settle(frame.method.delivery_tag, multiple=frame.method.multiple)
        if isinstance(frame.method, pika.spec.Basic.Ack):
            self.has_confirmed = True
            self.outcome.confirmed += keys
        else:
            self.outcome.unknown += keys
            self.outcome.nacked.update(keys)

    def on_return(self, _channel: Any, _method: Any, properties: pika.BasicProperties, _body: bytes) -> None:
        """Record a returned message. RabbitMQ acknowledges it afterwards; that ack is ignored."""
        key = self._outstanding.pop(properties.headers[SEQUENCE_HEADER], None)
        if key is not None:
            self.outcome.unroutable.append(key)

    def on_close(self, error: BaseException) -> None:
        """Record that the channel has closed. A message is `refused` for it only if no other can be the cause."""
        fault = fault_of_a_message(error)
        if fault and len(self._outstanding) == 1 and not self._has_strays:
            [key] = self._outstanding.values()
            self.outcome.refused[key] = fault
            self._outstanding.clear()
        elif self._outstanding:
            self.outcome.channel_error = fault
        self.give_up()

    def _settle(self, sequence: int, *, multiple: bool) -> list[int]:
        if not multiple:
            key = self._outstanding.pop(sequence, None)
            return [] if key is None else [key]
        # In AMQP a multiple ack or nack of tag 0 covers every outstanding message.
        last = sequence or self._sent
        covered = list(takewhile(lambda each: each <= last, self._outstanding))
        return [self._outstanding.pop(each) for each in covered]
