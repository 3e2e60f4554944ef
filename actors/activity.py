"""The actors that write the activity log. Run by `manage.py rundramatiq`.

Guarantee: each event is one row, written exactly once. A worker writes the log line of a creation, and of each event of
a mass change, right before its row commits; the process that made another update or deletion writes that line itself,
on commit (`tasks.signals`).
"""

import logging
from functools import cache
from typing import Any, TypedDict

import dramatiq
from django.conf import settings
from django.utils import translation
from django.utils.translation import gettext, gettext_noop
from dramatiq.middleware import CurrentMessage

from actors.models import SYSTEM, Activity, Event
from actors.outbox.context import current_context, current_trail
from actors.outbox.worker.log_buffer import log_when_settled

logger = logging.getLogger(__name__)

SUBJECT = "task:"
"""The subject of a message about a task is this and the task's id."""
MASS_QUEUE = "bulk"
"""The queue of events of mass changes, and of jobs that make such changes: workers take it in turns with the others."""
LINES = {
    "created": gettext_noop("New task created: %(title)s (ID: %(id)s, Owner: %(owner)s)"),
    "updated": gettext_noop("Task updated: %(title)s (ID: %(id)s, Owner: %(owner)s)"),
    "deleted": gettext_noop("Task deleted: %(title)s (ID: %(id)s, Owner: %(owner)s)"),
}

# These actors take a fraction of a millisecond. Their limit is short all the same, because repair waits for as long as
# a worker may take for all that it has prefetched: each message may use its whole limit.
TIME_LIMIT_MS = min(10_000, settings.OUTBOX_TIME_LIMIT_MS)


class Details(TypedDict, total=False):
    """Details of a change beside the task's id, title and owner; messages of earlier releases lack some or all."""

    owner_id: int

    version: int

    changes: dict[str, list[Any]]
    """`{field: [old, new]}`."""


@dramatiq.actor(queue_name="activity", returns_rows=True, time_limit=TIME_LIMIT_MS)
def log_task_creation(task_id: int, task_title: str, owner_username: str, details: Details | None = None) -> Activity:
    """Log a new task: one activity row and one log line."""
    return _activity(Event.TASK_CREATED, task_id, task_title, owner_username, details or {})


@dramatiq.actor(queue_name="activity", returns_rows=True, time_limit=TIME_LIMIT_MS)
def log_task_update(task_id: int, task_title: str, owner_username: str, details: Details) -> Activity:
    """Log the change of a task; one of many at a time also with a log line."""
    return _activity(Event.TASK_UPDATED, task_id, task_title, owner_username, details)


@dramatiq.actor(queue_name="activity", returns_rows=True, time_limit=TIME_LIMIT_MS)
def log_task_deletion(task_id: int, task_title: str, owner_username: str, details: Details) -> Activity:
    """Log the deletion of a task; one of many at a time also with a log line."""
    return _activity(Event.TASK_DELETED, task_id, task_title, owner_username, details)


EVENT_OF_ACTOR = {
    log_task_creation.actor_name: Event.TASK_CREATED,
    log_task_update.actor_name: Event.TASK_UPDATED,
    log_task_deletion.actor_name: Event.TASK_DELETED,
}


def task_line(event: str, *, task_id: int, title: str, owner: str) -> str:
    """Return the log line in `LOG_LANGUAGE`, not in the client's language.

    Args:
        event: `created`, `updated` or `deleted`.
        task_id: the task's id.
        title: the task's title.
        owner: the owner's username.
    """
    return _text(event, settings.LOG_LANGUAGE) % {"id": task_id, "title": title, "owner": owner}


@cache
def _text(event: str, language: str) -> str:
    with translation.override(language):
        return gettext(LINES[event])


def _activity(event: Event, task_id: int, title: str, owner: str, details: Details) -> Activity:
    message, trail, context = CurrentMessage.get_current_message(), current_trail(), current_context()
    if event == Event.TASK_CREATED or (message and message.queue_name == MASS_QUEUE):
        line = task_line(event.removeprefix("task."), task_id=task_id, title=title, owner=owner)
        log_when_settled(logger, "[Dramatiq] %s", line)
    row = Activity(
        message_id=message.message_id if message else None,
        event=event,
        task_id=task_id,
        title=title,
        owner=owner,
        changed_by=context.changed_by or SYSTEM,
        changed_by_id=context.changed_by_id,
        request_id=context.request_id,
        **{"version": 1, **details},
    )
    if trail is not None:
        row.occurred_at, row.published_at, row.attempts = trail.sent_at, trail.published_at, trail.attempts
    return row
