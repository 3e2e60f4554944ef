"""Sends every change of a task to the actors, wherever it was made: REST, admin, shell or command.

Guarantee: each version of a task is one message, sent in the transaction of its change; a change that is rolled back
sends none. The worker logs the line of a creation; the lines of updates and deletions are logged here, on commit.
"""

import logging
from functools import partial
from typing import Any, Literal

import dramatiq
from django.db import transaction
from django.db.models.signals import post_save, pre_delete
from django.dispatch import receiver

from actors.activity import SUBJECT, Details, log_task_creation, log_task_deletion, log_task_update, task_line
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
        _log_on_commit("updated", change.row)


@receiver(pre_delete, sender=Task)
def send_on_deletion(instance: Task, using: str, **kwargs: Any) -> None:
    change = instance.pending_deletion(using)
    if change is not None:  # else another transaction deleted the task first, and sent the event
        send_change(log_task_deletion, change)
        _log_on_commit("deleted", change.row)


def send_change(actor: dramatiq.Actor[..., Any], change: PendingChange[Task]) -> None:
    """Send an actor the change, with the task's values after it."""
    task = change.row
    details = Details(owner_id=task.owner_id, version=change.version, changes=change.changes)
    send_event(actor, task.pk, task.title, task.owner.get_username(), details)


def send_event(actor: dramatiq.Actor[..., Any], task_id: int, title: str, owner: str, details: Details) -> None:
    """Send an actor a change as plain values: by the time it runs, the task may be gone."""
    actor.send_with_options(
        args=(task_id, title, owner),
        kwargs={"details": details},
        subject=f"{SUBJECT}{task_id}",
        sequence=details["version"],
    )


def _log_on_commit(event: Literal["updated", "deleted"], task: Task) -> None:
    # The line is built now: after the commit a deleted task has no id any more, and its owner may be gone too.
    line = task_line(event, task_id=task.pk, title=task.title, owner=task.owner.get_username())
    transaction.on_commit(partial(logger.info, "%s", line))
