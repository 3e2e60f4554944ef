"""Pages of tasks."""

import re

from django.utils.translation import gettext as _
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request


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
        wanted = request.query_params.get(self.page_size_query_param, "1")
        if not re.fullmatch(r"0{0,20}[1-9][0-9]{0,17}", wanted):
            raise ValidationError({"page_size": [_("Enter a whole number from 1 to 100.")]})
        return super().get_page_size(request)
