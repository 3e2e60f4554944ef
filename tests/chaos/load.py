"""Clients that create, change and delete tasks over HTTP during a fault, and record the responses.

Each create has an Idempotency-Key. One without a response is repeated once the fault is over: then each key has been
answered with one task, even if a response was lost after its commit.
"""

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Self
from uuid import uuid4

import httpx

from project.local.demo_user import PASSWORD, USERNAME
from project.local.servers.process import wait_until
from project.local.stack import Stack

CLIENTS = 4
TASK = {"title": "HTTP"}
REQUEST_TIMEOUT_SECONDS = 30.0
ANSWER_TIMEOUT_SECONDS = 60.0
# The long pass creates thousands of tasks, which takes minutes on a machine that does other work too.
ENOUGH_TIMEOUT_SECONDS = 900.0


class Load:
    """Creates tasks from entering to leaving the context."""

    def __init__(self, stack: Stack, *, pause_seconds: float) -> None:
        self.created: set[int] = set()
        """The ids of the tasks whose creation was answered with 201."""
        self.refused: list[int] = []
        """The statuses of all other answers."""
        self.cut = 0
        """How many creates had no response: only the database shows whether their tasks exist."""
        self.unanswered: list[str] = []
        """The keys of all creates that were not answered with 201."""
        self.seconds: list[float] = []
        """How long each creation took."""
        self._stack = stack
        self._pause_seconds = pause_seconds
        self._stop = threading.Event()
        self._token = ""
        self._pool = ThreadPoolExecutor(CLIENTS)

    def __enter__(self) -> Self:
        assert wait_until(self._logs_in, timeout_seconds=ANSWER_TIMEOUT_SECONDS), "the web server does not come back"
        self._clients = [self._pool.submit(self._create_until_stopped) for _ in range(CLIENTS)]
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for client in self._clients:
            client.result()

    def wait_for(self, count: int) -> None:
        """Wait until `count` more tasks were created."""
        enough = len(self.created) + count
        in_time = wait_until(lambda: len(self.created) >= enough, timeout_seconds=ENOUGH_TIMEOUT_SECONDS)
        assert in_time, f"created={len(self.created)} of {enough} refused={self.refused[-5:]} cut={self.cut}"

    def repeat_unanswered(self) -> None:
        """Repeat each create that was not answered, until it is."""
        assert not self.unanswered or wait_until(self._logs_in, timeout_seconds=ANSWER_TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {self._token}"}
        with httpx.Client(base_url=self._stack.url, headers=headers, timeout=REQUEST_TIMEOUT_SECONDS) as client:
            for key in self.unanswered:
                in_time = wait_until(lambda key=key: self._is_answered(client, key), timeout_seconds=60)  # type: ignore[misc]
                assert in_time, f"the create {key} is not answered"
        self.unanswered.clear()

    def _is_answered(self, client: httpx.Client, key: str) -> bool:
        try:
            answer = client.post("tasks/", json=TASK, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            return False
        if answer.status_code == httpx.codes.CREATED:
            self.created.add(answer.json()["id"])
        return answer.status_code == httpx.codes.CREATED

    def go_on(self, *, seconds: float, count: int) -> None:
        """Wait until that many seconds have passed and that many more tasks were created."""
        until = time.monotonic() + seconds
        self.wait_for(count)
        wait_until(lambda: time.monotonic() >= until, timeout_seconds=seconds)

    def _logs_in(self) -> bool:
        try:
            self._token = log_in(self._stack)
        except httpx.HTTPError:
            return False
        return True

    def _create_until_stopped(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        url, timeout = self._stack.url, REQUEST_TIMEOUT_SECONDS
        with httpx.Client(base_url=url, headers=headers, timeout=timeout) as client:
            while not self._stop.wait(self._pause_seconds):
                self._create(client)

    def _create(self, client: httpx.Client) -> None:
        begun, key = time.monotonic(), uuid4().hex
        try:
            answer = client.post("tasks/", json=TASK, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            self.cut += 1
            self.unanswered.append(key)
            return
        if answer.status_code != httpx.codes.CREATED:
            self.refused.append(answer.status_code)
            self.unanswered.append(key)
            return
        self.seconds.append(time.monotonic() - begun)
        task = answer.json()["id"]
        self.created.add(task)
        self._change(client, task)

    def _change(self, client: httpx.Client, task: int) -> None:
        """Change one task in three and delete one in nine; only the database shows whether that succeeded."""
        with suppress(httpx.TransportError):
            if task % 3 == 0:
                client.patch(f"tasks/{task}/", json={"completed": True})
            if task % 9 == 0:
                client.delete(f"tasks/{task}/")


def log_in(stack: Stack) -> str:
    """Return a token of the demo user.

    Raises:
        HTTPError: the service does not answer, or not with a token.
    """
    login = {"username": USERNAME, "password": PASSWORD}
    answer = httpx.post(f"{stack.url}api/token/", json=login, timeout=REQUEST_TIMEOUT_SECONDS)
    return str(answer.raise_for_status().json()["access"])


def percentiles(seconds: list[float]) -> str:
    """Return the median and the 99th percentile, in milliseconds, as text."""
    hundredths = statistics.quantiles(seconds, n=100)
    return f"p50 {hundredths[49] * 1000:.1f} ms, p99 {hundredths[98] * 1000:.1f} ms of {len(seconds)}"
