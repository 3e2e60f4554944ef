"""Keyset pagination of events, newest first. Pages do not shift while new events are logged."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from actors.models import Activity
from actors.rest.keyset import KeysetPagination, cut

SIZE = 20


class ActivityPagination(KeysetPagination):
    """Pages of the log in the order of its rows, or in the order of `occurred_at` if the list is filtered by time."""

    page_size = SIZE

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        has_bounds = any(request.query_params.get(name) for name in ("since", "until"))
        # Only in an index by time are the rows of an interval next to each other.
        order = ("-occurred_at", "-id") if has_bounds else ("-id",)
        return super().paginate_queryset(queryset.order_by(*order), request, view)


class HistoryPagination(ActivityPagination):
    """Pages of one task's events by version, logged or not."""

    def paginate(
        self, request: Request, read: Callable[[dict[str, int], bool, int], Sequence[Activity]]
    ) -> Sequence[Activity]:
        """Return a page.

        Args:
            request: has the cursor: `lt-12` for the page of versions before 12, `gt-12` for the next ones after it.
            read: called with a lookup on the version, whether to go upwards, and a limit; returns the events.

        Raises:
            NotFound: the cursor is invalid.
            ValidationError: the page size is invalid.
        """
        size = self.get_page_size(request)
        cursor = request.query_params.get(self.cursor_query_param, "")
        match = re.fullmatch(r"(lt|gt)-([0-9]{1,18})", cursor) if cursor else None
        if cursor and match is None:
            raise NotFound(self.invalid_cursor_message)
        upwards = bool(match and match[1] == "gt")
        condition = {match[1]: int(match[2])} if match else {}
        found = read(condition, upwards, size + 1)
        page, precedes, follows = cut(found, size, backwards=upwards, begins_beside_another=match is not None)
        self.address = request.build_absolute_uri()
        self._next = f"lt-{page[-1].version}" if precedes else None
        self._previous = f"gt-{page[0].version}" if follows else None
        return page
