"""All that this service uses of Django beyond its documented interface. Written against Django 5.2.

- `_for_write` has `QuerySet.db` name the database to write to, and `_result_cache` holds the rows that were read: a
  query set that overrides `update` sets both, as Django's does (`tasks.history.versioning`).
- `Collector.delete` deletes by `_raw_delete` what it need not read: a table that refuses deletions refuses those too
  (`actors.models`).
- `QuerySet._insert` inserts for `save()` and `bulk_create()`: `QuickInsertQuerySet` does so for one row, without
  compiling the statement each time.

`tests/unit/actors/test_django_internals.py` fails when one of these changes, and says what to look at.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from actors.outbox.db.inserts import insert_returning

M = TypeVar("M", bound=Model)


def use_database_to_write(rows: QuerySet[Any]) -> None:
    """Make `rows.db` the database to write to, where a router has replicas read from."""
    rows._for_write = True  # type: ignore[attr-defined]  # the stubs do not know it


def forget_results(rows: QuerySet[Any]) -> None:
    """Make a query set read its rows again when they are next used."""
    rows._result_cache = None


class RefusingQuerySet(QuerySet[M]):
    """For tables without deletions: Django deletes by `delete` alone, which a subclass makes refuse."""

    def _raw_delete(self, using: str | None) -> Any:
        return self.delete()


class QuickInsertQuerySet(QuerySet[M]):
    """Inserts a single row by a statement whose text is made once."""

    def _insert(self, objs: Sequence[M], **options: Any) -> list[tuple[Any, ...]]:
        returned = options.get("returning_fields")
        if len(objs) == 1 and returned and not options.get("raw"):
            columns = [field.column for field in returned]
            if row := insert_returning(objs[0], columns, using=options.get("using") or self.db):
                return [row]
        rows: list[tuple[Any, ...]] = super()._insert(objs, **options)  # type: ignore[misc]
        return rows
