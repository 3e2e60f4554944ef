"""Lets log lines wait while a thread runs the messages of a batch, so that they are written at once.

Guarantee: the lines are written before any of these messages is settled, in the thread's order. A worker that is killed
before that loses them together with the runs, which are repeated. `batch` says when lines may wait; a `MemoryHandler`
of the root logger that asks `lines_may_wait` keeps them (`project.logs`). Any other handler writes each line at once.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler

_thread = threading.local()


def lines_may_wait() -> bool:
    """Say whether this thread calls `flush_lines` before the work that it logs counts as done."""
    return getattr(_thread, "lines_may_wait", False)


@contextmanager
def buffered_lines() -> Iterator[None]:
    """Let the lines that this thread logs inside the block wait for its end."""
    _thread.lines_may_wait = True
    try:
        yield
    finally:
        # First: a line that a handler logs while it writes is written at once.
        _thread.lines_may_wait = False
        flush_lines()


def flush_lines() -> None:
    """Write the lines that wait, other threads' among them."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, MemoryHandler):
            handler.flush()
