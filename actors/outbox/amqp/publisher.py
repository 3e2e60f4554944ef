"""Publishes messages with publisher confirms, many at once, and returns the outcome of each.

Guarantee: `publish()` returns within its timeout and half a second regardless of what RabbitMQ does, and reports as
confirmed only messages that RabbitMQ has confirmed. All I/O runs in the calling thread, which must call `run()` or
`publish()` more often than heartbeats are due. Uses no database: `relay` passes the messages and marks the rows;
`confirms` sends each message and tracks its confirm, `connection` reconnects.
"""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from actors.outbox.amqp.confirms import Confirms, Outcome, Outgoing
from actors.outbox.amqp.connection import PART, ReconnectingConnection
from actors.outbox.amqp.outage import outage_of_queue
from actors.outbox.amqp.topology import explain_refusal, name_in_rabbitmq

__all__ = ["Outcome", "Outgoing", "Publisher"]

ON_WAIT_SECONDS = 1.0
STOP_GRACE_SECONDS = 0.5
# A quorum queue nacks for a second or so while it is being created.
FULL_AFTER_SECONDS = 10.0
FULL = "RabbitMQ refuses its messages"
# The largest write buffer: about 200 small messages. Measured, 16 to 256 KiB are equally fast.
CHUNK_BYTES = 128 * 1024
OVERHEAD_BYTES = 250


