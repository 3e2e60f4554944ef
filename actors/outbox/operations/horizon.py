"""Finds what has held PostgreSQL's horizon for minutes: an old transaction, such as a backup, or a standby's query.

Until it ends, PostgreSQL cannot remove rows that were deleted since, nor their index entries, and the outbox's tables
grow with every message. Reads only; on SQLite there is nothing to find.
"""

import logging
from typing import NamedTuple

from django.db import connection

from actors.outbox.db.postgres import skips_locked

logger = logging.getLogger(__name__)

MIN_HELD_SECONDS = 120
# Where the time is not shown: of a session of another role, without `pg_read_all_stats`, and of a replication slot.
MIN_TRANSACTIONS = 10_000
# Vacuum and the workers of a parallel query hold nothing of their own; what another database's sessions see does not
# matter here, but for a standby's, which has all databases.
HOLDERS = """
SELECT name, seconds::float8, transactions FROM (
    SELECT format('session pid=%%s application_name=%%L user=%%L', pid, application_name, usename) AS name,
           extract(epoch FROM now() - xact_start) AS seconds,
           greatest(age(backend_xid), age(backend_xmin)) AS transactions
    FROM pg_stat_activity
    WHERE (datname = current_database() OR datname IS NULL) AND pid <> pg_backend_pid()
          AND coalesce(backend_type, '') NOT IN ('autovacuum worker', 'parallel worker')
          AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
    UNION ALL
    SELECT format('prepared transaction gid=%%L user=%%L', gid, owner), extract(epoch FROM now() - prepared),
           age(transaction)
    FROM pg_prepared_xacts WHERE database = current_database()
    UNION ALL
    SELECT format('replication slot name=%%L', slot_name), NULL, age(xmin) FROM pg_replication_slots
) AS holder
WHERE transactions IS NOT NULL AND coalesce(seconds >= %s, transactions >= %s)
ORDER BY transactions DESC
"""


class Holder(NamedTuple):
    """Something that holds the horizon."""

    name: str
    """Such as `session pid=4711 application_name='pg_dump' user='backup'`."""

    seconds: float | None
    """For how long, in seconds; None if PostgreSQL does not show it."""

    transactions: int
    """How many transactions that write have begun since."""


def holders() -> list[Holder]:
    """Return what has held the horizon for `MIN_HELD_SECONDS`, the oldest first."""
    if not skips_locked():
        return []
    with connection.cursor() as cursor:
        cursor.execute(HOLDERS, [MIN_HELD_SECONDS, MIN_TRANSACTIONS])
        return [Holder._make(row) for row in cursor.fetchall()]


class HorizonLog:
    """Logs what holds the horizon, once while it lasts, and that it has ended."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def update(self) -> None:
        """Look, and log what has changed since the last call."""
        found = {holder.name: holder for holder in holders()}
        for name in found.keys() - self._known:
            seconds, transactions = found[name][1:]
            logger.warning(
                "horizon: held by %s seconds=%s transactions=%d", name, seconds and int(seconds), transactions
            )
        for name in self._known - found.keys():
            logger.info("horizon: released by %s", name)
        self._known = set(found)
