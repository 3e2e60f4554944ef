"""Keeps a set of programs running with supervisord: one that dies is started again.

Guarantee: when `stop()` returns, or when the process that called `start()` is killed, none of the programs is left.
Above: `stack`, which says what the programs are.
"""

import itertools
import os
import re
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from project.local.servers.errors import ServerFailedToStart
from project.local.servers.process import Program, RunningProgram, session_members, tied_to_parent, wait_until

START_TIMEOUT_SECONDS = 10.0
PREDECESSOR_TIMEOUT_SECONDS = 30.0
STOP_MARGIN_SECONDS = 2.0
# The kernel takes 107; supervisord first appends a dot and its process id.
MAX_SOCKET_PATH_BYTES = 100
SUPERVISORS_OWN_OUTPUT = "/dev/fd/1"
NEVER_GIVE_UP = 1_000_000
# To supervisord the rest of such a line is a comment, quoted or not, and a line's end is the value's.
NOT_FOR_CONFIGURATIONS = re.compile(r"\s[;#]|[\r\n]")

MAIN_SECTION = """\
[supervisord]
nodaemon = true
loglevel = warn
logfile = {directory}/supervisord.log
pidfile = {runtime}/supervisord.pid
childlogdir = {directory}
{as_root}

[unix_http_server]
file = {runtime}/socket
chmod = 0700
username = vazifa
password = {password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

# Started on request, and restarted whenever it ends: supervisord would give up after a few quick ends, such as those of
# a worker that is killed as it boots. Each end makes it wait a second longer.
PROGRAM_SECTION = """
[program:{program.name}]
command = {command}
directory = {program.working_directory}
autostart = false
autorestart = true
startsecs = 1
startretries = {never_give_up}
stopwaitsecs = {program.stop_timeout_seconds:.0f}
killasgroup = true
redirect_stderr = true
stdout_logfile = {log}
stdout_logfile_maxbytes = 0
"""

GROUP_SECTION = """
[group:{name}]
programs = {programs}
priority = {priority}
"""


@dataclass(frozen=True, kw_only=True)
class SupervisedProgram:
    """A command to keep running. It inherits the supervisor's environment."""

    name: str

    command: Sequence[str]

    working_directory: Path

    stop_timeout_seconds: float

    log: Path | None = None
    """The file for its output; if None, the `Supervisor.output` that the user is shown."""


