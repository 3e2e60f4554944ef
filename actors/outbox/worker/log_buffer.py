"""Buffers the log lines of a thread while it runs the messages of a batch, and writes them at once.

Guarantee: the lines are written before any of these messages is settled, in the thread's order. A worker that is killed
before that loses them together with the runs, which are repeated. `batch` opens the buffer; the log handlers of
`project.logs` fill it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import LogRecord

Line = tuple[LogRecord, str]
Write = Callable[[list[Line]], None]


class _Buffer(threading.local):
    lines: dict[Write, list[Line]] | None = None


_buffer = _Buffer()


@contextmanager
def buffered_lines() -> Iterator[None]:
    """Buffer the lines that this thread logs inside the block, and write them at its end."""
    _buffer.lines = {}
    try:
        yield
    finally:
        # Closed before it is written: a line that a handler logs while it writes is written at once.
        lines, _buffer.lines = _buffer.lines, None
        _write_all(lines or {})


def buffer_line(write: Write, line: Line) -> bool:
    """Buffer a line that a handler has to write.

    Args:
        write: the handler's method that writes lines; it is called with all of the handler's lines.
        line: the record and its text.

    Returns:
        Whether the line is buffered. If not, this thread has no buffer, and the handler writes the line now.
    """
    if _buffer.lines is None:
        return False
    _buffer.lines.setdefault(write, []).append(line)
    return True


def flush_lines(write: Write | None = None) -> None:
    """Write the buffered lines of this thread.

    Args:
        write: of this handler only; of all handlers by default. A handler that has its own lock writes only its own
            lines: the lock of another may be taken by a thread that waits for this one's.
    """
    lines = _buffer.lines or {}
    if write is None:
        _write_all(lines)
    elif buffered := lines.pop(write, None):
        write(buffered)


def _write_all(lines: dict[Write, list[Line]]) -> None:
    while lines:
        write, buffered = lines.popitem()
        write(buffered)
