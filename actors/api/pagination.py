"""Pages of events, newest first, that stay as they are while new events come."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from actors.models import Activity
from actors.rest.keyset import KeysetPagination, cut

SIZE = 20


class ActivityPagination(KeysetPagination):
    """Pages of the log, in the order of its rows; in that of the events where some time is asked for."""

    page_size = SIZE

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        has_bounds = any(request.query_params.get(name) for name in ("since", "until"))
        # The rows of some time lie together in an index by time only.
        order = ("-occurred_at", "-id") if has_bounds else ("-id",)
        return super().paginate_queryset(queryset.order_by(*order), request, view)


class HistoryPagination(ActivityPagination):
    """Pages of one task's events, by version: of the log and of what is on its way there."""

    def paginate(
        self, request: Request, read: Callable[[dict[str, int], bool, int], Sequence[Activity]]
    ) -> Sequence[Activity]:
        """Return a page.

        Args:
            request: with the cursor: `lt-12` is the page of versions before 12, `gt-12` that of the next ones after.
            read: given a condition on the version, whether to go upwards, and a number, returns so many events.
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
