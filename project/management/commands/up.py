"""`manage.py up`: the whole service in one terminal, until Ctrl-C."""

import fcntl
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from project import private_files
from project.local.demo_user import PASSWORD, USERNAME
from project.local.servers.debian import require_disk_space
from project.local.servers.errors import ServerError
from project.local.servers.ports import first_free_port
from settings.environment import PRIVATE_NODE, ROOT, VAR

MISSING_PACKAGE: str | None = None
try:
    from project.local.servers.process import wait_until
    from project.local.servers.rabbitmq import PrivateRabbitmq, find_or_fetch
    from project.local.servers.rabbitmq_files import write_private
    from project.local.stack import Stack
except ModuleNotFoundError as error:  # a package that production does not need
    MISSING_PACKAGE = error.name

NEEDED_MB = 300
FOLLOW_SECONDS = 0.1
PREDECESSOR_TIMEOUT_SECONDS = 30.0
MAX_PORT = 65_535
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

BANNER = """
  API         {url}            (docs: {url}api/docs/)
  Admin       {url}admin/      {login}
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

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("up is for development; for production see docs/operations.md.")
        if MISSING_PACKAGE:
            raise CommandError(
                f"up needs a package that is not installed: {MISSING_PACKAGE}. `make run` installs it; without make: "
                f"{sys.executable} -m pip install --require-hashes -r requirements/local.txt"
            )
        try:
            with _interruptible(), _private_files(), _only_one(VAR):
                self._run(_port_number(os.environ.get("PORT") or "8000"))
        except KeyboardInterrupt:
            self._say("Stopped.")
        except ServerError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"Cannot start: {error}.") from error

    def _run(self, port: int) -> None:
        require_disk_space(VAR, needed_mb=NEEDED_MB)
        stack = Stack(directory=VAR / "log", port=port, rabbitmq=self._rabbitmq(), rabbitmq_url=settings.RABBITMQ_URL)
        try:
            if stack.rabbitmq is not None:
                write_private(PRIVATE_NODE, f"{stack.rabbitmq_url}\n")
            stack.start(self._say)
            self._show_banner(stack)
            _follow(stack.supervisor.output)
        except KeyboardInterrupt:
            with suppress(OSError):  # the terminal may be closed
                self._say("Stopping: messages in work are finished first …")
            raise
        finally:
            stack.stop()
            PRIVATE_NODE.unlink(missing_ok=True)

    def _rabbitmq(self) -> "PrivateRabbitmq | None":
        if os.environ.get("RABBITMQ_URL"):
            return None
        return PrivateRabbitmq(
            installation=find_or_fetch(VAR / "cache", self._say),
            directory=VAR / "rabbitmq",
            amqp_port=first_free_port(5672),
            management_port=first_free_port(15672),
        )

    def _show_banner(self, stack: "Stack") -> None:
        node = stack.rabbitmq
        rabbitmq = f"{node.management_url}    {node.username} / {node.password}" if node else "at RABBITMQ_URL"
        log = settings.LOG_FILE or "none"
        self._say(
            BANNER.format(
                url=stack.url, username=USERNAME, password=PASSWORD, login=_login(), rabbitmq=rabbitmq, log=log
            )
        )

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _login() -> str:
    """Return what the admin can be entered with; `prepare` makes the account only in a database of this project."""
    exists = get_user_model().objects.filter(username=USERNAME).exists()
    connection.close()
    return f"{USERNAME} / {PASSWORD}" if exists else f"an account of yours; there is no {USERNAME}"


def _port_number(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) <= MAX_PORT):
        raise CommandError(f"PORT is {text!r}; it must be a number from 1 to {MAX_PORT}.")
    return int(text)


@contextmanager
def _interruptible() -> Iterator[None]:
    """End the command on a closed terminal and on `kill` as on Ctrl-C, even if a shell has made it ignore Ctrl-C."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        # A second Ctrl-C must not interrupt the stop that the first one began; it takes seconds at most.
        for stop_signal in STOP_SIGNALS:
            signal.signal(stop_signal, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _private_files() -> Iterator[None]:
    """Let other users of the machine read nothing that this command, and all that it starts, writes or has written."""
    before = os.umask(private_files.OTHERS)
    try:
        log = [Path(settings.LOG_FILE)] if settings.LOG_FILE else []
        # Not all of STATE_DIR, which may be a folder with other contents.
        private_files.tighten([*private_files.database_files(connection), *log, VAR / "log", VAR / "rabbitmq"])
        if VAR == ROOT / "var":
            VAR.chmod(stat.S_IRWXU)
        yield
    finally:
        os.umask(before)


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Hold two locks: this process holds one, all programs that it starts inherit and hold the other."""
    with (directory / "up.lock").open("w") as own, (directory / "programs.lock").open("w") as inherited:
        if not _is_locked(own):
            raise ServerError("Vazifa runs already in another terminal. Stop that one first.")
        # Programs whose `up` was killed may take some seconds to end.
        if not wait_until(lambda: _is_locked(inherited), timeout_seconds=PREDECESSOR_TIMEOUT_SECONDS):
            raise ServerError(f"Programs of the last run are still there (fuser {inherited.name}): end them first.")
        os.set_inheritable(inherited.fileno(), True)
        yield


def _is_locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _follow(file: Path) -> NoReturn:
    """Copy lines that are appended to `file` to the terminal."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        while True:
            shutil.copyfileobj(lines, sys.stdout)
            sys.stdout.flush()
            time.sleep(FOLLOW_SECONDS)
