"""Consumes messages from RabbitMQ for Dramatiq's workers, and acknowledges them once their outcome is committed.

Dramatiq's worker thread calls `ack` when a run is over: after `execution` has committed the outcome, or, in a batch,
after `group_commit` has. A worker that is killed earlier has acknowledged nothing: RabbitMQ redelivers, and a second
run after a committed outcome finds no row and does nothing. `broker` makes one consumer for each queue and connection.

Guarantee: a connection acknowledges only deliveries of its own, and none that was left for redelivery. Dramatiq's own
consumer can acknowledge, and so remove, another message that has not run:
docs/upstream/dramatiq-acknowledges-another-connections-message.md. A message of another installation is neither run nor
answered: the consumer ends, and RabbitMQ gets back all that it had prefetched (`shared_queues`).
"""

import reprlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import dramatiq
from dramatiq import Message, MessageProxy
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import ConnectionClosed
from dramatiq.logging import get_logger
from pika.exceptions import AMQPError

from actors.outbox.amqp.client_names import process_name, with_connection_name
from actors.outbox.amqp.outage import (
    CANNOT_CONNECT,
    outage_of_queue,
    rabbitmq_outage,
    refusal_of,
    report,
)
from actors.outbox.amqp.pika_internals import open_consuming, unflushed
from actors.outbox.amqp.topology import declare, explain_refusal, name_in_rabbitmq
from actors.outbox.conf import conf
from actors.outbox.context import MAX_LOGGED_ERROR, log_word
from actors.outbox.decoding import INSTALLATION, MAX_SHOWN_BYTES, AttemptRef, read
from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.log_limit import limit_lines
from actors.outbox.worker.acks import AckBuffer

# What pika raises over a connection or a channel that is lost.
LOST = (AMQPError, AssertionError)
MAX_SHOWN_ARGUMENTS = 6
# The value of `models.State.DEAD`: Dramatiq makes its broker before the models are loaded.
DEAD = "dead"

REJECTED = "rejected queue=%s reason=%r body=%r bytes=%d"
limit_lines(get_logger(__name__, "OutboxConsumer"), REJECTED)  # type: ignore[no-untyped-call]


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """How a consumer knows the messages of other installations, and what it does when it meets one."""

    installation: str
    """The id of this installation."""

    on_meeting: Callable[[str], None]
    """Called with the other's id, after everything was given back to RabbitMQ."""


class DeliveredMessage(MessageProxy):
    """A message with the consumer that received it, the only one that may acknowledge it."""

    def __init__(self, message: Message[Any], *, redelivered: bool, tag: int, consumer: "OutboxConsumer") -> None:
        super().__init__(message)
        self.redelivered = redelivered
        """Whether RabbitMQ has delivered this message before, to any consumer, even if it never began there."""
        self.tag = tag
        self.consumer = consumer
        self.is_left_for_redelivery = False
        self.outcome = ""
        """What was written for it: `settled`, `scheduled` or `dead`; empty if it did not run."""

    def __str__(self) -> str:
        """Return the message for log lines, cut: any program may have written it."""
        named = islice(self.kwargs.items(), MAX_SHOWN_ARGUMENTS)
        arguments = [reprlib.repr(value) for value in self.args[:MAX_SHOWN_ARGUMENTS]]
        arguments += [f"{log_word(name)}={reprlib.repr(value)}" for name, value in named]
        return f"{log_word(self.actor_name)}({', '.join(arguments)})"

    def stuff_exception(self, exception: BaseException) -> None:
        self.is_left_for_redelivery = isinstance(exception, LeaveForRedelivery)
        super().stuff_exception(exception)


