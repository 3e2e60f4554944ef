"""The clients, in a process of their own: many kept connections, one selector, no library. `load` starts it.

Reads a `load.Load` as JSON from its input and prints what came of it. Guarantee: any answer with another status than
the expected one ends it, loudly; so does a connection that is closed over a request.
"""

import json
import math
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field

HOST = "127.0.0.1"
CHUNK = 1 << 16
HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
PATIENCE_SECONDS = 60.0


class Unexpected(RuntimeError):
    """Raised when an answer is not what it has to be."""


@dataclass(kw_only=True, eq=False)
class Connection:
    """One client: at most one request at a time."""

    port: int

    expected: bytes
    """The status, three digits."""

    stream: socket.socket = field(init=False)

    received: bytes = b""

    is_idle: bool = True

    asked_at: float = 0.0
    """When the request was sent or, at a fixed rate, when it should have been."""

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        self.stream = socket.create_connection((HOST, self.port), timeout=PATIENCE_SECONDS)
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes, asked_at: float) -> None:
        self.received, self.asked_at, self.is_idle = b"", asked_at, False
        self.stream.sendall(request)

    def receive(self) -> bool:
        """Read what has come; return whether the answer is whole."""
        chunk = self.stream.recv(CHUNK)
        if not chunk:
            raise Unexpected(f"the server closed a connection over a request, after {self.received[:200]!r}")
        self.received = self.received + chunk if self.received else chunk
        return is_whole(self.received, self.expected)


def is_whole(received: bytes, expected: bytes) -> bool:
    """Say whether an answer is all there.

    Raises:
        Unexpected: it has another status.
    """
    head_end = received.find(HEAD_END)
    if head_end < 0:
        return False
    if received[9:12] != expected:
        raise Unexpected(f"expected {expected.decode()}, answered {received[:400]!r}")
    head = received[:head_end].lower()
    length_at = head.find(b"\r\ncontent-length:")
    if length_at < 0:
        is_chunked = b"\r\ntransfer-encoding: chunked" in head
        return not is_chunked or received.endswith(LAST_CHUNK, head_end + 4)
    length = int(head[length_at + 17 :].split(b"\r\n", 1)[0])
    return len(received) >= head_end + 4 + length


class Run:
    """One load: who asks what, when, and how long each answer took."""

    def __init__(self, load: dict[str, object]) -> None:
        self.load = load
        self.requests = [(text.encode(), str(status).encode()) for text, status in load["requests"]]  # type: ignore[attr-defined]
        self.total = int(load["total"])  # type: ignore[call-overload]
        self.per_second = float(load["per_second"])  # type: ignore[arg-type]
        self.max_seconds = float(load["max_seconds"]) or math.inf  # type: ignore[arg-type]
        self.sent = 0
        self.seconds: list[float] = []
        self.selector = selectors.DefaultSelector()
        self.idle: deque[Connection] = deque()
        for _ in range(int(load["clients"])):  # type: ignore[call-overload]
            connection = Connection(port=int(load["port"]), expected=b"")  # type: ignore[call-overload]
            self.selector.register(connection.stream, selectors.EVENT_READ, connection)
            self.idle.append(connection)

    def go(self) -> dict[str, object]:
        began, cpu = time.monotonic(), time.process_time()
        self.began = began
        while len(self.seconds) < self.total:
            if time.monotonic() - began > self.max_seconds:
                self.total = self.sent
            self._ask()
            self._receive()
        return {
            "began": began,
            "ended": time.monotonic(),
            "cpu_seconds": time.process_time() - cpu,
            "latencies": self.seconds,
        }

    def _ask(self) -> None:
        while self.idle and self.sent < self.total and (now := time.monotonic()) >= self._due_at():
            request, expected = self.requests[self.sent % len(self.requests)]
            connection = self.idle.popleft()
            connection.expected = expected
            # At a rate, an answer is late from when its request was due: a slow server does not slow its clients.
            connection.ask(request, self._due_at() if self.per_second else now)
            self.sent += 1

    def _due_at(self) -> float:
        return self.began + self.sent / self.per_second if self.per_second else 0.0

    def _patience(self) -> float:
        if not (self.per_second and self.idle and self.sent < self.total):
            return PATIENCE_SECONDS
        return max(0.0, self._due_at() - time.monotonic())

    def _receive(self) -> None:
        patience = self._patience()
        events = self.selector.select(patience)
        if not events and patience == PATIENCE_SECONDS:
            raise Unexpected(f"no answer for {PATIENCE_SECONDS:.0f} s")
        for key, _event in events:
            connection: Connection = key.data
            if connection.is_idle:
                self._reopen(connection)
            elif connection.receive():
                connection.is_idle = True
                self.seconds.append(time.monotonic() - connection.asked_at)
                self.idle.append(connection)

    def _reopen(self, connection: Connection) -> None:
        # A server may close what is idle.
        self.selector.unregister(connection.stream)
        connection.stream.close()
        connection.open()
        self.selector.register(connection.stream, selectors.EVENT_READ, connection)


def main() -> int:
    run = Run(json.load(sys.stdin))
    try:
        print(json.dumps(run.go()))
    except (Unexpected, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
