"""Sends every change of a task to the actors, wherever it was made: REST, admin, shell or command.

Guarantee: each version of a task is one message, sent in the transaction of its change; a change that is rolled back
sends none. The worker logs the lines of creations and of mass changes; those of other updates and deletions are logged
here, on commit.
"""

import logging
from functools import partial
from typing import Any

import dramatiq
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.db.models.signals import post_save, pre_delete
from django.dispatch import receiver

from actors.activity import (
    MASS_QUEUE,
    SUBJECT,
    Details,
    log_task_creation,
    log_task_deletion,
    log_task_update,
    task_line,
)
from tasks.history.changes import PendingChange
from tasks.models import Task

logger = logging.getLogger(__name__)


@receiver(post_save, sender=Task)
def send_on_save(instance: Task, created: bool, **kwargs: Any) -> None:
    change = instance.pending_change
    if change is None:  # loaddata restores rows, and changes none
        return
    if created:
        send_change(log_task_creation, change)
    else:
        send_change(log_task_update, change)
        _log_on_commit("updated", change)


@receiver(pre_delete, sender=Task)
def send_on_deletion(instance: Task, **kwargs: Any) -> None:
    change = instance.pending_change
    assert change is not None, "tasks are deleted by their own delete() alone: no foreign key cascades to them"
    send_change(log_task_deletion, change)
    _log_on_commit("deleted", change)


@receiver(pre_delete, sender=settings.AUTH_USER_MODEL)
def delete_tasks_of_user(instance: AbstractBaseUser, using: str, **kwargs: Any) -> None:
    """Delete a user's tasks, with their events, before the user."""
    # Requests that create a task for the user cannot commit from here on: afterwards its owner would not exist.
    type(instance)._base_manager.using(using).select_for_update().filter(pk=instance.pk).first()
    Task.objects.using(using).filter(owner_id=instance.pk).delete()


def send_change(actor: dramatiq.Actor[..., Any], change: PendingChange[Task]) -> None:
    """Send an actor the change, with the task's values after it."""
    task = change.row
    details = Details(owner_id=task.owner_id, version=change.version, changes=change.changes)
    message = message_of(actor, task.pk, task.title, task.owner.get_username(), details)
    actor.broker.enqueue(message.copy(queue_name=MASS_QUEUE) if change.is_mass else message)


def message_of(
    actor: dramatiq.Actor[..., Any], task_id: int, title: str, owner: str, details: Details
) -> dramatiq.Message[Any]:
    """Return the message of a change, with plain values: by the time its actor runs, the task may be gone."""
    return actor.message_with_options(
        args=(task_id, title, owner),
        kwargs={"details": details},
        subject=f"{SUBJECT}{task_id}",
        sequence=details["version"],
    )


def _log_on_commit(event: str, change: PendingChange[Task]) -> None:
    if change.is_mass:  # the workers write these lines: any number of them would have to be kept until the commit
        return
    # The line is built now: after the commit a deleted task has no id any more, and its owner may be gone too.
    task = change.row
    line = task_line(event, task_id=task.pk, title=task.title, owner=task.owner.get_username())
    transaction.on_commit(partial(logger.info, "%s", line))
