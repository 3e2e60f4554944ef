"""Discards a stray transaction: one that was left open, and that no code will commit.

An actor may leave one behind (`set_autocommit(False)`, an `atomic()` that it never exits), and so may an interruption
during a commit. Django's `durable=True` does not detect the first, and joins it. Called before every transaction of a
worker that must not be part of another.
"""

from django.db import DEFAULT_DB_ALIAS, connections


def discard_stray_transaction() -> None:
    """Close this thread's connection if a transaction is open on it; one that belongs to a test case stays."""
    # The connection itself, for every message: its proxy looks it up for each attribute.
    connection = connections[DEFAULT_DB_ALIAS]
    left = [block for block in connection.atomic_blocks if not getattr(block, "_from_testcase", False)]
    is_manual = connection.connection is not None and not connection.autocommit and not connection.in_atomic_block
    if left or is_manual:
        # Otherwise Django would keep the connection until the abandoned block exits.
        connection.in_atomic_block = connection.closed_in_transaction = False
        connection.atomic_blocks = []
        connection.close()
