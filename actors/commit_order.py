"""The order in which rows become visible, which is not that of their ids.

PostgreSQL assigns ids before the commit: row 10 may become visible before row 9, and a reader that continues after 10
never sees 9. Rows that record their transaction's number can be read in the order (transaction, id), up to the oldest
transaction still open (`pg_snapshot_xmin`), which might still add earlier rows. SQLite has one writer at a time;
its ids are in commit order.

Guarantee: rows of a log that was moved to another cluster, whose transactions count from a lower number, sort before
all that are written there. An offset is added to the cluster's numbers, kept by the database itself
(`migrations/0005_offset_of_a_moved_log.py`, decision 0020).
"""

from typing import Any

from django.db import connection, models
from django.db.models import Func, Q
from django.utils.deconstruct import deconstructible

OFFSET = "vazifa.activity_offset"
"""A setting that a trigger makes for each statement, for the default of `transaction`."""

# Of a log that has always had its offset there are none: transactions are no hour old when they get their number.
OUT_OF_ORDER = """
SELECT count(*) FROM (
    SELECT logged_at, max(logged_at) OVER (ORDER BY transaction, id) AS latest FROM actors_activity
) AS logged WHERE logged_at < latest - interval '1 hour'
"""


@deconstructible
class TransactionNumber(Func):
    """The number of the transaction that writes the row, with the cluster's offset; 0 on SQLite."""

    allowed_default = True
    output_field = models.BigIntegerField()
    template = "0"
    arity = 0

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = f"pg_current_xact_id()::text::bigint + current_setting('{OFFSET}')::bigint"
        return self.as_sql(compiler, connection, template=template, **context)


class OldestOpenTransaction(Func):
    """The number of the oldest transaction that may still write. Rows with a smaller one are complete."""

    output_field = models.BigIntegerField()
    template = (
        "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        " + (SELECT coalesce(max(value), 0) FROM actors_activity_offset)"
    )
    arity = 0


def is_complete() -> Q:
    """Match the rows before which no row can appear any more."""
    return Q(transaction__lt=OldestOpenTransaction()) if _numbers_transactions() else Q()


def comes_after(transaction: int, row_id: int) -> Q:
    """Match the rows after a given row, in commit order."""
    if not _numbers_transactions():
        return Q(pk__gt=row_id)
    return Q(transaction__gt=transaction) | Q(transaction=transaction, pk__gt=row_id)


def in_commit_order() -> tuple[str, ...]:
    """Return the fields to sort by."""
    return ("transaction", "pk") if _numbers_transactions() else ("pk",)


def sort_key(transaction: int) -> int:
    """Return what a row is sorted by before its id: on SQLite 0, also if the row was loaded from PostgreSQL."""
    return transaction if _numbers_transactions() else 0


def renew_offset() -> None:
    """Raise the offset if the log was moved to this cluster, before its end is looked for."""
    if _numbers_transactions():
        with connection.cursor() as cursor:
            cursor.execute("SELECT actors_activity_offset()")


def count_out_of_order() -> int:
    """Return how many events sort after one that was logged an hour later."""
    if not _numbers_transactions():
        return 0
    with connection.cursor() as cursor:
        cursor.execute(OUT_OF_ORDER)
        count: int = cursor.fetchone()[0]
        return count


def _numbers_transactions() -> bool:
    return connection.vendor == "postgresql"
