"""Inserts the rows that actors return: on PostgreSQL by COPY, at a fraction of what an INSERT costs client and server.

Guarantee: the rows are those that `bulk_create` makes, with the defaults of model and database, and so are the errors.
What COPY cannot express, and models for which Django does more, such as those with foreign keys, are left to
`bulk_create`.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections, models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import DatabaseDefault

from actors.outbox.db.postgres import skips_locked

Values = dict[str, Any]

# For exactly these fields: a subclass may convert its values.
PLAIN: dict[type, type] = {
    models.CharField: str,
    models.TextField: str,
    models.IntegerField: int,
    models.BigIntegerField: int,
    models.PositiveIntegerField: int,
    models.PositiveBigIntegerField: int,
}


def insert_rows(rows: Iterable[models.Model]) -> None:
    """Insert rows of any models, in the caller's transaction, which makes them all or none."""
    for _label, of_one_model in groupby(sorted(rows, key=_label_of), key=_label_of):
        its_rows = list(of_one_model)
        if not _copy(its_rows):
            # Copies: otherwise a rollback would leave ids in the originals that the database has not kept.
            type(its_rows[0])._default_manager.bulk_create([copy.copy(row) for row in its_rows])


def _label_of(row: models.Model) -> str:
    return row._meta.label


def _copy(rows: Sequence[models.Model]) -> bool:
    """Insert rows of one model by COPY; return False, with nothing inserted, if COPY cannot express them."""
    model = type(rows[0])
    if not skips_locked() or not _is_plain(model) or router.db_for_write(model) != connection.alias:
        return False
    # The connection itself: its proxy would look it up for each attribute.
    own = connections[DEFAULT_DB_ALIAS]
    written = [_values(row, own) for row in rows]
    if any(hasattr(value, "resolve_expression") for values in written for value in values.values()):
        return False
    # A column that the database fills is left out: each group has rows with the same columns.
    for columns, alike in groupby(sorted(written, key=_columns), key=_columns):
        _copy_in(model._meta.db_table, columns, alike)
    return True


@cache
def _is_plain(model: type[models.Model]) -> bool:
    return not model._meta.parents and not any(field.is_relation or field.generated for field in model._meta.fields)


@dataclass(frozen=True, slots=True)
class _Column:
    """How a column's value is read from a model instance."""

    field: models.Field[Any, Any]

    name: str

    attribute: str

    plain: type | None
    """A value of exactly this type goes to the database as it is."""

    is_read: bool
    """Whether the attribute is the value: the field has no `pre_save` of its own, such as one that sets the time."""


@cache
def _columns_of(model: type[models.Model]) -> list[_Column]:
    return [
        _Column(
            field=field,
            name=str(field.column),
            attribute=field.attname,
            plain=PLAIN.get(type(field)),
            is_read=type(field).pre_save is models.Field.pre_save,
        )
        for field in model._meta.local_concrete_fields
    ]


def _values(row: models.Model, own: BaseDatabaseWrapper) -> Values:
    values: Values = {}
    for column in _columns_of(type(row)):
        value = getattr(row, column.attribute) if column.is_read else column.field.pre_save(row, add=True)
        if column.plain is not None and type(value) is column.plain:
            values[column.name] = value
        elif not _is_left_to_the_database(value, column.field):
            values[column.name] = column.field.get_db_prep_save(value, own)
    return values


def _is_left_to_the_database(value: Any, field: models.Field[Any, Any]) -> bool:
    return isinstance(value, DatabaseDefault) or (value is None and field.primary_key)


def _columns(values: Values) -> tuple[str, ...]:
    return tuple(values)


def _copy_in(table: str, columns: Sequence[str], rows: Iterable[Values]) -> None:
    quote = connection.ops.quote_name
    statement = f"COPY {quote(table)} ({', '.join(map(quote, columns))}) FROM STDIN"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.cursor.copy(statement) as copying:
        for values in rows:
            copying.write_row(tuple(values.values()))
