"""Pages of tasks: numbered, or by cursor on request."""

from collections.abc import Mapping
from typing import Any

from django.core.paginator import Page
from django.db.models import QuerySet
from django.utils.encoding import force_str
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response

from actors.rest.keyset import KeysetPagination, Read, instances, require_page_size
from tasks.listing.count_ledger import CountingPaginator
from tasks.listing.offset_window import window
from tasks.models import Task

SIZE = 5
MAX_PAGE_SIZE = 100
KINDS = ("page", "cursor")


class NumberedPages(CountingPaginator):
    """Numbered pages, read by their offset in the list."""

    def __init__(self, tasks: QuerySet[Task], size: int, *, read: Read) -> None:
        super().__init__(tasks, size)
        self.tasks, self.read = tasks, read

    def page(self, number: int | str) -> Page[Task]:
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        stop = min(start + self.per_page, self.count)
        return Page(window(self.tasks, start, stop, total=self.count, read=self.read), number, self)


class CursorPages(KeysetPagination):
    """Keyset pages: nothing is counted, and a deep page costs no more than the first."""

    page_size = SIZE
    max_page_size = MAX_PAGE_SIZE


class TaskPagination(PageNumberPagination):
    """Pages of 5 tasks; `page_size` asks for another number, up to 100.

    Pages are numbered and report the number of tasks; with `pagination=cursor` they have cursors and no count.
    """

    page_size = SIZE
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE
    kind_query_param = "pagination"
    kind_query_description = gettext_lazy("Whether pages are numbered, and counted, or have cursors.")

    def __init__(self, *, read: Read = instances) -> None:
        """Paginate tasks in the form that `read` returns: instances, or dictionaries by field."""
        self.read = read
        self.cursors: CursorPages | None = None

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        if self._kind(request) == "page":
            return super().paginate_queryset(queryset, request, view)
        self.cursors = CursorPages(read=self.read)
        page = self.cursors.paginate_queryset(queryset, request, view)
        self.display_page_controls = self.cursors.display_page_controls
        return page

    def django_paginator_class(self, tasks: QuerySet[Task], size: int) -> NumberedPages:  # type: ignore[override]
        return NumberedPages(tasks, size, read=self.read)

    def get_page_size(self, request: Request) -> int | None:
        """Return how many tasks a page has.

        Raises:
            ValidationError: for anything but a positive whole number, which DRF would silently replace by 5.
        """
        require_page_size(request)
        return super().get_page_size(request)

    def get_paginated_response(self, data: Any) -> Response:
        return self.cursors.get_paginated_response(data) if self.cursors else super().get_paginated_response(data)

    def to_html(self) -> str:
        return self.cursors.to_html() if self.cursors else super().to_html()

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        described = super().get_paginated_response_schema(schema)
        count = {**described["properties"]["count"], "description": "Of numbered pages only."}
        return {**described, "required": ["results"], "properties": {**described["properties"], "count": count}}

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        kind: Mapping[str, Any] = {
            "name": self.kind_query_param,
            "required": False,
            "in": "query",
            "description": force_str(self.kind_query_description),
            "schema": {"type": "string", "enum": list(KINDS), "default": KINDS[0]},
        }
        cursor = CursorPages().get_schema_operation_parameters(view)[0]
        return [*super().get_schema_operation_parameters(view), dict(kind), cursor]

    def _kind(self, request: Request) -> str:
        kind = request.query_params.get(self.kind_query_param) or KINDS[0]
        if kind not in KINDS:
            raise ValidationError({self.kind_query_param: [_("Choose page or cursor.")]})
        return kind
