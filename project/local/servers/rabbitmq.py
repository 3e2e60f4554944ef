"""A RabbitMQ node of one's own: its data, ports, cookie and epmd are shared with no other node.

What it holds survives a restart from the same directory, even on other ports; everything listens on loopback only.
`programs()` gives a process manager what `start()` runs; `rabbitmq_installation` finds the programs.
"""

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from project.local.servers import boot_log
from project.local.servers.errors import ServerCommandFailed, ServerFailedToStart
from project.local.servers.ports import LOOPBACK, free_port, is_free
from project.local.servers.process import Program, RunningProgram, StartedWithin, wait_until
from project.local.servers.rabbitmq_files import NodeFiles
from project.local.servers.rabbitmq_installation import Installation, find_installation, find_or_fetch
from project.local.servers.rabbitmq_probe import answers_amqp, answers_http

__all__ = ["Installation", "PrivateRabbitmq", "find_installation", "find_or_fetch"]

MANAGEMENT_PLUGIN = "rabbitmq_management"
BOOT_TIMEOUT_SECONDS = 60.0
COMMAND_TIMEOUT_SECONDS = 60.0

CONFIGURATION = """\
listeners.tcp.1 = {loopback}:{node.amqp_port}
heartbeat = {node.heartbeat_seconds}
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 67108864
log.file = {log}
log.file.level = info
log.console = false
"""
MANAGEMENT_CONFIGURATION = """\
management.tcp.ip = {loopback}
management.tcp.port = {node.management_port}
"""


