"""A private RabbitMQ node, which shares data, ports, cookie and epmd with no other node.

Its queues survive a restart from the same directory, even on other ports; everything listens on loopback only.
Guarantee: it has one user, who has a random password and is no administrator; there is no guest.
`rabbitmq_installation` finds its programs.
"""

import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pika
from pika.exceptions import ProbableAuthenticationError

from project.local.servers.errors import ServerCommandFailed
from project.local.servers.ports import LOOPBACK, answers_http, free_port, is_free
from project.local.servers.process import Program, wait_until
from project.local.servers.rabbitmq_files import NodeFiles
from project.local.servers.rabbitmq_installation import Installation, find_or_fetch
from project.local.servers.server import BOOT_TIMEOUT_SECONDS, PrivateServer

__all__ = ["Installation", "PrivateRabbitmq", "find_or_fetch"]

MANAGEMENT_PLUGIN = "rabbitmq_management"
COMMAND_TIMEOUT_SECONDS = 60.0
PROBE_TIMEOUT_SECONDS = 2.0
FREEZE_TIMEOUT_SECONDS = 10.0
USERNAME = "vazifa"
# What the management UI asks for: the user sees their own virtual host there, and changes nothing else of the node.
TAG = "management"
ALL_QUEUES = (".*", ".*", ".*")  # to configure, write and read
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME = b"\x01"

CONFIGURATION = """\
listeners.tcp.1 = {loopback}:{node.amqp_port}
disk_free_limit.absolute = 50MB
raft.wal_max_size_bytes = 67108864
default_user = {username}
default_pass = {node.files.password}
default_user_tags.{tag} = true
log.file = {node.files.log.name}
log.file.level = info
log.console = false
"""
MANAGEMENT_CONFIGURATION = """\
management.tcp.ip = {loopback}
management.tcp.port = {node.management_port}
"""


