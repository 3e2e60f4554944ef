"""Dramatiq's actors, with its own broker: the lesson's, which writes a line, and one that writes a row as well."""

import dramatiq
from dramatiq.middleware import CurrentMessage

from bench.peers.effects import log_line, write_row


@dramatiq.actor
def log_task_creation(task_id: int, title: str, owner: str) -> None:
    log_line(task_id, title, owner)


@dramatiq.actor
def log_task_creation_with_row(task_id: int, title: str, owner: str) -> None:
    message = CurrentMessage.get_current_message()
    assert message is not None
    log_line(task_id, title, owner)
    write_row(message.message_id, task_id, title, owner)