@dataclass(kw_only=True)
class PrivateRabbitmq(StartedWithin):
    """A node on loopback that lives in `directory`: data, logs, configuration and home."""

    installation: Installation

    directory: Path

    amqp_port: int = field(default_factory=free_port)

    management_port: int = field(default_factory=free_port)

    dist_port: int = field(default_factory=free_port)

    epmd_port: int = field(default_factory=free_port)

    heartbeat_seconds: int = 60

    plugins: tuple[str, ...] = (MANAGEMENT_PLUGIN,)
    """Without the management plugin a node of RabbitMQ 3 stops five seconds sooner."""

    extra_configuration: tuple[str, ...] = ()
    """More lines for rabbitmq.conf."""

    def __post_init__(self) -> None:
        self.directory = self.directory.absolute()
        self.files = NodeFiles(self.directory)
        self._epmd: RunningProgram | None = None
        self._node: RunningProgram | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{LOOPBACK}:{self.amqp_port}/"

    @property
    def management_url(self) -> str:
        """The address of the management UI and its HTTP API; user and password are both `guest`."""
        return f"http://{LOOPBACK}:{self.management_port}/"

    @property
    def log(self) -> Path:
        return self.files.log

    @property
    def node_name(self) -> str:
        """The Erlang name of the node; known after `prepare()` and then kept in the directory."""
        return self.files.node_name

    def prepare(self) -> None:
        """Write what the node needs to start; data of an earlier start are kept."""
        self.files.write(configuration=self._configuration(), plugins=self.plugins)

    def programs(self) -> list[Program]:
        """Return epmd and the node, in the order in which they must start; `prepare()` comes first."""
        return [self._epmd_program(), self._node_program()]

    def busy_port(self) -> int | None:
        """Return the first of the node's ports that something listens on, if any."""
        ports = (self.amqp_port, self.management_port, self.dist_port, self.epmd_port)
        return next((port for port in ports if not is_free(port)), None)

    def is_ready(self) -> bool:
        """Say whether the node answers on its AMQP port and, with the management plugin, on that port too."""
        return answers_amqp(self.amqp_port) and (not self._has_management or answers_http(self.management_port))

    def wait_until_ready(
        self,
        timeout_seconds: float = BOOT_TIMEOUT_SECONDS,
        still_running: Callable[[], bool] = lambda: True,
        *,
        console_log: Path | None = None,
    ) -> None:
        """Wait until `is_ready()`, or until `still_running` says that it will never be.

        Args:
            timeout_seconds: how long to wait.
            still_running: says whether the node's process runs.
            console_log: where this start's output goes, if not to `files.console_log`.

        Raises:
            ServerFailedToStart: the node ended or the time is over; the message quotes and names the log.
        """
        in_time = wait_until(lambda: self.is_ready() or not still_running(), timeout_seconds=timeout_seconds)
        if in_time and still_running():
            return
        problem = "ended during its start" if in_time else f"was not ready after {timeout_seconds:g} s"
        raise ServerFailedToStart(
            boot_log.explain(f"RabbitMQ {problem}", [console_log or self.files.console_log, self.log])
        )

    def start(self, *, timeout_seconds: float = BOOT_TIMEOUT_SECONDS) -> None:
        """Start epmd and the node and wait until it is ready.

        Raises:
            ServerFailedToStart: a port is in use, or the node does not become ready; nothing is left running.
        """
        if (port := self.busy_port()) is not None:
            raise ServerFailedToStart(
                f"RabbitMQ cannot listen on {LOOPBACK}:{port}, the port is in use: stop what listens there."
            )
        self.prepare()
        self.files.console_log.unlink(missing_ok=True)
        try:
            self._start_programs(timeout_seconds)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop the node, with its data written, and epmd; no process is left."""
        for program in (self._node, self._epmd):
            if program is not None:
                program.stop()
        self._node = self._epmd = None

    def kill(self) -> None:
        """Kill the node and epmd with SIGKILL, as a crash would."""
        for program in (self._node, self._epmd):
            if program is not None:
                program.kill()
        self._node = self._epmd = None

    def restart(self) -> None:
        """Stop the node and start it again on the same ports."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Suspend the node: its connections stay open and nothing answers on them."""
        self._running_node().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen node go on."""
        self._running_node().send_signal(signal.SIGCONT)

    def is_running(self) -> bool:
        """Say whether the node that `start()` started still runs."""
        return self._node is not None and self._node.is_running()

    def rabbitmqctl(self, *arguments: str, timeout_seconds: float = COMMAND_TIMEOUT_SECONDS) -> str:
        """Run `rabbitmqctl` against the node and return what it prints.

        Raises:
            ServerCommandFailed: it exits with an error or does not answer in time.
        """
        command = [str(self.installation.rabbitmqctl), "--quiet", *arguments]
        try:
            result = subprocess.run(
                command,
                env=self._environment(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=True,
            )
        except subprocess.TimeoutExpired as error:
            raise ServerCommandFailed(f"rabbitmqctl {arguments[0]} took over {timeout_seconds:g} s.") from error
        except subprocess.CalledProcessError as error:
            reason = " ".join((error.stderr or error.stdout).split())
            raise ServerCommandFailed(f"rabbitmqctl {arguments[0]} failed: {reason}") from error
        return result.stdout

    def _start_programs(self, timeout_seconds: float) -> None:
        epmd, node = self.programs()
        self._epmd = RunningProgram(epmd, log=self.files.logs / "epmd.log")
        # The node registers with epmd as it boots and gives up where there is none.
        if not wait_until(lambda: not is_free(self.epmd_port), timeout_seconds=timeout_seconds):
            raise ServerFailedToStart(boot_log.explain("epmd does not listen", [self._epmd.log]))
        self._node = RunningProgram(node, log=self.files.console_log)
        self.wait_until_ready(timeout_seconds, self._node.is_running)

    def _running_node(self) -> RunningProgram:
        if self._node is None:
            raise ServerCommandFailed("This RabbitMQ is not running: start it first.")
        return self._node

    @property
    def _has_management(self) -> bool:
        return MANAGEMENT_PLUGIN in self.plugins

    def _configuration(self) -> str:
        template = CONFIGURATION + (MANAGEMENT_CONFIGURATION if self._has_management else "")
        written = template.format(node=self, loopback=LOOPBACK, log=self.log.name)
        return written + "".join(f"{line}\n" for line in self.extra_configuration)

    def _epmd_program(self) -> Program:
        return Program(
            name="epmd",
            command=(str(self.installation.epmd), "-port", str(self.epmd_port), "-address", LOOPBACK),
            environment=self._environment(),
            working_directory=self.directory,
            stop_timeout_seconds=2,
        )

    def _node_program(self) -> Program:
        return Program(
            name="rabbitmq",
            command=(str(self.installation.server),),
            environment=self._environment(),
            working_directory=self.directory,
            # Its queues are safely closed within a fraction of a second; the rest is an event handler of the management
            # plugin that waits, 5 s at a time, for processes that have ended before it (seen in 3.10.8).
            stop_timeout_seconds=4,
        )

    def _environment(self) -> dict[str, str]:
        return {
            **self.installation.environment,
            "HOME": str(self.files.home),
            "LC_ALL": "C.UTF-8",
            # The script then becomes the node instead of waiting for it: one process, an honest exit status.
            "detached": "1",
            "RABBITMQ_NODENAME": self.node_name,
            "RABBITMQ_CONF_ENV_FILE": str(self.files.script_settings),
            "RABBITMQ_CONFIG_FILE": str(self.files.configuration),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.files.enabled_plugins),
            "RABBITMQ_MNESIA_BASE": str(self.files.data),
            "RABBITMQ_LOG_BASE": str(self.files.logs),
            "RABBITMQ_PID_FILE": str(self.files.pid),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            # Busy waiting is off by default; a boot, which loads a thousand modules, takes twice as long without it.
            "RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD": "short",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self.epmd_port),
            # Every Erlang that is started, the tools included, stays on loopback and starts no epmd of its own.
            "ERL_AFLAGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            # A dump of a failed start takes seconds and is of no use: the log says why.
            "ERL_CRASH_DUMP_SECONDS": "0",
        }
