"""Recognizes queries that only compare columns with values: `compiled` and `count_ledger` answer them faster."""

from typing import Any

from django.db.models.expressions import Col
from django.db.models.lookups import Exact
from django.db.models.sql import Query


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
