"""Counts tasks on PostgreSQL at a cost that does not grow with their number, from a ledger that triggers keep.

Guarantee: a count equals `COUNT(*)` in the same transaction, however the tasks were changed or restored: triggers
write to the ledger in the transaction of the change (`migrations/0005_ledger_of_counts.py`). The ledger knows owners
and whether a task is completed; for any other condition, and on SQLite, rows are counted.
"""

from typing import Any

from django.core.exceptions import EmptyResultSet, FullResultSet
from django.core.paginator import Paginator
from django.db import connection, connections, transaction
from django.db.models import QuerySet
from django.db.models.expressions import Col
from django.db.models.lookups import Exact
from django.db.models.sql import Query
from django.utils.functional import cached_property

from tasks.models import Task

COUNTED = ("completed", "owner_id")
# In `tasks_count` a row without an owner is the sum of all owners; a row of `tasks_count_change` has an owner, and
# counts for all owners as well. The ledger is named like the table of tasks, so a queryset's conditions fit it as they
# are.
COUNT = """
SELECT coalesce(sum(change), 0)::bigint FROM (
    SELECT completed, owner_id, change FROM tasks_count {of_all}
    UNION ALL SELECT completed, owner_id, change FROM tasks_count_change
) AS tasks_task WHERE {conditions}
"""

COUNTED_AGAIN = """
SELECT owner_id::bigint, completed, count(*)::bigint AS n FROM tasks_task
GROUP BY GROUPING SETS ((owner_id, completed), (completed))
"""
# Every group of the ledger and of the tasks, both by one statement, and so of one state.
WRONG = f"""
WITH kept AS (
    SELECT owner_id, completed, sum(change)::bigint AS n FROM (
        SELECT owner_id, completed, change FROM tasks_count
        UNION ALL SELECT owner_id, completed, change FROM tasks_count_change
        UNION ALL SELECT NULL, completed, change FROM tasks_count_change
    ) AS ledger GROUP BY 1, 2 HAVING sum(change) <> 0
), there AS ({COUNTED_AGAIN})
(TABLE kept EXCEPT TABLE there) UNION ALL (TABLE there EXCEPT TABLE kept)
"""  # noqa: S608 – a constant
RECOUNT = (
    "LOCK TABLE tasks_task IN SHARE ROW EXCLUSIVE MODE",  # one recount at a time, too
    "SELECT set_config('vazifa.sums_up_tasks', 'on', true)",  # or a trigger would leave the rows out
    "DELETE FROM tasks_count_change",
    "DELETE FROM tasks_count",
    f"INSERT INTO tasks_count {COUNTED_AGAIN}",
    "SELECT set_config('vazifa.sums_up_tasks', '', true)",
)


class CountingPaginator(Paginator[Task]):
    """Pages of tasks, counted by the ledger."""

    @cached_property
    def count(self) -> int:
        assert isinstance(self.object_list, QuerySet)
        return count(self.object_list)


def count(tasks: QuerySet[Task, Any]) -> int:
    """Return how many tasks a queryset has, from the ledger where that is possible."""
    if connections[tasks.db].vendor != "postgresql" or not is_in_ledger(tasks):
        return tasks.count()
    try:
        conditions, parameters = tasks.query.get_compiler(tasks.db).compile(tasks.query.where)
    except EmptyResultSet:  # a number beyond what the column can hold
        return 0
    except FullResultSet:
        conditions, parameters = "true", ()
    of_all = "" if "owner_id" in conditions else "WHERE owner_id IS NULL"
    with connections[tasks.db].cursor() as cursor:
        cursor.execute(COUNT.format(of_all=of_all, conditions=conditions), parameters)
        counted: int = cursor.fetchone()[0]
        return counted


def is_right() -> bool:
    """Return whether the ledger agrees with the tasks, all of which are counted. On SQLite there is no ledger."""
    if connection.vendor != "postgresql":
        return True
    with connection.cursor() as cursor:
        cursor.execute(WRONG)
        return cursor.fetchone() is None


def recount() -> None:
    """Write the ledger anew; changes of tasks wait meanwhile. Needed if tasks were loaded with triggers off."""
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in RECOUNT:
            cursor.execute(statement)


def is_in_ledger(tasks: QuerySet[Task, Any]) -> bool:
    """Return whether the ledger can count a queryset: it knows all of its conditions. It cannot count a search."""
    conditions = equalities_of(tasks.query)
    return conditions is not None and all(map(_compares_what_is_counted, conditions))


def equalities_of(query: Query) -> list[Exact] | None:
    """Return a query's conditions, if they are equalities of columns joined by AND; None if it has anything else.

    The right side of an equality may be a value or a subquery.
    """
    where = query.where
    is_narrowed = query.is_sliced or query.distinct or query.combinator or query.extra or query.extra_tables
    is_derived = query.annotations or query.group_by is not None
    if is_narrowed or is_derived or where.negated or where.connector != "AND":
        return None
    children: list[Any] = where.children
    found = [each for each in children if isinstance(each, Exact) and isinstance(each.lhs, Col)]
    return found if len(found) == len(children) else None


def _compares_what_is_counted(lookup: Exact) -> bool:
    # The right side is a value or a subquery.
    is_ours = lookup.lhs.alias == Task._meta.db_table and lookup.lhs.target.column in COUNTED
    return is_ours and isinstance(lookup.rhs, bool | int | Query)
