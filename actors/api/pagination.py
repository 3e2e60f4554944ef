"""Keyset pagination of events, newest first. Pages do not shift while new events are logged."""

from typing import Any

from rest_framework.request import Request

from actors.rest.keyset import KeysetPagination


class ActivityPagination(KeysetPagination):
    """Pages of the log in the order of its rows, or in the order of `occurred_at` if the list is filtered by time."""

    page_size = 20

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        has_bounds = any(request.query_params.get(name) for name in ("since", "until"))
        # The rows of an interval are next to each other only in an index by time.
        order = ("-occurred_at", "-id") if has_bounds else ("-id",)
        return super().paginate_queryset(queryset.order_by(*order), request, view)
