"""Keeps the database connection of a test case's transaction open: closed, it could not come back."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections

from actors.outbox.db.transactions import belongs_to_test_case, stray_blocks
from actors.outbox.exceptions import OutboxError


@contextmanager
def keep_test_connections() -> Iterator[None]:
    """Let nothing inside the block close this thread's connections on which a test case has its transaction.

    django_dramatiq's `DbConnectionsMiddleware` closes connections around each message, because a worker's are in no
    transaction there, and in the thread that stops a worker.
    """
    kept = [each for each in connections.all(initialized_only=True) if belongs_to_test_case(each)]
    kept = [each for each in kept if "close" not in vars(each)]  # not those of an enclosing block
    for each in kept:
        each.close = _stay_open  # type: ignore[method-assign]
    try:
        yield
    finally:
        for each in kept:
            del each.close


def require_no_open_block() -> None:
    """Check that the caller has no transaction open, but that of a test case.

    Raises:
        OutboxError: it has one.
    """
    if stray_blocks(connections[DEFAULT_DB_ALIAS]):
        raise OutboxError(
            "Messages run after the transaction that sent them has committed: leave transaction.atomic() first."
        )


def _stay_open() -> None:
    pass
