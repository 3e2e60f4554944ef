"""Limits how many lines of one kind are logged: a program that floods RabbitMQ with messages must not fill the disk."""

import logging
import threading
import time
from collections.abc import Callable

MAX_LINES = 20
WINDOW_SECONDS = 60.0
LAST = " (others like this one are not logged for a minute)"


class LineLimit(logging.Filter):
    """Lets at most `MAX_LINES` lines of one template through in `WINDOW_SECONDS`; the last one says so."""

    def __init__(self, template: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin to count.

        Args:
            template: the lines' text before its arguments are filled in; other lines pass.
            clock: monotonic seconds.
        """
        super().__init__()
        self._template = template
        self._clock = clock
        self._lock = threading.Lock()
        self._until = 0.0
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg != self._template:
            return True
        with self._lock:
            now = self._clock()
            if now >= self._until:
                self._until, self._count = now + WINDOW_SECONDS, 0
            self._count += 1
            count = self._count
        if count == MAX_LINES:
            record.msg += LAST
        return count <= MAX_LINES


def limit_lines(logger: logging.Logger, *templates: str) -> None:
    """Limit a logger's lines of each of these templates."""
    for template in templates:
        logger.addFilter(LineLimit(template))
