"""Keeps the workers of two installations on one vhost of RabbitMQ from taking each other's messages.

Guarantee: a worker that meets another installation's message gives back what it had prefetched and consumes that queue
no more. Of all workers one looks again about each `OUTBOX_PROBE_SECONDS`, with a prefetch of 1: RabbitMQ counts one
delivery of one message in that time. A queue in which it meets none for half of that time is consumed as before. The
state is in `WatchedQueue.probe_at`, for all processes; `broker` opens consumers here.
"""

import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import dramatiq
from django.db import Error, connection
from django.db.models import Q
from django.db.models.functions import Now
from dramatiq import MessageProxy
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import ConnectionClosed

from actors.outbox.amqp.outage import rabbitmq_outage
from actors.outbox.amqp.topology import SHARED_HINT
from actors.outbox.conf import conf
from actors.outbox.context import log_word
from actors.outbox.db.outage import database_outage, report
from actors.outbox.installation import installation_id
from actors.outbox.models import WatchedQueue
from actors.outbox.worker.consumer import DeliveredMessage, Neighbours, OutboxConsumer, consumer_of

logger = logging.getLogger(__name__)

# How often a worker that waits asks whether it is its turn, at most.
MAX_LOOK_SECONDS = 5.0
# RabbitMQ puts what is given back behind what was given back before. Two installations that look in turn, at equal
# intervals, could each find the other's message for ever.
MIN_JITTER, MAX_JITTER = 0.5, 1.5


class WaitingConsumer(dramatiq.Consumer):
    """Brings no message, until it is time to open another consumer."""

    def __init__(self, queue: str, timeout: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to wait.

        Args:
            queue: the shared queue.
            timeout: how long `next()` takes, in milliseconds.
            clock: monotonic seconds.
        """
        self._queue = queue
        self._seconds = timeout / 1000
        self._clock = clock
        self._looks_at = clock() + look_seconds()

    def __next__(self) -> None:
        """Return None after a while.

        Raises:
            StopIteration: the queue is not shared any more, or it is time to probe it.
        """
        time.sleep(self._seconds)
        if self._clock() >= self._looks_at:
            self._looks_at = self._clock() + look_seconds()
            if _ask(self._queue, lambda: not WatchedQueue.objects.filter(_rests(), name=self._queue).exists()):
                raise StopIteration

    def ack(self, message: MessageProxy) -> None:
        """Do nothing: the message came over a connection that was closed, and RabbitMQ redelivers it."""

    nack = ack


class ProbingConsumer(OutboxConsumer):
    """Consumes one message at a time from a queue that was shared, to find out whether it still is."""

    clock: Callable[[], float] = staticmethod(time.monotonic)
    """Monotonic seconds."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._until = self.clock() + conf.OUTBOX_PROBE_SECONDS * MIN_JITTER

    def __next__(self) -> DeliveredMessage | None:
        """Return the next message, as an `OutboxConsumer` does.

        Raises:
            StopIteration: the message is another installation's, or there was none for long enough.
        """
        if self.clock() < self._until or self.known_tags:
            message = super().__next__()
            if message is None or self.clock() < self._until:
                return message
            # In a long queue the next one comes as soon as the one before is acknowledged. It is given back.
        _ask(self.queue_name, partial(_note_end, self.queue_name))
        self.close()
        raise StopIteration


def open_consumer(broker: RabbitmqBroker, queue: str, prefetch: int, timeout: int) -> dramatiq.Consumer:
    """Return the consumer that may consume a queue now.

    Args:
        broker: as for an `OutboxConsumer`.
        queue: the queue's name.
        prefetch: how many messages may be unacknowledged at a time, if the queue is not shared.
        timeout: how long the consumer waits for a message, in milliseconds.

    Raises:
        ConnectionClosed: the database or RabbitMQ cannot be reached, or RabbitMQ refuses the queue.
    """
    try:
        neighbours = Neighbours(installation=installation_id(), on_meeting=partial(note_meeting, queue))
        is_shared, may_probe = _take_turn(queue)
    except Error as error:
        report(consumer_of(queue), error)
        reason = f"the database is unavailable: {error}"
        raise ConnectionClosed(reason) from None  # type: ignore[no-untyped-call]
    finally:
        _close_connection()
    database_outage.recover(consumer_of(queue))
    if not is_shared:
        return OutboxConsumer(broker, queue, prefetch, timeout, neighbours)
    if may_probe:
        return ProbingConsumer(broker, queue, 1, timeout, neighbours)
    rabbitmq_outage.leave(consumer_of(queue))
    return WaitingConsumer(queue, timeout)


def note_meeting(queue: str, other: str) -> None:
    """Record that a queue holds a message of another installation, for all workers; log it once for all of them.

    Args:
        queue: the queue's name.
        other: the other installation's id, as the message has it.
    """

    def record() -> bool:
        WatchedQueue.objects.bulk_create([WatchedQueue(name=queue)], ignore_conflicts=True)
        this = WatchedQueue.objects.filter(name=queue)
        is_new = _mark(this.filter(probe_at=None))
        if not is_new:
            _mark(this)
        return is_new

    if _ask(queue, record):
        logger.error(
            "queue=%s is shared with another installation=%s, this one is %s: the workers of this one do not consume "
            "it, and look again each %g s. %s",
            queue,
            log_word(other),
            installation_id(),
            conf.OUTBOX_PROBE_SECONDS,
            SHARED_HINT,
        )


def look_seconds() -> float:
    """Return how often a worker that waits asks whether it is its turn."""
    return min(MAX_LOOK_SECONDS, conf.OUTBOX_PROBE_SECONDS / 4)


def _take_turn(queue: str) -> tuple[bool, bool]:
    """Return whether a queue is shared, and whether this worker is the one to probe it now."""
    shared = WatchedQueue.objects.filter(name=queue, probe_at__isnull=False)
    if not shared.exists():
        return False, False
    return True, _mark(shared.exclude(_rests()))


def _rests() -> Q:
    """Select queues at which no worker is to look yet."""
    return Q(probe_at__gt=Now())


def _mark(queues: Any) -> bool:
    seconds = conf.OUTBOX_PROBE_SECONDS * random.uniform(MIN_JITTER, MAX_JITTER)  # noqa: S311 – no secret
    return bool(queues.update(probe_at=Now() + timedelta(seconds=seconds)))


def _note_end(queue: str) -> bool:
    if WatchedQueue.objects.filter(name=queue).update(probe_at=None):
        logger.info("queue=%s holds no message of another installation any more: it is consumed as before", queue)
    return True


def _ask(queue: str, question: Callable[[], bool]) -> bool:
    """Return the database's answer; False if it gives none. The thread keeps no connection to it."""
    try:
        answer = question()
    except Error as error:
        report(consumer_of(queue), error)
        return False
    else:
        database_outage.recover(consumer_of(queue))
        return answer
    finally:
        _close_connection()


def _close_connection() -> None:
    if not connection.in_atomic_block:  # a test's
        connection.close()
