"""Clients that create tasks over HTTP while something breaks, and remember what they were answered."""

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import httpx

from project.management.commands.prepare import PASSWORD, USERNAME
from project.servers.process import wait_until
from project.stack import Stack

CLIENTS = 4
REQUEST_TIMEOUT_SECONDS = 30.0
ANSWER_TIMEOUT_SECONDS = 60.0
# The long pass asks for thousands: half a minute is not much.
ENOUGH_TIMEOUT_SECONDS = 180.0


class Load:
    """Creates tasks until told to stop."""

    def __init__(self, stack: Stack, *, pause_seconds: float) -> None:
        self.created: set[int] = set()
        """The ids of the tasks whose creation was answered with 201."""
        self.refused: list[int] = []
        """The statuses of all other answers."""
        self.cut = 0
        """Requests without an answer: whether their tasks are there is for the database to say."""
        self.seconds: list[float] = []
        """How long each of the created took."""
        self._stack = stack
        self._pause_seconds = pause_seconds
        self._stop = threading.Event()
        self._token = ""
        self._pool = ThreadPoolExecutor(CLIENTS)

    def __enter__(self) -> Self:
        assert wait_until(self._logs_in, timeout_seconds=ANSWER_TIMEOUT_SECONDS), "the web server does not come back"
        self._clients = [self._pool.submit(self._create_until_stopped) for _ in range(CLIENTS)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown()
        for client in self._clients:
            client.result()

    def wait_for(self, count: int) -> None:
        """Wait until `count` more tasks were created."""
        enough = len(self.created) + count
        in_time = wait_until(lambda: len(self.created) >= enough, timeout_seconds=ENOUGH_TIMEOUT_SECONDS)
        assert in_time, f"created={len(self.created)} of {enough} refused={self.refused[-5:]} cut={self.cut}"

    def go_on(self, *, seconds: float, count: int) -> None:
        """Wait until that many seconds have passed and that many more tasks were created."""
        until = time.monotonic() + seconds
        self.wait_for(count)
        wait_until(lambda: time.monotonic() >= until, timeout_seconds=seconds)

    def _logs_in(self) -> bool:
        login = {"username": USERNAME, "password": PASSWORD}
        try:
            answer = httpx.post(f"{self._stack.url}api/token/", json=login, timeout=REQUEST_TIMEOUT_SECONDS)
        except httpx.TransportError:
            return False
        self._token = answer.json()["access"] if answer.is_success else ""
        return answer.is_success

    def _create_until_stopped(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        url, timeout = self._stack.url, REQUEST_TIMEOUT_SECONDS
        with httpx.Client(base_url=url, headers=headers, timeout=timeout) as client:
            while not self._stop.wait(self._pause_seconds):
                self._create(client)

    def _create(self, client: httpx.Client) -> None:
        begun = time.monotonic()
        try:
            answer = client.post("tasks/", json={"title": "Yuk"})
        except httpx.TransportError:
            self.cut += 1
            return
        if answer.status_code == httpx.codes.CREATED:
            self.seconds.append(time.monotonic() - begun)
            self.created.add(answer.json()["id"])
        else:
            self.refused.append(answer.status_code)


def percentiles(seconds: list[float]) -> str:
    """Return the median and the 99th percentile, in milliseconds, for people to read."""
    hundredths = statistics.quantiles(seconds, n=100)
    return f"p50 {hundredths[49] * 1000:.1f} ms, p99 {hundredths[98] * 1000:.1f} ms of {len(seconds)}"
