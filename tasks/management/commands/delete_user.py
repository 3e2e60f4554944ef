"""`manage.py delete_user NAME`: deletes a user and their tasks here, without the workers."""

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from actors.outbox.context import Context, sent_by
from tasks.history.versioning import CHUNK
from tasks.user_deletion import UserIsActive, deactivate, delete_some, tasks_left


class Command(BaseCommand):
    help = f"Deletes a user and their tasks, {CHUNK} at a time; if it is interrupted, it goes on when it is run again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", metavar="NAME")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        users = get_user_model()
        try:
            user = users._default_manager.get_by_natural_key(username)
        except users.DoesNotExist:
            raise CommandError(f"There is no user {username!r}.") from None
        deactivate(user)
        count = tasks_left(user.pk)
        with (
            tqdm(total=count, desc="tasks", disable=None, leave=False) as bar,
            sent_by(Context(changed_by="delete_user")),
        ):
            try:
                while delete_some(user.pk):
                    bar.update(CHUNK)
            except UserIsActive as error:
                raise CommandError(f"{error}.") from None
        self.stdout.write(f"{username} and {count} tasks deleted.")
