"""Buffers log lines while a thread runs the messages of a batch, to write them together.

Guarantee: the lines are written before any of these messages is settled, in the thread's order. A worker that is killed
before that loses them together with the runs, which are repeated. `batch` enables the buffering; a `MemoryHandler` of
the root logger that checks `lines_may_wait` does it (`project.logs`). Any other handler writes each line at once.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler

_thread = threading.local()


def lines_may_wait() -> bool:
    """Return whether this thread calls `flush_lines` before it settles the work that it logs."""
    return getattr(_thread, "lines_may_wait", False)


@contextmanager
def buffered_lines() -> Iterator[None]:
    """Buffer the lines that this thread logs inside the block, until its end or `flush_lines`."""
    _thread.lines_may_wait = True
    try:
        yield
    finally:
        flush_lines()


def flush_lines() -> None:
    """Write the buffered lines, including those of other threads; this thread buffers no further ones."""
    # First: a line that a handler logs while it writes is written at once.
    _thread.lines_may_wait = False
    for handler in logging.getLogger().handlers:
        if isinstance(handler, MemoryHandler):
            handler.flush()
