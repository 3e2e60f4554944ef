"""The broker behind `actor.send()`: what is sent within a transaction leaves when that commits, and not if it does not.

Guarantee: a message tells only of what is committed, and RabbitMQ has confirmed each that left. A message whose
publishing fails after the commit is logged as an error and is lost.
"""

from functools import partial
from threading import RLock
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from django.db import transaction
from dramatiq import Message
from dramatiq.broker import Broker
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker

from actors.outbox import queues

_Base = Broker if TYPE_CHECKING else object


class SendOnCommit(_Base):
    """Broker mixin that publishes after the commit of the caller's transaction, or at once where there is none."""

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        # robust: the change is committed, so a broker that is away must not turn the answer into an error.
        transaction.on_commit(partial(super().enqueue, message, delay=delay), robust=True)
        return message


class ConfirmedRabbitmqBroker(RabbitmqBroker):
    """Publishes with confirms to durable quorum queues, over one connection a process.

    Dramatiq keeps a connection for each thread that ever published, for ever; under a server that makes a thread for
    each request, such as `runserver`, that is a connection leaked with every create.
    """

    def __init__(self, *, url: str, **options: Any) -> None:
        super().__init__(url=url, confirm_delivery=True, **options)
        self.state = SimpleNamespace()
        self._connection_lock = RLock()
        # Seconds. Without it a publish hangs for as long as RabbitMQ is out of memory or disk.
        self.parameters.blocked_connection_timeout = 10

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        with self._connection_lock:
            return super().enqueue(message, delay=delay)

    def _ensure_queue(self, canonical_queue_name: str) -> None:
        with self._connection_lock:
            super()._ensure_queue(canonical_queue_name)

    def _declare_queue(self, queue_name: str) -> Any:
        # First of the three: RabbitMQ holds back dead letters whose queue does not exist.
        self._declare_xq_queue(queue_name)
        return super()._declare_queue(queue_name)

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        return queues.work_queue_arguments(queue_name)

    def _declare_xq_queue(self, queue_name: str) -> Any:
        return self.channel.queue_declare(
            queue=queues.dead_letter_queue(queue_name),
            durable=True,
            arguments=queues.dead_letter_queue_arguments(),
        )


class CommittedRabbitmqBroker(SendOnCommit, ConfirmedRabbitmqBroker):
    """The broker of the service."""


class CommittedStubBroker(SendOnCommit, StubBroker):
    """The broker of unit tests: the same moment of sending, no network."""
