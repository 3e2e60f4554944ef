"""Sends the background work of a new task, the way the variant does it."""

from collections.abc import Callable

from bench.peers.settings import PEER

Send = Callable[[int, str, str], object]


def sender() -> Send:
    """Return what sends: Celery's `delay` or Dramatiq's `send`."""
    if PEER == "dramatiq":
        from bench.peers import actors

        return actors.log_task_creation.send
    from bench.peers import tasks

    task = tasks.log_task_creation_with_row if PEER == "celery-rabbitmq-row" else tasks.log_task_creation
    return task.delay  # type: ignore[no-any-return]
