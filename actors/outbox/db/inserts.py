"""Inserts the rows that actors return: on PostgreSQL by COPY, at a fraction of what an INSERT costs both sides.

Guarantee: the same rows as `bulk_create` makes, with the defaults of model and database, and the same errors. What COPY
cannot express, and what Django does beside, for foreign keys for instance, is left to `bulk_create` itself.
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

from actors.outbox.db.postgres import prepared_cursor, skips_locked

Values = dict[str, Any]

# These very fields, and no subclass of them, which may have its own ideas.
PLAIN: dict[type, type] = {
    models.CharField: str,
    models.TextField: str,
    models.IntegerField: int,
    models.BigIntegerField: int,
    models.PositiveIntegerField: int,
    models.PositiveBigIntegerField: int,
}


def insert_rows(rows: Iterable[models.Model]) -> None:
    """Insert rows of any models, within a transaction of the caller's, which makes them all or none."""
    for _label, of_one_model in groupby(sorted(rows, key=_label_of), key=_label_of):
        its_rows = list(of_one_model)
        if not _copy(its_rows):
            # Copies: a transaction that rolls back would leave in the originals ids that the database has taken back.
            type(its_rows[0])._default_manager.bulk_create([copy.copy(row) for row in its_rows])


def insert_returning(row: models.Model, names: Sequence[str], *, using: str) -> tuple[Any, ...] | None:
    """Insert one row by a statement that PostgreSQL keeps, and return what it made of these columns.

    Returns None, and has done nothing, where a value is an expression, or the database is not PostgreSQL.

    Raises:
        DatabaseError: as with `save()`.
    """
    own = connections[using]
    if own.vendor != "postgresql":
        return None
    values = _values(row, own)
    if any(hasattr(value, "resolve_expression") for value in values.values()):
        return None
    statement = _insert_statement(row._meta.db_table, tuple(values), tuple(names))
    with prepared_cursor(using) as cursor:
        cursor.execute(statement, tuple(values.values()))
        returned: tuple[Any, ...] = cursor.fetchone()
    return returned


@cache
def _insert_statement(table: str, columns: Sequence[str], returned: Sequence[str]) -> str:
    quote = connection.ops.quote_name
    named, wanted = (", ".join(map(quote, names)) for names in (columns, returned))
    placeholders = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {quote(table)} ({named}) VALUES ({placeholders}) RETURNING {wanted}"  # noqa: S608 – quoted


def _label_of(row: models.Model) -> str:
    return row._meta.label


def _copy(rows: Sequence[models.Model]) -> bool:
    """Insert rows of one model by COPY; return False where that cannot be done."""
    model = type(rows[0])
    if not skips_locked() or not _is_plain(model) or router.db_for_write(model) != connection.alias:
        return False
    # The connection itself, not its proxy, which looks it up for each of its attributes.
    own = connections[DEFAULT_DB_ALIAS]
    written = [_values(row, own) for row in rows]
    if any(hasattr(value, "resolve_expression") for values in written for value in values.values()):
        return False
    # What is left to the database is left out: rows that leave out the same are written together.
    for columns, alike in groupby(sorted(written, key=_columns), key=_columns):
        _copy_in(model._meta.db_table, columns, alike)
    return True


@cache
def _is_plain(model: type[models.Model]) -> bool:
    return not model._meta.parents and not any(field.is_relation or field.generated for field in model._meta.fields)


@dataclass(frozen=True, slots=True)
class _Column:
    """How the value for a column is had from a row."""

    field: models.Field[Any, Any]

    name: str

    attribute: str

    plain: type | None
    """Of a value of this very type the field makes nothing else."""

    is_read: bool
    """Whether the field has no way of its own to give a value, such as the time of now."""


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
