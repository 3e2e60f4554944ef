"""A program that ends is started again, until it is stopped; then none of its processes is left."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from project.local.servers import process
from project.local.servers.process import Program, wait_until
from project.local.stack import ROOT
from project.local.supervision import Supervisor
from tests.unit.project.local.servers.test_process import is_gone

TIMEOUT_SECONDS = 20
Supervise = Callable[..., Supervisor]


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Supervise]:
    """Supervise programs named `web` and `worker`, which run a shell script each."""
    started: list[Supervisor] = []
    (tmp_path / "output.log").touch()

    def supervise(web: str, worker: str = "", *, directory: Path = tmp_path, log: Path | None = None) -> Supervisor:
        programs = [
            Program(
                name=name,
                command=("/bin/sh", "-c", script),
                environment={"PATH": os.defpath},
                working_directory=directory,
                log=log,
            )
            for name, script in (("web", web), ("worker", worker))
        ]
        started.append(Supervisor(programs, output=tmp_path / "output.log"))
        started[-1].start_program("web")
        return started[-1]

    yield supervise
    for supervisor in started:
        supervisor.stop()


def wait(condition: Callable[[], object]) -> None:
    assert wait_until(lambda: bool(condition()), timeout_seconds=TIMEOUT_SECONDS)


def running(supervisor: Supervisor) -> int:
    """Return the process id of `web`, which may write before its supervisor has noted that it runs."""
    wait(lambda: supervisor.pid("web"))
    pid = supervisor.pid("web")
    assert pid is not None
    return pid


def test_a_program_that_is_killed_is_started_again_and_its_end_is_reported(supervise: Supervise) -> None:
    supervisor = supervise("echo hello; exec sleep 60")
    killed = running(supervisor)
    os.kill(killed, signal.SIGKILL)
    wait(lambda: supervisor.pid("web") not in (None, killed))

    wait(lambda: supervisor.output.read_text().count("hello\n") == 2)
    assert supervisor.output.read_text().splitlines()[1:-1] == ["exited: web with status -9, started again"]
    assert supervisor.ends == 1


def test_a_program_that_cannot_be_executed_is_tried_again(supervise: Supervise, tmp_path: Path) -> None:
    directory = tmp_path / "later"
    supervisor = supervise("exec sleep 60", directory=directory)
    wait(lambda: supervisor.ends)
    assert "web cannot be executed" in supervisor.output.read_text()
    directory.mkdir()

    wait(lambda: supervisor.pid("web"))


def test_a_program_that_is_stopped_stays_down_until_it_is_started(supervise: Supervise) -> None:
    supervisor = supervise("trap 'echo bye; exit' TERM; echo hello; while :; do sleep 0.05; done")
    wait(lambda: "hello" in supervisor.output.read_text())
    supervisor.stop_program("web")

    assert supervisor.pid("web") is None
    assert supervisor.output.read_text() == "hello\nbye\n"
    supervisor.start_program("web")
    supervisor.start_program("web")  # which changes nothing
    wait(lambda: supervisor.output.read_text() == "hello\nbye\nhello\n")


def test_the_programs_are_stopped_from_the_last_to_the_first(supervise: Supervise) -> None:
    script = "trap 'echo {name}; exit' TERM; echo ready; while :; do sleep 0.05; done"
    supervisor = supervise(script.format(name="web"), script.format(name="worker"))
    supervisor.start_program("worker")
    wait(lambda: supervisor.output.read_text().count("ready") == 2)
    supervisor.stop()

    assert supervisor.output.read_text().splitlines()[2:] == ["worker", "web"]


def test_stopping_ends_what_a_program_has_started(supervise: Supervise, tmp_path: Path) -> None:
    supervisor = supervise("setsid sh -c 'echo $$; exec sleep 60' & wait")
    wait(lambda: supervisor.output.read_text().endswith("\n"))
    child = int(supervisor.output.read_text())
    supervisor.stop()

    assert is_gone(child)
    assert supervisor.ends == 0


def test_stopping_ends_what_a_program_had_started_that_was_killed(supervise: Supervise) -> None:
    supervisor = supervise("sleep 60 & echo $!; wait")
    wait(lambda: supervisor.output.read_text().endswith("\n"))
    orphan = int(supervisor.output.read_text())
    os.kill(running(supervisor), signal.SIGKILL)
    wait(lambda: supervisor.output.read_text().count("\n") == 3)
    assert not is_gone(orphan)
    supervisor.stop()

    assert is_gone(orphan)


def test_a_full_disk_keeps_no_program_down(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    program = Program(
        name="web",
        command=("/bin/sh", "-c", "echo >>ends"),
        environment={"PATH": os.defpath},
        working_directory=tmp_path,
    )
    supervisor = Supervisor([program], output=Path("/dev/full"))
    supervisor.start_program("web")
    wait(lambda: (tmp_path / "ends").exists() and (tmp_path / "ends").read_text() == "\n\n")
    supervisor.stop()


def test_a_program_may_have_a_log_of_its_own(supervise: Supervise, tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    supervisor = supervise("echo hello; exec sleep 60", log=log)

    wait(lambda: log.exists() and log.read_text() == "hello\n")
    assert supervisor.output.read_text() == ""


def test_an_unusual_path_is_run_from(supervise: Supervise, tmp_path: Path) -> None:
    directory = tmp_path / "100% o'zbek a ;b #c"
    directory.mkdir()
    supervise("touch touched; exec sleep 60", directory=directory)

    wait((directory / "touched").exists)


@pytest.mark.skipif(process.setpriv_with_death_signal() is None, reason="setpriv cannot set a death signal here")
def test_the_programs_end_when_the_process_that_supervises_them_is_killed(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from project.local.servers.process import Program
from project.local.supervision import Supervisor
from tests.unit.project.local.servers.test_process import is_gone
directory = Path({str(tmp_path)!r})
sleep = Program(name="sleep", command=("sleep", "60"), environment={{}}, working_directory=directory)
supervisor = Supervisor([sleep], output=directory / "output.log")
supervisor.start_program("sleep")
while not supervisor.pid("sleep"):
    time.sleep(0.01)
print(supervisor.pid("sleep"), flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        # The program is tied only once it runs: until then the process is still `setpriv`.
        wait(lambda: psutil.Process(pid).name() == "sleep")
        starter.kill()

    try:
        wait(lambda: is_gone(pid))
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
