"""Clients that create tasks over HTTP: on kept connections, with no more work of their own than a request needs."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from http.client import HTTPConnection

from project.management.commands.prepare import PASSWORD, USERNAME
from project.servers.ports import LOOPBACK

CLIENTS = 4
TIMEOUT_SECONDS = 60
TASK = json.dumps({"title": "Yuk", "description": "Bench"})


class Client:
    """One kept connection of a signed-in user."""

    def __init__(self, port: int, *, token: str) -> None:
        self._connection = HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_SECONDS)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}

    def create(self) -> float:
        """Create a task and return how many seconds the answer took."""
        began = time.perf_counter()
        _post(self._connection, "/tasks/", TASK, headers=self._headers, expected=201)
        return time.perf_counter() - began

    def close(self) -> None:
        self._connection.close()


@cache
def sign_in(port: int) -> str:
    """Return a token; once for each server, because to check a password is slow on purpose."""
    connection = HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_SECONDS)
    credentials = json.dumps({"username": USERNAME, "password": PASSWORD})
    headers = {"Content-Type": "application/json"}
    answer = json.loads(_post(connection, "/api/token/", credentials, headers=headers, expected=200))
    connection.close()
    return str(answer["access"])


def throughput(port: int, *, requests: int) -> float:
    """Create `requests` tasks as fast as the answers come, and return how many that were a second."""
    clients = _clients(port)
    began = time.perf_counter()
    _together(clients, lambda client: [client.create() for _ in range(requests // CLIENTS)])
    return requests / (time.perf_counter() - began)


def at_rate(port: int, *, per_second: float, seconds: float) -> list[float]:
    """Create tasks at a steady rate, and return how many seconds each answer took."""
    clients = _clients(port)
    interval = CLIENTS / per_second
    begin_at = time.perf_counter() + 0.1

    def create_in_time(client: Client) -> list[float]:
        first = begin_at + clients.index(client) * interval / CLIENTS
        return [_create_at(client, first + number * interval) for number in range(int(seconds / interval))]

    return _together(clients, create_in_time)


def _create_at(client: Client, moment: float) -> float:
    time.sleep(max(0.0, moment - time.perf_counter()))
    return client.create()


def _together(clients: Sequence[Client], work: Callable[[Client], list[float]]) -> list[float]:
    with ThreadPoolExecutor(len(clients)) as pool:
        results = list(pool.map(work, clients))
    for client in clients:
        client.close()
    return [each for result in results for each in result]


def _clients(port: int) -> list[Client]:
    return [Client(port, token=sign_in(port)) for _ in range(CLIENTS)]


def _post(connection: HTTPConnection, path: str, body: str, *, headers: dict[str, str], expected: int) -> bytes:
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != expected:
        raise RuntimeError(f"POST {path} answered {answer.status}: {content[:200]!r}")
    return content
