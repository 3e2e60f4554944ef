"""How log lines are written: one event is one line, written whole even if several processes write to one file."""

import logging
import os
from collections.abc import Sequence
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

from actors.outbox.context import current_request_id
from actors.outbox.worker.log_buffer import Line, buffer_line, flush_lines

# Characters that a terminal would take for a command, or a reader of lines for the end of one.
ESCAPES = {
    code: repr(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0xD800, 0xE000))
}


class LineFormatter(logging.Formatter):
    """Escapes control characters, so that no title can forge a line or control a terminal. Tracebacks stay readable.

    A warning or error ends with the id of the request in which it happened; in a worker, of the one that caused the
    work.
    """

    def format(self, record: logging.LogRecord) -> str:
        # Terminal and file get the same line: it is formatted once.
        made: dict[LineFormatter, str] = record.__dict__.setdefault("made_lines", {})
        if self not in made:
            made[self] = super().format(record)
        return made[self]

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record).translate(ESCAPES)
        request_id = _request_id(record) if record.levelno >= logging.WARNING else ""
        return f"{line} request_id={request_id}" if request_id else line


def _request_id(record: logging.LogRecord) -> str:
    # Django logs a 5xx response after its middleware is done; such a record carries the request.
    request = getattr(record, "request", None)
    return getattr(request, "request_id", "") or current_request_id()


class QuietAddresses(logging.Filter):
    """Drops the access lines, `METHOD /address …`, of addresses whose lines would bury all others."""

    def __init__(self, prefixes: Sequence[str]) -> None:
        super().__init__()
        self.prefixes = tuple(prefixes)

    def filter(self, record: logging.LogRecord) -> bool:
        address = record.getMessage().partition(" ")[2]
        return not address.startswith(self.prefixes)


class WithoutTraceback(logging.Filter):
    """Drops the traceback of an event whose message is enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = None
        return True


class BufferedHandler(logging.Handler):
    """Mixin for a handler: lines that a thread buffers (`actors.outbox.worker.log_buffer`) are written together.

    A warning is written at once, after the lines that were buffered before it.
    """

    terminator = "\n"

    def write(self, text: str) -> None:
        """Write whole lines."""
        raise NotImplementedError

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = record, self.format(record) + self.terminator
        except Exception:  # logging's own contract: a record that cannot be written interrupts no work
            self.handleError(record)
            return
        if record.levelno >= logging.WARNING or not buffer_line(self._write_lines, line):
            flush_lines(self._write_lines)
            self._write_lines([line])

    def _write_lines(self, lines: list[Line]) -> None:
        self.acquire()  # buffered lines are written outside `handle`, which locks
        try:
            self.write("".join(text for _record, text in lines))
        except Exception:
            self.handleError(lines[-1][0])
        finally:
            self.release()


class TerminalHandler(BufferedHandler, logging.StreamHandler[Any]):
    """Writes to the process's standard error, whole lines at a time."""

    def write(self, text: str) -> None:
        self.stream.write(text)
        self.flush()


class WholeLineFileHandler(BufferedHandler, WatchedFileHandler):
    """Appends each record, or those that were buffered, with one `write(2)`: lines of several processes never mix.

    Follows the file when it is moved away (logrotate) and makes its folder if there is none.
    """

    def __init__(self, filename: str) -> None:
        """Open the file, or end the process: it would run without the log that its configuration asks for.

        Raises:
            SystemExit: the file cannot be written; one line says what to do.
        """
        try:
            Path(filename).parent.mkdir(parents=True, exist_ok=True)
            super().__init__(filename, encoding="utf-8")
        except OSError as error:
            # Not an Exception: logging's configuration would wrap it, and hide which file it is about.
            raise SystemExit(
                f"LOG_FILE, {filename}, cannot be written: {error.strerror}: {error.filename}. "
                "Set it to a file that this user may write, or to nothing to log to the terminal only."
            ) from error

    def write(self, text: str) -> None:
        self.reopenIfNeeded()
        os.write(self._descriptor(), text.encode("utf-8", "backslashreplace"))

    def _descriptor(self) -> int:
        # The file is not open yet with `delay`, and after a failed reopening.
        self.stream = self.stream or self._open()
        return self.stream.fileno()
