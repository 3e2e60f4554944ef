"""Reads tasks for responses: rows, not instances, by statements that the ORM compiles once for each shape of a list.

Guarantee: the rows are those of the queryset. A shape is which columns a queryset compares and how it orders; the
values that it compares with are the statement's parameters. Any other queryset, such as a search, is compiled as usual.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import BigIntegerField, QuerySet
from django.db.models.lookups import Exact
from django.utils.timezone import get_current_timezone

from actors.outbox.db.postgres import read_times_fast
from tasks.listing.count_ledger import equalities_of
from tasks.models import Task
from tasks.serializers import iso_8601

COLUMNS = (
    *("id", "title", "description", "completed", "owner__username", "owner_id", "version"),
    *("created_at", "updated_at"),
)
NAMES = tuple("owner" if column == "owner__username" else column for column in COLUMNS)
TIMES = ("created_at", "updated_at")

# Bounded: shapes come from the API's few filters and orders, some dozens, not from the values that clients send.
_statements: dict[tuple[Any, ...], str | None] = {}


def read(tasks: QuerySet[Task], start: int, stop: int) -> list[dict[str, Any]]:
    """Return a slice of a list of tasks, as `TaskSerializer` would represent them.

    Args:
        tasks: an ordered queryset.
        start: the first task's place in it, from 0.
        stop: the place after the last task's.
    """
    return _represent(_rows(tasks, start, stop))


def read_in_pieces(tasks: QuerySet[Task], size: int) -> Iterator[list[dict[str, Any]]]:
    """Read a whole list by one query, `size` tasks at a time, as `TaskSerializer` would represent them."""
    rows = tasks.values_list(*COLUMNS).iterator(chunk_size=size)
    while piece := _represent(islice(rows, size)):
        yield piece


def _represent(rows: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    zone = get_current_timezone()
    found = []
    for row in rows:
        task = dict(zip(NAMES, row, strict=True))
        for name in TIMES:
            task[name] = iso_8601(task[name].astimezone(zone))
        found.append(task)
    return found


def _rows(tasks: QuerySet[Task], start: int, stop: int) -> list[tuple[Any, ...]]:
    connection = connections[tasks.db]
    statement, values = _compiled(tasks) if connection.vendor == "postgresql" else (None, ())
    if statement is None:
        return list(tasks.values_list(*COLUMNS)[start:stop])
    with connection.cursor() as cursor:
        read_times_fast(cursor)
        cursor.execute(statement, (*values, stop - start, start))
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _compiled(tasks: QuerySet[Task]) -> tuple[str | None, tuple[Any, ...]]:
    """Return a queryset's statement, compiled once, and its parameters; None unless all conditions are equalities."""
    query = tasks.query
    conditions = equalities_of(query)
    if conditions is None or not all(map(_compares_a_value, conditions)):
        return None, ()
    # For PostgreSQL the ORM writes a boolean into the statement, not into its parameters.
    values = tuple(each.rhs for each in conditions if not isinstance(each.rhs, bool))
    compared = [
        (each.lhs.alias, each.lhs.target.column, each.rhs if isinstance(each.rhs, bool) else None)
        for each in conditions
    ]
    shape = (tasks.db, *compared, query.order_by, query.standard_ordering, query.default_ordering)
    if shape not in _statements:
        try:
            sql, parameters = tasks.values_list(*COLUMNS).query.get_compiler(tasks.db).as_sql()
        except EmptyResultSet:  # because of this value, not of the shape
            return None, ()
        # If the parameters are not just the compared values, this shape is compiled each time.
        _statements[shape] = f"{sql} LIMIT %s OFFSET %s" if tuple(parameters) == values else None
    return _statements[shape], values


def _compares_a_value(condition: Exact) -> bool:
    # For a number beyond any id, the ORM knows that no row matches; PostgreSQL would not use the index.
    value = condition.rhs
    return isinstance(value, str) or (isinstance(value, int) and abs(value) <= BigIntegerField.MAX_BIGINT)
