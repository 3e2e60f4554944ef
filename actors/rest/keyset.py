"""Keyset pagination: a page begins after a row, not after a number of rows, so deep pages cost no more. No counts.

Guarantee: a client that follows the links sees every unchanged row exactly once, while other rows are added and
deleted, because every order ends with the id and a cursor has all values that the order compares. A cursor belongs to
one order; with another one the answer is 404.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from django.db import models
from django.db.models import F, Q, QuerySet
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThan, TupleLessThan
from django.utils.translation import gettext as _
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from actors.rest import cursors
from actors.rest.cursors import Fields, InvalidCursor, Place

T = TypeVar("T")

Order = tuple[str, ...]

MAX_PAGE_SIZE = 100


def require_page_size(request: Request) -> None:
    """Require that `page_size`, if given, is a positive whole number: DRF would silently ignore any other value.

    Raises:
        ValidationError: it is not.
    """
    if not re.fullmatch(r"0{0,20}[1-9][0-9]{0,17}", request.query_params.get("page_size", "1")):
        raise ValidationError({"page_size": [_("Enter a whole number from 1 to 100.")]})


def order_of(rows: QuerySet[Any]) -> Order:
    """Return the names that a query set is ordered by; a field named twice counts where it is named first."""
    names: dict[str, str] = {}
    for field in rows.query.order_by:
        assert isinstance(field, str)
        names.setdefault(field.lstrip("-"), field)
    return tuple(names.values())


def split(rows: QuerySet[Any]) -> list[QuerySet[Any]]:
    """Split a query set into consecutive parts, each of which can be read from an index in order.

    The only part is the query set itself, unless its order begins with a boolean and the next field goes the other way:
    then there is one part for each value of the boolean.
    """
    order = order_of(rows)
    first = order[0].lstrip("-")
    if not isinstance(_field(rows, first), models.BooleanField) or len(_directions(order[:2])) < 2:
        return [rows]
    values = (True, False) if order[0].startswith("-") else (False, True)
    return [rows.filter(**{first: value}).order_by(*order[1:]) for value in values]


def beyond(rows: QuerySet[Any], values: Sequence[Any]) -> QuerySet[Any]:
    """Return the rows after the one that has these values, given in the order of `order_of(rows)`."""
    order = order_of(rows)
    if len(_directions(order)) > 1:
        bound = f"{order[0].lstrip('-')}__{'lte' if order[0].startswith('-') else 'gte'}"
        return rows.filter(Q(**{bound: values[0]}) & _is_after(order, values))
    lookup = TupleLessThan if order[0].startswith("-") else TupleGreaterThan
    return rows.filter(lookup(Tuple(*(F(name.lstrip("-")) for name in order)), tuple(values)))


def reverse(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return the query set in the opposite order."""
    return rows.order_by(*(name[1:] if name.startswith("-") else f"-{name}" for name in order_of(rows)))


class KeysetPagination(CursorPagination):
    """Pages of a query set in its own order, which must end with the id."""

    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE

    @staticmethod
    def read(rows: QuerySet[Any], start: int, stop: int, /) -> list[Any]:
        """Return a slice of a query set: instances, or, where a subclass says so, dictionaries of their fields."""
        return list(rows[start:stop])

    def get_page_size(self, request: Request) -> int:
        """Return how many rows a page has.

        Raises:
            ValidationError: `page_size` is no positive whole number.
        """
        require_page_size(request)
        size = super().get_page_size(request)
        assert size is not None
        return size

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        rows = queryset.order_by(*order_of(queryset))
        return self.paginate(request, {name: _field(rows, name) for name in order_of(rows)}, partial(self._read, rows))

    def paginate(self, request: Request, fields: Fields, find: Callable[[Place | None, int], Sequence[T]]) -> list[T]:
        """Return a page of rows that `find` finds.

        Args:
            request: its parameters may have a page size and a cursor.
            fields: the order.
            find: called with the place of the cursor, if any, and a limit; returns the rows from there on, in the
                opposite order if the place says so.

        Raises:
            NotFound: the cursor is invalid.
            ValidationError: the page size is invalid.
        """
        self.address = request.build_absolute_uri()
        size, place = self.get_page_size(request), self._place(request, fields)
        found = find(place, size + 1)  # one more than a page shows whether others follow
        page, has_more = list(found[:size]), len(found) > size
        precedes, follows = has_more, bool(page) and place is not None
        if place is not None and place.backwards:
            page.reverse()
            precedes, follows = follows, precedes
        self._next = cursors.write(fields, page[-1], backwards=False) if precedes else None
        self._previous = cursors.write(fields, page[0], backwards=True) if follows else None
        self.display_page_controls = bool(self._next or self._previous)
        return page

    def get_next_link(self) -> str | None:
        return self._link(self._next)

    def get_previous_link(self) -> str | None:
        return self._link(self._previous)

    def _link(self, cursor: str | None) -> str | None:
        return cursor and replace_query_param(self.address, self.cursor_query_param, cursor)

    def _read(self, rows: QuerySet[Any], place: Place | None, limit: int) -> list[Any]:
        if place and place.backwards:
            rows = reverse(rows)
        parts, found = split(rows), list[Any]()
        values = place.values if place else []
        if place and len(parts) > 1:
            is_in_first = place.values[0] is order_of(rows)[0].startswith("-")
            parts, values = parts if is_in_first else parts[1:], place.values[1:]
        for number, part in enumerate(parts):
            if len(found) < limit:
                found += self.read(beyond(part, values) if values and not number else part, 0, limit - len(found))
        return found

    def _place(self, request: Request, fields: Fields) -> Place | None:
        cursor = request.query_params.get(self.cursor_query_param)
        try:
            return None if cursor is None else cursors.read(cursor, fields)
        except InvalidCursor:
            raise NotFound(self.invalid_cursor_message) from None


def _directions(order: Order) -> set[bool]:
    return {name.startswith("-") for name in order}


def _is_after(order: Order, values: Sequence[Any]) -> Q:
    name, *rest = order
    condition = Q(**{f"{name.lstrip('-')}__{'lt' if name.startswith('-') else 'gt'}": values[0]})
    if rest:
        condition |= Q(**{name.lstrip("-"): values[0]}) & _is_after(tuple(rest), values[1:])
    return condition


def _field(rows: QuerySet[Any], name: str) -> models.Field[Any, Any]:
    field = rows.model._meta.get_field(name.lstrip("-"))
    assert isinstance(field, models.Field)
    return field
