"""The actors that keep the log of what happened to tasks. Run by `manage.py rundramatiq`."""

import logging

import dramatiq

from actors.lines import task_line

logger = logging.getLogger(__name__)


@dramatiq.actor(queue_name="activity")
def log_task_creation(task_id: int, task_title: str, owner_username: str) -> None:
    """Write the line that tells of a new task."""
    line = task_line("created", task_id=task_id, title=task_title, owner=owner_username)
    logger.info("[Dramatiq] %s", line)
