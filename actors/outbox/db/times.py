"""Times as psycopg reads them, in C. Django's loader is written in Python, and takes longer than the rest of a row."""

from typing import Any

from psycopg.types.datetime import TimestamptzLoader


def read_times_fast(cursor: Any) -> None:
    """Have a cursor of Django's on PostgreSQL read times as psycopg does: equal ones, in UTC too."""
    cursor.cursor.adapters.register_loader("timestamptz", TimestamptzLoader)
