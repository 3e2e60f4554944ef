"""Limits how many lines of one kind are logged: a program that floods RabbitMQ with messages must not fill the disk."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

MAX_LINES = 20
WINDOW_SECONDS = 60.0
LAST = " (others like this one are not logged for %g s)"


class LineLimit(logging.Filter):
    """Lets so many lines of one template through in `WINDOW_SECONDS`; the last one says so."""

    def __init__(
        self,
        template: str,
        *,
        max_lines: int = MAX_LINES,
        window_seconds: float = WINDOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to count.

        Args:
            template: the lines' text before its arguments are filled in; other lines pass.
            max_lines: how many pass.
            window_seconds: the time in which they are counted.
            clock: monotonic seconds.
        """
        super().__init__()
        self._template = template
        self._max_lines = max_lines
        self._window_seconds = window_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self.begin_anew()

    def begin_anew(self) -> None:
        """Count from 0 again."""
        self._until = 0.0
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg != self._template:
            return True
        with self._lock:
            now = self._clock()
            if now >= self._until:
                self._until, self._count = now + self._window_seconds, 0
            self._count += 1
            count = self._count
        if count == self._max_lines:
            record.msg += LAST % self._window_seconds
        return count <= self._max_lines


def limit_lines(logger: logging.Logger, *templates: str, **limit: Any) -> None:
    """Limit a logger's lines of each of these templates; `limit` as for `LineLimit`."""
    for template in templates:
        logger.addFilter(LineLimit(template, **limit))
