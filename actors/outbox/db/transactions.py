"""Discards a stray transaction: one that was left open, and that no code will commit.

An actor may leave one behind (`set_autocommit(False)`, an `atomic()` that it never exits), and so may an interruption
during a commit. Django's `durable=True` does not detect the first, and joins it. Called before every transaction of a
worker that must not be part of another.

In a project's tests, workers also run inside the transaction in which Django's TestCase isolates a test. It stays.
"""

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import Atomic


def discard_stray_transaction() -> None:
    """Close this thread's connection if a transaction is open on it; inside a test case's, roll back to that."""
    # The connection itself, for every message: its proxy looks it up for each attribute.
    connection = connections[DEFAULT_DB_ALIAS]
    left = stray_blocks(connection)
    if left and belongs_to_test_case(connection):
        for block in reversed(left):
            connection.needs_rollback = True
            block.__exit__(None, None, None)
        return
    is_manual = connection.connection is not None and not connection.autocommit and not connection.in_atomic_block
    if left or is_manual:
        # Otherwise Django would keep the connection until the abandoned block exits.
        connection.in_atomic_block = connection.closed_in_transaction = False
        connection.atomic_blocks = []
        connection.close()


def stray_blocks(connection: BaseDatabaseWrapper) -> list[Atomic]:
    """Return the open `atomic()` blocks of a connection, without those of a test case."""
    return [block for block in connection.atomic_blocks if not getattr(block, "_from_testcase", False)]


def belongs_to_test_case(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a test case has its transaction on a connection: then only this one can see its changes."""
    return len(stray_blocks(connection)) < len(connection.atomic_blocks)


def is_in_test_case() -> bool:
    """Return whether this thread is inside a test case's transaction."""
    return belongs_to_test_case(connections[DEFAULT_DB_ALIAS])
