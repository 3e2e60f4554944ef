"""Hands the messages of rows to workers, in place of the relay and RabbitMQ.

Guarantee: a message is in one worker at a time. One that a worker has given back, or whose worker has stopped, is
delivered again. A dead letter gets the reason that it would get over RabbitMQ.
"""

import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models.functions import Now
from dramatiq import Broker, Consumer, Message, MessageProxy
from dramatiq.common import dq_name
from dramatiq.errors import QueueJoinTimeout

from actors.outbox.dead_letters.collector import UNDECODABLE
from actors.outbox.dead_letters.payload import fields_of
from actors.outbox.decoding import AttemptRef, read
from actors.outbox.exceptions import ConnectionOfTestCaseClosed, LeaveForRedelivery, OutboxError
from actors.outbox.models import UNLEASED, OutboxMessage, OutboxMessageQuerySet, State
from actors.outbox.relay.relay import encode
from actors.outbox.testing.inline import InlineWorker, give_up
from actors.outbox.testing.row_queues import RowQueue
from actors.outbox.worker.dramatiq_internals import error_of

# How often a worker looks for rows that have fallen due.
LOOK_SECONDS = 0.05
# Errors that end the test, where Dramatiq takes them for the actor's.
ENDING = (ConnectionOfTestCaseClosed, KeyboardInterrupt)


class Deliveries:
    """Which messages are in a worker, and what those have raised that are dead letters now."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queues: dict[int, str] = {}  # of the messages in a worker, by the ids of their rows
        self._errors: dict[str, BaseException] = {}  # by message id
        self._joining = 0

    def run_here(self, broker: Broker, queue: str, deadline: float | None) -> None:
        """Run all messages of a queue in the caller's thread, on its connection, in the order in which they fall due.

        Args:
            broker: that of the actors.
            queue: the queue's name.
            deadline: monotonic seconds; None for no limit.

        Raises:
            QueueJoinTimeout: messages are left at the deadline.
            OutboxError: the caller has a transaction open, or a message has ended without an outcome.
        """
        worker, before = InlineWorker(broker), None
        while self.bring_forward(queue):
            _require_time(deadline, queue)
            message = self.take(queue)
            if message is None:
                continue  # it was undecodable
            ref = message.options["outbox"]
            if message.redelivered and ref == before:
                raise worker.no_outcome(message)
            before = ref
            failed_before = len(worker.errors)
            try:
                worker.run(message)
            finally:
                self.release([message])
            for error in worker.errors[failed_before:]:
                if isinstance(error, ENDING):
                    raise error
                self.note_error(message, error)

    def wait_until_done(self, queue: str, deadline: float | None) -> None:
        """Wait until the workers' threads have run all messages of a queue.

        Args:
            queue: the queue's name.
            deadline: monotonic seconds; None for no limit.

        Raises:
            QueueJoinTimeout: messages are left at the deadline.
        """
        with self._changed:
            self._joining += 1
            try:
                while self._is_busy(queue) or self.bring_forward(queue):
                    _require_time(deadline, queue)
                    self._changed.notify_all()
                    self._changed.wait(LOOK_SECONDS)
            finally:
                self._joining -= 1

    def next(self, queue: str, *, at_most: int, timeout_seconds: float) -> MessageProxy | None:
        """Return a message for a worker's thread, unless `at_most` are in workers; None after the timeout."""
        with self._changed:
            is_full = list(self._queues.values()).count(queue) >= at_most
            if not is_full and self._may_use_database() and (message := self.take(queue)):
                return message
            self._changed.wait(min(timeout_seconds, LOOK_SECONDS))
            return None

    def take(self, queue: str) -> MessageProxy | None:
        """Publish the message of a queue that has been due for longest, and receive it; None if none is due."""
        with self._changed:
            row = self._unfinished(queue).first()
            if row is None:
                return None
            message = _publish(row)
            if message is not None:
                self._queues[row.pk] = queue
            return message

    def bring_forward(self, queue: str) -> bool:
        """Make the next message of a queue due if none is; return whether there is one.

        Delays, and the pauses before retries, thus take no time, and leases of executions that have ended are over.
        """
        if self._unfinished(queue).exists():
            return True
        upcoming = RowQueue(dq_name(queue)).unfinished().values("pk")[:1]
        rows = OutboxMessage.objects.filter(pk__in=[row["pk"] for row in upcoming])
        return bool(rows.update(due_at=Now() - timedelta(milliseconds=1), **UNLEASED))

    def release(self, messages: Iterable[MessageProxy]) -> None:
        """Note that messages are in no worker any more: those that are unsettled are delivered again."""
        with self._changed:
            for message in messages:
                self._queues.pop(_row_id(message), None)
            self._changed.notify_all()

    def note_error(self, message: MessageProxy, error: BaseException | None) -> None:
        """Keep the error of a message if that is a dead letter now."""
        if error is None or isinstance(error, LeaveForRedelivery):
            return
        with self._changed:
            if OutboxMessage.objects.filter(message_id=message.message_id, state=State.DEAD).exists():
                self._errors[message.message_id] = error

    def dead_letters(self, rows: OutboxMessageQuerySet) -> list[MessageProxy]:
        """Return the dead letters among rows, the oldest first, each with its error: its actor's own, if known.

        Errors of other messages are dropped, and with them the frames of the tests that they came from.
        """
        with self._changed:
            dead = list(rows.filter(state=State.DEAD).order_by("died_at", "pk"))
            ids = {row.message_id for row in dead}
            self._errors = {each: error for each, error in self._errors.items() if each in ids}
            return [_as_letter(row, self._errors.get(row.message_id)) for row in dead]

    def droppable(self, rows: OutboxMessageQuerySet) -> OutboxMessageQuerySet:
        """Return the rows whose messages are in no worker."""
        return rows.exclude(pk__in=list(self._queues))

    def _unfinished(self, queue: str) -> OutboxMessageQuerySet:
        """Return the due rows of a queue whose messages are in no worker."""
        return self.droppable(RowQueue(queue).unfinished())

    def _is_busy(self, queue: str) -> bool:
        return queue in self._queues.values() or not self._may_use_database(joins=True)

    def _may_use_database(self, *, joins: bool = False) -> bool:
        """Return whether this thread may use the database now.

        To an SQLite database in memory, connections are no isolation: a statement fails at once while another thread
        has a transaction. There one thread at a time works: that of a message, or the test's own.
        """
        is_in_memory = connection.vendor == "sqlite" and connection.is_in_memory_db()  # type: ignore[attr-defined]
        if not is_in_memory:
            return True
        return not self._queues and (joins or self._joining > 0)


