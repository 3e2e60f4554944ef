"""Features of PostgreSQL that SQLite lacks: row locks, checks before the commit, fast reading of times.

Each function documents what it does on SQLite; callers need not distinguish the databases.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError, connection
from psycopg.types.datetime import TimestamptzLoader

from actors.outbox.db.errors import RowIsLocked, lock_was_not_available


def skips_locked() -> bool:
    """Return whether the database has row locks and can skip locked rows."""
    return connection.vendor == "postgresql"


@contextmanager
def lock_timeout(milliseconds: int) -> Iterator[None]:
    """Limit how long statements in the block wait for a lock, in the caller's transaction; does nothing on SQLite.

    Raises:
        RowIsLocked: another transaction kept a row locked for longer.
    """
    if not skips_locked():  # a write transaction locks the whole database
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout TO {milliseconds}")
        try:
            yield
        except OperationalError as error:
            if lock_was_not_available(error):
                raise RowIsLocked(*error.args) from error
            raise
        cursor.execute("SET LOCAL lock_timeout TO DEFAULT")


def check_deferred_constraints() -> None:
    """Check the constraints now that the commit would check; not on SQLite, which would read whole tables for it.

    Raises:
        IntegrityError: one is violated.
    """
    if skips_locked():
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def read_times_fast(cursor: Any) -> None:
    """Make a Django cursor on PostgreSQL read times with psycopg's loader in C: the values are equal, and in UTC too.

    Django's own loader is written in Python and takes longer than the rest of a row. Must not be called on SQLite.
    """
    cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
