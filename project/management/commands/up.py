"""`manage.py up`: the whole service in one terminal, until Ctrl-C."""

import fcntl
import os
import shutil
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from project.local.demo_user import PASSWORD, USERNAME
from project.local.servers.errors import ServerError
from project.local.servers.ports import first_free_port
from settings.environment import ROOT, VAR

if TYPE_CHECKING:
    from project.local.servers.rabbitmq import PrivateRabbitmq
    from project.local.stack import Stack

NEEDED_BYTES = 300 * 1024 * 1024
FOLLOW_SECONDS = 0.1
MAX_PORT = 65_535
# Not needed where the service runs in production: what imports them is imported late.
NEEDED_PACKAGES = ("psutil", "supervisor")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

BANNER = """
  API         {url}            (docs: {url}api/docs/)
  Admin       {url}admin/      {username} / {password}
  RabbitMQ    {rabbitmq}
  Log         {log}

  Try it:
    TOKEN=$(curl -s {url}api/token/ -H 'Content-Type: application/json' \\
      -d '{{"username": "{username}", "password": "{password}"}}' | sed 's/.*"access":"\\([^"]*\\)".*/\\1/')
    curl -s {url}tasks/ -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' \\
      -d '{{"title": "Yangi vazifa", "description": "Test vazifa"}}'; echo

  Ctrl-C stops everything.
"""


class Command(BaseCommand):
    help = "Runs everything in this terminal: a private RabbitMQ (unless RABBITMQ_URL is set), web server and workers."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", default=os.environ.get("PORT") or "8000", help="the web server's (PORT; 8000)")

    def handle(self, *args: Any, port: str, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("up is for development; docs/operations.md says how to run in production.")
        _require_packages(*NEEDED_PACKAGES)
        try:
            with _interruptible(), _only_one(VAR):
                self._run(_port_number(port))
        except KeyboardInterrupt:
            self._say("Stopped.")
        except ServerError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"Cannot start: {error}.") from error

    def _run(self, port: int) -> None:
        from project.local.stack import Stack
        from project.local.supervision import require_plain_words, wait_for_predecessor

        require_plain_words(str(ROOT), str(VAR), sys.executable)
        _require_disk_space(VAR)
        wait_for_predecessor(VAR / "log")
        stack = Stack(directory=VAR / "log", port=port, rabbitmq=self._rabbitmq(), rabbitmq_url=settings.RABBITMQ_URL)
        with self._stopping(stack):
            stack.start(self._say)
            self._show_banner(stack)
            _follow(stack.supervisor.output, while_running=stack.supervisor.is_running)
            raise ServerError(f"The supervisor ended unexpectedly; see {stack.supervisor.output}.")

    def _rabbitmq(self) -> "PrivateRabbitmq | None":
        from project.local.servers.rabbitmq import PrivateRabbitmq, find_or_fetch

        if os.environ.get("RABBITMQ_URL"):
            return None
        return PrivateRabbitmq(
            installation=find_or_fetch(VAR / "cache", self._say),
            directory=VAR / "rabbitmq",
            amqp_port=first_free_port(5672),
            management_port=first_free_port(15672),
        )

    @contextmanager
    def _stopping(self, stack: "Stack") -> Iterator[None]:
        try:
            yield
        finally:
            # A second Ctrl-C must not interrupt what the first one began; stopping takes seconds at most.
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            if stack.supervisor.is_running():
                with suppress(OSError):  # the terminal may be what has gone
                    self._say("Stopping: what is in hand is finished first …")
            stack.stop()

    def _show_banner(self, stack: "Stack") -> None:
        node = stack.rabbitmq
        rabbitmq = f"{node.management_url}   guest / guest   {node.url}" if node else "the one at RABBITMQ_URL"
        self._say(
            BANNER.format(
                url=stack.url, username=USERNAME, password=PASSWORD, rabbitmq=rabbitmq, log=settings.LOG_FILE or "none"
            )
        )

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _port_number(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) <= MAX_PORT):
        raise CommandError(f"PORT is {text!r}; it must be a number from 1 to {MAX_PORT}.")
    return int(text)


def _require_packages(*names: str) -> None:
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise CommandError(
            f"up needs what is not installed: {', '.join(missing)}. `make run` installs it; without make: "
            f"{sys.executable} -m pip install --require-hashes -r requirements/local.txt"
        )


def _require_disk_space(directory: Path) -> None:
    free = shutil.disk_usage(directory).free
    if free < NEEDED_BYTES:
        raise ServerError(
            f"The disk is full: {free // 1024**2} MB are free for {directory}, {NEEDED_BYTES // 1024**2} MB are needed."
        )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a closed terminal and a plain `kill` end the command as Ctrl-C does; a shell may have Ctrl-C ignored."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    with (directory / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerError("Vazifa runs already in another terminal. Stop that one first.") from None
        yield


def _follow(file: Path, *, while_running: Callable[[], bool]) -> None:
    """Copy to the terminal what is appended to `file`."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        while while_running():
            shutil.copyfileobj(lines, sys.stdout)
            sys.stdout.flush()
            time.sleep(FOLLOW_SECONDS)
