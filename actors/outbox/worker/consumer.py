"""Consumes messages from RabbitMQ for Dramatiq's workers, and acknowledges them once their outcome is committed.

Dramatiq's worker thread calls `ack` when a run is over: after `execution` has committed the outcome, or, in a batch,
after `group_commit` has. A worker that is killed earlier has acknowledged nothing: RabbitMQ redelivers, and a second
run after a committed outcome finds no row and does nothing. `broker` makes one consumer for each queue and connection.

Guarantee: a connection acknowledges only deliveries of its own, and none that was left for redelivery. Dramatiq's own
consumer can acknowledge, and so remove, another message that has not run:
docs/upstream/dramatiq-acknowledges-another-connections-message.md.
"""

from contextlib import suppress
from typing import Any

import dramatiq
from dramatiq import Message, MessageProxy
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import ConnectionClosed, DecodeError
from dramatiq.logging import get_logger
from pika.exceptions import AMQPError, ChannelClosedByBroker

from actors.outbox.amqp.client_names import process_name, with_connection_name
from actors.outbox.amqp.outage import CANNOT_CONNECT
from actors.outbox.amqp.pika_internals import open_consuming, unflushed
from actors.outbox.amqp.topology import declare, explain_refusal
from actors.outbox.context import log_word
from actors.outbox.exceptions import LeaveForRedelivery
from actors.outbox.worker.acks import AckBuffer

# What pika raises over a connection or a channel that is lost.
LOST = (AMQPError, AssertionError)


class DeliveredMessage(MessageProxy):
    """A message with the consumer that received it, the only one that may acknowledge it."""

    def __init__(self, message: Message[Any], *, redelivered: bool, tag: int, consumer: "OutboxConsumer") -> None:
        super().__init__(message)
        self.redelivered = redelivered
        """Whether RabbitMQ has delivered this message before, to any consumer, even if it never began there."""
        self.tag = tag
        self.consumer = consumer
        self.is_left_for_redelivery = False

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

    def __init__(self, broker: RabbitmqBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        """Connect, declare the queue and prepare to consume; the first `next()` subscribes.

        Args:
            broker: the broker whose connection parameters are used.
            queue_name: declared anew on every connection, so that a node that lost its disk gets its queues back.
            prefetch: how many messages may be unacknowledged at a time.
            timeout: how long `next()` waits for a message, in milliseconds.

        Raises:
            ConnectionClosed: RabbitMQ cannot be reached, or refuses the queue; then the error says what to do.
        """
        self.queue_name = queue_name
        self.logger = get_logger(__name__, type(self))  # type: ignore[no-untyped-call]
        self.known_tags: set[int] = set()
        self._ack_buffer = AckBuffer()
        name = process_name("worker")
        try:
            self.connection = open_consuming(with_connection_name(broker.parameters, f"{name} queue={queue_name}"))
        except CANNOT_CONNECT as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        try:
            self.channel = self.connection.channel()
            declare(self.channel, queue_name)
            self.channel.basic_qos(prefetch_count=prefetch)
            # Without the queue's name, with which the tag might exceed AMQP's 255 bytes.
            self.iterator = self.channel.consume(queue_name, inactivity_timeout=timeout / 1000, consumer_tag=name)
        except CANNOT_CONNECT as error:
            # Dramatiq closes only consumers that it was given.
            self._close_connection()
            raise ConnectionClosed(describe_connect_failure(queue_name, error)) from None  # type: ignore[no-untyped-call]

    def __next__(self) -> DeliveredMessage | None:
        """Return the next message; None if none has arrived in time, or its body is no Dramatiq message.

        Such a body is logged and rejected: RabbitMQ moves it, unchanged, to the dead-letter queue.

        Raises:
            ConnectionClosed: the connection, or its channel, is lost.
        """
        try:
            method, _properties, body = next(self.iterator)
        except LOST as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]
        if method is None:
            return None
        self.known_tags.add(method.delivery_tag)
        message = _decode(body)
        if message is None:
            self.logger.error("Rejecting what is not a message on queue %r: %r", self.queue_name, body)
            self._answer(method.delivery_tag, is_ack=False)
            return None
        # Dramatiq looks up the consumer by the queue's name in the body; an unknown name ends the worker thread.
        if message.queue_name != self.queue_name:
            message = message.copy(queue_name=self.queue_name)
        return DeliveredMessage(message, redelivered=method.redelivered, tag=method.delivery_tag, consumer=self)

    def ack(self, message: MessageProxy) -> None:
        """Acknowledge `message`, unless it is left for redelivery or came over a connection that is lost by now."""
        self._answer_own(message, is_ack=True)

    def nack(self, message: MessageProxy) -> None:
        """Reject `message` for good, under the same conditions; RabbitMQ moves it to the dead-letter queue."""
        self._answer_own(message, is_ack=False)

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


def describe_connect_failure(queue: str, error: BaseException) -> str:
    """Return why a queue cannot be consumed and, if RabbitMQ refuses it, what to do."""
    if isinstance(error, ChannelClosedByBroker):
        return explain_refusal(queue, error.reply_text)
    return str(error) or type(error).__name__


def _decode(body: bytes) -> Message[Any] | None:
    """Return the message in a body; None if the body is not a message.

    Dramatiq decodes any object with the right keys. Values of a wrong type make its consumer thread fail, reconnect
    and receive the same message again, endlessly.
    """
    try:
        message = Message.decode(body)
    except DecodeError:
        return None
    is_well_formed = (
        isinstance(message.actor_name, str)
        and isinstance(message.kwargs, dict)
        and isinstance(message.options, dict)
        and isinstance(message.message_id, str)
    )
    return message if is_well_formed else None
