"""Pages of tasks: numbered, or by cursor on request."""

from typing import Any

from django.core.paginator import Page
from django.db.models import QuerySet
from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination, PageNumberPagination
from rest_framework.request import Request

from actors.rest.keyset import MAX_PAGE_SIZE, KeysetPagination, require_page_size
from tasks.listing.compiled import read
from tasks.listing.count_ledger import CountingPaginator
from tasks.listing.offset_window import window

SIZE = 5
KIND = "pagination"


class NumberedPages(CountingPaginator):
    """Numbered pages, read by their offset in the list."""

    def page(self, number: int | str) -> Page[Any]:
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        stop = min(start + self.per_page, self.count)
        assert isinstance(self.object_list, QuerySet)
        return Page(window(self.object_list, start, stop, total=self.count), number, self)


class CursorPagination(KeysetPagination):
    """Keyset pages: nothing is counted, and a deep page costs no more than the first."""

    page_size = SIZE
    read = staticmethod(read)


class TaskPagination(PageNumberPagination):
    """Pages of 5 tasks; `page_size` asks for another number, up to 100.

    Pages are numbered and report the number of tasks; with `pagination=cursor` (`chosen_pagination`) they have cursors
    and no count. The schema describes both.
    """

    page_size = SIZE
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE
    django_paginator_class = NumberedPages

    def get_page_size(self, request: Request) -> int | None:
        """Return how many tasks a page has.

        Raises:
            ValidationError: `page_size` is no positive whole number; DRF would silently use 5.
        """
        require_page_size(request)
        return super().get_page_size(request)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        described = super().get_paginated_response_schema(schema)
        count = {**described["properties"]["count"], "description": "Of numbered pages only."}
        return {**described, "properties": {**described["properties"], "count": count}}

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        kind = {
            "name": KIND,
            "required": False,
            "in": "query",
            "schema": {"type": "string", "enum": ["page", "cursor"]},
        }
        cursor = CursorPagination().get_schema_operation_parameters(view)[0]
        return [*super().get_schema_operation_parameters(view), kind, cursor]


def chosen_pagination(request: Request) -> BasePagination:
    """Return the paginator that a request asks for.

    Raises:
        ValidationError: `pagination` names neither kind, or another parameter is one of the other kind.
    """
    asked = request.query_params  # in which an empty parameter, on a page of the browsable API, is none
    match asked.get(KIND) or "page":
        case "page" if asked.get("cursor"):
            raise ValidationError({"cursor": [_("Add pagination=cursor: numbered pages have no cursors.")]})
        case "page":
            return TaskPagination()
        case "cursor" if asked.get("page"):
            raise ValidationError({"page": [_("Pages with cursors have no numbers: follow next and previous.")]})
        case "cursor":
            return CursorPagination()
    raise ValidationError({KIND: [_("Choose page or cursor.")]})
