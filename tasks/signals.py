"""Sends every change of a task to the actors, wherever it was made: REST, admin, shell or command.

Guarantee: each version of a task is one message, sent in the transaction of its change; a change that is rolled back
sends none. The worker logs the line of a creation; the lines of updates and deletions are logged here, on commit.
"""

import logging
from functools import partial
from typing import Any, Literal

import dramatiq
from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_delete
from django.dispatch import receiver

from actors.activity import Details, log_task_creation, log_task_deletion, log_task_update
from actors.log_lines import task_line
from actors.timeline import subject_of
from tasks.history.changes import Changes, creation_of, deletion_of
from tasks.history.locks import lock_history
from tasks.models import Task

logger = logging.getLogger(__name__)


@receiver(post_save, sender=Task)
def send_on_save(instance: Task, created: bool, raw: bool, **kwargs: Any) -> None:
    if raw:  # loaddata restores rows, and changes none
        return
    if created:
        send_change(log_task_creation, instance, creation_of(instance))
    else:
        task = instance.saved_state or instance
        send_change(log_task_update, task, instance.changes)
        _log_on_commit("updated", task)


@receiver(pre_delete, sender=Task)
def lock_before_deletion(instance: Task, using: str, **kwargs: Any) -> None:
    # The event describes the row as it is now, not as it was when the instance was loaded: lock it, and read it again.
    instance.deleted = Task.objects.using(using).locked(instance.pk)
    lock_history(instance.pk)


@receiver(post_delete, sender=Task)
def send_on_deletion(instance: Task, **kwargs: Any) -> None:
    task, instance.deleted = instance.deleted, None
    if task is None:  # another transaction deleted the task first, and sent the event
        return
    task.version += 1
    send_change(log_task_deletion, task, deletion_of(task))
    _log_on_commit("deleted", task)


def send_change(actor: dramatiq.Actor[..., Any], task: Task, changes: Changes) -> None:
    """Send an actor the change that brought a task to its present state."""
    details = Details(owner_id=task.owner_id, version=task.version, changes=changes)
    send_event(actor, task.pk, task.title, task.owner.get_username(), details)


def send_event(actor: dramatiq.Actor[..., Any], task_id: int, title: str, owner: str, details: Details) -> None:
    """Send an actor a change as plain values: by the time it runs, the task may be gone."""
    actor.send_with_options(
        args=(task_id, title, owner),
        kwargs={"details": details},
        subject=subject_of(task_id),
        sequence=details["version"],
    )


def _log_on_commit(event: Literal["updated", "deleted"], task: Task) -> None:
    # The line is built now: after the commit a deleted task has no id any more, and its owner may be gone too.
    line = task_line(event, task_id=task.pk, title=task.title, owner=task.owner.get_username())
    transaction.on_commit(partial(logger.info, "%s", line))
