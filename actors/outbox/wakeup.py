"""Wakes this process's relay once a transaction has committed: the messages that it sent are due then.

Guarantee: a commit never fails or waits because of a wake-up. A relay that is not woken finds the rows by its sweep.
`background` registers the relay's `wake`; all code that makes rows pending calls `wake_relay_on_commit`.
"""

from collections.abc import Callable

from django.db import transaction


def _no_relay() -> None:
    pass


_wake: Callable[[], None] = _no_relay


def register(wake: Callable[[], None] | None) -> None:
    """Set the function that wakes this process's relay from any thread; None if the process has no relay."""
    global _wake  # noqa: PLW0603 – one relay a process
    _wake = wake or _no_relay


def wake_relay() -> None:
    """Wake the relay of this process, if it has one."""
    _wake()


def wake_relay_on_commit() -> None:
    """Wake the relay after the current transaction has committed; at once outside a transaction."""
    # robust: the change is committed; a relay that cannot be woken must not turn the response into an error.
    transaction.on_commit(wake_relay, robust=True)
