"""Gives up a transaction that somebody left open: what was written in it, nobody would commit.

An actor may leave one behind (`set_autocommit(False)`, an `atomic()` never left), and so does an interruption that
strikes within a commit. Django's `durable=True` does not see the first, and joins it. Called by `patience`, before each
try.
"""

from django.db import DEFAULT_DB_ALIAS, connections


def discard_stray_transaction() -> None:
    """Close the connection if a transaction is open on it; one that belongs to a test case stays."""
    # Not the proxy, which looks the connection up for each of its attributes: it is looked at for every message.
    connection = connections[DEFAULT_DB_ALIAS]
    left = [block for block in connection.atomic_blocks if not getattr(block, "_from_testcase", False)]
    is_manual = connection.connection is not None and not connection.autocommit and not connection.in_atomic_block
    if left or is_manual:
        # Otherwise Django would keep it, for a block that is still to be left.
        connection.in_atomic_block = connection.closed_in_transaction = False
        connection.atomic_blocks = []
        connection.close()
