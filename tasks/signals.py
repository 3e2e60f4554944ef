"""Tells of every change of a task, wherever it was made: REST, admin, shell or command.

Guarantee: each version of a task is one message to the actors, sent in the transaction of the change; nothing is told
of a change that was rolled back. A creation's line is a worker's; the lines of an update and a deletion are written
here, on commit.
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
    if raw:  # a fixture restores history, it makes none
        return
    if created:
        send_change(log_task_creation, instance, creation_of(instance))
    else:
        task = instance.saved_state or instance
        send_change(log_task_update, task, instance.changes)
        _log_on_commit("updated", task)


@receiver(pre_delete, sender=Task)
def lock_before_deletion(instance: Task, using: str, **kwargs: Any) -> None:
    # As it is, not as it was when somebody read it; and nobody may change it any more.
    instance.deleted = Task.objects.using(using).locked(instance.pk)
    lock_history(instance.pk)


@receiver(post_delete, sender=Task)
def send_on_deletion(instance: Task, **kwargs: Any) -> None:
    task, instance.deleted = instance.deleted, None
    if task is None:  # somebody else was faster, and told of it
        return
    task.version += 1
    send_change(log_task_deletion, task, deletion_of(task))
    _log_on_commit("deleted", task)


def send_change(actor: dramatiq.Actor[..., Any], task: Task, changes: Changes) -> None:
    """Tell an actor of the change that made a task what it is."""
    details = Details(owner_id=task.owner_id, version=task.version, changes=changes)
    send_event(actor, task.pk, task.title, task.owner.get_username(), details)


def send_event(actor: dramatiq.Actor[..., Any], task_id: int, title: str, owner: str, details: Details) -> None:
    """Tell an actor of a change, in plain values: its task may be gone."""
    actor.send_with_options(
        args=(task_id, title, owner),
        kwargs={"details": details},
        subject=subject_of(task_id),
        sequence=details["version"],
    )


def _log_on_commit(event: Literal["updated", "deleted"], task: Task) -> None:
    # The line is made now: after a commit the deleted task has no id any more, and its owner may be gone with it.
    line = task_line(event, task_id=task.pk, title=task.title, owner=task.owner.get_username())
    transaction.on_commit(partial(logger.info, "%s", line))
