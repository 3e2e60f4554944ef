"""How many entries of an index PostgreSQL reads, those of deleted rows too."""

from collections.abc import Callable

from django.db import connection, transaction


def entries_read(index: str, do: Callable[[], object]) -> int:
    """Return how many entries of an index are read while something is done in this session."""
    counts = []
    with transaction.atomic(), connection.cursor() as cursor:
        for each in (lambda: None, do):
            each()
            cursor.execute("SELECT pg_stat_get_xact_tuples_returned(%s::regclass)", [index])
            counts.append(int(cursor.fetchone()[0]))
    return counts[1] - counts[0]
