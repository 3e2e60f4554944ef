"""Sends the background work of a new task, the way the variant does it."""

from collections.abc import Callable

from bench.peers.settings import IS_DRAMATIQ, WRITES_ROW

Send = Callable[[int, str, str], object]


def sender() -> Send:
    """Return what sends: Celery's `delay` or Dramatiq's `send`."""
    # Only one of the two libraries is configured in a variant, and an actor or a task needs its own.
    if IS_DRAMATIQ:
        from bench.peers import actors

        return (actors.log_task_creation_with_row if WRITES_ROW else actors.log_task_creation).send
    from bench.peers import tasks

    task = tasks.log_task_creation_with_row if WRITES_ROW else tasks.log_task_creation
    return task.delay  # type: ignore[no-any-return]
