"""Reads a stretch of a list by its place in the order, with as few rows passed over as can be.

A database finds the 500,000th row by passing over 499,999. So they are passed over from the nearer end, and in an
index alone: rows are read for what is shown.
"""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from actors.rest.keyset import Read, reverse, split
from tasks.listing.count_ledger import count, is_in_ledger
from tasks.models import Task

NEAR = 100
"""So many rows are passed over as they are."""
FEW = 1000
"""Among so many that match, PostgreSQL need not guess whether to look for matches in the order wanted."""


def window(tasks: QuerySet[Task], start: int, stop: int, *, total: int, read: Read) -> Sequence[Any]:
    """Return some of the tasks.

    Args:
        tasks: in an order that leaves nothing open.
        start: the place of the first, from 0.
        stop: the place after the last.
        total: how many there are.
        read: returns some of the tasks, as they are to be.
    """
    if start >= stop:
        return []
    first, *others = split(tasks)
    if not others:
        return _stretch(_found_first(tasks, total), start, stop, total, read)
    boundary = count(first)
    found: list[Any] = []
    if start < boundary:
        found += _stretch(first, start, min(stop, boundary), boundary, read)
    if stop > boundary:
        found += _stretch(others[0], max(start - boundary, 0), stop - boundary, total - boundary, read)
    return found


def _stretch(tasks: QuerySet[Task], start: int, stop: int, total: int, read: Read) -> Sequence[Any]:
    if total - stop < start - NEAR:
        return _stretch(reverse(tasks), max(total - stop, 0), total - start, total, read)[::-1]
    if start <= NEAR:
        return read(tasks, start, stop)
    return read(tasks.filter(pk__in=tasks.values("pk")[start:stop]), 0, stop - start)


def _found_first(tasks: QuerySet[Task], total: int) -> QuerySet[Task]:
    """Return few tasks that a search has left so that they are found before they are ordered.

    A planner that takes a rare word for a common one reads all tasks in their order to meet the first of them.
    """
    if total > FEW or is_in_ledger(tasks):
        return tasks
    return tasks.filter(pk__in=tasks.order_by().values("pk")[: 2 * FEW])  # the limit is what keeps them apart
