"""Hand-written SQL for the statements that every message needs: insert, claim, mark as published, lock, delete.

Django's `create()` uses five times the CPU of the insert below, and the ORM needs two statements each to claim and to
mark as published. `broker`, `relay` and `worker` call these functions and document the guarantees. A new column of
`OutboxMessage` without a default in the database must be added here too.
"""

import json
import math
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from actors.outbox.context import Trail, log_fields
from actors.outbox.db.postgres import lock_timeout, skips_locked
from actors.outbox.models import OutboxMessage, State

LEASE_SECONDS = 30
CENTURY_SECONDS = 100 * 365 * 86_400.0


class UnsettledRow(NamedTuple):
    """The columns that an execution needs of a row that is neither settled nor dead."""

    id: int

    message_id: str

    queue: str

    body: bytes

    starts: int

    held_until: datetime | None

    state: str

    attempt: int

    request_id: str

    changed_by: str

    changed_by_id: int | None

    created_at: datetime

    claimed_at: datetime | None

    published_at: datetime | None


class Claim(NamedTuple):
    """What a relay has leased, and what comes next."""

    rows: list[OutboxMessage]
    """Ordered by id, with the columns that `CLAIMED` names."""

    overdue_seconds: float
    """For how long the first of them has been due; 0 if there is none."""

    due_in_seconds: float
    """When the next row falls due that was not due yet, from the statement on; infinite if none was seen."""


