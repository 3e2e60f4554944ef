"""Deletes a user who may have any number of tasks, step by step.

Guarantee: a step is one transaction, with the events of what it deletes, so a deletion that was interrupted goes on
when it is started again. The user is inactive from its start; if they are activated again, it stops.
`activity.delete_user` runs the steps in workers, `manage.py delete_user` in its own process.
"""

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.db import transaction

from tasks.history.versioning import CHUNK
from tasks.listing import count_ledger
from tasks.models import Task


class UserIsActive(Exception):
    """Raised when a user to be deleted is active: an operator has activated them again."""

    def __init__(self, user: AbstractUser) -> None:
        super().__init__(f"{user.get_username()} is active again, with {tasks_left(user.pk)} tasks: not deleted")


def deactivate(user: AbstractUser) -> None:
    """Refuse a user's tokens and sessions, so that they stop creating tasks."""
    user.is_active = False
    user.save(update_fields=["is_active"])


def delete_some(user_id: int) -> bool:
    """Delete up to `CHUNK` tasks of an inactive user, and the user with the last of them; return whether more are left.

    Raises:
        UserIsActive: the user was not deactivated, or has been activated since.
    """
    with transaction.atomic():
        # While the row is locked, no request can commit a task for this user.
        user = get_user_model()._default_manager.select_for_update().filter(pk=user_id).first()
        if user is None:
            return False
        if user.is_active:
            raise UserIsActive(user)
        tasks = Task.objects.filter(owner_id=user_id)
        chunk = list(tasks.order_by("created_at", "id").values_list("pk", flat=True)[:CHUNK])
        tasks.filter(pk__in=chunk).delete()
        if len(chunk) < CHUNK:
            user.delete()
        return len(chunk) == CHUNK


def tasks_left(user_id: int) -> int:
    """Return how many tasks a user has."""
    return count_ledger.count(Task.objects.filter(owner_id=user_id))
