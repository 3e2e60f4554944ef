"""`manage.py prepare`: prepares the database for `make run`.

Guarantee: the published superuser is made only in a database that this project has made on this machine.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from project.local.demo_user import PASSWORD, USERNAME
from project.local.own_database import claim_if_new, is_own

WAY_OUT = "Make an account of your own: manage.py createsuperuser"


class Command(BaseCommand):
    help = "Migrates the database and creates the development user, if missing (development settings only)."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("prepare is for development; in production use `migrate` and `createsuperuser`.")
        try:
            claim_if_new(connection)
            call_command("migrate", verbosity=0, interactive=False)
            self._make_development_user()
        except DatabaseError as error:
            raise CommandError(f"The database cannot be prepared: {' '.join(str(error).split())}") from error

    def _make_development_user(self) -> None:
        users = get_user_model()
        # With other accounts there, a missing one was deleted, or the database is in use.
        if users.objects.exists():
            return
        if not is_own(connection):
            self.stdout.write(f"{USERNAME} is not created: Vazifa did not make this database. {WAY_OUT}")
            return
        users.objects.create_superuser(USERNAME, f"{USERNAME}@example.com", PASSWORD)
