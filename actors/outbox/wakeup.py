"""Wakes this process's relay once a transaction has committed, when the rows that it wrote are due.

Guarantee: a commit never fails or waits because of a wake-up. A relay that is not woken finds the rows by its sweep, in
time if they fall due after that. `background` registers the relay's `wake`; all code that makes rows pending, or
schedules them for the next second, calls `wake_relay_on_commit`.
"""

from collections.abc import Callable
from time import monotonic

from django.db import transaction


def _no_relay(_at: float) -> None:
    pass


_wake: Callable[[float], None] = _no_relay


def register(wake: Callable[[float], None] | None) -> None:
    """Set the function that wakes this process's relay, from any thread, at a time of the system's monotonic clock.

    None if the process has no relay.
    """
    global _wake  # noqa: PLW0603 – one relay a process
    _wake = wake or _no_relay


def wake_relay_on_commit(*, delay_ms: float = 0) -> None:
    """Wake the relay after the current transaction has committed; at once outside a transaction.

    Args:
        delay_ms: how many milliseconds after their statement, which has just ended, the rows fall due.
    """
    due = monotonic() + delay_ms / 1000
    # robust: the change is committed; a relay that cannot be woken must not turn the response into an error.
    transaction.on_commit(lambda: _wake(due), robust=True)
