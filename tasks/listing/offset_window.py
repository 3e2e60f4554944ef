"""Reads a slice of an ordered list by its offset, passing over as few rows as possible.

A database finds the 500,000th row by passing over 499,999. These queries start from the nearer end, and pass over
entries of an index alone: whole rows are read only for the slice.
"""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from actors.rest.keyset import reverse, split
from tasks.listing.compiled import read
from tasks.listing.count_ledger import count, is_in_ledger
from tasks.models import Task

NEAR = 100
"""Up to this offset, whole rows are passed over."""
FEW = 1000
"""Up to so many matches of a search are found first, and ordered then."""


def window(tasks: QuerySet[Task], start: int, stop: int, *, total: int) -> Sequence[dict[str, Any]]:
    """Return a slice of a list of tasks.

    Args:
        tasks: a queryset in a total order.
        start: the first task's place in it, from 0.
        stop: the place after the last task's.
        total: how many tasks the queryset has.
    """
    if start >= stop:
        return []
    first, *others = split(tasks)
    if not others:
        return _stretch(_found_first(tasks, total), start, stop, total)
    boundary = count(first)
    found: list[Any] = []
    if start < boundary:
        found += _stretch(first, start, min(stop, boundary), boundary)
    if stop > boundary:
        found += _stretch(others[0], max(start - boundary, 0), stop - boundary, total - boundary)
    return found


def _stretch(tasks: QuerySet[Task], start: int, stop: int, total: int) -> Sequence[dict[str, Any]]:
    if total - stop < start - NEAR:
        return _stretch(reverse(tasks), max(total - stop, 0), total - start, total)[::-1]
    if start <= NEAR:
        return read(tasks, start, stop)
    return read(tasks.filter(pk__in=tasks.values("pk")[start:stop]), 0, stop - start)


def _found_first(tasks: QuerySet[Task], total: int) -> QuerySet[Task]:
    """Have PostgreSQL find a search's few matches before it orders them.

    A planner that estimates a rare word to be common reads all tasks in their order until it meets the first match.
    """
    if total > FEW or is_in_ledger(tasks):
        return tasks
    return tasks.filter(pk__in=tasks.order_by().values("pk")[: 2 * FEW])  # LIMIT keeps the planner from merging the two
