"""Publishes messages with publisher confirms, many at once, and returns the outcome of each.

Guarantee: `publish()` returns within its timeout and half a second, whatever RabbitMQ does, and reports as confirmed
only what RabbitMQ has confirmed. Everything runs in the caller's own thread, which must call `run()` or `publish()`
more often than heartbeats are due. Knows no database: `relay` passes the messages and marks the rows; `confirms` sends
each message and tracks its confirm, `connection` reconnects.
"""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import pika

from actors.outbox.amqp.confirms import Confirms, Outcome, Outgoing
from actors.outbox.amqp.connection import ReconnectingConnection

__all__ = ["Outcome", "Outgoing", "Publisher"]

CONNECT_TIMEOUT_SECONDS = 5.0
ON_WAIT_SECONDS = 1.0
STOP_GRACE_SECONDS = 0.5
# The most to keep in the write buffer: about 200 small messages. Measured, 16 to 256 KiB are equally fast.
CHUNK_BYTES = 128 * 1024
OVERHEAD_BYTES = 250


class Publisher:
    """A connection to RabbitMQ that publishes with confirms. It belongs to one thread.

    After a fork the child makes a new publisher and must not even close this one: the socket is the parent's.
    """

    def __init__(
        self,
        *,
        parameters: pika.connection.Parameters,
        client_name: str,
        connect_timeout_seconds: float = CONNECT_TIMEOUT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare to connect; the first `run()` connects.

        Args:
            parameters: host, credentials and heartbeat; timeouts and retries in there are replaced.
            client_name: the connection's name in the management UI.
            connect_timeout_seconds: for TCP, TLS and AMQP together, for each address of the host.
            clock: monotonic seconds.
            jitter: random numbers from 0 to 1, for the pauses between attempts to connect.
        """
        self._connection = ReconnectingConnection(
            parameters=parameters,
            client_name=client_name,
            connect_timeout_seconds=connect_timeout_seconds,
            clock=clock,
            jitter=jitter,
        )
        self._clock = clock
        self._rests_until = -math.inf
        self._woken = threading.Event()
        self._stopped = threading.Event()

    def is_ready(self) -> bool:
        """Return whether a message can be published now: connected, in confirm mode, not blocked by an alarm."""
        return self._connection.confirms is not None and not self._connection.is_blocked

    def run(self, timeout_seconds: float) -> None:
        """Connect and stay connected: process heartbeats and other frames from RabbitMQ.

        Returns at once after `stop()`, after `wake()` as soon as a `rest()` is over, as soon as the publisher becomes
        ready, and after `timeout_seconds`.
        """
        deadline = self._clock() + timeout_seconds
        became_ready = False
        while not (became_ready or self._stopped.is_set() or self._clock() >= self._end_of_run(deadline)):
            became_ready = self._turn_becomes_ready(self._end_of_run(deadline))
        if not became_ready:
            # Frames from RabbitMQ are read and answered even if every call returns early because of `wake()`.
            self._connection.turn(until=self._clock())
        self._woken.clear()

    def publish(self, messages: Sequence[Outgoing], *, timeout_seconds: float, on_wait: Callable[[], None]) -> Outcome:
        """Publish messages and wait for their confirms; declare their queues first if that is due.

        If confirms are still outstanding at the end, RabbitMQ is taken for dead and the connection is terminated,
        unless RabbitMQ has reported it as blocked.

        Args:
            messages: all of them may be outstanding at once: the caller bounds their number.
            timeout_seconds: for declarations, writes and confirms together; it may take half a second longer.
            on_wait: called about once a second meanwhile. An exception from it ends the wait and is passed on.

        Returns:
            The outcome of each message. Without a ready connection all are `unknown`.
        """
        deadline = Deadline(seconds=timeout_seconds, on_wait=on_wait, clock=self._clock, stopped=self._stopped)
        confirms = self._connection.confirms
        if confirms is None or not self.is_ready():
            return Outcome(unknown=[message.key for message in messages])
        confirms.start()
        declared = self._declare(confirms, {message.queue for message in messages}, deadline)
        unsent = deque(message for message in messages if message.queue in declared)
        self._work(lambda: self._send_some(confirms, unsent), deadline)
        if self._connection.confirms is confirms and not self._connection.is_blocked and not confirms.is_settled:
            self._connection.abort("no confirm in time")
        outcome = confirms.give_up([*unsent, *(each for each in messages if each.queue not in declared)])
        self._forget_queues_of(outcome, messages)
        return outcome

    def rest(self, seconds: float) -> None:
        """Ignore `wake()` for `seconds`, so that commits in quick succession are published, and paid for, as one batch.

        A wake-up meanwhile takes effect at the end.
        """
        self._rests_until = self._clock() + seconds

    def wake(self) -> None:
        """Make the current or the next `run()` return at once, if a message can be published; safe from any thread.

        Otherwise this does nothing: `run()` returns by itself when the publisher becomes ready. A `publish()` is not
        interrupted.
        """
        if self.is_ready() and not self._woken.is_set():
            self._woken.set()
            self._connection.interrupt()

    def stop(self) -> None:
        """From now on make `run()` return at once and `publish()` within half a second; safe from any thread."""
        self._stopped.set()
        self._connection.interrupt()

    def close(self) -> None:
        """Close the connection; this takes a second at most. The publisher cannot be used afterwards."""
        self._connection.close()

    def _end_of_run(self, deadline: float) -> float:
        return min(deadline, self._rests_until) if self._woken.is_set() else deadline

    def _turn_becomes_ready(self, deadline: float) -> bool:
        was_ready = self.is_ready()
        self._connection.turn(until=deadline)
        return self.is_ready() and not was_ready

    def _declare(self, confirms: Confirms, queues: set[str], deadline: "Deadline") -> set[str]:
        declarations = [self._connection.declarations.get(self._connection.pika, queue) for queue in queues]
        self._work(
            lambda: self._connection.confirms is not confirms or all(each.is_settled for each in declarations), deadline
        )
        if self._connection.confirms is confirms:
            for each in declarations:
                self._connection.declarations.log_refusal(each)
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

    def _work(self, step: Callable[[], bool], deadline: "Deadline") -> None:
        while not step() and not deadline.is_over():
            self._connection.turn(until=deadline.until)
            deadline.tick()

    def _forget_queues_of(self, outcome: Outcome, messages: Sequence[Outgoing]) -> None:
        returned = set(outcome.unroutable)
        for queue in {message.queue for message in messages if message.key in returned}:
            self._connection.declarations.forget(queue)


class Deadline:
    """The end of a wait for RabbitMQ, and a callback about once a second until then."""

    def __init__(
        self, *, seconds: float, on_wait: Callable[[], None], clock: Callable[[], float], stopped: threading.Event
    ) -> None:
        self._clock = clock
        self._on_wait = on_wait
        self._stopped = stopped
        self._deadline = clock() + seconds
        self._tick_at = clock() + ON_WAIT_SECONDS
        self._is_cut = False

    @property
    def until(self) -> float:
        """When the next tick is due, or the wait is over."""
        return min(self._deadline, self._tick_at)

    def is_over(self) -> bool:
        """Return whether the wait is over; after a stop request it is within `STOP_GRACE_SECONDS`."""
        if self._stopped.is_set() and not self._is_cut:
            self._is_cut = True
            self._deadline = min(self._deadline, self._clock() + STOP_GRACE_SECONDS)
        return self._clock() >= self._deadline

    def tick(self) -> None:
        """Call `on_wait`, if that is due."""
        if self._clock() >= self._tick_at:
            self._tick_at = self._clock() + ON_WAIT_SECONDS
            self._on_wait()
