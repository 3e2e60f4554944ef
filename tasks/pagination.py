"""Pages of tasks."""

from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request

from actors.pagination import require_page_size


class TaskPagination(PageNumberPagination):
    """Numbered pages of 5; `page_size` asks for another number, and never gets more than 100."""

    page_size = 5
    page_size_query_param = "page_size"
    max_page_size = 100

    def get_page_size(self, request: Request) -> int | None:
        """Return how many tasks a page has.

        Raises:
            ValidationError: for anything but a positive whole number, which DRF would silently replace by 5.
        """
        require_page_size(request)
        return super().get_page_size(request)