class RowConsumer(Consumer):
    """Brings a worker's thread the messages of a queue's rows."""

    def __init__(self, deliveries: Deliveries, queue: str, prefetch: int, timeout: int) -> None:
        """Consume a queue.

        Args:
            deliveries: those of the broker.
            queue: the queue's name.
            prefetch: how many messages may be in the worker at a time.
            timeout: how long `next()` waits for a message, in milliseconds.
        """
        self._deliveries = deliveries
        self._queue = queue
        self._prefetch = prefetch
        self._timeout_seconds = timeout / 1000

    def __next__(self) -> MessageProxy | None:
        return self._deliveries.next(self._queue, at_most=self._prefetch, timeout_seconds=self._timeout_seconds)

    def ack(self, message: MessageProxy) -> None:
        try:
            self._deliveries.note_error(message, error_of(message))
        finally:
            self.requeue([message])

    def nack(self, message: MessageProxy) -> None:
        """Make a dead letter of the message, as RabbitMQ and the collector of dead letters do."""
        try:
            give_up(message)
        finally:
            self.ack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Note that messages have ended in this worker, or that it has given them back."""
        self._deliveries.release(messages)


def _publish(row: OutboxMessage) -> MessageProxy | None:
    """Mark a row as published, and return its message as a worker gets it; None if it is undecodable, and so dead."""
    is_redelivered = row.state == State.PUBLISHED
    this = OutboxMessage.objects.filter(pk=row.pk)
    outgoing, errors = encode([row])
    message: Message[Any] | None = None
    if outgoing:
        message, errors[row.pk] = read(outgoing[0].body)
    if message is None:
        this.mark_dead(UNDECODABLE, error=errors[row.pk])
        return None
    if not is_redelivered:
        this.update(state=State.PUBLISHED, claimed_at=Now(), published_at=Now())
    proxy = MessageProxy(message.copy(queue_name=row.queue))
    proxy.redelivered = is_redelivered  # type: ignore[attr-defined]
    return proxy


def _as_letter(row: OutboxMessage, error: BaseException | None) -> MessageProxy:
    letter = MessageProxy(Message(**{**fields_of(row), "queue_name": row.queue}))
    letter.fail()
    letter.stuff_exception(error or OutboxError(f"{row.actor} has failed, {row.reason}: {row.error}"))
    return letter


def _row_id(message: MessageProxy) -> int:
    ref = AttemptRef.of(message.options)
    assert ref is not None
    return ref.row_id


def _require_time(deadline: float | None, queue: str) -> None:
    if deadline is not None and time.monotonic() >= deadline:
        reason = f"messages of the queue {queue!r} are left at the timeout"
        raise QueueJoinTimeout(reason)  # type: ignore[no-untyped-call]
