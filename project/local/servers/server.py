"""Starts a private server, waits until it is ready and ends it; `rabbitmq` and `postgresql` define its programs.

Guarantee: the error of a failed start is one line, which quotes the log and names it.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from project.local.servers.errors import ServerFailedToStart
from project.local.servers.ports import LOOPBACK, is_free
from project.local.servers.process import Program, RunningProgram, StartedWithin, wait_until

BOOT_TIMEOUT_SECONDS = 60.0
TELLING_SIGNS = ("[error]", "PANIC:", "FATAL:", "ERROR:", "Error", "error:")
PREFIX = re.compile(r"^.{0,60}?(\[error\] <[\d.]+>|PANIC:|FATAL:|ERROR:)\s*")
MAX_QUOTE = 200


@dataclass(kw_only=True)
class PrivateServer(StartedWithin, ABC):
    """A server on loopback, whose data are in `directory` and survive a restart.

    Guarantee: a server that failed to start, was stopped or was killed leaves no process behind.
    """

    title: ClassVar[str]

    directory: Path

    def __post_init__(self) -> None:
        self.directory = self.directory.absolute()
        self._running: list[RunningProgram] = []

    @abstractmethod
    def prepare(self) -> None:
        """Write what the server needs to start; data of an earlier start are kept."""

    @abstractmethod
    def programs(self) -> list[Program]:
        """Return its programs, in the order in which they must start; `prepare()` comes first."""

    @abstractmethod
    def ports(self) -> Sequence[int]:
        """Return the ports that it listens on."""

    @abstractmethod
    def logs(self) -> Sequence[Path]:
        """Return the logs that may say why a start failed: first the output of the start itself, then others."""

    @property
    def pid(self) -> int:
        """The process id of the server that `start()` started."""
        return self._running[-1].pid

    def busy_port(self) -> int | None:
        """Return the first of the server's ports that is in use, if any."""
        return next((port for port in self.ports() if not is_free(port)), None)

    def start(self, *, timeout_seconds: float = BOOT_TIMEOUT_SECONDS) -> None:
        """Start the server and wait until it is ready.

        Raises:
            ServerFailedToStart: a port is in use, or the server does not become ready; nothing is left running.
        """
        try:
            self.start_with(self._run, still_running=self.is_running, timeout_seconds=timeout_seconds)
        except BaseException:
            self.kill()
            raise

    def start_with(
        self,
        run: Callable[[Program], object],
        *,
        still_running: Callable[[], bool],
        timeout_seconds: float = BOOT_TIMEOUT_SECONDS,
    ) -> None:
        """Call `run` with each program, once the one before it is ready, and wait until the last is ready.

        Raises:
            ServerFailedToStart: a port is in use, a program has ended according to `still_running`, or the time is
                over; the message quotes and names the log.
        """
        if (port := self.busy_port()) is not None:
            raise ServerFailedToStart(
                f"{self.title} cannot listen on {LOOPBACK}:{port}, the port is in use: stop the program there."
            )
        self.logs()[0].unlink(missing_ok=True)
        self.prepare()
        for program in self.programs():
            run(program)
            self._wait_until_ready(program, still_running, timeout_seconds)

    def stop(self) -> None:
        """Stop the server in order, with its data written."""
        self._end(RunningProgram.stop)

    def kill(self) -> None:
        """Kill the server and its children with SIGKILL, as a crash would."""
        self._end(RunningProgram.kill)

    def restart(self) -> None:
        """Stop the server and start it again on the same ports."""
        self.stop()
        self.start()

    def is_running(self) -> bool:
        """Return whether the server that `start()` started still runs."""
        return bool(self._running) and all(running.is_running() for running in self._running)

    def _run(self, program: Program) -> None:
        self._running.append(RunningProgram(program, log=program.log or self.logs()[0]))

    def _wait_until_ready(self, program: Program, still_running: Callable[[], bool], timeout_seconds: float) -> None:
        in_time = wait_until(lambda: program.is_ready() or not still_running(), timeout_seconds=timeout_seconds)
        if in_time and still_running():
            return
        problem = "ended during its start" if in_time else f"was not ready after {timeout_seconds:g} s"
        raise ServerFailedToStart(explain(f"{self.title} {problem}", self.logs()))

    def _end(self, end: Callable[[RunningProgram], None]) -> None:
        for running in reversed(self._running):
            end(running)
        self._running.clear()


def explain(problem: str, logs: Sequence[Path]) -> str:
    """Return `problem` with the most telling line of the first log that has one, and that log's path."""
    log, lines = next(((log, lines) for log in logs if (lines := _lines(log))), (logs[0], []))
    quote = f": {most_telling(lines)}" if lines else ""
    return f"{problem}{quote} (see {log})"


def most_telling(lines: Sequence[str]) -> str:
    """Return the first line that reports an error, with the next one if the first ends in a colon; else the last."""
    found = [number for sign in TELLING_SIGNS for number, line in enumerate(lines) if sign in line]
    first = found[0] if found else len(lines) - 1
    quoted = 2 if lines[first].endswith((":", "{error,")) else 1
    return " ".join(PREFIX.sub("", line) for line in lines[first : first + quoted])[:MAX_QUOTE]


def _lines(log: Path) -> list[str]:
    text = log.read_text(errors="replace") if log.exists() else ""
    return [line.strip() for line in text.splitlines() if line.strip()]