class Supervisor:
    """supervisord, in a session of its own, controlled over a private socket."""

    def __init__(
        self, groups: Mapping[str, Sequence[SupervisedProgram]], *, directory: Path, environment: Mapping[str, str]
    ) -> None:
        """Prepare to run programs in named groups, the last of which is stopped first; logs go to `directory`.

        Raises:
            ServerFailedToStart: supervisord's configuration cannot hold a path or an argument.
        """
        require_plain_words(
            str(directory), *itertools.chain.from_iterable(map(_words, itertools.chain(*groups.values())))
        )
        self.groups = groups
        self.directory = directory
        self.environment = environment
        self._password = secrets.token_urlsafe()
        self._process: RunningProgram | None = None

    @property
    def output(self) -> Path:
        """The file to which supervisord and the programs without a log of their own write."""
        return self.directory / "output.log"

    def start(self) -> None:
        """Start supervisord, which then waits for `start_program()`.

        Raises:
            ServerFailedToStart: supervisord does not answer.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self.output.write_text("")
        self._runtime = make_runtime_directory(self.directory)
        configuration = self._runtime / "supervisord.conf"
        configuration.write_text(self._configuration())
        self._process = RunningProgram(self._supervisord(configuration), log=self.output)
        _session_file(self.directory).write_text(f"{self._process.pid} {psutil.boot_time():.0f}")
        if not wait_until(self._answers, timeout_seconds=START_TIMEOUT_SECONDS):
            self.stop()
            raise ServerFailedToStart(f"supervisord does not answer; see {self.output}.")

    def stop(self) -> None:
        """Stop every program and supervisord itself."""
        if self._process is not None:
            self._process.stop()
            self._process = None
            shutil.rmtree(self._runtime, ignore_errors=True)

    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running()

    def start_program(self, name: str) -> None:
        """Start a program and wait until it has stayed up for a second.

        Raises:
            ServerFailedToStart: it ended at once.
        """
        try:
            with self._rpc() as supervisord:
                supervisord.startProcess(self._full_name(name))
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise ServerFailedToStart(f"{name} does not start; see {self.output}.") from fault

    def stop_program(self, name: str) -> None:
        """Stop a program, which then stays down until `start_program()`."""
        try:
            with self._rpc() as supervisord:
                supervisord.stopProcess(self._full_name(name))
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.NOT_RUNNING:
                raise

    def pid(self, name: str) -> int:
        """Return the process id of a program, 0 while it is down."""
        return int(self._info(name)["pid"])

    def _info(self, name: str) -> dict[str, Any]:
        with self._rpc() as supervisord:
            return dict(supervisord.getProcessInfo(self._full_name(name)))

    @contextmanager
    def _rpc(self) -> Iterator[Any]:
        transport = SupervisorTransport("vazifa", self._password, serverurl=f"unix://{self._runtime / 'socket'}")
        with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as server:
            yield server.supervisor

    def _answers(self) -> bool:
        try:
            with self._rpc() as supervisord:
                return bool(supervisord.getPID())
        except (OSError, HTTPException):
            return False

    def _full_name(self, name: str) -> str:
        group = next(group for group, programs in self.groups.items() if any(p.name == name for p in programs))
        return f"{group}:{name}"

    def _supervisord(self, configuration: Path) -> Program:
        slowest = (max(p.stop_timeout_seconds for p in programs) for programs in self.groups.values())
        return Program(
            name="supervisord",
            command=(sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)),
            environment=self.environment,
            working_directory=self.directory,
            stop_timeout_seconds=sum(slowest) + STOP_MARGIN_SECONDS,
            parent_death_signal=signal.SIGTERM,
        )

    def _configuration(self) -> str:
        as_root = "user = root" if os.geteuid() == 0 else ""
        main = MAIN_SECTION.format(
            directory=self.directory, runtime=self._runtime, password=self._password, as_root=as_root
        )
        groups = itertools.starmap(_group_sections, enumerate(self.groups.items()))
        # To supervisord a percent sign begins a variable.
        return "".join([main, *groups]).replace("%", "%%")


def require_plain_words(*words: str) -> None:
    """Refuse what supervisord's configuration cannot hold.

    Raises:
        ServerFailedToStart: naming the first such word.
    """
    for word in words:
        if NOT_FOR_CONFIGURATIONS.search(word):
            raise ServerFailedToStart(
                f"{word!r} has a space before a ';' or a '#', or a line's end, where supervisord stops reading. Move "
                "Vazifa to a directory without, and set STATE_DIR, if at all, to one without."
            )


def wait_for_predecessor(directory: Path) -> None:
    """Wait until the programs of an earlier supervisor in this directory have ended: `kill -9` leaves that to them.

    Raises:
        ServerFailedToStart: they do not end.
    """
    try:
        session, booted_at = _session_file(directory).read_text().split()
    except (FileNotFoundError, ValueError):
        return
    if booted_at != f"{psutil.boot_time():.0f}":
        return  # since a reboot that number belongs to other processes
    if not wait_until(lambda: not session_members(int(session)), timeout_seconds=PREDECESSOR_TIMEOUT_SECONDS):
        raise ServerFailedToStart(f"Programs of the last run are still there (ps -s {session}): end them first.")


def _session_file(directory: Path) -> Path:
    return directory / "session"


def make_runtime_directory(directory: Path) -> Path:
    """Make a private directory for the socket, below `directory` if that is short enough, and return it.

    There the next start clears away what a killed process left behind.
    """
    runtime = directory / "supervisord"
    if len(os.fsencode(runtime / "socket")) >= MAX_SOCKET_PATH_BYTES:
        return Path(tempfile.mkdtemp(prefix="vazifa-"))
    shutil.rmtree(runtime, ignore_errors=True)
    runtime.mkdir(mode=0o700)
    return runtime


def _group_sections(priority: int, group: tuple[str, Sequence[SupervisedProgram]]) -> str:
    name, programs = group
    names = ",".join(program.name for program in programs)
    section = GROUP_SECTION.format(name=name, programs=names, priority=priority)
    return "".join([section, *map(_program_section, programs)])


def _words(program: SupervisedProgram) -> Iterator[str]:
    yield from program.command
    yield str(program.working_directory)
    yield str(program.log or "")


def _program_section(program: SupervisedProgram) -> str:
    command = shlex.join(tied_to_parent(program.command, death_signal=signal.SIGTERM))
    return PROGRAM_SECTION.format(
        program=program,
        command=command,
        log=program.log or SUPERVISORS_OWN_OUTPUT,
        never_give_up=NEVER_GIVE_UP,
    )
