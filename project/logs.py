"""Writes log lines: one event is one line, whole even if several processes write to one file."""

import logging
import os
import re
import sys
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import IO, TextIO

from actors.outbox.context import current_request_id
from actors.outbox.worker.log_buffer import lines_may_wait

MAX_BUFFERED = 10_000  # lines
# A key of a request's environment: as many lines as a client likes would come of its requests otherwise.
LOGGED = "project.logged"
OWNER_ONLY = 0o600
QUIET_ADDRESSES = ("/static/", "/health/")

# What a terminal would run as a command or reorder the line by, and what ends a line for some readers: control
# characters, bidirectional ones, separators of lines and paragraphs, halves of surrogate pairs.
UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
INDENT = "    "


class LineFormatter(logging.Formatter):
    """Formats an event as one line, and its traceback as indented lines below it.

    Guarantee: whatever text an event, an exception or a source line has, no line but the first begins like one, and no
    character controls a terminal or changes the order in which others are shown: those are written as escapes.

    A warning or error ends with the id of the request in which it happened; in a worker, of the one that caused the
    work.
    """

    def format(self, record: logging.LogRecord) -> str:
        record.message = record.getMessage()
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        line = self.formatMessage(record)
        # Not `exc_text` if there is the exception: another formatter has left it, as it stands.
        traceback = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        details = [text for text in (traceback, record.stack_info) if text]
        return "\n".join([line, *map(_indented, details)]) if details else line

    def formatMessage(self, record: logging.LogRecord) -> str:
        line = super().formatMessage(record)
        if record.levelno >= logging.WARNING:
            # Django logs a 5xx response after its middleware is done; such a record carries the request.
            request_id = getattr(getattr(record, "request", None), "request_id", "") or current_request_id()
            line = f"{line} request_id={request_id}" if request_id else line
        return escaped(line)


def escaped(text: str) -> str:
    """Return a text with unsafe characters as Python writes them, such as `\\n` and `\\u202e`."""
    # Most lines are printable: their letters need not be looked at one by one.
    return text if text.isprintable() else UNSAFE.sub(lambda found: repr(found[0])[1:-1], text)


def _indented(text: str) -> str:
    return "\n".join(INDENT + escaped(line) for line in text.split("\n"))


def is_worth_a_line(record: logging.LogRecord) -> bool:
    """Return False for access lines, `METHOD /address …`, of addresses whose lines would bury all others."""
    return not record.getMessage().partition(" ")[2].startswith(QUIET_ADDRESSES)


def is_unlogged(record: logging.LogRecord) -> bool:
    """Return False for Django's line about a 5xx response to a request that is `LOGGED` already."""
    return LOGGED not in getattr(getattr(record, "request", None), "META", ())


def drop_traceback(record: logging.LogRecord) -> bool:
    """Drop the traceback of an event whose message is enough."""
    record.exc_info = None
    return True


class LineHandler(MemoryHandler):
    """Writes lines to the terminal and to a file, each whole by one `write(2)`: lines of several processes never mix.

    Lines that may wait (`actors.outbox.worker.log_buffer`) are written together, before the next warning at the latest.
    The file is opened for each write: it may be moved away at any time (logrotate).
    """

    def __init__(self, filename: str, terminal: TextIO | None = None) -> None:
        """Create the file and its folder, or end the process: it would run without the log that was configured.

        Args:
            filename: the file; empty for none.
            terminal: the process's standard error by default.

        Raises:
            SystemExit: the file cannot be written; one line says what to do.
        """
        super().__init__(capacity=MAX_BUFFERED, flushLevel=logging.WARNING)
        self._terminal = terminal or sys.stderr
        self._file = Path(filename).absolute() if filename else None
        try:
            if self._file:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                _open_private(self._file).close()
        except OSError as error:
            # Not an Exception: logging's configuration would wrap it and hide the name of the file.
            raise SystemExit(
                f"LOG_FILE, {filename}, cannot be written: {error.strerror}: {error.filename}. "
                "Set it to a file that this user may write, or to nothing to log to the terminal only."
            ) from error

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # Formatted now: the record's arguments may change before it is written.
            record.__dict__["line"] = self.format(record) + "\n"
        except Exception:  # as logging demands: a record that cannot be written interrupts no work
            self.handleError(record)
        else:
            super().emit(record)

    def shouldFlush(self, record: logging.LogRecord) -> bool:
        return not lines_may_wait() or super().shouldFlush(record)

    def flush(self) -> None:
        self.acquire()
        try:
            records, self.buffer = self.buffer, []
            text = "".join(record.__dict__["line"] for record in records)
            for write in (self._show, self._append) if records else ():
                try:
                    write(text)
                except Exception:
                    self.handleError(records[-1])
        finally:
            self.release()

    def _show(self, text: str) -> None:
        self._terminal.write(text)
        self._terminal.flush()

    def _append(self, text: str) -> None:
        if self._file:
            with _open_private(self._file) as file:
                file.write(text.encode("utf-8", "backslashreplace"))


def _open_private(path: Path) -> IO[bytes]:
    """Open a file to append to it; a new one is its owner's alone, because titles and names are in it."""
    return open(path, "ab", buffering=0, opener=lambda name, flags: os.open(name, flags, OWNER_ONLY))
