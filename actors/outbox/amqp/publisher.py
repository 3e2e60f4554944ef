"""Publishes messages with confirms, many at once, and says what became of each.

Guarantee: `publish()` ends in time, whatever RabbitMQ does, and calls confirmed only what RabbitMQ has confirmed. All
happens in the caller's own thread, which must come back to `run()` or `publish()` more often than heartbeats are due.
Knows no database: `relay` brings the messages and stamps the rows; `confirms` keeps the books, `connection` the line.
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
# What waits for RabbitMQ to read, at most: about 200 small messages. Measured, 16 to 256 KiB are equally fast.
CHUNK_BYTES = 128 * 1024
OVERHEAD_BYTES = 250


class Publisher:
    """A connection to RabbitMQ that publishes with confirms. It belongs to one thread.

    After a fork the child makes a new one, and does not even close this one: the socket is its parent's.
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
        """Prepare to connect; the first `run()` does.

        Args:
            parameters: where and as whom; heartbeats as in there, timeouts and retries are the publisher's own.
            client_name: what the management UI shows as the connection's name.
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
        """Say whether a message could be published now: connected, in confirm mode, not blocked by a resource alarm."""
        return self._connection.confirms is not None and not self._connection.is_blocked

    def run(self, timeout_seconds: float) -> None:
        """Connect and stay connected: serve heartbeats, hear what RabbitMQ says.

        Returns at once after `stop()`, after `wake()` as soon as the time of a `rest()` is over, as soon as the
        publisher becomes ready, and when the time is over.
        """
        deadline = self._clock() + timeout_seconds
        became_ready = False
        while not (became_ready or self._stopped.is_set() or self._clock() >= self._end_of_run(deadline)):
            became_ready = self._turn_becomes_ready(self._end_of_run(deadline))
        if not became_ready:
            # However often it is woken, it hears RabbitMQ and answers.
            self._connection.turn(until=self._clock())
        self._woken.clear()

    def publish(self, messages: Sequence[Outgoing], *, timeout_seconds: float, on_wait: Callable[[], None]) -> Outcome:
        """Publish messages and wait for what becomes of them; declare their queues first if that is due.

        A peer that leaves confirms outstanding is taken for dead and the connection is given up, unless RabbitMQ has
        said that it is blocked.

        Args:
            messages: how many there may be outstanding at once, the caller decides.
            timeout_seconds: for everything; half a second more is possible.
            on_wait: called about once a second meanwhile. What it raises ends the waiting and is passed on.
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
        """Let no `wake()` count for so long: commits that follow closely then share a batch, and what a batch costs."""
        self._rests_until = self._clock() + seconds

    def wake(self) -> None:
        """Make `run()` return at once, the current or the next, if a message could be published; safe from any thread.

        Else nothing happens, as nothing could be done: `run()` returns when the publisher becomes ready. A `publish()`
        is not disturbed.
        """
        if self.is_ready() and not self._woken.is_set():
            self._woken.set()
            self._connection.interrupt()

    def stop(self) -> None:
        """Make `run()` return at once and `publish()` within half a second, from now on; safe from any thread."""
        self._stopped.set()
        self._connection.interrupt()

    def close(self) -> None:
        """Close the connection; takes a second at most. The publisher is of no use afterwards."""
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
        """Send what the connection takes at once; return whether there is nothing more to send or to wait for."""
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
    """How long to wait for RabbitMQ, and whom to tell meanwhile."""

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
        """When to look again."""
        return min(self._deadline, self._tick_at)

    def is_over(self) -> bool:
        """Say whether the time is over; it is soon, once a stop is asked."""
        if self._stopped.is_set() and not self._is_cut:
            self._is_cut = True
            self._deadline = min(self._deadline, self._clock() + STOP_GRACE_SECONDS)
        return self._clock() >= self._deadline

    def tick(self) -> None:
        """Tell of the waiting, if that is due."""
        if self._clock() >= self._tick_at:
            self._tick_at = self._clock() + ON_WAIT_SECONDS
            self._on_wait()
