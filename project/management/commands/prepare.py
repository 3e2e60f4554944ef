"""`manage.py prepare`: logs in to the servers that `make run` uses, and prepares the database.

Guarantee: the published superuser is made only in a database that this project has made on this machine.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection

from actors.outbox.exceptions import AccessRefused
from project.local.demo_user import PASSWORD, USERNAME
from project.local.own_database import claim_if_new, is_own
from project.server_access import LOGINS, wait_for

SERVER_TIMEOUT_SECONDS = 10.0
WAY_OUT = "Make an account of your own: manage.py createsuperuser"


class Command(BaseCommand):
    help = "Migrates the database and creates the development user, if missing (development settings only)."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--log-in",
            action="store_true",
            help=f"first log in to database, RabbitMQ and cache; wait {SERVER_TIMEOUT_SECONDS:g} s for each",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("prepare is for development; in production use `migrate` and `createsuperuser`.")
        if options["log_in"]:
            self._log_in()
        try:
            claim_if_new(connection)
            call_command("migrate", verbosity=0, interactive=False)
            self._make_development_user()
        except DatabaseError as error:
            raise CommandError(f"The database cannot be prepared: {' '.join(str(error).split())}") from error

    def _log_in(self) -> None:
        for variable, log_in in LOGINS.items():
            try:
                wait_for(log_in, timeout_seconds=SERVER_TIMEOUT_SECONDS)
            except AccessRefused as refusal:
                raise CommandError(f"{refusal} `make run` needs none if {variable} is not set.") from refusal

    def _make_development_user(self) -> None:
        users = get_user_model()
        # With other accounts there, a missing one was deleted, or the database is in use.
        if users.objects.exists():
            return
        if not is_own(connection):
            self.stdout.write(f"{USERNAME} is not created: Vazifa did not make this database. {WAY_OUT}")
            return
        users.objects.create_superuser(USERNAME, f"{USERNAME}@example.com", PASSWORD)
