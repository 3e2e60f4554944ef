"""Runs one program in a separate session, and ends it with all processes that it started.

Guarantee: a stopped program leaves no process behind; its descendants are found by their session or their parents,
never by their name. `server` and `supervision` build on this.
"""

import os
import pwd
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import psutil

from project.local.servers.errors import ServerFailedToStart

POLL_SECONDS = 0.05
KILL_TIMEOUT_SECONDS = 5.0


class StartedWithin:
    """A context manager that starts on entering the block and stops when it is left, also by an error."""

    start: Callable[..., None]
    stop: Callable[..., None]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


@dataclass(frozen=True, kw_only=True)
class Program:
    """A long-running command."""

    name: str

    command: tuple[str, ...]

    environment: Mapping[str, str]
    """The whole environment: the program inherits no other variable."""

    working_directory: Path

    log: Path | None = None
    """The file for its output; if None, the caller that starts it chooses one."""

    is_ready: Callable[[], bool] = lambda: True
    """Returns whether a program that needs this one may be started."""

    account: pwd.struct_passwd | None = None
    """The account that root runs the program as; if None, it runs as the user who starts it."""

    stop_timeout_seconds: float = 10.0
    """How long the program may take to stop before it is killed."""

    parent_death_signal: signal.Signals = signal.SIGKILL
    """The signal that the kernel sends the program when the process that started it is killed."""


class RunningProgram:
    """A started `Program`. The process id is the program's: no shell or wrapper is in between."""

    def __init__(self, program: Program, *, log: Path, thread_stays: bool = False) -> None:
        """Start `program`, appending its output to `log`.

        Args:
            program: the program.
            log: the file for its output.
            thread_stays: whether the calling thread lives as long as the program. The main thread always does.

        Raises:
            ServerFailedToStart: the command cannot be executed.
        """
        self.program = program
        # The kernel ties a program to the *thread* that started it.
        is_tied = thread_stays or threading.current_thread() is threading.main_thread()
        self._process = _spawn(program, log, is_tied=is_tied)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> int:
        """Return the exit status once the program has ended; it is negative for a signal."""
        return self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone, not to its children."""
        self._process.send_signal(number)

    def stop(self, *, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Ask the program to stop; after its timeout kill it. No process of its session is left."""
        family = self.family()
        self.send_signal(with_signal)
        # A program that is suspended (SIGSTOP) acts on SIGKILL only, until SIGCONT.
        self.send_signal(signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self.program.stop_timeout_seconds)
        self._end(family)

    def kill(self) -> None:
        """Kill the program and its children with SIGKILL and wait until all are gone."""
        self._end(self.family())

    def _end(self, family: set[psutil.Process]) -> None:
        self._process.kill()
        kill_all(family | self.family())
        self._process.wait(KILL_TIMEOUT_SECONDS)

    def family(self) -> set[psutil.Process]:
        """Return the program's descendants, and the other members of its session."""
        family = set()
        with suppress(psutil.NoSuchProcess):
            family.update(psutil.Process(self.pid).children(recursive=True))
        for pid in psutil.pids():
            with suppress(ProcessLookupError, PermissionError, psutil.NoSuchProcess):
                if os.getsid(pid) == self.pid != pid:
                    family.add(psutil.Process(pid))
        return family


def kill_all(processes: Collection[psutil.Process]) -> None:
    """Kill processes and wait until they are gone."""
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    wait_until(lambda: not any(map(_is_alive, processes)), timeout_seconds=KILL_TIMEOUT_SECONDS)


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float) -> bool:
    """Poll `condition` until it is true or the time is over; return whether it was true."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def run_as(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """Return the arguments with which `subprocess` runs a command as `account`; None is the user of this process."""
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()} if account else {}


@cache
def setpriv_with_death_signal() -> str | None:
    """Return util-linux's `setpriv`, if this system has it and it can set a parent-death signal."""
    setpriv = shutil.which("setpriv", path=f"{os.environ.get('PATH', '')}:/usr/bin:/bin")
    if setpriv is None:
        return None
    usage = subprocess.run([setpriv, "--help"], capture_output=True, text=True, check=False)
    return setpriv if "--pdeathsig" in usage.stdout + usage.stderr else None


def _spawn(program: Program, log: Path, *, is_tied: bool) -> subprocess.Popen[bytes]:
    command = list(program.command)
    if is_tied and (setpriv := setpriv_with_death_signal()):
        command = [setpriv, "--pdeathsig", program.parent_death_signal.name.removeprefix("SIG"), "--", *command]
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                env=dict(program.environment),
                cwd=program.working_directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A lock that this process has made inheritable is then held until the last program has ended.
                close_fds=False,
                **run_as(program.account),
            )
    except OSError as error:
        raise ServerFailedToStart(f"{program.name} cannot be executed: {error}.") from error


def _is_alive(process: psutil.Process) -> bool:
    # An orphan that has ended stays a zombie if process 1 does not reap it; it has no files or ports any more.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
