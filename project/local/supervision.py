"""Keeps programs running: one that ends is started again.

Guarantee: when `stop()` returns, none of the programs is left. When the process that started them is killed, the kernel
sends each of them its parent-death signal. `stack` names the programs.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from project.local.servers.errors import ServerFailedToStart
from project.local.servers.process import Program, RunningProgram, kill_all

RESTART_PAUSE_SECONDS = 1.0


class Supervisor:
    """Programs that are started and stopped by name."""

    def __init__(self, programs: Sequence[Program], *, output: Path) -> None:
        """Prepare to run `programs`, the last of which is stopped first.

        Args:
            programs: what to run.
            output: the file for the supervisor's own lines, and for the output of programs without a log.
        """
        self.output = output
        self._programs = {program.name: program for program in programs}
        self._keepers: dict[str, _Keeper] = {}

    @property
    def ends(self) -> int:
        """How many times a program has ended that was not stopped."""
        return sum(keeper.ends for keeper in self._keepers.values())

    def start_program(self, name: str) -> None:
        """Start a program, unless it is kept running already, and keep it running until `stop_program()`."""
        if name not in self._keepers:
            self._keepers[name] = _Keeper(self._programs[name], output=self.output)
            self._keepers[name].start()

    def stop_program(self, name: str) -> None:
        """Stop a program, which then stays down until `start_program()`."""
        if keeper := self._keepers.get(name):
            keeper.stop()
            del self._keepers[name]

    def stop(self) -> None:
        """Stop every program."""
        for name in reversed(self._programs):
            self.stop_program(name)

    def pid(self, name: str) -> int | None:
        """Return the process id of a program; None while it does not run.

        None rather than 0: a signal sent to process 0 goes to the sender's whole group.
        """
        keeper = self._keepers.get(name)
        return keeper.pid() if keeper else None


class _Keeper(threading.Thread):
    """Keeps one program running. The kernel ties the program to this thread, which lives as long."""

    def __init__(self, program: Program, *, output: Path) -> None:
        super().__init__(name=f"keeper-{program.name}", daemon=True)
        self.ends = 0
        self._program = program
        self._output = output
        self._running: RunningProgram | None = None
        self._orphans: set[psutil.Process] = set()
        """What the program had started and left behind when it ended by itself."""
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        """Held while the program is started: `stop()` then finds it started, or prevents the start."""

    def run(self) -> None:
        while not self._stopping.is_set():
            end = self._run_once()
            if not self._stopping.is_set():
                self.ends += 1
                # On a full disk the program is started again all the same.
                with suppress(OSError), self._output.open("a", encoding="utf-8") as output:
                    output.write(f"{end}, started again\n")
            self._stopping.wait(RESTART_PAUSE_SECONDS)

    def stop(self) -> None:
        with self._lock:
            self._stopping.set()
        if self._running is not None:
            self._running.stop()
        if self.is_alive():
            self.join()
        kill_all(self._orphans)

    def pid(self) -> int | None:
        running = self._running
        return running.pid if running and running.is_running() else None

    def _run_once(self) -> str:
        """Run the program and return how that ended."""
        try:
            with self._lock:
                if self._stopping.is_set():
                    return "stopped"
                log = self._program.log or self._output
                self._running = RunningProgram(self._program, log=log, thread_stays=True)
        except ServerFailedToStart as error:
            return str(error)
        status = self._running.wait()
        self._orphans = {each for each in self._orphans | self._running.family() if each.is_running()}
        return f"exited: {self._program.name} with status {status}"
