"""Runs one program of a private server in a session of its own, and ends it with everything it started.

A stopped program leaves no process behind: what outlives the leader is found by its session or its parents, never by
its name. `rabbitmq` and `postgresql` build on this; a process manager can run the same `Program` by itself.
"""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import psutil

from project.local.servers.errors import ServerFailedToStart
from project.local.servers.unprivileged import Account

POLL_SECONDS = 0.05
KILL_TIMEOUT_SECONDS = 5.0


class StartedWithin:
    """A context manager for what can be started and stopped: it runs within the block, however that ends."""

    start: Callable[..., None]
    stop: Callable[..., None]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


@dataclass(frozen=True, kw_only=True)
class Program:
    """A long-running command, complete enough to be run by any process manager."""

    name: str

    command: tuple[str, ...]

    environment: Mapping[str, str]
    """The whole environment: the program inherits no other variable."""

    working_directory: Path

    account: Account | None = None
    """The account that root runs the program as; if None, it runs as the user who starts it."""

    stop_signal: signal.Signals = signal.SIGTERM

    stop_timeout_seconds: float = 10.0
    """How long the program may take to stop by itself before it is killed."""

    parent_death_signal: signal.Signals = signal.SIGKILL
    """What the program is sent when the process that started it is killed."""

    def self_contained_command(self) -> list[str]:
        """Return a command that sets the environment itself, for managers that can only add variables."""
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return self.as_account([shutil.which("env") or "/usr/bin/env", "-i", *variables, *self.command])

    def as_account(self, command: Sequence[str]) -> list[str]:
        """Prefix `command` so that it runs as the program's account."""
        return self.account.command(command) if self.account else list(command)


class RunningProgram:
    """A started `Program`. Its process id is the program's own: no shell or wrapper stands in between."""

    def __init__(self, program: Program, *, log: Path) -> None:
        """Start `program`, appending its output to `log`.

        Raises:
            ServerFailedToStart: the command cannot be executed.
        """
        self.program = program
        self.log = log
        self._process = _spawn(program, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def exit_code(self) -> int | None:
        """Return the exit status, negative for a signal, or None while the program runs."""
        return self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone, not to its children."""
        self._process.send_signal(number)

    def stop(self, *, with_signal: signal.Signals | None = None) -> None:
        """Ask the program to stop; after its timeout kill it. No process of its session is left."""
        family = self._family()
        self.send_signal(with_signal or self.program.stop_signal)
        # A frozen program acts on no other signal than SIGKILL until it is thawed.
        self.send_signal(signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self.program.stop_timeout_seconds)
        self._end(family)

    def kill(self) -> None:
        """Kill the program and its children with SIGKILL and wait until all are gone."""
        self._end(self._family())

    def _end(self, family: set[psutil.Process]) -> None:
        self._process.kill()
        survivors = family | self._family()
        for member in survivors:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        self._process.wait(KILL_TIMEOUT_SECONDS)
        wait_until(lambda: not any(map(_is_alive, survivors)), timeout_seconds=KILL_TIMEOUT_SECONDS)

    def _family(self) -> set[psutil.Process]:
        return _children(self.pid) | session_members(self.pid)


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float) -> bool:
    """Poll `condition` until it holds or the time is over; return whether it held."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def tied_to_parent(command: Sequence[str], *, death_signal: signal.Signals) -> list[str]:
    """Prefix `command` so that the kernel signals it when the thread that starts it dies, where that is possible.

    Only a thread that lives as long as its process may start the result: in practice, the main thread.
    """
    setpriv = _setpriv_with_death_signal()
    return [setpriv, "--pdeathsig", death_signal.name.removeprefix("SIG"), "--", *command] if setpriv else list(command)


@cache
def _setpriv_with_death_signal() -> str | None:
    setpriv = shutil.which("setpriv", path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin")
    if setpriv is None:
        return None
    usage = subprocess.run([setpriv, "--help"], capture_output=True, text=True, check=False)
    return setpriv if "--pdeathsig" in usage.stdout + usage.stderr else None


def _spawn(program: Program, log: Path) -> subprocess.Popen[bytes]:
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                _launch_command(program),
                env=dict(program.environment),
                cwd=program.working_directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise ServerFailedToStart(f"{program.name} cannot be executed: {error}.") from error


def _launch_command(program: Program) -> list[str]:
    # The kernel ties a child to the *thread* that started it: only the main thread is sure to live long enough.
    if threading.current_thread() is not threading.main_thread():
        return program.as_account(program.command)
    # A change of account unties, so the tie comes after it.
    return program.as_account(tied_to_parent(program.command, death_signal=program.parent_death_signal))


def _children(pid: int) -> set[psutil.Process]:
    try:
        return set(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def session_members(session: int) -> set[psutil.Process]:
    """Return the processes of a session, without its leader."""
    members = set()
    for pid in psutil.pids():
        with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
            if os.getsid(pid) == session and pid != session:
                members.add(psutil.Process(pid))
    return members


def _is_alive(process: psutil.Process) -> bool:
    # An orphan that has ended stays a zombie where process 1 does not reap; it holds nothing any more.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
