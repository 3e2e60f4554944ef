"""What a message about a new task causes: the lesson's line and, in some variants, a row as in our activity log."""

import logging

from bench.peers.models import Activity

logger = logging.getLogger("bench.peers")


def log_line(task_id: int, title: str, owner: str) -> None:
    logger.info("Yangi vazifa yaratildi: %s (ID: %s, Owner: %s)", title, task_id, owner)


def write_row(message_id: str, task_id: int, title: str, owner: str) -> None:
    Activity.objects.create(
        message_id=message_id,
        event="task.created",
        task_id=task_id,
        title=title,
        owner=owner,
        owner_id=1,
        changes={"title": [None, title], "completed": [None, False]},
    )
