"""Load: what clients ask of a web server, as fast as it answers or at a steady rate, and how long each answer took.

The clients run in a process of their own (`clients`), which costs a small part of what a server does.
"""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import cache
from http.client import HTTPConnection
from typing import Any

from bench.figures import percentile
from bench.sizes import CLIENTS
from project.local.demo_user import PASSWORD, USERNAME
from project.local.servers.ports import LOOPBACK
from project.local.stack import ROOT

TIMEOUT_SECONDS = 60
TASK = json.dumps({"title": "Yuk", "description": "Bench"})


class LoadFailed(RuntimeError):
    """Raised when a request was not answered as it had to be."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is asked; the clients take the requests in turns."""

    port: int

    requests: tuple[tuple[str, int], ...]
    """Whole HTTP requests, each with the status that is expected."""

    total: int
    """How many requests."""

    clients: int = CLIENTS

    per_second: float = 0
    """A steady rate; 0 is as fast as the answers come."""

    max_seconds: float = 0
    """After so long nothing more is asked; 0 is no limit."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What came of it. The times are the system's monotonic clock."""

    began: float

    ended: float

    cpu_seconds: float
    """The clients' own."""

    latencies: list[float]
    """Seconds."""

    @property
    def per_second(self) -> float:
        return len(self.latencies) / (self.ended - self.began)

    def ms(self, percent: float) -> float:
        """Return the percentile of the answers' times in milliseconds."""
        return percentile(self.latencies, percent) * 1000


def run(load: Load) -> Answers:
    """Put the load on the server and wait for all answers.

    Raises:
        LoadFailed: one of them has another status than expected, or none came.
    """
    command = [sys.executable, "-m", "bench.clients"]
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as clients:
        try:
            answer, complaint = clients.communicate(json.dumps(asdict(load)))
        except BaseException:
            clients.kill()
            raise
    if clients.returncode:
        raise LoadFailed(complaint.strip())
    return Answers(**json.loads(answer))


def post(port: int, *, token: str = "") -> tuple[str, int]:
    """Return a request that creates a task, of the user of a token or else of the first user."""
    head = f"Content-Type: application/json\r\nContent-Length: {len(TASK)}\r\n"
    return f"POST /tasks/ HTTP/1.1\r\n{_head(port, token)}{head}\r\n{TASK}", 201


def get(port: int, path: str) -> tuple[str, int]:
    """Return a request that reads something."""
    return f"GET {path} HTTP/1.1\r\n{_head(port)}\r\n", 200


def read(port: int, path: str) -> Any:
    """Return the JSON at an address."""
    return _json("GET", port, path, "", {"Authorization": f"Bearer {sign_in(port)}"})


@cache
def sign_in(port: int) -> str:
    """Return a token; once for each server, because to check a password is slow on purpose."""
    credentials = json.dumps({"username": USERNAME, "password": PASSWORD})
    return str(_json("POST", port, "/api/token/", credentials, {"Content-Type": "application/json"})["access"])


def _head(port: int, token: str = "") -> str:
    bearer = token or sign_in(port)
    return f"Host: {LOOPBACK}:{port}\r\nAccept: application/json\r\nAuthorization: Bearer {bearer}\r\n"


def _json(method: str, port: int, path: str, body: str, headers: dict[str, str]) -> Any:
    connection = HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise LoadFailed(f"{method} {path} answered {answer.status}: {content[:300]!r}")
    return json.loads(content)
