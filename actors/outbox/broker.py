"""The broker behind `actor.send()`: a send writes its row in the caller's transaction and never contacts RabbitMQ.

Guarantee: a sent message becomes visible if and only if the caller's transaction commits. Two sends differ: inside
`batch_enqueue` the row is written at the end of the block, and a send with the `dedupe_key` of a waiting message writes
none. `relay` publishes the message, `worker` settles it.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pika
from django.db import connection
from django.db.models import Count
from dramatiq import Actor, Broker, Consumer, Message
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.common import q_name
from dramatiq.errors import ActorNotFound, ConnectionClosed, QueueJoinTimeout, QueueNotFound

from actors.outbox.amqp.connection import CONNECT_TIMEOUT_SECONDS
from actors.outbox.amqp.login import log_in
from actors.outbox.amqp.outage import CANNOT_CONNECT
from actors.outbox.amqp.topology import declare
from actors.outbox.context import current_context
from actors.outbox.discovery import import_actors
from actors.outbox.exceptions import NotSupported
from actors.outbox.testing.stub_broker import RowStubBroker
from actors.outbox.wakeup import wake_relay_on_commit
from actors.outbox.worker.consumer import describe_connect_failure
from actors.outbox.worker.coroutines import supported_function
from actors.outbox.worker.limits import prefetch_of

BLOCKED_TIMEOUT_SECONDS = 10
# A silent peer is detected after two heartbeat intervals. RabbitMQ's own default is 60.
HEARTBEAT_SECONDS = 15
CALLBACKS = ("on_success", "on_failure", "on_retry_exhausted")
"""The options that name an actor to which a message is sent when a message has ended."""
PRIORITY_NOT_SUPPORTED = (
    "broker_priority and max_priority are not supported: RabbitMQ's quorum queues have no such order. Use a separate "
    "queue with workers of its own."
)
GROUP_CALLBACKS_NOT_SUPPORTED = (
    "A group's completion callbacks are not supported: Dramatiq counts completed messages outside the database's "
    "transactions. Let the actors count in the database, and the last one send."
)
FLUSH_NOT_SUPPORTED = (
    "flush() is not supported: it would drop committed work without a record of who did, and why. Cancel messages by "
    "`manage.py outbox cancel` or in the admin, and discard dead letters by `manage.py deadletters discard`."
)


_batch: ContextVar[list[dict[str, Any]] | None] = ContextVar("outbox_batch", default=None)


@contextmanager
def batch_enqueue() -> Iterator[None]:
    """Insert the messages sent inside the block at its end, in one round trip of the caller's transaction: all or none.

    A message with a `dedupe_key` is inserted at once: the send must know whether another one is waiting.
    """
    assert connection.in_atomic_block, "batch_enqueue() inserts at its end: it needs an open transaction"
    if _batch.get() is not None:  # the outer block writes
        yield
        return
    rows: list[dict[str, Any]] = []
    token = _batch.set(rows)
    try:
        yield
    finally:
        _batch.reset(token)
    if rows:
        _write(rows)


class OutboxMixin(Broker):
    """Replaces a broker's `enqueue` with an insert; mixed into a broker that consumes."""

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        """Register an actor for workers and for sends.

        Raises:
            NotSupported: its function is a generator, or a coroutine that could not run as the actor's options promise.
        """
        actor.fn = supported_function(actor, self.middleware)
        super().declare_actor(actor)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Insert a message, in the caller's transaction.

        At most one message with the same `dedupe_key` is waiting: until it begins, a send with that key inserts no row.
        Once it has begun, its run may miss later changes, so the next send inserts a row again. A waiting message does
        not begin before the transactions of all its senders have ended. A dead letter has no key.

        Args:
            message: the message.
            delay: milliseconds from now until it is due.

        Returns:
            The message as it was written: with the queue's canonical name.

        Raises:
            NotSupported: the transaction is a manual one, or the message has a priority, a group's callbacks or an eta.
            ActorNotFound: a callback of the message, or of its actor, names no actor.
            TypeError: the message cannot be encoded.
        """
        _refuse_unsupported(message)
        self._require_callbacks(message)
        message = message.copy(queue_name=q_name(message.queue_name))
        self.declare_queue(message.queue_name)
        self.emit_before("enqueue", message, delay)
        context = current_context()
        row = {
            "message_id": message.message_id,
            "queue": message.queue_name,
            "actor": message.actor_name,
            "body": message.encode(),
            "delay_ms": delay or 0,
            "subject": message.options.get("subject", ""),
            "sequence": message.options.get("sequence"),
            "dedupe_key": message.options.get("dedupe_key") or None,
            "request_id": context.request_id,
            "changed_by": context.changed_by,
            "changed_by_id": context.changed_by_id,
        }
        buffer = _batch.get()
        if buffer is None or row["dedupe_key"] is not None:
            _write([row])
        else:
            buffer.append(row)
        self.emit_after("enqueue", message, delay)
        return message

    def _require_callbacks(self, message: Message[Any]) -> None:
        # Sent by a worker, after the run: a misspelt one would fail there, at each message.
        for step in _steps_of(message):
            actor = self.actors.get(step["actor_name"])
            for option in CALLBACKS:
                name = step["options"].get(option) or (actor and actor.options.get(option))
                if name and name not in self.actors:
                    import_actors()
                    if name not in self.actors:
                        raise ActorNotFound(f"{option}={name!r} of {step['actor_name']} names no actor.")  # type: ignore[no-untyped-call]


def _write(rows: list[dict[str, Any]]) -> None:
    from actors.outbox import store  # noqa: PLC0415 – Dramatiq makes its broker before the models are loaded

    if len(rows) == 1:
        store.insert(**rows[0])
    else:
        store.insert_many(rows)
    wake_relay_on_commit(delay_ms=min(row["delay_ms"] for row in rows))


def _refuse_unsupported(message: Message[Any]) -> None:
    for step in _steps_of(message):
        options = step["options"]
        if "broker_priority" in options:
            raise NotSupported(PRIORITY_NOT_SUPPORTED)
        if "group_completion_uuid" in options or "group_completion_callbacks" in options:
            raise NotSupported(GROUP_CALLBACKS_NOT_SUPPORTED)
        if "eta" in options:
            raise NotSupported("eta is not supported: the message would wait in a worker. Use delay=…, milliseconds.")
    manual = connection.in_atomic_block and not connection.commit_on_exit  # atomic() inside set_autocommit(False)
    if manual or not (connection.get_autocommit() or connection.in_atomic_block):
        raise NotSupported("send() needs transaction.atomic(), not set_autocommit(False): on_commit needs autocommit.")


def _steps_of(message: Message[Any]) -> Iterator[dict[str, Any]]:
    # Later steps of a pipeline too: a step that is refused in a worker would fail again at each retry.
    step: dict[str, Any] | None = {"actor_name": message.actor_name, "options": message.options}
    while step is not None:
        yield step
        step = step["options"].get("pipe_target")


class OutboxRabbitmqBroker(OutboxMixin, RabbitmqBroker):
    """The broker of the service: sends through the outbox, consumes from RabbitMQ.

    All methods of Dramatiq's that declare a queue are replaced: under its arguments no worker could consume the queue,
    and RabbitMQ changes none that exists.
    """

    def __init__(self, **options: Any) -> None:
        """Prepare to connect.

        Args:
            options: those of Dramatiq's broker: mostly `url`, RabbitMQ's address; of a cluster, a list of them, or one
                text with `;` between them.

        Raises:
            NotSupported: `max_priority` is among the options.
        """
        super().__init__(**options)
        if self.max_priority is not None:
            raise NotSupported(PRIORITY_NOT_SUPPORTED)
        if not isinstance(self.parameters, list):
            self.parameters = [self.parameters]
        for each in self.parameters:
            each.blocked_connection_timeout = BLOCKED_TIMEOUT_SECONDS
            each.socket_timeout = each.stack_timeout = CONNECT_TIMEOUT_SECONDS
            if each.heartbeat is None:
                each.heartbeat = HEARTBEAT_SECONDS

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        """Return a consumer of a queue, which declares it over the consumer's own connection.

        If another installation uses the queue too, the consumer may bring none of its messages.

        Args:
            queue_name: the queue's name.
            prefetch: how many messages may be unacknowledged; `limits.prefetch_of` may raise it for this queue.
            timeout: how long the consumer waits for a message, in milliseconds.

        Raises:
            ConnectionClosed: RabbitMQ cannot be reached, or refuses; or the database cannot be reached.
        """
        from actors.outbox.worker.shared_queues import open_consumer  # noqa: PLC0415 – as in `_write`

        self.declare_queue(queue_name)
        return open_consumer(self, queue_name, max(prefetch, prefetch_of(self, queue_name)), timeout)

    def log_in(self) -> None:
        """Try what relay and workers need of RabbitMQ, with the queues of all actors.

        Raises:
            AccessRefused: RabbitMQ refuses, or no address answers.
        """
        import_actors()
        log_in(self.parameters, sorted(self.queues))

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        """Register a queue for workers. There are no delay queues: a delay is the due time of a row.

        Args:
            queue_name: the queue's name.
            ensure: declare it to RabbitMQ too, at once; otherwise its first consumer or publisher does.

        Raises:
            ConnectionClosed: with `ensure`, RabbitMQ cannot be reached, or refuses.
        """
        name = q_name(queue_name)
        if name not in self.queues:
            self.emit_before("declare_queue", name)
            self.queues.add(name)
            self.emit_after("declare_queue", name)
        if ensure:
            try:
                with pika.BlockingConnection(self.parameters) as connection:
                    declare(connection, name)
            except CANNOT_CONNECT as error:
                reason = describe_connect_failure(name, error)
                raise ConnectionClosed(reason) from None  # type: ignore[no-untyped-call]

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        """Return how many messages of a queue wait or run, how many are scheduled, and how many are dead.

        They are counted by their rows, so also those that are not in RabbitMQ; foreign messages have none.
        """
        from actors.outbox.models import OutboxMessage, State  # noqa: PLC0415 – as in `_write`

        rows = OutboxMessage.objects.filter(queue=q_name(queue_name))
        counts = Counter(dict(rows.values_list("state").annotate(Count("pk"))))
        return counts[State.PENDING] + counts[State.PUBLISHED], counts[State.SCHEDULED], counts[State.DEAD]

    def join(
        self, queue_name: str, min_successes: int = 1, idle_time: int = 100, *, timeout: int | None = None
    ) -> None:
        """Wait until each message of a queue is settled or dead, also those that are not in RabbitMQ yet.

        Args:
            queue_name: the queue's name.
            min_successes: how many times in succession none must be left. Once is exact: a row is there until its work
                is done, and is deleted in the transaction of its follow-ups.
            idle_time: how long to wait between two looks, in milliseconds.
            timeout: how long to wait altogether, in milliseconds.

        Raises:
            QueueNotFound: no actor has this queue.
            QueueJoinTimeout: messages were left when the time was over.
            NotSupported: a transaction is open: what was sent in it is not published before it ends.
        """
        if q_name(queue_name) not in self.queues:
            raise QueueNotFound(queue_name)  # type: ignore[no-untyped-call]
        if connection.in_atomic_block:
            raise NotSupported("join() inside a transaction would wait for messages that are published after its end.")
        ends_at = None if timeout is None else time.monotonic() + timeout / 1000
        successes = 0
        while True:
            waiting, scheduled, _dead = self.get_queue_message_counts(queue_name)
            successes = 0 if waiting + scheduled else successes + 1
            if successes >= min_successes:
                return
            if ends_at is not None and time.monotonic() >= ends_at:
                raise QueueJoinTimeout(queue_name)  # type: ignore[no-untyped-call]
            time.sleep(idle_time / 1000)

    def flush(self, queue_name: str) -> None:
        """Refuse to drop messages: a purge of RabbitMQ would only have them published again.

        Raises:
            NotSupported: always.
        """
        raise NotSupported(FLUSH_NOT_SUPPORTED)

    def flush_all(self) -> None:
        """Refuse to drop messages, as `flush` does."""
        raise NotSupported(FLUSH_NOT_SUPPORTED)


class OutboxStubBroker(OutboxMixin, RowStubBroker):
    """The broker of tests: the same rows, no network. `join` has their messages run (`testing`)."""
