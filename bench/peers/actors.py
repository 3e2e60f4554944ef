"""Dramatiq's actor, with its own broker and nothing around it."""

import dramatiq

from bench.peers.lines import log_line


@dramatiq.actor
def log_task_creation(task_id: int, title: str, owner: str) -> None:
    log_line(task_id, title, owner)