# While a message with the same key is waiting, a second one is not inserted: it would be redundant. A message with a
# delay is scheduled, to be published when it is due.
INSERT = """
INSERT INTO outbox_outboxmessage (message_id, queue, actor, body, state, attempt, starts, due_at, error, traceback,
                                  subject, sequence, dedupe_key, request_id, changed_by, changed_by_id)
VALUES (%(message_id)s, %(queue)s, %(actor)s, %(body)s,
        CASE WHEN %(delay_ms)s > 0 THEN 'scheduled' ELSE 'pending' END, 0, 0, {due_at}, '', '',
        %(subject)s, %(sequence)s, %(dedupe_key)s, %(request_id)s, %(changed_by)s, %(changed_by_id)s)
ON CONFLICT (dedupe_key) WHERE dedupe_key IS NOT NULL DO NOTHING
"""
# Locks the waiting message with the key: it must not begin before this transaction's changes are visible. Other senders
# with the same key do not wait for this lock.
KEEP_WAITING = "SELECT id FROM outbox_outboxmessage WHERE dedupe_key = %(dedupe_key)s FOR KEY SHARE"
# Locked rows are skipped. In a `WITH`, because PostgreSQL may evaluate a plain subquery more than once. The lower bound
# passes over index entries of rows long published, which PostgreSQL cannot remove while a transaction may see them. Its
# plans do not count them: by a join with `chosen`, or by the index of awaiting rows, it would read all of them.
CHOSEN = """chosen AS (
    SELECT id FROM outbox_outboxmessage
    WHERE state IN ('pending', 'scheduled') AND due_at BETWEEN {earliest} AND {now}
          AND (lease_until IS NULL OR lease_until < {now})
    ORDER BY due_at, id LIMIT %(limit)s {skipping_locked}
)"""
LEASE = """
UPDATE outbox_outboxmessage
SET state = 'pending', lease_token = %(token)s, lease_until = {lease_end}, claimed_at = {now}
WHERE {without_waiting} id {is_chosen}
RETURNING id, message_id, queue, actor, body, attempt, subject, request_id, {overdue_seconds}
"""
# In how many seconds a row falls due; on SQLite 0 or less if one is due already. Within bounds on both sides: the
# entries of published rows and of rows that were cancelled long before their time are not read.
NEXT_DUE = """
SELECT {due_in_seconds} FROM outbox_outboxmessage
WHERE state IN ('pending', 'scheduled') AND due_at > {looked_from} AND due_at <= {looked_to}
      AND (lease_until IS NULL OR lease_until < {now})
ORDER BY due_at, id LIMIT 1
"""
CLAIM = f"WITH {CHOSEN} {LEASE}"
# In one statement. Where nothing is claimed, its one row has nulls before the due time.
CLAIM_AND_NEXT_DUE = f"""
WITH {CHOSEN}, claimed AS ({LEASE})
SELECT claimed.*, next.due FROM (SELECT ({NEXT_DUE})) AS next (due) LEFT JOIN claimed ON true
"""  # noqa: S608 – constants
CLAIMED = ("id", "message_id", "queue", "actor", "body", "attempt", "subject", "request_id")
MARK_PUBLISHED = """
WITH chosen AS (
    SELECT id FROM outbox_outboxmessage
    WHERE id {in_list} AND lease_token = %s AND coalesce(state, '') = 'pending' {skipping_locked}
)
UPDATE outbox_outboxmessage
SET state = 'published', published_at = {now}, lease_token = NULL, lease_until = NULL
WHERE {without_waiting} id {is_chosen}
"""
# Ordered by id, so two groups cannot deadlock.
LOCK = "SELECT id, attempt FROM outbox_outboxmessage WHERE id {in_list} AND state <> 'dead' ORDER BY id {locking}"
DELETE = "DELETE FROM outbox_outboxmessage WHERE id {in_list}"
# To be embedded in other statements: the messages that their sender numbers by subject, in any state.
NUMBERED = "SELECT subject, sequence, state, actor FROM outbox_outboxmessage WHERE sequence IS NOT NULL"
POSTGRESQL = {
    "now": "statement_timestamp()",
    "earliest": "statement_timestamp() - %(back)s * interval '1 second'",
    "looked_from": "statement_timestamp()",
    "looked_to": "statement_timestamp() + %(ahead)s * interval '1 second'",
    "due_in_seconds": "extract(epoch FROM due_at - statement_timestamp())::float8",
    "overdue_seconds": "extract(epoch FROM statement_timestamp() - due_at)::float8",
    "due_at": "statement_timestamp() + %(delay_ms)s * interval '1 millisecond'",
    "lease_end": f"statement_timestamp() + interval '{LEASE_SECONDS} seconds'",
    "in_list": "= ANY(%s)",
    "is_chosen": "= ANY(ARRAY(SELECT id FROM chosen))",
    "locking": "FOR UPDATE",
    "skipping_locked": "FOR UPDATE SKIP LOCKED",
    # The commit of this transaction does not wait for the disk, and nothing is left in the session: a crash of
    # PostgreSQL may lose a claim or a mark, which are then written again.
    "without_waiting": "(SELECT set_config('synchronous_commit', 'off', true)) = 'off' AND",
}
# SQLite has no row locks to skip: a write locks the whole database. It compares times as text, so they need the six
# digits that Django stores: with SQLite's own three, a row that fell due in this millisecond would wait for a sweep.
SQLITE = {
    "now": "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now')",
    "earliest": "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', -%(back)s || ' seconds')",
    "looked_from": "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', -%(back)s || ' seconds')",
    "looked_to": "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', %(ahead)s || ' seconds')",
    "due_in_seconds": "(julianday(due_at) - julianday('now')) * 86400",
    "overdue_seconds": "(julianday('now') - julianday(due_at)) * 86400",
    "due_at": "strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', (%(delay_ms)s / 1000.0) || ' seconds')",
    "lease_end": f"strftime('%%Y-%%m-%%d %%H:%%M:%%f000', 'now', '+{LEASE_SECONDS} seconds')",
    "in_list": "IN (SELECT value FROM json_each(%s))",
    "is_chosen": "IN (SELECT id FROM chosen)",
    "locking": "",
    "skipping_locked": "",
    "without_waiting": "",
}


def insert(**values: Any) -> None:
    """Insert a message, unless another one with its `dedupe_key` is waiting.

    Args:
        values: the parameters of `INSERT`, by name.

    Raises:
        DatabaseError: a value does not fit; as with `create()`, the transaction can only be rolled back then.
    """
    with transaction.mark_for_rollback_on_error(using=connection.alias), connection.cursor() as cursor:
        cursor.execute(_in_dialect(INSERT), values)
        while not cursor.rowcount and not _keeps_waiting(cursor, values):
            # The waiting message with this key has begun since.
            cursor.execute(_in_dialect(INSERT), values)


def insert_many(rows: Sequence[dict[str, Any]]) -> None:
    """Insert messages that have no `dedupe_key`, in one round trip.

    Args:
        rows: for each message the parameters of `INSERT`, by name.

    Raises:
        DatabaseError: a value does not fit; as with `create()`, the transaction can only be rolled back then.
    """
    with transaction.mark_for_rollback_on_error(using=connection.alias), connection.cursor() as cursor:
        cursor.executemany(_in_dialect(INSERT), rows)