class OutboxConsumer(dramatiq.Consumer):
    """Consumes one queue over one connection, and acknowledges only deliveries of that connection.

    When the connection is lost, RabbitMQ redelivers its messages. Dramatiq keeps those it has received in memory and,
    once they have run, passes them to the consumer of the next connection. They still run, because only the row shows
    whether another copy has been settled since; but they are never acknowledged, and no worker thread waits for a
    connection because of them.

    Threads: the consumer thread makes, iterates and closes a consumer. Worker threads call `ack` and `nack` (in
    Dramatiq 2.2.1 `WorkerThread.process_message` does, through `ConsumerThread.post_process_message`), the consumer
    thread itself only for unknown actors. So these two touch the connection only through its
    `add_callback_threadsafe`; a message's consumer and tag are set before any worker thread sees it, and never change.
    """

    def __init__(
        self,
        broker: RabbitmqBroker,
        queue_name: str,
        prefetch: int,
        timeout: int,
        neighbours: Neighbours | None = None,
    ) -> None:
        """Connect, declare the queue and prepare to consume; the first `next()` subscribes.

        Args:
            broker: the broker whose connection parameters are used, and whose actors are known.
            queue_name: declared anew on every connection, so that a node that lost its disk gets its queues back.
            prefetch: how many messages may be unacknowledged at a time.
            timeout: how long `next()` waits for a message, in milliseconds.
            neighbours: None if no other installation's messages are expected.

        Raises:
            ConnectionClosed: RabbitMQ cannot be reached, or refuses the queue; then the error says what to do.
        """
        self.queue_name = queue_name
        self._broker = broker
        self._neighbours = neighbours
        self.logger = get_logger(__name__, type(self))  # type: ignore[no-untyped-call]
        self.known_tags: set[int] = set()
        self._is_proven = False
        self._ack_buffer = AckBuffer()
        name = process_name("worker")
        try:
            self.connection = open_consuming(with_connection_name(broker.parameters, f"{name} queue={queue_name}"))
        except CANNOT_CONNECT as error:
            report(consumer_of(queue_name), error)
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        rabbitmq_outage.recover(consumer_of(queue_name))
        try:
            declare(self.connection, queue_name)
            self.channel = self.connection.channel()
            self.channel.basic_qos(prefetch_count=prefetch)
            # Without the queue's name, with which the tag might exceed AMQP's 255 bytes.
            self.iterator = self.channel.consume(
                name_in_rabbitmq(queue_name), inactivity_timeout=timeout / 1000, consumer_tag=name
            )
        except CANNOT_CONNECT as error:
            # Dramatiq closes only consumers that it was given.
            self._close_connection()
            self._report(error)
            raise ConnectionClosed(describe_connect_failure(queue_name, error)) from None  # type: ignore[no-untyped-call]

    def __next__(self) -> DeliveredMessage | None:
        """Return the next message; None if none has arrived in time, or no worker may run it.

        Such a one is logged and rejected: RabbitMQ moves it, unchanged, to the dead-letter queue.

        Raises:
            ConnectionClosed: the connection, or its channel, is lost.
            StopIteration: the message is another installation's.
        """
        try:
            method, properties, body = next(self.iterator)
        except LOST as error:
            self._report(error)
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        if not self._is_proven:
            self._is_proven = True
            outage_of_queue(self.queue_name).recover(consumer_of(self.queue_name))
        if method is None:
            return None
        self._leave_to_neighbours(properties)
        self.known_tags.add(method.delivery_tag)
        message, problem = self._read(body)
        if message is None:
            shown = problem[:MAX_LOGGED_ERROR], body[:MAX_SHOWN_BYTES]
            self.logger.error(REJECTED, self.queue_name, *shown, len(body))
            self._answer(method.delivery_tag, is_ack=False)
            return None
        # Dramatiq looks up the consumer by the queue's name in the body; an unknown name ends the worker thread.
        if message.queue_name != self.queue_name:
            message = message.copy(queue_name=self.queue_name)
        return DeliveredMessage(message, redelivered=method.redelivered, tag=method.delivery_tag, consumer=self)

    def _report(self, error: BaseException) -> None:
        part = consumer_of(self.queue_name)
        if refusal := refusal_of(error):
            outage_of_queue(self.queue_name).fail(part, explain_refusal(self.queue_name, refusal), kind=refusal)
        else:
            report(part, error)

    def _read(self, body: bytes) -> tuple[Message[Any] | None, str]:
        """Return the message, or None and why no worker may run it. Whether it equals its row, `delivery` checks."""
        message, problem = read(body)
        if message is None:
            return None, problem
        is_foreign = AttemptRef.of(message.options) is None
        if is_foreign and not conf.OUTBOX_FOREIGN_MESSAGES:
            return None, "foreign: another program published it, and OUTBOX_FOREIGN_MESSAGES is False"
        if message.actor_name not in self._broker.actors:
            return None, f"there is no actor {log_word(message.actor_name)}"
        if not is_foreign:
            # The relay publishes none. For one with a due time Dramatiq would wait, unacknowledged.
            message.options.pop("eta", None)
        return message, ""

    def _leave_to_neighbours(self, properties: Any) -> None:
        if self._neighbours is None:
            return
        other = (properties.headers or {}).get(INSTALLATION)
        if other is not None and other != self._neighbours.installation:
            # Not by nacks, which would come back at once and count until RabbitMQ gives the message up.
            self.close()
            self._neighbours.on_meeting(str(other))
            raise StopIteration

    def ack(self, message: MessageProxy) -> None:
        """Acknowledge `message`, unless it is left for redelivery or came over a connection that is lost by now."""
        self._answer_own(message, is_ack=True)

    def nack(self, message: MessageProxy) -> None:
        """Reject `message` for good, under the same conditions; RabbitMQ moves it to the dead-letter queue.

        If its row is its dead letter already, it is acknowledged: the dead-letter queue gets no second one.
        """
        self._answer_own(message, is_ack=getattr(message, "outcome", "") == DEAD)

    def close(self) -> None:
        """Send the buffered acks and close the connection, even if only its channel was lost."""
        self._flush_acks()
        self._close_connection()

    def _close_connection(self) -> None:
        if self.connection.is_open:
            with suppress(*LOST):
                self.connection.close()

    def _answer_own(self, message: MessageProxy, *, is_ack: bool) -> None:
        if not isinstance(message, DeliveredMessage) or message.consumer is not self:
            reason = "it came over a lost connection, RabbitMQ redelivers it"
        elif message.is_left_for_redelivery:
            reason = "unsettled, RabbitMQ redelivers it when this worker ends"
        else:
            try:
                self._answer(message.tag, is_ack=is_ack)
            except AMQPError:
                # Raised, it would make the worker thread wait, 5 s at a time, for one that must not acknowledge.
                reason = "its connection is lost, RabbitMQ redelivers it"
            else:
                return
        subject = str(message.options.get("subject") or "")
        self.logger.info(
            "not acknowledged actor=%s subject=%s message=%s: %s",
            log_word(message.actor_name),
            log_word(subject),
            log_word(message.message_id),
            reason,
        )

    def _answer(self, tag: int, *, is_ack: bool) -> None:
        """Buffer an ack or nack, from any thread; the consumer thread sends it with all others that are buffered."""
        if tag not in self.known_tags:
            self.logger.warning("There is no message to be settled under the tag %d.", tag)
            return
        self.known_tags.discard(tag)
        if self._ack_buffer.add(tag, is_ack=is_ack):
            self.connection.add_callback_threadsafe(self._flush_acks)

    def _flush_acks(self) -> None:
        # The channel inside pika's blocking one, which would flush after each of them: this thread's next wait for
        # messages writes all of them together.
        channel = unflushed(self.channel)
        # Over a channel that is lost nothing can be acknowledged: RabbitMQ redelivers.
        for answer in self._ack_buffer.take() if channel.is_open else ():
            if answer.is_ack:
                channel.basic_ack(answer.tag, multiple=answer.up_to)
            else:
                channel.basic_nack(answer.tag, requeue=False)


def consumer_of(queue: str) -> str:
    """Return the name of a queue's consumer among the parts of this process that an outage strikes."""
    return f"consumer of {queue}"


def describe_connect_failure(queue: str, error: BaseException) -> str:
    """Return why a queue cannot be consumed and, if RabbitMQ refuses it, what to do."""
    if refusal := refusal_of(error):
        return explain_refusal(queue, refusal)
    return str(error) or type(error).__name__
