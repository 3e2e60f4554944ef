"""Turns the log of a server that failed to start into one line that says why and where to read more."""

import re
from collections.abc import Sequence
from pathlib import Path

TELLING_SIGNS = ("[error]", "PANIC:", "FATAL:", "ERROR:", "Error", "error:")
PREFIX = re.compile(r"^.{0,60}?(\[error\] <[\d.]+>|PANIC:|FATAL:|ERROR:)\s*")
MAX_QUOTE = 200


def explain(problem: str, logs: Sequence[Path]) -> str:
    """Return `problem` with the most telling line of the first log that has one, and that log's path."""
    log, lines = next(((log, lines) for log in logs if (lines := _lines(log))), (logs[0], []))
    quote = f": {most_telling(lines)}" if lines else ""
    return f"{problem}{quote} (see {log})"


def most_telling(lines: Sequence[str]) -> str:
    """Return the first line that reports an error, with the next one if it only announces it; else the last line."""
    for sign in TELLING_SIGNS:
        for number, line in enumerate(lines):
            if sign in line:
                announced = lines[number + 1 : number + 2] if line.endswith((":", "{error,")) else []
                return _shorten(line, *announced)
    return _shorten(lines[-1])


def _shorten(*lines: str) -> str:
    return " ".join(PREFIX.sub("", line) for line in lines)[:MAX_QUOTE]


def _lines(log: Path) -> list[str]:
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]
