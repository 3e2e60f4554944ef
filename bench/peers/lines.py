"""The lesson's line of a new task."""

import logging

logger = logging.getLogger("bench.peers")


def log_line(task_id: int, title: str, owner: str) -> None:
    logger.info("Yangi vazifa yaratildi: %s (ID: %s, Owner: %s)", title, task_id, owner)
