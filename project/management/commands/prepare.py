"""`manage.py prepare`: prepares the database for `make run`."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from project.local.demo_user import PASSWORD, USERNAME

LOOPBACK_HOSTS = ("", "localhost", "127.0.0.1", "::1")


class Command(BaseCommand):
    help = "Migrates the database and creates the development user, if missing (development settings only)."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("prepare is for development; in production use `migrate` and `createsuperuser`.")
        try:
            call_command("migrate", verbosity=0, interactive=False)
            self._make_development_user()
        except DatabaseError as error:
            raise CommandError(f"The database cannot be prepared: {' '.join(str(error).split())}") from error

    def _make_development_user(self) -> None:
        host = str(connection.settings_dict["HOST"])
        if host not in LOOPBACK_HOSTS and not host.startswith("/"):
            self.stdout.write(f"{host} is not this machine: {USERNAME} is not created there.")
            return
        users = get_user_model()
        if not users.objects.filter(username=USERNAME).exists():
            users.objects.create_superuser(USERNAME, f"{USERNAME}@example.com", PASSWORD)
