"""The main loop's part: reads requests until they are whole, writes what is left of responses, ends connections.

Guarantee: no client occupies a thread before its request is whole, nor after its response is complete. What waits for
its client is bounded in time (`Arrival`, `Pace`, `CLOSING_SECONDS`), in number and in memory. Where there are too many,
the one that has waited longest goes, so that new clients are answered however many are silent.
"""

import logging
import selectors
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from time import monotonic
from typing import Any

from project.web_server.arrival import HEAD_SECONDS
from project.web_server.refusals import CONTINUE, TOO_LATE, TOO_LONG, TOO_MANY
from project.web_server.waiting import Connection, State, Wait, Waiting

logger = logging.getLogger("gunicorn.error")

READ_BYTES = 64 * 1024
MAX_ARRIVING_BYTES = 32 * 1024 * 1024
MAX_LEAVING_BYTES = 64 * 1024 * 1024
SWEEP_SECONDS = 1.0

# A connection that ends is read from until its client hangs up: if anything arrived at a closed one, the kernel would
# drop what the client has not read of its response.
CLOSING_SECONDS = 10.0
SILENT_CLOSING_SECONDS = 2.0


@dataclass(slots=True)
class _Closing:
    """How long a connection that ends is read from."""

    ends_at: float

    silent_until: float

    def is_overdue(self, now: float) -> bool:
        return now > min(self.ends_at, self.silent_until)


