"""Clients that create tasks over HTTP: on kept connections, with no more work of their own than a request needs."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

from project.management.commands.prepare import PASSWORD, USERNAME
from project.servers.ports import LOOPBACK

CLIENTS = 4
TIMEOUT_SECONDS = 60
TASK = json.dumps({"title": "Yuk", "description": "Bench"})


class Client:
    """One kept connection of a signed-in user."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_SECONDS)
        self._headers = {"Content-Type": "application/json"}
        token = self._post("/api/token/", json.dumps({"username": USERNAME, "password": PASSWORD}), expected=200)
        self._headers["Authorization"] = f"Bearer {json.loads(token)['access']}"

    def create(self) -> float:
        """Create a task and return how many seconds the answer took."""
        began = time.perf_counter()
        self._post("/tasks/", TASK, expected=201)
        return time.perf_counter() - began

    def close(self) -> None:
        self._connection.close()

    def _post(self, path: str, body: str, *, expected: int) -> bytes:
        self._connection.request("POST", path, body, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != expected:
            raise RuntimeError(f"POST {path} answered {answer.status}: {content[:200]!r}")
        return content


def throughput(port: int, *, requests: int) -> float:
    """Create `requests` tasks as fast as the answers come, and return how many that were a second."""
    clients = [Client(port) for _ in range(CLIENTS)]
    began = time.perf_counter()
    _together(clients, lambda client: [client.create() for _ in range(requests // CLIENTS)])
    return requests / (time.perf_counter() - began)


def at_rate(port: int, *, per_second: float, seconds: float) -> list[float]:
    """Create tasks at a steady rate, and return how many seconds each answer took."""
    clients = [Client(port) for _ in range(CLIENTS)]
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
