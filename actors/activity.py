"""The actors that keep the log of what happened to tasks. Run by `manage.py rundramatiq`."""

import logging

import dramatiq
from dramatiq.middleware import CurrentMessage

from actors.lines import task_line
from actors.models import Activity, Event

logger = logging.getLogger(__name__)


@dramatiq.actor(queue_name="activity")
def log_task_creation(task_id: int, task_title: str, owner_username: str) -> None:
    """Log a new task: one activity row, and the line that tells of it."""
    message = CurrentMessage.get_current_message()
    Activity.objects.create(
        message_id=message.message_id if message else None,
        event=Event.TASK_CREATED,
        task_id=task_id,
        title=task_title,
        owner=owner_username,
    )
    line = task_line("created", task_id=task_id, title=task_title, owner=owner_username)
    logger.info("[Dramatiq] %s", line)
