"""The actors that keep the log of what happened to tasks. Run by `manage.py rundramatiq`."""

import logging

import dramatiq
from dramatiq.middleware import CurrentMessage

from actors.lines import task_line
from actors.models import Activity, Event

logger = logging.getLogger(__name__)


@dramatiq.actor(queue_name="activity", returns_rows=True)
def log_task_creation(task_id: int, task_title: str, owner_username: str) -> Activity:
    """Log a new task: one activity row, and the line that tells of it, which is written before the row is committed."""
    line = task_line("created", task_id=task_id, title=task_title, owner=owner_username)
    logger.info("[Dramatiq] %s", line)
    message = CurrentMessage.get_current_message()
    return Activity(
        message_id=message.message_id if message else None,
        event=Event.TASK_CREATED,
        task_id=task_id,
        title=task_title,
        owner=owner_username,
    )
