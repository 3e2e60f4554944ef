"""A running gunicorn, as production runs it, whose terminal is a file."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

import httpx
import psutil

from project.local.servers.ports import LOOPBACK, free_port
from project.local.servers.process import wait_until
from project.local.stack import MANAGE, ROOT

TIMEOUT_SECONDS = 60
LINE = re.compile(r"(?P<time>[\d-]{10} [\d:]{8}),\d{3} (?P<level>[A-Z]+) (?P<name>[\w.]+)\[\d+\] (?P<message>.*)")


class Web:
    """A private web server, which runs within the context."""

    def __init__(self, state: Path, *, application: str = "project.wsgi", **variables: str) -> None:
        self.log, self.terminal = state / "debug.log", state / "terminal"
        self.port = free_port()
        address = f"{LOOPBACK}:{self.port}"
        own = {"STATE_DIR": str(state), "LOG_FILE": str(self.log), "ENV_FILE": os.devnull, "BIND": address}
        # There is no RabbitMQ: the outbox's threads would log errors.
        own["OUTBOX_RELAY_THREAD"] = "False"
        settings = {"DJANGO_SETTINGS_MODULE": "settings.development", "TIME_ZONE": "Pacific/Kiritimati"}
        self.environment = {**os.environ, **settings, **own, **variables}
        self.run("migrate", "--verbosity=0")
        with self.terminal.open("wb") as terminal:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", application],
                env=self.environment,
                cwd=ROOT,
                stdout=terminal,
                stderr=subprocess.STDOUT,
            )
        self.client = httpx.Client(
            base_url=f"http://{address}", headers={"User-Agent": "a long name"}, timeout=TIMEOUT_SECONDS
        )

    def __enter__(self) -> Self:
        assert wait_until(self.answers, timeout_seconds=TIMEOUT_SECONDS), self.terminal.read_text()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        for worker in self.workers():
            worker.kill()
        self.process.kill()
        self.process.wait(30)

    def run(self, *words: str) -> None:
        """Run `manage.py` with its environment."""
        subprocess.run([*MANAGE, *words], env=self.environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    def workers(self) -> list[psutil.Process]:
        """Return the server's processes, without their master."""
        try:
            return psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []

    def answers(self) -> bool:
        try:
            return self.client.get("/health/live/").is_success
        except httpx.TransportError:
            return False

    def send(self, request: bytes) -> socket.socket:
        """Send bytes over a new connection, and return it."""
        connection = socket.create_connection((LOOPBACK, self.port), timeout=TIMEOUT_SECONDS)
        connection.sendall(request)
        return connection

    def stop(self) -> list[re.Match[str] | None]:
        """Stop it; return the lines of its terminal."""
        self.process.terminate()
        self.process.wait(30)
        return [LINE.fullmatch(line) for line in self.terminal.read_text("utf-8").splitlines()]
