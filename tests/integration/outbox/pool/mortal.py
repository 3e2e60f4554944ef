"""Actors whose messages die in every way that a worker writes down."""

from typing import NoReturn

import dramatiq

QUEUE = "mortal"


@dramatiq.actor(queue_name=QUEUE)
def succeed() -> int:
    """Return a result."""
    return 7


@dramatiq.actor(queue_name=QUEUE)
def succeed_in_vain() -> None:
    """Do what a middleware rejects."""


@dramatiq.actor(queue_name=QUEUE, max_retries=1, min_backoff=10, max_backoff=10)
def fail() -> NoReturn:
    """Fail at each attempt."""
    raise ValueError("wrong")


@dramatiq.actor(queue_name=QUEUE, max_retries=1, min_backoff=10, max_backoff=10, returns_rows=True)
def fail_with_rows() -> NoReturn:
    """Fail at each attempt, in a batch if there is one."""
    raise ValueError("wrong")


@dramatiq.actor(queue_name=QUEUE, throws=ValueError)
def refuse() -> NoReturn:
    """Fail for good."""
    raise ValueError("wrong")


@dramatiq.actor(queue_name=QUEUE, max_age=1)
def come_too_late() -> None:
    """Be rejected by AgeLimit."""