def claim(
    token: UUID, limit: int, *, max_overdue_seconds: float = CENTURY_SECONDS, ahead_seconds: float = 0.0
) -> Claim:
    """Lease up to `limit` rows that are due and that no relay has leased, and look for the next that falls due.

    Args:
        token: identifies the lease; it lasts `LEASE_SECONDS`.
        limit: how many rows at most.
        max_overdue_seconds: rows that have been due for longer are passed over.
        ahead_seconds: the next row is looked for among those that fall due within so many seconds.
    """
    values = {"back": max_overdue_seconds, "limit": limit, "token": token.hex, "ahead": ahead_seconds}
    with connection.cursor() as cursor:
        found, due = (_claim_on_postgresql if skips_locked() else _claim_on_sqlite)(cursor, values)
    found.sort()
    return Claim(
        rows=[OutboxMessage.from_db(connection.alias, CLAIMED, row[: len(CLAIMED)]) for row in found],
        overdue_seconds=max((row[len(CLAIMED)] for row in found), default=0.0),
        due_in_seconds=math.inf if due is None else due,
    )


def _claim_on_postgresql(cursor: Any, values: dict[str, Any]) -> tuple[list[Any], float | None]:
    cursor.execute(_in_dialect(CLAIM_AND_NEXT_DUE), values)
    found = cursor.fetchall()
    return [row for row in found if row[0] is not None], found[0][-1]


def _claim_on_sqlite(cursor: Any, values: dict[str, Any]) -> tuple[list[Any], float | None]:
    # An UPDATE takes the one write lock even if it matches no row, so look first.
    due = _next_due(cursor, values)
    if due is None or due > 0:
        return [], due
    cursor.execute(_in_dialect(CLAIM), values)
    return cursor.fetchall(), _next_due(cursor, {**values, "back": 0.0})


def _next_due(cursor: Any, values: dict[str, Any]) -> float | None:
    cursor.execute(_in_dialect(NEXT_DUE), values)
    found = cursor.fetchone()
    return found and float(found[0])


def mark_published(token: UUID, ids: Collection[int]) -> int:
    """Mark pending rows of a lease as published, except locked ones; return how many were marked."""
    with connection.cursor() as cursor:
        cursor.execute(_in_dialect(MARK_PUBLISHED), [_listed(ids), token.hex])
        return int(cursor.rowcount)


def fetch_unsettled(ids: Sequence[int]) -> dict[int, UnsettledRow]:
    """Return the rows that are neither settled nor dead, by id."""
    rows = OutboxMessage.objects.filter(pk__in=ids).exclude(state=State.DEAD).values_list(*UnsettledRow._fields)
    return {row[0]: UnsettledRow._make(row) for row in rows}


def lock(ids: Collection[int], *, timeout_ms: int) -> dict[int, int]:
    """Lock the rows that are neither settled nor dead, for the rest of the transaction.

    Args:
        ids: of the rows.
        timeout_ms: how long to wait for a lock, in milliseconds.

    Returns:
        The attempts of the locked rows, by id.

    Raises:
        RowIsLocked: another transaction kept one of them locked for longer.
    """
    with lock_timeout(timeout_ms), connection.cursor() as cursor:
        cursor.execute(_in_dialect(LOCK), [_listed(ids)])
        return dict(cursor.fetchall())


def delete(ids: Collection[int]) -> None:
    """Delete rows."""
    with connection.cursor() as cursor:
        cursor.execute(_in_dialect(DELETE), [_listed(ids)])


def trail_of(row: OutboxMessage | UnsettledRow) -> Trail:
    """Return the trail of a row, as far as it is known."""
    is_marked = row.state == State.PUBLISHED
    return Trail(
        sent_at=row.created_at,
        published_at=row.published_at if is_marked else row.claimed_at,
        attempts=row.attempt + 1,
    )


def log_fields_of(row: OutboxMessage, error: str) -> str:
    """Return the log fields of a row, with the error of its failure."""
    return log_fields(actor=row.actor, subject=row.subject, row=row.pk, attempt=row.attempt, error=error)


def _keeps_waiting(cursor: Any, values: dict[str, Any]) -> bool:
    """Keep the waiting message with this key from beginning before this transaction ends; return whether it exists."""
    if not skips_locked():
        return True  # SQLite has one writer at a time: this transaction
    cursor.execute(KEEP_WAITING, values)
    return cursor.fetchone() is not None


def _in_dialect(statement: str) -> str:
    return _in_dialect_of(statement, is_postgresql=skips_locked())


@cache
def _in_dialect_of(statement: str, *, is_postgresql: bool) -> str:
    return statement.format_map(POSTGRESQL if is_postgresql else SQLITE)


def _listed(ids: Iterable[int]) -> Any:
    return list(ids) if skips_locked() else json.dumps(list(ids))
