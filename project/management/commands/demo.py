"""`manage.py demo`: walks through the lesson's exercises against a separate stack, in a scratch directory."""

import os
import tempfile
from pathlib import Path
from typing import Any

import httpx
from django.core.management.base import BaseCommand, CommandError

from project.local.demo import Walk
from project.local.lesson_page import StepFailed
from project.local.servers.errors import ServerError
from project.local.servers.ports import free_port
from project.local.servers.rabbitmq import PrivateRabbitmq, find_or_fetch
from project.local.stack import Stack
from settings.environment import VAR


class Command(BaseCommand):
    help = "Starts everything on free ports in a scratch directory and walks through the lesson's exercises."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with tempfile.TemporaryDirectory(prefix="vazifa-demo-") as scratch:
                self._walk(Path(scratch))
        except (ServerError, StepFailed, httpx.HTTPError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(self.style.SUCCESS("All of it works."))

    def _walk(self, scratch: Path) -> None:
        log = scratch / "debug.log"
        rabbitmq_url = os.environ.get("RABBITMQ_URL", "")
        stack = Stack(
            directory=scratch / "log",
            port=free_port(),
            rabbitmq=None if rabbitmq_url else self._private_rabbitmq(scratch),
            rabbitmq_url=rabbitmq_url,
            variables={
                "ENV_FILE": os.devnull,
                "DJANGO_SETTINGS_MODULE": "settings.development",
                "DATABASE_URL": f"sqlite:///{scratch / 'db.sqlite3'}",
                "LOG_FILE": str(log),
                "LOG_LANGUAGE": "uz",
            },
        )
        try:
            stack.start(self._say)
            with Walk(stack, log=log) as walk:
                for number, (title, take) in enumerate(walk.steps(), start=1):
                    self._say(f"{number}. {title}\n   {self.style.SUCCESS('ok')}  {take()}")
        finally:
            stack.stop()

    def _private_rabbitmq(self, scratch: Path) -> PrivateRabbitmq:
        installation = find_or_fetch(VAR / "cache", self._say)
        return PrivateRabbitmq(installation=installation, directory=scratch / "rabbitmq")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
