"""Load: kept connections that ask a web server, as fast as it answers or at a steady rate, and the time of each answer.

Guarantee: an answer with another status than the expected one ends the measurement, and so does one that never comes.
"""

import asyncio
import json
import math
import re
import statistics
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import jwt

from bench.figures import p99
from bench.sizes import CLIENTS, SECRET_KEY
from project.local.servers.ports import LOOPBACK

TIMEOUT_SECONDS = 120
TOKEN_SECONDS = 3_600
TASK = json.dumps({"title": "Yuk", "description": "Bench"})
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Ask = tuple[bytes, bytes]
"""A whole HTTP request, and the status that is expected, three digits."""


class LoadFailed(RuntimeError):
    """Raised when a request was not answered as it had to be."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What came of a load. The times are the system's monotonic clock."""

    began: float
    ended: float
    clients_seconds: float
    """How long the clients have kept a core busy."""
    latencies: list[float]
    """Seconds."""

    @property
    def per_second(self) -> float:
        return len(self.latencies) / (self.ended - self.began)

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.latencies) * 1000

    @property
    def p99_ms(self) -> float:
        return p99(self.latencies) * 1000


def run(  # noqa: PLR0913 – how the load differs from the usual one
    port: int,
    asks: Sequence[Ask],
    *,
    total: int,
    clients: int = CLIENTS,
    per_second: float = 0,
    max_seconds: float = math.inf,
) -> Answers:
    """Ask so often, in turns, as fast as the answers come or at a steady rate, until all is answered or time is over.

    Raises:
        LoadFailed: an answer has another status than expected, or does not come.
    """

    def turns() -> Iterator[tuple[float, Ask]]:
        """Return the requests, each with the time at which it is due; 0 is at once."""
        began = time.monotonic()
        for number, ask in zip(range(total), cycle(asks), strict=False):
            if time.monotonic() - began > max_seconds:
                return
            yield began + number / per_second if per_second else 0.0, ask

    try:
        return asyncio.run(_run(port, turns(), clients))
    except (OSError, EOFError) as error:
        raise LoadFailed(f"port {port}: {error!r}") from error


def create(port: int, total: int, *, per_second: float = 0) -> Answers:
    """Create so many tasks, all by the first user."""
    return run(port, [post()], total=total, per_second=per_second)


async def _run(port: int, turns: Iterator[tuple[float, Ask]], clients: int) -> Answers:
    connections = [await asyncio.open_connection(LOOPBACK, port) for _ in range(clients)]
    latencies: list[float] = []
    began, busy = time.monotonic(), time.process_time()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.gather(*(_ask(connection, turns, latencies) for connection in connections))
    ended, clients_seconds = time.monotonic(), time.process_time() - busy
    return Answers(began=began, ended=ended, clients_seconds=clients_seconds, latencies=latencies)


async def _ask(connection: Connection, turns: Iterator[tuple[float, Ask]], latencies: list[float]) -> None:
    for due, ask in turns:
        if (early := due - time.monotonic()) > 0:
            await asyncio.sleep(early)
        # At a rate, an answer is timed from when its request was due: a slow server does not slow its clients.
        asked_at = due or time.monotonic()
        await _answer(connection, ask)
        latencies.append(time.monotonic() - asked_at)
    connection[1].close()


async def _answer(connection: Connection, ask: Ask) -> bytes:
    (reader, writer), (request, expected) = connection, ask
    writer.write(request)
    head = await reader.readuntil(HEAD_END)
    length = LENGTH.search(head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    if head[9:12] != expected:
        raise LoadFailed(f"expected {expected.decode()}, answered {head + body[:400]!r}")
    return body


def token(user: int) -> str:
    """Return what `POST /api/token/` does, without its password check, which is slow on purpose; no two are alike.

    It belongs to the sign-in that `Ground.add_users` made; the peers' services do not know such.
    """
    now = int(time.time())
    claims = {"token_type": "access", "exp": now + TOKEN_SECONDS, "iat": now, "jti": uuid.uuid4().hex}
    claims["family"] = f"{user:032x}"
    return jwt.encode({**claims, "user_id": str(user)}, SECRET_KEY, algorithm="HS256")


FIRST_USER = token(1)


def post(bearer: str = FIRST_USER) -> Ask:
    """Return a request that creates a task."""
    head = f"Content-Type: application/json\r\nContent-Length: {len(TASK)}\r\n"
    return _request("POST /tasks/", bearer, f"{head}\r\n{TASK}"), b"201"


def get(path: str) -> Ask:
    """Return a request that reads something."""
    return _request(f"GET {path}", FIRST_USER, "\r\n"), b"200"


def read(port: int, path: str) -> Any:
    """Return the JSON at an address."""

    async def answer() -> bytes:
        return await _answer(await asyncio.open_connection(LOOPBACK, port), get(path))

    return json.loads(asyncio.run(answer()))


def _request(line: str, bearer: str, rest: str) -> bytes:
    head = f"Host: {LOOPBACK}\r\nAccept: application/json\r\nAuthorization: Bearer {bearer}\r\n"
    return f"{line} HTTP/1.1\r\n{head}{rest}".encode()
