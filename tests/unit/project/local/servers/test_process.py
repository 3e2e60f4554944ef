"""A program runs in a separate session, in its own environment, and ends with all processes that it started."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from project.local.servers import process
from project.local.servers.errors import ServerFailedToStart
from project.local.servers.process import Program, RunningProgram, wait_until

ROOT = Path(__file__).parents[5]
TIMEOUT_SECONDS = 20
Start = Callable[..., RunningProgram]


def shell(script: str, directory: Path, **environment: str) -> Program:
    return Program(
        name="shell",
        command=("/bin/sh", "-c", script),
        environment={"PATH": os.defpath, **environment},
        working_directory=directory,
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[RunningProgram] = []

    def start(program: Program) -> RunningProgram:
        started.append(RunningProgram(program, log=tmp_path / "log"))
        return started[-1]

    yield start
    for running in started:
        if running.is_running():
            running.kill()


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def written(path: Path) -> str:
    assert wait_until(lambda: path.exists() and path.read_text().endswith("\n"), timeout_seconds=TIMEOUT_SECONDS)
    return path.read_text().strip()


def test_a_program_has_the_given_environment_and_no_other(tmp_path: Path, start: Start) -> None:
    start(shell("env >out.part; echo >>out.part; mv out.part out", tmp_path, COLOUR="green"))

    names = {line.split("=")[0] for line in written(tmp_path / "out").splitlines()}

    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {"PATH", "COLOUR"}


def test_a_program_runs_in_a_session_of_its_own(tmp_path: Path, start: Start) -> None:
    running = start(shell("exec sleep 60", tmp_path))

    assert os.getsid(running.pid) == running.pid


def test_what_it_prints_is_appended_to_the_log(tmp_path: Path, start: Start) -> None:
    (tmp_path / "log").write_text("before\n")

    running = start(shell("echo out; echo err >&2", tmp_path))

    assert wait_until(lambda: not running.is_running(), timeout_seconds=TIMEOUT_SECONDS)
    assert (tmp_path / "log").read_text() == "before\nout\nerr\n"


def test_the_exit_code_is_the_programs_own(tmp_path: Path, start: Start) -> None:
    running = start(shell("exit 7", tmp_path))

    assert running.wait() == 7


def test_a_command_that_does_not_exist_is_reported_in_one_line(tmp_path: Path) -> None:
    program = replace(shell("", tmp_path), working_directory=tmp_path / "missing")

    with pytest.raises(ServerFailedToStart, match="shell cannot be executed"):
        RunningProgram(program, log=tmp_path / "log")


def test_stopping_lets_the_program_finish(tmp_path: Path, start: Start) -> None:
    running = start(shell("trap 'echo bye >bye; exit 0' TERM; echo >ready; while :; do sleep 0.05; done", tmp_path))
    written(tmp_path / "ready")

    running.stop()

    assert written(tmp_path / "bye") == "bye"
    assert running.wait() == 0


def test_a_program_that_ignores_the_request_is_killed(tmp_path: Path, start: Start) -> None:
    stubborn = shell("trap '' TERM; echo >ready; while :; do sleep 0.05; done", tmp_path)
    running = start(replace(stubborn, stop_timeout_seconds=0.2))
    written(tmp_path / "ready")

    running.stop()

    assert running.wait() == -signal.SIGKILL


def test_a_frozen_program_can_be_stopped(tmp_path: Path, start: Start) -> None:
    running = start(shell("exec sleep 60", tmp_path))
    running.send_signal(signal.SIGSTOP)

    running.stop()

    assert running.wait() == -signal.SIGTERM


@pytest.mark.parametrize("end", [RunningProgram.stop, RunningProgram.kill])
@pytest.mark.parametrize("detach", ["", "setsid "], ids=["same session", "session of its own"])
def test_its_children_go_with_it(
    end: Callable[[RunningProgram], None], detach: str, tmp_path: Path, start: Start
) -> None:
    script = f"{detach}sh -c 'echo $$ >pid; exec sleep 60' & trap '' INT; echo >ready; wait"
    running = start(shell(script, tmp_path))
    child = int(written(tmp_path / "pid"))

    end(running)

    assert is_gone(child)
    assert not running.is_running()


def test_children_that_outlive_a_crashed_program_are_ended_by_stopping_it(tmp_path: Path, start: Start) -> None:
    running = start(shell("sh -c 'echo $$ >pid; exec sleep 60' & wait", tmp_path))
    child = int(written(tmp_path / "pid"))
    os.kill(running.pid, signal.SIGKILL)
    assert wait_until(lambda: not running.is_running(), timeout_seconds=TIMEOUT_SECONDS)

    running.stop()

    assert is_gone(child)


@pytest.mark.skipif(process.setpriv_with_death_signal() is None, reason="setpriv cannot set a death signal here")
def test_a_program_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    starter = f"""
import sys, time
from pathlib import Path
from project.local.servers.process import Program, RunningProgram
directory = Path({str(tmp_path)!r})
command, environment = ("sleep", "60"), {{"PATH": {os.defpath!r}}}
program = Program(name="sleep", command=command, environment=environment, working_directory=directory)
print(RunningProgram(program, log=directory / "log").pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", starter], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        # The program is tied only once it runs: until then the process is still `setpriv`.
        assert wait_until(lambda: psutil.Process(child).name() == "sleep", timeout_seconds=TIMEOUT_SECONDS)
        parent.kill()

    try:
        assert wait_until(lambda: is_gone(child), timeout_seconds=TIMEOUT_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_a_program_outlives_a_thread_that_started_it(tmp_path: Path, start: Start) -> None:
    started: list[RunningProgram] = []
    thread = threading.Thread(target=lambda: started.append(start(shell("echo >ready; exec sleep 60", tmp_path))))
    thread.start()
    thread.join()
    written(tmp_path / "ready")

    assert started[0].is_running()
    assert not is_gone(started[0].pid)
