"""The broker behind `actor.send()`: what is sent within a transaction leaves when that commits, and not if it does not.

Guarantee: a message tells only of what is committed, and RabbitMQ has confirmed each that left. A message whose
publishing fails after the commit is logged as an error and is lost.
"""

from threading import RLock
from types import SimpleNamespace
from typing import Any

import pika
from django.db import transaction
from dramatiq import Broker, Message
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker

from actors.outbox import queues

BLOCKED_TIMEOUT_SECONDS = 10


class SendOnCommit(Broker):
    """Broker mixin that publishes after the commit of the caller's transaction, or at once where there is none."""

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        publish = super().enqueue

        def publish_message() -> None:  # no partial: Django logs the failed function by its name
            publish(message, delay=delay)

        # robust: the change is committed, so a broker that is away must not turn the answer into an error.
        transaction.on_commit(publish_message, robust=True)
        return message


class ConfirmedRabbitmqBroker(RabbitmqBroker):
    """Publishes with confirms to durable quorum queues, over one connection a process.

    Dramatiq keeps a connection for each thread that ever published, for ever; under a server that makes a thread for
    each request, such as `runserver`, that is a connection leaked with every create.
    """

    def __init__(self, *, url: str, **options: Any) -> None:
        parameters = pika.URLParameters(url)
        # Without it a publish hangs for as long as RabbitMQ is out of memory or disk.
        parameters.blocked_connection_timeout = BLOCKED_TIMEOUT_SECONDS
        super().__init__(confirm_delivery=True, **options)
        self.parameters = parameters
        self.state = SimpleNamespace()  # type: ignore[assignment]  # shared, where it was local to a thread
        self._connection_lock = RLock()

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        with self._connection_lock:
            return super().enqueue(message, delay=delay)

    def _ensure_queue(self, canonical_queue_name: str) -> None:
        with self._connection_lock:
            super()._ensure_queue(canonical_queue_name)  # type: ignore[no-untyped-call]

    def _declare_queue(self, queue_name: str) -> Any:
        # First of the three: RabbitMQ holds back dead letters whose queue does not exist.
        self._declare_xq_queue(queue_name)
        return super()._declare_queue(queue_name)  # type: ignore[no-untyped-call]

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return queues.work_queue_arguments(queue_name)

    def _declare_xq_queue(self, queue_name: str) -> Any:
        return self.channel.queue_declare(
            queue=queues.dead_letter_queue(queue_name), durable=True, arguments=queues.dead_letter_queue_arguments()
        )


class CommittedRabbitmqBroker(SendOnCommit, ConfirmedRabbitmqBroker):
    """The broker of the service."""


class CommittedStubBroker(SendOnCommit, StubBroker):
    """The broker of unit tests: the same moment of sending, no network."""
