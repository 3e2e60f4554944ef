"""What PostgreSQL has and SQLite has not: row locks, prepared statements, fast reading of times, asynchronous commits.

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

    Django writes parameters into the text of a statement, so that no two are alike to the server. With the parameters
    beside the text, the INSERTs of a task and of its message take PostgreSQL three quarters of the time. On SQLite, and
    while Django logs queries (its log does not know the text of a prepared one), it is an ordinary cursor.
    """
    # The connection itself, not its proxy, which looks it up for each of its attributes.
    own: Any = connections[using]
    if own.vendor != "postgresql" or own.queries_logged:
        return own.cursor()
    own.ensure_connection()
    with own.wrap_database_errors:
        cursor = ServerBindingCursor(own.connection)  # type: ignore[call-arg]
    return own._prepare_cursor(cursor)


def read_times_fast(cursor: Any) -> None:
    """Have a Django cursor on PostgreSQL read times with psycopg's loader in C: equal values, in UTC too.

    Django's own loader is written in Python and takes longer than the rest of a row. Not to be called on SQLite.
    """
    cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)


def disable_synchronous_commit() -> None:
    """Have commits of this thread's connection not wait for PostgreSQL's disk; SQLite is left as it is.

    For a relay: leases and stamps that a crash of PostgreSQL takes are written again, and a message that RabbitMQ then
    has twice is settled once. What the relay reads was committed by others, whose commits have waited.
    """
    connection.ensure_connection()
    session = connection.connection
    if connection.vendor == "postgresql" and not getattr(session, "is_synchronous_commit_disabled", False):
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit TO off")
        session.is_synchronous_commit_disabled = True
