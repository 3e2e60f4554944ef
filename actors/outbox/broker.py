"""The broker behind `actor.send()`: a send is one row in the caller's own transaction, and never touches the network.

Guarantee: a message exists if and only if its change was committed. `relay` carries it on, `settlement` ends it.
"""

from datetime import timedelta
from typing import Any

import pika
from django.db import connection, transaction
from django.db.models.functions import Now
from dramatiq import Broker, Message
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import q_name

from actors.outbox import queues
from actors.outbox.consumer import OwnMessagesConsumer
from actors.outbox.context import current_context
from actors.outbox.errors import NotSupported

BLOCKED_TIMEOUT_SECONDS = 10
# A silent peer is noticed after two of these. RabbitMQ proposes 60.
HEARTBEAT_SECONDS = 15


class OutboxMixin(Broker):
    """Turns `enqueue` into an insert. Mixed into a broker that consumes."""

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Write the message down, due `delay` milliseconds from now.

        Raises:
            NotSupported: the transaction is a manual one, or the message has a priority.
            TypeError: the message cannot be encoded.
        """
        from actors.outbox.models import OutboxMessage
        from actors.outbox.thread import process_relay

        _refuse_what_cannot_be_kept(message)
        message = message.copy(queue_name=q_name(message.queue_name))
        self.declare_queue(message.queue_name)
        self.emit_before("enqueue", message, delay)
        context = current_context()
        OutboxMessage.objects.create(
            message_id=message.message_id,
            queue=message.queue_name,
            actor=message.actor_name,
            body=message.encode(),
            due_at=Now() + timedelta(milliseconds=delay or 0),
            subject=message.options.get("subject", ""),
            dedupe_key=message.options.get("dedupe_key"),
            request_id=context.request_id,
            changed_by=context.changed_by,
            changed_by_id=context.changed_by_id,
        )
        # robust: the change is committed; that nobody could be woken turns no answer into an error.
        transaction.on_commit(process_relay.wake, robust=True)
        self.emit_after("enqueue", message, delay)
        return message


def _refuse_what_cannot_be_kept(message: Message[Any]) -> None:
    if "broker_priority" in message.options:
        raise NotSupported("broker_priority is not supported: RabbitMQ's quorum queues have no such order.")
    if not connection.get_autocommit() and not connection.in_atomic_block:
        raise NotSupported("send() needs transaction.atomic(), not set_autocommit(False): nothing says when to relay.")


class OutboxRabbitmqBroker(OutboxMixin, RabbitmqBroker):
    """The broker of the service: sends through the outbox, consumes from RabbitMQ's quorum queues."""

    def __init__(self, *, url: str, **options: Any) -> None:
        parameters = pika.URLParameters(url)
        parameters.blocked_connection_timeout = BLOCKED_TIMEOUT_SECONDS
        if parameters.heartbeat is None:
            parameters.heartbeat = HEARTBEAT_SECONDS
        super().__init__(**options)
        self.parameters = parameters

    @property
    def consumer_class(self) -> type[OwnMessagesConsumer]:
        return OwnMessagesConsumer

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Declare a queue and its queue of dead letters; none for delays, which are due times of rows."""
        name = q_name(queue_name)
        if name not in self.queues:
            self.emit_before("declare_queue", name)
            self.queues.add(name)
            self.queues_pending.add(name)
            self.emit_after("declare_queue", name)
        if ensure:
            self._ensure_queue(name)  # type: ignore[no-untyped-call]

    def _declare_queue(self, queue_name: str) -> Any:
        # First: RabbitMQ holds back dead letters whose queue does not exist.
        self._declare_xq_queue(queue_name)
        return super()._declare_queue(queue_name)  # type: ignore[no-untyped-call]

    def _declare_dq_queue(self, queue_name: str) -> None:
        """Declare nothing: a delay is a due time."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return queues.work_queue_arguments(queue_name)

    def _declare_xq_queue(self, queue_name: str) -> Any:
        return self.channel.queue_declare(
            queue=queues.dead_letter_queue(queue_name), durable=True, arguments=queues.dead_letter_queue_arguments()
        )


class OutboxStubBroker(OutboxMixin, StubBroker):
    """The broker of unit tests: the same rows, no network."""
