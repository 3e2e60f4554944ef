"""A worker pool as a process of its own, and the commands of its installation."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from project.local.servers.process import wait_until
from project.local.stack import MANAGE, ROOT

DEADLINE_SECONDS = 60.0
SHUTDOWN_TIMEOUT_MS = 30_000

Read = Callable[[str], list[tuple[Any, ...]]]
"""Returns the rows of a query of the pool's database."""


class Pool:
    """A pool of one thread, which takes one message ahead, over a database and a queue of its own."""

    def __init__(self, *, directory: Path, database_url: str, rabbitmq_url: str, **variables: str) -> None:
        self.environment = {
            **os.environ,
            "ENV_FILE": os.devnull,
            "DJANGO_SETTINGS_MODULE": "tests.integration.outbox.pool.settings",
            "DATABASE_URL": database_url,
            "RABBITMQ_URL": rabbitmq_url,
            "LOG_FILE": "",
            "UPKEEP_SECONDS": "0.5",
            # RabbitMQ 3.10 may lose what is published to a quorum queue that two connections are just declaring.
            "REPAIR_AFTER_SECONDS": "10",
            "dramatiq_restart_delay": "100",
            "POOL_DIRECTORY": str(directory),
            **variables,
        }
        self.directory = directory
        self.log = directory / "worker.log"
        self.process: subprocess.Popen[bytes] | None = None

    def manage(self, *arguments: str) -> None:
        subprocess.run([*MANAGE, *arguments], env=self.environment, cwd=ROOT, check=True, capture_output=True)

    def start(self) -> None:
        options = ("--processes", "1", "--threads", "1", "--worker-shutdown-timeout", str(SHUTDOWN_TIMEOUT_MS))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*MANAGE, "rundramatiq", *options], env=self.environment, cwd=ROOT, stdout=log, stderr=log
            )

    def ask_to_stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "Shutting down..." in self.log.read_text("utf-8"))

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(DEADLINE_SECONDS)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def begun(self) -> list[int]:
        file = self.directory / "begun"
        return [int(line) for line in file.read_text("utf-8").split()] if file.exists() else []

    def open_gate(self) -> None:
        (self.directory / "gate").touch()


def wait_for(condition: Callable[[], bool]) -> None:
    assert wait_until(condition, timeout_seconds=DEADLINE_SECONDS)
