"""Tells of every change of a task, wherever it was made: REST, admin or shell.

Guarantee: nothing is told of a change that was rolled back. A creation's line is a worker's; the lines of an update
and a deletion are written here, on commit.
"""

import logging
from functools import partial
from typing import Any, Literal

from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from actors.activity import log_task_creation
from actors.lines import task_line
from tasks.models import Task

logger = logging.getLogger(__name__)


@receiver(post_save, sender=Task)
def tell_of_save(instance: Task, created: bool, raw: bool, **kwargs: Any) -> None:
    if raw:  # a fixture restores history, it makes none
        return
    if created:
        log_task_creation.send_with_options(
            args=(instance.pk, instance.title, instance.owner.get_username()), subject=f"task:{instance.pk}"
        )
    else:
        _log_on_commit("updated", instance)


@receiver(post_delete, sender=Task)
def tell_of_deletion(instance: Task, **kwargs: Any) -> None:
    _log_on_commit("deleted", instance)


def _log_on_commit(event: Literal["updated", "deleted"], task: Task) -> None:
    # The line is made now: after a commit the deleted task has no id any more, and its owner may be gone with it.
    line = task_line(event, task_id=task.pk, title=task.title, owner=task.owner.get_username())
    transaction.on_commit(partial(logger.info, "%s", line))
