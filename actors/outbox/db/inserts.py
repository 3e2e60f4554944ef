"""Inserts rows at less cost than Django: those that actors return by COPY, and a single one by a kept statement.

Guarantee: the rows are those that Django makes, with the defaults of model and database, and so are the errors. On
SQLite, and for values and models that need more, Django's own methods insert.
"""

import copy
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby
from operator import attrgetter
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connection, connections, models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import DatabaseDefault

from actors.outbox.db.postgres import skips_locked

Values = dict[str, Any]


def insert_rows(rows: Iterable[models.Model]) -> None:
    """Insert rows of any models, in the caller's transaction: all or none."""
    label_of = attrgetter("_meta.label")
    for _label, of_one_model in groupby(sorted(rows, key=label_of), key=label_of):
        its_rows = list(of_one_model)
        if not _copy(its_rows):
            # Copies: after a rollback the originals would have ids that are not in the database.
            type(its_rows[0])._default_manager.bulk_create([copy.copy(row) for row in its_rows])


def insert_returning(row: models.Model, names: Sequence[str], *, using: str) -> tuple[Any, ...] | None:
    """Insert one row on PostgreSQL.

    Args:
        row: an unsaved instance.
        names: columns whose values are returned.
        using: the alias of the database.

    Returns:
        The values that the database has stored in these columns; None, with nothing inserted, on SQLite and if a value
        is an expression.

    Raises:
        DatabaseError: as with `save()`.
    """
    own = connections[using]
    if own.vendor != "postgresql":
        return None
    values = _values(row, own)
    if _has_expression(values):
        return None
    with own.cursor() as cursor:
        cursor.execute(_insert_statement(row._meta.db_table, tuple(values), tuple(names)), tuple(values.values()))
        returned: tuple[Any, ...] = cursor.fetchone()
    return returned


@cache
def _insert_statement(table: str, columns: Sequence[str], returned: Sequence[str]) -> str:
    quote = connection.ops.quote_name
    named, wanted = (", ".join(map(quote, names)) for names in (columns, returned))
    placeholders = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {quote(table)} ({named}) VALUES ({placeholders}) RETURNING {wanted}"  # noqa: S608 – quoted


def _copy(rows: Sequence[models.Model]) -> bool:
    """Insert rows of one model by COPY; return False, with nothing inserted, if COPY cannot express them."""
    model = type(rows[0])
    if not skips_locked() or not _is_plain(model) or router.db_for_write(model) != connection.alias:
        return False
    # The connection itself: its proxy looks it up for each attribute.
    own = connections[DEFAULT_DB_ALIAS]
    written = [_values(row, own) for row in rows]
    if any(map(_has_expression, written)):
        return False
    # A column that the database fills is left out: each group has rows with the same columns.
    for columns, alike in groupby(sorted(written, key=tuple), key=tuple):
        _copy_in(model._meta.db_table, columns, alike)
    return True


@cache
def _is_plain(model: type[models.Model]) -> bool:
    return not model._meta.parents and not any(field.is_relation or field.generated for field in model._meta.fields)


def _values(row: models.Model, own: BaseDatabaseWrapper) -> Values:
    """Return the value to write to each column; columns that the database fills are left out."""
    values: Values = {}
    for field in row._meta.local_concrete_fields:
        value = field.pre_save(row, add=True)
        if not isinstance(value, DatabaseDefault) and not (value is None and field.primary_key):
            values[str(field.column)] = field.get_db_prep_save(value, own)
    return values


def _has_expression(values: Values) -> bool:
    return any(hasattr(value, "resolve_expression") for value in values.values())


def _copy_in(table: str, columns: Sequence[str], rows: Iterable[Values]) -> None:
    quote = connection.ops.quote_name
    statement = f"COPY {quote(table)} ({', '.join(map(quote, columns))}) FROM STDIN"
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.cursor.copy(statement) as copying:
        for values in rows:
            copying.write_row(tuple(values.values()))
