"""The order in which rows become visible, which is not that of their ids.

PostgreSQL assigns ids before the commit: row 10 may become visible before row 9, and a reader that continues after 10
never sees 9. Rows that record their transaction's number can be read in the order (transaction, id), up to the oldest
transaction still open (`pg_snapshot_xmin`), which might still add earlier rows. SQLite has one writer at a time;
its ids are in commit order.
"""

from typing import Any

from django.db import models
from django.db.models import F, Func, Q
from django.utils.deconstruct import deconstructible


@deconstructible
class CurrentTransaction(Func):
    """The number of the transaction that writes the row; 0 on SQLite."""

    allowed_default = True
    output_field = models.BigIntegerField()
    template = "0"
    arity = 0

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="pg_current_xact_id()::text::bigint", **context)


class OldestOpenTransaction(Func):
    """The number of the oldest transaction that may still write. Rows with a smaller one are complete."""

    output_field = models.BigIntegerField()
    template = "1"
    arity = 0

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        return self.as_sql(compiler, connection, template=template, **context)


def is_complete() -> Q:
    """Match the rows before which no row can appear any more."""
    return Q(transaction__lt=OldestOpenTransaction())


def comes_after(transaction: int, row_id: int) -> Q:
    """Match the rows after a given row, in commit order."""
    return Q(transaction__gt=transaction) | Q(transaction=transaction, pk__gt=row_id)


IN_COMMIT_ORDER = (F("transaction").asc(), F("pk").asc())
