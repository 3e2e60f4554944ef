"""A client's socket that sends what the kernel takes at once and holds the rest.

Guarantee: only `sendall` and `wait` wait for a client, and only while something is held. What is held has a least rate
(`Pace`), whether a thread waits for it or the main loop sends it. What counts is what the client's machine has
acknowledged: the kernel takes some megabytes by itself.
"""

import fcntl
import os
import select
import socket
import struct
import termios
from collections import deque
from time import monotonic
from typing import Any, Self

from project.web_server.pace import Pace

ANSWER_GRACE_SECONDS = 20.0
"""A client that reads slowly takes nothing for a while and then much at once: its machine waits for room."""
MAX_JOINED_BYTES = 64 * 1024
"""Of a body that is copied, to be sent together with its head."""
STEPS = 4
"""How many pieces `push` sends at most: the main loop has other clients."""
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: drop what is unsent


class ClientTooSlow(OSError):
    """Raised in the thread of a response whose client reads more slowly than the least rate."""


class FilePart:
    """What is left to send of a file, which stays open for it."""

    def __init__(self, file: int, offset: int, count: int) -> None:
        self.file, self.offset, self.count = os.dup(file), offset, count


class ClientSocket(socket.socket):
    """Never blocks."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        super().setblocking(False)
        self.held: deque[memoryview | FilePart] = deque()
        """What the kernel did not take yet, in order."""
        self.held_bytes = 0
        """The memory of it."""
        self._head = b""
        self._pushed = 0
        self._pace: Pace | None = None

    @classmethod
    def of(cls, accepted: socket.socket) -> Self:
        """Take over a socket."""
        return cls(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())

    def setblocking(self, _flag: bool) -> None:
        """Do nothing: gunicorn makes the sockets of its threads blocking."""

    def settimeout(self, _seconds: float | None) -> None:
        """Do nothing: gunicorn gives a client seconds to hang up after a response that broke off."""

    def sendall(self, data: Any, _flags: int = 0) -> None:
        """Send data, or hold what the kernel does not take; first wait until nothing else is held.

        Raises:
            ClientTooSlow: it was waited for too long.
        """
        self.wait()
        self.send_or_hold(data)

    def wait(self) -> None:
        """Wait until nothing is held.

        Raises:
            ClientTooSlow: it was waited for too long.
        """
        if not self.held:
            return
        poll = select.poll()
        poll.register(self, select.POLLOUT)
        while self.held:
            poll.poll(1_000)
            self.push()
            if self.is_too_slow(monotonic()):
                self.abort()
                raise ClientTooSlow

    def send_with_next(self, head: bytes) -> None:
        """Keep a response's head until something follows: both then need one call of the kernel."""
        self._head = head

    def send_or_hold(self, data: Any) -> None:
        """Send data, or hold what the kernel does not take; never wait."""
        if self._head:
            head, self._head = self._head, b""
            if len(data) <= MAX_JOINED_BYTES:
                data = head + data
            else:
                self.send_or_hold(head)
        sent = 0
        if data and not self.held:
            try:
                sent = self.send(data)
            except BlockingIOError:
                sent = 0
        if sent < len(data):
            rest = memoryview(data)[sent:]
            self.held_bytes += len(rest)
            self._hold(rest)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a part of a file, or hold what the kernel does not take; never wait."""
        count = os.fstat(file.fileno()).st_size - offset if count is None else count
        self.send_or_hold(b"")
        if count > 0:
            self._hold(FilePart(file.fileno(), offset, count))
            self.push()
        return count

    def push(self) -> bool:
        """Send what the kernel takes of what is held; return whether nothing is left.

        Raises:
            OSError: the client has gone, or a file has become shorter.
        """
        for _step in range(STEPS):
            if not self.held:
                break
            try:
                self._send_first()
            except BlockingIOError:
                return False
        return not self.held

    def is_too_slow(self, now: float) -> bool:
        """Return whether the client has read too little of what is held."""
        return self._pace is not None and self._pace.is_too_slow(now, self._pushed - self._unacknowledged())

    def close(self) -> None:
        self._drop()
        super().close()

    def abort(self) -> None:
        """Close the connection, and have the kernel drop what it has not sent."""
        self.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.close()

    def _hold(self, part: memoryview | FilePart) -> None:
        if not self.held:
            self._pushed = 0
            self._pace = Pace(monotonic(), grace=ANSWER_GRACE_SECONDS, done=-self._unacknowledged())
        self.held.append(part)

    def _send_first(self) -> None:
        part = self.held[0]
        if isinstance(part, FilePart):
            sent = os.sendfile(self.fileno(), part.file, part.offset, part.count)
            if not sent:
                raise OSError("a file became shorter while it was sent")
            part.offset += sent
            part.count -= sent
            left = part.count
        else:
            sent = self.send(part)
            self.held[0] = part[sent:]
            self.held_bytes -= sent
            left = len(part) - sent
        self._pushed += sent
        if not left:
            self._remove_first()

    def _remove_first(self) -> None:
        part = self.held.popleft()
        if isinstance(part, FilePart):
            os.close(part.file)
        if not self.held:
            self._pace = None

    def _drop(self) -> None:
        while self.held:
            self._remove_first()
        self.held_bytes = 0

    def _unacknowledged(self) -> int:
        """Return how many bytes the kernel holds that the client's machine does not have."""
        try:
            [count] = struct.unpack("i", fcntl.ioctl(self, termios.TIOCOUTQ, bytes(4)))
        except OSError:  # not on this system: what the kernel has taken counts
            return 0
        return int(count)
