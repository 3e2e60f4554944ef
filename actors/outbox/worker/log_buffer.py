"""Buffers log lines while a thread runs the messages of a batch, and keeps lines about success until it is certain.

Guarantee: the lines are written before any of these messages is settled, in the thread's order. A worker that is killed
before that loses them together with the runs, which are repeated. `batch` enables the buffering; a `MemoryHandler` of
the root logger that checks `lines_may_wait` does it (`project.logs`). Any other handler writes each line at once.

A line that an actor logs with `log_when_settled` is written as the last act before the commit that settles its message:
at least once if it is settled, and not at all for an attempt that fails before its commit. `execution` keeps the lines.
"""

import logging
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler

SettledLine = tuple[logging.Logger, str, tuple[object, ...]]
"""A line's logger, template and values."""

_thread = threading.local()


def log_when_settled(logger: logging.Logger, template: str, *values: object) -> None:
    """Log at INFO what the running message has done, once it is done; at once if no message runs in this thread.

    Args:
        logger: the line's logger.
        template: its text, with `%s` and the like for the values.
        values: as for `logger.info`.
    """
    kept: list[SettledLine] | None = getattr(_thread, "kept", None)
    if kept is None:
        logger.info(template, *values)
    else:
        kept.append((logger, template, values))


@contextmanager
def kept_lines() -> Iterator[list[SettledLine]]:
    """Keep the lines that this thread logs with `log_when_settled` inside the block, for `write_kept`."""
    outer = getattr(_thread, "kept", None)
    _thread.kept = kept = list[SettledLine]()
    try:
        yield kept
    finally:
        _thread.kept = outer


def write_kept(lines: Iterable[SettledLine]) -> None:
    """Log kept lines; inside another block of `kept_lines`, leave them to it."""
    for logger, template, values in lines:
        log_when_settled(logger, template, *values)


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
