"""Pages of events, newest first, that stay as they are while new events come."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from django.utils.translation import gettext as _
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from actors.models import Activity

SIZE = 20
LARGEST = 100


def require_page_size(request: Request) -> None:
    """Demand that `page_size`, where it is asked for, is a positive whole number: DRF would take any other for none.

    Raises:
        ValidationError: it is none.
    """
    if not re.fullmatch(r"0{0,20}[1-9][0-9]{0,17}", request.query_params.get("page_size", "1")):
        raise ValidationError({"page_size": [_("Enter a whole number from 1 to 100.")]})


class ActivityPagination(CursorPagination):
    """Pages of the log; `page_size` asks for up to 100."""

    page_size = SIZE
    page_size_query_param = "page_size"
    max_page_size = LARGEST
    ordering = "-id"

    def get_page_size(self, request: Request) -> int:
        """Return how many events a page has.

        Raises:
            ValidationError: for anything but a positive whole number.
        """
        require_page_size(request)
        return super().get_page_size(request) or SIZE

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Return where the page begins.

        Raises:
            NotFound: the cursor is none of ours: DRF would skip what is no base64, and ask the database for any text.
        """
        cursor = super().decode_cursor(request)
        if cursor is not None and not re.fullmatch(r"[0-9]{1,18}", str(cursor.position)):
            raise NotFound(self.invalid_cursor_message)
        return cursor


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
        page, more = found[:size], len(found) > size
        page = page[::-1] if upwards else page
        self._address = request.build_absolute_uri()
        self._next = page[-1].version if page and (more or upwards) else None
        self._previous = page[0].version if page and (more if upwards else match is not None) else None
        return page

    def get_next_link(self) -> str | None:
        return self._link("lt", self._next)

    def get_previous_link(self) -> str | None:
        return self._link("gt", self._previous)

    def _link(self, side: str, version: int | None) -> str | None:
        if version is None:
            return None
        return replace_query_param(self._address, self.cursor_query_param, f"{side}-{version}")

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self.get_next_link(), "previous": self.get_previous_link(), "results": data})
