"""Reads tasks for answers: rows, not instances, by statements that the ORM has compiled once for each shape of a list.

Guarantee: what is read is what the queryset says. A shape is which columns it compares and how it orders; what it
compares with are a statement's parameters. A queryset of any other kind, a search for one, is compiled as usual.
"""

from datetime import datetime
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import QuerySet
from django.utils.timezone import get_current_timezone

from actors.outbox.db.postgres import read_times_fast
from actors.rest.cursors import MAX_ID
from tasks.listing.equality import equalities_of
from tasks.models import Task

COLUMNS = (
    *("id", "title", "description", "completed", "owner__username", "owner_id", "version"),
    *("created_at", "updated_at"),
)
NAMES = tuple("owner" if column == "owner__username" else column for column in COLUMNS)
TIMES = ("created_at", "updated_at")

Shape = tuple[Any, ...]

# Shapes come from the API's few filters and orders, not from clients: there are some dozens.
_statements: dict[Shape, str | None] = {}


def read(tasks: QuerySet[Task], start: int, stop: int) -> list[dict[str, Any]]:
    """Return some of the tasks, as `TaskSerializer` would.

    Args:
        tasks: in their order.
        start: the first one's place in it, from 0.
        stop: the place after the last one's.
    """
    zone = get_current_timezone()
    found = []
    for row in _rows(tasks, start, stop):
        task = dict(zip(NAMES, row, strict=True))
        for name in TIMES:
            task[name] = iso_8601(task[name].astimezone(zone))
        found.append(task)
    return found


def iso_8601(moment: datetime) -> str:
    """Return a time as DRF writes it: ISO 8601, UTC as Z."""
    text = moment.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text


def _rows(tasks: QuerySet[Task], start: int, stop: int) -> list[tuple[Any, ...]]:
    connection = connections[tasks.db]
    statement, values = _prepared(tasks) if connection.vendor == "postgresql" else (None, ())
    if statement is None:
        return list(tasks.values_list(*COLUMNS)[start:stop])
    with connection.cursor() as cursor:
        read_times_fast(cursor)
        cursor.execute(statement, (*values, stop - start, start))
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _prepared(tasks: QuerySet[Task]) -> tuple[str | None, tuple[Any, ...]]:
    """Return the statement of a queryset's shape and this one's parameters, without limit and offset."""
    described = _describe(tasks)
    if described is None:
        return None, ()
    shape, values = described
    if shape not in _statements:
        try:
            sql, parameters = tasks.values_list(*COLUMNS).query.get_compiler(tasks.db).as_sql()
        except EmptyResultSet:  # of this value, not of this shape
            return None, ()
        # Not what was taken for the parameters: this shape is compiled each time.
        _statements[shape] = f"{sql} LIMIT %s OFFSET %s" if tuple(parameters) == values else None
    return _statements[shape], values


def _describe(tasks: QuerySet[Task]) -> tuple[Shape, tuple[Any, ...]] | None:
    """Return a queryset's shape and what it compares with; None if it is more than columns that equal values."""
    query = tasks.query
    equalities = equalities_of(query)
    if equalities is None:
        return None
    compared: list[Any] = []
    values: list[Any] = []
    for each in equalities:
        if not isinstance(each.rhs, bool | int | str):
            return None
        # A truth is no parameter to PostgreSQL: it is part of the statement.
        truth = each.rhs if isinstance(each.rhs, bool) else None
        if isinstance(each.rhs, int) and abs(each.rhs) > MAX_ID:
            return None  # no id, which the ORM knows and no index does
        compared.append((each.lhs.alias, each.lhs.target.column, truth))
        if truth is None:
            values.append(each.rhs)
    order = (query.order_by, query.standard_ordering, query.default_ordering)
    return (tasks.db, *compared, *order), tuple(values)
