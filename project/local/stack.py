"""The whole service on this machine: a private RabbitMQ node, the web server and the workers, all supervised.

`manage.py up`, `manage.py demo` and the integration tests run it.
Guarantee: a stack that failed to start, and one that was stopped, leaves no process behind.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from project.local.servers.debian import Report
from project.local.servers.errors import ServerFailedToStart
from project.local.servers.ports import LOOPBACK, answers_http, is_free
from project.local.servers.process import Program, StartedWithin, wait_until
from project.local.servers.rabbitmq import PrivateRabbitmq
from project.local.supervision import Supervisor

ROOT = Path(__file__).resolve().parent.parent.parent
MANAGE = (sys.executable, str(ROOT / "manage.py"))

WEB_TIMEOUT_SECONDS = 30.0
# Together with RabbitMQ's own few seconds these stay below the 15 that Ctrl-C may take.
WORKER_SHUTDOWN_TIMEOUT_MS = 4_000
SERVICE_STOP_TIMEOUT_SECONDS = 5.0


@dataclass(kw_only=True)
class Stack(StartedWithin):
    """RabbitMQ, the web server and the workers, on loopback."""

    directory: Path
    """The folder for the service's output."""

    port: int
    """The web server's."""

    rabbitmq: PrivateRabbitmq | None = None
    """The node to run; if None, the broker at `rabbitmq_url` is used."""

    rabbitmq_url: str = ""

    variables: Mapping[str, str] = field(default_factory=dict)
    """More environment for web and worker."""

    root: Path = ROOT
    """Where the code is: the tests also run another release's."""

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        broker: list[Program] = []
        if self.rabbitmq is not None:
            self.rabbitmq.prepare()
            self.rabbitmq_url = self.rabbitmq.url
            broker = self.rabbitmq.programs()
        gunicorn = (sys.executable, "-m", "gunicorn", "project.wsgi")
        dramatiq = (*self._manage, "rundramatiq", "--worker-shutdown-timeout", str(WORKER_SHUTDOWN_TIMEOUT_MS))
        service = [self._service_program("web", gunicorn), self._service_program("worker", dramatiq)]
        self.supervisor = Supervisor([*broker, *service], output=self.directory / "output.log")

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of web, worker and management commands."""
        defaults = {"DJANGO_SETTINGS_MODULE": "settings.development", "DRAMATIQ_NPROCS": "2", "DRAMATIQ_NTHREADS": "8"}
        own = {"RABBITMQ_URL": self.rabbitmq_url, "BIND": f"{LOOPBACK}:{self.port}", "ACCESS_LOG": "True"}
        if self.rabbitmq is not None:
            own["RABBITMQ_MANAGEMENT_URL"] = self.rabbitmq.management_url
        return {**defaults, **os.environ, **self.variables, **own, "PYTHONUNBUFFERED": "1"}

    def start(self, report: Report = lambda line: None) -> None:
        """Start all programs in order, each once the ones that it needs are ready.

        Raises:
            ServerFailedToStart: a program did not start; the message is one line, and nothing is left running.
        """
        if not is_free(self.port):
            raise ServerFailedToStart(
                f"Port {self.port} is in use. Stop what listens there, or choose another: PORT={self.port + 1} make run"
            )
        self.supervisor.output.write_text("")
        try:
            self._start(report)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all programs; the workers finish the messages that they have begun."""
        self.supervisor.stop()

    def manage(self, *arguments: str) -> str:
        """Run a management command in the stack's environment and return what it prints.

        Raises:
            ServerFailedToStart: it exits with an error; the message is its last line.
        """
        command = subprocess.run(
            [*self._manage, *arguments],
            env=self.environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
        )
        if command.returncode:
            last_line = (command.stderr.strip() or command.stdout.strip()).splitlines()[-1]
            if last_line.startswith("CommandError: "):
                raise ServerFailedToStart(last_line.removeprefix("CommandError: "))
            raise ServerFailedToStart(f"manage.py {arguments[0]} failed: {last_line}")
        return command.stdout

    @property
    def _manage(self) -> tuple[str, ...]:
        return (sys.executable, str(self.root / "manage.py"))

    def _start(self, report: Report) -> None:
        if self.rabbitmq is not None:
            report("Starting RabbitMQ …")
            self.rabbitmq.start_with(
                lambda program: self.supervisor.start_program(program.name),
                still_running=self._nothing_has_ended,
            )
        report("Logging in to database and RabbitMQ, and preparing the database …")
        for line in self.manage("prepare", "--log-in").splitlines():
            report(line)
        report("Starting web and worker …")
        self.supervisor.start_program("web")
        wait_until(lambda: self._web_answers() or not self._nothing_has_ended(), timeout_seconds=WEB_TIMEOUT_SECONDS)
        if not self._web_answers():
            raise ServerFailedToStart(f"The web server does not answer at {self.url}; see {self.supervisor.output}.")
        self.supervisor.start_program("worker")

    def _nothing_has_ended(self) -> bool:
        # The supervisor restarts a program that ends, which would hide that its start has failed.
        return self.supervisor.ends == 0

    def _web_answers(self) -> bool:
        return answers_http(self.port, "/health/ready/")

    def _service_program(self, name: str, command: tuple[str, ...]) -> Program:
        return Program(
            name=name,
            command=command,
            environment=self.environment,
            working_directory=self.root,
            stop_timeout_seconds=SERVICE_STOP_TIMEOUT_SECONDS,
            parent_death_signal=signal.SIGTERM,
        )