class Loop:
    """Never waits. Only `receive` is also called by threads, for their connections."""

    def __init__(
        self,
        poller: selectors.BaseSelector,
        *,
        serve: Callable[[Any], None],
        forget: Callable[[], None],
        max_connections: int,
        idle_seconds: float,
    ) -> None:
        """Begin with no connection.

        Args:
            poller: the main loop's.
            serve: has a thread serve a connection, which then comes back to `resume`.
            forget: is called for each connection that has ended.
            max_connections: how many there may be, those with a thread included.
            idle_seconds: how long a connection may wait for another request.
        """
        self._serve, self._forget = serve, forget
        self._max_connections, self._idle_seconds = max_connections, idle_seconds
        self._waiting = Waiting(poller)
        self._served: dict[Connection, bool] = {}
        self._next_sweep = monotonic() + SWEEP_SECONDS

    def admit(self, connection: Connection) -> None:
        """Take a new connection; end another one, or refuse it, if there are too many."""
        if len(self._waiting) + len(self._served) >= self._max_connections and not self.make_room():
            with suppress(OSError):
                connection.sock.send(TOO_MANY)
                connection.sock.recv(READ_BYTES)  # what is unread at the end would revoke the response
            self._end(connection)
            return
        connection.arrival.deadline = monotonic() + HEAD_SECONDS
        if receive(connection):
            self._await(connection)
        else:
            self._end(connection)

    def resume(self, connection: Connection, *, stays: bool) -> None:
        """Take a connection back from the thread that has answered its request.

        Args:
            connection: one that `serve` was called with.
            stays: whether another request is awaited.
        """
        del self._served[connection]
        if not connection.sock.held:
            self._go_on_after_response(connection, stays=stays)
            return

        def write(connection: Connection) -> None:
            try:
                is_sent = connection.sock.push()
            except OSError:
                self._end(connection)
                return
            if is_sent:
                self._waiting.remove(connection)
                self._go_on_after_response(connection, stays=stays)

        self._waiting.add(connection, State.LEAVING, Wait(selectors.EVENT_WRITE, write, connection.sock.is_too_slow))
        self._bound_leaving()

    def make_room(self) -> bool:
        """End the connection that has waited longest for its client; return whether there was one."""
        if (longest := self._waiting.longest()) is None:
            return False
        self._end(longest)
        return True

    def sweep(self) -> None:
        """End the connections whose time is up; once a second, however often it is called."""
        now = monotonic()
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_SECONDS
        begun = 0
        for connection in self._waiting.overdue(State.ARRIVING, now):
            if connection.arrival.data:
                begun += 1
                self._refuse(connection, TOO_LATE)
            else:
                self._end(connection)
        slow = self._waiting.overdue(State.LEAVING, now)
        for connection in [*slow, *self._waiting.overdue(State.CLOSING, now)]:
            self._end(connection)
        if begun or slow:
            logger.info("Too slow: %d clients with their requests, %d with their responses", begun, len(slow))

    def limit_idle(self, deadline: float) -> None:
        """Await no request that has not begun beyond a time."""
        for connection in self._waiting.of(State.ARRIVING):
            if not connection.arrival.data:
                connection.arrival.deadline = min(connection.arrival.deadline, deadline)

    def _await(self, connection: Connection) -> None:
        """Have a request served if it is whole; otherwise wait for the rest."""
        arrival = connection.arrival
        if arrival.is_whole:
            self._waiting.remove(connection)
            self._served[connection] = True
            self._serve(connection)
        elif arrival.is_too_long:
            self._refuse(connection, TOO_LONG)
        else:
            if arrival.wants_continue:
                arrival.wants_continue = False
                with suppress(OSError):
                    connection.sock.send(CONTINUE)
            if not self._waiting.has(connection, State.ARRIVING):
                wait = Wait(selectors.EVENT_READ, self._read, arrival.is_overdue)
                self._waiting.add(connection, State.ARRIVING, wait)
            if len(arrival.data) >= READ_BYTES:
                self._bound_arriving()

    def _read(self, connection: Connection) -> None:
        if receive(connection):
            self._await(connection)
        else:
            self._end(connection)

    def _go_on_after_response(self, connection: Connection, *, stays: bool) -> None:
        if not stays:
            self._close(connection)
            return
        if not connection.arrival.data:
            connection.arrival.deadline = monotonic() + self._idle_seconds
        self._await(connection)

    def _refuse(self, connection: Connection, response: bytes) -> None:
        self._waiting.remove(connection)
        with suppress(OSError):
            connection.sock.send(response)
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        """End a connection without losing what the client has not read yet."""
        now = monotonic()
        closing = _Closing(now + CLOSING_SECONDS, now + SILENT_CLOSING_SECONDS)

        def discard(connection: Connection) -> None:
            try:
                is_open = bool(connection.sock.recv(READ_BYTES))
            except BlockingIOError:
                return
            except OSError:
                is_open = False
            if is_open:
                closing.silent_until = monotonic() + SILENT_CLOSING_SECONDS
            else:
                self._end(connection)

        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:  # the client has gone, or a response that broke off has closed the socket
            self._end(connection)
        else:
            self._waiting.add(connection, State.CLOSING, Wait(selectors.EVENT_READ, discard, closing.is_overdue))

    def _end(self, connection: Connection) -> None:
        self._waiting.remove(connection)
        if connection.sock.held:
            connection.sock.abort()
        else:
            connection.sock.close()
        self._forget()

    def _bound_arriving(self) -> None:
        """Give up the largest of the requests that are not whole, as long as all requests are too much memory."""
        held = sum(len(each.arrival.data) for each in chain(self._waiting.of(State.ARRIVING), self._served))
        if held <= MAX_ARRIVING_BYTES:
            return
        arriving = sorted(self._waiting.of(State.ARRIVING), key=lambda each: len(each.arrival.data))
        # What is served cannot be given up; the end of a connection without a byte would be of no use.
        while held > MAX_ARRIVING_BYTES and arriving and arriving[-1].arrival.data:
            largest = arriving.pop()
            held -= len(largest.arrival.data)
            self._end(largest)

    def _bound_leaving(self) -> None:
        """Give up the responses that have waited longest, as long as all of them are too much memory."""
        leaving = list(self._waiting.of(State.LEAVING))
        held = sum(each.sock.held_bytes for each in leaving)
        for longest in leaving[:-1]:
            if held <= MAX_LEAVING_BYTES:
                break
            held -= longest.sock.held_bytes
            self._end(longest)


def receive(connection: Connection) -> bool:
    """Add to the awaited request what has come; return whether the client is still there."""
    try:
        data = connection.sock.recv(READ_BYTES)
    except BlockingIOError:
        return True
    except OSError:
        return False
    if data:
        connection.arrival.add(data)
    return bool(data)
