"""Tells the lists that only compare columns with values, which can be answered in a shorter way, from all others."""

from typing import Any

from django.db.models.expressions import Col
from django.db.models.lookups import Exact
from django.db.models.sql import Query


def equalities_of(query: Query) -> list[Exact] | None:
    """Return the conditions of a query, all of which have to hold, each on a column; None if it asks for anything else.

    What a column is compared with may be a value, or a query of its own.
    """
    where = query.where
    is_narrowed = query.is_sliced or query.distinct or query.combinator or query.extra or query.extra_tables
    is_derived = query.annotations or query.group_by is not None
    if is_narrowed or is_derived or where.negated or where.connector != "AND":
        return None
    children: list[Any] = where.children
    found = [each for each in children if isinstance(each, Exact) and isinstance(each.lhs, Col)]
    return found if len(found) == len(children) else None
