"""Celery's tasks: the lesson's, which writes a line, and one that writes a row as well and is acknowledged late."""

from typing import Any

from celery import shared_task

from bench.peers.effects import log_line, write_row


@shared_task
def log_task_creation(task_id: int, title: str, owner: str) -> None:
    log_line(task_id, title, owner)


@shared_task(bind=True, acks_late=True)
def log_task_creation_with_row(self: Any, task_id: int, title: str, owner: str) -> None:
    log_line(task_id, title, owner)
    write_row(self.request.id, task_id, title, owner)
