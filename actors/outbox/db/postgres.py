"""Features of PostgreSQL that SQLite lacks: row locks, prepared statements, fast reading of times, asynchronous commit.

Each function says what it does on SQLite, so that callers need not ask which database it is.
"""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.postgresql.base import ServerBindingCursor
from psycopg.types.datetime import TimestamptzLoader


def skips_locked() -> bool:
    """Say whether the database has row locks and can pass over locked rows."""
    return connection.vendor == "postgresql"


def prepared_cursor(using: str = DEFAULT_DB_ALIAS) -> Any:
    """Return a cursor whose statements PostgreSQL parses and plans once a connection; close it with `with`.

    Django writes parameters into a statement's text, so that no two texts are alike to the server. Sent separately,
    they let PostgreSQL do the INSERTs of a task and of its message in three quarters of the time. On SQLite, and while
    Django logs queries (it cannot log the text of a prepared one), this is an ordinary cursor.

    Args:
        using: the alias of the database.
    """
    # The connection itself: its proxy would look it up for each attribute.
    own: Any = connections[using]
    if own.vendor != "postgresql" or own.queries_logged:
        return own.cursor()
    own.ensure_connection()
    with own.wrap_database_errors:
        cursor = ServerBindingCursor(own.connection)  # type: ignore[call-arg]
    return own._prepare_cursor(cursor)


def read_times_fast(cursor: Any) -> None:
    """Make a Django cursor on PostgreSQL read times with psycopg's loader in C: the values are equal, and in UTC too.

    Django's own loader is written in Python and takes longer than the rest of a row. Must not be called on SQLite.
    """
    cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)


def disable_synchronous_commit() -> None:
    """Make commits of this thread's connection not wait for PostgreSQL's disk; does nothing on SQLite.

    For a relay: claims and published marks that a crash of PostgreSQL loses are written again, and a message that
    RabbitMQ then has twice is settled once. The rows that the relay reads were committed by others, who did wait.
    """
    connection.ensure_connection()
    session = connection.connection
    if connection.vendor == "postgresql" and not getattr(session, "is_synchronous_commit_disabled", False):
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit TO off")
        session.is_synchronous_commit_disabled = True
