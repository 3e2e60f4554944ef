"""A client that follows the stream of events through every fault, and resumes after the last event that it got."""

import threading
from typing import Any, Self

import httpx

from project.local.servers.process import wait_until
from project.local.stack import Stack
from tests.chaos.load import log_in

RECONNECT_SECONDS = 0.2
# Longer than the pause between two heartbeats.
SILENCE_SECONDS = 15.0
CAUGHT_UP_TIMEOUT_SECONDS = 60.0


class Follower:
    """Follows the stream from the beginning of the log, from entering to leaving the context."""

    def __init__(self, stack: Stack) -> None:
        self.seen: list[int] = []
        """The ids of the events, in the order in which they came."""
        self.reconnects = -1
        self._stack = stack
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(SILENCE_SECONDS)

    def assert_has_seen(self, events: list[int]) -> None:
        """Assert that it gets these events in this order, each once, and no other."""
        wait_until(lambda: len(self.seen) >= len(events), timeout_seconds=CAUGHT_UP_TIMEOUT_SECONDS)
        assert self.seen == events

    def _follow(self) -> None:
        while not self._stop.is_set():
            self.reconnects += 1
            try:
                self._follow_once()
            except httpx.HTTPError:
                self._stop.wait(RECONNECT_SECONDS)

    def _follow_once(self) -> None:
        headers: dict[str, Any] = {"Authorization": f"Bearer {log_in(self._stack)}"}
        headers["Last-Event-ID"] = str(self.seen[-1] if self.seen else 0)
        url = f"{self._stack.url}activity/stream/"
        event = 0
        with httpx.stream("GET", url, headers=headers, timeout=SILENCE_SECONDS) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                if self._stop.is_set():
                    return
                if line.startswith("event: "):
                    self.seen.append(event)
                elif line.startswith("id: "):
                    event = int(line.removeprefix("id: "))
