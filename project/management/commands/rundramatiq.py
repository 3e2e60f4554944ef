"""`manage.py rundramatiq`: django_dramatiq's, after a line for each server that workers need and cannot use."""

from typing import Any

from django_dramatiq.management.commands import rundramatiq

from project.server_access import log_refusals


class Command(rundramatiq.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        log_refusals("DATABASE_URL", "RABBITMQ_URL")
        super().handle(*args, **options)
