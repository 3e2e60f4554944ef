"""In which order rows become visible, which is not that of their ids.

PostgreSQL gives ids before the commit: row 10 may become visible before row 9, and whoever reads "what comes after 10"
never sees 9. Rows that note their transaction can be read by (transaction, id), as far as no transaction that is still
open could add to what lies before: that is what `pg_snapshot_xmin` says. SQLite has one writer; there ids are in order.
"""

from typing import Any

from django.db import models
from django.db.models import F, Func, Q
from django.utils.deconstruct import deconstructible


@deconstructible
class CurrentTransaction(Func):
    """The number of the transaction that writes a row; 0 on SQLite."""

    allowed_default = True
    output_field = models.BigIntegerField()
    template = "0"
    arity = 0

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="pg_current_xact_id()::text::bigint", **context)


class OldestOpenTransaction(Func):
    """The number of the oldest transaction that may still write; what has a smaller one is complete."""

    output_field = models.BigIntegerField()
    template = "1"
    arity = 0

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        return self.as_sql(compiler, connection, template=template, **context)


def is_complete() -> Q:
    """Match the rows before which nothing can appear any more."""
    return Q(transaction__lt=OldestOpenTransaction())


def comes_after(transaction: int, row_id: int) -> Q:
    """Match the rows after one, in commit order."""
    return Q(transaction__gt=transaction) | Q(transaction=transaction, pk__gt=row_id)


IN_COMMIT_ORDER = (F("transaction").asc(), F("pk").asc())
