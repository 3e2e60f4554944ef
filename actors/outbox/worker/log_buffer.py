"""Lines of the log that a thread writes while it runs several messages in a row: gathered, and written at once.

Guarantee: they are written before any of these messages is settled, in the thread's order; a kill in between takes them
together with the runs, which are then done again. `sharing` says when, the handlers of `project.logs` take part.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import LogRecord

Line = tuple[LogRecord, str]
Write = Callable[[list[Line]], None]


class _Gathered(threading.local):
    lines: dict[Write, list[Line]] | None = None


_gathered = _Gathered()


@contextmanager
def buffered_lines() -> Iterator[None]:
    """Keep what this thread logs inside, and write it at the end."""
    _gathered.lines = {}
    try:
        yield
    finally:
        # In this order: what a handler logs while it writes is written by it at once.
        lines, _gathered.lines = _gathered.lines, None
        _write_all(lines or {})


def buffer_line(write: Write, line: Line) -> bool:
    """Keep a line for `write`; return whether somebody gathers: if nobody does, it is to be written now."""
    if _gathered.lines is None:
        return False
    _gathered.lines.setdefault(write, []).append(line)
    return True


def flush_lines(write: Write | None = None) -> None:
    """Write what is kept, of one handler or of all.

    A handler that holds its lock writes its own only: another one may be held by a thread that waits for this one.
    """
    lines = _gathered.lines or {}
    if write is None:
        _write_all(lines)
    elif kept := lines.pop(write, None):
        write(kept)


def _write_all(lines: dict[Write, list[Line]]) -> None:
    while lines:
        write, kept = lines.popitem()
        write(kept)