class Publisher:
    """A connection to RabbitMQ that publishes with confirms. It belongs to one thread.

    After a fork the child creates a new publisher and must not even close this one: the socket is the parent's.
    """

    def __init__(self, connection: ReconnectingConnection, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Take over a connection; the first `run()` connects it."""
        self._connection = connection
        self._clock = clock
        self._rests_until = -math.inf
        self._nacked_since: dict[str, float] = {}
        self._wakes_at = math.inf
        self._waking = threading.Lock()
        self._stopped = threading.Event()
        self._stops_at = math.inf

    def is_ready(self) -> bool:
        """Return whether a message can be published now: connected, in confirm mode, not blocked by an alarm."""
        return self._connection.confirms is not None and not self._connection.is_blocked

    def run(self, timeout_seconds: float) -> None:
        """Connect and stay connected: process heartbeats and other frames from RabbitMQ.

        Returns at once after `stop()`; at the earliest time that `wake()` has set, or the end of a `rest()` if that is
        later; as soon as the publisher becomes ready; and after `timeout_seconds`. Times that were set are forgotten.
        """
        deadline = self._clock() + timeout_seconds
        became_ready = False
        while not (became_ready or self._stopped.is_set() or self._clock() >= self._end_of_run(deadline)):
            became_ready = self._turn_becomes_ready(self._end_of_run(deadline))
        if not became_ready:
            # Frames from RabbitMQ are read and answered even if every call returns early because of `wake()`.
            self._connection.turn(until=self._clock())
        with self._waking:
            self._wakes_at = math.inf

    def publish(self, messages: Sequence[Outgoing], *, timeout_seconds: float, on_wait: Callable[[], None]) -> Outcome:
        """Publish messages and wait for their confirms; declare their queues first if that is due.

        If confirms are still outstanding at the end, RabbitMQ counts as dead and the connection is terminated, unless
        RabbitMQ has reported it as blocked.

        Args:
            messages: all of them may be outstanding at once: the caller bounds their number.
            timeout_seconds: for declarations, writes and confirms together; it may take half a second longer.
            on_wait: called about once a second during the wait. An exception from it ends the wait and propagates.

        Returns:
            The outcome of each message. Without a ready connection all are `unknown`.
        """
        work = partial(self._work, deadline=self._clock() + timeout_seconds, on_wait=on_wait)
        confirms = self._connection.confirms
        if confirms is None or not self.is_ready():
            return Outcome(unknown=[message.key for message in messages])
        confirms.start()
        declared = self._declare(confirms, {message.queue for message in messages}, work)
        unsent = deque(message for message in messages if message.queue in declared)
        work(lambda: self._send_some(confirms, unsent))
        if self._connection.confirms is confirms and not self._connection.is_blocked and not confirms.is_settled:
            self._connection.abort("no confirm in time")
        outcome = confirms.give_up([*unsent, *(each for each in messages if each.queue not in declared)])
        self._forget_queues_of(outcome, messages)
        self._note_full_queues(outcome, messages)
        return outcome

    def rest(self, seconds: float) -> None:
        """Ignore `wake()` for `seconds`: commits in quick succession are published as one batch, at the cost of one.

        A wake-up during the rest takes effect at its end.
        """
        self._rests_until = self._clock() + seconds

    def wake(self, at: float = -math.inf) -> None:
        """Make the current or the next `run()` return at a time, if a message can be published; safe from any thread.

        Otherwise this does nothing: `run()` returns anyway when the publisher becomes ready. A `publish()` is not
        interrupted.

        Args:
            at: by the publisher's clock; at once by default.
        """
        with self._waking:
            is_news = self.is_ready() and at < self._wakes_at
            if is_news:
                self._wakes_at = at
        if is_news:
            self._connection.interrupt()

    def stop(self) -> None:
        """Make `run()` return at once from now on, and `publish()` within half a second; safe from any thread."""
        self._stops_at = min(self._stops_at, self._clock() + STOP_GRACE_SECONDS)
        self._stopped.set()
        self._connection.interrupt()

    def close(self) -> None:
        """Close the connection; this takes a second at most. The publisher cannot be used afterwards."""
        self._connection.close()

    def _end_of_run(self, deadline: float) -> float:
        return min(deadline, max(self._wakes_at, self._rests_until))

    def _turn_becomes_ready(self, deadline: float) -> bool:
        was_ready = self.is_ready()
        self._connection.turn(until=deadline)
        return self.is_ready() and not was_ready

    def _declare(self, confirms: Confirms, queues: set[str], work: Callable[[Callable[[], bool]], None]) -> set[str]:
        declarations = [self._connection.declarations.get(self._connection.pika, queue) for queue in queues]
        work(lambda: self._connection.confirms is not confirms or all(each.is_settled for each in declarations))
        if self._connection.confirms is confirms:
            for each in declarations:
                if each.refusal is not None:
                    hint = explain_refusal(each.queue, each.refusal)
                    outage_of_queue(each.queue).fail(PART, hint, kind=each.refusal)
        return {each.queue for each in declarations if each.is_done}

    def _send_some(self, confirms: Confirms, unsent: deque[Outgoing]) -> bool:
        """Send what fits into the write buffer; return whether nothing is left to send or to wait for."""
        if self._connection.confirms is not confirms:
            return True
        if self.is_ready() and not self._stopped.is_set():
            self._send_chunk(confirms, unsent)
        return confirms.is_settled and (not unsent or self._stopped.is_set())

    def _send_chunk(self, confirms: Confirms, unsent: deque[Outgoing]) -> None:
        connection = self._connection.pika
        assert connection is not None
        budget = CHUNK_BYTES - connection.unwritten_bytes
        with connection.corked():
            while unsent and budget > 0:
                message = unsent.popleft()
                confirms.send(message)
                budget -= len(message.body) + OVERHEAD_BYTES

    def _work(self, step: Callable[[], bool], *, deadline: float, on_wait: Callable[[], None]) -> None:
        """Repeat a step until it returns True, the deadline is over, or `stop()` was half a second ago."""
        calls_at = self._clock() + ON_WAIT_SECONDS
        while not step() and self._clock() < min(deadline, self._stops_at):
            self._connection.turn(until=min(deadline, self._stops_at, calls_at))
            if self._clock() >= calls_at:
                calls_at = self._clock() + ON_WAIT_SECONDS
                on_wait()

    def _forget_queues_of(self, outcome: Outcome, messages: Sequence[Outgoing]) -> None:
        returned = set(outcome.unroutable)
        for queue in {message.queue for message in messages if message.key in returned}:
            self._connection.declarations.forget(queue)

    def _note_full_queues(self, outcome: Outcome, messages: Sequence[Outgoing]) -> None:
        """Report queues that have accepted nothing for a while, and those that accept messages again."""
        queue_of = {message.key: message.queue for message in messages}
        for queue in {queue_of[key] for key in outcome.nacked}:
            since = self._nacked_since.setdefault(queue, self._clock())
            if self._clock() - since >= FULL_AFTER_SECONDS:
                hint = "is it as long as a policy lets it be (max-length)? its messages wait in the outbox meanwhile"
                details = f"queue={name_in_rabbitmq(queue)} reason={FULL!r} hint={hint!r}"
                outage_of_queue(queue).fail(PART, details, kind=FULL)
        for queue in {queue_of[key] for key in outcome.confirmed}:
            self._nacked_since.pop(queue, None)
            outage_of_queue(queue).recover(PART)