@dataclass(kw_only=True)
class PrivateRabbitmq(PrivateServer):
    """A node on loopback that lives in `directory`: data, logs, configuration and home."""

    title: ClassVar[str] = "RabbitMQ"

    installation: Installation

    amqp_port: int = field(default_factory=free_port)

    management_port: int = field(default_factory=free_port)

    dist_port: int = field(default_factory=free_port)

    epmd_port: int = field(default_factory=free_port)

    plugins: tuple[str, ...] = (MANAGEMENT_PLUGIN,)
    """Without the management plugin a node of RabbitMQ 3 stops five seconds sooner."""

    extra_configuration: tuple[str, ...] = ()
    """More lines for rabbitmq.conf."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.files = NodeFiles(self.directory)

    @property
    def url(self) -> str:
        return self.url_at(self.amqp_port)

    def url_at(self, port: int) -> str:
        """Return the node's address at a port, its own or that of a proxy before it."""
        return f"amqp://{USERNAME}:{self.password}@{LOOPBACK}:{port}/"

    @property
    def username(self) -> str:
        return USERNAME

    @property
    def password(self) -> str:
        """The user's password, once `prepare()` has chosen it."""
        return self.files.password

    @property
    def management_url(self) -> str:
        """The address of the management UI and its HTTP API."""
        return f"http://{LOOPBACK}:{self.management_port}/"

    def prepare(self) -> None:
        template = CONFIGURATION + (MANAGEMENT_CONFIGURATION if self._has_management else "")
        self.files.make()
        configuration = template.format(node=self, loopback=LOOPBACK, username=USERNAME, tag=TAG)
        extra = "".join(f"{line}\n" for line in self.extra_configuration)
        self.files.write(configuration=configuration + extra, plugins=self.plugins)

    def start_with(
        self,
        run: Callable[[Program], object],
        *,
        still_running: Callable[[], bool],
        timeout_seconds: float = BOOT_TIMEOUT_SECONDS,
    ) -> None:
        super().start_with(run, still_running=still_running, timeout_seconds=timeout_seconds)
        if not self._admits_user():
            self._make_user()

    def programs(self) -> list[Program]:
        """Return epmd and the node, which registers with epmd as it boots and would end without it."""
        epmd = Program(
            name="epmd",
            command=(str(self.installation.epmd), "-port", str(self.epmd_port), "-address", LOOPBACK),
            environment=self._environment(),
            working_directory=self.directory,
            log=self.files.logs / "epmd.log",
            is_ready=lambda: not is_free(self.epmd_port),
            stop_timeout_seconds=2,
        )
        node = Program(
            name="rabbitmq",
            command=(str(self.installation.server),),
            environment=self._environment(),
            working_directory=self.directory,
            log=self.files.console_log,
            is_ready=self.is_ready,
            # The node closes its queues safely within a fraction of a second. After that an event handler of the
            # management plugin waits, 5 s at a time, for processes that have ended before it (seen in 3.10.8).
            stop_timeout_seconds=4,
        )
        return [epmd, node]

    def ports(self) -> tuple[int, ...]:
        return (self.amqp_port, self.management_port, self.dist_port, self.epmd_port)

    def logs(self) -> tuple[Path, ...]:
        return (self.files.console_log, self.files.log)

    def is_ready(self) -> bool:
        """Return whether the node answers on its AMQP port and, with the management plugin, on that port too."""
        return self._answers_amqp() and (not self._has_management or answers_http(self.management_port))

    def freeze(self) -> None:
        """Suspend the node: its connections stay open and get no answer."""
        self._running[-1].send_signal(signal.SIGSTOP)
        # The kernel stops its threads one after another: one that still ran could answer.
        threads = list(Path(f"/proc/{self.pid}/task").glob("*/stat"))
        wait_until(lambda: all(_is_stopped(thread) for thread in threads), timeout_seconds=FREEZE_TIMEOUT_SECONDS)

    def thaw(self) -> None:
        """Resume a frozen node."""
        self._running[-1].send_signal(signal.SIGCONT)

    def rabbitmqctl(self, *arguments: str, secret: str = "") -> str:
        """Run `rabbitmqctl` against the node and return what it prints.

        Args:
            arguments: the command.
            secret: a password that the command reads from its input: arguments are seen by all users of the machine.

        Raises:
            ServerCommandFailed: it exits with an error or does not answer in time.
        """
        try:
            result = subprocess.run(
                [self.installation.rabbitmqctl, "--quiet", *arguments],
                env=self._environment(),
                cwd=self.directory,
                input=f"{secret}\n",
                capture_output=True,
                text=True,
                timeout=COMMAND_TIMEOUT_SECONDS,
                check=True,
            )
        except subprocess.TimeoutExpired as error:
            raise ServerCommandFailed(f"rabbitmqctl {arguments[0]} took over {COMMAND_TIMEOUT_SECONDS:g} s.") from error
        except subprocess.CalledProcessError as error:
            reason = " ".join((error.stderr or error.stdout).split())
            raise ServerCommandFailed(f"rabbitmqctl {arguments[0]} failed: {reason}") from error
        return result.stdout

    @property
    def _has_management(self) -> bool:
        return MANAGEMENT_PLUGIN in self.plugins

    def _admits_user(self) -> bool:
        try:
            pika.BlockingConnection(pika.URLParameters(self.url_at(self.amqp_port))).close()
        except ProbableAuthenticationError:
            return False
        return True

    def _make_user(self) -> None:
        """Make the user, and remove guest, in data of an earlier release: a configured user is for an empty node."""
        users = self.rabbitmqctl("list_users", "--no-table-headers").splitlines()
        names = {line.split("\t")[0] for line in users}
        self.rabbitmqctl("change_password" if USERNAME in names else "add_user", USERNAME, secret=self.password)
        self.rabbitmqctl("set_user_tags", USERNAME, TAG)
        self.rabbitmqctl("set_permissions", USERNAME, *ALL_QUEUES)
        if "guest" in names:
            self.rabbitmqctl("delete_user", "guest")

    def _answers_amqp(self) -> bool:
        """Return whether the node answers the AMQP 0-9-1 header with the start of a connection."""
        try:
            with socket.create_connection((LOOPBACK, self.amqp_port), PROBE_TIMEOUT_SECONDS) as connection:
                connection.sendall(AMQP_HEADER)
                return connection.recv(1) == METHOD_FRAME
        except OSError:
            return False

    def _environment(self) -> dict[str, str]:
        return {
            **self.installation.environment,
            "HOME": str(self.files.home),
            "LC_ALL": "C.UTF-8",
            # The script then becomes the node instead of waiting for it: one process, with the node's exit status.
            "detached": "1",
            "RABBITMQ_NODENAME": self.files.node_name,
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
            # A crash dump of a failed start takes seconds and is not needed: the log has the reason.
            "ERL_CRASH_DUMP_SECONDS": "0",
        }


def _is_stopped(stat: Path) -> bool:
    """Return whether a thread is stopped or gone, from the file that Linux has of it."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return True
